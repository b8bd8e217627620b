//! An image goes out: what the registry lacks of its blobs, then its manifests, the named one last.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::json;
use spec::Reference;
use spec::api::{AuthConfig, Progress, ProgressDetail};
use spec::oci::image::{Descriptor, Platform};
use store::Store;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use super::Client;
use super::content::{self, Content, Mounts};
use super::flight::say;
use super::pull::blocking;
use super::session::{Intent, Session};
use super::upload;
use crate::Error;

pub(crate) async fn push(
    client: &Client,
    store: &Store,
    reference: &Reference,
    target: &Descriptor,
    platform: Option<&Platform>,
    auth: Option<&AuthConfig>,
    progress: Sender<Progress>,
) -> Result<(), Error> {
    let session = Arc::new(Session::open(client, reference, auth, Intent::Push).await?);
    let content = content(&session, store, reference, target, platform).await?;
    let mounts = Arc::new(Mounts::new(store, reference));
    let at_once = client.transport.config().uploads;
    blobs(&session, store, &content, &mounts, at_once, &progress).await?;
    for descriptor in &content.manifests {
        let bytes = small(store, descriptor).await?;
        manifest(&session, descriptor, bytes, &descriptor.digest.to_string()).await?;
    }
    let root = &content.root;
    let tag = reference.tag.as_deref().unwrap_or(spec::reference::DEFAULT_TAG);
    manifest(&session, root, content.bytes.clone(), tag).await?;
    say(&progress, Progress::status(format!("{tag}: digest: {} size: {}", root.digest, root.size))).await;
    let aux = |value| Progress {
        progress_detail: Some(ProgressDetail::default()),
        aux: Some(value),
        ..Progress::default()
    };
    if let Some(index) = &content.instead_of {
        let note = json!({
            "manifestPushedInsteadOfIndex": true, "originalIndex": index, "selectedManifest": root,
        });
        say(&progress, aux(note)).await;
    }
    if !content.left_out.is_empty() {
        let text = format!(
            "Only the platforms that are here were pushed, in an index of their own. Left out: {}",
            content.left_out.join(", ")
        );
        say(&progress, Progress::status(text)).await;
    }
    say(&progress, aux(json!({ "Tag": tag, "Digest": root.digest, "Size": root.size }))).await;
    Ok(())
}

/// What there is to send. An index goes as it is when what is missing here is in the registry.
async fn content(
    session: &Session,
    store: &Store,
    reference: &Reference,
    target: &Descriptor,
    platform: Option<&Platform>,
) -> Result<Content, Error> {
    let missing = {
        let (store, target) = (store.clone(), target.clone());
        blocking(move || content::missing(&store, &target)).await?
    };
    let mut whole = platform.is_none();
    for descriptor in missing.iter().take_while(|_| platform.is_none()) {
        let url = session.url(&format!("manifests/{}", descriptor.digest));
        let answer = session.get(Method::HEAD, &url, super::resolve::accept()).await?;
        whole &= answer.status == StatusCode::OK;
        answer.discard().await;
        if !whole {
            break;
        }
    }
    let (store, reference, target) = (store.clone(), reference.clone(), target.clone());
    let platform = platform.cloned();
    blocking(move || content::collect(&store, &reference, &target, platform.as_ref(), whole)).await
}

async fn blobs(
    session: &Arc<Session>,
    store: &Store,
    content: &Content,
    mounts: &Arc<Mounts>,
    at_once: usize,
    progress: &Sender<Progress>,
) -> Result<(), Error> {
    for blob in content.blobs.values() {
        say(progress, Progress::of(blob.digest.short(), "Preparing")).await;
    }
    let slots = Arc::new(Semaphore::new(at_once));
    // Dropped, as when the client has gone, it ends its tasks.
    let mut tasks = JoinSet::new();
    for blob in content.blobs.values() {
        let (session, store, blob) = (Arc::clone(session), store.clone(), blob.clone());
        let (progress, slots, mounts) = (progress.clone(), Arc::clone(&slots), Arc::clone(mounts));
        tasks.spawn(async move {
            let _slot = slots.acquire().await.expect("it is never closed");
            upload::send(&session, &store, &blob, &mounts, &progress).await
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a blob's task neither panics nor is aborted")?;
    }
    Ok(())
}

async fn small(store: &Store, descriptor: &Descriptor) -> Result<Bytes, Error> {
    let (store, digest) = (store.clone(), descriptor.digest);
    blocking(move || Ok(store.blob_bytes(&digest)?.into())).await
}

/// Sends a manifest or index under a name or its digest.
pub(crate) async fn manifest(
    session: &Session,
    descriptor: &Descriptor,
    bytes: Bytes,
    key: &str,
) -> Result<(), Error> {
    let media_type = HeaderValue::from_str(&descriptor.media_type)
        .map_err(|_| session.protocol("the manifest's media type is no header"))?;
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, media_type)]);
    let url = session.url(&format!("manifests/{key}"));
    let answer = session.repeat(Method::PUT, &url, headers, bytes).await?;
    if !matches!(answer.status, StatusCode::CREATED | StatusCode::OK) {
        return Err(session.failure(answer).await);
    }
    answer.discard().await;
    Ok(())
}
