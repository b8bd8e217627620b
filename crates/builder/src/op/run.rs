//! RUN as a step: cache key, mounts, execution.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use spec::Id;
use spec::defaults::oci::bind;
use spec::oci::runtime::Mount;
use sys::file;
use sys::root::{Follow, Kind, Metadata, Root};

use super::tree::Opened;
use super::{blocking, cached, fresh_id, key, made, on, once};
use crate::cache::{self, Cache};
use crate::copy::content;
use crate::copy::place::Plan;
use crate::copy::tree::{Filter, select};
use crate::error::{Error, Result};
use crate::graph::{Bits, CacheMount, Edge, Exec, MountOp, Op};
use crate::instructions::run::Sharing;
use crate::key::Hasher;
use crate::run::agent::Agent;
use crate::run::execute::{Job, Scratch, execute};
use crate::solve::{Inputs, Layers, Solved, Solver, Tree};
use crate::work::InUse;
use crate::writable::Writable;

/// Executes, unless the cache has it.
pub(crate) async fn solve(solver: &Arc<Solver>, vertex: &Edge, inputs: Arc<Inputs>) -> Result<Solved> {
    let base = inputs.layers(exec(vertex).base.as_ref());
    let exec_key = |what: &str| {
        let mut hasher = key(solver, what, &base);
        exec(vertex).define(&mut hasher);
        hasher
    };
    // By the identity of what is mounted, which needs no reading; then by its content.
    let identity = identity(exec(vertex), &inputs);
    let definition = identity.map(|identity| {
        let mut hasher = exec_key("run definition");
        hasher.field(identity.as_bytes());
        hasher.finish()
    });
    if let Some(key) = definition {
        let (this, vertex) = (solver.clone(), vertex.clone());
        if let Some(record) = blocking(move || cached(&this, &vertex, &key)).await? {
            return Ok(on(&base, record, true));
        }
    }
    let content_key = {
        let mut hasher = exec_key("run");
        let (this, vertex, inputs) = (solver.clone(), vertex.clone(), inputs.clone());
        blocking(move || {
            mounted_content(&this, exec(&vertex), &inputs, &mut hasher)?;
            Ok(hasher.finish())
        })
        .await?
    };
    let root = base.clone();
    let (record, found) = once(solver, vertex, content_key, base.chain, move |solver, vertex| {
        let id = fresh_id();
        let scratch = Scratch::create(solver.host.run.join(id.as_str()))?;
        let mut surroundings = Surroundings::default();
        surroundings.prepare(solver, exec(vertex), &inputs, &scratch)?;
        let job = job(exec(vertex), id, &root, &surroundings);
        let committed = execute(solver, vertex, &job, &scratch)?;
        Ok(made(committed))
    })
    .await?;
    if let Some(key) = definition {
        let (cache, record) = (Cache::new(&solver.host.cache), record.clone());
        blocking(move || cache.put(&key, &record)).await?;
    }
    Ok(on(&base, record, found))
}

fn exec(vertex: &Edge) -> &Exec {
    match &vertex.op {
        Op::Exec(exec) => exec,
        _ => unreachable!("the solver looks at the operation"),
    }
}

/// What identifies everything that is mounted; `None` when nothing of the kind is.
fn identity(exec: &Exec, inputs: &Inputs) -> Option<String> {
    let mut text = String::new();
    for mount in &exec.mounts {
        if let MountOp::Bind { from: Some(edge), .. } = &mount.what {
            match &inputs.get(edge).tree {
                Tree::Layers(layers) => {
                    text.push_str(&layers.chain.map_or_else(String::new, |chain| chain.to_string()));
                }
                Tree::Plain(path) => text.push_str(&path.to_string_lossy()),
            }
            text.push(' ');
        }
    }
    (!text.is_empty()).then_some(text)
}

/// Feeds what is in the trees that are mounted, as far as they are.
fn mounted_content(solver: &Solver, exec: &Exec, inputs: &Inputs, hasher: &mut Hasher) -> Result<()> {
    for mount in &exec.mounts {
        let MountOp::Bind { from, source, .. } = &mount.what else { continue };
        let tree =
            from.as_ref().map_or_else(|| Tree::Layers(Arc::default()), |edge| inputs.get(edge).tree.clone());
        let opened = Opened::tree(&solver.host.store, &tree)?;
        let filter = Filter::default();
        for found in select(&opened.root, std::slice::from_ref(source), &filter, "RUN --mount", false)? {
            hasher.field(content::digest(&found, &filter, true, None)?.as_bytes());
        }
    }
    Ok(())
}

