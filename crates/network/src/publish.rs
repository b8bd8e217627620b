//! Publishing ports of a connected container: at its start, and while it runs.

use spec::Id;

use crate::networks::Core;
use crate::{Error, Networks, PortRequest, PublishedPort};

impl Networks {
    /// Publishes further ports of a connected container: all of them or none. It notices nothing.
    ///
    /// # Errors
    /// [`Error::PortTaken`] says by whom; Invalid when none of its networks leads outside.
    pub fn publish_live(
        &self,
        container: &Id,
        requests: &[PortRequest],
    ) -> Result<Vec<PublishedPort>, Error> {
        if !self.core.leads_outside(container) {
            let text = format!("container {} is on no network that leads outside", container.short());
            return Err(Error::Invalid(text));
        }
        let published = self.core.publish(container, requests)?;
        if let Err(error) = self.core.save(container) {
            // The first failure is the one to report.
            let _ = self.core.unpublish(container, &published);
            return Err(error);
        }
        Ok(published)
    }

    /// Ends publishing of some of a container's ports. Connections that stand go on; new ones are not led to it.
    ///
    /// # Errors
    /// All failures in one. The ports are free even so.
    pub fn unpublish_live(&self, container: &Id, ports: &[PublishedPort]) -> Result<(), Error> {
        let unpublished = self.core.unpublish(container, ports).err();
        let saved = self.core.save(container).err();
        Error::collect(unpublished.into_iter().chain(saved).collect())
    }
}

impl Core {
    /// Whether a published port would lead to it.
    pub(crate) fn leads_outside(&self, container: &Id) -> bool {
        let state = self.state();
        state.containers.get(container).is_some_and(|r| state.way_out(r).is_some())
    }

    /// Claims ports and redirects them to the container; gives them back when one cannot be had.
    pub(crate) fn publish(
        &self,
        container: &Id,
        requests: &[PortRequest],
    ) -> Result<Vec<PublishedPort>, Error> {
        let mut published = Vec::new();
        for request in requests {
            match self.ports.claim(container, request, |id| self.name_of(id)) {
                Ok(port) => published.push(port),
                Err(error) => {
                    self.ports.release(container, &published);
                    return Err(error);
                }
            }
        }
        if let Some(record) = self.state().containers.get_mut(container) {
            record.ports.extend_from_slice(&published);
        }
        let redirections = self.redirections(container, &published);
        if let Err(error) = self.change_firewall(|firewall| firewall.publish(&redirections)) {
            // The first failure is the one to report.
            let _ = self.unpublish(container, &published);
            return Err(error);
        }
        Ok(published)
    }

    fn unpublish(&self, container: &Id, ports: &[PublishedPort]) -> Result<(), Error> {
        let redirections = self.redirections(container, ports);
        if let Some(record) = self.state().containers.get_mut(container) {
            record.ports.retain(|port| !ports.contains(port));
        }
        let changed = self.change_firewall(|firewall| firewall.unpublish(&redirections));
        self.ports.release(container, ports);
        changed
    }

    fn redirections(&self, container: &Id, ports: &[PublishedPort]) -> Vec<crate::firewall::Redirection> {
        let state = self.state();
        let mut redirections =
            state.containers.get(container).map(|r| state.redirections(r)).unwrap_or_default();
        redirections.retain(|r| ports.contains(&r.port));
        redirections
    }
}
