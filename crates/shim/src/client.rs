//! The daemon's end of a shim (blocking calls; the engine runs them on its blocking pool).

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::Duration;

use spec::ErrorKind;
use spec::oci::runtime::Resources;
use sys::scm::{self, Wait};

use crate::message::{self, Incoming};
use crate::promise::{EarlyRoot, Promise};
use crate::proto::{Attach, Create, DIR, Event, Exec, Reply, Request, SOCKET, Status, VERSION};

mod template;

pub use template::Template;

/// Every call is short; a shim that does not answer for this long is stuck.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(120);

/// A shim lives long and does little, so what it frees should go back to the kernel. Chunks that the C library
/// keeps in its per-thread cache hold on to their pages: without this each shim has 70 kB more.
const ENVIRONMENT: [(&str, &str); 1] = [("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")];

/// The shim's program, copied once into a sealed memfd (CVE-2019-5736), from which every shim is spawned.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
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
        source: io::Error,
    },
}

impl Error {
    /// The shim is there and does not answer.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::TimedOut)
    }

    /// The connection ended before the answer, or nobody listens: the shim has ended, and so has its container.
    pub fn is_gone(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof};
        let gone = |kind| {
            matches!(kind, BrokenPipe | ConnectionReset | UnexpectedEof | ConnectionRefused | NotFound)
        };
        matches!(self, Self::Io { source, .. } if gone(source.kind()))
    }

    /// What a client can make of it. What a failed step means to the user is the engine's to say.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Failed(_) | Self::Io { .. } => ErrorKind::Internal,
        }
    }
}

impl From<sys::Error> for Error {
    fn from(error: sys::Error) -> Self {
        Self::Io { step: error.step, path: error.object, source: error.source }
    }
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
    pub fn seal(path: &Path) -> Result<Self, Error> {
        Ok(Self { fd: sys::memfd::seal("corten-shim", path)? })
    }

    /// Spawns the shim of container `id` and connects to it. Its socket is `dir/shim.sock` (dir is made, 0700),
    /// and others can connect to it when this returns.
    ///
    /// # Errors
    /// Spawn or connection failed; nothing is left.
    pub fn spawn(&self, id: &str, dir: &Path) -> Result<(Connection, Spawned), Error> {
        let dir = absolute(dir)?;
        sys::file::create_dir_all(&dir, 0o700)?;
        let (socket, spawned) = self.execute(id, DIR, &dir)?;
        Connection::first(socket, spawned, &dir)
    }

    /// Executes it, and gives the end of its first connection.
    fn execute(&self, name: &str, option: &str, dir: &Path) -> Result<(UnixStream, Spawned), Error> {
        let Some(text) = dir.to_str() else {
            return Err(failed("name", dir)(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path is not UTF-8",
            )));
        };
        let null = sys::file::open(Path::new("/dev/null"))?;
        let (ours, theirs) = pair(dir)?;
        let fds = [(null.as_fd(), 0), (null.as_fd(), 1), (null.as_fd(), 2), (theirs.as_fd(), scm::INHERITED)];
        let argv = ["corten-shim", name, option, text];
        let child = sys::process::spawn(self.fd.as_fd(), &argv, &ENVIRONMENT, &fds)?;
        Ok((ours, Spawned { pid: child.pid, pidfd: child.pidfd }))
    }
}

fn failed(step: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::Io { step, path: path.clone(), source }
}

fn absolute(dir: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(dir).map_err(failed("find", dir))
}

fn pair(dir: &Path) -> Result<(UnixStream, UnixStream), Error> {
    UnixStream::pair().map_err(failed("make a socket pair for", dir))
}

/// Ends a shim that is our child. It may have ended by itself; what counts is that it has.
fn end(pidfd: BorrowedFd<'_>) {
    let _ = sys::process::pidfd_send_signal(pidfd, spec::signal::KILL);
    let _ = sys::process::reap(pidfd);
}

