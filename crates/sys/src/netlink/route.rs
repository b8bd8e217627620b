//! Links, addresses and routes (rtnetlink(7), `linux/if_link.h`, `linux/rtnetlink.h`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::{
    Attributes, Family, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, Socket, Writer,
    number, text,
};
use crate::Result;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IF_OPER_UP: u8 = 6;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_FLAGS: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
/// No duplicate address detection: the address can be used at once.
const IFA_F_NODAD: u32 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_TABLE: u16 = 15;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IFF_UP: u32 = 1;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in this namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// The bridge it is a port of; 0 for none.
    pub master: u32,
    /// Administratively up.
    pub up: bool,
    /// Up, with a carrier, and the kernel has acted on that: packets pass.
    pub operational: bool,
    /// What made it (`bridge`, `veth`); empty for hardware.
    pub kind: String,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The interface's number.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
}

/// A route of the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// 0.0.0.0 or :: for the default route.
    pub destination: IpAddr,
    /// Bits of the destination.
    pub prefix: u8,
    /// The interface's number; 0 when it has several.
    pub index: u32,
}

/// How a macvlan link lets its siblings on one parent talk (`enum macvlan_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum MacvlanMode {
    /// Not at all.
    Private = 1,
    /// Over the switch outside.
    Vepa = 2,
    /// Directly.
    Bridge = 4,
    /// It is the only one, and has the parent's hardware address.
    Passthru = 8,
}

/// What an ipvlan link looks at to tell whose packet it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum IpvlanMode {
    /// Neighbours on the link are looked up by the container.
    L2 = 0,
    /// The parent's namespace routes.
    L3 = 1,
    /// The same, and its firewall sees the packets.
    L3s = 2,
}

/// Whether ipvlan links of one parent may talk to each other (`IPVLAN_F_`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum IpvlanFlag {
    /// Directly.
    Bridge = 0,
    /// Not at all.
    Private = 1,
    /// Over the switch outside.
    Vepa = 2,
}

/// A link that is made on top of another one, its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stacked {
    /// With a hardware address of its own.
    Macvlan(MacvlanMode),
    /// With its parent's.
    Ipvlan(IpvlanMode, IpvlanFlag),
}

/// The container's end of a veth pair.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    /// Its name there.
    pub name: &'a str,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// The namespace it is born in.
    pub netns: BorrowedFd<'a>,
}

/// Requests to be sent together, in order.
#[derive(Debug, Default)]
pub struct Batch(super::Batch);

/// `struct ifinfomsg`.
fn link_header(family: u8, index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[0] = family;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// No link-local IPv6 address, and so no duplicate address detection or multicast chatter from this link.
fn without_ipv6(w: &mut Writer<'_>) {
    w.nest(IFLA_AF_SPEC, |w| {
        w.nest(u16::from(AF_INET6), |w| w.bytes(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]));
    });
}

impl Batch {
    /// No requests yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a bridge, down. It keeps its hardware address whatever ports it gets, because the address is given.
    pub fn create_bridge(&mut self, name: &str, mac: [u8; 6], mtu: u32) {
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.0.push(("create bridge", name), (RTM_NEWLINK, flags), &link_header(0, 0, 0, 0), |w| {
            w.string(IFLA_IFNAME, name);
            w.bytes(IFLA_ADDRESS, &mac);
            w.u32(IFLA_MTU, mtu);
            w.nest(IFLA_LINKINFO, |w| w.string(IFLA_INFO_KIND, "bridge"));
        });
    }

    /// Makes a veth pair, both ends down: `name` here, the peer in its own namespace.
    pub fn create_veth(&mut self, name: &str, mtu: u32, peer: Peer<'_>) {
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.0.push(("create veth pair", name), (RTM_NEWLINK, flags), &link_header(0, 0, 0, 0), |w| {
            w.string(IFLA_IFNAME, name);
            w.u32(IFLA_MTU, mtu);
            w.nest(IFLA_LINKINFO, |w| {
                w.string(IFLA_INFO_KIND, "veth");
                w.nest(IFLA_INFO_DATA, |w| {
                    w.nest(VETH_INFO_PEER, |w| {
                        w.raw(&link_header(0, 0, 0, 0));
                        w.string(IFLA_IFNAME, peer.name);
                        w.bytes(IFLA_ADDRESS, &peer.mac);
                        w.u32(IFLA_MTU, mtu);
                        w.bytes(IFLA_NET_NS_FD, &peer.netns.as_raw_fd().to_ne_bytes());
                    });
                });
            });
        });
    }

