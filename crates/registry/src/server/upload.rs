//! Uploads: in one request, in many, or by mounting what another repository has.
//!
//! Bytes are hashed as they come; the hash is kept with the upload, so that its end needs no second reading. An upload
//! survives a restart, and on a bucket goes on at any server.

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION};
use http::{HeaderMap, Response, StatusCode};

use super::body::{self, Body, Sent, header};
use super::config::Action;
use super::digest::{Digest, InvalidDigest};
use super::notify::Event;
use super::refusal::{Code, Refusal};
use super::repository::{Link, Result, blob_key};
use super::route::{Name, UploadId, parameter};
use super::storage::{Growing, Storage};
use super::{Caller, Registry};

/// `POST`: opens an upload, takes a whole blob, or mounts one.
pub(crate) async fn begin(
    registry: &Registry,
    caller: &Caller,
    name: Name,
    query: &str,
    sent: &mut Sent,
) -> Result<Response<Body>> {
    if let Some(digest) = digest_in(query, "mount")? {
        let from = parameter(query, "from").map(|from| Name::parse(&from));
        if mount(registry, caller, &name, from, &digest).await? {
            return Ok(created(&name, &digest));
        }
    }
    let whole = digest_in(query, "digest")?;
    if whole.is_some() {
        registry.room(&name, 0, sent.announced()).await?;
    }
    let id = registry.repositories.begin(&name).await?;
    let Some(digest) = whole else { return Ok(accepted(&name, &id, 0)) };
    let mut upload = registry.repositories.take(&name, &id).await?;
    let received = receive(registry, &name, &mut upload, sent).await;
    let done = match received {
        Ok(()) => commit(registry, caller, &name, upload, &digest).await,
        Err(refusal) => {
            upload.cancel().await?;
            return Err(refusal);
        }
    };
    if done.is_err() {
        // Nobody knows of this upload.
        registry.repositories.take(&name, &id).await?.cancel().await?;
    }
    done
}

/// Whether the blob is in the repository now. Without a source, any repository that the caller may pull from is one.
async fn mount(
    registry: &Registry,
    caller: &Caller,
    name: &Name,
    from: Option<Option<Name>>,
    digest: &Digest,
) -> Result<bool> {
    let repositories = &registry.repositories;
    let sources = match from {
        Some(Some(from)) => vec![from],
        Some(None) => Vec::new(),
        None if matches!(repositories.storage, Storage::Files(_)) => repositories.names().await?,
        None => Vec::new(),
    };
    for from in sources.iter().filter(|from| caller.may(from, Action::Pull)) {
        // Nobody may remove the blob between the look and the link.
        let _linking = repositories.linking().await;
        if repositories.link(from, Link::Layer, digest).await?.is_none() {
            continue;
        }
        let Some(stat) = repositories.storage.stat(&blob_key(digest)).await? else { continue };
        registry.room(name, 0, stat.size).await?;
        repositories.add_link(name, Link::Layer, digest, "").await?;
        let event = Event { size: stat.size, from: Some(from), ..Event::new("mount", name, digest) };
        registry.notifier.tell(caller, event);
        return Ok(true);
    }
    Ok(false)
}

/// `GET`: how far it is.
pub(crate) async fn status(registry: &Registry, name: Name, id: UploadId) -> Result<Response<Body>> {
    let size = registry.repositories.take(&name, &id).await?.size();
    let mut response = accepted(&name, &id, size);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().remove(CONTENT_LENGTH);
    Ok(response)
}

/// `PATCH`: more bytes.
pub(crate) async fn patch(
    registry: &Registry,
    name: Name,
    id: UploadId,
    headers: &HeaderMap,
    sent: &mut Sent,
) -> Result<Response<Body>> {
    let range = content_range(headers)?;
    let mut upload = registry.repositories.take(&name, &id).await?;
    let before = upload.size();
    if range.is_some_and(|(first, _)| first != before) {
        return Ok(out_of_order(&name, &id, before));
    }
    let received = receive(registry, &name, &mut upload, sent).await;
    let size = upload.size();
    match (received, range) {
        (Ok(()), Some((first, last))) if size - before != last - first + 1 => {
            // What came does not count: the client sends it again.
            take_back(upload).await;
            let text = format!("{} bytes came for a range of {}", size - before, last - first + 1);
            Err(Refusal::new(Code::BlobUploadInvalid, text))
        }
        (Err(refusal), _) if refusal.code() != Code::BlobUploadInvalid => {
            take_back(upload).await;
            Err(refusal)
        }
        // What came before the line broke counts: the client asks how far it is, and goes on.
        (received, _) => {
            upload.save().await?;
            received.map(|()| accepted(&name, &id, size))
        }
    }
}

