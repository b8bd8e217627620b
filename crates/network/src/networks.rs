//! What this room knows of the host's networks, and looking it up.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustix::io::Errno;
use spec::Id;
use sys::sysctl::{Lookup, Parameters};

use crate::firewall::Firewall;
use crate::firewalld::Firewalld;
use crate::host_chains::HostChains;
use crate::leftover::Leftovers;
use crate::pool::{Addresses, Pool, Subnet};
use crate::port::Ports;
use crate::ready::Ready;
use crate::record::{Record, Records};
use crate::relay::Relay;
use crate::resolver::Resolver;
use crate::watch::Watcher;
use crate::{Driver, Endpoint, Error, Network};

/// This many containers are a crowd.
const CROWD: usize = 64;

/// How the room is set up. Tests and second daemons on a host use their own names and pools.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where networks are recorded.
    pub state: PathBuf,
    /// Where connected containers are recorded: none is connected any more after a crash of the machine.
    pub run: PathBuf,
    /// The default bridge's interface (`corten0`); empty: there is no default network.
    pub bridge: String,
    /// The default bridge's address and prefix; `None` takes the first free pool.
    pub bip: Option<(Ipv4Addr, u8)>,
    /// The same for IPv6, if the default network has it.
    pub bip6: Option<(Ipv6Addr, u8)>,
    /// The rest of the default network.
    pub default_network: DefaultNetwork,
    /// Turn forwarding on in the kernel, without which bridges lead nowhere.
    pub forwarding: bool,
    /// Pools for new networks. A family without any has Docker's.
    pub pools: Vec<Pool>,
    /// Our nftables table (`corten`).
    pub table: String,
    /// Where ports are published whose user names no address, nor their network; `None` is everywhere.
    pub publish_on: Option<IpAddr>,
    /// Published ports are served by this process instead of being redirected, for all but the host and containers: what
    /// the host's own firewall says of packets to itself goes for them.
    pub respect_host: bool,
    /// The system bus, where firewalld is asked to accept our bridges (`/run/dbus/system_bus_socket`).
    pub bus: PathBuf,
    /// Published ports are reached at the containers' own addresses as well, by who can route there.
    pub direct: bool,
    /// How many network namespaces with a veth on the default bridge to keep ready.
    pub ready: usize,
}

impl Default for Config {
    /// Docker's, under our names.
    fn default() -> Self {
        Self {
            state: PathBuf::from("/var/lib/corten/network"),
            run: PathBuf::from("/run/corten/network"),
            bridge: "corten0".to_owned(),
            bip: None,
            bip6: None,
            default_network: DefaultNetwork::default(),
            forwarding: true,
            pools: Vec::new(),
            table: "corten".to_owned(),
            publish_on: None,
            respect_host: false,
            bus: PathBuf::from("/run/dbus/system_bus_socket"),
            direct: false,
            ready: 4,
        }
    }
}

/// What the default network is like. A change is for a network that nobody is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultNetwork {
    /// Addresses of containers are drawn from here; `None` is the whole subnet.
    pub range: Option<Subnet>,
    /// Containers get IPv6 addresses.
    pub v6: bool,
    /// The same of IPv6; without an address of the bridge's own it is the subnet as well.
    pub range6: Option<Subnet>,
    /// Containers' gateways, when they are not the bridge's addresses.
    pub gateways: Vec<IpAddr>,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// Containers reach each other.
    pub containers_talk: bool,
    /// Containers go outside with the host's address.
    pub masquerade: bool,
    /// Where ports are published whose user names no address; only shown.
    pub publish_on: IpAddr,
}

impl Default for DefaultNetwork {
    /// Docker's.
    fn default() -> Self {
        Self {
            range: None,
            v6: false,
            range6: None,
            gateways: Vec::new(),
            mtu: 1500,
            containers_talk: true,
            masquerade: true,
            publish_on: Ipv4Addr::UNSPECIFIED.into(),
        }
    }
}

