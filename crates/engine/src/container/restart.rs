//! Restart: a stop and a start. Neither the policy nor `--rm` acts on the end in between.

use std::sync::atomic::Ordering;

use crate::blocking::to_the_end;
use crate::{Engine, Error};

impl Engine {
    /// `POST /containers/{id}/restart`.
    pub async fn restart(&self, id: &str, signal: Option<&str>, timeout: Option<i64>) -> Result<(), Error> {
        let container = self.inner.containers.find(id)?;
        let signal = signal.filter(|s| !s.is_empty()).map(super::kill::signal).transpose()?;
        let (engine, name) = (self.clone(), id.to_owned());
        let restarted = to_the_end(async move {
            container.held.fetch_add(1, Ordering::AcqRel);
            let stopped = engine.stop_and_wait(&container, signal, timeout).await;
            container.held.fetch_sub(1, Ordering::AcqRel);
            stopped?;
            match engine.start_by_user(&container).await {
                // Someone else started it in between: it runs, which was the wish.
                Ok(()) | Err(Error::NotModified(_)) => {}
                Err(error) => return Err(error),
            }
            engine.publish(container.event("restart", &[]));
            Ok(())
        })
        .await;
        restarted.map_err(|error| Error::within(format!("Cannot restart container {name}"), error))
    }
}
