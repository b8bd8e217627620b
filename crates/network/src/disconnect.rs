//! Taking a running container off a network.

use spec::Id;
use sys::netlink::route::Batch;
use sys::netlink::{Family, Socket};

use crate::namespace::Namespace;
use crate::{Endpoint, Error, Networks};

impl Networks {
    /// Takes a running container off one network. If that was its way out, the next network that leads outside takes
    /// over: the default route and the published ports move there.
    ///
    /// # Errors
    /// As the variants say. The endpoint is gone even so.
    pub fn disconnect_live(&self, container: &Id, pid: i32, network: &str) -> Result<(), Error> {
        let endpoint = {
            let state = self.core.state();
            let network = &state.find(network)?.network;
            let record = state.containers.get(container);
            let endpoint = record.and_then(|r| r.endpoints.iter().find(|e| e.network_id == network.id));
            endpoint.cloned().ok_or_else(|| {
                Error::Invalid(format!(
                    "container {} is not connected to network {}",
                    container.short(),
                    network.name
                ))
            })?
        };
        let mut errors: Vec<Error> = self.unplug(container, &endpoint).err().into_iter().collect();
        let way_out = {
            let state = self.core.state();
            state.containers.get(container).and_then(|r| state.way_out(r)).cloned()
        };
        if let Some(way_out) = way_out {
            let moved = sys::netns::of_process(pid)
                .map_err(Error::from)
                .and_then(Namespace::open)
                .and_then(|mut namespace| namespace.default_route(&way_out));
            errors.extend(moved.err());
        }
        Error::collect(errors)
    }

    /// Removes an endpoint from the kernel, then from the state; ports that led to it lead elsewhere.
    pub(crate) fn unplug(&self, container: &Id, endpoint: &Endpoint) -> Result<(), Error> {
        let core = &self.core;
        let before = {
            let mut state = core.state();
            let before = state.containers.get(container).map(|r| state.redirections(r)).unwrap_or_default();
            if let Some(record) = state.containers.get_mut(container) {
                record.endpoints.retain(|e| e.id != endpoint.id);
            }
            before
        };
        let after = {
            let state = core.state();
            state.containers.get(container).map(|r| state.redirections(r)).unwrap_or_default()
        };
        let mut errors = Vec::new();
        if before.iter().map(|r| r.to).ne(after.iter().map(|r| r.to)) {
            errors.extend(core.change_firewall(|firewall| firewall.unpublish(&before)).err());
            errors.extend(core.change_firewall(|firewall| firewall.publish(&after)).err());
        }
        let mut batch = Batch::new();
        batch.delete(&endpoint.host_interface);
        let deleted = Socket::open(Family::Route).and_then(|mut socket| batch.send(&mut socket));
        errors.extend(deleted.err().map(Error::from));
        core.state().free_address(endpoint);
        errors.extend(core.save(container).err());
        Error::collect(errors)
    }
}
