//! What goes to a registry and what comes back.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use super::transport::{Transport, Url};
use crate::Error;

/// What has to come in the time that a registry may be silent: one that sends less is as good as silent.
const TRICKLE: usize = 4 << 10;

/// What is sent with a request.
#[derive(Debug)]
pub(crate) enum Body {
    /// Known bytes: such a request can be sent again.
    Full(Bytes),
    /// So many bytes from a channel.
    Stream(u64, Receiver<std::io::Result<Bytes>>),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Full(Bytes::new())
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
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(left, chunks) => chunks.poll_recv(cx).map(|chunk| match chunk {
                Some(Ok(chunk)) => {
                    *left = left.saturating_sub(chunk.len() as u64);
                    Some(Ok(Frame::data(chunk)))
                }
                Some(Err(error)) => Some(Err(error)),
                None => None,
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Full(bytes) => bytes.len() as u64,
            Self::Stream(left, _) => *left,
        })
    }
}

/// What came back: the head, and a body that is read piece by piece.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Where it came from in the end.
    pub(crate) url: Url,
    pub(super) body: Incoming,
    /// Read, but given back.
    pub(super) ahead: Option<Bytes>,
    pub(super) sender: Option<SendRequest<Body>>,
    pub(super) transport: Arc<Transport>,
    pub(super) pace: Pace,
}

/// How long was waited since enough had come, and what came in that time.
#[derive(Debug, Default)]
pub(super) struct Pace {
    waited: Duration,
    bytes: usize,
}

impl Answer {
    /// A header's text; empty when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// How long the body is, if that is said.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH.as_str()).parse().ok()
    }

    /// The next bytes; `None` at the end, when the connection goes back to the pool.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(chunk) = self.ahead.take() {
            return Ok(Some(chunk));
        }
        let patience = self.transport.config().patience;
        loop {
            let since = Instant::now();
            let frame = timeout(patience, self.body.frame())
                .await
                .map_err(|_| self.broke(format!("nothing came for {} seconds", patience.as_secs_f32())))?;
            self.pace.waited += since.elapsed();
            match frame {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    self.pace.bytes += data.len();
                    if self.pace.bytes >= TRICKLE {
                        self.pace = Pace::default();
                    } else if self.pace.waited > patience {
                        let bytes = self.pace.bytes;
                        return Err(
                            self.broke(format!("{bytes} bytes in {} seconds", patience.as_secs_f32()))
                        );
                    }
                    return Ok(Some(data));
                }
                Some(Err(error)) => return Err(self.broke(text_of(&error))),
                None => {
                    if let Some(sender) = self.sender.take() {
                        self.transport.keep(&self.url, sender);
                    }
                    return Ok(None);
                }
            }
        }
    }

    fn broke(&self, detail: String) -> Error {
        Error::Broken { host: self.url.authority.clone(), detail }
    }

    /// Gives bytes back, to be the next chunk.
    pub(crate) fn push_back(&mut self, chunk: Bytes) {
        self.ahead = Some(chunk);
    }

    /// The whole body, at most `limit` bytes.
    pub(crate) async fn bytes(mut self, limit: usize) -> Result<Bytes, Error> {
        let mut all = BytesMut::new();
        loop {
            match self.chunk().await? {
                Some(chunk) if all.len() + chunk.len() <= limit => all.extend_from_slice(&chunk),
                Some(_) => {
                    let detail = format!("more than {limit} bytes where less was expected");
                    return Err(Error::Protocol { host: self.url.authority, detail });
                }
                None => return Ok(all.freeze()),
            }
        }
    }

    /// Reads the rest if it is small, so that the connection can be used again.
    pub(crate) async fn discard(self) {
        // What cannot be read costs a new connection.
        let _ = self.bytes(64 << 10).await;
    }
}

/// An error with its causes.
pub(crate) fn text_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
}
