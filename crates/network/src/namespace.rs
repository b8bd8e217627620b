//! A container's network namespace: made, connected, visited.
//!
//! A namespace belongs to a thread, so each of these is done by a thread of its own that ends at once. Sockets stay in
//! the namespace they were opened in, whoever uses them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use sys::netlink::nft::{ChainKind, Expression as E, Hook, Key, TableFamily, Transaction};
use sys::netlink::route::{self, Address, Batch, Peer};
use sys::netlink::{Family, Socket};
use sys::sysctl::Lookup;
use sys::{netns, sysctl};

use crate::allocate::{Link, Place};
use crate::endpoint::parse_mac;
use crate::networks::Core;
use crate::port::Protocol;
use crate::{Endpoint, Error, bridge};

/// Where a container finds its name server.
pub(crate) const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const DOMAIN: u16 = 53;
/// The table in the container's namespace that leads port 53 to the name server's sockets.
const NAMES_TABLE: &str = "corten_names";
/// These threads call a handful of functions.
const STACK: usize = 128 * 1024;

/// What the kernel says to one port too many of a bridge.
const FULL: i32 = rustix::io::Errno::XFULL.raw_os_error();
/// How long to wait for the kernel's worker, at most.
const CARRIER: Duration = Duration::from_millis(50);

/// A new namespace, loopback up.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) netns: OwnedFd,
    route: Socket,
}

/// The sockets of a container's name server.
#[derive(Debug)]
pub(crate) struct ResolverSockets {
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
    pub(crate) ports: (u16, u16),
}

/// Runs `work` in a thread of its own.
fn in_thread<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".into())
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .map_err(|source| Error::Kernel { step: "start thread", object: "netns".into(), source })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Makes a namespace.
pub(crate) fn make(parameters: &Lookup) -> Result<Namespace, Error> {
    in_thread(|| set_up(netns::enter_new()?, parameters))
}

/// Makes one of a namespace that is as new, but not ours.
pub(crate) fn adopt(netns: OwnedFd, parameters: &Lookup) -> Result<Namespace, Error> {
    in_thread(|| {
        netns::enter(&netns)?;
        set_up(netns, parameters)
    })
}

/// Sets up the namespace that this thread is in.
fn set_up(netns: OwnedFd, parameters: &Lookup) -> Result<Namespace, Error> {
    // No addresses or chatter of IPv6 on interfaces to come, unless they are given one, and no router but ours. Loopback
    // keeps ::1. What cannot be set stays as the kernel has it.
    if let Ok(default) = parameters.open("net/ipv6/conf/default") {
        for (name, value) in [("disable_ipv6", "1"), ("accept_ra", "0")] {
            let _ = default.set(name, value);
        }
    }
    let mut route = Socket::open(Family::Route)?;
    let mut batch = Batch::new();
    batch.up("lo");
    batch.send(&mut route)?;
    Ok(Namespace { netns, route })
}

