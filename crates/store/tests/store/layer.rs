//! Unpacking layers: what honest ones become, what hostile ones cannot do.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use store::ChainId;

use super::*;

#[test]
fn everything_gnu_tar_packs_comes_out_the_same() {
    let f = fixture();
    let long = "l".repeat(120);
    shell(&format!(
        r#"
        mkdir -p {src}/d/{long} && cd {src}
        echo hello > d/file; chmod 4755 d/file; chown 1000:2000 d/file
        ln d/file d/again; ln -s ../x d/link; chown -h 7:8 d/link; mkfifo d/fifo; mknod d/null c 1 3; mknod d/disk b 7 9
        echo deep > d/{long}/{long}; chmod 1777 d
        cp /bin/true capable
        truncate -s 3M sparse; printf end | dd of=sparse bs=1 seek=2000000 conv=notrunc status=none
        touch -d @1234567890.123456789 d/file; touch -h -d @5 d/link; touch -d @99 d/{long}; touch -d @77 d
        "#,
        src = f.path("src").display(),
    ));
    set_xattr(&f.path("src"), "capable", "security.capability", &CAPABILITY);
    set_xattr(&f.path("src"), "capable", "user.note", b"hi\0there");
    set_xattr(&f.path("src"), "capable", "trusted.overlay.redirect", b"/etc");
    shell(&format!(
        r#"
        cd {src}
        tar --format=pax --xattrs --xattrs-include='*' -cf {base}/pax.tar .
        tar --format=gnu -cSf {base}/gnu.tar sparse d/{long}
        "#,
        src = f.path("src").display(),
        base = f.directory.path().display(),
    ));
    for (name, compress) in [("pax", false), ("pax", true), ("gnu", true)] {
        let f2 = fixture();
        let mut bytes = sys::file::read(&f.path(&format!("{name}.tar"))).unwrap();
        let diff_id = digest(&bytes);
        if compress {
            bytes = gzip(&bytes);
        }
        let (chain, found) = f2.store.unpack(&mut &bytes[..], None, Some(diff_id)).unwrap();
        assert_eq!((chain, found), (ChainId(diff_id), diff_id));
        let layer = f2.layer(&chain);
        if name == "gnu" {
            shell(&format!("cmp {}/sparse {}/src/sparse", layer.display(), f.directory.path().display()));
            assert!(std::fs::metadata(layer.join("sparse")).unwrap().blocks() < 100, "holes stay holes");
            assert!(layer.join("d").join(&long).join(&long).exists());
            continue;
        }
        let [expected, unpacked] = [f.path("src"), layer.clone()].map(|m| {
            shell(&format!(
                "m={}; {DESCRIBE}; cd $m; find . -exec stat -c '%n %t %T' {{}} + | sort; \
                 find . -printf '%p %T@\n' | sort",
                m.display()
            ))
        });
        assert_eq!(expected, unpacked);
        assert!(xattrs(&layer).contains("security.capability"));
        assert_eq!(xattrs(&f.path("src")), xattrs(&layer));
        let names = sys::root::Root::open(&layer).unwrap().top().xattrs("capable").unwrap();
        assert_eq!(names.len(), 2, "content has no say over overlayfs: {names:?}");
    }
}

