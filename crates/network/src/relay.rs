//! Published ports that the kernel cannot redirect: what comes from ::1, or in one family for a container that has only
//! the other. One thread passes bytes and datagrams on between the port's socket and the container.
//!
//! All is bounded: connections, bytes, time. It ends with this process, and goes on with the next one's.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use rustix::net::{listen, sockopt};
use spec::Id;

use crate::pump::{self, Pair, Side};
use crate::redirection::Redirection;
use crate::{Error, PublishedPort};

/// Connections and UDP clients, of all ports.
const CONNECTIONS: usize = 1024;
/// A UDP client that sends nothing for so long is forgotten: Docker's number.
const IDLE: Duration = Duration::from_secs(90);
/// Connections that the kernel keeps for us.
const BACKLOG: i32 = 128;
/// Received datagrams that the kernel keeps for us, bytes.
const DATAGRAMS: usize = 256 * 1024;
/// Accepted or received in a row: the others wait meanwhile.
const IN_A_ROW: usize = 32;

/// The thread, and what it serves.
#[derive(Debug)]
pub(crate) struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    epoll: OwnedFd,
    wake: OwnedFd,
    stopped: AtomicBool,
    next: AtomicU64,
    ports: Mutex<HashMap<u64, Port>>,
}

/// A port that is served.
#[derive(Debug, Clone)]
struct Port {
    container: Id,
    port: PublishedPort,
    to: SocketAddr,
    socket: Arc<PortSocket>,
}

#[derive(Debug)]
enum PortSocket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl AsFd for PortSocket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}

/// What an event is about; travels through epoll as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Wake,
    Port(u64),
    /// A connection's side.
    Pair(u64),
    /// A UDP client's socket.
    Flow(u64),
}

impl Token {
    fn data(self) -> EventData {
        let (kind, number) = match self {
            Self::Wake => (0, 0),
            Self::Port(n) => (1, n),
            Self::Pair(n) => (2, n),
            Self::Flow(n) => (3, n),
        };
        EventData::new_u64(number << 2 | kind)
    }
}

impl From<EventData> for Token {
    fn from(data: EventData) -> Self {
        let number = data.u64() >> 2;
        match data.u64() & 3 {
            0 => Self::Wake,
            1 => Self::Port(number),
            2 => Self::Pair(number),
            _ => Self::Flow(number),
        }
    }
}

fn error(step: &'static str) -> impl Fn(Errno) -> Error {
    move |e| Error::Kernel { step, object: "relay".into(), source: e.into() }
}

