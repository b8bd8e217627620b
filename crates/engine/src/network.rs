//! Networks as the API shows them, and containers' places on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use network::{Driver, Endpoint, EndpointRequest, NewNetwork, PublishedPort, Range};
use spec::Filters;
use spec::api::{
    EndpointResource, Ipam, IpamConfig, Network, NetworkConnectRequest, NetworkCreateRequest,
    NetworkCreateResponse, NetworkDisconnectRequest, NetworkInspect, NetworksPruneResponse,
};

use crate::blocking::{blocking, to_the_end};
use crate::container::record::{Attachment, NetworkMode, Record};
use crate::container::{Container, ports};
use crate::engine::Prune;
use crate::volume::{excluded, is_boolean, is_true};
use crate::{Engine, Error, events, time};

mod endpoint;
mod ipam;

pub(crate) use endpoint::{check_endpoint, fill_endpoint, intent};

/// Why a container stays where it is (moby `runconfig`).
const HOST_STAYS: &str = "container cannot be disconnected from host network or connected to host network";
const NONE_STAYS: &str =
    "container cannot be connected to multiple networks with one of the networks in private (none) mode";
const SHARED_STAYS: &str = "container sharing network namespace with another container or host cannot be connected to any other network";

/// The mode of a container that is on those networks that are in its record, and there are none.
const ON_NO_NETWORK: &str = "bridge";

/// Networks that are always there.
const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

fn api(network: &network::Network) -> Network {
    let config = |range: &Range| IpamConfig {
        subnet: range.subnet.to_string(),
        ip_range: range.range.map(|part| part.to_string()).unwrap_or_default(),
        gateway: range.gateway.map(|g| g.to_string()).unwrap_or_default(),
        auxiliary_addresses: range.reserved.iter().map(|(n, ip)| (n.clone(), ip.to_string())).collect(),
    };
    Network {
        name: network.name.clone(),
        id: network.id.to_string(),
        created: network.created.clone(),
        scope: "local".into(),
        driver: network.driver.name().into(),
        enable_ipv4: network.v4,
        enable_ipv6: network.v6,
        ipam: Ipam {
            driver: "default".into(),
            config: network.ranges.iter().map(config).collect(),
            options: network.ipam_options.clone(),
        },
        internal: network.internal,
        attachable: network.attachable,
        options: network.options.clone(),
        labels: network.labels.clone(),
        ..Network::default()
    }
}

