//! What is on disk: blobs by digest, unpacked layers, writable layers, image names, leases.
//!
//! ```text
//! <root>/layout                     "1"; a newer number is refused
//!        blobs/sha256/<hex>         immutable: manifests, configs, compressed layers
//!        ingest/                    blobs being written
//!        layers/<chain id>/{diff/,meta.json}
//!        rw/<id>/{diff/,work/,meta.json}
//!        images.json                name → target; the root set, one atomic file
//!        leases/<id>.json
//! ```
//!
//! Leaves first, root last: blob → layer → images.json. A crash leaves only garbage, and [`Store::collect`]
//! marks from the roots and sweeps.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use spec::oci::image::{Descriptor, Image as ImageJson, Manifest, Platform};
use spec::{Digest, ErrorKind, Reference};

/// A failure of the store. (The helper who owns this crate adds variants; `kind` stays.)
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on a file failed.
    #[error("{step} {}", path.display())]
    Io {
        /// What was tried.
        step: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No image, blob or layer of that name.
    #[error("No such image: {0}")]
    NotFound(String),
    /// Content that does not have the digest it should have.
    #[error("digest mismatch: expected {expected}, got {actual}")]
    DigestMismatch {
        /// As announced.
        expected: Digest,
        /// As received.
        actual: Digest,
    },
    /// Content that cannot be used: what and why.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// The class of this failure.
    pub fn kind(&self) -> ErrorKind {
        todo!()
    }
}

/// The store: cheap to clone, safe to share between threads.
#[derive(Debug, Clone)]
pub struct Store {
    _inner: Arc<()>,
}

/// The identity of a stack of layers (image-spec, "Layer ChainID").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChainId(pub Digest);

/// A name and what it points at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Normalised name with tag (`docker.io/library/busybox:latest`), or `<dangling>@sha256:…` for untagged ones.
    pub name: String,
    /// A manifest or an index.
    pub target: Descriptor,
    /// Seconds since 1970 when this name was set.
    pub tagged_at: u64,
}

/// One platform's image, read from its blobs.
#[derive(Debug, Clone)]
pub struct Image {
    /// What the name points at (manifest or index): its digest is Docker's image id.
    pub target: Descriptor,
    /// The manifest's own descriptor.
    pub manifest_descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageJson,
    /// The chain id of all its layers; `None` for an image without layers.
    pub chain: Option<ChainId>,
}

/// Where a container's or build step's root comes from: what an overlay mount needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RwMount {
    /// Highest first.
    pub lower: Vec<PathBuf>,
    /// The writable directory.
    pub upper: PathBuf,
    /// overlayfs's own.
    pub work: PathBuf,
}

/// Keeps blobs and layers from the collector while a pull, build or load is under way. Dropped: released.
#[derive(Debug)]
pub struct Lease {
    _private: (),
}

/// A blob being written: hashes what passes. Dropped without [`BlobWriter::commit`]: nothing is left.
#[derive(Debug)]
pub struct BlobWriter {
    _private: (),
}

impl Write for BlobWriter {
    fn write(&mut self, _buf: &[u8]) -> std::io::Result<usize> {
        todo!()
    }
    fn flush(&mut self) -> std::io::Result<()> {
        todo!()
    }
}

impl BlobWriter {
    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        todo!()
    }
    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Makes the blob visible under its digest, which must be `expected` if given. Fsyncs.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] or a file error; nothing is left then.
    pub fn commit(self, _expected: Option<Digest>) -> Result<(Digest, u64), Error> {
        todo!()
    }
}

/// Sizes in bytes and counts, for `system df`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Blobs.
    pub blobs: u64,
    /// Unpacked layers.
    pub layers: u64,
    /// Writable layers.
    pub rw: u64,
}

impl Store {
    /// Opens the store under `root`, making it when it is not there.
    ///
    /// # Errors
    /// A newer layout, or a file error.
    pub fn open(_root: &Path) -> Result<Self, Error> {
        todo!()
    }

    // ---- blobs

    /// Starts a blob.
    ///
    /// # Errors
    /// A file error.
    pub fn blob_writer(&self) -> Result<BlobWriter, Error> {
        todo!()
    }

