//! Blobs: read, whole or in part, and delete.

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE,
    LOCATION, RANGE,
};
use http::{HeaderMap, Response, StatusCode};

use super::body::{self, Body, header};
use super::digest::Digest;
use super::notify::Event;
use super::refusal::{Code, Refusal};
use super::repository::{Link, Result, blob_key};
use super::route::Name;
use super::{Caller, Registry};

fn unknown(digest: &Digest) -> Refusal {
    Refusal::new(Code::BlobUnknown, format!("blob {digest} is not in this repository"))
}

/// `GET` and `HEAD`.
pub(crate) async fn get(
    registry: &Registry,
    caller: &Caller,
    name: Name,
    digest: Digest,
    headers: &HeaderMap,
) -> Result<Response<Body>> {
    let etag = format!("\"{digest}\"");
    let mut found = registry.repositories.blob(&name, &digest).await?;
    if found.is_none()
        && let Some(cache) = &registry.cache
    {
        match cache.blob(registry, &name, &digest, caller.is_head()).await? {
            super::proxy::Found::Here(size) => found = Some(size),
            super::proxy::Found::Coming(size, body) => {
                let mut response = Response::new(body);
                describe(response.headers_mut(), &digest, &etag, size);
                response.headers_mut().remove(ACCEPT_RANGES);
                return Ok(response);
            }
            super::proxy::Found::Nowhere => {}
        }
    }
    let size = found.ok_or_else(|| unknown(&digest))?;
    if registry.cache.is_some() && !caller.is_head() {
        registry.metrics.cache_hits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    if matches_etag(headers, &etag) {
        return Ok(not_modified(&etag));
    }
    let whole = headers.get(IF_RANGE).is_some_and(|tag| tag != etag.as_str());
    let range = headers.get(RANGE).filter(|_| !whole).and_then(|v| v.to_str().ok());
    let (status, first, length) = match range.map_or(Part::Whole, |range| part(range, size)) {
        Part::Whole => (StatusCode::OK, 0, size),
        Part::Of(first, length) => (StatusCode::PARTIAL_CONTENT, first, length),
        Part::Beyond => {
            let mut response =
                Refusal::new(Code::RangeInvalid, "the range is beyond the blob").into_response();
            response.headers_mut().insert(CONTENT_RANGE, header(format!("bytes */{size}")));
            return Ok(response);
        }
    };
    if let Some(url) = registry.repositories.storage.elsewhere(&blob_key(&digest))
        && !caller.is_head()
    {
        let mut response = body::empty(StatusCode::TEMPORARY_REDIRECT);
        response.headers_mut().insert(LOCATION, header(url));
        response.headers_mut().insert("docker-content-digest", header(digest.to_string()));
        return Ok(response);
    }
    let body = match caller.is_head() {
        true => Body::empty(),
        false => registry.repositories.storage.open(&blob_key(&digest), first, length).await?,
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    describe(headers, &digest, &etag, length);
    if status == StatusCode::PARTIAL_CONTENT {
        headers.insert(CONTENT_RANGE, header(format!("bytes {first}-{}/{size}", first + length - 1)));
    }
    if !caller.is_head() && first == 0 {
        let event =
            Event { size, media_type: "application/octet-stream", ..Event::new("pull", &name, &digest) };
        registry.notifier.tell(caller, event);
    }
    Ok(response)
}

fn describe(headers: &mut HeaderMap, digest: &Digest, etag: &str, length: u64) {
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(CONTENT_TYPE, header("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, header("bytes"));
    headers.insert(ETAG, header(etag));
    // Content under a digest never changes; whether somebody may see it does.
    headers.insert(CACHE_CONTROL, header("private, max-age=31536000, immutable"));
    headers.insert("docker-content-digest", header(digest.to_string()));
}

/// Whether the client has it already (RFC 9110 section 13.1.2).
pub(super) fn matches_etag(headers: &HeaderMap, etag: &str) -> bool {
    let lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|tag| {
        let tag = tag.trim();
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
    })
}

pub(super) fn not_modified(etag: &str) -> Response<Body> {
    let mut response = body::empty(StatusCode::NOT_MODIFIED);
    response.headers_mut().insert(ETAG, header(etag));
    response
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
        (Err(_), Ok(0)) if first.is_empty() => return Part::Beyond,
        (Err(_), Ok(suffix)) if first.is_empty() => (size.saturating_sub(suffix), size.saturating_sub(1)),
        _ => return Part::Whole,
    };
    if first >= size { Part::Beyond } else { Part::Of(first, last - first + 1) }
}

pub(crate) async fn delete(
    registry: &Registry,
    caller: &Caller,
    name: Name,
    digest: Digest,
) -> Result<Response<Body>> {
    let repositories = &registry.repositories;
    if repositories.link(&name, Link::Layer, &digest).await?.is_none() {
        return Err(unknown(&digest));
    }
    {
        let _linking = repositories.linking().await;
        repositories.remove_link(&name, Link::Layer, &digest).await?;
    }
    repositories.remove_unlinked(&digest).await?;
    registry.notifier.tell(caller, Event::new("delete", &name, &digest));
    Ok(body::empty(StatusCode::ACCEPTED))
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
            ("bytes=-0", Part::Beyond),
            ("bytes=5-4", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("lines=1-2", Part::Whole),
        ] {
            assert_eq!(part(range, 10), expected, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Beyond);
    }

    #[test]
    fn a_client_may_have_it_already() {
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, header("\"a\", W/\"b\""));
        assert!(matches_etag(&headers, "\"a\"") && matches_etag(&headers, "\"b\""));
        assert!(!matches_etag(&headers, "\"c\""));
    }
}