impl Engine {
    /// `GET /networks`.
    pub async fn network_list(&self, filters: &Filters) -> Result<Vec<Network>, Error> {
        for value in filters.get("type") {
            if !matches!(value.as_str(), "custom" | "builtin") {
                return Err(Error::Invalid(format!("invalid filter 'type={value}'")));
            }
        }
        if let Some(bad) = filters.get("dangling").iter().find(|word| !is_boolean(word)) {
            return Err(Error::Invalid(format!("invalid filter 'dangling=[{bad}]'")));
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
                && filters.any("driver", |wanted| wanted == network.driver.name())
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
        let new = self.new_network(request)?;
        let engine = self.clone();
        to_the_end(async move {
            let inner = engine.inner.clone();
            let made = blocking(move || {
                let network = inner.networks.create(new)?;
                let obstacles = inner.networks.obstacles(Some(network.id.as_str()));
                Ok::<_, Error>((network, obstacles))
            });
            let (network, obstacles) = made.await?;
            engine.network_event("create", &network);
            Ok(NetworkCreateResponse { id: network.id.to_string(), warning: obstacles.join("; ") })
        })
        .await
    }

    fn new_network(&self, request: NetworkCreateRequest) -> Result<NewNetwork, Error> {
        let driver = if request.driver.is_empty() { "bridge" } else { &request.driver };
        let mut options = request.options;
        for (key, value) in self.settings().network_options.get(driver).into_iter().flatten() {
            options.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let said =
            |name: &str| options.get(&format!("com.docker.network.{name}")).map(|value| is_true(value));
        let v4 = request.enable_ipv4.or_else(|| said("enable_ipv4")).unwrap_or(true);
        let v6 = request.enable_ipv6.or_else(|| said("enable_ipv6")).unwrap_or(false);
        let ipam = request.ipam.unwrap_or_default();
        if !matches!(ipam.driver.as_str(), "" | "default") {
            return Err(network::Error::NoDriver(ipam.driver).into());
        }
        Ok(NewNetwork {
            name: request.name,
            driver: request.driver,
            without_v4: !v4,
            v6,
            ranges: ipam::ranges(&ipam.config, v4, v6)?,
            internal: request.internal,
            attachable: request.attachable,
            labels: request.labels,
            options,
            ipam_options: ipam.options,
        })
    }

    fn network_event(&self, action: &str, network: &network::Network) {
        let attributes = [("name", network.name.as_str()), ("type", network.driver.name())];
        let attributes = attributes.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        self.publish(events::message("network", action, network.id.as_str(), attributes));
    }

    /// `GET /networks/{id}`.
    pub async fn network_inspect(&self, name: &str) -> Result<NetworkInspect, Error> {
        let network = self.inner.networks.find(name)?;
        let shown = |address: &Option<network::Address>| {
            address.as_ref().map(|a| format!("{}/{}", a.ip, a.prefix)).unwrap_or_default()
        };
        let mut containers = BTreeMap::new();
        for (id, endpoint) in self.inner.networks.endpoints_of(&network.id) {
            let name = self.inner.containers.find(id.as_str()).map(|c| c.view().record.name.clone());
            let member = EndpointResource {
                name: name.unwrap_or_default(),
                endpoint_id: endpoint.id.to_string(),
                mac_address: endpoint.mac.clone(),
                ipv4_address: shown(&endpoint.v4),
                ipv6_address: shown(&endpoint.v6),
            };
            containers.insert(id.to_string(), member);
        }
        // Nobody has an endpoint there.
        let mode = match network.driver {
            Driver::Host => Some(NetworkMode::Host),
            Driver::Null => Some(NetworkMode::None),
            Driver::Bridge | Driver::Macvlan | Driver::Ipvlan => None,
        };
        for container in self.inner.containers.all() {
            let view = container.view();
            if view.state.is_alive() && mode.as_ref() == Some(&view.record.network_mode()) {
                let member =
                    EndpointResource { name: view.record.name.clone(), ..EndpointResource::default() };
                containers.insert(container.id.to_string(), member);
            }
        }
        let usage = |usage: network::Usage| {
            let used = serde_json::json!({ "IPsInUse": usage.used, "DynamicIPsAvailable": usage.free });
            (usage.subnet.to_string(), used)
        };
        let subnets: BTreeMap<_, _> = self.inner.networks.usage(&network.id).into_iter().map(usage).collect();
        let status = if subnets.is_empty() {
            serde_json::Value::Null
        } else {
            serde_json::json!({ "IPAM": { "Subnets": subnets } })
        };
        Ok(NetworkInspect { network: api(&network), containers, status, ..NetworkInspect::default() })
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
        match network.driver {
            Driver::Host => return Err(Error::Invalid(HOST_STAYS.into())),
            Driver::Null => return Err(Error::Invalid(NONE_STAYS.into())),
            Driver::Bridge | Driver::Macvlan | Driver::Ipvlan => check_endpoint(&network, &settings)?,
        }
        let engine = self.clone();
        to_the_end(async move {
            let _verbs = container.verbs.lock().await;
            let view = container.view();
            let other = match view.record.network_mode() {
                NetworkMode::Networks => None,
                NetworkMode::None => Some(NONE_STAYS),
                NetworkMode::Host | NetworkMode::Container(_) => Some(SHARED_STAYS),
            };
            if let Some(text) = other {
                return Err(Error::Invalid(text.into()));
            }
            if view.record.networks.contains_key(&network.name) {
                return Err(Error::Forbidden(format!(
                    "endpoint with name {} already exists in network {}",
                    view.record.name, network.name
                )));
            }
            let request = engine.endpoint_request(&view.record, &network.name, &settings)?;
            let resolv = engine.resolv_text(view.record.clone()).await;
            let mut record = (*view.record).clone();
            record.networks.insert(network.name.clone(), settings);
            // The record first: what it says is what a running container is made to be.
            container.commit_record(record).await?;
            if !view.state.is_alive() {
                return Ok(());
            }
            match engine.connect_running(&container, request).await {
                Ok(endpoint) => {
                    engine.tell_files(&container, resolv, endpoint).await;
                    Ok(())
                }
                // What was recorded holds for its next start.
                Err(Error::Network(network::Error::Ended(_))) => Ok(()),
                Err(error) => {
                    let before = (*view.record).clone();
                    Err(Error::first(error, container.commit_record(before).await.err()))
                }
            }
        })
        .await
    }

    /// Connects a container while it runs. For the holder of its verbs.
    async fn connect_running(
        &self,
        container: &Arc<Container>,
        request: EndpointRequest,
    ) -> Result<Endpoint, Error> {
        let view = container.view();
        let (inner, id, pid) = (self.inner.clone(), container.id.clone(), view.state.pid);
        let endpoint = blocking(move || inner.networks.connect_live(&id, pid, &request)).await?;
        let mut endpoints = view.network.endpoints.clone();
        endpoints.push(endpoint.clone());
        let committed = async {
            let ports = self.publish_first(container).await?;
            self.commit_network(container, Attachment { endpoints, ports }).await
        }
        .await;
        if let Err(error) = committed {
            return Err(Error::first(error, self.take_off(container, &endpoint).await.err()));
        }
        self.publish(self.member_event("connect", &endpoint, &container.id));
        Ok(endpoint)
    }

    /// A running container's published ports, after it has come to a network: if it is the first one that leads outside, they
    /// are published now.
    async fn publish_first(&self, container: &Arc<Container>) -> Result<Vec<PublishedPort>, Error> {
        let view = container.view();
        let record = &view.record;
        let wanted = ports::requests(&record.config, &record.host, self.settings().publish_on(&record.host))?;
        if !view.network.ports.is_empty() || wanted.is_empty() {
            return Ok(view.network.ports.clone());
        }
        let (inner, id) = (self.inner.clone(), container.id.clone());
        blocking(move || match inner.networks.leads_outside(&id) {
            true => Ok(inner.networks.publish_live(&id, &wanted)?),
            false => Ok(Vec::new()),
        })
        .await
    }

    /// Takes a container that runs off a network. It is gone from there even after an error.
    async fn take_off(&self, container: &Arc<Container>, endpoint: &Endpoint) -> Result<(), Error> {
        let (inner, id, pid) = (self.inner.clone(), container.id.clone(), container.view().state.pid);
        let network = endpoint.network_id.to_string();
        Ok(blocking(move || inner.networks.disconnect_live(&id, pid, &network)).await?)
    }

    /// `POST /networks/{id}/disconnect`. A network that was removed while the container did not run is only known by the
    /// name that it has in the container's record.
    pub async fn network_disconnect(
        &self,
        network: &str,
        request: NetworkDisconnectRequest,
    ) -> Result<(), Error> {
        let (engine, asked) = (self.clone(), network.to_owned());
        let known = self.inner.networks.find(network);
        let container = self.inner.containers.find(&request.container)?;
        to_the_end(async move {
            let _verbs = container.verbs.lock().await;
            let view = container.view();
            let mut record = (*view.record).clone();
            let name = known.as_ref().map_or(asked, |network| network.name.clone());
            let endpoint = view.network.endpoints.iter().find(|e| e.network_name == name).cloned();
            if record.networks.remove(&name).is_none() && endpoint.is_none() {
                match (known?.driver, view.record.network_mode()) {
                    (Driver::Host, NetworkMode::Host) => return Err(Error::Invalid(HOST_STAYS.into())),
                    (Driver::Null, NetworkMode::None) => {
                        // From now on it can be connected to others.
                        ON_NO_NETWORK.clone_into(&mut record.host.network_mode);
                        return container.commit_record(record).await;
                    }
                    _ => {}
                }
                let text = format!("container {} is not connected to network {name}", container.id);
                return Err(Error::Forbidden(text));
            }
            let Some(endpoint) = endpoint.filter(|_| view.state.is_alive()) else {
                return container.commit_record(record).await;
            };
            // While the network is there for certain.
            let resolv = engine.resolv_text(view.record.clone()).await;
            let mut failed: Vec<Error> =
                engine.take_off(&container, &endpoint).await.err().into_iter().collect();
            engine.publish(engine.member_event("disconnect", &endpoint, &container.id));
            let rest = view.network.endpoints.iter().filter(|e| e.id != endpoint.id).cloned().collect();
            let network = Attachment { endpoints: rest, ports: view.network.ports.clone() };
            failed.extend(engine.commit_network(&container, network).await.err());
            failed.extend(container.commit_record(record).await.err());
            engine.tell_files(&container, resolv, endpoint).await;
            Error::all(failed)
        })
        .await
    }

    async fn resolv_text(&self, record: Arc<Record>) -> Result<String, Error> {
        let engine = self.clone();
        blocking(move || engine.resolv_conf(&record)).await
    }

    /// Its files follow where its place on a network has come or gone while it runs. `resolv`: what its resolv.conf was.
    async fn tell_files(
        &self,
        container: &Arc<Container>,
        resolv: Result<String, Error>,
        endpoint: Endpoint,
    ) {
        let (engine, followed) = (self.clone(), container.clone());
        let told = blocking(move || engine.follow_network(&followed, &resolv?, &endpoint)).await;
        if let Err(error) = told {
            tracing::warn!(container = %container.id, "its hosts and resolv.conf: {}", error.message());
        }
    }

    async fn commit_network(&self, container: &Arc<Container>, network: Attachment) -> Result<(), Error> {
        let (view, network) = (container.view(), Arc::new(network));
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
