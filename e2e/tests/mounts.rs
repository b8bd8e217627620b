//! `-v`, `--mount`, `--tmpfs` and `--volumes-from` with the original client: every option, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use std::path::PathBuf;

use testkit::{Command, Host};

/// A directory of the host's that is a mount with a propagation, and goes with the test.
struct Tree(PathBuf);

impl Tree {
    fn new(host: &Host, name: &str, propagation: &str) -> Self {
        let path = host.path(name);
        std::fs::create_dir(&path).unwrap();
        let at = path.display().to_string();
        Command::new(&["mount", "--bind", &at, &at]).ok();
        Command::new(&["mount", &format!("--make-{propagation}"), &at]).ok();
        Self(path)
    }

    fn text(&self) -> String {
        self.0.display().to_string()
    }

    /// Memory below it.
    fn mount(&self, name: &str) {
        let below = self.0.join(name);
        std::fs::create_dir_all(&below).unwrap();
        Command::new(&["mount", "-t", "tmpfs", "-o", "size=1m", "below", &below.display().to_string()]).ok();
        std::fs::write(below.join("file"), "below\n").unwrap();
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = Command::new(&["umount", "-R", "-l", &self.text()]).output();
    }
}

#[test]
fn mounts_come_and_go_as_far_as_they_propagate() {
    let host = Host::new();
    let (shared, private) = (Tree::new(&host, "shared", "shared"), Tree::new(&host, "private", "private"));
    let source = shared.text();
    for (name, how) in [("slave", ":rslave"), ("shares", ":rshared"), ("none", "")] {
        let bind = format!("{source}:/m{how}");
        host.docker(&["run", "-d", "--name", name, "--privileged", "-v", &bind, "busybox", "sleep", "1000"])
            .ok();
    }
    shared.mount("after");
    let sees = |name: &str, path: &str| host.docker(&["exec", name, "test", "-e", path]).output().code == 0;
    assert!(
        sees("slave", "/m/after/file") && sees("shares", "/m/after/file") && !sees("none", "/m/after/file")
    );
    host.docker(&[
        "exec",
        "shares",
        "sh",
        "-c",
        "mkdir /m/inner; mount -t tmpfs t /m/inner; touch /m/inner/x",
    ])
    .ok();
    assert!(shared.0.join("inner/x").exists() && sees("slave", "/m/inner/x") && !sees("none", "/m/inner/x"));
    host.docker(&["exec", "slave", "sh", "-c", "mkdir /m/own; mount -t tmpfs t /m/own; touch /m/own/x"]).ok();
    assert!(!shared.0.join("own/x").exists(), "nothing goes out of a slave");
    let of = "{{(index .Mounts 0).Propagation}} {{(index .Mounts 0).Mode}}";
    assert_eq!(host.docker(&["inspect", "-f", of, "slave"]).ok(), "rslave rslave");
    assert_eq!(host.docker(&["inspect", "-f", of, "none"]).ok(), "rprivate ");
    host.docker(&["rm", "-f", "slave", "shares", "none"]).ok();

    // Docker's check that the source is what it has to be.
    for (how, what) in [
        ("shared", "shared"),
        ("rshared", "shared"),
        ("slave", "shared or slave"),
        ("rslave", "shared or slave"),
    ] {
        let bind = format!("{}:/m:{how}", private.text());
        let refused = host.docker(&["run", "--rm", "-v", &bind, "busybox", "true"]).fails(125);
        let text = format!("path {0} is mounted on {0} but it is not a {what} mount", private.text());
        assert!(refused.contains(&text), "{refused}");
    }
    for how in ["private", "rprivate"] {
        let mount = format!("type=bind,src={},dst=/m,bind-propagation={how}", private.text());
        host.docker(&["run", "--rm", "--mount", &mount, "busybox", "true"]).ok();
    }
    // What is around the data root does not keep what is unmounted there.
    let root = host.path("data").display().to_string();
    let refused = host.docker(&["create", "-v", &format!("{root}:/m:private"), "busybox"]).fails(1);
    assert!(refused.contains("must use either propagation mode \"rslave\" or \"rshared\""), "{refused}");
    host.docker(&["create", "--name", "c1", "-v", &format!("{root}:/m"), "busybox", "ls", "/m/volumes"]).ok();
    assert_eq!(host.docker(&["inspect", "-f", of, "c1"]).ok(), "rslave ");
    host.docker(&["start", "-a", "c1"]).ok();
    host.docker(&["rm", "c1"]).ok();
    drop((shared, private));
    host.finish();
}

