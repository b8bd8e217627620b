//! The name server at 127.0.0.11: one thread answers all containers.
//!
//! Each container's sockets are in its own namespace, so who asks is known by the socket. All is bounded: queries in
//! flight, connections, bytes, time.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use simple_dns::RCODE;
use spec::Id;

use crate::Error;
use crate::names::{self, Answer, UDP_LIMIT};
use crate::namespace::ResolverSockets;
use crate::networks::Core;
use crate::resolv;
use crate::upstream::{ATTEMPTS, Attempt, LONGEST, Progress, Query, flush, message, receive};

/// Queries in flight, of all containers and of one: Docker's number, and a share that leaves room for others.
const QUERIES: usize = 1024;
const QUERIES_OF_ONE: usize = 128;
/// TCP connections, of all containers and of one.
const CONNECTIONS: usize = 256;
const CONNECTIONS_OF_ONE: usize = 16;
/// A TCP connection that sends nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// Replies that a client does not read; beyond this its connection is closed.
const UNREAD: usize = 4 * LONGEST;
/// Packets of one socket in a row: the others wait meanwhile.
const IN_A_ROW: usize = 32;

/// The thread, and whom it serves.
#[derive(Debug)]
pub(crate) struct Resolver {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    epoll: OwnedFd,
    wake: OwnedFd,
    stopped: AtomicBool,
    next: AtomicU64,
    clients: Mutex<HashMap<u64, Client>>,
}

/// A container that is served.
#[derive(Debug, Clone)]
struct Client {
    container: Id,
    sockets: Arc<ResolverSockets>,
}

/// What an event is about; travels through epoll as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Wake,
    /// A client's UDP socket.
    Udp(u64),
    /// A client's listener.
    Listener(u64),
    /// A connection.
    Connection(u64),
    /// A query's attempt.
    Upstream(u64, usize),
}

impl Token {
    fn data(self) -> EventData {
        let (kind, number) = match self {
            Self::Wake => (0, 0),
            Self::Udp(client) => (1, client),
            Self::Listener(client) => (2, client),
            Self::Connection(number) => (3, number),
            Self::Upstream(query, attempt) => (4 + attempt as u64, query),
        };
        EventData::new_u64(number << 3 | kind)
    }

    fn from(data: EventData) -> Self {
        let number = data.u64() >> 3;
        match data.u64() & 7 {
            0 => Self::Wake,
            1 => Self::Udp(number),
            2 => Self::Listener(number),
            3 => Self::Connection(number),
            attempt => Self::Upstream(number, attempt as usize - 4),
        }
    }
}

// Three bits for the kind, four of which are attempts.
const _: () = assert!(ATTEMPTS <= 4);

fn error(step: &'static str) -> impl Fn(Errno) -> Error {
    move |e| Error::Kernel { step, object: "name server".into(), source: e.into() }
}

