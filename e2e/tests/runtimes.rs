//! Other runtimes under our shim: Debian's runc and crun do what ours does, and leave nothing either.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use serde_json::json;
use testkit::{Host, audit, until, write};

/// Debian's runtime of this host's kind: crun refuses one that has both versions of cgroups; runc is as good with both.
fn peer() -> (&'static str, &'static str) {
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let name = if unified { "crun" } else { "runc" };
    let places = ["/usr/sbin", "/usr/bin", "/bin"].map(|directory| format!("{directory}/{name}"));
    let path = places.into_iter().find(|path| Path::new(path).exists());
    (name, path.unwrap_or_else(|| panic!("{name} is missing: apt-get install {name}")).leak())
}

/// A host whose daemon knows the runtime as `other`.
fn host(path: &str) -> Host {
    let mut host = Host::stopped();
    configure(&host, &json!({ "runtimes": { "other": { "path": path } } }));
    start(&mut host);
    host.import_busybox();
    host
}

fn configure(host: &Host, config: &serde_json::Value) {
    write(&host.path("daemon.json"), config.to_string().as_bytes());
}

fn start(host: &mut Host) {
    let file = host.path("daemon.json").display().to_string();
    host.start_daemon_with(&[], &["--config-file", &file]);
}

#[test]
fn a_container_lives_as_under_ours() {
    let (name, path) = peer();
    let host = host(path);
    let docker = |words: &[&str]| host.docker(words);
    let run = |words: &[&str]| host.docker(&[&["run", "--rm", "--runtime", "other"], words].concat());
    let limit = || {
        let usage = docker(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "c1"]).ok();
        usage.rsplit("/ ").next().unwrap_or_default().to_owned()
    };
    assert_eq!(run(&["busybox", "echo", name]).ok(), name);
    run(&["busybox", "sh", "-c", "exit 7"]).fails(7);
    let said = run(&["busybox", "no-such-program"]).fails(127);
    assert!(said.contains("OCI runtime create failed") && said.contains("no-such-program"), "{said}");
    let said = run(&["busybox", "/etc"]).fails(126);
    assert!(said.contains("OCI runtime create failed"), "{said}");
    // What only our own runtime understands of a configuration is made for the others.
    assert_eq!(run(&["-u", "www", "busybox", "id", "-un"]).ok(), "www");
    run(&["-u", "nobody-here", "busybox", "id"]).fails(125);
    assert_eq!(run(&["--read-only", "busybox", "sh", "-c", "touch /x 2>/dev/null; echo $?"]).ok(), "1");
    docker(&["run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", "mkdir /v/below; echo deep >/v/below/f"])
        .ok();
    let below = "type=volume,src=vol,dst=/m,volume-subpath=below";
    assert_eq!(run(&["--mount", below, "busybox", "cat", "/m/f"]).ok(), "deep");
    let image = "type=image,src=busybox,dst=/image";
    assert_eq!(run(&["--mount", image, "busybox", "/image/bin/echo", "from it"]).ok(), "from it");
    // Nothing is mounted on the host, while it runs and afterwards.
    docker(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--runtime",
        "other",
        "--memory",
        "64m",
        "-p",
        "127.0.0.1:0:80",
        "--health-cmd",
        "test -e /healthy",
        "--health-interval",
        "100ms",
        "busybox",
        "sh",
        "-c",
        "trap 'exit 3' TERM; echo ready; echo wrong >&2; while :; do sleep 0.1; done",
    ])
    .ok();
    assert!(audit::mounts_in(&host.path("")).is_empty());
    until("its output", || docker(&["logs", "c1"]).output().stdout.contains("ready").then_some(()));
    assert_eq!(docker(&["inspect", "-f", "{{.HostConfig.Runtime}}", "c1"]).ok(), "other");
    assert_eq!(docker(&["exec", "c1", "hostname"]).ok(), docker(&["ps", "-q"]).ok());
    assert!(docker(&["exec", "c1", "ip", "-o", "addr"]).ok().contains("eth0"));
    docker(&["exec", "c1", "sh", "-c", "exit 9"]).fails(9);
    let refused = docker(&["exec", "c1", "no-such-program"]).output();
    refused.expect(127);
    assert!(refused.stdout.contains("OCI runtime exec failed: "), "{refused:?}");
    assert_eq!(docker(&["exec", "-u", "www", "c1", "id", "-un"]).ok(), "www");
    assert_eq!(docker(&["exec", "-i", "c1", "cat"]).stdin("typed").ok(), "typed");
    let line = format!("docker -H {} exec -t c1 tty", host.socket());
    assert_eq!(host.command(&["script", "-qec", &line, "/dev/null"]).ok().trim(), "/dev/pts/0");
    let line = format!("docker -H {} run --rm --runtime other -t busybox tty", host.socket());
    assert_eq!(host.command(&["script", "-qec", &line, "/dev/null"]).ok().trim(), "/dev/pts/0");
    docker(&["exec", "c1", "touch", "/healthy"]).ok();
    until("health", || {
        let health = docker(&["inspect", "-f", "{{.State.Health.Status}}", "c1"]).ok();
        (health == "healthy").then_some(())
    });
    assert!(docker(&["top", "c1"]).ok().contains("sleep"));
    assert_eq!(limit(), "64MiB");
    docker(&["update", "--memory", "96m", "--memory-swap", "192m", "c1"]).ok();
    assert_eq!(limit(), "96MiB");
    write(&host.path("file"), b"copied");
    docker(&["cp", &host.path("file").display().to_string(), "c1:/tmp/file"]).ok();
    assert_eq!(docker(&["exec", "c1", "cat", "/tmp/file"]).ok(), "copied");
    docker(&["pause", "c1"]).ok();
    assert_eq!(docker(&["inspect", "-f", "{{.State.Status}}", "c1"]).ok(), "paused");
    docker(&["unpause", "c1"]).ok();
    docker(&["stop", "-t", "30", "c1"]).ok();
    assert_eq!(docker(&["inspect", "-f", "{{.State.ExitCode}}", "c1"]).ok(), "3");
    docker(&["restart", "c1"]).ok();
    docker(&["kill", "c1"]).ok();
    assert_eq!(docker(&["wait", "c1"]).ok(), "137");
    docker(&["start", "c1"]).ok();
    docker(&["rm", "-f", "-v", "c1"]).ok();
    docker(&["volume", "rm", "vol"]).ok();
    host.finish();
}

