//! The tree's owner is the attacker.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// A tree beside a directory that nobody may reach from it.
fn tree() -> (tempfile::TempDir, PathBuf, PathBuf, Root) {
    let base = tempfile::tempdir().unwrap();
    let (inside, outside) = (base.path().join("tree"), base.path().join("outside"));
    std::fs::create_dir(&inside).unwrap();
    std::fs::create_dir(&outside).unwrap();
    crate::file::write_atomic(&outside.join("secret"), b"secret", 0o600, crate::file::Durability::Process)
        .unwrap();
    let root = Root::open(&inside).unwrap();
    (base, inside, outside, root)
}

fn names(path: &Path) -> Vec<String> {
    crate::file::list(path).unwrap()
}

#[test]
fn no_path_leads_out() {
    let (_base, inside, outside, root) = tree();
    symlink(&outside, inside.join("absolute")).unwrap();
    symlink("../outside", inside.join("relative")).unwrap();
    symlink("/proc/self/root", inside.join("magic")).unwrap();
    std::fs::create_dir(inside.join("d")).unwrap();
    symlink("../../outside", inside.join("d/deep")).unwrap();
    for path in [
        "absolute/secret",
        "relative/secret",
        "../outside/secret",
        "/../outside/secret",
        "d/deep/secret",
        "d/../../outside/secret",
        "magic/etc/passwd",
        outside.join("secret").to_str().unwrap(),
    ] {
        assert!(root.read(path, 100).is_err(), "{path}");
        assert!(root.find(path, Follow::No).is_err(), "{path}");
    }
    // `..` at the top is the top, as in a chroot.
    assert_eq!(root.metadata("../..", Follow::Yes).unwrap().inode, std::fs::metadata(&inside).unwrap().ino());
}

#[test]
fn what_is_made_is_made_inside() {
    let (_base, inside, outside, root) = tree();
    symlink(&outside, inside.join("link")).unwrap();
    symlink("../../run/resolve/conf", inside.join("dangling")).unwrap();

    root.create_dirs("link/made/deeper", 0o755).unwrap();
    root.create_dirs("../../up", 0o2750).unwrap();
    let target = root.touch("dangling", 0o755, 0o644).unwrap();
    assert_eq!(Metadata::of(target.as_fd()).unwrap().kind, Kind::File);

    assert_eq!(names(&outside), ["secret"]);
    // The absolute link was followed inside the tree, so its target was made there.
    assert!(inside.join(outside.strip_prefix("/").unwrap()).join("made/deeper").is_dir());
    assert_eq!(std::fs::metadata(inside.join("up")).unwrap().mode() & 0o7777, 0o2750);
    assert!(inside.join("run/resolve/conf").is_file());

    // A file in the way is an error, not something to remove.
    assert_eq!(root.create_dirs("run/resolve/conf/x", 0o755).unwrap_err().errno(), libc::ENOTDIR);
    // A loop ends.
    symlink("b", inside.join("a")).unwrap();
    symlink("a", inside.join("b")).unwrap();
    assert_eq!(root.create_dirs("a/x", 0o755).unwrap_err().errno(), libc::ELOOP);
}

#[test]
fn names_are_not_paths_and_links_are_not_followed() {
    let (_base, inside, outside, root) = tree();
    symlink(&outside, inside.join("link")).unwrap();
    symlink(outside.join("secret"), inside.join("file")).unwrap();
    let top = root.top();
    for bad in ["", ".", "..", "a/b", "/", "link/"] {
        assert_eq!(top.metadata(bad).unwrap_err().errno(), libc::EINVAL, "{bad:?}");
    }
    assert!(top.dir("link").is_err());
    assert!(top.open_file("file", Access::Truncate, 0o644).is_err());
    assert!(top.chmod("file", 0o777).is_err());
    top.chown("file", 12, 34).unwrap();
    top.set_modified("file", Time { seconds: 5, nanos: 6 }).unwrap();

    let link = top.metadata("file").unwrap();
    assert_eq!((link.kind, link.uid, link.gid, link.modified.seconds), (Kind::Symlink, 12, 34, 5));
    let secret = std::fs::metadata(outside.join("secret")).unwrap();
    assert_eq!((secret.uid(), secret.mode() & 0o777, secret.len()), (0, 0o600, 6));

    root.remove_tree("link").unwrap();
    root.remove_tree("file").unwrap();
    root.remove_tree("not/there").unwrap();
    assert_eq!((names(&inside).len(), names(&outside).len()), (0, 1));
}

