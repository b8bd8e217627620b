//! What nobody refers to goes, and nothing else does.

use http::Method;
use registry::server::{self, Collected};
use spec::oci::image::media;

use super::common::*;

fn config(root: &std::path::Path, text: &str) -> server::Config {
    let mut config: server::Config = text.parse().unwrap();
    config.root = root.to_owned();
    config
}

#[tokio::test]
async fn only_what_is_not_needed_goes() {
    let registry = serve(|_| {}).await;
    let at = registry.address;
    put_image(at, "a", "1", &[b"one"]).await;
    put_image(at, "a", "2", &[b"two"]).await;
    put_image(at, "b", "1", &[b"two"]).await;
    put_blob(at, "a", b"stray").await;
    ask(at, Method::POST, "/v2/a/blobs/uploads/", &[], "").await;
    assert_eq!(ask(at, Method::DELETE, "/v2/a/manifests/2", &[], "").await.status(), 202);
    let (one, _) = put_image(at, "c", "1", &[b"three"]).await;
    assert_eq!(ask(at, Method::DELETE, &format!("/v2/c/manifests/{one}"), &[], "").await.status(), 202);
    let root = registry.stop().await;
    let blobs = || std::fs::read_dir(root.path().join("blobs/sha256")).unwrap().count();
    let before = blobs();

    // Younger than the grace: all stays.
    let young = server::collect(&config(root.path(), ""), false).await.unwrap();
    assert_eq!(young, Collected::default());
    let now = "[collect]\ngrace = \"0s\"\nuploads-after = \"0s\"\n";
    let dry = server::collect(&config(root.path(), now), true).await.unwrap();
    assert_eq!((dry.links, dry.uploads, blobs()), (3, 1, before));
    let done = server::collect(&config(root.path(), now), false).await.unwrap();
    // `stray`, `three`; not `two`, whose manifest lost its tag and may still be asked for by its digest.
    assert_eq!((done.links, done.uploads, done.blobs), (3, 1, 2));
    assert_eq!(blobs(), before - 2);
    assert_eq!(server::check(&config(root.path(), "")).await.unwrap(), []);

    // Without tag for long enough, it goes as well, with what only it needed here.
    let rule = format!("{now}[[retention]]\nrepositories = [\"a\"]\nuntagged-after = \"0s\"\n");
    let done = server::collect(&config(root.path(), &rule), false).await.unwrap();
    assert_eq!((done.manifests.len(), done.links, done.blobs), (1, 1, 0));
    assert_eq!(server::check(&config(root.path(), "")).await.unwrap(), []);
}

#[tokio::test]
async fn the_last_tags_are_kept() {
    let registry = serve(|_| {}).await;
    let at = registry.address;
    for tag in ["v1", "v2", "v3", "latest"] {
        put_image(at, "ci/app", tag, &[tag.as_bytes()]).await;
    }
    put_image(at, "app", "v1", &[b"x"]).await;
    let root = registry.stop().await;
    let rule =
        "[[retention]]\nrepositories = [\"ci/**\"]\ntags = [\"*\"]\nexcept = [\"latest\"]\nkeep-last = 1\n";
    let dry = server::collect(&config(root.path(), rule), true).await.unwrap();
    assert_eq!(dry.tags, ["ci/app:v2", "ci/app:v1"]);
    let done = server::collect(&config(root.path(), rule), false).await.unwrap();
    assert_eq!(done.tags, dry.tags);
    let again = serve(|config| config.root = root.path().to_owned()).await;
    let tags = ask(again.address, Method::GET, "/v2/ci/app/tags/list", &[], "").await;
    assert_eq!(tags.body(), r#"{"name":"ci/app","tags":["latest","v3"]}"#);
    assert_eq!(ask(again.address, Method::GET, "/v2/app/manifests/v1", &[], "").await.status(), 200);
}

/// Pushes and collections at once, without any grace. A push may have to begin again; what was accepted is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collecting_while_pushing_loses_nothing() {
    let registry = serve_file("[collect]\nevery = \"never\"\ngrace = \"0s\"\n").await;
    let at = registry.address;
    let pushing = (0..4).map(|worker| {
        let control = registry.control.clone();
        tokio::spawn(async move {
            for round in 0..25 {
                // Layers are shared between workers and rounds: what one lets go, another takes up.
                let layers: Vec<Vec<u8>> =
                    (0..3).map(|l| format!("layer {}", (worker + round + l) % 5).into_bytes()).collect();
                let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
                let repository = format!("app{}", worker % 2);
                let mark = format!("{{\"annotations\":{{\"of\":\"{worker} {round}\"}},");
                let manifest = manifest(&layers).replacen('{', &mark, 1);
                let path = format!("/v2/{repository}/manifests/w{worker}");
                let mut tries = 0;
                loop {
                    for blob in layers.iter().copied().chain([&b"{}"[..]]) {
                        put_blob(at, &repository, blob).await;
                    }
                    // At the worst moment. Not for ever, or nobody would get anywhere.
                    if tries < 3 {
                        control.collect.notify_one();
                    }
                    let kind = [("content-type", media::MANIFEST)];
                    let put = ask(at, Method::PUT, &path, &kind, manifest.clone()).await;
                    if put.status() == 201 {
                        break;
                    }
                    assert_eq!(code(&put), "MANIFEST_BLOB_UNKNOWN");
                    tries += 1;
                    assert!(tries < 100, "the collector always wins");
                }
                for blob in layers.iter().copied().chain([&b"{}"[..]]) {
                    let path = format!("/v2/{repository}/blobs/{}", digest(blob));
                    let got = ask(at, Method::GET, &path, &[], "").await;
                    assert_eq!((got.status().as_u16(), got.body().as_ref()), (200, blob), "{path}");
                }
                let gone = format!("/v2/{repository}/manifests/{}", digest(manifest.as_bytes()));
                assert_eq!(ask(at, Method::DELETE, &gone, &[], "").await.status(), 202);
            }
        })
    });
    let pushing: Vec<_> = pushing.collect();
    for pushed in pushing {
        pushed.await.unwrap();
    }
    let root = registry.stop().await;
    assert_eq!(server::check(&config(root.path(), "")).await.unwrap(), []);
}

#[tokio::test]
async fn damage_is_found() {
    let registry = serve(|_| {}).await;
    put_image(registry.address, "a", "1", &[b"layer one", b"layer two"]).await;
    let root = registry.stop().await;
    let path = |bytes: &[u8]| blob_path(root.path(), &digest(bytes).parse().unwrap());
    sys::file::write(&path(b"layer one"), b"LAYER one").unwrap();
    sys::file::remove(&path(b"layer two")).unwrap();
    let damages = server::check(&config(root.path(), "")).await.unwrap();
    let text: Vec<String> = damages.iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), 2, "{text:?}");
    assert!(text[0].contains(&digest(b"layer one")) && text[1].contains("is missing"), "{text:?}");
}
