//! A container's place on a network: what its user may ask for, what the network room is asked, what clients see.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use network::{Driver, Endpoint, EndpointRequest};
use spec::Id;
use spec::api::{EndpointSettings, EventMessage};

use super::PREDEFINED;
use crate::container::linked;
use crate::container::record::Record;
use crate::{Engine, Error, events};

/// Options of an endpoint (moby `netlabel`).
const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";
const INTERFACE: &str = "com.docker.network.endpoint.ifname";

/// The user's half of an endpoint: facts that only the engine knows are dropped.
pub(crate) fn intent(settings: &EndpointSettings) -> EndpointSettings {
    EndpointSettings {
        ipam_config: settings.ipam_config.clone(),
        links: settings.links.clone(),
        mac_address: settings.mac_address.clone(),
        aliases: settings.aliases.clone(),
        driver_opts: settings.driver_opts.clone(),
        gw_priority: settings.gw_priority,
        ..EndpointSettings::default()
    }
}

/// The engine's half of an endpoint.
pub(crate) fn fill_endpoint(settings: &mut EndpointSettings, endpoint: &Endpoint) {
    let gateway = |address: &network::Address| address.gateway.map(|g| g.to_string()).unwrap_or_default();
    settings.network_id = endpoint.network_id.to_string();
    settings.endpoint_id = endpoint.id.to_string();
    if let Some(v4) = &endpoint.v4 {
        settings.gateway = gateway(v4);
        settings.ip_address = v4.ip.to_string();
        settings.ip_prefix_len = v4.prefix.into();
    }
    if let Some(v6) = &endpoint.v6 {
        settings.ipv6_gateway = gateway(v6);
        settings.global_ipv6_address = v6.ip.to_string();
        settings.global_ipv6_prefix_len = v6.prefix.into();
    }
    settings.mac_address.clone_from(&endpoint.mac);
    settings.dns_names.clone_from(&endpoint.names);
}

/// Whether a container can be on a network the way it asks for.
pub(crate) fn check_endpoint(network: &network::Network, settings: &EndpointSettings) -> Result<(), Error> {
    if !network.driver.has_endpoints() {
        return Err(Error::Invalid(format!(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes ({})",
            network.name
        )));
    }
    let wanted = Wanted::read(network, settings)?;
    let addresses = [wanted.ip.map(IpAddr::V4), wanted.ip6.map(IpAddr::V6)];
    for ip in addresses.into_iter().flatten() {
        if PREDEFINED.contains(&network.name.as_str()) {
            return Err(Error::Invalid(
                "invalid endpoint settings: user specified IP address is supported on user defined networks only"
                    .into(),
            ));
        }
        if !network.ranges.iter().any(|range| range.subnet.contains(ip)) {
            return Err(Error::Invalid(format!(
                "invalid config for network {}: invalid endpoint settings:\nno configured subnet contains IP address {ip}",
                network.name
            )));
        }
    }
    if !network.names && !settings.aliases.is_empty() {
        return Err(Error::Invalid(
            "network-scoped alias is supported only for containers in user defined networks".into(),
        ));
    }
    let has_own_mac = network.driver != Driver::Ipvlan;
    if !settings.mac_address.is_empty() && !has_own_mac {
        return Err(Error::Invalid(format!(
            "invalid config for network {}: links of ipvlan networks have their parent's MAC address",
            network.name
        )));
    }
    for link in &settings.links {
        linked::parse(link)?;
    }
    Ok(())
}

/// What an endpoint's user asks for, read.
#[derive(Debug, Default, PartialEq)]
struct Wanted {
    ip: Option<Ipv4Addr>,
    ip6: Option<Ipv6Addr>,
    link_local: Vec<IpAddr>,
    interface: String,
    sysctls: Vec<(String, String)>,
}

impl Wanted {
    fn read(network: &network::Network, settings: &EndpointSettings) -> Result<Self, Error> {
        let invalid = |text: String| {
            Error::Invalid(format!(
                "invalid config for network {}: invalid endpoint settings:\n{text}",
                network.name
            ))
        };
        let mut wanted = Self::default();
        if let Some(config) = &settings.ipam_config {
            let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
            let v4 =
                |text: String| text.parse().map_err(|_| invalid(format!("invalid IPv4 address: {text}")));
            let v6 =
                |text: String| text.parse().map_err(|_| invalid(format!("invalid IPv6 address: {text}")));
            wanted.ip = given(&config.ipv4_address).map(v4).transpose()?;
            wanted.ip6 = given(&config.ipv6_address).map(v6).transpose()?;
            for text in &config.link_local_ips {
                let ip =
                    text.parse().map_err(|_| invalid(format!("invalid link-local IP address: {text}")))?;
                wanted.link_local.push(ip);
            }
        }
        for (key, value) in &settings.driver_opts {
            match key.as_str() {
                INTERFACE => wanted.interface.clone_from(value),
                SYSCTLS => {
                    for setting in value.split(',').map(str::trim).filter(|s| !s.is_empty()) {
                        wanted.sysctls.push(sysctl(setting).map_err(&invalid)?);
                    }
                }
                // Others are for drivers that know them.
                _ => {}
            }
        }
        Ok(wanted)
    }
}

