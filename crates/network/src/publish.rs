//! Publishing ports of a connected container: at its start, and while it runs.

use spec::Id;

use crate::networks::Core;
use crate::redirection::Redirection;
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
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        if !self.core.can_publish(container) {
            let text = format!("container {} is on no network that leads outside", container.short());
            return Err(Error::Invalid(text));
        }
        let published = self.publish(container, requests)?;
        if let Err(error) = self.core.save(container) {
            // The first failure is the one to report.
            let _ = self.unpublish(container, &published);
            return Err(error);
        }
        Ok(published)
    }

    /// Whether the container is on a network that leads outside, so that its ports can be published.
    pub fn leads_outside(&self, container: &Id) -> bool {
        self.core.can_publish(container)
    }

    /// Ends publishing of some of a container's ports. Connections that stand go on; new ones are not led to it.
    ///
    /// # Errors
    /// All failures in one. The ports are free even so.
    pub fn unpublish_live(&self, container: &Id, ports: &[PublishedPort]) -> Result<(), Error> {
        let unpublished = self.unpublish(container, ports).err();
        let saved = self.core.save(container).err();
        Error::collect(unpublished.into_iter().chain(saved).collect())
    }

    /// Claims ports and leads them to the container; gives them back when one cannot be had.
    pub(crate) fn publish(
        &self,
        container: &Id,
        requests: &[PortRequest],
    ) -> Result<Vec<PublishedPort>, Error> {
        let core = &self.core;
        let default = core.state().published_on(container, core.config.publish_on).unwrap_or_default();
        let mut published = Vec::new();
        for request in requests {
            let named = request.host_ip.map(|ip| vec![ip]);
            let addresses = named.as_ref().unwrap_or(&default).iter().copied();
            // Where the container is reached at its own address, the host's ports are left alone.
            let (direct, held): (Vec<_>, Vec<_>) =
                addresses.partition(|ip| core.state().is_direct(container, ip.is_ipv4()));
            published.extend(direct.into_iter().map(|host_ip| PublishedPort {
                container_port: request.container_port,
                protocol: request.protocol.clone(),
                host_ip,
                host_port: 0,
            }));
            match core.ports.claim(container, request, &held, |id| core.name_of(id)) {
                Ok(ports) => published.extend(ports),
                Err(error) => {
                    core.ports.release(container, &published);
                    return Err(error);
                }
            }
        }
        if let Some(record) = core.state().containers.get_mut(container) {
            record.ports.extend_from_slice(&published);
        }
        let redirections = core.redirections(container, &published);
        let led = core
            .change_firewall(|firewall| firewall.publish(&redirections))
            .and_then(|()| self.relay_ports(container));
        if let Err(error) = led {
            // The first failure is the one to report.
            let _ = self.unpublish(container, &published);
            return Err(error);
        }
        Ok(published)
    }

    fn unpublish(&self, container: &Id, ports: &[PublishedPort]) -> Result<(), Error> {
        let core = &self.core;
        let redirections = core.redirections(container, ports);
        if let Some(record) = core.state().containers.get_mut(container) {
            record.ports.retain(|port| !ports.contains(port));
        }
        let changed = core.change_firewall(|firewall| firewall.unpublish(&redirections)).err();
        let relayed = self.relay_ports(container).err();
        core.ports.release(container, ports);
        Error::collect(changed.into_iter().chain(relayed).collect())
    }

    /// Serves what the kernel cannot redirect, of all that the container publishes.
    pub(crate) fn relay_ports(&self, container: &Id) -> Result<(), Error> {
        let core = &self.core;
        let relayed = {
            let state = core.state();
            let record = state.containers.get(container);
            record.map(|r| state.relayed(r, core.config.respect_host)).unwrap_or_default().into_iter()
        };
        let relayed = relayed.filter_map(|r| Some((core.ports.socket(container, &r.port)?, r)));
        self.relay.set(container, relayed.collect())
    }
}

impl Core {
    /// Whether a published port would lead to it.
    pub(crate) fn can_publish(&self, container: &Id) -> bool {
        self.state().published_on(container, None).is_some()
    }

    fn redirections(&self, container: &Id, ports: &[PublishedPort]) -> Vec<Redirection> {
        let state = self.state();
        state.containers.get(container).map(|r| state.redirections_of(r, ports)).unwrap_or_default()
    }
}
