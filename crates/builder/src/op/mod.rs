//! What each operation does. Each is: its cache key, the record if there is one, else the work.

pub(crate) mod copy;
pub(crate) mod git;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod merge;
pub(crate) mod run;
pub(crate) mod squash;
pub(crate) mod tree;
pub(crate) mod workdir;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use spec::{Digest, Id};
use store::{ChainId, Committed};

use crate::cache::{self, Cache, Layer, Record};
use crate::error::{Error, Result};
use crate::graph::Vertex;
use crate::key::Hasher;
use crate::solve::{Layers, Solved, Solver, Tree};

/// A record of something made just now.
pub(crate) fn made(committed: Option<Committed>) -> Record {
    let layer = committed.map(|c| Layer { chain: c.chain, blob: c.blob, diff_id: c.diff_id });
    Record { created: jiff::Timestamp::now().to_string(), layer, ..Record::default() }
}

/// The record of a key, unless the cache is not wanted.
pub(crate) fn cached(solver: &Solver, vertex: &Vertex, key: &Digest) -> Result<Option<Record>> {
    if vertex.no_cache { Ok(None) } else { Cache::new(&solver.host.cache).find(key, &solver.host.store) }
}

/// A root with what a record added to it.
pub(crate) fn on(base: &Layers, record: Record, cached: bool) -> Solved {
    let layers = base.with(record.layer.as_ref());
    Solved { tree: Tree::Layers(Arc::new(layers)), record, cached }
}

/// The beginning of every key: which operation, on what.
pub(crate) fn key(solver: &Solver, operation: &str, base: &Layers) -> Hasher {
    let mut hasher = Hasher::default();
    hasher.field(operation.as_bytes()).field(format!("{:?}", solver.epoch).as_bytes());
    match &base.chain {
        Some(chain) => hasher.field(chain.0.as_bytes()),
        None => hasher.field(b""),
    };
    hasher
}

/// Looks a key up, and does the work when there is no record: in a place, in the key's turn, and said so.
pub(crate) async fn once(
    solver: &Arc<Solver>,
    vertex: &Arc<Vertex>,
    key: Digest,
    base: Option<ChainId>,
    work: impl FnOnce(&Arc<Solver>, &Arc<Vertex>) -> Result<Record> + Send + 'static,
) -> Result<(Record, bool)> {
    let look = |solver: &Arc<Solver>, vertex: &Arc<Vertex>| {
        let (solver, vertex) = (solver.clone(), vertex.clone());
        blocking(move || cached(&solver, &vertex, &key))
    };
    if let Some(record) = look(solver, vertex).await? {
        solver.note(key, &record);
        return Ok((record, true));
    }
    let _turn = solver.host.work.turn(&key).await;
    if let Some(record) = look(solver, vertex).await? {
        solver.note(key, &record);
        return Ok((record, true));
    }
    if !vertex.no_cache
        && let Some(record) = solver.imported.find(&solver.host, &solver.request, &key, base).await?
    {
        let record = Record { name: vertex.name.clone(), ..record };
        let (cache, kept) = (Cache::new(&solver.host.cache), record.clone());
        blocking(move || cache.put(&key, &kept)).await?;
        solver.note(key, &record);
        return Ok((record, true));
    }
    let _place = solver.host.work.place().await;
    solver.cancel.check()?;
    solver.output.started(vertex).await?;
    let (solver, vertex) = (solver.clone(), vertex.clone());
    blocking(move || {
        let record = Record { name: vertex.name.clone(), ..work(&solver, &vertex)? };
        Cache::new(&solver.host.cache).put(&key, &record)?;
        solver.note(key, &record);
        Ok((record, false))
    })
    .await
}

/// A fresh id for a step's layer or container.
pub(crate) fn fresh_id() -> Id {
    Id::from_bytes(sys::random::bytes())
}

/// A directory below the cache that is being filled. Dropped before it got its name: removed.
pub(crate) struct Unfinished(pub(crate) PathBuf);

impl Unfinished {
    /// An empty one.
    pub(crate) fn create(cache: &Path) -> Result<Self> {
        let directory = cache::trees(cache).join(format!("{}.part", fresh_id().short()));
        sys::file::create_dir_all(&directory, 0o755)?;
        Ok(Self(directory))
    }

    /// Gives it the name of what it depends on; its path as records have it.
    pub(crate) fn finish(self, cache: &Path, key: &Digest) -> Result<String> {
        let tree = format!("trees/{}", key.hex());
        let path = cache.join(&tree);
        sys::file::remove_tree(&path)?;
        sys::file::rename(&self.0, &path)?;
        Ok(tree)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After the rename there is nothing here; what cannot be removed goes with the next prune.
        let _ = sys::file::remove_tree(&self.0);
    }
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
