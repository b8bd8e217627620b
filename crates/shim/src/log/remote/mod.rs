//! A log server. Entries wait here until it takes them; nothing here ever blocks, so a server that is slow or dead
//! never keeps the shim from anything else.
//!
//! | what the server does | what becomes of entries |
//! |---|---|
//! | takes them | they are sent as they come |
//! | is connected and slow | `buffer` bytes wait; then the container is held back, or with `drop` entries are dropped |
//! | is gone | `buffer` bytes wait, the rest is dropped; it is tried again, later and later |
//!
//! | room | what is in it |
//! |---|---|
//! | [`socket`] | the kinds of sockets, behind one face |
//! | [`journald`], [`syslog`], [`fluentd`], [`gelf`] | what one message looks like |

mod fluentd;
mod gelf;
mod journald;
mod socket;
mod syslog;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use sys::poll::Interest;

pub use socket::DialError;
use socket::Socket;

use super::file::Loss;
use super::split::Piece;
use crate::proto;

/// A connection that is not made in this time will not be.
const DIAL: Duration = Duration::from_secs(10);

/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(60);

/// The log server of one container.
#[derive(Debug)]
pub struct Remote {
    settings: proto::Remote,
    state: State,
    /// Messages that the server does not have yet; of the first, `sent` bytes are with it.
    queue: VecDeque<Vec<u8>>,
    sent: usize,
    /// Messages that were sent and that the server is to acknowledge.
    unacknowledged: VecDeque<Vec<u8>>,
    /// What the server has said and was not understood yet.
    said: Vec<u8>,
    /// Of all messages here.
    bytes: u64,
    /// How many there were, for their names.
    count: u64,
    /// What the names begin with, unlike those of any other container.
    name: String,
    /// How many tries have failed since the last connection.
    tries: u64,
    /// Counts sockets, so that whoever waits for one knows a new one.
    generation: u32,
    loss: Loss,
}

#[derive(Debug)]
enum State {
    Connected(Socket),
    /// Decided when the socket becomes writable, or at the moment given.
    Connecting(Socket, Instant),
    /// To be tried at this moment.
    Waiting(Instant),
    /// Tried too often.
    Over,
}

impl Remote {
    /// Connects, and waits for that, unless the settings say `later`.
    ///
    /// # Errors
    /// No address can be connected to; what the last one said.
    pub fn connect(settings: &proto::Remote) -> Result<Self, DialError> {
        let state = if settings.later { State::Waiting(Instant::now()) } else { dial_and_wait(settings)? };
        Ok(Self {
            settings: settings.clone(),
            state,
            queue: VecDeque::new(),
            sent: 0,
            unacknowledged: VecDeque::new(),
            said: Vec::new(),
            bytes: 0,
            count: 0,
            name: spec::digest::hex(&sys::random::bytes::<8>()),
            tries: 0,
            generation: 0,
            loss: Loss::default(),
        })
    }

    /// Takes one piece.
    pub fn add(&mut self, piece: &Piece<'_>) {
        let full = self.bytes >= self.settings.buffer;
        let held = matches!(self.state, State::Connected(_)) && !self.settings.drop;
        if matches!(self.state, State::Over) || (full && !held) {
            // What is held back has been read already: it waits beyond the limit.
            return self.loss.add(1, || "the log server does not take them".to_owned());
        }
        let mut message = Vec::new();
        let stream = self.settings.addresses.first().is_some_and(socket::is_stream);
        match &self.settings.form {
            proto::Form::Journald { fields } => journald::encode(&mut message, fields, piece),
            form @ proto::Form::Syslog { .. } => syslog::encode(&mut message, form, piece),
            form @ proto::Form::Fluentd { acknowledged, .. } => {
                // 128 bits, as the protocol has it.
                self.count += 1;
                let name = acknowledged.then(|| format!("{}{:016x}", self.name, self.count));
                fluentd::encode(&mut message, form, piece, name.as_deref());
            }
            proto::Form::Gelf { host, fields } => gelf::encode(&mut message, host, fields, piece, stream),
        }
        if !message.is_empty() {
            self.bytes += message.len() as u64;
            self.queue.push_back(message);
        }
    }