/// The networks of this host. Cheap to clone, safe to share.
///
/// Dropping the last clone leaves everything in the kernel as it is: containers go on, and the next
/// [`open`](Self::open) finds them.
#[derive(Debug, Clone)]
pub struct Networks {
    pub(crate) core: Arc<Core>,
    pub(crate) ready: Arc<Ready>,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) leftovers: Arc<Leftovers>,
    pub(crate) _watcher: Arc<Watcher>,
}

/// What the threads share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) records: Records,
    pub(crate) ports: Ports,
    pub(crate) firewall: Firewall,
    pub(crate) host_chains: HostChains,
    pub(crate) firewalld: Firewalld,
    /// `net/ipv6/conf` of the host; none where its kernel lacks IPv6.
    host_ipv6: Option<Parameters>,
    /// Of the containers' namespaces.
    pub(crate) parameters: Lookup,
    /// The host's own part of private IPv6 addresses.
    pub(crate) seed: u64,
    /// Written while the whole table is made, read while a part of it is changed: what is made anew from the state
    /// must not lose a change on its way.
    rebuilding: RwLock<()>,
    /// What others let pass is brought in line with the bridges that there are by one at a time.
    passing: Mutex<()>,
    state: Mutex<State>,
}

/// Networks and who is on them. Behind a lock that is never held over a kernel call.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) networks: BTreeMap<Id, Entry>,
    pub(crate) containers: HashMap<Id, Record>,
}

/// A network, and what is not recorded of it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) network: Network,
    /// Of each of its ranges.
    pub(crate) addresses: Vec<Addresses>,
    /// The bridge's interface number.
    pub(crate) bridge: u32,
    /// False while it is being made or removed: its name and subnet are taken, but nobody may use it.
    pub(crate) settled: bool,
    /// Why it has not what it needs in the kernel. Whoever connects tries again.
    pub(crate) trouble: Option<String>,
}

impl State {
    /// By name, id or unique id prefix.
    pub(crate) fn find(&self, name_or_id: &str) -> Result<&Entry, Error> {
        let settled = || self.networks.values().filter(|e| e.settled);
        if let Some(entry) =
            settled().find(|e| e.network.name == name_or_id || e.network.id.as_str() == name_or_id)
        {
            return Ok(entry);
        }
        let mut by_prefix =
            settled().filter(|e| !name_or_id.is_empty() && e.network.id.as_str().starts_with(name_or_id));
        match (by_prefix.next(), by_prefix.count()) {
            (None, _) => Err(Error::NotFound(name_or_id.to_owned())),
            (Some(entry), 0) => Ok(entry),
            (Some(_), more) => Err(Error::Invalid(format!(
                "network {name_or_id} is ambiguous ({} matches found based on ID prefix)",
                more + 1
            ))),
        }
    }

    /// Who is on a network.
    pub(crate) fn endpoints_of<'a>(
        &'a self,
        network: &'a Id,
    ) -> impl Iterator<Item = (&'a Record, &'a Endpoint)> {
        self.containers
            .values()
            .flat_map(|r| r.endpoints.iter().map(move |e| (r, e)))
            .filter(move |(_, e)| e.network_id == *network)
    }

    pub(crate) fn free_addresses(&mut self, endpoint: &Endpoint) {
        if let Some(entry) = self.networks.get_mut(&endpoint.network_id) {
            for address in endpoint.addresses() {
                let _ = entry.addresses.iter_mut().any(|addresses| addresses.free(address.ip));
            }
        }
    }

    /// The endpoint that leads outside: of those whose network does, the one with the highest priority, then by the
    /// network's name. If it is on a bridge it gets the published ports.
    pub(crate) fn way_out<'a>(&self, record: &'a Record, v4: bool) -> Option<&'a Endpoint> {
        let leads_outside = |e: &&Endpoint| {
            e.address(v4).is_some()
                && self.networks.get(&e.network_id).is_some_and(|entry| !entry.network.internal)
        };
        let order = |e: &&'a Endpoint| (std::cmp::Reverse(e.priority), e.network_name.as_str());
        record.endpoints.iter().filter(leads_outside).min_by_key(order)
    }

    /// Whether anything of it leads outside.
    pub(crate) fn leads_outside(&self, record: &Record) -> bool {
        [true, false].iter().any(|v4| self.way_out(record, *v4).is_some())
    }

    /// Where packets for elsewhere go, of each family.
    pub(crate) fn ways_out(&self, container: &Id) -> [Option<Endpoint>; 2] {
        let Some(record) = self.containers.get(container) else { return [None, None] };
        [true, false].map(|v4| self.way_out(record, v4).cloned())
    }

    /// Whether one of the container's networks has a name service.
    pub(crate) fn has_names(&self, record: &Record) -> bool {
        record
            .endpoints
            .iter()
            .any(|e| self.networks.get(&e.network_id).is_some_and(|entry| entry.network.names))
    }
}

