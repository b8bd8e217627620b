//! Wait: for a level ("more ends than so far"), never for an edge.

use std::sync::Arc;

use spec::api::{ContainerWaitExitError, ContainerWaitResponse};
use tokio::sync::watch;

use super::View;
use super::state::Phase;
use crate::{Engine, Error};

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCondition {
    /// Not running now, or ended.
    NotRunning,
    /// The next end.
    NextExit,
    /// Removed.
    Removed,
}

/// A container that is waited for; the lookup has been done, so headers can go out.
#[derive(Debug)]
pub struct Waiter {
    view: watch::Receiver<Arc<View>>,
    until: Until,
}

#[derive(Debug, Clone, Copy)]
enum Until {
    Now,
    MoreEndsThan(u64),
    Gone,
}

impl Waiter {
    /// Completes when the condition is met.
    pub async fn done(mut self) -> ContainerWaitResponse {
        let until = self.until;
        let met = self.view.wait_for(|view| match until {
            Until::Now => true,
            Until::MoreEndsThan(ends) => view.gone || view.state.ends > ends,
            // A removal that failed is an answer too.
            Until::Gone => view.gone || view.state.phase == Phase::Dead,
        });
        // The container's last owner went: what was published last is all there will be.
        let met = met.await.map(|view| view.clone());
        let view = met.unwrap_or_else(|_| self.view.borrow().clone());
        // Of a removal that failed, or of the start before; a start that fails now is told to who asked for it.
        let over = matches!(until, Until::Now) || view.state.phase == Phase::Dead;
        let failed = over && !view.state.error.is_empty();
        ContainerWaitResponse {
            status_code: view.state.ended_with.into(),
            error: failed.then(|| ContainerWaitExitError { message: view.state.error.clone() }),
        }
    }
}

impl Engine {
    /// `POST /containers/{id}/wait`.
    pub fn wait(&self, id: &str, condition: WaitCondition) -> Result<Waiter, Error> {
        let container = self.inner.containers.find(id)?;
        let view = container.watch();
        let state = view.borrow().state.clone();
        let until = match condition {
            WaitCondition::NotRunning if !state.is_alive() && state.phase != Phase::Restarting => Until::Now,
            WaitCondition::NotRunning | WaitCondition::NextExit => Until::MoreEndsThan(state.ends),
            WaitCondition::Removed => Until::Gone,
        };
        Ok(Waiter { view, until })
    }
}
