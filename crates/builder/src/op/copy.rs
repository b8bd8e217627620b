//! COPY and ADD as steps: words, sources, cache, layer.

use std::path::PathBuf;

use spec::Digest;
use store::Store;
use sys::root::Root;

use super::{Done, cached, fresh_id, made};
use crate::Host;
use crate::cache::Cache;
use crate::copy::place::{Plan, destination, mode};
use crate::copy::tree::{Filter, Source, select};
use crate::copy::{content, owner};
use crate::error::{Error, Result};
use crate::ignore::Ignore;
use crate::instructions::Copy;
use crate::key::Hasher;
use crate::state::State;
use crate::words;
use crate::writable::Writable;

/// Where the sources are.
#[derive(Debug, Clone)]
pub(crate) enum From {
    /// The context, as far as .dockerignore shows it.
    Context(PathBuf, Ignore),
    /// A stage's or an image's root.
    Root(Box<State>),
}

/// A COPY or ADD with its variables replaced.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// COPY or ADD.
    verb: &'static str,
    sources: Vec<String>,
    /// Name and content.
    files: Vec<(String, Vec<u8>)>,
    destination: PathBuf,
    into: bool,
    chown: Option<String>,
    mode: Option<u32>,
    exclude: Ignore,
    unpack: bool,
    /// The instruction as history has it.
    pub(crate) text: String,
}

/// Replaces variables and checks what can be checked before the sources are known.
pub(crate) fn prepare(state: &State, copy: &Copy, add: bool, escape: char, line: u32) -> Result<Prepared> {
    let verb = if add { "ADD" } else { "COPY" };
    let expand = |text: &String| state.expand(text, escape, line);
    let sources: Vec<String> = copy.sources.iter().map(expand).collect::<Result<_>>()?;
    for source in &sources {
        let remote =
            ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|p| source.starts_with(p));
        if remote && add {
            let step = format!("ADD {source}");
            return Err(Error::Unsupported { step, what: "ADD from a URL or a git repository".into() });
        }
        if remote {
            return Err(Error::at(line, "source can't be a URL for COPY"));
        }
    }
    let mut files = Vec::new();
    for file in &copy.files {
        let mut text = file.text();
        if file.expand {
            text = words::expand_raw(&text, escape, &|name: &str| state.variable(name))
                .map_err(|e| Error::at(line, e))?;
        }
        files.push((file.name.clone(), text.into_bytes()));
    }
    let target = expand(&copy.destination)?;
    let (path, into) = destination(state.working_dir(), &target);
    if sources.len() + files.len() > 1 && !into {
        let detail = format!(
            "When using {verb} with more than one source file, the destination must be a directory and end with a /"
        );
        return Err(Error::at(line, detail));
    }
    let chown = copy.chown.as_ref().map(expand).transpose()?;
    let bits = copy.chmod.as_ref().map(expand).transpose()?;
    let mode = match &bits {
        None => None,
        Some(text) => Some(mode(text).ok_or_else(|| {
            Error::at(
                line,
                format!(
                    "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
                ),
            )
        })?),
    };
    let exclude: Vec<String> = copy.exclude.iter().map(expand).collect::<Result<_>>()?;

    let mut text = verb.to_owned();
    // Without --from: its name means nothing outside of this Dockerfile.
    for (flag, value) in [("chown", &chown), ("chmod", &bits)] {
        if let Some(value) = value {
            text.push_str(&format!(" --{flag}={value}"));
        }
    }
    for word in sources.iter().cloned().chain(files.iter().map(|(name, _)| format!("<<{name}"))) {
        text.push(' ');
        text.push_str(&word);
    }
    text.push_str(&format!(" {target} # buildkit"));
    Ok(Prepared {
        verb,
        sources,
        files,
        destination: path,
        into,
        chown,
        mode,
        exclude: Ignore::new(exclude.iter().map(String::as_str))?,
        unpack: add && copy.unpack.unwrap_or(true),
        text,
    })
}

