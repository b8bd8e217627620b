//! The daemon may die: containers, logs and ports go on, and a new daemon takes them over.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Host, until};

const TALK: &str = "mkdir /www; echo page > /www/index.html; httpd -p 80 -h /www; i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.02; done";

#[test]
fn a_container_outlives_kill_9_of_the_daemon() {
    let mut host = Host::new();
    host.corten(&["network", "create", "app"]).ok();
    host.corten(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--network",
        "app",
        "-p",
        "8070:80",
        "busybox",
        "sh",
        "-c",
        TALK,
    ])
    .ok();
    host.corten(&["run", "-d", "--name", "ends", "busybox", "sh", "-c", "sleep 0.1; exit 11"]).ok();
    host.corten(&[
        "run",
        "-d",
        "--name",
        "waits",
        "busybox",
        "sh",
        "-c",
        "while [ ! -e /go ]; do sleep 0.02; done; exit 12",
    ])
    .ok();
    let page = |host: &Host| {
        let got = host.command(&["curl", "-sf", "-m", "2", "http://127.0.0.1:8070/"]).output();
        (got.stdout.trim() == "page").then_some(())
    };
    until("the page", || page(&host));
    let pid = host.corten(&["inspect", "-f", "{{.State.Pid}}", "waits"]).ok();
    host.kill_daemon();

    // No daemon: the port serves, the log grows, and one container ends.
    until("the page without a daemon", || page(&host));
    std::fs::File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .open(format!("/proc/{pid}/root/go"))
        .unwrap();
    until("the end of `waits`", || (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()));

    host.start_daemon();
    let state = |name: &str, format: &str| host.corten(&["inspect", "-f", format, name]).ok();
    assert_eq!(state("c1", "{{.State.Status}}"), "running");
    assert_eq!(state("waits", "{{.State.Status}} {{.State.ExitCode}}"), "exited 12");
    assert_eq!(state("ends", "{{.State.Status}} {{.State.ExitCode}}"), "exited 11");
    until("the page with the new daemon", || page(&host));
    assert_eq!(host.corten(&["exec", "c1", "echo", "alive"]).ok(), "alive");

    // The log has no gap over the daemon's death.
    let log = host.corten(&["logs", "c1"]).ok();
    for (i, line) in log.lines().enumerate() {
        assert_eq!(line, format!("tick {i}"));
    }
    // Names are served again.
    let by_name = host
        .corten(&["run", "--rm", "--network", "app", "busybox", "wget", "-q", "-O", "-", "http://c1/"])
        .ok();
    assert_eq!(by_name, "page");
    // A taken port is still known to be taken.
    let refused = host.corten(&["run", "--rm", "-p", "8070:80", "busybox", "true"]).fails(125);
    assert!(refused.contains("port is already allocated"), "{refused}");
    host.corten(&["stop", "-t", "0", "c1"]).ok();
    assert_eq!(state("c1", "{{.State.ExitCode}}"), "137");
    host.corten(&["rm", "-f", "c1", "ends", "waits"]).ok();
    host.corten(&["network", "rm", "app"]).ok();
    host.finish();
}

