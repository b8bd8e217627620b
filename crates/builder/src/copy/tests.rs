use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use sys::file::{self, Durability};
use sys::root::Root;

use super::content;
use super::owner;
use super::place::{Plan, destination};
use super::tree::{Filter, select};
use crate::ignore::Ignore;

fn write(path: &Path, text: &str) {
    file::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
    file::write_atomic(path, text.as_bytes(), 0o640, Durability::Process).unwrap();
}

/// A context with a bit of everything, and an empty root.
fn trees() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let context = dir.path().join("context");
    for (name, text) in [("a.txt", "a"), ("b.txt", "b"), ("d/x", "x"), ("d/e/y", "y"), ("d/secret", "s")] {
        write(&context.join(name), text);
    }
    symlink("x", context.join("d/link")).unwrap();
    symlink("../../../../etc/passwd", context.join("out")).unwrap();
    symlink("d", context.join("dir-link")).unwrap();
    fs::create_dir(dir.path().join("root")).unwrap();
    dir
}

fn copy(dir: &Path, sources: &[&str], to: &str, filter: &Filter) -> crate::error::Result<()> {
    let (context, root) = (Root::open(&dir.join("context")).unwrap(), Root::open(&dir.join("root")).unwrap());
    let (path, into) = destination("/w", to);
    let plan = Plan { destination: path, into, owner: Some((0, 0)), mode: None };
    let sources: Vec<String> = sources.iter().map(|s| (*s).into()).collect();
    for source in select(&context, &sources, filter, "COPY", false)? {
        plan.copy(&root, &source, filter, &context)?;
    }
    Ok(())
}

