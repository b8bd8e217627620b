//! Networks as the API shows them, and containers' places on them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use network::{Driver, Endpoint, EndpointRequest, NewNetwork};
use spec::api::{
    EndpointResource, EndpointSettings, EventMessage, Ipam, IpamConfig, Network, NetworkConnectRequest,
    NetworkCreateRequest, NetworkCreateResponse, NetworkDisconnectRequest, NetworkInspect,
    NetworksPruneResponse,
};
use spec::{Filters, Id};

use crate::blocking::{blocking, to_the_end};
use crate::container::record::{Attachment, NetworkMode, Record};
use crate::container::{Container, linked};
use crate::engine::Prune;
use crate::volume::{excluded, is_true};
use crate::{Engine, Error, events, time};

/// Networks that are always there.
const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

fn driver(driver: Driver) -> &'static str {
    match driver {
        Driver::Bridge => "bridge",
        Driver::Host => "host",
        Driver::Null => "null",
    }
}

fn cidr((address, prefix): (Ipv4Addr, u8)) -> String {
    format!("{address}/{prefix}")
}

fn api(network: &network::Network) -> Network {
    let config = network.subnet.map(|subnet| IpamConfig {
        subnet: cidr(subnet),
        ip_range: network.ip_range.map(cidr).unwrap_or_default(),
        gateway: network.gateway.map(|g| g.to_string()).unwrap_or_default(),
        ..IpamConfig::default()
    });
    Network {
        name: network.name.clone(),
        id: network.id.to_string(),
        created: network.created.clone(),
        scope: "local".into(),
        driver: driver(network.driver).into(),
        enable_ipv4: true,
        ipam: Ipam {
            driver: "default".into(),
            config: config.into_iter().collect(),
            options: BTreeMap::new(),
        },
        internal: network.internal,
        options: network.options.clone(),
        labels: network.labels.clone(),
        ..Network::default()
    }
}

/// A container joins or leaves a network.
pub(crate) fn member_event(action: &str, endpoint: &Endpoint, container: &Id) -> EventMessage {
    let attributes =
        [("container", container.as_str()), ("name", &endpoint.network_name), ("type", "bridge")];
    let attributes = attributes.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    events::message("network", action, endpoint.network_id.as_str(), attributes)
}

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
    settings.network_id = endpoint.network_id.to_string();
    settings.endpoint_id = endpoint.id.to_string();
    settings.gateway = endpoint.gateway.to_string();
    settings.ip_address = endpoint.ip.to_string();
    settings.ip_prefix_len = endpoint.prefix.into();
    settings.mac_address.clone_from(&endpoint.mac);
    settings.dns_names.clone_from(&endpoint.names);
}

/// Whether a container can be on a network the way it asks for.
pub(crate) fn check_endpoint(network: &network::Network, settings: &EndpointSettings) -> Result<(), Error> {
    if network.driver != Driver::Bridge {
        return Err(Error::Invalid(format!(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes ({})",
            network.name
        )));
    }
    let ip = wanted_ip(settings)?;
    if ip.is_some() && PREDEFINED.contains(&network.name.as_str()) {
        return Err(Error::Invalid(
            "invalid endpoint settings: user specified IP address is supported on user defined networks only"
                .into(),
        ));
    }
    if let (Some(ip), Some((base, prefix))) = (ip, network.subnet) {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        if u32::from(ip) & mask != u32::from(base) & mask {
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
    for link in &settings.links {
        linked::parse(link)?;
    }
    if !settings.driver_opts.is_empty() {
        return Err(Error::NotImplemented("driver options of endpoints are not supported yet".into()));
    }
    Ok(())
}

fn wanted_ip(settings: &EndpointSettings) -> Result<Option<Ipv4Addr>, Error> {
    let Some(config) = &settings.ipam_config else { return Ok(None) };
    if !config.ipv6_address.is_empty() || !config.link_local_ips.is_empty() {
        return Err(Error::NotImplemented("IPv6 and link-local addresses are not supported yet".into()));
    }
    if config.ipv4_address.is_empty() {
        return Ok(None);
    }
    let invalid = |_| Error::Invalid(format!("invalid IPv4 address: {}", config.ipv4_address));
    config.ipv4_address.parse().map(Some).map_err(invalid)
}

/// `a.b.c.d/n`.
fn parse_cidr(text: &str) -> Result<(Ipv4Addr, u8), Error> {
    let invalid = || {
        Error::Invalid(format!(
            "invalid subnet {text}: expected an IPv4 address and a prefix, such as 10.1.0.0/24"
        ))
    };
    let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            let prefix = prefix.parse().ok().filter(|p| *p <= 32).ok_or_else(invalid)?;
            Ok((address, prefix))
        }
        Ok(IpAddr::V6(_)) => Err(Error::NotImplemented("IPv6 networks are not supported yet".into())),
        Err(_) => Err(invalid()),
    }
}

