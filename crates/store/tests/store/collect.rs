//! What stays, what goes, what a crash leaves.

use std::os::unix::fs::MetadataExt;

use spec::oci::image::Platform;

use super::*;

fn du(path: &Path) -> u64 {
    shell(&format!("du -s --block-size=1 {}", path.display())).split('\t').next().unwrap().parse().unwrap()
}

#[test]
fn only_what_something_needs_stays() {
    let f = fixture();
    let layer = |name: &str| Tar::new().file(name, &"x".repeat(10_000)).done();
    let named = f.image(&[layer("base"), layer("named")]);
    let garbage = f.image(&[layer("base"), layer("garbage")]);
    let running = f.image(&[layer("running")]);
    let cached = f.image(&[layer("cached")]);
    f.store.tag(&"x".parse().unwrap(), &named).unwrap();
    let chain_of = |target: &Descriptor| f.store.image(target, &Platform::host()).unwrap().chain.unwrap();
    let [named_chain, garbage_chain, running_chain, cached_chain] =
        [&named, &garbage, &running, &cached].map(chain_of);
    f.store.rw_create("c1", Some(&running_chain)).unwrap();
    let loose = f.store.put_blob("", b"cache record's").unwrap();

    let before = du(f.store.root());
    let freed = f.store.collect(&[cached_chain], &[loose.digest]).unwrap();
    assert_eq!(before - du(f.store.root()), freed);
    assert!(freed > 20_000);
    for (chain, stays) in
        [(named_chain, true), (running_chain, true), (cached_chain, true), (garbage_chain, false)]
    {
        assert_eq!(f.store.has_layer(&chain), stays);
        assert_eq!(f.store.chain_dirs(&chain).is_ok(), stays);
    }
    assert_eq!(f.list("layers").len(), 4);
    // The named image's manifest, configuration and two layers; the loose blob.
    assert_eq!(f.list("blobs/sha256").len(), 5);

    f.store.rw_remove("c1").unwrap();
    f.store.untag("docker.io/library/x:latest").unwrap();
    f.store.collect(&[], &[]).unwrap();
    assert_eq!((f.list("layers").len(), f.list("blobs/sha256").len(), f.list("ingest").len()), (0, 0, 0));
    assert_eq!(f.store.collect(&[], &[]).unwrap(), 0);
}

#[test]
fn a_lease_holds_what_was_written_and_what_was_found() {
    let f = fixture();
    let found = f.store.put_blob("", b"was here before").unwrap();
    let unseen = f.store.put_blob("", b"nobody looked").unwrap();
    let tar = Tar::new().file("a", "1").done();
    let (layer, _) = f.store.unpack(&mut &tar[..], None, None).unwrap();
    let early = f.store.lease("first").unwrap();
    let lease = f.store.lease("pull").unwrap();
    assert!(f.store.blob_size(&found.digest).is_some() && f.store.has_layer(&layer));
    let written = f.store.put_blob("", b"new").unwrap();
    drop(early);
    f.store.collect(&[], &[]).unwrap();
    assert_eq!(f.store.blob_size(&unseen.digest), None);
    assert!([&found, &written].iter().all(|blob| f.store.blob_size(&blob.digest).is_some()));
    assert!(f.store.has_layer(&layer));
    drop(lease);
    f.store.collect(&[], &[]).unwrap();
    assert_eq!((f.list("layers").len(), f.list("blobs/sha256").len()), (0, 0));
}

