//! What is sent, and how what comes in is read.

use std::fs::File;
use std::io::Read;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, channel};

use super::refusal::{Code, Refusal};

const CHUNK: usize = 256 << 10;
/// How long a client may be silent in the middle of a body.
const SILENCE: Duration = Duration::from_secs(60);

/// What is sent.
pub(crate) enum Body {
    Full(Option<Bytes>),
    /// So many bytes of a file; a read error breaks the connection off.
    File(u64, Receiver<std::io::Result<Bytes>>),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Full(None)
    }

    /// The next `length` bytes of a file, read by a blocking thread.
    pub(crate) fn file(file: File, length: u64) -> Self {
        let (sender, receiver) = channel(4);
        tokio::task::spawn_blocking(move || {
            let mut file = file.take(length);
            loop {
                let mut chunk = vec![0; CHUNK];
                let read = match file.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(n) => {
                        chunk.truncate(n);
                        Ok(Bytes::from(chunk))
                    }
                    Err(error) => Err(error),
                };
                // The client has gone.
                if sender.blocking_send(read).is_err() {
                    return;
                }
            }
        });
        Self::File(length, receiver)
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::File(left, chunks) => chunks.poll_recv(cx).map(|chunk| {
                if let Some(Ok(chunk)) = &chunk {
                    *left = left.saturating_sub(chunk.len() as u64);
                }
                chunk.map(|c| c.map(Frame::data))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Full(bytes) => bytes.as_ref().map_or(0, |b| b.len() as u64),
            Self::File(left, _) => *left,
        })
    }
}

/// An answer of JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let bytes = serde_json::to_vec(value).expect("these objects have string keys");
    let mut response = Response::new(Body::Full(Some(bytes.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A header from what was checked before.
pub(crate) fn header(text: impl AsRef<str>) -> HeaderValue {
    HeaderValue::from_str(text.as_ref()).expect("names, digests and numbers are printable")
}

/// The next bytes of a body; `None` at its end.
pub(crate) async fn chunk(body: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
    let broken =
        |why: String| Refusal::new(Code::BlobUploadInvalid, format!("the request's body broke off: {why}"));
    loop {
        match tokio::time::timeout(SILENCE, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Ok(Some(Err(error))) => return Err(broken(error.to_string())),
            Ok(None) => return Ok(None),
            Err(_) => return Err(broken(format!("nothing came for {} seconds", SILENCE.as_secs()))),
        }
    }
}

/// A whole body of at most `limit` bytes.
pub(crate) async fn bytes(mut body: Incoming, limit: usize) -> Result<Bytes, Refusal> {
    let mut all = BytesMut::new();
    while let Some(chunk) = chunk(&mut body).await? {
        if all.len() + chunk.len() > limit {
            return Err(Refusal::new(Code::SizeInvalid, format!("the body is larger than {limit} bytes")));
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}
