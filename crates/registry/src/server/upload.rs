//! Uploads: in one request, in many, or by mounting what another repository has.
//!
//! Bytes that come with the last request of an otherwise empty upload go straight into a blob; others are collected in
//! the upload's file, which survives a restart, and copied at the end.

use std::fs::File;
use std::io::{Seek, Write};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION};
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use spec::Digest;
use tokio::sync::mpsc;

use super::blob::blocking;
use super::body::{self, Body, header};
use super::refusal::{Code, Refusal};
use super::repository::{Link, Repositories, Upload};
use super::route::{Name, UploadId, parameter};

type Result<T> = std::result::Result<T, Refusal>;

/// `POST`: opens an upload, takes a whole blob, or mounts one.
pub(crate) async fn begin(
    repositories: Arc<Repositories>,
    name: Name,
    query: &str,
    body: Incoming,
) -> Result<Response<Body>> {
    if let Some(digest) = digest_in(query, "mount")?
        && let Some(from) = parameter(query, "from").and_then(|from| Name::parse(&from))
        && mount(&repositories, &name, &from, digest).await?
    {
        return Ok(created(&name, &digest));
    }
    if let Some(digest) = digest_in(query, "digest")? {
        let writer = repositories.clone();
        receive(body, move |chunks| commit(&writer, &name, digest, None, chunks)).await
    } else {
        blocking(move || {
            let id = repositories.begin(&name)?;
            Ok(accepted(&name, &id, 0))
        })
        .await
    }
}

async fn mount(repositories: &Arc<Repositories>, name: &Name, from: &Name, digest: Digest) -> Result<bool> {
    let (repositories, name, from) = (Arc::clone(repositories), name.clone(), from.clone());
    blocking(move || {
        // Nobody may remove the blob between the look and the link.
        let _links = repositories.lock();
        let here = repositories.link(&from, Link::Layer, &digest)?.is_some()
            && repositories.store().blob_size(&digest).is_some();
        if here {
            repositories.add_link(&name, Link::Layer, &digest, "")?;
        }
        Ok(here)
    })
    .await
}

/// `GET`: how far it is.
pub(crate) async fn status(
    repositories: Arc<Repositories>,
    name: Name,
    id: UploadId,
) -> Result<Response<Body>> {
    blocking(move || {
        let size = repositories.take(&name, &id)?.size;
        let mut response = accepted(&name, &id, size);
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    })
    .await
}

