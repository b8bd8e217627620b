//! Taking back everything a container had.

use spec::Id;

use crate::{Error, Networks};

impl Networks {
    /// Unpublishes ports, frees addresses and names, removes veths: everything of this container. Idempotent.
    ///
    /// The veth pair goes with the container's namespace, in the kernel's own time; a namespace that someone else
    /// still holds loses it soon after.
    ///
    /// # Errors
    /// All teardown failures in one.
    pub fn release(&self, container: &Id) -> Result<(), Error> {
        let core = &self.core;
        let Some((record, redirections)) = ({
            let mut state = core.state();
            let record = state.containers.remove(container);
            record.map(|record| {
                let redirections = state.redirections(&record);
                (record, redirections)
            })
        }) else {
            return Ok(());
        };
        let mut errors = Vec::new();
        // First, because its sockets hold the namespace.
        self.resolver.stop(container);
        self.relay.stop(container);
        if !redirections.is_empty() {
            errors.extend(core.change_firewall(|firewall| firewall.unpublish(&redirections)).err());
        }
        core.ports.release(container, &record.ports);
        {
            let mut state = core.state();
            record.endpoints.iter().for_each(|endpoint| state.free_addresses(endpoint));
        }
        errors.extend(core.records.remove_container(container).err());
        let links = record.endpoints.iter().map(|e| e.host_interface.clone()).filter(|link| !link.is_empty());
        self.leftovers.delete_later(links);
        Error::collect(errors)
    }
}
