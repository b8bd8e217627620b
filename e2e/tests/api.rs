//! The Engine API byte by byte: statuses, texts and shapes by version, streams of every form, and clients that behave
//! badly.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Host, until};

/// A whole answer.
struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// A header's value; names are written as Docker writes them.
    fn header(&self, name: &str) -> &str {
        let prefix = format!("{}: ", name.to_ascii_lowercase());
        let mut lines = self.headers.lines();
        lines.find(|l| l.to_ascii_lowercase().starts_with(&prefix)).map_or("", |l| l[prefix.len()..].trim())
    }
}

fn connect(host: &Host) -> UnixStream {
    let stream = UnixStream::connect(host.path("corten.sock")).unwrap();
    stream.set_read_timeout(Some(testkit::BOUND)).unwrap();
    stream
}

/// A request's head and body on a new connection; nothing is read.
fn send(host: &Host, method: &str, path: &str, headers: &[&str], body: &str) -> UnixStream {
    let mut stream = connect(host);
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n");
    for header in headers {
        text.push_str(&format!("{header}\r\n"));
    }
    if !body.is_empty() || method == "POST" {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

/// Reads the status line and the headers.
fn head(reader: &mut impl BufRead) -> (u16, String) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "the connection ended in the head: {head}");
    }
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head)
}

/// A request on a connection of its own, to the answer's end.
fn ask(host: &Host, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let all = [&["Connection: close"], headers].concat();
    let mut reader = BufReader::new(send(host, method, path, &all, body));
    let (status, headers) = head(&mut reader);
    let mut body = Vec::new();
    if headers.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).unwrap();
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    } else {
        reader.read_to_end(&mut body).unwrap();
    }
    Answer { status, headers, body }
}

fn get(host: &Host, path: &str) -> Answer {
    ask(host, "GET", path, &[], "")
}

fn post(host: &Host, path: &str, body: &Value) -> Answer {
    ask(host, "POST", path, &["Content-Type: application/json"], &body.to_string())
}

/// `filters=`, encoded.
fn filters(filters: &Value) -> String {
    filters.to_string().bytes().map(|b| format!("%{b:02X}")).collect()
}

