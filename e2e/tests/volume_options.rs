//! Options of the local driver: what is mounted on first use, for how long, and what is said when it cannot be.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use testkit::{Command, Host, audit, until};

/// What is mounted of a volume on this machine.
fn mounts(host: &Host, name: &str) -> Vec<String> {
    audit::mounts_in(&host.path(&format!("data/volumes/{name}/_data")))
}

#[test]
fn memory_is_shared_by_all_that_use_it_and_gone_with_the_last() {
    let mut host = Host::new();
    let options = ["-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=1000,mode=0750,noexec"];
    host.docker(&[&["volume", "create"], &options[..], &["mem"]].concat()).ok();
    assert!(mounts(&host, "mem").is_empty(), "nothing is mounted before it is used");
    host.docker(&["run", "-d", "--name", "c1", "-v", "mem:/m", "busybox", "sleep", "1000"]).ok();
    let line = mounts(&host, "mem").join(" ");
    assert!(line.contains("noexec") && line.contains("size=1024k") && line.contains("uid=1000"), "{line}");
    host.docker(&["exec", "c1", "sh", "-c", "echo kept > /m/file"]).ok();
    host.docker(&["run", "-d", "--name", "c2", "-v", "mem:/n", "busybox", "sleep", "1000"]).ok();
    assert_eq!(host.docker(&["exec", "c2", "cat", "/n/file"]).ok(), "kept");
    let mode = host.docker(&["exec", "c2", "stat", "-c", "%u %a", "/n"]).ok();
    assert_eq!(mode, "1000 750");
    assert_eq!(mounts(&host, "mem").len(), 1, "once for all");
    host.docker(&["rm", "-f", "c1"]).ok();
    assert_eq!(mounts(&host, "mem").len(), 1);
    // The next daemon knows who has it.
    host.kill_daemon();
    host.start_daemon();
    host.docker(&["run", "--rm", "-v", "mem:/o", "busybox", "cat", "/o/file"]).ok();
    assert_eq!(mounts(&host, "mem").len(), 1, "c2 still has it");
    host.docker(&["stop", "-t", "0", "c2"]).ok();
    assert!(mounts(&host, "mem").is_empty());
    // A container that ends while no daemon runs leaves nothing either.
    host.docker(&["start", "c2"]).ok();
    assert_eq!(host.docker(&["exec", "c2", "ls", "/n"]).ok(), "", "new memory");
    let pid = host.docker(&["inspect", "-f", "{{.State.Pid}}", "c2"]).ok();
    host.kill_daemon();
    Command::new(&["kill", "-9", &pid]).ok();
    host.start_daemon();
    until("the volume's end", || mounts(&host, "mem").is_empty().then_some(()));
    let refused = host.docker(&["volume", "rm", "mem"]).fails(1);
    assert!(refused.contains("remove mem: volume is in use - ["), "{refused}");
    host.docker(&["rm", "c2"]).ok();
    host.docker(&["volume", "rm", "mem"]).ok();
    host.finish();
}

#[test]
fn a_directory_of_the_host_is_bound_and_never_removed() {
    let host = Host::new();
    let dir = host.path("shared");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("file"), "the host's\n").unwrap();
    let device = format!("device={}", dir.display());
    for (name, o) in [("plain", "o=bind"), ("sealed", "o=bind,ro")] {
        host.docker(&["volume", "create", "-o", "type=none", "-o", o, "-o", &device, name]).ok();
    }
    let run = |name: &str, script: &str| {
        host.docker(&["run", "--rm", "-v", &format!("{name}:/d"), "busybox", "sh", "-c", script]).output()
    };
    assert_eq!(run("plain", "cat /d/file; echo new > /d/new").stdout, "the host's\n");
    assert_eq!(std::fs::read_to_string(dir.join("new")).unwrap(), "new\n");
    assert!(run("sealed", "echo x > /d/x").stderr.contains("Read-only file system"));
    host.docker(&["volume", "rm", "plain", "sealed"]).ok();
    assert_eq!(std::fs::read_to_string(dir.join("file")).unwrap(), "the host's\n");

    // It is seen by cp while its container does not run, and by nobody when that is done.
    host.docker(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, "plain"]).ok();
    host.docker(&["create", "--name", "c1", "-v", "plain:/d", "busybox"]).ok();
    let out = host.path("out");
    host.docker(&["cp", "c1:/d/file", &out.display().to_string()]).ok();
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "the host's\n");
    until("the volume's end", || mounts(&host, "plain").is_empty().then_some(()));
    host.docker(&["rm", "c1"]).ok();
    host.docker(&["volume", "rm", "plain"]).ok();
    host.finish();
}