#[test]
fn read_only_reaches_as_far_as_it_is_told() {
    let host = Host::new();
    let tree = Tree::new(&host, "tree", "private");
    tree.mount("sub");
    let run = |options: &str| {
        let mount = format!("type=bind,src={},dst=/m{options}", tree.text());
        let script = "touch /m/x 2>/dev/null && echo top; ls /m/sub; touch /m/sub/x 2>/dev/null && echo sub; rm -f /m/x /m/sub/x; true";
        let said = host.docker(&["run", "--rm", "--mount", &mount, "busybox", "sh", "-c", script]).ok();
        said.replace('\n', " ")
    };
    assert_eq!(run(""), "top file sub");
    assert_eq!(run(",readonly"), "file");
    assert_eq!(run(",readonly,bind-recursive=enabled"), "file");
    assert_eq!(run(",readonly,bind-recursive=writable"), "file sub");
    assert_eq!(run(",readonly,bind-recursive=readonly,bind-propagation=rprivate"), "file");
    assert_eq!(run(",bind-recursive=disabled"), "top sub", "what is mounted below is not there");
    assert_eq!(run(",readonly,bind-recursive=disabled"), "");
    drop(tree);
    host.finish();
}

#[test]
fn the_words_of_v_and_mount() {
    let host = Host::new();
    let dir = host.path("dir");
    std::fs::create_dir(&dir).unwrap();
    let at = dir.display().to_string();
    // Labels and consistency mean nothing here, and are no error.
    for how in ["z", "Z", "cached", "delegated", "consistent", "rw,z", "ro,Z,rprivate,cached"] {
        host.docker(&["run", "--rm", "-v", &format!("{at}:/m:{how}"), "busybox", "true"]).ok();
    }
    // Missing sources: -v makes a directory, --mount does not unless told.
    let new = host.path("new/below").display().to_string();
    let mount = format!("type=bind,src={new},dst=/m");
    let refused = host.docker(&["create", "--mount", &mount, "busybox"]).fails(1);
    assert!(
        refused.contains(&format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {new}"
        )),
        "{refused}"
    );
    host.docker(&["run", "--rm", "-v", &format!("{new}:/m"), "busybox", "touch", "/m/x"]).ok();
    assert!(host.path("new/below/x").exists());
    // Volumes: content of the image unless told otherwise; parts; nested targets in any order.
    let lines = |words: &[&str]| host.docker(&[&["run", "--rm"], words].concat()).ok();
    // The container's own files stay seen.
    let look =
        ["-v", "full:/etc", "-h", "seen", "busybox", "cat", "/etc/group", "/etc/hostname", "/etc/hosts"];
    let seen = lines(&look);
    assert!(seen.contains("root:x:0:") && seen.contains("\nseen\n") && seen.contains("localhost"), "{seen}");
    assert!(!lines(&["-v", "empty:/etc:nocopy", "busybox", "ls", "/etc"]).contains("group"));
    assert!(
        !lines(&["--mount", "src=bare,dst=/etc,volume-nocopy", "busybox", "ls", "/etc"]).contains("group")
    );
    lines(&[
        "-v",
        "parts:/p",
        "busybox",
        "sh",
        "-c",
        "mkdir -p /p/a/b; echo deep > /p/a/b/file; ln -s /etc /p/link",
    ]);
    assert_eq!(
        lines(&["--mount", "src=parts,dst=/d,volume-subpath=a/b", "busybox", "cat", "/d/file"]),
        "deep"
    );
    for (path, why) in [("none", "none"), ("../x", "relative path"), ("/a", "relative path")] {
        let mount = format!("src=parts,dst=/d,volume-subpath={path}");
        let refused = host.docker(&["run", "--rm", "--mount", &mount, "busybox", "true"]).output().stderr;
        assert!(refused.contains(why), "{refused}");
    }
    // A link that leads out leads to what is inside.
    let refused = host
        .docker(&["run", "--rm", "--mount", "src=parts,dst=/d,volume-subpath=link", "busybox", "true"])
        .output()
        .stderr;
    assert!(refused.contains("link") || refused.contains("etc"), "{refused}");
    let nested = [
        "-v",
        "inner:/x/y/z",
        "-v",
        "outer:/x",
        "--tmpfs",
        "/x/y",
        "busybox",
        "sh",
        "-c",
        "mount | grep -c ' /x'",
    ];
    assert_eq!(lines(&nested), "3");
    // Memory.
    let tmpfs = "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770";
    let shown = lines(&["--mount", tmpfs, "busybox", "sh", "-c", "stat -c %a /t; grep ' /t ' /proc/mounts"]);
    assert!(shown.starts_with("1770") && shown.contains("size=1024k") && shown.contains("noexec"), "{shown}");
    let shown = lines(&["--tmpfs", "/t:exec,size=64k,uid=5", "busybox", "grep", " /t ", "/proc/mounts"]);
    assert!(shown.contains("size=64k") && shown.contains("uid=5") && !shown.contains("noexec"), "{shown}");
    let shown = lines(&["--mount", "type=tmpfs,dst=/t,ro", "busybox", "sh", "-c", "touch /t/x 2>&1 || true"]);
    assert!(shown.contains("Read-only file system"), "{shown}");
    for volume in ["full", "empty", "bare", "parts", "inner", "outer"] {
        host.docker(&["volume", "rm", volume]).ok();
    }
    host.finish();
}

