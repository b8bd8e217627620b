//! What is on disk: df says what du says, a crash leaves nothing, a disk that runs low is cleared of what is only
//! convenient.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;
use testkit::layout::{GZIP, Layout, tar};
use testkit::{Command, Disk, Host, audit, until};

fn du(host: &Host, path: &str) -> u64 {
    let path = host.path(path).display().to_string();
    Command::new(&["du", "-s", "--block-size=1", &path]).ok().split('\t').next().unwrap().parse().unwrap()
}

fn df(host: &Host) -> Value {
    let socket = host.path("corten.sock").display().to_string();
    let url = "http://localhost/v1.51/system/df";
    serde_json::from_str(&host.command(&["curl", "-sS", "--unix-socket", &socket, url]).ok()).unwrap()
}

/// Files and directories below the data root, but what daemons keep for themselves and the marks of what is on the disk,
/// which come when they come.
fn tree(host: &Host) -> String {
    let data = host.path("data").display().to_string();
    Command::new(&[
        "sh",
        "-euc",
        &format!(
            "cd {data}; find blobs layers rw ingest images.json ! -path \"*/ready-*\" ! -name synced | sort"
        ),
    ])
    .ok()
}

fn build(host: &Host, name: &str, dockerfile: &str) {
    let context = host.path(name);
    std::fs::create_dir_all(&context).unwrap();
    testkit::write(&context.join("Dockerfile"), dockerfile.as_bytes());
    host.docker(&["build", "-q", "-t", name, &context.display().to_string()]).ok();
}

#[test]
fn df_says_what_du_says() {
    let host = Host::new();
    build(&host, "made", "FROM busybox\nRUN echo x > /x\nRUN dd if=/dev/zero of=/y bs=1k count=300\n");
    host.docker(&["volume", "create", "v1"]).ok();
    let script = "seq 10000; dd if=/dev/zero of=/z bs=1k count=500 2>&-; ln /z /zz; echo v > /v/file; sync";
    host.docker(&["run", "--name", "c1", "-v", "v1:/v", "made", "sh", "-c", script]).ok();
    host.docker(&["run", "--name", "c2", "--log-driver", "local", "made", "seq", "1000"]).ok();
    host.docker(&["network", "create", "n1"]).ok();
    let usage = df(&host)["DataRoot"].clone();
    assert_eq!(usage["Path"], host.path("data").display().to_string());
    assert_eq!(usage["Total"], du(&host, "data"), "{usage}");
    let part = |name: &str| usage[name].as_u64().unwrap();
    let parts = [
        "Blobs",
        "Ingest",
        "Layers",
        "WritableLayers",
        "Containers",
        "Logs",
        "Volumes",
        "BuildCache",
        "Networks",
        "Other",
    ];
    assert_eq!(parts.map(part).iter().sum::<u64>(), part("Total"));
    for (name, directory) in
        [("Blobs", "blobs"), ("Layers", "layers"), ("WritableLayers", "rw"), ("Volumes", "volumes")]
    {
        assert_eq!(part(name), du(&host, &format!("data/{directory}")), "{name}");
    }
    assert!(part("Logs") > 48_000, "{usage}");
    let said = host.corten(&["system", "df", "-v"]).ok();
    let total = format!("{}", part("Total"));
    assert!(said.contains("Image content") && said.lines().last().unwrap().ends_with(&total), "{said}");
    assert!(host.corten(&["system", "df"]).ok().contains("On disk: "));
    host.docker(&["rm", "c1", "c2"]).ok();
    host.docker(&["volume", "rm", "v1"]).ok();
    host.docker(&["network", "rm", "n1"]).ok();
    host.finish();
}