impl Engine {
    /// A container's endpoints as the network room wants them, the default route's first.
    pub(crate) fn endpoint_requests(&self, record: &Record) -> Result<Vec<EndpointRequest>, Error> {
        let mut wanted: Vec<_> = record.networks.iter().collect();
        wanted.sort_by_key(|(name, settings)| (std::cmp::Reverse(settings.gw_priority), (*name).clone()));
        wanted.into_iter().map(|(name, settings)| self.endpoint_request(record, name, settings)).collect()
    }

    fn endpoint_request(
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
        Ok(EndpointRequest {
            network: network.id.to_string(),
            ip: wanted_ip(settings)?,
            mac: settings.mac_address.clone(),
            names,
            container_name: record.name.clone(),
            links: self.link_aliases(settings),
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

    /// `GET /networks`.
    pub async fn network_list(&self, filters: &Filters) -> Result<Vec<Network>, Error> {
        for value in filters.get("type") {
            if !matches!(value.as_str(), "custom" | "builtin") {
                return Err(Error::Invalid(format!("invalid filter 'type={value}'")));
            }
        }
        let passes = |network: &network::Network| {
            let builtin = PREDEFINED.contains(&network.name.as_str());
            let in_use = || {
                self.inner
                    .containers
                    .all()
                    .iter()
                    .any(|c| c.view().record.networks.contains_key(&network.name))
            };
            filters.any("name", |wanted| network.name.contains(wanted))
                && filters.any("id", |wanted| network.id.as_str().starts_with(wanted))
                && filters.any("driver", |wanted| wanted == driver(network.driver))
                && filters.any("scope", |wanted| wanted == "local")
                && filters.any("type", |wanted| (wanted == "builtin") == builtin)
                && filters.any("dangling", |wanted| is_true(wanted) != (builtin || in_use()))
                && filters.labels("label", &network.labels)
        };
        Ok(self.inner.networks.list().iter().filter(|n| passes(n)).map(api).collect())
    }

    /// `POST /networks/create`.
    pub async fn network_create(
        &self,
        request: NetworkCreateRequest,
    ) -> Result<NetworkCreateResponse, Error> {
        if request.name.is_empty() {
            return Err(Error::Invalid("network name cannot be empty".into()));
        }
        if PREDEFINED.contains(&request.name.as_str()) {
            return Err(Error::Forbidden(format!(
                "operation is not permitted on predefined {} network",
                request.name
            )));
        }
        let refused = [
            (request.enable_ipv6 == Some(true), "IPv6 networks are not supported yet"),
            (request.enable_ipv4 == Some(false), "networks without IPv4 are not supported yet"),
            (
                request.ingress || request.config_only || request.config_from.is_some(),
                "ingress and config-only networks need swarm mode, which is not supported",
            ),
            (
                matches!(request.scope.as_str(), "swarm" | "global"),
                "only networks of scope local are supported",
            ),
        ];
        if let Some((_, text)) = refused.iter().find(|(refused, _)| *refused) {
            return Err(Error::NotImplemented((*text).into()));
        }
        let mut new = NewNetwork {
            name: request.name,
            driver: request.driver,
            internal: request.internal,
            labels: request.labels,
            options: request.options,
            ..NewNetwork::default()
        };
        let driver = if new.driver.is_empty() { "bridge" } else { &new.driver };
        for (key, value) in self.settings().network_options.get(driver).into_iter().flatten() {
            new.options.entry(key.clone()).or_insert_with(|| value.clone());
        }
        if let Some(ipam) = request.ipam {
            if !matches!(ipam.driver.as_str(), "" | "default") {
                return Err(Error::NotImplemented(format!(
                    "the IPAM driver {:?} is not supported",
                    ipam.driver
                )));
            }
            match &ipam.config[..] {
                [] => {}
                [config] => {
                    if !config.auxiliary_addresses.is_empty() {
                        return Err(Error::NotImplemented(
                            "auxiliary addresses are not supported yet".into(),
                        ));
                    }
                    let given =
                        |text: &str| if text.is_empty() { Ok(None) } else { parse_cidr(text).map(Some) };
                    new.subnet = given(&config.subnet)?;
                    new.ip_range = given(&config.ip_range)?;
                    if !config.gateway.is_empty() {
                        let invalid =
                            |_| Error::Invalid(format!("invalid gateway address: {}", config.gateway));
                        new.gateway = Some(config.gateway.parse().map_err(invalid)?);
                    }
                }
                _ => return Err(Error::NotImplemented("more than one subnet is not supported yet".into())),
            }
        }
        let engine = self.clone();
        to_the_end(async move {
            let inner = engine.inner.clone();
            let network = blocking(move || inner.networks.create(new)).await?;
            engine.network_event("create", &network);
            Ok(NetworkCreateResponse { id: network.id.to_string(), warning: String::new() })
        })
        .await
    }

    fn network_event(&self, action: &str, network: &network::Network) {
        let attributes = [("name", network.name.as_str()), ("type", driver(network.driver))];
        let attributes = attributes.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        self.publish(events::message("network", action, network.id.as_str(), attributes));
    }

    /// `GET /networks/{id}`.
    pub async fn network_inspect(&self, name: &str) -> Result<NetworkInspect, Error> {
        let network = self.inner.networks.find(name)?;
        let mut containers = BTreeMap::new();
        for (id, endpoint) in self.inner.networks.endpoints_of(&network.id) {
            let name = self.inner.containers.find(id.as_str()).map(|c| c.view().record.name.clone());
            let member = EndpointResource {
                name: name.unwrap_or_default(),
                endpoint_id: endpoint.id.to_string(),
                mac_address: endpoint.mac.clone(),
                ipv4_address: cidr((endpoint.ip, endpoint.prefix)),
                ipv6_address: String::new(),
            };
            containers.insert(id.to_string(), member);
        }
        Ok(NetworkInspect { network: api(&network), containers, ..NetworkInspect::default() })
    }

    /// `DELETE /networks/{id}`: 403 while containers are on it.
    pub async fn network_remove(&self, name: &str) -> Result<(), Error> {
        let (engine, name) = (self.clone(), name.to_owned());
        to_the_end(async move {
            let inner = engine.inner.clone();
            let network = blocking(move || inner.networks.remove(&name)).await?;
            engine.network_event("destroy", &network);
            Ok(())
        })
        .await
    }

    /// `POST /networks/{id}/connect`: live when the container runs, otherwise for its next start.
    pub async fn network_connect(&self, network: &str, request: NetworkConnectRequest) -> Result<(), Error> {
        let network = self.inner.networks.find(network)?;
        let container = self.inner.containers.find(&request.container)?;
        let settings = intent(&request.endpoint_config.unwrap_or_default());
        check_endpoint(&network, &settings)?;
        let engine = self.clone();
        to_the_end(async move {
            let _verbs = container.verbs.lock().await;
            let view = container.view();
            if view.record.network_mode() != NetworkMode::Networks {
                return Err(Error::Invalid(
                    "container sharing network namespace with another container or host cannot be connected to any other network".into(),
                ));
            }
            if view.record.networks.contains_key(&network.name) {
                return Err(Error::Forbidden(format!(
                    "endpoint with name {} already exists in network {}",
                    view.record.name, network.name
                )));
            }
            let mut record = (*view.record).clone();
            if view.state.is_alive() {
                let request = engine.endpoint_request(&record, &network.name, &settings)?;
                let (inner, id, pid) = (engine.inner.clone(), container.id.clone(), view.state.pid);
                let endpoint = blocking(move || inner.networks.connect_live(&id, pid, &request)).await?;
                engine.publish(member_event("connect", &endpoint, &container.id));
                let mut endpoints = view.network.endpoints.clone();
                endpoints.push(endpoint);
                engine.commit_endpoints(&container, endpoints).await?;
            }
            record.networks.insert(network.name.clone(), settings);
            container.commit_record(record).await
        })
        .await
    }

    /// `POST /networks/{id}/disconnect`.
    pub async fn network_disconnect(
        &self,
        network: &str,
        request: NetworkDisconnectRequest,
    ) -> Result<(), Error> {
        let network = self.inner.networks.find(network)?;
        let container = self.inner.containers.find(&request.container)?;
        let engine = self.clone();
        to_the_end(async move {
            let _verbs = container.verbs.lock().await;
            let view = container.view();
            let mut record = (*view.record).clone();
            let endpoint = view.network.endpoints.iter().find(|e| e.network_id == network.id).cloned();
            if record.networks.remove(&network.name).is_none() && endpoint.is_none() {
                return Err(Error::Forbidden(format!(
                    "container {} is not connected to network {}",
                    container.id, network.name
                )));
            }
            if let Some(endpoint) = endpoint.filter(|_| view.state.is_alive()) {
                let (inner, id, pid) = (engine.inner.clone(), container.id.clone(), view.state.pid);
                let name = network.id.to_string();
                blocking(move || inner.networks.disconnect_live(&id, pid, &name)).await?;
                engine.publish(member_event("disconnect", &endpoint, &container.id));
                let rest = view.network.endpoints.iter().filter(|e| e.id != endpoint.id).cloned().collect();
                engine.commit_endpoints(&container, rest).await?;
            }
            container.commit_record(record).await
        })
        .await
    }

    async fn commit_endpoints(
        &self,
        container: &Arc<Container>,
        endpoints: Vec<Endpoint>,
    ) -> Result<(), Error> {
        let view = container.view();
        let network = Arc::new(Attachment { endpoints, ports: view.network.ports.clone() });
        container.save_state(view.state.clone(), network.clone()).await?;
        container.publish(|view| view.network = network);
        Ok(())
    }

    /// `POST /networks/prune`: those of the user's that no container wants.
    pub async fn prune_networks(&self, filters: &Filters) -> Result<NetworksPruneResponse, Error> {
        let _one = self.prune_lock(Prune::Networks)?;
        let until = crate::container::until(filters)?;
        let mut answer = NetworksPruneResponse::default();
        for network in self.inner.networks.list() {
            let wanted = self
                .inner
                .containers
                .all()
                .iter()
                .any(|c| c.view().record.networks.contains_key(&network.name));
            let old = until.is_none_or(|until| time::parse_rfc3339(&network.created).unwrap_or(0) <= until);
            let labels = filters.labels("label", &network.labels) && !excluded(filters, &network.labels);
            if PREDEFINED.contains(&network.name.as_str()) || wanted || !old || !labels {
                continue;
            }
            if self.network_remove(network.id.as_str()).await.is_ok() {
                answer.networks_deleted.push(network.name);
            }
        }
        let none = [("reclaimed".to_owned(), "0".to_owned())].into();
        self.publish(events::message("network", "prune", "", none));
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_read() {
        assert_eq!(parse_cidr("10.1.2.0/24").unwrap(), (Ipv4Addr::new(10, 1, 2, 0), 24));
        for bad in ["10.1.2.0", "10.1.2.0/33", "a/8", "::/64"] {
            assert!(parse_cidr(bad).is_err(), "{bad}");
        }
    }
}