#[test]
fn statuses_and_texts() {
    let host = Host::new();
    host.corten(&["run", "-d", "--name", "web", "busybox", "sleep", "1000"]).ok();
    let json_type = "Content-Type: application/json";
    for (method, path, body, status, text) in [
        ("GET", "/nothing", "", 404, "page not found"),
        ("POST", "/containers/json", "", 404, "page not found"),
        ("OPTIONS", "/containers/json", "", 200, ""),
        (
            "GET",
            "/v1.23/info",
            "",
            400,
            "client version 1.23 is too old. Minimum supported API version is 1.24",
        ),
        (
            "GET",
            "/v1.99/info",
            "",
            400,
            "client version 1.99 is too new. Maximum supported API version is 1.55",
        ),
        ("GET", "/containers/nobody/json", "", 404, "No such container: nobody"),
        ("POST", "/containers/create", "", 400, "invalid JSON: got EOF while reading request body"),
        ("POST", "/containers/create", "{", 400, "invalid JSON: unexpected EOF"),
        ("POST", "/containers/create", "{} {}", 400, "unexpected content after JSON"),
        ("POST", "/containers/create", "{}", 400, "config cannot be empty in order to create a container"),
        ("POST", "/containers/create", r#"{"Image":7}"#, 400, "invalid JSON: Image: "),
        ("POST", "/containers/create", r#"{"image":"nope"}"#, 404, "No such image: nope:latest"),
        (
            "POST",
            "/containers/create",
            r#"{"Image":"busybox","MacAddress":"02:00:00:00:00:01"}"#,
            400,
            "container-wide MAC address no longer supported",
        ),
        ("POST", "/containers/web/start", "", 304, ""),
        ("POST", "/containers/web/start", r#"{"Binds":["/a:/b"]}"#, 400, "removed in v1.24"),
        ("POST", "/containers/web/unpause", "", 409, "is not paused"),
        ("POST", "/containers/web/kill?signal=BOGUS", "", 400, "invalid signal: BOGUS"),
        ("POST", "/containers/web/resize?h=x&w=1", "", 400, "invalid resize height"),
        ("POST", "/containers/web/resize?h=24&w=80", "", 200, ""),
        ("POST", "/containers/web/wait?condition=x", "", 400, "invalid condition: \"x\""),
        ("POST", "/containers/web/rename", "", 400, "Neither old nor new names may be empty"),
        ("DELETE", "/containers/web", "", 409, "container is running"),
        ("GET", "/containers/web/logs", "", 400, "Bad parameters: you must choose at least one stream"),
        (
            "POST",
            "/containers/web/attach?detachKeys=bogus-x",
            "",
            400,
            "Invalid detach keys (bogus-x) provided",
        ),
        ("GET", "/containers/web/attach/ws", "", 400, "WebSocket"),
        ("POST", "/containers/web/exec", "{}", 400, "no exec command specified"),
        ("GET", "/exec/nobody/json", "", 404, "No such exec instance: nobody"),
        ("GET", "/containers/json?filters=x", "", 400, "invalid filter"),
        ("GET", "/events?since=x", "", 400, "since"),
        ("GET", "/system/df?type=x", "", 400, "unknown object type: x"),
        ("GET", "/swarm", "", 503, "This node is not a swarm manager."),
        ("GET", "/nodes", "", 503, "This node is not a swarm manager."),
        ("POST", "/swarm/leave", "", 503, "This node is not part of a swarm"),
        ("POST", "/swarm/init", "{}", 501, "swarm mode"),
        ("GET", "/plugins", "", 200, "[]"),
        ("GET", "/plugins/a/b/json", "", 404, "plugin \\\"a/b\\\" not found"),
        ("POST", "/session", "", 501, "BuildKit"),
        ("POST", "/grpc", "", 501, "BuildKit"),
        ("GET", "/images/nope/json", "", 404, "No such image: nope:latest"),
        ("POST", "/images/busybox/tag?repo=X", "", 400, "must be lowercase"),
        ("POST", "/volumes/create", "", 201, "Mountpoint"),
        ("GET", "/networks/", "", 200, "bridge"),
        ("DELETE", "/networks/bridge", "", 403, "pre-defined"),
    ] {
        let answer = ask(&host, method, path, &[json_type], body);
        let found = String::from_utf8_lossy(&answer.body).replace("\\\"x\\\"", "\"x\"");
        assert_eq!(answer.status, status, "{method} {path} {body}: {found}");
        assert!(found.contains(text), "{method} {path} {body}: {found}");
        assert_eq!(answer.header("api-version"), "1.55", "{method} {path}");
    }
    let untyped = ask(&host, "POST", "/containers/create", &["Content-Type: text/plain"], "{}");
    let text = "unsupported Content-Type header (text/plain): must be 'application/json'";
    assert_eq!((untyped.status, untyped.json()["message"].as_str()), (400, Some(text)));
    let large = ask(&host, "POST", "/containers/create", &[json_type], &" ".repeat(5 << 20));
    assert_eq!(large.status, 400);
    let ping = ask(&host, "HEAD", "/_ping", &[], "");
    assert_eq!((ping.status, ping.body.len()), (200, 0));
    for (name, value) in [
        ("Api-Version", "1.55"),
        ("Ostype", "linux"),
        ("Docker-Experimental", "false"),
        ("Swarm", "inactive"),
        ("Builder-Version", "1"),
        ("Cache-Control", "no-cache, no-store, must-revalidate"),
        ("Pragma", "no-cache"),
    ] {
        assert_eq!(ping.header(name), value, "{name}");
    }
    host.corten(&["volume", "prune", "-f"]).ok();
    host.finish();
}

#[test]
fn every_filter_is_known_and_no_other() {
    let host = Host::new();
    host.corten(&[
        "run",
        "-d",
        "--name",
        "web",
        "-l",
        "tier=front",
        "-p",
        "8080:80",
        "busybox",
        "sleep",
        "1000",
    ])
    .ok();
    let count = |path: &str, wanted: Value| {
        let answer = get(&host, &format!("{path}filters={}", filters(&wanted)));
        assert_eq!(answer.status, 200, "{path} {wanted}: {}", String::from_utf8_lossy(&answer.body));
        let value = answer.json();
        value.as_array().or(value["Volumes"].as_array()).map_or(0, Vec::len)
    };
    let list = "/containers/json?all=1&";
    for (wanted, found) in [
        (json!({"name": ["web"]}), 1),
        (json!({"name": {"^/web$": true}}), 1),
        (json!({"name": ["eb$"]}), 1),
        (json!({"name": ["other"]}), 0),
        (json!({"label": ["tier"]}), 1),
        (json!({"label": ["tier=front", "other"]}), 0),
        (json!({"status": ["running", "exited"]}), 1),
        (json!({"exited": ["0"]}), 0),
        (json!({"ancestor": ["busybox"]}), 1),
        (json!({"publish": ["8080"]}), 1),
        (json!({"publish": ["80"]}), 0),
        (json!({"publish": ["8000-9000/tcp"], "expose": ["1"]}), 1),
        (json!({"name": ["^(web|db)$"]}), 1),
        (json!({"expose": ["1-100/tcp"]}), 1),
        (json!({"network": ["bridge"]}), 1),
        (json!({"volume": ["nothing"]}), 0),
        (json!({"health": ["none"]}), 1),
        (json!({"is-task": ["false"]}), 1),
        (json!({"isolation": ["default"]}), 1),
        (json!({"id": ["zzz"]}), 0),
        (json!({"before": ["web"]}), 0),
        (json!({"since": ["web"]}), 0),
        (json!({}), 1),
    ] {
        assert_eq!(count(list, wanted.clone()), found, "{wanted}");
    }
    for key in ["before", "dangling", "label", "label!", "reference", "since", "until"] {
        let value = match key {
            "dangling" => "true",
            "until" => "1h",
            _ => "busybox",
        };
        count("/images/json?", json!({ key: [value] }));
    }
    for key in ["dangling", "driver", "id", "label", "name", "scope", "type"] {
        let value = match key {
            "dangling" => "true",
            "type" => "builtin",
            "scope" => "local",
            _ => "bridge",
        };
        count("/networks?", json!({ key: [value] }));
    }
    for key in ["dangling", "driver", "label", "name"] {
        count("/volumes?", json!({ key: [if key == "dangling" { "true" } else { "local" }] }));
    }
    let unknown = filters(&json!({ "bogus": ["1"] }));
    for (method, path) in [
        ("GET", "/containers/json"),
        ("GET", "/images/json"),
        ("GET", "/networks"),
        ("GET", "/volumes"),
        ("GET", "/events"),
        ("GET", "/plugins"),
        ("POST", "/containers/prune"),
        ("POST", "/images/prune"),
        ("POST", "/networks/prune"),
        ("POST", "/volumes/prune"),
    ] {
        let refused = ask(&host, method, &format!("{path}?filters={unknown}"), &[], "");
        assert_eq!(refused.status, 400, "{path}");
        assert_eq!(refused.json()["message"], "invalid filter 'bogus'", "{path}");
    }
    host.finish();
}

#[test]
fn answers_have_the_shape_of_the_clients_version() {
    let host = Host::new();
    host.corten(&["run", "-d", "--name", "web", "busybox", "sleep", "1000"]).ok();
    let at = |version: &str, path: &str| get(&host, &format!("/v{version}{path}")).json();
    let web = "/containers/web/json";
    assert!(at("1.51", web)["NetworkSettings"]["IPAddress"].as_str().unwrap().starts_with("172."));
    assert!(at("1.52", web)["NetworkSettings"].get("IPAddress").is_none());
    assert_eq!(at("1.24", web)["GraphDriver"]["Name"], "overlayfs");
    assert!(at("1.47", web).get("ImageManifestDescriptor").is_none());
    assert_eq!(at("1.41", "/info")["KernelMemory"], false);
    assert!(at("1.55", "/info").get("BridgeNfIptables").is_none());
    let image = at("1.43", "/images/busybox/json");
    assert!(image["VirtualSize"].as_i64() > Some(0) && image["Config"]["Hostname"] == "");
    assert!(at("1.52", "/images/busybox/json")["Config"].get("Hostname").is_none());
    assert!(at("1.43", "/images/json")[0]["VirtualSize"].as_i64() > Some(0));
    assert!(at("1.41", "/system/df")["BuilderSize"].is_i64());
    assert!(at("1.52", "/system/df?verbose=1").get("Images").is_none());

    // Keys in any case, null as nothing.
    let created = post(
        &host,
        "/v1.39/containers/create?name=loose",
        &json!({ "image": "busybox", "CMD": "true", "hostconfig": { "Binds": null, "readonlyrootfs": true },
            "Labels": { "Mixed": "Case" } }),
    );
    assert_eq!((created.status, created.json()["Warnings"].is_array()), (201, true));
    let loose = at("1.55", "/containers/loose/json");
    assert_eq!(loose["HostConfig"]["ReadonlyRootfs"], true);
    assert_eq!(loose["HostConfig"]["IpcMode"], "shareable", "the default of before 1.40");
    assert_eq!(
        (&loose["Config"]["Cmd"], &loose["Config"]["Labels"]["Mixed"]),
        (&json!(["true"]), &json!("Case"))
    );
    host.finish();
}

#[test]
fn events_are_negotiated() {
    let host = Host::new();
    host.corten(&["run", "--rm", "busybox", "true"]).ok();
    let until_now = host.command(&["date", "+%s.%N"]).ok();
    let events = |version: &str, accept: &str| {
        let path = format!("/v{version}/events?since=1&until={until_now}");
        ask(&host, "GET", &path, &[&format!("Accept: {accept}")], "")
    };
    for (version, accept, answer) in [
        ("1.55", "*/*", "application/json"),
        ("1.51", "application/jsonl", "application/json"),
        ("1.55", "application/jsonl", "application/jsonl"),
        ("1.55", "text/plain, application/x-ndjson;q=0.5", "application/x-ndjson"),
        ("1.55", "application/json-seq", "application/json-seq"),
    ] {
        let found = events(version, accept);
        assert_eq!(found.header("Content-Type"), answer, "{version} {accept}");
        let text = String::from_utf8(found.body).unwrap();
        assert!(text.lines().count() > 4, "{text}");
        for line in text.lines() {
            let record = line.strip_prefix('\u{1e}');
            assert_eq!(record.is_some(), answer.ends_with("seq"), "{line}");
            let event: Value = serde_json::from_str(record.unwrap_or(line)).unwrap();
            let legacy = version == "1.51" && event["Type"] == "container";
            assert_eq!(
                event.get("status").is_some(),
                legacy || version == "1.51" && event["Type"] == "image"
            );
        }
    }
    let filtered = format!(
        "/events?since=1&until={until_now}&filters={}",
        filters(&json!({ "type": ["container"], "event": ["start", "die"] }))
    );
    let text = String::from_utf8(get(&host, &filtered).body).unwrap();
    let actions: Vec<Value> =
        text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["Action"].clone()).collect();
    assert_eq!(actions, ["start", "die"]);
    host.finish();
}

/// Attaches; the answer's head has been read.
fn attach(host: &Host, path: &str, headers: &[&str]) -> (String, BufReader<UnixStream>) {
    let mut reader = BufReader::new(send(host, "POST", path, headers, ""));
    let (_, head) = head(&mut reader);
    (head, reader)
}

/// The frames of a multiplexed stream, to its end.
fn frames(mut stream: impl Read) -> Vec<(u8, String)> {
    let mut frames = Vec::new();
    let mut header = [0; 8];
    while stream.read_exact(&mut header).is_ok() {
        let mut payload = vec![0; u32::from_be_bytes(header[4..].try_into().unwrap()) as usize];
        stream.read_exact(&mut payload).unwrap();
        frames.push((header[0], String::from_utf8(payload).unwrap()));
    }
    frames
}

#[test]
fn attached_streams_are_raw_or_framed_and_half_closed() {
    let host = Host::new();
    let upgrade = ["Connection: Upgrade", "Upgrade: tcp"];
    let all = "stream=1&stdin=1&stdout=1&stderr=1";
    let script = "cat; echo end >&2";
    host.corten(&["create", "-i", "--name", "framed", "busybox", "sh", "-c", script]).ok();
    let (head, mut stream) = attach(&host, &format!("/containers/framed/attach?{all}"), &upgrade);
    assert!(head.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{head}");
    assert!(head.contains("Content-Type: application/vnd.docker.multiplexed-stream\r\n"), "{head}");
    assert!(head.contains("Upgrade: tcp\r\n") && head.contains("Api-Version: 1.55\r\n"), "{head}");
    assert_eq!(post(&host, "/containers/framed/start", &json!({})).status, 204);
    stream.get_mut().write_all(b"input").unwrap();
    stream.get_mut().shutdown(Shutdown::Write).unwrap();
    let frames_of = frames(stream);
    let text = |n: u8| frames_of.iter().filter(|(s, _)| *s == n).map(|(_, t)| t.as_str()).collect::<String>();
    assert_eq!((text(1).as_str(), text(2).as_str()), ("input", "end\n"));

    // What was written comes again, then the stream; without an upgrade it is 200 and the old name.
    host.corten(&["run", "-d", "-i", "--name", "again", "busybox", "sh", "-c", "echo one; cat"]).ok();
    until("the first line", || (host.corten(&["logs", "again"]).ok() == "one").then_some(()));
    let (head, mut stream) = attach(&host, &format!("/v1.41/containers/again/attach?logs=1&{all}"), &[]);
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n"),
        "{head}"
    );
    stream.get_mut().write_all(b"two\n").unwrap();
    let mut header = [0; 8];
    stream.read_exact(&mut header).unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert_eq!((header[0], line.as_str()), (1, "one\n"));
    stream.read_exact(&mut header).unwrap();
    line.clear();
    stream.read_line(&mut line).unwrap();
    assert_eq!(line, "two\n");
    // Its stdin is not for one client only, so a client that ends its own has left.
    stream.get_mut().shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut header).unwrap(), 0);

    // A terminal: raw, with a size, left by its keys.
    host.corten(&["run", "-d", "-it", "--name", "tty", "busybox", "sh"]).ok();
    let (head, mut stream) =
        attach(&host, &format!("/containers/tty/attach?{all}&detachKeys=ctrl-x,q"), &upgrade);
    assert!(head.contains("application/vnd.docker.raw-stream"), "{head}");
    assert_eq!(ask(&host, "POST", "/containers/tty/resize?h=31&w=97", &[], "").status, 200);
    stream.get_mut().write_all(b"stty size\n").unwrap();
    let mut text = String::new();
    while !text.contains("31 97") {
        assert_ne!(stream.read_line(&mut text).unwrap(), 0, "{text}");
    }
    stream.get_mut().write_all(b"\x18q").unwrap();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(host.corten(&["inspect", "-f", "{{.State.Running}}", "tty"]).ok(), "true");

    // Exec: the same, and its code afterwards.
    let exec = post(
        &host,
        "/containers/tty/exec",
        &json!({ "AttachStdin": true, "AttachStdout": true,
        "AttachStderr": true, "Cmd": ["sh", "-c", "cat; exit 3"] }),
    );
    let id = exec.json()["Id"].as_str().unwrap().to_owned();
    let body = json!({ "Detach": false, "Tty": false }).to_string();
    let headers = ["Connection: Upgrade", "Upgrade: tcp", "Content-Type: application/json"];
    let mut reader = BufReader::new(send(&host, "POST", &format!("/exec/{id}/start"), &headers, &body));
    assert_eq!(self::head(&mut reader).0, 101);
    reader.get_mut().write_all(b"through").unwrap();
    reader.get_mut().shutdown(Shutdown::Write).unwrap();
    assert_eq!(frames(reader), [(1, "through".to_owned())]);
    until("the exec's code", || {
        (get(&host, &format!("/exec/{id}/json")).json()["ExitCode"] == 3).then_some(())
    });
    let again = post(&host, &format!("/exec/{id}/start"), &json!({}));
    assert_eq!(again.status, 409);
    host.finish();
}