/// `net.ipv4.conf.IFNAME.log_martians=1`: of the endpoint's own interface, and of nothing else. Docker's command line
/// makes it lower case.
fn sysctl(text: &str) -> Result<(String, String), String> {
    let wrong = |why: &str| format!("invalid sysctl setting {text:?}: {why}");
    let (name, value) = text.split_once('=').ok_or_else(|| wrong("expected NAME=VALUE"))?;
    let parts: Vec<&str> = name.split('.').collect();
    let plain = |part: &&str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    match parts[..] {
        ["net", family, kind, "IFNAME" | "ifname", last] if parts.iter().all(plain) => {
            Ok((format!("net.{family}.{kind}.IFNAME.{last}"), value.to_owned()))
        }
        ["net", _, _, _, _] => Err(wrong("use 'IFNAME' to represent the interface name")),
        _ => Err(wrong("expected net.X.Y.IFNAME.Z")),
    }
}

impl Engine {
    /// A container joins or leaves a network.
    pub(crate) fn member_event(&self, action: &str, endpoint: &Endpoint, container: &Id) -> EventMessage {
        let network = self.inner.networks.find(endpoint.network_id.as_str());
        let driver = network.map_or(Driver::Bridge, |network| network.driver).name();
        let attributes =
            [("container", container.as_str()), ("name", &endpoint.network_name), ("type", driver)];
        let attributes = attributes.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        events::message("network", action, endpoint.network_id.as_str(), attributes)
    }

    /// A container's endpoints as the network room wants them, the default route's first.
    pub(crate) fn endpoint_requests(&self, record: &Record) -> Result<Vec<EndpointRequest>, Error> {
        let mut wanted: Vec<_> = record.networks.iter().collect();
        wanted.sort_by_key(|(name, settings)| (std::cmp::Reverse(settings.gw_priority), (*name).clone()));
        wanted.into_iter().map(|(name, settings)| self.endpoint_request(record, name, settings)).collect()
    }

    pub(super) fn endpoint_request(
        &self,
        record: &Record,
        name: &str,
        settings: &EndpointSettings,
    ) -> Result<EndpointRequest, Error> {
        let network = self.inner.networks.find(name)?;
        let mut names = Vec::new();
        if network.names {
            names.push(record.name.clone());
            names.extend(settings.aliases.iter().cloned());
            names.push(record.id.short().to_owned());
            if !record.config.hostname.is_empty() {
                names.push(record.config.hostname.clone());
            }
            let mut seen = std::collections::HashSet::new();
            names.retain(|name| seen.insert(name.clone()));
        }
        let wanted = Wanted::read(&network, settings)?;
        Ok(EndpointRequest {
            network: network.id.to_string(),
            ip: wanted.ip,
            ip6: wanted.ip6,
            link_local: wanted.link_local,
            mac: settings.mac_address.clone(),
            names,
            container_name: record.name.clone(),
            links: self.link_aliases(settings),
            priority: settings.gw_priority,
            interface: wanted.interface,
            sysctls: wanted.sysctls,
        })
    }

    /// Aliases that only this container knows: those of its links, for the names that their targets have now.
    fn link_aliases(&self, settings: &EndpointSettings) -> Vec<(String, String)> {
        let alias = |link: &String| {
            let (target, alias) = linked::parse(link).ok()?;
            let target = self.inner.containers.find(target).ok()?;
            Some((alias.to_owned(), target.id.short().to_owned()))
        };
        settings.links.iter().filter_map(alias).collect()
    }

    /// A running container's endpoints as the network room knows them.
    pub(crate) fn endpoints_of(&self, container: &Id) -> Vec<Endpoint> {
        let networks = self.inner.networks.list().into_iter();
        let all = networks.flat_map(|n| self.inner.networks.endpoints_of(&n.id));
        all.filter(|(id, _)| id == container).map(|(_, endpoint)| endpoint).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctls_are_of_the_interface_alone() {
        assert_eq!(
            sysctl("net.ipv4.conf.IFNAME.log_martians=1").unwrap(),
            ("net.ipv4.conf.IFNAME.log_martians".to_owned(), "1".to_owned())
        );
        for (bad, text) in [
            ("net.ipv4.conf.eth0.log_martians=1", "use 'IFNAME'"),
            ("net.ipv4.ip_forward=1", "expected net.X.Y.IFNAME.Z"),
            ("kernel.x.y.IFNAME.z=1", "expected net.X.Y.IFNAME.Z"),
            ("net.ipv4/../x.y.IFNAME.z=1", "expected net.X.Y.IFNAME.Z"),
            ("net.ipv4.conf.IFNAME.log_martians", "expected NAME=VALUE"),
        ] {
            assert!(sysctl(bad).unwrap_err().contains(text), "{bad}");
        }
    }
}
