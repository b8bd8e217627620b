//! What takes space: the same answer as `du`.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use sys::root::{Kind, Root, TooDeep};

use crate::Store;
use crate::error::Result;

/// Room on the file system that the store is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it, in bytes.
    pub total: u64,
    /// What may still be written, in bytes.
    pub free: u64,
}

impl Store {
    /// Bytes on disk of everything below the store's root, the root itself included (an empty path), added up by what
    /// `place` says of each path below the root. Their sum is `du`'s.
    ///
    /// # Errors
    /// A file error.
    pub fn usage<K: Ord>(&self, mut place: impl FnMut(&Path) -> K) -> Result<BTreeMap<K, u64>> {
        let root = Root::open(self.root())?;
        let mut sums = BTreeMap::from([(place(Path::new("")), root.top().own_metadata()?.disk)]);
        each(&root, |path, disk| *sums.entry(place(path)).or_default() += disk)?;
        Ok(sums)
    }

    /// How much room there is.
    ///
    /// # Errors
    /// statvfs(3)'s.
    pub fn space(&self) -> Result<Space> {
        let (total, free) = sys::file::space(self.root())?;
        Ok(Space { total, free })
    }
}

/// Bytes on disk of a directory and all in it; a file with several names counts once. What a container buried deeper
/// than the kernel's longest path is left out.
pub(crate) fn below(path: &Path) -> Result<u64> {
    let root = Root::open(path)?;
    let mut bytes = root.top().own_metadata()?.disk;
    each(&root, |_, disk| bytes += disk)?;
    Ok(bytes)
}

/// Tells of everything below a root what it takes on disk.
fn each(root: &Root, mut tell: impl FnMut(&Path, u64)) -> Result<()> {
    let mut seen = HashSet::new();
    root.walk("", TooDeep::Skip, |visit| {
        let metadata = visit.metadata;
        let is_dir = metadata.kind == Kind::Directory;
        if is_dir || metadata.links < 2 || seen.insert((metadata.device, metadata.inode)) {
            tell(visit.path, metadata.disk);
        }
        Ok::<_, crate::Error>(())
    })
}
