//! Beyond Docker: volumes get other names and labels, are copied, and go out and in as archives.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use testkit::{Command, Disk, Host};

/// Every kind of file, each attribute that a volume keeps.
const MAKE: &str = "
cd $1
mkdir -p dir/below; echo one > dir/file; ln dir/file dir/below/other; ln -s ../nowhere dir/link; mkfifo pipe
truncate -s 64M holes; printf middle | dd of=holes bs=1M seek=32 conv=notrunc 2>/dev/null
mknod device c 1 3; chmod 4750 dir/file; chown 1000:2000 dir/file; chown -h 7:8 dir/link
touch -d '2001-02-03 04:05:06.123456789' dir/file; touch -h -d '2002-01-01 00:00:00.5' dir/link
setfattr -n user.colour -v red dir/file; setfattr -n user.top -v yes .
setfacl -m u:33:rx dir/file; setfacl -d -m u:33:rwx dir; setfacl -m u:34:rwx .; chmod 1777 .; chown 5:6 .
touch -d '2003-03-03 03:03:03.25' dir/below; touch -d '2004-04-04 04:04:04.75' dir; touch -d '2005-05-05 05:05:05.125' .
";

/// All that can be seen of them.
const SHOW: &str = "
cd $1
find . | sort | while read f; do stat -c '%n %F %a %u:%g %s %y %h %t,%T' \"$f\"; done
getfacl -R -n -p . ; getfattr -h -R -d -m - . 2>/dev/null
find . -type f | sort | xargs sha256sum; stat -c %i dir/file dir/below/other | uniq | wc -l
";

fn on_host(script: &str, directory: &std::path::Path) -> String {
    Command::new(&["sh", "-euc", script, "sh", &directory.display().to_string()]).ok()
}

fn data(host: &Host, name: &str) -> std::path::PathBuf {
    host.path(&format!("data/volumes/{name}/_data"))
}

#[test]
fn a_copy_and_an_archive_are_exact() {
    let host = Host::new();
    host.corten(&["volume", "create", "--label", "a=b", "one"]).ok();
    on_host(MAKE, &data(&host, "one"));
    let shown = on_host(SHOW, &data(&host, "one"));
    assert!(shown.contains("user.colour=\"red\"") && shown.contains("default:user:33:rwx"), "{shown}");

    assert_eq!(host.corten(&["volume", "cp", "one", "two"]).ok(), "two");
    assert_eq!(on_host(SHOW, &data(&host, "two")), shown);
    let blocks = on_host("stat -c %b $1/holes", &data(&host, "two"));
    assert!(blocks.parse::<u64>().unwrap() < 8192, "holes stay holes: {blocks} blocks");
    assert_eq!(host.corten(&["volume", "inspect", "-f", "{{.Labels}}", "two"]).ok(), "map[a:b]");

    // Out to a file, and through a pipe; in plain and compressed.
    let tar = host.path("one.tar").display().to_string();
    host.corten(&["volume", "export", "-o", &tar, "one"]).ok();
    assert_eq!(host.corten(&["volume", "import", "--label", "c=d", &tar, "three"]).ok(), "three");
    assert_eq!(on_host(SHOW, &data(&host, "three")), shown);
    assert_eq!(host.corten(&["volume", "inspect", "-f", "{{.Labels}}", "three"]).ok(), "map[c:d]");
    Command::new(&["gzip", &tar]).ok();
    host.corten(&["volume", "import", &format!("{tar}.gz"), "four"]).ok();
    assert_eq!(on_host(SHOW, &data(&host, "four")), shown);
    host.corten(&["volume", "rm", "one", "two", "three", "four"]).ok();
    host.finish();
}

#[test]
fn a_copy_shares_its_blocks_where_the_file_system_can() {
    const MIB: u64 = 48;
    for kind in ["btrfs", "xfs"] {
        let disk = Disk::of(kind);
        let mut host = disk.host();
        host.start_daemon();
        let on_disk = |script: &str| on_host(script, &disk.path());
        let used = || on_disk("sync -f $1; df -k --output=used $1 | tail -1").trim().parse::<u64>().unwrap();
        host.corten(&["volume", "create", "one"]).ok();
        let file = |name: &str| data(&host, name).join("file").display().to_string();
        on_disk(&format!("head -c {MIB}M /dev/urandom > {}", file("one")));
        let before = used();
        host.corten(&["volume", "cp", "one", "two"]).ok();
        let more = used().saturating_sub(before);
        assert!(more < MIB * 1024 / 8, "{kind}: {more} KiB more for a copy of {MIB} MiB");
        // What is written to one is not seen in the other.
        let sum = |name: &str| on_disk(&format!("sha256sum < {}", file(name)));
        let one = sum("one");
        assert_eq!(sum("two"), one);
        on_disk(&format!("printf new | dd of={} conv=notrunc 2>/dev/null", file("two")));
        assert_eq!(on_disk(&format!("head -c 3 {}", file("two"))), "new");
        assert_eq!(sum("one"), one);
        host.corten(&["volume", "rm", "one", "two"]).ok();
        host.finish();
    }
}

