//! `run` and what comes after it: output, exit codes, flags, the verbs of a container's life.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Host, until};

#[test]
fn run_gives_output_and_exit_code() {
    let host = Host::new();
    assert_eq!(host.corten(&["run", "--rm", "busybox", "echo", "hello"]).ok(), "hello");
    host.corten(&["run", "--rm", "busybox", "sh", "-c", "exit 7"]).fails(7);
    host.corten(&["run", "--rm", "busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).fails(137);
    assert_eq!(host.corten(&["run", "--rm", "-i", "busybox", "wc", "-c"]).stdin("12345").ok(), "5");
    let both = host.corten(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2"]).output();
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(host.corten(&["ps", "-aq"]).ok(), "");
    host.finish();
}

#[test]
fn large_output_arrives_whole() {
    let host = Host::new();
    let script = "yes 0123456789 | head -c 8000000";
    let run = host.corten(&["run", "--name", "big", "busybox", "sh", "-c", script]).output();
    assert_eq!((run.code, run.stdout.len()), (0, 8_000_000));
    assert_eq!(host.corten(&["logs", "big"]).output().stdout.len(), 8_000_000);
    host.finish();
}

#[test]
fn flags_reach_the_process() {
    let host = Host::new();
    let run = |flags: &[&str], script: &str| {
        host.corten(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat()).ok()
    };
    assert_eq!(run(&["-e", "A=b c"], "echo $A"), "b c");
    assert_eq!(run(&["-w", "/new/dir"], "pwd"), "/new/dir");
    assert_eq!(run(&["-u", "www"], "id -u; id -g; echo $HOME"), "33\n33\n/var");
    assert_eq!(run(&["-u", "1234:5678"], "id -u; id -g"), "1234\n5678");
    assert_eq!(run(&["--hostname", "ship"], "hostname"), "ship");
    assert_eq!(run(&["--entrypoint", "echo"], "x1"), "sh -c x1");
    assert_eq!(run(&["--read-only"], "touch /x 2>/dev/null || echo refused"), "refused");
    assert_eq!(run(&["--tmpfs", "/t"], "grep ' /t ' /proc/mounts | cut -d' ' -f3"), "tmpfs");
    host.finish();
}

#[test]
fn the_verbs_of_a_life() {
    let host = Host::new();
    let state = |format: &str| host.corten(&["inspect", "-f", format, "c1"]).ok();
    let id = host
        .corten(&[
            "run",
            "-d",
            "--name",
            "c1",
            "busybox",
            "sh",
            "-c",
            "trap 'exit 3' TERM; while :; do sleep 0.05; done",
        ])
        .ok();
    assert_eq!(id.len(), 64);
    assert_eq!(state("{{.State.Status}}"), "running");
    assert!(host.corten(&["ps"]).ok().contains("Up "));

    host.corten(&["pause", "c1"]).ok();
    assert_eq!(state("{{.State.Status}}"), "paused");
    assert!(host.corten(&["ps"]).ok().contains("(Paused)"));
    host.corten(&["unpause", "c1"]).ok();

    assert_eq!(host.corten(&["exec", "c1", "echo", "inside"]).ok(), "inside");
    host.corten(&["exec", "c1", "sh", "-c", "exit 5"]).fails(5);
    assert_eq!(host.corten(&["exec", "-i", "c1", "cat"]).stdin("through").ok(), "through");

    host.corten(&["restart", "c1"]).ok();
    assert_eq!(state("{{.State.Status}}"), "running");
    host.corten(&["stop", "c1"]).ok();
    assert_eq!(state("{{.State.Status}} {{.State.ExitCode}}"), "exited 3");
    assert!(host.corten(&["ps", "-a"]).ok().contains("Exited (3)"));

    host.corten(&["start", "c1"]).ok();
    host.corten(&["kill", "c1"]).ok();
    until("the end", || (state("{{.State.Status}}") == "exited").then_some(()));
    assert_eq!(state("{{.State.ExitCode}}"), "137");

    host.corten(&["start", "c1"]).ok();
    let refused = host.corten(&["rm", "c1"]).fails(1);
    assert!(refused.contains("container is running"), "{refused}");
    host.corten(&["rm", "-f", "c1"]).ok();
    assert!(host.corten(&["container", "inspect", "c1"]).fails(1).contains("No such container: c1"));
    // A name that no network's id can begin with.
    assert!(host.corten(&["inspect", "gone"]).fails(1).to_lowercase().contains("no such object: gone"));
    host.finish();
}

#[test]
fn logs_follow_until_the_end() {
    let host = Host::new();
    host.corten(&["run", "-d", "--name", "c1", "busybox", "sh", "-c", "echo one; read x; echo two"]).ok();
    host.corten(&["wait", "c1"]).ok();
    assert_eq!(host.corten(&["logs", "c1"]).ok(), "one\ntwo");

    let script = "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done; sleep 0.2; echo last";
    host.corten(&["run", "-d", "--name", "f1", "busybox", "sh", "-c", script]).ok();
    let followed = host.corten(&["logs", "-f", "f1"]).ok();
    assert_eq!(followed.lines().count(), 201);
    assert!(followed.ends_with("last"));
    assert_eq!(host.corten(&["logs", "--tail", "2", "f1"]).ok(), "line 199\nlast");
    assert!(host.corten(&["logs", "-t", "--tail", "1", "f1"]).ok().contains("Z last"));

    let long = "head -c 100000 /dev/zero | tr '\\0' x";
    host.corten(&["run", "--name", "l1", "busybox", "sh", "-c", long]).ok();
    assert_eq!(host.corten(&["logs", "l1"]).ok(), "x".repeat(100_000));
    host.finish();
}

#[test]
fn twenty_at_once() {
    let host = Host::new();
    let started: Vec<_> =
        (0..20).map(|i| host.corten(&["run", "--rm", "busybox", "echo", &i.to_string()]).spawn()).collect();
    for (i, child) in started.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), i.to_string());
    }
    host.finish();
}
