//! RUN as a step: surroundings, cache key, execution.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use spec::defaults::oci::bind;
use spec::oci::runtime::Mount;
use spec::{Digest, Id};
use sys::file;
use sys::root::{Follow, Kind, Metadata, Root};

use super::{Done, cached, made};
use crate::cache::{self, Cache};
use crate::copy::content;
use crate::copy::tree::{Filter, select};
use crate::error::{Error, Result};
use crate::ignore::Ignore;
use crate::instructions::Run;
use crate::instructions::run::{self, MountKind};
use crate::key::Hasher;
use crate::output::Output;
use crate::run::cancel::Cancel;
use crate::run::execute::{Job, Network, execute};
use crate::state::{PROXIES, State};
use crate::{Host, Request};

/// A RUN ready to be looked up or executed.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// What to execute.
    pub(crate) job: Job,
    /// Its cache key.
    pub(crate) key: Digest,
    /// The instruction as history has it.
    pub(crate) text: String,
}

/// Everything a RUN depends on.
pub(crate) fn prepare(
    host: &Host,
    request: &Request,
    state: &State,
    instruction: &Run,
    id: Id,
    escape: char,
    line: u32,
) -> Result<Prepared> {
    let program = instruction.program(&state.image.config.shell, escape);
    let arguments = state.effective_arguments();

    let mut env = state.image.config.env.clone();
    if state.env("PATH").is_none() {
        env.push(format!("PATH={}", spec::defaults::PATH));
    }
    env.extend(arguments.iter().map(|(name, value)| format!("{name}={value}")));
    let network = network(request, instruction)?;

    let mut hasher = Hasher::default();
    hasher.field(b"run");
    state.hash_root(&mut hasher);
    for words in [&program.arguments, &env, &request.extra_hosts] {
        hasher.number(words.len() as u64);
        for word in words {
            hasher.field(word.as_bytes());
        }
    }
    hasher.field(program.script.as_deref().unwrap_or_default().as_bytes());
    hasher.field(state.image.config.user.as_bytes()).field(state.working_dir().as_bytes());
    hasher.field(format!("{network:?}").as_bytes());

    let mut mounts = Vec::new();
    let mut file_mounts = Vec::new();
    for mount in &instruction.mounts {
        let mount = expand(state, mount, escape, line)?;
        hasher.field(format!("{mount:?}").as_bytes());
        let mounted = match mount.kind {
            MountKind::Tmpfs => tmpfs(&mount),
            MountKind::Cache => cache_mount(host, &mount)?,
            MountKind::Bind => {
                let (mounted, is_file, content) = context_mount(request, &mount)?;
                hasher.field(content.as_bytes());
                if is_file {
                    file_mounts.push(mounted.destination.clone());
                }
                mounted
            }
        };
        mounts.push(mounted);
    }

    // Not in the key, nor in history, unless an ARG declares them: a build behind a proxy shares its cache with others.
    for name in PROXIES {
        if let Some(Some(value)) = request.args.get(name)
            && !env.iter().any(|e| e.split_once('=').is_some_and(|(n, _)| n == name))
        {
            env.push(format!("{name}={value}"));
        }
    }
    let command = program.arguments.join(" ");
    let text = history(&arguments, &command);
    let job = Job {
        id,
        chain: state.chain,
        program,
        env,
        working_dir: state.working_dir().to_owned(),
        user: state.image.config.user.clone(),
        network,
        mounts,
        file_mounts,
        extra_hosts: request.extra_hosts.clone(),
        command,
    };
    Ok(Prepared { job, key: hasher.finish(), text })
}

/// Executes, unless the cache has it; `before` is called before an execution.
pub(crate) fn lookup(host: &Host, prepared: &Prepared, no_cache: bool) -> Result<Option<Done>> {
    let record = cached(host, &prepared.key, no_cache)?;
    Ok(record.map(|record| Done { record, cached: true }))
}

/// Executes and remembers.
pub(crate) fn run(host: &Host, prepared: &Prepared, output: &Output, cancel: &Cancel) -> Result<Done> {
    let record = made(execute(host, &prepared.job, output, cancel)?);
    Cache::new(&host.cache).put(&prepared.key, &record)?;
    Ok(Done { record, cached: false })
}

/// `RUN |1 A=b /bin/sh -c x # buildkit`.
fn history(arguments: &[(String, String)], command: &str) -> String {
    if arguments.is_empty() {
        return format!("RUN {command} # buildkit");
    }
    let values: Vec<String> = arguments.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("RUN |{} {} {command} # buildkit", values.len(), values.join(" "))
}

