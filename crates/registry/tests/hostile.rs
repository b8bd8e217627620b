//! Registries that lie, break, crawl, or lead elsewhere: what is refused leaves nothing to be seen, what broke off goes on.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "common/hostile.rs"]
mod hostile;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::*;
use hostile::*;
use registry::client::{Client, Config};
use spec::ErrorKind;
use spec::api::AuthConfig;
use spec::oci::image::Platform;
use store::Store;

/// One that does not wait long.
fn hasty() -> Client {
    let config = Config { patience: Duration::from_millis(300), attempts: 2, ..Config::default() };
    Client::with_certificates(config, Vec::new())
}

async fn pull(client: &Client, store: &Store, registry: &Hostile) -> Result<(), registry::Error> {
    let _lease = store.lease("test").unwrap();
    let (progress, lines) = Lines::new();
    let reference = name(registry.address, "team/app");
    let pulled = client.pull(store, &reference, &Platform::host(), None, progress).await;
    lines.all().await;
    pulled.map(drop)
}

/// Nothing of the image can be seen, and after a collection nothing is left.
fn assert_nothing(theirs: &TestStore, shelf: &Shelf, case: &str) {
    for digest in &shelf.layers {
        assert_eq!(theirs.store.blob_size(digest), None, "{case}");
    }
    theirs.store.collect(&[], &[]).unwrap();
    for directory in ["layers", "blobs/sha256", "ingest"] {
        let left = sys::file::list(&theirs.directory.path().join(directory)).unwrap();
        assert_eq!(left, Vec::<String>::new(), "{case}: {directory}");
    }
}

#[tokio::test]
async fn lies_are_found_out() {
    let layers = [gzip_layer("a", 200_000)];
    let good = Shelf::new(&layers, |_, _| {});
    let wrong = |shelf: &Shelf, bytes: Vec<u8>| {
        let mut shelf = shelf.clone();
        let digest = shelf.layers[0];
        shelf.blobs.insert(digest, bytes);
        shelf
    };
    let flipped = {
        let mut bytes = layers[0].clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    };
    let longer = [&layers[0][..], b"more"].concat();
    let other_diff_id = format!("sha256:{}", "1".repeat(64));
    let cases: Vec<(&str, Shelf, &str)> = vec![
        ("a changed byte", wrong(&good, flipped), "digest mismatch"),
        ("more bytes", wrong(&good, longer), "instead of"),
        ("fewer bytes", wrong(&good, layers[0][..1000].to_vec()), "instead of"),
        (
            "another DiffID",
            Shelf::new(&layers, |_, config| config["rootfs"]["diff_ids"][0] = other_diff_id.into()),
            "digest mismatch",
        ),
        (
            "no DiffID",
            Shelf::new(&layers, |_, config| config["rootfs"]["diff_ids"] = serde_json::json!([])),
            "has 1 layers, but its configuration names 0",
        ),
        (
            "another size of the configuration",
            {
                let mut shelf = good.clone();
                let text = String::from_utf8(shelf.manifest).unwrap();
                let size = good.blobs[&good.config].len();
                shelf.manifest = text.replace(&format!("\"size\":{size}"), "\"size\":7").into_bytes();
                shelf
            },
            "instead of 7",
        ),
        (
            "a manifest that is cut off",
            Shelf { manifest: good.manifest[..100].to_vec(), ..good.clone() },
            "manifest of",
        ),
        ("a manifest of another kind", Shelf { manifest: b"{}".to_vec(), ..good.clone() }, "manifest of"),
        (
            "a manifest without a digest that is one",
            Shelf::new(&layers, |manifest, _| manifest["layers"][0]["digest"] = "sha256:../../etc".into()),
            "manifest of",
        ),
        (
            "a manifest that has no end",
            Shelf { manifest: vec![b' '; 5 << 20], ..good.clone() },
            "more than 4194304 bytes",
        ),
    ];
    for (case, shelf, text) in cases {
        let theirs = store();
        let script = shelf.clone();
        let registry = Hostile::start(move |seen| script.answer(seen)).await;
        let error = pull(&hasty(), &theirs.store, &registry).await.expect_err(case);
        let message = format!("{error:?} {error}");
        assert!(error.to_string().contains(text), "{case}: {message}");
        if case == "another DiffID" {
            // The blob itself is as announced: only the layer is not.
            assert!(sys::file::list(&theirs.directory.path().join("layers")).unwrap().is_empty());
            theirs.store.collect(&[], &[]).unwrap();
        }
        assert_nothing(&theirs, &shelf, case);
        drop(registry);
    }
}

