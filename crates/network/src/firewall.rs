//! Our one nftables table: redirection of published ports, masquerading, isolation.
//!
//! ```text
//! maps  ports       address . protocol . port → address . port    published on one address of the host
//!       ports_any   protocol . port → address . port              published on all of them
//! sets  bridges     our bridges                    internal     those without a way out
//!       outgoing    those whose containers go outside with the host's address
//!       within      pairs (in, out) that may talk: a bridge with itself
//!
//! guard (raw)         nobody but the host itself reaches 127.0.0.0/8
//! prerouting, output  → publish: redirect by the maps
//! postrouting         to the outside, and back to the same bridge: masquerade
//! forward             accept within a bridge; drop to and from internal ones; → inbound
//! inbound             what goes into a bridge: replies and published ports only
//! ```
//!
//! Publishing a port is one element. Nothing here decides about packets that do not concern our bridges, and what we
//! accept another chain of the host's firewall may still drop: its owner has the last word. That holds for one whose
//! policy is to drop all that is forwarded as well (ufw's, or Docker's `iptables -P FORWARD DROP`): there, containers
//! reach the outside and are reached only if it accepts our bridges.

use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use sys::netlink::nft::{self, ChainKind, Element, Expression as E, Hook, Key, Set, Transaction, Type};
use sys::netlink::{Family, Socket, conntrack};

use crate::port::Protocol;
use crate::{Network, PublishedPort};

const PORTS: &str = "ports";
const PORTS_ANY: &str = "ports_any";
const BRIDGES: &str = "bridges";
const INTERNAL: &str = "internal";
const OUTGOING: &str = "outgoing";
const WITHIN: &str = "within";

/// Elements in one transaction: the kernel takes a message of about 200 kB.
const ELEMENTS: usize = 1000;

/// Priorities of the host's hooks (`enum nf_ip_hook_priorities`).
const RAW: i32 = -300;
const DESTINATION_NAT: i32 = -100;
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;

/// `RTN_LOCAL`: an address of this host.
const LOCAL: u32 = 2;
/// `NF_CT_STATE_BIT` of established and related.
const REPLIES: u32 = 2 | 4;
/// `IPS_DST_NAT`: the connection was redirected.
const REDIRECTED: u32 = 32;

/// Where a published port leads, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Redirection {
    pub(crate) port: PublishedPort,
    pub(crate) to: Ipv4Addr,
    pub(crate) owner: String,
}

impl Redirection {
    fn element(&self) -> Option<(&'static str, Element)> {
        let protocol = Protocol::parse(&self.port.protocol).ok()?.number();
        let (map, key) = if self.port.host_ip.is_unspecified() {
            (PORTS_ANY, Key::new())
        } else {
            (PORTS, Key::new().ip(self.port.host_ip))
        };
        let key = key.protocol(protocol).port(self.port.host_port).build();
        let data = Some(Key::new().ip(self.to).port(self.port.container_port).build());
        Some((map, Element { key, data, comment: self.owner.clone() }))
    }
}

/// The table, by name.
#[derive(Debug)]
pub(crate) struct Firewall {
    table: String,
    /// Kept open: when one is closed, the kernel waits until all that was deleted by anyone is freed (10 ms).
    sockets: Mutex<Vec<Socket>>,
    /// By which notifications name them.
    socket_ports: Mutex<Vec<u32>>,
}

impl Firewall {
    pub(crate) fn new(table: &str) -> Self {
        Self { table: table.to_owned(), sockets: Mutex::default(), socket_ports: Mutex::default() }
    }

    /// Works with a socket that nobody else uses meanwhile.
    fn with_socket<T>(&self, work: impl FnOnce(&mut Socket) -> sys::Result<T>) -> sys::Result<T> {
        let sockets = || self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = sockets().pop();
        let mut socket = match kept {
            Some(socket) => socket,
            None => {
                let socket = Socket::open(Family::Netfilter)?;
                let port = socket.port()?;
                self.socket_ports.lock().unwrap_or_else(PoisonError::into_inner).push(port);
                socket
            }
        };
        let done = work(&mut socket);
        sockets().push(socket);
        done
    }

    /// Whether a change was made by one of our sockets.
    pub(crate) fn is_own(&self, port: u32) -> bool {
        self.socket_ports.lock().unwrap_or_else(PoisonError::into_inner).contains(&port)
    }

    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    fn commit(&self, t: Transaction) -> sys::Result<()> {
        self.with_socket(|socket| t.commit(socket))
    }

