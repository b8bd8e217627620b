//! The manifests behind a target: one per platform, and the attestations beside them; what of each is here.

use spec::Digest;
use spec::oci::image::{Descriptor, Manifest, Platform};

use crate::error::Result;
use crate::image::{Document, Image, MAX_NESTING};
use crate::layer::ChainId;
use crate::{Error, Store};

/// BuildKit's annotations of an attestation in an index: what it is, and whose.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// One manifest behind a target.
#[derive(Debug, Clone)]
pub struct Member {
    /// As the target names it; the target itself when it is a manifest.
    pub descriptor: Descriptor,
    /// What it is.
    pub kind: MemberKind,
    /// Of an image: what it runs on, as far as it is known.
    pub platform: Platform,
    /// The manifest, its configuration and all its layers are here.
    pub is_whole: bool,
    /// Those of its blobs that are here, the manifest first, and their sizes.
    pub blobs: Vec<(Digest, u64)>,
    /// Those of its layers that are unpacked, lowest first, and their bytes on disk.
    pub layers: Vec<(ChainId, u64)>,
    /// An image whose manifest and configuration are here.
    pub image: Option<Image>,
}

/// What a manifest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    /// An image for one platform.
    Image,
    /// Statements about another manifest.
    Attestation(Digest),
    /// Something else that an index may name.
    Unknown,
}

impl MemberKind {
    /// As an index says it.
    pub fn of(descriptor: &Descriptor) -> Self {
        let subject = || descriptor.annotations.get(REFERENCE_DIGEST).and_then(|digest| digest.parse().ok());
        match descriptor.annotations.get(REFERENCE_TYPE).map(String::as_str) {
            Some("attestation-manifest") => subject().map_or(Self::Unknown, Self::Attestation),
            _ if descriptor.platform.as_ref().is_some_and(|platform| platform.os == "unknown") => {
                Self::Unknown
            }
            _ => Self::Image,
        }
    }
}

impl Member {
    /// Bytes of its blobs.
    pub fn content(&self) -> u64 {
        self.blobs.iter().map(|(_, size)| size).sum()
    }

    /// Bytes of its unpacked layers.
    pub fn unpacked(&self) -> u64 {
        self.layers.iter().map(|(_, size)| size).sum()
    }
}

impl Store {
    /// All manifests behind a target, in its order, those of platforms that were never pulled too.
    ///
    /// # Errors
    /// [`Error::NoBlob`] for the target itself, or content that is no image.
    pub fn members(&self, target: &Descriptor) -> Result<Vec<Member>> {
        let mut members = Vec::new();
        self.add_members(target, target, 0, &mut members)?;
        Ok(members)
    }

    fn add_members(
        &self,
        target: &Descriptor,
        descriptor: &Descriptor,
        depth: usize,
        members: &mut Vec<Member>,
    ) -> Result<()> {
        match self.document(descriptor) {
            Ok(Document::Index(index)) if depth < MAX_NESTING => {
                index.manifests.iter().try_for_each(|d| self.add_members(target, d, depth + 1, members))
            }
            Ok(Document::Index(_)) => Ok(()),
            Ok(Document::Manifest(manifest)) => {
                members.push(self.member(target, descriptor, *manifest));
                Ok(())
            }
            Err(Error::NoBlob(_) | Error::Invalid(_)) if depth > 0 => {
                members.push(absent(descriptor));
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    fn member(&self, target: &Descriptor, descriptor: &Descriptor, manifest: Manifest) -> Member {
        let mut member = absent(descriptor);
        let needed = manifest.layers.iter().chain([&manifest.config]).map(|d| d.digest);
        member.is_whole = true;
        for digest in std::iter::once(descriptor.digest).chain(needed) {
            match self.stored_size(&digest) {
                Some(size) if !member.blobs.contains(&(digest, size)) => member.blobs.push((digest, size)),
                Some(_) => {}
                None => member.is_whole = false,
            }
        }
        if member.kind != MemberKind::Image {
            return member;
        }
        let Ok(config) = self.config(&manifest.config) else { return member };
        let mut chain = None;
        for diff_id in &config.rootfs.diff_ids {
            let layer = ChainId::on(chain.as_ref(), *diff_id);
            if let Ok(meta) = self.layer_meta(&layer) {
                member.layers.push((layer, meta.size));
            }
            chain = Some(layer);
        }
        let image = Image {
            target: target.clone(),
            manifest_descriptor: descriptor.clone(),
            manifest,
            config,
            chain,
        };
        if descriptor.platform.is_none() {
            member.platform = image.platform();
        }
        member.image = Some(image);
        member
    }
}

/// A manifest of which nothing but its descriptor is known.
fn absent(descriptor: &Descriptor) -> Member {
    Member {
        descriptor: descriptor.clone(),
        kind: MemberKind::of(descriptor),
        platform: descriptor.platform.clone().unwrap_or_default(),
        is_whole: false,
        blobs: Vec::new(),
        layers: Vec::new(),
        image: None,
    }
}
