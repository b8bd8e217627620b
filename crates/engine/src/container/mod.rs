//! Containers: one file per verb, and what they all stand on.
//!
//! | room | what is in it |
//! |---|---|
//! | [`state`] | the life of a container as a pure function |
//! | `record`, `persist`, `places` | what the user asked for; config.json and state.json; where they are |
//! | `table` | names and ids |
//! | `config`, `check`, `mounts`, `ports` | a create request becomes a record: merged, validated, parsed |
//! | `change` | a record becomes another one: what Corten's update can that Docker's cannot |
//! | `secrets` | files that only the container sees |
//! | `oci`, `files` | a record becomes an OCI configuration and the files beside it |
//! | `idmap` | whose files on a bind mount or volume are |
//! | `userns`, `subids` | whose ids it has on the host, and which accounts have ids to give |
//! | `resources` | limits against what this host has |
//! | `devices`, `cdi` | what it gets of the host's devices |
//! | `security`, `seccomp`, `apparmor`, `selinux` | what confines it |
//! | `link`, `shims` | the connection to a container's shim; shims that wait for one |
//! | `create` `start` `ended` `stop` … | the verbs, and what happens when init ends |
//! | [`health`] | what probes say, and the probes |
//! | `recover` | what a new daemon finds |
//!
//! A lifecycle verb holds [`Container::verbs`] while it changes something; readers take the published [`View`] and no
//! lock. Nobody holds the lock while waiting for a container to end.

mod apparmor;
pub mod archive;
pub mod attach;
pub(crate) mod cdi;
pub(crate) mod cgroup;
mod change;
pub(crate) mod check;
mod commit;
mod config;
pub(crate) mod copyup;
mod create;
mod devices;
mod diff;
mod ended;
pub(crate) mod exec;
mod export;
mod files;
pub mod health;
mod idmap;
mod inspect;
mod kill;
mod leftovers;
mod link;
pub(crate) mod linked;
pub(crate) mod list;
pub(crate) mod logging;
mod logs;
pub(crate) mod mounts;
mod oci;
mod pause;
mod persist;
pub(crate) mod places;
pub(crate) mod ports;
mod propagation;
mod prune;
pub(crate) mod record;
pub(crate) mod recover;
mod remove;
mod rename;
pub(crate) mod resources;
mod restart;
mod seccomp;
mod secrets;
pub(crate) mod security;
pub(crate) mod selinux;
pub(crate) mod shims;
mod start;
pub mod state;
mod stats;
mod status;
mod stop;
mod subids;
pub(crate) mod table;
#[cfg(test)]
mod testing;
mod top;
mod update;
pub(crate) mod userns;
mod wait;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

pub use commit::CommitOptions;
pub use list::{Line, ListOptions};
pub use logs::LogOptions;
pub(crate) use mounts::{check_volume_name, clean};
pub(crate) use prune::until;
pub use remove::RemoveOptions;
use shim::proto::{Reply, Request};
use spec::Id;
use spec::api::EventMessage;
pub use stats::Stats;
use tokio::sync::watch;
pub use wait::{WaitCondition, Waiter};

use self::link::{Leaving, Link};
use self::places::Places;
use self::record::{Attachment, Record};
use self::state::{Effect, Event, Illegal, Phase, Policy, Restart, State};
use crate::{Error, time};

/// The published, read-only face of a container.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// What the user asked for.
    pub(crate) record: Arc<Record>,
    /// Its life.
    pub(crate) state: State,
    /// Its place on networks, while it runs.
    pub(crate) network: Arc<Attachment>,
    /// The end of so many runs has been told to `docker events`: who waits for an end to tell more waits for this.
    pub(crate) told: u64,
    /// It is removed; no more views follow.
    pub(crate) gone: bool,
}

/// Whether a shim says that the process has ended, or has ended itself meanwhile: the exit is on its way.
pub(crate) fn has_ended(error: &shim::client::Error) -> bool {
    matches!(error, shim::client::Error::Failed(failure) if failure.errno == ESRCH) || error.is_gone()
}

/// Whether a process's files could not be opened because it has ended: its exit is on its way.
fn ended_meanwhile(error: &sys::Error) -> bool {
    error.errno() == ESRCH || error.source.kind() == std::io::ErrorKind::NotFound
}

/// No such process (errno(3)).
const ESRCH: i32 = 3;

/// A client that attached before the start.
#[derive(Debug)]
pub(crate) struct EarlyClient {
    /// What it wants.
    pub(crate) attach: shim::proto::Attach,
    /// The shim's end of its socket.
    pub(crate) socket: OwnedFd,
}

