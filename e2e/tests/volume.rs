//! Named volumes, bind mounts, tmpfs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use testkit::Host;

#[test]
fn a_volume_outlives_its_containers() {
    let host = Host::new();
    let run = |mount: &str, script: &str| {
        host.corten(&["run", "--rm", "-v", mount, "busybox", "sh", "-c", script]).ok()
    };
    run("data:/d", "echo kept > /d/file");
    assert_eq!(run("data:/e", "cat /e/file"), "kept");
    assert_eq!(run("data:/e:ro", "echo x > /e/file 2>/dev/null || echo refused"), "refused");
    // Copy-up: a new volume on a directory of the image takes its content, owners included.
    assert_eq!(run("conf:/etc", "cat /etc/group | head -1"), "root:x:0:");
    assert!(host.corten(&["volume", "ls", "-q"]).ok().lines().eq(["conf", "data"]));

    host.corten(&["create", "--name", "holder", "-v", "data:/d", "busybox"]).ok();
    let refused = host.corten(&["volume", "rm", "data"]).fails(1);
    assert!(refused.contains("volume is in use"), "{refused}");
    host.corten(&["rm", "holder"]).ok();
    host.corten(&["volume", "rm", "data", "conf"]).ok();
    assert_eq!(host.corten(&["volume", "ls", "-q"]).ok(), "");

    // An anonymous volume goes with --rm.
    host.corten(&["run", "--rm", "-v", "/anonymous", "busybox", "true"]).ok();
    assert_eq!(host.corten(&["volume", "ls", "-q"]).ok(), "");
    host.finish();
}

#[test]
fn a_volume_that_many_create_with_is_filled_once() {
    let host = Host::new();
    let make = "mkdir /full; cd /full; for i in $(seq 2000); do echo $i > $i; done";
    host.corten(&["run", "--name", "c0", "busybox", "sh", "-c", make]).ok();
    host.corten(&["commit", "c0", "full"]).ok();
    host.corten(&["rm", "c0"]).ok();
    let count =
        || host.corten(&["run", "--rm", "-v", "v1:/full", "full", "sh", "-c", "ls /full | wc -l"]).ok();
    std::thread::scope(|scope| {
        let many: Vec<_> = (0..6).map(|_| scope.spawn(count)).collect();
        for one in many {
            assert_eq!(one.join().unwrap(), "2000");
        }
    });
    host.corten(&["volume", "rm", "v1"]).ok();
    host.finish();
}

#[test]
fn bind_mounts() {
    let host = Host::new();
    let directory = host.path("shared");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("in"), "from the host").unwrap();
    let mount = format!("{}:/m", directory.display());
    assert_eq!(host.corten(&["run", "--rm", "-v", &mount, "busybox", "cat", "/m/in"]).ok(), "from the host");
    host.corten(&["run", "--rm", "-v", &mount, "busybox", "sh", "-c", "echo out > /m/out"]).ok();
    assert_eq!(std::fs::read_to_string(directory.join("out")).unwrap(), "out\n");
    let read_only = format!("{mount}:ro");
    host.corten(&["run", "--rm", "-v", &read_only, "busybox", "sh", "-c", "echo x > /m/out 2>/dev/null"])
        .fails(1);

    let file = format!("{}:/one", directory.join("in").display());
    assert_eq!(host.corten(&["run", "--rm", "-v", &file, "busybox", "cat", "/one"]).ok(), "from the host");
    let missing = format!("type=bind,source={}/nothing,target=/m", directory.display());
    let refused = host.corten(&["run", "--rm", "--mount", &missing, "busybox", "true"]).fails(125);
    assert!(refused.contains("bind source path does not exist"), "{refused}");
    host.finish();
}
