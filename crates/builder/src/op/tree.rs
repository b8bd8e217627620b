//! Trees that are read: contexts, results of other vertices.

use std::path::PathBuf;
use std::sync::Arc;

use store::Store;
use sys::root::Root;

use super::fresh_id;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::graph::From;
use crate::ignore::Ignore;
use crate::solve::{Inputs, Tree};
use crate::writable::Writable;

/// An open tree. A root's layers are mounted, where nobody sees it, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Opened {
    // In this order: the mount goes before the layer it is of.
    pub(crate) root: Arc<Root>,
    /// What of it is not to be seen.
    pub(crate) ignore: Ignore,
    pub(crate) context: Option<Arc<Context>>,
    /// Files keep their owners: they are an image's rather than some user's.
    pub(crate) owned: bool,
    _layer: Option<Writable>,
    _empty: Option<Empty>,
}

impl Opened {
    /// Opens what a copy reads.
    pub(crate) fn open(store: &Store, from: &From, inputs: &Inputs) -> Result<Self> {
        match from {
            From::Context(context) => {
                let Some(root) = &context.root else {
                    return Err(Error::Request(
                        "there is no build context: only a Dockerfile was given".into(),
                    ));
                };
                let mut opened = Self::plain(root.clone(), false);
                opened.ignore = context.ignore.clone();
                opened.context = Some(context.clone());
                Ok(opened)
            }
            From::Edge(Some(edge)) => Self::tree(store, &inputs.get(edge).tree),
            From::Edge(None) => Self::tree(store, &Tree::Layers(Arc::default())),
            From::Each(_) => unreachable!("each word is opened by itself"),
        }
    }

    /// Opens what came of a vertex.
    pub(crate) fn tree(store: &Store, tree: &Tree) -> Result<Self> {
        match tree {
            Tree::Plain(path) => Ok(Self::plain(Arc::new(Root::open(path)?), true)),
            Tree::Layers(layers) if layers.chain.is_none() => {
                let empty = Empty(store.root().join("ingest").join(fresh_id().as_str()));
                sys::file::create_dir_all(&empty.0, 0o755)?;
                let mut opened = Self::plain(Arc::new(Root::open(&empty.0)?), true);
                opened._empty = Some(empty);
                Ok(opened)
            }
            Tree::Layers(layers) => {
                let layer = Writable::create(store, &fresh_id(), layers.chain.as_ref())?;
                let mut opened = Self::plain(Arc::new(layer.open()?), true);
                opened._layer = Some(layer);
                Ok(opened)
            }
        }
    }

    fn plain(root: Arc<Root>, owned: bool) -> Self {
        Self { root, ignore: Ignore::default(), context: None, owned, _layer: None, _empty: None }
    }
}

/// An empty directory. Dropped: removed.
#[derive(Debug)]
struct Empty(PathBuf);

impl Drop for Empty {
    fn drop(&mut self) {
        if let Err(error) = sys::file::remove_tree(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "an empty directory stays behind");
        }
    }
}
