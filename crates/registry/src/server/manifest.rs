//! Manifests: read, put, delete.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use spec::oci::image::{Descriptor, media};

use super::blob::blocking;
use super::body::{self, Body, header};
use super::refusal::{Code, Refusal};
use super::repository::{Link, Repositories};
use super::route::{Key, Name};

type Result<T> = std::result::Result<T, Refusal>;

/// The largest manifest that is taken (the specification asks for at least this much).
const LIMIT: usize = 4 << 20;

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
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default)]
    pub(crate) annotations: std::collections::BTreeMap<String, String>,
}

fn unknown(name: &Name, key: &Key) -> Refusal {
    Refusal::new(Code::ManifestUnknown, format!("manifest unknown: {}:{key}", name.as_str()))
}

pub(crate) async fn get(repositories: Arc<Repositories>, name: Name, key: Key) -> Result<Response<Body>> {
    blocking(move || {
        let (digest, media_type) = repositories.resolve(&name, &key)?.ok_or_else(|| unknown(&name, &key))?;
        let bytes = repositories.store().blob_bytes(&digest)?;
        let length = bytes.len();
        let mut response = Response::new(Body::Full(Some(bytes.into())));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, header(media_type));
        headers.insert(CONTENT_LENGTH, length.into());
        headers.insert(ETAG, header(format!("\"{digest}\"")));
        headers.insert("docker-content-digest", header(digest.to_string()));
        Ok(response)
    })
    .await
}

pub(crate) async fn put(
    repositories: Arc<Repositories>,
    name: Name,
    key: Key,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Response<Body>> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let bytes = body::bytes(body, LIMIT).await?;
    blocking(move || {
        let invalid = |why: String| Refusal::new(Code::ManifestInvalid, why);
        let contents: Contents = serde_json::from_slice(&bytes)
            .map_err(|e| invalid(format!("the manifest is not understood: {e}")))?;
        let media_type = media_type(&contents, &content_type).map_err(invalid)?;
        let digest = crate::digest::of(&bytes);
        if let Key::Digest(expected) = &key
            && *expected != digest
        {
            return Err(store::Error::DigestMismatch { expected: *expected, actual: digest }.into());
        }
        // What it refers to must stay until it refers to it.
        let _links = repositories.lock();
        check(&repositories, &name, &contents)?;
        repositories.store().put_blob(&media_type, &bytes)?;
        repositories.add_link(&name, Link::Manifest, &digest, &media_type)?;
        if let Some(subject) = &contents.subject {
            repositories.add_referrer(&name, &subject.digest, &digest)?;
        }
        if let Key::Tag(tag) = &key {
            repositories.set_tag(&name, tag, &digest)?;
        }
        let mut response = body::empty(StatusCode::CREATED);
        let headers = response.headers_mut();
        headers.insert(LOCATION, header(format!("/v2/{}/manifests/{digest}", name.as_str())));
        headers.insert("docker-content-digest", header(digest.to_string()));
        headers.insert(CONTENT_LENGTH, 0.into());
        if let Some(subject) = &contents.subject {
            headers.insert("oci-subject", header(subject.digest.to_string()));
        }
        Ok(response)
    })
    .await
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
fn check(repositories: &Repositories, name: &Name, contents: &Contents) -> Result<()> {
    let layers = contents.config.iter().chain(&contents.layers).map(|d| (Link::Layer, d));
    let manifests = contents.manifests.iter().map(|d| (Link::Manifest, d));
    for (link, descriptor) in layers.chain(manifests) {
        if descriptor.urls.is_empty() && repositories.link(name, link, &descriptor.digest)?.is_none() {
            let text = format!("blob unknown to registry: {}", descriptor.digest);
            return Err(Refusal::new(Code::ManifestBlobUnknown, text));
        }
    }
    Ok(())
}

pub(crate) async fn delete(repositories: Arc<Repositories>, name: Name, key: Key) -> Result<Response<Body>> {
    blocking(move || {
        let (digest, _) = repositories.resolve(&name, &key)?.ok_or_else(|| unknown(&name, &key))?;
        match &key {
            Key::Tag(tag) => repositories.remove_tag(&name, tag)?,
            Key::Digest(_) => {
                for tag in repositories.tags(&name)? {
                    let points_here = repositories
                        .resolve(&name, &Key::Tag(tag.clone()))?
                        .is_some_and(|(target, _)| target == digest);
                    if points_here {
                        repositories.remove_tag(&name, &tag)?;
                    }
                }
                let bytes = repositories.store().blob_bytes(&digest)?;
                let contents: Option<Contents> = serde_json::from_slice(&bytes).ok();
                if let Some(subject) = contents.and_then(|c| c.subject) {
                    repositories.remove_referrer(&name, &subject.digest, &digest)?;
                }
                repositories.remove_link(&name, Link::Manifest, &digest)?;
            }
        }
        Ok(body::empty(StatusCode::ACCEPTED))
    })
    .await
}