#[test]
fn limits_hold_and_an_init_reaps() {
    let (_, path) = peer();
    let host = host(path);
    let run = ["run", "-d", "--name", "c1", "--runtime", "other", "--memory", "16m", "--memory-swap", "16m"];
    host.docker(&[&run[..], &["busybox", "sh", "-c", "x=a; while :; do x=$x$x; done"]].concat()).ok();
    assert_eq!(host.docker(&["wait", "c1"]).ok(), "137");
    assert_eq!(host.docker(&["inspect", "-f", "{{.State.OOMKilled}}", "c1"]).ok(), "true");
    // The program of --init is ours, which as it is tested here needs the host's libraries.
    let libraries = ["-v", "/lib:/lib:ro", "-v", "/lib64:/lib64:ro"];
    let init = [&["run", "--rm", "--init", "--runtime", "other"], &libraries[..], &["busybox"]].concat();
    let ps = host.docker(&[&init[..], &["ps", "-o", "pid,args"]].concat()).ok();
    assert!(ps.lines().any(|line| line.trim().starts_with("1 /sbin/docker-init -- ps")), "{ps}");
    host.docker(&[&init[..], &["sh", "-c", "exit 5"]].concat()).fails(5);
    host.docker(&[&init[..], &["no-such-program"]].concat()).fails(127);
    host.docker(&["rm", "c1"]).ok();
    host.finish();
}

