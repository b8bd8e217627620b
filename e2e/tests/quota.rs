//! Size limits of writable layers and volumes, by project quotas of a real ext4.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use testkit::{Command, Disk};

const FILL: &str = "dd if=/dev/zero of=$0 bs=1M count=40 2>&1 | tail -1; du -m $0 | cut -f1; rm $0";

#[test]
fn a_layer_and_a_volume_take_what_they_may() {
    // Where the kernel has no such quotas, the other test says what happens; `cargo xtask vm quota` has them.
    let Some(disk) = Disk::with_quotas() else {
        return;
    };
    let mut host = disk.host();
    host.start_daemon();
    host.import_busybox();
    let fill = |options: &[&str], path: &str| {
        let words = [&["run", "--rm"], options, &["busybox", "sh", "-c", FILL, path]].concat();
        let said = host.docker(&words).ok();
        said.lines().last().unwrap().parse::<u32>().unwrap()
    };
    let limited = fill(&["--storage-opt", "size=10m"], "/big");
    assert!((8..=10).contains(&limited), "{limited} MiB of 10");
    assert_eq!(fill(&[], "/big"), 40, "others have no limit");
    host.docker(&["volume", "create", "-o", "size=8m", "v1"]).ok();
    let limited = fill(&["-v", "v1:/v"], "/v/big");
    assert!((7..=8).contains(&limited), "{limited} MiB of 8");
    // The limit outlives the daemon and a restart of the container, and says what it is.
    let words = ["run", "-d", "--name", "c1", "--storage-opt", "size=4m", "busybox", "sleep", "1000"];
    host.docker(&words).ok();
    let full = |host: &testkit::Host| {
        host.docker(&["exec", "c1", "dd", "if=/dev/zero", "of=/x", "bs=1M", "count=9"]).output()
    };
    let said = full(&host);
    assert!(
        said.stderr.contains("No space left on device") || said.stderr.contains("Disk quota exceeded"),
        "{said:?}"
    );
    host.kill_daemon();
    host.start_daemon();
    host.docker(&["exec", "c1", "rm", "/x"]).ok();
    assert_ne!(full(&host).code, 0);
    assert_eq!(host.docker(&["inspect", "-f", "{{.HostConfig.StorageOpt}}", "c1"]).ok(), "map[size:4m]");
    host.docker(&["rm", "-f", "c1"]).ok();
    host.docker(&["volume", "rm", "v1"]).ok();
    // Nothing of a limit is left when its owner is gone.
    let report =
        Command::new(&["sh", "-c", &format!("repquota -P -n {}", host.path("data").display())]).output();
    if report.code == 0 {
        let limits = report.stdout.lines().filter(|line| line.starts_with('#') && !line.starts_with("#0 "));
        assert_eq!(
            limits.filter(|line| line.split_whitespace().nth(4) != Some("0")).count(),
            0,
            "{report:?}"
        );
    }
    host.finish();
}

#[test]
fn a_volumes_size_can_change() {
    let Some(disk) = Disk::with_quotas() else {
        return;
    };
    let mut host = disk.host();
    host.start_daemon();
    host.import_busybox();
    host.corten(&["volume", "create", "-o", "size=4m", "v1"]).ok();
    let fill = || {
        let script = "dd if=/dev/zero of=/v/x bs=1M count=20 2>/dev/null; du -m /v/x | cut -f1; rm /v/x";
        let said = host.corten(&["run", "--rm", "-v", "v1:/v", "busybox", "sh", "-c", script]).ok();
        said.parse::<u32>().unwrap()
    };
    assert!(fill() <= 4);
    host.corten(&["volume", "update", "--size", "12m", "v1"]).ok();
    assert!((10..=12).contains(&fill()));
    host.corten(&["volume", "rename", "v1", "v2"]).ok();
    assert_eq!(host.corten(&["volume", "inspect", "-f", "{{.Options.size}}", "v2"]).ok(), "12m");
    host.corten(&["volume", "rm", "v2"]).ok();
    host.finish();
}

#[test]
fn without_quotas_a_limit_is_refused() {
    let disk = Disk::tmpfs("64m");
    let mut host = disk.host();
    host.start_daemon();
    host.import_busybox();
    let text = "a size limit needs project quotas on the file system of";
    let refused = host.docker(&["create", "--storage-opt", "size=10m", "busybox"]).fails(1);
    assert!(refused.contains(text) && refused.contains("prjquota"), "{refused}");
    assert!(host.docker(&["volume", "create", "-o", "size=8m", "v1"]).fails(1).contains(text));
    for (options, why) in [
        (["--storage-opt", "size=much"], "invalid size of --storage-opt"),
        (["--storage-opt", "speed=1"], "unknown option speed of --storage-opt"),
    ] {
        let said = host.docker(&[&["create"], &options[..], &["busybox"]].concat()).fails(1);
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(host.docker(&["ps", "-aq"]).ok() + &host.docker(&["volume", "ls", "-q"]).ok(), "");
    assert_eq!(std::fs::read_dir(host.path("data/rw")).unwrap().count(), 0);
    host.finish();
}
