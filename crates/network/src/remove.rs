//! Removing a network.

use sys::netlink::{Family, Socket, route};

use crate::networks::Core;
use crate::{Driver, Error, Network, Networks, bridge};

impl Networks {
    /// Removes a network without endpoints.
    ///
    /// # Errors
    /// `NotFound`, `InUse`, `Forbidden` for predefined ones.
    pub fn remove(&self, name_or_id: &str) -> Result<Network, Error> {
        let network = {
            let mut state = self.core.state();
            let network = state.find(name_or_id)?.network.clone();
            if network.is_predefined() {
                let text = format!("{} is a pre-defined network and cannot be removed", network.name);
                return Err(Error::Forbidden(text));
            }
            let endpoints: Vec<_> = state
                .endpoints_of(&network.id)
                .map(|(record, endpoint)| format!("name:{:?} id:{:?}", record.name, endpoint.id.short()))
                .collect();
            if !endpoints.is_empty() {
                return Err(Error::InUse { network: network.name, endpoints: endpoints.join(", ") });
            }
            if let Some(entry) = state.networks.get_mut(&network.id) {
                entry.settled = false;
            }
            network
        };
        self.core.dismantle(&network)?;
        Ok(network)
    }
}

/// Removes a network's interface, but not what somebody else has made under its bridge's name.
fn remove_link(socket: &mut Socket, network: &Network) -> Result<(), Error> {
    let is_foreign = |link: route::Link| network.driver == Driver::Bridge && link.kind != "bridge";
    if route::link(socket, &network.interface)?.is_some_and(is_foreign) {
        return Ok(());
    }
    bridge::remove(socket, &network.interface)
}

impl Core {
    /// Takes a network that nobody can use any more out of the kernel, the disk and the state.
    pub(crate) fn dismantle(&self, network: &Network) -> Result<(), Error> {
        let mut errors = Vec::new();
        if network.owns_interface && !self.give_interface_away(network)? {
            let removed = Socket::open(Family::Route)
                .map_err(Error::from)
                .and_then(|mut socket| remove_link(&mut socket, network));
            errors.extend(removed.err());
        }
        errors.extend(self.records.remove_network(&network.id).err());
        // Its name and subnet are free only when the kernel has nothing of it any more.
        self.state().networks.remove(&network.id);
        errors.extend(self.change_firewall(|firewall| firewall.remove_bridge(network)).err());
        errors.extend(self.allow_through_host().err());
        if network.driver == Driver::Bridge {
            self.forget_at_host(std::slice::from_ref(&network.interface));
        }
        Error::collect(errors)
    }

    /// A VLAN's interface that others use as well goes with the last of them.
    fn give_interface_away(&self, network: &Network) -> Result<bool, Error> {
        let heir = {
            let mut state = self.state();
            let mut others = state.networks.values_mut().map(|entry| &mut entry.network);
            others.find(|n| n.id != network.id && n.interface == network.interface).map(|heir| {
                heir.owns_interface = true;
                heir.clone()
            })
        };
        heir.map_or(Ok(false), |heir| self.records.write_network(&heir).map(|()| true))
    }
}
