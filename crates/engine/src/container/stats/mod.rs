//! Stats: what a container uses, once a second, for as long as somebody looks.
//!
//! One sampler serves all who look at a container, and ends with the last of them ([`Sampler`]). What is read, and what
//! it means, is in `sample`.

mod sample;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use spec::api::{ContainerCPUStats, ContainerStatsResponse};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::Container;
use crate::blocking::blocking;
use crate::{Engine, Error, time};

/// Between two samples, as in Docker.
const INTERVAL: Duration = Duration::from_secs(1);

/// The task that samples one container.
#[derive(Debug)]
struct Sampler {
    samples: watch::Receiver<Option<Arc<ContainerStatsResponse>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A container's sampler, while there is one.
#[derive(Debug, Default)]
pub(crate) struct Shared(Mutex<Weak<Sampler>>);

/// The samples of one container, as they are taken.
#[derive(Debug)]
pub struct Stats {
    samples: watch::Receiver<Option<Arc<ContainerStatsResponse>>>,
    /// The one before, for those who compute a rate.
    before: (String, ContainerCPUStats),
    _sampler: Arc<Sampler>,
}

impl Stats {
    /// The next sample, with the processor's figures of the one before; `None` when the container is removed.
    pub async fn next(&mut self) -> Option<ContainerStatsResponse> {
        self.samples.changed().await.ok()?;
        let mut sample = self.samples.borrow_and_update().as_deref().cloned()?;
        let now = (sample.read.clone(), sample.cpu_stats.clone().unwrap_or_default());
        let (preread, precpu) = std::mem::replace(&mut self.before, now);
        (sample.preread, sample.precpu_stats) = (preread, Some(precpu));
        Some(sample)
    }
}

impl Engine {
    /// `GET /containers/{id}/stats`: from now on, once a second. While the container does not run the figures are zero.
    pub async fn stats(&self, id: &str) -> Result<Stats, Error> {
        let container = self.inner.containers.find(id)?;
        let sampler = self.sampler(&container);
        let mut samples = sampler.samples.clone();
        if Arc::strong_count(&sampler) > 1 {
            // Somebody looks already: what there is now has been sampled before this was asked.
            samples.mark_unchanged();
        }
        Ok(Stats { samples, before: (time::rfc3339(0), sample::no_cpu()), _sampler: sampler })
    }

    /// One answer: of a container that runs two samples a second apart, so that rates can be told, or with `one_shot` a
    /// single one at once; of another zeros.
    pub async fn stats_once(&self, id: &str, one_shot: bool) -> Result<ContainerStatsResponse, Error> {
        let container = self.inner.containers.find(id)?;
        if one_shot || !container.view().state.is_alive() {
            return Ok(self.sample(&container).await);
        }
        let mut stats = self.stats(id).await?;
        let _first = stats.next().await;
        match stats.next().await {
            Some(second) => Ok(second),
            None => Err(Error::NoSuchContainer(id.to_owned())),
        }
    }

    fn sampler(&self, container: &Arc<Container>) -> Arc<Sampler> {
        let mut shared = container.stats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sampler) = shared.upgrade() {
            return sampler;
        }
        let (sender, samples) = watch::channel(None);
        let (engine, sampled) = (self.clone(), container.clone());
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !sampled.view().gone {
                ticks.tick().await;
                sender.send_replace(Some(Arc::new(engine.sample(&sampled).await)));
            }
        });
        let sampler = Arc::new(Sampler { samples, task });
        *shared = Arc::downgrade(&sampler);
        sampler
    }

    async fn sample(&self, container: &Arc<Container>) -> ContainerStatsResponse {
        let view = container.view();
        let cgroup = super::cgroup::directory(&view.record, &self.inner.config);
        blocking(move || {
            let name = (view.record.id.to_string(), format!("/{}", view.record.name));
            let Some(pid) = view.state.init() else { return sample::nothing(name) };
            let own_network = view.record.network_mode() != super::record::NetworkMode::Host;
            // One that ends while it is looked at uses nothing any more.
            sample::take(&cgroup, pid, own_network, name.clone()).unwrap_or_else(|_| sample::nothing(name))
        })
        .await
    }
}
