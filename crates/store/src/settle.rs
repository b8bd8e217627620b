//! Layers and power cuts. A blob is on the disk before it has its name; the layer unpacked from it is not, since waiting
//! for that is most of what a pull would take. Instead a layer is marked once it is known to be on the disk, some time
//! later and all new ones at once ([`Store::settle`]). After a power cut those without the mark are made again from their
//! blobs ([`Store::repair`]).

use std::collections::HashSet;
use std::path::Path;

use sys::file::{self, Durability};

use crate::error::Result;
use crate::layer::{Aside, ChainId};
use crate::member::MemberKind;
use crate::{Store, lock};

/// The mark, beside a layer's record.
const MARK: &str = "synced";
/// Which boot of the machine the store was opened in last.
const BOOT: &str = "boot";

/// What [`Store::repair`] did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Layers made again.
    pub again: usize,
    /// Layers removed that no image and no container needs.
    pub removed: usize,
    /// Layers that something needs and whose blobs are not here: kept as they are.
    pub doubtful: Vec<ChainId>,
}

impl Store {
    /// Notes that a layer is about to get its place.
    pub(crate) fn unsettled(&self, chain: ChainId) {
        lock(&self.inner.unsettled).get_or_insert_default().insert(chain);
    }

    /// Whether all layers are known to be on the disk; `false` before [`Store::repair`], which looks for what an earlier
    /// process has left.
    pub fn is_settled(&self) -> bool {
        lock(&self.inner.unsettled).as_ref().is_some_and(HashSet::is_empty)
    }

    /// Writes all that the file system has in memory to its disk, and marks the layers that were there before; how many.
    /// With none to mark it does nothing. It can take long, and holds nobody up.
    ///
    /// # Errors
    /// A file error; what is not marked is tried again.
    pub fn settle(&self) -> Result<usize> {
        // What gets its place from here on may come too late for the sync.
        let before = lock(&self.inner.unsettled).replace(HashSet::new());
        let settled = self.settle_now();
        if settled.is_err() {
            let mut unsettled = lock(&self.inner.unsettled);
            *unsettled =
                before.map(|before| before.into_iter().chain(unsettled.take().unwrap_or_default()).collect());
        }
        settled
    }

    fn settle_now(&self) -> Result<usize> {
        let unmarked = self.unmarked()?;
        if unmarked.is_empty() {
            return Ok(0);
        }
        file::sync_file_system(self.root())?;
        let _shared = self.shared();
        for chain in &unmarked {
            // One that was removed meanwhile may be back, and not on the disk.
            let is_new = lock(&self.inner.unsettled).as_ref().is_none_or(|new| new.contains(chain));
            let path = self.layer_path(chain);
            if !is_new && path.exists() {
                file::create(&path.join(MARK), 0o600)?;
            }
        }
        Ok(unmarked.len())
    }

    /// Once after opening: when the machine has been started anew since the store was opened last, makes layers again
    /// that may not have reached the disk. Takes as long as unpacking them.
    ///
    /// # Errors
    /// A file error, or a blob that cannot be unpacked. Layers that are missing then are made when they are used.
    pub fn repair(&self) -> Result<Repaired> {
        let path = self.path(BOOT);
        let now = file::read(Path::new("/proc/sys/kernel/random/boot_id"))?;
        let mut repaired = Repaired::default();
        if file::read_if_exists(&path)?.is_none_or(|last| last != now) {
            // A store that says nothing was in no power cut that is known of.
            if path.exists() {
                repaired = self.make_again()?;
            }
            file::write_atomic(&path, &now, 0o600, Durability::Machine)?;
        }
        let unmarked = self.unmarked()?;
        lock(&self.inner.unsettled).get_or_insert_default().extend(unmarked);
        Ok(repaired)
    }

    fn make_again(&self) -> Result<Repaired> {
        let unmarked: HashSet<ChainId> = self.unmarked()?.into_iter().collect();
        let mut repaired = Repaired::default();
        if unmarked.is_empty() {
            return Ok(repaired);
        }
        let mut images = Vec::new();
        let mut possible = HashSet::new();
        for record in self.images() {
            let members = self.members(&record.target)?.into_iter();
            for image in members.filter(|m| m.kind == MemberKind::Image).filter_map(|m| m.image) {
                let mut chain = None;
                for (blob, diff_id) in image.manifest.layers.iter().zip(&image.config.rootfs.diff_ids) {
                    let layer = ChainId::on(chain.as_ref(), *diff_id);
                    if self.stored_size(&blob.digest) == Some(blob.size) {
                        possible.insert(layer);
                    }
                    chain = Some(layer);
                }
                images.push(image);
            }
        }
        let needed = self.needed()?.layers;
        let mut gone = HashSet::new();
        for chain in unmarked {
            if !possible.contains(&chain) && needed.contains(&chain) {
                repaired.doubtful.push(chain);
                continue;
            }
            self.discard_layer(&chain)?.map_or(Ok(()), Aside::remove)?;
            if possible.contains(&chain) {
                gone.insert(chain);
            } else {
                repaired.removed += 1;
            }
        }
        repaired.again = self.unpack_chains(&images, &gone)?;
        Ok(repaired)
    }

    fn unmarked(&self) -> Result<Vec<ChainId>> {
        let layers = self.layers()?.into_iter();
        Ok(layers.filter(|chain| !self.layer_path(chain).join(MARK).exists()).collect())
    }
}
