//! A Dockerfile becomes an image.
//!
//! `parse` (bytes → tree with spans) → `instructions` (typed) → `words` (variables) → `solve` (stages, cache,
//! steps) → `export`. RUN uses the same shim as a container, with no container record.

mod error;
mod glob;
mod heredoc;
mod ignore;
mod instructions;
mod parse;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use spec::Digest;
use spec::api::Progress;
use tokio::sync::mpsc::Sender;

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
/// `Successfully tagged …`) and the aux object with the id; returns the image's digest.
///
/// # Errors
/// As the variants say; no container, mount or writable layer of a failed step is left.
pub async fn build(_host: &Host, _request: Request, _progress: Sender<Progress>) -> Result<Digest, Error> {
    todo!()
}

/// What the build cache holds on to: for the collector.
///
/// # Errors
/// A cache record cannot be read.
pub fn roots(_host: &Host) -> Result<(Vec<store::ChainId>, Vec<Digest>), Error> {
    todo!()
}

/// Forgets all cache records; the store's collector then frees what only they held. Returns how many.
///
/// # Errors
/// A record cannot be removed.
pub fn prune(_host: &Host) -> Result<usize, Error> {
    todo!()
}