/// One connection to one shim. Calls are one at a time: `&mut`.
///
/// After an [`Error::Io`] the connection is of no further use: an answer may still be under way.
#[derive(Debug)]
pub struct Connection {
    socket: UnixStream,
    incoming: Incoming,
    path: String,
}

impl Connection {
    /// Connects to a shim that runs already.
    ///
    /// # Errors
    /// No shim listens there.
    pub fn connect(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(SOCKET);
        Self::greet(scm::connect(&path)?, path.display().to_string())
    }

    /// The first connection to a shim that is our child. If nobody answers there, it is ended.
    fn first(socket: UnixStream, spawned: Spawned, dir: &Path) -> Result<(Self, Spawned), Error> {
        match Self::greet(socket, dir.join(SOCKET).display().to_string()) {
            Ok(connection) => Ok((connection, spawned)),
            Err(error) => {
                end(spawned.pidfd.as_fd());
                let _ = sys::file::remove(&dir.join(SOCKET));
                Err(error)
            }
        }
    }

    /// The first exchange on every connection. The answered version is not looked at yet: there is only one.
    fn greet(socket: UnixStream, path: String) -> Result<Self, Error> {
        let mut connection = Self { socket, incoming: Incoming::default(), path };
        for set in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
            set(&connection.socket, Some(REPLY_TIMEOUT)).map_err(|e| connection.failed("set up", e))?;
        }
        match connection.call(&Request::Hello { version: VERSION }, &[])? {
            Reply::Hello { version: _ } => Ok(connection),
            reply => Err(connection.unexpected(&reply)),
        }
    }

    /// Sends a request with its fds and waits for the reply. [`Reply::Failed`] becomes [`Error::Failed`].
    ///
    /// # Errors
    /// As said.
    pub fn call(&mut self, request: &Request, fds: &[&dyn AsFd]) -> Result<Reply, Error> {
        if let Some(rest) = self.send(request, fds, Wait::Yes)? {
            rest.send()?;
        }
        match self.reply(Wait::Yes)? {
            Poll::Ready(reply) => Ok(reply),
            Poll::Pending => Err(self.timed_out()),
        }
    }

    /// Sends a request with its fds, and gives what there was no room for. [`Connection::try_reply`] has the reply. (The engine
    /// polls the fd from tokio's `AsyncFd`.)
    ///
    /// # Errors
    /// The shim is gone, or the request too long.
    pub fn send(&mut self, request: &Request, fds: &[&dyn AsFd], wait: Wait) -> Result<Option<Rest>, Error> {
        let mut bytes = message::encode(request).map_err(|e| self.failed("encode for", e))?;
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
        let sent =
            scm::send(&self.socket, &bytes, &fds, wait).map_err(|e| self.failed("send to", e.source))?;
        let rest = bytes.split_off(sent);
        if rest.is_empty() {
            return Ok(None);
        }
        let socket = self.socket.try_clone().map_err(|e| self.failed("send to", e))?;
        Ok(Some(Rest { socket, bytes: rest, path: self.path.clone() }))
    }

    /// The reply, if it is there. [`Reply::Failed`] becomes [`Error::Failed`].
    ///
    /// # Errors
    /// As said.
    pub fn try_reply(&mut self) -> Result<Poll<Reply>, Error> {
        self.reply(Wait::No)
    }

    fn reply(&mut self, wait: Wait) -> Result<Poll<Reply>, Error> {
        loop {
            match self.incoming.message().map_err(|e| self.failed("understand", e))? {
                Some(Reply::Failed(failure)) => return Err(Error::Failed(failure)),
                Some(reply @ (Reply::Hello { .. } | Reply::Done | Reply::Pid(_) | Reply::Status(_))) => {
                    return Ok(Poll::Ready(reply));
                }
                None => {}
            }
            match self.incoming.receive(&self.socket, wait) {
                Ok(true) => {}
                Ok(false) => return Err(self.failed("hear from", io::ErrorKind::UnexpectedEof.into())),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Poll::Pending),
                Err(e) => return Err(self.failed("hear from", e)),
            }
        }
    }

    /// Why a reply is waited for no longer.
    pub fn timed_out(&self) -> Error {
        self.failed("hear from", io::ErrorKind::TimedOut.into())
    }

    /// Makes the container, and starts it if `create.start`; init's pid on the host. `sockets` are the clients
    /// of `create.attach`, in its order; `create.netns` is set from `netns`, `create.filter` from `filter`. The root is made here,
    /// if it can be, and `create.promise` set for what there is.
    ///
    /// # Errors
    /// As [`Connection::call`]; nothing is left of the container then.
    pub fn create(
        &mut self,
        mut create: Create,
        netns: Option<BorrowedFd<'_>>,
        filter: Option<BorrowedFd<'_>>,
        sockets: &[OwnedFd],
    ) -> Result<i32, Error> {
        let root = EarlyRoot::of(&create.spec).filter(|_| create.runtime.is_none());
        let end = if root.is_some() || netns.is_some() {
            // When it cannot be made, init says why.
            let root = root.and_then(|root| root.make().ok());
            let (promise, end) = Promise::new().map_err(|e| self.failed("promise anything to", e))?;
            promise.keep(root.as_ref(), netns);
            Some(end)
        } else {
            None
        };
        (create.netns, create.filter, create.promise) = (netns.is_some(), filter.is_some(), end.is_some());
        let end = end.as_ref().map(AsFd::as_fd);
        let first = filter.iter().chain(&end).map(|fd| fd as &dyn AsFd);
        let fds: Vec<&dyn AsFd> = first.chain(sockets.iter().map(|fd| fd as &dyn AsFd)).collect();
        self.pid(&Request::Create(Box::new(create)), &fds)
    }

    /// Lets init execute its program.
    ///
    /// # Errors
    /// As [`Connection::call`]; nothing is left of the container then.
    pub fn start(&mut self) -> Result<(), Error> {
        self.done(&Request::Start, &[])
    }

    /// Runs one more process; its pid on the host. `socket` is the client of `exec.attach`.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn exec(&mut self, exec: Exec, socket: Option<OwnedFd>) -> Result<i32, Error> {
        let fds: Vec<&dyn AsFd> = socket.iter().map(|fd| fd as &dyn AsFd).collect();
        self.pid(&Request::Exec(Box::new(exec)), &fds)
    }

    /// Signals init, an exec's process, or with `all` every process of the container.
    ///
    /// # Errors
    /// As [`Connection::call`]; errno ESRCH when the process has ended.
    pub fn kill(&mut self, signal: i32, exec: Option<&str>, all: bool) -> Result<(), Error> {
        self.done(&Request::Kill { signal, exec: exec.map(str::to_owned), all }, &[])
    }

    /// Sets the size of init's terminal or of an exec's.
    ///
    /// # Errors
    /// As [`Connection::call`]; errno ENOTTY when it has none.
    pub fn resize(&mut self, exec: Option<&str>, height: u16, width: u16) -> Result<(), Error> {
        self.done(&Request::Resize { exec: exec.map(str::to_owned), height, width }, &[])
    }

    /// Connects one more client to init's streams.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn attach(&mut self, attach: Attach, socket: OwnedFd) -> Result<(), Error> {
        self.done(&Request::Attach(attach), &[&socket])
    }

    /// Freezes the container.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn pause(&mut self) -> Result<(), Error> {
        self.done(&Request::Pause, &[])
    }

    /// Thaws it.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn resume(&mut self) -> Result<(), Error> {
        self.done(&Request::Resume, &[])
    }

    /// Sets new limits.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn update(&mut self, resources: Resources) -> Result<(), Error> {
        self.done(&Request::Update(Box::new(resources)), &[])
    }

    /// What the shim knows of its container.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn status(&mut self) -> Result<Status, Error> {
        match self.call(&Request::Status, &[])? {
            Reply::Status(status) => Ok(status),
            reply => Err(self.unexpected(&reply)),
        }
    }

    /// Removes what is left of the container and ends the shim, which may live on for a moment until its
    /// attached clients have taken their output. A new shim can be spawned in the same directory at once.
    ///
    /// # Errors
    /// As [`Connection::call`]; errno EBUSY while init runs.
    pub fn delete(&mut self) -> Result<(), Error> {
        self.done(&Request::Delete, &[])
    }

    /// Turns the connection into one that carries events. If init has ended already, its event comes first.
    ///
    /// # Errors
    /// The shim is gone.
    pub fn watch(mut self) -> Result<Watch, Error> {
        self.done(&Request::Watch, &[])?;
        self.socket.set_read_timeout(None).map_err(|e| self.failed("set up", e))?;
        Ok(Watch { socket: self.socket, incoming: self.incoming, path: self.path })
    }

    /// The shim's directory was moved; it is told by [`Create::dir`].
    pub fn moved(&mut self, dir: &Path) {
        self.path = dir.join(SOCKET).display().to_string();
    }

    fn done(&mut self, request: &Request, fds: &[&dyn AsFd]) -> Result<(), Error> {
        match self.call(request, fds)? {
            Reply::Done => Ok(()),
            reply => Err(self.unexpected(&reply)),
        }
    }

    fn pid(&mut self, request: &Request, fds: &[&dyn AsFd]) -> Result<i32, Error> {
        match self.call(request, fds)? {
            Reply::Pid(pid) => Ok(pid),
            reply => Err(self.unexpected(&reply)),
        }
    }

    fn unexpected(&self, reply: &Reply) -> Error {
        let text = format!("an answer to another question: {reply:?}");
        self.failed("understand", io::Error::new(io::ErrorKind::InvalidData, text))
    }

    fn failed(&self, step: &'static str, source: io::Error) -> Error {
        Error::Io { step, path: self.path.clone(), source }
    }
}

