//! An image goes from one repository to another, as it is: manifests keep their digests, blobs pass through.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use spec::Reference;
use spec::api::{AuthConfig, Progress};
use spec::oci::image::{Descriptor, Index, Manifest, media};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinSet;

use super::flight::say;
use super::message::Body;
use super::push;
use super::resolve::{Fetched, manifest};
use super::session::{Intent, Session};
use super::sources::Sources;
use super::{Client, upload};
use crate::Error;

/// Deeper than any index of indexes.
const MAX_NESTING: usize = 4;

/// From where to where.
struct Way {
    from: Arc<Session>,
    to: Arc<Session>,
    source: Reference,
    /// Both are on one registry.
    same: bool,
    at_once: usize,
    progress: Sender<Progress>,
}

pub(crate) async fn copy(
    client: &Client,
    (source, source_auth): (&Reference, Option<&AuthConfig>),
    (target, target_auth): (&Reference, Option<&AuthConfig>),
    progress: Sender<Progress>,
) -> Result<Descriptor, Error> {
    let (sources, fetched) = Sources::of(client, source, source_auth)?.find().await?;
    let way = Way {
        from: sources.get(0).await?,
        to: Arc::new(Session::open(client, target, target_auth, Intent::Push).await?),
        source: source.clone(),
        same: source.domain == target.domain,
        at_once: client.transport.config().uploads,
        progress,
    };
    let root = fetched.descriptor.clone();
    content(&way, &fetched, 0).await?;
    let key = match (&target.tag, &target.digest) {
        (Some(tag), _) => tag.clone(),
        (None, Some(_)) => root.digest.to_string(),
        (None, None) => spec::reference::DEFAULT_TAG.to_owned(),
    };
    push::manifest(&way.to, &root, fetched.bytes, &key).await?;
    say(&way.progress, Progress::status(format!("{key}: digest: {} size: {}", root.digest, root.size))).await;
    Ok(root)
}

/// All that a manifest or index names.
async fn content(way: &Way, fetched: &Fetched, depth: usize) -> Result<(), Error> {
    let invalid = |e| way.from.protocol(format!("{}: {e}", fetched.descriptor.digest));
    if !media::is_index(&fetched.descriptor.media_type) {
        let manifest: Manifest = serde_json::from_slice(&fetched.bytes).map_err(invalid)?;
        return blobs(way, manifest).await;
    }
    if depth > MAX_NESTING {
        return Err(way.from.protocol("too many indexes in indexes"));
    }
    let index: Index = serde_json::from_slice(&fetched.bytes).map_err(invalid)?;
    for descriptor in &index.manifests {
        let child = manifest(&way.from, &way.source, &descriptor.digest.to_string()).await?;
        Box::pin(content(way, &child, depth + 1)).await?;
        push::manifest(&way.to, &child.descriptor, child.bytes, &descriptor.digest.to_string()).await?;
    }
    Ok(())
}

async fn blobs(way: &Way, manifest: Manifest) -> Result<(), Error> {
    let slots = Arc::new(Semaphore::new(way.at_once));
    let mut tasks = JoinSet::new();
    let mut seen = std::collections::BTreeSet::new();
    for blob in manifest.layers.into_iter().chain([manifest.config]) {
        // Layers that live elsewhere stay there; one that occurs twice goes once.
        if !blob.urls.is_empty() || !seen.insert(blob.digest) {
            continue;
        }
        let (from, to, slots) = (Arc::clone(&way.from), Arc::clone(&way.to), Arc::clone(&slots));
        let (progress, mounted) = (way.progress.clone(), way.same.then(|| way.source.path.clone()));
        tasks.spawn(async move {
            let _slot = slots.acquire().await.expect("it is never closed");
            let status = one(&from, &to, &blob, mounted.as_deref()).await?;
            say(&progress, Progress::of(blob.digest.short(), status)).await;
            Ok::<_, Error>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a blob's task neither panics nor is aborted")?;
    }
    Ok(())
}

/// One blob; how it came there.
async fn one(
    from: &Session,
    to: &Session,
    blob: &Descriptor,
    mounted: Option<&str>,
) -> Result<String, Error> {
    if upload::exists(to, blob).await? {
        return Ok("Layer already exists".into());
    }
    if let Some(repository) = mounted
        && upload::mount(to, blob, repository).await?
    {
        return Ok(format!("Mounted from {repository}"));
    }
    let url = from.url(&format!("blobs/{}", blob.digest));
    let mut answer = from.get(Method::GET, &url, HeaderMap::new()).await?;
    if answer.status != StatusCode::OK {
        return Err(from.failure(answer).await);
    }
    let (sender, receiver) = channel(16);
    let pump = async move {
        loop {
            let chunk = match answer.chunk().await {
                Ok(None) => return None,
                Ok(Some(chunk)) => Ok(chunk),
                Err(error) => Err(error),
            };
            let (chunk, failure) = match chunk {
                Ok(chunk) => (Ok(chunk), None),
                Err(error) => (Err(std::io::Error::other(error.to_string())), Some(error)),
            };
            if sender.send(chunk).await.is_err() || failure.is_some() {
                return failure;
            }
        }
    };
    let (failure, sent) = tokio::join!(pump, upload::stream(to, blob, Body::Stream(blob.size, receiver)));
    match failure {
        Some(error) => Err(error),
        None => sent.map(|()| "Copied".into()),
    }
}
