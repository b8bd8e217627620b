//! What a build does, as a graph: BuildKit's vocabulary (LLB). A vertex is one operation, an edge its result.
//!
//! A vertex's digest covers its operation and those of everything below it, so two that look alike are one. It says
//! what to do, not what comes of it: that is the cache's key, made of the inputs' content when they are there.

use std::fmt::Write as _;
use std::sync::Arc;

use spec::Digest;
use spec::oci::image::{Descriptor, Platform};
use store::ChainId;

use crate::context::Context;
use crate::git::Repository;
use crate::instructions::run::{Network, Program, Security};
use crate::key::Hasher;
use crate::op::copy::Prepared;

/// The result of a vertex, wanted by another.
pub(crate) type Edge = Arc<Vertex>;

/// One operation.
#[derive(Debug)]
pub(crate) struct Vertex {
    /// Of the operation and all below it.
    pub(crate) digest: Digest,
    /// `[stage 2/5] RUN make`.
    pub(crate) name: String,
    /// What to do.
    pub(crate) op: Op,
    /// Done again even if the cache has it.
    pub(crate) no_cache: bool,
}

/// What a vertex does.
#[derive(Debug)]
pub(crate) enum Op {
    /// An image's layers, which are in the store.
    Image(Image),
    /// A file from a server.
    Http(Http),
    /// A commit's files.
    Git(Repository),
    /// A command in a container.
    Exec(Box<Exec>),
    /// Files put onto a root.
    Copy(Box<Copy>),
    /// A directory made where it is missing.
    Mkdir(Mkdir),
    /// A root with another one's layers on top.
    Merge(Merge),
    /// Everything that a root has more than another one, as one layer.
    Squash(Squash),
}

/// An image's layers.
#[derive(Debug)]
pub(crate) struct Image {
    /// As it was asked for.
    pub(crate) name: String,
    /// What the name stands for.
    pub(crate) digest: Digest,
    /// The unpacked stack.
    pub(crate) chain: Option<ChainId>,
    /// Blobs and DiffIDs, lowest first.
    pub(crate) layers: Vec<(Descriptor, Digest)>,
}

/// A download.
#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) url: String,
    /// The name it gets.
    pub(crate) name: String,
    /// What it must be.
    pub(crate) checksum: Option<Digest>,
    /// Sent as `Authorization`.
    pub(crate) authorization: Option<String>,
}

/// A command.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) base: Option<Edge>,
    pub(crate) program: Program,
    /// `NAME=value`, without what a cache key does not know.
    pub(crate) env: Vec<String>,
    /// `NAME=value` that no cache key knows: the user's proxies.
    pub(crate) proxies: Vec<String>,
    pub(crate) working_dir: String,
    /// As in USER.
    pub(crate) user: String,
    pub(crate) network: Place,
    pub(crate) security: Security,
    pub(crate) mounts: Vec<Mount>,
    /// Lines for /etc/hosts.
    pub(crate) extra_hosts: Vec<String>,
    pub(crate) hostname: String,
    pub(crate) platform: Platform,
    /// For the error when it fails.
    pub(crate) command: String,
}

/// Where a command's network is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// On a network of ours.
    Named(String),
    /// Only loopback.
    None,
    /// The host's.
    Host,
}

impl Place {
    /// RUN's own wish, or else the build's.
    pub(crate) fn of(own: Option<Network>, build: &str) -> Self {
        match (own, build) {
            (Some(Network::None), _) => Self::None,
            (Some(Network::Host), _) | (_, "host") => Self::Host,
            (_, "none") => Self::None,
            (_, "" | "default" | "bridge") => Self::Named("bridge".into()),
            (_, name) => Self::Named(name.to_owned()),
        }
    }
}

/// A mount of a command.
#[derive(Debug)]
pub(crate) struct Mount {
    /// Absolute, in the container.
    pub(crate) target: String,
    pub(crate) what: MountOp,
}

/// What is mounted.
#[derive(Debug)]
pub(crate) enum MountOp {
    /// Part of a root; writes are forgotten.
    Bind { from: Option<Edge>, source: String, writable: bool },
    /// A directory that outlives the build.
    Cache(CacheMount),
    /// Memory.
    Tmpfs { size: u64 },
    /// A file that no layer and no key knows. `None`: only the variable.
    Secret { id: String, file: Option<Bits>, env: Option<String>, required: bool },
    /// The client's ssh agent.
    Ssh { id: String, bits: Bits, required: bool },
}