/// `PUT`: the last bytes, if any, and the digest of them all.
pub(crate) async fn put(
    registry: &Registry,
    caller: &Caller,
    name: Name,
    id: UploadId,
    query: &str,
    headers: &HeaderMap,
    sent: &mut Sent,
) -> Result<Response<Body>> {
    let missing = || Refusal::new(Code::DigestInvalid, "the digest is missing");
    let digest = digest_in(query, "digest")?.ok_or_else(missing)?;
    let range = content_range(headers)?;
    let mut upload = registry.repositories.take(&name, &id).await?;
    let before = upload.size();
    if range.is_some_and(|(first, _)| first != before) {
        return Ok(out_of_order(&name, &id, before));
    }
    if let Err(refusal) = receive(registry, &name, &mut upload, sent).await {
        // The digest was for more than came; a client starts over, or goes on from where it was.
        take_back(upload).await;
        return Err(refusal);
    }
    commit(registry, caller, &name, upload, &digest).await
}

/// Forgets what came with this request. Why it is refused is what the client is told, whatever becomes of this.
async fn take_back(upload: Growing) {
    if let Err(error) = upload.rewind().await {
        tracing::warn!(%error, "what came of an upload stays");
    }
}

/// `DELETE`: gives it up.
pub(crate) async fn cancel(registry: &Registry, name: Name, id: UploadId) -> Result<Response<Body>> {
    registry.repositories.take(&name, &id).await?.cancel().await?;
    Ok(body::empty(StatusCode::NO_CONTENT))
}

async fn receive(registry: &Registry, name: &Name, upload: &mut Growing, sent: &mut Sent) -> Result<()> {
    let room = registry.room(name, upload.size(), sent.announced()).await?;
    while let Some(chunk) = sent.chunk().await? {
        if chunk.is_empty() {
            continue;
        }
        registry.metrics.took(chunk.len());
        if upload.size() + chunk.len() as u64 > room {
            return Err(registry.too_large(name));
        }
        upload.append(chunk).await?;
    }
    Ok(())
}

async fn commit(
    registry: &Registry,
    caller: &Caller,
    name: &Name,
    upload: Growing,
    digest: &Digest,
) -> Result<Response<Body>> {
    let size = upload.size();
    {
        let _linking = registry.repositories.linking().await;
        upload.commit(digest, &blob_key(digest)).await?;
        registry.repositories.add_link(name, Link::Layer, digest, "").await?;
    }
    let event = Event { size, media_type: "application/octet-stream", ..Event::new("push", name, digest) };
    registry.notifier.tell(caller, event);
    Ok(created(name, digest))
}

fn digest_in(query: &str, key: &str) -> Result<Option<Digest>> {
    let Some(text) = parameter(query, key) else { return Ok(None) };
    text.parse().map(Some).map_err(|e: InvalidDigest| Refusal::new(Code::DigestInvalid, e.to_string()))
}

/// First and last byte of a `Content-Range` (`0-9`, or `bytes 0-9/10`).
fn content_range(headers: &HeaderMap) -> Result<Option<(u64, u64)>> {
    let Some(value) = headers.get(CONTENT_RANGE) else { return Ok(None) };
    let range = value.to_str().ok().and_then(|text| {
        let text = text.trim_start_matches("bytes ").split('/').next()?;
        let (first, last) = text.split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last && last < u64::MAX).then_some((first, last))
    });
    let invalid = || Refusal::new(Code::BlobUploadInvalid, "Content-Range is not FIRST-LAST");
    range.map(Some).ok_or_else(invalid)
}

fn accepted(name: &Name, id: &UploadId, size: u64) -> Response<Body> {
    let mut response = body::empty(StatusCode::ACCEPTED);
    let headers = response.headers_mut();
    headers.insert(LOCATION, header(format!("/v2/{}/blobs/uploads/{}", name.as_str(), id.0)));
    headers.insert("range", header(format!("0-{}", size.saturating_sub(1))));
    headers.insert("docker-upload-uuid", header(&id.0));
    headers.insert(CONTENT_LENGTH, 0.into());
    response
}

/// The bytes do not join on to those that are here; says how many are.
fn out_of_order(name: &Name, id: &UploadId, size: u64) -> Response<Body> {
    let mut response = accepted(name, id, size);
    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    response
}

fn created(name: &Name, digest: &Digest) -> Response<Body> {
    let mut response = body::empty(StatusCode::CREATED);
    let headers = response.headers_mut();
    headers.insert(LOCATION, header(format!("/v2/{}/blobs/{digest}", name.as_str())));
    headers.insert("docker-content-digest", header(digest.to_string()));
    headers.insert(CONTENT_LENGTH, 0.into());
    response
}
