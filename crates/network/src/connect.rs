//! Connecting a container, before it runs and while it does.

use std::os::fd::{AsFd, OwnedFd};

use spec::Id;
use sys::netlink::{Family, Socket};

use crate::allocate::Place;
use crate::namespace::{self, Namespace};
use crate::networks::{Core, State};
use crate::ready::Prepared;
use crate::record::Record;
use crate::{Endpoint, EndpointRequest, Error, Networks, PortRequest, Sandbox, bridge};

impl Networks {
    /// Makes a container's namespace and connects it; publishes its ports. No endpoints: only loopback.
    /// Takes one from the ready pool when the only network is the default bridge.
    ///
    /// Ports of a container none of whose networks leads outside are not published, as with Docker.
    ///
    /// # Errors
    /// As the variants say; nothing is left then.
    pub fn connect(
        &self,
        container: &Id,
        endpoints: &[EndpointRequest],
        ports: &[PortRequest],
    ) -> Result<Sandbox, Error> {
        self.connect_in(None, container, endpoints, ports)
    }

    /// The same in a namespace that was made for the container, such as one of a user namespace.
    ///
    /// # Errors
    /// As [`Networks::connect`]'s.
    pub fn connect_in(
        &self,
        netns: Option<OwnedFd>,
        container: &Id,
        endpoints: &[EndpointRequest],
        ports: &[PortRequest],
    ) -> Result<Sandbox, Error> {
        // What an earlier run of this container has left, if it was not released.
        self.release(container)?;
        let made = self.try_connect(netns, container, endpoints, ports);
        if made.is_err() {
            // The first failure is the one to report.
            let _ = self.release(container);
        }
        made
    }

    fn try_connect(
        &self,
        made_for_it: Option<OwnedFd>,
        container: &Id,
        requests: &[EndpointRequest],
        ports: &[PortRequest],
    ) -> Result<Sandbox, Error> {
        let ready = if made_for_it.is_none() { self.take_ready(container, requests)? } else { None };
        let netns = match ready {
            Some(netns) => netns,
            None => {
                requests.iter().try_for_each(|request| self.core.mend(&request.network))?;
                let places = self.core.place(container, requests)?;
                let mut namespace = match made_for_it {
                    Some(netns) => namespace::adopt(netns, &self.core.parameters)?,
                    None => namespace::make(&self.core.parameters)?,
                };
                for place in &places {
                    namespace.plug(place, &self.core)?;
                }
                let ways_out = self.core.state().ways_out(container);
                if ways_out.iter().any(Option::is_some) {
                    namespace.lead_outside(&ways_out)?;
                }
                namespace.netns
            }
        };
        self.serve_names(container, &netns)?;
        if !ports.is_empty() && self.core.can_publish(container) {
            self.publish(container, ports)?;
        }
        self.core.save(container)?;
        let state = self.core.state();
        let record = state
            .containers
            .get(container)
            .ok_or_else(|| Error::Invalid(format!("container {container} was released while connecting")))?;
        Ok(Sandbox { netns, endpoints: record.endpoints.clone(), ports: record.ports.clone() })
    }

    /// Makes what [`Networks::connect`] took out of the ready pool: the container that it is for runs, or never will.
    pub fn refill(&self) {
        self.ready.refill();
    }

    /// A ready namespace, if it is all that is asked for.
    fn take_ready(&self, container: &Id, requests: &[EndpointRequest]) -> Result<Option<OwnedFd>, Error> {
        let [request] = requests else { return Ok(None) };
        if !request.is_plain() {
            return Ok(None);
        }
        let (interface, index) = match self.core.state().find(&request.network) {
            Ok(entry) if entry.network.name == "bridge" => (entry.network.interface.clone(), entry.bridge),
            _ => return Ok(None),
        };
        let Some(Prepared { netns, mut endpoint }) = self.ready.take() else { return Ok(None) };
        // It was there when this one was made.
        if let Err(gone) = bridge::check(&mut Socket::open(Family::Route)?, &interface, index) {
            self.core.state().free_addresses(&endpoint);
            return Err(gone);
        }
        endpoint.names.clone_from(&request.names);
        endpoint.priority = request.priority;
        self.core.state().enter(container, &request.container_name, vec![endpoint]);
        Ok(Some(netns))
    }

    /// Opens the container's name server, if one of its networks has names and it is not open.
    pub(crate) fn serve_names(&self, container: &Id, netns: impl AsFd + Sync) -> Result<(), Error> {
        let before = {
            let state = self.core.state();
            match state.containers.get(container) {
                Some(record) if state.has_names(record) => record.resolver,
                _ => return Ok(()),
            }
        };
        if self.resolver.serves(container) {
            return Ok(());
        }
        let sockets = namespace::open_resolver(netns, before)?;
        if let Some(record) = self.core.state().containers.get_mut(container) {
            record.resolver = Some(sockets.ports);
        }
        self.resolver.serve(container, sockets)
    }

