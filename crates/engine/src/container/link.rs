//! The connection to a container's shim: calls one at a time on the blocking pool, events through tokio.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shim::client::{Connection, Error, Spawned, Watch};
use shim::proto::{Event, Reply, Request};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::blocking::blocking;

/// A shim that can be called.
#[derive(Debug)]
pub(crate) struct Link {
    connection: Mutex<Connection>,
    /// The shim as our child; `None` when an earlier daemon spawned it.
    spawned: Mutex<Option<Spawned>>,
    /// `<exec root>/shim/<id>`.
    dir: PathBuf,
}

impl Link {
    /// A link over a connection that stands.
    pub(crate) fn new(connection: Connection, spawned: Option<Spawned>, dir: PathBuf) -> Arc<Self> {
        Arc::new(Self { connection: Mutex::new(connection), spawned: Mutex::new(spawned), dir })
    }

    /// One call, with its fds.
    pub(crate) async fn call(self: &Arc<Self>, request: Request, fds: Vec<OwnedFd>) -> Result<Reply, Error> {
        let link = self.clone();
        blocking(move || {
            let fds: Vec<&dyn AsFd> = fds.iter().map(|fd| fd as &dyn AsFd).collect();
            // A call that panicked left the stream at an unknown place; the shim then closes it and calls fail.
            let mut connection = link.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            connection.call(&request, &fds)
        })
        .await
    }

    /// Tells the shim to end, reaps it if it is our child, and removes its directory. Errors are the caller's to judge:
    /// a shim that is gone already is as good.
    pub(crate) async fn end(self: &Arc<Self>) -> Result<(), crate::Error> {
        let deleted = self.call(Request::Delete, Vec::new()).await;
        let spawned = self.spawned.lock().expect("no holder of this lock can panic").take();
        let dir = self.dir.clone();
        let removed = blocking(move || {
            let reaped = spawned.map_or(Ok(()), |s| sys::process::reap(s.pidfd.as_fd()).map(drop));
            reaped.and(sys::file::remove_tree(&dir))
        })
        .await;
        let mut errors = Vec::new();
        // A shim that died cannot answer; what it held is removed by others.
        if let Err(error @ Error::Failed(_)) = deleted {
            errors.push(error.into());
        }
        errors.extend(removed.err().map(crate::Error::from));
        crate::Error::all(errors)
    }
}

/// Something with an fd, for tokio's `AsyncFd`.
#[derive(Debug)]
pub(crate) struct Polled<T>(pub(crate) T);

impl<T: AsFd> AsRawFd for Polled<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl<T: AsFd> Polled<T> {
    /// Registers an fd that is to be read with tokio.
    pub(crate) fn register(inner: T) -> std::io::Result<AsyncFd<Self>> {
        #[expect(
            deprecated,
            reason = "its successor is unsafe: it asks that the fd stays the same and open, and `inner` owns it"
        )]
        AsyncFd::with_interest(Self(inner), Interest::READABLE)
    }
}

/// Whether a read would not wait.
fn ready(fd: &impl AsFd) -> bool {
    // A poll that fails says so to the read that follows.
    sys::poll::wait(fd, sys::poll::Interest::READ, Some(Duration::ZERO)).unwrap_or(true)
}

/// A shim's events, awaited on tokio's own epoll: no thread per container.
#[derive(Debug)]
pub(crate) struct Events {
    watch: AsyncFd<Polled<Watch>>,
}

impl Events {
    /// Registers the watch with tokio.
    pub(crate) fn new(watch: Watch) -> std::io::Result<Self> {
        Ok(Self { watch: Polled::register(watch)? })
    }

    /// The next event; `None` when the shim is gone or speaks nonsense (both mean: ask the disk).
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            let mut guard = self.watch.readable_mut().await.ok()?;
            // Level or edge: tokio's readiness is an edge, so it is cleared only when nothing is left to read.
            if !ready(&guard.get_inner().0) {
                guard.clear_ready();
                continue;
            }
            return guard.get_inner_mut().0.next().ok().flatten();
        }
    }
}
