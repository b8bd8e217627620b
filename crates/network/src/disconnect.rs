//! Taking a running container off a network.

use spec::Id;
use sys::netlink::route::Batch;
use sys::netlink::{Family, Socket};

use crate::namespace::{self, Namespace};
use crate::networks::State;
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
        let mut errors: Vec<Error> = self.unplug(container, &endpoint, Some(pid)).err().into_iter().collect();
        let ways_out = self.core.state().ways_out(container);
        let led = namespace::of_process(pid).and_then(|netns| match netns {
            Some(netns) => Namespace::open(netns)?.lead_outside(&ways_out),
            None => Ok(()),
        });
        errors.extend(led.err());
        Error::collect(errors)
    }

    /// Removes an endpoint from the kernel, then from the state; ports that led to it lead elsewhere. `pid` is in the
    /// container's namespace.
    pub(crate) fn unplug(&self, container: &Id, endpoint: &Endpoint, pid: Option<i32>) -> Result<(), Error> {
        let core = &self.core;
        let mut errors = Vec::new();
        let moved = self.move_ports(container, |state| {
            if let Some(record) = state.containers.get_mut(container) {
                record.endpoints.retain(|e| e.id != endpoint.id);
            }
        });
        errors.extend(moved.err());
        errors.extend(remove_link(endpoint, pid).err());
        core.state().free_addresses(endpoint);
        errors.extend(core.save(container).err());
        Error::collect(errors)
    }

    /// Changes a container's endpoints; its published ports go to where its way out is then.
    pub(crate) fn move_ports(&self, container: &Id, change: impl FnOnce(&mut State)) -> Result<(), Error> {
        let core = &self.core;
        let (before, after) = {
            let mut state = core.state();
            let redirections = |state: &State| {
                state.containers.get(container).map(|r| state.redirections(r)).unwrap_or_default()
            };
            let before = redirections(&state);
            change(&mut state);
            (before, redirections(&state))
        };
        if before == after {
            return Ok(());
        }
        let mut errors = Vec::new();
        errors.extend(core.change_firewall(|firewall| firewall.unpublish(&before)).err());
        errors.extend(core.change_firewall(|firewall| firewall.publish(&after)).err());
        errors.extend(self.relay_ports(container).err());
        Error::collect(errors)
    }
}

/// Removes an endpoint's link: a veth from the host's end, any other where it is.
fn remove_link(endpoint: &Endpoint, pid: Option<i32>) -> Result<(), Error> {
    let mut batch = Batch::new();
    if !endpoint.host_interface.is_empty() {
        batch.delete(&endpoint.host_interface);
        return Ok(batch.send(&mut Socket::open(Family::Route)?)?);
    }
    let Some(netns) = pid.map(namespace::of_process).transpose()?.flatten() else { return Ok(()) };
    batch.delete(&endpoint.interface);
    Namespace::open(netns)?.send(&batch)
}
