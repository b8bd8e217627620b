//! Sockets: made with the right owner before anyone can connect, removed at the end.

use std::fs::Permissions;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::Host;

/// Why a socket cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Someone listens there already.
    #[error("{0} is in use: another daemon listens there; stop it or choose another with --host")]
    InUse(Host),
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

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// At a path, removed when dropped.
    Unix(UnixListener, PathBuf),
    /// On loopback.
    Tcp(TcpListener),
}

impl Listener {
    /// Listens. A unix socket is root's and `group`'s (0660), or root's alone when there is no such group; a dead
    /// one in its place is replaced, a live one refused.
    ///
    /// # Errors
    /// As the variants say.
    pub async fn bind(host: &Host, group: &str) -> Result<Self, Error> {
        let io = |step| move |source| Error::Io { step, host: host.clone(), source };
        match host {
            Host::Unix(path) => {
                if UnixStream::connect(path).await.is_ok() {
                    return Err(Error::InUse(host.clone()));
                }
                let parent = path.parent().unwrap_or(Path::new("/"));
                sys::file::create_dir_all(parent, 0o711)?;
                // Made in a private directory and moved into place when its owner and mode are right.
                let private = parent.join(format!(".corten-{}", std::process::id()));
                sys::file::remove_tree(&private)?;
                sys::file::create_dir_all(&private, 0o700)?;
                let made = private.join("socket");
                let bound = (|| {
                    let listener = UnixListener::bind(&made).map_err(io("listen on"))?;
                    let mode = match group_id(group) {
                        Some(gid) => {
                            std::os::unix::fs::chown(&made, None, Some(gid)).map_err(io("chown"))?;
                            0o660
                        }
                        None => 0o600,
                    };
                    std::fs::set_permissions(&made, Permissions::from_mode(mode)).map_err(io("chmod"))?;
                    sys::file::rename(&made, path)?;
                    Ok(Self::Unix(listener, path.clone()))
                })();
                sys::file::remove_tree(&private)?;
                bound
            }
            Host::Tcp(address) => match TcpListener::bind(address).await {
                Ok(listener) => {
                    tracing::warn!(%address, "the API is served without TLS: every local user can become root");
                    Ok(Self::Tcp(listener))
                }
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => Err(Error::InUse(host.clone())),
                Err(e) => Err(io("listen on")(e)),
            },
        }
    }

    /// The next connection.
    ///
    /// # Errors
    /// accept(2)'s; out of descriptors is worth another try after a while.
    pub async fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Unix(listener, _) => Stream::Unix(listener.accept().await?.0),
            Self::Tcp(listener) => {
                let stream = listener.accept().await?.0;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // A socket that stays is refused by nobody: the next start replaces it.
            let _ = sys::file::remove(path);
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

/// A connection of either kind.
#[derive(Debug)]
pub enum Stream {
    /// On a unix socket.
    Unix(UnixStream),
    /// On loopback TCP.
    Tcp(TcpStream),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
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
            Stream::Unix(stream) => {
                let fd = stream.as_fd().try_clone_to_owned()?;
                Stream::Unix(UnixStream::from_std(fd.into())?)
            }
            Stream::Tcp(stream) => {
                let fd = stream.as_fd().try_clone_to_owned()?;
                Stream::Tcp(TcpStream::from_std(fd.into())?)
            }
        }))
    }

    /// Completes when the client has hung up.
    pub async fn wait(&self) {
        // Being writable or readable is no news here: saying that it was not so waits for the next change.
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        loop {
            let ready = match &self.0 {
                Stream::Unix(stream) => stream.ready(Interest::WRITABLE).await,
                Stream::Tcp(stream) => stream.ready(Interest::READABLE).await,
            };
            if ready.is_err() || ready.is_ok_and(|r| r.is_write_closed() || r.is_read_closed()) {
                return;
            }
            // The error is the one made above.
            let _ = match &self.0 {
                Stream::Unix(stream) => stream.try_io(Interest::WRITABLE, nothing),
                Stream::Tcp(stream) => stream.try_io(Interest::READABLE, nothing),
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
        let hangup = Hangup::of(&Stream::Unix(ours)).unwrap();
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
        let host = Host::Unix(directory.path().join("x.sock"));
        let first = Listener::bind(&host, "no-such-group").await.unwrap();
        assert!(matches!(Listener::bind(&host, "no-such-group").await, Err(Error::InUse(_))));
        let Host::Unix(path) = &host else { unreachable!() };
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        // A daemon that was killed leaves its socket.
        std::mem::forget(first);
        let dead = std::os::unix::net::UnixListener::bind(directory.path().join("y.sock")).unwrap();
        drop(dead);
        let host = Host::Unix(directory.path().join("y.sock"));
        drop(Listener::bind(&host, "no-such-group").await.unwrap());
        let left: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["x.sock"]);
    }
}