    /// Sends what can be sent now, and takes the next step to a connection.
    pub fn send(&mut self) {
        let now = Instant::now();
        match &self.state {
            State::Waiting(when) if *when <= now && !self.queue.is_empty() => self.dial(now),
            State::Connecting(_, until) if *until <= now => self.failed(now, "i/o timeout".into()),
            State::Connecting(..) | State::Waiting(_) | State::Over | State::Connected(_) => {}
        }
        while let (State::Connected(socket), false) = (&self.state, self.queue.is_empty()) {
            match socket.send(&self.queue, self.sent) {
                Ok(count) => self.took(count),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
                // No datagram is that long.
                Err(e) if e.raw_os_error() == Some(EMSGSIZE) => self.drop_first(&e.to_string()),
                Err(e) => return self.failed(now, e.to_string()),
            }
        }
    }

    /// The socket is ready, or was closed.
    pub fn serve(&mut self, closed: bool) {
        let now = Instant::now();
        match std::mem::replace(&mut self.state, State::Over) {
            State::Connecting(socket, _) => match socket.result() {
                Ok(()) if !closed => {
                    self.tries = 0;
                    self.state = State::Connected(socket);
                }
                Ok(()) => self.failed(now, "the log server has closed the connection".into()),
                Err(e) => self.failed(now, e.to_string()),
            },
            State::Connected(socket) => {
                let ended = socket.is_at_end(&mut self.said);
                let understood = self.acknowledge();
                self.state = State::Connected(socket);
                if closed || ended {
                    self.failed(now, "the log server has closed the connection".into());
                } else if !understood {
                    self.failed(now, "the log server acknowledges nothing".into());
                }
            }
            state @ (State::Waiting(_) | State::Over) => self.state = state,
        }
        self.send();
    }

    fn is_acknowledged(&self) -> bool {
        matches!(self.settings.form, proto::Form::Fluentd { acknowledged: true, .. })
    }

    /// Forgets the messages that the server says it has; `false` when it says something else.
    fn acknowledge(&mut self) -> bool {
        if !self.is_acknowledged() {
            self.said.clear();
            return true;
        }
        loop {
            match fluentd::said(&self.said) {
                fluentd::Said::Has(name, length) => {
                    // A message ends with its name. They come in order; one that is not here was sent twice.
                    let at = self.unacknowledged.iter().position(|message| message.ends_with(name));
                    if let Some(message) = at.and_then(|at| self.unacknowledged.remove(at)) {
                        self.bytes -= message.len() as u64;
                    }
                    self.said.drain(..length);
                }
                fluentd::Said::Part => return true,
                fluentd::Said::Else => return false,
            }
        }
    }

    fn dial(&mut self, now: Instant) {
        let at = usize::try_from(self.tries).unwrap_or(0) % self.settings.addresses.len().max(1);
        let Some(address) = self.settings.addresses.get(at) else { return };
        match Socket::dial(address) {
            Ok(socket) => {
                self.generation = self.generation.wrapping_add(1);
                let connected = !socket.is_pending();
                self.state =
                    if connected { State::Connected(socket) } else { State::Connecting(socket, now + DIAL) };
            }
            Err(e) => self.failed(now, e.to_string()),
        }
    }

