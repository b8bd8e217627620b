//! Those who drive runc drive `corten-runtime` as well: Debian's Podman, with conmon, and its containerd.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::Child;

use testkit::{Command, Host, image, program, until};

/// Our runtime under its own name, in a directory of the host's.
fn runtime(host: &Host) -> PathBuf {
    let path = host.path("corten-runtime");
    std::os::unix::fs::symlink(program("corten-shim"), &path).unwrap();
    path
}

fn shown(host: &Host, name: &str) -> String {
    host.path(name).display().to_string()
}

/// Podman with everything of its own in a directory of the host's.
struct Podman<'a> {
    host: &'a Host,
    options: Vec<String>,
}

impl<'a> Podman<'a> {
    fn new(host: &'a Host) -> Self {
        let runtime = runtime(host).display().to_string();
        std::fs::create_dir_all(host.path("podman")).unwrap();
        testkit::write(&host.path("containers.conf"), b"[engine]\nevents_logger=\"file\"\n");
        let options = [
            ["--root", &shown(host, "podman/root")],
            ["--runroot", &shown(host, "podman/run")],
            ["--tmpdir", &shown(host, "podman/tmp")],
            ["--runtime", &runtime],
            ["--storage-driver", "vfs"],
            ["--cgroup-manager", "cgroupfs"],
        ];
        Self { host, options: options.concat().into_iter().map(str::to_owned).collect() }
    }

    fn run(&self, words: &[&str]) -> Command {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        self.host
            .command(&[&["podman"], &options[..], words].concat())
            .env("CONTAINERS_CONF", &shown(self.host, "containers.conf"))
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    }
}

#[test]
fn podman_runs_its_containers_with_it() {
    let host = Host::bare();
    let podman = Podman::new(&host);
    let tar = host.path("busybox.tar");
    testkit::write(&tar, &image::busybox());
    podman.run(&["import", &tar.display().to_string(), "busybox"]).ok();
    let parent = format!("--cgroup-parent=/{}", host.name);
    let run = |words: &[&str]| podman.run(&[&["run", "--network", "none", &parent], words].concat());
    assert!(podman.run(&["info", "--format", "{{.Host.OCIRuntime.Name}}"]).ok().ends_with("/corten-runtime"));
    assert_eq!(run(&["--rm", "busybox", "echo", "hello"]).ok(), "hello");
    run(&["--rm", "busybox", "sh", "-c", "exit 7"]).fails(7);
    run(&["--rm", "busybox", "no-such-program"]).fails(127);
    run(&["--rm", "busybox", "/etc"]).fails(126);
    assert_eq!(run(&["--rm", "-u", "www", "--read-only", "busybox", "id", "-un"]).ok(), "www");
    assert_eq!(run(&["--rm", "-i", "busybox", "cat"]).stdin("typed").ok(), "typed");
    let line = |words: &str| {
        let all: Vec<String> = podman.options.iter().map(|word| format!("'{word}'")).collect();
        host.command(&["script", "-qec", &format!("podman {} {words}", all.join(" ")), "/dev/null"])
            .env("CONTAINERS_CONF", &shown(&host, "containers.conf"))
    };
    let screen = line(&format!("run --rm -t --network none {parent} busybox tty")).ok();
    assert!(screen.trim().ends_with("/dev/pts/0"), "{screen:?}");
    run(&["-d", "--name", "c1", "--memory", "64m", "busybox", "sh", "-c", "echo up; sleep 1000"]).ok();
    until("its output", || (podman.run(&["logs", "c1"]).ok() == "up").then_some(()));
    assert_eq!(podman.run(&["exec", "c1", "echo", "inside"]).ok(), "inside");
    podman.run(&["exec", "c1", "sh", "-c", "exit 9"]).fails(9);
    podman.run(&["exec", "c1", "no-such-program"]).fails(127);
    assert!(podman.run(&["top", "c1", "args"]).ok().contains("sleep 1000"));
    podman.run(&["pause", "c1"]).ok();
    assert_eq!(podman.run(&["inspect", "-f", "{{.State.Status}}", "c1"]).ok(), "paused");
    podman.run(&["unpause", "c1"]).ok();
    podman.run(&["update", "--memory", "96m", "c1"]).ok();
    podman.run(&["stop", "-t", "0", "c1"]).ok();
    assert_eq!(podman.run(&["inspect", "-f", "{{.State.ExitCode}}", "c1"]).ok(), "137");
    podman.run(&["start", "c1"]).ok();
    podman.run(&["rm", "-f", "-t", "0", "c1"]).ok();
    assert_eq!(podman.run(&["ps", "-aq"]).ok(), "");
    let unmount =
        format!("umount -R {0}/root/* {0}/root {0}/run {0}/tmp 2>/dev/null; true", shown(&host, "podman"));
    host.command(&["sh", "-c", &unmount]).ok();
    // conmon's own, which Podman leaves whatever the runtime.
    testkit::audit::remove_cgroups(&host.name);
    // Where a controller is not mounted conmon takes plain directories for cgroups.
    let plain = format!(
        "for d in /sys/fs/cgroup/*/{}; do [ ! -d $d ] || {{ rm -r $d; rmdir ${{d%/*}}; }}; done",
        host.name
    );
    host.command(&["sh", "-c", &plain]).ok();
    host.finish();
}

