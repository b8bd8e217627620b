//! What a new daemon finds: the same code at every start, after a clean end, a `kill -9` and a power cut.
//!
//! Shim answers → adopt; else exit.json of this run → exited; else → exited(255). What belongs to no container is removed.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shim::client::{Connection, Watch};
use shim::proto::{Reply, Request, Status};
use spec::Id;
use store::Store;

use super::link::{Events, Link};
use super::persist::{self, Saved};
use super::places::{self, Places};
use super::record::{Attachment, NetworkMode, Record};
use super::state::{Event, Phase};
use super::{Container, cgroup, leftovers};
use crate::engine::Config;
use crate::{Engine, Error};

/// What the shims that live say, by their containers' ids.
pub(crate) struct Answers(HashMap<String, Answering>);

/// All containers on disk, and what their shims say.
pub(crate) struct Found(Vec<One>);

struct One {
    places: Places,
    record: Record,
    saved: Saved,
    shim: Option<Answering>,
}

/// A shim that answers, and has made its container.
pub(crate) struct Answering {
    connection: Connection,
    watch: Watch,
    dir: PathBuf,
    pid: i32,
    status: Status,
}

impl Answers {
    /// Asks those of containers that there are, several at once: each is a process that has to wake up. Blocking.
    pub(crate) fn ask(config: &Config) -> Result<Self, Error> {
        let name = |dir: PathBuf| Some(dir.file_name()?.to_string_lossy().into_owned());
        let recorded = places::all(config)?.into_iter().filter(|dir| persist::has_record(dir));
        let names: Vec<String> = recorded.filter_map(name).filter(|name| Id::parse(name).is_some()).collect();
        let ask = |name: &String| Some((name.clone(), answering(&config.exec_root.join("shim").join(name))?));
        let at_once = 2 * std::thread::available_parallelism().map_or(1, usize::from);
        let answers = std::thread::scope(|scope| {
            let some = names.chunks(names.len().div_ceil(at_once).max(1));
            let asking: Vec<_> =
                some.map(|names| scope.spawn(|| names.iter().filter_map(ask).collect::<Vec<_>>())).collect();
            asking.into_iter().flat_map(|some| some.join().expect("a shim's answer is data")).collect()
        });
        Ok(Self(answers))
    }

    /// The containers whose network must be kept: id, and a pid in their namespace.
    pub(crate) fn alive(&self) -> Vec<(Id, i32)> {
        let alive = self.0.iter().filter(|(_, shim)| shim.status.exit.is_none());
        alive.filter_map(|(name, shim)| Some((Id::parse(name)?, shim.pid))).collect()
    }
}

/// Reads all records, and removes what belongs to no container. Blocking.
pub(crate) fn find_all(config: &Config, store: &Store, mut answers: Answers) -> Result<Found, Error> {
    let mut found = Vec::new();
    let (mut known, mut layers) = (HashSet::new(), HashSet::new());
    let mut unfinished = Vec::new();
    for dir in places::all(config)? {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(id) = Id::parse(&name) else { continue };
        match persist::load_record(&dir) {
            Ok(Some(record)) if record.id == id => {
                let saved = persist::load_state(&dir).unwrap_or_else(|error| {
                    tracing::warn!(container = name, "{}: taken as never started", error.message());
                    Saved::default()
                });
                let shim = answers.0.remove(&name);
                layers.extend(record.layers());
                found.push(One { places: Places::found(config, &dir), record, saved, shim });
            }
            Ok(None) => {
                unfinished.push((name, dir));
                continue;
            }
            Ok(Some(_)) => {
                tracing::error!(container = name, "config.json is another container's: left alone")
            }
            Err(error) => tracing::error!(container = name, "{}: left alone", error.message()),
        }
        known.insert(name);
    }
    // A create that did not finish: nobody was told of it. The other place of a container that is known is its own.
    for (_, dir) in unfinished.into_iter().filter(|(name, _)| !known.contains(name)) {
        sys::file::remove_tree(&dir)?;
    }
    remove_orphans(config, store, &known, &layers);
    found.sort_by_key(|one| one.record.created_at);
    Ok(Found(found))
}

/// The shim of a directory, if it lives and has a container. One without a container is ended.
fn answering(dir: &Path) -> Option<Answering> {
    let connected = Connection::connect(dir).and_then(|mut connection| {
        let reply = connection.call(&Request::Status, &[])?;
        Ok((connection, reply))
    });
    let (mut connection, status) = match connected {
        Ok((connection, Reply::Status(status))) => (connection, status),
        Ok(_) => return None,
        Err(error) => {
            // Nobody listens: it has ended, or was killed, or had not begun when the daemon that spawned it died.
            if !error.is_timeout() {
                let _ = sys::file::remove_tree(dir);
            }
            return None;
        }
    };
    let watch = Connection::connect(dir).and_then(Connection::watch);
    match (status.pid, watch) {
        (Some(pid), Ok(watch)) if status.started => {
            Some(Answering { connection, watch, dir: dir.to_owned(), pid, status })
        }
        _ => {
            // A start that did not finish, or a shim that ends right now. Either way it is of no use.
            let _ = connection.call(&Request::Delete, &[]);
            let _ = sys::file::remove_tree(dir);
            None
        }
    }
}

