//! A cache of another registry: what is asked for and not here is fetched, given on as it comes, and kept.
//!
//! A tag is checked with the other registry; when that cannot be reached, what is here is given. A blob that several
//! clients want at once is fetched once, and goes on being fetched when they have gone.

mod upstream;

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::sync::{mpsc, watch};

use super::Registry;
use super::body::Body;
use super::config::Proxy;
use super::digest::Digest;
use super::manifest::{self, Contents};
use super::refusal::{Code, Refusal};
use super::repository::{Link, Result, blob_key};
use super::route::{Key, Name};
use crate::client::{Answer, Client};
use upstream::{Failure, Upstream};

/// Tags whose last check is remembered.
const CHECKED_LIMIT: usize = 10_000;
/// What is read of a blob that is coming, for one client.
const CHUNK: usize = 64 << 10;

/// The cache.
pub(crate) struct Cache {
    upstream: Upstream,
    config: Proxy,
    /// For blobs that are coming.
    scratch: PathBuf,
    checked: Mutex<HashMap<(Name, String), Instant>>,
    coming: Mutex<HashMap<Digest, Arc<Coming>>>,
}

/// Where a blob is.
pub(crate) enum Found {
    Here(u64),
    Coming(u64, Body),
    Nowhere,
}

/// A blob on its way here.
struct Coming {
    size: u64,
    file: File,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    At(u64),
    Failed,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cache {
    pub(crate) fn new(config: Proxy, client: Client, scratch: PathBuf) -> std::result::Result<Self, String> {
        let upstream = Upstream::new(&config, client)?;
        Ok(Self { upstream, config, scratch, checked: Mutex::default(), coming: Mutex::default() })
    }

    /// Makes a manifest be here as the other registry has it, if it has it.
    pub(crate) async fn manifest(&self, registry: &Registry, name: &Name, key: &Key) -> Result<()> {
        let here = registry.repositories.resolve(name, key).await?.map(|(digest, _)| digest);
        let Key::Tag(tag) = key else {
            return match here {
                Some(_) => Ok(()),
                None => self.fetch(registry, name, key).await,
            };
        };
        let place = (name.clone(), tag.clone());
        let fresh = lock(&self.checked).get(&place).is_some_and(|at| at.elapsed() < self.config.revalidate);
        if here.is_some() && fresh {
            return Ok(());
        }
        let path = format!("manifests/{tag}");
        let changed = match self.upstream.ask(Method::HEAD, name, &path, true).await {
            Ok(answer) => match answer.header("docker-content-digest").parse::<Digest>() {
                Ok(digest) => here != Some(digest),
                Err(_) => true,
            },
            Err(Failure::Absent) => {
                if here.is_some() {
                    registry.repositories.remove_tag(name, tag).await?;
                }
                return Ok(());
            }
            Err(failure) if here.is_some() => {
                // So it is when the cache's own password has expired: what is here does not go for that.
                tracing::warn!(repository = name.as_str(), tag, %failure, "upstream does not tell: giving what is here");
                return Ok(());
            }
            Err(failure) => return absent(name, &failure),
        };
        if changed {
            match self.fetch(registry, name, key).await {
                Err(refusal) if here.is_some() => {
                    tracing::warn!(repository = name.as_str(), tag, %refusal, "giving what is here");
                    return Ok(());
                }
                done => done?,
            }
        }
        let mut checked = lock(&self.checked);
        if checked.len() >= CHECKED_LIMIT {
            checked.clear();
        }
        checked.insert(place, Instant::now());
        Ok(())
    }

    /// Brings a manifest. One that is not there is no failure: the caller finds that it is not here either.
    async fn fetch(&self, registry: &Registry, name: &Name, key: &Key) -> Result<()> {
        let answer = match self.upstream.ask(Method::GET, name, &format!("manifests/{key}"), true).await {
            Ok(answer) => answer,
            Err(failure) => return absent(name, &failure),
        };
        let media_type =
            answer.header("content-type").split(';').next().unwrap_or_default().trim().to_owned();
        let odd = |why: String| Refusal::new(Code::Unavailable, format!("upstream: {why}"));
        let bytes = answer.bytes(manifest::LIMIT).await.map_err(|e| odd(e.at_host()))?.to_vec();
        let contents: Contents = serde_json::from_slice(&bytes).map_err(|e| odd(e.to_string()))?;
        let digest = match key {
            Key::Digest(wanted) => wanted.alike(&bytes),
            Key::Tag(_) => Digest::of(&bytes),
        };
        if let Key::Digest(wanted) = key
            && *wanted != digest
        {
            return Err(odd(format!("it gave {digest} for {wanted}")));
        }
        if http::HeaderValue::from_str(&media_type).is_err() || media_type.is_empty() {
            return Err(odd("it gave a manifest without a media type".into()));
        }
        let repositories = &registry.repositories;
        let _linking = repositories.linking().await;
        manifest::record(repositories, name, &digest, &media_type, &contents, bytes).await?;
        if let Key::Tag(tag) = key {
            repositories.set_tag(name, tag, &digest).await?;
        }
        Ok(())
    }

    /// A blob that the repository here does not have.
    pub(crate) async fn blob(
        &self,
        registry: &Registry,
        name: &Name,
        digest: &Digest,
        head: bool,
    ) -> Result<Found> {
        let coming = lock(&self.coming).get(digest).cloned();
        if let Some(coming) = coming {
            return Ok(if head { Found::Here(coming.size) } else { coming.follow() });
        }
        let method = if head { Method::HEAD } else { Method::GET };
        let answer = match self.upstream.ask(method, name, &format!("blobs/{digest}"), false).await {
            Ok(answer) => answer,
            Err(failure) => return absent(name, &failure).map(|()| Found::Nowhere),
        };
        let size = answer.length();
        let Some(size) = size.filter(|size| *size <= registry.config.settings.max_blob) else {
            return Err(Refusal::new(Code::Unavailable, "upstream does not say how large the blob is"));
        };
        if head {
            return Ok(Found::Here(size));
        }
        registry.metrics.cache_misses.fetch_add(1, Relaxed);
        let file = sys::scratch::unnamed(&self.scratch)
            .map_err(|e| Refusal::new(Code::Unknown, format!("{e}: {}", e.source)))?;
        let coming = {
            let mut all = lock(&self.coming);
            if let Some(coming) = all.get(digest) {
                return Ok(coming.follow());
            }
            let coming = Arc::new(Coming { size, file, progress: watch::Sender::new(Progress::At(0)) });
            all.insert(*digest, Arc::clone(&coming));
            coming
        };
        let found = coming.follow();
        let (registry, name, digest) = (registry.itself(), name.clone(), *digest);
        tokio::spawn(async move {
            if let Err(refusal) = keep(&registry, &name, &digest, answer, &coming).await {
                tracing::warn!(repository = name.as_str(), %digest, %refusal, "a blob could not be fetched");
                coming.progress.send_replace(Progress::Failed);
            }
            if let Some(cache) = &registry.cache {
                lock(&cache.coming).remove(&digest);
            }
        });
        Ok(found)
    }
}

/// For clients, what the cache may not see is as good as nothing: many registries do not tell the two apart either.
fn absent(name: &Name, failure: &Failure) -> Result<()> {
    match failure {
        Failure::Absent => Ok(()),
        Failure::Denied => {
            tracing::warn!(repository = name.as_str(), %failure, "upstream does not tell");
            Ok(())
        }
        Failure::Refused(StatusCode::TOO_MANY_REQUESTS) => {
            Err(Refusal::new(Code::TooManyRequests, "the upstream registry asks to slow down"))
        }
        Failure::Refused(_) | Failure::Unreachable(_) => {
            Err(Refusal::new(Code::Unavailable, format!("the upstream registry: {failure}")))
        }
    }
}

/// Brings the bytes to the clients that follow, and into the storage.
async fn keep(
    registry: &Registry,
    name: &Name,
    digest: &Digest,
    mut answer: Answer,
    coming: &Arc<Coming>,
) -> Result<()> {
    let repositories = &registry.repositories;
    let odd = |why: String| Refusal::new(Code::Unavailable, format!("upstream: {why}"));
    let id = repositories.begin(name).await?;
    let mut upload = repositories.take(name, &id).await?;
    let mut at = 0;
    let come = async {
        while let Some(chunk) = answer.chunk().await.map_err(|e| odd(e.at_host()))? {
            if at + chunk.len() as u64 > coming.size {
                return Err(odd("it gave more than it said".into()));
            }
            let (file, bytes, offset) = (Arc::clone(coming), chunk.clone(), at);
            tokio::task::spawn_blocking(move || file.file.write_all_at(&bytes, offset))
                .await
                .expect("work on files neither panics nor is aborted")
                .map_err(|e| Refusal::new(Code::Unknown, format!("write a blob that is coming: {e}")))?;
            at += chunk.len() as u64;
            upload.append(chunk).await?;
            // The last bytes are shown only when they all have the right digest.
            if at < coming.size {
                coming.progress.send_replace(Progress::At(at));
            }
        }
        if at == coming.size { Ok(()) } else { Err(odd(format!("{at} of {} bytes came", coming.size))) }
    };
    if let Err(refusal) = come.await {
        upload.cancel().await?;
        return Err(refusal);
    }
    let _linking = repositories.linking().await;
    if let Err(error) = upload.commit(digest, &blob_key(digest)).await {
        repositories.take(name, &id).await?.cancel().await?;
        return Err(error.into());
    }
    repositories.add_link(name, Link::Layer, digest, "").await?;
    coming.progress.send_replace(Progress::At(at));
    Ok(())
}

impl Coming {
    /// What comes, as one client gets it. It breaks off when the blob turns out to be another.
    fn follow(self: &Arc<Self>) -> Found {
        let (sender, receiver) = mpsc::channel(2);
        let (this, mut progress) = (Arc::clone(self), self.progress.subscribe());
        tokio::spawn(async move {
            let mut sent = 0;
            while sent < this.size {
                let seen = progress.wait_for(|progress| match progress {
                    Progress::At(at) => *at > sent,
                    Progress::Failed => true,
                });
                let Ok(Progress::At(at)) = seen.await.map(|progress| *progress) else {
                    // The client has gone if this cannot be sent.
                    let _ = sender.send(Err(std::io::Error::other("the blob could not be fetched"))).await;
                    return;
                };
                while sent < at {
                    let (file, length) = (Arc::clone(&this), (at - sent).min(CHUNK as u64));
                    let chunk = tokio::task::spawn_blocking(move || {
                        let mut chunk = vec![0; usize::try_from(length).expect("a chunk is small")];
                        file.file.read_exact_at(&mut chunk, sent).map(|()| Bytes::from(chunk))
                    })
                    .await
                    .expect("work on files neither panics nor is aborted");
                    let failed = chunk.is_err();
                    if sender.send(chunk).await.is_err() || failed {
                        return;
                    }
                    sent += length;
                }
            }
        });
        Found::Coming(self.size, Body::Stream(self.size, receiver))
    }
}
