//! The kinds of sockets that log servers listen on, behind one face. None blocks.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use sys::poll::{self, Interest};

use super::EMSGSIZE;
use crate::proto::Address;

/// A log server that cannot be reached. The text is that of Docker's network library.
#[derive(Debug, thiserror::Error)]
#[error("dial {}: {}", describe(.address), reason(.source))]
pub struct DialError {
    /// Where.
    pub address: Address,
    /// Why.
    pub source: io::Error,
}

fn describe(address: &Address) -> String {
    match address {
        Address::Tcp(address) => format!("tcp {address}"),
        Address::Udp(address) => format!("udp {address}"),
        Address::Unix(path) => format!("unix {}", path.display()),
        Address::Unixgram(path) => format!("unixgram {}", path.display()),
    }
}

/// Go's words: the call and the error in lower case, without its number.
fn reason(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::TimedOut {
        return "i/o timeout".into();
    }
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    format!("connect: {}", text.to_lowercase())
}

/// How many messages one call sends.
const MESSAGES: usize = 64;

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Udp(UdpSocket),
    Unix(UnixStream),
    Unixgram(UnixDatagram),
}

/// Whether messages follow each other without a boundary.
pub(super) fn is_stream(address: &Address) -> bool {
    matches!(address, Address::Tcp(_) | Address::Unix(_))
}

impl Socket {
    pub(super) fn dial(address: &Address) -> io::Result<Self> {
        Ok(match address {
            Address::Tcp(address) => Self::Tcp(sys::dial::tcp(*address).map_err(|e| e.source)?),
            Address::Udp(address) => {
                let any: SocketAddr = if address.is_ipv4() {
                    (Ipv4Addr::UNSPECIFIED, 0).into()
                } else {
                    (Ipv6Addr::UNSPECIFIED, 0).into()
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                socket.set_nonblocking(true)?;
                Self::Udp(socket)
            }
            Address::Unix(path) => Self::Unix(sys::dial::unix(path).map_err(|e| e.source)?),
            Address::Unixgram(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_nonblocking(true)?;
                Self::Unixgram(socket)
            }
        })
    }

    /// Whether it is not known yet if the connection is made.
    pub(super) fn is_pending(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.peer_addr().is_err(),
            Self::Udp(_) | Self::Unix(_) | Self::Unixgram(_) => false,
        }
    }

    /// Waits until a pending connection is decided; `false` when time is up.
    pub(super) fn wait(&self, time: Duration) -> io::Result<bool> {
        poll::wait(self.fd(), Interest::WRITE, Some(time)).map_err(|e| e.source)
    }

    /// How a pending connection was decided.
    pub(super) fn result(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.take_error()?.map_or(Ok(()), Err),
            Self::Udp(_) | Self::Unix(_) | Self::Unixgram(_) => Ok(()),
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
            Self::Unixgram(socket) => socket.as_fd(),
        }
    }

    /// Whether it becomes readable when the peer is gone.
    pub(super) fn tells_its_end(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Unix(_))
    }

    /// Whether the peer is gone. What it says goes to `said`, at most a block of it.
    pub(super) fn is_at_end(&self, said: &mut Vec<u8>) -> bool {
        let mut block = [0; 4096];
        loop {
            let read = match self {
                Self::Tcp(socket) => (&mut &*socket).read(&mut block),
                Self::Unix(socket) => (&mut &*socket).read(&mut block),
                Self::Udp(_) | Self::Unixgram(_) => return false,
            };
            match read {
                Ok(0) => return true,
                Ok(n) => {
                    said.extend_from_slice(&block[..n]);
                    return false;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return e.kind() != io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Sends messages from the first on, of which `sent` bytes are gone; how many bytes were taken.
    pub(super) fn send(&self, queue: &VecDeque<Vec<u8>>, sent: usize) -> io::Result<usize> {
        let first = queue.front().map(Vec::as_slice).unwrap_or_default();
        let many = || -> Vec<IoSlice<'_>> {
            let rest = queue.iter().skip(1).take(MESSAGES - 1).map(Vec::as_slice);
            [&first[sent..]].into_iter().chain(rest).map(IoSlice::new).collect()
        };
        match self {
            Self::Tcp(socket) => (&mut &*socket).write_vectored(&many()),
            Self::Unix(socket) => (&mut &*socket).write_vectored(&many()),
            // A server that was away has left an error on the socket, which says nothing about this message.
            Self::Udp(socket) => match socket.send(first) {
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Ok(first.len()),
                sent => sent,
            },
            Self::Unixgram(socket) => match socket.send(first) {
                // Too long for a datagram: journald takes it as a file in memory.
                Err(e) if e.raw_os_error() == Some(EMSGSIZE) => {
                    let memory = sys::memfd::of_bytes("corten-log", first).map_err(|e| e.source)?;
                    sys::scm::send_fd(socket, memory.as_fd()).map_err(|e| e.source)?;
                    Ok(first.len())
                }
                sent => sent,
            },
        }
    }
}