fn job(exec: &Exec, id: Id, base: &Layers, surroundings: &Surroundings) -> Job {
    let mut env = exec.env.clone();
    for entry in exec.proxies.iter().chain(&surroundings.env) {
        let name = entry.split_once('=').map_or(entry.as_str(), |(name, _)| name);
        env.retain(|e| e.split_once('=').is_none_or(|(n, _)| n != name));
        env.push(entry.clone());
    }
    Job {
        id,
        chain: base.chain,
        program: exec.program.clone(),
        env,
        working_dir: exec.working_dir.clone(),
        user: exec.user.clone(),
        network: exec.network.clone(),
        security: exec.security,
        mounts: surroundings.mounts.clone(),
        file_mounts: surroundings.files.clone(),
        extra_hosts: exec.extra_hosts.clone(),
        hostname: exec.hostname.clone(),
        platform: exec.platform.clone(),
        command: exec.command.clone(),
    }
}

/// What a RUN's mounts stand on, for as long as it runs.
#[derive(Default)]
struct Surroundings {
    mounts: Vec<Mount>,
    /// Targets of those that are single files.
    files: Vec<String>,
    /// Secrets that are variables, and where the agent is.
    env: Vec<String>,
    caches: Vec<InUse>,
    agents: Vec<Agent>,
    layers: Vec<Writable>,
}

