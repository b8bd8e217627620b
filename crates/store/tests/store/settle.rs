//! Layers that a power cut may have damaged.

use store::{Repaired, Store};

use super::{Tar, fixture};

#[test]
fn after_a_power_cut_what_was_not_on_the_disk_is_made_again() {
    let mut f = fixture();
    assert!(!f.store.is_settled(), "what an earlier process has left is not known");
    assert_eq!(f.store.repair().unwrap(), Repaired::default());
    assert!(f.store.is_settled());
    let layer = |name: &str| Tar::new().file(name, "content").done();
    let settled = f.image(&[layer("old")]);
    assert!(!f.store.is_settled());
    assert_eq!(f.store.settle().unwrap(), 1);
    assert!(f.store.is_settled());
    assert_eq!(f.store.settle().unwrap(), 0);
    let new = f.image(&[layer("old"), layer("a"), layer("b")]);
    assert!(!f.store.is_settled());
    let (cached, _) = f.store.unpack(&mut &layer("nobody's")[..], None, None).unwrap();
    for (name, target) in [("old", &settled), ("new", &new)] {
        f.store.tag(&name.parse().unwrap(), target).unwrap();
    }

    let root = f.store.root().to_owned();
    let platform = spec::oci::image::Platform::default();
    let top = f.store.image(&new, &platform).unwrap().chain.unwrap();
    let dirs = f.store.chain_dirs(&top).unwrap();
    let [b, a, old] = dirs.as_slice() else { panic!("{dirs:?}") };
    let (record, content) = (a.parent().unwrap().join("meta.json"), b.join("b"));
    let reopen = |f: &mut super::Fixture, last_boot: Option<&[u8]>| {
        // Names without content are what ext4 leaves; the store is closed before it is opened again.
        let elsewhere = tempfile::tempdir().unwrap();
        f.store = Store::open(elsewhere.path()).unwrap();
        for path in [&record, &content, &old.join("old")] {
            sys::file::create(path, 0o600).unwrap();
        }
        if let Some(boot) = last_boot {
            sys::file::write(&root.join("boot"), boot).unwrap();
        }
        f.store = Store::open(&root).unwrap();
        f.store.repair().unwrap()
    };
    assert_eq!(reopen(&mut f, None), Repaired::default(), "the same boot");
    let repaired = reopen(&mut f, Some(b"another"));
    assert_eq!(repaired, Repaired { again: 2, removed: 1, doubtful: Vec::new() });
    assert_eq!(sys::file::read(&content).unwrap(), b"content");
    assert_eq!(f.store.chain_dirs(&top).unwrap(), dirs);
    assert_eq!(sys::file::read(&old.join("old")).unwrap(), b"", "it was on the disk");
    assert!(!f.store.has_layer(&cached));
    assert_eq!(f.list("ingest").len(), 0);

    // Without its blob a layer that is needed is better than none.
    let blob = f.store.image(&new, &platform).unwrap().manifest.layers[2].digest;
    f.store.remove_blob(&blob).unwrap();
    let repaired = reopen(&mut f, Some(b"a third"));
    assert_eq!((repaired.again, repaired.doubtful), (1, vec![top]));
    assert_eq!(f.store.settle().unwrap(), 2, "those of another process as well");
    assert_eq!(reopen(&mut f, Some(b"a fourth")), Repaired::default());
}