    /// Opens a blob; `NotFound` when it is not here.
    ///
    /// # Errors
    /// As said.
    pub fn blob(&self, _digest: &Digest) -> Result<File, Error> {
        todo!()
    }

    /// A small blob's bytes (manifest, config), at most 4 MiB, its digest verified.
    ///
    /// # Errors
    /// `NotFound`, too large, or corrupt.
    pub fn blob_bytes(&self, _digest: &Digest) -> Result<Vec<u8>, Error> {
        todo!()
    }

    /// A blob's size; `None` when it is not here.
    pub fn blob_size(&self, _digest: &Digest) -> Option<u64> {
        todo!()
    }

    /// Writes a small blob and returns its descriptor.
    ///
    /// # Errors
    /// A file error.
    pub fn put_blob(&self, _media_type: &str, _bytes: &[u8]) -> Result<Descriptor, Error> {
        todo!()
    }

    /// Removes one blob whatever refers to it (registry server's DELETE).
    ///
    /// # Errors
    /// `NotFound` or a file error.
    pub fn remove_blob(&self, _digest: &Digest) -> Result<(), Error> {
        todo!()
    }

    // ---- leases and collection

    /// Holds everything written from now on until the lease is dropped.
    ///
    /// # Errors
    /// A file error.
    pub fn lease(&self, _what: &str) -> Result<Lease, Error> {
        todo!()
    }

    /// Removes what no image, writable layer or lease needs; returns the bytes freed.
    /// `extra_layers` and `extra_blobs` are further roots (build cache records).
    ///
    /// # Errors
    /// A file error.
    pub fn collect(&self, _extra_layers: &[ChainId], _extra_blobs: &[Digest]) -> Result<u64, Error> {
        todo!()
    }

    /// What takes space.
    ///
    /// # Errors
    /// A file error.
    pub fn usage(&self) -> Result<Usage, Error> {
        todo!()
    }

    // ---- layers

    /// The chain id of DiffIDs, lowest first; `None` for no layers.
    pub fn chain_of(_diff_ids: &[Digest]) -> Option<ChainId> {
        todo!()
    }

    /// Whether the layer is unpacked.
    pub fn has_layer(&self, _chain: &ChainId) -> bool {
        todo!()
    }

    /// Unpacks one layer's tar (gzip, zstd, bzip2, xz or plain, told by content) on top of `parent`. Both digests
    /// are verified: `diff_id` of the inflated stream (`None`: computed). Layers need not be unpacked in order.
    /// A pull streams: `tar` may be a reader that also writes the blob. Already unpacked: reads nothing.
    ///
    /// # Errors
    /// Bad content (nothing is left), or a file error.
    pub fn unpack(
        &self,
        _tar: &mut dyn Read,
        _parent: Option<&ChainId>,
        _diff_id: Option<Digest>,
    ) -> Result<(ChainId, Digest), Error> {
        todo!()
    }

    /// Unpacks those layers of an image that are not unpacked yet, from their blobs.
    ///
    /// # Errors
    /// As [`Store::unpack`].
    pub fn unpack_image(&self, _image: &Image) -> Result<Option<ChainId>, Error> {
        todo!()
    }

    /// Bytes of an unpacked stack, all layers.
    ///
    /// # Errors
    /// A file error.
    pub fn chain_size(&self, _chain: &ChainId) -> Result<u64, Error> {
        todo!()
    }

    // ---- writable layers

    /// Makes a writable layer on `parent` (`None`: on nothing).
    ///
    /// # Errors
    /// The parent is not unpacked, the id is taken, or a file error.
    pub fn rw_create(&self, _id: &str, _parent: Option<&ChainId>) -> Result<RwMount, Error> {
        todo!()
    }

    /// How to mount it.
    ///
    /// # Errors
    /// `NotFound` or a file error.
    pub fn rw_mount(&self, _id: &str) -> Result<RwMount, Error> {
        todo!()
    }

    /// Removes it.
    ///
    /// # Errors
    /// A file error; a missing one is no error.
    pub fn rw_remove(&self, _id: &str) -> Result<(), Error> {
        todo!()
    }