impl Surroundings {
    fn prepare(&mut self, solver: &Solver, exec: &Exec, inputs: &Inputs, scratch: &Scratch) -> Result<()> {
        for (number, mount) in exec.mounts.iter().enumerate() {
            let target = &mount.target;
            match &mount.what {
                MountOp::Tmpfs { size } => self.mounts.push(tmpfs(target, *size)),
                MountOp::Cache(cache) => self.cache(solver, cache, target, inputs)?,
                MountOp::Bind { from, source, writable } => {
                    let tree = from
                        .as_ref()
                        .map_or_else(|| Tree::Layers(Arc::default()), |edge| inputs.get(edge).tree.clone());
                    self.bind(solver, &tree, source, target, *writable)?;
                }
                MountOp::Secret { id, file, env, required } => {
                    let Some(value) = solver.request.secrets.get(id) else {
                        if *required {
                            return Err(Error::Request(format!(
                                "secret {id}: not found: pass it with --secret id={id}"
                            )));
                        }
                        continue;
                    };
                    if let Some(name) = env {
                        self.env.push(format!("{name}={}", String::from_utf8_lossy(value)));
                    }
                    if let Some(bits) = file {
                        let path = scratch.secret(&format!("secret-{number}"), value, *bits)?;
                        self.file(&path, target);
                    }
                }
                MountOp::Ssh { id, bits, required } => {
                    let Some(agent) = solver.request.ssh.get(id) else {
                        if *required {
                            return Err(Error::Request(format!(
                                "ssh agent {id}: not found: pass it with --ssh {id}"
                            )));
                        }
                        continue;
                    };
                    let agent = Agent::listen(&scratch.path().join(format!("agent-{number}")), agent, *bits)?;
                    self.file(&agent.path().to_string_lossy(), target);
                    if !self.env.iter().any(|e| e.starts_with("SSH_AUTH_SOCK=")) {
                        self.env.push(format!("SSH_AUTH_SOCK={target}"));
                    }
                    self.agents.push(agent);
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, source: &str, target: &str) {
        self.mounts.push(bind(source, target, &["ro", "nosuid", "nodev", "rprivate"]));
        self.files.push(target.to_owned());
    }

    /// Part of a tree; what is written goes to a layer that is thrown away.
    fn bind(
        &mut self,
        solver: &Solver,
        tree: &Tree,
        source: &str,
        target: &str,
        writable: bool,
    ) -> Result<()> {
        let store = &solver.host.store;
        let subpath = crate::ignore::clean(source);
        let opened = Opened::tree(store, tree)?;
        let failed = |e: sys::Error| match e.errno() {
            2 | 20 => Error::Step {
                step: "failed to calculate checksum of mount source".into(),
                detail: format!("\"/{subpath}\": not found"),
            },
            _ => Error::System(e),
        };
        let found = opened.root.find(Path::new(&subpath), Follow::Yes).map_err(failed)?;
        let kind = Metadata::of(found.as_fd()).map_err(|e| sys::Error::new("stat", subpath.clone(), e))?.kind;
        if kind != Kind::Directory {
            self.files.push(target.to_owned());
        }
        drop(opened);
        let (parent, lower) = match tree {
            Tree::Layers(layers) => (layers.chain, None),
            Tree::Plain(path) => (None, Some(path)),
        };
        if let (Some(path), false) = (lower, writable) {
            let source = Root::open(path)?.canonical(Path::new(&subpath))?;
            let source = path.join(source.strip_prefix("/").unwrap_or(&source));
            self.mounts.push(bind(&source.to_string_lossy(), target, &["ro", "nosuid", "nodev", "rprivate"]));
            return Ok(());
        }
        let layer = Writable::create(store, &fresh_id(), parent.as_ref())?;
        let text = |key: &str, path: &Path| format!("{key}={}", path.display());
        let mut options = vec![if writable { "rw" } else { "ro" }.to_owned()];
        options.extend(layer.mount().lower.iter().map(PathBuf::as_path).map(|path| text("lowerdir+", path)));
        options.extend(lower.map(|path| text("lowerdir+", path)));
        options.extend([text("upperdir", &layer.mount().upper), text("workdir", &layer.mount().work)]);
        if !subpath.is_empty() {
            options.push(format!("subpath={subpath}"));
        }
        self.layers.push(layer);
        self.mounts.push(Mount {
            destination: target.to_owned(),
            r#type: "overlay".into(),
            source: "overlay".into(),
            options,
            ..Mount::default()
        });
        Ok(())
    }

    /// A directory below the cache, by id.
    fn cache(&mut self, solver: &Solver, cache: &CacheMount, target: &str, inputs: &Inputs) -> Result<()> {
        let mut hasher = Hasher::default();
        hasher.field(cache.id.as_bytes());
        let path = cache::mounts(&solver.host.cache).join(hasher.finish().hex());
        let sharing = if cache.writable { cache.sharing } else { Sharing::Shared };
        let used = solver.host.work.mount(&path, sharing, &solver.cancel)?;
        let Bits { mode, uid, gid } = cache.bits;
        if Root::open(&used.path).is_err() {
            file::create_dir_all(&used.path, 0o700)?;
            let root = Root::open(used.path.parent().unwrap_or(&used.path))?;
            let name = used.path.file_name().unwrap_or_default();
            root.top().chown(name, uid, gid)?;
            root.top().chmod(name, mode)?;
            if let Some(edge) = &cache.from {
                fill(solver, &inputs.get(edge).tree, &cache.source, &used.path)?;
            }
        }
        // When it was used last, for `builder prune`.
        if let Ok(dir) = file::open(&used.path) {
            let _ = dir.set_modified(std::time::SystemTime::now());
        }
        let access = if cache.writable { "rw" } else { "ro" };
        let options = [access, "nosuid", "nodev", "rprivate"];
        self.mounts.push(bind(&used.path.to_string_lossy(), target, &options));
        self.caches.push(used);
        Ok(())
    }
}

/// What a new cache mount begins with.
fn fill(solver: &Solver, tree: &Tree, source: &str, path: &Path) -> Result<()> {
    let opened = Opened::tree(&solver.host.store, tree)?;
    let (root, filter) = (Root::open(path)?, Filter::default());
    let plan = Plan { destination: "/".into(), into: true, owner: None, mode: None };
    for source in select(&opened.root, &[source.to_owned()], &filter, "RUN --mount", false)? {
        plan.copy(&root, &source, &filter, &opened.root)?;
    }
    Ok(())
}

fn tmpfs(target: &str, size: u64) -> Mount {
    let mut options: Vec<String> = ["nosuid", "nodev", "mode=1777"].map(Into::into).to_vec();
    if size > 0 {
        options.push(format!("size={size}"));
    }
    Mount {
        destination: target.to_owned(),
        r#type: "tmpfs".into(),
        source: "tmpfs".into(),
        options,
        ..Mount::default()
    }
}

/// `RUN |1 A=b /bin/sh -c x # buildkit`.
pub(crate) fn history(arguments: &[(String, String)], command: &str) -> String {
    if arguments.is_empty() {
        return format!("RUN {command} # buildkit");
    }
    let values: Vec<String> = arguments.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("RUN |{} {} {command} # buildkit", values.len(), values.join(" "))
}
