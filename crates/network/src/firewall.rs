//! Our one nftables table: redirection of published ports, masquerading, isolation.
//!
//! ```text
//! maps  ports, ports6          address . protocol . port → address . port    published on one address of the host
//!       ports_any, ports_any6  protocol . port → address . port              published on all of them
//!       sources, sources6      bridge → the host's address that its containers go outside with
//! sets  bridges     our bridges                    internal     those without a way out
//!       outgoing, outgoing6        those whose containers go outside with the host's address
//!       within      pairs (in, out) that may talk: a bridge with itself
//!       same        pairs of a bridge with itself, whether its containers talk or not
//!       trusted     pairs (in, out) of the host's interfaces and bridges that they reach as they like
//!       open, open6                address . protocol . port of containers that are reached directly
//!       unprotected, unprotected6  bridges that are reached as one likes
//!       routed, routed6            bridges whose containers answer pings from outside
//!
//! guard (raw)         nobody but the host itself reaches 127.0.0.0/8
//! prerouting, output  → publish: redirect by the maps
//! postrouting         to the outside, and back to the same bridge: masquerade
//! forward             → user; accept within a bridge; drop to and from internal ones; → inbound
//! user                the administrator's: rules here are kept, and come first
//! inbound             what goes into a bridge: replies and published ports only
//! ```
//!
//! Publishing a port is one element. Nothing here decides about packets that do not concern our bridges, and what we
//! accept another chain of the host's firewall may still drop: its rules have the last word. Only its policy has not
//! (ufw's, or Docker's `iptables -P FORWARD DROP`): see `host_chains`.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use sys::netlink::nft::{
    self, ChainKind, Element, Expression as E, Hook, Key, Set, TableFamily, Transaction, Type,
};
use sys::netlink::{Family, Socket, conntrack};

use crate::options::GatewayMode;
use crate::port::Protocol;
use crate::redirection::{How, Redirection};
use crate::{Driver, Network};

const PORTS: [&str; 2] = ["ports", "ports6"];
const PORTS_ANY: [&str; 2] = ["ports_any", "ports_any6"];
const SOURCES: [&str; 2] = ["sources", "sources6"];
const OUTGOING: [&str; 2] = ["outgoing", "outgoing6"];
const OPEN: [&str; 2] = ["open", "open6"];
const UNPROTECTED: [&str; 2] = ["unprotected", "unprotected6"];
const ROUTED: [&str; 2] = ["routed", "routed6"];
const BRIDGES: &str = "bridges";
const INTERNAL: &str = "internal";
const WITHIN: &str = "within";
const SAME: &str = "same";
const TRUSTED: &str = "trusted";

/// The administrator's chain.
pub(crate) const USER: &str = "user";
/// All others.
const CHAINS: [&str; 7] = ["guard", "publish", "prerouting", "output", "postrouting", "inbound", "forward"];

/// Elements in one transaction: the kernel takes a message of about 200 kB.
const ELEMENTS: usize = 1000;

/// Priorities of the host's hooks (`enum nf_ip_hook_priorities`).
const RAW: i32 = -300;
const DESTINATION_NAT: i32 = -100;
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;

/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
const FAMILIES: [u8; 2] = [2, 10];
/// `IPPROTO_ICMP` and `IPPROTO_ICMPV6`.
const ICMP: [u8; 2] = [1, 58];
/// `RTN_LOCAL`: an address of this host.
const LOCAL: u32 = 2;
/// `NF_CT_STATE_BIT` of established and related.
const REPLIES: u32 = 2 | 4;
/// `IPS_DST_NAT`: the connection was redirected.
const REDIRECTED: u32 = 32;

/// Which of a pair of names is a family's.
fn index(v4: bool) -> usize {
    usize::from(!v4)
}

/// The table, by name.
#[derive(Debug)]
pub(crate) struct Firewall {
    table: String,
    respects_host: bool,
    /// Published ports are reached at the containers' own addresses as well.
    direct: bool,
    /// Kept open: when one is closed, the kernel waits until all that was deleted by anyone is freed (10 ms).
    sockets: Mutex<Vec<Socket>>,
    /// By which notifications name them.
    socket_ports: Mutex<Vec<u32>>,
}

impl Firewall {
    pub(crate) fn new(table: &str, respects_host: bool, direct: bool) -> Self {
        Self {
            table: table.to_owned(),
            respects_host,
            direct,
            sockets: Mutex::default(),
            socket_ports: Mutex::default(),
        }
    }

