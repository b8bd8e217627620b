//! RUN: in a real container, by the real shim (`cargo build -p shim` first).

mod common;

use std::time::{Duration, Instant};

use builder::{Error, Request};
use common::{chain, on_a_machine, put};

#[test]
fn a_run_makes_a_layer_and_leaves_nothing_else() {
    on_a_machine(|machine| {
        let dockerfile = "FROM busybox\nARG v=1\nENV e=env\nWORKDIR /w\nRUN echo \"$v $e $PWD $(id -u)\" > out && echo to-client && echo to-stderr >&2\nUSER www\nRUN id -u > /tmp/who\n";
        let context = machine.context("c", &[("Dockerfile", dockerfile)]);
        let (image, output) = machine.image(&context, "t");
        assert_eq!(machine.file(&image, "/w/out").as_deref(), Some("1 env /w 0\n"));
        assert_eq!(machine.file(&image, "/tmp/who").as_deref(), Some("33\n"));
        assert!(output.contains("to-client\n") && output.contains("to-stderr\n"), "{output}");
        assert!(output.contains(" ---> Running in "), "{output}");
        // No stub of /etc/hosts, /proc or the like is in the layer.
        assert_eq!(machine.top_layer(&image), ["tmp", "tmp/who"]);
        let history = &image.config.history.iter().map(|h| h.created_by.as_str()).collect::<Vec<_>>();
        assert!(history.contains(&"RUN |1 v=1 /bin/sh -c id -u > /tmp/who # buildkit"), "{history:?}");

        let (again, output) = machine.image(&context, "t");
        assert_eq!(again.target.digest, image.target.digest);
        assert!(!output.contains("Running in"), "{output}");
        // An ARG's value counts, an unused label before it does not.
        let args = [("v".to_owned(), Some("2".to_owned()))].into();
        let request = Request { context: context.clone().into(), args, ..Request::default() };
        let (built, lines) = machine.build(request);
        built.unwrap();
        assert_eq!(lines.concat().matches("Running in").count(), 2);
        put(&context, "Dockerfile", &dockerfile.replace("ARG", "LABEL a=b\nARG"));
        assert!(!machine.image(&context, "u").1.contains("Running in"));
        machine.assert_clean();
    });
}

#[test]
fn surroundings_are_a_containers() {
    on_a_machine(|machine| {
        let dockerfile = "FROM busybox\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN <<EOF\ntest \"$(cat /etc/hostname)\" = buildkitsandbox\ngrep -q 1.2.3.4 /etc/hosts\ntest -c /dev/null && test -d /dev/shm && test -d /proc/1\ntest \"$(ls /proc | grep -c '^[0-9]')\" -lt 10\n! mount -t tmpfs x /tmp\ngrep -q '^CapEff:.00000000a80425fb$' /proc/self/status\nEOF\n\
                          RUN --network=none test \"$(ls /sys/class/net)\" = lo\n\
                          RUN <<SCRIPT\n#!/bin/busybox ash\necho from a script > /script\nSCRIPT\n\
                          RUN --mount=type=cache,target=/c --mount=target=/ctx --mount=type=tmpfs,target=/t echo x >> /c/n && cp /ctx/a /copied && touch /t/x\n\
                          RUN --mount=type=cache,target=/c cp /c/n /n\n\
                          RUN [\"/bin/busybox\", \"touch\", \"/exec form\"]\n";
        let context = machine.context("c", &[("Dockerfile", dockerfile), ("a", "A")]);
        let request = Request {
            context: context.into(),
            tags: vec!["t".into()],
            extra_hosts: vec!["h:1.2.3.4".into()],
            ..Request::default()
        };
        let (built, lines) = machine.build(request);
        built.unwrap_or_else(|e| panic!("{}\n{}", chain(&e), lines.concat()));
        let target = machine.host.store.resolve("t").unwrap();
        let image = machine.host.store.image(&target, &spec::oci::image::Platform::host()).unwrap();
        assert_eq!(machine.file(&image, "/script").as_deref(), Some("from a script\n"));
        assert_eq!(machine.file(&image, "/copied").as_deref(), Some("A"));
        assert_eq!(machine.file(&image, "/n").as_deref(), Some("x\n"));
        assert_eq!(machine.top_layer(&image), ["exec form"]);
        for mount_point in ["/c", "/ctx", "/t"] {
            let dirs = machine.host.store.chain_dirs(image.chain.as_ref().unwrap()).unwrap();
            assert!(!dirs.iter().any(|d| d.join(&mount_point[1..]).exists()), "{mount_point}");
        }
    });
}