impl Relay {
    /// Starts the thread, with nothing to serve.
    pub(crate) fn start() -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            epoll: epoll::create(CreateFlags::CLOEXEC).map_err(error("make epoll"))?,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(error("make eventfd"))?,
            stopped: AtomicBool::new(false),
            next: AtomicU64::new(1),
            ports: Mutex::default(),
        });
        shared.add(&shared.wake, Token::Wake, EventFlags::IN).map_err(error("watch eventfd"))?;
        let server = Server {
            shared: Arc::clone(&shared),
            pairs: HashMap::new(),
            flows: HashMap::new(),
            again: Vec::new(),
            buffer: vec![0; usize::from(u16::MAX)],
        };
        let thread = std::thread::Builder::new()
            .name("relay".into())
            .spawn(move || server.run())
            .map_err(|source| Error::Kernel { step: "start thread", object: "relay".into(), source })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Serves these ports of a container, with the sockets that hold them, and no others. What goes on goes on.
    pub(crate) fn set(&self, container: &Id, wanted: Vec<(OwnedFd, Redirection)>) -> Result<(), Error> {
        let shared = &self.shared;
        let is_wanted = |port: &Port| wanted.iter().any(|(_, r)| r.port == port.port && r.to == port.to.ip());
        let ended: Vec<Port> = {
            let mut ports = shared.ports();
            ports
                .extract_if(|_, p| p.container == *container && !is_wanted(p))
                .map(|(_, port)| port)
                .collect()
        };
        for port in &ended {
            // Closing is not enough: who holds the port has the same socket open.
            epoll::delete(&shared.epoll, &*port.socket).map_err(error("leave port"))?;
        }
        if !ended.is_empty() {
            shared.wake();
        }
        for (socket, redirection) in wanted {
            let is_there =
                shared.ports().values().any(|p| p.container == *container && p.port == redirection.port);
            if !is_there {
                self.serve(container, socket, redirection)?;
            }
        }
        Ok(())
    }

    fn serve(&self, container: &Id, socket: OwnedFd, redirection: Redirection) -> Result<(), Error> {
        let shared = &self.shared;
        let nonblocking = |e: std::io::Error| Error::Kernel {
            step: "serve port",
            object: redirection.port.host_port.to_string(),
            source: e,
        };
        let socket = match redirection.port.protocol.as_str() {
            "tcp" => {
                // Its connections inherit it: what is left of them later lets the port be bound again.
                sockopt::set_socket_reuseaddr(&socket, true).map_err(error("set SO_REUSEADDR"))?;
                listen(&socket, BACKLOG).map_err(error("listen on port"))?;
                let listener = TcpListener::from(socket);
                listener.set_nonblocking(true).map_err(nonblocking)?;
                PortSocket::Tcp(listener)
            }
            "udp" => {
                sockopt::set_socket_recv_buffer_size(&socket, DATAGRAMS).map_err(error("size buffer"))?;
                let socket = UdpSocket::from(socket);
                socket.set_nonblocking(true).map_err(nonblocking)?;
                PortSocket::Udp(socket)
            }
            // Others are redirected where that is possible, and not served elsewhere.
            _ => return Ok(()),
        };
        let socket = Arc::new(socket);
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let port = Port {
            container: container.clone(),
            to: SocketAddr::new(redirection.to, redirection.port.container_port),
            port: redirection.port,
            socket: Arc::clone(&socket),
        };
        // In the map first, so that the first client finds it.
        shared.ports().insert(number, port);
        shared.add(&*socket, Token::Port(number), EventFlags::IN).map_err(|e| {
            shared.ports().remove(&number);
            error("watch port")(e)
        })
    }

    /// Serves no port of a container any more, and ends its connections.
    pub(crate) fn stop(&self, container: &Id) {
        // Nothing new is made, so nothing can fail.
        let _ = self.set(container, Vec::new());
    }
}

