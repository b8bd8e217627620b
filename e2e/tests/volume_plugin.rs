//! Volume plugins, against a plugin of the test's own: a server on a unix socket that keeps directories.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use testkit::{Host, until};

/// What the plugin has been asked, and what it keeps.
#[derive(Default)]
struct State {
    calls: Vec<String>,
    /// Volume → its options.
    volumes: BTreeMap<String, Value>,
    /// Who has which volume mounted.
    mounted: Vec<(String, String)>,
    /// The next answers to a method are this error.
    failing: Option<(&'static str, &'static str)>,
    /// No answer to a method, ever.
    hanging: Option<&'static str>,
}

/// A plugin that runs.
struct Plugin {
    state: Arc<Mutex<State>>,
    socket: PathBuf,
}

impl Plugin {
    fn start(socket: &Path, store: &Path, scope: &'static str) -> Self {
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(socket).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, store) = (state.clone(), store.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (state, store) = (shared.clone(), store.clone());
                std::thread::spawn(move || serve(client, &state, &store, scope));
            }
        });
        Self { state, socket: socket.to_owned() }
    }

    fn calls(&self, of: &str) -> usize {
        self.state.lock().unwrap().calls.iter().filter(|call| call.starts_with(of)).count()
    }

    fn mounted(&self) -> usize {
        self.state.lock().unwrap().mounted.len()
    }

    /// Nobody listens any more.
    fn die(&self) {
        std::fs::remove_file(&self.socket).unwrap();
        drop(UnixListener::bind(&self.socket).unwrap());
    }
}

fn serve(client: UnixStream, state: &Mutex<State>, store: &Path, scope: &str) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let method = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let question: Value = serde_json::from_slice(&body).unwrap_or_default();
    let answer = {
        let mut state = state.lock().unwrap();
        state.calls.push(format!("{method} {}", question["Name"].as_str().unwrap_or_default()));
        if state.hanging == Some(method.split('.').next_back().unwrap_or_default()) {
            // Kept open for as long as the other side is patient.
            drop(state);
            let _ = reader.read(&mut [0]);
            return;
        }
        answer(&mut state, &method, &question, store, scope)
    };
    let text = answer.to_string();
    let mut client = client;
    let _ = write!(
        client,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
}

fn answer(state: &mut State, method: &str, question: &Value, store: &Path, scope: &str) -> Value {
    let name = question["Name"].as_str().unwrap_or_default().to_owned();
    let id = question["ID"].as_str().unwrap_or_default().to_owned();
    let place = store.join(name.replace('/', "_"));
    if let Some((failing, why)) = state.failing
        && method.ends_with(failing)
    {
        return json!({ "Err": why });
    }
    let shown = |name: &str| json!({ "Name": name, "Mountpoint": store.join(name.replace('/', "_")), "Status": { "health": { "state": "good" } } });
    match method {
        "Plugin.Activate" => json!({ "Implements": ["VolumeDriver"] }),
        "VolumeDriver.Capabilities" => json!({ "Capabilities": { "Scope": scope } }),
        "VolumeDriver.Create" => {
            std::fs::create_dir_all(&place).unwrap();
            state.volumes.insert(name, question["Opts"].clone());
            json!({ "Err": "" })
        }
        "VolumeDriver.Remove" => {
            std::fs::remove_dir_all(&place).unwrap();
            state.volumes.remove(&name);
            json!({ "Err": "" })
        }
        "VolumeDriver.Get" if state.volumes.contains_key(&name) => {
            json!({ "Volume": shown(&name), "Err": "" })
        }
        "VolumeDriver.Get" => json!({ "Err": "I have no such volume" }),
        "VolumeDriver.List" => {
            let all: Vec<Value> = state.volumes.keys().map(|name| shown(name)).collect();
            json!({ "Volumes": all, "Err": null })
        }
        "VolumeDriver.Path" => json!({ "Mountpoint": place, "Err": "" }),
        "VolumeDriver.Mount" => {
            state.mounted.push((name, id));
            json!({ "Mountpoint": place, "Err": "" })
        }
        "VolumeDriver.Unmount" => {
            state.mounted.retain(|held| *held != (name.clone(), id.clone()));
            json!({ "Err": "" })
        }
        _ => json!({ "Err": format!("what is {method}?") }),
    }
}