fn network(request: &Request, instruction: &Run) -> Result<Network> {
    Ok(match (instruction.network, request.network.as_str()) {
        (Some(run::Network::None), _) => Network::None,
        (Some(run::Network::Host), "host") => Network::Host,
        (Some(run::Network::Host), _) => {
            return Err(Error::Request(
                "granting entitlement network.host is not allowed by the build: build with --network=host"
                    .into(),
            ));
        }
        (Some(run::Network::Default) | None, mode) => match mode {
            "" | "default" | "bridge" => Network::Named("bridge".into()),
            "none" => Network::None,
            "host" => Network::Host,
            container if container.starts_with("container:") => {
                return Err(Error::Unsupported {
                    step: "RUN".into(),
                    what: "the network of another container".into(),
                });
            }
            name => Network::Named(name.to_owned()),
        },
    })
}

/// Replaces variables in a mount's paths.
fn expand(state: &State, mount: &run::Mount, escape: char, line: u32) -> Result<run::Mount> {
    let mut mount = mount.clone();
    for text in [&mut mount.target, &mut mount.source, &mut mount.id] {
        *text = state.expand(text, escape, line)?;
    }
    let target = crate::copy::place::destination(state.working_dir(), &mount.target).0;
    mount.target = target.to_string_lossy().into_owned();
    if mount.target == "/" {
        return Err(Error::at(line, "invalid mount target \"/\""));
    }
    Ok(mount)
}

fn tmpfs(mount: &run::Mount) -> Mount {
    let mut options: Vec<String> = ["nosuid", "nodev", "mode=1777"].map(Into::into).to_vec();
    if mount.size > 0 {
        options.push(format!("size={}", mount.size));
    }
    Mount {
        destination: mount.target.clone(),
        r#type: "tmpfs".into(),
        source: "tmpfs".into(),
        options,
        ..Mount::default()
    }
}

/// A directory below the cache, by id.
fn cache_mount(host: &Host, mount: &run::Mount) -> Result<Mount> {
    if !mount.from.is_empty() {
        return Err(Error::Unsupported { step: "RUN".into(), what: "--mount=type=cache,from=".into() });
    }
    let id = if mount.id.is_empty() { &mount.target } else { &mount.id };
    let mut hasher = Hasher::default();
    hasher.field(id.as_bytes());
    let path = cache::mounts(&host.cache).join(hasher.finish().hex());
    if Root::open(&path).is_err() {
        file::create_dir_all(&path, 0o700)?;
        let root = Root::open(path.parent().unwrap_or(&path))?;
        let name = path.file_name().unwrap_or_default();
        root.top().chown(name, mount.uid, mount.gid)?;
        root.top().chmod(name, mount.mode.unwrap_or(0o755))?;
    }
    let access = if mount.writable { "rw" } else { "ro" };
    Ok(bind(&path.to_string_lossy(), &mount.target, &[access, "nosuid", "nodev", "rprivate"]))
}

/// A part of the context, read-only, with the digest of what is in it.
fn context_mount(request: &Request, mount: &run::Mount) -> Result<(Mount, bool, Digest)> {
    let unsupported = |what: &str| Error::Unsupported { step: "RUN".into(), what: what.into() };
    if !mount.from.is_empty() {
        return Err(unsupported("--mount=type=bind,from="));
    }
    if mount.writable {
        return Err(unsupported("--mount=type=bind,rw"));
    }
    let root = Root::open(&request.context)?;
    let sources = [if mount.source.is_empty() { "." } else { &*mount.source }.to_owned()];
    let filter = Filter { ignore: Ignore::default(), exclude: Ignore::default() };
    let content = content::digest(&select(&root, &sources, &filter, "RUN")?, &filter, false)?;
    let fd = root.find(Path::new(&sources[0]), Follow::Yes)?;
    let is_file = Metadata::of(fd.as_fd()).map_err(|e| sys::Error::new("stat", sources[0].clone(), e))?.kind
        != Kind::Directory;
    // The context is a directory of the builder's own: nobody changes it between this and the mount.
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let path = std::fs::read_link(&link).map_err(|e| sys::Error::new("readlink", link, e))?;
    Ok((
        bind(&path.to_string_lossy(), &mount.target, &["ro", "nosuid", "nodev", "rprivate"]),
        is_file,
        content,
    ))
}
