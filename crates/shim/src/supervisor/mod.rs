//! The supervisor: one thread, one wait set, one container.
//!
//! | room | what is in it |
//! |---|---|
//! | `connection` | a daemon's connection: messages in, replies and events out |
//! | `create`, `start`, `exec`, `kill`, `attach`, `delete` | one request each; the short ones are in `request` |
//! | `kernel` | what our runtime has made, or another one |
//! | `exit` | children are reaped, init's end is recorded |
//! | `streams`, `stdin`, `attached` | a process's stdio, and the clients that share it |
//! | `pace` | when a busy output is read again |
//! | `reach` | whether a daemon can find us |
//! | `token` | what an fd in the wait set is |
//!
//! The container does not depend on any connection. The shim ends when nothing is left for it to do: when there
//! never was a container and the last connection ends, after `Delete`, or with the container when its socket is gone.

mod attach;
mod attached;
mod connection;
mod create;
mod delete;
mod exec;
mod exit;
mod kernel;
mod kill;
mod pace;
mod process;
mod reach;
mod request;
mod start;
mod stdin;
mod streams;
mod token;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use shim::proto::{Event, Exit, SOCKET};
use spec::signal;
use sys::poll::{Epoll, Interest, Ready, Signals};

use connection::Connection;
use kernel::Kernel;
use process::Process;
use reach::{Reach, Socket};
use token::{MAX_ITEM, Part, Token};

/// After this much time without work, memory that bursts need is given back.
const IDLE: Duration = Duration::from_secs(1);

/// SIGCHLD tells of ended children. The others would end us, and are for the container's owner to send.
const SIGNALS: [i32; 4] = [signal::CHLD, signal::TERM, signal::INT, signal::HUP];

pub(crate) struct Supervisor {
    epoll: Epoll,
    signals: Signals,
    /// `None` after `Delete`.
    listener: Option<UnixListener>,
    dir: PathBuf,
    /// The same, for who says why we ended.
    place: Place,
    /// Ours in there, as it was made.
    socket: Socket,
    reach: Reach,
    connections: Vec<Connection>,
    last_connection: u32,
    container: Option<Container>,
    /// The root of the container, open: its end is told before its mount is taken down, which waits until the file system
    /// below has written all that it has to write, for whomever (overlayfs syncs it).
    root: Option<File>,
    /// Namespaces for the container to come.
    holder: Option<runtime::Holder>,
    last_process: u32,
    /// What children get instead of our own OOM score adjustment, unless they are given one.
    oom_score: Option<i32>,
    /// Processes of the deleted container whose clients have not taken all output yet.
    lingering: Vec<Process>,
    /// Room for one read; empty when idle.
    scratch: Vec<u8>,
}

/// Where a shim's directory is.
pub(crate) type Place = Arc<Mutex<PathBuf>>;

/// The container from `Create` to `Delete`.
struct Container {
    kernel: Kernel,
    init: Process,
    started: bool,
    paused: bool,
    execs: BTreeMap<String, Process>,
    exit_file: PathBuf,
    /// Init's end, once its log is complete.
    exit: Option<Exit>,
    /// `exit_file` could not be written yet; when to try again.
    unwritten: Option<Instant>,
    /// As it was when init ended: systemd may remove the cgroup, which tells it, at any time after that.
    oom_killed: bool,
    oom_told: bool,
}

impl Supervisor {
    /// Listens in `dir`, and serves the connection that we were born with.
    pub(crate) fn new(first: UnixStream, place: Place, oom_score: Option<i32>) -> Result<Self, sys::Error> {
        let dir = place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let epoll = Epoll::new()?;
        let signals = Signals::block(&SIGNALS)?;
        epoll.add(&signals, Token::Signals.pack(), Interest::READ)?;
        // A shim that was killed leaves its socket.
        sys::file::remove(&dir.join(SOCKET))?;
        let listener = sys::scm::listen(&dir.join(SOCKET))?;
        listener.set_nonblocking(true).map_err(|e| sys::Error::new("set up", SOCKET, e))?;
        epoll.add(&listener, Token::Listener.pack(), Interest::READ)?;
        let mut supervisor = Self {
            epoll,
            signals,
            listener: Some(listener),
            socket: reach::socket(&dir),
            reach: Reach::Connected,
            dir,
            place,
            connections: Vec::new(),
            last_connection: 0,
            container: None,
            root: None,
            holder: None,
            last_process: 0,
            oom_score,
            lingering: Vec::new(),
            scratch: Vec::new(),
        };
        supervisor.connect(first);
        Ok(supervisor)
    }

