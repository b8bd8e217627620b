//! What is sent, and how what comes in is read.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, EXPECT};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use serde::Serialize;
use tokio::sync::mpsc::Receiver;

use super::refusal::{Code, Refusal};
use super::wire;

/// What is read of a file at a time where the kernel cannot send it.
const CHUNK: u64 = 32 << 10;
/// How far ahead of the reader the kernel is asked to read: a cold file must not hold up a worker for long.
const AHEAD: u64 = 1 << 20;
/// How long a client may be silent in the middle of a body.
const SILENCE: Duration = Duration::from_secs(60);
/// How long is read on of what is refused: a connection that is closed before loses the answer with it (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(30);

/// What is sent.
pub(crate) enum Body {
    Full(Option<Bytes>),
    /// A part of a file; a read error breaks the connection off.
    File(Part),
    /// Stands for so many bytes that [`wire::Wire`] sends from a file by itself.
    Wired(u64),
    /// So many bytes from a channel; an error breaks the connection off.
    Stream(u64, Receiver<std::io::Result<Bytes>>),
}

/// A part of a file.
pub(crate) struct Part {
    pub(super) file: File,
    pub(super) at: u64,
    pub(super) left: u64,
    asked: u64,
}

impl Part {
    /// Asks the kernel to read what comes next.
    pub(super) fn read_ahead(&mut self) {
        if self.at + AHEAD / 2 >= self.asked {
            self.asked = self.at + AHEAD;
            sys::file::read_ahead(&self.file, self.at, AHEAD);
        }
    }

    fn chunk(&mut self) -> std::io::Result<Bytes> {
        self.read_ahead();
        let mut chunk = vec![0; usize::try_from(self.left.min(CHUNK)).expect("a chunk is small")];
        self.file.read_exact_at(&mut chunk, self.at)?;
        self.at += chunk.len() as u64;
        self.left -= chunk.len() as u64;
        Ok(chunk.into())
    }
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Full(None)
    }

    pub(crate) fn file(file: File, first: u64, length: u64) -> Self {
        Self::File(Part { file, at: first, left: length, asked: 0 })
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
            Self::File(part) if part.left == 0 => Poll::Ready(None),
            Self::File(part) => Poll::Ready(Some(part.chunk().map(Frame::data))),
            Self::Wired(0) => Poll::Ready(None),
            Self::Wired(left) => {
                let placeholder = wire::placeholder(*left);
                *left -= placeholder.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(placeholder))))
            }
            Self::Stream(left, chunks) => chunks.poll_recv(cx).map(|chunk| {
                if let Some(Ok(chunk)) = &chunk {
                    *left = left.saturating_sub(chunk.len() as u64);
                }
                chunk.map(|c| c.map(Frame::data))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::File(part) => part.left == 0,
            Self::Wired(left) => *left == 0,
            Self::Stream(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Full(bytes) => bytes.as_ref().map_or(0, |b| b.len() as u64),
            Self::File(part) => part.left,
            Self::Wired(left) | Self::Stream(left, _) => *left,
        })
    }
}

/// An answer of JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let bytes = serde_json::to_vec(value).expect("these objects have string keys");
    full(status, HeaderValue::from_static("application/json"), bytes)
}

/// An answer of known bytes.
pub(crate) fn full(status: StatusCode, media_type: HeaderValue, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::Full(Some(bytes.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, media_type);
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

/// What comes in with a request.
pub(crate) struct Sent {
    body: Incoming,
    /// The client waits for a word before it sends, and may send nothing without it (`Expect: 100-continue`): reading is
    /// that word.
    held: bool,
}

impl Sent {
    pub(crate) fn new(body: Incoming, headers: &HeaderMap) -> Self {
        Self { body, held: headers.contains_key(EXPECT) }
    }

    /// Bytes that are announced, and still to come.
    pub(crate) fn announced(&self) -> u64 {
        self.body.size_hint().lower()
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Refusal> {
        let broken = |why: String| {
            Refusal::new(Code::BlobUploadInvalid, format!("the request's body broke off: {why}"))
        };
        self.held = false;
        loop {
            match tokio::time::timeout(SILENCE, self.body.frame()).await {
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

    /// All of it, at most `limit` bytes.
    pub(crate) async fn bytes(&mut self, limit: usize) -> Result<Bytes, Refusal> {
        let too_large = || Refusal::new(Code::SizeInvalid, format!("the body is larger than {limit} bytes"));
        if self.announced() > limit as u64 {
            return Err(too_large());
        }
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if all.len() + chunk.len() > limit {
                return Err(too_large());
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    /// Reads on what nobody wants, beside the answer, so that the client can read that.
    pub(crate) fn let_go(mut self) {
        if self.held || self.body.is_end_stream() {
            return;
        }
        tokio::spawn(tokio::time::timeout(LINGER, async move {
            while let Some(Ok(_unwanted)) = self.body.frame().await {}
        }));
    }
}
