//! Making a network.

use std::net::Ipv4Addr;

use spec::Id;
use sys::netlink::{Family, Socket, route};

use crate::network::is_predefined;
use crate::networks::{Core, Entry};
use crate::pool::{Addresses, Subnet, free_subnet};
use crate::{Driver, Error, Network, Networks, NewNetwork, bridge};

/// A bridge's name, if the user wants one.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";

impl Networks {
    /// Makes a network: record, bridge, rules.
    ///
    /// # Errors
    /// The name is taken, the subnet overlaps, no pool is free, or the kernel refused; nothing is left then.
    pub fn create(&self, new: NewNetwork) -> Result<Network, Error> {
        let core = &self.core;
        check(&new)?;
        let mut socket = Socket::open(Family::Route)?;
        // A bridge that is there is someone's: it would be removed with the network.
        if let Some(name) = new.options.get(BRIDGE_NAME)
            && route::link(&mut socket, name)?.is_some()
        {
            return Err(Error::Forbidden(format!(
                "cannot create network {}: this host has an interface {name} already",
                new.name
            )));
        }
        let taken = bridge::taken_subnets(&mut socket, &[])?;
        let network = core.reserve(new, &taken)?;
        let made = (|| {
            let index = bridge::ensure(&mut socket, &network)?;
            core.change_firewall(|firewall| firewall.add_bridge(&network))?;
            core.records.write_network(&network)?;
            Ok(index)
        })();
        match made {
            Ok(index) => {
                if let Some(entry) = core.state().networks.get_mut(&network.id) {
                    entry.bridge = index;
                    entry.settled = true;
                }
                Ok(network)
            }
            Err(e) => {
                // The first failure is the one to report.
                let _ = core.dismantle(&network);
                Err(e)
            }
        }
    }
}

/// What can be refused without knowing the other networks.
fn check(new: &NewNetwork) -> Result<(), Error> {
    let name = new.name.as_str();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if name.is_empty() || !name.bytes().all(plain) || !name.as_bytes()[0].is_ascii_alphanumeric() {
        return Err(Error::Invalid(format!(
            "invalid network name {name:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed"
        )));
    }
    if is_predefined(name) {
        return Err(Error::Forbidden(format!("operation is not permitted on predefined {name} network")));
    }
    match new.driver.as_str() {
        "" | "bridge" => {}
        "host" | "null" => {
            return Err(Error::Forbidden(format!(
                "only one instance of \"{}\" network is allowed",
                new.driver
            )));
        }
        other => {
            return Err(Error::Invalid(format!("network driver {other:?} is not supported: use bridge")));
        }
    }
    if let Some(name) = new.options.get(BRIDGE_NAME) {
        bridge::check_name(name)?;
    }
    let Some((ip, prefix)) = new.subnet else {
        return match (new.gateway, new.ip_range) {
            (None, None) => Ok(()),
            _ => Err(Error::Invalid("a gateway or an IP range needs a subnet".to_owned())),
        };
    };
    let subnet = Subnet::new(ip, prefix).filter(|_| (1..=30).contains(&prefix)).ok_or_else(|| {
        Error::Invalid(format!("invalid subnet {ip}/{prefix}: the prefix must be from 1 to 30"))
    })?;
    if subnet.first() != ip {
        return Err(Error::Invalid(format!("invalid subnet {ip}/{prefix}: it should be {subnet}")));
    }
    if let Some(gateway) = new.gateway
        && !subnet.contains(gateway)
    {
        return Err(Error::Invalid(format!("invalid gateway {gateway}: it is not in subnet {subnet}")));
    }
    if let Some((ip, prefix)) = new.ip_range
        && !Subnet::new(ip, prefix)
            .is_some_and(|range| range.prefix() >= subnet.prefix() && subnet.contains(range.first()))
    {
        return Err(Error::Invalid(format!("invalid IP range {ip}/{prefix}: it is not in subnet {subnet}")));
    }
    Ok(())
}

impl Core {
    /// Enters a network, not settled yet: its name and subnet are its own from here on.
    fn reserve(&self, new: NewNetwork, host: &[Subnet]) -> Result<Network, Error> {
        let id = Id::from_bytes(sys::random::bytes());
        let bridge = new.options.get(BRIDGE_NAME).cloned().unwrap_or_else(|| bridge::name_of(&id));
        let mut state = self.state();
        if state.networks.values().any(|e| e.network.name == new.name) {
            return Err(Error::Exists(new.name));
        }
        if let Some(other) = state.networks.values().find(|e| e.network.bridge == bridge) {
            let text = format!(
                "cannot create network {}: network {} has the same bridge name {bridge}",
                new.name, other.network.name
            );
            return Err(Error::Forbidden(text));
        }
        let ours = || state.networks.values().filter_map(|e| Some((e, e.network.subnet()?)));
        let subnet = match new.subnet.and_then(|(ip, prefix)| Subnet::new(ip, prefix)) {
            Some(subnet) => match ours().find(|(_, other)| other.overlaps(subnet)) {
                Some((entry, other)) => {
                    let other = format!("{other} (network {})", entry.network.name);
                    return Err(Error::Overlap { subnet: subnet.to_string(), other });
                }
                None => subnet,
            },
            None => {
                let taken: Vec<_> = ours().map(|(_, s)| s).chain(host.iter().copied()).collect();
                free_subnet(&self.config.pools, &taken).ok_or(Error::PoolsUsedUp)?
            }
        };
        let gateway = new.gateway.unwrap_or_else(|| first_host(subnet));
        let network = Network {
            id,
            name: new.name,
            driver: Driver::Bridge,
            created: now(),
            subnet: Some((subnet.first(), subnet.prefix())),
            gateway: Some(gateway),
            ip_range: new.ip_range,
            bridge,
            internal: new.internal,
            names: true,
            labels: new.labels,
            options: new.options,
        };
        state.networks.insert(network.id.clone(), Entry::new(network.clone()));
        Ok(network)
    }
}

impl Entry {
    /// A network nobody is on, not settled.
    pub(crate) fn new(network: Network) -> Self {
        let range = network.ip_range.and_then(|(ip, prefix)| Subnet::new(ip, prefix));
        let addresses = network
            .subnet()
            .zip(network.gateway)
            .map(|(subnet, gateway)| Addresses::new(subnet, range, gateway));
        Self { network, addresses, bridge: 0, settled: false }
    }
}

/// The address after the network's own: the gateway, unless the user says otherwise.
pub(crate) fn first_host(subnet: Subnet) -> Ipv4Addr {
    (u32::from(subnet.first()) + 1).into()
}

/// The time, as records have it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}
