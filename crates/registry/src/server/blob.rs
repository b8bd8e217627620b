//! Blobs: read, whole or in part, and delete.

use std::io::{Seek, SeekFrom};
use std::sync::Arc;

use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, RANGE};
use http::{HeaderMap, Response, StatusCode};
use spec::Digest;

use super::body::{self, Body, header};
use super::refusal::{Code, Refusal};
use super::repository::{Link, Repositories};
use super::route::Name;

type Result<T> = std::result::Result<T, Refusal>;

/// Runs blocking work on the files.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.expect("work on files neither panics nor is aborted")
}

fn unknown(digest: &Digest) -> Refusal {
    Refusal::new(Code::BlobUnknown, format!("blob {digest} is not in this repository"))
}

pub(crate) async fn get(
    repositories: Arc<Repositories>,
    name: Name,
    digest: Digest,
    headers: &HeaderMap,
) -> Result<Response<Body>> {
    let range = headers.get(RANGE).and_then(|v| v.to_str().ok()).map(str::to_owned);
    blocking(move || {
        if repositories.link(&name, Link::Layer, &digest)?.is_none() {
            return Err(unknown(&digest));
        }
        let store = repositories.store();
        let mut file = store.blob(&digest)?;
        let size = store.blob_size(&digest).ok_or_else(|| unknown(&digest))?;
        let (status, first, length) = match range.as_deref().map(|r| part(r, size)) {
            None | Some(Part::Whole) => (StatusCode::OK, 0, size),
            Some(Part::Of(first, length)) => (StatusCode::PARTIAL_CONTENT, first, length),
            Some(Part::Beyond) => {
                let mut response =
                    Refusal::new(Code::RangeInvalid, "the range is beyond the blob").into_response();
                response.headers_mut().insert(CONTENT_RANGE, header(format!("bytes */{size}")));
                return Ok(response);
            }
        };
        file.seek(SeekFrom::Start(first)).map_err(|e| Refusal::new(Code::Unknown, e.to_string()))?;
        let mut response = Response::new(Body::file(file, length));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if status == StatusCode::PARTIAL_CONTENT {
            headers.insert(CONTENT_RANGE, header(format!("bytes {first}-{}/{size}", first + length - 1)));
        }
        headers.insert(CONTENT_LENGTH, length.into());
        headers.insert(CONTENT_TYPE, header("application/octet-stream"));
        headers.insert(ACCEPT_RANGES, header("bytes"));
        headers.insert(ETAG, header(format!("\"{digest}\"")));
        headers.insert("docker-content-digest", header(digest.to_string()));
        Ok(response)
    })
    .await
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    /// First byte and length.
    Of(u64, u64),
    Beyond,
}

/// One range of bytes (RFC 9110 section 14). Several, or what is not understood, is the whole.
fn part(range: &str, size: u64) -> Part {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|r| r.split_once('-')) else {
        return Part::Whole;
    };
    let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.min(size.saturating_sub(1))),
        (Ok(first), Err(_)) if last.is_empty() => (first, size.saturating_sub(1)),
        (Err(_), Ok(suffix)) if first.is_empty() => (size.saturating_sub(suffix), size.saturating_sub(1)),
        _ => return Part::Whole,
    };
    if first >= size { Part::Beyond } else { Part::Of(first, last - first + 1) }
}

pub(crate) async fn delete(
    repositories: Arc<Repositories>,
    name: Name,
    digest: Digest,
) -> Result<Response<Body>> {
    blocking(move || {
        if repositories.link(&name, Link::Layer, &digest)?.is_none() {
            return Err(unknown(&digest));
        }
        repositories.remove_link(&name, Link::Layer, &digest)?;
        Ok(body::empty(StatusCode::ACCEPTED))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        for (range, expected) in [
            ("bytes=0-4", Part::Of(0, 5)),
            ("bytes=3-", Part::Of(3, 7)),
            ("bytes=-2", Part::Of(8, 2)),
            ("bytes=-20", Part::Of(0, 10)),
            ("bytes=8-100", Part::Of(8, 2)),
            ("bytes=10-", Part::Beyond),
            ("bytes=5-4", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("lines=1-2", Part::Whole),
        ] {
            assert_eq!(part(range, 10), expected, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Beyond);
    }
}
