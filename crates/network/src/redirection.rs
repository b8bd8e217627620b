//! Where published ports lead. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use spec::Id;

use crate::networks::State;
use crate::options::GatewayMode;
use crate::record::Record;
use crate::{Driver, PublishedPort};

/// How a published port comes to its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// The kernel redirects what is for the host's address.
    Redirected,
    /// At the container's own address, which others can route to.
    Direct,
    /// This process passes it on, from one family to the other.
    Relayed,
}

/// Where a published port leads, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redirection {
    pub(crate) port: PublishedPort,
    pub(crate) to: IpAddr,
    pub(crate) how: How,
    pub(crate) owner: String,
}

impl Redirection {
    /// Whether this process has to serve it, too: the kernel cannot redirect what comes from ::1, because the answers
    /// would have to come in for ::1 from a bridge.
    pub(crate) fn is_relayed(&self, respects_host: bool) -> bool {
        let from_loopback = |ip: IpAddr| ip.is_ipv6() && (ip.is_unspecified() || ip.is_loopback());
        match self.how {
            How::Direct => false,
            How::Relayed => true,
            How::Redirected => respects_host || from_loopback(self.port.host_ip),
        }
    }
}

impl State {
    /// A container's published ports.
    pub(crate) fn redirections(&self, record: &Record) -> Vec<Redirection> {
        if record.ports.is_empty() {
            return Vec::new();
        }
        let targets = [true, false].map(|v4| self.target(record, v4));
        let redirection = |port: &PublishedPort| {
            let [own, other] = if port.host_ip.is_ipv4() { targets } else { [targets[1], targets[0]] };
            let (to, how) = match (own, other) {
                (Some((to, GatewayMode::Routed)), _) => (to, How::Direct),
                (Some((to, GatewayMode::Nat | GatewayMode::NatUnprotected)), _) => (to, How::Redirected),
                (None, Some((to, GatewayMode::Nat | GatewayMode::NatUnprotected))) => (to, How::Relayed),
                _ => return None,
            };
            Some(Redirection { port: port.clone(), to, how, owner: record.name.clone() })
        };
        record.ports.iter().filter_map(redirection).collect()
    }

    /// Where a family's ports lead.
    fn target(&self, record: &Record, v4: bool) -> Option<(IpAddr, GatewayMode)> {
        let endpoint = self.way_out(record, v4)?;
        let network = &self.networks.get(&endpoint.network_id)?.network;
        // Others are on the outside's network by themselves.
        (network.driver == Driver::Bridge)
            .then(|| Some((endpoint.address(v4)?.ip, network.options().gateway_mode(v4))))
            .flatten()
    }

    /// Whether a container's published ports of a family are reached at its own address.
    pub(crate) fn is_direct(&self, container: &Id, v4: bool) -> bool {
        let record = self.containers.get(container);
        record.and_then(|r| self.target(r, v4)).is_some_and(|(_, mode)| mode == GatewayMode::Routed)
    }

    /// Where ports of a container are published whose user names no address, `default` if its network does not say;
    /// `None` when published ports do not lead to it.
    pub(crate) fn published_on(&self, container: &Id, default: Option<IpAddr>) -> Option<Vec<IpAddr>> {
        let record = self.containers.get(container)?;
        let endpoint = [true, false].into_iter().find_map(|v4| {
            self.target(record, v4)?;
            self.way_out(record, v4)
        })?;
        let network = &self.networks.get(&endpoint.network_id)?.network;
        let both = || vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        Some(match network.options().publish_on.or(default) {
            None | Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => both(),
            Some(ip) => vec![ip],
        })
    }
}
