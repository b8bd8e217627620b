//! Many clients at once, with verbs in an order that nobody chose: no answer is a fault of the daemon's, every life has
//! its beginning and its end, and nothing is left; also when the daemon is killed in the midst of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use testkit::{Host, until};

/// The containers that all clients fight for.
const NAMES: [&str; 4] = ["s0", "s1", "s2", "s3"];
const CLIENTS: u64 = 6;

/// Numbers that look thrown, the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn of(client: u64, round: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ (client << 32) ^ (round << 8) ^ 1)
    }

    fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// One request on a connection of its own: the status, and all that follows the head. An error: the daemon is gone.
fn ask(socket: &Path, method: &str, path: &str, body: &Value) -> std::io::Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(testkit::BOUND))?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    let form = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{form}{body}").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}

/// What the containers are: no two alike.
fn wanted(name: &str) -> Value {
    let mut wanted = json!({ "Image": "busybox", "Cmd": ["sleep", "1000"] });
    match name {
        "s0" => wanted["HostConfig"] = json!({ "RestartPolicy": { "Name": "always" } }),
        "s1" => wanted["Healthcheck"] = json!({ "Test": ["CMD", "true"], "Interval": 20_000_000 }),
        "s2" => wanted["Volumes"] = json!({ "/data": {} }),
        _ => {
            wanted["Cmd"] = json!(["sh", "-c", "sleep 0.1; exit 3"]);
            wanted["HostConfig"] =
                json!({ "RestartPolicy": { "Name": "on-failure", "MaximumRetryCount": 2 } });
        }
    }
    wanted
}

/// One verb on one container. What the daemon answered, with the request it answered to.
fn act(socket: &Path, dice: &mut Dice) -> std::io::Result<Vec<(String, u16, String)>> {
    let name = NAMES[dice.throw(NAMES.len())];
    let at = |rest: &str| format!("/containers/{name}/{rest}");
    let verbs = [
        ("POST", at("start")),
        ("POST", at("start")),
        ("POST", at("stop?t=0")),
        ("POST", at("restart?t=0")),
        ("POST", at("kill")),
        ("POST", at("kill?signal=HUP")),
        ("POST", at("pause")),
        ("POST", at("unpause")),
        ("POST", at("update")),
        ("POST", at("exec")),
        ("GET", at("json?size=1")),
        ("GET", at("top")),
        ("GET", at("stats?stream=false&one-shot=true")),
        ("GET", at("logs?stdout=1")),
        ("GET", at("archive?path=/etc")),
        ("GET", at("changes")),
        ("GET", at("export")),
        ("GET", "/containers/json?all=1".into()),
        ("GET", "/info".into()),
        ("DELETE", format!("/containers/{name}?force=1&v=1")),
        ("POST", format!("/containers/create?name={name}")),
        ("POST", format!("/containers/create?name={name}")),
    ];
    let (method, path) = &verbs[dice.throw(verbs.len())];
    let body = match path.rsplit('/').next() {
        Some("update") => json!({ "PidsLimit": 40 + dice.throw(10) }),
        Some("exec") => json!({ "Cmd": ["sleep", "1000"] }),
        Some(last) if last.starts_with("create") => wanted(name),
        _ => Value::Null,
    };
    let (status, text) = ask(socket, method, path, &body)?;
    let exec = serde_json::from_str::<Value>(&text).ok().and_then(|v| v["Id"].as_str().map(str::to_owned));
    let mut answers = vec![(format!("{method} {path}"), status, text)];
    if let (true, Some(exec)) = (path.ends_with("exec"), exec) {
        let path = format!("/exec/{exec}/start");
        let (status, text) = ask(socket, "POST", &path, &json!({ "Detach": true }))?;
        answers.push((format!("POST {path}"), status, text));
    }
    Ok(answers)
}

/// All clients at once, each for so many verbs, or until the daemon is gone. `answered` counts. What was answered that
/// must not be.
fn storm(socket: &Path, round: u64, verbs: usize, answered: &AtomicUsize) -> Vec<String> {
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let wrong = &wrong;
            scope.spawn(move || {
                let mut dice = Dice::of(client, round);
                for _ in 0..verbs {
                    let Ok(answers) = act(socket, &mut dice) else { return };
                    answered.fetch_add(1, Ordering::Relaxed);
                    let bad = answers.iter().filter(|(_, status, _)| !matches!(status, 200..=404 | 409));
                    wrong
                        .lock()
                        .unwrap()
                        .extend(bad.map(|(what, status, text)| format!("{what}: {status} {text}")));
                }
            });
        }
    });
    wrong.into_inner().unwrap()
}

