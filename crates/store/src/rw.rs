//! Writable layers: what containers and build steps write, above read-only layers.

use std::collections::HashSet;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use spec::Digest;
use spec::oci::image::{Descriptor, media};
use sys::file;
use sys::root::{OpenFile, Root, TooDeep, Visit};

use crate::archive::{
    Entry, EntryKind, OPAQUE_XATTR, OVERLAY_XATTRS, Owners, Pack, Packed, Take, Whiteouts, Writer, pack_some,
};
use crate::blob::BlobWriter;
use crate::changes::Judge;
use crate::error::{Error, Result};
use crate::gzip::Gzip;
use crate::hash::HashWriter;
use crate::layer::{Aside, ChainId, LayerMeta, Scratch, get_meta, make_scratch, remove_tree};
use crate::{Store, lock, usage};

const BUFFER: usize = 128 << 10;
/// Writable layers that are made beforehand.
const READY: usize = 4;
/// Parts of the disk in which they are made, one after the other, some in each before it is the next one's turn. ext4 looks at
/// all inodes, one by one, whose files were removed within the last minute in the part where it makes a file (without a
/// journal: `recently_deleted`): where containers come and go, this took a sixth of all time.
const PARTS: usize = 64;
/// So many in one part at a time: the first in it has the part's tables read from the disk.
const IN_A_PART: usize = 16;

/// Where a container's or build step's root comes from: what an overlay mount needs. Mount with `redirect_dir=off`
/// and `metacopy=off`, or the layer cannot be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RwMount {
    /// Highest first. Empty on no parent.
    pub lower: Vec<PathBuf>,
    /// The writable directory.
    pub upper: PathBuf,
    /// overlayfs's own.
    pub work: PathBuf,
    /// To be mounted as [`RwOptions::volatile`] says.
    pub volatile: bool,
}

/// What a writable layer is to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RwOptions {
    /// Bytes that it may take, which the kernel sees to (a project quota).
    pub limit: Option<u64>,
    /// Nobody looks at it after a crash of the machine: no fsync of a program's, and no unmount, waits for the disk.
    pub volatile: bool,
}

/// What [`Store::rw_commit`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The compressed blob.
    pub blob: Descriptor,
    /// Its inflated digest.
    pub diff_id: Digest,
    /// The new stack.
    pub chain: ChainId,
}

/// `rw/<id>/meta.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RwMeta {
    parent: Option<ChainId>,
    /// Of the top directory when it was made: only a change of them is a change of the layer.
    mode: u32,
    uid: u32,
    gid: u32,
    /// Bytes that it may take, by a quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    volatile: bool,
}

