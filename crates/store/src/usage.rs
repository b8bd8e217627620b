//! What takes space: the same answer as `du`.

use std::collections::HashSet;
use std::path::Path;

use sys::root::{Follow, Root, TooDeep};

use spec::Digest;

use crate::Store;
use crate::error::Result;
use crate::layer::ChainId;

/// Bytes on disk, for `system df`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Blobs, those being written, and the image names.
    pub blobs: u64,
    /// Unpacked layers.
    pub layers: u64,
    /// Writable layers.
    pub rw: u64,
}

impl Store {
    /// Bytes on disk of one unpacked layer, without those below it.
    ///
    /// # Errors
    /// A file error.
    pub fn layer_size(&self, chain: &ChainId) -> Result<u64> {
        below(&self.layer_path(chain))
    }

    /// Bytes on disk of a blob; `None` when it is not here.
    pub fn blob_disk(&self, digest: &Digest) -> Option<u64> {
        use std::os::unix::fs::MetadataExt;
        Some(std::fs::metadata(self.blob_path(digest)).ok()?.blocks() * 512)
    }

    /// What takes space, down to the directories themselves.
    ///
    /// # Errors
    /// A file error.
    pub fn usage(&self) -> Result<Usage> {
        let mut blobs = below(&self.path("blobs"))? + below(&self.path("ingest"))?;
        let root = Root::open(self.root())?;
        blobs += root.top().own_metadata()?.disk;
        for name in ["layout", "images.json"] {
            blobs += root.metadata(name, Follow::No).map_or(0, |metadata| metadata.disk);
        }
        Ok(Usage { blobs, layers: below(&self.path("layers"))?, rw: below(&self.path("rw"))? })
    }
}

/// Bytes on disk of a directory and all in it; a file with several names counts once. What a container buried deeper
/// than the kernel's longest path is left out.
pub(crate) fn below(path: &Path) -> Result<u64> {
    let root = Root::open(path)?;
    let mut bytes = root.top().own_metadata()?.disk;
    let mut seen = HashSet::new();
    root.walk("", TooDeep::Skip, |visit| {
        let metadata = visit.metadata;
        let is_dir = metadata.kind == sys::root::Kind::Directory;
        if is_dir || metadata.links < 2 || seen.insert((metadata.device, metadata.inode)) {
            bytes += metadata.disk;
        }
        Ok::<_, crate::Error>(())
    })?;
    Ok(bytes)
}
