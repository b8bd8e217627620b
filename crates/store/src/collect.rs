//! Collection: mark from the roots, sweep the rest.
//!
//! Roots are the image names, the writable layers, what leases hold, images that are on their way (a pull that broke off
//! goes on from what is here), and what the caller adds (build cache). Nothing
//! counts references: a crash can leave garbage, never a wrong count.

use std::collections::HashSet;

use spec::Digest;
use spec::oci::image::Descriptor;
use sys::root::Root;

use crate::error::{Error, Result};
use crate::image::{Document, MAX_NESTING};
use crate::layer::ChainId;
use crate::{Store, usage};

/// What [`Store::needed`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needed {
    /// Unpacked layers.
    pub layers: HashSet<ChainId>,
    /// Blobs of images.
    pub blobs: HashSet<Digest>,
}

#[derive(Default)]
struct Marks {
    blobs: HashSet<Digest>,
    layers: HashSet<ChainId>,
}

impl Store {
    /// Removes what no image, writable layer or lease needs; returns the bytes freed. `extra_layers` and `extra_blobs`
    /// are further roots (build cache records). Writers wait for the sweep, not for the removal of what it found.
    ///
    /// # Errors
    /// A file error, or a manifest that is damaged: then nothing is removed, since what it needs is not known.
    pub fn collect(&self, extra_layers: &[ChainId], extra_blobs: &[Digest]) -> Result<u64> {
        let mut freed = self.expire_broken()?;
        let mut discarded = Vec::new();
        {
            let _alone = self.exclusive();
            let marks = self.mark(extra_layers, extra_blobs)?;
            for chain in self.layers()? {
                if !marks.layers.contains(&chain) {
                    discarded.extend(self.discard_layer(&chain)?);
                }
            }
            let blobs = Root::open(&self.path("blobs/sha256"))?;
            for digest in self.blobs()? {
                if !marks.blobs.contains(&digest) {
                    let disk = blobs.top().metadata(digest.hex())?.disk;
                    blobs.top().remove(digest.hex())?;
                    freed += disk;
                }
            }
        }
        for aside in discarded {
            freed += usage::below(aside.path())?;
            aside.remove()?;
        }
        Ok(freed)
    }

    /// What images and writable layers need, whatever else holds it.
    ///
    /// # Errors
    /// A file error, or a damaged manifest.
    pub fn needed(&self) -> Result<Needed> {
        let _alone = self.exclusive();
        let mut marks = Marks::default();
        for record in self.images() {
            self.mark_target(&record.target, 0, &mut marks)?;
        }
        for id in self.rw_list()? {
            if let Ok(Some(chain)) = self.rw_parent(&id) {
                self.mark_chain(chain, &mut marks);
            }
        }
        Ok(Needed { layers: marks.layers, blobs: marks.blobs })
    }

    fn mark(&self, extra_layers: &[ChainId], extra_blobs: &[Digest]) -> Result<Marks> {
        let mut marks = Marks::default();
        for record in self.images() {
            self.mark_target(&record.target, 0, &mut marks)?;
        }
        for manifest in self.expected_images()? {
            self.mark_target(&manifest, 1, &mut marks)?;
        }
        for id in self.rw_list()? {
            // One without a record is half removed.
            match self.rw_parent(&id) {
                Ok(Some(chain)) => self.mark_chain(chain, &mut marks),
                Ok(None) | Err(Error::NoRw(_)) => {}
                Err(e) => return Err(e),
            }
        }
        for chain in extra_layers {
            self.mark_chain(*chain, &mut marks);
        }
        for held in self.held() {
            // A digest of either kind; the other kind has none of that name.
            self.mark_chain(ChainId(held), &mut marks);
            marks.blobs.insert(held);
        }
        marks.blobs.extend(extra_blobs);
        Ok(marks)
    }

    /// Marks a manifest or index and all it names. What is not here (other platforms) needs no mark.
    fn mark_target(&self, target: &Descriptor, depth: usize, marks: &mut Marks) -> Result<()> {
        if !marks.blobs.insert(target.digest) || depth > MAX_NESTING {
            return Ok(());
        }
        let document = match self.document(target) {
            Err(Error::NoBlob(_)) => return Ok(()),
            // Something that is not an image (an attached artifact): it names nothing we know.
            Err(Error::Invalid(_)) if depth > 0 => return Ok(()),
            document => document?,
        };
        match document {
            Document::Index(index) => {
                for manifest in &index.manifests {
                    self.mark_target(manifest, depth + 1, marks)?;
                }
            }
            Document::Manifest(manifest) => {
                marks.blobs.insert(manifest.config.digest);
                marks.blobs.extend(manifest.layers.iter().map(|layer| layer.digest));
                // A configuration that is none of an image's has no layers to unpack.
                if let Ok(config) = self.config(&manifest.config) {
                    let mut chain = None;
                    for diff_id in config.rootfs.diff_ids {
                        chain = Some(ChainId::on(chain.as_ref(), diff_id));
                        marks.layers.extend(chain);
                    }
                }
            }
        }
        Ok(())
    }

    fn mark_chain(&self, chain: ChainId, marks: &mut Marks) {
        let mut next = Some(chain);
        while let Some(chain) = next {
            if !marks.layers.insert(chain) {
                return;
            }
            next = self.layer_meta(&chain).ok().and_then(|meta| meta.parent);
        }
    }
}
