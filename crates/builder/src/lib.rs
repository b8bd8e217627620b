//! A Dockerfile becomes an image.
//!
//! | room | what is in it |
//! |---|---|
//! | `parse`, `heredoc` | bytes → lines of instruction |
//! | `instructions` | lines → typed instructions |
//! | `words`, `glob`, `ignore`, `remote` | variables, patterns, .dockerignore, addresses |
//! | `git` | repositories, read as a client of theirs |
//! | `context`, `index`, `kept` | what the client gives, and what is known of it from the last time |
//! | `stages`, `state`, `config` | which stages are needed; where one is; what changes only its configuration |
//! | `build` | from the request to the image |
//! | `convert`, `graph` | instructions → a graph of operations |
//! | `solve`, `work` | the graph is worked off: side by side, nothing twice, also across builds |
//! | `op` | what each operation does |
//! | `copy`, `run` | how COPY and RUN do it |
//! | `writable` | a step's writable layer |
//! | `cache`, `key` | what was done before |
//! | `share`, `usage` | the cache for other machines; what it takes on disk |
//! | `output`, `classic` | what the client hears |
//! | `finish`, `export` | the image, its files, what is said about it |
//! | `lint`, `call` | what is wrong with a Dockerfile though it builds; what is in it |
//!
//! ```text
//! <cache>/<2 hex>/<key>.json   what a step made (cache.rs)
//!         mounts/<hex>/        content of RUN --mount=type=cache
//!         trees/<key>/         parts of contexts that are mounted, downloads
//!         contexts/<digest>/   contexts of clients elsewhere, kept for the next build (kept.rs)
//!         files/<dev>-<inode>  digests of the files in a client's directory (index.rs)
//! <run>/<id>/                  a running step: hosts, hostname, resolv.conf, shim/
//! <store>/rw/build-<id>/       a step's writable layer
//! ```
//!
//! A *state* is a stage between two steps, a *vertex* an operation, an *edge* its result. A *key* is the digest of
//! everything a step depends on: the unpacked stack below it and its own words, not the instructions before it. RUN uses
//! the same shim as a container, with no container record.

mod build;
mod cache;
mod call;
mod classic;
mod config;
mod context;
mod convert;
mod copy;
mod error;
mod export;
mod finish;
mod git;
mod glob;
mod graph;
mod heredoc;
mod ignore;
mod index;
mod instructions;
mod kept;
mod key;
mod lint;
mod op;
mod output;
mod parse;
mod remote;
mod run;
mod share;
mod solve;
mod stages;
mod state;
mod usage;
mod words;
mod work;
mod writable;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use spec::Digest;
use spec::api::AuthConfig;
use spec::oci::runtime::CgroupDriver;

use cache::Cache;

pub use build::build;
pub use context::Files;
pub use convert::NamedContext;
pub use error::Error;
pub use export::output::{Kind, Target};
pub use export::provenance::Provenance;
pub use export::sbom::read as read_sbom;
pub use git::checkout as checkout_git;
pub use kept::{Kept, accept as accept_context, offer as offer_context};
pub use share::Place;
pub use usage::{Prune, Usage, prune, usage};
pub use work::Work;

/// What a build stands on.
#[derive(Debug, Clone)]
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
    /// Who makes the cgroups of RUN steps.
    pub cgroups: CgroupDriver,
    /// Their parent (`/corten`, or a slice).
    pub cgroup_parent: String,
    /// What its builds share.
    pub work: Arc<Work>,
}

