//! The classic builder's stream: `Step 2/5 : …`, ` ---> Using cache`, output, ` ---> id`, in the Dockerfile's order.

use std::sync::Arc;

use spec::Digest;

use crate::convert::Line;
use crate::error::Result;
use crate::finish::settle;
use crate::key::Hasher;
use crate::output::News;
use crate::solve::{Layers, Solver};

/// Says lines as what they wait for is done; returns how many were said before something failed.
pub(crate) async fn print(solver: &Arc<Solver>, lines: &[Line]) -> Result<usize> {
    let output = &solver.output;
    for (number, line) in lines.iter().enumerate() {
        let (root, config) = match line {
            Line::Say(text) => {
                output.text(text.clone()).await?;
                continue;
            }
            Line::Base { root, config } => (root, config),
            Line::Step { done, root, config } => {
                let cached = match &done.edge {
                    Some(edge) => match page(solver, &edge.digest).await? {
                        Some(cached) => cached,
                        None => return Ok(number),
                    },
                    None => match settle(solver, done).await? {
                        Some((_, cached)) => cached,
                        None => return Ok(number),
                    },
                };
                if cached {
                    output.line(" ---> Using cache").await?;
                }
                (root, config)
            }
        };
        let Some(layers) = solver.root(root.as_ref()).await else { return Ok(number) };
        output.line(format!(" ---> {}", id(&layers, config).short())).await?;
    }
    Ok(lines.len())
}

/// What a vertex wrote, as it writes it; whether the cache had it. `None`: it failed.
async fn page(solver: &Arc<Solver>, vertex: &Digest) -> Result<Option<bool>> {
    let output = &solver.output;
    let mut container = None;
    loop {
        match output.news(vertex).await {
            News::Container(id) => {
                output.line(format!(" ---> Running in {id}")).await?;
                container = Some(id);
            }
            News::Text(text) => output.text(text).await?,
            News::Failed => return Ok(None),
            News::Done { cached } => {
                if let Some(id) = container {
                    output.line(format!(" ---> Removed intermediate container {id}")).await?;
                }
                return Ok(Some(cached));
            }
        }
    }
}

/// After a failure in a later step than the one that was being said: that step and what it wrote.
pub(crate) async fn failure(solver: &Arc<Solver>, rest: &[Line], vertex: &Digest) -> Result<()> {
    let is_it = |line: &Line| matches!(line, Line::Step { done, .. } if done.edge.as_ref().is_some_and(|e| e.digest == *vertex));
    let Some(at) = rest.iter().position(is_it) else { return Ok(()) };
    if let Some(Line::Say(text)) = at.checked_sub(1).map(|before| &rest[before]) {
        solver.output.text(text.clone()).await?;
    }
    page(solver, vertex).await.map(drop)
}

/// What is said of a state, instead of the id of an image that nobody made.
fn id(layers: &Layers, config: &Digest) -> Digest {
    let mut hasher = Hasher::default();
    if let Some(chain) = &layers.chain {
        hasher.field(chain.0.as_bytes());
    }
    hasher.field(config.as_bytes());
    hasher.finish()
}
