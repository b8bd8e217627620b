//! A line to a server on a host, on which bytes can be held up.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Host;

/// How many bytes may pass in one direction, and how many have.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<(u64, u64)>,
    opened: Condvar,
}

impl Gate {
    fn new(most: u64) -> Self {
        Self { state: Mutex::new((most, 0)), opened: Condvar::new() }
    }

    /// Lets everything pass from now on.
    pub fn open(&self) {
        self.state.lock().expect("the gate").0 = u64::MAX;
        self.opened.notify_all();
    }

    /// Bytes that have passed.
    pub fn passed(&self) -> u64 {
        self.state.lock().expect("the gate").1
    }

    fn pass(&self, bytes: u64) {
        let mut state = self.state.lock().expect("the gate");
        while state.1 + bytes > state.0 {
            state = self.opened.wait(state).expect("the gate");
        }
        state.1 += bytes;
    }
}

/// The line. It stays until the test's process ends.
#[derive(Debug)]
pub struct Relay {
    /// Where it listens, in the host's network.
    pub address: SocketAddr,
    /// To the server.
    pub up: Arc<Gate>,
    /// From the server.
    pub down: Arc<Gate>,
    open: Arc<AtomicUsize>,
}

impl Relay {
    /// A line to `server` that stops after so many bytes to it and from it.
    pub fn new(host: &Host, server: SocketAddr, up: u64, down: u64) -> Self {
        let namespace = host.name.clone();
        let (told, address) = std::sync::mpsc::channel();
        let (up, down) = (Arc::new(Gate::new(up)), Arc::new(Gate::new(down)));
        let open = Arc::new(AtomicUsize::new(0));
        let (gates, count) = ((Arc::clone(&up), Arc::clone(&down)), Arc::clone(&open));
        std::thread::spawn(move || {
            enter(&namespace);
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            told.send(listener.local_addr().expect("an address")).expect("the test");
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let (client_too, server_too) =
                    (client.try_clone().expect("a descriptor"), server.try_clone().expect("a descriptor"));
                let (up, down) = gates.clone();
                let count = Arc::clone(&count);
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    copy(client_too, server_too, &up);
                    count.fetch_sub(1, Ordering::SeqCst);
                });
                std::thread::spawn(move || copy(server, client, &down));
            }
        });
        Self { address: address.recv().expect("the relay's address"), up, down, open }
    }

    /// Connections whose client is still there, also where the gate of what comes down holds up the rest.
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// Listens on a port of the host's loopback.
pub fn listen(host: &Host) -> TcpListener {
    let namespace = host.name.clone();
    let bound = std::thread::spawn(move || {
        enter(&namespace);
        TcpListener::bind("127.0.0.1:0").expect("a port")
    });
    bound.join().expect("the listener")
}

/// Takes this thread into a host's network.
fn enter(name: &str) {
    use std::os::fd::AsFd as _;
    let namespace = std::fs::File::open(format!("/run/netns/{name}")).expect("the host's network");
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("setns");
}

fn copy(mut from: TcpStream, mut to: TcpStream, gate: &Gate) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 {
            break;
        }
        gate.pass(n as u64);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    // The other side may have gone first.
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