    /// Makes the table as it should be, whatever it was before.
    pub(crate) fn install(&self, networks: &[Network], redirections: &[Redirection]) -> sys::Result<()> {
        let text = "containers' networks; made by cortend and put back if it is changed";
        let mut t = Transaction::new(&self.table);
        t.add_table(text);
        // Deleting is the only way to be rid of what should not be there; the transaction leaves no gap. It costs
        // the kernel some 10 ms, so not when there is nothing to delete.
        if self.with_socket(|socket| nft::table_exists(socket, &self.table))? {
            t.delete_table();
            t.add_table(text);
        }
        add_sets(&mut t);
        add_chains(&mut t);
        for network in networks {
            add_bridge(&mut t, network);
        }
        let (first, rest) = redirections.split_at(redirections.len().min(ELEMENTS));
        add_redirections(&mut t, first);
        self.commit(t)?;
        self.publish(rest)
    }

    /// Lets a new bridge take part.
    pub(crate) fn add_bridge(&self, network: &Network) -> sys::Result<()> {
        let mut t = Transaction::new(&self.table);
        add_bridge(&mut t, network);
        self.commit(t)
    }

    /// Forgets a bridge.
    pub(crate) fn remove_bridge(&self, network: &Network) -> sys::Result<()> {
        let mut t = Transaction::new(&self.table);
        for (set, element) in bridge_elements(network) {
            t.delete_elements(set, &[element]);
        }
        self.commit(t)
    }

    /// Redirects published ports.
    pub(crate) fn publish(&self, redirections: &[Redirection]) -> sys::Result<()> {
        for chunk in redirections.chunks(ELEMENTS) {
            let mut t = Transaction::new(&self.table);
            add_redirections(&mut t, chunk);
            self.commit(t)?;
        }
        self.forget_flows(redirections);
        Ok(())
    }

    /// Only the first packet of a connection is redirected, and for UDP a connection is whatever goes on between two
    /// ports: who has sent to the port before, or still sends to its last holder, would never be led here.
    fn forget_flows(&self, redirections: &[Redirection]) {
        let udp = redirections.iter().map(|r| &r.port).filter(|p| p.protocol == "udp");
        for port in udp {
            // Without it new senders are served all the same.
            let _ = self.with_socket(|s| conntrack::forget(s, Protocol::Udp.number(), port.host_port));
        }
    }

    /// Ends redirections.
    pub(crate) fn unpublish(&self, redirections: &[Redirection]) -> sys::Result<()> {
        for chunk in redirections.chunks(ELEMENTS) {
            let mut t = Transaction::new(&self.table);
            for (map, elements) in by_map(chunk) {
                t.delete_elements(map, &elements);
            }
            self.commit(t)?;
        }
        self.forget_flows(redirections);
        Ok(())
    }

    /// Removes the table; none is no error.
    pub(crate) fn remove(&self) -> sys::Result<()> {
        let mut t = Transaction::new(&self.table);
        t.add_table("");
        t.delete_table();
        self.commit(t)
    }
}

fn add_bridge(t: &mut Transaction, network: &Network) {
    for (set, element) in bridge_elements(network) {
        t.add_elements(set, &[element]);
    }
}

fn add_redirections(t: &mut Transaction, redirections: &[Redirection]) {
    for (map, elements) in by_map(redirections) {
        t.add_elements(map, &elements);
    }
}

