//! Writable layers under a real overlay mount.

use super::*;

fn base() -> Vec<u8> {
    Tar::new()
        .dir("./")
        .file("a", "a")
        .file("b", "b")
        .dir("d")
        .file("d/x", "x")
        .dir("o")
        .file("o/old", "old")
        .file("big", &"z".repeat(100_000))
        .done()
}

/// What a container does: remove, change, replace, add.
const CHANGES: &str = r#"
    cd $m; rm a; echo more >> b; rm -r o; mkdir o; echo new > o/new; mkdir -p fresh/deep; echo 1 > fresh/one
    ln fresh/one fresh/two; ln -s one fresh/link; mkfifo fresh/fifo; chown 10:20 d/x; rm big; mkdir big
    cp /bin/true fresh/capable; touch .hidden "$(printf 'new\nline')"
    python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("fresh/socket")' 2>/dev/null || true
    cd /; umount $m
"#;

const OPAQUE: &str = "trusted.overlay.opaque";

/// The names of overlayfs's own attributes in a layer.
fn overlay_marks(path: &Path) -> Vec<String> {
    let mut marks = Vec::new();
    let root = sys::root::Root::open(path).unwrap();
    root.walk("", sys::root::TooDeep::Fail, |visit| {
        let keys = visit.dir.xattrs(visit.name)?.into_iter().map(|(key, _)| key.into_string().unwrap());
        marks.extend(keys.filter(|key| key.starts_with("trusted.overlay.")));
        Ok::<_, sys::Error>(())
    })
    .unwrap();
    marks
}

fn changed(f: &Fixture, id: &str) -> store::ChainId {
    let (chain, _) = f.store.unpack(&mut &base()[..], None, None).unwrap();
    let mount = f.store.rw_create(id, Some(&chain)).unwrap();
    shell(&(overlay(&mount.lower, Some((&mount.upper, &mount.work)), &f.path("m")) + CHANGES));
    set_xattr(&mount.upper.join("fresh"), "capable", "security.capability", &CAPABILITY);
    set_xattr(&mount.upper, "fresh", "user.k", b"v");
    chain
}

#[test]
fn a_diff_says_what_changed_and_always_in_the_same_bytes() {
    let f = fixture();
    changed(&f, "c1");
    let mut tar = Vec::new();
    f.store.rw_diff("c1", &mut tar).unwrap();
    let mut again = Vec::new();
    f.store.rw_diff("c1", &mut again).unwrap();
    assert_eq!(tar, again);

    let mut archive = tar::Archive::new(&tar[..]);
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        if name == "fresh/two" {
            assert_eq!(entry.link_name().unwrap().unwrap().to_str(), Some("fresh/one"));
        }
        if let Some(extensions) = entry.pax_extensions().unwrap() {
            for extension in extensions {
                assert!(!extension.unwrap().key().unwrap().contains("overlay"));
            }
        }
        names.push(name);
    }
    assert_eq!(
        names,
        [
            ".hidden",
            ".wh.a",
            "b",
            "big/",
            "big/.wh..wh..opq",
            "d/",
            "d/x",
            "fresh/",
            "fresh/capable",
            "fresh/deep/",
            "fresh/fifo",
            "fresh/link",
            "fresh/one",
            "fresh/two",
            "new\nline",
            "o/",
            "o/.wh..wh..opq",
            "o/new",
        ]
    );
}

/// The committed layer, and its blob unpacked elsewhere, show the same tree as the writable layer did.
#[test]
fn a_commit_is_the_same_tree_here_and_elsewhere() {
    let f = fixture();
    let parent = changed(&f, "c1");
    let mount = f.store.rw_mount("c1").unwrap();
    let show = DESCRIBE.to_owned() + "; umount $m";
    let before = shell(
        &(overlay(&mount.lower, Some((&mount.upper, &mount.work)), &f.path("m"))
            + "rm -f $m/fresh/socket;"
            + &show),
    );
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&mount.upper).unwrap());

    let committed = f.store.rw_commit("c1").unwrap().unwrap();
    assert_eq!(committed.chain, store::ChainId::on(Some(&parent), committed.diff_id));
    assert_eq!(f.store.rw_list().unwrap(), [] as [&str; 0]);
    let dirs = f.store.chain_dirs(&committed.chain).unwrap();
    let layer = std::fs::metadata(&dirs[0]).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&layer), inode, "renamed, not copied");
    assert!(overlay_marks(&dirs[0]).iter().all(|mark| mark == OPAQUE));
    assert_eq!(before, shell(&(overlay(&dirs, None, &f.path("m")) + &show)));

    let elsewhere = fixture();
    elsewhere.store.unpack(&mut &base()[..], None, None).unwrap();
    let mut blob = f.store.blob(&committed.blob.digest).unwrap();
    let (chain, _) = elsewhere.store.unpack(&mut blob, Some(&parent), Some(committed.diff_id)).unwrap();
    let committed_here = dirs;
    let dirs = elsewhere.store.chain_dirs(&chain).unwrap();
    assert!(xattrs(&dirs[0]).contains("security.capability"));
    assert_eq!(xattrs(&dirs[0]), xattrs(&committed_here[0]));
    assert_eq!(before, shell(&(overlay(&dirs, None, &elsewhere.path("m")) + &show)));
}