/// `big:1`: two layers that take some time.
fn big() -> Vec<u8> {
    let mut layout = Layout::default();
    let mut noise = 1_u64;
    let mut text = String::new();
    while text.len() < 4 << 20 {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        text += &format!("{noise:x}");
    }
    let files: Vec<String> = (0..300).map(|n| format!("dir/{n}")).collect();
    let small: Vec<(&str, &str)> = files.iter().map(|path| (path.as_str(), "content")).collect();
    let image = layout.image("linux/amd64", &[(GZIP, tar(&small)), (GZIP, tar(&[("noise", &text)]))]);
    layout.name(&image, "docker.io/library/big:1");
    layout.tar()
}

/// `kill -9` after each part of the way in, and at moments in between: what was there is there, nothing else is, and the
/// same load works afterwards.
#[test]
fn a_load_that_is_killed_leaves_nothing() {
    let mut host = Host::new();
    let archive = big();
    let before = tree(&host);
    for sixteenths in [1, 5, 9, 15, 16, 16, 16] {
        let url = "http://localhost/v1.51/images/load?quiet=1";
        let socket = host.path("corten.sock").display().to_string();
        let words = [
            "curl",
            "-sS",
            "-X",
            "POST",
            "-H",
            "Content-Type: application/x-tar",
            "-T",
            "-",
            "--unix-socket",
            &socket,
            url,
        ];
        let mut curl = std::process::Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = curl.stdin.take();
        let part = archive.len() * sixteenths / 16;
        input.as_mut().unwrap().write_all(&archive[..part]).unwrap();
        if sixteenths < 16 {
            until("content in flight", || (audit::in_flight(&host) > 0).then_some(()));
        } else {
            input = None;
            let layers = std::fs::read_dir(host.path("data/layers")).unwrap().count();
            until("a layer, or the end", || {
                let now = std::fs::read_dir(host.path("data/layers")).unwrap().count();
                (now > layers || curl.try_wait().unwrap().is_some()).then_some(())
            });
        }
        host.kill_daemon();
        drop(input);
        curl.wait().unwrap();
        host.start_daemon();
        if host.docker(&["images", "-q", "big"]).ok().is_empty() {
            until("what a crash left is gone", || (tree(&host) == before).then_some(()));
        } else {
            // It was faster than the kill.
            assert_eq!(host.docker(&["run", "--rm", "busybox", "true"]).ok(), "");
            host.docker(&["rmi", "big:1"]).ok();
            assert_eq!(tree(&host), before);
        }
    }
    testkit::write(&host.path("big.tar"), &archive);
    let file = host.path("big.tar").display().to_string();
    assert_eq!(host.docker(&["load", "-i", &file]).ok(), "Loaded image: big:1");
    host.docker(&["rmi", "big:1"]).ok();
    assert_eq!(tree(&host), before);
    host.finish();
}

/// A layer that had not reached the disk when the power went is made again from its blob; one that had is not.
#[test]
fn after_a_power_cut_layers_are_whole() {
    let mut host = Host::new();
    build(&host, "built", "FROM busybox\nRUN echo built > /x\n");
    host.docker(&["run", "--name", "c1", "built", "true"]).ok();
    host.kill_daemon();
    let data = host.path("data").display().to_string();
    let cut = format!(
        "cd {data}; : > $(find layers -path '*/diff/bin/busybox'); : > $(find layers -path '*/diff/x'); : > boot"
    );
    Command::new(&["sh", "-euc", &cut]).ok();
    host.start_daemon();
    assert_eq!(host.docker(&["run", "--rm", "built", "cat", "/x"]).ok(), "built");
    assert!(host.daemon_log().contains("the machine was restarted"), "{}", host.daemon_log());
    host.docker(&["start", "-a", "c1"]).ok();
    host.docker(&["rm", "c1"]).ok();
    host.finish();
}

