//! Who makes the containers' cgroups: systemd, where it is the host's first process (as in the machine that
//! `cargo xtask vm` boots), and we ourselves everywhere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use testkit::{Command, Host, audit, image, program, until, write};

/// A property of a unit, as systemd shows it.
fn property(unit: &str, name: &str) -> String {
    Command::new(&["systemctl", "show", "--value", "-p", name, unit]).ok()
}

/// Whether systemd knows a unit that is there.
fn is_loaded(unit: &str) -> bool {
    property(unit, "ActiveState") == "active"
}

fn id(host: &Host, name: &str) -> String {
    host.docker(&["inspect", "-f", "{{.Id}}", name]).ok()
}

fn driver(host: &Host) -> String {
    host.docker(&["info", "--format", "{{.CgroupDriver}}"]).ok()
}

#[test]
fn systemd_makes_scopes_where_it_runs_the_host() {
    if !audit::has_systemd() {
        return without_systemd();
    }
    let mut host = Host::new();
    assert_eq!(driver(&host), "systemd");
    let limits = [
        "--memory",
        "64m",
        "--memory-swap",
        "64m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "50",
        "--cpuset-cpus",
        "0",
    ];
    host.docker(&[&["run", "-d", "--name", "c1"], &limits[..], &["busybox", "sleep", "1000"]].concat()).ok();
    let unit = format!("docker-{}.scope", id(&host, "c1"));
    let directory = format!("/sys/fs/cgroup/ct.slice/{}.slice/{unit}", host.name);
    let file =
        |name: &str| std::fs::read_to_string(Path::new(&directory).join(name)).unwrap().trim().to_owned();
    assert!(is_loaded(&unit));
    assert_eq!(property(&unit, "ControlGroup"), directory.strip_prefix("/sys/fs/cgroup").unwrap());
    assert_eq!(property(&unit, "Delegate"), "yes");
    let told = |wanted: &[(&str, &str)]| {
        for (name, value) in wanted {
            assert_eq!(property(&unit, name), *value, "{name}");
        }
    };
    let limits = [
        ("MemoryMax", "67108864"),
        ("MemorySwapMax", "0"),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("TasksMax", "50"),
        ("AllowedCPUs", "0"),
    ];
    told(&limits);
    let written = || {
        assert_eq!(file("memory.max"), "67108864");
        assert_eq!(file("cpu.max"), "50000 100000");
        assert_eq!(file("pids.max"), "50");
        assert_eq!(file("cpuset.cpus"), "0");
    };
    written();
    // A reload of systemd's, which writes what it knows, changes nothing; devices stay closed.
    Command::new(&["systemctl", "daemon-reload"]).ok();
    written();
    let made = ["exec", "c1", "sh", "-c", "mknod /d b 7 0 && head -c1 /d"];
    assert!(host.docker(&made).fails(1).contains("Operation not permitted"));
    host.docker(&["update", "--memory", "96m", "--memory-swap", "96m", "--pids-limit", "60", "c1"]).ok();
    told(&[("MemoryMax", "100663296"), ("TasksMax", "60")]);
    assert_eq!((file("memory.max"), file("pids.max")), ("100663296".into(), "60".into()));
    assert_eq!(host.docker(&["exec", "c1", "cat", "/proc/self/cgroup"]).ok(), "0::/");
    assert!(host.docker(&["top", "c1"]).ok().contains("sleep 1000"));
    let usage = host.docker(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "c1"]).ok();
    assert!(usage.ends_with("/ 96MiB"), "{usage}");
    host.docker(&["pause", "c1"]).ok();
    assert_eq!(file("cgroup.freeze"), "1");
    host.docker(&["unpause", "c1"]).ok();
    // The daemon's death changes nothing.
    host.kill_daemon();
    host.start_daemon();
    assert_eq!(host.docker(&["exec", "c1", "echo", "adopted"]).ok(), "adopted");
    host.docker(&["rm", "-f", "c1"]).ok();
    assert!(!is_loaded(&unit) && !Path::new(&directory).exists());

    // What the kernel kills for want of memory is told, and leaves no failed unit.
    let run = ["run", "-d", "--name", "c2", "--memory", "16m", "--memory-swap", "16m", "busybox"];
    host.docker(&[&run[..], &["sh", "-c", "x=a; while :; do x=$x$x; done"]].concat()).ok();
    let unit = format!("docker-{}.scope", id(&host, "c2"));
    assert_eq!(host.docker(&["wait", "c2"]).ok(), "137");
    assert_eq!(host.docker(&["inspect", "-f", "{{.State.OOMKilled}}", "c2"]).ok(), "true");
    assert_eq!(property(&unit, "LoadState"), "not-found");

    // A slice of the container's own, and parents that are none.
    let slice = format!("{}-a-b.slice", host.name);
    host.docker(&["run", "-d", "--name", "c3", "--cgroup-parent", &slice, "busybox", "sleep", "1000"]).ok();
    let unit = format!("docker-{}.scope", id(&host, "c3"));
    let place = format!("/ct.slice/{0}.slice/{0}-a.slice/{0}-a-b.slice/{unit}", host.name);
    assert_eq!(property(&unit, "ControlGroup"), place);
    let said = host.docker(&["create", "--cgroup-parent", "/a", "busybox"]).fails(1);
    assert!(said.contains("should be a valid slice named as \"xxx.slice\""), "{said}");
    // Nobody supervises it any more: it ends, and its scope with it.
    for pid in audit::processes_of(&host.path("run/shim").join(id(&host, "c3"))) {
        Command::new(&["kill", "-9", &pid.to_string()]).ok();
    }
    assert_eq!(host.docker(&["wait", "c3"]).ok(), "255");
    until("the scope's end", || (!is_loaded(&unit)).then_some(()));
    // A build's steps have scopes too.
    std::fs::create_dir_all(host.path("build")).unwrap();
    write(&host.path("build/Dockerfile"), b"FROM busybox\nRUN cat /proc/self/cgroup >/cgroup\n");
    host.docker(&["build", "-t", "built", &host.path("build").display().to_string()]).ok();

    // Another runtime is told to do the same.
    host.docker(&["rm", "-f", "c2", "c3"]).ok();
    // A slice is the administrator's, who may have other units in it: it stays until it is stopped (as with Docker).
    assert_eq!(property(&slice, "ActiveState"), "active");
    Command::new(&["systemctl", "stop", &format!("{}-a.slice", host.name)]).ok();
    host.stop_daemon();
    host.start_daemon_with(&[], &["--add-runtime", "other=runc"]);
    let run =
        ["run", "-d", "--name", "c4", "--runtime", "other", "--memory", "64m", "busybox", "sleep", "1000"];
    host.docker(&run).ok();
    let unit = format!("docker-{}.scope", id(&host, "c4"));
    assert_eq!(property(&unit, "MemoryMax"), "67108864");
    assert!(host.docker(&["top", "c4"]).ok().contains("sleep 1000"));
    host.docker(&["rm", "-f", "c4"]).ok();
    assert!(!is_loaded(&unit));

    // Without it, on the same host.
    host.stop_daemon();
    host.start_daemon_with(&[], &["--exec-opt", "native.cgroupdriver=cgroupfs"]);
    assert_eq!(driver(&host), "cgroupfs");
    host.docker(&["run", "--rm", "--memory", "64m", "busybox", "true"]).ok();
    host.finish();
}

