//! The verbs of containers on a real kernel, with real shims.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod bench;

use bench::{on_a_host, output, read_all, run, script, until_output};
use engine::{AttachOptions, ListOptions, RemoveOptions, WaitCondition};
use spec::api::{ExecConfig, ExecStart, RestartPolicy};
use spec::{ErrorKind, Filters};

#[test]
fn a_container_runs_and_everything_of_it_can_be_seen() {
    on_a_host(|bench| {
        bench.run(async |engine| {
            let mut request = script("echo out; echo err >&2; hostname; exit 3");
            request.config.hostname = "box".into();
            assert_eq!(run(&engine, "one", request).await, 3);
            let mut lines: Vec<_> = output(&engine, "one").await.lines().map(str::to_owned).collect();
            lines.sort();
            assert_eq!(lines, ["box", "err", "out"]);

            let inspect = engine.inspect("one", true).await.unwrap();
            assert_eq!((inspect.state.status.as_str(), inspect.state.exit_code), ("exited", 3));
            assert_eq!((inspect.name.as_str(), inspect.path.as_str()), ("/one", "sh"));
            assert!(inspect.network_settings.networks["bridge"].ip_address.is_empty(), "released at its end");
            assert!(engine.containers(ListOptions::default()).await.unwrap().is_empty());
            let all = engine.containers(ListOptions { all: true, ..ListOptions::default() }).await.unwrap();
            assert!(all[0].status.starts_with("Exited (3)"), "{}", all[0].status);

            engine.remove("one", RemoveOptions::default()).await.unwrap();
            assert_eq!(engine.inspect("one", false).await.unwrap_err().kind(), ErrorKind::NotFound);
            assert!(engine.store().rw_list().unwrap().is_empty());
        });
    });
}

#[test]
fn a_client_that_attaches_before_the_start_misses_nothing() {
    on_a_host(|bench| {
        bench.run(async |engine| {
            let mut request = script("read line; echo got $line");
            request.config.open_stdin = true;
            request.config.stdin_once = true;
            engine.create(Some("one"), None, request).await.unwrap();
            let options =
                AttachOptions { stream: true, stdin: true, stdout: true, ..AttachOptions::default() };
            let mut attached = engine.attach("one", options).await.unwrap();
            engine.start("one").await.unwrap_or_else(|e| panic!("{}", e.message()));
            tokio::io::AsyncWriteExt::write_all(attached.socket.as_mut().unwrap(), b"hello\n").await.unwrap();
            assert_eq!(read_all(attached).await, "got hello\n");
            engine.wait("one", WaitCondition::NotRunning).unwrap().done().await;
        });
    });
}

#[test]
fn a_start_that_fails_says_why_and_leaves_nothing() {
    on_a_host(|bench| {
        bench.run(async |engine| {
            let mut request = script("");
            request.config.cmd = vec!["nonsense".into()];
            engine.create(Some("one"), None, request).await.unwrap();
            let error = engine.start("one").await.unwrap_err().message();
            assert!(error.contains("executable file not found in $PATH"), "{error}");
            let state = engine.inspect("one", false).await.unwrap().state;
            assert_eq!((state.status.as_str(), state.exit_code), ("created", 127));
            assert_eq!(state.error, error);
            let network = engine.network_inspect("bridge").await.unwrap();
            assert!(network.containers.is_empty());
            let shims = sys::file::list(&bench.path().join("run/shim")).unwrap();
            assert!(shims.iter().all(|name| name.starts_with("ready-")), "{shims:?}");

            let mut request = script("");
            request.config.cmd = vec!["/etc".into()];
            request.host_config.auto_remove = true;
            engine.create(Some("two"), None, request).await.unwrap();
            let waiter = engine.wait("two", WaitCondition::Removed).unwrap();
            let error = engine.start("two").await.unwrap_err().message();
            assert!(error.contains("is a directory"), "{error}");
            assert_eq!(waiter.done().await.status_code, 126);
        });
    });
}

#[test]
fn an_exec_runs_in_the_container_and_its_code_is_there_at_once() {
    on_a_host(|bench| {
        bench.run(async |engine| {
            engine.create(Some("one"), None, script("sleep 1000")).await.unwrap();
            engine.start("one").await.unwrap_or_else(|e| panic!("{}", e.message()));
            let config = |cmd: &[&str]| ExecConfig {
                cmd: cmd.iter().map(|w| (*w).to_owned()).collect(),
                attach_stdout: true,
                attach_stderr: true,
                user: "app".into(),
                ..ExecConfig::default()
            };
            for _ in 0..10 {
                let exec = engine.exec_create("one", config(&["sh", "-c", "id -u; exit 5"])).await.unwrap();
                let attached =
                    engine.exec_start(&exec, ExecStart::default()).unwrap().run().await.unwrap().unwrap();
                assert_eq!(read_all(attached).await, "7\n");
                let inspect = engine.exec_inspect(&exec).await.unwrap();
                assert_eq!((inspect.running, inspect.exit_code), (false, Some(5)));
                let again = engine.exec_start(&exec, ExecStart::default()).unwrap_err();
                assert_eq!(again.kind(), ErrorKind::Conflict);
            }
            let exec = engine.exec_create("one", config(&["nonsense"])).await.unwrap();
            let error =
                engine.exec_start(&exec, ExecStart::default()).unwrap().run().await.unwrap_err().message();
            assert!(error.contains("executable file not found in $PATH"), "{error}");
            assert_eq!(engine.exec_inspect(&exec).await.unwrap().exit_code, Some(127));

            let top = engine.top("one").await.unwrap();
            assert!(top.processes.iter().any(|p| p.last().unwrap().contains("sleep 1000")), "{top:?}");
            engine.remove("one", RemoveOptions { force: true, volumes: true }).await.unwrap();
        });
    });
}