#[test]
fn an_import_or_commit_that_is_killed_leaves_nothing() {
    let mut host = Host::new();
    let script = "dd if=/dev/urandom of=/big bs=1M count=24; sync";
    host.docker(&["run", "--name", "c1", "busybox", "sh", "-c", script]).ok();
    let root = host.path("root.tar").display().to_string();
    host.docker(&["export", "-o", &root, "c1"]).ok();
    let before = tree(&host);
    for words in [vec!["commit", "c1", "x"], vec!["import", &root, "x"]] {
        let mut client = host.docker(&words).spawn();
        until("content in flight", || {
            let busy = audit::in_flight(&host) > 0;
            (busy || client.try_wait().unwrap().is_some()).then_some(())
        });
        host.kill_daemon();
        client.wait().unwrap();
        host.start_daemon();
        assert_eq!(host.docker(&["images", "-q", "x"]).ok(), "", "{words:?}");
        until("what a crash left is gone", || (tree(&host) == before).then_some(()));
        host.docker(&words).ok();
        host.docker(&["rmi", "x"]).ok();
        assert_eq!(tree(&host), before, "{words:?}");
    }
    host.docker(&["rm", "c1"]).ok();
    host.finish();
}

#[test]
fn a_full_disk_fails_the_one_verb_and_leaves_nothing() {
    let disk = Disk::tmpfs("12m");
    let mut host = disk.host();
    host.start_daemon();
    host.import_busybox();
    let before = tree(&host);
    let file = host.path("big.tar").display().to_string();
    testkit::write(&host.path("big.tar"), &big());
    let filler = host.path("data/filler");
    // A registry that has it as well, on another disk.
    let (registry, listen) = (tempfile::tempdir().unwrap(), "127.0.0.1:5009");
    let root = registry.path().display().to_string();
    let mut server = host.corten(&["registry", "serve", "--listen", listen, "--root", &root]).spawn();
    let name = format!("{listen}/big:1");
    until("the registry", || {
        let answer = host.command(&["curl", "-s", "-m", "2", &format!("http://{listen}/v2/")]).output();
        (answer.code == 0).then_some(())
    });
    host.docker(&["load", "-i", &file]).ok();
    host.docker(&["tag", "big:1", &name]).ok();
    host.docker(&["push", &name]).ok();
    host.docker(&["rmi", "big:1", &name]).ok();
    // The daemon's own clearing of a disk that runs low may be the one that removes it.
    until("what was removed is gone", || (tree(&host) == before).then_some(()));
    let context = host.path("context");
    std::fs::create_dir_all(&context).unwrap();
    let dockerfile = "FROM busybox\nRUN dd if=/dev/urandom of=/x bs=1M count=8\n";
    testkit::write(&context.join("Dockerfile"), dockerfile.as_bytes());
    let context = context.display().to_string();
    for left in ["1M", "3M", "5M"] {
        // The archive has some 2 MiB, and 4 unpacked.
        let fill = format!(
            "free=$(df --output=avail -B1 {d} | tail -1); fallocate -l $((free - $(numfmt --from=iec {left}))) {f}",
            d = host.path("data").display(),
            f = filler.display()
        );
        Command::new(&["sh", "-euc", &fill]).ok();
        let full = "no space left on device";
        for (words, why) in [
            (vec!["load", "-i", &file], full),
            (vec!["pull", &name], full),
            // The step's own program met the end of the disk.
            (vec!["build", "-q", &context], "returned a non-zero code: 1"),
        ] {
            let said = host.docker(&words).fails(1);
            assert!(said.contains(why), "{left}, {}: {said}", words[0]);
        }
        std::fs::remove_file(&filler).unwrap();
        host.docker(&["image", "prune", "-f"]).ok();
        until("what a failure has left is gone", || (tree(&host) == before).then_some(()));
    }
    host.docker(&["pull", &name]).ok();
    host.docker(&["rmi", &name]).ok();
    assert_eq!(host.docker(&["load", "-i", &file]).ok(), "Loaded image: big:1");
    server.kill().unwrap();
    server.wait().unwrap();
    host.finish();
}