    /// Works with a socket that nobody else uses meanwhile.
    pub(crate) fn with_socket<T>(&self, work: impl FnOnce(&mut Socket) -> sys::Result<T>) -> sys::Result<T> {
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

    fn transaction(&self) -> Transaction {
        Transaction::new(TableFamily::Inet, &self.table)
    }

    fn commit(&self, t: Transaction) -> sys::Result<()> {
        self.with_socket(|socket| t.commit(socket))
    }

    /// Makes the table as it should be, whatever it was before; the administrator's chain stays.
    pub(crate) fn install(&self, networks: &[Network], redirections: &[Redirection]) -> sys::Result<()> {
        let exists = self.with_socket(|s| nft::table_exists(s, TableFamily::Inet, &self.table))?;
        let (first, rest) = redirections.split_at(redirections.len().min(ELEMENTS));
        let whole = |t: &mut Transaction| {
            add_sets(t);
            add_chains(t, self.respects_host);
            networks.iter().for_each(|network| add_bridge(t, network));
            add_redirections(t, first, self.direct);
        };
        // The transaction leaves no gap. Deleting costs the kernel some 10 ms: not when there is nothing to delete.
        let mut t = self.transaction();
        t.add_table(TEXT);
        if exists {
            add_sets(&mut t);
            declare_chains(&mut t);
            CHAINS.iter().for_each(|chain| t.flush_chain(chain));
            sets().iter().for_each(|(set, _)| t.flush_set(set.name));
        }
        whole(&mut t);
        match self.commit(t) {
            // Its parts are not what they should be: another version's, or someone has meddled with more than rules.
            Err(_) if exists => {
                let mut t = self.transaction();
                t.add_table(TEXT);
                t.delete_table();
                t.add_table(TEXT);
                whole(&mut t);
                self.commit(t)?;
            }
            done => done?,
        }
        self.publish(rest)
    }

    /// Lets a new bridge take part.
    pub(crate) fn add_bridge(&self, network: &Network) -> sys::Result<()> {
        if network.driver != Driver::Bridge {
            return Ok(());
        }
        let mut t = self.transaction();
        add_bridge(&mut t, network);
        self.commit(t)
    }

    /// Forgets a bridge.
    pub(crate) fn remove_bridge(&self, network: &Network) -> sys::Result<()> {
        if network.driver != Driver::Bridge {
            return Ok(());
        }
        let mut t = self.transaction();
        for (set, element) in bridge_elements(network) {
            t.delete_elements(set, &[element]);
        }
        self.commit(t)
    }

    /// Redirects published ports.
    pub(crate) fn publish(&self, redirections: &[Redirection]) -> sys::Result<()> {
        for chunk in redirections.chunks(ELEMENTS) {
            let mut t = self.transaction();
            add_redirections(&mut t, chunk, self.direct);
            self.commit(t)?;
        }
        self.forget_flows(redirections);
        Ok(())
    }

    /// Only the first packet of a connection is redirected, and for UDP a connection is whatever goes on between two
    /// ports: who has sent to the port before, or still sends to its last holder, would never be led here.
    fn forget_flows(&self, redirections: &[Redirection]) {
        let udp = redirections.iter().map(|r| &r.port).filter(|p| p.protocol == "udp" && p.host_port != 0);
        let ports: std::collections::BTreeSet<u16> = udp.map(|p| p.host_port).collect();
        for port in ports {
            // Without it new senders are served all the same.
            let _ = self.with_socket(|s| conntrack::forget(s, Protocol::Udp.number(), port));
        }
    }

    /// Ends redirections.
    pub(crate) fn unpublish(&self, redirections: &[Redirection]) -> sys::Result<()> {
        for chunk in redirections.chunks(ELEMENTS) {
            let mut t = self.transaction();
            for (map, elements) in by_map(chunk, self.direct) {
                t.delete_elements(map, &elements);
            }
            self.commit(t)?;
        }
        self.forget_flows(redirections);
        Ok(())
    }

    /// Removes the table; none is no error.
    pub(crate) fn remove(&self) -> sys::Result<()> {
        let mut t = self.transaction();
        t.add_table("");
        t.delete_table();
        self.commit(t)
    }
}

const TEXT: &str = "containers' networks; made by cortend and put back if it is changed";

fn add_bridge(t: &mut Transaction, network: &Network) {
    for (set, element) in bridge_elements(network) {
        t.add_elements(set, &[element]);
    }
}

fn add_redirections(t: &mut Transaction, redirections: &[Redirection], direct: bool) {
    for (map, elements) in by_map(redirections, direct) {
        t.add_elements(map, &elements);
    }
}

/// Elements, by the map or set they are in. One that several ask for is in there once.
fn by_map(redirections: &[Redirection], direct: bool) -> Vec<(&'static str, Vec<Element>)> {
    let mut maps: Vec<(&'static str, Vec<Element>)> = Vec::new();
    let elements = |r: &Redirection| {
        let opened = (direct && r.how == How::Redirected).then(|| element(r, How::Direct)).flatten();
        element(r, r.how).into_iter().chain(opened).collect::<Vec<_>>()
    };
    for (map, element) in redirections.iter().flat_map(elements) {
        match maps.iter_mut().find(|(name, _)| *name == map) {
            Some((_, elements))
                if map.starts_with(OPEN[0]) && elements.iter().any(|e| e.key == element.key) => {}
            Some((_, elements)) => elements.push(element),
            None => maps.push((map, vec![element])),
        }
    }
    maps
}

fn element(redirection: &Redirection, how: How) -> Option<(&'static str, Element)> {
    let Redirection { port, to, owner, .. } = redirection;
    let protocol = Protocol::parse(&port.protocol).ok()?.number();
    let family = index(to.is_ipv4());
    let comment = owner.clone();
    match how {
        How::Redirected => {
            let (map, key) = if port.host_ip.is_unspecified() {
                (PORTS_ANY[family], Key::new())
            } else {
                (PORTS[family], Key::new().ip(port.host_ip))
            };
            let key = key.protocol(protocol).port(port.host_port).build();
            let data = Some(Key::new().ip(*to).port(port.container_port).build());
            Some((map, Element { key, data, comment }))
        }
        How::Direct => {
            let key = Key::new().ip(*to).protocol(protocol).port(port.container_port).build();
            Some((OPEN[family], Element { key, data: None, comment }))
        }
        How::Relayed => None,
    }
}

/// What a network adds to the sets.
fn bridge_elements(network: &Network) -> Vec<(&'static str, Element)> {
    if network.driver != Driver::Bridge {
        return Vec::new();
    }
    let options = network.options();
    let bridge = network.interface.as_str();
    let with = |key: Key, data: Option<Key>| Element {
        key: key.build(),
        data: data.map(Key::build),
        comment: network.name.clone(),
    };
    let alone = || with(Key::new().interface(bridge), None);
    let mut elements = vec![(BRIDGES, alone())];
    if network.internal {
        elements.push((INTERNAL, alone()));
    }
    elements.push((SAME, with(Key::new().interface(bridge).interface(bridge), None)));
    if options.containers_talk {
        elements.push((WITHIN, with(Key::new().interface(bridge).interface(bridge), None)));
    }
    for name in &options.trusted {
        elements.push((TRUSTED, with(Key::new().interface(name).interface(bridge), None)));
    }
    for v4 in [true, false].into_iter().filter(|v4| if *v4 { network.v4 } else { network.v6 }) {
        let mode = options.gateway_mode(v4);
        let family = index(v4);
        let nat = matches!(mode, GatewayMode::Nat | GatewayMode::NatUnprotected);
        if nat && options.masquerade && !network.internal {
            elements.push((OUTGOING[family], alone()));
        }
        match mode {
            GatewayMode::NatUnprotected => elements.push((UNPROTECTED[family], alone())),
            GatewayMode::Routed => elements.push((ROUTED[family], alone())),
            GatewayMode::Nat | GatewayMode::Isolated => {}
        }
        let source = if v4 { options.source.map(IpAddr::V4) } else { options.source6.map(IpAddr::V6) };
        if let Some(ip) = source.filter(|_| nat && !network.internal) {
            elements.push((SOURCES[family], with(Key::new().interface(bridge), Some(Key::new().ip(ip)))));
        }
    }
    elements
}

/// All sets and maps, with what nft(8) shows of each.
fn sets() -> Vec<(Set<'static>, &'static str)> {
    const ONE: [&[Type]; 2] =
        [&[Type::Ipv4, Type::Protocol, Type::Port], &[Type::Ipv6, Type::Protocol, Type::Port]];
    const TARGET: [&[Type]; 2] = [&[Type::Ipv4, Type::Port], &[Type::Ipv6, Type::Port]];
    const ADDRESS: [&[Type]; 2] = [&[Type::Ipv4], &[Type::Ipv6]];
    const BRIDGE: &[Type] = &[Type::Interface];
    let map = |name, key, data| Set { name, key, data: Some(data) };
    let set = |name, key| Set { name, key, data: None };
    let mut all = Vec::new();
    for family in 0..2 {
        all.push((map(PORTS[family], ONE[family], TARGET[family]), "published on one address"));
        all.push((
            map(PORTS_ANY[family], &[Type::Protocol, Type::Port], TARGET[family]),
            "published on all addresses of the host",
        ));
        all.push((
            map(SOURCES[family], BRIDGE, ADDRESS[family]),
            "bridges that go outside with this address",
        ));
        all.push((set(OUTGOING[family], BRIDGE), "bridges that go outside with the host's address"));
        all.push((set(OPEN[family], ONE[family]), "ports of containers that are reached directly"));
        all.push((set(UNPROTECTED[family], BRIDGE), "bridges that are reached as one likes"));
        all.push((set(ROUTED[family], BRIDGE), "bridges that are reached directly"));
    }
    all.push((set(BRIDGES, BRIDGE), "our bridges"));
    all.push((set(INTERNAL, BRIDGE), "bridges without a way out"));
    all.push((set(WITHIN, &[Type::Interface, Type::Interface]), "in and out that may talk"));
    all.push((set(SAME, &[Type::Interface, Type::Interface]), "in and out of the same bridge"));
    all.push((set(TRUSTED, &[Type::Interface, Type::Interface]), "in and out without protection"));
    all
}

fn add_sets(t: &mut Transaction) {
    sets().into_iter().for_each(|(set, text)| t.add_set(set, text));
}

fn declare_chains(t: &mut Transaction) {
    t.add_base_chain("guard", ChainKind::Filter, Hook::Prerouting, RAW, "");
    t.add_chain("publish", "redirect to the containers");
    t.add_base_chain("prerouting", ChainKind::Nat, Hook::Prerouting, DESTINATION_NAT, "");
    t.add_base_chain("output", ChainKind::Nat, Hook::Output, DESTINATION_NAT, "");
    t.add_base_chain("postrouting", ChainKind::Nat, Hook::Postrouting, SOURCE_NAT, "");
    t.add_chain(USER, "yours: what you add here stays, and comes first");
    t.add_chain("inbound", "what may go into a bridge");
    t.add_base_chain("forward", ChainKind::Filter, Hook::Forward, FILTER, "");
}

/// Goes on with packets of a family.
fn is(v4: bool) -> [E<'static>; 2] {
    [E::Family(0), E::Equal(0, vec![FAMILIES[index(v4)]])]
}

/// The destination's address, in registers from 0 on, and behind which register it ends.
fn destination(v4: bool) -> (E<'static>, u8) {
    if v4 { (E::DestinationAddress(0), 1) } else { (E::DestinationAddress6(0), 4) }
}

/// The destination's address, protocol and port, in registers from 0 on.
fn place(v4: bool) -> [E<'static>; 3] {
    let (address, end) = destination(v4);
    [address, E::Protocol(end), E::DestinationPort(end + 1)]
}

fn add_chains(t: &mut Transaction, respects_host: bool) {
    declare_chains(t);
    // Our bridges route 127.0.0.0/8 (route_localnet), so that the host's own connections to published ports on it
    // can be redirected; for everyone else it must stay the host's own. (The kernel sees to that for ::1.)
    let not_from_here = E::NotEqual(0, Key::new().interface("lo").build());
    let to_loopback = E::Equal(0, vec![127]);
    t.add_rule(
        "guard",
        &[
            &[E::InputInterface(0), not_from_here][..],
            &is(true),
            &[E::DestinationAddress(0), to_loopback, E::Drop],
        ]
        .concat(),
        "ports published on 127.0.0.1 are for this host",
    );
    publish(t);
    // Then whoever comes from outside must find his way past the host's own rules, to the sockets of this process.
    let guests = [E::InputInterface(0), E::In(0, BRIDGES)];
    let guests = if respects_host { &guests[..] } else { &[] };
    t.add_rule("prerouting", &[guests, &[E::Jump("publish")]].concat(), "");
    t.add_rule("output", &[E::Jump("publish")], "");

    let redirected =
        [E::ConnectionStatus(0), E::Mask(0, REDIRECTED), E::NotEqual(0, 0u32.to_ne_bytes().to_vec())];
    let within = [E::InputInterface(0), E::OutputInterface(4), E::In(0, WITHIN)];
    outgoing(t, &redirected);
    forward(t, &redirected, &within);
}

fn publish(t: &mut Transaction) {
    for v4 in [true, false] {
        let family = index(v4);
        let mut start = is(v4).to_vec();
        if !v4 {
            let loopback = std::net::Ipv6Addr::LOCALHOST.octets().to_vec();
            start.extend([E::DestinationAddress6(0), E::NotEqual(0, loopback)]);
        }
        let dnat = if v4 { E::Dnat(0, 1) } else { E::Dnat6(0, 4) };
        let one = [E::Map(0, PORTS[family], 0), dnat.clone()];
        t.add_rule("publish", &[&start[..], &place(v4), &one].concat(), "");
        let any = [
            E::DestinationKind(0),
            E::Equal(0, LOCAL.to_ne_bytes().to_vec()),
            E::Protocol(0),
            E::DestinationPort(1),
            E::Map(0, PORTS_ANY[family], 0),
            dnat,
        ];
        t.add_rule("publish", &[&start[..], &any].concat(), "");
    }
}

fn outgoing(t: &mut Transaction, redirected: &[E<'_>]) {
    let outside = [E::OutputInterface(0), E::NotIn(0, BRIDGES), E::InputInterface(0)];
    for v4 in [true, false] {
        let family = index(v4);
        let snat = [E::Map(0, SOURCES[family], 0), if v4 { E::Snat(0) } else { E::Snat6(0) }];
        t.add_rule(
            "postrouting",
            &[&is(v4)[..], &outside, &snat].concat(),
            "to the outside, as the user says",
        );
        let masquerade = [E::In(0, OUTGOING[family]), E::Masquerade];
        t.add_rule("postrouting", &[&is(v4)[..], &outside, &masquerade].concat(), "to the outside");
    }
    // What comes back must come back here, to be undone: else a container would answer its neighbour (or itself)
    // directly, and the host's loopback address not at all. With br_netfilter, packets that are redirected back into
    // their bridge have no input interface, like the host's own.
    let same = [E::InputInterface(0), E::OutputInterface(4), E::In(0, SAME)];
    t.add_rule("postrouting", &[&same[..], redirected, &[E::Masquerade]].concat(), "to a neighbour");
    let bridged = [E::InputIndex(0), E::Equal(0, vec![0; 4]), E::OutputInterface(0), E::In(0, BRIDGES)];
    t.add_rule("postrouting", &[&bridged[..], redirected, &[E::Masquerade]].concat(), "from the host itself");
}

fn forward(t: &mut Transaction, redirected: &[E<'_>], within: &[E<'_>]) {
    let from_bridge = [E::InputInterface(0), E::In(0, BRIDGES)];
    let into_bridge = [E::OutputInterface(0), E::In(0, BRIDGES)];
    let not_from_bridge = [E::InputInterface(0), E::NotIn(0, BRIDGES)];
    t.add_rule("forward", &[&from_bridge[..], &[E::Jump(USER)]].concat(), "");
    t.add_rule("forward", &[&not_from_bridge[..], &into_bridge, &[E::Jump(USER)]].concat(), "");
    t.add_rule("forward", &[within, &[E::Accept]].concat(), "");
    t.add_rule("forward", &[E::InputInterface(0), E::In(0, INTERNAL), E::Drop], "");
    t.add_rule("forward", &[E::OutputInterface(0), E::In(0, INTERNAL), E::Drop], "");
    t.add_rule("forward", &[&into_bridge[..], &[E::Jump("inbound")]].concat(), "");

    let replies =
        [E::ConnectionState(0), E::Mask(0, REPLIES), E::NotEqual(0, 0u32.to_ne_bytes().to_vec()), E::Accept];
    t.add_rule("inbound", &replies, "");
    t.add_rule("inbound", &[redirected, &[E::Accept]].concat(), "published");
    t.add_rule(
        "inbound",
        &[E::InputInterface(0), E::OutputInterface(4), E::In(0, TRUSTED), E::Accept],
        "the user trusts them",
    );
    for v4 in [true, false] {
        let family = index(v4);
        let open = [E::In(0, OPEN[family]), E::Accept];
        t.add_rule("inbound", &[&is(v4)[..], &place(v4), &open].concat(), "published without redirection");
        let unprotected = [E::OutputInterface(0), E::In(0, UNPROTECTED[family]), E::Accept];
        t.add_rule("inbound", &[&is(v4)[..], &unprotected].concat(), "");
        let ping = [
            E::Protocol(0),
            E::Equal(0, vec![ICMP[family]]),
            E::OutputInterface(0),
            E::In(0, ROUTED[family]),
            E::Accept,
        ];
        t.add_rule("inbound", &[&is(v4)[..], &ping].concat(), "");
    }
    t.add_rule("inbound", &[E::Drop], "other bridges, and unpublished ports");
}
