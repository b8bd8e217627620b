//! A network's bridge in the kernel.

use spec::Id;
use sys::netlink::Socket;
use sys::netlink::route::{self, Address, Batch};
use sys::sysctl;

use crate::options::GatewayMode;
use crate::pool::Subnet;
use crate::{Error, Network};

/// The kernel's limit for an interface's name, without the NUL (`IFNAMSIZ`).
const NAME_MAX: usize = 15;
/// The largest packet on a bridge whose user says nothing.
pub(crate) const MTU: u32 = 1500;

/// The bridge of a user's network.
pub(crate) fn name_of(id: &Id) -> String {
    format!("br-{}", id.short())
}

/// A name the user chose; it becomes a path under `/proc/sys`, so only what an interface can be called is let through.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), Error> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty()
        || name.len() > NAME_MAX
        || !name.bytes().all(plain)
        || name.bytes().all(|b| b == b'.')
        || matches!(name, "all" | "default" | "lo")
    {
        return Err(Error::Invalid(format!("invalid {what} name {name:?}: 1 to 15 of [a-zA-Z0-9_.-]")));
    }
    Ok(())
}

/// Brings a network's bridge into the kernel, or completes the one that is there. Returns its interface number.
pub(crate) fn ensure(socket: &mut Socket, network: &Network) -> Result<u32, Error> {
    let bridge = network.interface.as_str();
    let options = network.options();
    let mut batch = Batch::new();
    let found = route::link(socket, bridge)?;
    if let Some(link) = &found
        && link.kind != "bridge"
    {
        let text = format!("{bridge} is a {} interface of this host, not a bridge", link.kind);
        return Err(Error::Invalid(text));
    }
    if found.is_none() {
        let random: [u8; 6] = sys::random::bytes();
        let [first, rest @ ..] = random;
        let mac = [first & 0xfc | 0x02, rest[0], rest[1], rest[2], rest[3], rest[4]];
        batch.create_bridge(bridge, mac, options.mtu.unwrap_or(MTU));
        batch.send(socket)?;
    }
    let link = match found {
        Some(link) => link,
        None => route::link(socket, bridge)?.ok_or_else(|| Error::Kernel {
            step: "look up bridge",
            object: bridge.to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        })?,
    };
    let conf = |name: &str| format!("net/ipv6/conf/{bridge}/{name}");
    if network.v6 {
        sysctl::set(&conf("disable_ipv6"), "0")?;
        // Its addresses are ours alone to give out, also the one the kernel makes.
        sysctl::set(&conf("accept_dad"), "0")?;
        sysctl::set(&conf("accept_ra"), "0")?;
    } else {
        // Kernels without IPv6 lack the file.
        let _ = sysctl::set(&conf("disable_ipv6"), "1");
    }
    // So that connections of the host to 127.0.0.1 can be redirected into the bridge; the firewall's guard keeps
    // everyone else from 127.0.0.0/8.
    sysctl::set(&format!("net/ipv4/conf/{bridge}/route_localnet"), "1")?;
    let mut batch = Batch::new();
    for v4 in [true, false] {
        let without = options.gateway_mode(v4) == GatewayMode::Isolated || (v4 && options.without_v4_address);
        if without {
            continue;
        }
        for range in network.ranges_of(v4) {
            if let Some(ip) = range.gateway {
                batch.address(Address { index: link.index, ip, prefix: range.subnet.prefix() });
            }
        }
    }
    batch.up(bridge);
    batch.send(socket)?;
    Ok(link.index)
}

/// Refuses a bridge that somebody has removed: what is to be its port would lead nowhere.
pub(crate) fn check(socket: &mut Socket, bridge: &str, index: u32) -> Result<(), Error> {
    let found = route::link(socket, bridge)?.is_some_and(|link| link.index == index);
    if found { Ok(()) } else { Err(Error::BridgeGone(bridge.to_owned())) }
}

/// Removes a bridge; none is no error.
pub(crate) fn remove(socket: &mut Socket, bridge: &str) -> Result<(), Error> {
    let mut batch = Batch::new();
    batch.delete(bridge);
    Ok(batch.send(socket)?)
}

/// What the host's routes and addresses take, but for those of `ours`: bridges that will be used as they are.
pub(crate) fn taken_subnets(socket: &mut Socket, ours: &[&str]) -> Result<Vec<Subnet>, Error> {
    let links = route::links(socket)?;
    let own = |index: u32| links.iter().any(|l| l.index == index && ours.contains(&l.name.as_str()));
    let routes = route::routes(socket)?.into_iter().map(|r| (r.index, r.destination, r.prefix));
    let addresses = route::addresses(socket)?.into_iter().map(|a| (a.index, a.ip, a.prefix));
    Ok(routes
        .chain(addresses)
        // The default route overlaps with all and takes nothing.
        .filter(|(_, ip, prefix)| !ip.is_unspecified() || *prefix > 0)
        .filter(|(index, ..)| !own(*index))
        .filter_map(|(_, ip, prefix)| Subnet::new(ip, prefix))
        .collect())
}