impl Store {
    /// Makes a writable layer on `parent` (`None`: on nothing). Its top directory has the parent's mode and owner, as
    /// the mounted root shows those of the uppermost layer.
    ///
    /// # Errors
    /// The parent is not unpacked, the id is taken or cannot be a file name, or a file error.
    pub fn rw_create(&self, id: &str, parent: Option<&ChainId>) -> Result<RwMount> {
        self.rw_create_with(id, parent, RwOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Store::rw_create`]; [`Error::NoQuota`] where the file system keeps to no limits.
    pub fn rw_create_with(&self, id: &str, parent: Option<&ChainId>, options: RwOptions) -> Result<RwMount> {
        let RwOptions { limit, volatile } = options;
        let path = self.rw_path(id)?;
        let ready = if limit.is_none() { lock(&self.inner.ready).pop() } else { None };
        let is_ready = ready.is_some();
        let scratch = ready.map_or_else(|| self.fresh(), Ok)?;
        if let Some(bytes) = limit {
            if !sys::quota::is_enforced(self.root()) {
                return Err(Error::NoQuota(self.root().to_owned()));
            }
            // Before anything is in it: what is made in it belongs to its project.
            sys::quota::limit(scratch.path(), bytes)?;
        }
        // Shared until the layer is in place: the collector sees either no layer, or one that needs its parent.
        let _shared = self.shared();
        let lower = parent.map(|chain| self.chain_dirs_unlocked(chain)).transpose()?.unwrap_or_default();
        let (mode, uid, gid) = match lower.first() {
            None => (0o755, 0, 0),
            Some(top) => {
                let top = Root::open(top)?.top().own_metadata()?;
                (top.mode, top.uid, top.gid)
            }
        };
        if !is_ready {
            make_empty(scratch.path())?;
        }
        let top = Root::open(scratch.path())?.top().dir("diff")?;
        if (uid, gid) != (0, 0) {
            top.set_owner(uid, gid)?;
        }
        top.set_mode(mode)?;
        let meta = RwMeta { parent: parent.copied(), mode, uid, gid, limit, volatile };
        let meta = serde_json::to_vec(&meta).expect("plain data serialises");
        // Not by rename: the file has been there, unread, since the directory was made.
        file::write(&scratch.path().join("meta.json"), &meta)?;
        match file::rename(scratch.path(), &path) {
            Err(_) if path.exists() => return Err(Error::RwExists(id.to_owned())),
            renamed => renamed?,
        }
        Ok(RwMount { lower, upper: path.join("diff"), work: path.join("work"), volatile })
    }

    /// Makes some writable layers before they are wanted, for the creates that come next without a limit: the file system
    /// has to find places for four new files and directories.
    ///
    /// # Errors
    /// A file error.
    pub fn rw_make_ready(&self) -> Result<()> {
        while lock(&self.inner.ready).len() < READY {
            let scratch = self.fresh()?;
            make_empty(scratch.path())?;
            lock(&self.inner.ready).push(scratch);
        }
        Ok(())
    }

    /// A directory to make one in.
    fn fresh(&self) -> Result<Scratch> {
        self.fresh_in(self.inner.begun.fetch_add(1, Ordering::Relaxed))
    }

    /// One in the part that the writable layer with this number is made in.
    fn fresh_in(&self, number: usize) -> Result<Scratch> {
        let part = format!("{}-{}", self.inner.parts, number / IN_A_PART % PARTS);
        let name = spec::digest::hex(&sys::random::bytes::<12>());
        make_scratch(self.path("fresh").join(part).join(name))
    }

    /// Makes an empty directory in the data root, in the part of the disk where writable layers are made just now: files that come
    /// and go with containers are better there than beside those of all the others.
    ///
    /// # Errors
    /// A file error; one that is there already and is not empty.
    pub fn create_directory(&self, path: &Path) -> Result<()> {
        let scratch = self.fresh_in(self.inner.begun.load(Ordering::Relaxed))?;
        Ok(file::rename(scratch.path(), path)?)
    }

    /// How to mount it.
    ///
    /// # Errors
    /// [`Error::NoRw`] or a file error.
    pub fn rw_mount(&self, id: &str) -> Result<RwMount> {
        let path = self.rw_path(id)?;
        let meta = self.rw_meta(id)?;
        let lower = meta.parent.map(|chain| self.chain_dirs(&chain)).transpose()?.unwrap_or_default();
        Ok(RwMount { lower, upper: path.join("diff"), work: path.join("work"), volatile: meta.volatile })
    }

    /// Removes it. It must not be mounted.
    ///
    /// # Errors
    /// A file error; a missing one is no error.
    pub fn rw_remove(&self, id: &str) -> Result<()> {
        self.rw_set_aside(id)?.map_or(Ok(()), Aside::remove)
    }

    /// Removes it in two steps: it is gone from the store now, and from the disk when [`Aside::remove`] was called, which
    /// takes as long as there are files in it. It must not be mounted.
    ///
    /// # Errors
    /// A file error; for a missing one, there is nothing set aside.
    pub fn rw_set_aside(&self, id: &str) -> Result<Option<Aside>> {
        let path = self.rw_path(id)?;
        if self.rw_meta(id).is_ok_and(|meta| meta.limit.is_some()) {
            sys::quota::release(&path)?;
        }
        self.set_aside(&path)
    }

    /// All writable layers' ids.
    ///
    /// # Errors
    /// A file error.
    pub fn rw_list(&self) -> Result<Vec<String>> {
        Ok(file::list(&self.path("rw"))?)
    }

    /// Bytes in it, on disk.
    ///
    /// # Errors
    /// [`Error::NoRw`], also for one that is removed meanwhile, or a file error.
    pub fn rw_size(&self, id: &str) -> Result<u64> {
        let path = self.rw_path(id)?;
        self.unless_gone(id, usage::below(&path.join("diff")))
    }

    /// Who is removed while something is looked for in it, is not there.
    pub(crate) fn unless_gone<T>(&self, id: &str, found: Result<T>) -> Result<T> {
        match found {
            Err(_) if !self.rw_path(id)?.exists() => Err(Error::NoRw(id.to_owned())),
            found => found,
        }
    }

    /// Writes the layer's changes as an OCI layer tar (overlay whiteouts become `.wh.` entries), deterministically
    /// ordered.
    ///
    /// # Errors
    /// [`Error::NoRw`] or a file error.
    pub fn rw_diff(&self, id: &str, out: &mut dyn Write) -> Result<()> {
        let mut out = Writer::new(BufWriter::with_capacity(BUFFER, out));
        self.pack_rw(id, &mut out)?;
        out.finish().map(drop)
    }

    fn pack_rw<W: Write>(&self, id: &str, out: &mut Writer<W>) -> Result<Packed> {
        self.pack_rw_some(id, out, |_| Ok(Take::All))
    }

    fn pack_rw_some<W: Write>(
        &self,
        id: &str,
        out: &mut Writer<W>,
        take: impl FnMut(&Visit<'_>) -> Result<Take>,
    ) -> Result<Packed> {
        let meta = self.rw_meta(id)?;
        let lower = meta.parent.map(|chain| self.chain_dirs(&chain)).transpose()?.unwrap_or_default();
        let root = Root::open(&self.rw_path(id)?.join("diff"))?;
        let top = root.top().own_metadata()?;
        let top_changed = (top.mode, top.uid, top.gid) != (meta.mode, meta.uid, meta.gid);
        if top_changed {
            let entry = Entry {
                uid: top.uid,
                gid: top.gid,
                modified: sys::root::Time { seconds: top.modified.seconds, nanos: 0 },
                ..Entry::new("./", EntryKind::Directory, top.mode)
            };
            out.append_empty(&entry)?;
        }
        let how = Pack {
            base: Path::new(""),
            prefix: Path::new(""),
            whiteouts: Whiteouts::Overlay,
            lower: Some(&lower),
            owners: Owners::default(),
        };
        let mut packed = pack_some(&root, &how, out, take)?;
        packed.entries += u64::from(top_changed);
        Ok(packed)
    }

    /// Turns a writable layer into a read-only one plus its compressed blob; the writable layer is used up
    /// (its directory is renamed into place, not copied). It must not be mounted. `None` when nothing was changed in it;
    /// it is gone then too.
    ///
    /// # Errors
    /// A file error; the writable layer is kept then.
    pub fn rw_commit(&self, id: &str) -> Result<Option<Committed>> {
        self.rw_commit_before(id, None)
    }

    /// The same with no file younger than `latest` (seconds since 1970): the same files give the same layer whenever
    /// they were made.
    ///
    /// # Errors
    /// As [`Store::rw_commit`].
    pub fn rw_commit_before(&self, id: &str, latest: Option<i64>) -> Result<Option<Committed>> {
        if let Some(latest) = latest {
            let time = sys::root::Time { seconds: latest, nanos: 0 };
            Root::open(&self.rw_path(id)?.join("diff"))?.walk("", TooDeep::Fail, |visit| {
                if visit.metadata.modified > time {
                    visit.dir.set_modified(visit.name, time)?;
                }
                Ok::<_, Error>(())
            })?;
        }
        let meta = self.rw_meta(id)?;
        let blob = BufWriter::with_capacity(BUFFER, self.blob_writer()?);
        let mut out = Writer::new(HashWriter::new(BufWriter::with_capacity(BUFFER, Gzip::new(blob))));
        let packed = self.pack_rw(id, &mut out)?;
        if packed.entries == 0 {
            self.rw_remove(id)?;
            return Ok(None);
        }
        let (blob, diff_id) = finish(out)?;
        let path = self.rw_path(id)?;
        strip_overlay_xattrs(&path.join("diff"), &packed.noted)?;

        let scratch = self.scratch()?;
        let (from, to) = (path.join("diff"), scratch.path().join("diff"));
        file::rename(&from, &to)?;
        let meta = LayerMeta { parent: meta.parent, diff_id, size: packed.size, opaque: false };
        let chain = match self.commit_layer(&scratch, meta) {
            Ok(chain) => chain,
            Err(e) => {
                // The first failure is the one to report.
                let _ = file::rename(&to, &from);
                return Err(e);
            }
        };
        self.rw_remove(id)?;
        Ok(Some(Committed { blob, diff_id, chain }))
    }

    /// The same of a writable layer that goes on being used, mounted or not: what it changes becomes a layer as well,
    /// without the stubs (see [`Store::rw_changes`]). `None` when it changes nothing.
    ///
    /// # Errors
    /// A file error. A lease is needed until something names the result.
    pub fn rw_snapshot(&self, id: &str, stubs: &[PathBuf]) -> Result<Option<Committed>> {
        let meta = self.rw_meta(id)?;
        let changes = self.rw_changes(id, stubs, Judge::Presence)?;
        if changes.is_empty() {
            return Ok(None);
        }
        let taken: HashSet<PathBuf> = changes.into_iter().map(|change| change.path).collect();
        let blob = BufWriter::with_capacity(BUFFER, self.blob_writer()?);
        let mut out = Writer::new(HashWriter::new(BufWriter::with_capacity(BUFFER, Gzip::new(blob))));
        self.pack_rw_some(id, &mut out, |visit| {
            Ok(if taken.contains(visit.path) { Take::All } else { Take::Nothing })
        })?;
        let (blob, diff_id) = finish(out)?;
        let (chain, _) = self.unpack(&mut self.blob(&blob.digest)?, meta.parent.as_ref(), Some(diff_id))?;
        Ok(Some(Committed { blob, diff_id, chain }))
    }

    /// The layer that a writable layer stands on.
    pub(crate) fn rw_parent(&self, id: &str) -> Result<Option<ChainId>> {
        Ok(self.rw_meta(id)?.parent)
    }

    fn rw_meta(&self, id: &str) -> Result<RwMeta> {
        get_meta(&self.rw_path(id)?)?.ok_or_else(|| Error::NoRw(id.to_owned()))
    }

    /// The id becomes a file name, so it must be one and nothing else.
    fn rw_path(&self, id: &str) -> Result<PathBuf> {
        let ok = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        if id.is_empty() || id.len() > 200 || id.starts_with('.') || !id.bytes().all(ok) {
            return Err(Error::Invalid(format!("invalid id of a writable layer: {id:?}")));
        }
        Ok(self.path("rw").join(id))
    }
}

/// Removes the parts that there were, and has each that is made put apart. Gives what the names of this store's begin with: ext4
/// chooses a place by the name, and where an earlier one's were much may have been removed just now.
pub(crate) fn clean(fresh: &Path) -> Result<String> {
    file::create_dir_all(fresh, 0o700)?;
    file::spread_directories(fresh)?;
    file::list(fresh)?.iter().try_for_each(|part| remove_tree(&fresh.join(part)))?;
    Ok(spec::digest::hex(&sys::random::bytes::<4>()))
}

/// What every writable layer begins with.
fn make_empty(path: &Path) -> Result<()> {
    file::create_dir_all(&path.join("work"), 0o700)?;
    Root::open(path)?.top().create_dir("diff", 0o755)?;
    file::create(&path.join("meta.json"), 0o600).map(drop)?;
    Ok(())
}

/// Ends a layer's archive: its blob and its inflated digest.
fn finish(out: Writer<HashWriter<BufWriter<Gzip<BufWriter<BlobWriter>>>>>) -> Result<(Descriptor, Digest)> {
    let hashed = out.finish()?;
    let diff_id = hashed.hasher.finish();
    let write = |source| Error::Write { what: "layer", source };
    let gzip = hashed.inner.into_inner().map_err(|e| write(e.into_error()))?;
    let blob = gzip.finish().map_err(write)?.into_inner().map_err(|e| write(e.into_error()))?;
    let (digest, size) = blob.commit(None)?;
    Ok((Descriptor::new(media::LAYER_GZIP, digest, size), diff_id))
}

/// Removes what overlayfs notes for itself in an upper directory; the opaque mark stays, a layer needs it.
fn strip_overlay_xattrs(upper: &Path, noted: &[PathBuf]) -> Result<()> {
    let root = Root::open(upper)?;
    for path in noted {
        let (dir, name) = root.parent(path)?;
        for (key, _) in dir.xattrs(&name)? {
            if key.as_encoded_bytes().starts_with(OVERLAY_XATTRS) && key != OPAQUE_XATTR {
                dir.remove_xattr(&name, &key)?;
            }
        }
    }
    Ok(())
}