#[test]
fn a_plugin_keeps_volumes() {
    let mut host = Host::new();
    let store = host.path("kept");
    let plugin = Plugin::start(&host.path("run/plugins/keeper.sock"), &store, "global");
    assert_eq!(
        host.docker(&["volume", "create", "-d", "keeper", "-o", "colour=red", "--label", "a=b", "one"]).ok(),
        "one"
    );
    assert_eq!(plugin.state.lock().unwrap().volumes["one"], json!({ "colour": "red" }));
    let shown =
        "{{.Driver}} {{.Scope}} {{.Mountpoint}} {{.Status.health.state}} {{.Options.colour}} {{.Labels.a}}";
    assert_eq!(
        host.docker(&["volume", "inspect", "-f", shown, "one"]).ok(),
        format!("keeper global {} good red b", store.join("one").display())
    );
    assert!(host.docker(&["info", "-f", "{{.Plugins.Volume}}"]).ok().contains("keeper"));
    // Copy-up, sharing, and each container's own mount.
    host.docker(&["run", "-d", "--name", "c1", "-v", "one:/etc", "busybox", "sleep", "1000"]).ok();
    assert_eq!(plugin.mounted(), 1);
    assert!(std::fs::read_to_string(store.join("one/group")).unwrap().starts_with("root:"));
    host.docker(&["run", "--rm", "-v", "one:/d", "busybox", "sh", "-c", "echo kept > /d/file"]).ok();
    assert_eq!(host.docker(&["exec", "c1", "cat", "/etc/file"]).ok(), "kept");
    until("the other's unmount", || (plugin.mounted() == 1).then_some(()));
    let of = "{{(index .Mounts 0).Driver}} {{(index .Mounts 0).Type}}";
    assert_eq!(host.docker(&["inspect", "-f", of, "c1"]).ok(), "keeper volume");
    // The next daemon ends what the last one had begun.
    host.kill_daemon();
    host.start_daemon();
    let refused = host.docker(&["volume", "rm", "one"]).fails(1);
    assert!(refused.contains("volume is in use - ["), "{refused}");
    host.docker(&["stop", "-t", "0", "c1"]).ok();
    assert_eq!(plugin.mounted(), 0);
    // cp sees it while its container does not run.
    let out = host.path("out").display().to_string();
    host.docker(&["cp", "c1:/etc/file", &out]).ok();
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "kept\n");
    until("the end of cp's mount", || (plugin.mounted() == 0).then_some(()));
    host.docker(&["rm", "c1"]).ok();
    // A volume of a plugin goes out and in, and becomes one of ours.
    host.corten(&["volume", "cp", "one", "mine"]).ok();
    assert_eq!(host.docker(&["run", "--rm", "-v", "mine:/d", "busybox", "cat", "/d/file"]).ok(), "kept");
    host.docker(&["volume", "rm", "one", "mine"]).ok();
    assert!(plugin.state.lock().unwrap().volumes.is_empty() && !store.join("one").exists());
    host.finish();
}

#[test]
fn lists_are_merged_and_names_are_one_drivers() {
    let host = Host::new();
    let keeper = Plugin::start(&host.path("run/plugins/keeper.sock"), &host.path("kept"), "local");
    // Found by a file that says where it is.
    let other = Plugin::start(&host.path("elsewhere.sock"), &host.path("other"), "nonsense");
    let spec = format!("unix://{}", host.path("elsewhere.sock").display());
    std::fs::write(host.path("run/plugins/other.spec"), spec).unwrap();
    host.docker(&["volume", "create", "ours"]).ok();
    for name in ["theirs", "ours", "a/b"] {
        keeper.state.lock().unwrap().volumes.insert(name.into(), json!({}));
    }
    std::fs::create_dir_all(host.path("kept/theirs")).unwrap();
    host.docker(&["volume", "create", "-d", "other", "third"]).ok();
    let format = ["--format", "{{.Driver}} {{.Name}}"];
    assert_eq!(
        host.docker(&[&["volume", "ls"], &format[..]].concat()).ok(),
        "keeper a/b\nlocal ours\nkeeper theirs\nother third"
    );
    assert_eq!(host.docker(&["volume", "ls", "-q", "-f", "driver=keeper"]).ok(), "a/b\ntheirs");
    assert_eq!(host.docker(&["volume", "ls", "-q", "-f", "driver=local"]).ok(), "ours");
    assert_eq!(host.docker(&["volume", "inspect", "-f", "{{.Driver}}", "a/b"]).ok(), "keeper");
    std::fs::create_dir_all(host.path("kept/a_b")).unwrap();
    host.docker(&["volume", "rm", "a/b"]).ok();
    // One that we did not make is found by its name.
    assert_eq!(host.docker(&["volume", "inspect", "-f", "{{.Driver}}", "theirs"]).ok(), "keeper");
    host.docker(&["run", "--rm", "-v", "theirs:/d", "busybox", "touch", "/d/file"]).ok();
    assert!(host.path("kept/theirs/file").exists());
    for (words, why) in [
        (
            &["volume", "create", "-d", "local", "theirs"][..],
            "create theirs: driver 'keeper' already has volume 'theirs': volume name must be unique",
        ),
        (
            &["volume", "create", "-d", "keeper", "third"],
            "create third: driver 'other' already has volume 'third'",
        ),
        (
            &["volume", "create", "-d", "nobody", "third"],
            "create third: error looking up volume plugin nobody: plugin \"nobody\" not found",
        ),
        (&["volume", "create", "-d", "../keeper", "x1"], "plugin \"../keeper\" not found"),
        (&["create", "-v", "new:/d", "--volume-driver", "nobody", "busybox"], "plugin \"nobody\" not found"),
    ] {
        let refused = host.docker(words).fails(1);
        assert!(refused.contains(why), "{refused}");
    }
    let refused = host.corten(&["volume", "rename", "third", "fourth"]).fails(1);
    assert!(refused.contains("volume plugins have no rename"), "{refused}");
    // Prune is about ours.
    host.docker(&["volume", "prune", "-af"]).ok();
    assert_eq!(host.docker(&["volume", "ls", "-q", "-f", "driver=other"]).ok(), "third");
    host.docker(&["volume", "rm", "third"]).ok();
    assert!(other.state.lock().unwrap().volumes.is_empty());
    // A plugin's volume by the container's own options.
    let mount = "type=volume,src=fourth,dst=/d,volume-driver=other,volume-opt=size=big,volume-label=x=y";
    host.docker(&["run", "--rm", "--mount", mount, "busybox", "true"]).ok();
    assert_eq!(other.state.lock().unwrap().volumes["fourth"], json!({ "size": "big" }));
    host.docker(&["run", "--rm", "--volume-driver", "other", "-v", "fifth:/d", "busybox", "true"]).ok();
    host.docker(&["volume", "rm", "fourth", "fifth"]).ok();
    host.finish();
}

