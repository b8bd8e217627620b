//! COPY --link: layers that were made on nothing are put on a root.

use std::sync::Arc;

use super::{key, once};
use crate::cache::{Layer, Record};
use crate::error::Result;
use crate::graph::{Edge, Merge, Op};
use crate::solve::{Inputs, Solved, Solver, Tree};

/// Unpacks the upper layers once more, on the lower root: a stack's identity is that of all of it.
pub(crate) async fn solve(solver: &Arc<Solver>, vertex: &Edge, inputs: Arc<Inputs>) -> Result<Solved> {
    let Op::Merge(Merge { lower, upper }) = &vertex.op else {
        unreachable!("the solver looks at the operation")
    };
    let lower = inputs.layers(lower.as_ref());
    let upper = inputs.get(upper).clone();
    let mut layers = (*lower).clone();
    let mut cached = true;
    // One record per layer, as a record has one.
    for (number, (blob, diff_id)) in upper.layers().all.iter().cloned().enumerate() {
        let mut hasher = key(solver, "merge", &layers);
        hasher.field(diff_id.as_bytes()).number(number as u64);
        let (parent, created) = (layers.chain, upper.record.created.clone());
        let (record, found) = once(solver, vertex, hasher.finish(), parent, move |solver, _| {
            let store = &solver.host.store;
            let (chain, _) = store.unpack(&mut store.blob(&blob.digest)?, parent.as_ref(), Some(diff_id))?;
            Ok(Record { created, layer: Some(Layer { chain, blob, diff_id }), ..Record::default() })
        })
        .await?;
        layers = layers.with(record.layer.as_ref());
        cached &= found;
    }
    let top = layers.all.last().cloned().zip(layers.chain);
    let record = Record {
        layer: top.map(|((blob, diff_id), chain)| Layer { chain, blob, diff_id }),
        ..upper.record.clone()
    };
    Ok(Solved { tree: Tree::Layers(Arc::new(layers)), record, cached: cached && upper.cached })
}
