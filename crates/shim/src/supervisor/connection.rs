//! A daemon's connection: requests come in and are answered in order, or events go out. It never waits.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use serde::Serialize;
use shim::message::{self, Incoming};
use shim::proto::{Event, Reply, Request};
use sys::poll::{Epoll, Interest, Ready};
use sys::scm::Wait;

use super::Supervisor;
use super::token::{Token, Watched};

/// A peer that leaves more than this unread is cut off.
const MAX_UNREAD: usize = 1 << 20;

pub(super) struct Connection {
    number: u32,
    socket: UnixStream,
    watched: Watched,
    incoming: Incoming,
    /// What the socket has not taken yet.
    outgoing: Vec<u8>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// `Hello` has to come.
    New,
    /// Requests are answered.
    Open,
    /// Events are told.
    Watching,
    /// Nothing more.
    Over,
}

impl Connection {
    /// `socket` is non-blocking.
    pub(super) fn new(number: u32, socket: UnixStream) -> Self {
        Self {
            number,
            socket,
            watched: Watched::new(Token::Connection(number)),
            incoming: Incoming::default(),
            outgoing: Vec::new(),
            stage: Stage::New,
        }
    }

    pub(super) fn is_watching(&self) -> bool {
        self.stage == Stage::Watching
    }

    /// Whether nothing is left to do; `last`: when nothing more will be asked or told.
    pub(super) fn is_over(&self, last: bool) -> bool {
        self.stage == Stage::Over || (last && self.outgoing.is_empty())
    }

    /// Tells the peer that it is over; the answer is that it is not to be kept. An init that waits for its start
    /// has duplicates of all our fds, so dropping the socket would not do.
    pub(super) fn close(&mut self, epoll: &Epoll) -> bool {
        self.watched.arm(epoll, &self.socket, None);
        // Fails only when the peer is gone already.
        let _ = self.socket.shutdown(Shutdown::Both);
        false
    }

    pub(super) fn arm(&mut self, epoll: &Epoll) {
        let interest = Interest { read: true, write: !self.outgoing.is_empty() };
        self.watched.arm(epoll, &self.socket, Some(interest));
    }

    pub(super) fn send(&mut self, event: &Event) {
        self.queue(event);
    }

    fn queue(&mut self, message: &impl Serialize) {
        match message::encode(message) {
            Ok(bytes) if self.outgoing.len() + bytes.len() <= MAX_UNREAD => {
                self.outgoing.extend_from_slice(&bytes);
                self.flush();
            }
            Ok(_) | Err(_) => self.stage = Stage::Over,
        }
    }

    fn flush(&mut self) {
        while !self.outgoing.is_empty() {
            match self.socket.write(&self.outgoing) {
                Ok(n) => drop(self.outgoing.drain(..n)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.stage = Stage::Over;
                    return;
                }
            }
        }
        self.outgoing = Vec::new();
    }

    /// Receives what is there; the end and nonsense end the connection.
    fn receive(&mut self) {
        match self.incoming.receive(&self.socket, Wait::No) {
            Ok(true) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Ok(false) | Err(_) => self.stage = Stage::Over,
        }
    }

    fn request(&mut self) -> Option<Request> {
        match self.stage {
            Stage::Over => None,
            Stage::New | Stage::Open | Stage::Watching => self.incoming.message().unwrap_or_else(|_| {
                self.stage = Stage::Over;
                None
            }),
        }
    }
}

impl Supervisor {
    pub(super) fn serve_connection(&mut self, number: u32, ready: Ready) {
        // Taken out while it is served: its requests change everything else.
        let Some(at) = self.connections.iter().position(|c| c.number == number) else { return };
        let mut connection = self.connections.swap_remove(at);
        if ready.write {
            connection.flush();
        }
        if ready.read || ready.closed {
            connection.receive();
        }
        while let Some(request) = connection.request() {
            match (connection.stage, request) {
                (Stage::New, Request::Hello { version: _ }) => {
                    connection.stage = Stage::Open;
                    connection.queue(&Reply::Hello { version: shim::proto::VERSION });
                }
                (Stage::Open, Request::Watch) => {
                    connection.stage = Stage::Watching;
                    connection.queue(&Reply::Done);
                    // Whoever comes too late for the event is told as well.
                    if let Some(exit) = self.container.as_ref().and_then(|c| c.exit.clone()) {
                        connection.send(&Event::Exited(exit));
                    }
                }
                (Stage::Open, request) => {
                    let reply = self.answer(request, &mut connection.incoming);
                    connection.queue(&reply);
                }
                // Requests before `Hello`, or on a connection that carries events.
                (Stage::New | Stage::Watching | Stage::Over, _) => connection.stage = Stage::Over,
            }
        }
        self.connections.push(connection);
    }
}
