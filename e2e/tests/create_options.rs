//! What can be asked for at create, end to end with the original client.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Host, until};

fn inspect(host: &Host, name: &str, format: &str) -> String {
    host.docker(&["inspect", "-f", format, name]).ok()
}

/// Runs a script in a new container with these flags; what it says.
fn run(host: &Host, flags: &[&str], script: &str) -> String {
    host.docker(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat()).ok()
}

fn start(host: &Host, name: &str, flags: &[&str]) {
    let words = [&["run", "-d", "--name", name], flags, &["busybox", "sleep", "1000"]].concat();
    host.docker(&words).ok();
}

#[test]
fn an_init_forwards_signals_reaps_and_ends_with_its_program() {
    let host = Host::new();
    // Without an init the program is the first process, and SIGTERM's default does nothing to it.
    start(&host, "c1", &["--init"]);
    let top = host.docker(&["top", "c1", "-o", "pid,args"]).ok();
    assert!(top.contains("/sbin/docker-init -- sleep 1000"), "{top}");
    assert_eq!(host.docker(&["exec", "c1", "sh", "-c", "cat /proc/1/comm"]).ok(), "docker-init");
    // An orphan is reaped.
    host.docker(&["exec", "c1", "sh", "-c", "(sh -c 'exit 3' &) ; sleep 0.1"]).ok();
    until("no zombie", || {
        let ps = host.docker(&["exec", "c1", "ps", "-o", "stat,comm"]).ok();
        (!ps.contains('Z')).then_some(())
    });
    // It holds nothing of ours, and no more rights than the program.
    assert_eq!(
        host.docker(&["exec", "c1", "sh", "-c", "grep CapEff /proc/1/status; grep Seccomp: /proc/1/status"])
            .ok(),
        host.docker(&[
            "exec",
            "c1",
            "sh",
            "-c",
            "p=$(pidof sleep); grep CapEff /proc/$p/status; grep Seccomp: /proc/$p/status"
        ])
        .ok()
    );
    let pid = inspect(&host, "c1", "{{.State.Pid}}");
    let open: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|fd| std::fs::read_link(fd.unwrap().path()).unwrap().display().to_string())
        .filter(|target| !target.starts_with("pipe:") && target != "/dev/null")
        .collect();
    assert!(open.iter().all(|target| target.starts_with("anon_inode:")), "{open:?}");
    host.docker(&["stop", "-t", "20", "c1"]).ok();
    assert_eq!(inspect(&host, "c1", "{{.State.ExitCode}}"), "143");

    host.docker(&["run", "--rm", "--init", "busybox", "sh", "-c", "exit 7"]).fails(7);
    host.docker(&["run", "--rm", "--init", "busybox", "sh", "-c", "kill -9 $$"]).fails(137);
    let refused = host.docker(&["run", "--rm", "--init", "busybox", "nosuch"]).fails(127);
    assert!(refused.contains("executable file not found in $PATH"), "{refused}");
    assert_eq!(
        run(&host, &["--init", "-u", "www"], "id -u; cat /proc/1/cmdline | tr '\\0' ' ' | head -c 17"),
        "33\n/sbin/docker-init"
    );
    assert_eq!(run(&host, &["--init", "-t"], "tty; echo $$ | wc -l").replace('\r', ""), "/dev/pts/0\n1");
    host.finish();
}