/// Elsewhere it is not used unless asked for, and that is refused.
fn without_systemd() {
    let host = Host::new();
    assert_eq!(driver(&host), "cgroupfs");
    host.finish();
    let cortend = program("cortend").display().to_string();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let socket = format!("unix://{}", path("s"));
    let told =
        ["--exec-opt", "native.cgroupdriver=systemd", "--data-root", &path("d"), "--exec-root", &path("r")];
    let said = Command::new(&[&[cortend.as_str(), "-H", &socket], &told[..]].concat()).fails(1);
    assert!(said.contains("native.cgroupdriver=systemd: systemd does not run on this host"), "{said}");
    assert!(!Path::new(&path("d")).exists());
}

#[test]
fn the_runtime_command_makes_scopes() {
    let host = Host::bare();
    let runtime = host.path("corten-runtime");
    std::os::unix::fs::symlink(program("corten-shim"), &runtime).unwrap();
    let state = host.path("state").display().to_string();
    let bundle = host.path("bundle").display().to_string();
    let runtime = runtime.display().to_string();
    let command = |words: &[&str]| {
        host.command(&[&[runtime.as_str(), "--root", &state, "--systemd-cgroup"], words].concat())
    };
    write(&host.path("busybox.tar"), &image::busybox());
    std::fs::create_dir_all(host.path("bundle/rootfs")).unwrap();
    let tar = host.path("busybox.tar").display().to_string();
    Command::new(&["tar", "-xf", &tar, "-C", &host.path("bundle/rootfs").display().to_string()]).ok();
    command(&["spec", "--bundle", &bundle]).ok();
    let configure = |cgroups_path: &str| {
        let path = host.path("bundle/config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = serde_json::json!(["sleep", "1000"]);
        config["linux"]["cgroupsPath"] = cgroups_path.into();
        config["linux"]["resources"]["pids"] = serde_json::json!({ "limit": 20 });
        write(&path, config.to_string().as_bytes());
    };
    configure("/a/b");
    let said = command(&["run", "-d", "--bundle", &bundle, "c1"]).fails(1);
    assert!(said.contains("expected cgroupsPath to be of format"), "{said}");
    configure(&format!("{}.slice:test:{}", host.name, host.name));
    if !audit::has_systemd() {
        let said = command(&["run", "-d", "--bundle", &bundle, "c1"]).fails(1);
        assert!(said.contains("systemd not running on this host"), "{said}");
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0);
        host.finish();
        return;
    }
    let unit = format!("test-{}.scope", host.name);
    // Init keeps the streams of its maker: ours would have no end.
    let line =
        format!("exec {runtime} --root {state} --systemd-cgroup create --bundle {bundle} c1 >/dev/null 2>&1");
    host.command(&["sh", "-c", &line]).ok();
    assert!(is_loaded(&unit));
    assert_eq!(property(&unit, "TasksMax"), "20");
    command(&["start", "c1"]).ok();
    assert_eq!(command(&["exec", "c1", "echo", "inside"]).ok(), "inside");
    command(&["update", "--pids-limit", "30", "c1"]).ok();
    assert_eq!(property(&unit, "TasksMax"), "30");
    command(&["pause", "c1"]).ok();
    command(&["resume", "c1"]).ok();
    command(&["delete", "--force", "c1"]).ok();
    assert_eq!(property(&unit, "LoadState"), "not-found");
    assert!(audit::cgroups(&host.name).is_empty());
    host.finish();
}