impl Prepared {
    /// What does not need the sources.
    fn hasher(&self, state: &State) -> Hasher {
        let mut hasher = Hasher::default();
        hasher.field(b"copy");
        state.hash_root(&mut hasher);
        hasher.field(self.text.as_bytes());
        hasher.field(self.destination.as_os_str().as_encoded_bytes()).number(u64::from(self.unpack));
        for (name, content) in &self.files {
            hasher.field(name.as_bytes()).field(content);
        }
        hasher
    }

    /// The key when the sources are in a root that has an identity: no file needs to be read.
    fn definition(&self, state: &State, from: &State, excludes: &str) -> Digest {
        let mut hasher = self.hasher(state);
        hasher.field(b"definition").field(excludes.as_bytes());
        from.hash_root(&mut hasher);
        hasher.finish()
    }
}

/// Copies, unless the cache has it.
pub(crate) fn copy(
    host: &Host,
    state: &State,
    prepared: &Prepared,
    from: &From,
    no_cache: bool,
) -> Result<Done> {
    let cache = Cache::new(&host.cache);
    let mut keys = Vec::new();
    if let From::Root(root) = from {
        let key = prepared.definition(state, root, &format!("{:?}", prepared.exclude));
        if let Some(record) = cached(host, &key, no_cache)? {
            return Ok(Done { record, cached: true });
        }
        keys.push(key);
    }
    let tree = Tree::open(&host.store, from)?;
    let filter = Filter {
        ignore: match from {
            From::Context(_, ignore) => ignore.clone(),
            From::Root(_) => Ignore::default(),
        },
        exclude: prepared.exclude.clone(),
    };
    let sources = select(&tree.root, &prepared.sources, &filter, prepared.verb)?;
    if sources.len() + prepared.files.len() > 1 && !prepared.into {
        return Err(Error::Step {
            step: format!("{} failed", prepared.verb),
            detail: "when using wildcards to copy more than one file, the destination must be a directory and end with a /".into(),
        });
    }
    let keeps_owners = matches!(from, From::Root(_)) && prepared.chown.is_none();
    let mut hasher = prepared.hasher(state);
    hasher.field(b"content").field(content::digest(&sources, &filter, keeps_owners)?.as_bytes());
    keys.push(hasher.finish());

    let content_key = keys.last().expect("just pushed");
    let (record, cached) = match cached(host, content_key, no_cache)? {
        Some(record) => (record, true),
        None => {
            let layer = Writable::create(&host.store, &fresh_id(), state.chain.as_ref())?;
            place(&layer, prepared, &sources, &filter, keeps_owners)?;
            (made(layer.commit()?), false)
        }
    };
    for key in &keys {
        cache.put(key, &record)?;
    }
    Ok(Done { record, cached })
}

/// Puts everything into the layer; it is not mounted any more afterwards.
fn place(
    layer: &Writable,
    prepared: &Prepared,
    sources: &[Source],
    filter: &Filter,
    keeps_owners: bool,
) -> Result<()> {
    let root = layer.open()?;
    let owner = match &prepared.chown {
        Some(text) => Some(owner::resolve(&root, text)?),
        None if keeps_owners => None,
        None => Some((0, 0)),
    };
    let plan =
        Plan { destination: prepared.destination.clone(), into: prepared.into, owner, mode: prepared.mode };
    for source in sources {
        // An archive's entries say whose they are.
        let archive = Plan { owner: owner.filter(|_| prepared.chown.is_some()), ..plan.clone() };
        if !(prepared.unpack && archive.unpack(&root, source)?) {
            plan.copy(&root, source, filter)?;
        }
    }
    for (name, content) in &prepared.files {
        plan.write(&root, name, content)?;
    }
    Ok(())
}

/// An open tree of sources. A stage's is mounted for as long as this lives.
pub(crate) struct Tree {
    // In this order: the mount goes before the layer it is of.
    pub(crate) root: Root,
    _layer: Option<Writable>,
}

impl Tree {
    /// Opens it.
    pub(crate) fn open(store: &Store, from: &From) -> Result<Self> {
        match from {
            From::Context(path, _) => Ok(Self { root: Root::open(path)?, _layer: None }),
            From::Root(state) => {
                let layer = Writable::create(store, &fresh_id(), state.chain.as_ref())?;
                Ok(Self { root: layer.open()?, _layer: Some(layer) })
            }
        }
    }
}