#[tokio::test]
async fn dying_and_crawling_registries_are_given_up_and_a_retry_resumes() {
    let layers = [gzip_layer("a", 1 << 20)];
    let shelf = Shelf::new(&layers, |_, _| {});
    let size = layers[0].len();
    // The first bytes come, then nothing more, in three ways.
    for case in ["cut", "silent", "crawling"] {
        let theirs = store();
        let (script, calls) = (shelf.clone(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&calls);
        let registry = Hostile::start(move |seen| {
            let honest = script.answer(seen);
            if !script.is_layer(seen) {
                return honest;
            }
            match counted.fetch_add(1, Ordering::SeqCst) {
                0 => {
                    let Answer::Whole(status, headers, body) = honest else { unreachable!() };
                    Answer::Lying(status, headers, body[..size / 2].to_vec(), body.len() as u64)
                }
                1..10 if case == "silent" => Answer::Gone,
                1..10 if case == "crawling" => Answer::Trickle(1 << 30),
                1..10 => status(503, &[]),
                _ => honest,
            }
        })
        .await;
        let began = Instant::now();
        let error = pull(&hasty(), &theirs.store, &registry).await.expect_err(case);
        assert!(began.elapsed() < Duration::from_secs(20), "{case}");
        let message = error.to_string();
        match case {
            // What crawls speaks of a length that is not the blob's.
            "crawling" => assert!(message.contains("instead of"), "{message}"),
            "cut" => assert_eq!(error.kind(), ErrorKind::Unavailable, "{message}"),
            _ => assert!(
                message.contains("broke off after") && message.contains(&size.to_string()),
                "{message}"
            ),
        }
        assert!(message.contains(&registry.address.to_string()), "{message}");
        assert_eq!(theirs.store.blob_size(&shelf.layers[0]), None, "{case}");
        if case == "crawling" {
            continue;
        }

        // Also after the program's death: what is on disk counts.
        let TestStore { store, directory } = theirs;
        drop(store);
        let again = Store::open(directory.path()).unwrap();
        let before = calls.swap(10, Ordering::SeqCst);
        assert!(before >= 2, "{case}: {before}");
        let asked = registry.seen().len();
        pull(&hasty(), &again, &registry).await.unwrap();
        assert_eq!(again.blob_size(&shelf.layers[0]), Some(size as u64));
        let ranges: Vec<_> = registry.seen()[asked..].iter().map(|s| s.header("range").to_owned()).collect();
        assert!(ranges.contains(&format!("bytes={}-{}", size / 2, size - 1)), "{case}: {ranges:?}");
        assert!(sys::file::list(&directory.path().join("ingest")).unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_trickle_is_as_good_as_silence() {
    let layers = [gzip_layer("a", 100_000)];
    let shelf = Shelf::new(&layers, |_, _| {});
    let (theirs, script, size) = (store(), shelf.clone(), layers[0].len() as u64);
    let registry =
        Hostile::start(
            move |seen| {
                if script.is_layer(seen) { Answer::Trickle(size) } else { script.answer(seen) }
            },
        )
        .await;
    let began = Instant::now();
    let error = pull(&hasty(), &theirs.store, &registry).await.unwrap_err();
    assert!(error.to_string().contains("bytes in 0.3 seconds"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn bytes_on_disk_that_are_wrong_are_fetched_anew() {
    let layers = [gzip_layer("a", 300_000)];
    let shelf = Shelf::new(&layers, |_, _| {});
    let theirs = store();
    let part = theirs.directory.path().join(format!("ingest/{}.part", shelf.layers[0].hex()));
    let bytes = vec![7; 100_000];
    sys::file::write_atomic(&part, &bytes, 0o600, sys::file::Durability::Process).unwrap();
    let script = shelf.clone();
    let registry = Hostile::start(move |seen| script.answer(seen)).await;
    pull(&hasty(), &theirs.store, &registry).await.unwrap();
    assert_eq!(theirs.store.blob_size(&shelf.layers[0]), Some(layers[0].len() as u64));
    let ranges: Vec<_> =
        registry.seen().iter().filter(|s| shelf.is_layer(s)).map(|s| s.header("range").to_owned()).collect();
    assert_eq!(ranges, [format!("bytes=100000-{}", layers[0].len() - 1), String::new()]);
}

#[tokio::test]
async fn a_large_layer_comes_in_pieces_over_several_connections() {
    let layers = [gzip_layer("a", 40 << 20)];
    let shelf = Shelf::new(&layers, |_, _| {});
    for knows_ranges in [true, false] {
        let theirs = store();
        let (script, calls) = (shelf.clone(), AtomicUsize::new(0));
        let registry = Hostile::start(move |seen| {
            let mut seen = seen.clone();
            if !knows_ranges {
                seen.headers.remove("range");
            }
            let honest = script.answer(&seen);
            // One in five breaks off in its middle.
            match (honest, calls.fetch_add(1, Ordering::SeqCst) % 5) {
                (Answer::Whole(status, headers, body), 4) if script.is_layer(&seen) && body.len() > 1000 => {
                    let half = body.len() / 2;
                    Answer::Lying(status, headers, body[..half].to_vec(), body.len() as u64)
                }
                (honest, _) => honest,
            }
        })
        .await;
        pull(&Client::with_certificates(Config::default(), Vec::new()), &theirs.store, &registry)
            .await
            .unwrap();
        assert_eq!(theirs.store.blob_size(&shelf.layers[0]), Some(layers[0].len() as u64));
        let asked = registry.seen().iter().filter(|s| shelf.is_layer(s)).count();
        assert!(if knows_ranges { asked > 10 } else { asked < 10 }, "{knows_ranges}: {asked}");
    }
}

#[tokio::test]
async fn a_registry_that_is_busy_is_asked_again_when_it_says() {
    let layers = [gzip_layer("a", 1000)];
    let shelf = Shelf::new(&layers, |_, _| {});
    let (theirs, script, calls) = (store(), shelf.clone(), AtomicUsize::new(0));
    let registry = Hostile::start(move |seen| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => status(429, &[("retry-after", "1")]),
        _ => script.answer(seen),
    })
    .await;
    let began = Instant::now();
    pull(&Client::with_certificates(Config::default(), Vec::new()), &theirs.store, &registry).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());

    let later = Hostile::start(|_| status(429, &[("retry-after", "86400")])).await;
    let error = pull(&Client::with_certificates(Config::default(), Vec::new()), &theirs.store, &later)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("it asks to wait for 86400 seconds"), "{error}");
    assert_eq!(later.seen().len(), 1);
}

/// A disk of so many MB, gone when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(megabytes: u32) -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        disk.mount(&format!("size={megabytes}m"));
        disk
    }

    #[expect(clippy::disallowed_methods, reason = "mount is a program to be run")]
    fn mount(&self, options: &str) {
        let mount =
            |words: &[&str]| std::process::Command::new("mount").args(words).arg(self.0.path()).status();
        let done = mount(&["-t", "tmpfs", "-o", options, "tmpfs"]).unwrap();
        assert!(done.success(), "this test needs root, to mount a small disk");
    }
}

impl Drop for Disk {
    #[expect(clippy::disallowed_methods, reason = "umount is a program to be run")]
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_fails_the_pull_and_is_not_kept_full() {
    let layers = [gzip_layer("a", 1000), gzip_layer("b", 4 << 20)];
    let shelf = Shelf::new(&layers, |_, _| {});
    let script = shelf.clone();
    let registry = Hostile::start(move |seen| script.answer(seen)).await;
    // Room for the blob, and then for half of the layer; or not even for the blob.
    for megabytes in [6, 3] {
        let disk = Disk::new(megabytes);
        let store = Store::open(disk.0.path()).unwrap();
        let error = pull(&hasty(), &store, &registry).await.unwrap_err();
        let message = format!("{error} {error:?}");
        assert!(message.contains("StorageFull") || message.contains("code: 28"), "{message}");
        assert_eq!(store.blob_size(&shelf.layers[1]), None);
        store.collect(&[], &[]).unwrap();
        assert!(sys::file::list(&disk.0.path().join("ingest")).unwrap().is_empty());
    }
}

#[tokio::test]
async fn credentials_stay_where_they_belong() {
    let layers = [gzip_layer("a", 1000)];
    let shelf = Shelf::new(&layers, |_, _| {});
    let script = shelf.clone();
    let elsewhere = Hostile::start(move |seen| script.answer(seen)).await;
    let (script, to) = (shelf.clone(), elsewhere.address);
    let registry = Hostile::start(move |seen| {
        if seen.header("authorization").is_empty() {
            return status(401, &[("www-authenticate", "Basic realm=\"r\"")]);
        }
        if script.is_layer(seen) {
            let location = format!("http://{to}/v2/x/blobs/{}", seen.target.rsplit('/').next().unwrap());
            return status(307, &[("location", location.as_str())]);
        }
        script.answer(seen)
    })
    .await;
    let theirs = store();
    let auth = AuthConfig { username: "ada".into(), password: "secret".into(), ..AuthConfig::default() };
    let reference = name(registry.address, "team/app");
    let (progress, _lines) = Lines::new();
    hasty().pull(&theirs.store, &reference, &Platform::host(), Some(&auth), progress).await.unwrap();
    assert!(registry.seen().iter().any(|s| s.header("authorization").starts_with("Basic ")));
    let strangers = elsewhere.seen();
    assert!(!strangers.is_empty());
    assert!(strangers.iter().all(|s| s.header("authorization").is_empty()), "{strangers:?}");
}

#[tokio::test]
async fn two_pulls_share_a_download_and_the_second_takes_over() {
    let layers = [gzip_layer("a", 2 << 20)];
    let shelf = Shelf::new(&layers, |_, _| {});
    let size = layers[0].len();
    let theirs = store();
    let (script, calls) = (shelf.clone(), AtomicUsize::new(0));
    let registry = Arc::new(
        Hostile::start(move |seen| {
            let honest = script.answer(seen);
            match honest {
                Answer::Whole(status, headers, body) if script.is_layer(seen) => {
                    match calls.fetch_add(1, Ordering::SeqCst) {
                        // Half of it, then nothing for as long as anybody waits.
                        0 => {
                            let mut body = body;
                            body.truncate(size / 2);
                            Answer::Stuck(status, headers, body, size as u64)
                        }
                        _ => Answer::Whole(status, headers, body),
                    }
                }
                honest => honest,
            }
        })
        .await,
    );
    let client = Client::with_certificates(Config::default(), Vec::new());
    let start = |client: Client, store: Store| {
        let reference = name(registry.address, "team/app");
        let (progress, mut lines) = tokio::sync::mpsc::channel(1000);
        let task =
            tokio::spawn(
                async move { client.pull(&store, &reference, &Platform::host(), None, progress).await },
            );
        (task, async move {
            while let Some(line) = lines.recv().await {
                if line.status.as_deref() == Some("Downloading") {
                    return;
                }
            }
            panic!("nothing was downloaded");
        })
    };
    let (first, downloading) = start(client.clone(), theirs.store.clone());
    until_part(&theirs, &shelf).await;
    drop(downloading);
    let (second, _lines) = start(client.clone(), theirs.store.clone());
    // The second one has come to the layer when it has its configuration; it asks for nothing more.
    let asked = || registry.seen().iter().filter(|s| s.target.contains(&shelf.config.to_string())).count();
    until("the second one's configuration", async || asked() == 2).await;
    assert_eq!(registry.seen().iter().filter(|s| shelf.is_layer(s)).count(), 1);
    // The first one's client goes: the second goes on from its half.
    first.abort();
    second.await.unwrap().unwrap();
    let ranges: Vec<_> =
        registry.seen().iter().filter(|s| shelf.is_layer(s)).map(|s| s.header("range").to_owned()).collect();
    assert_eq!(ranges.len(), 2, "{ranges:?}");
    assert!(ranges[1].starts_with("bytes="), "{ranges:?}");
}

/// Waits until half of the layer is on disk.
async fn until_part(theirs: &TestStore, shelf: &Shelf) {
    let part = theirs.directory.path().join(format!("ingest/{}.part", shelf.layers[0].hex()));
    until("half of the layer", async || std::fs::metadata(&part).is_ok_and(|m| m.len() > 500_000)).await;
}