    /// Makes a link on top of the parent, down, born in the peer's namespace. Of an ipvlan link the hardware address is
    /// its parent's.
    pub fn create_stacked(&mut self, kind: Stacked, parent: u32, mtu: u32, peer: Peer<'_>) {
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        let (name, what) = match kind {
            Stacked::Macvlan(_) => ("macvlan", "create macvlan link"),
            Stacked::Ipvlan(..) => ("ipvlan", "create ipvlan link"),
        };
        self.0.push((what, peer.name), (RTM_NEWLINK, flags), &link_header(0, 0, 0, 0), |w| {
            w.string(IFLA_IFNAME, peer.name);
            w.u32(IFLA_LINK, parent);
            w.bytes(IFLA_NET_NS_FD, &peer.netns.as_raw_fd().to_ne_bytes());
            if mtu != 0 {
                w.u32(IFLA_MTU, mtu);
            }
            if !matches!(kind, Stacked::Ipvlan(..) | Stacked::Macvlan(MacvlanMode::Passthru)) {
                w.bytes(IFLA_ADDRESS, &peer.mac);
            }
            w.nest(IFLA_LINKINFO, |w| {
                w.string(IFLA_INFO_KIND, name);
                w.nest(IFLA_INFO_DATA, |w| match kind {
                    Stacked::Macvlan(mode) => w.u32(IFLA_MACVLAN_MODE, mode as u32),
                    Stacked::Ipvlan(mode, flag) => {
                        w.bytes(IFLA_IPVLAN_MODE, &(mode as u16).to_ne_bytes());
                        w.bytes(IFLA_IPVLAN_FLAGS, &(flag as u16).to_ne_bytes());
                    }
                });
            });
        });
    }

    /// Makes a VLAN's link on top of a parent, down.
    pub fn create_vlan(&mut self, name: &str, parent: u32, id: u16) {
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.0.push(("create VLAN link", name), (RTM_NEWLINK, flags), &link_header(0, 0, 0, 0), |w| {
            w.string(IFLA_IFNAME, name);
            w.u32(IFLA_LINK, parent);
            w.nest(IFLA_LINKINFO, |w| {
                w.string(IFLA_INFO_KIND, "vlan");
                w.nest(IFLA_INFO_DATA, |w| w.bytes(IFLA_VLAN_ID, &id.to_ne_bytes()));
            });
        });
    }

    /// Makes a link that leads nowhere, down: a parent for those that talk among themselves only.
    pub fn create_dummy(&mut self, name: &str) {
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.0.push(("create dummy link", name), (RTM_NEWLINK, flags), &link_header(0, 0, 0, 0), |w| {
            w.string(IFLA_IFNAME, name);
            w.nest(IFLA_LINKINFO, |w| w.string(IFLA_INFO_KIND, "dummy"));
        });
    }

    /// Makes a link a port of a bridge, without IPv6 of its own, and brings it up.
    pub fn attach(&mut self, name: &str, bridge: u32) {
        let header = link_header(0, 0, IFF_UP, IFF_UP);
        self.0.push(("attach to bridge", name), (RTM_SETLINK, NLM_F_ACK), &header, |w| {
            w.string(IFLA_IFNAME, name);
            w.u32(IFLA_MASTER, bridge);
            without_ipv6(w);
        });
    }

    /// Lets a bridge's port get back frames it has sent: with `br_netfilter`, a container that reaches itself through a
    /// published port needs this. An isolated port reaches the bridge itself and no other isolated port.
    pub fn port(&mut self, name: &str, isolated: bool) {
        self.0.push(("set up bridge port", name), (RTM_NEWLINK, NLM_F_ACK), &link_header(0, 0, 0, 0), |w| {
            w.string(IFLA_IFNAME, name);
            w.nest(IFLA_LINKINFO, |w| {
                w.string(IFLA_INFO_SLAVE_KIND, "bridge");
                w.nest(IFLA_INFO_SLAVE_DATA, |w| {
                    w.bytes(IFLA_BRPORT_MODE, &[1]);
                    w.bytes(IFLA_BRPORT_ISOLATED, &[u8::from(isolated)]);
                });
            });
        });
    }

