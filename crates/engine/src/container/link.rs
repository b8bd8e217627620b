//! The connection to a container's shim: calls one at a time on the blocking pool, events through tokio.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use shim::client::{Connection, Error, Spawned, Watch};
use shim::proto::{Event, Reply, Request};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::blocking::blocking;

/// A shim that was told to end.
pub(crate) type Leaving = tokio::task::JoinHandle<()>;

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
            let mut connection = link.connection.lock().unwrap_or_else(PoisonError::into_inner);
            let reply = connection.call(&request, &fds);
            // Its answer may still come and would be taken for the next one's: the next call gets a new connection.
            if matches!(reply, Err(Error::Io { .. }))
                && let Ok(fresh) = Connection::connect(&link.dir)
            {
                *connection = fresh;
            }
            reply
        })
        .await
    }

    /// Removes what is left of the container and lets the shim end.
    pub(crate) async fn end(self: &Arc<Self>) -> Result<(), crate::Error> {
        self.leave().await.0
    }

    /// The same. The shim may live on for a moment, until its clients have taken their output and the container's root is
    /// unmounted; it is reaped then, if it is our child, and what comes second is over.
    pub(crate) async fn leave(self: &Arc<Self>) -> (Result<(), crate::Error>, Option<Leaving>) {
        let deleted = self.call(Request::Delete, Vec::new()).await;
        let spawned = self.spawned.lock().expect("no holder of this lock can panic").take();
        let leaving = spawned.map(|spawned| tokio::spawn(reap(spawned)));
        let dir = self.dir.clone();
        // The shim has removed it, unless somebody keeps files there.
        let removed =
            if dir.exists() { blocking(move || sys::file::remove_tree(&dir)).await } else { Ok(()) };
        // A shim that died cannot answer: what it held is gone with it, or is a leftover for the next start to find.
        let refused = deleted.err().filter(|e| matches!(e, Error::Failed(_)));
        let errors = refused.map(crate::Error::from).into_iter();
        (crate::Error::all(errors.chain(removed.err().map(crate::Error::from)).collect()), leaving)
    }
}

/// Waits for a shim's end without a thread, and takes its status.
async fn reap(spawned: Spawned) {
    if let Ok(pidfd) = Polled::register(spawned.pidfd) {
        // An error means that the runtime ends; the next daemon's init reaps it then.
        if pidfd.readable().await.is_ok() {
            // Nobody else reaps our shims, and the status of one says nothing: exit.json does.
            let _ = sys::process::reap(pidfd.get_ref().0.as_fd());
        }
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
            match guard.get_inner_mut().0.try_next() {
                Ok(Poll::Ready(event)) => return event,
                Ok(Poll::Pending) => guard.clear_ready(),
                Err(_) => return None,
            }
        }
    }
}
