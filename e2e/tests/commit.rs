//! What a container has changed: `diff`, `export`, `commit`, with the original client.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use testkit::{Command, Host, until};

fn ready(host: &Host, name: &str) {
    until("the changes", || {
        host.docker(&["exec", name, "test", "-e", "/ready"]).output().code.eq(&0).then_some(())
    });
}

const SCRIPT: &str = "echo x > /etc/new; rm /etc/group; mkdir -p /a/b; echo y > /a/b/c; chmod 700 /root && chmod 755 /root; \
    chmod 700 /tmp && chmod 1777 /tmp; rm -r /var; mkdir /var; echo z > /vol/file; chmod 600 /etc/passwd; touch /ready; sleep 1000";

#[test]
fn changes_are_listed() {
    let host = Host::new();
    host.docker(&[
        "run",
        "-d",
        "--name",
        "c1",
        "-v",
        "v1:/vol",
        "-v",
        "v1:/deep/er",
        "busybox",
        "sh",
        "-c",
        SCRIPT,
    ])
    .ok();
    ready(&host, "c1");
    let expected =
        "A /a\nA /a/b\nA /a/b/c\nC /etc\nD /etc/group\nA /etc/new\nC /etc/passwd\nA /ready\nC /root";
    let listed = || {
        let mut lines: Vec<String> = host.docker(&["diff", "c1"]).ok().lines().map(str::to_owned).collect();
        lines.sort_by(|a, b| a[2..].cmp(&b[2..]));
        lines.join("\n")
    };
    // /root was 700 before, /tmp and /var are as they were, mount points are nobody's change.
    assert_eq!(listed(), expected);
    host.docker(&["kill", "c1"]).ok();
    until("its end", || (host.docker(&["ps", "-q"]).ok().is_empty()).then_some(()));
    assert_eq!(listed(), expected);
    host.docker(&["create", "--name", "c2", "busybox", "true"]).ok();
    assert_eq!(host.docker(&["diff", "c2"]).ok(), "");
    host.docker(&["rm", "c1", "c2"]).ok();
    host.docker(&["volume", "rm", "v1"]).ok();
    host.finish();
}

#[test]
fn export_is_the_root_without_its_mounts() {
    let host = Host::new();
    host.docker(&["run", "-d", "--name", "c1", "-v", "v1:/vol", "busybox", "sh", "-c", SCRIPT]).ok();
    ready(&host, "c1");
    let export = || {
        let file = host.path("export.tar").display().to_string();
        host.docker(&["export", "-o", &file, "c1"]).ok();
        Command::new(&["tar", "-tf", &file]).ok()
    };
    let running = export();
    let lines: Vec<&str> = running.lines().collect();
    for there in ["bin/busybox", "a/b/c", "etc/new", "vol/", "proc/", "dev/"] {
        assert!(lines.contains(&there), "{there}: {running}");
    }
    for not in ["vol/file", "etc/group", "dev/null", "proc/self", "/", "./"] {
        assert!(!lines.contains(&not), "{not}");
    }
    host.docker(&["kill", "c1"]).ok();
    until("its end", || (host.docker(&["ps", "-q"]).ok().is_empty()).then_some(()));
    assert_eq!(export(), running);
    let tar = host.path("export.tar").display().to_string();
    host.docker(&["import", &tar, "again"]).ok();
    assert_eq!(host.docker(&["run", "--rm", "again", "cat", "/a/b/c"]).ok(), "y");
    host.docker(&["rm", "c1"]).ok();
    host.docker(&["volume", "rm", "v1"]).ok();
    host.finish();
}

#[test]
fn commit_makes_an_image() {
    let host = Host::new();
    let docker = |arguments: &[&str]| host.docker(arguments).ok();
    docker(&["run", "-d", "--name", "c1", "-e", "A=1", "-v", "v1:/vol", "busybox", "sh", "-c", SCRIPT]);
    ready(&host, "c1");
    let changes = ["--change", "ENV B=2", "--change", "CMD [\"cat\", \"/a/b/c\"]", "--change", "WORKDIR /w"];
    let id = docker(&[&["commit", "-a", "me", "-m", "why"], &changes[..], &["c1", "made:1"]].concat());
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(docker(&["inspect", "-f", "{{.State.Status}}", "c1"]), "running");
    assert_eq!(docker(&["run", "--rm", "made:1"]), "y");
    let script = "echo $A$B; pwd; ls /etc; ls /vol; ls -d /var; stat -c %a /tmp /etc/passwd";
    let seen = docker(&["run", "--rm", "made:1", "sh", "-c", script]);
    assert_eq!(seen.replace('\n', " "), "12 /w hostname hosts new passwd resolv.conf /var 1777 600");
    assert!(
        docker(&["history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", "made:1"])
            .starts_with("sh -c echo x")
    );
    assert_eq!(docker(&["inspect", "-f", "{{.Author}} {{.Comment}}", "made:1"]), "me why");
    // A container that changed nothing gives an image with no layer more.
    docker(&["create", "--name", "c2", "busybox", "true"]);
    docker(&["commit", "c2", "same"]);
    let layers = |image: &str| docker(&["inspect", "-f", "{{len .RootFS.Layers}}", image]);
    assert_eq!((layers("same"), layers("made:1")), ("1".into(), "2".into()));
    // The base of a build; saved, removed and loaded again.
    let context = host.path("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), "FROM made:1\nRUN cat /a/b/c > /built\n").unwrap();
    docker(&["build", "-q", "-t", "built", &context.display().to_string()]);
    assert_eq!(docker(&["run", "--rm", "built", "cat", "/built"]), "y");
    let tar = host.path("made.tar").display().to_string();
    docker(&["save", "-o", &tar, "made:1"]);
    docker(&["rmi", "built", "made:1"]);
    docker(&["load", "-i", &tar]);
    assert_eq!(docker(&["run", "--rm", "made:1"]), "y");
    let events = docker(&[
        "events",
        "--since",
        "1h",
        // Whole seconds: an event of this one is before the end of the next.
        "--until=-1s",
        "--filter",
        "event=commit",
        "--format",
        "{{json .}}",
    ]);
    assert!(events.contains("\"imageRef\":\"made:1\"") && events.contains("\"comment\":\"why\""), "{events}");
    let refused = host.docker(&["commit", "--change", "RUN x", "c1"]).fails(1);
    assert!(refused.contains("RUN is not a valid change command"), "{refused}");
    docker(&["rm", "-f", "c1", "c2"]);
    docker(&["volume", "rm", "v1"]);
    host.finish();
}
