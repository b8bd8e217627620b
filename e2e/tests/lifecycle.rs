//! A container's life with the original client: every way to start, end, freeze, rename, change and remove it, also
//! all at once, and over the death of the daemon and of the machine.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Child;
use std::time::Instant;

use testkit::{Command, Host, until};

/// Runs until it is told to end, and does that at once.
const STAYS: &str = "trap 'exit 3' TERM; while :; do sleep 0.05; done";

fn inspect(host: &Host, name: &str, format: &str) -> String {
    host.docker(&["inspect", "-f", format, name]).ok()
}

/// Starts a script; one that traps signals has set its traps when this returns.
fn run(host: &Host, flags: &[&str], script: &str) -> String {
    let said = script.replacen("while", "echo up; while", 1);
    let id = host.docker(&[&["run", "-d"], flags, &["busybox", "sh", "-c", &said]].concat()).ok();
    if script.starts_with("trap") {
        until("its traps", || host.docker(&["logs", &id]).ok().contains("up").then_some(()));
    }
    id
}

/// Makes the file that a script waits for. From outside: an exec would end with the container, perhaps by its SIGKILL.
fn go(host: &Host, name: &str) {
    let pid = inspect(host, name, "{{.State.Pid}}");
    std::fs::File::create_new(format!("/proc/{pid}/root/go")).unwrap();
}

#[track_caller]
fn becomes(host: &Host, name: &str, format: &str, wanted: &str) {
    until(&format!("{name} to be {wanted}"), || (inspect(host, name, format) == wanted).then_some(()));
}

