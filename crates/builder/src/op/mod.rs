//! The steps that make a layer, and where stages start. Each is: its cache key, the record if there is one, else the
//! work.

pub(crate) mod copy;
pub(crate) mod image;
pub(crate) mod run;
pub(crate) mod workdir;

use spec::Digest;
use spec::Id;
use store::Committed;

use crate::Host;
use crate::cache::{Cache, Layer, Record};
use crate::error::{Error, Result};

/// What a step came to.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    /// What it made, now or earlier.
    pub(crate) record: Record,
    /// Earlier.
    pub(crate) cached: bool,
}

/// A record of something made just now.
pub(crate) fn made(committed: Option<Committed>) -> Record {
    let layer = committed.map(|c| Layer { chain: c.chain, blob: c.blob, diff_id: c.diff_id });
    Record { created: jiff::Timestamp::now().to_string(), layer }
}

/// The record of a key, unless the cache is not wanted.
pub(crate) fn cached(host: &Host, key: &Digest, no_cache: bool) -> Result<Option<Record>> {
    if no_cache { Ok(None) } else { Cache::new(&host.cache).find(key, &host.store) }
}

/// A fresh id for a step's layer or container.
pub(crate) fn fresh_id() -> Id {
    Id::from_bytes(sys::random::bytes())
}

/// Runs blocking work where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Cancelled),
        },
    }
}
