//! A Dockerfile becomes an image.
//!
//! | room | what is in it |
//! |---|---|
//! | `parse`, `heredoc` | bytes → lines of instruction |
//! | `instructions` | lines → typed instructions |
//! | `words`, `glob`, `ignore`, `remote` | variables, patterns, .dockerignore, addresses |
//! | `context`, `index` | what the client gives, and what is known of it from the last time |
//! | `stages`, `state`, `config` | which stages are needed; where one is; what changes only its configuration |
//! | `convert`, `graph` | instructions → a graph of operations |
//! | `solve`, `work` | the graph is worked off: side by side, nothing twice, also across builds |
//! | `op` | what each operation does |
//! | `copy`, `run` | how COPY and RUN do it |
//! | `writable` | a step's writable layer |
//! | `cache`, `key` | what was done before |
//! | `output`, `classic` | what the client hears |
//! | `finish`, `export` | the image |
//! | `lint` | what is wrong with a Dockerfile though it builds |
//!
//! ```text
//! <cache>/<2 hex>/<key>.json   what a step made (cache.rs)
//!         mounts/<hex>/        content of RUN --mount=type=cache
//!         trees/<key>/         parts of contexts that are mounted, downloads
//!         files/<dev>-<inode>  digests of the files in a client's directory (index.rs)
//! <run>/<id>/                  a running step: hosts, hostname, resolv.conf, shim/
//! <store>/rw/build-<id>/       a step's writable layer
//! ```
//!
//! A *state* is a stage between two steps, a *vertex* an operation, an *edge* its result. A *key* is the digest of
//! everything a step depends on: the unpacked stack below it and its own words, not the instructions before it. RUN uses
//! the same shim as a container, with no container record.

mod cache;
mod classic;
mod config;
mod context;
mod convert;
mod copy;
mod error;
mod export;
mod finish;
mod glob;
mod graph;
mod heredoc;
mod ignore;
mod index;
mod instructions;
mod key;
mod lint;
mod op;
mod output;
mod parse;
mod remote;
mod run;
mod solve;
mod stages;
mod state;
mod words;
mod work;
mod writable;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use spec::api::{AuthConfig, Progress};
use spec::{Digest, Reference};
use tokio::sync::mpsc::Sender;

use cache::Cache;
use context::Context;
use convert::Convert;
use graph::{Op, Squash, Vertex};
use instructions::Dockerfile;
use output::Output;
use run::cancel::{Cancel, Guard};
use solve::Solver;

pub use context::Files;
pub use convert::NamedContext;
pub use error::Error;
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
    /// Parent cgroup of RUN steps (`/corten`).
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
    /// `RLIMIT_…`.
    pub ulimits: Vec<spec::oci::runtime::Rlimit>,
}

/// Builds. Sends the classic builder's lines (`Step 1/3 : FROM x`, ` ---> Using cache`, `Successfully built …`,
/// `Successfully tagged …`) and the aux object with the id; returns the image's digest. Dropped: what runs is ended.
///
/// # Errors
/// As the variants say; no container, mount or writable layer of a failed step is left.
pub async fn build(host: &Host, request: Request, progress: Sender<Progress>) -> Result<Digest, Error> {
    let output = Output::new(progress, request.quiet, request.events);
    let tags = tags(&request.tags)?;
    let request = Arc::new(request);
    let cancel = Arc::new(Cancel::default());
    let guard = Guard::new(cancel.clone());

    let (wanted, surroundings) = (request.clone(), host.clone());
    let (lease, source, ignore) = op::blocking(move || {
        let lease = surroundings.store.lease("build")?;
        let (source, ignore) = context::read(&wanted)?;
        Ok((lease, source, ignore))
    })
    .await?;
    let build =
        Build { host, request: &request, output: &output, cancel: &cancel, source: &source, tags: &tags };
    match build.run(lease, ignore).await {
        Ok(digest) => {
            guard.disarm();
            Ok(digest)
        }
        Err(error) => {
            if let Some(line) = error.line() {
                build.show(line).await?;
            }
            Err(error)
        }
    }
}

/// A build whose Dockerfile has been read.
struct Build<'b> {
    host: &'b Host,
    request: &'b Arc<Request>,
    output: &'b Output,
    cancel: &'b Arc<Cancel>,
    source: &'b [u8],
    tags: &'b [Reference],
}

