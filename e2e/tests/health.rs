//! Health checks: Docker's, seen through the original client, and what Corten adds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Host, until};

/// Runs until it is told to end, and does that at once.
const STAYS: &str = "trap 'exit 0' TERM; while :; do sleep 0.05; done";

fn inspect(host: &Host, name: &str, format: &str) -> String {
    host.docker(&["inspect", "-f", format, name]).ok()
}

fn status(host: &Host, name: &str) -> String {
    inspect(host, name, "{{.State.Health.Status}}")
}

#[track_caller]
fn becomes(host: &Host, name: &str, wanted: &str) {
    until(&format!("{name} to be {wanted}"), || (status(host, name) == wanted).then_some(()));
}

fn run(host: &Host, name: &str, flags: &[&str]) {
    let words = [&["run", "-d", "--name", name], flags, &["busybox", "sh", "-c", STAYS]].concat();
    host.docker(&words).ok();
}

/// The actions of all events of a container so far, without those of probes.
fn actions(host: &Host, name: &str) -> Vec<String> {
    let filter = format!("container={name}");
    let all = host
        .docker(&["events", "--since", "0", "--until=-1s", "--filter", &filter, "--format", "{{.Action}}"])
        .ok();
    all.lines().filter(|l| !l.starts_with("exec_")).map(str::to_owned).collect()
}

#[test]
fn a_check_follows_its_program() {
    let host = Host::new();
    run(
        &host,
        "c1",
        &["--health-cmd", "echo probed; test -e /ok", "--health-interval", "100ms", "--health-retries", "2"],
    );
    assert!(host.docker(&["ps"]).ok().contains("(health: starting)"));
    becomes(&host, "c1", "unhealthy");
    assert!(host.docker(&["ps"]).ok().contains("(unhealthy)"));
    host.docker(&["exec", "c1", "touch", "/ok"]).ok();
    becomes(&host, "c1", "healthy");
    assert_eq!(inspect(&host, "c1", "{{.State.Health.FailingStreak}}"), "0");
    for (wanted, found) in [("healthy", "c1"), ("unhealthy", ""), ("none", "")] {
        let filter = format!("health={wanted}");
        assert_eq!(
            host.docker(&["ps", "--filter", &filter, "--format", "{{.Names}}"]).ok(),
            found,
            "{wanted}"
        );
    }
    until("five results", || (inspect(&host, "c1", "{{len .State.Health.Log}}") == "5").then_some(()));
    let last = "{{with index .State.Health.Log 4}}{{.ExitCode}} {{.Output}}{{end}}";
    assert_eq!(inspect(&host, "c1", last), "0 probed\n".trim_end());
    assert_eq!(
        actions(&host, "c1"),
        ["create", "start", "health_status: unhealthy", "health_status: healthy"]
    );
    // Each probe is an exec, told as Docker tells it, and none is left behind.
    let probes = host
        .docker(&[
            "events",
            "--since",
            "0",
            "--until=-1s",
            "--filter",
            "event=exec_create",
            "--format",
            "{{.Action}}",
        ])
        .ok();
    let line = probes.lines().next().unwrap();
    assert_eq!(line, "exec_create: /bin/sh -c echo probed; test -e /ok");
    host.docker(&["stop", "c1"]).ok();
    assert_eq!(status(&host, "c1"), "unhealthy");
    host.finish();
}

#[test]
fn a_start_period_forgives_and_a_start_interval_hurries() {
    let host = Host::new();
    let period =
        ["--health-start-period", "60s", "--health-start-interval", "50ms", "--health-interval", "60s"];
    run(&host, "c1", &[&["--health-cmd", "test -e /ok", "--health-retries", "1"], &period[..]].concat());
    until("failures", || (inspect(&host, "c1", "{{len .State.Health.Log}}") == "5").then_some(()));
    assert_eq!(
        inspect(&host, "c1", "{{.State.Health.Status}} {{.State.Health.FailingStreak}}"),
        "starting 0"
    );
    host.docker(&["exec", "c1", "touch", "/ok"]).ok();
    becomes(&host, "c1", "healthy");
    host.finish();
}