/// What the client and whoever reads the log need to know; what came of the blob takes no room.
#[test]
fn a_registry_whose_disk_is_full_says_so() {
    let disk = Disk::tmpfs("1m");
    let host = Host::bare();
    let (root, listen) = (disk.path().display().to_string(), "127.0.0.1:5010");
    let mut server = host.corten(&["registry", "serve", "--listen", listen, "--root", &root]).spawn();
    let curl = |words: &[&str]| host.command(&[&["curl", "-s", "-m", "30"], words].concat()).output();
    let uploads = format!("http://{listen}/v2/big/blobs/uploads/");
    let begun = until("the registry", || {
        let begun = curl(&["-X", "POST", "-o", "/dev/null", "-w", "%header{location}", &uploads]);
        (begun.code == 0).then_some(begun.stdout)
    });
    let upload = format!("http://{listen}{begun}");
    // More than the disk has; and so little that all of it has come before the writing fails.
    let filler = disk.path().join("filler");
    let fill = format!(
        "free=$(df --output=avail -B1 {root} | tail -1); fallocate -l $((free - 16384)) {}",
        filler.display()
    );
    Command::new(&["sh", "-euc", &fill]).ok();
    let blob = host.path("blob");
    let sent = format!("@{}", blob.display());
    let whole = |kib: usize| {
        testkit::write(&blob, &vec![7; kib << 10]);
        let sum = Command::new(&["sha256sum", &blob.display().to_string()]).ok();
        format!("{upload}?digest=sha256:{}", &sum[..64])
    };
    for kib in [4096, 32] {
        let put = whole(kib);
        for (method, target) in [("PATCH", &upload), ("PUT", &put)] {
            let answer = curl(&["-X", method, "-w", "%{http_code}", "--data-binary", &sent, target]).stdout;
            let told = answer.contains("the registry's storage is full") && answer.ends_with("507");
            assert!(told, "{method} of {kib} KiB: {answer}");
            let used = Command::new(&["du", "-s", "--block-size=1k", "--exclude=filler", &root]).ok();
            let used = used.split('\t').next().unwrap().parse::<u64>().unwrap();
            assert!(used < 8, "{method} of {kib} KiB: {used} KiB stay");
        }
    }
    // The upload itself is as it was: it goes on when there is room.
    std::fs::remove_file(&filler).unwrap();
    let put = whole(32);
    let code =
        curl(&["-X", "PUT", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", &sent, &put]).stdout;
    assert_eq!(code, "201");
    server.kill().unwrap();
    server.wait().unwrap();
    host.finish();
}

/// Less is free than should be: cached build steps and nameless images go, what has a name or runs stays.
#[test]
fn a_disk_that_runs_low_is_cleared() {
    let disk = Disk::tmpfs("64m");
    let mut host = disk.host();
    host.start_daemon_with(&[], &["--storage-opt", "free-space=24m"]);
    host.import_busybox();
    build(&host, "cached", "FROM busybox\nRUN dd if=/dev/urandom of=/x bs=1M count=8\n");
    host.docker(&["rmi", "cached"]).ok();
    let layers = || std::fs::read_dir(host.path("data/layers")).unwrap().count();
    assert_eq!(layers(), 2, "the build cache keeps its layer");
    build(&host, "kept", "FROM busybox\nRUN echo kept > /y\n");
    // A file of another's fills the disk; the next change of an image has the collector look.
    std::fs::write(host.path("data/filler"), vec![1; 26 << 20]).unwrap();
    host.docker(&["tag", "kept", "kept:2"]).ok();
    until("the build cache's layer is gone", || (layers() == 2).then_some(()));
    assert_eq!(host.docker(&["run", "--rm", "kept", "cat", "/y"]).ok(), "kept");
    assert_eq!(host.docker(&["run", "--rm", "busybox", "echo", "x"]).ok(), "x");
    // Nothing is left that could go: it is said once, and everything still works.
    std::fs::write(host.path("data/filler2"), vec![1; 16 << 20]).unwrap();
    host.docker(&["tag", "kept", "kept:3"]).ok();
    until("the warning", || host.daemon_log().contains("the disk runs low").then_some(()));
    assert_eq!(host.docker(&["images", "-q", "kept"]).ok().lines().count(), 3);
    host.finish();
}