/// Pulls and the collector at the same time: what was named is whole, always.
#[test]
fn collecting_beside_writers_breaks_nothing() {
    let f = fixture();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|t| {
                let f = &f;
                scope.spawn(move || {
                    for i in 0..15 {
                        let _lease = f.store.lease("pull").unwrap();
                        // Every third layer is one that other threads make and lose too.
                        let content = if i % 3 == 0 { "shared".into() } else { format!("{t} {i}") };
                        let target = f.image(&[Tar::new().file("a", &content).done()]);
                        f.store.tag(&format!("x{t}").parse().unwrap(), &target).unwrap();
                        if i % 2 == 0 {
                            f.store.untag(&format!("docker.io/library/x{t}:latest")).unwrap();
                        }
                    }
                })
            })
            .collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            f.store.collect(&[], &[]).unwrap();
        }
    });
    f.store.collect(&[], &[]).unwrap();
    for record in f.store.images() {
        let image = f.store.image(&record.target, &Platform::host()).unwrap();
        assert!(f.store.has_layer(&image.chain.unwrap()));
        assert!(f.store.blob_size(&image.manifest.layers[0].digest).is_some());
    }
}

#[test]
fn a_crash_leaves_only_what_opening_removes() {
    let f = fixture();
    let mut writer = f.store.blob_writer().unwrap();
    writer.write_all(b"half").unwrap();
    assert_eq!(f.list("ingest").len(), 1);
    let root = f.store.root().to_owned();
    assert!(matches!(Store::open(&root), Err(store::Error::InUse(_))), "one owner");
    // As a kill would: nothing is dropped properly, but the lock goes with the process.
    shell(&format!("mkdir -p {0}/ingest/x/diff/a/b; touch {0}/ingest/x/diff/a/f", root.display()));
    std::mem::forget(writer);
    let copy = f.path("copy");
    shell(&format!("cp -a {} {}", root.display(), copy.display()));
    Store::open(&copy).unwrap();
    assert_eq!(sys::file::list(&copy.join("ingest")).unwrap(), [] as [&str; 0]);

    sys::file::write_atomic(&copy.join("layout"), b"2\n", 0o600, sys::file::Durability::Process).unwrap();
    let error = Store::open(&copy).unwrap_err();
    assert!(error.to_string().contains("layout 2"), "{error}");
}

#[test]
fn a_wrong_digest_leaves_nothing() {
    let f = fixture();
    let mut writer = f.store.blob_writer().unwrap();
    writer.write_all(b"bytes").unwrap();
    assert!(matches!(writer.commit(Some(digest(b"others"))), Err(store::Error::DigestMismatch { .. })));
    assert_eq!((f.list("ingest").len(), f.list("blobs/sha256").len()), (0, 0));
    // Content that rots is not given out.
    let blob = f.store.put_blob("", b"right").unwrap();
    let path = f.store.root().join("blobs/sha256").join(blob.digest.hex());
    sys::file::write_atomic(&path, b"wrong", 0o600, sys::file::Durability::Process).unwrap();
    assert!(matches!(f.store.blob_bytes(&blob.digest), Err(store::Error::DigestMismatch { .. })));
}

#[test]
fn usage_is_what_du_says() {
    let f = fixture();
    let tar = Tar::new().file("a", &"x".repeat(50_000)).link("b", "a").symlink("c", "a").dir("d").done();
    let target = f.image(&[tar]);
    f.store.tag(&"x".parse().unwrap(), &target).unwrap();
    let chain = f.store.image(&target, &Platform::host()).unwrap().chain.unwrap();
    let mount = f.store.rw_create("c1", Some(&chain)).unwrap();
    sys::file::write_atomic(&mount.upper.join("f"), &[1; 9000], 0o600, sys::file::Durability::Process)
        .unwrap();
    let top = |path: &Path| path.iter().next().map(|name| name.to_str().unwrap().to_owned());
    let usage = f.store.usage(top).unwrap();
    assert_eq!(usage.values().sum::<u64>(), du(f.store.root()));
    assert_eq!(usage[&Some("layers".to_owned())], du(&f.store.root().join("layers")));
    assert_eq!(f.store.rw_size("c1").unwrap(), du(&mount.upper));
    let content = std::fs::metadata(f.layer(&chain).join("a")).unwrap().blocks() * 512;
    assert_eq!(f.store.chain_size(&chain).unwrap(), content + 4096);
}