#[test]
fn a_probe_that_takes_too_long_is_killed() {
    let host = Host::new();
    let slow = "echo begun; exec sleep 1234";
    run(
        &host,
        "c1",
        &[
            "--health-cmd",
            slow,
            "--health-interval",
            "100ms",
            "--health-timeout",
            "200ms",
            "--health-retries",
            "1",
        ],
    );
    becomes(&host, "c1", "unhealthy");
    let last = "{{with index .State.Health.Log 0}}{{.ExitCode}} {{.Output}}{{end}}";
    assert_eq!(inspect(&host, "c1", last), "-1 Health check exceeded timeout (200ms): begun\n".trim_end());
    until("no probe to be left", || {
        let top = host.docker(&["top", "c1", "-o", "pid,args"]).ok();
        (top.matches("sleep 1234").count() <= 1).then_some(())
    });
    host.finish();
}

#[test]
fn long_output_is_cut_and_a_missing_shell_is_a_failure() {
    let host = Host::new();
    run(&host, "c1", &["--health-cmd", "head -c 5000 /dev/zero | tr '\\0' x", "--health-interval", "100ms"]);
    becomes(&host, "c1", "healthy");
    let output = inspect(&host, "c1", "{{(index .State.Health.Log 0).Output}}");
    assert_eq!((output.len(), output.ends_with("x...")), (4099, true));

    let dockerfile = "FROM busybox\nSHELL [\"/no/shell\", \"-c\"]\nHEALTHCHECK --interval=100ms --retries=1 CMD true\nCMD [\"sleep\", \"1000\"]\n";
    host.docker(&["build", "-t", "noshell", "-"]).stdin(dockerfile).ok();
    host.docker(&["run", "-d", "--name", "c2", "noshell"]).ok();
    becomes(&host, "c2", "unhealthy");
    let last = "{{with index .State.Health.Log 0}}{{.ExitCode}} {{.Output}}{{end}}";
    let said = inspect(&host, "c2", last);
    assert!(said.starts_with("-1 ") && said.contains("no such file or directory"), "{said}");
    host.finish();
}

