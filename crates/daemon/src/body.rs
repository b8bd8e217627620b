//! Bodies: what is read from a client, bounded, and what is sent to it.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::registry::client::Download;
use bytes::{Buf, Bytes};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Receiver;

use crate::error::{Error, Result, chain};
use crate::wire::Record;

/// The largest JSON body that is read.
const JSON_LIMIT: usize = 4 << 20;

/// The most that is read of an upload that has failed.
const DRAIN_LIMIT: usize = 256 << 20;

/// What is sent. A stream ends when its sender does, and breaks off when the client has gone.
pub struct Body {
    content: Content,
    /// Completes when the client hangs up: then nobody reads the rest.
    gone: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Work that exists for this body only; dropping the body ends it.
    _task: Option<Task>,
    record: Option<Record>,
}

enum Content {
    Full(Option<Bytes>),
    Stream(Receiver<Bytes>),
    Fallible(Receiver<std::result::Result<Bytes, engine::Error>>),
}

/// Work tied to a body: aborted when dropped.
pub struct Task(tokio::task::JoinHandle<()>);

impl Task {
    /// Starts it.
    pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why a body breaks off before its end.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The client hung up.
    #[error("the client has gone")]
    Gone,
    /// The content could not be made: why.
    #[error("{0}")]
    Failed(String),
}

impl Body {
    fn new(content: Content) -> Self {
        Self { content, gone: None, _task: None, record: None }
    }

    /// Nothing.
    pub fn empty() -> Self {
        Self::new(Content::Full(None))
    }

    /// These bytes.
    pub fn full(bytes: Bytes) -> Self {
        Self::new(Content::Full(Some(bytes)))
    }

    /// What arrives on a channel, chunked.
    pub fn stream(chunks: Receiver<Bytes>) -> Self {
        Self::new(Content::Stream(chunks))
    }

    /// What arrives on a channel; a failure breaks the connection off, so that the client notices.
    pub fn fallible(chunks: Receiver<std::result::Result<Bytes, engine::Error>>) -> Self {
        Self::new(Content::Fallible(chunks))
    }

    /// The same, ended when the client hangs up.
    #[must_use]
    pub fn until(mut self, gone: impl Future<Output = ()> + Send + 'static) -> Self {
        self.gone = Some(Box::pin(gone));
        self
    }

    /// The same, with work that ends with it.
    #[must_use]
    pub fn with_task(mut self, task: Task) -> Self {
        self._task = Some(task);
        self
    }

    /// The same, written down as it is sent.
    #[must_use]
    pub fn recorded(mut self, record: Record) -> Self {
        self.record = Some(record);
        self
    }

    /// Whether more may come later.
    pub fn is_stream(&self) -> bool {
        !matches!(self.content, Content::Full(_))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Broken>>> {
        if let Some(gone) = &mut self.gone
            && gone.as_mut().poll(cx).is_ready()
        {
            self.gone = None;
            return Poll::Ready(Some(Err(Broken::Gone)));
        }
        let next = match &mut self.content {
            Content::Full(bytes) => bytes.take().map(Ok),
            Content::Stream(chunks) => ready!(chunks.poll_recv(cx)).map(Ok),
            Content::Fallible(chunks) => {
                ready!(chunks.poll_recv(cx)).map(|r| r.map_err(|e| Broken::Failed(chain(&e))))
            }
        };
        if let (Some(record), Some(Ok(piece))) = (&self.record, &next) {
            record.note(piece);
        }
        Poll::Ready(next.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Content::Stream(_) | Content::Fallible(_) => SizeHint::default(),
        }
    }
}

/// One JSON line as moby's stream formatter ends it.
pub fn json_line(value: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).expect("API objects have string keys");
    line.extend_from_slice(b"\r\n");
    line.into()
}

/// A whole small body.
///
/// # Errors
/// Larger than 4 MiB, or the connection broke.
pub async fn bytes(body: Incoming) -> Result<Bytes> {
    bytes_up_to(body, JSON_LIMIT).await
}

/// A whole body of at most `limit` bytes, a whole number of MiB.
///
/// # Errors
/// Larger, or the connection broke.
pub async fn bytes_up_to(mut body: Incoming, limit: usize) -> Result<Bytes> {
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Error::invalid(format!("cannot read the request body: {e}")))?;
        let Some(data) = frame.data_ref() else { continue };
        if all.len() + data.len() > limit {
            drain(&mut body).await;
            return Err(Error::invalid(format!("the request body is larger than {} MiB", limit >> 20)));
        }
        all.extend_from_slice(data);
    }
    Ok(all.into())
}

