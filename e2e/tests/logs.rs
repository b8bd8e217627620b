//! Logs with the original client: nothing lost, every driver, rotation, reading.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixListener};

use testkit::{Host, until};

/// Runs a script to its end, detached.
fn run(host: &Host, name: &str, flags: &[&str], script: &str) {
    let words = [&["run", "-d", "--name", name], flags, &["busybox", "sh", "-c", script]].concat();
    host.docker(&words).ok();
    host.docker(&["wait", name]).ok();
}

fn logs(host: &Host, name: &str, flags: &[&str]) -> String {
    host.docker(&[&["logs"], flags, &[name]].concat()).output().stdout
}

fn log_files(host: &Host, name: &str) -> Vec<String> {
    let path = host.docker(&["inspect", "-f", "{{.LogPath}}", name]).ok();
    let directory = std::path::Path::new(&path).parent().unwrap().to_owned();
    let names = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = names.map(|n| n.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.contains(".log"));
    names
}

#[test]
fn fifty_megabytes_and_a_long_line_lose_nothing() {
    let host = Host::new();
    let line = "0123456789".repeat(6);
    run(&host, "big", &[], &format!("yes {line} | head -c 50000000"));
    let text = logs(&host, "big", &[]);
    assert_eq!(text.len(), 50_000_000);
    assert!(text.split_terminator('\n').rev().skip(1).all(|l| l == line));
    run(&host, "long", &[], "yes x | tr -d '\\n' | head -c 300000; echo; echo end");
    assert_eq!(logs(&host, "long", &[]), "x".repeat(300_000) + "\nend\n");
    assert_eq!(logs(&host, "long", &["--tail", "1"]), "end\n");
    assert_eq!(logs(&host, "long", &["--tail", "2"]).len(), 300_005);
    host.finish();
}

#[test]
fn selections_and_details() {
    let host = Host::new();
    let flags = [
        "--label",
        "a=b c",
        "-e",
        "X=1",
        "--log-opt",
        "labels=a",
        "--log-opt",
        "env-regex=^X$",
        "--log-opt",
        "tag={{.Name}}/{{.ImageName}}",
    ];
    run(&host, "c1", &flags, "echo one; echo two >&2; sleep 1.1; echo three");
    assert_eq!(logs(&host, "c1", &["--details"]).lines().next(), Some("X=1,a=b+c,tag=c1%2Fbusybox one"));
    let path = host.docker(&["inspect", "-f", "{{.LogPath}}", "c1"]).ok();
    let file = std::fs::read_to_string(path).unwrap();
    let attrs = r#"","stream":"stdout","attrs":{"X":"1","a":"b c","tag":"c1/busybox"},"time":""#;
    assert!(file.contains(attrs), "{file}");
    assert_eq!(logs(&host, "c1", &[]), "one\nthree\n");
    assert_eq!(host.docker(&["logs", "c1"]).output().stderr, "two\n");
    let stamped = logs(&host, "c1", &["-t"]);
    let time_of = |line: usize| stamped.lines().nth(line).unwrap().split(' ').next().unwrap().to_owned();
    assert_eq!(logs(&host, "c1", &["--since", &time_of(1)]), "three\n");
    assert_eq!(logs(&host, "c1", &["--until", &time_of(0)]), "one\n");
    assert_eq!(logs(&host, "c1", &["--since", "1h", "-n", "1"]), "three\n");
    host.finish();
}

#[test]
fn rotation_compression_and_following() {
    let host = Host::new();
    let flags = ["--log-opt", "max-size=20k", "--log-opt", "max-file=30", "--log-opt", "compress=true"];
    let script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; read x; echo end";
    host.docker(&[&["run", "-di", "--name", "r1"], &flags[..], &["busybox", "sh", "-c", script]].concat())
        .ok();
    until("the last line", || logs(&host, "r1", &["--tail", "1"]).ends_with("line 2999\n").then_some(()));
    until("compressed files", || {
        let names = log_files(&host, "r1");
        let count = names.iter().filter(|n| n.ends_with(".gz")).count();
        (count > 3 && count + 1 == names.len()).then_some(())
    });
    let expected: String = (0..3000).map(|i| format!("line {i}\n")).collect();
    assert_eq!(logs(&host, "r1", &[]), expected);
    assert_eq!(logs(&host, "r1", &["--tail", "2"]), "line 2998\nline 2999\n");
    let mut follow = host.docker(&["logs", "-f", "--tail", "1", "r1"]).spawn();
    let mut followed = BufReader::new(follow.stdout.take().unwrap());
    let mut text = String::new();
    followed.read_line(&mut text).unwrap();
    host.docker(&["attach", "r1"]).stdin("go\n").output();
    followed.read_to_string(&mut text).unwrap();
    follow.wait().unwrap();
    assert_eq!(text, "line 2999\nend\n");
    // Bounded: at most so many files of that size.
    run(&host, "bounded", &["--log-opt", "max-size=10k", "--log-opt", "max-file=2"], "seq 100000");
    assert_eq!(log_files(&host, "bounded").len(), 2);
    assert!(logs(&host, "bounded", &[]).ends_with("\n99999\n100000\n"));
    host.finish();
}

