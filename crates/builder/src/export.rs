//! The last states become an image in the store, and what else was asked for: there is nothing to load afterwards.

pub(crate) mod attest;
pub(crate) mod compress;
pub(crate) mod output;
pub(crate) mod provenance;
pub(crate) mod sbom;

use std::collections::BTreeMap;

use spec::Reference;
use spec::api::Platform;
use spec::oci::image::{Descriptor, Index, media};
use store::Store;

use crate::error::{Error, Result};
use crate::finish::Finished;
use attest::Statement;

/// Where an annotation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Manifest,
    ManifestDescriptor,
    Index,
    IndexDescriptor,
}

/// One `--annotation`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Annotation {
    level: Level,
    /// Only of this platform's manifest.
    platform: Option<Platform>,
    key: String,
    value: String,
}

impl Annotation {
    /// Reads `[level[[platform]]:]key=value`; several levels are separated by commas.
    pub(crate) fn read(text: &str) -> Result<Vec<Self>> {
        let wrong =
            || Error::Request(format!("invalid annotation {text:?}: expected [manifest|index|…:]key=value"));
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        let (levels, key) = name.split_once(':').unwrap_or(("manifest", name));
        if key.is_empty() {
            return Err(wrong());
        }
        let mut annotations = Vec::new();
        for level in levels.split(',') {
            let (level, platform) = match level.split_once('[') {
                None => (level, None),
                Some((level, platform)) => {
                    let platform = platform.strip_suffix(']').and_then(Platform::parse).ok_or_else(wrong)?;
                    (level, Some(platform))
                }
            };
            let level = match level {
                "manifest" => Level::Manifest,
                "manifest-descriptor" => Level::ManifestDescriptor,
                "index" => Level::Index,
                "index-descriptor" => Level::IndexDescriptor,
                _ => return Err(wrong()),
            };
            annotations.push(Self { level, platform, key: key.to_owned(), value: value.to_owned() });
        }
        Ok(annotations)
    }
}

/// The annotations of a level, and of a platform there.
fn at(annotations: &[Annotation], level: Level, platform: Option<&Platform>) -> BTreeMap<String, String> {
    let fits = |a: &&Annotation| {
        a.level == level
            && match (&a.platform, platform) {
                (Some(wanted), Some(platform)) => wanted.matches(platform),
                (Some(_), None) => false,
                (None, _) => true,
            }
    };
    annotations.iter().filter(fits).map(|a| (a.key.clone(), a.value.clone())).collect()
}

/// Writes the images, and an index for several or for what is said about them. `statements` are those about each
/// image, in order.
pub(crate) fn write(
    store: &Store,
    images: &[Finished],
    annotations: &[Annotation],
    names: &[Reference],
    statements: &[Vec<Statement>],
) -> Result<Descriptor> {
    let mut manifests = Vec::new();
    for image in images {
        let platform = platform(image);
        let own = at(annotations, Level::Manifest, Some(&platform));
        let mut descriptor = store.put_image_with(&image.config, &image.layers, own)?;
        descriptor.annotations = at(annotations, Level::ManifestDescriptor, Some(&platform));
        descriptor.platform = Some(platform);
        manifests.push(descriptor);
    }
    let index = at(annotations, Level::Index, None);
    if let ([one], true, true) =
        (manifests.as_slice(), statements.iter().all(Vec::is_empty), index.is_empty())
    {
        return Ok(Descriptor { platform: None, ..one.clone() });
    }
    for (number, statements) in statements.iter().enumerate().filter(|(_, all)| !all.is_empty()) {
        let platform = platform(&images[number]);
        manifests.push(attest::attest(store, &manifests[number], names, &platform, statements)?);
    }
    let index = Index { schema_version: 2, media_type: media::INDEX.into(), manifests, annotations: index };
    let bytes = serde_json::to_vec(&index).expect("an index is plain data");
    let mut target = store.put_blob(media::INDEX, &bytes)?;
    target.annotations = at(annotations, Level::IndexDescriptor, None);
    Ok(target)
}

/// The platform that an image is for.
pub(crate) fn platform(image: &Finished) -> Platform {
    Platform {
        architecture: image.config.architecture.clone(),
        os: image.config.os.clone(),
        variant: image.config.variant.clone(),
        ..Platform::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_have_levels() {
        let read = |text| Annotation::read(text).unwrap();
        let all: Vec<Annotation> =
            [read("a=1"), read("index:b=2"), read("manifest[linux/arm64],index:c=3")].concat();
        let arm = Platform::parse("linux/arm64").unwrap();
        let keys = |map: BTreeMap<String, String>| map.into_keys().collect::<Vec<_>>();
        assert_eq!(keys(at(&all, Level::Manifest, Some(&Platform::parse("linux/amd64").unwrap()))), ["a"]);
        assert_eq!(keys(at(&all, Level::Manifest, Some(&arm))), ["a", "c"]);
        assert_eq!(keys(at(&all, Level::Index, None)), ["b", "c"]);
        for bad in ["a", "=b", "nowhere:a=b", "manifest[x]:a=b"] {
            assert!(Annotation::read(bad).is_err(), "{bad}");
        }
    }
}
