//! Remove: the writable layer, the container's directory, its anonymous volumes if asked. The record goes last.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use store::Aside;

use super::Container;
use super::mounts::Kind;
use super::state::{Event, Illegal, Phase};
use crate::blocking::{blocking, lasting, to_the_end};
use crate::{Engine, Error};

/// How long a daemon that ends goes on removing.
const LAST_REMOVALS: Duration = Duration::from_secs(1);

/// `DELETE /containers/{id}`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Kill it first.
    pub force: bool,
    /// Anonymous volumes too.
    pub volumes: bool,
}

impl Engine {
    /// `DELETE /containers/{id}`: 409 while it runs, unless forced.
    pub async fn remove(&self, id: &str, options: RemoveOptions) -> Result<(), Error> {
        let container = self.inner.containers.find(id)?;
        let (engine, id) = (self.clone(), id.to_owned());
        let removed = to_the_end(async move { engine.remove_by_user(&container, options).await }).await;
        removed.map_err(|error| match error {
            Error::Conflict(text) => Error::Conflict(format!("cannot remove container {id:?}: {text}")),
            error => error,
        })
    }

    async fn remove_by_user(&self, container: &Arc<Container>, options: RemoveOptions) -> Result<(), Error> {
        loop {
            let phase = container.view().state.phase;
            if options.force && matches!(phase, Phase::Running | Phase::Paused | Phase::Restarting) {
                match self.kill_now(container, spec::signal::KILL).await {
                    // It ended by itself meanwhile.
                    Ok(()) | Err(Error::Conflict(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            // `--rm` may have been faster: waiting for the lock is waiting for its removal.
            let _verbs = container.verbs.lock().await;
            if container.view().gone {
                return Ok(());
            }
            match self.remove_now(container, options.volumes).await {
                // Somebody started it between the kill and the lock; force means that this does not help them.
                Err(Error::Conflict(_)) if options.force && container.view().state.is_alive() => {}
                removed => return removed,
            }
        }
    }

    /// Only for the holder of `verbs`.
    pub(crate) async fn remove_now(&self, container: &Arc<Container>, volumes: bool) -> Result<(), Error> {
        let (state, _) = container.consider(Event::Remove).map_err(|why| {
            let refused = |what: &str| Error::Conflict(format!("container is {what}"));
            match why {
                Illegal::Running => refused("running: stop the container before removing or force remove"),
                Illegal::Paused => refused("paused and must be unpaused first"),
                Illegal::Restarting => {
                    refused("restarting: stop the container before removing or force remove")
                }
                why => container.refuse(why),
            }
        })?;
        if container.places.is_transient() {
            // Its records go in one step with it.
            container.publish(|view| {
                view.told = state.ends;
                view.state = state;
            });
        } else {
            container.commit(state).await?;
        }
        self.remove_rest(container, volumes).await
    }

    /// Removes what is left of a container in the phase `Removing`.
    pub(crate) async fn remove_rest(&self, container: &Arc<Container>, volumes: bool) -> Result<(), Error> {
        drop(container.take_early());
        let _layer = container.layer.write().await;
        let (inner, places) = (self.inner.clone(), container.places.clone());
        let layers = container.view().record.layers();
        let removed = blocking(move || -> Result<Vec<Aside>, Error> {
            let mut aside = Vec::new();
            for layer in &layers {
                aside.extend(inner.store.rw_set_aside(layer)?);
            }
            aside.extend(inner.store.set_aside(&places.logs)?);
            sys::file::remove_tree(&places.run)?;
            Ok(aside)
        })
        .await;
        match removed {
            Ok(aside) => self.remove_later(aside),
            Err(error) => {
                let event = Event::RemoveFailed { error: error.message() };
                if let Ok((state, _)) = container.consider(event) {
                    // The directory may be gone by half; then the dead container lives in memory only.
                    container.publish(|view| view.state = state);
                }
                return Err(error);
            }
        }
        self.inner.containers.remove(&container.id);
        self.inner.execs.forget(&container.id);
        let view = container.view();
        if volumes {
            for mount in view.record.mounts.iter().filter(|m| m.kind == Kind::Volume && m.anonymous) {
                match self.volume_remove(&mount.name, true).await {
                    // Another container has it through --volumes-from: it stays.
                    Ok(()) | Err(Error::Conflict(_)) => {}
                    Err(error) => tracing::warn!(volume = mount.name, "{}", error.message()),
                }
            }
        }
        container.publish(|view| view.gone = true);
        self.publish(container.event("destroy", &[]));
        if view.record.host.auto_remove {
            self.make_ready();
        }
        Ok(())
    }

    /// Removes trees from the disk while nobody starts anything, and at once when the disk runs low.
    pub(crate) fn remove_later(&self, aside: Vec<Aside>) {
        let inner = self.inner.clone();
        tokio::spawn(async move {
            let since = Instant::now();
            let _turn = inner.removals.lock().await;
            if !inner.scarce.load(Ordering::Relaxed) {
                inner.calm.wait(since).await;
            }
            for tree in aside {
                if let Err(error) = lasting(|| tree.remove()).await {
                    tracing::warn!(
                        "what a container has left goes at the next start: {}",
                        Error::from(error).message()
                    );
                }
            }
        });
    }

    /// Removes what waits to be removed, before the daemon ends. What takes longer than a second goes at its next start.
    pub async fn finish_removals(&self) {
        self.inner.calm.end();
        // Who asked for their turn before have it before.
        let _ = tokio::time::timeout(LAST_REMOVALS, self.inner.removals.lock()).await;
    }
}