    /// Brings a link up.
    pub fn up(&mut self, name: &str) {
        let header = link_header(0, 0, IFF_UP, IFF_UP);
        self.0.push(("bring up", name), (RTM_SETLINK, NLM_F_ACK), &header, |w| w.string(IFLA_IFNAME, name));
    }

    /// Moves a link to another namespace, where it has the name `to`. It is down there, and without addresses.
    pub fn move_to(&mut self, index: u32, to: &str, netns: BorrowedFd<'_>) {
        self.0.push(("move link to", to), (RTM_SETLINK, NLM_F_ACK), &link_header(0, index, 0, 0), |w| {
            w.string(IFLA_IFNAME, to);
            w.u32(IFLA_NET_NS_FD, netns.as_raw_fd().cast_unsigned());
        });
    }

    /// Removes a link; one that is not there is no error. Of a veth pair both ends go. The kernel waits for an RCU
    /// grace period: 10 to 20 ms.
    pub fn delete(&mut self, name: &str) {
        let header = link_header(0, 0, 0, 0);
        self.0
            .push(("delete link", name), (RTM_DELLINK, NLM_F_ACK), &header, |w| w.string(IFLA_IFNAME, name));
        self.0.tolerate(Errno::NODEV);
    }

    /// Gives a link an address, which can be used as soon as the link is up; one it already has is no error.
    pub fn address(&mut self, address: Address) {
        let Address { index, ip, prefix } = address;
        // struct ifaddrmsg
        let mut header = [0; 8];
        header[0] = family_of(ip);
        header[1] = prefix;
        if is_link_local(ip) {
            header[3] = RT_SCOPE_LINK;
        }
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        let object = format!("{ip}/{prefix}");
        self.0.push(("add address", &object), (RTM_NEWADDR, flags), &header, |w| match ip {
            IpAddr::V4(ip) => {
                w.bytes(IFA_LOCAL, &ip.octets());
                w.bytes(IFA_ADDRESS, &ip.octets());
                let broadcast = u32::from(ip) | u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
                w.bytes(IFA_BROADCAST, &broadcast.to_be_bytes());
            }
            IpAddr::V6(ip) => {
                w.bytes(IFA_ADDRESS, &ip.octets());
                w.u32(IFA_FLAGS, IFA_F_NODAD);
            }
        });
        self.0.tolerate(Errno::EXIST);
    }

    /// Sets the default route of the gateway's family, instead of one that is there.
    pub fn default_route(&mut self, gateway: IpAddr, index: u32) {
        let object = gateway.to_string();
        self.route(&object, RT_SCOPE_UNIVERSE, gateway, |w| {
            octets(w, RTA_GATEWAY, gateway);
            w.u32(RTA_OIF, index);
        });
    }

    /// Sets the default route of a family (that of `any`, 0.0.0.0 or ::) to a link on which whoever is meant hears it.
    pub fn default_route_on_link(&mut self, any: IpAddr, index: u32) {
        self.route("link", RT_SCOPE_LINK, any, |w| {
            w.u32(RTA_OIF, index);
        });
    }