    /// All writable layers' ids.
    ///
    /// # Errors
    /// A file error.
    pub fn rw_list(&self) -> Result<Vec<String>, Error> {
        todo!()
    }

    /// Bytes in it.
    ///
    /// # Errors
    /// A file error.
    pub fn rw_size(&self, _id: &str) -> Result<u64, Error> {
        todo!()
    }

    /// Writes the layer's changes as an OCI layer tar (overlay whiteouts become `.wh.` entries), deterministically
    /// ordered.
    ///
    /// # Errors
    /// `NotFound` or a file error.
    pub fn rw_diff(&self, _id: &str, _out: &mut dyn Write) -> Result<(), Error> {
        todo!()
    }

    /// Turns a writable layer into a read-only one plus its compressed blob; the writable layer is used up
    /// (its directory is renamed into place, not copied). `None` when nothing was changed in it.
    ///
    /// # Errors
    /// A file error; the writable layer is kept then.
    pub fn rw_commit(&self, _id: &str) -> Result<Option<Committed>, Error> {
        todo!()
    }

    // ---- images

    /// All names.
    pub fn images(&self) -> Vec<ImageRecord> {
        todo!()
    }

    /// Points a name at a manifest or index that is in the store. A target whose last name this was becomes dangling
    /// (kept, listed without a name).
    ///
    /// # Errors
    /// The target's blobs are missing, or a file error.
    pub fn tag(&self, _name: &Reference, _target: &Descriptor) -> Result<(), Error> {
        todo!()
    }

    /// Keeps an image without a name (a build without `-t`).
    ///
    /// # Errors
    /// As [`Store::tag`].
    pub fn keep_dangling(&self, _target: &Descriptor) -> Result<(), Error> {
        todo!()
    }

    /// Removes one record by its exact `name`; what nothing else needs goes with [`Store::collect`].
    ///
    /// # Errors
    /// `NotFound` or a file error.
    pub fn untag(&self, _name: &str) -> Result<(), Error> {
        todo!()
    }

    /// Finds the target of what a user typed: a reference, a full or short id (`sha256:…` or hex prefix).
    ///
    /// # Errors
    /// `NotFound`, or an ambiguous prefix.
    pub fn resolve(&self, _text: &str) -> Result<Descriptor, Error> {
        todo!()
    }

    /// Reads the image behind a target for a platform.
    ///
    /// # Errors
    /// A blob is missing, or no manifest matches the platform.
    pub fn image(&self, _target: &Descriptor, _platform: &Platform) -> Result<Image, Error> {
        todo!()
    }

    /// Writes config and manifest of a new image and returns the manifest's descriptor. `layers` are blobs here,
    /// lowest first; `config.rootfs.diff_ids` must match them.
    ///
    /// # Errors
    /// A layer blob is missing, or a file error.
    pub fn put_image(&self, _config: &ImageJson, _layers: &[Descriptor]) -> Result<Descriptor, Error> {
        todo!()
    }

    // ---- tar in and out

    /// One-layer image from a root file system tar (any compression); returns the manifest's descriptor.
    ///
    /// # Errors
    /// Bad content or a file error.
    pub fn import(&self, _tar: &mut dyn Read, _config: ImageJson) -> Result<Descriptor, Error> {
        todo!()
    }

    /// Reads a docker-archive or an OCI layout (any compression); returns what came in: name, if any, and target.
    ///
    /// # Errors
    /// Bad content (what came in before is garbage for the collector) or a file error.
    pub fn load(&self, _tar: &mut dyn Read) -> Result<Vec<(Option<Reference>, Descriptor)>, Error> {
        todo!()
    }

    /// Writes an OCI layout with a docker-archive `manifest.json` for these names (or ids).
    ///
    /// # Errors
    /// `NotFound` or a file error.
    pub fn save(&self, _names: &[String], _out: &mut dyn Write) -> Result<(), Error> {
        todo!()
    }
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

/// Labels of anything kept on disk.
pub type Labels = BTreeMap<String, String>;
