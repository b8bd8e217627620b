//! A network, as recorded and as asked for.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use spec::Id;

use crate::pool::Subnet;

/// The largest packet on a bridge whose user says nothing.
const MTU: u32 = 1500;

/// What kind of network it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A Linux bridge with NAT.
    Bridge,
    /// The host's own namespace.
    Host,
    /// Only loopback.
    Null,
}

/// A network as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// 64 hex digits.
    pub id: Id,
    /// Unique.
    pub name: String,
    /// Kind.
    pub driver: Driver,
    /// RFC 3339.
    pub created: String,
    /// `None` for host and none.
    pub subnet: Option<(Ipv4Addr, u8)>,
    /// The bridge's own address.
    pub gateway: Option<Ipv4Addr>,
    /// Addresses are drawn from here, if given.
    pub ip_range: Option<(Ipv4Addr, u8)>,
    /// The bridge's interface name; empty for host and none.
    pub bridge: String,
    /// No route to the outside.
    pub internal: bool,
    /// The default bridge has no name service.
    pub names: bool,
    /// User labels.
    pub labels: BTreeMap<String, String>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
}

/// A network to make.
#[derive(Debug, Clone, Default)]
pub struct NewNetwork {
    /// Unique name.
    pub name: String,
    /// `bridge` or empty.
    pub driver: String,
    /// Chosen by the user; otherwise from the pools.
    pub subnet: Option<(Ipv4Addr, u8)>,
    /// Chosen by the user; otherwise the subnet's first.
    pub gateway: Option<Ipv4Addr>,
    /// Chosen by the user.
    pub ip_range: Option<(Ipv4Addr, u8)>,
    /// No route to the outside.
    pub internal: bool,
    /// User labels.
    pub labels: BTreeMap<String, String>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
}

impl Network {
    /// The predefined networks' names cannot be given to others.
    pub fn is_predefined(&self) -> bool {
        is_predefined(&self.name)
    }

    pub(crate) fn subnet(&self) -> Option<Subnet> {
        self.subnet.and_then(|(ip, prefix)| Subnet::new(ip, prefix))
    }

    /// Largest packet, bytes (`com.docker.network.driver.mtu`).
    pub(crate) fn mtu(&self) -> u32 {
        self.options.get("com.docker.network.driver.mtu").and_then(|mtu| mtu.parse().ok()).unwrap_or(MTU)
    }

    /// Containers reach each other on this network.
    pub(crate) fn containers_talk(&self) -> bool {
        self.flag("com.docker.network.bridge.enable_icc")
    }

    /// Containers go outside with the host's address.
    pub(crate) fn masquerades(&self) -> bool {
        !self.internal && self.flag("com.docker.network.bridge.enable_ip_masquerade")
    }

    fn flag(&self, option: &str) -> bool {
        self.options.get(option).is_none_or(|value| !matches!(value.as_str(), "false" | "0" | "f" | "False"))
    }
}

pub(crate) fn is_predefined(name: &str) -> bool {
    matches!(name, "bridge" | "host" | "none")
}
