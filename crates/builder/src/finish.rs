//! What was solved becomes an image's configuration: times, history, layers.

use std::sync::Arc;

use spec::Digest;
use spec::oci::image::{Descriptor, History, Image};

use crate::cache::{Cache, Record};
use crate::error::{Error, Result};
use crate::graph::Edge;
use crate::op::blocking;
use crate::solve::Solver;
use crate::state::{Done, State};

/// The comment on every history entry, by which others know how to read it.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// An image for one platform, not yet written.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    pub(crate) config: Image,
    /// Lowest first.
    pub(crate) layers: Vec<Descriptor>,
    /// So many of them are the base image's.
    pub(crate) inherited: usize,
    /// Its files.
    pub(crate) root: Option<Edge>,
}

/// The image that a state is. `squashed`: the root that has the state's layers as one.
pub(crate) async fn finish(solver: &Arc<Solver>, state: &State, squashed: Option<&Edge>) -> Result<Finished> {
    let mut config = state.image.clone();
    let mut created = config.created.clone();
    for done in &state.steps {
        let Some((time, empty)) = entry(solver, done).await? else { return Err(Error::Cancelled) };
        config.history.push(History {
            created: Some(time.clone()),
            created_by: done.text.clone(),
            comment: COMMENT.into(),
            empty_layer: empty || squashed.is_some(),
            ..History::default()
        });
        created = Some(time);
    }
    let root = squashed.or(state.root.as_ref());
    let layers = solver.root(root).await.ok_or(Error::Cancelled)?;
    let base = solver.root(state.base.as_ref()).await.ok_or(Error::Cancelled)?;
    if let (Some(squashed), Some(solved)) = (squashed, root)
        && layers.all.len() > base.all.len()
    {
        let record = solver.get(squashed).await.ok_or(Error::Cancelled)?.record;
        let time = epoch(solver).unwrap_or(record.created);
        let text = format!("squash of {}", solved.digest.short());
        config.history.push(History { created: Some(time), comment: text, ..History::default() });
    }
    // As old as its last step: built again from the cache, it is the same.
    config.created = created.or_else(|| Some(jiff::Timestamp::now().to_string()));
    if let Some(epoch) = epoch(solver) {
        config.created = Some(epoch);
    }
    config.rootfs.diff_ids = layers.all.iter().map(|(_, diff_id)| *diff_id).collect();
    let blobs = layers.all.iter().map(|(blob, _)| blob.clone()).collect();
    Ok(Finished { config, layers: blobs, inherited: base.all.len(), root: root.cloned() })
}

/// When a step was done, and whether it added no layer; `None` when it failed.
async fn entry(solver: &Arc<Solver>, done: &Done) -> Result<Option<(String, bool)>> {
    let found = match &done.edge {
        Some(edge) => solver.get(edge).await.map(|s| (s.record.created, s.record.layer.is_none())),
        None => settle(solver, done).await?.map(|(created, _)| (created, true)),
    };
    Ok(found.map(|(created, empty)| (epoch(solver).unwrap_or(created), empty)))
}

/// `SOURCE_DATE_EPOCH` as a time.
fn epoch(solver: &Solver) -> Option<String> {
    let time = jiff::Timestamp::from_second(solver.epoch?).ok()?;
    Some(time.to_string())
}

/// A step that changes only the configuration: when it was done first, and whether that was an earlier build. `None`:
/// what it stands on failed.
pub(crate) async fn settle(solver: &Arc<Solver>, done: &Done) -> Result<Option<(String, bool)>> {
    let (root, config) = &done.before;
    let Some(layers) = solver.root(root.as_ref()).await else { return Ok(None) };
    let mut hasher = crate::op::key(solver, "configuration", &layers);
    hasher.field(config.as_bytes()).field(done.text.as_bytes());
    let key: Digest = hasher.finish();
    if let Some(settled) = solver.settled(&key) {
        return Ok(Some(settled));
    }
    let imported = match solver.request.no_cache {
        true => None,
        false => solver.imported.find(&solver.host, &solver.request, &key, None).await?,
    };
    let this = solver.clone();
    let settled = blocking(move || {
        let cache = Cache::new(&this.host.cache);
        if !this.request.no_cache
            && let Some(record) = cache.find(&key, &this.host.store)?
        {
            return Ok((record.created, true));
        }
        let found = imported.is_some();
        let record = imported
            .unwrap_or_else(|| Record { created: jiff::Timestamp::now().to_string(), ..Record::default() });
        cache.put(&key, &record)?;
        Ok((record.created, found))
    })
    .await?;
    solver.note(key, &Record { created: settled.0.clone(), ..Record::default() });
    Ok(Some(solver.settle(key, settled)))
}