#[test]
fn a_stopped_daemon_leaves_its_containers() {
    let mut host = Host::new();
    host.corten(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"]).ok();
    let pid = host.corten(&["inspect", "-f", "{{.State.Pid}}", "c1"]).ok();
    host.stop_daemon();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    host.start_daemon();
    assert_eq!(host.corten(&["inspect", "-f", "{{.State.Pid}}", "c1"]).ok(), pid);
    host.corten(&["rm", "-f", "c1"]).ok();
    host.finish();
}

#[test]
fn a_killed_shim_takes_its_container_along() {
    let host = Host::new();
    let id = host.corten(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"]).ok();
    let pid = host.corten(&["inspect", "-f", "{{.State.Pid}}", "c1"]).ok();
    host.command(&["pkill", "-9", "-f", &format!("corten-shim {id}")]).ok();
    let state = || host.corten(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "c1"]).ok();
    until("the end to be noticed", || (state() == "exited 255").then_some(()));
    until("its process's end", || (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
    host.corten(&["rm", "c1"]).ok();
    host.finish();
}

/// What all shims are copies of is nothing that a container needs, nor a start.
#[test]
fn a_killed_template_is_replaced_and_takes_nobody_along() {
    let host = Host::new();
    let template = || {
        let pids = testkit::audit::processes_of(&host.path("run/shim").join("0".repeat(64)));
        pids.first().copied()
    };
    host.corten(&["run", "-d", "--name", "before", "busybox", "sleep", "1000"]).ok();
    let first = until("the template, once there is time for it", template);
    host.corten(&["run", "-d", "--name", "copied", "busybox", "sleep", "1000"]).ok();
    host.command(&["kill", "-9", &first.to_string()]).ok();
    // More than are ready.
    for name in ["c1", "c2", "c3"] {
        host.corten(&["run", "-d", "--name", name, "busybox", "sleep", "1000"]).ok();
    }
    until("another template", || template().filter(|pid| *pid != first));
    let running = host.corten(&["ps", "--format", "{{.Names}}"]).ok();
    assert_eq!(running.lines().collect::<Vec<_>>(), ["c3", "c2", "c1", "copied", "before"]);
    host.finish();
}

#[test]
fn a_container_frozen_for_a_commit_is_thawed() {
    let mut host = Host::new();
    let fill = "head -c 200000000 /dev/urandom > /big; while :; do sleep 0.02; done";
    host.corten(&["run", "-d", "--name", "c1", "busybox", "sh", "-c", fill]).ok();
    host.corten(&["run", "-d", "--name", "c2", "busybox", "sleep", "1000"]).ok();
    host.corten(&["pause", "c2"]).ok();
    until("the file", || {
        let size = host.corten(&["exec", "c1", "stat", "-c", "%s", "/big"]).output();
        (size.stdout.trim() == "200000000").then_some(())
    });
    let commit = host.corten(&["commit", "c1", "made"]).spawn();
    let frozen = || {
        let words = [
            "events",
            "--since",
            "0",
            "--until",
            "0s",
            "--filter",
            "container=c1",
            "--format",
            "{{.Action}}",
        ];
        host.docker(&words).ok().lines().any(|line| line == "pause").then_some(())
    };
    until("the commit's pause", frozen);
    host.kill_daemon();
    assert!(!commit.wait_with_output().unwrap().status.success(), "the daemon died too late for this test");
    host.start_daemon();
    let state = |name: &str| host.corten(&["inspect", "-f", "{{.State.Status}}", name]).ok();
    assert_eq!(state("c1"), "running");
    assert_eq!(host.corten(&["exec", "c1", "echo", "alive"]).ok(), "alive");
    assert_eq!(state("c2"), "paused", "what the user has paused stays so");
    host.corten(&["unpause", "c2"]).ok();
    host.finish();
}

#[test]
fn a_hundred_containers_are_taken_over_at_once() {
    let mut host = Host::new();
    let corten = format!("{} -H {}", testkit::program("corten").display(), host.socket());
    let script = format!(
        "for i in $(seq 50); do {corten} create --name idle$i busybox true & \
         {corten} run -d --name runs$i busybox sleep 1000 & wait; done > /dev/null"
    );
    host.command(&["sh", "-ec", &script]).ok();
    let pids = |host: &Host| {
        let ids = host.corten(&["ps", "-q"]).ok();
        let words = ["inspect", "-f", "{{.Name}} {{.State.Pid}} {{.State.StartedAt}}"];
        host.corten(&[&words[..], &ids.split_whitespace().collect::<Vec<_>>()].concat()).ok()
    };
    let before = pids(&host);
    assert_eq!(before.lines().count(), 50);
    host.kill_daemon();
    let began = std::time::Instant::now();
    host.start_daemon();
    let all = host.corten(&["ps", "-aq"]).ok();
    let took = began.elapsed();
    assert_eq!(all.lines().count(), 100);
    assert_eq!(pids(&host), before);
    // Generous: this is a debug build on a machine that may be busy.
    assert!(took.as_secs_f32() < 3.0, "it took {took:?}");
    let stop = format!("{corten} ps -q | xargs {corten} kill > /dev/null");
    host.command(&["sh", "-ec", &stop]).ok();
    let gone = || (host.corten(&["ps", "-q"]).ok().is_empty()).then_some(());
    until("the end of all", gone);
    host.finish();
}
