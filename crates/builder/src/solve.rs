//! The graph is worked off: each vertex as soon as its inputs are there, none twice.
//!
//! A vertex is looked up by the key of its operation and its inputs' content; only what no key knows is done. The first
//! failure ends everything that runs; what is done by then stays in the cache.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use spec::Digest;
use spec::api::BuildEvent;
use spec::oci::image::Descriptor;
use store::ChainId;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cache::{Layer, Record};
use crate::error::{Error, Result};
use crate::graph::{Edge, Op, Vertex, order};
use crate::op::{self, blocking};
use crate::output::Output;
use crate::run::cancel::Cancel;
use crate::share::Imported;
use crate::{Host, Request};

/// What came of a vertex.
#[derive(Debug, Clone)]
pub(crate) struct Solved {
    /// Its files.
    pub(crate) tree: Tree,
    /// When it was made, and the layer that it added.
    pub(crate) record: Record,
    /// Made earlier.
    pub(crate) cached: bool,
}

/// Files that came of a vertex.
#[derive(Debug, Clone)]
pub(crate) enum Tree {
    /// A stack of layers.
    Layers(Arc<Layers>),
    /// A directory in the cache.
    Plain(std::path::PathBuf),
}

/// A stack of layers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layers {
    /// Unpacked; `None` is nothing.
    pub(crate) chain: Option<ChainId>,
    /// Blobs and DiffIDs, lowest first.
    pub(crate) all: Vec<(Descriptor, Digest)>,
}

impl Layers {
    /// With one more on top, if there is one.
    pub(crate) fn with(&self, layer: Option<&Layer>) -> Self {
        let mut layers = self.clone();
        if let Some(layer) = layer {
            layers.chain = Some(layer.chain);
            layers.all.push((layer.blob.clone(), layer.diff_id));
        }
        layers
    }
}

impl Solved {
    /// Its layers; a plain tree has none.
    pub(crate) fn layers(&self) -> Arc<Layers> {
        match &self.tree {
            Tree::Layers(layers) => layers.clone(),
            Tree::Plain(_) => Arc::default(),
        }
    }
}

/// A build's surroundings, shared by the threads that work for it.
#[derive(Debug)]
pub(crate) struct Solver {
    pub(crate) host: Host,
    pub(crate) request: Arc<Request>,
    pub(crate) output: Output,
    pub(crate) cancel: Arc<Cancel>,
    /// No layer's file is younger: `SOURCE_DATE_EPOCH`.
    pub(crate) epoch: Option<i64>,
    /// What other machines have made.
    pub(crate) imported: Imported,
    /// What this build made and found, for other machines.
    noted: Mutex<HashMap<Digest, Record>>,
    cells: Mutex<HashMap<Digest, watch::Receiver<Option<Solved>>>>,
    /// Of vertices that nobody works on yet.
    senders: Mutex<HashMap<Digest, watch::Sender<Option<Solved>>>>,
    failure: Mutex<Option<(Digest, Error)>>,
    /// Steps of the configuration alone: when they were done, and whether that was earlier.
    settled: Mutex<HashMap<Digest, (String, bool)>>,
    /// Keeps what was found from the collector, until the last thread has ended.
    _lease: store::Lease,
}

impl Solver {
    pub(crate) fn new(
        host: Host,
        request: Arc<Request>,
        output: Output,
        cancel: Arc<Cancel>,
        epoch: Option<i64>,
        imported: Imported,
        lease: store::Lease,
    ) -> Self {
        Self {
            host,
            request,
            output,
            cancel,
            epoch,
            imported,
            noted: Mutex::default(),
            cells: Mutex::default(),
            senders: Mutex::default(),
            failure: Mutex::default(),
            settled: Mutex::default(),
            _lease: lease,
        }
    }

    /// Takes the vertices below `targets` on, in an order in which each comes after those that it needs: from now on
    /// they can be waited for.
    pub(crate) fn take(&self, targets: &[Edge]) -> Vec<Edge> {
        let ordered = order(targets);
        for vertex in &ordered {
            let (sender, receiver) = watch::channel(None);
            self.cells().insert(vertex.digest, receiver);
            self.senders().insert(vertex.digest, sender);
        }
        ordered
    }

    /// Works off everything below `targets`. When it returns, nothing runs any more.
    /// A failure comes with the vertex that it happened to.
    pub(crate) async fn solve(
        self: &Arc<Self>,
        ordered: Vec<Edge>,
    ) -> std::result::Result<(), (Option<Digest>, Error)> {
        for vertex in &ordered {
            self.announce(vertex).await.map_err(|error| (None, error))?;
        }
        let mut tasks = JoinSet::new();
        for vertex in ordered {
            let sender = self.senders().remove(&vertex.digest);
            let (solver, Some(sender)) = (self.clone(), sender) else { continue };
            tasks.spawn(async move { solver.vertex(&vertex, sender).await });
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some((vertex, error)) => Err((Some(vertex), error)),
            None => Ok(()),
        }
    }

