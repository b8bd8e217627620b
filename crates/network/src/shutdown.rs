//! Leaving the host as it was.

use sys::netlink::route::Batch;
use sys::netlink::{Family, Socket};

use crate::{Error, Networks};

impl Networks {
    /// Removes everything this room has put into the kernel (bridges, table) and its records. For `cortend` being
    /// uninstalled and for tests; containers must be gone.
    ///
    /// Forwarding stays on: others on this host may rely on it by now.
    ///
    /// # Errors
    /// All teardown failures in one.
    pub fn shutdown(&self) -> Result<(), Error> {
        let core = &self.core;
        // The ready namespaces go with their fds.
        drop(self.ready.stop());
        let (containers, bridges) = {
            let state = core.state();
            let containers: Vec<_> = state.containers.keys().cloned().collect();
            let networks = state.networks.values();
            let owned = networks.map(|e| &e.network).filter(|n| n.owns_interface);
            let bridges: Vec<_> = owned.map(|n| n.interface.clone()).collect();
            (containers, bridges)
        };
        let mut errors: Vec<Error> = containers.iter().filter_map(|id| self.release(id).err()).collect();
        errors.extend(core.firewall.remove().err().map(Error::from));
        core.state().networks.clear();
        errors.extend(core.allow_through_host().err());
        core.forget_at_host(&bridges);
        let mut batch = Batch::new();
        bridges.iter().for_each(|bridge| batch.delete(bridge));
        let deleted = Socket::open(Family::Route).and_then(|mut socket| batch.send(&mut socket));
        errors.extend(deleted.err().map(Error::from));
        errors.extend(core.records.clear().err());
        Error::collect(errors)
    }
}