impl Drop for Relay {
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
    fn ports(&self) -> MutexGuard<'_, HashMap<u64, Port>> {
        // Only whole entries are put in and taken out under this lock.
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, fd: impl AsFd, token: Token, flags: EventFlags) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, token.data(), flags)
    }

    fn wake(&self) {
        // It fails only when the counter is full: the thread is awake then.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// A UDP client.
#[derive(Debug)]
struct Flow {
    port: u64,
    client: SocketAddr,
    socket: UdpSocket,
    deadline: Instant,
}

/// The thread's own.
#[derive(Debug)]
struct Server {
    shared: Arc<Shared>,
    pairs: HashMap<u64, (u64, Pair)>,
    flows: HashMap<u64, Flow>,
    /// Connections that had more than their turn's worth.
    again: Vec<u64>,
    /// As long as the longest datagram.
    buffer: Vec<u8>,
}

impl Server {
    fn run(mut self) {
        let mut events: Vec<Event> = Vec::with_capacity(64);
        while !self.shared.stopped.load(Ordering::Acquire) {
            let timeout = self.timeout();
            events.clear();
            match epoll::wait(&self.shared.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                // Not possible with a valid epoll fd; a thread that spins would be worse than one that ends.
                Err(_) => return,
            }
            for number in std::mem::take(&mut self.again) {
                self.pump(number);
            }
            for event in &events {
                match Token::from(event.data) {
                    Token::Wake => {
                        let _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
                        self.forget_stopped();
                    }
                    Token::Port(number) => self.serve(number),
                    Token::Pair(number) => self.pump(number),
                    Token::Flow(number) => self.answer(number),
                }
            }
            let now = Instant::now();
            self.flows.retain(|_, flow| flow.deadline > now);
        }
    }

    fn timeout(&self) -> Option<Timespec> {
        if !self.again.is_empty() {
            return Some(Timespec { tv_sec: 0, tv_nsec: 0 });
        }
        let due = self.flows.values().map(|flow| flow.deadline).min()?;
        let wait = due.saturating_duration_since(Instant::now());
        let tv_sec = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
        Some(Timespec { tv_sec, tv_nsec: i64::from(wait.subsec_nanos()) })
    }

    /// Closes what belongs to ports that are served no more.
    fn forget_stopped(&mut self) {
        let ports = self.shared.ports();
        self.pairs.retain(|_, (port, _)| ports.contains_key(port));
        self.flows.retain(|_, flow| ports.contains_key(&flow.port));
    }

    fn serve(&mut self, number: u64) {
        let Some(port) = self.shared.ports().get(&number).cloned() else { return };
        match &*port.socket {
            PortSocket::Tcp(listener) => self.accept(number, listener, port.to),
            PortSocket::Udp(socket) => self.receive(number, socket, port.to),
        }
    }

    fn is_full(&self) -> bool {
        self.pairs.len() + self.flows.len() >= CONNECTIONS
    }

    fn accept(&mut self, port: u64, listener: &TcpListener, to: SocketAddr) {
        for _ in 0..IN_A_ROW {
            let Ok((client, _)) = listener.accept() else { return };
            if self.is_full() {
                continue;
            }
            // Who cannot be connected is closed, as by a server that is not there.
            let Ok(pair) = Pair::connect(client, to) else { continue };
            let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            let watch = |side: Side| self.shared.add(pair.stream(side), Token::Pair(number), flags);
            if watch(Side::Client).and_then(|()| watch(Side::Server)).is_ok() {
                self.pairs.insert(number, (port, pair));
            }
        }
    }

    fn pump(&mut self, number: u64) {
        let Some((_, pair)) = self.pairs.get_mut(&number) else { return };
        match pair.pump(&mut self.buffer) {
            pump::Progress::Waiting => {}
            pump::Progress::More => self.again.push(number),
            pump::Progress::Done => drop(self.pairs.remove(&number)),
        }
    }

    fn receive(&mut self, port: u64, socket: &UdpSocket, to: SocketAddr) {
        for _ in 0..IN_A_ROW {
            let Ok((length, client)) = socket.recv_from(&mut self.buffer) else { return };
            let is_full = self.is_full();
            let known = self.flows.values_mut().find(|flow| flow.port == port && flow.client == client);
            // A datagram that cannot be sent is lost, as datagrams are.
            let _ = match known {
                Some(flow) => {
                    flow.deadline = Instant::now() + IDLE;
                    flow.socket.send(&self.buffer[..length])
                }
                None if is_full => continue,
                None => match self.add_flow(port, client, to) {
                    Ok(number) => self.flows[&number].socket.send(&self.buffer[..length]),
                    Err(_) => continue,
                },
            };
        }
    }

    fn add_flow(&mut self, port: u64, client: SocketAddr, to: SocketAddr) -> std::io::Result<u64> {
        let socket = pump::connect_udp(to)?;
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.shared.add(&socket, Token::Flow(number), EventFlags::IN)?;
        self.flows.insert(number, Flow { port, client, socket, deadline: Instant::now() + IDLE });
        Ok(number)
    }

    fn answer(&mut self, number: u64) {
        let Some(flow) = self.flows.get_mut(&number) else { return };
        let Some(port) = self.shared.ports().get(&flow.port).cloned() else { return };
        let PortSocket::Udp(socket) = &*port.socket else { return };
        for _ in 0..IN_A_ROW {
            match flow.socket.recv(&mut self.buffer) {
                Ok(length) => {
                    flow.deadline = Instant::now() + IDLE;
                    // As above.
                    let _ = socket.send_to(&self.buffer[..length], flow.client);
                }
                // Nothing more, or nobody listens there: the error is read with that.
                Err(_) => return,
            }
        }
    }
}