/// A process's namespace; `None` when the process has ended, and with it what it had there.
pub(crate) fn of_process(pid: i32) -> Result<Option<OwnedFd>, Error> {
    match netns::of_process(pid) {
        Ok(netns) => Ok(Some(netns)),
        Err(e) if e.source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Runs `work` in a namespace. What it opens stays there.
pub(crate) fn visit<T: Send>(
    netns: impl AsFd + Sync,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    in_thread(|| {
        netns::enter(&netns)?;
        work()
    })
}

impl Namespace {
    /// A namespace that is there, such as a running container's.
    pub(crate) fn open(netns: OwnedFd) -> Result<Self, Error> {
        let route = visit(&netns, || Ok(Socket::open(Family::Route)?))?;
        Ok(Self { netns, route })
    }

    /// Connects it: a link with the endpoint's names and addresses. Packets pass when this returns.
    pub(crate) fn plug(&mut self, place: &Place, core: &Core) -> Result<(), Error> {
        let endpoint = &place.endpoint;
        let mac = if endpoint.mac.is_empty() { [0; 6] } else { parse_mac(&endpoint.mac)? };
        let peer = Peer { name: &endpoint.interface, mac, netns: self.netns.as_fd() };
        let mut host = Socket::open(Family::Route)?;
        let mut outside = Batch::new();
        match &place.link {
            Link::Bridge { name, index, isolated } => {
                bridge::check(&mut host, name, *index)?;
                outside.create_veth(&endpoint.host_interface, place.mtu, peer);
                outside.send(&mut host)?;
                outside = Batch::new();
                // A port needs no address, nor the groups and routes that come with one: the kernel goes through those of
                // all ports whenever one comes or goes. One with a small MTU has nothing to be switched off.
                if let Some(interfaces) = core.crowded_ipv6() {
                    let _ = interfaces.set(&format!("{}/disable_ipv6", endpoint.host_interface), "1");
                }
                outside.attach(&endpoint.host_interface, *index);
                outside.port(&endpoint.host_interface, *isolated);
            }
            Link::Stacked { kind, parent } => {
                let index = index(&mut host, parent)?;
                outside.create_stacked(*kind, index, place.mtu, peer);
            }
        }
        outside.send(&mut host).map_err(|e| match &place.link {
            Link::Bridge { name, .. } if e.source.raw_os_error() == Some(FULL) => {
                Error::BridgeFull(name.clone())
            }
            _ => e.into(),
        })?;
        if endpoint.v6.is_some() {
            visit(&self.netns, || {
                // The address is given out once: nobody needs to be asked for it.
                let interface = core.parameters.open(&format!("net/ipv6/conf/{}", endpoint.interface))?;
                for name in ["accept_dad", "disable_ipv6"] {
                    interface.set(name, "0")?;
                }
                Ok(())
            })?;
        }

        let mut inside = Batch::new();
        let index = index(&mut self.route, &endpoint.interface)?;
        for address in endpoint.addresses() {
            inside.address(Address { index, ip: address.ip, prefix: address.prefix });
        }
        for ip in &endpoint.link_local {
            inside.address(Address { index, ip: *ip, prefix: if ip.is_ipv4() { 16 } else { 64 } });
        }
        inside.up(&endpoint.interface);
        inside.send(&mut self.route)?;
        if !place.sysctls.is_empty() {
            visit(&self.netns, || set_sysctls(&endpoint.interface, &place.sysctls))?;
        }
        let Link::Bridge { name, .. } = &place.link else { return Ok(()) };
        // The port first: the bridge has a carrier when one of its ports has.
        await_carrier(&mut host, &endpoint.host_interface)?;
        await_carrier(&mut host, name)
    }

    /// Sends what is for elsewhere through these endpoints, one for each family.
    pub(crate) fn lead_outside(&mut self, ways_out: &[Option<Endpoint>; 2]) -> Result<(), Error> {
        let mut batch = Batch::new();
        for (v4, endpoint) in [true, false].into_iter().zip(ways_out) {
            // A link that goes takes its routes with it: there is never one to remove.
            let Some((endpoint, address)) = endpoint.as_ref().and_then(|e| Some((e, e.address(v4)?))) else {
                continue;
            };
            let any: IpAddr = if v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let index = index(&mut self.route, &endpoint.interface)?;
            match address.gateway {
                Some(gateway) => batch.default_route(gateway, index),
                None => batch.default_route_on_link(any, index),
            }
        }
        self.send(&batch)
    }

    /// Does something to its links.
    pub(crate) fn send(&mut self, batch: &Batch) -> Result<(), Error> {
        Ok(batch.send(&mut self.route)?)
    }
}

fn index(socket: &mut Socket, interface: &str) -> Result<u32, Error> {
    let link = route::link(socket, interface)?;
    link.map(|link| link.index).ok_or_else(|| Error::Kernel {
        step: "look up link",
        object: interface.to_owned(),
        source: std::io::Error::from_raw_os_error(rustix::io::Errno::NODEV.raw_os_error()),
    })
}

/// Sets parameters of an interface in the calling thread's namespace.
fn set_sysctls(interface: &str, sysctls: &[(String, String)]) -> Result<(), Error> {
    for (name, value) in sysctls {
        sysctl::set(&name.replace('.', "/").replace("IFNAME", interface), value)?;
    }
    Ok(())
}

/// Waits until the kernel's worker has acted on a link's new carrier, usually not at all. Until then packets are dropped
/// without a word: a lost ARP request costs its sender a second.
fn await_carrier(socket: &mut Socket, link: &str) -> Result<(), Error> {
    let start = Instant::now();
    while start.elapsed() < CARRIER {
        if route::link(socket, link)?.is_none_or(|link| link.operational) {
            return Ok(());
        }
        std::thread::yield_now();
    }
    // The worker is late; it will come.
    Ok(())
}

/// Opens a name server's sockets in a namespace and leads 127.0.0.11:53 to them. Not on port 53 itself: a container
/// may run a name server of its own. `before` are the ports it had under an earlier daemon: free, the rules still fit.
pub(crate) fn open_resolver(
    netns: impl AsFd + Sync,
    before: Option<(u16, u16)>,
) -> Result<ResolverSockets, Error> {
    visit(netns, || {
        let error =
            |source| Error::Kernel { step: "open name server", object: NAME_SERVER.to_string(), source };
        if let Some((udp, tcp)) = before
            && let (Ok(udp), Ok(tcp)) =
                (UdpSocket::bind((NAME_SERVER, udp)), TcpListener::bind((NAME_SERVER, tcp)))
        {
            return ResolverSockets::new(udp, tcp).map_err(error);
        }
        let sockets = UdpSocket::bind((NAME_SERVER, 0))
            .and_then(|udp| ResolverSockets::new(udp, TcpListener::bind((NAME_SERVER, 0))?))
            .map_err(error)?;
        redirect(sockets.ports, before.is_some())?;
        Ok(sockets)
    })
}

impl ResolverSockets {
    fn new(udp: UdpSocket, tcp: TcpListener) -> std::io::Result<Self> {
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let ports = (udp.local_addr()?.port(), tcp.local_addr()?.port());
        Ok(Self { udp, tcp, ports })
    }
}

/// Makes the table in the calling thread's namespace.
fn redirect((udp, tcp): (u16, u16), replace: bool) -> Result<(), Error> {
    let mut t = Transaction::new(TableFamily::Ip, NAMES_TABLE);
    t.add_table("");
    if replace {
        t.delete_table();
        t.add_table("");
    }
    t.add_base_chain("output", ChainKind::Nat, Hook::Output, -100, "names are answered by cortend");
    for (protocol, port) in [(Protocol::Udp, udp), (Protocol::Tcp, tcp)] {
        let rule = [
            E::DestinationAddress(0),
            E::Equal(0, NAME_SERVER.octets().to_vec()),
            E::Protocol(0),
            E::Equal(0, vec![protocol.number()]),
            E::DestinationPort(0),
            E::Equal(0, DOMAIN.to_be_bytes().to_vec()),
            E::Load(0, Key::new().ip(NAME_SERVER.into()).build()),
            E::Load(1, Key::new().port(port).build()),
            E::Dnat(0, 1),
        ];
        t.add_rule("output", &rule, "");
    }
    Ok(t.commit(&mut Socket::open(Family::Netfilter)?)?)
}
