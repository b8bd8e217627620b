//! Stop: the stop signal, some time, then SIGKILL.

use std::sync::Arc;
use std::time::Duration;

use super::Container;
use super::record::Record;
use super::state::{Event, Illegal};
use crate::blocking::to_the_end;
use crate::{Engine, Error};

/// How long a killed container may take to end before that is an error.
pub(super) const AFTER_KILL: Duration = Duration::from_secs(10);

impl Engine {
    /// `POST /containers/{id}/stop`: `timeout` seconds, -1 for ever; 304 when it is stopped already.
    pub async fn stop(&self, id: &str, signal: Option<&str>, timeout: Option<i64>) -> Result<(), Error> {
        let container = self.inner.containers.find(id)?;
        let signal = signal.filter(|s| !s.is_empty()).map(super::kill::signal).transpose()?;
        let engine = self.clone();
        to_the_end(async move {
            if engine.stop_and_wait(&container, signal, timeout).await? {
                Ok(())
            } else {
                Err(Error::NotModified("container is already stopped".into()))
            }
        })
        .await
    }

    /// Stops it and waits for its end; `false` when it did not run.
    pub(crate) async fn stop_and_wait(
        &self,
        container: &Arc<Container>,
        signal: Option<i32>,
        timeout: Option<i64>,
    ) -> Result<bool, Error> {
        let record = container.view().record.clone();
        let ends = {
            let _verbs = container.verbs.lock().await;
            let ends = container.view().state.ends;
            match container.consider(Event::Stop) {
                Ok((state, effects)) => {
                    let waiting = !state.is_alive();
                    container.commit(state).await?;
                    self.perform(container, &effects).await;
                    if waiting {
                        // It waited for its policy's next start: there is nothing to signal.
                        self.publish(container.event("stop", &[]));
                        return Ok(true);
                    }
                }
                Err(Illegal::NotRunning) => return Ok(false),
                Err(why) => return Err(container.refuse(why)),
            }
            ends
        };
        let patience = self.patience(&record, timeout);
        self.end_with(container, ends, signal.unwrap_or_else(|| record.stop_signal()), patience).await?;
        self.publish(container.event("stop", &[]));
        Ok(true)
    }

    /// How long its signal has time to end it: `timeout`, else the container's own seconds, else the daemon's. Negative
    /// is for ever, which is `None`.
    pub(crate) fn patience(&self, record: &Record, timeout: Option<i64>) -> Option<Duration> {
        let seconds = timeout.or(record.config.stop_timeout).or(self.settings().stop_timeout);
        u64::try_from(seconds.unwrap_or(spec::defaults::STOP_TIMEOUT)).ok().map(Duration::from_secs)
    }

    /// Ends the run after which there will be more than `ends`: the signal, the patience (`None`: endless), SIGKILL.
    pub(crate) async fn end_with(
        &self,
        container: &Arc<Container>,
        ends: u64,
        signal: i32,
        patience: Option<Duration>,
    ) -> Result<(), Error> {
        self.signal(container, signal).await?;
        if container.wait_for_end(ends, patience).await {
            return Ok(());
        }
        self.signal(container, spec::signal::KILL).await?;
        if container.wait_for_end(ends, Some(AFTER_KILL)).await {
            return Ok(());
        }
        Err(no_end())
    }
}

/// SIGKILL had no effect: a process that hangs in the kernel.
pub(super) fn no_end() -> Error {
    Error::Deadline("tried to kill container, but did not receive an exit event".into())
}

impl Container {
    /// Waits until the end of more than `ends` runs has been told, or it is gone; `false` when `patience` (`None`: endless) ran out.
    pub(crate) async fn wait_for_end(&self, ends: u64, patience: Option<Duration>) -> bool {
        let mut view = self.watch();
        let ended = view.wait_for(|v| v.gone || v.told > ends);
        match patience {
            // The sender lives as long as the container, which the caller holds.
            None => ended.await.is_ok(),
            Some(patience) => tokio::time::timeout(patience, ended).await.is_ok(),
        }
    }
}
