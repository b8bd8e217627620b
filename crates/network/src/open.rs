//! Opening the room: what is recorded, and what is in the kernel, become one again.

use std::collections::BTreeMap;
use std::sync::Arc;

use spec::Id;
use sys::netlink::route;
use sys::netlink::{Family, Socket};
use sys::{netns, sysctl};

use crate::create::{first_host, now};
use crate::leftover::Leftovers;
use crate::networks::{Core, Entry, State};
use crate::pool::{Subnet, free_subnet};
use crate::ready::Ready;
use crate::record::{Record, Records};
use crate::resolver::Resolver;
use crate::watch::Watcher;
use crate::{Config, Driver, Error, Network, Networks, bridge};

const FORWARDING: &str = "net/ipv4/ip_forward";

impl Networks {
    /// Reads the records, brings bridges, rules and published ports of containers in `alive` (id and a pid in its
    /// network namespace) back into the kernel where they are missing, removes what belongs to no one, and makes the
    /// predefined networks `bridge`, `host`, `none`. Serves names for the alive containers again.
    ///
    /// # Errors
    /// A record cannot be read, or the kernel refused.
    pub fn open(config: Config, alive: &[(Id, i32)]) -> Result<Self, Error> {
        bridge::check_name(&config.bridge)?;
        let records = Records::open(&config.state)?;
        let mut state = State::default();
        for record in records.containers()? {
            if alive.iter().any(|(id, _)| *id == record.container) {
                state.containers.insert(record.container.clone(), record);
            } else {
                records.remove_container(&record.container)?;
            }
        }
        let mut socket = Socket::open(Family::Route)?;
        for network in records.networks()? {
            state.networks.insert(network.id.clone(), Entry::new(network));
        }
        state.settle_default_bridge(&config, &records, &mut socket)?;
        state.settle_simple("host", Driver::Host, &records)?;
        state.settle_simple("none", Driver::Null, &records)?;
        if config.forwarding {
            turn_on_forwarding(&records)?;
        }
        for entry in state.networks.values_mut() {
            if entry.network.driver == Driver::Bridge {
                entry.bridge = bridge::ensure(&mut socket, &entry.network)?;
            }
            entry.settled = true;
        }
        state.restore_addresses();
        let orphans = state.orphans(&mut socket)?;

        let core = Arc::new(Core::new(config, records, state));
        core.install_firewall()?;
        let containers: Vec<Record> = core.state().containers.values().cloned().collect();
        for record in &containers {
            record.ports.iter().for_each(|port| core.ports.restore(&record.container, port));
        }
        let resolver = Resolver::start(Arc::clone(&core))?;
        let leftovers = Leftovers::start()?;
        leftovers.delete_later(orphans.into_iter());
        let watcher = Watcher::start(Arc::clone(&core))?;
        let ready = {
            let core = Arc::clone(&core);
            Ready::start(core.config.ready, move || core.prepare())?
        };
        let networks = Self {
            core,
            ready: Arc::new(ready),
            resolver: Arc::new(resolver),
            leftovers: Arc::new(leftovers),
            _watcher: Arc::new(watcher),
        };
        for record in &containers {
            networks.restore_names(record, alive)?;
        }
        Ok(networks)
    }

    /// Opens the name server of a container that lives on.
    fn restore_names(&self, record: &Record, alive: &[(Id, i32)]) -> Result<(), Error> {
        if record.resolver.is_none() {
            return Ok(());
        }
        let Some((_, pid)) = alive.iter().find(|(id, _)| *id == record.container) else { return Ok(()) };
        // It may have exited since it was asked for: its release will follow.
        let Ok(netns) = netns::of_process(*pid) else { return Ok(()) };
        self.serve_names(&record.container, &netns)?;
        self.core.save(&record.container)
    }
}