#[test]
fn it_outlives_the_daemon_and_ends_with_its_shim() {
    let (_, path) = peer();
    let mut host = host(path);
    for name in ["c1", "c2"] {
        let script = "echo up; sleep 1000";
        host.docker(&["run", "-d", "--name", name, "--runtime", "other", "busybox", "sh", "-c", script]).ok();
    }
    host.kill_daemon();
    start(&mut host);
    assert_eq!(host.docker(&["exec", "c1", "echo", "adopted"]).ok(), "adopted");
    assert_eq!(host.docker(&["logs", "c1"]).ok(), "up");
    host.docker(&["stop", "-t", "0", "c1"]).ok();
    // Who supervises is killed: nobody is left to serve the processes, and they end with what the runtime had kept.
    let id = host.docker(&["inspect", "-f", "{{.Id}}", "c2"]).ok();
    let shim = audit::processes_of(&host.path("run/shim").join(&id));
    for pid in shim {
        host.command(&["kill", "-9", &pid.to_string()]).ok();
    }
    assert_eq!(host.docker(&["wait", "c2"]).ok(), "255");
    host.docker(&["start", "c2"]).ok();
    assert_eq!(host.docker(&["exec", "c2", "echo", "again"]).ok(), "again");
    host.finish();
}

#[test]
fn runtimes_are_configured_and_only_those_are_used() {
    let (name, path) = peer();
    let mut host = Host::stopped();
    // A script is a runtime too, and arguments come before all others.
    let script = host.path("wrapper");
    let text = format!("#!/bin/sh\necho \"$@\" >>{}\nexec {path} \"$@\"\n", host.path("calls").display());
    write(&script, text.as_bytes());
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let wrapper = script.display().to_string();
    configure(&host, &json!({ "runtimes": { "wrapped": { "path": wrapper, "runtimeArgs": ["--debug"] } } }));
    start(&mut host);
    host.import_busybox();
    let refused = |host: &Host, name: &str| {
        let said = host.docker(&["run", "--rm", "--runtime", name, "busybox", "true"]).fails(125);
        assert!(said.contains(&format!("unknown or invalid runtime name: {name}")), "{said}");
    };
    refused(&host, "moon");
    refused(&host, path);
    // By its configured path it is the configured one.
    host.docker(&["run", "--rm", "--runtime", &wrapper, "busybox", "true"]).ok();
    let calls = std::fs::read_to_string(host.path("calls")).unwrap();
    assert!(calls.lines().all(|call| call.starts_with("--debug --root ")), "{calls}");
    for verb in ["create", "start", "delete"] {
        assert!(calls.contains(&format!(" {verb} ")), "{calls}");
    }
    let info = |host: &Host| {
        let format = "{{.DefaultRuntime}} {{range $name, $r := .Runtimes}}{{$name}} {{end}}";
        host.docker(&["info", "--format", format]).ok()
    };
    assert_eq!(info(&host).trim(), "corten corten wrapped");
    // Another one, by its name among the host's programs, as the default.
    let more = json!({ "runtimes": { "other": { "path": name } }, "default-runtime": "other" });
    configure(&host, &more);
    host.command(&["kill", "-HUP", &host.daemon_pid().to_string()]).ok();
    until("the reload", || (info(&host).trim() == "other corten other").then_some(()));
    refused(&host, "wrapped");
    host.docker(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"]).ok();
    assert_eq!(host.docker(&["inspect", "-f", "{{.HostConfig.Runtime}}", "c1"]).ok(), "other");
    host.docker(&["run", "--rm", "--runtime", "corten", "busybox", "true"]).ok();
    host.docker(&["rm", "-f", "c1"]).ok();
    // A program that is not there fails the start, as in Docker, and nothing is left.
    configure(&host, &json!({ "runtimes": { "gone": { "path": "/no/such/runtime" } } }));
    host.command(&["kill", "-HUP", &host.daemon_pid().to_string()]).ok();
    until("the reload", || info(&host).contains("gone").then_some(()));
    let said = host.docker(&["run", "--rm", "--runtime", "gone", "busybox", "true"]).fails(127);
    assert!(said.contains("fork/exec /no/such/runtime: no such file or directory"), "{said}");
    host.finish();
}