impl Core {
    pub(crate) fn new(config: Config, records: Records, state: State, seed: u64) -> Self {
        Self {
            records,
            ports: Ports::default(),
            firewall: Firewall::new(&config.table, config.respect_host, config.direct),
            host_chains: HostChains::new(&config.table),
            firewalld: Firewalld::new(config.bus.clone()),
            host_ipv6: Parameters::open("net/ipv6/conf").ok(),
            parameters: Lookup::default(),
            seed,
            rebuilding: RwLock::default(),
            passing: Mutex::default(),
            state: Mutex::new(state),
            config,
        }
    }

    /// `net/ipv6/conf` of the host, if its kernel has IPv6 and there are so many containers that a new port is better without
    /// any of it. Below, that costs more than it gives: the kernel does not wait for its lock of network devices there, but
    /// tries again and again, and among starts at once this took 6 % of all.
    pub(crate) fn crowded_ipv6(&self) -> Option<&Parameters> {
        self.host_ipv6.as_ref().filter(|_| self.state().containers.len() >= CROWD)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic under this lock would be a bug in a few lines of plain map handling; going on serves users better
        // than refusing all networks for good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a part of the table. When the kernel's table is not what it should be (flushed by a reload of the
    /// host's firewall, say), it is made anew from the state, which must know of the change already.
    pub(crate) fn change_firewall(
        &self,
        change: impl FnOnce(&Firewall) -> sys::Result<()>,
    ) -> Result<(), Error> {
        let changed = {
            let _part = self.rebuilding.read().unwrap_or_else(PoisonError::into_inner);
            change(&self.firewall)
        };
        match changed {
            Err(e) if [Errno::NOENT, Errno::EXIST].iter().any(|known| known.raw_os_error() == e.errno()) => {
                self.install_firewall()
            }
            changed => Ok(changed?),
        }
    }

    /// Makes the whole table from the state.
    pub(crate) fn install_firewall(&self) -> Result<(), Error> {
        let _whole = self.rebuilding.write().unwrap_or_else(PoisonError::into_inner);
        let (networks, redirections) = {
            let state = self.state();
            let networks: Vec<_> = state.networks.values().map(|e| e.network.clone()).collect();
            let redirections: Vec<_> =
                state.containers.values().flat_map(|record| state.redirections(record)).collect();
            (networks, redirections)
        };
        Ok(self.firewall.install(&networks, &redirections)?)
    }

    /// Lets our bridges pass where others drop what they do not know.
    pub(crate) fn allow_through_host(&self) -> Result<(), Error> {
        // Nothing is behind the lock.
        let _one = self.passing.lock().unwrap_or_else(PoisonError::into_inner);
        let bridges: Vec<String> = {
            let state = self.state();
            let bridges = state.networks.values().filter(|e| e.network.driver == Driver::Bridge);
            bridges.map(|e| e.network.interface.clone()).collect()
        };
        self.host_chains.allow(&self.firewall, &bridges)?;
        Ok(self.firewalld.allow(&bridges)?)
    }

    /// Tells firewalld of bridges that are no more. What fails leaves a name in a list, which its next reload forgets.
    pub(crate) fn forget_at_host(&self, bridges: &[String]) {
        let _one = self.passing.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.firewalld.forget(bridges);
    }

    /// A container's name, for messages.
    pub(crate) fn name_of(&self, container: &Id) -> Option<String> {
        self.state().containers.get(container).map(|r| r.name.clone()).filter(|name| !name.is_empty())
    }

    /// Writes a container's record as it is now.
    pub(crate) fn save(&self, container: &Id) -> Result<(), Error> {
        let record = self.state().containers.get(container).cloned();
        record.map_or(Ok(()), |record| self.records.write_container(&record))
    }
}

/// A number of this machine's own: the same after each boot, and telling nothing of where it comes from.
pub(crate) fn seed() -> u64 {
    let id = sys::file::read_if_exists(std::path::Path::new("/etc/machine-id")).ok().flatten();
    match id {
        // FNV-1a.
        Some(id) if !id.is_empty() => id.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        }),
        // Subnets are recorded: a machine without an id has other ones for its next networks.
        _ => u64::from_ne_bytes(sys::random::bytes()),
    }
}

