//! Unpacked layers: read-only directories named by chain id.

use std::collections::HashSet;
use std::fmt;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use spec::Digest;
use sys::file::{self, Durability};
use sys::root::Root;

use crate::archive::{Existing, Owners, Unpack, Whiteouts, unpack};
use crate::error::{Error, Result};
use crate::hash::{HashReader, digest_of};
use crate::unpack::inflated;
use crate::{Store, lock};

/// Inflated bytes hashed and parsed at once.
const BUFFER: usize = 128 << 10;
/// More layers than an overlay mount takes (500, OVL_MAX_STACK in the kernel).
const MAX_DEPTH: usize = 500;

/// The identity of a stack of layers (image-spec, "Layer ChainID").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChainId(pub Digest);

impl ChainId {
    /// The stack of `diff_id` on `parent`.
    pub fn on(parent: Option<&Self>, diff_id: Digest) -> Self {
        match parent {
            None => Self(diff_id),
            Some(parent) => Self(digest_of(format!("{} {diff_id}", parent.0).as_bytes())),
        }
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `layers/<chain id>/meta.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerMeta {
    pub(crate) parent: Option<ChainId>,
    pub(crate) diff_id: Digest,
    /// Bytes on disk, about.
    pub(crate) size: u64,
    /// Nothing below this layer is seen.
    #[serde(default)]
    pub(crate) opaque: bool,
}

/// A directory that becomes something else by rename, or goes away.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After the rename there is nothing here; what cannot be removed goes when the store is opened next.
        let _ = remove_tree(&self.path);
    }
}

/// A tree that was taken out of its place, and waits in `ingest/` to be removed. What nobody removes goes when the store is
/// opened next.
#[derive(Debug)]
#[must_use = "its files are on the disk until it is removed"]
pub struct Aside {
    path: PathBuf,
}

impl Aside {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it.
    ///
    /// # Errors
    /// A file error; what is left goes when the store is opened next.
    pub fn remove(self) -> Result<()> {
        remove_tree(&self.path)
    }
}

/// The chains being unpacked right now: a second thread waits for the first instead of doing the same.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    busy: Mutex<HashSet<ChainId>>,
    done: Condvar,
}

struct Turn<'t> {
    turns: &'t Turns,
    chain: ChainId,
}

impl Turns {
    fn take(&self, chain: ChainId) -> Turn<'_> {
        let mut busy: MutexGuard<'_, _> = lock(&self.busy);
        while !busy.insert(chain) {
            busy = self.done.wait(busy).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        Turn { turns: self, chain }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.turns.busy).remove(&self.chain);
        self.turns.done.notify_all();
    }
}

impl Store {
    /// The chain id of DiffIDs, lowest first; `None` for no layers.
    pub fn chain_of(diff_ids: &[Digest]) -> Option<ChainId> {
        diff_ids.iter().fold(None, |parent, diff_id| Some(ChainId::on(parent.as_ref(), *diff_id)))
    }

    /// Whether the layer is unpacked.
    pub fn has_layer(&self, chain: &ChainId) -> bool {
        let _shared = self.shared();
        let found = self.layer_meta(chain).is_ok();
        if found {
            self.hold(chain.0);
        }
        found
    }

    /// Unpacks one layer's tar (gzip, zstd, bzip2, xz or plain, told by content) on top of `parent`. The inflated
    /// stream must have the digest `diff_id` (`None`: computed). Layers need not be unpacked in order.
    /// A pull streams: `tar` may be a reader that also writes the blob; it is read to its end. Already unpacked, or
    /// being unpacked by another thread (then this waits): reads nothing.
    ///
    /// # Errors
    /// Bad content (nothing is left), or a file error.
    pub fn unpack(
        &self,
        tar: &mut (dyn Read + Send),
        parent: Option<&ChainId>,
        diff_id: Option<Digest>,
    ) -> Result<(ChainId, Digest)> {
        let Some(diff_id) = diff_id else { return self.unpack_now(tar, parent, None) };
        let chain = ChainId::on(parent, diff_id);
        let _turn = self.inner.unpacking.take(chain);
        if self.has_layer(&chain) {
            return Ok((chain, diff_id));
        }
        self.unpack_now(tar, parent, Some(diff_id))
    }

    fn unpack_now(
        &self,
        tar: &mut (dyn Read + Send),
        parent: Option<&ChainId>,
        expected: Option<Digest>,
    ) -> Result<(ChainId, Digest)> {
        let scratch = self.layer_scratch()?;
        let diff = scratch.path().join("diff");
        file::create_dir_all(&diff, 0o755)?;
        let how = Unpack {
            base: Path::new(""),
            whiteouts: Whiteouts::Overlay,
            owner: None,
            owners: Owners::default(),
            existing: Existing::GivesWay,
        };
        let (unpacked, diff_id) = inflated(tar, |tar| {
            let mut hashed = BufReader::with_capacity(BUFFER, HashReader::new(tar));
            let unpacked = unpack(&mut hashed, &Root::open(&diff)?, &how)?;
            Ok((unpacked, hashed.into_inner().hasher.finish()))
        })?;
        if let Some(expected) = expected.filter(|expected| *expected != diff_id) {
            return Err(Error::DigestMismatch { expected, actual: diff_id });
        }
        let meta =
            LayerMeta { parent: parent.copied(), diff_id, size: unpacked.size, opaque: unpacked.opaque };
        Ok((self.commit_layer(&scratch, meta)?, diff_id))
    }

    /// Renames a scratch directory with a finished `diff/` into place.
    pub(crate) fn commit_layer(&self, scratch: &Scratch, meta: LayerMeta) -> Result<ChainId> {
        let chain = ChainId::on(meta.parent.as_ref(), meta.diff_id);
        put_meta(scratch.path(), &meta)?;
        let _shared = self.shared();
        self.unsettled(chain);
        let path = self.layer_path(&chain);
        if let Err(e) = file::rename(scratch.path(), &path) {
            if !path.exists() {
                return Err(e.into());
            }
            // Another thread's, which is the same. One without a readable record is what a power cut left.
            if self.layer_meta(&chain).is_err() {
                let broken = self.discard_layer(&chain)?;
                file::rename(scratch.path(), &path)?;
                broken.map_or(Ok(()), Aside::remove)?;
            }
        }
        self.hold(chain.0);
        Ok(chain)
    }

    /// Bytes of an unpacked stack on disk, all layers: files rounded up to blocks, taken when they were unpacked.
    ///
    /// # Errors
    /// [`Error::NoLayer`] or a file error.
    pub fn chain_size(&self, chain: &ChainId) -> Result<u64> {
        let mut size = 0;
        let mut next = Some(*chain);
        while let Some(chain) = next {
            let meta = self.layer_meta(&chain)?;
            size += meta.size;
            next = meta.parent;
        }
        Ok(size)
    }

    /// Bytes of one unpacked layer on disk, the top of its stack; `None` when it is not unpacked.
    pub fn layer_size(&self, chain: &ChainId) -> Option<u64> {
        self.layer_meta(chain).ok().map(|meta| meta.size)
    }

    /// The directories of an unpacked stack, highest first: the lower directories of an overlay mount.
    ///
    /// # Errors
    /// [`Error::NoLayer`] when one is not unpacked, or there are more than an overlay takes.
    pub fn chain_dirs(&self, chain: &ChainId) -> Result<Vec<PathBuf>> {
        let _shared = self.shared();
        self.chain_dirs_unlocked(chain)
    }

    /// The same for who holds the shared lock already.
    pub(crate) fn chain_dirs_unlocked(&self, chain: &ChainId) -> Result<Vec<PathBuf>> {
        let mut dirs = Vec::new();
        let mut next = Some(*chain);
        while let Some(chain) = next {
            let meta = self.layer_meta(&chain)?;
            self.hold(chain.0);
            dirs.push(self.layer_path(&chain).join("diff"));
            if dirs.len() > MAX_DEPTH {
                return Err(Error::Invalid(format!(
                    "more than {MAX_DEPTH} layers: the kernel mounts no more"
                )));
            }
            // overlayfs has no mark for a layer whose top hides all below, so the stack ends here.
            next = meta.parent.filter(|_| !meta.opaque);
        }
        Ok(dirs)
    }

    /// Layers never change, so each meta.json is read once.
    pub(crate) fn layer_meta(&self, chain: &ChainId) -> Result<LayerMeta> {
        let mut known = lock(&self.inner.layers);
        if let Some(meta) = known.get(chain) {
            return Ok(meta.clone());
        }
        // Under the lock, so that a layer that is removed meanwhile is not remembered.
        let meta: LayerMeta = get_meta(&self.layer_path(chain))?.ok_or(Error::NoLayer(*chain))?;
        known.insert(*chain, meta.clone());
        Ok(meta)
    }

    /// Takes a layer out of its place, to be removed.
    pub(crate) fn discard_layer(&self, chain: &ChainId) -> Result<Option<Aside>> {
        let mut known = lock(&self.inner.layers);
        known.remove(chain);
        self.set_aside(&self.layer_path(chain))
    }

    /// The chain ids of all unpacked layers.
    pub(crate) fn layers(&self) -> Result<Vec<ChainId>> {
        let names = file::list(&self.path("layers"))?;
        Ok(names.iter().filter_map(|hex| format!("sha256:{hex}").parse().ok().map(ChainId)).collect())
    }

    pub(crate) fn layer_path(&self, chain: &ChainId) -> PathBuf {
        self.path("layers").join(chain.0.hex())
    }

    pub(crate) fn scratch(&self) -> Result<Scratch> {
        make_scratch(self.ingest_path())
    }

    /// One beside the layers, for whose directories the file system chooses a place as for theirs.
    fn layer_scratch(&self) -> Result<Scratch> {
        make_scratch(self.path("layers").join(format!(".{}", spec::digest::hex(&sys::random::bytes::<12>()))))
    }

    /// Takes a tree of the data root out of its place in one step; `None` when it is not there.
    ///
    /// # Errors
    /// rename(2)'s.
    pub fn set_aside(&self, path: &Path) -> Result<Option<Aside>> {
        let aside = Aside { path: self.ingest_path() };
        match file::rename(path, &aside.path) {
            Ok(()) => Ok(Some(aside)),
            Err(e) if e.source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

pub(crate) fn make_scratch(path: PathBuf) -> Result<Scratch> {
    file::create_dir_all(&path, 0o700)?;
    Ok(Scratch { path })
}

/// Removes what unpackings that were broken off have left in the directory of all layers, and lets the file system put each
/// layer into a part of the disk of its own. ext4 does not use an inode again for a minute after its file was removed, and
/// for each new file it looks at all of these, one by one, in the part where it makes it: to unpack an image anew that was
/// removed just now took 2.5 times as long where the old one had been.
pub(crate) fn clean(layers: &Path) -> Result<()> {
    file::spread_directories(layers)?;
    file::list(layers)?
        .iter()
        .filter(|name| name.starts_with('.'))
        .try_for_each(|name| remove_tree(&layers.join(name)))
}

/// Removes a tree of any depth: containers can make deep ones.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    Ok(Root::open(parent)?.top().remove_tree(name)?)
}

pub(crate) fn put_meta(directory: &Path, meta: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(meta).expect("plain data serialises");
    Ok(file::write_atomic(&directory.join("meta.json"), &bytes, 0o600, Durability::Process)?)
}

pub(crate) fn get_meta<M: for<'de> Deserialize<'de>>(directory: &Path) -> Result<Option<M>> {
    let path = directory.join("meta.json");
    let Some(bytes) = file::read_if_exists(&path)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::Io { step: "parse", path, source: e.into() })
}
