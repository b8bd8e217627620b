//! Sockets: made with the right owner before anyone can connect, removed at the end.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sys::scm::Wait;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::activation::{self, Inherited, Socket};
use crate::config::Host;
use crate::config::host::is_loopback;
use crate::holder;

/// Descriptors that a connection may have in waiting.
const MOST_DESCRIPTORS: usize = 64;
/// How long a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The groups that may use a unix socket when the user names none: the first that there is.
const GROUPS: [&str; 2] = ["corten", "docker"];

/// Why a socket cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Someone listens there already.
    #[error("{host} is in use by {}: stop it or choose another with --host", by.as_deref().unwrap_or("another program"))]
    InUse {
        /// Where.
        host: Host,
        /// Who, when that can be told.
        by: Option<String>,
    },
    /// No such group.
    #[error("group {0} not found: make it with groupadd, or choose another with --group")]
    NoGroup(String),
    /// Sockets that the service manager was to open.
    #[error(transparent)]
    Inherited(#[from] activation::Error),
    /// A step failed.
    #[error("{step} {host}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// For which socket.
        host: Host,
        /// Why.
        source: io::Error,
    },
    /// A file of the socket cannot be used.
    #[error(transparent)]
    File(#[from] sys::Error),
}

/// What sockets are made with.
#[derive(Default)]
pub struct Setup {
    /// The group of unix sockets, if the user has named one; empty is none.
    pub group: Option<String>,
    /// TLS on TCP.
    pub tls: Option<TlsAcceptor>,
    /// What the service manager opened.
    pub inherited: Inherited,
}

/// A listening socket.
pub enum Listener {
    /// A unix socket; at a path of ours, it is removed when dropped.
    Unix(UnixListener, Option<PathBuf>),
    /// An address.
    Tcp(TcpListener, Option<TlsAcceptor>),
}

impl Listener {
    /// Listens; on several sockets only for `fd://`. A unix socket is its group's (0660); a dead one in its place is
    /// replaced, a live one refused.
    ///
    /// # Errors
    /// As the variants say.
    pub async fn bind(host: &Host, setup: &Setup) -> Result<Vec<Self>, Error> {
        let io = |step| move |source| Error::Io { step, host: host.clone(), source };
        match host {
            Host::Unix(path) => Ok(vec![unix(host, path, setup).await?]),
            Host::Tcp(address) => {
                let listener = tcp(*address).await?;
                warn(*address, setup.tls.is_some());
                Ok(vec![Self::Tcp(listener, setup.tls.clone())])
            }
            Host::Inherited(which) => setup
                .inherited
                .take(which)?
                .into_iter()
                .map(|socket| match socket {
                    Socket::Unix(listener) => {
                        Ok(Self::Unix(UnixListener::from_std(listener).map_err(io("use"))?, None))
                    }
                    Socket::Tcp(listener) => {
                        let address = listener.local_addr().map_err(io("use"))?;
                        warn(address, setup.tls.is_some());
                        let listener = TcpListener::from_std(listener).map_err(io("use"))?;
                        Ok(Self::Tcp(listener, setup.tls.clone()))
                    }
                })
                .collect(),
        }
    }

    /// Listens on an address without TLS, for what is no API.
    ///
    /// # Errors
    /// As the variants say.
    pub async fn plain(address: SocketAddr) -> Result<Self, Error> {
        Ok(Self::Tcp(tcp(address).await?, None))
    }

    /// The next connection.
    ///
    /// # Errors
    /// accept(2)'s; out of descriptors is worth another try after a while.
    pub async fn accept(&self) -> io::Result<Accepted> {
        Ok(match self {
            Self::Unix(listener, _) => {
                Accepted(Stream::Unix(listener.accept().await?.0, Descriptors::default()), None)
            }
            Self::Tcp(listener, tls) => {
                let stream = listener.accept().await?.0;
                stream.set_nodelay(true)?;
                Accepted(Stream::Tcp(stream), tls.clone())
            }
        })
    }
}

/// A connection whose TLS handshake is still to come, if it has one.
pub struct Accepted(Stream, Option<TlsAcceptor>);

