//! Images become an archive: an OCI layout (image-spec, image-layout.md) with a docker-archive `manifest.json`, which
//! Docker before 25 reads instead. Both point at the same blobs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};

use serde::{Deserialize, Serialize};
use spec::oci::image::{Descriptor, Index, Platform, media};
use spec::{Digest, Reference};

use crate::Store;
use crate::archive::{Entry, EntryKind, Writer};
use crate::error::{Error, Result};
use crate::image::{Document, MAX_NESTING};

const BUFFER: usize = 128 << 10;
/// The tag (image-spec, annotations.md), and containerd's full name.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";
/// `oci-layout`'s content.
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// One image of a docker-archive's `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ArchiveImage {
    pub(crate) config: String,
    #[serde(default)]
    pub(crate) repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) layers: Vec<String>,
}

/// What goes into the archive.
#[derive(Default)]
struct Content {
    index: Vec<Descriptor>,
    /// Config digest → image.
    images: BTreeMap<Digest, ArchiveImage>,
    blobs: BTreeSet<Digest>,
}

impl Store {
    /// Writes an OCI layout with a docker-archive `manifest.json` for these names (or ids). A name is kept; an id gives
    /// an image without one. Of several platforms, those that are here.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NoBlob`] when a layer is missing, a file error or the receiver's.
    pub fn save(&self, names: &[String], out: &mut dyn Write) -> Result<()> {
        let _lease = self.lease("save")?;
        let mut content = Content::default();
        for name in names {
            let target = self.resolve(name)?;
            let reference = self.name_of(name, &target);
            self.add_image(&target, reference, &mut content)?;
        }
        self.write_layout(content, out)
    }

    /// The same for one manifest or index, under names that the store need not know.
    ///
    /// # Errors
    /// As [`Store::save`].
    pub fn save_target(&self, target: &Descriptor, names: &[Reference], out: &mut dyn Write) -> Result<()> {
        let _lease = self.lease("save")?;
        let mut content = Content::default();
        if names.is_empty() {
            self.add_image(target, None, &mut content)?;
        }
        for name in names {
            self.add_image(target, Some(name.clone()), &mut content)?;
        }
        self.write_layout(content, out)
    }

    fn write_layout(&self, content: Content, out: &mut dyn Write) -> Result<()> {
        let mut out = Writer::new(BufWriter::with_capacity(BUFFER, out));
        for directory in ["blobs/", "blobs/sha256/"] {
            out.append_empty(&Entry::new(directory, EntryKind::Directory, 0o755))?;
        }
        for digest in &content.blobs {
            let mut blob = self.blob(digest)?;
            let size = self.blob_size(digest).ok_or(Error::NoBlob(*digest))?;
            let entry = Entry { size, ..Entry::new(blob_name(digest), EntryKind::File, 0o644) };
            out.append(&entry, &mut blob)?;
        }
        let index = Index {
            schema_version: 2,
            media_type: media::INDEX.into(),
            manifests: content.index,
            annotations: BTreeMap::new(),
        };
        let images: Vec<_> = content.images.into_values().collect();
        out.append_bytes("index.json", 0o644, &serde_json::to_vec(&index).expect("plain data serialises"))?;
        out.append_bytes(
            "manifest.json",
            0o644,
            &serde_json::to_vec(&images).expect("plain data serialises"),
        )?;
        out.append_bytes("oci-layout", 0o444, LAYOUT)?;
        out.finish().map(drop)
    }

    fn add_image(
        &self,
        target: &Descriptor,
        reference: Option<Reference>,
        content: &mut Content,
    ) -> Result<()> {
        let mut descriptor = target.clone();
        if let Some(reference) = &reference {
            descriptor.annotations.insert(IMAGE_NAME.into(), reference.to_string());
            if let Some(tag) = &reference.tag {
                descriptor.annotations.insert(REF_NAME.into(), tag.clone());
            }
        }
        if !content.index.contains(&descriptor) {
            content.index.push(descriptor);
        }
        self.add_target(target, 0, content)?;
        // Old readers know one image per name: this machine's, or else the only one.
        let Ok(image) = self.image(target, &Platform::host()).or_else(|_| self.only_image(target)) else {
            return Ok(());
        };
        let record = content.images.entry(image.manifest.config.digest).or_insert_with(|| ArchiveImage {
            config: blob_name(&image.manifest.config.digest),
            repo_tags: None,
            layers: image.manifest.layers.iter().map(|layer| blob_name(&layer.digest)).collect(),
        });
        if let Some(reference) = reference.filter(|reference| reference.tag.is_some()) {
            let tags = record.repo_tags.get_or_insert_default();
            let tag = reference.familiar();
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        Ok(())
    }

    /// The name under which the user asked, if it was a name.
    fn name_of(&self, text: &str, target: &Descriptor) -> Option<Reference> {
        let reference = text.parse::<Reference>().ok()?.or_latest();
        let name = reference.to_string();
        self.images()
            .iter()
            .any(|record| record.name == name && record.target.digest == target.digest)
            .then_some(reference)
    }

    fn add_target(&self, target: &Descriptor, depth: usize, content: &mut Content) -> Result<()> {
        let document = self.document(target)?;
        content.blobs.insert(target.digest);
        match document {
            Document::Index(index) if depth < MAX_NESTING => {
                for manifest in &index.manifests {
                    match self.add_target(manifest, depth + 1, content) {
                        // Another platform that was never pulled, or an artifact that is no image.
                        Err(Error::NoBlob(missing)) if missing == manifest.digest => {}
                        Err(Error::Invalid(_)) => {}
                        added => added?,
                    }
                }
            }
            Document::Index(_) => {}
            Document::Manifest(manifest) => {
                content.blobs.insert(manifest.config.digest);
                content.blobs.extend(manifest.layers.iter().map(|layer| layer.digest));
            }
        }
        Ok(())
    }

    /// The image of an index that has one platform here, whichever.
    fn only_image(&self, target: &Descriptor) -> Result<crate::Image> {
        let Document::Index(index) = self.document(target)? else {
            return Err(Error::NoPlatform(Platform::host()));
        };
        let mut here = index.manifests.iter().filter(|manifest| {
            self.blob_path(&manifest.digest).exists()
                && manifest.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
        });
        match (here.next(), here.next()) {
            (Some(manifest), None) => self.image(manifest, &Platform::host()),
            _ => Err(Error::NoPlatform(Platform::host())),
        }
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
