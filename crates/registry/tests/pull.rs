//! Push, then pull into another store; and what must not get in.

mod common;

use common::*;
use registry::Error;
use spec::oci::image::Platform;
use store::Store;

#[tokio::test]
async fn what_was_pushed_comes_back() {
    let (ours, theirs) = (store(), store());
    let image = image(&ours.store, &[1000, 3 << 20, 0]);
    let registry = serve(|_| {}).await;
    let (client, to) = (client(), name(registry.address, "a/b"));

    let (sender, lines) = Lines::new();
    client.push(&ours.store, &to, &image, None, None, sender).await.unwrap();
    let lines = lines.all().await;
    let statuses: Vec<&str> = lines.iter().filter_map(|l| l.status.as_deref()).collect();
    let end = format!("1: digest: {} size: {}", image.digest, image.size);
    assert!(statuses.contains(&end.as_str()), "{statuses:?}");
    let aux = lines.last().unwrap().aux.as_ref().unwrap();
    assert_eq!((&aux["Tag"], &aux["Digest"]), (&"1".into(), &image.digest.to_string().into()));

    let (sender, lines) = Lines::new();
    let pulled = client.pull(&theirs.store, &to, &Platform::host(), None, sender).await.unwrap();
    assert_eq!(pulled.target, image);
    assert_whole(&theirs.store, &image);
    let lines = lines.all().await;
    assert_eq!(lines[0].status.as_deref(), Some("Pulling from a/b"));
    assert_eq!(lines[0].id.as_deref(), Some("1"));
    let of = |status: &str| lines.iter().filter(|l| l.status.as_deref() == Some(status)).count();
    assert_eq!((of("Pulling fs layer"), of("Download complete"), of("Pull complete")), (3, 3, 3));

    // By digest, and again: nothing moves.
    let mut by_digest = to.clone();
    (by_digest.tag, by_digest.digest) = (None, Some(image.digest));
    let (sender, lines) = Lines::new();
    client.pull(&theirs.store, &by_digest, &Platform::host(), None, sender).await.unwrap();
    let last = lines.last().await;
    assert_eq!(last.values().filter(|s| *s == "Already exists").count(), 3, "{last:?}");
    let (sender, lines) = Lines::new();
    client.push(&ours.store, &to, &image, None, None, sender).await.unwrap();
    assert!(lines.last().await.values().all(|s| s == "Layer already exists"));

    let (descriptor, platforms) = client.inspect(&to, None).await.unwrap();
    assert_eq!(descriptor.digest, image.digest);
    assert_eq!(platforms[0].architecture, Platform::host().architecture);
}

#[tokio::test]
async fn a_line_that_breaks_is_taken_up_again() {
    let (ours, theirs) = (store(), store());
    let image = image(&ours.store, &[6 << 20, 2 << 20]);
    let registry = serve(|_| {}).await;
    let client = client();
    push(&client, &ours.store, &name(registry.address, "x"), &image).await;

    let line = breaking_line(registry.address, 1 << 20, 6).await;
    let (sender, lines) = Lines::new();
    let through = name(line, "x");
    client.pull(&theirs.store, &through, &Platform::host(), None, sender).await.unwrap();
    assert_whole(&theirs.store, &image);
    let lines = lines.all().await;
    assert!(lines.iter().any(|l| l.status.as_deref() == Some("Retrying")), "the line never broke");
}

#[tokio::test]
async fn a_blob_that_is_not_what_it_should_be_stays_out() {
    let (ours, theirs) = (store(), store());
    let image = image(&ours.store, &[100_000]);
    let registry = serve(|_| {}).await;
    let client = client();
    let to = name(registry.address, "x");
    push(&client, &ours.store, &to, &image).await;
    let layer = ours.store.image(&image, &Platform::host()).unwrap().manifest.layers[0].clone();
    let path = blob_path(registry.root.path(), &layer.digest);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&path).unwrap();
    sys::file::write_atomic(&path, &bytes, 0o600, sys::file::Durability::Process).unwrap();

    let (sender, _lines) = Lines::new();
    let error = client.pull(&theirs.store, &to, &Platform::host(), None, sender).await.unwrap_err();
    assert!(matches!(error, Error::Store(_)), "{error:?}");
    let diff_ids = ours.store.image(&image, &Platform::host()).unwrap().config.rootfs.diff_ids;
    assert!(!theirs.store.has_layer(&Store::chain_of(&diff_ids).unwrap()));
    assert_eq!(theirs.store.blob_size(&layer.digest), None);
}

#[tokio::test]
async fn failures_say_what_and_where() {
    let registry = serve(|_| {}).await;
    let theirs = store();
    let client = client();
    let pull = async |reference: &spec::Reference| {
        let (sender, _lines) = Lines::new();
        client.pull(&theirs.store, reference, &Platform::host(), None, sender).await.unwrap_err().to_string()
    };
    let text = pull(&name(registry.address, "no/such")).await;
    assert_eq!(
        text,
        format!("manifest for {}/no/such:1 not found: manifest unknown: manifest unknown", registry.address)
    );
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let text = pull(&name(closed, "x")).await;
    assert!(text.starts_with(&format!("failed to reach registry {closed}: Connection refused")), "{text}");

    let ours = store();
    let image = image(&ours.store, &[10]);
    let to = name(registry.address, "x");
    push(&client, &ours.store, &to, &image).await;
    let other = Platform::parse("linux/s390x").unwrap();
    let (sender, _lines) = Lines::new();
    // A single manifest is taken as it is; only an index has a choice to make.
    client.pull(&theirs.store, &to, &other, None, sender).await.unwrap();
}
