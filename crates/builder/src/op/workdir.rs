//! WORKDIR: a directory that is there, and where the next steps are.

use std::path::Path;

use spec::Digest;

use super::{Done, cached, fresh_id, made};
use crate::Host;
use crate::cache::Cache;
use crate::copy::place::{create_dirs, destination};
use crate::error::Result;
use crate::key::Hasher;
use crate::state::State;
use crate::writable::Writable;

/// The new working directory: relative ones start at the old.
pub(crate) fn resolve(state: &State, text: &str) -> String {
    destination(state.working_dir(), text).0.to_string_lossy().into_owned()
}

fn key(state: &State, path: &str) -> Digest {
    let mut hasher = Hasher::default();
    hasher.field(b"workdir");
    state.hash_root(&mut hasher);
    hasher.field(path.as_bytes());
    hasher.finish()
}

/// Makes the directory where it is missing.
pub(crate) fn workdir(host: &Host, state: &State, path: &str, no_cache: bool) -> Result<Done> {
    let key = key(state, path);
    if let Some(record) = cached(host, &key, no_cache)? {
        return Ok(Done { record, cached: true });
    }
    let layer = Writable::create(&host.store, &fresh_id(), state.chain.as_ref())?;
    create_dirs(&layer.open()?, Path::new(path), 0, 0)?;
    let record = made(layer.commit()?);
    Cache::new(&host.cache).put(&key, &record)?;
    Ok(Done { record, cached: false })
}
