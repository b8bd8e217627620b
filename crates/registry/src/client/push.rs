//! An image goes out: what the registry lacks of its blobs, then its manifests, the named one last.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::json;
use spec::api::{AuthConfig, Progress, ProgressDetail};
use spec::oci::image::{Descriptor, Index, Manifest, Platform, media};
use spec::{Digest, Reference};
use store::Store;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinSet;

use super::Client;
use super::message::{Answer, Body};
use super::pull::{blocking, say};
use super::resolve::choose;
use super::session::{Intent, Session};
use super::transport::Url;
use crate::Error;

/// How often a blob is tried.
const ATTEMPTS: u32 = 3;
/// How often a client is told how far an upload is.
const TICK: Duration = Duration::from_millis(100);
const CHUNK: usize = 256 << 10;

/// What there is to send.
#[derive(Debug, Default)]
struct Content {
    blobs: BTreeMap<Digest, Descriptor>,
    /// Those that others refer to first.
    manifests: Vec<Descriptor>,
    /// The one that gets the name.
    root: Option<Descriptor>,
    /// The index in whose stead one manifest goes, as the others are not here.
    instead_of: Option<Descriptor>,
}

pub(crate) async fn push(
    client: &Client,
    store: &Store,
    reference: &Reference,
    target: &Descriptor,
    auth: Option<&AuthConfig>,
    progress: Sender<Progress>,
) -> Result<(), Error> {
    let session = Arc::new(Session::open(client, reference, auth, Intent::Push).await?);
    let content = {
        let (store, target) = (store.clone(), target.clone());
        blocking(move || collect(&store, &target)).await?
    };
    let at_once = client.transport.config().uploads;
    blobs(&session, store, &content, at_once, &progress).await?;
    for descriptor in &content.manifests {
        manifest(&session, store, descriptor, &descriptor.digest.to_string()).await?;
    }
    let root = content.root.expect("there is always one to name");
    let tag = reference.tag.as_deref().unwrap_or(spec::reference::DEFAULT_TAG);
    manifest(&session, store, &root, tag).await?;

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
    say(&progress, aux(json!({ "Tag": tag, "Digest": root.digest, "Size": root.size }))).await;
    Ok(())
}

/// Finds out what belongs to a target. Of an index whose manifests are not all here, the host's goes alone.
fn collect(store: &Store, target: &Descriptor) -> Result<Content, Error> {
    let mut content = Content::default();
    if media::is_manifest(&target.media_type) {
        add(store, &mut content, target)?;
        content.root = content.manifests.pop();
        return Ok(content);
    }
    let index: Index = read(store, target)?;
    if index.manifests.iter().all(|d| store.blob_size(&d.digest).is_some()) {
        for descriptor in &index.manifests {
            add(store, &mut content, descriptor)?;
        }
        content.root = Some(target.clone());
        return Ok(content);
    }
    let here = |d: &&Descriptor| store.blob_size(&d.digest).is_some();
    let host = choose(&index, &Platform::host()).filter(here);
    let only = host.or_else(|| index.manifests.iter().find(here));
    let only = only.ok_or_else(|| store::Error::NotFound(target.digest.to_string()))?;
    add(store, &mut content, only)?;
    content.root = content.manifests.pop();
    content.instead_of = Some(target.clone());
    Ok(content)
}