#[test]
fn a_plugin_that_fails_hangs_or_dies_is_told_and_hurts_nobody_else() {
    let mut host = Host::new();
    let plugin = Plugin::start(&host.path("run/plugins/keeper.sock"), &host.path("kept"), "local");
    let fails = |failing| plugin.state.lock().unwrap().failing = failing;
    fails(Some(("Create", "out of paint")));
    let refused = host.docker(&["volume", "create", "-d", "keeper", "one"]).fails(1);
    assert!(refused.contains("create one: out of paint"), "{refused}");
    fails(None);
    host.docker(&["volume", "create", "-d", "keeper", "one"]).ok();
    host.docker(&["volume", "create", "ours"]).ok();
    fails(Some(("Mount", "the brush is dry")));
    let refused = host.docker(&["run", "--rm", "-v", "one:/d", "busybox", "true"]).fails(125);
    assert!(refused.contains("error while mounting volume '': the brush is dry"), "{refused}");
    fails(Some(("Remove", "it sticks")));
    let refused = host.docker(&["volume", "rm", "one"]).fails(1);
    assert!(refused.contains("remove one: it sticks"), "{refused}");
    // One that ends badly is unmounted as far as we are concerned.
    fails(Some(("Unmount", "stuck")));
    host.docker(&["run", "--rm", "-v", "one:/d", "busybox", "true"]).ok();
    until("the warning", || host.daemon_log().contains("error unmounting volume one: stuck").then_some(()));
    fails(None);

    // Hanging: the list is there in seconds, with what is known.
    plugin.state.lock().unwrap().hanging = Some("List");
    let listed = host.corten(&["volume", "ls", "-q"]).output();
    assert_eq!((listed.stdout.as_str(), listed.code), ("one\nours\n", 0), "{listed:?}");
    assert!(listed.stderr.contains("no answer within"), "{listed:?}");
    plugin.state.lock().unwrap().hanging = None;

    // Dead.
    host.docker(&["run", "-d", "--name", "c1", "-v", "one:/d", "busybox", "sleep", "1000"]).ok();
    plugin.die();
    let listed = host.corten(&["volume", "ls", "-q"]).output();
    assert!(listed.stdout == "one\nours\n" && listed.stderr.contains("connection refused"), "{listed:?}");
    let refused = host.docker(&["volume", "inspect", "one"]).fails(1);
    assert!(
        refused.contains("error while checking if volume \"one\" exists in driver \"keeper\""),
        "{refused}"
    );
    let refused = host.docker(&["run", "--rm", "-v", "one:/d", "busybox", "true"]).fails(125);
    assert!(refused.contains("keeper"), "{refused}");
    assert_eq!(host.docker(&["run", "--rm", "-v", "ours:/d", "busybox", "echo", "fine"]).ok(), "fine");
    assert_eq!(host.docker(&["exec", "c1", "echo", "runs"]).ok(), "runs");
    // So it is when the daemon starts without it.
    host.kill_daemon();
    host.start_daemon();
    assert_eq!(host.docker(&["exec", "c1", "echo", "runs"]).ok(), "runs");
    host.docker(&["rm", "-f", "c1"]).ok();
    host.docker(&["volume", "rm", "one"]).fails(1);
    host.docker(&["volume", "rm", "-f", "one"]).ok();
    assert_eq!(host.docker(&["volume", "ls", "-q"]).ok(), "ours");
    assert!(plugin.calls("VolumeDriver.Create one") >= 2);
    host.docker(&["volume", "rm", "ours"]).ok();
    host.finish();
}