impl State {
    /// The default bridge: as recorded, unless the configuration wants another address and nobody is on it.
    fn settle_default_bridge(
        &mut self,
        config: &Config,
        records: &Records,
        socket: &mut Socket,
    ) -> Result<(), Error> {
        let recorded = self.networks.values().find(|e| e.network.name == "bridge").map(|e| e.network.clone());
        if let Some(network) = &recorded {
            let as_wanted = network.bridge == config.bridge
                && network.options == default_options(config)
                && network.ip_range == config.default_network.range
                && config.bip.is_none_or(|(ip, prefix)| {
                    network.gateway == Some(ip) && network.subnet.is_some_and(|(_, p)| p == prefix)
                });
            if as_wanted || self.endpoints_of(&network.id).next().is_some() {
                return Ok(());
            }
            bridge::remove(socket, &network.bridge)?;
            self.networks.remove(&network.id);
        }
        let (subnet, gateway) = match config.bip {
            Some((ip, prefix)) => {
                let subnet = Subnet::new(ip, prefix)
                    .filter(|s| (1..=30).contains(&prefix) && s.first() != ip && s.last() != ip)
                    .ok_or_else(|| {
                        Error::Invalid(format!("invalid address for the bridge: {ip}/{prefix}"))
                    })?;
                (subnet, ip)
            }
            None => {
                let host = bridge::taken_subnets(socket, &[&config.bridge])?;
                let ours = self.networks.values().filter_map(|e| e.network.subnet());
                let taken: Vec<_> = host.into_iter().chain(ours).collect();
                let subnet = free_subnet(&config.pools, &taken).ok_or(Error::PoolsUsedUp)?;
                (subnet, first_host(subnet))
            }
        };
        if let Some((ip, prefix)) = config.default_network.range
            && !Subnet::new(ip, prefix)
                .is_some_and(|range| range.prefix() >= subnet.prefix() && subnet.contains(range.first()))
        {
            return Err(Error::Invalid(format!(
                "invalid range {ip}/{prefix}: it is not in the default network's subnet {subnet}"
            )));
        }
        let network = Network {
            id: recorded.map_or_else(|| Id::from_bytes(sys::random::bytes()), |network| network.id),
            subnet: Some((subnet.first(), subnet.prefix())),
            gateway: Some(gateway),
            ip_range: config.default_network.range,
            bridge: config.bridge.clone(),
            options: default_options(config),
            ..simple("bridge", Driver::Bridge)
        };
        records.write_network(&network)?;
        self.networks.insert(network.id.clone(), Entry::new(network));
        Ok(())
    }

    /// `host` and `none`: nothing in the kernel, but an id that stays.
    fn settle_simple(&mut self, name: &str, driver: Driver, records: &Records) -> Result<(), Error> {
        if self.networks.values().any(|e| e.network.name == name) {
            return Ok(());
        }
        let network = simple(name, driver);
        records.write_network(&network)?;
        self.networks.insert(network.id.clone(), Entry::new(network));
        Ok(())
    }

    /// The addresses of the living are theirs.
    fn restore_addresses(&mut self) {
        for endpoint in self.containers.values().flat_map(|r| &r.endpoints) {
            let entry = self.networks.get_mut(&endpoint.network_id);
            if let Some(addresses) = entry.and_then(|e| e.addresses.as_mut()) {
                // Recorded addresses were given out once each.
                let _ = addresses.claim(endpoint.ip);
                addresses.resume_after(endpoint.ip);
            }
        }
    }

    /// Veths on our bridges that are no one's.
    fn orphans(&self, socket: &mut Socket) -> Result<Vec<String>, Error> {
        let is_ours = |index| self.networks.values().any(|e| e.bridge != 0 && e.bridge == index);
        let endpoints = || self.containers.values().flat_map(|r| &r.endpoints);
        let links = route::links(socket)?.into_iter();
        Ok(links
            .filter(|link| link.kind == "veth" && is_ours(link.master))
            .filter(|link| !endpoints().any(|e| e.host_interface == link.name))
            .map(|link| link.name)
            .collect())
    }
}

/// The default network's options, as Docker shows them.
fn default_options(config: &Config) -> BTreeMap<String, String> {
    let wanted = &config.default_network;
    let mut options: BTreeMap<_, _> = [
        ("default_bridge", "true".to_owned()),
        ("enable_icc", wanted.containers_talk.to_string()),
        ("enable_ip_masquerade", wanted.masquerade.to_string()),
        ("host_binding_ipv4", wanted.publish_on.to_string()),
        ("name", config.bridge.clone()),
    ]
    .into_iter()
    .map(|(key, value)| (format!("com.docker.network.bridge.{key}"), value))
    .collect();
    options.insert("com.docker.network.driver.mtu".into(), wanted.mtu.to_string());
    options
}

/// A network that is only a name.
fn simple(name: &str, driver: Driver) -> Network {
    Network {
        id: Id::from_bytes(sys::random::bytes()),
        name: name.to_owned(),
        driver,
        created: now(),
        subnet: None,
        gateway: None,
        ip_range: None,
        bridge: String::new(),
        internal: false,
        names: false,
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
    }
}

/// Bridges are useless on a host that forwards nothing. What it was before is recorded.
fn turn_on_forwarding(records: &Records) -> Result<(), Error> {
    let before = sysctl::get(FORWARDING)?;
    if before != "1" {
        records.write_forwarding(&before)?;
        sysctl::set(FORWARDING, "1")?;
    }
    Ok(())
}
