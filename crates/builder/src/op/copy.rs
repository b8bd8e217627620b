//! COPY and ADD as steps: words, sources, cache, layer.

use std::path::PathBuf;
use std::sync::Arc;

use spec::Digest;

use super::tree::Opened;
use super::{blocking, cached, fresh_id, key, made, on, once};
use crate::cache::{self, Cache, Record};
use crate::copy::mode::Mode;
use crate::copy::place::{Plan, destination};
use crate::copy::tree::{Filter, Source, select};
use crate::copy::{content, owner};
use crate::error::{Error, Result};
use crate::graph::{self, Edge, From, Op};
use crate::ignore::Ignore;
use crate::instructions::Copy;
use crate::key::Hasher;
use crate::remote::is_remote;
use crate::solve::{Inputs, Layers, Solved, Solver, Tree};
use crate::state::State;
use crate::words;
use crate::writable::Writable;

/// A COPY or ADD with its variables replaced.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prepared {
    /// COPY or ADD.
    verb: &'static str,
    pub(crate) sources: Vec<Word>,
    /// Name and content.
    files: Vec<(String, Vec<u8>)>,
    pub(crate) destination: PathBuf,
    into: bool,
    pub(crate) chown: Option<String>,
    mode: Option<Mode>,
    exclude: Ignore,
    excludes: Vec<String>,
    parents: bool,
    /// The instruction as history has it.
    pub(crate) text: String,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// As it is looked for in its tree.
    pub(crate) path: String,
    /// An archive is unpacked.
    pub(crate) unpack: bool,
}

/// A mount's target as an absolute path.
pub(crate) fn target(working_dir: &str, text: &str) -> String {
    destination(working_dir, text).0.to_string_lossy().into_owned()
}

/// Replaces variables and checks what can be checked before the sources are known.
pub(crate) fn prepare(state: &State, copy: &Copy, add: bool, escape: char, line: u32) -> Result<Prepared> {
    let verb = if add { "ADD" } else { "COPY" };
    let expand = |text: &String| state.expand(text, escape, line);
    let words: Vec<String> = copy.sources.iter().map(expand).collect::<Result<_>>()?;
    if !add && words.iter().any(|word| is_remote(word)) {
        return Err(Error::at(line, "source can't be a URL for COPY"));
    }
    let sources = words
        .iter()
        .map(|word| {
            let unpack = add && copy.unpack.unwrap_or(!is_remote(word));
            Word { path: word.clone(), unpack }
        })
        .collect();
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
    if words.len() + files.len() > 1 && !into {
        let detail = format!(
            "When using {verb} with more than one source file, the destination must be a directory and end with a /"
        );
        return Err(Error::at(line, detail));
    }
    let chown = copy.chown.as_ref().map(expand).transpose()?;
    let bits = copy.chmod.as_ref().map(expand).transpose()?;
    let mode = match &bits {
        None => None,
        Some(text) => Some(Mode::parse(text).ok_or_else(|| {
            Error::at(
                line,
                format!(
                    "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777, or symbolic (u=rwX,go=rX)"
                ),
            )
        })?),
    };
    let excludes: Vec<String> = copy.exclude.iter().map(expand).collect::<Result<_>>()?;

    let mut text = verb.to_owned();
    // Without --from: its name means nothing outside of this Dockerfile.
    for (flag, value) in [("chown", &chown), ("chmod", &bits)] {
        if let Some(value) = value {
            text.push_str(&format!(" --{flag}={value}"));
        }
    }
    for word in words.iter().cloned().chain(files.iter().map(|(name, _)| format!("<<{name}"))) {
        text.push(' ');
        text.push_str(&word);
    }
    text.push_str(&format!(" {target} # buildkit"));
    Ok(Prepared {
        verb,
        sources,
        files,
        destination: path,
        into: into || copy.parents,
        chown,
        mode,
        exclude: Ignore::new(excludes.iter().map(String::as_str))?,
        excludes,
        parents: copy.parents,
        text,
    })
}

impl Prepared {
    /// Part of a context as it is, for a mount.
    pub(crate) fn loose(source: &str) -> Self {
        Self {
            verb: "RUN --mount",
            sources: vec![Word { path: source.to_owned(), unpack: false }],
            destination: "/".into(),
            into: true,
            parents: true,
            text: format!("mount {source}"),
            ..Self::default()
        }
    }

