//! WORKDIR: a directory that is there.

use std::path::Path;
use std::sync::Arc;

use super::{fresh_id, key, made, on, once};
use crate::copy::place::{create_dirs, destination};
use crate::error::Result;
use crate::graph::{Edge, Mkdir, Op};
use crate::solve::{Inputs, Solved, Solver};
use crate::state::State;
use crate::writable::Writable;

/// The new working directory: relative ones start at the old.
pub(crate) fn resolve(state: &State, text: &str) -> String {
    destination(state.working_dir(), text).0.to_string_lossy().into_owned()
}

/// Makes the directory where it is missing.
pub(crate) async fn solve(solver: &Arc<Solver>, vertex: &Edge, inputs: Arc<Inputs>) -> Result<Solved> {
    let Op::Mkdir(Mkdir { base, path }) = &vertex.op else {
        unreachable!("the solver looks at the operation")
    };
    let base = inputs.layers(base.as_ref());
    let mut hasher = key(solver, "workdir", &base);
    hasher.field(path.as_bytes());
    let (path, chain) = (path.clone(), base.chain);
    let (record, cached) = once(solver, vertex, hasher.finish(), chain, move |solver, _| {
        let layer = Writable::create(&solver.host.store, &fresh_id(), chain.as_ref())?;
        create_dirs(&layer.open()?, Path::new(&path), 0, 0)?;
        Ok(made(layer.commit(solver.epoch)?))
    })
    .await?;
    Ok(on(&base, record, cached))
}