#[test]
fn every_driver_sends_and_is_read_back() {
    let host = Host::new();
    let fluentd = UnixListener::bind(host.path("fluentd")).unwrap();
    let syslog = UnixDatagram::bind(host.path("syslog")).unwrap();
    let fluentd_address = format!("fluentd-address=unix://{}", host.path("fluentd").display());
    let syslog_address = format!("syslog-address=unixgram://{}", host.path("syslog").display());

    run(&host, "l1", &["--log-driver", "local"], "echo one; echo two >&2");
    assert_eq!(logs(&host, "l1", &[]), "one\n");

    let flags = ["--log-driver", "fluentd", "--log-opt", &fluentd_address, "--log-opt", "tag=t.{{.Name}}"];
    run(&host, "f1", &flags, "echo to fluentd");
    let mut bytes = Vec::new();
    fluentd.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
    let has = |text: &[u8]| bytes.windows(text.len()).any(|w| w == text);
    assert!(bytes.starts_with(b"\x93\xa4t.f1\xce"));
    assert!(
        has(b"\xaecontainer_name\xa3/f1") && has(b"\xa3log\xaato fluentd") && has(b"\xa6source\xa6stdout")
    );
    assert_eq!(logs(&host, "f1", &[]), "to fluentd\n", "the cache");

    // Docker's acknowledgements: the message has a name, and waits until the server has said it.
    let server = std::thread::spawn(move || {
        let (mut client, _) = fluentd.accept().unwrap();
        let (mut bytes, mut block) = (Vec::new(), [0; 4096]);
        let name = loop {
            let n = client.read(&mut block).unwrap();
            assert!(n > 0, "the connection ended before the message");
            bytes.extend_from_slice(&block[..n]);
            let at = bytes.windows(8).position(|w| w == b"\xa5chunk\xd9\x20");
            if let Some(name) = at.and_then(|at| bytes.get(at + 8..at + 40)) {
                break name.to_vec();
            }
        };
        client.write_all(&[b"\x81\xa3ack\xd9\x20", &name[..]].concat()).unwrap();
    });
    let acknowledged = [&flags[..4], &["--log-opt", "fluentd-request-ack=true"]].concat();
    run(&host, "f2", &acknowledged, "echo acknowledged");
    server.join().unwrap();
    assert!(!host.daemon_log().contains("are lost"), "{}", host.daemon_log());

    let flags = ["--log-driver", "syslog", "--log-opt", &syslog_address, "--log-opt", "cache-disabled=true"];
    run(
        &host,
        "s1",
        &[&flags[..], &["--log-opt", "tag=me", "--log-opt", "syslog-facility=local1"]].concat(),
        "echo hi >&2",
    );
    let mut message = [0; 200];
    let length = syslog.recv(&mut message).unwrap();
    let message = String::from_utf8_lossy(&message[..length]).into_owned();
    assert!(
        message.starts_with("<139>") && message.contains(" me[") && message.ends_with("]: hi\n"),
        "{message}"
    );
    let error = host.docker(&["logs", "s1"]).fails(1);
    assert!(error.contains("configured logging driver does not support reading"), "{error}");

    let address = "fluentd-address=unix:///nonexistent/socket";
    let error = host.docker(&["run", "--log-driver", "fluentd", "--log-opt", address, "busybox"]).fails(127);
    let expected = "failed to create task for container: failed to initialize logging driver: dial unix /nonexistent/socket: connect: no such file or directory";
    assert!(error.contains(expected), "{error}");
    for (flags, expected) in [
        (["--log-driver", "nope"], "logger: no log driver named 'nope' is registered"),
        (["--log-opt", "x=1"], "unknown log opt 'x' for json-file log driver"),
    ] {
        let error = host.docker(&["create", flags[0], flags[1], "busybox"]).fails(1);
        assert!(error.contains(expected), "{error}");
    }
    host.finish();
}

#[test]
fn a_stalled_server_and_a_dead_daemon_leave_stop_and_logs_alone() {
    let mut host = Host::new();
    let fluentd = UnixListener::bind(host.path("fluentd")).unwrap();
    let address = format!("fluentd-address=unix://{}", host.path("fluentd").display());
    let flags = ["--log-driver", "fluentd", "--log-opt", &address];
    let script = "while :; do echo 0123456789012345678901234567890123456789; done";
    host.docker(&[&["run", "-d", "--name", "w1"], &flags[..], &["busybox", "sh", "-c", script]].concat())
        .ok();
    let _never_read = fluentd.accept().unwrap();
    host.docker(&["stop", "-t", "0", "w1"]).ok();
    assert_eq!(host.docker(&["inspect", "-f", "{{.State.ExitCode}}", "w1"]).ok(), "137");
    let script = "sleep 1; echo after; sleep 1000";
    host.docker(&["run", "-d", "--name", "d1", "--log-driver", "local", "busybox", "sh", "-c", script]).ok();
    host.kill_daemon();
    host.start_daemon();
    until("the line", || logs(&host, "d1", &[]).contains("after\n").then_some(()));
    host.finish();
}