/// All paths below a directory, sorted, directories with a slash.
fn listing(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let text = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.symlink_metadata().unwrap().is_dir() {
                found.push(text + "/");
                pending.push(path);
            } else {
                found.push(text);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn destinations_follow_the_rules() {
    for (sources, to, expected) in [
        (&["a.txt"][..], "/n", &["n"][..]),
        (&["a.txt"], "/n/", &["n/", "n/a.txt"]),
        (&["/a.txt"], "n", &["w/", "w/n"]),
        (&["../a.txt"], ".", &["w/", "w/a.txt"]),
        (&["*.txt"], "/t/", &["t/", "t/a.txt", "t/b.txt"]),
        (&["*.none"], "/t/", &[]),
        (&["d"], "/t", &["t/", "t/e/", "t/e/y", "t/link", "t/secret", "t/x"]),
        (&["dir-link"], "/t/", &["t/", "t/e/", "t/e/y", "t/link", "t/secret", "t/x"]),
        (&["d/e", "b.txt"], "/", &["b.txt", "y"]),
        (&["?/e"], "/q/", &["q/", "q/y"]),
    ] {
        let dir = trees();
        copy(dir.path(), sources, to, &Filter::default()).unwrap();
        assert_eq!(listing(&dir.path().join("root")), expected, "{sources:?} {to}");
    }
}

#[test]
fn links_stay_inside_both_trees() {
    let dir = trees();
    let root = dir.path().join("root");
    symlink("/real", root.join("via")).unwrap();
    fs::create_dir(root.join("real")).unwrap();
    copy(dir.path(), &["a.txt"], "/via/", &Filter::default()).unwrap();
    assert_eq!(listing(&root), ["real/", "real/a.txt", "via"]);
    let error = copy(dir.path(), &["out"], "/p", &Filter::default()).unwrap_err().to_string();
    assert_eq!(
        error,
        "COPY failed: file not found in build context or excluded by .dockerignore: stat out: file does not exist (it is a link to ../../../../etc/passwd, which is not in the build context: copy the file itself there)"
    );
    symlink("/etc", root.join("evil")).unwrap();
    copy(dir.path(), &["a.txt"], "/evil/corten-test", &Filter::default()).unwrap();
    assert!(root.join("etc/corten-test").exists() && !Path::new("/etc/corten-test").exists());
}

#[test]
fn attributes_are_the_sources_and_root_owns() {
    let dir = trees();
    let source = dir.path().join("context/d");
    std::os::unix::fs::chown(source.join("x"), Some(7), Some(8)).unwrap();
    fs::set_permissions(source.join("x"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(source.join("e"), fs::Permissions::from_mode(0o1700)).unwrap();
    copy(dir.path(), &["d"], "/t/u", &Filter::default()).unwrap();
    let made = |name: &str| dir.path().join("root/t").join(name).symlink_metadata().unwrap();
    assert_eq!((made("").mode() & 0o7777, made("u").mode() & 0o7777), (0o755, 0o755));
    let x = made("u/x");
    let was = source.join("x").metadata().unwrap();
    assert_eq!((x.mode() & 0o7777, x.uid(), x.gid()), (0o4711, 0, 0));
    assert_eq!((x.mtime(), x.mtime_nsec()), (was.mtime(), was.mtime_nsec()));
    assert_eq!(made("u/e").mode() & 0o7777, 0o1700);
    assert_eq!(fs::read_link(dir.path().join("root/t/u/link")).unwrap(), Path::new("x"));
}

#[test]
fn what_is_ignored_is_not_there() {
    let dir = trees();
    let ignore = |text: &str| Filter { ignore: Ignore::parse(text.as_bytes()).unwrap(), ..Filter::default() };
    copy(dir.path(), &["."], "/t", &ignore("*\n!d/e")).unwrap();
    assert_eq!(listing(&dir.path().join("root")), ["t/", "t/d/", "t/d/e/", "t/d/e/y"]);
    assert!(copy(dir.path(), &["a.txt"], "/t/", &ignore("*.txt")).is_err());
    let exclude = Filter { exclude: Ignore::new(["secret", "**/y"]).unwrap(), ..Filter::default() };
    copy(dir.path(), &["d"], "/u", &exclude).unwrap();
    assert_eq!(listing(&dir.path().join("root/u")), ["e/", "link", "x"]);
}

#[test]
fn kinds_in_the_way_are_errors() {
    let dir = trees();
    write(&dir.path().join("root/file"), "");
    for (sources, to) in [("d", "/file"), ("a.txt", "/file/"), ("a.txt", "/file/x")] {
        assert!(copy(dir.path(), &[sources], to, &Filter::default()).is_err(), "{sources} {to}");
    }
    copy(dir.path(), &["a.txt"], "/file", &Filter::default()).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("root/file")).unwrap(), "a");
}

#[test]
fn the_digest_is_of_content_not_of_times() {
    let dir = trees();
    let context = dir.path().join("context");
    let digest = || {
        let root = Root::open(&context).unwrap();
        let filter = Filter { ignore: Ignore::parse(b"d/secret").unwrap(), ..Filter::default() };
        let sources = select(&root, &["d".into()], &filter, "COPY", false).unwrap();
        content::digest(&sources[0], &filter, false, None).unwrap()
    };
    let before = digest();
    write(&context.join("d/x"), "x");
    write(&context.join("d/secret"), "changed");
    assert_eq!(digest(), before);
    fs::set_permissions(context.join("d/x"), fs::Permissions::from_mode(0o600)).unwrap();
    let mode = digest();
    assert_ne!(mode, before);
    write(&context.join("d/x"), "X");
    assert_ne!(digest(), mode);
    fs::remove_file(context.join("d/link")).unwrap();
    symlink("e", context.join("d/link")).unwrap();
    assert_ne!(digest(), before);
}

#[test]
fn owners_come_from_the_roots_own_files() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("etc/passwd"), "root:x:0:0::/:\nweb:x:33:34::/:\nbad:x:4294967296:0::/:\n");
    write(&dir.path().join("etc/group"), "root:x:0:\nstaff:x:50:web\n");
    let root = Root::open(dir.path()).unwrap();
    for (text, expected) in
        [("web", (33, 33)), ("web:staff", (33, 50)), ("5", (5, 5)), ("5:6", (5, 6)), ("5:staff", (5, 50))]
    {
        assert_eq!(owner::resolve(&root, text).unwrap(), expected, "{text}");
    }
    for text in ["nobody", "web:none", "bad", "4294967296", "", ":staff"] {
        assert!(owner::resolve(&root, text).is_err(), "{text}");
    }
}
