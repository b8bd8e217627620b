//! Opening the room: what is recorded, and what is in the kernel, become one again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use spec::Id;
use sys::netlink::route::{self, Batch};
use sys::netlink::{Family, Socket};
use sys::netns;

use crate::create::now;
use crate::error::chain;
use crate::leftover::Leftovers;
use crate::networks::{Core, Entry, State};
use crate::pool::{Range, Subnet, free_subnet};
use crate::ready::Ready;
use crate::record::{Record, Records};
use crate::relay::Relay;
use crate::resolver::Resolver;
use crate::watch::Watcher;
use crate::{Config, Driver, Error, Network, Networks, bridge, forwarding, namespace};

impl Networks {
    /// Reads the records, serves names for the containers in `alive` again (id and a pid in its network namespace), brings
    /// bridges, rules and their published ports back into the kernel where they are missing, removes what belongs to no
    /// one, and makes the predefined networks `bridge`, `host`, `none`.
    ///
    /// # Errors
    /// A record cannot be read, or the kernel refused.
    pub fn open(config: Config, alive: &[(Id, i32)]) -> Result<Self, Error> {
        if !config.bridge.is_empty() {
            bridge::check_name("bridge", &config.bridge)?;
        }
        let records = Records::open(&config.state, &config.run)?;
        let mut state = State::default();
        for record in records.containers()? {
            if alive.iter().any(|(id, _)| *id == record.container) {
                state.containers.insert(record.container.clone(), record);
            } else {
                records.remove_container(&record.container)?;
            }
        }
        for network in records.networks()? {
            state.networks.insert(network.id.clone(), Entry::new(network));
        }
        let seed = crate::networks::seed();
        let core = Arc::new(Core::new(config, records, state.of_names(), seed));
        let resolver = Arc::new(Resolver::start(Arc::clone(&core))?);
        // Nothing goes before that: somebody waits for an answer since the last daemon's end.
        for record in state.containers.values_mut() {
            restore_names(&core, &resolver, record, alive)?;
        }
        let (config, records) = (&core.config, &core.records);
        let mut socket = Socket::open(Family::Route)?;
        state.settle_default_bridge(config, records, &mut socket, seed)?;
        state.settle_simple("host", Driver::Host, records)?;
        state.settle_simple("none", Driver::Null, records)?;
        if config.forwarding {
            forwarding::turn_on(&mut socket, records, true)?;
        }
        for entry in state.networks.values_mut() {
            match core.ensure(&mut socket, &entry.network) {
                Ok(bridge) => entry.bridge = bridge,
                Err(e) if entry.network.is_predefined() => return Err(e),
                // An interface of the host's may come back, one in the way may go. The others must not suffer.
                Err(e) => entry.trouble = Some(chain(&e)),
            }
            entry.settled = true;
        }
        state.restore_addresses();
        state.reattach(&mut socket)?;
        let orphans = state.orphans(&mut socket)?;
        *core.state() = state;

        core.install_firewall()?;
        let containers: Vec<Record> = core.state().containers.values().cloned().collect();
        for record in &containers {
            record.ports.iter().for_each(|port| core.ports.restore(&record.container, port));
        }
        let leftovers = Leftovers::start()?;
        leftovers.delete_later(orphans.into_iter());
        let watcher = Watcher::start(Arc::clone(&core))?;
        let ready = {
            let core = Arc::clone(&core);
            // They are on the default network.
            let count = if core.config.bridge.is_empty() { 0 } else { core.config.ready };
            Ready::start(count, move || core.prepare())?
        };
        let networks = Self {
            core,
            ready: Arc::new(ready),
            resolver,
            relay: Arc::new(Relay::start()?),
            leftovers: Arc::new(leftovers),
            _watcher: Arc::new(watcher),
        };
        for record in &containers {
            networks.relay_ports(&record.container)?;
        }
        // As in `create`.
        let _ = networks.core.allow_through_host();
        Ok(networks)
    }
}

/// Opens the name server of a container that lives on.
fn restore_names(
    core: &Core,
    resolver: &Resolver,
    record: &mut Record,
    alive: &[(Id, i32)],
) -> Result<(), Error> {
    if record.resolver.is_none() {
        return Ok(());
    }
    let Some((_, pid)) = alive.iter().find(|(id, _)| *id == record.container) else { return Ok(()) };
    // It may have exited since it was asked for: its release will follow.
    let Ok(netns) = netns::of_process(*pid) else { return Ok(()) };
    let sockets = namespace::open_resolver(&netns, record.resolver)?;
    let ports = Some(sockets.ports);
    resolver.serve(&record.container, sockets)?;
    if record.resolver != ports {
        record.resolver = ports;
        core.records.write_container(record)?;
    }
    Ok(())
}

impl State {
    /// What names mean, before anything else is known.
    fn of_names(&self) -> Self {
        let settled = |entry: &Entry| Entry { settled: true, ..Entry::new(entry.network.clone()) };
        let networks = self.networks.iter().map(|(id, entry)| (id.clone(), settled(entry))).collect();
        Self { networks, containers: self.containers.clone() }
    }

