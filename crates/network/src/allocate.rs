//! Giving out what an endpoint has: addresses, hardware address, names of interfaces.

use std::net::IpAddr;

use spec::Id;
use sys::netlink::route::{IpvlanMode, MacvlanMode, Stacked};

use crate::endpoint::{Address, format_mac, mac_of, parse_mac};
use crate::networks::{Entry, State};
use crate::options::Options;
use crate::pool::Refused;
use crate::{Driver, Endpoint, EndpointRequest, Error, Network, bridge};

/// An endpoint on its way, and how it will be connected.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) endpoint: Endpoint,
    pub(crate) link: Link,
    /// Bytes; 0 is the parent's.
    pub(crate) mtu: u32,
    /// Of its interface, which is called IFNAME in their names.
    pub(crate) sysctls: Vec<(String, String)>,
}

/// What an endpoint's interface is.
#[derive(Debug)]
pub(crate) enum Link {
    /// One end of a veth pair; the other is a port of this bridge.
    Bridge { name: String, index: u32, isolated: bool },
    /// A link on top of an interface of the host.
    Stacked { kind: Stacked, parent: String },
}

impl EndpointRequest {
    /// Whether any endpoint on the network will do.
    pub(crate) fn is_plain(&self) -> bool {
        self.ip.is_none()
            && self.ip6.is_none()
            && self.mac.is_empty()
            && self.interface.is_empty()
            && self.link_local.is_empty()
            && self.sysctls.is_empty()
    }
}

impl State {
    /// Gives out everything that an endpoint has; `interfaces` are the container's other ones. `None` on the network
    /// `none`, where there is nothing.
    pub(crate) fn allocate(
        &mut self,
        request: &EndpointRequest,
        interfaces: &[String],
    ) -> Result<Option<Place>, Error> {
        let network = self.find(&request.network)?.network.clone();
        match network.driver {
            Driver::Bridge | Driver::Macvlan | Driver::Ipvlan => {}
            Driver::Null => return Ok(None),
            Driver::Host => {
                let text = "the host's network is not one to connect to: run the container in it".to_owned();
                return Err(Error::Invalid(text));
            }
        }
        let options = network.options();
        let interface = interface_name(request, &options, interfaces)?;
        let wanted_mac = (!request.mac.is_empty()).then(|| parse_mac(&request.mac)).transpose()?;
        let [v4, v6] = self.addresses(&network, &options, request)?;
        let Some(ip) = v4.or(v6).map(|address| address.ip) else {
            return Err(Error::Invalid(format!("network {} has no subnet", network.name)));
        };
        let id = Id::from_bytes(sys::random::bytes());
        let index = self.networks.get(&network.id).map(|entry| entry.bridge).unwrap_or_default();
        let link = link_of(&network, &options, index);
        let on_bridge = matches!(link, Link::Bridge { .. });
        let endpoint = Endpoint {
            mac: match link {
                Link::Stacked {
                    kind: Stacked::Ipvlan(..) | Stacked::Macvlan(MacvlanMode::Passthru), ..
                } => String::new(),
                Link::Bridge { .. } | Link::Stacked { .. } => {
                    format_mac(wanted_mac.unwrap_or_else(|| mac_of(&network.id, ip)))
                }
            },
            interface,
            host_interface: if on_bridge { format!("veth{}", &id.as_str()[..10]) } else { String::new() },
            network_id: network.id.clone(),
            network_name: network.name.clone(),
            names: request.names.clone(),
            links: request.links.clone(),
            link_local: request.link_local.clone(),
            priority: request.priority,
            v4,
            v6,
            id,
        };
        let mtu = options.mtu.unwrap_or(if on_bridge { bridge::MTU } else { 0 });
        Ok(Some(Place { endpoint, link, mtu, sysctls: request.sysctls.clone() }))
    }

    /// An address of each family that the network has; both or none.
    fn addresses(
        &mut self,
        network: &Network,
        options: &Options,
        request: &EndpointRequest,
    ) -> Result<[Option<Address>; 2], Error> {
        let mut given: [Option<Address>; 2] = [None, None];
        for v4 in [true, false] {
            let wanted = if v4 { request.ip.map(IpAddr::V4) } else { request.ip6.map(IpAddr::V6) };
            if !(if v4 { network.v4 } else { network.v6 }) {
                if let Some(ip) = wanted {
                    self.take_back(network, &given);
                    return Err(outside(network, ip));
                }
                continue;
            }
            match self.address(network, options, v4, wanted) {
                Ok(address) => given[usize::from(!v4)] = Some(address),
                Err(error) => {
                    self.take_back(network, &given);
                    return Err(error);
                }
            }
        }
        Ok(given)
    }

