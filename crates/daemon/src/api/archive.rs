//! `/containers/{id}/archive`: `docker cp`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::Encoding;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use spec::api::{CONTENT_HEADER, ContentPlace, NO_DESCRIPTOR, PathStat};

use super::{Call, empty, stream};
use crate::body::{self, Body};
use crate::error::{Error, Result};

/// What is at the path: Docker's own header, base64 of JSON.
const STAT: &str = "x-docker-container-path-stat";

pub(super) async fn stat(call: &Call, id: &str) -> Result<Response<Body>> {
    let stat = call.engine.archive_stat(id, path(call)?).await?;
    let mut response = empty(StatusCode::OK)?;
    response.headers_mut().insert(STAT, header(&stat));
    Ok(response)
}

pub(super) async fn get(call: Call, id: &str) -> Result<Response<Body>> {
    let encoding = accepted(&call.headers);
    let (stat, tar) = call.engine.archive_get(id, path(&call)?, encoding).await?;
    let mut response = stream("application/x-tar", Body::fallible(tar).until(call.peer.gone()))?;
    response.headers_mut().insert(STAT, header(&stat));
    let name = match encoding {
        Encoding::Identity => return Ok(response),
        Encoding::Gzip => "gzip",
        Encoding::Deflate => "deflate",
    };
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    Ok(response)
}

pub(super) async fn put(call: Call, id: &str) -> Result<Response<Body>> {
    let (keep_kind, own) = (call.query.bool("noOverwriteDirNonDir"), call.query.bool("copyUIDGID"));
    // A refusal too waits for the body's end: most clients read the answer only when they have sent everything.
    let prepared = match path(&call) {
        Ok(path) => call.engine.archive_put(id, path, keep_kind, own).await.map_err(Error::from),
        Err(error) => Err(error),
    };
    let content = content(&call.headers, call.peer.descriptors());
    body::pump(call.body, move |tar| {
        let prepared = prepared?;
        match content? {
            None => Ok(prepared.run(tar)?),
            Some((file, place)) => Ok(prepared.run(&mut Whole { tar, file, place })?),
        }
    })
    .await?;
    empty(StatusCode::OK)
}

/// The file that a client of the same machine sent along instead of its content, and where that belongs.
fn content(headers: &HeaderMap, descriptors: Vec<OwnedFd>) -> Result<Option<(File, ContentPlace)>> {
    let Some(place) = headers.get(CONTENT_HEADER) else { return Ok(None) };
    let place = place.to_str().unwrap_or_default().parse().map_err(Error::invalid)?;
    // Those of a client behind a relay are lost on the way.
    let file = File::from(descriptors.into_iter().next().ok_or_else(|| Error::invalid(NO_DESCRIPTOR))?);
    // Anything else could keep us waiting, or do something when it is read.
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return Err(Error::invalid("the content to copy is no regular file"));
    }
    Ok(Some((file, place)))
}

/// A tar with its content in place, which shrinks as it is read.
struct Whole<'a> {
    tar: &'a mut (dyn Read + Send),
    file: File,
    place: ContentPlace,
}

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ContentPlace { offset, length } = &mut self.place;
        let most = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        if *offset > 0 {
            let most = most(*offset);
            let read = self.tar.read(&mut buffer[..most])?;
            *offset -= read as u64;
            return Ok(read);
        }
        if *length > 0 {
            let most = most(*length);
            let read = self.file.read(&mut buffer[..most])?;
            if read == 0 && most > 0 {
                return Err(io::Error::other("the file shrank while it was copied"));
            }
            *length -= read as u64;
            return Ok(read);
        }
        self.tar.read(buffer)
    }
}

fn path(call: &Call) -> Result<&str> {
    call.query.optional("path").ok_or_else(|| Error::invalid("bad parameter: 'path' cannot be empty"))
}

fn header(stat: &PathStat) -> HeaderValue {
    let json = serde_json::to_vec(stat).expect("a struct of plain values");
    HeaderValue::try_from(STANDARD.encode(json)).expect("base64 is printable")
}

/// The encoding that the client likes best of those there are (RFC 9110, 12.5.3). One that it does not name is not used.
fn accepted(headers: &HeaderMap) -> Encoding {
    let mut best = (0.0, Encoding::Identity);
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    for item in values.flat_map(|v| v.split(',')) {
        let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
        let weight = parameters.trim().strip_prefix("q=").map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0));
        let encoding = match name.trim() {
            "gzip" | "*" => Encoding::Gzip,
            "deflate" => Encoding::Deflate,
            _ => continue,
        };
        if weight > best.0 {
            best = (weight, encoding);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_negotiated() {
        for (accept, expected) in [
            ("", Encoding::Identity),
            ("gzip, deflate, br", Encoding::Gzip),
            ("gzip;q=0.5, deflate", Encoding::Deflate),
            ("gzip;q=0, identity", Encoding::Identity),
            ("br", Encoding::Identity),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accept));
            assert_eq!(accepted(&headers), expected, "{accept}");
        }
    }
}