/// A cache mount.
#[derive(Debug)]
pub(crate) struct CacheMount {
    pub(crate) id: String,
    /// What a new one begins with.
    pub(crate) from: Option<Edge>,
    pub(crate) source: String,
    pub(crate) writable: bool,
    pub(crate) sharing: crate::instructions::run::Sharing,
    pub(crate) bits: Bits,
}

/// Mode and owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bits {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Files put onto a root.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) base: Option<Edge>,
    pub(crate) from: From,
    pub(crate) what: Prepared,
    /// A plain tree for a mount rather than a layer.
    pub(crate) loose: bool,
}

/// Where a copy's sources are.
#[derive(Debug, Clone)]
pub(crate) enum From {
    /// In a context of the client's.
    Context(Arc<Context>),
    /// In another vertex's result; `None` is nothing at all.
    Edge(Option<Edge>),
    /// Each word of an ADD from a place of its own, in order.
    Each(Vec<From>),
}

/// A directory.
#[derive(Debug)]
pub(crate) struct Mkdir {
    pub(crate) base: Option<Edge>,
    pub(crate) path: String,
}

/// Two roots on each other.
#[derive(Debug)]
pub(crate) struct Merge {
    pub(crate) lower: Option<Edge>,
    pub(crate) upper: Edge,
}

/// Layers into one.
#[derive(Debug)]
pub(crate) struct Squash {
    pub(crate) base: Option<Edge>,
    pub(crate) top: Edge,
}

impl Vertex {
    /// An operation with its digest.
    pub(crate) fn new(name: impl Into<String>, op: Op, no_cache: bool) -> Edge {
        let mut hasher = Hasher::default();
        op.define(&mut hasher);
        Arc::new(Self { digest: hasher.finish(), name: name.into(), op, no_cache })
    }

    /// The vertices it needs first.
    pub(crate) fn inputs(&self) -> Vec<&Edge> {
        match &self.op {
            Op::Image(_) | Op::Http(_) | Op::Git(_) => Vec::new(),
            Op::Exec(exec) => {
                let mounts = exec.mounts.iter().filter_map(|mount| match &mount.what {
                    MountOp::Bind { from, .. } => from.as_ref(),
                    MountOp::Cache(cache) => cache.from.as_ref(),
                    MountOp::Tmpfs { .. } | MountOp::Secret { .. } | MountOp::Ssh { .. } => None,
                });
                exec.base.iter().chain(mounts).collect()
            }
            Op::Copy(copy) => copy.base.iter().chain(copy.from.edges()).collect(),
            Op::Mkdir(mkdir) => mkdir.base.iter().collect(),
            Op::Merge(merge) => merge.lower.iter().chain([&merge.upper]).collect(),
            Op::Squash(squash) => squash.base.iter().chain([&squash.top]).collect(),
        }
    }
}

impl From {
    fn edges(&self) -> Vec<&Edge> {
        match self {
            Self::Context(_) => Vec::new(),
            Self::Edge(edge) => edge.iter().collect(),
            Self::Each(each) => each.iter().flat_map(Self::edges).collect(),
        }
    }

    fn define(&self, hasher: &mut Hasher) {
        match self {
            Self::Context(context) => {
                hasher.field(b"context").field(context.name.as_bytes());
            }
            Self::Edge(edge) => {
                hasher.field(b"edge");
                optional(hasher, edge.as_ref());
            }
            Self::Each(each) => {
                hasher.field(b"each").number(each.len() as u64);
                each.iter().for_each(|from| from.define(hasher));
            }
        }
    }
}

/// The vertices below some, each after those that it needs.
pub(crate) fn order(targets: &[Edge]) -> Vec<Edge> {
    let mut seen = std::collections::HashSet::new();
    let mut ordered = Vec::new();
    // Depth first without recursion: chains are as long as Dockerfiles.
    let mut stack: Vec<(Edge, bool)> = targets.iter().rev().map(|edge| (edge.clone(), false)).collect();
    while let Some((edge, below_done)) = stack.pop() {
        if below_done {
            ordered.push(edge);
        } else if seen.insert(edge.digest) {
            let inputs: Vec<Edge> = edge.inputs().into_iter().cloned().collect();
            stack.push((edge, true));
            stack.extend(inputs.into_iter().rev().map(|input| (input, false)));
        }
    }
    ordered
}

