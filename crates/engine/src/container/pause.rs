//! Pause and unpause: the container's cgroup is frozen and thawed.

use std::sync::Arc;

use shim::proto::Request;

use super::Container;
use super::state::Event;
use crate::blocking::to_the_end;
use crate::{Engine, Error};

impl Engine {
    /// `POST /containers/{id}/pause`.
    pub async fn pause(&self, id: &str) -> Result<(), Error> {
        let container = self.inner.containers.find(id)?;
        let engine = self.clone();
        to_the_end(async move {
            let _verbs = container.verbs.lock().await;
            let (state, _) = container.consider(Event::Pause).map_err(|why| container.refuse(why))?;
            container.ask(Request::Pause, Vec::new()).await?;
            container.commit(state).await?;
            engine.publish(container.event("pause", &[]));
            Ok(())
        })
        .await
    }

    /// `POST /containers/{id}/unpause`.
    pub async fn unpause(&self, id: &str) -> Result<(), Error> {
        let container = self.inner.containers.find(id)?;
        let engine = self.clone();
        to_the_end(async move {
            let _verbs = container.verbs.lock().await;
            engine.unpause_now(&container).await
        })
        .await
    }

    /// Only for the holder of `verbs`.
    pub(crate) async fn unpause_now(&self, container: &Arc<Container>) -> Result<(), Error> {
        let (state, _) = container.consider(Event::Unpause).map_err(|why| container.refuse(why))?;
        container.ask(Request::Resume, Vec::new()).await?;
        container.commit(state).await?;
        self.publish(container.event("unpause", &[]));
        Ok(())
    }
}
