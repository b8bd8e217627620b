//! `--squash`: what a build added, as one layer.

use std::path::Path;
use std::sync::Arc;

use store::archive::{Existing, Owners, Unpack, Whiteouts, unpack};

use super::{fresh_id, key, made, on, once};
use crate::error::{Error, Result};
use crate::graph::{Edge, Op, Squash};
use crate::solve::{Inputs, Solved, Solver};
use crate::writable::Writable;

/// Puts the layers above the base into one, the higher over the lower.
pub(crate) async fn solve(solver: &Arc<Solver>, vertex: &Edge, inputs: Arc<Inputs>) -> Result<Solved> {
    let Op::Squash(Squash { base, top }) = &vertex.op else {
        unreachable!("the solver looks at the operation")
    };
    let base = inputs.layers(base.as_ref());
    let all = inputs.get(top).layers();
    let added = all.all[base.all.len()..].to_vec();
    if added.len() < 2 {
        return Ok(Solved { ..inputs.get(top).clone() });
    }
    let mut hasher = key(solver, "squash", &base);
    for (_, diff_id) in &added {
        hasher.field(diff_id.as_bytes());
    }
    let chain = base.chain;
    let (record, cached) = once(solver, vertex, hasher.finish(), chain, move |solver, _| {
        let store = &solver.host.store;
        let layer = Writable::create(store, &fresh_id(), chain.as_ref())?;
        let root = layer.open()?;
        for (blob, _) in &added {
            solver.cancel.check()?;
            let mut blob = store.blob(&blob.digest)?;
            let (_, tar) = store::inflate(&mut blob).map_err(|e| sys::Error::new("inflate", "a layer", e))?;
            let how = Unpack {
                base: Path::new(""),
                // Through the mount, so that what is removed below becomes a whiteout of this layer.
                whiteouts: Whiteouts::Remove,
                owner: None,
                owners: Owners::default(),
                existing: Existing::GivesWay,
            };
            unpack(tar, &root, &how).map_err(Error::from)?;
        }
        drop(root);
        Ok(made(layer.commit(solver.epoch)?))
    })
    .await?;
    Ok(on(&base, record, cached))
}
