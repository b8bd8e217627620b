//! What belongs to an image in the store, and what of it is here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use spec::oci::image::{Descriptor, Image, Index, Manifest, Platform, media};
use spec::{Digest, Reference};
use store::{MemberKind, Store};
use tokio::sync::OnceCell;

use super::pull::blocking;
use super::resolve::choose;
use crate::{Error, digest};

/// Deeper than any index of indexes.
const MAX_NESTING: usize = 4;
/// Repositories that a blob is looked for in, before it is sent.
const SOURCES: usize = 3;

/// What there is to send.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) blobs: BTreeMap<Digest, Descriptor>,
    /// Those that others refer to first; the root is not among them.
    pub(crate) manifests: Vec<Descriptor>,
    /// The one that gets the name, and its bytes.
    pub(crate) root: Descriptor,
    pub(crate) bytes: Bytes,
    /// The index in whose stead one manifest goes.
    pub(crate) instead_of: Option<Descriptor>,
    /// Platforms of the index that are not here.
    pub(crate) left_out: Vec<String>,
}

fn read<T: serde::de::DeserializeOwned>(store: &Store, descriptor: &Descriptor) -> Result<T, Error> {
    let bytes = store.blob_bytes(&descriptor.digest)?;
    let invalid = |e| store::Error::Invalid(format!("{}: {e}", descriptor.digest));
    Ok(serde_json::from_slice(&bytes).map_err(invalid)?)
}

/// Whether a manifest and all it names are here.
fn is_here(store: &Store, descriptor: &Descriptor) -> bool {
    if media::is_index(&descriptor.media_type) {
        let index = read::<Index>(store, descriptor);
        return index.is_ok_and(|index| index.manifests.iter().all(|d| is_here(store, d)));
    }
    let Ok(manifest) = read::<Manifest>(store, descriptor) else { return false };
    let mut blobs = manifest.layers.iter().chain([&manifest.config]);
    blobs.all(|blob| !blob.urls.is_empty() || store.blob_size(&blob.digest).is_some())
}

/// The manifests of an index that are not here, or not whole.
pub(crate) fn missing(store: &Store, target: &Descriptor) -> Result<Vec<Descriptor>, Error> {
    if media::is_manifest(&target.media_type) {
        return Ok(Vec::new());
    }
    let index: Index = read(store, target)?;
    Ok(index.manifests.into_iter().filter(|d| !is_here(store, d)).collect())
}

/// Finds out what belongs to a target. `whole`: an index goes as it is, with what is here of it.
pub(crate) fn collect(
    store: &Store,
    reference: &Reference,
    target: &Descriptor,
    platform: Option<&Platform>,
    whole: bool,
) -> Result<Content, Error> {
    if media::is_manifest(&target.media_type) {
        if let Some(platform) = platform {
            let manifest: Manifest = read(store, target)?;
            let config: Image = read(store, &manifest.config)?;
            let own = Platform {
                architecture: config.architecture,
                os: config.os,
                variant: config.variant,
                ..Platform::default()
            };
            if !platform.matches(&own) {
                return Err(not_provided(reference, platform));
            }
        }
        return alone(store, target);
    }
    let index: Index = read(store, target)?;
    if let Some(platform) = platform {
        let chosen = choose(&index, platform).filter(|d| is_here(store, d));
        return alone(store, chosen.ok_or_else(|| not_provided(reference, platform))?);
    }
    let here: Vec<&Descriptor> = index.manifests.iter().filter(|d| is_here(store, d)).collect();
    if whole || here.len() == index.manifests.len() {
        return all(store, &here, target.clone(), store.blob_bytes(&target.digest)?.into());
    }
    let is_image = |d: &&&Descriptor| MemberKind::of(d) == MemberKind::Image;
    let mut images = here.iter().filter(is_image);
    match (images.next(), images.next()) {
        (None, _) => Err(store::Error::NotFound(reference.familiar()).into()),
        (Some(only), None) => Ok(Content { instead_of: Some(target.clone()), ..alone(store, only)? }),
        (Some(_), Some(_)) => {
            let (root, bytes) = reduced(store, target, &here)?;
            let missing: Vec<&Descriptor> = index.manifests.iter().filter(|d| !here.contains(d)).collect();
            let left_out = missing.iter().filter(is_image);
            let left_out = left_out
                .map(|d| d.platform.as_ref().map_or_else(|| d.digest.to_string(), ToString::to_string));
            Ok(Content { left_out: left_out.collect(), ..all(store, &here, root, bytes)? })
        }
    }
}

