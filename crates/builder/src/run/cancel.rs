//! A build whose future is dropped (the client pressed ctrl-C) ends its running container; the thread that waits for
//! it then cleans up as after any other end.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shim::client::Connection;

use crate::error::{Error, Result};

/// Shared by the build's future and the threads that run steps.
#[derive(Debug, Default)]
pub(crate) struct Cancel(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    cancelled: bool,
    /// Where the shims of running containers listen.
    shims: Vec<PathBuf>,
}

impl Cancel {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails when the build is cancelled.
    pub(crate) fn check(&self) -> Result<()> {
        if self.lock().cancelled { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// A container runs now; fails when the build is cancelled already.
    pub(crate) fn begin(&self, shim: &Path) -> Result<()> {
        let mut inner = self.lock();
        if inner.cancelled {
            return Err(Error::Cancelled);
        }
        inner.shims.push(shim.to_owned());
        Ok(())
    }

    /// It runs no more.
    pub(crate) fn end(&self, shim: &Path) {
        self.lock().shims.retain(|running| running != shim);
    }

    /// Ends what runs; nothing begins any more.
    pub(crate) fn cancel(&self) {
        let shims = {
            let mut inner = self.lock();
            inner.cancelled = true;
            inner.shims.clone()
        };
        for shim in shims {
            kill(&shim);
        }
    }
}

/// Ends every process of a shim's container.
pub(crate) fn kill(shim: &Path) {
    let killed = Connection::connect(shim).and_then(|mut shim| shim.kill(spec::signal::KILL, None, true));
    if let Err(error) = killed {
        // Mostly: it has ended by itself meanwhile.
        tracing::debug!(%error, "a cancelled build step was not killed");
    }
}

/// Cancels when dropped before [`Guard::disarm`].
#[derive(Debug)]
pub(crate) struct Guard(Option<Arc<Cancel>>);

impl Guard {
    /// Watches over a build.
    pub(crate) fn new(cancel: Arc<Cancel>) -> Self {
        Self(Some(cancel))
    }

    /// The build has ended by itself.
    pub(crate) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(cancel) = self.0.take() {
            // The call blocks, and the dropping thread may be one of the async runtime.
            let thread = std::thread::Builder::new().name("build-cancel".into());
            if let Err(error) = thread.spawn(move || cancel.cancel()) {
                tracing::warn!(%error, "a cancelled build step runs to its end");
            }
        }
    }
}