    /// A connection is lost or was not made: it is tried again after a while.
    fn failed(&mut self, now: Instant, why: String) {
        // Half a message is worth nothing to the next connection: it is sent whole again.
        self.sent = 0;
        self.said.clear();
        while let Some(message) = self.unacknowledged.pop_back() {
            self.queue.push_front(message);
        }
        self.tries += 1;
        if self.tries > self.settings.max_retries {
            self.state = State::Over;
            self.lose_all(&why);
            return;
        }
        // A connection that was good is tried at once.
        let exponent = i32::try_from(self.tries.min(64)).unwrap_or(64) - 2;
        let wait = match exponent {
            ..0 => Duration::ZERO,
            _ => Duration::from_millis(self.settings.retry_wait).mul_f64(1.5f64.powi(exponent)).min(LONGEST),
        };
        self.state = State::Waiting(now + wait);
    }

    fn took(&mut self, mut count: usize) {
        while let Some(first) = self.queue.front() {
            let left = first.len() - self.sent;
            if count < left {
                self.sent += count;
                return;
            }
            count -= left;
            self.sent = 0;
            if self.is_acknowledged() {
                self.unacknowledged.extend(self.queue.pop_front());
            } else {
                self.bytes -= first.len() as u64;
                self.queue.pop_front();
            }
            if count == 0 {
                return;
            }
        }
    }

    fn drop_first(&mut self, why: &str) {
        if let Some(first) = self.queue.pop_front() {
            self.bytes -= first.len() as u64;
            self.loss.add(1, || why.to_owned());
        }
    }

    fn lose_all(&mut self, why: &str) {
        self.loss.add((self.queue.len() + self.unacknowledged.len()) as u64, || why.to_owned());
        (self.queue, self.unacknowledged) = (VecDeque::new(), VecDeque::new());
        (self.bytes, self.sent) = (0, 0);
    }

    /// The end is near: a lost connection is tried once more now.
    pub fn hurry(&mut self) {
        if let State::Waiting(when) = &mut self.state {
            *when = Instant::now();
            self.send();
        }
    }

    /// Nothing more is sent.
    pub fn give_up(&mut self) {
        self.lose_all("the log server did not take them in time");
        self.state = State::Over;
    }

    /// Whether the container is to be held back.
    pub fn is_full(&self) -> bool {
        !self.settings.drop && matches!(self.state, State::Connected(_)) && self.bytes >= self.settings.buffer
    }

    /// Whether nothing waits, or waiting would be in vain.
    pub fn is_flushed(&self) -> bool {
        let waits = !(self.queue.is_empty() && self.unacknowledged.is_empty());
        !waits || matches!(self.state, State::Waiting(_) | State::Over)
    }

    /// What was lost so far.
    pub fn loss(&self) -> &Loss {
        &self.loss
    }

    /// When [`Remote::send`] has something to do though nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting(when) if !self.queue.is_empty() => Some(*when),
            State::Connecting(_, until) => Some(*until),
            State::Waiting(_) | State::Connected(_) | State::Over => None,
        }
    }

    /// The socket to wait for, what for, and its number: the next socket has another.
    pub fn socket(&self) -> Option<(BorrowedFd<'_>, Interest, u32)> {
        match &self.state {
            State::Connected(socket) => {
                let interest = Interest { read: socket.tells_its_end(), write: !self.queue.is_empty() };
                Some((socket.fd(), interest, self.generation))
            }
            State::Connecting(socket, _) => Some((socket.fd(), Interest::WRITE, self.generation)),
            State::Waiting(_) | State::Over => None,
        }
    }
}

/// asm-generic/errno.h.
const EMSGSIZE: i32 = 90;

fn dial_and_wait(settings: &proto::Remote) -> Result<State, DialError> {
    let mut last = None;
    for address in &settings.addresses {
        let made = Socket::dial(address).and_then(|socket| {
            if socket.is_pending() && !socket.wait(DIAL)? {
                return Err(ErrorKind::TimedOut.into());
            }
            socket.result().map(|()| socket)
        });
        match made {
            Ok(socket) => return Ok(State::Connected(socket)),
            Err(source) => last = Some(DialError { address: address.clone(), source }),
        }
    }
    last.map_or(Ok(State::Over), Err)
}

#[cfg(test)]
mod tests;