fn text(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn a_start_that_fails_is_recorded() {
    let host = Host::new();
    for (name, program, code, phrase) in [
        ("missing", "no-such-program", 127, "executable file not found in $PATH"),
        ("path", "/no/such", 127, "no such file or directory"),
        ("directory", "/etc", 126, "is a directory"),
    ] {
        let said = host.docker(&["run", "--name", name, "busybox", program]).fails(code);
        assert!(said.contains(phrase), "{said}");
        assert_eq!(inspect(&host, name, "{{.State.Status}} {{.State.ExitCode}}"), format!("created {code}"));
        assert!(inspect(&host, name, "{{.State.Error}}").contains(phrase));
        assert_eq!(inspect(&host, name, "{{.State.StartedAt}}"), "0001-01-01T00:00:00Z");
        host.docker(&["start", name]).fails(1);
    }
    host.docker(&["run", "--rm", "--name", "gone", "busybox", "/no/such"]).fails(127);
    assert_eq!(host.docker(&["ps", "-aq", "--filter", "name=gone"]).ok(), "");
    // A bind mount whose source has gone since.
    let source = host.path("source");
    std::fs::create_dir(&source).unwrap();
    let mount = format!("type=bind,src={},dst=/s", source.display());
    host.docker(&["create", "--name", "c1", "--mount", &mount, "busybox", "true"]).ok();
    std::fs::remove_dir(&source).unwrap();
    host.docker(&["start", "c1"]).fails(1);
    assert_eq!(inspect(&host, "c1", "{{.State.Status}} {{.State.ExitCode}}"), "created 128");
    std::fs::create_dir(&source).unwrap();
    assert_eq!(host.docker(&["start", "-a", "c1"]).ok(), "");
    assert_eq!(inspect(&host, "c1", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}"), "exited 0 ");
    host.finish();
}

#[test]
fn stop_asks_waits_and_kills() {
    let host = Host::new();
    let ended = "{{.State.Status}} {{.State.ExitCode}}";
    run(&host, &["--name", "kind"], STAYS);
    host.docker(&["stop", "kind"]).ok();
    assert_eq!(inspect(&host, "kind", ended), "exited 3");
    host.docker(&["stop", "kind"]).ok();

    run(&host, &["--name", "stubborn"], "trap '' TERM; while :; do sleep 0.05; done");
    let begun = Instant::now();
    host.docker(&["stop", "-t", "1", "stubborn"]).ok();
    assert!(begun.elapsed().as_millis() >= 1000);
    assert_eq!(inspect(&host, "stubborn", ended), "exited 137");

    run(
        &host,
        &["--name", "other", "--stop-signal", "USR1"],
        "trap 'exit 9' USR1; while :; do sleep 0.05; done",
    );
    host.docker(&["stop", "other"]).ok();
    assert_eq!(inspect(&host, "other", ended), "exited 9");
    host.docker(&["start", "other"]).ok();
    host.docker(&["stop", "-s", "KILL", "other"]).ok();
    assert_eq!(inspect(&host, "other", ended), "exited 137");

    // Its own timeout, and -1: for ever.
    run(&host, &["--name", "brief", "--stop-timeout", "0"], "trap '' TERM; while :; do sleep 0.05; done");
    host.docker(&["stop", "brief"]).ok();
    assert_eq!(inspect(&host, "brief", ended), "exited 137");
    let patient = "trap '' TERM; while [ ! -e /go ]; do sleep 0.05; done; exit 4";
    run(&host, &["--name", "patient", "--stop-timeout", "0"], patient);
    let stop = host.docker(&["stop", "-t", "-1", "patient"]).spawn();
    until("the signal", || {
        let events = host
            .docker(&[
                "events",
                "--since",
                "0",
                "--until=-1s",
                "--filter",
                "event=kill",
                "--format",
                "{{.Actor.Attributes.name}}",
            ])
            .ok();
        events.contains("patient").then_some(())
    });
    go(&host, "patient");
    assert_eq!(text(stop).0, Some(0));
    assert_eq!(inspect(&host, "patient", ended), "exited 4");
    host.finish();
}

#[test]
fn restart_policies_start_what_has_ended() {
    let host = Host::new();
    let counted = "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}";
    run(&host, &["--name", "twice", "--restart", "on-failure:2"], "exit 5");
    becomes(&host, "twice", counted, "exited 5 2");
    run(&host, &["--name", "fine", "--restart", "on-failure"], "exit 0");
    becomes(&host, "fine", counted, "exited 0 0");
    // The user's start begins to count anew.
    host.docker(&["start", "twice"]).ok();
    becomes(&host, "twice", counted, "exited 5 2");

    // Stop, kill and removal during the back-off.
    for (name, verb) in [("s1", &["stop", "s1"][..]), ("k1", &["kill", "k1"])] {
        run(&host, &["--name", name, "--restart", "always"], "echo run; exit 6");
        // It is called restarting while it is started, too: the sixth run has to be over.
        until("a longer back-off", || {
            let state = inspect(&host, name, "{{.RestartCount}} {{.State.Status}}");
            (state == "5 restarting" && host.docker(&["logs", name]).ok().lines().count() == 6).then_some(())
        });
        let shown = host.docker(&["ps", "--filter", "status=restarting", "--format", "{{.Status}}"]).ok();
        assert!(shown.starts_with("Restarting (6) "), "{shown}");
        let refused = host.docker(&["exec", name, "true"]).fails(1);
        assert!(refused.contains("is restarting, wait until the container is running"), "{refused}");
        host.docker(verb).ok();
        assert_eq!(inspect(&host, name, counted), "exited 6 5");
    }
    run(&host, &["--name", "r1", "--restart", "always"], "exit 6");
    until("the back-off", || (inspect(&host, "r1", "{{.State.Status}}") == "restarting").then_some(()));
    host.docker(&["rm", "-f", "r1"]).ok();
    host.docker(&["inspect", "r1"]).fails(1);

    // Killed by hand: no policy acts. A policy given later does.
    run(&host, &["--name", "u1", "--restart", "unless-stopped"], STAYS);
    host.docker(&["kill", "u1"]).ok();
    becomes(&host, "u1", counted, "exited 137 0");
    run(&host, &["--name", "later"], "while [ ! -e /go ]; do sleep 0.02; done; exit 1");
    host.docker(&["update", "--restart", "on-failure:1", "later"]).ok();
    go(&host, "later");
    becomes(&host, "later", counted, "exited 1 1");

    for (flags, phrase) in [
        (&["--restart", "always:3"][..], "maximum retry count"),
        (&["--restart", "sometimes"], "unknown policy 'sometimes'"),
        (&["--rm", "--restart", "always"], "restart"),
    ] {
        let refused = host.docker(&[&["run"], flags, &["busybox", "true"]].concat()).fails(125);
        assert!(refused.contains(phrase), "{refused}");
    }
    host.finish();
}

#[test]
fn the_daemons_start_follows_the_policies() {
    let mut host = Host::new();
    for (name, policy) in
        [("always", "always"), ("unless", "unless-stopped"), ("never", "no"), ("stopped", "unless-stopped")]
    {
        run(&host, &["--name", name, "--restart", policy], STAYS);
    }
    host.docker(&["create", "--name", "created", "--restart", "always", "busybox", "sleep", "1000"]).ok();
    host.docker(&["stop", "always", "stopped"]).ok();
    run(&host, &["--name", "rm1", "--rm", "-v", "/data"], "while [ ! -e /data/go ]; do sleep 0.02; done");
    host.docker(&["create", "--rm", "--name", "rm2", "busybox", "true"]).ok();
    let pid = inspect(&host, "rm1", "{{.State.Pid}}");
    let state = |host: &Host, name: &str| inspect(host, name, "{{.State.Status}}");
    host.kill_daemon();
    std::fs::File::create_new(format!("/proc/{pid}/root/data/go")).unwrap();
    until("the end", || (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
    host.start_daemon();
    // `always` starts again although it was stopped; the others follow their last state.
    becomes(&host, "always", "{{.State.Status}}", "running");
    for (name, wanted) in
        [("unless", "running"), ("never", "running"), ("stopped", "exited"), ("created", "created")]
    {
        assert_eq!(state(&host, name), wanted, "{name}");
    }
    // What ended unseen, and what nobody will start any more, is removed with its volume.
    until("the removals", || {
        let left = host.docker(&["ps", "-aq", "--filter", "name=rm"]).ok();
        (left.is_empty() && host.docker(&["volume", "ls", "-q"]).ok().is_empty()).then_some(())
    });
    host.finish();
}

#[test]
fn after_a_power_cut_containers_are_as_their_policies_want() {
    let mut host = Host::new();
    for (name, policy) in [("again", "unless-stopped"), ("lost", "no"), ("retried", "on-failure:3")] {
        run(&host, &["--name", name, "--restart", policy, "--health-cmd", "true"], STAYS);
    }
    let shims = host.path("run").join("shim");
    host.kill_daemon();
    for shim in std::fs::read_dir(&shims).unwrap() {
        let id = shim.unwrap().file_name().into_string().unwrap();
        let line = format!("corten-shim {id}");
        // The one that was ready for the next container ends by itself.
        Command::new(&["pkill", "-9", "-f", &line]).output();
        until("the shim's end", || (Command::new(&["pgrep", "-f", &line]).output().code != 0).then_some(()));
    }
    // A boot begins with an empty /run.
    std::fs::remove_dir_all(host.path("run")).unwrap();
    host.start_daemon();
    for (name, wanted) in [("again", "running 0"), ("lost", "exited 255"), ("retried", "running 0")] {
        becomes(&host, name, "{{.State.Status}} {{.State.ExitCode}}", wanted);
    }
    assert_eq!(host.docker(&["exec", "again", "echo", "up"]).ok(), "up");
    host.docker(&["start", "lost"]).ok();
    host.finish();
}

#[test]
fn wait_knows_three_conditions() {
    let host = Host::new();
    let wait = |host: &Host, name: &str, condition: &str| {
        let url = format!("http://d/v1.41/containers/{name}/wait?condition={condition}");
        let socket = host.path("corten.sock").display().to_string();
        host.command(&["curl", "-s", "-m", "20", "-X", "POST", "--unix-socket", &socket, &url])
    };
    host.docker(&["create", "--name", "c1", "busybox", "sh", "-c", "sleep 0.3; exit 7"]).ok();
    assert_eq!(wait(&host, "c1", "not-running").ok(), r#"{"StatusCode":0}"#);
    let next = wait(&host, "c1", "next-exit").spawn();
    let removed = wait(&host, "c1", "removed").spawn();
    host.docker(&["start", "c1"]).ok();
    assert_eq!(wait(&host, "c1", "not-running").ok(), r#"{"StatusCode":7}"#);
    assert_eq!(text(next).1, r#"{"StatusCode":7}"#);
    host.docker(&["rm", "c1"]).ok();
    assert_eq!(text(removed).1, r#"{"StatusCode":7}"#);
    let refused = wait(&host, "c1", "some-day").ok();
    assert!(refused.contains("invalid condition"), "{refused}");
    // The client of `run --rm` reads the code although the container is gone.
    host.docker(&["run", "--rm", "busybox", "sh", "-c", "exit 9"]).fails(9);
    host.docker(&["run", "--name", "bad", "busybox", "/no/such"]).fails(127);
    assert!(wait(&host, "bad", "not-running").ok().contains(r#""StatusCode":127,"Error":{"Message":""#));
    host.finish();
}

#[test]
fn a_running_container_takes_a_new_name_in_the_name_service_too() {
    let host = Host::new();
    host.docker(&["network", "create", "app"]).ok();
    run(&host, &["--name", "old", "--network", "app"], STAYS);
    run(&host, &["--name", "peer", "--network", "app"], STAYS);
    host.docker(&["exec", "peer", "nslookup", "old"]).ok();
    host.docker(&["rename", "old", "new"]).ok();
    host.docker(&["exec", "peer", "nslookup", "new"]).ok();
    assert_ne!(host.docker(&["exec", "peer", "nslookup", "old"]).output().code, 0);
    host.docker(&["inspect", "old"]).fails(1);
    let refused = host.docker(&["rename", "new", "peer"]).fails(1);
    assert!(refused.contains("is already in use by container"), "{refused}");
    let refused = host.docker(&["rename", "new", "a b"]).fails(1);
    assert!(refused.contains("Invalid container name (a b)"), "{refused}");
    // The old name is free.
    run(&host, &["--name", "old", "--network", "app"], STAYS);
    host.docker(&["exec", "peer", "nslookup", "old"]).ok();
    host.docker(&["rm", "-f", "old", "new", "peer"]).ok();
    host.docker(&["network", "rm", "app"]).ok();
    host.finish();
}

/// A limit as the kernel has it: from the first of these files below the container's cgroup that is there.
fn limit(host: &Host, id: &str, files: &[&str]) -> String {
    let paths = files.iter().map(|file| match file.split_once(':') {
        Some((controller, file)) => format!("/sys/fs/cgroup/{controller}/{}/{id}/{file}", host.name),
        None => format!("/sys/fs/cgroup/{}/{id}/{file}", host.name),
    });
    let found = paths.clone().find_map(|path| std::fs::read_to_string(path).ok());
    found.unwrap_or_else(|| panic!("none of {:?}", paths.collect::<Vec<_>>())).trim().to_owned()
}

#[test]
fn limits_change_while_it_runs_and_stay_after_a_restart() {
    let host = Host::new();
    let id = run(&host, &["--name", "c1", "-m", "64m"], STAYS);
    let memory = ["memory:memory.limit_in_bytes", "memory.max"];
    let pids = ["pids:pids.max", "pids.max"];
    let shares = ["cpu:cpu.shares", "cpu.weight"];
    let quota = ["cpu:cpu.cfs_quota_us", "cpu.max"];
    assert_eq!(limit(&host, &id, &memory), (64 << 20).to_string());
    // Up and down again, past the swap limit that goes with it.
    for mebibytes in [256, 32] {
        let flag = format!("{mebibytes}m");
        host.docker(&["update", "-m", &flag, "--memory-swap", &flag, "c1"]).ok();
        assert_eq!(limit(&host, &id, &memory), (mebibytes << 20).to_string());
    }
    host.docker(&[
        "update",
        "--pids-limit",
        "77",
        "--cpu-shares",
        "512",
        "--cpus",
        "0.5",
        "--cpuset-cpus",
        "0",
        "c1",
    ])
    .ok();
    let check = |host: &Host| {
        assert_eq!(limit(host, &id, &pids), "77");
        assert!(matches!(limit(host, &id, &shares).as_str(), "512" | "59"), "{}", limit(host, &id, &shares));
        assert!(limit(host, &id, &quota).starts_with("50000"));
        assert_eq!(limit(host, &id, &["cpuset:cpuset.cpus", "cpuset.cpus"]), "0");
        assert_eq!(limit(host, &id, &memory), (32 << 20).to_string());
    };
    check(&host);
    host.docker(&["restart", "c1"]).ok();
    check(&host);
    assert_eq!(inspect(&host, "c1", "{{.HostConfig.PidsLimit}} {{.HostConfig.NanoCpus}}"), "77 500000000");
    let refused = host.docker(&["update", "--cpu-quota", "20000", "c1"]).fails(1);
    assert!(refused.contains("Conflicting options"), "{refused}");
    let refused = host.docker(&["update", "-m", "1m", "c1"]).fails(1);
    assert!(refused.contains("Minimum memory limit allowed is 6MB"), "{refused}");
    check(&host);
    host.finish();
}

#[test]
fn a_frozen_container_can_be_killed_removed_and_nothing_else() {
    let host = Host::new();
    run(&host, &["--name", "c1"], STAYS);
    let refused = host.docker(&["unpause", "c1"]).fails(1);
    assert!(refused.contains("is not paused"), "{refused}");
    host.docker(&["pause", "c1"]).ok();
    for (words, phrase) in [
        (&["pause", "c1"][..], "is already paused"),
        (&["exec", "c1", "true"], "is paused, unpause the container before exec"),
        (&["start", "c1"], "cannot start a paused container, try unpause instead"),
        (&["rm", "c1"], "cannot remove container \"c1\": container is paused and must be unpaused first"),
        (&["attach", "c1"], "paused"),
    ] {
        let refused = host.docker(words).fails(1);
        assert!(refused.contains(phrase), "{refused}");
    }
    host.docker(&["stop", "-t", "5", "c1"]).ok();
    assert_eq!(inspect(&host, "c1", "{{.State.Status}} {{.State.ExitCode}}"), "exited 3");
    for verb in [&["kill", "c1"][..], &["rm", "-f", "c1"]] {
        host.docker(&["start", "c1"]).ok();
        host.docker(&["pause", "c1"]).ok();
        host.docker(verb).ok();
    }
    // Of containers alone: a network's id may begin like this.
    host.docker(&["container", "inspect", "c1"]).fails(1);
    let refused = host.docker(&["pause", "c1"]).fails(1);
    assert!(refused.contains("No such container: c1"), "{refused}");
    host.finish();
}

#[test]
fn signals_reach_the_process_and_texts_are_dockers() {
    let host = Host::new();
    run(
        &host,
        &["--name", "c1"],
        "trap 'echo hup' HUP; trap 'echo winch' WINCH; while :; do sleep 0.02; done",
    );
    for signal in ["HUP", "SIGWINCH", "1", "28"] {
        let before = host.docker(&["logs", "c1"]).ok().lines().count();
        host.docker(&["kill", "-s", signal, "c1"]).ok();
        until("the trap", || (host.docker(&["logs", "c1"]).ok().lines().count() == before + 1).then_some(()));
    }
    let refused = host.docker(&["kill", "-s", "NOSUCH", "c1"]).fails(1);
    assert!(refused.contains("NOSUCH"), "{refused}");
    host.docker(&["kill", "c1"]).ok();
    let refused = host.docker(&["kill", "c1"]).fails(1);
    assert!(refused.contains("cannot kill container: c1: container "), "{refused}");
    host.docker(&["start", "c1"]).ok();
    let refused = host.docker(&["rm", "c1"]).fails(1);
    assert!(
        refused.contains("cannot remove container \"c1\": container is running: stop the container before removing or force remove"),
        "{refused}"
    );
    // An exec ends with its container.
    let exec = host.docker(&["exec", "c1", "sleep", "1000"]).spawn();
    until("the exec", || host.docker(&["top", "c1"]).ok().contains("sleep 1000").then_some(()));
    host.docker(&["kill", "c1"]).ok();
    assert_eq!(text(exec).0, Some(137));
    host.finish();
}

#[test]
fn a_storm_of_verbs_leaves_order() {
    let host = Host::new();
    for name in ["s0", "s1", "s2"] {
        host.docker(&["create", "--name", name, "--restart", "on-failure", "busybox", "sleep", "1000"]).ok();
    }
    // Every verb at once on the same containers. Each may be refused, none may hang or leave half a container.
    let verbs: [&[&str]; 8] = [
        &["start"],
        &["stop", "-t", "0"],
        &["restart", "-t", "0"],
        &["kill"],
        &["pause"],
        &["unpause"],
        &["exec", "-d", "@", "true"],
        &["update", "--pids-limit", "50"],
    ];
    for round in 0..4 {
        let mut children = Vec::new();
        for turn in 0..verbs.len() {
            for container in 0..3 {
                let name = format!("s{container}");
                let mut words = verbs[(turn + round + container) % verbs.len()].to_vec();
                match words.iter().position(|w| *w == "@") {
                    Some(at) => words[at] = &name,
                    None => words.push(&name),
                }
                children.push(host.docker(&words).spawn());
            }
        }
        for child in children {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("internal") && !said.contains("panick"), "{said}");
        }
    }
    // They still obey.
    for name in ["s0", "s1", "s2"] {
        if inspect(&host, name, "{{.State.Paused}}") == "true" {
            host.docker(&["unpause", name]).ok();
        }
        host.docker(&["restart", "-t", "0", name]).ok();
        assert_eq!(host.docker(&["exec", name, "echo", "here"]).ok(), "here");
    }
    // Starts against removals: whoever wins, in the end they are gone.
    let mut children = Vec::new();
    for name in ["s0", "s1", "s2"] {
        for words in
            [&["restart", "-t", "0", name][..], &["rm", "-f", name], &["start", name], &["rm", "-f", name]]
        {
            children.push(host.docker(words).spawn());
        }
    }
    children.into_iter().for_each(|child| drop(text(child)));
    assert_eq!(host.docker(&["ps", "-aq"]).ok(), "");
    host.finish();
}