impl Build<'_> {
    /// Shows where in the Dockerfile something failed.
    async fn show(&self, line: u32) -> Result<(), Error> {
        let excerpt = lint::excerpt(self.source, &self.request.dockerfile, line);
        self.output.event(spec::api::BuildEvent { excerpt, ..Default::default() }).await
    }

    async fn run(&self, lease: store::Lease, ignore: ignore::Ignore) -> Result<Digest, Error> {
        let Self { host, request, output, cancel, source, tags } = *self;
        let (wanted, surroundings, text, hidden) =
            (request.clone(), host.clone(), source.to_vec(), ignore.clone());
        let (file, contexts) = op::blocking(move || {
            let file = Dockerfile::read_with(&text, &|name| context::include(&wanted, name))?;
            Ok((file, contexts(&surroundings, &wanted, hidden)?))
        })
        .await?;
        let check = lint::Check::of(&file, request)?;
        let unused = convert::unused_arguments(&file, request);
        let platforms = platforms(request)?;
        let mut plans = Vec::new();
        let mut undefined = Vec::new();
        for platform in &platforms {
            let several = platforms.len() > 1;
            let mut convert =
                Convert::new(host, request, &file, &contexts, platform.clone(), output, several)?;
            let state = convert.convert().await?;
            plans.push((state, convert.lines, convert.places));
            undefined.append(&mut convert.undefined.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let mut found = lint::lint(&file, request, &ignore);
        found.extend(undefined.into_iter().map(|(line, name)| {
            lint::finding("UndefinedVar", format!("Usage of undefined variable '${name}'"), line)
        }));
        let found = lint::sort(found, &check, &request.dockerfile);
        for warning in found.clone() {
            output.event(spec::api::BuildEvent { warning: Some(warning), ..Default::default() }).await?;
        }
        if check.error && !found.is_empty() {
            let rules: Vec<&str> = found.iter().map(|one| one.rule_name.as_str()).collect();
            return Err(Error::Request(format!("lint violation found for rules: {}", rules.join(", "))));
        }
        let squashed: Vec<Option<graph::Edge>> = plans
            .iter()
            .map(|(state, ..)| {
                let top = state.root.clone().filter(|_| request.squash)?;
                Some(Vertex::new("squash", Op::Squash(Squash { base: state.base.clone(), top }), false))
            })
            .collect();
        let epoch = epoch(request)?;
        let solver = Arc::new(Solver::new(
            host.clone(),
            request.clone(),
            output.clone(),
            cancel.clone(),
            epoch,
            lease,
        ));
        let targets: Vec<graph::Edge> = plans
            .iter()
            .zip(&squashed)
            .filter_map(|((state, ..), squashed)| squashed.clone().or_else(|| state.root.clone()))
            .collect();
        let ordered = solver.take(&targets);
        let lines: Vec<convert::Line> = plans.iter().flat_map(|(_, lines, _)| lines.clone()).collect();
        let (solved, printed) = tokio::join!(solver.solve(ordered), classic::print(&solver, &lines));
        let said = match printed {
            Ok(said) => said,
            Err(error) => {
                cancel.cancel();
                return Err(error);
            }
        };
        if let Err((vertex, error)) = solved {
            if let Some(vertex) = vertex {
                classic::failure(&solver, &lines[said..], &vertex).await?;
            }
            let place =
                vertex.and_then(|vertex| plans.iter().find_map(|(.., places)| places.get(&vertex).copied()));
            if let (Some(line), None) = (place, error.line()) {
                self.show(line).await?;
            }
            return Err(error);
        }
        if !unused.is_empty() {
            output
                .line(format!("[Warning] One or more build-args [{}] were not consumed", unused.join(" ")))
                .await?;
        }
        let mut images = Vec::new();
        for ((state, ..), squashed) in plans.iter().zip(&squashed) {
            images.push(finish::finish(&solver, state, squashed.as_ref()).await?);
        }
        let (surroundings, names) = (host.clone(), tags.to_vec());
        let target = op::blocking(move || {
            let target = export::export(&surroundings, &images, &names)?;
            Cache::new(&surroundings.cache).trim()?;
            Ok(target)
        })
        .await?;
        drop(solver);

        output
            .send(Progress { aux: Some(serde_json::json!({ "ID": target.digest })), ..Progress::default() })
            .await?;
        if request.quiet {
            output.send(Progress::stream(format!("{}\n", target.digest))).await?;
        }
        output.line(format!("Successfully built {}", target.digest.short())).await?;
        for tag in tags {
            output.line(format!("Successfully tagged {}", tag.familiar())).await?;
        }
        Ok(target.digest)
    }
}

/// The contexts by name; the build's own has none.
fn contexts(
    host: &Host,
    request: &Request,
    ignore: ignore::Ignore,
) -> Result<BTreeMap<String, Arc<Context>>, Error> {
    let indexes = cache::indexes(&host.cache);
    let own = Context::open("", &request.context, ignore, &indexes)?;
    let mut contexts = BTreeMap::from([(String::new(), Arc::new(own))]);
    for (name, context) in &request.contexts {
        if let NamedContext::Files(files) = context {
            let ignore = context::ignore(files)?;
            contexts.insert(name.clone(), Arc::new(Context::open(name, files, ignore, &indexes)?));
        }
    }
    Ok(contexts)
}

/// What to build for: the host, if nothing is said.
fn platforms(request: &Request) -> Result<Vec<spec::api::Platform>, Error> {
    let mut platforms = Vec::new();
    for text in request.platforms.iter().flat_map(|text| text.split(',')) {
        if let Some(platform) = convert::platform(text.trim())?
            && !platforms.contains(&platform)
        {
            platforms.push(platform);
        }
    }
    if platforms.is_empty() {
        platforms.push(spec::api::Platform::host());
    }
    Ok(platforms)
}

/// `SOURCE_DATE_EPOCH` among the build arguments.
fn epoch(request: &Request) -> Result<Option<i64>, Error> {
    match request.args.get("SOURCE_DATE_EPOCH").and_then(Option::as_deref) {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            Error::Request(format!("invalid SOURCE_DATE_EPOCH: {text}: expected seconds since 1970"))
        }),
    }
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

/// Ends and removes what builds of a daemon that died have left: for the start, before the first build. Returns how many
/// steps and layers there were.
///
/// # Errors
/// A directory cannot be listed; what cannot be removed is said in the log.
pub fn recover(host: &Host) -> Result<usize, Error> {
    run::recover::recover(host)
}