#[test]
fn whiteouts_are_overlays_own() {
    let f = fixture();
    let lower = Tar::new()
        .file("a", "old")
        .file("d/x", "x")
        .file("o/old", "old")
        .file("again/old", "old")
        .file("kept", "k")
        .done();
    let upper = Tar::new()
        .file(".wh.a", "")
        .file("d/.wh.x", "")
        .dir("o")
        .file("o/.wh..wh..opq", "")
        .file("o/new", "new")
        // Removed and made again, in either order.
        .file(".wh.again", "")
        .file("again/new", "new")
        .file(".wh..wh.plnk", "")
        .done();
    let (first, _) = f.store.unpack(&mut &lower[..], None, None).unwrap();
    let (second, _) = f.store.unpack(&mut &upper[..], Some(&first), None).unwrap();
    let layer = f.layer(&second);
    let device = std::fs::symlink_metadata(layer.join("a")).unwrap();
    assert!(device.file_type().is_char_device() && device.rdev() == 0);

    let dirs = f.store.chain_dirs(&second).unwrap();
    let mounted = shell(&(overlay(&dirs, None, &f.path("m")) + "cd $m; find . | sort | xargs echo"));
    assert_eq!(mounted.trim(), ". ./again ./again/new ./d ./kept ./o ./o/new");

    // A whole layer that hides what is below it.
    let opaque = Tar::new().file(".wh..wh..opq", "").file("only", "").done();
    let (third, _) = f.store.unpack(&mut &opaque[..], Some(&second), None).unwrap();
    assert_eq!(f.store.chain_dirs(&third).unwrap().len(), 1);
}

#[test]
fn a_later_entry_replaces_an_earlier_one_of_any_kind() {
    let f = fixture();
    let tar = Tar::new()
        .file("a", "first")
        .file("a", "second")
        .dir("b")
        .file("b/in", "x")
        .file("b", "file now")
        .symlink("c", "a")
        .file("c", "not through the link")
        .file("d", "x")
        .dir("d")
        .file("d/in", "y")
        .symlink("e", "d")
        .file("e/through", "z")
        .done();
    let (chain, _) = f.store.unpack(&mut &tar[..], None, None).unwrap();
    let layer = f.layer(&chain);
    let read = |name: &str| String::from_utf8(sys::file::read(&layer.join(name)).unwrap()).unwrap();
    assert_eq!(
        ["a", "b", "c", "d/in", "d/through"].map(read),
        ["second", "file now", "not through the link", "y", "z"]
    );
}

/// Each of these leaves the outside as it was, and is an error or stays inside (CVE-2018-15664, 2021-32760, 2025-47290,
/// 2026-17106 and their like).
#[test]
fn hostile_archives_reach_nothing_outside() {
    let f = fixture();
    let outside = f.path("outside");
    std::fs::create_dir(&outside).unwrap();
    sys::file::write_atomic(&outside.join("victim"), b"safe", 0o644, sys::file::Durability::Process).unwrap();
    let before = shell(&format!("m={}; {DESCRIBE}", outside.display()));
    let out = outside.to_str().unwrap();
    // From layers/<id>/diff or ingest/<id>/diff up to the fixture's directory.
    let up = "../../../../outside";
    let victim = format!("{out}/victim");
    let dots = format!("{up}/victim");
    let hostile = [
        Tar::new().file(&victim, "owned"),
        Tar::new().file(&dots, "owned"),
        Tar::new().file(&format!("a/b/../../{up}/victim"), "owned"),
        Tar::new().symlink("l", out).file("l/victim", "owned").file("l/new", "owned"),
        Tar::new().symlink("l", up).file("l/victim", "owned").file("l/new", "owned"),
        Tar::new().symlink("l", "..").symlink("l/m", out).file("l/m/victim", "owned"),
        Tar::new().symlink("l", &victim).file("l", "owned"),
        Tar::new().symlink("l", out).dir("l"),
        Tar::new().symlink("l", out).file("l/.wh.victim", "").file("l/.wh..wh..opq", ""),
        Tar::new().file(&format!("{up}/.wh.victim"), "").file(".wh...", "").file(".wh..", ""),
        Tar::new().link("h", &victim).file("h", "owned"),
        Tar::new().link("h", &dots),
        Tar::new().symlink("l", out).link("h", "l/victim"),
        Tar::new().link("h", "/etc/passwd"),
        Tar::new().symlink("proc", "/proc/self/root").file(&format!("proc{victim}"), "owned"),
    ];
    for (i, tar) in hostile.into_iter().enumerate() {
        let tar = tar.done();
        if let Ok((chain, _)) = f.store.unpack(&mut &tar[..], None, None) {
            // What stayed inside must not be a name of anything outside.
            let shared = shell(&format!("find {} -type f -links +1", f.layer(&chain).display()));
            assert_eq!(shared, "", "archive {i}");
        }
        assert_eq!(before, shell(&format!("m={}; {DESCRIBE}", outside.display())), "archive {i}");
    }
    assert_eq!(f.list("ingest"), [] as [&str; 0]);
}