#[test]
fn stop_pause_kill_and_restart_are_dockers() {
    on_a_host(|bench| {
        bench.run(async |engine| {
            let text = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
            engine.create(Some("one"), None, script(text)).await.unwrap();
            assert_eq!(engine.kill("one", None).await.unwrap_err().kind(), ErrorKind::Conflict);
            assert_eq!(engine.stop("one", None, None).await.unwrap_err().kind(), ErrorKind::NotModified);
            engine.start("one").await.unwrap_or_else(|e| panic!("{}", e.message()));
            assert_eq!(engine.start("one").await.unwrap_err().kind(), ErrorKind::NotModified);
            engine.pause("one").await.unwrap();
            assert_eq!(engine.inspect("one", false).await.unwrap().state.status, "paused");
            assert_eq!(engine.pause("one").await.unwrap_err().kind(), ErrorKind::Conflict);
            engine.unpause("one").await.unwrap();
            until_output(&engine, "one", "ready\n").await;
            engine.restart("one", None, Some(20)).await.unwrap_or_else(|e| panic!("{}", e.message()));
            assert_eq!(engine.inspect("one", false).await.unwrap().state.status, "running");
            let refused = engine.remove("one", RemoveOptions::default()).await.unwrap_err();
            assert!(refused.to_string().contains("container is running"), "{refused}");
            until_output(&engine, "one", "ready\nready\n").await;
            engine.stop("one", None, Some(20)).await.unwrap();
            assert_eq!(engine.inspect("one", false).await.unwrap().state.exit_code, 9);
            engine.start("one").await.unwrap();
            engine.kill("one", Some("KILL")).await.unwrap();
            assert_eq!(engine.inspect("one", false).await.unwrap().state.exit_code, 137);
        });
    });
}

#[test]
fn policies_restart_and_remove() {
    on_a_host(|bench| {
        bench.run(async |engine| {
            let mut request = script("exit 4");
            request.host_config.restart_policy =
                Some(RestartPolicy { name: "on-failure".into(), maximum_retry_count: 2 });
            let id = engine.create(Some("one"), None, request).await.unwrap().id;
            engine.start(&id).await.unwrap_or_else(|e| panic!("{}", e.message()));
            // Three runs end before it is left alone.
            loop {
                let inspect = engine.inspect(&id, false).await.unwrap();
                if inspect.state.status == "exited" && inspect.restart_count == 2 {
                    break;
                }
                engine.wait(&id, WaitCondition::NextExit).unwrap().done().await;
            }
            let mut request = script("exit 6");
            request.host_config.auto_remove = true;
            request.config.volumes = [("/data".to_owned(), Default::default())].into();
            let id = engine.create(Some("two"), None, request).await.unwrap().id;
            assert_eq!(engine.volumes(&Filters::default()).await.unwrap().volumes.len(), 1);
            let waiter = engine.wait(&id, WaitCondition::Removed).unwrap();
            engine.start(&id).await.unwrap();
            assert_eq!(waiter.done().await.status_code, 6);
            assert!(engine.volumes(&Filters::default()).await.unwrap().volumes.is_empty());
        });
    });
}

#[test]
fn volumes_are_filled_from_the_image_and_kept() {
    on_a_host(|bench| {
        bench.run(async |engine| {
            let with = |text: &str, bind: &str| {
                let mut request = script(text);
                request.host_config.binds = vec![bind.to_owned()];
                request
            };
            assert_eq!(
                run(&engine, "one", with("cat /data/seed; echo more > /data/new", "vol:/data")).await,
                0
            );
            assert_eq!(output(&engine, "one").await, "seed\n");
            assert_eq!(run(&engine, "two", with("cat /data/new; echo x > /data/y", "vol:/data:ro")).await, 1);
            assert!(output(&engine, "two").await.contains("Read-only file system"));
            let refused = engine.volume_remove("vol", false).await.unwrap_err();
            assert!(refused.to_string().contains("volume is in use"), "{refused}");
            let mut bind = with("true", "x:/x");
            bind.host_config.binds.clear();
            bind.host_config.mounts = vec![spec::api::Mount {
                r#type: "bind".into(),
                source: "/no/such/place".into(),
                target: "/x".into(),
                ..Default::default()
            }];
            let refused = engine.create(Some("three"), None, bind).await.unwrap_err();
            assert!(
                refused.to_string().contains("bind source path does not exist: /no/such/place"),
                "{refused}"
            );
        });
    });
}
