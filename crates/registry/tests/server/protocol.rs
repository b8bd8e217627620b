//! The protocol, request by request: what other clients do with it.

use http::Method;
use registry::client::Client;
use serde_json::Value;
use spec::oci::image::Platform;

use super::common::*;

#[tokio::test]
async fn uploads_come_in_pieces_and_are_checked() {
    let registry = serve(|_| {}).await;
    let at = registry.address;
    let begun = ask(at, Method::POST, "/v2/a/b/blobs/uploads/", &[], "").await;
    assert_eq!(begun.status(), 202);
    let upload = header(&begun, "location").to_owned();
    let piece = ask(at, Method::PATCH, &upload, &[("content-range", "0-4")], "hello").await;
    assert_eq!((piece.status().as_u16(), header(&piece, "range")), (202, "0-4"));
    // A piece that does not join on is refused, and says where to go on.
    let gap = ask(at, Method::PATCH, &upload, &[("content-range", "9-10")], "xx").await;
    assert_eq!((gap.status().as_u16(), header(&gap, "range")), (416, "0-4"));
    // A piece that is not as long as it says does not count.
    let short = ask(at, Method::PATCH, &upload, &[("content-range", "5-99")], "xx").await;
    assert_eq!(code(&short), "BLOB_UPLOAD_INVALID");
    let status = ask(at, Method::GET, &upload, &[], "").await;
    assert_eq!((status.status().as_u16(), header(&status, "range")), (204, "0-4"));

    let whole = digest(b"hello world");
    let wrong = ask(at, Method::PUT, &format!("{upload}?digest={}", digest(b"x")), &[], " world").await;
    assert_eq!((wrong.status().as_u16(), code(&wrong)), (400, "DIGEST_INVALID".into()));
    let done = ask(at, Method::PUT, &format!("{upload}?digest={whole}"), &[], " world").await;
    assert_eq!(done.status(), 201);
    let gone = ask(at, Method::GET, &upload, &[], "").await;
    assert_eq!(code(&gone), "BLOB_UPLOAD_UNKNOWN");

    let blob = format!("/v2/a/b/blobs/{whole}");
    assert_eq!(ask(at, Method::GET, &blob, &[], "").await.body(), "hello world");
    let part = ask(at, Method::GET, &blob, &[("range", "bytes=6-")], "").await;
    assert_eq!((part.status().as_u16(), header(&part, "content-range")), (206, "bytes 6-10/11"));
    assert_eq!(part.body(), "world");
    let head = ask(at, Method::HEAD, &blob, &[], "").await;
    assert_eq!(header(&head, "content-length"), "11");

    // Another repository sees it only once it is mounted there; content goes with its last repository.
    let elsewhere = format!("/v2/c/blobs/{whole}");
    assert_eq!(code(&ask(at, Method::GET, &elsewhere, &[], "").await), "BLOB_UNKNOWN");
    let mounted =
        ask(at, Method::POST, &format!("/v2/c/blobs/uploads/?mount={whole}&from=a/b"), &[], "").await;
    assert_eq!(mounted.status(), 201);
    assert_eq!(ask(at, Method::DELETE, &blob, &[], "").await.status(), 202);
    assert_eq!(ask(at, Method::GET, &elsewhere, &[], "").await.status(), 200);
    assert_eq!(ask(at, Method::DELETE, &elsewhere, &[], "").await.status(), 202);
    assert!(!blob_path(registry.root.path(), &whole.parse().unwrap()).exists());

    let one =
        ask(at, Method::POST, &format!("/v2/c/blobs/uploads/?digest={whole}"), &[], "hello world").await;
    assert_eq!(one.status(), 201);
}

#[tokio::test]
async fn an_upload_survives_a_restart() {
    let first = serve(|_| {}).await;
    let begun = ask(first.address, Method::POST, "/v2/a/blobs/uploads/", &[], "").await;
    let upload = header(&begun, "location").to_owned();
    ask(first.address, Method::PATCH, &upload, &[], "hello").await;
    let root = first.stop().await;
    let second = serve(|config| config.root = root.path().to_owned()).await;
    let whole = digest(b"hello world");
    let done = ask(second.address, Method::PUT, &format!("{upload}?digest={whole}"), &[], " world").await;
    assert_eq!(done.status(), 201);
}

