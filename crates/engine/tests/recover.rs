//! An engine that is gone without a word, and the next one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod bench;

use bench::{on_a_host, output, script};
use engine::{RemoveOptions, WaitCondition};
use spec::api::{ExecConfig, ExecStart, RestartPolicy};

#[test]
fn containers_run_on_without_the_engine_and_are_adopted() {
    on_a_host(|bench| {
        let pid = bench.run(async |engine| {
            let text = "echo up; while ! test -e /tmp/go; do sleep 0.05; done; echo down; exit 5";
            engine.create(Some("runs"), None, script(text)).await.unwrap();
            engine.start("runs").await.unwrap_or_else(|e| panic!("{}", e.message()));
            engine.inspect("runs", false).await.unwrap().state.pid
        });
        bench.run(async |engine| {
            let inspect = engine.inspect("runs", false).await.unwrap();
            assert_eq!((inspect.state.status.as_str(), inspect.state.pid), ("running", pid));
            let ip = &inspect.network_settings.networks["bridge"].ip_address;
            assert!(ip.starts_with("172."), "{ip}");
            let waiter = engine.wait("runs", WaitCondition::NextExit).unwrap();
            let config = ExecConfig {
                cmd: ["sh", "-c", "echo > /tmp/go"].map(str::to_owned).into(),
                ..ExecConfig::default()
            };
            let exec = engine.exec_create("runs", config).await.unwrap();
            let start = ExecStart { detach: true, ..ExecStart::default() };
            engine.exec_start(&exec, start).unwrap().run().await.unwrap();
            assert_eq!(waiter.done().await.status_code, 5);
            assert_eq!(output(&engine, "runs").await, "up\ndown\n");
        });
    });
}

#[test]
fn what_happened_in_between_is_found_out() {
    on_a_host(|bench| {
        let (ends, lost) = bench.run(async |engine| {
            let gate = bench.path().join("gate");
            sys::file::create_dir_all(&gate, 0o755).unwrap();
            let mut ends = script("while ! test -e /gate/go; do sleep 0.05; done; exit 8");
            ends.host_config.binds = vec![format!("{}:/gate", gate.display())];
            let mut again = script("sleep 1000");
            again.host_config.restart_policy =
                Some(RestartPolicy { name: "always".into(), maximum_retry_count: 0 });
            for (name, request) in [("ends", ends), ("lost", script("sleep 1000")), ("again", again)] {
                engine.create(Some(name), None, request).await.unwrap();
                engine.start(name).await.unwrap_or_else(|e| panic!("{}", e.message()));
            }
            engine.stop("again", None, Some(0)).await.unwrap();
            let pid = async |name: &str| {
                i32::try_from(engine.inspect(name, false).await.unwrap().state.pid).unwrap()
            };
            (pid("ends").await, pid("lost").await)
        });
        // One ends by itself, the other's shim is killed: its init must not be taken for running.
        let pidfd = sys::process::pidfd_open(ends).unwrap();
        sys::file::create(&bench.path().join("gate/go"), 0o644).unwrap();
        assert!(sys::poll::wait(&pidfd, sys::poll::Interest::READ, Some(bench::PATIENCE)).unwrap());
        let shim = parent(lost);
        let shim_fd = sys::process::pidfd_open(shim).unwrap();
        sys::process::pidfd_send_signal(std::os::fd::AsFd::as_fd(&shim_fd), 9).unwrap();
        assert!(sys::poll::wait(&shim_fd, sys::poll::Interest::READ, Some(bench::PATIENCE)).unwrap());
        bench.run(async |engine| {
            let state = async |name: &str| engine.inspect(name, false).await.unwrap().state;
            assert_eq!(state("ends").await.exit_code, 8);
            let lost_state = state("lost").await;
            assert_eq!((lost_state.status.as_str(), lost_state.exit_code), ("exited", 255));
            assert!(!std::path::Path::new(&format!("/proc/{lost}/exe")).exists(), "its processes are ended");
            // `always` starts what the user had stopped.
            while state("again").await.status != "running" {
                tokio::task::yield_now().await;
            }
            engine.remove("again", RemoveOptions { force: true, volumes: true }).await.unwrap();
        });
    });
}

fn parent(pid: i32) -> i32 {
    let stat = sys::file::read(std::path::Path::new(&format!("/proc/{pid}/stat"))).unwrap();
    let stat = String::from_utf8_lossy(&stat).into_owned();
    stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
}
