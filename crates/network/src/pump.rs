//! Passing bytes on between two connections, without waiting.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with};

/// Reads in a row: the others wait meanwhile.
const IN_A_ROW: usize = 16;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// What has become of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing can be done until one of them is ready.
    Waiting,
    /// There is more to do, at once.
    More,
    /// Both are at their end, or one is broken.
    Done,
}

/// A client's connection, and ours to its server.
#[derive(Debug)]
pub(crate) struct Pair {
    client: TcpStream,
    server: TcpStream,
    there: Direction,
    back: Direction,
}

#[derive(Debug, Default)]
struct Direction {
    /// Read, and not taken yet.
    pending: Vec<u8>,
    ended: bool,
    shut: bool,
}

impl Pair {
    /// Begins to connect a client to its server.
    pub(crate) fn connect(client: TcpStream, to: SocketAddr) -> std::io::Result<Self> {
        client.set_nonblocking(true)?;
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        match connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(e) => return Err(e.into()),
        }
        let server = TcpStream::from(socket);
        // Whoever sends little wants it to arrive.
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        Ok(Self { client, server, there: Direction::default(), back: Direction::default() })
    }

    pub(crate) fn stream(&self, side: Side) -> &TcpStream {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// Passes on what can be, a buffer's length at once; of what the other side does not take so much is kept at most.
    pub(crate) fn pump(&mut self, buffer: &mut [u8]) -> Progress {
        let there = self.there.pump(&self.client, &self.server, buffer);
        let back = self.back.pump(&self.server, &self.client, buffer);
        match (there, back) {
            (Ok(_), Ok(_)) if self.there.shut && self.back.shut => Progress::Done,
            (Ok(false), Ok(false)) => Progress::Waiting,
            (Ok(_), Ok(_)) => Progress::More,
            (Err(_), _) | (_, Err(_)) => Progress::Done,
        }
    }
}

impl Direction {
    /// True when there may be more at once.
    fn pump(&mut self, mut from: &TcpStream, to: &TcpStream, buffer: &mut [u8]) -> std::io::Result<bool> {
        for _ in 0..IN_A_ROW {
            if !self.flush(to)? {
                return Ok(false);
            }
            if self.ended {
                if !self.shut {
                    self.shut = true;
                    // The other may be gone altogether: its own direction says so.
                    let _ = to.shutdown(Shutdown::Write);
                }
                return Ok(false);
            }
            match from.read(buffer) {
                Ok(0) => self.ended = true,
                Ok(length) => self.pending.extend_from_slice(&buffer[..length]),
                // Not connected yet, or nothing there.
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(false);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// Sends what is kept; true when nothing is left.
    fn flush(&mut self, mut to: &TcpStream) -> std::io::Result<bool> {
        let mut sent = 0;
        let done = loop {
            if sent == self.pending.len() {
                break Ok(true);
            }
            match to.write(&self.pending[sent..]) {
                Ok(0) => break Err(ErrorKind::WriteZero.into()),
                Ok(length) => sent += length,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    break Ok(false);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
        };
        self.pending.drain(..sent);
        if self.pending.is_empty() {
            // An idle connection keeps nothing.
            self.pending = Vec::new();
        }
        done
    }
}

/// A socket for one client's datagrams.
pub(crate) fn connect_udp(to: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect(to)?;
    Ok(socket)
}
