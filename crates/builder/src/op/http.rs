//! ADD of a file on a server: downloaded once, asked again whether it has changed.

use std::io::Write;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use spec::Digest;
use sys::root::{Access, OpenFile, Root, Time};

use super::{Unfinished, blocking};
use crate::cache::{Cache, Record};
use crate::error::{Error, Result};
use crate::graph::{Edge, Http, Op};
use crate::key::Hasher;
use crate::solve::{Solved, Solver, Tree};

/// Gives a tree with the one file in it.
pub(crate) async fn solve(solver: &Arc<Solver>, vertex: &Edge) -> Result<Solved> {
    let Op::Http(http) = &vertex.op else { unreachable!("the solver looks at the operation") };
    let key = key(http);
    let _turn = solver.host.work.turn(&key).await;
    let known = {
        let (solver, vertex) = (solver.clone(), vertex.clone());
        blocking(move || super::cached(&solver, &vertex, &key)).await?
    };
    // What must have one digest cannot have changed.
    if let (Some(record), true) = (&known, http.checksum.is_some()) {
        return Ok(solved(solver, record.clone(), true));
    }
    solver.output.started(vertex).await?;
    let mut headers: Vec<(&str, &str)> = Vec::new();
    if let Some(value) = &http.authorization {
        headers.push(("authorization", value));
    }
    if let Some(record) = &known {
        headers.extend(record.validators.iter().map(|(name, value)| {
            let name = if name == "etag" { "if-none-match" } else { "if-modified-since" };
            (name, value.as_str())
        }));
    }
    let failed = |detail: String| Error::Step { step: format!("ADD {} failed", http.url), detail };
    let answer = solver.host.registry.download(&http.url, &headers).await;
    let mut answer = answer.map_err(|error| match error {
        registry::Error::Unreachable { host, detail } => {
            failed(format!("{host} cannot be reached: {detail}"))
        }
        other => other.into(),
    })?;
    match (answer.status(), known) {
        (304, Some(record)) => return Ok(solved(solver, record, true)),
        (200..=299, _) => {}
        (status, _) => return Err(failed(format!("invalid response status {status}"))),
    }
    let mut record = Record { name: vertex.name.clone(), ..super::made(None) };
    for name in ["etag", "last-modified"] {
        if !answer.header(name).is_empty() {
            record.validators.push((name.into(), answer.header(name).to_owned()));
        }
    }
    let modified =
        jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(answer.header("last-modified")).ok();

    let unfinished = Unfinished::create(&solver.host.cache)?;
    let mut file = Root::open(&unfinished.0)?.top().open_file(&http.name, Access::CreateNew, 0o600)?;
    let mut digest = Sha256::new();
    while let Some(chunk) = answer.chunk().await? {
        solver.cancel.check()?;
        digest.update(&chunk);
        // Into the page cache: short enough for the thread of the runtime.
        file.write_all(&chunk).map_err(|e| sys::Error::new("write", http.name.clone(), e))?;
    }
    let digest = Digest::from_bytes(digest.finalize().into());
    if let Some(expected) = http.checksum.filter(|expected| *expected != digest) {
        return Err(failed(format!("digest mismatch {digest}: {expected}")));
    }
    // Without a date it has none, so that the same file is the same layer.
    file.set_own_modified(Time { seconds: modified.map_or(0, jiff::Timestamp::as_second), nanos: 0 })?;
    drop(file);
    let (this, name) = (solver.clone(), http.name.clone());
    let record = blocking(move || {
        let mut hasher = Hasher::default();
        hasher.field(digest.as_bytes()).field(name.as_bytes());
        record.tree = Some(unfinished.finish(&this.host.cache, &hasher.finish())?);
        record.source = digest.to_string();
        Cache::new(&this.host.cache).put(&key, &record)?;
        Ok(record)
    })
    .await?;
    Ok(solved(solver, record, false))
}

fn key(http: &Http) -> Digest {
    let mut hasher = Hasher::default();
    hasher.field(b"http").field(http.url.as_bytes()).field(http.name.as_bytes());
    hasher.field(format!("{:?}", http.checksum).as_bytes());
    hasher.finish()
}

fn solved(solver: &Solver, record: Record, cached: bool) -> Solved {
    let path = solver.host.cache.join(record.tree.as_deref().unwrap_or_default());
    Solved { tree: Tree::Plain(path), record, cached }
}