/// How many addresses of a subnet are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The subnet.
    pub subnet: Subnet,
    /// Given out, with those that nobody can have.
    pub used: u64,
    /// Left to be given out.
    pub free: u64,
}

impl Networks {
    /// All networks, by name.
    pub fn list(&self) -> Vec<Network> {
        let mut networks: Vec<_> =
            self.core.state().networks.values().filter(|e| e.settled).map(|e| e.network.clone()).collect();
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        networks
    }

    /// By name, id or unique id prefix.
    ///
    /// # Errors
    /// `NotFound`, or `Invalid` for an ambiguous prefix.
    pub fn find(&self, name_or_id: &str) -> Result<Network, Error> {
        self.core.state().find(name_or_id).map(|entry| entry.network.clone())
    }

    /// How full a network's subnets are.
    pub fn usage(&self, network: &Id) -> Vec<Usage> {
        let state = self.core.state();
        let addresses = state.networks.get(network).map(|entry| entry.addresses.as_slice());
        let usage = |addresses: &Addresses| {
            let (used, free) = addresses.usage();
            Usage { subnet: addresses.subnet(), used, free }
        };
        addresses.unwrap_or_default().iter().map(usage).collect()
    }

    /// Who is on a network: container id and endpoint.
    pub fn endpoints_of(&self, network: &Id) -> Vec<(Id, Endpoint)> {
        let state = self.core.state();
        state.endpoints_of(network).map(|(r, e)| (r.container.clone(), e.clone())).collect()
    }

    /// Renames a container in the name service (its old name stops answering).
    pub fn rename(&self, container: &Id, old: &str, new: &str) {
        if let Some(record) = self.core.state().containers.get_mut(container) {
            new.clone_into(&mut record.name);
            let names = record.endpoints.iter_mut().flat_map(|e| &mut e.names);
            names.filter(|name| *name == old).for_each(|name| new.clone_into(name));
        }
        // The name answers already; a record that could not be written is written at the next change.
        let _ = self.core.save(container);
    }

    /// Sets the name servers that a container's queries are passed on to (`--dns`), on networks with names. Without
    /// this, or with none, they are the host's. What is no address is left out.
    pub fn set_name_servers(&self, container: &Id, servers: &[String]) {
        let servers: Vec<IpAddr> = servers.iter().filter_map(|s| s.parse().ok()).collect();
        if let Some(record) = self.core.state().containers.get_mut(container) {
            record.upstreams = servers;
        }
        // As in `rename`.
        let _ = self.core.save(container);
    }
}
