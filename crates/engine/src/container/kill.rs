//! Kill: one signal to init.

use std::sync::Arc;

use shim::proto::Request;

use super::state::{Event, Phase};
use super::{Container, has_ended};
use crate::blocking::to_the_end;
use crate::{Engine, Error};

impl Engine {
    /// `POST /containers/{id}/kill`: SIGKILL (the default) waits for the end.
    pub async fn kill(&self, id: &str, name: Option<&str>) -> Result<(), Error> {
        let within = |error| Error::within(format!("cannot kill container: {id}"), error);
        let container = self.inner.containers.find(id).map_err(within)?;
        let number = match name.filter(|s| !s.is_empty()) {
            Some(name) => signal(name)?,
            None => spec::signal::KILL,
        };
        let engine = self.clone();
        let killed = to_the_end(async move { engine.kill_now(&container, number).await }).await;
        killed.map_err(within)
    }

    /// Only a signal that means "end" does something to a container that waits for its policy: it ends that.
    pub(crate) async fn kill_now(&self, container: &Arc<Container>, number: i32) -> Result<(), Error> {
        let ends = {
            let _verbs = container.verbs.lock().await;
            let view = container.view();
            if !view.state.is_alive() && view.state.phase != Phase::Restarting {
                return Err(container.not_running());
            }
            // A signal that means "end" is the user's stop: no policy starts it again.
            if number == spec::signal::KILL || number == view.record.stop_signal() {
                let (state, effects) =
                    container.consider(Event::Stop).map_err(|why| container.refuse(why))?;
                container.commit(state).await?;
                self.perform(container, &effects).await;
            }
            if !view.state.is_alive() {
                return Ok(());
            }
            view.state.ends
        };
        self.signal(container, number).await?;
        if number == spec::signal::KILL && !container.wait_for_end(ends, Some(super::stop::AFTER_KILL)).await
        {
            return Err(super::stop::no_end());
        }
        Ok(())
    }

    /// Sends a signal to init, with Docker's event. One that has just ended is no error. A frozen container is thawed
    /// for a signal that means "end", or it would never act on it.
    pub(crate) async fn signal(&self, container: &Arc<Container>, number: i32) -> Result<(), Error> {
        let Some(link) = container.link() else { return Ok(()) };
        let request = Request::Kill { signal: number, exec: None, all: false };
        match link.call(request, Vec::new()).await {
            Ok(_) => {}
            Err(error) if has_ended(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.publish(container.event("kill", &[("signal", number.to_string())]));
        let view = container.view();
        if view.state.phase == Phase::Paused
            && (number == spec::signal::KILL || number == view.record.stop_signal())
        {
            let _verbs = container.verbs.lock().await;
            // It may have been thawed or ended meanwhile; then there is nothing left to do.
            let _ = self.unpause_now(container).await;
        }
        Ok(())
    }
}

/// A signal's number from its name or number.
pub(crate) fn signal(text: &str) -> Result<i32, Error> {
    spec::signal::parse(text).ok_or_else(|| Error::Invalid(format!("invalid signal: {text}")))
}