#[test]
fn websocket_attach() {
    let host = Host::new();
    host.corten(&["run", "-d", "-i", "--name", "plain", "busybox", "cat"]).ok();
    host.corten(&["run", "-d", "-it", "--name", "tty", "busybox", "sh"]).ok();
    let program = r#"
import os, socket, websocket
def attach(path):
    s = socket.socket(socket.AF_UNIX); s.connect(os.environ["DOCKER_HOST"][len("unix://"):]); s.settimeout(30)
    return websocket.create_connection("ws://corten" + path, socket=s)
def read(w, n):
    data = b""
    while len(data) < n: data += w.recv()
    return data
w = attach("/v1.45/containers/plain/attach/ws?stream=1&stdin=1&stdout=1&stderr=1")
w.send_binary(b"binary\n"); assert read(w, 7) == b"binary\n"
w.ping("still there?"); w.send("text\n"); assert read(w, 5) == b"text\n"
large = b"x" * 300000 + b"\n"
w.send_binary(large); assert read(w, len(large)) == large
w.close()
w = attach("/containers/tty/attach/ws?stream=1&stdin=1&stdout=1&detachKeys=ctrl-x")
w.send_binary(b"echo $((6*7))\n"); data = b""
while b"42" not in data: data += w.recv()
w.send_binary(b"\x18")
try:
    while w.recv() != b"": pass
except websocket.WebSocketConnectionClosedException: pass
w = attach("/containers/plain/attach/ws?logs=1&stdout=1")
assert read(w, 12) .startswith(b"binary\ntext\n")
try: attach("/containers/nobody/attach/ws"); raise SystemExit("nobody was found")
except websocket.WebSocketBadStatusException as e: assert e.status_code == 404
print("done")
"#;
    assert_eq!(host.python(program).ok(), "done");
    assert_eq!(host.corten(&["inspect", "-f", "{{.State.Running}}", "tty"]).ok(), "true");
    host.finish();
}

