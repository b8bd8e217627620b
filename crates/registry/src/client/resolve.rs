//! References become descriptors.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use spec::api::AuthConfig;
use spec::oci::image::{Descriptor, Image, Index, Manifest, Platform, media};
use spec::{Digest, Reference};

use super::Client;
use super::session::Session;
use super::sources::Sources;
use crate::{Error, digest};

/// The largest manifest or configuration that is read.
pub(crate) const LIMIT: usize = 4 << 20;

/// A manifest or index as it came.
pub(crate) struct Fetched {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Bytes,
}

/// The kinds of manifest that are understood.
pub(crate) fn accept() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for kind in [media::INDEX, media::DOCKER_LIST, media::MANIFEST, media::DOCKER_MANIFEST] {
        headers.append(ACCEPT, HeaderValue::from_static(kind));
    }
    headers
}

/// What a reference is looked up by: its digest, else its tag.
pub(crate) fn key(reference: &Reference) -> String {
    match (&reference.digest, &reference.tag) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.clone(),
        (None, None) => spec::reference::DEFAULT_TAG.to_owned(),
    }
}

/// Fetches the manifest or index behind a tag or digest. Its bytes have the digest in its descriptor, and the one that
/// was asked for.
pub(crate) async fn manifest(session: &Session, reference: &Reference, key: &str) -> Result<Fetched, Error> {
    let url = session.url(&format!("manifests/{key}"));
    let answer = session.get(Method::GET, &url, accept()).await?;
    match answer.status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(Error::ManifestUnknown(reference.familiar())),
        _ => return Err(session.failure(answer).await),
    }
    let content_type = answer.header(CONTENT_TYPE.as_str());
    let content_type = content_type.split(';').next().unwrap_or_default().trim().to_owned();
    let announced = answer.header("docker-content-digest").to_owned();
    let bytes = answer.bytes(LIMIT).await?;
    let actual = digest::of(&bytes);
    for expected in [key, &announced] {
        if let Ok(expected) = expected.parse::<Digest>()
            && expected != actual
        {
            return Err(store::Error::DigestMismatch { expected, actual }.into());
        }
    }
    let media_type = media_type(&bytes, &content_type);
    if !media::is_index(&media_type) && !media::is_manifest(&media_type) {
        return Err(session.protocol(format!(
            "{} is of a kind that is not understood ({media_type}); schema 1 images are too old",
            reference.familiar()
        )));
    }
    Ok(Fetched { descriptor: Descriptor::new(media_type, actual, bytes.len() as u64), bytes })
}

/// What kind of manifest it is: as it says itself, as the registry says, as it looks.
fn media_type(bytes: &[u8], content_type: &str) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        #[serde(default)]
        media_type: String,
        manifests: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
    }
    let Ok(kind) = serde_json::from_slice::<Kind>(bytes) else { return content_type.to_owned() };
    if !kind.media_type.is_empty() {
        return kind.media_type;
    }
    if media::is_index(content_type) || media::is_manifest(content_type) {
        return content_type.to_owned();
    }
    match (kind.manifests, kind.config) {
        (Some(_), None) => media::INDEX.to_owned(),
        (None, Some(_)) => media::MANIFEST.to_owned(),
        (Some(_), Some(_)) | (None, None) => content_type.to_owned(),
    }
}

/// The manifest for a platform: one of the same variant before one of none. Attestations are no images.
pub(crate) fn choose<'a>(index: &'a Index, platform: &Platform) -> Option<&'a Descriptor> {
    let fits = |d: &&Descriptor| {
        media::is_manifest(&d.media_type) && d.platform.as_ref().is_some_and(|p| platform.matches(p))
    };
    let exact = |d: &&Descriptor| d.platform.as_ref().is_some_and(|p| p.variant == platform.variant);
    index.manifests.iter().filter(fits).find(exact).or_else(|| index.manifests.iter().find(fits))
}

pub(crate) async fn resolve(
    client: &Client,
    reference: &Reference,
    auth: Option<&AuthConfig>,
) -> Result<Descriptor, Error> {
    Ok(Sources::of(client, reference, auth)?.find().await?.1.descriptor)
}

