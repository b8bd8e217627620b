//! Volumes of the local driver whose files are on a server: NFS, served by the kernel of the machine that the test runs on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use testkit::{Command, Host, audit};

/// Serves `$1/export` by NFS 4, and nothing else, in the network namespace it is run in. What a program would look up for the
/// kernel (who may have what) is told it beforehand: until when, whose requests, with which flags (any port, no check of
/// subtrees, answers before it is on the disk, known by the number 0).
const SERVE: &str = "
cd $1; mkdir export control; mount -t nfsd nfsd control
until=$(($(date +%s) + 3600)); rpc=/proc/net/rpc
printf '%s\\n' \"nfsd 127.0.0.1 $until test\" > $rpc/auth.unix.ip/channel
printf '%s\\n' \"test $1/export $until 9234 65534 65534 0\" > $rpc/nfsd.export/channel
printf '%s\\n' \"test 1 \\\\x00000000 $until $1/export\" > $rpc/nfsd.fh/channel
cd control; echo '-2 -3 +4' > versions; echo 10 > nfsv4leasetime; echo 10 > nfsv4gracetime
echo 'tcp 2049' > portlist; echo 2 > threads
";
const SERVE_NO_MORE: &str = "cd $1; echo 0 > control/threads; umount control";

/// What of a volume is mounted on this machine.
fn mounts(host: &Host, name: &str) -> Vec<String> {
    audit::mounts_in(&host.path(&format!("data/volumes/{name}/_data")))
}

#[test]
fn an_nfs_export_is_a_volume() {
    // What a kernel says that has none of it is in `volume_options`; `cargo xtask vm volume_servers` has both.
    let modules = Command::new(&["sh", "-c", "modprobe -a nfs nfsd"]).output();
    if modules.code != 0 {
        return;
    }
    let host = Host::new();
    let directory = host.path("").display().to_string();
    let serve =
        |script: &str| host.command(&["sh", "-euc", script, "sh", directory.trim_end_matches('/')]).ok();
    serve(SERVE);
    for (name, o, device) in [
        // The kernel cannot look names up.
        ("data", "o=addr=localhost,rw,nfsvers=4.2", "device=:/"),
        ("sealed", "o=addr=127.0.0.1,ro,nfsvers=4.2", "device=:/"),
        ("none", "o=addr=127.0.0.1,nfsvers=4.2", "device=:/none"),
        ("silent", "o=addr=127.0.0.1,nfsvers=4.2,port=2050,soft,timeo=1,retrans=1", "device=:/"),
    ] {
        host.docker(&["volume", "create", "-o", "type=nfs", "-o", o, "-o", device, name]).ok();
    }
    host.docker(&["run", "-d", "--name", "c1", "-v", "data:/d", "busybox", "sleep", "1000"]).ok();
    let line = mounts(&host, "data").join(" ");
    assert!(line.contains("nfs4") && line.contains("addr=127.0.0.1"), "{line}");
    host.docker(&["exec", "c1", "sh", "-c", "echo kept > /d/file"]).ok();
    assert_eq!(std::fs::read_to_string(host.path("export/file")).unwrap(), "kept\n");
    let script = "cat /d/file; touch /d/x 2>&1 || true";
    let said = host.docker(&["run", "--rm", "-v", "sealed:/d", "busybox", "sh", "-c", script]).ok();
    assert!(said.starts_with("kept\n") && said.contains("Read-only file system"), "{said}");
    for (name, why) in [
        ("none", "data: addr=127.0.0.1,nfsvers=4.2: no such file or directory"),
        ("silent", "data: addr=127.0.0.1,nfsvers=4.2,port=2050,soft,timeo=1,retrans=1: connection refused"),
    ] {
        let mount = format!("{name}:/d");
        let refused = host.docker(&["run", "--rm", "-v", &mount, "busybox", "true"]).output().stderr;
        assert!(
            refused.contains("failed to mount local volume: mount :/") && refused.contains(why),
            "{refused}"
        );
    }
    host.docker(&["rm", "-f", "c1"]).ok();
    assert!(mounts(&host, "data").is_empty() && mounts(&host, "sealed").is_empty());
    host.docker(&["volume", "rm", "data", "sealed", "none", "silent"]).ok();
    assert_eq!(std::fs::read_to_string(host.path("export/file")).unwrap(), "kept\n");
    serve(SERVE_NO_MORE);
    host.finish();
}