/// Each container is as it says: who runs has a process and takes a command, who does not has none.
fn each_is_as_it_says(host: &Host) {
    for id in host.corten(&["ps", "-aq", "--no-trunc"]).ok().lines() {
        let inspect = |format: &str| host.corten(&["inspect", "-f", format, id]).ok();
        // One whose removal the daemon had begun before it died goes now.
        let words = ["ps", "-a", "--filter", &format!("id={id}"), "--format", "{{.State}}"];
        let state = until("a container that neither restarts nor goes", || {
            let state = host.corten(&words).ok();
            (!matches!(state.as_str(), "restarting" | "removing")).then_some(state)
        });
        if state.is_empty() {
            continue;
        }
        if inspect("{{.State.Paused}}") == "true" {
            host.corten(&["unpause", id]).ok();
        }
        match inspect("{{.State.Running}} {{.State.Pid}}").split_once(' ').unwrap() {
            ("true", pid) if inspect("{{index .Config.Cmd 0}}") == "sleep" => {
                assert!(Path::new(&format!("/proc/{pid}")).exists(), "{id} has no process {pid}");
                assert_eq!(host.corten(&["exec", id, "echo", "here"]).ok(), "here");
            }
            // It ends by itself any moment.
            ("true", _) => {}
            (_, pid) => assert_eq!(pid, "0", "{id}"),
        }
    }
}

/// Starts and ends follow each other in every container's life.
fn lives_are_whole(events: &str) {
    let mut alive: BTreeMap<&str, bool> = BTreeMap::new();
    for line in events.lines() {
        let (id, action) = line.split_once(' ').unwrap();
        let alive = alive.entry(id).or_default();
        match action {
            "start" => assert!(!std::mem::replace(alive, true), "{id} was started twice\n{events}"),
            "die" => assert!(std::mem::replace(alive, false), "{id} has died twice\n{events}"),
            "destroy" => assert!(!*alive, "{id} is gone without an end\n{events}"),
            _ => {}
        }
    }
}

#[test]
fn nothing_is_wrong_or_left_after_a_storm() {
    let host = Host::new();
    let socket = host.path("corten.sock");
    let words = ["events", "--filter", "type=container", "--format", "{{.Actor.ID}} {{.Action}}"];
    let mut feed = host.corten(&words).spawn();
    let told = std::thread::spawn({
        let mut stdout = feed.stdout.take().unwrap();
        move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        }
    });
    until("a listener", || {
        let listeners = host.corten(&["info", "-f", "{{.NEventsListener}}"]).ok();
        (listeners != "0").then_some(())
    });
    let wrong = storm(&socket, 0, 40, &AtomicUsize::new(0));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    each_is_as_it_says(&host);
    for id in host.corten(&["ps", "-aq"]).ok().split_whitespace() {
        host.corten(&["rm", "-f", "-v", id]).ok();
    }
    assert_eq!(host.corten(&["volume", "ls", "-q"]).ok(), "");
    feed.kill().unwrap();
    feed.wait().unwrap();
    lives_are_whole(&told.join().unwrap());
    host.finish();
}

#[test]
fn a_daemon_killed_in_a_storm_finds_its_way() {
    let mut host = Host::new();
    let socket: PathBuf = host.path("corten.sock");
    for round in 1..=5 {
        let answered = AtomicUsize::new(0);
        let wrong = std::thread::scope(|scope| {
            let clients = scope.spawn(|| storm(&socket, round, usize::MAX, &answered));
            // Not at the same moment of each round.
            let enough = 15 + 11 * usize::try_from(round).unwrap();
            until("some answers", || (answered.load(Ordering::Relaxed) > enough).then_some(()));
            host.kill_daemon();
            clients.join().unwrap()
        });
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        host.start_daemon();
        each_is_as_it_says(&host);
    }
    for id in host.corten(&["ps", "-aq"]).ok().split_whitespace() {
        host.corten(&["rm", "-f", "-v", id]).ok();
    }
    host.corten(&["volume", "prune", "-af"]).ok();
    host.finish();
}