#[test]
fn http2_on_the_socket() {
    let host = Host::new();
    let socket = host.path("corten.sock").display().to_string();
    let curl = |more: &[&str]| {
        host.command(&[&["curl", "-sS", "--http2-prior-knowledge", "--unix-socket", &socket], more].concat())
            .ok()
    };
    let ping = curl(&["-i", "http://x/_ping"]);
    assert!(ping.starts_with("HTTP/2 200") && ping.contains("api-version: 1.55"), "{ping}");
    let json = ["-H", "Content-Type: application/json", "-d", r#"{"Image":"busybox","Cmd":["echo","two"]}"#];
    let created = curl(&[&json[..], &["http://x/containers/create?name=h2"]].concat());
    assert!(created.contains("\"Id\""), "{created}");
    curl(&["-X", "POST", "http://x/containers/h2/start"]);
    assert!(curl(&["-X", "POST", "http://x/containers/h2/wait"]).contains("\"StatusCode\":0"));
    let refused = curl(&["-X", "POST", "http://x/containers/h2/attach?stream=1"]);
    assert!(refused.contains("HTTP/1.1"), "{refused}");
    // A client that only asks for an upgrade goes on with 1.1.
    let upgrade = host.command(&["curl", "-sSi", "--http2", "--unix-socket", &socket, "http://x/_ping"]).ok();
    assert!(upgrade.starts_with("HTTP/1.1 200"), "{upgrade}");
    host.finish();
}

/// Tasks and descriptors of the daemon.
fn burden(host: &Host) -> (i64, usize) {
    let tasks = get(host, "/info").json()["NGoroutines"].as_i64().unwrap();
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", host.daemon_pid())).unwrap().count();
    (tasks, descriptors)
}

fn resident_kib(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.daemon_pid())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn clients_that_vanish_leave_nothing() {
    let host = Host::new();
    host.corten(&[
        "run",
        "-d",
        "-i",
        "--name",
        "web",
        "busybox",
        "sh",
        "-c",
        "while read l; do echo $l; done",
    ])
    .ok();
    let exec = json!({ "AttachStdin": true, "AttachStdout": true, "Cmd": ["cat"] });
    // Once around first: threads and caches that stay are made.
    get(&host, "/containers/json");
    let before = until("a quiet daemon", || {
        let (first, second) = (burden(&host), burden(&host));
        (first == second).then_some(second)
    });
    let upgrade = ["Connection: Upgrade", "Upgrade: tcp"];
    let json_type = "Content-Type: application/json";
    for round in 0..10 {
        let mut gone = Vec::new();
        for (method, path) in [
            ("POST", "/containers/web/attach?stream=1&stdin=1&stdout=1&stderr=1"),
            ("POST", "/containers/web/attach?stream=1&logs=1&stdout=1"),
            ("GET", "/containers/web/logs?follow=1&stdout=1&stderr=1"),
            ("GET", "/events"),
            ("GET", "/events?until=99999999999"),
            ("POST", "/containers/web/wait"),
            ("POST", "/containers/web/wait?condition=removed"),
            ("POST", "/images/create?fromImage=198.51.100.2:5000/x&tag=1"),
        ] {
            let stream = send(&host, method, path, &upgrade, "");
            // Some go before the answer, some after its head, some half.
            match round % 3 {
                0 => drop(stream),
                1 if !path.starts_with("/images") => {
                    let mut reader = BufReader::new(stream);
                    head(&mut reader);
                    gone.push(reader.into_inner());
                }
                _ => {
                    stream.shutdown(Shutdown::Write).unwrap();
                    gone.push(stream);
                }
            }
        }
        let id = post(&host, "/containers/web/exec", &exec).json()["Id"].as_str().unwrap().to_owned();
        gone.push(send(&host, "POST", &format!("/exec/{id}/start"), &[json_type], "{}"));
        // Requests that stop half-way.
        for half in [
            "",
            "GE",
            "GET /info HTTP/1.1\r\nHost",
            "PRI * HTTP/2.0\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
            "POST /build HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc",
            "\0\0\0\0\r\n\r\n",
        ] {
            let mut stream = connect(&host);
            stream.write_all(half.as_bytes()).unwrap();
            gone.push(stream);
        }
    }
    until("the daemon's tasks and descriptors to be what they were", || {
        let (tasks, descriptors) = burden(&host);
        (tasks <= before.0 && descriptors <= before.1).then_some(())
    });
    // The container is unharmed, and still has its input.
    let (_, mut stream) = attach(&host, "/containers/web/attach?stream=1&stdin=1&stdout=1", &upgrade);
    stream.get_mut().write_all(b"alive\n").unwrap();
    stream.get_mut().set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut header = [0; 8];
    stream.read_exact(&mut header).unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert_eq!(line, "alive\n");
    drop(stream);
    host.finish();
}

#[test]
fn clients_that_do_not_read_cost_little() {
    let host = Host::new();
    host.corten(&[
        "run",
        "-d",
        "--name",
        "loud",
        "busybox",
        "sh",
        "-c",
        "dd if=/dev/zero bs=1M count=60 | tr '\\0' x",
    ])
    .ok();
    let before = resident_kib(&host);
    let mut lazy: Vec<UnixStream> =
        (0..8).map(|_| send(&host, "GET", "/containers/loud/logs?follow=1&stdout=1", &[], "")).collect();
    // One that is attached holds the program up, as with Docker: that one goes in the end.
    let attached = send(&host, "POST", "/containers/loud/attach?stream=1&stdout=1", &[], "");
    lazy.push(send(&host, "GET", "/events", &[], ""));
    // A client that sends requests without reading answers.
    let mut pushy = connect(&host);
    pushy.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    for _ in 0..20_000 {
        if pushy.write_all(b"GET /containers/json HTTP/1.1\r\nHost: x\r\n\r\n").is_err() {
            break;
        }
    }
    drop(attached);
    host.corten(&["wait", "loud"]).ok();
    let grown = resident_kib(&host).saturating_sub(before);
    assert!(grown < 32 << 10, "the daemon grew by {grown} KiB");
    drop((lazy, pushy));
    host.finish();
}