fn add(store: &Store, content: &mut Content, descriptor: &Descriptor) -> Result<(), Error> {
    let manifest: Manifest = read(store, descriptor)?;
    for blob in manifest.layers.into_iter().chain([manifest.config]) {
        // Layers that live elsewhere are not ours to send.
        if blob.urls.is_empty() {
            content.blobs.insert(blob.digest, blob);
        }
    }
    content.manifests.push(descriptor.clone());
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(store: &Store, descriptor: &Descriptor) -> Result<T, Error> {
    let bytes = store.blob_bytes(&descriptor.digest)?;
    let invalid = |e| store::Error::Invalid(format!("{}: {e}", descriptor.digest));
    Ok(serde_json::from_slice(&bytes).map_err(invalid)?)
}

async fn blobs(
    session: &Arc<Session>,
    store: &Store,
    content: &Content,
    at_once: usize,
    progress: &Sender<Progress>,
) -> Result<(), Error> {
    for blob in content.blobs.values() {
        say(progress, Progress::of(blob.digest.short(), "Preparing")).await;
    }
    let slots = Arc::new(Semaphore::new(at_once));
    let mut tasks = JoinSet::new();
    for blob in content.blobs.values() {
        let (session, store, blob) = (Arc::clone(session), store.clone(), blob.clone());
        let (progress, slots) = (progress.clone(), Arc::clone(&slots));
        tasks.spawn(async move {
            let _slot = slots.acquire().await.expect("it is never closed");
            send(&session, &store, &blob, &progress).await
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a blob's task neither panics nor is aborted")?;
    }
    Ok(())
}

/// Sends one blob unless the registry has it.
async fn send(
    session: &Session,
    store: &Store,
    blob: &Descriptor,
    progress: &Sender<Progress>,
) -> Result<(), Error> {
    let id = blob.digest.short();
    let url = session.url(&format!("blobs/{}", blob.digest));
    let answer = session.get(Method::HEAD, &url, HeaderMap::new()).await?;
    match answer.status {
        StatusCode::OK => {
            say(progress, Progress::of(&id, "Layer already exists")).await;
            return Ok(());
        }
        StatusCode::NOT_FOUND => {}
        _ => return Err(session.failure(answer).await),
    }
    let mut pause = Duration::from_millis(200);
    for _ in 1..ATTEMPTS {
        match upload(session, store, blob, progress).await {
            Err(Error::Unreachable { .. } | Error::Unavailable { .. }) => {
                say(progress, Progress::of(&id, "Retrying")).await;
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            sent => return sent,
        }
    }
    upload(session, store, blob, progress).await
}

/// One try: a session, then all bytes in one request; in a PATCH where the registry takes no bytes with its PUT.
async fn upload(
    session: &Session,
    store: &Store,
    blob: &Descriptor,
    progress: &Sender<Progress>,
) -> Result<(), Error> {
    let at = begin(session).await?;
    let answer = put(session, store, blob, &at, progress).await?;
    let answer = match answer.status {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::LENGTH_REQUIRED => {
            answer.discard().await;
            let at = begin(session).await?;
            let body = bytes_of(store, blob, progress).await?;
            let patched = session.send(Method::PATCH, &at, stream_headers(), body).await?;
            if patched.status != StatusCode::ACCEPTED {
                return Err(session.failure(patched).await);
            }
            let at = session.follow(patched.header(LOCATION.as_str()))?;
            session.send(Method::PUT, &with_digest(&at, blob), no_bytes(), Body::empty()).await?
        }
        _ => answer,
    };
    if answer.status != StatusCode::CREATED {
        return Err(session.failure(answer).await);
    }
    answer.discard().await;
    say(progress, Progress::of(blob.digest.short(), "Pushed")).await;
    Ok(())
}

/// Opens an upload and returns where it goes on.
async fn begin(session: &Session) -> Result<Url, Error> {
    let answer =
        session.send(Method::POST, &session.url("blobs/uploads/"), no_bytes(), Body::empty()).await?;
    if answer.status != StatusCode::ACCEPTED {
        return Err(session.failure(answer).await);
    }
    let at = session.follow(answer.header(LOCATION.as_str()))?;
    answer.discard().await;
    Ok(at)
}

async fn put(
    session: &Session,
    store: &Store,
    blob: &Descriptor,
    at: &Url,
    progress: &Sender<Progress>,
) -> Result<Answer, Error> {
    let body = bytes_of(store, blob, progress).await?;
    session.send(Method::PUT, &with_digest(at, blob), stream_headers(), body).await
}

fn with_digest(at: &Url, blob: &Descriptor) -> Url {
    let separator = if at.path.contains('?') { '&' } else { '?' };
    at.at(format!("{}{separator}digest={}", at.path, blob.digest))
}

fn no_bytes() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("0"))])
}

fn stream_headers() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))])
}

/// A blob as a body, read by one blocking thread, which tells how far it is.
async fn bytes_of(store: &Store, blob: &Descriptor, progress: &Sender<Progress>) -> Result<Body, Error> {
    let mut file = {
        let (store, digest) = (store.clone(), blob.digest);
        blocking(move || Ok(store.blob(&digest)?)).await?
    };
    let (sender, receiver) = channel(4);
    let (id, size, progress) = (blob.digest.short(), blob.size, progress.clone());
    tokio::task::spawn_blocking(move || {
        let (mut sent, mut told) = (0, Instant::now());
        let tell = |sent| Progress::of(&id, "Pushing").bytes(sent, size);
        loop {
            let mut chunk = vec![0; CHUNK];
            let read = match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => {
                    chunk.truncate(n);
                    sent += n as u64;
                    Ok(Bytes::from(chunk))
                }
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if sender.blocking_send(read).is_err() || failed {
                // The connection broke, or the disk did; the request says so.
                return;
            }
            if told.elapsed() >= TICK || sent == size {
                told = Instant::now();
                // A client that reads slowly misses a number, not a byte.
                let _ = progress.try_send(tell(sent));
            }
        }
    });
    Ok(Body::Stream(size, receiver))
}

/// Sends a manifest or index under a name or its digest.
async fn manifest(session: &Session, store: &Store, descriptor: &Descriptor, key: &str) -> Result<(), Error> {
    let bytes = {
        let (store, digest) = (store.clone(), descriptor.digest);
        blocking(move || Ok(store.blob_bytes(&digest)?)).await?
    };
    let media_type = HeaderValue::from_str(&descriptor.media_type)
        .map_err(|_| session.protocol("the manifest's media type is no header"))?;
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, media_type)]);
    let url = session.url(&format!("manifests/{key}"));
    let answer = session.send(Method::PUT, &url, headers, Body::Full(bytes.into())).await?;
    if answer.status != StatusCode::CREATED {
        return Err(session.failure(answer).await);
    }
    answer.discard().await;
    Ok(())
}
