//! What is on disk: blobs by digest, unpacked layers, writable layers, image names, leases.
//!
//! ```text
//! <root>/layout                     "1"; a newer number is refused. Locked by the process that has the store open
//!        boot                       the machine's boot in which the store was opened last
//!        blobs/sha256/<hex>         immutable: manifests, configs, compressed layers
//!        ingest/                    blobs being written, trees being removed; what a download that broke off has left (`ingest`);
//!                                   the rest goes when the store is opened
//!        fresh/<part>/              writable layers being made, or made beforehand; they go when the store is opened
//!        layers/<chain id>/{diff/,meta.json,synced}
//!        rw/<id>/{diff/,work/,meta.json}
//!        images.json                name → target; the root set, one atomic file
//! ```
//!
//! | room | what is in it |
//! |---|---|
//! | `blob` | blobs and their writer |
//! | `ingest` | blobs that arrive piece by piece, and may go on another day |
//! | `layer` | unpacked layers, chain ids |
//! | `rw`, `changes` | writable layers: make, mount, diff, commit; what is in them |
//! | `names`, `origin` | image names: tag, untag, resolve; where images are from |
//! | `image` | from a target to a platform's manifest and configuration, and back |
//! | `member` | all manifests behind a target, and what of them is here |
//! | `explore` | what each layer of an image does, and wastes |
//! | `import`, `load`, `save` | images from and to archives |
//! | `unpack` | images to layers, on all processors |
//! | [`archive`] | tar: read, write, unpack, pack |
//! | `compression`, `gzip`, `hash`, `repack` | streams inflated, deflated and hashed on the way |
//! | `settle` | layers that are on the disk, and what becomes of the others after a power cut |
//! | `lease`, `collect`, `usage` | what is held, what is garbage, what takes space |
//!
//! Leaves first, root last: blob → layer → images.json; removing is the reverse. Everything is written in `ingest/` and
//! renamed into place, so a crash leaves only garbage, and [`Store::collect`] marks from the roots and sweeps.
//!
//! **Locks.** Readers of names share an `Arc`. One read-write lock orders the collector against everybody: writers hold
//! it shared for a rename and a note, the collector alone while it marks and sweeps. It is never held over large I/O.

#![deny(missing_docs)]

pub mod archive;
mod blob;
mod changes;
mod collect;
mod compression;
mod error;
mod explore;
mod gzip;
mod hash;
mod image;
mod import;
mod ingest;
mod layer;
mod lease;
mod load;
mod member;
mod names;
mod origin;
mod repack;
mod rw;
mod save;
mod settle;
mod unpack;
mod usage;

use std::collections::{HashMap, HashSet};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use sys::file::{self, Durability};

pub use blob::BlobWriter;
pub use changes::{Change, ChangeKind, Judge};
pub use collect::Needed;
pub use compression::{Compression, inflate};
pub use error::Error;
pub use explore::{Explored, Tally, Waste};
pub use image::Image;
pub use ingest::Partial;
pub use layer::{Aside, ChainId};
pub use lease::Lease;
pub use load::Loaded;
pub use member::{Member, MemberKind};
pub use names::ImageRecord;
pub use origin::{Build, Origin, Signature};
pub use repack::Packing;
pub use rw::{Committed, RwMount, RwOptions};
pub use settle::Repaired;
pub use unpack::{Step, on_all_processors};
pub use usage::Space;

use error::Result;
use ingest::Arriving;
use layer::{LayerMeta, Scratch, Turns};
use lease::Holds;
use names::Names;

/// The layout that this program reads and writes.
const LAYOUT: &str = "1";

/// The store: cheap to clone, safe to share between threads.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// `layout`, locked (flock(2)) for as long as the store is open: two processes must not collect past each other.
    _owner: File,
    names: RwLock<Arc<Names>>,
    /// One change of the names at a time.
    naming: Mutex<()>,
    /// Shared by writers, exclusive to the collector.
    sweep: RwLock<()>,
    holds: Mutex<Holds>,
    unpacking: Turns,
    arriving: Arriving,
    /// Writable layers made beforehand.
    ready: Mutex<Vec<Scratch>>,
    /// What the names of the parts begin with that they are made in.
    parts: String,
    /// How many writable layers were begun.
    begun: AtomicUsize,
    /// Layers that got their places lately and may not be on the disk; `None` before it was looked at.
    unsettled: Mutex<Option<HashSet<ChainId>>>,
    /// Records of layers, which never change.
    layers: Mutex<HashMap<ChainId, LayerMeta>>,
}

impl Store {
    /// Opens the store under `root`, making it when it is not there. What a crash left half written is removed.
    ///
    /// # Errors
    /// A newer layout, a store that another process has open, or a file error.
    pub fn open(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).map_err(blob::io_error("resolve", root))?;
        file::create_dir_all(&root, 0o711)?;
        let layout = root.join("layout");
        match file::read_if_exists(&layout)? {
            None => file::write_atomic(&layout, LAYOUT.as_bytes(), 0o600, Durability::Machine)?,
            Some(found) if found.trim_ascii() == LAYOUT.as_bytes() => {}
            Some(found) => {
                return Err(Error::Invalid(format!(
                    "the store at {} has layout {}, this program knows layout {LAYOUT}: use the program that made it",
                    root.display(),
                    String::from_utf8_lossy(&found[..found.len().min(20)]).trim()
                )));
            }
        }
        let owner = file::open(&layout)?;
        match owner.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse(root)),
            Err(TryLockError::Error(e)) => return Err(blob::io_error("lock", &layout)(e)),
        }
        for directory in ["blobs/sha256", "layers", "rw"] {
            file::create_dir_all(&root.join(directory), 0o700)?;
        }
        let ingest = root.join("ingest");
        file::create_dir_all(&ingest, 0o700)?;
        ingest::clean(&ingest)?;
        layer::clean(&root.join("layers"))?;
        let parts = rw::clean(&root.join("fresh"))?;
        let names = names::load(&root.join("images.json"))?;
        Ok(Self {
            inner: Arc::new(Inner {
                root,
                _owner: owner,
                names: RwLock::new(Arc::new(names)),
                naming: Mutex::default(),
                sweep: RwLock::default(),
                holds: Mutex::default(),
                unpacking: Turns::default(),
                arriving: Arriving::default(),
                ready: Mutex::default(),
                parts,
                begun: AtomicUsize::default(),
                unsettled: Mutex::default(),
                layers: Mutex::default(),
            }),
        })
    }

    /// The directory it is in.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    fn path(&self, below: &str) -> PathBuf {
        self.inner.root.join(below)
    }

    /// A new name in `ingest/`.
    fn ingest_path(&self) -> PathBuf {
        self.path("ingest").join(spec::digest::hex(&sys::random::bytes::<12>()))
    }

    /// What writers hold for a rename and the note that goes with it. Not to be taken twice by one thread.
    fn shared(&self) -> RwLockReadGuard<'_, ()> {
        self.inner.sweep.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the collector holds.
    fn exclusive(&self) -> RwLockWriteGuard<'_, ()> {
        self.inner.sweep.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A mutex's content. A panic elsewhere does not make a map of plain values wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Now, as image configurations say it (RFC 3339, UTC).
fn now() -> String {
    jiff::Timestamp::now().to_string()
}