    fn take_back(&mut self, network: &Network, given: &[Option<Address>]) {
        if let Some(entry) = self.networks.get_mut(&network.id) {
            for address in given.iter().flatten() {
                let _ = entry.addresses.iter_mut().any(|addresses| addresses.free(address.ip));
            }
        }
    }

    fn address(
        &mut self,
        network: &Network,
        options: &Options,
        v4: bool,
        wanted: Option<IpAddr>,
    ) -> Result<Address, Error> {
        let entry = self.networks.get_mut(&network.id).expect("it was found under the same lock");
        let ip = match wanted {
            None => entry.take(v4)?,
            Some(ip) => {
                let claimed =
                    entry.addresses.iter_mut().find(|a| a.subnet().contains(ip)).map(|a| a.claim(ip));
                match claimed {
                    Some(Ok(())) => ip,
                    Some(Err(Refused::Used)) => {
                        return Err(Error::AddressTaken { ip, holder: self.holder(network, ip) });
                    }
                    Some(Err(Refused::Outside)) | None => return Err(outside(network, ip)),
                }
            }
        };
        let range = network.ranges_of(v4).find(|range| range.subnet.contains(ip));
        let range = range.expect("addresses are drawn from the network's ranges");
        // Of ipvlan's layer 3 the parent's namespace routes: whatever is meant is sent there.
        let routed = network.driver == Driver::Ipvlan && options.ipvlan_mode != IpvlanMode::L2;
        let gateway = range.way_out().filter(|_| !network.internal && !routed);
        Ok(Address { ip, prefix: range.subnet.prefix(), gateway })
    }

    fn holder(&self, network: &Network, ip: IpAddr) -> String {
        let on_it = self.endpoints_of(&network.id).find(|(_, e)| e.has(ip));
        on_it.map(|(r, _)| format!(" (by container {})", r.name)).unwrap_or_default()
    }
}

impl Entry {
    /// The next free address of a family.
    fn take(&mut self, v4: bool) -> Result<IpAddr, Error> {
        let mut of_family = self.addresses.iter_mut().filter(|a| a.subnet().is_v4() == v4);
        of_family.find_map(|addresses| addresses.take()).ok_or_else(|| Error::AddressesUsedUp {
            family: if v4 { "IPv4" } else { "IPv6" },
            network: self.network.name.clone(),
            subnet: self.network.ranges_of(v4).map(|r| r.subnet.to_string()).collect::<Vec<_>>().join(", "),
        })
    }
}

fn outside(network: &Network, ip: IpAddr) -> Error {
    Error::Invalid(format!(
        "invalid config for network {}: invalid endpoint settings:\nno configured subnet contains IP address {ip}",
        network.name
    ))
}

/// The name that is asked for, else the prefix and the first free number.
fn interface_name(
    request: &EndpointRequest,
    options: &Options,
    interfaces: &[String],
) -> Result<String, Error> {
    let wanted = request.interface.as_str();
    if wanted.is_empty() {
        let free = (0..).map(|n| format!("{}{n}", options.prefix)).find(|name| !interfaces.contains(name));
        return Ok(free.expect("a container has fewer interfaces than there are numbers"));
    }
    bridge::check_name("interface", wanted)?;
    if interfaces.iter().any(|name| name == wanted) {
        return Err(Error::Invalid(format!("interface name {wanted} is already in use in the container")));
    }
    Ok(wanted.to_owned())
}

fn link_of(network: &Network, options: &Options, index: u32) -> Link {
    let parent = network.interface.clone();
    match network.driver {
        Driver::Macvlan => Link::Stacked { kind: Stacked::Macvlan(options.macvlan_mode), parent },
        Driver::Ipvlan => {
            Link::Stacked { kind: Stacked::Ipvlan(options.ipvlan_mode, options.ipvlan_flag), parent }
        }
        Driver::Bridge | Driver::Host | Driver::Null => {
            Link::Bridge { name: parent, index, isolated: !options.containers_talk }
        }
    }
}