#[test]
fn a_disk_image_is_a_volume() {
    let host = Host::new();
    let image = host.path("disk.img").display().to_string();
    Command::new(&["truncate", "-s", "16M", &image]).ok();
    Command::new(&["mkfs.ext4", "-q", &image]).ok();
    let device = Command::new(&["losetup", "--find", "--show", &image]).ok();
    let options = ["-o", "type=ext4", "-o", &format!("device={device}"), "-o", "o=noatime"];
    host.docker(&[&["volume", "create"], &options[..], &["disk"]].concat()).ok();
    let run = |script: &str| {
        host.docker(&["run", "--rm", "-v", "disk:/etc", "busybox", "sh", "-c", script]).output()
    };
    // What mkfs has made is there, so nothing of the image's is.
    assert_eq!(run("ls /etc | grep -v resolv | grep -v host; echo kept > /etc/file").stdout, "lost+found\n");
    assert_eq!(run("cat /etc/file").stdout, "kept\n");
    assert!(mounts(&host, "disk").is_empty());
    host.docker(&["volume", "rm", "disk"]).ok();
    Command::new(&["losetup", "-d", &device]).ok();
    host.finish();
}

#[test]
fn what_the_kernel_refuses_is_told_in_dockers_words() {
    let host = Host::new();
    let data = |name: &str| host.path(&format!("data/volumes/{name}/_data")).display().to_string();
    for (name, options, why) in [
        (
            "gone",
            ["type=none", "device=/no/such/directory", "o=bind"],
            "flags: 0x1000: no such file or directory",
        ),
        ("what", ["type=nosuchfs", "device=none", "o=x"], "data: x: no such device"),
        (
            "odd",
            ["type=tmpfs", "device=tmpfs", "o=ro,colour=red"],
            "flags: 0x1, data: colour=red: invalid argument",
        ),
        (
            "lost",
            ["type=nfs", "device=:/x", "o=addr=no.such.host.invalid,ro"],
            "lookup no.such.host.invalid: no such host",
        ),
        ("far", ["type=nfs4", "device=:/x", "o=addr=127.0.0.1,nolock"], "data: addr=127.0.0.1,nolock: "),
        ("secret", ["type=cifs", "device=//127.0.0.1/x", "o=password=hunter2"], "data: password=********: "),
    ] {
        let words: Vec<&str> = options.iter().flat_map(|option| ["-o", *option]).collect();
        host.docker(&[&["volume", "create"], &words[..], &[name]].concat()).ok();
        let refused = host
            .docker(&["run", "--rm", "-v", &format!("{name}:/nothing"), "busybox", "true"])
            .output()
            .stderr;
        let begin = format!("error while mounting volume '{}': ", data(name));
        assert!(refused.contains(&begin) && refused.contains(why), "{refused}");
        if name != "lost" {
            assert!(refused.contains("failed to mount local volume: mount "), "{refused}");
        }
        assert!(!refused.contains("hunter2"));
        // Where the image has something for the volume, the create already needs it.
        let refused = host.docker(&["create", "-v", &format!("{name}:/etc"), "busybox"]).fails(1);
        assert!(refused.contains(&format!("failed to populate volume: {begin}")), "{refused}");
        host.docker(&["volume", "rm", name]).ok();
    }
    for (options, why) in [
        (&["colour=red"][..], "create v1: invalid option: \"colour\""),
        (&["type=nfs"], "create v1: missing required option: \"device\""),
        (&["type=tmpfs", "device=tmpfs", "uid=5"], "create v1: invalid option: \"uid\""),
        (&["mode=rwx"], "create v1: invalid mode: \"rwx\""),
        (&["size=much"], "create v1: invalid size: 'much'"),
        (&["type=cifs", "device=//host:445/x"], "port not allowed in CIFS device URL"),
    ] {
        let words: Vec<&str> = options.iter().flat_map(|option| ["-o", *option]).collect();
        let refused = host.docker(&[&["volume", "create"], &words[..], &["v1"]].concat()).fails(1);
        assert!(refused.contains(why), "{refused}");
    }
    assert_eq!(host.docker(&["volume", "ls", "-q"]).ok() + &host.docker(&["ps", "-aq"]).ok(), "");
    assert_eq!(std::fs::read_dir(host.path("data/volumes")).unwrap().count(), 0);
    host.finish();
}

#[test]
fn a_plain_volume_has_the_owner_that_was_asked_for() {
    let host = Host::new();
    let options = ["-o", "uid=1000", "-o", "gid=2000", "-o", "mode=2770"];
    host.docker(&[&["volume", "create"], &options[..], &["mine"]].concat()).ok();
    let stat = |mount: &str, path: &str| {
        host.docker(&[
            "run",
            "--rm",
            "-u",
            "1000:2000",
            "-v",
            mount,
            "busybox",
            "stat",
            "-c",
            "%u:%g %a",
            path,
        ])
        .ok()
    };
    assert_eq!(stat("mine:/d", "/d"), "1000:2000 2770");
    // Also when an image gives it its first content.
    host.docker(&["run", "--rm", "-v", "mine:/etc", "busybox", "true"]).ok();
    assert_eq!(stat("mine:/d", "/d"), "1000:2000 2770");
    assert_eq!(stat("mine:/d", "/d/group"), "0:0 644");
    // `--mount` makes such ones, too; an anonymous one goes with its container.
    let mount = "type=volume,dst=/d,volume-opt=uid=7,volume-label=a=b";
    let said = host.docker(&["run", "--rm", "--mount", mount, "busybox", "stat", "-c", "%u", "/d"]).ok();
    assert_eq!(said, "7");
    host.docker(&["volume", "prune", "-af"]).ok();
    assert_eq!(host.docker(&["volume", "ls", "-q"]).ok(), "");
    host.finish();
}