/// A container. Shared by `Arc`; everything that changes is behind a lock of its own.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: Id,
    /// Where its files are.
    pub(crate) places: Places,
    /// Serialises the verbs that change its life.
    pub(crate) verbs: Arc<tokio::sync::Mutex<()>>,
    /// Held by who works in its files through its running processes: the writable layer must not be mounted once more, nor
    /// go, before that is over. Written only under `verbs`.
    pub(crate) layer: Arc<tokio::sync::RwLock<()>>,
    /// So many restarts by the user are under way: its end is no reason to remove or restart it.
    pub(crate) held: AtomicU32,
    /// Clients for the next start.
    pub(crate) early: Mutex<Vec<EarlyClient>>,
    /// Who looks at what it uses.
    pub(crate) stats: stats::Shared,
    /// How it was last listed.
    pub(crate) last_line: list::LastLine,
    link: Mutex<Option<Arc<Link>>>,
    /// The shim of the run before, until it has ended: it holds the mount of the writable layer.
    pub(crate) leaving: tokio::sync::Mutex<Option<Leaving>>,
    view: watch::Sender<Arc<View>>,
}

impl Container {
    /// A container as recorded.
    pub(crate) fn new(places: Places, record: Record, state: State, network: Attachment) -> Arc<Self> {
        let id = record.id.clone();
        let told = state.ends;
        let view = View { record: Arc::new(record), state, network: Arc::new(network), told, gone: false };
        Arc::new(Self {
            id,
            places,
            verbs: Arc::default(),
            layer: Arc::default(),
            held: AtomicU32::new(0),
            early: Mutex::new(Vec::new()),
            stats: stats::Shared::default(),
            last_line: list::LastLine::default(),
            link: Mutex::new(None),
            leaving: tokio::sync::Mutex::default(),
            view: watch::Sender::new(Arc::new(view)),
        })
    }

    /// Its face now.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// Its face from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Publishes a changed face. Only for the holder of [`Container::verbs`].
    pub(crate) fn publish(&self, change: impl FnOnce(&mut View)) {
        self.view.send_modify(|view| change(Arc::make_mut(view)));
    }

    /// What [`state::step`] says of `event` now; nothing changes.
    pub(crate) fn consider(&self, event: Event) -> Result<(State, Vec<Effect>), Illegal> {
        let view = self.view();
        let policy = if self.held.load(Ordering::Acquire) > 0 {
            Policy { restart: Restart::No, auto_remove: false, ..view.record.policy() }
        } else {
            view.record.policy()
        };
        state::step(&view.state, event, policy, time::now())
    }

    /// Its shim, while there is one.
    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        self.link.lock().expect("no holder of this lock can panic").clone()
    }

    /// Sets or clears its shim; returns the one before.
    pub(crate) fn set_link(&self, link: Option<Arc<Link>>) -> Option<Arc<Link>> {
        std::mem::replace(&mut *self.link.lock().expect("no holder of this lock can panic"), link)
    }

    /// Its shim, or 409.
    pub(crate) fn running_link(&self) -> Result<Arc<Link>, Error> {
        match self.link() {
            Some(link) if self.view().state.is_alive() => Ok(link),
            _ => Err(self.not_running()),
        }
    }

    /// Asks its shim for something that takes a running init. One that has ended a moment ago does not run either.
    pub(crate) async fn ask(&self, request: Request, fds: Vec<OwnedFd>) -> Result<Reply, Error> {
        let answer = self.running_link()?.call(request, fds).await;
        answer.map_err(|error| if has_ended(&error) { self.not_running() } else { error.into() })
    }

    /// `container <id> is not running`.
    pub(crate) fn not_running(&self) -> Error {
        Error::Conflict(format!("container {} is not running", self.id))
    }

    /// An illegal event as the API reports it.
    pub(crate) fn refuse(&self, why: Illegal) -> Error {
        let id = &self.id;
        match why {
            Illegal::Running => Error::NotModified("container is already running".into()),
            Illegal::NotRunning => self.not_running(),
            Illegal::Paused => Error::Conflict(format!("container {id} is already paused")),
            Illegal::NotPaused => Error::Conflict(format!("Container {id} is not paused")),
            Illegal::Restarting => {
                Error::Conflict(format!("container {id} is restarting, wait until the container is running"))
            }
            Illegal::Removing => Error::Conflict(format!("removal of container {id} is already in progress")),
            Illegal::Dead => Error::Conflict(format!("container {id} is dead: remove it")),
            Illegal::Stale => {
                Error::Conflict(format!("container {id} changed its state meanwhile, try again"))
            }
        }
    }

    /// An event of this container, with Docker's attributes: its labels, image and name, and `extra`.
    pub(crate) fn event(&self, action: &str, extra: &[(&str, String)]) -> EventMessage {
        let view = self.view();
        let mut attributes = view.record.config.labels.clone();
        attributes.insert("image".into(), view.record.config.image.clone());
        attributes.insert("name".into(), view.record.name.clone());
        attributes.extend(extra.iter().map(|(k, v)| ((*k).to_owned(), v.clone())));
        crate::events::message("container", action, self.id.as_str(), attributes)
    }

    /// Whether it is waited for, listed and named still.
    pub(crate) fn is_removing(&self) -> bool {
        matches!(self.view().state.phase, Phase::Removing)
    }
}
