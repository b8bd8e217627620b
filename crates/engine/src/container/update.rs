//! Update: limits and the restart policy, live; beyond Docker what [`change`] can.

use std::sync::Arc;

use shim::proto::Request;
use spec::api::{ContainerUpdateRequest, ContainerUpdateResponse, HostConfig, Resources};

use super::record::Record;
use super::{Container, change, check, devices, oci};
use crate::blocking::{blocking, to_the_end};
use crate::{Engine, Error};

impl Engine {
    /// `POST /containers/{id}/update`. What the request leaves at zero stays as it is.
    pub async fn update(
        &self,
        id: &str,
        mut request: ContainerUpdateRequest,
    ) -> Result<ContainerUpdateResponse, Error> {
        let container = self.inner.containers.find(id)?;
        let (engine, id) = (self.clone(), container.id.clone());
        let updated = to_the_end(async move {
            let _verbs = container.verbs.lock().await;
            if container.is_removing() {
                return Err(Error::Conflict(
                    "container is marked for removal and cannot be \"update\"".into(),
                ));
            }
            let mut record = (*container.view().record).clone();
            let changes = request.changes.take().unwrap_or_default();
            merge(&mut record.host, request)?;
            check::resources(&record.host.resources)?;
            let mut warnings = engine.adapt(&mut record.host.resources).await?;
            check::restart(&record.host)?;
            let publish_on = engine.settings().publish_on(&record.host);
            let live = change::apply(&mut record, changes, publish_on)?;
            let gone = live.unmount.iter().map(|mount| mount.layer.clone()).filter(|layer| !layer.is_empty());
            let gone = gone.collect();
            let mut made = change::Made::default();
            if let Err(error) = engine.update_now(&container, record, live, &mut made).await {
                return Err(Error::first(error, engine.unmake(made).await));
            }
            warnings.append(&mut made.warnings);
            for error in engine.remove_layers(gone).await {
                tracing::warn!(
                    "the layer of an image that was mounted goes at the next start: {}",
                    error.message()
                );
            }
            engine.publish(container.event("update", &[]));
            Ok(ContainerUpdateResponse { warnings })
        })
        .await;
        updated.map_err(|error| match error {
            error @ Error::Invalid(_) => error,
            error => Error::within(format!("Cannot update container {id}"), error),
        })
    }

    /// Makes what the change needs, then records it, then does it. What was made is `made`, also after an error.
    async fn update_now(
        &self,
        container: &Arc<Container>,
        mut record: Record,
        mut live: change::Live,
        made: &mut change::Made,
    ) -> Result<(), Error> {
        self.make_sources(&mut record, &mut live, made).await?;
        let before = (*container.view().record).clone();
        // The record first: what it says is what a running container is made to be.
        container.commit_record(record).await?;
        match self.update_live(container, live).await {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::first(error, container.commit_record(before).await.err())),
        }
    }

    /// Makes a running container what its record says.
    async fn update_live(&self, container: &Arc<Container>, live: change::Live) -> Result<(), Error> {
        if !container.view().state.is_alive() {
            return Ok(());
        }
        let limits = container.view().record.host.resources.clone();
        let resources = blocking(move || -> Result<_, Error> {
            let throttles = devices::throttles(&limits)?;
            Ok(oci::resources(&limits, throttles, crate::system::swap_limit()))
        })
        .await?;
        match container.ask(Request::Update(Box::new(resources)), Vec::new()).await {
            Ok(_) => {}
            // It has just ended: what was recorded holds for its next start.
            Err(Error::Conflict(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.change_live(container, live).await
    }
}

/// Puts the request's limits and policy over the container's.
fn merge(host: &mut HostConfig, request: ContainerUpdateRequest) -> Result<(), Error> {
    let (ours, new) = (&mut host.resources, request.resources);
    if new.nano_cpus != 0 && (ours.cpu_period > 0 || ours.cpu_quota > 0) {
        return Err(Error::Conflict(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period/Quota has already been set"
                .into(),
        ));
    }
    if (new.cpu_period != 0 || new.cpu_quota != 0) && ours.nano_cpus > 0 {
        return Err(Error::Conflict(
            "Conflicting options: CPU Period/Quota cannot be updated as NanoCPUs has already been set".into(),
        ));
    }
    if new.memory > 0 && new.memory_swap == 0 && ours.memory_swap > 0 && ours.memory_swap < new.memory {
        return Err(Error::Conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time".into(),
        ));
    }
    type Number = fn(&mut Resources) -> &mut i64;
    let numbers: [Number; 10] = [
        |r| &mut r.cpu_shares,
        |r| &mut r.memory,
        |r| &mut r.memory_reservation,
        |r| &mut r.memory_swap,
        |r| &mut r.nano_cpus,
        |r| &mut r.cpu_period,
        |r| &mut r.cpu_quota,
        |r| &mut r.cpu_realtime_period,
        |r| &mut r.cpu_realtime_runtime,
        |r| &mut r.blkio_weight,
    ];
    let mut new = new;
    for number in numbers {
        let value = *number(&mut new);
        if value != 0 {
            *number(ours) = value;
        }
    }
    for (ours, new) in [(&mut ours.cpuset_cpus, new.cpuset_cpus), (&mut ours.cpuset_mems, new.cpuset_mems)] {
        if !new.is_empty() {
            *ours = new;
        }
    }
    if new.memory_swappiness.is_some() {
        ours.memory_swappiness = new.memory_swappiness;
    }
    if let Some(limit) = new.pids_limit {
        ours.pids_limit = Some(limit).filter(|n| *n > 0);
    }
    if let Some(policy) = request.restart_policy.filter(|p| !p.name.is_empty()) {
        if host.auto_remove && policy.name != "no" {
            return Err(Error::Invalid(
                "Restart policy cannot be updated because AutoRemove is enabled for the container".into(),
            ));
        }
        host.restart_policy = Some(policy);
    }
    Ok(())
}