impl Accepted {
    /// The connection, ready for requests.
    ///
    /// # Errors
    /// The handshake failed: no certificate, or one of another CA, among other reasons.
    pub async fn establish(self) -> io::Result<Stream> {
        match self {
            Self(Stream::Tcp(stream), Some(tls)) => {
                let handshake = tokio::time::timeout(HANDSHAKE, tls.accept(stream));
                Ok(Stream::Tls(Box::new(handshake.await.map_err(|_| io::ErrorKind::TimedOut)??)))
            }
            Self(stream, _) => Ok(stream),
        }
    }
}

fn warn(address: SocketAddr, tls: bool) {
    match (tls, is_loopback(address.ip())) {
        (true, _) => {}
        (false, true) => {
            tracing::warn!(%address, "the API is served without TLS: every local user can become root");
        }
        (false, false) => {
            tracing::warn!(%address, "the API is served without TLS: whoever reaches this address can become root");
        }
    }
}

async fn tcp(address: SocketAddr) -> Result<TcpListener, Error> {
    let host = Host::Tcp(address);
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
            Err(Error::InUse { host, by: holder::of_port(address) })
        }
        Err(source) => Err(Error::Io { step: "listen on", host, source }),
    }
}

async fn unix(host: &Host, path: &Path, setup: &Setup) -> Result<Listener, Error> {
    let io = |step| move |source| Error::Io { step, host: host.clone(), source };
    if let Ok(live) = UnixStream::connect(path).await {
        let pid = live.peer_cred().ok().and_then(|peer| peer.pid());
        return Err(Error::InUse { host: host.clone(), by: pid.and_then(holder::process) });
    }
    let group = owner(setup.group.as_deref())?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    sys::file::create_dir_all(parent, 0o711)?;
    // Made in a private directory and moved into place when its owner and mode are right.
    let private = parent.join(format!(".corten-{}", std::process::id()));
    sys::file::remove_tree(&private)?;
    sys::file::create_dir_all(&private, 0o700)?;
    let made = private.join("socket");
    let bound = (|| {
        let listener = UnixListener::bind(&made).map_err(io("listen on"))?;
        if let Some(gid) = group {
            std::os::unix::fs::chown(&made, None, Some(gid)).map_err(io("chown"))?;
        }
        std::fs::set_permissions(&made, Permissions::from_mode(0o660)).map_err(io("chmod"))?;
        sys::file::rename(&made, path)?;
        Ok(Listener::Unix(listener, Some(path.to_owned())))
    })();
    sys::file::remove_tree(&private)?;
    bound
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, Some(path)) = self {
            // A socket that stays is refused by nobody: the next start replaces it.
            let _ = sys::file::remove(path);
        }
    }
}

/// The group of a unix socket: the one the user has named, which must be there; else the first of ours that is.
fn owner(named: Option<&str>) -> Result<Option<u32>, Error> {
    match named {
        Some("") => Ok(None),
        Some(name) => match group_id(name).or_else(|| name.parse().ok()) {
            Some(id) => Ok(Some(id)),
            None => Err(Error::NoGroup(name.into())),
        },
        None => {
            let found = GROUPS.iter().find_map(|name| group_id(name));
            if found.is_none() {
                tracing::info!("there is no group corten or docker: only root may use the socket");
            }
            Ok(found)
        }
    }
}