#[tokio::test]
async fn manifests_are_whole_and_listed() {
    let registry = serve(|_| {}).await;
    let at = registry.address;
    let ours = store();
    let image = image(&ours.store, &[10]);
    let client: Client = client();
    for tag in ["1", "2", "3"] {
        let mut reference = name(at, "team/app");
        reference.tag = Some(tag.into());
        push(&client, &ours.store, &reference, &image).await;
    }
    let bytes = ours.store.blob_bytes(&image.digest).unwrap();
    let media_type = image.media_type.as_str();

    // What it refers to is not in that repository.
    let other =
        ask(at, Method::PUT, "/v2/other/manifests/1", &[("content-type", media_type)], bytes.clone()).await;
    assert_eq!((other.status().as_u16(), code(&other)), (400, "MANIFEST_BLOB_UNKNOWN".into()));
    let named = format!("/v2/team/app/manifests/{}", digest(b"x"));
    let misnamed = ask(at, Method::PUT, &named, &[("content-type", media_type)], bytes.clone()).await;
    assert_eq!(code(&misnamed), "DIGEST_INVALID");
    let large = vec![b' '; (4 << 20) + 1];
    let large =
        ask(at, Method::PUT, "/v2/team/app/manifests/1", &[("content-type", media_type)], large).await;
    assert_eq!(large.status(), 413);

    let got = ask(at, Method::GET, "/v2/team/app/manifests/1", &[], "").await;
    assert_eq!((got.body().as_ref(), header(&got, "content-type")), (&bytes[..], media_type));
    let page = ask(at, Method::GET, "/v2/team/app/tags/list?n=2", &[], "").await;
    assert_eq!(header(&page, "link"), "</v2/team/app/tags/list?last=2&n=2>; rel=\"next\"");
    let page = ask(at, Method::GET, "/v2/team/app/tags/list?last=2&n=2", &[], "").await;
    assert_eq!(page.body(), r#"{"name":"team/app","tags":["3"]}"#);
    let catalog = ask(at, Method::GET, "/v2/_catalog", &[], "").await;
    assert_eq!(catalog.body(), r#"{"repositories":["team/app"]}"#);

    // A manifest about another is found by it.
    let config = ours.store.image(&image, &Platform::host()).unwrap().manifest.config;
    let about = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type, "artifactType": "x/y", "config": config, "layers": [],
        "subject": image,
    });
    let about = serde_json::to_vec(&about).unwrap();
    let put =
        ask(at, Method::PUT, "/v2/team/app/manifests/about", &[("content-type", media_type)], about.clone())
            .await;
    assert_eq!(
        (put.status().as_u16(), header(&put, "oci-subject")),
        (201, image.digest.to_string().as_str())
    );
    let referrers = format!("/v2/team/app/referrers/{}", image.digest);
    let index: Value =
        serde_json::from_slice(ask(at, Method::GET, &referrers, &[], "").await.body()).unwrap();
    assert_eq!(index["manifests"][0]["digest"], digest(&about));
    assert_eq!(index["manifests"][0]["artifactType"], "x/y");

    // A tag goes alone, a digest with its tags.
    assert_eq!(ask(at, Method::DELETE, "/v2/team/app/manifests/1", &[], "").await.status(), 202);
    assert_eq!(ask(at, Method::GET, "/v2/team/app/manifests/2", &[], "").await.status(), 200);
    let by_digest = format!("/v2/team/app/manifests/{}", image.digest);
    assert_eq!(ask(at, Method::DELETE, &by_digest, &[], "").await.status(), 202);
    assert_eq!(code(&ask(at, Method::GET, "/v2/team/app/manifests/2", &[], "").await), "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn clients_ask_for_what_they_do_not_have() {
    let registry = serve(|_| {}).await;
    let at = registry.address;
    let blob = put_blob(at, "a", b"0123456789").await;
    let path = format!("/v2/a/blobs/{blob}");
    let tag = format!("\"{blob}\"");
    let known = ask(at, Method::GET, &path, &[("if-none-match", &tag)], "").await;
    assert_eq!((known.status().as_u16(), known.body().len()), (304, 0));
    let changed = ask(at, Method::GET, &path, &[("range", "bytes=2-3"), ("if-range", "\"x\"")], "").await;
    assert_eq!((changed.status().as_u16(), changed.body().as_ref()), (200, &b"0123456789"[..]));
    let part = ask(at, Method::GET, &path, &[("range", "bytes=2-3"), ("if-range", &tag)], "").await;
    assert_eq!((part.status().as_u16(), part.body().as_ref()), (206, &b"23"[..]));
    let beyond = ask(at, Method::GET, &path, &[("range", "bytes=10-")], "").await;
    assert_eq!((beyond.status().as_u16(), header(&beyond, "content-range")), (416, "bytes */10"));
    let (manifest, _) = put_image(at, "a", "1", &[b"layer"]).await;
    let tag = format!("\"{manifest}\"");
    assert_eq!(ask(at, Method::GET, "/v2/a/manifests/1", &[("if-none-match", &tag)], "").await.status(), 304);
}

#[tokio::test]
async fn sha512_is_a_digest_too() {
    use sha2::Digest as _;
    let registry = serve(|_| {}).await;
    let at = registry.address;
    let name = format!("sha512:{}", spec::digest::hex(&sha2::Sha512::digest(b"hello")));
    let put = ask(at, Method::POST, &format!("/v2/a/blobs/uploads/?digest={name}"), &[], "hello").await;
    assert_eq!(put.status(), 201);
    let wrong = ask(at, Method::POST, &format!("/v2/a/blobs/uploads/?digest={name}"), &[], "hallo").await;
    assert_eq!(code(&wrong), "DIGEST_INVALID");
    assert_eq!(ask(at, Method::GET, &format!("/v2/a/blobs/{name}"), &[], "").await.body(), "hello");
}

#[tokio::test]
async fn a_broken_line_loses_nothing_that_came() {
    use tokio::io::AsyncWriteExt;
    let registry = serve(|_| {}).await;
    let at = registry.address;
    let begun = ask(at, Method::POST, "/v2/a/blobs/uploads/", &[], "").await;
    let upload = header(&begun, "location").to_owned();
    let mut line = tokio::net::TcpStream::connect(at).await.unwrap();
    let head = format!("PATCH {upload} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhello");
    line.write_all(head.as_bytes()).await.unwrap();
    line.shutdown().await.unwrap();
    drop(line);
    // The server sees the end of the line a little later.
    let mut status = ask(at, Method::GET, &upload, &[], "").await;
    for _ in 0..500 {
        if status.status() == 204 && header(&status, "range") == "0-4" {
            break;
        }
        tokio::task::yield_now().await;
        status = ask(at, Method::GET, &upload, &[], "").await;
    }
    assert_eq!(header(&status, "range"), "0-4");
    let whole = digest(b"hello world");
    let rest = [("content-range", "5-10")];
    let done = ask(at, Method::PUT, &format!("{upload}?digest={whole}"), &rest, " world").await;
    assert_eq!(done.status(), 201);
}

#[tokio::test]
async fn what_is_too_much_is_refused_and_leaves_nothing() {
    let text = "max-blob-size = \"1kB\"\n[[quota]]\nrepositories = [\"small/**\"]\nsize = \"600B\"\n";
    let registry = serve_file(text).await;
    let at = registry.address;
    let bytes = vec![7; 1001];
    let large =
        ask(at, Method::POST, &format!("/v2/a/blobs/uploads/?digest={}", digest(&bytes)), &[], bytes).await;
    assert_eq!((large.status().as_u16(), code(&large)), (413, "SIZE_INVALID".into()));
    put_blob(at, "small/a", &[1; 400]).await;
    let bytes = vec![2; 300];
    let path = format!("/v2/small/a/blobs/uploads/?digest={}", digest(&bytes));
    let denied = ask(at, Method::POST, &path, &[], bytes.clone()).await;
    assert_eq!((denied.status().as_u16(), code(&denied)), (403, "DENIED".into()));
    put_blob(at, "small/b", &bytes).await;
    let mounted = ask(
        at,
        Method::POST,
        &format!("/v2/small/a/blobs/uploads/?mount={}&from=small/b", digest(&bytes)),
        &[],
        "",
    )
    .await;
    assert_eq!(code(&mounted), "DENIED");
    let bad = ask(at, Method::POST, "/v2/a/blobs/uploads/?digest=sha256:zz", &[], "x").await;
    assert_eq!(code(&bad), "DIGEST_INVALID");
    let stored = |path: &str| std::fs::read_dir(registry.root.path().join(path)).map_or(0, Iterator::count);
    assert_eq!((stored("blobs/sha256"), stored("repositories/a")), (2, 0));
}

/// Most clients read the answer only when they have sent everything.
#[tokio::test]
async fn a_refusal_reaches_who_is_still_sending() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let registry = serve_file("max-blob-size = \"1kB\"\n").await;
    let body = vec![7; 8 << 20];
    let path = format!("/v2/a/blobs/uploads/?digest={}", digest(&body));
    let head = |more: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n{more}\r\n", body.len())
    };
    let mut line = tokio::net::TcpStream::connect(registry.address).await.unwrap();
    line.write_all(head("").as_bytes()).await.unwrap();
    line.write_all(&body).await.unwrap();
    // What comes after it is a request again.
    line.write_all(b"GET /v2/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answers = String::new();
    line.read_to_string(&mut answers).await.unwrap();
    let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["413", "200"], "{answers}");

    // Who asked first need not send it: nothing that comes is taken for it.
    let mut line = tokio::net::TcpStream::connect(registry.address).await.unwrap();
    line.write_all(head("expect: 100-continue\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_read_only_registry_takes_nothing() {
    let first = serve(|_| {}).await;
    put_image(first.address, "a", "1", &[b"x"]).await;
    let root = first.stop().await;
    let second = serve(|config| {
        config.root = root.path().to_owned();
        config.read_only = true;
    })
    .await;
    let at = second.address;
    assert_eq!(ask(at, Method::GET, "/v2/a/manifests/1", &[], "").await.status(), 200);
    for (method, path) in [(Method::POST, "/v2/a/blobs/uploads/"), (Method::DELETE, "/v2/a/manifests/1")] {
        let refused = ask(at, method, path, &[], "").await;
        assert_eq!((refused.status().as_u16(), code(&refused)), (405, "UNSUPPORTED".into()));
    }
}