/// `PATCH`: more bytes.
pub(crate) async fn patch(
    repositories: Arc<Repositories>,
    name: Name,
    id: UploadId,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Response<Body>> {
    let range = content_range(headers)?;
    receive(body, move |chunks| {
        let mut upload = repositories.take(&name, &id)?;
        if range.is_some_and(|(first, _)| first != upload.size) {
            return Ok(out_of_order(&name, &id, upload.size));
        }
        let before = upload.size;
        append(&mut upload, chunks)?;
        let got = upload.size - before;
        if let Some((first, last)) = range
            && got != last - first + 1
        {
            // What came does not count: the client sends it again.
            upload.file.set_len(before).map_err(io)?;
            let text = format!("{got} bytes came for a range of {}", last - first + 1);
            return Err(Refusal::new(Code::BlobUploadInvalid, text));
        }
        Ok(accepted(&name, &id, upload.size))
    })
    .await
}

/// `PUT`: the last bytes, if any, and the digest of them all.
pub(crate) async fn put(
    repositories: Arc<Repositories>,
    name: Name,
    id: UploadId,
    query: &str,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Response<Body>> {
    let missing = || Refusal::new(Code::DigestInvalid, "the digest is missing");
    let digest = digest_in(query, "digest")?.ok_or_else(missing)?;
    let range = content_range(headers)?;
    receive(body, move |chunks| {
        let upload = repositories.take(&name, &id)?;
        if range.is_some_and(|(first, _)| first != upload.size) {
            return Ok(out_of_order(&name, &id, upload.size));
        }
        commit(&repositories, &name, digest, Some(upload), chunks)
    })
    .await
}

/// `DELETE`: gives it up.
pub(crate) async fn cancel(
    repositories: Arc<Repositories>,
    name: Name,
    id: UploadId,
) -> Result<Response<Body>> {
    blocking(move || {
        repositories.take(&name, &id)?.remove()?;
        Ok(body::empty(StatusCode::NO_CONTENT))
    })
    .await
}

/// A body on its way to a blocking thread; an error is what broke it off.
struct Chunks(mpsc::Receiver<Result<Bytes>>);

impl Chunks {
    fn next(&mut self) -> Result<Option<Bytes>> {
        match self.0.blocking_recv() {
            Some(Ok(chunk)) if chunk.is_empty() => Ok(None),
            Some(Ok(chunk)) => Ok(Some(chunk)),
            Some(Err(refusal)) => Err(refusal),
            None => Err(Refusal::new(Code::BlobUploadInvalid, "the request was cut off")),
        }
    }
}

/// Runs blocking work that reads the body. An empty chunk is its end; a channel that closes without one was cut.
async fn receive(
    mut incoming: Incoming,
    work: impl FnOnce(Chunks) -> Result<Response<Body>> + Send + 'static,
) -> Result<Response<Body>> {
    let (sender, receiver) = mpsc::channel(32);
    let work = tokio::task::spawn_blocking(move || work(Chunks(receiver)));
    loop {
        let chunk = match body::chunk(&mut incoming).await {
            Ok(Some(chunk)) if chunk.is_empty() => continue,
            Ok(Some(chunk)) => Ok(chunk),
            Ok(None) => Ok(Bytes::new()),
            Err(refusal) => Err(refusal),
        };
        let last = !chunk.as_ref().is_ok_and(|c| !c.is_empty());
        if sender.send(chunk).await.is_err() || last {
            break;
        }
    }
    work.await.expect("work on files neither panics nor is aborted")
}

fn append(upload: &mut Upload, mut chunks: Chunks) -> Result<()> {
    while let Some(chunk) = chunks.next()? {
        upload.file.write_all(&chunk).map_err(io)?;
        upload.size += chunk.len() as u64;
    }
    Ok(())
}

/// What was collected, then what comes, becomes a blob of the repository.
fn commit(
    repositories: &Repositories,
    name: &Name,
    digest: Digest,
    upload: Option<Upload>,
    mut chunks: Chunks,
) -> Result<Response<Body>> {
    let mut blob = repositories.store().blob_writer()?;
    if let Some(upload) = &upload {
        let mut collected: &File = &upload.file;
        collected.rewind().map_err(io)?;
        std::io::copy(&mut collected, &mut blob).map_err(io)?;
    }
    while let Some(chunk) = chunks.next()? {
        blob.write_all(&chunk).map_err(io)?;
    }
    {
        let _links = repositories.lock();
        blob.commit(Some(digest))?;
        repositories.add_link(name, Link::Layer, &digest, "")?;
    }
    if let Some(upload) = upload {
        upload.remove()?;
    }
    Ok(created(name, &digest))
}

fn io(error: std::io::Error) -> Refusal {
    Refusal::new(Code::Unknown, error.to_string())
}

fn digest_in(query: &str, key: &str) -> Result<Option<Digest>> {
    let Some(text) = parameter(query, key) else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|e: spec::digest::InvalidDigest| Refusal::new(Code::DigestInvalid, e.to_string()))
}

/// First and last byte of a `Content-Range` (`0-9`, or `bytes 0-9/10`).
fn content_range(headers: &HeaderMap) -> Result<Option<(u64, u64)>> {
    let Some(value) = headers.get(CONTENT_RANGE) else { return Ok(None) };
    let range = value.to_str().ok().and_then(|text| {
        let text = text.trim_start_matches("bytes ").split('/').next()?;
        let (first, last) = text.split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some((first, last))
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