/// What to build.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The files that COPY sees.
    pub context: Files,
    /// The Dockerfile's path in the context.
    pub dockerfile: String,
    /// A Dockerfile that is not in the context.
    pub dockerfile_text: Option<Vec<u8>>,
    /// The ignore file, if it is not the context's own.
    pub ignore_text: Option<Vec<u8>>,
    /// `--build-context`.
    pub contexts: BTreeMap<String, NamedContext>,
    /// `--secret`.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// `--ssh`: sockets of agents.
    pub ssh: BTreeMap<String, PathBuf>,
    /// `--allow`.
    pub allow: Vec<String>,
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
    /// `--no-cache-filter`: names of stages.
    pub no_cache_filter: Vec<String>,
    /// `--squash`.
    pub squash: bool,
    /// Say what vertices do instead of the classic lines.
    pub events: bool,
    /// `--output`; none is an image in the store.
    pub outputs: Vec<Target>,
    /// `--annotation`.
    pub annotations: Vec<String>,
    /// `--provenance`.
    pub provenance: Option<Provenance>,
    /// `--sbom`: a statement of the packages in the image.
    pub sbom: bool,
    /// Where the context was fetched from, if it was.
    pub origin: Option<Origin>,
    /// `--cache-from`.
    pub cache_from: Vec<Place>,
    /// `--cache-to`.
    pub cache_to: Vec<Place>,
    /// `check`, `outline`, `targets`; empty builds.
    pub call: String,
    /// For RUN steps.
    pub limits: Limits,
    /// `--pull`: ask the registry even when the base image is here.
    pub pull: bool,
    /// Credentials for base images, by registry.
    pub auths: BTreeMap<String, AuthConfig>,
    /// Network of RUN steps: `default`, `none`, `host` or a network's name.
    pub network: String,
    /// Say only the image id.
    pub quiet: bool,
    /// `--platform`; empty is the host's, several make an index.
    pub platforms: Vec<String>,
    /// Extra `/etc/hosts` entries (`name:ip`) of RUN steps.
    pub extra_hosts: Vec<String>,
}

/// A repository that a context was fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// As it was asked for.
    pub uri: String,
    /// What it was.
    pub commit: String,
}

/// What a RUN step may use.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Bytes.
    pub memory: i64,
    /// Bytes, memory included; -1 has no limit.
    pub memory_swap: i64,
    /// A weight.
    pub cpu_shares: i64,
    /// Microseconds.
    pub cpu_period: i64,
    /// Microseconds in each period.
    pub cpu_quota: i64,
    /// `0-3,5`.
    pub cpuset_cpus: String,
    /// `0-3,5`.
    pub cpuset_mems: String,
    /// Bytes of /dev/shm; 0 is Docker's.
    pub shm_size: i64,
    /// Where the cgroups of steps are; empty is the engine's place.
    pub cgroup_parent: String,
    /// `RLIMIT_…`.
    pub ulimits: Vec<spec::oci::runtime::Rlimit>,
}

/// What the build cache holds on to: for the collector.
///
/// # Errors
/// A cache record cannot be read.
pub fn roots(host: &Host) -> Result<(Vec<store::ChainId>, Vec<Digest>), Error> {
    let layers = Cache::new(&host.cache).all()?.into_iter().filter_map(|record| record.layer);
    Ok(layers.map(|layer| (layer.chain, layer.blob.digest)).unzip())
}

/// Forgets contexts that are kept for clients elsewhere, or else the part of the cache's records that was used longest
/// ago, for the collector to free what only they held. Returns how many.
///
/// # Errors
/// A record cannot be removed.
pub fn forget(host: &Host) -> Result<usize, Error> {
    match kept::forget(host)? {
        0 => Cache::new(&host.cache).forget(),
        gone => Ok(gone),
    }
}

/// Ends and removes what builds of a daemon that died have left: for the start, before the first build. Returns how many
/// steps and layers there were.
///
/// # Errors
/// A directory cannot be listed; what cannot be removed is said in the log.
pub fn recover(host: &Host) -> Result<usize, Error> {
    run::recover::recover(host)
}

/// Reads a Dockerfile, looks through it and expands its words, or refuses it: for the fuzz target alone.
#[cfg(fuzzing)]
pub fn reads_dockerfile(bytes: &[u8]) -> bool {
    struct Variable;

    impl words::Variables for Variable {
        fn get(&self, name: &str) -> Option<String> {
            name.starts_with('a').then(|| format!("{name}\"$ '\\"))
        }
    }

    let Ok(file) = instructions::Dockerfile::read_with(bytes, &|_| Ok(None)) else { return false };
    lint::lint(&file, &ignore::Ignore::parse(bytes).unwrap_or_default());
    for node in &file.nodes {
        let _ = words::expand(&node.text, file.escape, &Variable);
        let _ = words::expand_split(&node.text, file.escape, &Variable);
    }
    true
}