#[test]
fn other_containers_volumes() {
    let host = Host::new();
    let dir = host.path("dir");
    std::fs::create_dir(&dir).unwrap();
    let bind = format!("{}:/b:ro", dir.display());
    host.docker(&[
        "create",
        "--name",
        "c1",
        "-v",
        "/anonymous",
        "-v",
        "named:/n",
        "-v",
        &bind,
        "--tmpfs",
        "/t",
        "busybox",
    ])
    .ok();
    host.docker(&["create", "--name", "c2", "--volumes-from", "c1:ro", "-v", "other:/n", "busybox"]).ok();
    let of = "{{range .Mounts}}{{.Destination}} {{.Type}} {{.RW}} {{.Name}};{{end}}";
    let name = host.docker(&["volume", "ls", "-q", "-f", "name=^[0-9a-f]{64}$"]).ok();
    let mut shown: Vec<_> =
        host.docker(&["inspect", "-f", of, "c2"]).ok().split(';').map(str::to_owned).collect();
    shown.sort();
    let anonymous = format!("/anonymous volume false {name}");
    assert_eq!(shown, ["", &anonymous, "/b bind false ", "/n volume true other"]);
    // The volume outlives the one that made it while another has it.
    host.docker(&["rm", "-v", "c1"]).ok();
    assert_eq!(host.docker(&["volume", "ls", "-q"]).ok().lines().count(), 3);
    host.docker(&["rm", "-v", "c2"]).ok();
    for (from, why) in [
        ("nobody", "No such container: nobody"),
        ("c2:fast", "invalid mode: fast"),
        ("c2:rslave", "invalid mode: rslave"),
    ] {
        let refused = host.docker(&["create", "--volumes-from", from, "busybox"]).fails(1);
        assert!(refused.contains(why), "{refused}");
    }
    host.docker(&["volume", "prune", "-af"]).ok();
    assert_eq!(host.docker(&["volume", "ls", "-q"]).ok(), "");
    host.finish();
}

#[test]
fn bad_mounts_are_refused_and_leave_nothing() {
    let host = Host::new();
    let file = host.path("file");
    std::fs::write(&file, "x").unwrap();
    let at = file.display().to_string();
    let onto = format!("{at}:/etc");
    for (words, why) in [
        (
            &["-v", "data:relative"][..],
            "invalid volume specification: 'data:relative': invalid mount config for type \"volume\": invalid mount path: 'relative' mount path must be absolute",
        ),
        (&["-v", "data:/"], "invalid specification: destination can't be '/'"),
        (&["-v", "data:/x:fast"], "invalid mode: fast"),
        (&["-v", "data:/x:ro,rw"], "invalid mode: ro,rw"),
        (&["-v", "data:/x:rshared"], "field BindOptions must not be specified"),
        (&["-v", "/tmp:/x:nocopy"], "field VolumeOptions must not be specified"),
        (&["-v", "b/d:/x"], "create b/d: \"b/d\" includes invalid characters for a local volume name"),
        (&["--mount", "src=x,dst=/x"], "create x: volume name is too short"),
        (&["-v", "data:/x", "-v", "more:/x/"], "Duplicate mount point: /x"),
        (&["-v", "data:/x", "--tmpfs", "/x"], "Duplicate mount point: /x"),
        (&["-v", "data:/x", "--mount", "src=more,dst=/x"], "Duplicate mount point: /x"),
        (&["--tmpfs", "x"], "invalid mount path: 'x' mount path must be absolute"),
        (&["--tmpfs", "/x:colour=red"], "invalid tmpfs option [\"colour=red\"]"),
        (
            &["--mount", "type=volume,dst=/x,volume-subpath=a"],
            "must not set Subpath when using anonymous volumes",
        ),
        (
            &["--mount", "type=volume,src=data,dst=/x,volume-opt=colour=red"],
            "create data: invalid option: \"colour\"",
        ),
    ] {
        let refused = host.docker(&[&["create"], words, &["busybox"]].concat()).fails(1);
        assert!(refused.contains(why), "{words:?}: {refused}");
    }
    // Known when it is started only.
    let refused = host.docker(&["run", "--rm", "-v", &onto, "busybox", "true"]).fails(125);
    assert!(
        refused.contains("Are you trying to mount a directory onto a file (or vice-versa)?"),
        "{refused}"
    );
    assert_eq!(host.docker(&["ps", "-aq"]).ok() + &host.docker(&["volume", "ls", "-q"]).ok(), "");
    assert_eq!(std::fs::read_dir(host.path("data/rw")).unwrap().count(), 0);
    host.finish();
}