    fn route(&mut self, object: &str, scope: u8, any: IpAddr, attributes: impl FnOnce(&mut Writer<'_>)) {
        // struct rtmsg
        let header = [family_of(any), 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, scope, RTN_UNICAST, 0, 0, 0, 0];
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        self.0.push(("set default route", object), (RTM_NEWROUTE, flags), &header, attributes);
    }

    /// Sends them all.
    ///
    /// # Errors
    /// The first that failed; the others were tried as well.
    pub fn send(&self, socket: &mut Socket) -> Result<()> {
        debug_assert_eq!(socket.family, Family::Route);
        socket.run(&self.0)
    }
}

/// A link by name; `None` when there is none. Since Linux 6.8 the kernel acts on a pending change of the link's carrier
/// before it answers.
///
/// # Errors
/// rtnetlink's.
pub fn link(socket: &mut Socket, name: &str) -> Result<Option<Link>> {
    let mut batch = super::Batch::default();
    batch.push(("look up link", name), (RTM_GETLINK, NLM_F_ACK), &link_header(0, 0, 0, 0), |w| {
        w.string(IFLA_IFNAME, name);
    });
    let mut found = None;
    match socket.query(&batch, |kind, payload| {
        if kind == RTM_NEWLINK {
            found = parse_link(payload);
        }
    }) {
        Err(e) if e.errno() == Errno::NODEV.raw_os_error() => Ok(None),
        Err(e) => Err(e),
        Ok(()) => Ok(found),
    }
}

/// All links of the namespace.
///
/// # Errors
/// rtnetlink's.
pub fn links(socket: &mut Socket) -> Result<Vec<Link>> {
    dump(socket, "list links", (RTM_GETLINK, RTM_NEWLINK), &link_header(0, 0, 0, 0), parse_link)
}

/// All addresses of the namespace.
///
/// # Errors
/// rtnetlink's.
pub fn addresses(socket: &mut Socket) -> Result<Vec<Address>> {
    dump(socket, "list addresses", (RTM_GETADDR, RTM_NEWADDR), &[0; 8], parse_address)
}

/// The routes of the main table.
///
/// # Errors
/// rtnetlink's.
pub fn routes(socket: &mut Socket) -> Result<Vec<Route>> {
    dump(socket, "list routes", (RTM_GETROUTE, RTM_NEWROUTE), &[0; 12], parse_route)
}

fn dump<T>(
    socket: &mut Socket,
    step: &'static str,
    (request, answer): (u16, u16),
    header: &[u8],
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<Vec<T>> {
    let mut batch = super::Batch::default();
    batch.push((step, ""), (request, NLM_F_DUMP), header, |_| ());
    let mut found = Vec::new();
    socket.query(&batch, |kind, payload| {
        if kind == answer {
            found.extend(parse(payload));
        }
    })?;
    Ok(found)
}

fn parse_link(payload: &[u8]) -> Option<Link> {
    let header = payload.get(..16)?;
    let mut link = Link {
        index: number(&header[4..8]),
        name: String::new(),
        mtu: 0,
        master: 0,
        up: number(&header[8..12]) & IFF_UP != 0,
        operational: false,
        kind: String::new(),
    };
    for (kind, value) in Attributes(&payload[16..]) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_MTU => link.mtu = number(value),
            IFLA_MASTER => link.master = number(value),
            IFLA_OPERSTATE => link.operational = value == [IF_OPER_UP],
            IFLA_LINKINFO => {
                let info = Attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.kind = info.map(|(_, kind)| text(kind)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

fn parse_address(payload: &[u8]) -> Option<Address> {
    let header = payload.get(..8)?;
    // On a link between two, IFA_ADDRESS is the other's. IPv6 has no IFA_LOCAL elsewhere.
    let value = |wanted: u16| Attributes(&payload[8..]).find(|(kind, _)| *kind == wanted);
    let ip = value(IFA_LOCAL).or_else(|| value(IFA_ADDRESS)).and_then(|(_, ip)| parse_ip(ip))?;
    Some(Address { index: number(&header[4..8]), ip, prefix: header[1] })
}

fn parse_route(payload: &[u8]) -> Option<Route> {
    let header = payload.get(..12)?;
    let any: IpAddr = match header[0] {
        AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let mut route = Route { destination: any, prefix: header[1], index: 0 };
    let mut table = u32::from(header[4]);
    for (kind, value) in Attributes(&payload[12..]) {
        match kind {
            RTA_DST => route.destination = parse_ip(value)?,
            RTA_OIF => route.index = number(value),
            RTA_TABLE => table = number(value),
            _ => {}
        }
    }
    (table == u32::from(RT_TABLE_MAIN)).then_some(route)
}

fn parse_ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn family_of(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn octets(w: &mut Writer<'_>, kind: u16, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => w.bytes(kind, &ip.octets()),
        IpAddr::V6(ip) => w.bytes(kind, &ip.octets()),
    }
}