    /// Works until nothing is left to do.
    pub(crate) fn run(mut self) -> Result<(), sys::Error> {
        let mut ready = Vec::new();
        self.settle();
        while !self.is_over() {
            self.epoll.wait(&mut ready, self.timeout())?;
            if ready.is_empty() && self.deadline().is_none_or(|deadline| deadline > Instant::now()) {
                self.shrink();
                continue;
            }
            self.scratch.resize(streams::SCRATCH, 0);
            for &ready in &ready {
                self.serve(ready)?;
            }
            self.settle();
            if self.container.is_none() {
                // Whoever deleted it has been answered.
                self.root = None;
            }
        }
        if self.listener.take().is_some() {
            sys::file::remove(&self.dir.join(SOCKET))?;
            // Others may keep files here; then the directory stays.
            let _ = std::fs::remove_dir(&self.dir);
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.container.is_none() && self.connections.is_empty() && self.lingering.is_empty()
    }

    /// How long nothing may happen until something has to be done.
    fn timeout(&self) -> Option<Duration> {
        let idle = (!self.scratch.is_empty()).then_some(IDLE);
        let due = self.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        idle.into_iter().chain(due).min()
    }

    /// When something has to be done though nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let container = self.container.as_ref()?;
        container.deadline().into_iter().chain(self.reach.deadline()).min()
    }

    fn serve(&mut self, ready: Ready) -> Result<(), sys::Error> {
        match Token::unpack(ready.token) {
            Some(Token::Signals) => {
                while self.signals.take()?.is_some() {}
                self.reap()
            }
            Some(Token::Listener) => {
                self.accept();
                Ok(())
            }
            Some(Token::Connection(number)) => {
                self.serve_connection(number, ready);
                Ok(())
            }
            Some(Token::Stream(process, part)) => {
                self.serve_stream(process, part, ready);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn serve_stream(&mut self, number: u32, part: Part, ready: Ready) {
        let processes = self.container.iter_mut().flat_map(Container::processes).chain(&mut self.lingering);
        for process in processes.filter(|process| process.number == number) {
            process.streams.serve(part, ready, &mut self.scratch);
        }
    }

    fn accept(&mut self) {
        while let Some(listener) = &self.listener {
            match listener.accept() {
                Ok((socket, _)) => self.connect(socket),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // Nobody waits any more, or (out of fds) the wait set wakes us again.
                Err(_) => return,
            }
        }
    }

    /// A connection that cannot be set up is closed.
    fn connect(&mut self, socket: UnixStream) {
        if self.last_connection < MAX_ITEM && socket.set_nonblocking(true).is_ok() {
            self.last_connection += 1;
            self.connections.push(Connection::new(self.last_connection, socket));
        }
    }

    /// Draws the consequences of what has happened, and brings the wait set in line.
    fn settle(&mut self) {
        for event in self.ended() {
            self.tell(&event);
        }
        for process in self.container.iter_mut().flat_map(Container::processes).chain(&mut self.lingering) {
            process.streams.arm(&self.epoll);
        }
        if let Some(container) = &mut self.container {
            container.execs.retain(|_, exec| !exec.is_told() || exec.streams.has_clients());
        }
        let deleted = self.listener.is_none();
        self.connections
            .retain_mut(|connection| !connection.is_over(deleted) || connection.close(&self.epoll));
        for connection in &mut self.connections {
            connection.arm(&self.epoll);
        }
        self.end_if_lost();
        self.lingering.retain(|process| process.streams.has_clients());
    }

    fn tell(&mut self, event: &Event) {
        for connection in self.connections.iter_mut().filter(|c| c.is_watching()) {
            connection.send(event);
        }
    }

    fn shrink(&mut self) {
        self.scratch = Vec::new();
        for process in self.container.iter_mut().flat_map(Container::processes).chain(&mut self.lingering) {
            process.streams.shrink();
        }
        sys::memory::trim();
    }

    /// A number for one more process; `None` after four thousand million of them.
    fn next_process(&mut self) -> Option<u32> {
        self.last_process = self.last_process.checked_add(1)?;
        Some(self.last_process)
    }
}

impl Container {
    /// Init and the execs.
    fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        std::iter::once(&mut self.init).chain(self.execs.values_mut())
    }

    fn deadline(&self) -> Option<Instant> {
        let processes = std::iter::once(&self.init).chain(self.execs.values());
        let due = processes.flat_map(|process| [process.deadline(), process.streams.deadline()]);
        due.flatten().chain(self.unwritten).min()
    }
}