/// A JSON body; `None` when it is empty. Anything else must say that it is JSON.
///
/// # Errors
/// Another content type, malformed JSON, or too large.
pub async fn json_or_none<T: DeserializeOwned>(headers: &HeaderMap, body: Incoming) -> Result<Option<T>> {
    let bytes = bytes(body).await?;
    let content_type = headers.get(header::CONTENT_TYPE).map_or(Ok(""), |v| v.to_str());
    let content_type = content_type.map_err(|_| Error::invalid("malformed Content-Type header"))?;
    if content_type.is_empty() && bytes.is_empty() {
        return Ok(None);
    }
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.is_empty() && !content_type.is_empty() {
        return Err(Error::invalid(format!(
            "malformed Content-Type header ({content_type}): mime: no media type"
        )));
    }
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Error::invalid(format!(
            "unsupported Content-Type header ({content_type}): must be 'application/json'"
        )));
    }
    if bytes.is_empty() {
        return Ok(None);
    }
    spec::gojson::from_slice(&bytes).map(Some).map_err(|error| Error::invalid(malformed(&error)))
}

/// What is wrong with a document, in Go's words where it has some.
fn malformed(error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "invalid JSON: unexpected EOF".into();
    }
    if error.is_syntax() && error.to_string().starts_with("trailing characters") {
        return "unexpected content after JSON".into();
    }
    format!("invalid JSON: {error}")
}

/// A JSON body; an empty one is the zero value, as everywhere but where a container is created.
///
/// # Errors
/// Another content type, malformed JSON, or too large.
pub async fn json<T: DeserializeOwned + Default>(headers: &HeaderMap, body: Incoming) -> Result<T> {
    Ok(json_or_none(headers, body).await?.unwrap_or_default())
}

/// A JSON body that must be there.
///
/// # Errors
/// As [`json`], and when it is empty.
pub async fn required_json<T: DeserializeOwned>(headers: &HeaderMap, body: Incoming) -> Result<T> {
    json_or_none(headers, body)
        .await?
        .ok_or_else(|| Error::invalid("invalid JSON: got EOF while reading request body"))
}

/// Gives a body of any size to blocking work as it arrives, through a bounded channel. A body that breaks off is an
/// error where it is read.
///
/// # Errors
/// The connection broke, or the work's own.
pub async fn pump<T: Send + 'static>(
    body: Incoming,
    work: impl FnOnce(&mut (dyn Read + Send)) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (mut reader, fed) = reader(body);
    let work = tokio::task::spawn_blocking(move || work(&mut reader));
    let fed = fed.await;
    let worked = work.await.map_err(|e| Error::new(spec::ErrorKind::Internal, e.to_string()))?;
    fed.and(worked)
}

/// A body of any size as blocking work reads it, and what feeds the reader: both must run. A body that breaks off is an
/// error at both ends; a reader that is dropped wants no more.
pub fn reader(body: Incoming) -> (impl Read + Send + 'static, impl Future<Output = Result<()>> + Send) {
    let (sender, pumped) = Pumped::new();
    (pumped, feed(body, sender))
}

/// The same of a download; `told` hears how many bytes have come.
pub fn downloaded(
    mut download: Download,
    mut told: impl FnMut(u64) + Send,
) -> (impl Read + Send + 'static, impl Future<Output = Result<()>> + Send) {
    let (sender, pumped) = Pumped::new();
    let feed = async move {
        let mut come = 0;
        while let Some(chunk) = download.chunk().await? {
            come += chunk.len() as u64;
            told(come);
            if sender.send(Part::Data(chunk)).await.is_err() {
                return Ok(());
            }
        }
        // A reader that has gone wants no more.
        let _ = sender.send(Part::End).await;
        Ok(())
    };
    (pumped, feed)
}

async fn feed(mut body: Incoming, sender: tokio::sync::mpsc::Sender<Part>) -> Result<()> {
    loop {
        let part = match body.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Part::Data(data),
                Err(_trailers) => continue,
            },
            Some(Err(error)) => {
                return Err(Error::invalid(format!("cannot read the request body: {error}")));
            }
            None => Part::End,
        };
        let last = matches!(part, Part::End);
        if sender.send(part).await.is_err() {
            drain(&mut body).await;
            return Ok(());
        }
        if last {
            return Ok(());
        }
    }
}

/// Reads on what nobody wants: most clients read the answer only when they have sent everything, and an answer to a
/// connection closed before that is lost.
async fn drain(body: &mut Incoming) {
    let mut left = DRAIN_LIMIT;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => break,
        }
    }
}

/// What comes through the channel. A channel that closes without an end was cut.
enum Part {
    Data(Bytes),
    End,
}

struct Pumped {
    chunks: Receiver<Part>,
    chunk: Bytes,
    ended: bool,
}

impl Pumped {
    fn new() -> (tokio::sync::mpsc::Sender<Part>, Self) {
        let (sender, chunks) = tokio::sync::mpsc::channel(32);
        (sender, Self { chunks, chunk: Bytes::new(), ended: false })
    }
}

impl Read for Pumped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.chunks.blocking_recv() {
                Some(Part::Data(chunk)) => self.chunk = chunk,
                Some(Part::End) => {
                    self.ended = true;
                    return Ok(0);
                }
                None if self.ended => return Ok(0),
                None => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it was cut off"));
                }
            }
        }
        let n = self.chunk.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.chunk[..n]);
        self.chunk.advance(n);
        Ok(n)
    }
}
