//! The connection to a container's shim: calls one at a time, replies and events through tokio. What a call says is small, so that
//! whoever makes it sends it at once; no thread has to be woken for that.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use shim::client::{Connection, Error, REPLY_TIMEOUT, Rest, Spawned, Watch};
use shim::proto::{Event, Reply, Request};
use sys::scm::Wait;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::OwnedMutexGuard;

use crate::blocking::blocking;

/// A shim that was told to end.
pub(crate) type Leaving = tokio::task::JoinHandle<()>;

/// A shim that can be called.
#[derive(Debug)]
pub(crate) struct Link {
    talk: Arc<tokio::sync::Mutex<Talk>>,
    /// The shim as our child; `None` when an earlier daemon spawned it.
    spawned: Mutex<Option<Spawned>>,
    /// `<exec root>/shim/<id>`.
    dir: PathBuf,
}

/// Calls one at a time.
#[derive(Debug)]
struct Talk {
    connection: AsyncFd<Polled<Connection>>,
    /// A reply may be under way that nobody waits for any more, and would be taken for the next one's.
    stale: bool,
}

/// A call that was sent.
#[derive(Debug)]
pub(crate) struct Called(OwnedMutexGuard<Talk>);

impl Link {
    /// A link over a connection that stands.
    ///
    /// # Errors
    /// It cannot be waited for; it is closed then.
    pub(crate) fn new(
        connection: Connection,
        spawned: Option<Spawned>,
        dir: PathBuf,
    ) -> Result<Arc<Self>, sys::Error> {
        let talk = Talk { connection: polled(connection)?, stale: false };
        let talk = Arc::new(tokio::sync::Mutex::new(talk));
        Ok(Arc::new(Self { talk, spawned: Mutex::new(spawned), dir }))
    }

    /// One call, with its fds. It is sent when this is polled first, by whoever polls.
    pub(crate) async fn call(&self, request: Request, fds: Vec<OwnedFd>) -> Result<Reply, Error> {
        let mut talk = self.talk.clone().lock_owned().await;
        if talk.stale {
            let dir = self.dir.clone();
            talk.connection = polled(blocking(move || Connection::connect(&dir)).await?)?;
        }
        if let Some(rest) = talk.send(&request, &fds)? {
            blocking(move || rest.send()).await?;
        }
        drop(fds);
        Called(talk).reply().await
    }

    /// Sends the first call that there is, from a thread that may wait.
    pub(crate) fn begin(&self, request: &Request, fds: &[OwnedFd]) -> Result<Called, Error> {
        let mut talk = self.talk.clone().blocking_lock_owned();
        if let Some(rest) = talk.send(request, fds)? {
            rest.send()?;
        }
        Ok(Called(talk))
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

impl Talk {
    fn send(&mut self, request: &Request, fds: &[OwnedFd]) -> Result<Option<Rest>, Error> {
        // Until the reply is here: the caller may go away.
        self.stale = true;
        let fds: Vec<&dyn AsFd> = fds.iter().map(|fd| fd as &dyn AsFd).collect();
        self.connection.get_mut().0.send(request, &fds, Wait::No)
    }

    async fn hear(&mut self) -> Result<Reply, Error> {
        loop {
            let mut guard = self.connection.readable_mut().await.map_err(epoll)?;
            match guard.get_inner_mut().0.try_reply()? {
                Poll::Ready(reply) => return Ok(reply),
                Poll::Pending => guard.clear_ready(),
            }
        }
    }
}

impl Called {
    /// What the shim says to it.
    pub(crate) async fn reply(self) -> Result<Reply, Error> {
        let Self(mut talk) = self;
        let reply = match tokio::time::timeout(REPLY_TIMEOUT, talk.hear()).await {
            Ok(reply) => reply,
            Err(_) => Err(talk.connection.get_ref().0.timed_out()),
        };
        talk.stale = matches!(reply, Err(Error::Io { .. }));
        reply
    }
}

fn polled(connection: Connection) -> Result<AsyncFd<Polled<Connection>>, sys::Error> {
    Polled::register(connection).map_err(epoll)
}

fn epoll(source: std::io::Error) -> sys::Error {
    sys::Error::new("epoll", "shim", source)
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
    pub(crate) fn new(watch: Watch) -> Result<Self, sys::Error> {
        Ok(Self { watch: Polled::register(watch).map_err(epoll)? })
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