    /// A context as a root.
    pub(crate) fn whole() -> Self {
        Self {
            verb: "FROM",
            sources: vec![Word { path: ".".into(), unpack: false }],
            destination: "/".into(),
            into: true,
            text: "context".into(),
            ..Self::default()
        }
    }

    /// Whether the destination is a directory that the sources go into.
    pub(crate) fn is_into(&self) -> bool {
        self.into
    }

    /// Feeds everything but the sources' content.
    pub(crate) fn define(&self, hasher: &mut Hasher) {
        hasher.field(self.text.as_bytes());
        hasher.field(self.destination.as_os_str().as_encoded_bytes()).number(u64::from(self.parents));
        for word in &self.sources {
            hasher.field(word.path.as_bytes()).number(u64::from(word.unpack));
        }
        for exclude in &self.excludes {
            hasher.field(b"exclude").field(exclude.as_bytes());
        }
        for (name, content) in &self.files {
            hasher.field(name.as_bytes()).field(content);
        }
    }

    fn filter(&self, opened: &Opened) -> Filter {
        Filter { ignore: opened.ignore.clone(), exclude: self.exclude.clone() }
    }

    /// The sources in their trees, each with the filter that applies there.
    fn select(&self, trees: &[Opened]) -> Result<Vec<Selected>> {
        let mut selected = Vec::new();
        for (number, word) in self.sources.iter().enumerate() {
            let tree = if trees.len() == 1 { 0 } else { number };
            let filter = self.filter(&trees[tree]);
            let found = select(
                &trees[tree].root,
                std::slice::from_ref(&word.path),
                &filter,
                self.verb,
                self.parents,
            )?;
            selected.extend(found.into_iter().map(|source| Selected { source, tree, unpack: word.unpack }));
        }
        if selected.len() + self.files.len() > 1 && !self.into {
            return Err(Error::Step {
                step: format!("{} failed", self.verb),
                detail: "when using wildcards to copy more than one file, the destination must be a directory and end with a /".into(),
            });
        }
        Ok(selected)
    }

    /// The digest of what would be copied.
    fn content(&self, trees: &[Opened]) -> Result<(Vec<Selected>, Digest)> {
        let selected = self.select(trees)?;
        let mut hasher = Hasher::default();
        for one in &selected {
            let opened = &trees[one.tree];
            let owners = opened.owned && self.chown.is_none();
            let filter = self.filter(opened);
            let digest = match &opened.context {
                Some(context) => {
                    context.with_index(|index| content::digest(&one.source, &filter, owners, index))?
                }
                None => content::digest(&one.source, &filter, owners, None)?,
            };
            hasher.field(digest.as_bytes());
        }
        Ok((selected, hasher.finish()))
    }
}

/// A source, where it is, and how it is taken.
struct Selected {
    source: Source,
    tree: usize,
    unpack: bool,
}

