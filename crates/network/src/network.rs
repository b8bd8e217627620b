//! A network, as recorded and as asked for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use spec::Id;

use crate::options::Options;
use crate::pool::Range;

/// What kind of network it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A Linux bridge.
    Bridge,
    /// Links with hardware addresses of their own on an interface of the host.
    Macvlan,
    /// Links with the hardware address of the host's interface they are on.
    Ipvlan,
    /// The host's own namespace.
    Host,
    /// Only loopback.
    Null,
}

impl Driver {
    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
            Self::Host => "host",
            Self::Null => "null",
        }
    }

    /// By its name in the API.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let all = [Self::Bridge, Self::Macvlan, Self::Ipvlan, Self::Host, Self::Null];
        all.into_iter().find(|driver| driver.name() == name)
    }

    /// Whether containers are connected to it.
    pub fn has_endpoints(self) -> bool {
        matches!(self, Self::Bridge | Self::Macvlan | Self::Ipvlan)
    }
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
    /// Containers get IPv4 addresses.
    pub v4: bool,
    /// Containers get IPv6 addresses.
    pub v6: bool,
    /// Its subnets, IPv4's first. A bridge has one of each family at most.
    pub ranges: Vec<Range>,
    /// The bridge's interface, or the one that macvlan and ipvlan links are made on; empty for host and none.
    pub interface: String,
    /// The interface was made for it and goes with it.
    #[serde(default)]
    pub owns_interface: bool,
    /// No route to the outside.
    pub internal: bool,
    /// The default bridge has no name service.
    pub names: bool,
    /// Shown to clients only: here, every network can be attached to.
    #[serde(default)]
    pub attachable: bool,
    /// User labels.
    pub labels: BTreeMap<String, String>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// Options of the address driver; shown only.
    #[serde(default)]
    pub ipam_options: BTreeMap<String, String>,
}

/// A network to make.
#[derive(Debug, Clone, Default)]
pub struct NewNetwork {
    /// Unique name.
    pub name: String,
    /// `bridge` or empty, `macvlan`, `ipvlan`.
    pub driver: String,
    /// No IPv4 addresses.
    pub without_v4: bool,
    /// IPv6 addresses.
    pub v6: bool,
    /// Chosen by the user; for a family without any, one from the pools.
    pub ranges: Vec<Range>,
    /// No route to the outside.
    pub internal: bool,
    /// Shown only.
    pub attachable: bool,
    /// User labels.
    pub labels: BTreeMap<String, String>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// Shown only.
    pub ipam_options: BTreeMap<String, String>,
}

impl Network {
    /// The predefined networks' names cannot be given to others.
    pub fn is_predefined(&self) -> bool {
        is_predefined(&self.name)
    }

    /// Its subnets of a family.
    pub fn ranges_of(&self, v4: bool) -> impl Iterator<Item = &Range> {
        self.ranges.iter().filter(move |range| range.subnet.is_v4() == v4)
    }

    /// The gateway of a family: a bridge's own address.
    pub fn gateway(&self, v4: bool) -> Option<IpAddr> {
        self.ranges_of(v4).find_map(|range| range.gateway)
    }

    /// What its options say. They were checked when it was made; of a record, what makes no sense is as if not said.
    pub(crate) fn options(&self) -> Options {
        Options::read(&self.options).unwrap_or_default()
    }
}

pub(crate) fn is_predefined(name: &str) -> bool {
    matches!(name, "bridge" | "host" | "none")
}