/// Debian's containerd, with everything of its own in a directory of the host's.
struct Containerd<'a> {
    host: &'a Host,
    daemon: Child,
    runtime: String,
}

impl<'a> Containerd<'a> {
    fn start(host: &'a Host) -> Self {
        let runtime = runtime(host).display().to_string();
        let directory = shown(host, "containerd");
        std::fs::create_dir_all(&directory).unwrap();
        let config = format!(
            "version = 2\nroot = \"{directory}/root\"\nstate = \"{directory}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = \"{directory}/s\"\n"
        );
        testkit::write(&host.path("containerd/config.toml"), config.as_bytes());
        let script = format!("exec containerd --config {directory}/config.toml >{directory}/log 2>&1");
        let daemon = host.command(&["sh", "-c", &script]).spawn();
        let containerd = Self { host, daemon, runtime };
        until("containerd", || (containerd.ctr(&["version"]).output().code == 0).then_some(()));
        containerd
    }

    fn ctr(&self, words: &[&str]) -> Command {
        self.host.command(&[&["ctr", "-a", &shown(self.host, "containerd/s")], words].concat())
    }

    fn run(&self, options: &[&str], words: &[&str]) -> Command {
        let parent = format!("/{}/{}", self.host.name, words[1]);
        let runtime = ["run", "--runc-binary", &self.runtime, "--snapshotter", "native", "--cgroup", &parent];
        self.ctr(&[&runtime[..], options, words].concat())
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        let _ = Command::new(&["kill", &self.daemon.id().to_string()]).output();
        let _ = self.daemon.wait();
    }
}

#[test]
fn containerd_runs_its_containers_with_it() {
    let host = Host::new();
    let containerd = Containerd::start(&host);
    // The shim of every containerd on a machine keeps its runtime's records in one place: names are this test's own.
    let id = |name: &str| format!("{}-{name}", host.name);
    let d = id("d");
    let d = d.as_str();
    let tar = shown(&host, "image.tar");
    host.corten(&["save", "-o", &tar, "busybox"]).ok();
    containerd.ctr(&["image", "import", "--snapshotter", "native", &tar]).ok();
    let image = containerd.ctr(&["image", "ls", "-q"]).ok();
    let run = |options: &[&str], id: &str, words: &[&str]| {
        containerd.run(options, &[&[image.as_str(), id], words].concat())
    };
    assert_eq!(run(&["--rm"], &id("a"), &["echo", "hello"]).ok(), "hello");
    run(&["--rm"], &id("b"), &["sh", "-c", "exit 7"]).fails(7);
    let said = run(&["--rm"], &id("c"), &["no-such-program"]).fails(1);
    assert!(
        said.contains("OCI runtime create failed") && said.contains("executable file not found"),
        "{said}"
    );
    let line = |words: &str| {
        host.command(&[
            "script",
            "-qec",
            &format!("ctr -a {} {words}", shown(&host, "containerd/s")),
            "/dev/null",
        ])
    };
    let options = format!("--rm -t --runc-binary {} --snapshotter native", containerd.runtime);
    // ctr complains when the program has ended before it could tell the size, and may lose what it said.
    until("a terminal that was sized in time", || {
        let screen =
            line(&format!("run {options} --cgroup /{}/t {image} {} tty", host.name, id("t"))).output();
        screen.stdout.contains("/dev/pts/0").then_some(())
    });
    run(&["-d", "--memory-limit", "67108864"], d, &["sleep", "1000"]).ok();
    let exec = |words: &[&str]| containerd.ctr(&[&["task", "exec", "--exec-id", "e", d], words].concat());
    assert_eq!(exec(&["echo", "inside"]).ok(), "inside");
    exec(&["sh", "-c", "exit 9"]).fails(9);
    // Where the program has ended before ctr could tell the size, ctr gives its complaint for an answer.
    until("a terminal that was sized in time", || {
        let screen = line(&format!("task exec -t --exec-id e {d} tty")).output().stdout;
        screen.contains("/dev/pts/0").then_some(())
    });
    containerd.ctr(&["task", "metrics", d]).ok();
    assert_eq!(containerd.ctr(&["task", "ps", d]).ok().lines().count(), 2);
    let status = || {
        let all = containerd.ctr(&["task", "ls"]).ok();
        let line = all.lines().find(|line| line.starts_with(d)).unwrap_or_default().to_owned();
        line.split_whitespace().last().unwrap_or_default().to_owned()
    };
    containerd.ctr(&["task", "pause", d]).ok();
    assert_eq!(status(), "PAUSED");
    containerd.ctr(&["task", "resume", d]).ok();
    assert_eq!(status(), "RUNNING");
    containerd.ctr(&["task", "kill", "-s", "KILL", d]).ok();
    until("its end", || (status() == "STOPPED").then_some(()));
    let _code = containerd.ctr(&["task", "delete", d]).output();
    containerd.ctr(&["container", "delete", d]).ok();
    assert_eq!(containerd.ctr(&["container", "ls", "-q"]).ok(), "");
    drop(containerd);
    host.finish();
}