    /// The default bridge: as recorded, unless the configuration wants another one, or none, and nobody is on it.
    fn settle_default_bridge(
        &mut self,
        config: &Config,
        records: &Records,
        socket: &mut Socket,
        seed: u64,
    ) -> Result<(), Error> {
        let recorded = self.networks.values().find(|e| e.network.name == "bridge").map(|e| e.network.clone());
        if let Some(network) = &recorded {
            if as_wanted(network, config) || self.endpoints_of(&network.id).next().is_some() {
                return Ok(());
            }
            bridge::remove(socket, &network.interface)?;
            self.networks.remove(&network.id);
        }
        if config.bridge.is_empty() {
            return recorded.map_or(Ok(()), |network| records.remove_network(&network.id));
        }
        let mut ranges = Vec::new();
        for v4 in [true, false].into_iter().filter(|v4| *v4 || config.default_network.v6) {
            let mut range = match given(config, v4)? {
                Some(range) => range,
                None => {
                    let host = bridge::taken_subnets(socket, &[&config.bridge])?;
                    let ours = self.networks.values().flat_map(|e| e.network.ranges.iter().map(|r| r.subnet));
                    let taken: Vec<_> = host.into_iter().chain(ours).collect();
                    Range::whole(
                        free_subnet(&config.pools, v4, None, seed, &taken).ok_or(Error::PoolsUsedUp)?,
                    )
                }
            };
            range.range = if v4 { config.default_network.range } else { config.default_network.range6 };
            let subnet = range.subnet;
            if let Some(part) = range.range
                && (part.prefix() < subnet.prefix() || !subnet.contains(part.first()))
            {
                return Err(Error::Invalid(format!(
                    "invalid range {part}: it is not in the default network's subnet {subnet}"
                )));
            }
            range.reserved = reserved(config, v4);
            if let Some(ip) = range.reserved.values().find(|ip| !subnet.contains(**ip)) {
                return Err(Error::Invalid(format!(
                    "invalid default gateway {ip}: it is not in the default network's subnet {subnet}"
                )));
            }
            ranges.push(range);
        }
        let network = Network {
            id: recorded.map_or_else(|| Id::from_bytes(sys::random::bytes()), |network| network.id),
            ranges,
            v6: config.default_network.v6,
            interface: config.bridge.clone(),
            owns_interface: true,
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
            let Some(entry) = self.networks.get_mut(&endpoint.network_id) else { continue };
            for ip in endpoint.addresses().map(|address| address.ip) {
                for addresses in entry.addresses.iter_mut().filter(|a| a.subnet().contains(ip)) {
                    // Recorded addresses were given out once each.
                    let _ = addresses.claim(ip);
                    addresses.resume_after(ip);
                }
            }
        }
    }

    /// Ends of veths whose bridge was removed and made again are its ports again.
    fn reattach(&self, socket: &mut Socket) -> Result<(), Error> {
        let links = route::links(socket)?;
        for endpoint in self.containers.values().flat_map(|r| &r.endpoints) {
            let Some(entry) = self.networks.get(&endpoint.network_id).filter(|e| e.bridge != 0) else {
                continue;
            };
            let lost =
                |link: &&route::Link| link.name == endpoint.host_interface && link.master != entry.bridge;
            if links.iter().any(|link| lost(&link)) {
                let mut batch = Batch::new();
                batch.attach(&endpoint.host_interface, entry.bridge);
                batch.port(&endpoint.host_interface, !entry.network.options().containers_talk);
                // One whose container has just ended is gone: its release will follow.
                let _ = batch.send(socket);
            }
        }
        Ok(())
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

/// Whether the recorded default network is what the configuration says.
fn as_wanted(network: &Network, config: &Config) -> bool {
    let wanted = &config.default_network;
    network.interface == config.bridge
        && network.options == default_options(config)
        && network.v6 == wanted.v6
        && [true, false].into_iter().all(|v4| {
            network.ranges_of(v4).all(|range| {
                let part = if v4 { wanted.range } else { wanted.range6 };
                range.range == part
                    && range.reserved == reserved(config, v4)
                    && given(config, v4).is_ok_and(|given| {
                        given.is_none_or(|g| g.subnet == range.subnet && g.gateway == range.gateway)
                    })
            })
        })
}

/// The default network's subnet of a family, if the configuration says it: by the bridge's address, or (IPv6) by the
/// range of the containers' addresses.
fn given(config: &Config, v4: bool) -> Result<Option<Range>, Error> {
    let bip = if v4 {
        config.bip.map(|(ip, prefix)| (ip.into(), prefix))
    } else {
        config.bip6.map(|(ip, prefix)| (ip.into(), prefix))
    };
    let Some((ip, prefix)) = bip else {
        return Ok(config.default_network.range6.filter(|_| !v4).map(Range::whole));
    };
    let longest = if v4 { 30 } else { 126 };
    let subnet = Subnet::new(ip, prefix)
        .filter(|s| (1..=longest).contains(&prefix) && s.first() != ip && !(v4 && s.last() == ip))
        .ok_or_else(|| Error::Invalid(format!("invalid address for the bridge: {ip}/{prefix}")))?;
    Ok(Some(Range { gateway: Some(ip), ..Range::whole(subnet) }))
}

/// The containers' gateway, when it is not the bridge: under Docker's name for it.
fn reserved(config: &Config, v4: bool) -> BTreeMap<String, IpAddr> {
    let name = if v4 { "DefaultGatewayIPv4" } else { "DefaultGatewayIPv6" };
    let gateways = config.default_network.gateways.iter().filter(|ip| ip.is_ipv4() == v4);
    gateways.map(|ip| (name.to_owned(), *ip)).collect()
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
        v4: true,
        v6: false,
        ranges: Vec::new(),
        interface: String::new(),
        owns_interface: false,
        internal: false,
        names: false,
        attachable: false,
        ipam_options: BTreeMap::new(),
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
    }
}
