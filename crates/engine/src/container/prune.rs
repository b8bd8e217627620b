//! Prune: all containers that do not run.

use spec::Filters;
use spec::api::ContainersPruneResponse;

use super::RemoveOptions;
use super::state::Phase;
use crate::blocking::lasting;
use crate::engine::Prune;
use crate::volume::excluded;
use crate::{Engine, Error, events, time};

impl Engine {
    /// `POST /containers/prune`.
    pub async fn prune_containers(&self, filters: &Filters) -> Result<ContainersPruneResponse, Error> {
        let _one = self.prune_lock(Prune::Containers)?;
        let until = until(filters)?;
        let mut answer = ContainersPruneResponse::default();
        for container in self.inner.containers.all() {
            let view = container.view();
            let labels = &view.record.config.labels;
            let stopped = matches!(view.state.phase, Phase::Created | Phase::Exited | Phase::Dead);
            let old = until.is_none_or(|until| view.record.created_at <= until);
            if !stopped || !old || !filters.labels("label", labels) || excluded(filters, labels) {
                continue;
            }
            let (inner, id) = (self.inner.clone(), container.id.clone());
            let size = lasting(move || inner.store.rw_size(id.as_str()).unwrap_or(0)).await;
            // One that was started or removed meanwhile is none of ours any more.
            if self.remove(container.id.as_str(), RemoveOptions::default()).await.is_ok() {
                answer.containers_deleted.push(container.id.to_string());
                answer.space_reclaimed += size.cast_signed();
            }
        }
        let reclaimed = [("reclaimed".to_owned(), answer.space_reclaimed.to_string())].into();
        self.publish(events::message("container", "prune", "", reclaimed));
        Ok(answer)
    }
}

/// The `until` filter of a prune, in nanoseconds since 1970.
pub(crate) fn until(filters: &Filters) -> Result<Option<u64>, Error> {
    match filters.get("until") {
        [] => Ok(None),
        [text] => match time::parse_until(text, time::now()) {
            Some(until) => Ok(Some(until)),
            None => Err(Error::Invalid(format!("invalid until filter: {text:?}"))),
        },
        _ => Err(Error::Invalid("more than one until filter specified".into())),
    }
}