#[test]
fn nothing_changed_is_no_layer() {
    let f = fixture();
    let (chain, _) = f.store.unpack(&mut &base()[..], None, None).unwrap();
    let mount = f.store.rw_create("c1", Some(&chain)).unwrap();
    shell(&(overlay(&mount.lower, Some((&mount.upper, &mount.work)), &f.path("m")) + "cat $m/b; umount $m"));
    assert_eq!(f.store.rw_commit("c1").unwrap(), None);
    assert_eq!((f.list("rw").len(), f.list("blobs/sha256").len(), f.list("ingest").len()), (0, 0, 0));
    // The top directory's mode is a change.
    let mount = f.store.rw_create("c1", Some(&chain)).unwrap();
    shell(
        &(overlay(&mount.lower, Some((&mount.upper, &mount.work)), &f.path("m")) + "chmod 700 $m; umount $m"),
    );
    let committed = f.store.rw_commit("c1").unwrap().unwrap();
    let mount = f.store.rw_create("c2", Some(&committed.chain)).unwrap();
    assert_eq!(
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(mount.upper).unwrap()) & 0o7777,
        0o700
    );
}

#[test]
fn ids_and_parents_are_checked() {
    let f = fixture();
    let missing = store::ChainId(digest(b"nothing"));
    assert!(matches!(f.store.rw_create("x", Some(&missing)), Err(store::Error::NoLayer(_))));
    for bad in ["", ".", "..", "../x", "a/b", "a\0"] {
        assert!(matches!(f.store.rw_create(bad, None), Err(store::Error::Invalid(_))), "{bad:?}");
    }
    f.store.rw_create("x", None).unwrap();
    assert!(matches!(f.store.rw_create("x", None), Err(store::Error::RwExists(_))));
    assert!(matches!(f.store.rw_mount("y"), Err(store::Error::NoRw(_))));
    f.store.rw_remove("x").unwrap();
    f.store.rw_remove("x").unwrap();
    assert_eq!((f.list("rw").len(), f.list("ingest").len(), fresh(f.store.root())), (0, 0, 0));
}

/// How many layers are being made, or wait.
fn fresh(root: &std::path::Path) -> usize {
    let parts = sys::file::list(&root.join("fresh")).unwrap();
    parts.iter().map(|part| sys::file::list(&root.join("fresh").join(part)).unwrap().len()).sum()
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test writes scratch files")]
fn layers_made_beforehand_are_like_others_and_go_with_the_store() {
    let f = fixture();
    f.store.rw_make_ready().unwrap();
    let ready = fresh(f.store.root());
    assert!(ready > 0);
    let made = f.store.rw_create("one", None).unwrap();
    assert_eq!(fresh(f.store.root()), ready - 1, "one of those that were ready");
    std::fs::write(made.upper.join("file"), b"x").unwrap();
    for n in 0..ready {
        let other = f.store.rw_create(&format!("more{n}"), None).unwrap();
        let mode = |path: &std::path::Path| {
            std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions())
        };
        assert_eq!(mode(&other.upper), mode(&made.upper));
        assert_eq!(other, f.store.rw_mount(&format!("more{n}")).unwrap());
    }
    assert_eq!(fresh(f.store.root()), 0);

    let aside = f.store.rw_set_aside("one").unwrap().unwrap();
    assert_eq!(
        f.store.rw_size("one").unwrap_err().to_string(),
        f.store.rw_size("two").unwrap_err().to_string().replace("two", "one")
    );
    assert_eq!(f.list("ingest").len(), 1, "its files are there until they are removed");
    aside.remove().unwrap();
    assert_eq!(f.list("ingest").len(), 0);
    assert!(f.store.rw_set_aside("one").unwrap().is_none());

    f.store.rw_make_ready().unwrap();
    let root = f.store.root().to_owned();
    drop(f.store);
    assert_eq!((fresh(&root), sys::file::list(&root.join("ingest")).unwrap().len()), (0, 0));
    // What a crash has left goes when it is opened.
    std::fs::create_dir_all(root.join("fresh/0/left/work")).unwrap();
    assert_eq!(fresh(&root), 1);
    drop(store::Store::open(&root).unwrap());
    assert_eq!(fresh(&root), 0);
}