/// Copies, unless the cache has it.
pub(crate) async fn solve(solver: &Arc<Solver>, vertex: &Edge, inputs: Arc<Inputs>) -> Result<Solved> {
    let base = inputs.layers(copy(vertex).base.as_ref());
    // Sources that have an identity need not be read to be told apart.
    let definition = copy(vertex).from.identity(&inputs).map(|identity| {
        let mut hasher = key(solver, "copy definition", &base);
        copy(vertex).what.define(&mut hasher);
        hasher.field(identity.as_bytes()).number(u64::from(copy(vertex).loose));
        hasher.finish()
    });
    if let Some(key) = definition {
        let (this, vertex) = (solver.clone(), vertex.clone());
        if let Some(record) = blocking(move || cached(&this, &vertex, &key)).await? {
            return Ok(solved(&solver.host.cache, &base, record, true));
        }
    }
    let read = {
        let (solver, vertex, inputs, base) = (solver.clone(), vertex.clone(), inputs.clone(), base.clone());
        blocking(move || {
            let trees = open(&solver, &vertex, &inputs)?;
            let (_, content) = copy(&vertex).what.content(&trees)?;
            let mut hasher = key(&solver, "copy content", &base);
            copy(&vertex).what.define(&mut hasher);
            hasher.field(content.as_bytes()).number(u64::from(copy(&vertex).loose));
            Ok((trees, content, hasher.finish()))
        })
        .await?
    };
    let (trees, content, content_key) = read;
    let root = base.clone();
    let (record, found) = once(solver, vertex, content_key, base.chain, move |solver, vertex| {
        let what = &copy(vertex).what;
        if copy(vertex).loose {
            let path = cache::trees(&solver.host.cache).join(content_key.hex());
            let unfinished = path.with_extension("part");
            sys::file::remove_tree(&unfinished)?;
            sys::file::create_dir_all(&unfinished, 0o755)?;
            place(&sys::root::Root::open(&unfinished)?, what, &trees)?;
            sys::file::remove_tree(&path)?;
            sys::file::rename(&unfinished, &path)?;
            let tree = Some(format!("trees/{}", content_key.hex()));
            return Ok(Record { tree, ..made(None) });
        }
        let layer = Writable::create(&solver.host.store, &fresh_id(), root.chain.as_ref())?;
        place(&layer.open()?, what, &trees)?;
        if trees.iter().any(|tree| tree.context.as_ref().is_some_and(|context| context.is_shared()))
            && what.content(&trees)?.1 != content
        {
            return Err(Error::Step {
                step: format!("{} failed", what.verb),
                detail: "the context was changed while it was copied: build again when nothing writes to it"
                    .into(),
            });
        }
        solver.cancel.check()?;
        Ok(made(layer.commit(solver.epoch)?))
    })
    .await?;
    if let Some(key) = definition {
        let (cache, record) = (Cache::new(&solver.host.cache), record.clone());
        blocking(move || cache.put(&key, &record)).await?;
    }
    Ok(solved(&solver.host.cache, &base, record, found))
}

fn solved(cache: &std::path::Path, base: &Layers, record: Record, found: bool) -> Solved {
    match &record.tree {
        Some(tree) => Solved { tree: Tree::Plain(cache.join(tree)), record, cached: found },
        None => on(base, record, found),
    }
}

fn copy(vertex: &Edge) -> &graph::Copy {
    match &vertex.op {
        Op::Copy(copy) => copy,
        _ => unreachable!("the solver looks at the operation"),
    }
}

/// The trees of a copy: one for all its words, or one for each.
fn open(solver: &Solver, vertex: &Edge, inputs: &Inputs) -> Result<Vec<Opened>> {
    let store = &solver.host.store;
    match &copy(vertex).from {
        From::Each(each) => each.iter().map(|from| Opened::open(store, from, inputs)).collect(),
        // A copy of nothing but the Dockerfile's own files reads nothing.
        _ if copy(vertex).what.sources.is_empty() => Ok(Vec::new()),
        from => Ok(vec![Opened::open(store, from, inputs)?]),
    }
}

impl From {
    /// The content's identity, if it has one without being read.
    fn identity(&self, inputs: &Inputs) -> Option<String> {
        match self {
            Self::Context(_) => None,
            Self::Edge(None) => Some("nothing".into()),
            Self::Edge(Some(edge)) => match &inputs.get(edge).tree {
                Tree::Layers(layers) => {
                    Some(layers.chain.map_or_else(|| "nothing".into(), |chain| chain.to_string()))
                }
                Tree::Plain(path) => Some(path.display().to_string()),
            },
            Self::Each(each) => {
                let all: Option<Vec<String>> = each.iter().map(|from| from.identity(inputs)).collect();
                all.map(|all| all.join(" "))
            }
        }
    }
}

/// Puts everything into a root.
fn place(root: &sys::root::Root, what: &Prepared, trees: &[Opened]) -> Result<()> {
    let given = what.chown.as_ref().map(|text| owner::resolve(root, text)).transpose()?;
    let selected = what.select(trees)?;
    let plan = |owner| Plan {
        destination: what.destination.clone(),
        into: what.into,
        owner,
        mode: what.mode.clone(),
    };
    for one in &selected {
        let opened = &trees[one.tree];
        let owner = given.or_else(|| (!opened.owned).then_some((0, 0)));
        // An archive's entries say whose they are.
        if one.unpack && plan(given).unpack(root, &one.source)? {
            continue;
        }
        plan(owner).copy(root, &one.source, &what.filter(opened), &opened.root)?;
    }
    for (name, content) in &what.files {
        plan(given.or(Some((0, 0)))).write(root, name, content)?;
    }
    Ok(())
}
