//! Asking the host's name servers: a query that is not ours goes out as it came, and the reply goes back as it came.
//!
//! Each attempt has a socket of its own, and so a port of the kernel's choice; it is connected, so only the server's
//! answers are read. A server that says nothing for a second is left to itself and the next one is asked as well; the
//! first good reply wins. Sockets are the daemon's: in the host's network namespace.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with};

use crate::names::question;

const DOMAIN: u16 = 53;
/// When the next attempt is made.
const IMPATIENCE: Duration = Duration::from_secs(1);
/// When the asker is told that nobody answered.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often a query is sent, to one server after the other.
pub(crate) const ATTEMPTS: usize = 3;
/// The longest DNS message.
pub(crate) const LONGEST: usize = u16::MAX as usize;

/// A query on its way.
#[derive(Debug)]
pub(crate) struct Query<Asker> {
    pub(crate) asker: Asker,
    message: Vec<u8>,
    servers: Vec<IpAddr>,
    over_tcp: bool,
    attempts: Vec<Option<Attempt>>,
    next_attempt: Instant,
    deadline: Instant,
    /// A reply that says a server could not help; passed on if no other can.
    unhelpful: Option<Vec<u8>>,
}

/// One server asked.
#[derive(Debug)]
pub(crate) enum Attempt {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, output: Vec<u8>, input: Vec<u8> },
}

/// What has become of a query.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Wait for more.
    Waiting,
    /// A new attempt was made: its number.
    Attempted(usize),
    /// Done.
    Reply(Vec<u8>),
    /// Nobody answered.
    Failed,
}

impl<Asker> Query<Asker> {
    pub(crate) fn new(
        asker: Asker,
        message: Vec<u8>,
        servers: Vec<IpAddr>,
        over_tcp: bool,
        now: Instant,
    ) -> Self {
        Self {
            asker,
            message,
            servers,
            over_tcp,
            attempts: Vec::new(),
            next_attempt: now,
            deadline: now + PATIENCE,
            unhelpful: None,
        }
    }

    pub(crate) fn attempt(&self, number: usize) -> Option<&Attempt> {
        self.attempts.get(number)?.as_ref()
    }

    /// When [`advance`](Self::advance) is due.
    pub(crate) fn due(&self) -> Instant {
        if self.attempts.len() < ATTEMPTS { self.next_attempt.min(self.deadline) } else { self.deadline }
    }

    /// Makes an attempt if one is due, or gives up.
    pub(crate) fn advance(&mut self, now: Instant) -> Progress {
        while self.attempts.len() < ATTEMPTS && now >= self.next_attempt && now < self.deadline {
            let number = self.attempts.len();
            // Once round the servers at least; one server alone is asked again, because packets get lost.
            let Some(server) = self.servers.get(number % self.servers.len().max(1)) else {
                return Progress::Failed;
            };
            let attempt = Attempt::start(*server, &self.message, self.over_tcp).ok();
            let started = attempt.is_some();
            self.attempts.push(attempt);
            if started {
                self.next_attempt = now + IMPATIENCE;
                return Progress::Attempted(number);
            }
        }
        let hopeless = self.attempts.len() >= ATTEMPTS && self.attempts.iter().all(Option::is_none);
        if now >= self.deadline || hopeless {
            return self.unhelpful.take().map_or(Progress::Failed, Progress::Reply);
        }
        Progress::Waiting
    }

    /// Goes on with an attempt whose socket is ready.
    pub(crate) fn ready(&mut self, number: usize, now: Instant) -> Progress {
        let Some(Some(attempt)) = self.attempts.get_mut(number) else { return Progress::Waiting };
        match attempt.go_on() {
            Ok(None) => Progress::Waiting,
            Ok(Some(reply)) if !answers(&reply, &self.message) => Progress::Waiting,
            Ok(Some(reply)) if is_unhelpful(&reply) => {
                self.unhelpful = Some(reply);
                self.give_up(number, now)
            }
            Ok(Some(reply)) => Progress::Reply(reply),
            Err(_) => self.give_up(number, now),
        }
    }

    /// Ends an attempt, and makes the next at once.
    fn give_up(&mut self, number: usize, now: Instant) -> Progress {
        self.attempts[number] = None;
        self.next_attempt = now;
        self.advance(now)
    }

    pub(crate) fn message(&self) -> &[u8] {
        &self.message
    }
}

impl Attempt {
    fn start(server: IpAddr, message: &[u8], over_tcp: bool) -> std::io::Result<Self> {
        let server = SocketAddr::new(server, DOMAIN);
        if !over_tcp {
            let any: IpAddr = match server {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0))?;
            socket.set_nonblocking(true)?;
            socket.connect(server)?;
            socket.send(message)?;
            return Ok(Self::Udp(socket));
        }
        let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        match connect(&socket, &server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(e) => return Err(e.into()),
        }
        let length = u16::try_from(message.len()).map_err(|_| ErrorKind::InvalidInput)?;
        let output = [&length.to_be_bytes(), message].concat();
        Ok(Self::Tcp { stream: socket.into(), output, input: Vec::new() })
    }

    /// Sends and receives what can be without waiting; a whole message when there is one.
    fn go_on(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        match self {
            Self::Udp(socket) => {
                let mut buffer = vec![0; LONGEST];
                match socket.recv(&mut buffer) {
                    Ok(length) => {
                        buffer.truncate(length);
                        Ok(Some(buffer))
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(None),
                    Err(e) => Err(e),
                }
            }
            Self::Tcp { stream, output, input } => {
                flush(stream, output)?;
                if receive(stream, input)? && message(input).is_none() {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                Ok(message(input).map(<[u8]>::to_vec))
            }
        }
    }
}

/// Sends what the socket takes; the rest stays in `output`.
pub(crate) fn flush(stream: &mut TcpStream, output: &mut Vec<u8>) -> std::io::Result<()> {
    while !output.is_empty() {
        match stream.write(output) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(sent) => drop(output.drain(..sent)),
            // Not connected yet, or full.
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return Ok(()),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Reads what is there, up to one longest message; true at the end of the stream.
pub(crate) fn receive(stream: &mut TcpStream, input: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut buffer = [0; 4096];
    while input.len() < LONGEST + 2 {
        let room = buffer.len().min(LONGEST + 2 - input.len());
        match stream.read(&mut buffer[..room]) {
            Ok(0) => return Ok(true),
            Ok(length) => input.extend_from_slice(&buffer[..length]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                return Ok(false);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}

/// The first whole message of a stream, where each has its length before it (RFC 1035, 4.2.2).
pub(crate) fn message(input: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes([*input.first()?, *input.get(1)?]));
    input.get(2..2 + length)
}

/// Whether this is a reply to that query: same number, same question.
fn answers(reply: &[u8], query: &[u8]) -> bool {
    let is_reply = reply.get(2).is_some_and(|flags| flags & 0x80 != 0);
    let same_question = match (question(reply), question(query)) {
        (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
        // Some servers leave the question out when they refuse.
        (None, _) => true,
        (Some(_), None) => false,
    };
    is_reply && reply.get(..2) == query.get(..2) && same_question
}

/// SERVFAIL, NOTIMP and REFUSED (RFC 1035, 4.1.1): another server may know.
fn is_unhelpful(reply: &[u8]) -> bool {
    reply.get(3).is_some_and(|flags| matches!(flags & 0xf, 2 | 4 | 5))
}
