//! Bad input: a clear message, the right exit code, and nothing left behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Command, Host, program};

#[test]
fn exit_codes_and_messages() {
    let host = Host::new();
    let run =
        |arguments: &[&str], code: i32| host.corten(&[&["run", "--rm"], arguments].concat()).fails(code);
    assert!(run(&["busybox", "nosuch"], 127).contains("executable file not found in $PATH"));
    assert!(run(&["busybox", "/no/such"], 127).contains("no such file or directory"));
    assert!(run(&["busybox", "/etc/passwd"], 126).contains("permission denied"));
    assert!(run(&["--no-such-flag", "busybox"], 125).contains("--no-such-flag"));
    let unknown = run(&["--pull", "never", "nothing:1"], 125);
    assert!(unknown.contains("No such image: nothing:1"), "{unknown}");
    assert!(run(&["-u", "nobody-here", "busybox", "true"], 125 | 1).contains("nobody-here"));
    assert!(run(&["--network", "nowhere", "busybox", "true"], 125).contains("nowhere"));
    assert!(run(&["-m", "1k", "busybox", "true"], 125).to_lowercase().contains("minimum memory limit"));
    assert!(run(&["-v", "relative/path:/x", "busybox", "true"], 125).contains("relative/path"));
    assert!(run(&["BusyBox", "true"], 125).contains("must be lowercase"));
    assert_eq!(host.corten(&["ps", "-aq"]).ok(), "");

    host.corten(&["create", "--name", "taken", "busybox"]).ok();
    let refused = host.corten(&["run", "--name", "taken", "busybox"]).fails(125);
    assert!(refused.contains("already in use"), "{refused}");
    host.corten(&["rm", "taken"]).ok();
    assert!(host.corten(&["start", "nobody"]).fails(1).contains("No such container: nobody"));
    assert!(host.corten(&["nonsense"]).fails(1).contains("nonsense"));
    host.finish();
}

#[test]
fn users_that_are_not_there() {
    let host = Host::new();
    let text = "unable to find user nobody-here: no matching entries in passwd file";
    let refused = host.docker(&["run", "--name", "c1", "-u", "nobody-here", "busybox", "true"]).fails(125);
    assert!(refused.starts_with(&format!("docker: Error response from daemon: {text}\n")), "{refused}");
    host.docker(&["rm", "c1"]).ok();
    host.docker(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"]).ok();
    let exec = |user: &str| host.docker(&["exec", "-u", user, "c1", "true"]).output();
    let output = exec("nobody-here");
    assert_eq!((output.code, output.stdout.trim()), (126, text));
    let output = exec("0:no-group");
    let text = "unable to find group no-group: no matching entries in group file";
    assert_eq!((output.code, output.stdout.trim()), (126, text));
    host.finish();
}

#[test]
fn no_permission_and_no_daemon() {
    let host = Host::new();
    let corten = program("corten").display().to_string();
    let nobody =
        Command::new(&["setpriv", "--reuid=65534", "--clear-groups", &corten, "-H", &host.socket(), "ps"])
            .fails(1);
    assert!(nobody.to_lowercase().contains("permission denied"), "{nobody}");
    let gone = Command::new(&[&corten, "-H", "unix:///nowhere.sock", "ps"]).fails(1);
    assert!(gone.contains("/nowhere.sock"), "{gone}");
    host.finish();
}

#[test]
fn a_full_disk() {
    let host = Host::new();
    // A small file system under the container directories: filling it must fail the one operation, not the daemon.
    let tar = host.path("busybox.tar").display().to_string();
    let small = host.path("small");
    std::fs::create_dir(&small).unwrap();
    let mount = small.display().to_string();
    Command::new(&["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", &mount]).ok();
    let socket = format!("unix://{mount}/s");
    let mut daemon = host
        .command(&[
            &program("cortend").display().to_string(),
            "-H",
            &socket,
            "--data-root",
            &format!("{mount}/data"),
            "--exec-root",
            &host.path("run2").display().to_string(),
            "--bridge",
            "small0",
            "--bip",
            "10.231.0.1/24",
            "--cgroup-parent",
            &format!("/{}", host.name),
            "--firewall-table",
            &format!("{}s", host.name),
        ])
        .spawn();
    let corten = program("corten").display().to_string();
    testkit::until("the small daemon", || {
        (Command::new(&[&corten, "-H", &socket, "version"]).output().code == 0).then_some(())
    });
    let refused = Command::new(&[&corten, "-H", &socket, "import", &tar, "busybox:latest"]).fails(1);
    let left = Command::new(&[
        "sh",
        "-c",
        &format!("ls -A {mount}/data/ingest {mount}/data/blobs/sha256 {mount}/data/layers"),
    ])
    .output()
    .stdout;
    let alive = Command::new(&[&corten, "-H", &socket, "images", "-q"]).ok();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    Command::new(&["umount", &mount]).ok();
    assert!(refused.to_lowercase().contains("no space left on device"), "{refused}");
    assert_eq!(alive, "");
    assert!(!left.contains("sha256-") && !left.lines().any(|l| l.len() >= 64), "left: {left}");
    host.finish();
}
