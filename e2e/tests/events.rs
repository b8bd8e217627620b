//! What `docker events` tells: every verb's actions in Docker's order, the past, and the filters.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout};

use testkit::Host;

/// A listener over everything that happens on a host.
struct Listener {
    client: Child,
    lines: BufReader<ChildStdout>,
}

impl Listener {
    fn new(host: &Host) -> Self {
        let format = "{{.Type}} {{.Action}} {{with .Actor.Attributes.exitCode}}{{.}}{{end}}{{with .Actor.Attributes.signal}}{{.}}{{end}}{{with .Actor.Attributes.oldName}}{{.}}{{end}}";
        let mut client = host.docker(&["events", "--since", "0", "--format", format]).spawn();
        let lines = BufReader::new(client.stdout.take().unwrap());
        Self { client, lines }
    }

    /// What was told since the last look, up to a mark made now.
    fn told(&mut self, host: &Host) -> Vec<String> {
        host.docker(&["volume", "create", "mark"]).ok();
        host.docker(&["volume", "rm", "mark"]).ok();
        let mut told = Vec::new();
        for line in (&mut self.lines).lines() {
            match line.unwrap().trim() {
                "volume destroy" => break,
                "volume create" => {}
                line => told.push(line.to_owned()),
            }
        }
        told
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

#[test]
fn every_verb_is_told_in_dockers_order() {
    let host = Host::new();
    let mut listener = Listener::new(&host);
    listener.told(&host);
    let stays = "trap 'exit 3' TERM; while :; do sleep 0.05; done";
    let create = ["run", "-d", "--name", "c1", "--restart", "on-failure:1", "busybox", "sh", "-c", stays];
    let ended = |code: &str| format!("network disconnect,container die {code}");
    let started = "network connect,container start";
    for (words, told) in [
        (&create[..], format!("container create,{started}")),
        (
            &["exec", "c1", "echo", "x"],
            "container exec_create: echo x,container exec_start: echo x,container exec_die 0".into(),
        ),
        (&["pause", "c1"], "container pause".into()),
        (&["unpause", "c1"], "container unpause".into()),
        (&["rename", "c1", "c2"], "container rename /c1".into()),
        (&["update", "--pids-limit", "100", "c2"], "container update".into()),
        (&["top", "c2"], "container top".into()),
        (&["kill", "-s", "WINCH", "c2"], "container kill 28".into()),
        (&["stop", "c2"], format!("container kill 15,{},container stop", ended("3"))),
        (&["start", "c2"], started.into()),
        (
            &["restart", "c2"],
            format!("container kill 15,{},container stop,{started},container restart", ended("3")),
        ),
        (&["kill", "c2"], format!("container kill 9,{}", ended("137"))),
        (&["rm", "c2"], "container destroy".into()),
        (
            &["run", "--rm", "busybox", "true"],
            format!("container create,container attach,{started},{},container destroy", ended("0")),
        ),
    ] {
        host.docker(words).ok();
        assert_eq!(listener.told(&host).join(","), told, "{words:?}");
    }
    // A start that fails gives back what it took.
    host.docker(&["run", "--rm", "busybox", "nosuch"]).fails(127);
    assert_eq!(
        listener.told(&host).join(","),
        "container create,container attach,network connect,network disconnect,container destroy"
    );
    // Memory that runs out is told before the end.
    let hog = "x=$(head -c 200000000 /dev/zero | tr '\\0' y); echo $x | wc -c";
    host.docker(&["run", "--rm", "-m", "16m", "--memory-swap", "16m", "busybox", "sh", "-c", hog]).output();
    let told = listener.told(&host).join(",");
    assert!(told.contains("container oom,") && told.find("oom") < told.find("die"), "{told}");
    drop(listener);
    host.finish();
}

#[test]
fn volumes_tell_their_mounts_and_go_before_their_container() {
    let host = Host::new();
    host.docker(&["run", "--rm", "-v", "/data", "busybox", "true"]).ok();
    let told = host
        .docker(&[
            "events",
            "--since",
            "0",
            "--until=-1s",
            "--filter",
            "type=volume",
            "--filter",
            "type=container",
            "--format",
            "{{.Type}} {{.Action}}",
        ])
        .ok();
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(
        told,
        [
            "volume create",
            "container create",
            "container attach",
            "volume mount",
            "container start",
            "volume unmount",
            "container die",
            "volume destroy",
            "container destroy"
        ]
    );
    host.finish();
}

/// Types the keys that detach into a hijacked connection, and reads until the daemon ends it.
fn detach(host: &Host, path: &str, body: &str) {
    let mut stream = UnixStream::connect(host.path("corten.sock")).unwrap();
    let head = format!(
        "POST /v1.51{path} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    stream.write_all(b"\x01").unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn who_leaves_a_program_is_told_of() {
    let host = Host::new();
    host.docker(&["run", "-dit", "--name", "c1", "busybox", "sleep", "1000"]).ok();
    let socket = host.path("corten.sock").display().to_string();
    let post = |path: &str, body: &str| {
        let url = format!("http://localhost/v1.51{path}");
        let json = "Content-Type: application/json";
        host.command(&["curl", "-sS", "--unix-socket", &socket, "-H", json, "-d", body, &url]).ok()
    };
    let mut listener = Listener::new(&host);
    listener.told(&host);
    detach(&host, "/containers/c1/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-a", "");
    assert_eq!(listener.told(&host), ["container attach", "container detach"]);
    let wanted = r#"{"AttachStdin":true,"AttachStdout":true,"Tty":true,"DetachKeys":"ctrl-a","Cmd":["cat"]}"#;
    let exec: serde_json::Value = serde_json::from_str(&post("/containers/c1/exec", wanted)).unwrap();
    let exec = exec["Id"].as_str().unwrap();
    detach(&host, &format!("/exec/{exec}/start"), r#"{"Detach":false,"Tty":true}"#);
    assert_eq!(
        listener.told(&host),
        ["container exec_create: cat", "container exec_start: cat", "container exec_detach"]
    );
    post("/containers/c1/resize?h=30&w=100", "");
    host.docker(&["export", "-o", &host.path("out.tar").display().to_string(), "c1"]).ok();
    host.docker(&["commit", "-m", "a word", "c1", "made:1"]).ok();
    let format = "{{.Action}} {{with .Actor.Attributes}}{{.height}} {{.width}} {{.execID}} {{.comment}} {{.imageID}} {{.imageRef}}{{end}}";
    let all = host.docker(&["events", "--since", "0", "--until=-1s", "--format", format]).ok();
    let made = host.docker(&["inspect", "-f", "{{.Id}}", "made:1"]).ok();
    let none = "<no value>";
    for line in [
        format!("resize 30 100 {none} {none} {none} {none}"),
        format!("exec_detach {none} {none} {exec} {none} {none} {none}"),
        format!("commit {none} {none} {none} a word {made} made:1"),
    ] {
        assert!(all.lines().any(|l| l == line), "{line}\n{all}");
    }
    host.finish();
}

#[test]
fn the_past_is_kept_and_filters_choose() {
    let host = Host::new();
    for name in ["one", "two"] {
        host.docker(&["create", "--name", name, "--label", &format!("who={name}"), "busybox", "true"]).ok();
    }
    host.docker(&["start", "-a", "one"]).ok();
    let count = |filters: &[&str]| {
        let mut words = vec!["events", "--since", "0", "--until=-1s", "--format", "{{.Action}}"];
        filters.iter().for_each(|f| words.extend(["--filter", f]));
        host.docker(&words).ok().lines().count()
    };
    assert_eq!(count(&["event=create", "type=container"]), 2);
    assert_eq!(count(&["event=create", "container=one"]), 1);
    assert_eq!(count(&["event=create", "label=who=two"]), 1);
    assert_eq!(count(&["event=create", "image=busybox"]), 2);
    assert_eq!(count(&["event=start", "event=die"]), 2);
    assert_eq!(count(&["type=network", "container=one"]), 0);
    assert_eq!(count(&["event=create", "container=nobody"]), 0);
    let refused = host.docker(&["events", "--filter", "colour=red", "--until=-1s"]).fails(1);
    assert!(refused.contains("invalid filter 'colour'"), "{refused}");
    // Nothing of before `since`, and an end at `until`.
    let later = host.docker(&["events", "--since=-1s", "--until=-2s"]).ok();
    assert_eq!(later, "");
    // Attributes: what the container is, and how its run ended.
    let die = host
        .docker(&["events", "--since", "0", "--until=-1s", "--filter", "event=die", "--format", "{{json .}}"])
        .ok();
    let die: serde_json::Value = serde_json::from_str(&die).unwrap();
    let attributes = &die["Actor"]["Attributes"];
    for (key, value) in
        [("name", "one"), ("image", "busybox"), ("who", "one"), ("exitCode", "0"), ("execDuration", "0")]
    {
        assert_eq!(attributes[key], value, "{key}");
    }
    assert_eq!(die["scope"], "local");
    host.finish();
}
