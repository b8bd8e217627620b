//! A container's place on a network, as asked for and as made.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use spec::Id;

use crate::{Error, PublishedPort};

/// How a container wants to be on one network.
#[derive(Debug, Clone, Default)]
pub struct EndpointRequest {
    /// Network name or id.
    pub network: String,
    /// A fixed address.
    pub ip: Option<Ipv4Addr>,
    /// A fixed IPv6 address.
    pub ip6: Option<Ipv6Addr>,
    /// Further addresses, for this link only.
    pub link_local: Vec<IpAddr>,
    /// A fixed MAC (`02:42:…`); empty: one of ours.
    pub mac: String,
    /// Names it answers to on this network (container name, short id, aliases).
    pub names: Vec<String>,
    /// The container's name, for messages.
    pub container_name: String,
    /// Names that only this container knows on this network, and the name of whom each means.
    pub links: Vec<(String, String)>,
    /// The network with the highest leads outside.
    pub priority: i64,
    /// The interface's name in the container; empty: the network's prefix and a number.
    pub interface: String,
    /// Kernel parameters of the interface, in whose names it is called IFNAME, and their values.
    pub sysctls: Vec<(String, String)>,
}

/// An address of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// In the container.
    pub ip: IpAddr,
    /// Of the subnet.
    pub prefix: u8,
    /// Where packets for elsewhere go; `None` when the network leads nowhere.
    pub gateway: Option<IpAddr>,
}

/// A container's place on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Random, 64 hex digits.
    pub id: Id,
    /// The network's id.
    pub network_id: Id,
    /// The network's name.
    pub network_name: String,
    /// On a network with IPv4.
    pub v4: Option<Address>,
    /// On a network with IPv6.
    pub v6: Option<Address>,
    /// Further addresses, for this link only.
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// `aa:bb:cc:dd:ee:ff`; empty when it is the host interface's.
    pub mac: String,
    /// `eth0` …
    pub interface: String,
    /// The other end of the veth, on the host; empty when there is none.
    pub host_interface: String,
    /// Names on this network.
    pub names: Vec<String>,
    /// Names that only this container knows, and the name of whom each means.
    #[serde(default)]
    pub links: Vec<(String, String)>,
    /// The network with the highest leads outside.
    #[serde(default)]
    pub priority: i64,
}

impl Endpoint {
    /// Its address of a family.
    pub fn address(&self, v4: bool) -> Option<&Address> {
        if v4 { self.v4.as_ref() } else { self.v6.as_ref() }
    }

    /// Its addresses, IPv4's first.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.v4.iter().chain(&self.v6)
    }

    /// The one that stands for it where there is room for one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.addresses().next().map(|address| address.ip)
    }

    /// Whether it has this address.
    pub(crate) fn has(&self, ip: IpAddr) -> bool {
        self.addresses().any(|address| address.ip == ip)
    }
}

/// A container's network namespace with all its endpoints.
#[derive(Debug)]
pub struct Sandbox {
    /// The namespace. Nothing else on the host holds it but the container's processes: no bind mount to leak.
    pub netns: OwnedFd,
    /// In the order of the request; the first is the default route.
    pub endpoints: Vec<Endpoint>,
    /// Published ports.
    pub ports: Vec<PublishedPort>,
}

/// Reads `aa:bb:cc:dd:ee:ff`; not a group's address.
pub(crate) fn parse_mac(text: &str) -> Result<[u8; 6], Error> {
    let invalid = || Error::Invalid(format!("{text} is not a valid mac address"));
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
        let part = part.ok_or_else(invalid)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
    }
    if parts.next().is_some() || mac[0] & 1 == 1 {
        return Err(invalid());
    }
    Ok(mac)
}

pub(crate) fn format_mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The hardware address of an address on a network: locally administered, and the same whenever the address is used
/// again, so that neighbours who remember the pair remember nothing wrong. The first two bytes tell networks apart.
pub(crate) fn mac_of(network: &Id, ip: IpAddr) -> [u8; 6] {
    let digits = |at: usize| u8::from_str_radix(&network.as_str()[at..at + 2], 16).unwrap_or_default();
    let [a, b, c, d] = match ip {
        IpAddr::V4(ip) => ip.octets(),
        // Those given out one after the other differ at the end.
        IpAddr::V6(ip) => {
            let [.., a, b, c, d] = ip.octets();
            [a, b, c, d]
        }
    };
    [digits(0) & 0xfc | 0x02, digits(2), a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses() {
        assert_eq!(format_mac(parse_mac("02:42:ac:11:00:02").unwrap()), "02:42:ac:11:00:02");
        for bad in [
            "",
            "02:42",
            "02:42:ac:11:00:02:01",
            "03:42:ac:11:00:02",
            "0g:42:ac:11:00:02",
            "+1:42:ac:11:00:02",
        ] {
            assert!(parse_mac(bad).is_err(), "{bad}");
        }
        let mac = mac_of(&Id::from_bytes([0xff; 32]), "172.17.0.2".parse().unwrap());
        assert_eq!(mac[0] & 3, 2, "locally administered, one station");
    }
}
