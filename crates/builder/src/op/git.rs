//! ADD of a git repository: which commit is meant is asked each time, its files are fetched once.

use std::sync::Arc;

use super::{Unfinished, blocking, cached};
use crate::cache::{Cache, Record};
use crate::error::Result;
use crate::git::{Oid, Repository};
use crate::graph::{Edge, Op};
use crate::key::Hasher;
use crate::solve::{Solved, Solver, Tree};

/// Gives a tree with the commit's files.
pub(crate) async fn solve(solver: &Arc<Solver>, vertex: &Edge) -> Result<Solved> {
    let Op::Git(repository) = &vertex.op else { unreachable!("the solver looks at the operation") };
    // A commit's own id says all: nobody need be asked.
    if let Some(commit) = repository.fixed()
        && repository.agrees(&[commit]).is_ok()
        && let Some(record) = find(solver, vertex, repository, commit).await?
    {
        return Ok(solved(solver, record, true));
    }
    solver.output.started(vertex).await?;
    let client = &solver.host.registry;
    let settled = repository.settle(client).await?;
    let key = key(repository, settled.commit);
    let _turn = solver.host.work.turn(&key).await;
    if let Some(record) = find(solver, vertex, repository, settled.commit).await? {
        return Ok(solved(solver, record, true));
    }
    let (this, unfinished) = (solver.clone(), Unfinished::create(&solver.host.cache)?);
    repository.checkout(client, &settled, &unfinished.0, &unfinished.0).await?;
    solver.cancel.check()?;
    let name = vertex.name.clone();
    let record = blocking(move || {
        let tree = Some(unfinished.finish(&this.host.cache, &key)?);
        let record = Record { tree, name, source: settled.commit.to_string(), ..super::made(None) };
        Cache::new(&this.host.cache).put(&key, &record)?;
        Ok(record)
    })
    .await?;
    Ok(solved(solver, record, false))
}

async fn find(
    solver: &Arc<Solver>,
    vertex: &Edge,
    repository: &Repository,
    commit: Oid,
) -> Result<Option<Record>> {
    let (this, vertex, key) = (solver.clone(), vertex.clone(), key(repository, commit));
    blocking(move || cached(&this, &vertex, &key)).await
}

/// A commit is the same wherever it comes from; its `.git` is not.
fn key(repository: &Repository, commit: Oid) -> spec::Digest {
    let address = &repository.address;
    let mut hasher = Hasher::default();
    hasher.field(b"git commit").field(commit.to_string().as_bytes()).field(address.subdir.as_bytes());
    hasher.number(u64::from(address.submodules)).number(u64::from(repository.keep));
    // Addresses of submodules are seen from the repository's.
    if repository.keep || address.submodules {
        hasher.field(address.url.as_bytes());
    }
    if repository.keep {
        hasher.field(address.reference.as_bytes());
    }
    hasher.finish()
}

fn solved(solver: &Solver, record: Record, cached: bool) -> Solved {
    let path = solver.host.cache.join(record.tree.as_deref().unwrap_or_default());
    Solved { tree: Tree::Plain(path), record, cached }
}
