//! Images: from a target (index or manifest) to one platform's manifest and configuration, and back.

use serde_json::Value;
use spec::oci::image::{Descriptor, Image as ImageJson, Index, Manifest, Platform, media};

use crate::Store;
use crate::error::{Error, Result};
use crate::layer::ChainId;

/// Indexes within indexes that are followed.
pub(crate) const MAX_NESTING: usize = 3;

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

impl Image {
    /// What it runs on, as its configuration says.
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.config.architecture.clone(),
            os: self.config.os.clone(),
            os_version: self.config.os_version.clone(),
            variant: self.config.variant.clone(),
            ..Platform::default()
        }
    }
}

/// What a target is.
#[derive(Debug, Clone)]
pub(crate) enum Document {
    /// A manifest per platform.
    Index(Index),
    /// One image.
    Manifest(Box<Manifest>),
}

impl Document {
    /// Reads a target's bytes. What they say decides, not the media type that came with them alone: content that can be
    /// read both ways, or that contradicts its descriptor, is refused (CVE-2021-41190).
    pub(crate) fn parse(descriptor: &Descriptor, bytes: &[u8]) -> Result<Self> {
        let invalid = |why: &str| Error::Invalid(format!("content {}: {why}", descriptor.digest));
        let value: Value = spec::gojson::from_slice(bytes).map_err(|e| invalid(&e.to_string()))?;
        let has = |member: &str| value.get(member).is_some_and(|v| !v.is_null());
        let stated = value.get("mediaType").and_then(Value::as_str).unwrap_or(&descriptor.media_type);
        let (is_index, is_manifest) = (has("manifests"), has("config") || has("layers"));
        if is_index == is_manifest {
            return Err(invalid("neither a manifest nor an index"));
        }
        if is_index && media::is_manifest(stated) || is_manifest && media::is_index(stated) {
            return Err(invalid("its content is not what its media type says"));
        }
        let document = if is_index {
            spec::gojson::from_value(value).map(Self::Index)
        } else {
            spec::gojson::from_value(value).map(|manifest| Self::Manifest(Box::new(manifest)))
        };
        document.map_err(|e| invalid(&e.to_string()))
    }
}

impl Store {
    /// Reads the image behind a target for a platform. A target that is one manifest is taken as it is: whether it runs
    /// here is the caller's to say.
    ///
    /// # Errors
    /// [`Error::NoBlob`], [`Error::NoPlatform`], or content that is no image.
    pub fn image(&self, target: &Descriptor, platform: &Platform) -> Result<Image> {
        let (manifest_descriptor, manifest) = self.pick(target, platform, 0)?;
        let config = self.config(&manifest.config)?;
        let chain = Self::chain_of(&config.rootfs.diff_ids);
        for digest in [target.digest, manifest_descriptor.digest, manifest.config.digest] {
            self.hold(digest);
        }
        Ok(Image { target: target.clone(), manifest_descriptor, manifest, config, chain })
    }

    fn pick(&self, target: &Descriptor, platform: &Platform, depth: usize) -> Result<(Descriptor, Manifest)> {
        let index = match self.document(target)? {
            Document::Manifest(manifest) => return Ok((target.clone(), *manifest)),
            Document::Index(index) => index,
        };
        if depth > MAX_NESTING {
            return Err(Error::Invalid(format!("content {}: indexes nested too deep", target.digest)));
        }
        let mut failure = None;
        for candidate in candidates(&index, platform) {
            match self.pick(candidate, platform, depth + 1) {
                Ok(found) => return Ok(found),
                // The next best may be here, or be the right index.
                Err(e @ (Error::NoBlob(_) | Error::NoPlatform(_))) => failure = failure.or(Some(e)),
                Err(e) => return Err(e),
            }
        }
        Err(failure.unwrap_or_else(|| Error::NoPlatform(platform.clone())))
    }

    /// Reads a target's document; it takes no lock.
    pub(crate) fn document(&self, target: &Descriptor) -> Result<Document> {
        Document::parse(target, &self.blob_bytes_unlocked(&target.digest)?)
    }

    /// Reads an image configuration; it takes no lock.
    pub(crate) fn config(&self, descriptor: &Descriptor) -> Result<ImageJson> {
        let bytes = self.blob_bytes_unlocked(&descriptor.digest)?;
        spec::gojson::from_slice(&bytes)
            .map_err(|e| Error::Invalid(format!("image configuration {}: {e}", descriptor.digest)))
    }

    /// Writes config and manifest of a new image and returns the manifest's descriptor. `layers` are blobs here,
    /// lowest first; `config.rootfs.diff_ids` must match them.
    ///
    /// # Errors
    /// [`Error::NoBlob`] for a layer, another number of layers than of diff ids, or a file error.
    pub fn put_image(&self, config: &ImageJson, layers: &[Descriptor]) -> Result<Descriptor> {
        if config.rootfs.diff_ids.len() != layers.len() {
            return Err(Error::Invalid(format!(
                "{} layers but {} diff ids",
                layers.len(),
                config.rootfs.diff_ids.len()
            )));
        }
        if let Some(missing) = layers.iter().find(|layer| self.blob_size(&layer.digest).is_none()) {
            return Err(Error::NoBlob(missing.digest));
        }
        let bytes = serde_json::to_vec(config).expect("plain data serialises");
        let config = self.put_blob(media::CONFIG, &bytes)?;
        self.put_manifest(config, layers.to_vec())
    }

    /// Writes the manifest of a configuration that is here.
    pub(crate) fn put_manifest(&self, config: Descriptor, layers: Vec<Descriptor>) -> Result<Descriptor> {
        let manifest = Manifest {
            schema_version: 2,
            media_type: media::MANIFEST.into(),
            config,
            layers,
            annotations: Default::default(),
            artifact_type: None,
            subject: None,
        };
        let bytes = serde_json::to_vec(&manifest).expect("plain data serialises");
        self.put_blob(media::MANIFEST, &bytes)
    }
}

/// The manifests of an index that may serve a platform, best first. Attestations (`unknown/unknown`) never do; manifests
/// without a platform do when no other does.
fn candidates<'i>(index: &'i Index, platform: &Platform) -> Vec<&'i Descriptor> {
    let mut ranked: Vec<(u8, &Descriptor)> = Vec::new();
    for manifest in &index.manifests {
        match &manifest.platform {
            None => ranked.push((2, manifest)),
            Some(offered) if offered.os == "unknown" => {}
            Some(offered) if platform.matches(offered) => {
                ranked.push((u8::from(offered.variant != platform.variant), manifest));
            }
            Some(_) => {}
        }
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, manifest)| manifest).collect()
}
