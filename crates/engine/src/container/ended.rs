//! What happens when init ends, whoever ended it: everything is released, the end recorded, and the policy asked.

use std::sync::Arc;
use std::time::Duration;

use shim::proto::{Event as Wake, Exit};

use super::link::Events;
use super::mounts::Kind;
use super::record::Attachment;
use super::state::{Effect, Event, Phase, State};
use super::{Container, persist};
use crate::blocking::blocking;
use crate::{Engine, Error, time};

/// The exit code of a run whose end nobody saw.
pub(crate) const LOST: i32 = 255;

impl Engine {
    /// Follows run number `run` of a container until its init ends.
    pub(crate) fn supervise(&self, container: Arc<Container>, run: u64, mut events: Events) {
        let engine = self.clone();
        tokio::spawn(async move {
            loop {
                match events.next().await {
                    Some(Wake::ExecExited { id, exit }) => engine.exec_ended(&id, &exit),
                    Some(Wake::Oom) => engine.publish(container.event("oom", &[])),
                    Some(Wake::LogLost { entries, why }) => {
                        tracing::warn!(container = %container.id, "{entries} entries of its log are lost: {why}");
                    }
                    Some(Wake::Exited(exit)) => return engine.ended(&container, run, Some(exit)).await,
                    // The shim is gone: what it left on disk is the truth.
                    None => return engine.ended(&container, run, None).await,
                }
            }
        });
    }

    /// Init of run number `run` has ended. `exit` is what the shim said; without it the disk is asked.
    pub(crate) async fn ended(&self, container: &Arc<Container>, run: u64, exit: Option<Exit>) {
        let _verbs = container.verbs.lock().await;
        let view = container.view();
        if view.state.starts != run || !view.state.is_alive() {
            return;
        }
        let exit = match exit {
            Some(exit) => exit,
            None => self.exit_on_disk(container, view.state.started_at).await,
        };
        let event = Event::Ended { code: exit.code, oom_killed: exit.oom_killed, at: exit.finished_at };
        let Ok((state, effects)) = container.consider(event) else { return };
        let warn = |error: Error| {
            tracing::warn!(container = %container.id, "after its end: {}", error.message());
        };
        // Of one that is removed now, nobody reads how it ended: a daemon that dies before that finds out again.
        let is_read = !(container.places.is_transient() && effects.contains(&Effect::AutoRemove));
        let ours = matches!(self.foreign_runtime(&view.record), Ok(None));
        if !is_read && ours && view.record.host.pid_mode.is_empty() {
            // Nobody starts it again, and its processes have ended with init, whose pid namespace it was: the shim takes its
            // cgroups away while its end is told. Another runtime may have more to remove.
            let told = async {
                self.release(container).await.err().map(warn);
                self.tell_ended(container, &exit, state, &effects, is_read).await;
            };
            let (ended, ()) = tokio::join!(biased; self.end_link(container), told);
            ended.err().map(warn);
            return;
        }
        let (released, ended) = tokio::join!(self.release(container), self.end_link(container));
        [released.err(), ended.err()].into_iter().flatten().for_each(warn);
        self.tell_ended(container, &exit, state, &effects, is_read).await;
    }

    /// Tells the end of a container that has no network any more, records it if that is read, and does what follows.
    async fn tell_ended(
        &self,
        container: &Arc<Container>,
        exit: &Exit,
        state: State,
        effects: &[Effect],
        is_read: bool,
    ) {
        let view = container.view();
        for error in self.unmount_volumes(&view.record.mounts, container.id.as_str()).await {
            tracing::warn!(container = %container.id, "after its end: {}", error.message());
        }
        self.inner.execs.container_ended(&container.id);
        let network = Arc::new(Attachment::default());
        if is_read && let Err(error) = container.save_state(state.clone(), network.clone()).await {
            tracing::warn!(container = %container.id, "{}", error.message());
        }
        let before = view.network.clone();
        let lasted = state.finished_at.saturating_sub(state.started_at) / 1_000_000_000;
        container.publish(|view| {
            view.state = state;
            view.network = network;
        });
        for endpoint in &before.endpoints {
            self.publish(self.member_event("disconnect", endpoint, &container.id));
        }
        for mount in view.record.mounts.iter().filter(|m| m.kind == Kind::Volume) {
            let attributes = [("container", container.id.to_string()), ("driver", mount.driver.clone())];
            self.volume_event("unmount", &mount.name, &attributes);
        }
        let attributes = [("exitCode", exit.code.to_string()), ("execDuration", lasted.to_string())];
        self.publish(container.event("die", &attributes));
        container.publish(|view| view.told = view.state.ends);
        self.perform(container, effects).await;
    }

    /// Carries effects out. Only for the holder of `verbs`.
    pub(crate) async fn perform(&self, container: &Arc<Container>, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::RestartAfter(delay) => self.restart_after(container.clone(), *delay),
                Effect::AutoRemove => {
                    if let Err(error) = self.remove_now(container, true).await {
                        tracing::warn!(container = %container.id, "auto-remove: {}", error.message());
                    }
                }
                Effect::HealthChanged => {
                    let view = container.view();
                    let word = super::health::word(view.state.health.as_ref());
                    self.publish(container.event(&format!("health_status: {word}"), &[]));
                }
                Effect::EndUnhealthy(how) => self.end_unhealthy(container, *how),
                Effect::Launch => {
                    // A failed launch is recorded in the container's state, which is all there is to tell.
                    let _ = self.launch(container).await;
                }
            }
        }
    }

    fn restart_after(&self, container: Arc<Container>, delay: Duration) {
        let engine = self.clone();
        tokio::spawn(async move {
            let mut view = container.watch();
            let changed = view.wait_for(|v| v.gone || v.state.phase != Phase::Restarting);
            if tokio::time::timeout(delay, changed).await.is_ok() {
                return;
            }
            let _verbs = container.verbs.lock().await;
            let Ok((state, effects)) = container.consider(Event::RestartDue) else { return };
            container.publish(|view| view.state = state);
            engine.perform(&container, &effects).await;
        });
    }

    /// Gives back addresses, ports and names. Idempotent.
    pub(crate) async fn release(&self, container: &Arc<Container>) -> Result<(), Error> {
        let (inner, id) = (self.inner.clone(), container.id.clone());
        Ok(blocking(move || inner.networks.release(&id)).await?)
    }

    /// Ends the shim, which removes the container's cgroup.
    async fn end_link(&self, container: &Arc<Container>) -> Result<(), Error> {
        match container.set_link(None) {
            Some(link) => {
                let (ended, leaving) = link.leave().await;
                *container.leaving.lock().await = leaving;
                ended
            }
            None => Ok(()),
        }
    }

    async fn exit_on_disk(&self, container: &Arc<Container>, started_at: u64) -> Exit {
        let (container, view) = (container.clone(), container.view());
        let cgroup = super::cgroup::directory(&view.record, &self.inner.config);
        blocking(move || {
            let exit = persist::load_exit(&container.places.records).ok().flatten();
            exit.filter(|e| e.finished_at >= started_at).unwrap_or_else(|| {
                // A shim that was killed left its processes without a parent and without a log: they must not go on.
                super::leftovers::remove(&cgroup);
                Exit { code: LOST, oom_killed: false, finished_at: time::now() }
            })
        })
        .await
    }
}
