//! Who may use whom: the workspace's edges against `layers.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use crate::{Outcome, cargo, root};

#[derive(Deserialize)]
struct Table {
    rooms: BTreeMap<String, Vec<String>>,
    synchronous: Synchronous,
    r#unsafe: Unsafe,
}

#[derive(Deserialize)]
struct Synchronous {
    rooms: Vec<String>,
    banned: Vec<String>,
}

#[derive(Deserialize)]
struct Unsafe {
    rooms: Vec<String>,
}

/// Checks every edge, the closure of the synchronous rooms, and where `unsafe` is opened.
pub(crate) fn layers() -> Outcome {
    let text =
        std::fs::read_to_string(root().join("layers.toml")).map_err(|e| format!("layers.toml: {e}"))?;
    let table: Table = toml::from_str(&text).map_err(|e| format!("layers.toml: {e}"))?;
    let graph = Graph::read()?;
    let mut faults = Vec::new();
    for (room, allowed) in &table.rooms {
        let Some(used) = graph.workspace_edges.get(room) else {
            faults.push(format!("layers.toml names the room {room}, which is no crate"));
            continue;
        };
        for other in used.iter().filter(|other| !allowed.contains(other)) {
            faults.push(format!("{room} uses {other}: not among its lower floors {allowed:?}"));
        }
    }
    for room in graph.workspace_edges.keys().filter(|r| !table.rooms.contains_key(*r)) {
        if !["testkit", "trace", "e2e", "xtask"].contains(&room.as_str()) {
            faults.push(format!("the crate {room} is in no floor of layers.toml"));
        }
    }
    for room in &table.synchronous.rooms {
        for package in graph.closure(room) {
            if table.synchronous.banned.contains(&package) {
                faults.push(format!("{room} is synchronous, but {package} is in its closure"));
            }
        }
    }
    faults.extend(unsafe_outside(&table.r#unsafe.rooms));
    if faults.is_empty() { Ok(()) } else { Err(format!("layers:\n  {}", faults.join("\n  "))) }
}

/// Files that open the `unsafe_code` lint in rooms that may not.
fn unsafe_outside(rooms: &[String]) -> Vec<String> {
    let listed = Command::new("git")
        .args(["grep", "-lE", r"(allow|expect)\(unsafe_code"])
        .current_dir(root())
        .output();
    let files = listed.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let inside = |file: &str| rooms.iter().any(|room| file.starts_with(&format!("crates/{room}/")));
    let rust = |file: &&str| file.ends_with(".rs") && !file.starts_with("xtask/");
    files.lines().filter(rust).filter(|f| !inside(f)).map(|f| format!("{f} opens unsafe_code")).collect()
}

/// What uses what, without development dependencies.
struct Graph {
    workspace_edges: BTreeMap<String, BTreeSet<String>>,
    names: BTreeMap<String, String>,
    edges: BTreeMap<String, Vec<String>>,
}

impl Graph {
    fn read() -> Result<Self, String> {
        let output = cargo(&["metadata", "--format-version", "1", "--locked"])
            .current_dir(root())
            .output()
            .map_err(|e| format!("cargo metadata: {e}"))?;
        if !output.status.success() {
            return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let metadata: Value =
            serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata: {e}"))?;
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
        let members: BTreeSet<String> = list(&metadata["workspace_members"]).iter().map(text).collect();
        let names: BTreeMap<String, String> =
            list(&metadata["packages"]).iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
        let mut edges = BTreeMap::new();
        for node in list(&metadata["resolve"]["nodes"]) {
            let normal = |dep: &&Value| list(&dep["dep_kinds"]).iter().any(|k| k["kind"].is_null());
            let used = list(&node["deps"]).iter().filter(normal).map(|d| text(&d["pkg"])).collect::<Vec<_>>();
            edges.insert(text(&node["id"]), used);
        }
        let mut workspace_edges = BTreeMap::new();
        for id in &members {
            let used = edges.get(id).into_iter().flatten().filter(|d| members.contains(*d));
            workspace_edges.insert(names[id].clone(), used.map(|d| names[d].clone()).collect());
        }
        Ok(Self { workspace_edges, names, edges })
    }

    /// The names of all packages that `room` stands on.
    fn closure(&self, room: &str) -> BTreeSet<String> {
        let mut queue: Vec<&String> =
            self.names.iter().filter(|(_, n)| *n == room).map(|(id, _)| id).collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = queue.pop() {
            if seen.insert(id) {
                queue.extend(self.edges.get(id).into_iter().flatten());
            }
        }
        seen.into_iter().map(|id| self.names[id].clone()).collect()
    }
}