#[test]
fn a_failing_run_says_so_in_dockers_words() {
    on_a_machine(|machine| {
        let context = machine.context("c", &[("Dockerfile", "FROM busybox\nRUN echo partial; exit 7\n")]);
        let (built, lines) = machine.build(Request { context: context.clone().into(), ..Request::default() });
        let error = built.unwrap_err();
        assert!(matches!(error, Error::Run { code: 7, .. }));
        assert_eq!(
            error.to_string(),
            "The command '/bin/sh -c echo partial; exit 7' returned a non-zero code: 7"
        );
        assert!(lines.contains(&"partial\n".to_owned()));
        machine.assert_clean();
        put(&context, "Dockerfile", "FROM busybox\nRUN [\"/no/such\"]\n");
        let (built, _) = machine.build(Request { context: context.into(), ..Request::default() });
        let text = chain(&built.unwrap_err());
        assert!(
            text.contains("no such file or directory") || text.contains("No such file or directory"),
            "{text}"
        );
        machine.assert_clean();
    });
}

#[test]
fn a_cancelled_build_ends_its_container() {
    on_a_machine(|machine| {
        let context = machine.context("c", &[("Dockerfile", "FROM busybox\nRUN echo started; sleep 1000\n")]);
        let started = Instant::now();
        machine.runtime().block_on(async {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
            let request = Request { context: context.into(), ..Request::default() };
            let host = machine.host.clone();
            let build = tokio::spawn(async move { builder::build(&host, request, sender).await });
            while receiver.recv().await.expect("the step starts").stream.as_deref() != Some("started\n") {}
            build.abort();
            assert!(build.await.unwrap_err().is_cancelled());
            // The step's thread holds a sender until it has cleaned up.
            while receiver.recv().await.is_some() {}
        });
        assert!(started.elapsed() < Duration::from_secs(30));
        machine.assert_clean();
    });
}

#[test]
fn what_a_dead_daemon_left_is_ended() {
    on_a_machine(|machine| {
        let context = machine.context("c", &[("Dockerfile", "FROM busybox\nRUN echo started; sleep 1000\n")]);
        machine.runtime().block_on(async {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
            let request = Request { context: context.into(), ..Request::default() };
            let host = machine.host.clone();
            let build = tokio::spawn(async move { builder::build(&host, request, sender).await });
            while receiver.recv().await.expect("the step starts").stream.as_deref() != Some("started\n") {}
            // The next daemon finds the step running and no one it knows waiting for it.
            let host = machine.host.clone();
            let found = tokio::task::spawn_blocking(move || builder::recover(&host)).await.unwrap();
            assert!(found.unwrap() >= 1);
            assert!(build.await.unwrap().is_err());
            while receiver.recv().await.is_some() {}
        });
        machine.assert_clean();
    });
}

#[test]
fn a_run_needs_nothing_of_its_base() {
    on_a_machine(|machine| {
        let dockerfile = "FROM scratch\nCOPY --from=busybox /bin/busybox /busybox\nRUN [\"/busybox\", \"mkdir\", \"/made\"]\n";
        let context = machine.context("c", &[("Dockerfile", dockerfile)]);
        let (image, _) = machine.image(&context, "t");
        assert_eq!(machine.top_layer(&image), ["made"]);
    });
}