/// Writable layers, shims and cgroups whose container is not known, and layers that no record names. Failures are told,
/// and no reason not to start.
fn remove_orphans(config: &Config, store: &Store, known: &HashSet<String>, layers: &HashSet<String>) {
    let tell = |what: &str, name: &str, error: Error| {
        tracing::warn!(what, name, "cannot remove what belongs to no container: {}", error.message());
    };
    let stray = |name: &String| !known.contains(name);
    let shims = config.exec_root.join("shim");
    for name in sys::file::list(&shims).unwrap_or_default().into_iter().filter(stray) {
        let dir = shims.join(&name);
        if let Ok(mut connection) = Connection::connect(&dir) {
            let kill = Request::Kill { signal: spec::signal::KILL, exec: None, all: true };
            // A shim that is gone, or whose init is, refuses: then there is nothing to end.
            let _ = connection.call(&kill, &[]);
            let _ = connection.call(&Request::Delete, &[]);
        }
        if let Err(error) = sys::file::remove_tree(&dir) {
            tell("shim", &name, error.into());
        }
    }
    for (_, path) in cgroup::found(config).into_iter().filter(|(id, _)| !known.contains(id.as_str())) {
        leftovers::remove(&path);
    }
    // `<id>`, and `<id>.<n>` of the images it has mounted. What a container has whose record cannot be read stays.
    let owned = |layer: &str| {
        let id = layer.split('.').next().unwrap_or(layer);
        layers.contains(layer) || known.contains(id) && !layers.contains(id)
    };
    for name in store.rw_list().unwrap_or_default().into_iter().filter(|layer| !owned(layer)) {
        if let Err(error) = store.rw_remove(&name) {
            tell("writable layer", &name, error.into());
        }
    }
}

impl Engine {
    /// Takes over what was found; then each policy says what is to run.
    pub(crate) async fn adopt(&self, found: Found) {
        let mut idle = Vec::new();
        for One { places, record, saved, shim } in found.0 {
            let id = record.id.clone();
            let name = record.name.clone();
            let reservation = match self.inner.containers.reserve(&name, &id) {
                Ok(reservation) => reservation,
                Err(error) => {
                    tracing::error!(container = %id, "{}: left alone", error.message());
                    continue;
                }
            };
            let container = Container::new(places, record, saved.state, saved.network);
            reservation.keep(container.clone());
            let met = shim.is_some() || container.view().state.is_alive();
            if met {
                self.adopt_mounts(&container);
            }
            if let Some(shim) = shim {
                self.adopt_alive(&container, shim).await;
            } else if container.view().state.is_alive() {
                let run = container.view().state.starts;
                self.ended(&container, run, None).await;
            }
            // One whose end was met just now has its next start on its way.
            let view = container.view();
            let scheduled = met && view.state.phase == Phase::Restarting;
            if !(view.gone || view.state.is_alive() || scheduled) {
                idle.push(container);
            }
        }
        self.sweep_mounts().await;
        for container in idle {
            let engine = self.clone();
            // Side by side: a slow start holds nobody up.
            tokio::spawn(async move { engine.after_daemon_start(&container).await });
        }
    }

    async fn adopt_alive(&self, container: &Arc<Container>, shim: Answering) {
        let Answering { connection, watch, dir, pid, status } = shim;
        let before = container.view();
        if !before.state.is_alive() {
            // The daemon died between the start and its record.
            if let Ok((state, _)) = container.consider(Event::Started { pid }) {
                container.publish(|view| view.state = state);
            }
        }
        let link = match Link::new(connection, None, dir) {
            Ok(link) => link,
            Err(error) => {
                tracing::error!(container = %container.id, "cannot talk to its shim: {error}");
                return;
            }
        };
        let mut phase = if status.paused { Phase::Paused } else { Phase::Running };
        if status.paused && before.state.phase != Phase::Paused {
            // The daemon that froze it for a commit died over that; nobody else would thaw it.
            match link.call(Request::Resume, Vec::new()).await {
                Ok(_) => phase = Phase::Running,
                Err(error) => tracing::warn!(container = %container.id, "cannot thaw it: {error}"),
            }
        }
        container.publish(|view| {
            view.state.pid = pid;
            view.state.phase = phase;
        });
        if before.network.endpoints.is_empty() && before.record.network_mode() == NetworkMode::Networks {
            let endpoints = self.endpoints_of(&container.id);
            let ports = before.network.ports.clone();
            container.publish(|view| view.network = Arc::new(Attachment { endpoints, ports }));
        }
        container.set_link(Some(link));
        let view = container.view();
        let is_saved = view.state == before.state && view.network == before.network;
        if !is_saved && let Err(error) = container.save_state(view.state.clone(), view.network.clone()).await
        {
            tracing::warn!(container = %container.id, "{}", error.message());
        }
        let run = view.state.starts;
        match (status.exit, Events::new(watch)) {
            (Some(exit), _) => self.ended(container, run, Some(exit)).await,
            (None, Ok(events)) => {
                self.supervise(container.clone(), run, events);
                self.monitor(container);
            }
            (None, Err(error)) => {
                tracing::error!(container = %container.id, "cannot watch its shim: {error}");
            }
        }
    }

    /// What the daemon's start means for a container that does not run.
    async fn after_daemon_start(&self, container: &Arc<Container>) {
        let _verbs = container.verbs.lock().await;
        if container.is_removing() {
            if let Err(error) = self.remove_rest(container, true).await {
                tracing::warn!(container = %container.id, "{}", error.message());
            }
            return;
        }
        let Ok((state, effects)) = container.consider(Event::DaemonStarted) else { return };
        if let Err(error) = container.commit(state).await {
            tracing::warn!(container = %container.id, "{}", error.message());
        }
        self.perform(container, &effects).await;
    }
}