/// A group's number (group(5)).
fn group_id(name: &str) -> Option<u32> {
    let text = sys::file::read(Path::new("/etc/group")).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// Bytes of one read from a unix socket at most. The memory for them is cleared first, so it should be no more than what comes, and
/// still be in the processor's cache when it does.
const READ: usize = 64 << 10;

/// A connection of any kind.
#[derive(Debug)]
pub enum Stream {
    /// On a unix socket, with the descriptors that came with its bytes.
    Unix(UnixStream, Descriptors),
    /// On TCP.
    Tcp(TcpStream),
    /// On TCP with TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream, descriptors) => descriptors.poll_read(stream, cx, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream, _) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream, _) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // The kernel has it already.
            Self::Unix(..) | Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream, _) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Descriptors that came with a connection's bytes (unix(7), SCM_RIGHTS) and that no request has taken yet: directories
/// that a client gives to a build. They close with the connection.
#[derive(Debug, Clone, Default)]
pub struct Descriptors(Arc<Mutex<Vec<OwnedFd>>>);

impl Descriptors {
    /// Takes what came so far.
    pub fn take(&self) -> Vec<OwnedFd> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_read(
        &self,
        stream: &UnixStream,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(stream.poll_read_ready(cx))?;
            let mut came = Vec::new();
            let read = stream.try_io(Interest::READABLE, || {
                let most = buffer.remaining().min(READ);
                let unfilled = buffer.initialize_unfilled_to(most);
                sys::scm::receive(stream, unfilled, &mut came, Wait::No).map_err(|error| error.source)
            });
            let mut kept = self.lock();
            kept.extend(came);
            if kept.len() > MOST_DESCRIPTORS {
                kept.clear();
                return Poll::Ready(Err(io::Error::other("too many descriptors on one connection")));
            }
            match read {
                Ok(read) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// The same connection once more.
fn second(stream: &TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(stream.as_fd().try_clone_to_owned()?.into())
}

/// Waits for a client to hang up, without reading: a second descriptor of its connection.
///
/// A client that is done sending (half-close) is still there on a unix socket, where the kernel tells the two apart.
/// TCP does not: there, the end of what it sends counts as its end.
#[derive(Debug)]
pub struct Hangup(Stream);

impl Hangup {
    /// For this connection.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn of(stream: &Stream) -> io::Result<Self> {
        Ok(Self(match stream {
            Stream::Unix(stream, _) => {
                let fd = stream.as_fd().try_clone_to_owned()?;
                Stream::Unix(UnixStream::from_std(fd.into())?, Descriptors::default())
            }
            Stream::Tcp(stream) => Stream::Tcp(second(stream)?),
            Stream::Tls(stream) => Stream::Tcp(second(stream.get_ref().0)?),
        }))
    }

    /// Completes when the client has hung up.
    pub async fn wait(&self) {
        // Being writable or readable is no news here: saying that it was not so waits for the next change.
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        loop {
            let ready = match &self.0 {
                Stream::Unix(stream, _) => stream.ready(Interest::WRITABLE).await,
                Stream::Tcp(stream) => stream.ready(Interest::READABLE).await,
                Stream::Tls(_) => unreachable!("`of` takes what is below TLS"),
            };
            if ready.is_err() || ready.is_ok_and(|r| r.is_write_closed() || r.is_read_closed()) {
                return;
            }
            // The error is the one made above.
            let _ = match &self.0 {
                Stream::Unix(stream, _) => stream.try_io(Interest::WRITABLE, nothing),
                Stream::Tcp(stream) => stream.try_io(Interest::READABLE, nothing),
                Stream::Tls(_) => unreachable!("`of` takes what is below TLS"),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn half_closing_is_not_hanging_up() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let hangup = Hangup::of(&Stream::Unix(ours, Descriptors::default())).unwrap();
        theirs.write_all(b"x").await.unwrap();
        theirs.shutdown().await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(50), hangup.wait()).await;
        assert!(early.is_err(), "a half-closed client was taken for gone");
        drop(theirs);
        tokio::time::timeout(Duration::from_secs(5), hangup.wait())
            .await
            .expect("a closed client was missed");
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_refused() {
        let directory = tempfile::tempdir().unwrap();
        let setup = Setup { group: Some("".into()), ..Setup::default() };
        let host = Host::Unix(directory.path().join("x.sock"));
        let first = Listener::bind(&host, &setup).await.unwrap();
        let text = Listener::bind(&host, &setup).await.err().unwrap().to_string();
        assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
        let Host::Unix(path) = &host else { unreachable!() };
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o660);
        // A daemon that was killed leaves its socket.
        std::mem::forget(first);
        let dead = std::os::unix::net::UnixListener::bind(directory.path().join("y.sock")).unwrap();
        drop(dead);
        let host = Host::Unix(directory.path().join("y.sock"));
        drop(Listener::bind(&host, &setup).await.unwrap());
        let left: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["x.sock"]);
        let missing = Setup { group: Some("no-such-group".into()), ..Setup::default() };
        assert!(matches!(Listener::bind(&host, &missing).await, Err(Error::NoGroup(_))));
    }
}