/// What there was no room for of a request.
#[derive(Debug)]
pub struct Rest {
    socket: UnixStream,
    bytes: Vec<u8>,
    path: String,
}

impl Rest {
    /// Sends it. Waits until there is room.
    ///
    /// # Errors
    /// The shim is gone.
    pub fn send(self) -> Result<(), Error> {
        let failed = |source| Error::Io { step: "send to", path: self.path.clone(), source };
        (&self.socket).write_all(&self.bytes).map_err(failed)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A connection that carries events. Its fd is readable when an event may wait.
#[derive(Debug)]
pub struct Watch {
    socket: UnixStream,
    incoming: Incoming,
    path: String,
}

impl Watch {
    /// Waits for the next event; `None` when the shim has ended. (The engine polls the fd from tokio's
    /// `AsyncFd` and takes with [`Watch::try_next`], or waits here on a thread.)
    ///
    /// # Errors
    /// The connection broke or carried nonsense.
    #[expect(clippy::should_implement_trait, reason = "an iterator of results would go on after an error")]
    pub fn next(&mut self) -> Result<Option<Event>, Error> {
        match self.take(Wait::Yes)? {
            Poll::Ready(event) => Ok(event),
            Poll::Pending => Err(self.failed(io::ErrorKind::WouldBlock.into())),
        }
    }

    /// The next event if one is there, `Ready(None)` when the shim has ended, and `Pending` after everything
    /// that was there has been taken: then wait for the fd to become readable.
    ///
    /// # Errors
    /// As [`Watch::next`].
    pub fn try_next(&mut self) -> Result<Poll<Option<Event>>, Error> {
        self.take(Wait::No)
    }

    fn take(&mut self, wait: Wait) -> Result<Poll<Option<Event>>, Error> {
        loop {
            if let Some(event) = self.incoming.message().map_err(|e| self.failed(e))? {
                return Ok(Poll::Ready(Some(event)));
            }
            match self.incoming.receive(&self.socket, wait) {
                Ok(true) => {}
                Ok(false) => return Ok(Poll::Ready(None)),
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(Poll::Ready(None)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Poll::Pending),
                Err(e) => return Err(self.failed(e)),
            }
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Io { step: "hear from", path: self.path.clone(), source }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