    async fn announce(&self, vertex: &Vertex) -> Result<()> {
        let inputs = vertex.inputs().iter().map(|input| input.digest.to_string()).collect();
        let event = BuildEvent {
            vertex: vertex.digest.to_string(),
            name: vertex.name.clone(),
            inputs,
            ..BuildEvent::default()
        };
        self.output.event(event).await
    }

    /// What came of an edge that is below the targets; `None` when it, or what it needs, failed.
    pub(crate) async fn get(&self, edge: &Edge) -> Option<Solved> {
        let mut cell = self.cells().get(&edge.digest).cloned()?;
        let solved = cell.wait_for(Option::is_some).await.ok()?;
        solved.clone()
    }

    /// The layers of a root.
    pub(crate) async fn root(&self, edge: Option<&Edge>) -> Option<Arc<Layers>> {
        match edge {
            None => Some(Arc::default()),
            Some(edge) => self.get(edge).await.map(|solved| solved.layers()),
        }
    }

    /// Takes note of what belongs to a key.
    pub(crate) fn note(&self, key: Digest, record: &Record) {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).insert(key, record.clone());
    }

    /// All that was noted.
    pub(crate) fn noted(&self) -> Vec<(Digest, Record)> {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.iter().map(|(key, record)| (*key, record.clone())).collect()
    }

    /// What is known of a step of the configuration.
    pub(crate) fn settled(&self, key: &Digest) -> Option<(String, bool)> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Remembers it; the first to say so is right.
    pub(crate) fn settle(&self, key: Digest, value: (String, bool)) -> (String, bool) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(value).clone()
    }

    fn cells(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, watch::Receiver<Option<Solved>>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn senders(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, watch::Sender<Option<Solved>>>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One vertex from its inputs to its result. A sender that is dropped tells who waits that there will be none.
    async fn vertex(self: &Arc<Self>, vertex: &Edge, sender: watch::Sender<Option<Solved>>) {
        let mut inputs = Inputs::default();
        for input in vertex.inputs() {
            match self.get(input).await {
                Some(solved) => inputs.0.insert(input.digest, solved),
                None => return self.output.skipped(vertex),
            };
        }
        let worked = match self.cancel.check() {
            Ok(()) => self.work(vertex, Arc::new(inputs)).await,
            Err(error) => Err(error),
        };
        let said = match worked {
            Ok(solved) => {
                let said = self.output.done(vertex, solved.cached).await;
                // Somebody or nobody waits for it.
                let _ = sender.send(Some(solved));
                said
            }
            Err(error) => self.fail(vertex, error).await,
        };
        if said.is_err() {
            self.cancel.cancel();
        }
    }

    async fn fail(&self, vertex: &Vertex, error: Error) -> Result<()> {
        let said = self.output.failed(vertex, &error).await;
        {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            if failure.is_none() {
                *failure = Some((vertex.digest, error));
            }
        }
        let cancel = self.cancel.clone();
        // Ending containers blocks.
        blocking(move || {
            cancel.cancel();
            Ok(())
        })
        .await?;
        said
    }

    async fn work(self: &Arc<Self>, vertex: &Edge, inputs: Arc<Inputs>) -> Result<Solved> {
        match &vertex.op {
            Op::Image(image) => Ok(Solved {
                tree: Tree::Layers(Arc::new(Layers { chain: image.chain, all: image.layers.clone() })),
                record: Record::default(),
                cached: true,
            }),
            // Boxed: together they would fill the stack of a thread.
            Op::Http(_) => Box::pin(op::http::solve(self, vertex)).await,
            Op::Git(_) => Box::pin(op::git::solve(self, vertex)).await,
            Op::Exec(_) => Box::pin(op::run::solve(self, vertex, inputs)).await,
            Op::Copy(_) => Box::pin(op::copy::solve(self, vertex, inputs)).await,
            Op::Mkdir(_) => Box::pin(op::workdir::solve(self, vertex, inputs)).await,
            Op::Merge(_) => Box::pin(op::merge::solve(self, vertex, inputs)).await,
            Op::Squash(_) => Box::pin(op::squash::solve(self, vertex, inputs)).await,
        }
    }
}

/// What came of a vertex's inputs.
#[derive(Debug, Default)]
pub(crate) struct Inputs(HashMap<Digest, Solved>);

impl Inputs {
    /// One of them.
    pub(crate) fn get(&self, edge: &Edge) -> &Solved {
        self.0.get(&edge.digest).expect("a vertex is worked on when all its inputs are there")
    }

    /// The layers of a root; none for nothing.
    pub(crate) fn layers(&self, edge: Option<&Edge>) -> Arc<Layers> {
        edge.map(|edge| self.get(edge).layers()).unwrap_or_default()
    }
}