    /// Connects a running container (a pid in its namespace) to one more network.
    ///
    /// # Errors
    /// As the variants say, [`Error::Ended`] among them; nothing is left then.
    pub fn connect_live(
        &self,
        container: &Id,
        pid: i32,
        endpoint: &EndpointRequest,
    ) -> Result<Endpoint, Error> {
        let netns = namespace::of_process(pid)?.ok_or_else(|| Error::Ended(container.clone()))?;
        self.core.mend(&endpoint.network)?;
        let place = self.core.place_one_more(container, endpoint)?;
        let plugged = (|| {
            let mut namespace = Namespace::open(netns)?;
            namespace.plug(&place, &self.core)?;
            let mut joined = Ok(());
            self.move_ports(container, |state| joined = state.join(container, place.endpoint.clone()))?;
            joined?;
            let ways_out = self.core.state().ways_out(container);
            namespace.lead_outside(&ways_out)?;
            self.serve_names(container, &namespace.netns)?;
            self.core.save(container)
        })();
        match plugged {
            Ok(()) => Ok(place.endpoint),
            Err(e) => {
                // The first failure is the one to report.
                let _ = self.unplug(container, &place.endpoint, Some(pid));
                Err(e)
            }
        }
    }
}

impl State {
    /// Enters a container that has its endpoints.
    fn enter(&mut self, container: &Id, name: &str, endpoints: Vec<Endpoint>) {
        let record = Record {
            container: container.clone(),
            name: name.to_owned(),
            endpoints,
            ports: Vec::new(),
            resolver: None,
            upstreams: Vec::new(),
        };
        self.containers.insert(container.clone(), record);
    }

    /// Adds an endpoint to a container that is entered, unless its network has been removed meanwhile: nobody was on it.
    fn join(&mut self, container: &Id, endpoint: Endpoint) -> Result<(), Error> {
        if !self.networks.get(&endpoint.network_id).is_some_and(|entry| entry.settled) {
            return Err(Error::NotFound(endpoint.network_name));
        }
        if let Some(record) = self.containers.get_mut(container) {
            record.endpoints.push(endpoint);
        }
        Ok(())
    }
}

impl Core {
    /// Gives out addresses for all of a container's endpoints, and enters it.
    fn place(&self, container: &Id, requests: &[EndpointRequest]) -> Result<Vec<Place>, Error> {
        let mut state = self.state();
        let mut places: Vec<Place> = Vec::new();
        for request in requests {
            let taken: Vec<_> = places.iter().map(|p| p.endpoint.interface.clone()).collect();
            let placed = match state.allocate(request, &taken) {
                Ok(Some(place)) => {
                    let again = places.iter().any(|p| p.endpoint.network_id == place.endpoint.network_id);
                    let name = place.endpoint.network_name.clone();
                    places.push(place);
                    if again { Err(already_on(container, &name)) } else { Ok(()) }
                }
                Ok(None) => Ok(()),
                Err(e) => Err(e),
            };
            if let Err(e) = placed {
                places.iter().for_each(|p| state.free_addresses(&p.endpoint));
                return Err(e);
            }
        }
        let name = requests.first().map(|r| r.container_name.as_str()).unwrap_or_default();
        state.enter(container, name, places.iter().map(|p| p.endpoint.clone()).collect());
        Ok(places)
    }

    /// Gives out an address for a further endpoint of a container.
    fn place_one_more(&self, container: &Id, request: &EndpointRequest) -> Result<Place, Error> {
        let mut state = self.state();
        let network = state.find(&request.network)?.network.clone();
        let record = state.containers.get(container);
        let endpoints = record.map(|r| r.endpoints.as_slice()).unwrap_or_default();
        if endpoints.iter().any(|e| e.network_id == network.id) {
            return Err(already_on(container, &network.name));
        }
        let taken: Vec<_> = endpoints.iter().map(|e| e.interface.clone()).collect();
        let place = state.allocate(request, &taken)?.ok_or_else(|| {
            Error::Forbidden(format!("container cannot be connected to network {}", network.name))
        })?;
        match state.containers.get_mut(container) {
            // One that was on no network at its start has told us no name.
            Some(record) => record.name.clone_from(&request.container_name),
            None => state.enter(container, &request.container_name, Vec::new()),
        }
        Ok(place)
    }

    /// A namespace on the default bridge, for the ready pool.
    pub(crate) fn prepare(&self) -> Result<Prepared, Error> {
        let request = EndpointRequest { network: "bridge".into(), ..EndpointRequest::default() };
        let place = self.state().allocate(&request, &[])?.expect("the default network is a bridge");
        let made = namespace::make(&self.parameters).and_then(|mut namespace| {
            namespace.plug(&place, self)?;
            let endpoint = Some(place.endpoint.clone());
            let ways_out = [true, false].map(|v4| endpoint.clone().filter(|e| e.address(v4).is_some()));
            namespace.lead_outside(&ways_out)?;
            Ok(namespace.netns)
        });
        let endpoint = place.endpoint;
        match made {
            Ok(netns) => Ok(Prepared { netns, endpoint }),
            Err(e) => {
                self.state().free_addresses(&endpoint);
                Err(e)
            }
        }
    }
}

fn already_on(container: &Id, network: &str) -> Error {
    Error::Forbidden(format!(
        "endpoint for container {} already exists in network {network}",
        container.short()
    ))
}