fn by_map(redirections: &[Redirection]) -> [(&'static str, Vec<Element>); 2] {
    let (mut one, mut any) = (Vec::new(), Vec::new());
    for (map, element) in redirections.iter().filter_map(Redirection::element) {
        if map == PORTS { one.push(element) } else { any.push(element) }
    }
    [(PORTS, one), (PORTS_ANY, any)]
}

/// What a network adds to the sets.
fn bridge_elements(network: &Network) -> Vec<(&'static str, Element)> {
    let bridge = network.bridge.as_str();
    if bridge.is_empty() {
        return Vec::new();
    }
    let element = |key: Key| Element { key: key.build(), data: None, comment: network.name.clone() };
    let alone = || element(Key::new().interface(bridge));
    let mut elements = vec![(BRIDGES, alone())];
    if network.internal {
        elements.push((INTERNAL, alone()));
    }
    if network.masquerades() {
        elements.push((OUTGOING, alone()));
    }
    if network.containers_talk() {
        elements.push((WITHIN, element(Key::new().interface(bridge).interface(bridge))));
    }
    elements
}

fn add_sets(t: &mut Transaction) {
    let target = Some([Type::Ipv4, Type::Port]);
    let map = |name, key| Set { name, key, data: target.as_ref().map(|t| &t[..]) };
    let set = |name, key| Set { name, key, data: None };
    t.add_set(map(PORTS, &[Type::Ipv4, Type::Protocol, Type::Port]), "published on one address");
    t.add_set(map(PORTS_ANY, &[Type::Protocol, Type::Port]), "published on all addresses of the host");
    t.add_set(set(BRIDGES, &[Type::Interface]), "our bridges");
    t.add_set(set(INTERNAL, &[Type::Interface]), "bridges without a way out");
    t.add_set(set(OUTGOING, &[Type::Interface]), "bridges that go outside with the host's address");
    t.add_set(set(WITHIN, &[Type::Interface, Type::Interface]), "in and out that may talk");
}

fn add_chains(t: &mut Transaction) {
    t.add_base_chain("guard", ChainKind::Filter, Hook::Prerouting, RAW, "");
    t.add_chain("publish", "redirect to the containers");
    t.add_base_chain("prerouting", ChainKind::Nat, Hook::Prerouting, DESTINATION_NAT, "");
    t.add_base_chain("output", ChainKind::Nat, Hook::Output, DESTINATION_NAT, "");
    t.add_base_chain("postrouting", ChainKind::Nat, Hook::Postrouting, SOURCE_NAT, "");
    t.add_chain("inbound", "what may go into a bridge");
    t.add_base_chain("forward", ChainKind::Filter, Hook::Forward, FILTER, "");

    // Our bridges route 127.0.0.0/8 (route_localnet), so that the host's own connections to published ports on it
    // can be redirected; for everyone else it must stay the host's own.
    let not_from_here = E::NotEqual(0, Key::new().interface("lo").build());
    let to_loopback = E::Equal(0, vec![127]);
    t.add_rule(
        "guard",
        &[E::InputInterface(0), not_from_here, E::DestinationAddress(0), to_loopback, E::Drop],
        "ports published on 127.0.0.1 are for this host",
    );

    let key = [E::DestinationAddress(0), E::Protocol(1), E::DestinationPort(2)];
    let rule = [&key[..], &[E::Map(0, PORTS, 0), E::Dnat(0, 1)]].concat();
    t.add_rule("publish", &rule, "");
    let key = [
        E::DestinationKind(0),
        E::Equal(0, LOCAL.to_ne_bytes().to_vec()),
        E::Protocol(0),
        E::DestinationPort(1),
    ];
    let rule = [&key[..], &[E::Map(0, PORTS_ANY, 0), E::Dnat(0, 1)]].concat();
    t.add_rule("publish", &rule, "");
    t.add_rule("prerouting", &[E::Jump("publish")], "");
    t.add_rule("output", &[E::Jump("publish")], "");

    let redirected =
        [E::ConnectionStatus(0), E::Mask(0, REDIRECTED), E::NotEqual(0, 0u32.to_ne_bytes().to_vec())];
    let outside = [E::InputInterface(0), E::In(0, OUTGOING), E::OutputInterface(0), E::NotIn(0, BRIDGES)];
    t.add_rule("postrouting", &[&outside[..], &[E::Masquerade]].concat(), "to the outside");
    // What comes back must come back here, to be undone: else a container would answer its neighbour (or itself)
    // directly, and the host's loopback address not at all. With br_netfilter, packets that are redirected back into
    // their bridge have no input interface, like the host's own.
    let within = [E::InputInterface(0), E::OutputInterface(4), E::In(0, WITHIN)];
    t.add_rule("postrouting", &[&within[..], &redirected, &[E::Masquerade]].concat(), "to a neighbour");
    let bridged = [E::InputIndex(0), E::Equal(0, vec![0; 4]), E::OutputInterface(0), E::In(0, BRIDGES)];
    t.add_rule(
        "postrouting",
        &[&bridged[..], &redirected, &[E::Masquerade]].concat(),
        "from the host itself",
    );

    t.add_rule("forward", &[&within[..], &[E::Accept]].concat(), "");
    t.add_rule("forward", &[E::InputInterface(0), E::In(0, INTERNAL), E::Drop], "");
    t.add_rule("forward", &[E::OutputInterface(0), E::In(0, INTERNAL), E::Drop], "");
    t.add_rule("forward", &[E::OutputInterface(0), E::In(0, BRIDGES), E::Jump("inbound")], "");

    let replies =
        [E::ConnectionState(0), E::Mask(0, REPLIES), E::NotEqual(0, 0u32.to_ne_bytes().to_vec()), E::Accept];
    t.add_rule("inbound", &replies, "");
    t.add_rule("inbound", &[&redirected[..], &[E::Accept]].concat(), "published");
    t.add_rule("inbound", &[E::Drop], "other bridges, and unpublished ports");
}