pub(crate) async fn inspect(
    client: &Client,
    reference: &Reference,
    auth: Option<&AuthConfig>,
) -> Result<(Descriptor, Vec<Platform>), Error> {
    let (sources, fetched) = Sources::of(client, reference, auth)?.find().await?;
    let session = sources.get(0).await?;
    let invalid = |e: serde_json::Error| session.protocol(format!("{}: {e}", reference.familiar()));
    if media::is_index(&fetched.descriptor.media_type) {
        let index: Index = serde_json::from_slice(&fetched.bytes).map_err(invalid)?;
        let platforms = index.manifests.into_iter().filter_map(|d| d.platform);
        return Ok((fetched.descriptor, platforms.filter(|p| p.os != "unknown").collect()));
    }
    let manifest: Manifest = serde_json::from_slice(&fetched.bytes).map_err(invalid)?;
    let config: Image =
        serde_json::from_slice(&small_blob(&session, &manifest.config).await?).map_err(invalid)?;
    let platform = Platform {
        architecture: config.architecture,
        os: config.os,
        variant: config.variant,
        ..Platform::default()
    };
    Ok((fetched.descriptor, vec![platform]))
}

pub(crate) async fn manifest_and_config(
    client: &Client,
    reference: &Reference,
    auth: Option<&AuthConfig>,
) -> Result<(Manifest, Bytes), Error> {
    let (sources, mut fetched) = Sources::of(client, reference, auth)?.find().await?;
    let session = sources.get(0).await?;
    let invalid = |e: serde_json::Error| session.protocol(format!("{}: {e}", reference.familiar()));
    if media::is_index(&fetched.descriptor.media_type) {
        let index: Index = serde_json::from_slice(&fetched.bytes).map_err(invalid)?;
        let chosen =
            choose(&index, &Platform::host()).ok_or_else(|| Error::ManifestUnknown(reference.familiar()))?;
        fetched = manifest(&session, reference, &chosen.digest.to_string()).await?;
    }
    let manifest: Manifest = serde_json::from_slice(&fetched.bytes).map_err(invalid)?;
    let config = small_blob(&session, &manifest.config).await?;
    Ok((manifest, config))
}

/// A small blob, its digest verified.
pub(crate) async fn small_blob(session: &Session, descriptor: &Descriptor) -> Result<Bytes, Error> {
    let url = session.url(&format!("blobs/{}", descriptor.digest));
    let answer = session.get(Method::GET, &url, HeaderMap::new()).await?;
    if answer.status != StatusCode::OK {
        return Err(session.failure(answer).await);
    }
    let bytes = answer.bytes(LIMIT).await?;
    if bytes.len() as u64 != descriptor.size {
        let (digest, size) = (descriptor.digest, descriptor.size);
        return Err(session.protocol(format!("blob {digest} has {} bytes instead of {size}", bytes.len())));
    }
    let actual = digest::of(&bytes);
    if actual != descriptor.digest {
        return Err(store::Error::DigestMismatch { expected: descriptor.digest, actual }.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(platform: &str, fill: u8) -> Descriptor {
        let mut descriptor = Descriptor::new(media::MANIFEST, Digest::from_bytes([fill; 32]), 1);
        descriptor.platform = Platform::parse(platform);
        descriptor
    }

    #[test]
    fn the_nearest_platform_is_chosen() {
        let manifests = vec![
            entry("linux/arm/v6", 1),
            entry("linux/arm/v7", 2),
            entry("unknown/unknown", 3),
            entry("linux/amd64", 4),
        ];
        let index = Index {
            schema_version: 2,
            media_type: String::new(),
            manifests,
            annotations: Default::default(),
        };
        let chosen =
            |text: &str| choose(&index, &Platform::parse(text).unwrap()).map(|d| d.digest.as_bytes()[0]);
        assert_eq!(chosen("linux/arm/v7"), Some(2));
        assert_eq!(chosen("linux/arm"), Some(1));
        assert_eq!(chosen("linux/amd64"), Some(4));
        assert_eq!(chosen("linux/amd64/v1"), Some(4));
        assert_eq!(chosen("linux/s390x"), None);
    }

    #[test]
    fn a_manifest_says_what_it_is() {
        assert_eq!(media_type(br#"{"mediaType":"a/b","config":{}}"#, "text/plain"), "a/b");
        assert_eq!(media_type(br#"{"config":{},"layers":[]}"#, "application/json"), media::MANIFEST);
        assert_eq!(media_type(br#"{"manifests":[]}"#, ""), media::INDEX);
        assert_eq!(media_type(br#"{"config":{}}"#, media::DOCKER_MANIFEST), media::DOCKER_MANIFEST);
    }
}
