//! Remove: with the content, if it is ours.

use std::sync::Arc;

use crate::blocking::{lasting, to_the_end};
use crate::container::mounts::Kind;
use crate::container::{Container, View};
use crate::{Engine, Error};

impl Engine {
    /// `DELETE /volumes/{name}`: 409 while a container has it, stopped ones included. `force`: a missing one is no error,
    /// and one whose plugin is gone is forgotten.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<(), Error> {
        let (engine, name) = (self.clone(), name.to_owned());
        to_the_end(async move {
            let _name = engine.inner.volumes.uses.name(&name).await;
            engine.remove_named(&name, force).await
        })
        .await
    }

    /// For the holder of the name.
    async fn remove_named(&self, name: &str, force: bool) -> Result<(), Error> {
        let volumes = &self.inner.volumes;
        let meta = match self.named(name).await {
            Ok(meta) => meta,
            Err(Error::NoSuchVolume(_)) if force => return Ok(()),
            Err(error) => match volumes.get(name) {
                Some(meta) if force => meta,
                _ => return Err(error),
            },
        };
        self.check_unused("remove", name)?;
        let _content = volumes.uses.content_now(name)?;
        let within = |error| Error::within(format!("remove {name}"), error);
        if !meta.is_local() {
            let removed = match volumes.plugins.find(&meta.driver).await {
                Ok(plugin) => plugin.remove(name).await,
                Err(error) => Err(error),
            };
            if let Err(error) = removed.map_err(within) {
                if !force {
                    return Err(error);
                }
                tracing::warn!(volume = name, "forgotten, though its plugin failed: {}", error.message());
            }
        }
        let (inner, owned) = (self.inner.clone(), name.to_owned());
        lasting(move || inner.volumes.remove(&owned)).await.map_err(within)?;
        self.volume_event("destroy", name, &[("driver", meta.driver)]);
        Ok(())
    }

    /// Containers that have a volume, running or not.
    pub(crate) fn volume_users(&self, name: &str) -> Vec<Arc<Container>> {
        let uses = |view: &View| view.record.mounts.iter().any(|m| m.kind == Kind::Volume && m.name == name);
        self.inner.containers.all().into_iter().filter(|c| uses(&c.view())).collect()
    }

    /// Refuses while a container has the volume, stopped ones included, or something is done with it. For the holder of
    /// the name.
    pub(super) fn check_unused(&self, verb: &str, name: &str) -> Result<(), Error> {
        let users: Vec<String> = self.volume_users(name).iter().map(|c| c.id.to_string()).collect();
        if !users.is_empty() {
            return Err(Error::Conflict(format!("{verb} {name}: volume is in use - [{}]", users.join(", "))));
        }
        if self.inner.volumes.uses.is_held(name) {
            return Err(Error::Conflict(format!(
                "{verb} {name}: volume is in use - a container is being made"
            )));
        }
        if self.inner.volumes.uses.is_mounted(name) {
            return Err(Error::Conflict(format!("{verb} {name}: volume has active mounts")));
        }
        Ok(())
    }
}
