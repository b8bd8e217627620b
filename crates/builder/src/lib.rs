//! A Dockerfile becomes an image.
//!
//! | room | what is in it |
//! |---|---|
//! | `parse`, `heredoc` | bytes → lines of instruction |
//! | `instructions` | lines → typed instructions |
//! | `words`, `glob`, `ignore` | variables, patterns, .dockerignore |
//! | `context` | what is read of the context before the first step |
//! | `stages` | which stages are needed; global ARGs |
//! | `solve` | stage by stage, step by step |
//! | `state` | where a stage is: layers, configuration, ARGs |
//! | `config` | the instructions that change only the configuration |
//! | `op` | the steps that make layers, and base images |
//! | `copy`, `run` | how COPY and RUN do it |
//! | `writable` | a step's writable layer |
//! | `cache`, `key` | what was done before |
//! | `export`, `output` | the image, and what the client sees |
//!
//! ```text
//! <cache>/<2 hex>/<key>.json   what a step made (cache.rs)
//!         mounts/<hex>/        content of RUN --mount=type=cache
//! <run>/<id>/                  a running step: hosts, hostname, resolv.conf, shim/
//! <store>/rw/build-<id>/       a step's writable layer
//! ```
//!
//! A *state* is a stage between two steps. A *key* is the digest of everything a step depends on: the unpacked stack
//! below it and its own words, not the instructions before it. RUN uses the same shim as a container, with no container
//! record.

mod cache;
mod config;
mod context;
mod copy;
mod error;
mod export;
mod glob;
mod heredoc;
mod ignore;
mod instructions;
mod key;
mod op;
mod output;
mod parse;
mod run;
mod solve;
mod stages;
mod state;
mod words;
mod writable;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use spec::api::{AuthConfig, Progress};
use spec::{Digest, Reference};
use tokio::sync::mpsc::Sender;

use cache::Cache;
use output::Output;
use run::cancel::{Cancel, Guard};
use solve::Solver;

pub use error::Error;

/// What a build stands on.
#[derive(Clone)]
pub struct Host {
    /// Images and layers.
    pub store: store::Store,
    /// For base images that are not here.
    pub registry: registry::client::Client,
    /// For RUN steps.
    pub networks: network::Networks,
    /// For RUN steps.
    pub shim: Arc<shim::client::Program>,
    /// Cache records (`<data root>/build`).
    pub cache: PathBuf,
    /// Run-time files of RUN steps (`<exec root>/build`).
    pub run: PathBuf,
    /// Parent cgroup of RUN steps (`/corten`).
    pub cgroup_parent: String,
}

/// What to build.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The unpacked context: a directory of the builder's own, removed by the caller.
    pub context: PathBuf,
    /// The Dockerfile's path in the context.
    pub dockerfile: String,
    /// Names for the result.
    pub tags: Vec<String>,
    /// `--build-arg`; `None` takes nothing.
    pub args: BTreeMap<String, Option<String>>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--target`; empty is the last stage.
    pub target: String,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--pull`: ask the registry even when the base image is here.
    pub pull: bool,
    /// Credentials for base images, by registry.
    pub auths: BTreeMap<String, AuthConfig>,
    /// Network of RUN steps: `default`, `none`, `host` or a network's name.
    pub network: String,
    /// Say only the image id.
    pub quiet: bool,
    /// `--platform`; empty is the host's.
    pub platform: String,
    /// Extra `/etc/hosts` entries (`name:ip`) of RUN steps.
    pub extra_hosts: Vec<String>,
}

/// Builds. Sends the classic builder's lines (`Step 1/3 : FROM x`, ` ---> Using cache`, `Successfully built …`,
/// `Successfully tagged …`) and the aux object with the id; returns the image's digest. Dropped: what runs is ended.
///
/// # Errors
/// As the variants say; no container, mount or writable layer of a failed step is left.
pub async fn build(host: &Host, request: Request, progress: Sender<Progress>) -> Result<Digest, Error> {
    let output = Output::new(progress, request.quiet);
    let tags = tags(&request.tags)?;
    let request = Arc::new(request);
    let cancel = Arc::new(Cancel::default());
    let guard = Guard::new(cancel.clone());

    let (store, context) = (host.store.clone(), request.clone());
    let (lease, file, ignore) = op::blocking(move || {
        let lease = store.lease("build")?;
        let (file, ignore) = context::read(&context)?;
        Ok((lease, file, ignore))
    })
    .await?;
    let mut solver = Solver::new(host.clone(), request.clone(), file, ignore, output.clone(), cancel)?;
    let unused = solver.unused_arguments();
    let state = solver.solve().await?;
    if !unused.is_empty() {
        output
            .line(format!("[Warning] One or more build-args [{}] were not consumed", unused.join(" ")))
            .await?;
    }
    let (host, names) = (host.clone(), tags.clone());
    let target = op::blocking(move || {
        let target = export::export(&host, &state, &names)?;
        drop(lease);
        Cache::new(&host.cache).trim()?;
        Ok(target)
    })
    .await?;
    guard.disarm();

    output
        .send(Progress { aux: Some(serde_json::json!({ "ID": target.digest })), ..Progress::default() })
        .await?;
    if request.quiet {
        output.send(Progress::stream(format!("{}\n", target.digest))).await?;
    }
    output.line(format!("Successfully built {}", target.digest.short())).await?;
    for tag in &tags {
        output.line(format!("Successfully tagged {}", tag.familiar())).await?;
    }
    Ok(target.digest)
}

/// The names of the result: tags, not digests.
fn tags(texts: &[String]) -> Result<Vec<Reference>, Error> {
    let mut tags = Vec::new();
    for text in texts {
        let reference: Reference =
            text.parse().map_err(|e| Error::Request(format!("invalid tag {text:?}: {e}")))?;
        if reference.digest.is_some() {
            return Err(Error::Request("build tag cannot contain a digest".into()));
        }
        let reference = reference.or_latest();
        if !tags.contains(&reference) {
            tags.push(reference);
        }
    }
    Ok(tags)
}

/// What the build cache holds on to: for the collector.
///
/// # Errors
/// A cache record cannot be read.
pub fn roots(host: &Host) -> Result<(Vec<store::ChainId>, Vec<Digest>), Error> {
    let layers = Cache::new(&host.cache).all()?.into_iter().filter_map(|record| record.layer);
    Ok(layers.map(|layer| (layer.chain, layer.blob.digest)).unzip())
}

/// Forgets all cache records; the store's collector then frees what only they held. Returns how many.
///
/// # Errors
/// A record cannot be removed.
pub fn prune(host: &Host) -> Result<usize, Error> {
    Cache::new(&host.cache).clear()
}

/// Forgets the part of the cache's records that was used longest ago, for the collector to free what only they held.
/// Returns how many.
///
/// # Errors
/// A record cannot be removed.
pub fn forget(host: &Host) -> Result<usize, Error> {
    Cache::new(&host.cache).forget()
}

/// Ends and removes what builds of a daemon that died have left: for the start, before the first build. Returns how many
/// steps and layers there were.
///
/// # Errors
/// A directory cannot be listed; what cannot be removed is said in the log.
pub fn recover(host: &Host) -> Result<usize, Error> {
    run::recover::recover(host)
}