#[test]
fn makes_every_kind_and_keeps_attributes() {
    let (_base, inside, _outside, root) = tree();
    let top = root.top();
    let d = top.create_dir("d", 0o1777).unwrap();
    let file = d.open_file("f", Access::CreateNew, 0o600).unwrap();
    file.set_owner(7, 8).unwrap();
    file.set_mode(0o4755).unwrap();
    file.set_own_xattr(c"user.k", b"v\0w").unwrap();
    file.set_own_modified(Time { seconds: 1, nanos: 2 }).unwrap();
    d.hard_link("f", top, "g").unwrap();
    top.make_node("fifo", Kind::Fifo, 0o640, 0, 0).unwrap();
    top.make_node("gone", Kind::CharDevice, 0, 0, 0).unwrap();
    top.set_xattr("d", OsStr::new("trusted.overlay.opaque"), b"y").unwrap();

    let g = top.metadata("g").unwrap();
    assert_eq!((g.mode, g.uid, g.gid, g.links), (0o4755, 7, 8, 2));
    assert_eq!(g.modified, Time { seconds: 1, nanos: 2 });
    assert_eq!(top.xattrs("g").unwrap(), [("user.k".into(), b"v\0w".to_vec())]);
    assert_eq!(top.xattrs("d").unwrap(), [("trusted.overlay.opaque".into(), b"y".to_vec())]);
    top.remove_xattr("d", OsStr::new("trusted.overlay.opaque")).unwrap();
    assert_eq!(top.xattrs("d").unwrap(), []);
    assert!(top.metadata("gone").unwrap().is_whiteout());
    assert!(std::fs::metadata(inside.join("fifo")).unwrap().file_type().is_fifo());
    assert_eq!(std::fs::metadata(inside.join("d")).unwrap().permissions().mode() & 0o7777, 0o1777);

    // A FIFO in place of a file neither blocks nor is read.
    assert_eq!(root.read("fifo", 10).unwrap_err().errno(), libc::EINVAL);
    assert_eq!(root.read("/dev/../d/f", 10).unwrap_err().errno(), libc::ENOENT);
    let mut listed: Vec<_> = top.entries().unwrap().into_iter().map(|e| e.name).collect();
    listed.sort();
    assert_eq!(listed, ["d", "fifo", "g", "gone"]);
    assert_eq!(top.entries().unwrap().len(), 4);
}

#[test]
fn reads_no_more_than_the_limit() {
    let (_base, inside, _outside, root) = tree();
    crate::file::write_atomic(&inside.join("f"), b"12345", 0o600, crate::file::Durability::Process).unwrap();
    assert_eq!(root.read("f", 5).unwrap(), b"12345");
    assert_eq!(root.read("f", 4).unwrap_err().errno(), libc::EFBIG);
}

#[test]
fn removes_a_tree_deeper_than_a_path_can_say() {
    let (_base, inside, _outside, root) = tree();
    let mut dir = root.top().create_dir("deep", 0o700).unwrap();
    for _ in 0..3000 {
        dir = dir.create_dir("aaaa", 0o700).unwrap();
        dir.open_file("f", Access::CreateNew, 0o600).unwrap();
    }
    drop(dir);
    let mut seen = 0;
    let mut walk = |too_deep| {
        root.walk("", too_deep, |_| {
            seen += 1;
            Ok::<_, Error>(())
        })
    };
    walk(TooDeep::Skip).unwrap();
    assert_eq!(walk(TooDeep::Fail).unwrap_err().errno(), libc::ENAMETOOLONG);
    assert!(seen > 2000);
    root.top().remove_tree("deep").unwrap();
    assert_eq!(names(&inside).len(), 0);
}

/// An attacker exchanges a directory with a link that leads out, as fast as it can, while files are made and read
/// through the path: nothing may ever come from, or go to, the outside.
#[test]
fn a_race_does_not_lead_out() {
    let (_base, inside, outside, root) = tree();
    std::fs::create_dir(inside.join("d")).unwrap();
    symlink("../outside", inside.join("l")).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let attacker = std::thread::spawn({
        let (stop, inside) = (stop.clone(), inside.clone());
        move || {
            let dir = Root::open(&inside).unwrap();
            while !stop.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(
                    dir.as_fd(),
                    "d",
                    dir.as_fd(),
                    "l",
                    rustix::fs::RenameFlags::EXCHANGE,
                )
                .unwrap();
            }
        }
    });
    let mut inside_hits = 0;
    for i in 0..20_000 {
        let path = format!("d/../d/x{}", i % 50);
        if root.create_dirs(&path, 0o700).is_ok() {
            inside_hits += 1;
        }
        let _ = root.open_file(format!("d/f{}", i % 50), Access::Truncate, 0o600);
        assert!(root.read("d/secret", 100).is_err());
        let _ = root.remove_tree(&path);
        let _ = root.remove_tree("d/secret");
    }
    stop.store(true, Ordering::Relaxed);
    attacker.join().unwrap();
    assert!(inside_hits > 0);
    assert_eq!(names(&outside), ["secret"]);
}

#[test]
fn a_walk_is_in_order_and_stays_inside() {
    let (_base, inside, outside, root) = tree();
    root.create_dirs("b/c", 0o755).unwrap();
    root.create_dirs("a", 0o755).unwrap();
    symlink(&outside, inside.join("b/c/out")).unwrap();
    root.touch("b.x", 0o755, 0o644).unwrap();
    // Deeper than the directories that are kept open.
    let deep = "d/".repeat(50);
    root.create_dirs(&deep, 0o755).unwrap();
    root.touch(format!("{deep}/../z"), 0o755, 0o644).unwrap();
    let mut paths = Vec::new();
    root.walk("", TooDeep::Fail, |visit| {
        paths.push(visit.path.to_str().unwrap().to_owned());
        Ok::<_, Error>(())
    })
    .unwrap();
    assert_eq!(&paths[..5], ["a", "b", "b/c", "b/c/out", "b.x"]);
    assert_eq!(paths.len(), 5 + 50 + 1);
    assert_eq!(paths.last().unwrap(), &format!("{}z", "d/".repeat(49)));
}
