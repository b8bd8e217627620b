//! Networks on this host: namespaces, bridges, address pools, nftables, published ports, names.
//!
//! Of a container this room knows its id and its names, no more. Everything is blocking; netlink only, no
//! helper program is run. All nftables rules are in one table of ours (`ip <table>`), published ports are
//! elements of its maps.
//!
//! ```text
//! <state>/networks/<id>.json       the networks
//! <state>/endpoints/<container>.json  who is connected, with address, MAC, ports: survives the daemon
//! ```

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use spec::{ErrorKind, Id};

/// A failure. (The helper who owns this crate adds variants; `kind` stays.)
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No network of that name or id.
    #[error("network {0} not found")]
    NotFound(String),
    /// The name is taken.
    #[error("network with name {0} already exists")]
    Exists(String),
    /// A network that is used cannot be removed.
    #[error("error while removing network: network {network} has active endpoints ({endpoints})")]
    InUse {
        /// The network's name.
        network: String,
        /// `name:"c" id:"…"` of each.
        endpoints: String,
    },
    /// A host port is taken; says by whom if it is one of our containers.
    #[error("Bind for {host} failed: port is already allocated{holder}")]
    PortTaken {
        /// `0.0.0.0:8080`.
        host: String,
        /// ` (by container NAME)` or ` (by another process on the host)`.
        holder: String,
    },
    /// The request makes no sense: what and why.
    #[error("{0}")]
    Invalid(String),
    /// A predefined network was to be removed or made.
    #[error("{0}")]
    Forbidden(String),
    /// The kernel refused.
    #[error("{step} {object}")]
    Kernel {
        /// What was tried.
        step: &'static str,
        /// On what.
        object: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    /// The class of this failure.
    pub fn kind(&self) -> ErrorKind {
        todo!()
    }
}

/// How the room is set up. Tests and second daemons on a host use their own names and pools.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where networks and endpoints are recorded.
    pub state: PathBuf,
    /// The default bridge's interface (`corten0`).
    pub bridge: String,
    /// The default bridge's address and prefix; `None` takes the first free pool.
    pub bip: Option<(Ipv4Addr, u8)>,
    /// Pools for new networks: base, its prefix, prefix of each network. Empty: Docker's.
    pub pools: Vec<(Ipv4Addr, u8, u8)>,
    /// Our nftables table (`corten`).
    pub table: String,
    /// How many network namespaces with a veth on the default bridge to keep ready.
    pub ready: usize,
}

/// The networks of this host. Cheap to clone, safe to share.
#[derive(Debug, Clone)]
pub struct Networks {
    _inner: Arc<()>,
}

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

/// How a container wants to be on one network.
#[derive(Debug, Clone, Default)]
pub struct EndpointRequest {
    /// Network name or id.
    pub network: String,
    /// A fixed address.
    pub ip: Option<Ipv4Addr>,
    /// A fixed MAC (`02:42:…`); empty: random.
    pub mac: String,
    /// Names it answers to on this network (container name, short id, aliases).
    pub names: Vec<String>,
    /// The container's name, for messages.
    pub container_name: String,
}

/// A port to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRequest {
    /// In the container.
    pub container_port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// 0.0.0.0 is all addresses.
    pub host_ip: Ipv4Addr,
    /// First and last acceptable host port; `(0, 0)` is any free one.
    pub host_ports: (u16, u16),
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// In the container.
    pub container_port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// On the host.
    pub host_ip: Ipv4Addr,
    /// On the host.
    pub host_port: u16,
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
    /// In the container.
    pub ip: Ipv4Addr,
    /// Of the subnet.
    pub prefix: u8,
    /// The bridge's address.
    pub gateway: Ipv4Addr,
    /// `aa:bb:cc:dd:ee:ff`.
    pub mac: String,
    /// `eth0` …
    pub interface: String,
    /// The other end of the veth, on the host.
    pub host_interface: String,
    /// Names on this network.
    pub names: Vec<String>,
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

/// Lines for a container's resolv.conf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvConf {
    /// The file's text.
    pub text: String,
}

impl Networks {
    /// Reads the records, brings bridges, rules and published ports of containers in `alive` (id and a pid in its
    /// network namespace) back into the kernel where they are missing, removes what belongs to no one, and makes the
    /// predefined networks `bridge`, `host`, `none`. Serves names for the alive containers again.
    ///
    /// # Errors
    /// A record cannot be read, or the kernel refused.
    pub fn open(_config: Config, _alive: &[(Id, i32)]) -> Result<Self, Error> {
        todo!()
    }

    /// All networks.
    pub fn list(&self) -> Vec<Network> {
        todo!()
    }

    /// By name, id or unique id prefix.
    ///
    /// # Errors
    /// `NotFound`, or `Invalid` for an ambiguous prefix.
    pub fn find(&self, _name_or_id: &str) -> Result<Network, Error> {
        todo!()
    }

    /// Makes a network: record, bridge, rules.
    ///
    /// # Errors
    /// The name is taken, the subnet overlaps, no pool is free, or the kernel refused; nothing is left then.
    pub fn create(&self, _new: NewNetwork) -> Result<Network, Error> {
        todo!()
    }

    /// Removes a network without endpoints.
    ///
    /// # Errors
    /// `NotFound`, `InUse`, `Forbidden` for predefined ones.
    pub fn remove(&self, _name_or_id: &str) -> Result<Network, Error> {
        todo!()
    }

    /// Who is on a network: container id and endpoint.
    pub fn endpoints_of(&self, _network: &Id) -> Vec<(Id, Endpoint)> {
        todo!()
    }

    /// Makes a container's namespace and connects it; publishes its ports. No endpoints: only loopback.
    /// Takes one from the ready pool when the only network is the default bridge.
    ///
    /// # Errors
    /// As the variants say; nothing is left then.
    pub fn connect(
        &self,
        _container: &Id,
        _endpoints: &[EndpointRequest],
        _ports: &[PortRequest],
    ) -> Result<Sandbox, Error> {
        todo!()
    }

    /// Connects a running container (a pid in its namespace) to one more network.
    ///
    /// # Errors
    /// As the variants say.
    pub fn connect_live(
        &self,
        _container: &Id,
        _pid: i32,
        _endpoint: &EndpointRequest,
    ) -> Result<Endpoint, Error> {
        todo!()
    }

    /// Takes a running container off one network.
    ///
    /// # Errors
    /// As the variants say.
    pub fn disconnect_live(&self, _container: &Id, _pid: i32, _network: &str) -> Result<(), Error> {
        todo!()
    }

    /// Unpublishes ports, frees addresses and names, removes veths: everything of this container. Idempotent.
    ///
    /// # Errors
    /// All teardown failures in one.
    pub fn release(&self, _container: &Id) -> Result<(), Error> {
        todo!()
    }

    /// Renames a container in the name service (its old name stops answering).
    pub fn rename(&self, _container: &Id, _old: &str, _new: &str) {
        todo!()
    }

    /// The text of resolv.conf for a container on these networks: the embedded name server (127.0.0.11) on networks
    /// with names, otherwise the host's servers without loopback ones. `dns`, `search`, `options` are the user's.
    pub fn resolv_conf(
        &self,
        _endpoints: &[EndpointRequest],
        _dns: &[String],
        _search: &[String],
        _options: &[String],
    ) -> ResolvConf {
        todo!()
    }

    /// Removes everything this room has put into the kernel (bridges, table). For `cortend` being uninstalled and for
    /// tests; containers must be gone.
    ///
    /// # Errors
    /// All teardown failures in one.
    pub fn shutdown(&self) -> Result<(), Error> {
        todo!()
    }
}