fn not_provided(reference: &Reference, platform: &Platform) -> Error {
    Error::NotProvided { reference: reference.familiar(), platform: platform.to_string() }
}

/// One manifest, to get the name.
fn alone(store: &Store, manifest: &Descriptor) -> Result<Content, Error> {
    let mut content = all(store, &[manifest], manifest.clone(), store.blob_bytes(&manifest.digest)?.into())?;
    content.manifests.clear();
    Ok(content)
}

fn all(store: &Store, manifests: &[&Descriptor], root: Descriptor, bytes: Bytes) -> Result<Content, Error> {
    let mut content = Content {
        blobs: BTreeMap::new(),
        manifests: Vec::new(),
        root,
        bytes,
        instead_of: None,
        left_out: Vec::new(),
    };
    for manifest in manifests {
        add(store, &mut content, manifest, 0)?;
    }
    Ok(content)
}

fn add(store: &Store, content: &mut Content, descriptor: &Descriptor, depth: usize) -> Result<(), Error> {
    if depth > MAX_NESTING {
        return Err(
            store::Error::Invalid(format!("{}: too many indexes in indexes", descriptor.digest)).into()
        );
    }
    if media::is_index(&descriptor.media_type) {
        for manifest in read::<Index>(store, descriptor)?.manifests {
            add(store, content, &manifest, depth + 1)?;
        }
    } else {
        let manifest: Manifest = read(store, descriptor)?;
        for blob in manifest.layers.into_iter().chain([manifest.config]) {
            // Layers that live elsewhere are not ours to send.
            if blob.urls.is_empty() {
                content.blobs.insert(blob.digest, blob);
            }
        }
    }
    content.manifests.push(descriptor.clone());
    Ok(())
}

/// The index with what is here only. All else of it stays as it was.
fn reduced(store: &Store, index: &Descriptor, here: &[&Descriptor]) -> Result<(Descriptor, Bytes), Error> {
    let mut document: serde_json::Value = read(store, index)?;
    let kept: BTreeSet<String> = here.iter().map(|d| d.digest.to_string()).collect();
    if let Some(manifests) = document.get_mut("manifests").and_then(|m| m.as_array_mut()) {
        manifests.retain(|m| m["digest"].as_str().is_some_and(|digest| kept.contains(digest)));
    }
    let bytes = Bytes::from(document.to_string());
    Ok((Descriptor::new(&index.media_type, digest::of(&bytes), bytes.len() as u64), bytes))
}

/// Other repositories of the registry that is pushed to which, as far as is known here, have a blob.
#[derive(Debug)]
pub(crate) struct Mounts {
    store: Store,
    to: Reference,
    /// Looked up when the first blob is missing.
    found: OnceCell<HashMap<Digest, Vec<String>>>,
}

impl Mounts {
    pub(crate) fn new(store: &Store, to: &Reference) -> Self {
        Self { store: store.clone(), to: to.clone(), found: OnceCell::new() }
    }

    /// The repositories that have a blob.
    pub(crate) async fn sources(&self, digest: &Digest) -> Result<&[String], Error> {
        let found = self.found.get_or_try_init(|| {
            let (store, to) = (self.store.clone(), self.to.clone());
            blocking(move || Ok(look(&store, &to)))
        });
        Ok(found.await?.get(digest).map_or(&[], Vec::as_slice))
    }
}

/// From the names of images in the store. What cannot be read names nothing.
fn look(store: &Store, to: &Reference) -> HashMap<Digest, Vec<String>> {
    let mut found: HashMap<Digest, Vec<String>> = HashMap::new();
    let elsewhere = |r: &Reference| r.domain == to.domain && r.path != to.path;
    for record in store.images() {
        let Some(reference) = record.name.parse::<Reference>().ok().filter(elsewhere) else { continue };
        let Ok(content) = collect(store, &reference, &record.target, None, true) else { continue };
        for digest in content.blobs.into_keys() {
            let sources = found.entry(digest).or_default();
            if sources.len() < SOURCES && !sources.contains(&reference.path) {
                sources.push(reference.path.clone());
            }
        }
    }
    found
}
