//! The collector: what nothing needs goes; what is new goes to the disk; when the disk runs low, what is only convenient goes too.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use spec::Digest;
use store::{ChainId, Space};

use crate::blocking::lasting;
use crate::engine::Inner;
use crate::{Engine, Error};

/// How often the disk is looked at when nothing was written to the store.
const EVERY: Duration = Duration::from_secs(60);

/// How long layers may be in memory only.
const SETTLE: Duration = Duration::from_secs(10);

/// How much of the data root's file system is to stay free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreeSpace {
    /// Of all, in hundredths.
    Percent(u8),
    /// In bytes.
    Bytes(u64),
}

impl Default for FreeSpace {
    fn default() -> Self {
        Self::Percent(5)
    }
}

impl FreeSpace {
    /// Bytes that are missing.
    fn missing(self, space: Space) -> u64 {
        let wanted = match self {
            Self::Percent(percent) => space.total / 100 * u64::from(percent),
            Self::Bytes(bytes) => bytes.min(space.total),
        };
        wanted.saturating_sub(space.free)
    }
}

/// Makes the build cache forget the part of its records that was used longest ago: how many. None are left at 0.
pub type Forget = dyn Fn() -> usize + Send + Sync;

impl Engine {
    /// Frees what neither images, containers nor the build cache need. Returns bytes.
    pub async fn collect(&self) -> Result<u64, Error> {
        let inner = self.inner.clone();
        lasting(move || inner.collect()).await
    }

    /// A result; after a failure, what had come in by then is collected at once.
    pub(crate) async fn swept<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err()
            && let Err(error) = self.collect().await
        {
            tracing::warn!(error = error.message(), "what a failure has left is still there");
        }
        result
    }

    /// Collects what an earlier daemon has left; then keeps the free-space target for ever: looks after every change
    /// of the images, and every minute. Brings new layers to the disk, some time after they came.
    pub async fn keep_space(&self, forget: Box<Forget>) {
        if let Err(error) = self.collect().await {
            tracing::warn!(error = error.message(), "what an earlier daemon has left is still there");
        }
        let forget: Arc<Forget> = forget.into();
        let mut told = false;
        let mut unsettled: Option<Instant> = None;
        loop {
            let missing = self.make_space(Arc::clone(&forget)).await;
            self.inner.scarce.store(!matches!(missing, Ok(0)), Ordering::Relaxed);
            match missing {
                Ok(0) => told = false,
                Ok(missing) if !told => {
                    told = true;
                    tracing::warn!(missing, "the disk runs low, and nothing unused is left to remove");
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(error = error.message(), "cannot make space on the disk"),
            }
            if unsettled.is_some_and(|since| since.elapsed() >= SETTLE) {
                let inner = self.inner.clone();
                if let Err(error) = lasting(move || inner.store.settle()).await {
                    tracing::warn!(error = Error::from(error).message(), "layers may not be on the disk");
                }
                unsettled = None;
            }
            if !self.inner.store.is_settled() {
                unsettled = unsettled.or_else(|| Some(Instant::now()));
            }
            let wait = unsettled.map_or(EVERY, |since| SETTLE.saturating_sub(since.elapsed()));
            // A pass that was asked for meanwhile, or the time.
            let _ = tokio::time::timeout(wait, self.inner.written.notified()).await;
        }
    }

    /// Removes garbage, then cached build steps, then images without a name that no container uses, as long as space is
    /// missing. Returns what still is.
    async fn make_space(&self, forget: Arc<Forget>) -> Result<u64, Error> {
        let (inner, target) = (self.inner.clone(), self.settings().free_space);
        let missing = lasting(move || -> Result<u64, Error> {
            let missing = || Ok::<_, Error>(target.missing(inner.store.space()?));
            if missing()? == 0 {
                return Ok(0);
            }
            inner.collect()?;
            while missing()? > 0 && forget() > 0 {
                inner.collect()?;
            }
            missing()
        })
        .await?;
        if missing == 0 {
            return Ok(0);
        }
        let mut dangling = spec::Filters::default();
        dangling.add("dangling", "true");
        match self.prune_images(&dangling).await {
            // A prune that runs already does the same.
            Ok(_) | Err(Error::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
        let inner = self.inner.clone();
        lasting(move || Ok(target.missing(inner.store.space()?))).await
    }
}

impl Inner {
    /// Blocking.
    fn collect(&self) -> Result<u64, Error> {
        let Some((layers, blobs)) = self.cache_roots() else { return Ok(0) };
        Ok(self.store.collect(&layers, &blobs)?)
    }

    /// What the build cache needs; `None` when there is a cache and nobody has said what it needs.
    fn cache_roots(&self) -> Option<(Vec<ChainId>, Vec<Digest>)> {
        if let Some(roots) = self.roots.get() {
            return (roots.0)();
        }
        let cache = sys::file::list(&self.config.data_root.join("build")).ok()?;
        cache.is_empty().then(Default::default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_up_to_the_target() {
        let space = Space { total: 1000, free: 40 };
        assert_eq!(FreeSpace::Percent(10).missing(space), 60);
        assert_eq!(FreeSpace::Percent(4).missing(space), 0);
        assert_eq!(FreeSpace::Bytes(5000).missing(space), 960, "never more than there is");
        assert_eq!(FreeSpace::Bytes(0).missing(space), 0);
    }
}
