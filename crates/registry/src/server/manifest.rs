//! Manifests: read, put, delete.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::{Deserialize, Serialize};
use spec::oci::image::media;

use super::blob::{matches_etag, not_modified};
use super::body::{self, Body, Sent, header};
use super::digest::Digest;
use super::notify::Event;
use super::refusal::{Code, Refusal};
use super::repository::{Link, Repositories, Result, blob_key};
use super::route::{Key, Name};
use super::storage;
use super::{Caller, Registry};

/// The largest manifest that is taken (the specification asks for at least this much).
pub(super) const LIMIT: usize = 4 << 20;

/// A reference to content, as far as a registry reads it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub(crate) annotations: std::collections::BTreeMap<String, String>,
    #[serde(default, skip_serializing)]
    pub(crate) urls: Vec<String>,
    #[serde(default, skip_serializing)]
    pub(crate) platform: Option<spec::oci::image::Platform>,
}

impl Descriptor {
    /// Whether it may be elsewhere: layers that must not be distributed.
    pub(crate) fn is_foreign(&self) -> bool {
        !self.urls.is_empty()
            || self.media_type.contains(".nondistributable.")
            || self.media_type.contains(".foreign.")
    }
}

/// What is read of a manifest or index: what it refers to.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Contents {
    #[serde(default)]
    pub(crate) media_type: String,
    #[serde(default)]
    pub(crate) artifact_type: Option<String>,
    #[serde(default)]
    pub(crate) config: Option<Descriptor>,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(crate) manifests: Vec<Descriptor>,
    #[serde(default)]
    pub(crate) subject: Option<Descriptor>,
    #[serde(default)]
    pub(crate) annotations: std::collections::BTreeMap<String, String>,
}

impl Contents {
    /// All that must be in the repository for it to be whole.
    pub(crate) fn needs(&self) -> impl Iterator<Item = (Link, &Descriptor)> {
        let layers = self.config.iter().chain(&self.layers).map(|d| (Link::Layer, d));
        layers.chain(self.manifests.iter().map(|d| (Link::Manifest, d)))
    }
}

fn unknown(name: &Name, key: &Key) -> Refusal {
    Refusal::new(Code::ManifestUnknown, format!("manifest unknown: {}:{key}", name.as_str()))
}

/// `GET` and `HEAD`.
pub(crate) async fn get(
    registry: &Registry,
    caller: &Caller,
    name: Name,
    key: Key,
    headers: &HeaderMap,
) -> Result<Response<Body>> {
    if let Some(cache) = &registry.cache {
        cache.manifest(registry, &name, &key).await?;
    }
    let (digest, media_type) =
        registry.repositories.resolve(&name, &key).await?.ok_or_else(|| unknown(&name, &key))?;
    let etag = format!("\"{digest}\"");
    if matches_etag(headers, &etag) {
        return Ok(not_modified(&etag));
    }
    let bytes = registry.repositories.manifest(&digest).await?;
    let length = bytes.len();
    if !caller.is_head() {
        let event = Event {
            size: length as u64,
            media_type: &media_type,
            tag: key.tag(),
            ..Event::new("pull", &name, &digest)
        };
        registry.notifier.tell(caller, event);
    }
    let mut response = body::full(StatusCode::OK, header(media_type), bytes);
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(ETAG, header(etag));
    headers.insert("docker-content-digest", header(digest.to_string()));
    Ok(response)
}

pub(crate) async fn put(
    registry: &Registry,
    caller: &Caller,
    name: Name,
    key: Key,
    headers: &HeaderMap,
    sent: &mut Sent,
) -> Result<Response<Body>> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let bytes = sent.bytes(LIMIT).await?;
    let invalid = |why: String| Refusal::new(Code::ManifestInvalid, why);
    let contents: Contents = serde_json::from_slice(&bytes)
        .map_err(|e| invalid(format!("the manifest is not understood: {e}")))?;
    let media_type = media_type(&contents, content_type).map_err(invalid)?;
    let digest = match &key {
        Key::Digest(expected) => expected.alike(&bytes),
        Key::Tag(_) => Digest::of(&bytes),
    };
    if let Key::Digest(expected) = &key
        && *expected != digest
    {
        return Err(storage::Error::mismatch(expected, &digest).into());
    }
    registry.room(&name, 0, bytes.len() as u64).await?;
    let size = bytes.len() as u64;
    store(&registry.repositories, &name, &key, &digest, &media_type, &contents, bytes.into()).await?;
    let event = Event { size, media_type: &media_type, tag: key.tag(), ..Event::new("push", &name, &digest) };
    registry.notifier.tell(caller, event);
    let mut response = body::empty(StatusCode::CREATED);
    let headers = response.headers_mut();
    headers.insert(LOCATION, header(format!("/v2/{}/manifests/{digest}", name.as_str())));
    headers.insert("docker-content-digest", header(digest.to_string()));
    headers.insert(CONTENT_LENGTH, 0.into());
    if let Some(subject) = &contents.subject {
        headers.insert("oci-subject", header(subject.digest.to_string()));
    }
    Ok(response)
}