fn optional(hasher: &mut Hasher, edge: Option<&Edge>) {
    match edge {
        Some(edge) => hasher.field(edge.digest.as_bytes()),
        None => hasher.field(b""),
    };
}

impl Op {
    fn define(&self, hasher: &mut Hasher) {
        match self {
            Self::Image(image) => {
                hasher.field(b"image").number(image.layers.len() as u64);
                for (_, diff_id) in &image.layers {
                    hasher.field(diff_id.as_bytes());
                }
            }
            Self::Http(http) => {
                hasher.field(b"http").field(http.url.as_bytes()).field(http.name.as_bytes());
                hasher.field(format!("{:?}", http.checksum).as_bytes());
            }
            Self::Git(repository) => repository.define(hasher),
            Self::Exec(exec) => {
                hasher.field(b"exec");
                optional(hasher, exec.base.as_ref());
                exec.define(hasher);
                for mount in &exec.mounts {
                    if let MountOp::Bind { from, .. } | MountOp::Cache(CacheMount { from, .. }) = &mount.what
                    {
                        optional(hasher, from.as_ref());
                    }
                }
            }
            Self::Copy(copy) => {
                hasher.field(b"copy").number(u64::from(copy.loose));
                optional(hasher, copy.base.as_ref());
                copy.from.define(hasher);
                copy.what.define(hasher);
            }
            Self::Mkdir(mkdir) => {
                hasher.field(b"mkdir").field(mkdir.path.as_bytes());
                optional(hasher, mkdir.base.as_ref());
            }
            Self::Merge(merge) => {
                hasher.field(b"merge");
                optional(hasher, merge.lower.as_ref());
                hasher.field(merge.upper.digest.as_bytes());
            }
            Self::Squash(squash) => {
                hasher.field(b"squash");
                optional(hasher, squash.base.as_ref());
                hasher.field(squash.top.digest.as_bytes());
            }
        }
    }
}

impl Exec {
    /// Feeds everything but its inputs.
    pub(crate) fn define(&self, hasher: &mut Hasher) {
        for words in [&self.program.arguments, &self.env, &self.extra_hosts] {
            hasher.number(words.len() as u64);
            for word in words {
                hasher.field(word.as_bytes());
            }
        }
        let mut rest = String::new();
        let _ = write!(rest, "{:?}{:?}{}{:?}", self.network, self.security, self.hostname, self.platform);
        hasher.field(self.program.script.as_deref().unwrap_or_default().as_bytes());
        hasher.field(self.user.as_bytes()).field(self.working_dir.as_bytes()).field(rest.as_bytes());
        hasher.number(self.mounts.len() as u64);
        for mount in &self.mounts {
            hasher.field(mount.target.as_bytes());
            let text = match &mount.what {
                MountOp::Bind { source, writable, .. } => format!("bind {source:?} {writable}"),
                MountOp::Cache(cache) => {
                    let CacheMount { id, source, writable, sharing, bits, .. } = cache;
                    format!("cache {id:?} {source:?} {writable} {sharing:?} {bits:?}")
                }
                MountOp::Tmpfs { size } => format!("tmpfs {size}"),
                MountOp::Secret { id, file, env, .. } => format!("secret {id:?} {file:?} {env:?}"),
                MountOp::Ssh { id, bits, .. } => format!("ssh {id:?} {bits:?}"),
            };
            hasher.field(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mkdir(base: Option<&Edge>, path: &str) -> Edge {
        let op = Op::Mkdir(Mkdir { base: base.cloned(), path: path.into() });
        Vertex::new(path, op, false)
    }

    #[test]
    fn alike_is_one_and_inputs_come_first() {
        let (a, again, other) = (mkdir(None, "/a"), mkdir(None, "/a"), mkdir(None, "/b"));
        assert!(a.digest == again.digest && a.digest != other.digest);
        let merged = Vertex::new(
            "m",
            Op::Merge(Merge { lower: Some(a.clone()), upper: mkdir(Some(&again), "/c") }),
            false,
        );
        let names: Vec<String> = order(&[merged, other]).iter().map(|v| v.name.clone()).collect();
        assert_eq!(names, ["/a", "/c", "m", "/b"]);
    }
}
