//! A blob goes out: mounted from another repository, in one request, or in pieces; one that broke off goes on where the
//! registry has it.

use std::io::{Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use spec::api::Progress;
use spec::oci::image::Descriptor;
use store::Store;
use tokio::sync::mpsc::{Sender, channel};

use super::content::Mounts;
use super::download::pause;
use super::flight::say;
use super::message::{Answer, Body};
use super::pull::blocking;
use super::session::Session;
use super::transport::Url;
use crate::Error;

/// How often a client is told how far an upload is.
const TICK: Duration = Duration::from_millis(100);
/// What is read from the disk at once.
const CHUNK: usize = 256 << 10;
/// Pieces for registries, or proxies before them, that take no more in one request.
const PIECE: u64 = 4 << 20;
/// What the pieces have to have at least (distribution-spec 1.1).
const MIN_LENGTH: &str = "oci-chunk-min-length";

/// Where an upload stands.
struct Upload {
    at: Url,
    /// Bytes that the registry has.
    done: u64,
    /// The most, and the least, that goes in one request.
    piece: Option<u64>,
    least: u64,
}

/// Sends one blob unless the registry has it, in this repository or in another one.
pub(crate) async fn send(
    session: &Session,
    store: &Store,
    blob: &Descriptor,
    mounts: &Mounts,
    progress: &Sender<Progress>,
) -> Result<(), Error> {
    let id = blob.digest.short();
    if exists(session, blob).await? {
        say(progress, Progress::of(&id, "Layer already exists")).await;
        return Ok(());
    }
    let mut upload = None;
    for repository in mounts.sources(&blob.digest).await? {
        session.also_read(repository);
        match begin(session, Some((blob, repository))).await {
            Ok(None) => {
                say(progress, Progress::of(&id, format!("Mounted from {repository}"))).await;
                return Ok(());
            }
            Ok(begun) => upload = begun,
            // Not to be read by us, perhaps: then it is sent.
            Err(Error::PushDenied { .. } | Error::Unauthorized { .. } | Error::Protocol { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let mut tried = 0;
    loop {
        tried += 1;
        let sent = push(session, store, blob, &mut upload, progress).await;
        match sent {
            Err(error) if error.is_passing() && tried < session.attempts() => {
                say(progress, Progress::of(&id, "Retrying")).await;
                tokio::time::sleep(pause(tried)).await;
                upload = resumed(session, upload).await;
            }
            Ok(()) => break,
            Err(error) => return Err(error.during(format!("blob {}", blob.digest))),
        }
    }
    say(progress, Progress::of(&id, "Pushed")).await;
    Ok(())
}

/// Whether the repository has a blob.
pub(crate) async fn exists(session: &Session, blob: &Descriptor) -> Result<bool, Error> {
    let url = session.url(&format!("blobs/{}", blob.digest));
    let answer = session.get(Method::HEAD, &url, HeaderMap::new()).await?;
    match answer.status {
        StatusCode::OK => Ok(true),
        StatusCode::NOT_FOUND => Ok(false),
        _ => Err(session.failure(answer).await),
    }
}

/// Mounts a blob from another repository; whether that went well.
pub(crate) async fn mount(session: &Session, blob: &Descriptor, from: &str) -> Result<bool, Error> {
    session.also_read(from);
    Ok(begin(session, Some((blob, from))).await?.is_none())
}

/// One try: all that is missing.
async fn push(
    session: &Session,
    store: &Store,
    blob: &Descriptor,
    upload: &mut Option<Upload>,
    progress: &Sender<Progress>,
) -> Result<(), Error> {
    if upload.is_none() {
        *upload = begin(session, None).await?;
    }
    let Some(state) = upload else { return Err(session.protocol("it mounted what was to be sent")) };
    if state.done == 0 && state.piece.is_none() {
        let body = bytes_of(store, blob, 0..blob.size, progress).await?;
        let answer = session.send(Method::PUT, &finish(&state.at, blob), stream_headers(), body).await?;
        match answer.status {
            StatusCode::CREATED => {
                answer.discard().await;
                return Ok(());
            }
            // It takes no bytes with the last request; or not that many.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::LENGTH_REQUIRED => {
                answer.discard().await;
                *upload = begin(session, None).await?;
            }
            StatusCode::PAYLOAD_TOO_LARGE => {
                answer.discard().await;
                *upload =
                    begin(session, None).await?.map(|u| Upload { piece: Some(PIECE.max(u.least)), ..u });
            }
            // The token has died on the way: the next request gets a new one.
            StatusCode::UNAUTHORIZED => {
                let failure = session.failure(answer).await;
                *upload = begin(session, None).await?;
                return Err(failure.into_passing());
            }
            _ => return Err(session.failure(answer).await),
        }
    }
    let Some(state) = upload else { return Err(session.protocol("it mounted what was to be sent")) };
    while state.done < blob.size {
        let end = state.piece.map_or(blob.size, |piece| (state.done + piece).min(blob.size));
        let mut headers = stream_headers();
        if state.piece.is_some() || state.done > 0 {
            let range = format!("{}-{}", state.done, end - 1);
            headers.insert(CONTENT_RANGE, HeaderValue::try_from(range).expect("digits are printable"));
        }
        let body = bytes_of(store, blob, state.done..end, progress).await?;
        let answer = session.send(Method::PATCH, &state.at, headers, body).await?;
        match answer.status {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {
                state.at = session.follow(answer.header(LOCATION.as_str()))?;
                state.done = end;
                answer.discard().await;
            }
            StatusCode::PAYLOAD_TOO_LARGE if state.piece.is_none() => {
                answer.discard().await;
                state.piece = Some(PIECE.max(state.least));
            }
            _ => return Err(session.failure(answer).await),
        }
    }
    let answer = session.send(Method::PUT, &finish(&state.at, blob), no_bytes(), Body::empty()).await?;
    if answer.status != StatusCode::CREATED {
        return Err(session.failure(answer).await);
    }
    answer.discard().await;
    Ok(())
}

/// Opens an upload, or mounts a blob: then there is none.
async fn begin(session: &Session, mount: Option<(&Descriptor, &str)>) -> Result<Option<Upload>, Error> {
    let query = mount.map_or_else(String::new, |(blob, from)| {
        format!("?mount={}&from={}", blob.digest, super::challenge::encode(from))
    });
    let url = session.url(&format!("blobs/uploads/{query}"));
    let answer = session.send(Method::POST, &url, no_bytes(), Body::empty()).await?;
    match answer.status {
        StatusCode::CREATED if mount.is_some() => {
            answer.discard().await;
            Ok(None)
        }
        StatusCode::ACCEPTED => {
            let at = session.follow(answer.header(LOCATION.as_str()))?;
            let least = answer.header(MIN_LENGTH).parse().unwrap_or(0);
            answer.discard().await;
            Ok(Some(Upload { at, done: 0, piece: None, least }))
        }
        _ => Err(session.failure(answer).await),
    }
}

/// An upload that broke off, as the registry has it; `None` when it has not.
async fn resumed(session: &Session, broken: Option<Upload>) -> Option<Upload> {
    let broken = broken?;
    let answer = session.get(Method::GET, &broken.at, HeaderMap::new()).await.ok()?;
    let at = match answer.header(LOCATION.as_str()) {
        "" => broken.at,
        location => session.follow(location).ok()?,
    };
    let done = (answer.status == StatusCode::NO_CONTENT).then(|| received(&answer)).flatten();
    answer.discard().await;
    // With nothing received, an upload in one request is as good as any.
    Some(Upload { at, done: done.filter(|done| *done > 0)?, ..broken })
}

/// `Range: 0-99` says that 100 bytes are there; so does `0-0` of one or none, which is taken as none.
fn received(answer: &Answer) -> Option<u64> {
    let range = answer.header(RANGE.as_str());
    let last: u64 = range.trim_start_matches("bytes=").strip_prefix("0-")?.parse().ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}

fn finish(at: &Url, blob: &Descriptor) -> Url {
    let separator = if at.path.contains('?') { '&' } else { '?' };
    at.at(format!("{}{separator}digest={}", at.path, blob.digest))
}

/// Sends a blob that comes from a stream, in one request.
pub(crate) async fn stream(session: &Session, blob: &Descriptor, body: Body) -> Result<(), Error> {
    let Some(upload) = begin(session, None).await? else {
        return Err(session.protocol("it mounted what was to be sent"));
    };
    let answer = session.send(Method::PUT, &finish(&upload.at, blob), stream_headers(), body).await?;
    if answer.status != StatusCode::CREATED {
        return Err(session.failure(answer).await);
    }
    answer.discard().await;
    Ok(())
}

fn no_bytes() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("0"))])
}

fn stream_headers() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))])
}

/// A part of a blob as a body, read by one blocking thread, which tells how far it is.
async fn bytes_of(
    store: &Store,
    blob: &Descriptor,
    range: std::ops::Range<u64>,
    progress: &Sender<Progress>,
) -> Result<Body, Error> {
    let mut file = {
        let (store, digest, from) = (store.clone(), blob.digest, range.start);
        blocking(move || {
            let mut file = store.blob(&digest)?;
            let sought = file.seek(SeekFrom::Start(from));
            let path = digest.to_string().into();
            sought.map_err(|source| store::Error::Io { step: "seek", path, source })?;
            Ok(file)
        })
        .await?
    };
    let (sender, receiver) = channel(4);
    let (id, size, progress, length) =
        (blob.digest.short(), blob.size, progress.clone(), range.end - range.start);
    tokio::task::spawn_blocking(move || {
        let (mut sent, mut told) = (range.start, Instant::now());
        let tell = |sent| Progress::of(&id, "Pushing").bytes(sent, size);
        while sent < range.end {
            let mut chunk = vec![0; CHUNK.min(usize::try_from(range.end - sent).unwrap_or(CHUNK))];
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
    Ok(Body::Stream(length, receiver))
}
