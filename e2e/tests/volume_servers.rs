//! Volumes of the local driver whose files are on a server: NFS, served by the kernel of the machine that the test runs on,
//! and SMB, by Samba. What a kernel says that has none of it is in `volume_options`; `cargo xtask vm volume_servers` has both.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use testkit::{Command, Host, audit, until};

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

/// Serves `$1/share` by SMB, and nothing else, in the network namespace it is run in.
const SHARE: &str = "
cd $1; mkdir share smb
for word in lock state cache pid; do echo \"$word directory = $1/smb\"; done > smb.places
cat > smb.conf <<END
[global]
server role = standalone
guest account = root
passdb backend = smbpasswd:$1/smb.users
disable netbios = yes
disable spoolss = yes
load printers = no
smb ports = 445
log file = $1/smb/log
private dir = $1/smb
ncalrpc dir = $1/smb/rpc
include = $1/smb.places
[share]
path = $1/share
read only = no
END
echo root:0:$(printf '%032d' 0 | tr 0 X):$2:'[UX         ]:LCT-60000000:' > smb.users
smbd -D -s $1/smb.conf 2> smb/first.log
";
const SHARE_NO_MORE: &str = "kill $(cat $1/smb/smbd.pid)";
const PASSWORD: &str = "kept-to-oneself";
/// As servers keep it: MD4 of its UTF-16.
const HASH: &str = "4B320A674C3277DF229A7F5867BBFBFD";

#[test]
fn a_cifs_share_is_a_volume() {
    let modules = Command::new(&["sh", "-c", "modprobe cifs"]).output();
    if modules.code != 0 {
        return;
    }
    let host = Host::new();
    let directory = host.path("").display().to_string();
    let directory = directory.trim_end_matches('/');
    host.command(&["sh", "-euc", SHARE, "sh", directory, HASH]).ok();
    let listens = || host.command(&["nc", "127.0.0.1", "445"]).output().code == 0;
    until("the SMB server", || listens().then_some(()));
    let with = |password: &str| format!("o=username=root,password={password},vers=3.0,uid=1000");
    for (name, o, device) in [
        ("data", with(PASSWORD), "//localhost/share"),
        ("wrong", with("kept-from-oneself"), "//127.0.0.1/share"),
        ("none", with(PASSWORD), "//127.0.0.1/none"),
        ("silent", format!("{},port=446", with(PASSWORD)), "//127.0.0.1/share"),
    ] {
        let device = format!("device={device}");
        host.corten(&["volume", "create", "-o", "type=cifs", "-o", &o, "-o", &device, name]).ok();
    }
    host.corten(&["run", "-d", "--name", "c1", "-v", "data:/d", "busybox", "sleep", "1000"]).ok();
    let line = mounts(&host, "data").join(" ");
    assert!(line.contains("cifs") && line.contains("username=root"), "{line}");
    host.corten(&["exec", "c1", "sh", "-c", "echo kept > /d/file"]).ok();
    assert_eq!(host.corten(&["exec", "c1", "stat", "-c", "%u", "/d/file"]).ok(), "1000");
    assert_eq!(std::fs::read_to_string(host.path("share/file")).unwrap(), "kept\n");
    let mut told = host.corten(&["inspect", "c1"]).ok();
    for (name, why) in [
        ("wrong", "password=********,vers=3.0,uid=1000: permission denied"),
        ("none", "password=********,vers=3.0,uid=1000: no such file or directory"),
        ("silent", "password=********,vers=3.0,uid=1000,port=446: connection refused"),
    ] {
        let mount = format!("{name}:/d");
        let refused = host.corten(&["run", "--rm", "-v", &mount, "busybox", "true"]).output().stderr;
        assert!(refused.contains("failed to mount local volume: ") && refused.contains(why), "{refused}");
        told.push_str(&refused);
    }
    host.corten(&["rm", "-f", "c1"]).ok();
    let all = ["data", "wrong", "none", "silent"];
    assert!(all.iter().all(|name| mounts(&host, name).is_empty()));
    host.corten(&[&["volume", "rm"], &all[..]].concat()).ok();
    assert_eq!(std::fs::read_to_string(host.path("share/file")).unwrap(), "kept\n");
    // Whoever may see a volume's options sees it, as with Docker; nobody else.
    told.push_str(&host.daemon_log());
    told.push_str(&host.corten(&["events", "--since", "0", "--until", "0s", "--format", "json"]).ok());
    assert!(!told.contains("kept-"), "{told}");
    host.command(&["sh", "-euc", SHARE_NO_MORE, "sh", directory]).ok();
    host.finish();
}
