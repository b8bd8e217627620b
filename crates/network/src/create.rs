//! Making a network.

use spec::Id;
use sys::netlink::{Family, Socket, route};

use crate::network::is_predefined;
use crate::networks::{Core, Entry};
use crate::options::{GatewayMode, Options};
use crate::pool::{Range, Subnet, free_subnet};
use crate::{Driver, Error, Network, Networks, NewNetwork, bridge, forwarding, parent};

impl Networks {
    /// Makes a network: record, interface, rules.
    ///
    /// # Errors
    /// The name is taken, the subnet overlaps, no pool is free, or the kernel refused; nothing is left then.
    pub fn create(&self, new: NewNetwork) -> Result<Network, Error> {
        let core = &self.core;
        let (driver, options) = check(&new)?;
        let mut socket = Socket::open(Family::Route)?;
        // A bridge that is there is someone's: it would be removed with the network.
        if let Some(name) = options.bridge.as_ref().filter(|_| driver == Driver::Bridge)
            && route::link(&mut socket, name)?.is_some()
        {
            return Err(Error::Forbidden(format!(
                "cannot create network {}: this host has an interface {name} already",
                new.name
            )));
        }
        let parent_is_there = match &options.parent {
            Some(name) if driver != Driver::Bridge => parent::is_there(&mut socket, name)?,
            _ => false,
        };
        let taken = bridge::taken_subnets(&mut socket, &[])?;
        let network = core.reserve(new, driver, &options, parent_is_there, &taken)?;
        let made = (|| {
            let index = core.ensure(&mut socket, &network)?;
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
                // What others drop they drop; the watch tries again at their next change.
                let _ = core.allow_through_host();
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
fn check(new: &NewNetwork) -> Result<(Driver, Options), Error> {
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
    let driver = match new.driver.as_str() {
        "" => Driver::Bridge,
        name => Driver::parse(name).ok_or_else(|| Error::NoDriver(name.to_owned()))?,
    };
    if !driver.has_endpoints() {
        return Err(Error::Forbidden(format!(
            "only one instance of \"{}\" network is allowed",
            driver.name()
        )));
    }
    if new.without_v4 && !new.v6 {
        return Err(Error::Invalid("IPv4 or IPv6 must be enabled".to_owned()));
    }
    let options = Options::read(&new.options)?;
    if driver == Driver::Bridge {
        if let Some(name) = &options.bridge {
            bridge::check_name("bridge", name)?;
        }
        let isolated = [true, false].iter().any(|v4| options.gateway_mode(*v4) == GatewayMode::Isolated);
        if isolated && !new.internal {
            return Err(Error::Invalid(
                "gateway mode 'isolated' can only be used for an internal network".to_owned(),
            ));
        }
    } else if let Some(name) = &options.parent {
        parent::check(name, driver)?;
    }
    for v4 in [true, false] {
        let ranges: Vec<_> = new.ranges.iter().filter(|range| range.subnet.is_v4() == v4).collect();
        if driver == Driver::Bridge && ranges.len() > 1 {
            return Err(Error::Forbidden("bridge driver doesn't support multiple subnets".to_owned()));
        }
        for (at, range) in ranges.iter().enumerate() {
            check_range(range, driver)?;
            if let Some(other) = ranges[..at].iter().find(|other| other.subnet.overlaps(range.subnet)) {
                let (subnet, other) = (range.subnet.to_string(), other.subnet.to_string());
                return Err(Error::Overlap { subnet, other });
            }
        }
    }
    Ok((driver, options))
}

/// A subnet needs room for a gateway and a container; what is in it must be in it.
fn check_range(range: &Range, driver: Driver) -> Result<(), Error> {
    let subnet = range.subnet;
    if range.is_any() && (range.gateway.is_some() || range.range.is_some() || !range.reserved.is_empty()) {
        return Err(Error::Invalid(format!(
            "invalid subnet {subnet}: any one of that size is meant, so nothing in it can be chosen"
        )));
    }
    let longest = if subnet.is_v4() { 30 } else { 126 };
    if driver == Driver::Bridge && !(1..=longest).contains(&subnet.prefix()) {
        return Err(Error::Invalid(format!(
            "invalid subnet {subnet}: the prefix must be from 1 to {longest}"
        )));
    }
    if let Some(ip) =
        range.gateway.into_iter().chain(range.reserved.values().copied()).find(|ip| !subnet.contains(*ip))
    {
        return Err(Error::Invalid(format!("invalid address {ip}: it is not in subnet {subnet}")));
    }
    match range.range {
        Some(part) if part.prefix() < subnet.prefix() || !subnet.contains(part.first()) => {
            Err(Error::Invalid(format!("invalid ip-range {part}: it is not in subnet {subnet}")))
        }
        Some(_) | None => Ok(()),
    }
}

impl Core {
    /// Takes a name, subnets and an interface's name: unsettled, so that nobody uses it yet.
    fn reserve(
        &self,
        new: NewNetwork,
        driver: Driver,
        options: &Options,
        parent_is_there: bool,
        host: &[Subnet],
    ) -> Result<Network, Error> {
        let id = Id::from_bytes(sys::random::bytes());
        let interface = match (driver, &options.bridge, &options.parent) {
            (Driver::Bridge, Some(name), _) => name.clone(),
            (Driver::Bridge, None, _) => bridge::name_of(&id),
            (_, _, Some(name)) => name.clone(),
            (_, _, None) => parent::name_of(&id, driver),
        };
        let mut state = self.state();
        if state.networks.values().any(|e| e.network.name == new.name) {
            return Err(Error::Exists(new.name));
        }
        let same = state.networks.values().map(|e| &e.network).filter(|n| n.interface == interface);
        for other in same {
            let text = if driver == Driver::Bridge {
                format!(
                    "cannot create network {} ({id}): conflicts with network {} ({}): networks have same bridge name",
                    new.name, other.id, other.name
                )
            } else if other.driver != driver
                || [options.macvlan_mode, other.options().macvlan_mode]
                    .contains(&route::MacvlanMode::Passthru)
            {
                format!("network {} is already using parent interface {interface}", other.name)
            } else {
                continue;
            };
            return Err(Error::Forbidden(text));
        }
        let ours = || {
            let ranges =
                |e| -> Vec<_> { Entry::ranges(e).map(|range| (e.network.name.clone(), range)).collect() };
            state.networks.values().flat_map(ranges)
        };
        let mut ranges = Vec::new();
        for v4 in [true, false] {
            if !(if v4 { !new.without_v4 } else { new.v6 }) {
                continue;
            }
            let free = |size, chosen: &[Range]| {
                let wanted = new.ranges.iter().filter(|range| !range.is_any()).chain(chosen);
                let taken = ours().map(|(_, subnet)| subnet).chain(wanted.map(|range| range.subnet));
                let taken: Vec<_> = taken.chain(host.iter().copied()).collect();
                let subnet = free_subnet(&self.config.pools, v4, size, self.seed, &taken);
                subnet.map(Range::whole).ok_or(Error::PoolsUsedUp)
            };
            let mut wanted = new.ranges.iter().filter(|range| range.subnet.is_v4() == v4).peekable();
            if wanted.peek().is_none() {
                ranges.push(free(None, &ranges)?);
            }
            for range in wanted {
                if range.is_any() {
                    ranges.push(free(Some(range.subnet.prefix()), &ranges)?);
                    continue;
                }
                if let Some((name, other)) = ours().find(|(_, other)| other.overlaps(range.subnet)) {
                    let other = format!("{other} (network {name})");
                    return Err(Error::Overlap { subnet: range.subnet.to_string(), other });
                }
                ranges.push(Range {
                    gateway: range.gateway.or(Some(range.subnet.first_host())),
                    ..range.clone()
                });
            }
        }
        let network = Network {
            id,
            name: new.name,
            driver,
            created: now(),
            v4: !new.without_v4,
            v6: new.v6,
            ranges,
            interface,
            owns_interface: !parent_is_there,
            internal: new.internal,
            names: true,
            attachable: new.attachable,
            labels: new.labels,
            options: new.options,
            ipam_options: new.ipam_options,
        };
        state.networks.insert(network.id.clone(), Entry::new(network.clone()));
        Ok(network)
    }

    /// Brings what a network has in the kernel there, or completes it. Returns the bridge's interface number.
    pub(crate) fn ensure(&self, socket: &mut Socket, network: &Network) -> Result<u32, Error> {
        match network.driver {
            Driver::Bridge => {
                if network.v6 && self.config.forwarding {
                    forwarding::turn_on(socket, &self.records, false)?;
                }
                bridge::ensure(socket, network)
            }
            Driver::Macvlan | Driver::Ipvlan => parent::ensure(socket, network).map(|()| 0),
            Driver::Host | Driver::Null => Ok(0),
        }
    }

    /// Tries again to bring a network into the kernel that could not be there when the room was opened.
    pub(crate) fn mend(&self, name_or_id: &str) -> Result<(), Error> {
        let broken = {
            let state = self.state();
            let entry = state.find(name_or_id).ok().filter(|entry| entry.trouble.is_some());
            entry.map(|entry| entry.network.clone())
        };
        let Some(network) = broken else { return Ok(()) };
        let index = self.ensure(&mut Socket::open(Family::Route)?, &network)?;
        if let Some(entry) = self.state().networks.get_mut(&network.id) {
            entry.bridge = index;
            entry.trouble = None;
        }
        Ok(())
    }
}

impl Entry {
    /// A network nobody is on, not settled.
    pub(crate) fn new(network: Network) -> Self {
        let addresses = network.ranges.iter().map(Range::addresses).collect();
        Self { network, addresses, bridge: 0, settled: false, trouble: None }
    }

    fn ranges(&self) -> impl Iterator<Item = Subnet> {
        self.network.ranges.iter().map(|range| range.subnet)
    }
}

/// The time, as records have it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}