#[test]
fn an_image_has_a_check_that_flags_override() {
    let host = Host::new();
    let dockerfile =
        "FROM busybox\nHEALTHCHECK --interval=100ms --retries=7 CMD [\"true\"]\nCMD [\"sleep\", \"1000\"]\n";
    host.docker(&["build", "-t", "checked", "-"]).stdin(dockerfile).ok();
    host.docker(&["run", "-d", "--name", "c1", "checked"]).ok();
    becomes(&host, "c1", "healthy");
    host.docker(&["run", "-d", "--name", "c2", "--health-cmd", "false", "--health-retries", "1", "checked"])
        .ok();
    becomes(&host, "c2", "unhealthy");
    assert_eq!(inspect(&host, "c2", "{{json .Config.Healthcheck.Test}}"), r#"["CMD-SHELL","false"]"#);
    host.docker(&["run", "-d", "--name", "c3", "--no-healthcheck", "checked"]).ok();
    assert_eq!(inspect(&host, "c3", "{{json .State.Health}}"), "null");
    assert_eq!(host.docker(&["ps", "--filter", "health=none", "--format", "{{.Names}}"]).ok(), "c3");
    let refused =
        host.docker(&["run", "--health-cmd", "true", "--health-interval", "1us", "busybox"]).fails(125);
    assert!(refused.contains("Interval in Healthcheck cannot be less than 1ms"), "{refused}");
    let refused = host.docker(&["ps", "--filter", "health=well"]).fails(1);
    assert!(refused.contains("invalid filter 'health=well'"), "{refused}");
    host.finish();
}

#[test]
fn a_freeze_rests_and_a_restart_begins_anew() {
    let host = Host::new();
    run(&host, "c1", &["--health-cmd", "test -e /ok", "--health-interval", "100ms"]);
    host.docker(&["exec", "c1", "touch", "/ok"]).ok();
    becomes(&host, "c1", "healthy");
    host.docker(&["pause", "c1"]).ok();
    // As in Docker: who is not watched is not healthy.
    assert_eq!(status(&host, "c1"), "unhealthy");
    assert!(host.docker(&["ps"]).ok().contains("(Paused)"));
    host.docker(&["unpause", "c1"]).ok();
    becomes(&host, "c1", "healthy");
    host.docker(&["exec", "c1", "rm", "/ok"]).ok();
    host.docker(&["restart", "c1"]).ok();
    assert_eq!(status(&host, "c1"), "starting");
    becomes(&host, "c1", "unhealthy");
    host.finish();
}

#[test]
fn probing_goes_on_after_the_daemons_death() {
    let mut host = Host::new();
    run(&host, "c1", &["--health-cmd", "test -e /ok", "--health-interval", "100ms", "--health-retries", "1"]);
    host.docker(&["exec", "c1", "touch", "/ok"]).ok();
    becomes(&host, "c1", "healthy");
    host.kill_daemon();
    host.start_daemon();
    assert_eq!(status(&host, "c1"), "healthy");
    host.docker(&["exec", "c1", "rm", "/ok"]).ok();
    becomes(&host, "c1", "unhealthy");
    host.finish();
}

#[test]
fn probes_from_outside_need_no_program_in_the_image() {
    let host = Host::new();
    let serve = "mkdir /www; echo page >/www/index.html; httpd -p 127.0.0.1:8080 -h /www; exec sleep 1000";
    let run = |name: &str, check: &str| {
        let flags = ["--health-cmd", check, "--health-interval", "100ms", "--health-retries", "1"];
        let words = [&["run", "-d", "--name", name], &flags[..], &["busybox", "sh", "-c", serve]].concat();
        host.docker(&words).ok();
    };
    let last = "{{with index .State.Health.Log 0}}{{.ExitCode}} {{.Output}}{{end}}";
    run("http", "http://localhost:8080/index.html");
    becomes(&host, "http", "healthy");
    until("the page", || {
        inspect(&host, "http", "{{range .State.Health.Log}}{{.Output}}{{end}}")
            .contains("200 OK\npage")
            .then_some(())
    });
    run("missing", "http://localhost:8080/missing");
    becomes(&host, "missing", "unhealthy");
    run("tcp", "tcp://localhost:8080");
    becomes(&host, "tcp", "healthy");
    run("closed", "tcp://127.0.0.1:81");
    becomes(&host, "closed", "unhealthy");
    assert_eq!(inspect(&host, "closed", last), "1 cannot connect to 127.0.0.1:81: connection refused");
    // The host's own ports are not the container's.
    let refused = host.docker(&["run", "--health-cmd", "tcp://example.org:80", "busybox"]).fails(125);
    assert!(refused.contains("a probe can only reach localhost or an IP address"), "{refused}");
    assert!(!host.docker(&["events", "--since", "0", "--until=-1s"]).ok().contains("exec_"));
    host.finish();
}

#[test]
fn an_unhealthy_container_is_restarted_stopped_or_killed_on_request() {
    let host = Host::new();
    let run = |name: &str, how: &str| {
        let label = format!("com.corten.health.on-failure={how}");
        let flags = ["--label", &label, "--health-cmd", "test ! -e /bad", "--health-interval", "100ms"];
        run(&host, name, &[&flags[..], &["--health-retries", "1"]].concat());
        becomes(&host, name, "healthy");
        host.docker(&["exec", name, "touch", "/bad"]).ok();
    };
    run("again", "restart");
    until("two restarts", || {
        (inspect(&host, "again", "{{.RestartCount}}").parse::<u32>().unwrap() >= 2).then_some(())
    });
    let told = actions(&host, "again");
    assert_eq!(
        told[..8],
        [
            "create",
            "start",
            "health_status: healthy",
            "health_status: unhealthy",
            "kill",
            "die",
            "start",
            "health_status: unhealthy"
        ],
    );
    // The user's stop ends that.
    host.docker(&["stop", "again"]).ok();
    assert_eq!(inspect(&host, "again", "{{.State.Status}}"), "exited");

    run("stopped", "stop");
    until("the end", || {
        (inspect(&host, "stopped", "{{.State.Status}} {{.State.ExitCode}}") == "exited 0").then_some(())
    });
    run("killed", "kill");
    until("the end", || {
        (inspect(&host, "killed", "{{.State.Status}} {{.State.ExitCode}}") == "exited 137").then_some(())
    });
    let refused = host.docker(&["create", "--label", "com.corten.health.on-failure=x", "busybox"]).fails(1);
    assert!(refused.contains("use one of 'none', 'kill', 'stop' or 'restart'"), "{refused}");
    host.finish();
}