#[test]
fn malformed_archives_leave_nothing() {
    let f = fixture();
    let good = Tar::new().file("a", &"x".repeat(5000)).done();
    let mut checksum = good.clone();
    checksum[10] ^= 1;
    // A pax header that says it has 8 GiB, and a stream that would go on giving them.
    let mut huge = Header::new_ustar();
    huge.set_entry_type(EntryType::XHeader);
    huge.set_size(8 << 30);
    huge.set_cksum();
    let mut long_name = Header::new_gnu();
    long_name.set_entry_type(EntryType::GNULongName);
    long_name.set_size(5000);
    long_name.set_cksum();
    let long_name = [long_name.as_bytes(), &[b'a'; 5120][..], &good].concat();
    let bad_id = {
        let mut header = Header::new_gnu();
        header.set_path("a").unwrap();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_uid(1 << 32);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let mut endless = std::io::Read::chain(&huge.as_bytes()[..], std::io::repeat(b'1'));
    assert!(f.store.unpack(&mut endless, None, None).is_err());
    for (what, bytes) in [
        ("checksum", checksum),
        ("cut off", good[..3000].to_vec()),
        ("cut off header", good[..300].to_vec()),
        ("long name", long_name),
        ("id over 32 bits (CVE-2024-40635)", bad_id),
        ("not tar", b"hello, I am not an archive at all".repeat(30)),
        ("cut off gzip", gzip(&good)[..60].to_vec()),
    ] {
        let error = f.store.unpack(&mut &bytes[..], None, None).unwrap_err();
        assert_eq!(error.kind(), spec::ErrorKind::InvalidParameter, "{what}: {error}");
    }
    let wrong = f.store.unpack(&mut &good[..], None, Some(digest(b"something else"))).unwrap_err();
    assert!(matches!(wrong, store::Error::DigestMismatch { .. }));
    assert_eq!((f.list("ingest").len(), f.list("layers").len()), (0, 0));
}

#[test]
fn threads_unpack_the_same_layer_once() {
    let f = fixture();
    let mut tar = Tar::new();
    for i in 0..300 {
        tar = tar.file(&format!("d{}/f{i}", i % 10), &"x".repeat(i * 10));
    }
    let tar = tar.done();
    let diff_id = digest(&tar);
    let read = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut source = &tar[..];
                f.store.unpack(&mut source, None, Some(diff_id)).unwrap();
                if source.is_empty() {
                    read.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
        // Without the digest nobody can wait: the loser's work is thrown away.
        for _ in 0..2 {
            scope.spawn(|| f.store.unpack(&mut &tar[..], None, None).unwrap());
        }
    });
    assert_eq!((f.list("layers").len(), f.list("ingest").len()), (1, 0));
    assert!(read.into_inner() <= 1);
    assert!(f.store.has_layer(&ChainId(diff_id)));
}

/// What a power cut leaves of a layer that was just unpacked: names without content.
#[test]
fn a_layer_without_a_record_is_unpacked_again() {
    let f = fixture();
    let tar = Tar::new().file("a", "content").done();
    let (chain, diff_id) = f.store.unpack(&mut &tar[..], None, None).unwrap();
    let root = f.store.root().to_owned();
    drop(f.store);
    shell(&format!("cd {}/layers/*; : > meta.json; : > diff/a", root.display()));
    let store = Store::open(&root).unwrap();
    assert!(!store.has_layer(&chain));
    store.unpack(&mut &tar[..], None, Some(diff_id)).unwrap();
    let layer = store.chain_dirs(&chain).unwrap().remove(0);
    assert_eq!(sys::file::read(&layer.join("a")).unwrap(), b"content");
    assert_eq!(sys::file::list(&root.join("ingest")).unwrap(), [] as [&str; 0]);
}