impl Resolver {
    /// Starts the thread, with nobody to serve.
    pub(crate) fn start(core: Arc<Core>) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            epoll: epoll::create(CreateFlags::CLOEXEC).map_err(error("make epoll"))?,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(error("make eventfd"))?,
            stopped: AtomicBool::new(false),
            next: AtomicU64::new(1),
            clients: Mutex::default(),
        });
        shared.add(&shared.wake, Token::Wake, EventFlags::IN).map_err(error("watch eventfd"))?;
        let server = Server {
            shared: Arc::clone(&shared),
            core,
            queries: HashMap::new(),
            connections: HashMap::new(),
            turn: 0,
        };
        let thread = std::thread::Builder::new()
            .name("names".into())
            .spawn(move || server.run())
            .map_err(|source| Error::Kernel { step: "start thread", object: "names".into(), source })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Serves a container.
    pub(crate) fn serve(&self, container: &Id, sockets: ResolverSockets) -> Result<(), Error> {
        let shared = &self.shared;
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let sockets = Arc::new(sockets);
        // In the map first, so that the first query finds its client.
        let client = Client { container: container.clone(), sockets: Arc::clone(&sockets) };
        shared.clients().insert(number, client);
        let added = shared
            .add(&sockets.udp, Token::Udp(number), EventFlags::IN)
            .and_then(|()| shared.add(&sockets.tcp, Token::Listener(number), EventFlags::IN));
        added.map_err(|e| {
            self.stop(container);
            error("watch sockets")(e)
        })
    }

    /// Whether a container is served.
    pub(crate) fn serves(&self, container: &Id) -> bool {
        self.shared.clients().values().any(|client| client.container == *container)
    }

    /// Stops serving a container: closes its sockets, which are all that we hold of its namespace.
    pub(crate) fn stop(&self, container: &Id) {
        let removed = {
            let mut clients = self.shared.clients();
            let before = clients.len();
            clients.retain(|_, client| client.container != *container);
            clients.len() != before
        };
        if removed {
            self.shared.wake();
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been printed; there is nothing to add.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn clients(&self) -> MutexGuard<'_, HashMap<u64, Client>> {
        // Only whole entries are put in and taken out under this lock.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, fd: impl AsFd, token: Token, flags: EventFlags) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, token.data(), flags)
    }

    fn wake(&self) {
        // It fails only when the counter is full: the thread is awake then.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// Whom a reply goes to.
#[derive(Debug, Clone, Copy)]
enum Asker {
    Udp { client: u64, from: SocketAddr },
    Tcp { client: u64, connection: u64 },
}

impl Asker {
    fn client(self) -> u64 {
        match self {
            Self::Udp { client, .. } | Self::Tcp { client, .. } => client,
        }
    }
}

#[derive(Debug)]
struct Connection {
    client: u64,
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    deadline: Instant,
}

/// The thread's own.
#[derive(Debug)]
struct Server {
    shared: Arc<Shared>,
    core: Arc<Core>,
    queries: HashMap<u64, Query<Asker>>,
    connections: HashMap<u64, Connection>,
    turn: usize,
}

impl Server {
    fn run(mut self) {
        let mut events: Vec<Event> = Vec::with_capacity(64);
        while !self.shared.stopped.load(Ordering::Acquire) {
            let timeout = self.next_deadline().map(|due| {
                let wait = due.saturating_duration_since(Instant::now());
                // Rounded up: waking too early would only mean waiting again, at once.
                Timespec {
                    tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: i64::from(wait.subsec_nanos()),
                }
            });
            events.clear();
            match epoll::wait(&self.shared.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                // Not possible with a valid epoll fd; a thread that spins would be worse than one that ends.
                Err(_) => return,
            }
            for event in &events {
                self.handle(Token::from(event.data));
            }
            self.expire();
        }
    }

    fn handle(&mut self, token: Token) {
        match token {
            Token::Wake => {
                let _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
                self.forget_stopped();
            }
            Token::Udp(client) => self.read_udp(client),
            Token::Listener(client) => self.accept(client),
            Token::Connection(number) => self.serve_connection(number),
            Token::Upstream(query, attempt) => {
                if let Some(query_state) = self.queries.get_mut(&query) {
                    let progress = query_state.ready(attempt, Instant::now());
                    self.settle(query, progress);
                }
            }
        }
    }

    fn client(&self, number: u64) -> Option<Client> {
        self.shared.clients().get(&number).cloned()
    }

    /// Closes what belongs to clients that are served no more.
    fn forget_stopped(&mut self) {
        let clients = self.shared.clients();
        self.connections.retain(|_, connection| clients.contains_key(&connection.client));
        self.queries.retain(|_, query| clients.contains_key(&query.asker.client()));
    }

    fn read_udp(&mut self, number: u64) {
        let Some(client) = self.client(number) else { return };
        let mut buffer = [0; 4096];
        for _ in 0..IN_A_ROW {
            let Ok((length, from)) = client.sockets.udp.recv_from(&mut buffer) else { return };
            self.ask(&client.container, Asker::Udp { client: number, from }, &buffer[..length]);
        }
    }

    fn accept(&mut self, number: u64) {
        let Some(client) = self.client(number) else { return };
        for _ in 0..IN_A_ROW {
            let Ok((stream, _)) = client.sockets.tcp.accept() else { return };
            let of_one = self.connections.values().filter(|c| c.client == number).count();
            if self.connections.len() >= CONNECTIONS || of_one >= CONNECTIONS_OF_ONE {
                continue;
            }
            let connection = self.shared.next.fetch_add(1, Ordering::Relaxed);
            let flags = EventFlags::IN | EventFlags::RDHUP;
            if stream.set_nonblocking(true).is_err()
                || self.shared.add(&stream, Token::Connection(connection), flags).is_err()
            {
                continue;
            }
            let deadline = Instant::now() + IDLE;
            let state =
                Connection { client: number, stream, input: Vec::new(), output: Vec::new(), deadline };
            self.connections.insert(connection, state);
        }
    }

    fn serve_connection(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let client = connection.client;
        let ended = receive(&mut connection.stream, &mut connection.input);
        let Some(container) = self.client(client).map(|c| c.container) else { return };
        while let Some(connection) = self.connections.get_mut(&number) {
            let Some(query) = message(&connection.input).map(<[u8]>::to_vec) else { break };
            connection.input.drain(..query.len() + 2);
            connection.deadline = Instant::now() + IDLE;
            self.ask(&container, Asker::Tcp { client, connection: number }, &query);
        }
        self.flush_connection(number);
        // Who only closes its own side still gets the replies it waits for, and loses no more than those if not.
        let waits = self
            .queries
            .values()
            .any(|q| matches!(q.asker, Asker::Tcp { connection, .. } if connection == number));
        match ended {
            Ok(false) => {}
            Ok(true) if waits => self.watch_connection(number, EventFlags::empty()),
            Ok(true) | Err(_) => drop(self.connections.remove(&number)),
        }
    }

    /// Sends what the connection takes, and asks to be called again for the rest.
    fn flush_connection(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let sent = flush(&mut connection.stream, &mut connection.output);
        if sent.is_err() || connection.output.len() > UNREAD {
            self.connections.remove(&number);
            return;
        }
        let more = if connection.output.is_empty() { EventFlags::empty() } else { EventFlags::OUT };
        self.watch_connection(number, EventFlags::IN | EventFlags::RDHUP | more);
    }

    fn watch_connection(&mut self, number: u64, flags: EventFlags) {
        let Some(connection) = self.connections.get(&number) else { return };
        let token = Token::Connection(number).data();
        if epoll::modify(&self.shared.epoll, &connection.stream, token, flags).is_err() {
            self.connections.remove(&number);
        }
    }

    /// Answers a query, or passes it on.
    fn ask(&mut self, container: &Id, asker: Asker, query: &[u8]) {
        let over_tcp = matches!(asker, Asker::Tcp { .. });
        let limit = if over_tcp { LONGEST } else { UDP_LIMIT };
        self.turn = self.turn.wrapping_add(1);
        let answer = names::answer(&self.core.state(), container, query, self.turn, limit);
        match answer {
            Answer::Ignore => {}
            Answer::Reply(reply) => self.reply(asker, &reply),
            Answer::Forward => {
                let of_one = self.queries.values().filter(|q| q.asker.client() == asker.client()).count();
                if self.queries.len() >= QUERIES || of_one >= QUERIES_OF_ONE {
                    return self.fail(asker, query);
                }
                let own = self.core.state().containers.get(container).map(|r| r.upstreams.clone());
                let servers = own.filter(|own| !own.is_empty()).unwrap_or_else(|| resolv::host().servers);
                let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
                let now = Instant::now();
                let mut state = Query::new(asker, query.to_vec(), servers, over_tcp, now);
                let progress = state.advance(now);
                self.queries.insert(number, state);
                self.settle(number, progress);
            }
        }
    }

    /// Acts on what has become of a query.
    fn settle(&mut self, number: u64, progress: Progress) {
        match progress {
            Progress::Waiting => {}
            Progress::Attempted(attempt) => {
                let Some(query) = self.queries.get(&number) else { return };
                let token = Token::Upstream(number, attempt);
                // Edge-triggered, because a connected stream is writable ever after.
                let stream = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
                let watched = match query.attempt(attempt) {
                    Some(Attempt::Udp(socket)) => self.shared.add(socket, token, EventFlags::IN),
                    Some(Attempt::Tcp { stream: socket, .. }) => self.shared.add(socket, token, stream),
                    None => Ok(()),
                };
                if watched.is_err() {
                    self.settle(number, Progress::Failed);
                }
            }
            Progress::Reply(reply) => {
                if let Some(query) = self.queries.remove(&number) {
                    self.reply(query.asker, &reply);
                }
            }
            Progress::Failed => {
                if let Some(query) = self.queries.remove(&number) {
                    self.fail(query.asker, query.message());
                }
            }
        }
    }

    fn fail(&mut self, asker: Asker, query: &[u8]) {
        if let Some(reply) = names::failure(query, RCODE::ServerFailure) {
            self.reply(asker, &reply);
        }
    }

    /// Sends a reply to whoever asked, if it is still there.
    fn reply(&mut self, asker: Asker, reply: &[u8]) {
        match asker {
            Asker::Udp { client, from } => {
                if let Some(client) = self.client(client) {
                    // A datagram that cannot be sent is lost, as datagrams are.
                    let _ = client.sockets.udp.send_to(reply, from);
                }
            }
            Asker::Tcp { connection: number, .. } => {
                let Ok(length) = u16::try_from(reply.len()) else { return };
                if let Some(connection) = self.connections.get_mut(&number) {
                    connection.output.extend_from_slice(&length.to_be_bytes());
                    connection.output.extend_from_slice(reply);
                    self.flush_connection(number);
                }
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let queries = self.queries.values().map(Query::due);
        queries.chain(self.connections.values().map(|c| c.deadline)).min()
    }

    /// Goes on with queries whose time has come, and closes idle connections.
    fn expire(&mut self) {
        let now = Instant::now();
        self.connections.retain(|_, connection| connection.deadline > now);
        let due: Vec<u64> = self.queries.iter().filter(|(_, q)| q.due() <= now).map(|(n, _)| *n).collect();
        for number in due {
            if let Some(query) = self.queries.get_mut(&number) {
                let progress = query.advance(now);
                self.settle(number, progress);
            }
        }
    }
}
