//! What a repository has: tags, referrers, manifests as they are.

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use spec::Reference;
use spec::api::AuthConfig;
use spec::oci::image::{Descriptor, Index, media};

use super::resolve::{self, LIMIT};
use super::session::{Intent, Session};
use super::sources::Sources;
use super::{Client, push};
use crate::{Error, digest};

/// More pages than any list has that is worth reading.
const PAGES: usize = 1000;

pub(crate) async fn tags(
    client: &Client,
    reference: &Reference,
    auth: Option<&AuthConfig>,
) -> Result<Vec<String>, Error> {
    #[derive(Deserialize)]
    struct Page {
        tags: Option<Vec<String>>,
    }
    let session = Session::open(client, reference, auth, Intent::Pull).await?;
    let mut tags = Vec::new();
    let mut next = Some(session.url("tags/list"));
    for _ in 0..PAGES {
        let Some(url) = next.take() else { break };
        let answer = session.get(Method::GET, &url, HeaderMap::new()).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(session.denied()),
            _ => return Err(session.failure(answer).await),
        }
        next = session.next(&answer)?;
        let page: Page = serde_json::from_slice(&answer.bytes(LIMIT).await?)
            .map_err(|e| session.protocol(format!("its list of tags: {e}")))?;
        tags.extend(page.tags.unwrap_or_default());
    }
    tags.sort();
    tags.dedup();
    Ok(tags)
}

pub(crate) async fn referrers(
    client: &Client,
    reference: &Reference,
    kind: &str,
    auth: Option<&AuthConfig>,
) -> Result<Vec<Descriptor>, Error> {
    let (sources, target) = Sources::of(client, reference, auth)?.find().await?;
    let session = sources.get(0).await?;
    let found = of_digest(&session, reference, &target.descriptor).await?;
    Ok(found.into_iter().filter(|d| kind.is_empty() || d.artifact_type.as_deref() == Some(kind)).collect())
}

/// What refers to a manifest: by the API, else by the tag that stands in for it (distribution-spec, "Referrers tag schema").
pub(crate) async fn of_digest(
    session: &Session,
    reference: &Reference,
    target: &Descriptor,
) -> Result<Vec<Descriptor>, Error> {
    let mut next = Some(session.url(&format!("referrers/{}", target.digest)));
    let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(media::INDEX))]);
    let mut found = Vec::new();
    for page in 0..PAGES {
        let Some(url) = next.take() else { break };
        let answer = session.get(Method::GET, &url, headers.clone()).await?;
        if answer.status != StatusCode::OK {
            if page == 0 && matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST) {
                answer.discard().await;
                return by_tag(session, reference, target).await;
            }
            return Err(session.failure(answer).await);
        }
        next = session.next(&answer)?;
        let index: Index = serde_json::from_slice(&answer.bytes(LIMIT).await?)
            .map_err(|e| session.protocol(format!("its list of referrers: {e}")))?;
        found.extend(index.manifests);
    }
    Ok(found)
}

async fn by_tag(
    session: &Session,
    reference: &Reference,
    target: &Descriptor,
) -> Result<Vec<Descriptor>, Error> {
    let tag = format!("sha256-{}", target.digest.hex());
    match resolve::manifest(session, reference, &tag).await {
        Ok(found) => serde_json::from_slice::<Index>(&found.bytes)
            .map(|index| index.manifests)
            .map_err(|e| session.protocol(format!("its list of referrers: {e}"))),
        Err(Error::ManifestUnknown(_)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

pub(crate) async fn manifest(
    client: &Client,
    reference: &Reference,
    auth: Option<&AuthConfig>,
) -> Result<(Descriptor, Bytes), Error> {
    let (_, fetched) = Sources::of(client, reference, auth)?.find().await?;
    Ok((fetched.descriptor, fetched.bytes))
}

pub(crate) async fn blob(
    client: &Client,
    reference: &Reference,
    blob: &Descriptor,
    auth: Option<&AuthConfig>,
) -> Result<Bytes, Error> {
    let sources = Sources::of(client, reference, auth)?;
    sources.ask(|session| async move { resolve::small_blob(&session, blob).await }).await
}

pub(crate) async fn put_manifest(
    client: &Client,
    reference: &Reference,
    media_type: &str,
    bytes: Bytes,
    auth: Option<&AuthConfig>,
) -> Result<Descriptor, Error> {
    let session = Session::open(client, reference, auth, Intent::Push).await?;
    let descriptor = Descriptor::new(media_type, digest::of(&bytes), bytes.len() as u64);
    let key = match (&reference.tag, &reference.digest) {
        (_, Some(_)) => descriptor.digest.to_string(),
        (Some(tag), None) => tag.clone(),
        (None, None) => spec::reference::DEFAULT_TAG.to_owned(),
    };
    push::manifest(&session, &descriptor, bytes, &key).await?;
    Ok(descriptor)
}
