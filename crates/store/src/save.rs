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
use crate::load::Loaded;
use crate::member::{Member, MemberKind};

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
    /// Writes an OCI layout with a docker-archive `manifest.json` for these names (or ids). A name is kept; one without a
    /// tag means all tags of the repository; an id gives an image without a name. Of several platforms those that are
    /// here, or those of `platforms`: a single one is written as the manifest alone.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotProvided`], [`Error::NoBlob`] when a layer is missing, a file error or the
    /// receiver's.
    pub fn save(&self, names: &[String], platforms: &[Platform], out: &mut dyn Write) -> Result<()> {
        let _lease = self.lease("save")?;
        let mut content = Content::default();
        for saved in self.to_save(names)? {
            self.add_image(saved, platforms, &mut content)?;
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
            self.add_image((None, target.clone()), &[], &mut content)?;
        }
        for name in names {
            self.add_image((Some(name.clone()), target.clone()), &[], &mut content)?;
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

    /// The images that names and ids mean, each with the name it is saved under.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn to_save(&self, names: &[String]) -> Result<Vec<Loaded>> {
        let mut saved = Vec::new();
        for name in names {
            let reference = name.parse::<Reference>().ok();
            let found = self.resolve(name);
            let is_id = found.as_ref().is_ok_and(|target| self.name_of(name, target).is_none());
            match reference.filter(|r| r.tag.is_none() && r.digest.is_none() && !is_id) {
                Some(reference) => {
                    let tags = self.tags_of(&reference);
                    if tags.is_empty() {
                        return Err(found.err().unwrap_or(Error::NotFound(name.clone())));
                    }
                    saved.extend(tags);
                }
                None => {
                    let target = found?;
                    saved.push((self.name_of(name, &target), target));
                }
            }
        }
        Ok(saved)
    }

    /// Whether an image has the platforms it is to be saved for.
    ///
    /// # Errors
    /// [`Error::NotProvided`], or content that is no image.
    pub fn check_save(&self, saved: &Loaded, platforms: &[Platform]) -> Result<()> {
        let (reference, target) = saved;
        choose(reference.as_ref(), target, &self.members(target)?, platforms).map(drop)
    }

    /// All tags of a repository.
    fn tags_of(&self, reference: &Reference) -> Vec<Loaded> {
        let repository = reference.repository();
        self.images()
            .into_iter()
            .filter_map(|record| Some((record.name.parse::<Reference>().ok()?, record.target)))
            .filter(|(name, _)| name.repository() == repository && name.tag.is_some())
            .map(|(name, target)| (Some(name), target))
            .collect()
    }

    fn add_image(&self, saved: Loaded, platforms: &[Platform], content: &mut Content) -> Result<()> {
        let (reference, whole) = saved;
        let members = self.members(&whole)?;
        let chosen = choose(reference.as_ref(), &whole, &members, platforms)?;
        let target = match chosen.as_slice() {
            [one] => Descriptor { platform: None, ..one.clone() },
            _ => whole.clone(),
        };
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
        content.blobs.insert(target.digest);
        let taken = |member: &Member| {
            let digest = match member.kind {
                MemberKind::Attestation(subject) => subject,
                MemberKind::Image | MemberKind::Unknown => member.descriptor.digest,
            };
            chosen.is_empty() || chosen.iter().any(|descriptor| descriptor.digest == digest)
        };
        for member in members.iter().filter(|member| taken(member)) {
            self.add_member(member, chosen.len() == 1, content)?;
        }
        self.add_indexes(&target, 0, content)?;
        // Old readers know one image per name: this machine's, or else the first.
        let mut images = members.iter().filter(|m| m.is_whole && taken(m)).filter_map(|m| m.image.as_ref());
        let host = Platform::host();
        let runs_here = |m: &&Member| m.is_whole && taken(m) && host.matches(&m.platform);
        let best = members.iter().find(runs_here).and_then(|m| m.image.as_ref());
        let Some(image) = best.or_else(|| images.next()) else { return Ok(()) };
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

    /// A manifest that was never pulled is left out; one that is here must be whole. Saved as its own target
    /// (`alone`), nothing beside it is.
    fn add_member(&self, member: &Member, alone: bool, content: &mut Content) -> Result<()> {
        if member.blobs.is_empty() || alone && member.kind != MemberKind::Image {
            return Ok(());
        }
        if !member.is_whole
            && let Document::Manifest(manifest) = self.document(&member.descriptor)?
        {
            let mut needed = manifest.layers.iter().chain([&manifest.config]).map(|d| d.digest);
            // Layers that are not to be distributed may be elsewhere.
            let missing = needed.find(|digest| self.stored_size(digest).is_none());
            let foreign =
                |digest: &Digest| manifest.layers.iter().any(|l| l.digest == *digest && !l.urls.is_empty());
            if let Some(missing) = missing.filter(|digest| !foreign(digest)) {
                return Err(Error::NoBlob(missing));
            }
        }
        content.blobs.extend(member.blobs.iter().map(|(digest, _)| *digest));
        Ok(())
    }

    /// Indexes within the target's.
    fn add_indexes(&self, target: &Descriptor, depth: usize, content: &mut Content) -> Result<()> {
        let Document::Index(index) = self.document(target)? else { return Ok(()) };
        content.blobs.insert(target.digest);
        for inner in index.manifests.iter().filter(|inner| media::is_index(&inner.media_type)) {
            if depth < MAX_NESTING && self.stored_size(&inner.digest).is_some() {
                self.add_indexes(inner, depth + 1, content)?;
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
}

/// The manifests of an image for these platforms.
fn choose(
    reference: Option<&Reference>,
    target: &Descriptor,
    members: &[Member],
    platforms: &[Platform],
) -> Result<Vec<Descriptor>> {
    let mut chosen = Vec::new();
    for platform in platforms {
        let of = |m: &&Member| m.kind == MemberKind::Image && m.is_whole && platform.matches(&m.platform);
        let Some(member) = members.iter().find(of) else {
            let name = reference.map_or_else(|| target.digest.to_string(), Reference::familiar);
            return Err(Error::NotProvided { name, platform: platform.to_string() });
        };
        chosen.push(member.descriptor.clone());
    }
    Ok(chosen)
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
