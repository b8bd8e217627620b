//! The daemon's end of a shim (blocking calls; the engine runs them on its blocking pool).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::proto::{Event, Reply, Request};

/// The shim's program, copied once into a sealed memfd (CVE-2019-5736), from which every shim is spawned.
#[derive(Debug)]
pub struct Program {
    _fd: OwnedFd,
}

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The shim answered that a step failed.
    #[error(transparent)]
    Failed(#[from] runtime::Failure),
    /// The shim cannot be spawned, reached or understood.
    #[error("{step} {path}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// The program or socket.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// A spawned shim as its parent sees it: a pidfd to reap it by.
#[derive(Debug)]
pub struct Spawned {
    /// The shim's pid.
    pub pid: i32,
    /// Readable when the shim has ended; reap with `sys::process::reap`.
    pub pidfd: OwnedFd,
}

impl Program {
    /// Copies `path` into a sealed memfd.
    ///
    /// # Errors
    /// The file cannot be read, or the memfd not made.
    pub fn seal(_path: &Path) -> Result<Self, Error> {
        todo!()
    }

    /// Spawns the shim of container `id` and connects to it. Its socket is `dir/shim.sock` (dir is made, 0700).
    ///
    /// # Errors
    /// Spawn or connection failed; nothing is left.
    pub fn spawn(&self, _id: &str, _dir: &Path) -> Result<(Connection, Spawned), Error> {
        todo!()
    }
}

/// One connection to one shim. Calls are one at a time: `&mut`.
#[derive(Debug)]
pub struct Connection {
    _socket: OwnedFd,
}

impl Connection {
    /// Connects to a shim that runs already.
    ///
    /// # Errors
    /// No shim listens there.
    pub fn connect(_dir: &Path) -> Result<Self, Error> {
        todo!()
    }

    /// Sends a request with its fds and waits for the reply. [`Reply::Failed`] becomes [`Error::Failed`].
    ///
    /// # Errors
    /// As said.
    pub fn call(&mut self, _request: &Request, _fds: &[&dyn AsFd]) -> Result<Reply, Error> {
        todo!()
    }

    /// Turns the connection into one that carries events.
    ///
    /// # Errors
    /// The shim is gone.
    pub fn watch(self) -> Result<Watch, Error> {
        todo!()
    }
}

/// A connection that carries events.
#[derive(Debug)]
pub struct Watch {
    _socket: OwnedFd,
}

impl Watch {
    /// Waits for the next event; `None` when the shim has ended. (The engine polls the fd from tokio's
    /// `AsyncFd` or waits here on a thread; [`AsFd`] is implemented, and the fd is readable when an event waits.)
    ///
    /// # Errors
    /// The connection broke or carried nonsense.
    pub fn next(&mut self) -> Result<Option<Event>, Error> {
        todo!()
    }
}