/// Leaves first: content, then the link, then who refers to whom, then the tag.
async fn store(
    repositories: &Repositories,
    name: &Name,
    key: &Key,
    digest: &Digest,
    media_type: &str,
    contents: &Contents,
    bytes: Vec<u8>,
) -> Result<()> {
    // What it refers to must stay until it refers to it.
    let _linking = repositories.linking().await;
    check(repositories, name, contents).await?;
    record(repositories, name, digest, media_type, contents, bytes).await?;
    // On a bucket another server may have collected meanwhile.
    if matches!(repositories.storage, storage::Storage::Bucket(_))
        && let Err(refusal) = check(repositories, name, contents).await
    {
        repositories.remove_link(name, Link::Manifest, digest).await?;
        return Err(refusal);
    }
    if let Key::Tag(tag) = key {
        repositories.set_tag(name, tag, digest).await?;
    }
    Ok(())
}

/// Puts a manifest into a repository. The caller holds [`Repositories::linking`].
pub(super) async fn record(
    repositories: &Repositories,
    name: &Name,
    digest: &Digest,
    media_type: &str,
    contents: &Contents,
    bytes: Vec<u8>,
) -> Result<()> {
    let blob = blob_key(digest);
    if repositories.storage.stat(&blob).await?.is_none_or(|stat| stat.size != bytes.len() as u64) {
        repositories.storage.write(&blob, bytes).await?;
    }
    repositories.add_link(name, Link::Manifest, digest, media_type).await?;
    if let Some(subject) = &contents.subject {
        repositories.add_referrer(name, &subject.digest, digest).await?;
    }
    Ok(())
}

/// The manifest's kind: what the request says, which must not be what the manifest itself denies.
fn media_type(contents: &Contents, content_type: &str) -> std::result::Result<String, String> {
    let said = content_type.split(';').next().unwrap_or_default().trim();
    let media_type = if said.is_empty() { contents.media_type.as_str() } else { said };
    if !contents.media_type.is_empty() && contents.media_type != media_type {
        return Err(format!("it is sent as {media_type} but says it is {}", contents.media_type));
    }
    if media_type.is_empty() || HeaderValue::from_str(media_type).is_err() {
        return Err("its media type is missing".into());
    }
    let indexed = media::is_index(media_type);
    if (indexed && contents.config.is_some()) || (media::is_manifest(media_type) && contents.config.is_none())
    {
        return Err(format!("it does not look like {media_type}"));
    }
    Ok(media_type.to_owned())
}

/// Everything a manifest refers to must be in the repository; a subject may come later.
async fn check(repositories: &Repositories, name: &Name, contents: &Contents) -> Result<()> {
    for (link, descriptor) in contents.needs().filter(|(_, descriptor)| !descriptor.is_foreign()) {
        let here = repositories.link(name, link, &descriptor.digest).await?.is_some()
            && repositories.storage.stat(&blob_key(&descriptor.digest)).await?.is_some();
        if !here {
            let text = format!("blob unknown to registry: {}", descriptor.digest);
            return Err(Refusal::new(Code::ManifestBlobUnknown, text));
        }
    }
    Ok(())
}

pub(crate) async fn delete(
    registry: &Registry,
    caller: &Caller,
    name: Name,
    key: Key,
) -> Result<Response<Body>> {
    let repositories = &registry.repositories;
    let (digest, _) = repositories.resolve(&name, &key).await?.ok_or_else(|| unknown(&name, &key))?;
    match &key {
        Key::Tag(tag) => repositories.remove_tag(&name, tag).await?,
        Key::Digest(_) => {
            repositories.remove_manifest(&name, &digest).await?;
            repositories.remove_unlinked(&digest).await?;
        }
    }
    registry.notifier.tell(caller, Event { tag: key.tag(), ..Event::new("delete", &name, &digest) });
    Ok(body::empty(StatusCode::ACCEPTED))
}