#[test]
fn what_writes_to_a_volume_is_named() {
    let host = Host::new();
    host.corten(&["run", "-d", "--name", "writer", "-v", "data:/d", "busybox", "sleep", "1000"]).ok();
    let tar = host.path("data.tar").display().to_string();
    for words in [&["volume", "cp", "data", "copy"][..], &["volume", "export", "-o", &tar, "data"]] {
        let refused = host.corten(words).fails(1);
        assert!(refused.contains("the container \"writer\" (") && refused.contains("stop it"), "{refused}");
        let force = [&words[..2], &["--force"], &words[2..]].concat();
        host.corten(&force).ok();
    }
    let refused = host.corten(&["volume", "rename", "data", "other"]).fails(1);
    assert!(refused.contains("rename data: volume is in use - ["), "{refused}");
    // One that only reads is no hindrance, nor is one that does not run.
    host.corten(&["stop", "-t", "0", "writer"]).ok();
    host.corten(&["run", "-d", "--name", "reader", "-v", "data:/d:ro", "busybox", "sleep", "1000"]).ok();
    host.corten(&["volume", "cp", "data", "again"]).ok();
    host.corten(&["rm", "-f", "reader", "writer"]).ok();
    host.corten(&["volume", "rm", "data", "copy", "again"]).ok();
    host.finish();
}

#[test]
fn names_and_labels_change() {
    let mut host = Host::new();
    host.corten(&["run", "--rm", "-v", "old:/d", "busybox", "sh", "-c", "echo kept > /d/file"]).ok();
    host.corten(&["volume", "create", "taken"]).ok();
    host.corten(&["volume", "rename", "old", "new"]).ok();
    host.corten(&["volume", "update", "--label-add", "a=b", "--label-add", "c=d", "new"]).ok();
    host.corten(&["volume", "update", "--label-rm", "c", "new"]).ok();
    host.kill_daemon();
    host.start_daemon();
    assert_eq!(host.docker(&["volume", "ls", "-q"]).ok(), "new\ntaken");
    assert_eq!(host.docker(&["volume", "ls", "-q", "-f", "label=a=b"]).ok(), "new");
    assert_eq!(host.corten(&["run", "--rm", "-v", "new:/d", "busybox", "cat", "/d/file"]).ok(), "kept");
    for (words, why) in [
        (&["rename", "new", "taken"][..], "there is a volume \"taken\" already"),
        (&["rename", "none", "other"], "get none: no such volume"),
        (&["rename", "new", "a/b"], "includes invalid characters"),
        (&["rename", "new", "new"], "same name"),
        (&["cp", "new", "taken"], "there is a volume \"taken\" already"),
        (&["cp", "none", "other"], "get none: no such volume"),
        (&["update", "--label-rm", "none", "new"], "the volume has no label \"none\""),
        (&["update", "--size", "1m", "new"], "made without a size"),
        (&["update", "--availability", "drain", "new"], "can only update cluster volumes"),
        (&["update", "new"], "you must provide one or more flags"),
        (&["export", "-o", "/nowhere/x", "new"], "invalid output path"),
    ] {
        let refused = host.corten(&[&["volume"], words].concat()).fails(1);
        assert!(refused.contains(why), "{refused}");
    }
    let refused = host.docker(&["volume", "update", "--availability", "drain", "new"]).fails(1);
    assert!(refused.contains("can only update cluster volumes"), "{refused}");
    host.corten(&["volume", "rm", "new", "taken"]).ok();
    host.finish();
}

#[test]
fn an_import_that_fails_leaves_nothing() {
    let host = Host::new();
    let tar = host.path("cut.tar");
    let whole = Command::new(&["tar", "-C", "/etc", "-cf", "-", "passwd", "group"]).output().stdout;
    std::fs::write(&tar, &whole.as_bytes()[..whole.len().min(700)]).unwrap();
    let text = host.path("text");
    std::fs::write(&text, "no archive at all, but long enough to be read as one\n".repeat(40)).unwrap();
    for file in [&tar, &text] {
        let refused = host.corten(&["volume", "import", &file.display().to_string(), "bad"]).fails(1);
        assert!(refused.contains("import bad: "), "{refused}");
    }
    let good = host.path("good.tar").display().to_string();
    Command::new(&["tar", "-C", "/etc", "-cf", &good, "passwd"]).ok();
    let refused =
        host.corten(&["volume", "import", "-o", "type=tmpfs", "-o", "device=t", &good, "bad"]).fails(1);
    assert!(refused.contains("content of that device"), "{refused}");
    assert_eq!(host.corten(&["volume", "ls", "-q"]).ok(), "");
    assert_eq!(std::fs::read_dir(host.path("data/volumes")).unwrap().count(), 0);
    // What leads out of an archive leads nowhere.
    let evil = host.path("evil.tar").display().to_string();
    Command::new(&["tar", "-P", "--transform", "s,.*,../../../evil,", "-cf", &evil, "/etc/passwd"]).ok();
    host.corten(&["volume", "import", &evil, "caught"]).ok();
    assert!(data(&host, "caught").join("evil").exists() && !host.path("data/evil").exists());
    host.corten(&["volume", "rm", "caught"]).ok();
    host.finish();
}
