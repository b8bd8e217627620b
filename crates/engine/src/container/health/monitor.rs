//! Probing while a container runs: one task with a timer per container that has a check.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Check, OnFailure, Probe};
use crate::container::state::{Event, Phase};
use crate::container::{Container, View};
use crate::{Engine, time};

/// Whether run number `run` can be probed now.
fn probed(view: &View, run: u64) -> bool {
    !view.gone && view.state.starts == run && view.state.phase == Phase::Running
}

impl Engine {
    /// Probes run number `run` of a container until it ends. Nothing without a check.
    pub(crate) fn monitor(&self, container: &Arc<Container>) {
        let view = container.view();
        let run = view.state.starts;
        let Some(check) = Check::of(&view.record.config) else { return };
        let (engine, container) = (self.clone(), container.clone());
        tokio::spawn(async move {
            let mut views = container.watch();
            loop {
                // A frozen container is not probed; its thaw begins a new interval.
                let rest = |v: &Arc<View>| v.state.phase != Phase::Paused || v.state.starts != run || v.gone;
                if !views.wait_for(rest).await.is_ok_and(|view| probed(&view, run)) {
                    return;
                }
                engine.monitor_once(&container, &check, run).await;
            }
        });
    }

    /// Waits for the next probe's time, probes, and judges. Returns early when the container cannot be probed any more.
    async fn monitor_once(&self, container: &Arc<Container>, check: &Check, run: u64) {
        let state = container.view().state.clone();
        let Some(health) = &state.health else { return };
        let wait = check.wait(health.status, time::since(state.started_at, time::now()));
        let mut views = container.watch();
        let mut over = async || {
            // The container's own task holds it: its view does not end before it.
            let _ = views.wait_for(|view| !probed(view, run)).await;
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = over() => return,
        }
        if let Some(probe) = self.probe(container, check, over()).await {
            self.inner.probes.fetch_add(1, Ordering::Relaxed);
            if probe.exit_code != 0 {
                self.inner.failed_probes.fetch_add(1, Ordering::Relaxed);
            }
            self.judge(container, run, probe).await;
        }
    }

    /// A probe's result becomes the container's health.
    async fn judge(&self, container: &Arc<Container>, run: u64, probe: Probe) {
        let _verbs = container.verbs.lock().await;
        if container.view().state.starts != run {
            return;
        }
        let before = container.view().state.health.as_ref().map(|h| h.status);
        let Ok((state, effects)) = container.consider(Event::Probed(probe)) else { return };
        let after = state.health.as_ref().map(|h| h.status);
        container.publish(|view| view.state = state.clone());
        // What the log says is not worth a write: it may be lost with the daemon, the status may not.
        if before != after {
            let network = container.view().network.clone();
            if let Err(error) = container.save_state(state, network).await {
                tracing::warn!(container = %container.id, "{}", error.message());
            }
        }
        self.perform(container, &effects).await;
    }

    /// Ends a container that is unhealthy, as the user asked. What comes after its end is the state machine's.
    pub(crate) fn end_unhealthy(&self, container: &Arc<Container>, how: OnFailure) {
        let (engine, container) = (self.clone(), container.clone());
        tokio::spawn(async move {
            let view = container.view();
            let ended = match how {
                OnFailure::None => Ok(()),
                OnFailure::Kill => engine.signal(&container, spec::signal::KILL).await,
                OnFailure::Stop => engine.stop_and_wait(&container, None, None).await.map(drop),
                OnFailure::Restart => {
                    let patience = engine.patience(&view.record, None);
                    let signal = view.record.stop_signal();
                    engine.end_with(&container, view.state.ends, signal, patience).await
                }
            };
            if let Err(error) = ended {
                tracing::warn!(container = %container.id, "unhealthy, but: {}", error.message());
            }
        });
    }
}
