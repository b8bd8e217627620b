//! What goes over a connection as a stream.

use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as _, Frame, Incoming};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::{Error, Result};

/// Bytes of an upload gathered before they are handed to the connection.
pub const CHUNK: usize = 64 * 1024;
/// Chunks in flight between the thread that makes an upload and the connection.
const QUEUE: usize = 8;
/// The longest line of JSON read; a progress message is far below it.
const LONGEST_LINE: usize = 16 * 1024 * 1024;

pub(crate) type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

/// A request body that is made while it is sent.
#[derive(Debug)]
pub struct Upload(mpsc::Receiver<io::Result<Bytes>>);

/// The end an upload is written to, by a thread that may block.
#[derive(Debug)]
pub struct UploadWriter {
    queue: mpsc::Sender<io::Result<Bytes>>,
    pending: BytesMut,
}

impl Upload {
    /// An upload and its writer.
    pub fn new() -> (UploadWriter, Self) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        (UploadWriter { queue, pending: BytesMut::with_capacity(CHUNK) }, Self(receiver))
    }

    pub(crate) fn into_body(self) -> RequestBody {
        self.boxed_unsync()
    }
}

impl hyper::body::Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|item| item.map(|chunk| chunk.map(Frame::data)))
    }
}

impl UploadWriter {
    /// Sends what is left and ends the body.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn finish(mut self) -> io::Result<()> {
        io::Write::flush(&mut self)
    }

    /// Ends the body with an error, so that the engine does not take half of it for the whole.
    pub fn abort(self, error: io::Error) {
        // The receiver is gone only when the request already failed.
        let _ = self.queue.blocking_send(Err(error));
    }
}

impl io::Write for UploadWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let chunk = self.pending.split().freeze();
        self.queue.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// A response body, read chunk by chunk.
#[derive(Debug)]
pub struct Body(pub(crate) Incoming);

impl Body {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.0.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Everything that is left.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn bytes(self) -> Result<Bytes> {
        Ok(self.0.collect().await?.to_bytes())
    }

    /// Whether everything has been read.
    pub fn is_end(&self) -> bool {
        self.0.is_end_stream()
    }
}

/// A response of one JSON object per line.
#[derive(Debug)]
pub struct JsonLines<T> {
    body: Body,
    request: String,
    buffer: BytesMut,
    /// Bytes of the buffer known to hold no newline.
    scanned: usize,
    item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JsonLines<T> {
    pub(crate) fn new(body: Body, request: String) -> Self {
        Self { body, request, buffer: BytesMut::new(), scanned: 0, item: PhantomData }
    }

    /// The next line as it came; `None` at the end.
    ///
    /// # Errors
    /// The connection broke, or a line has no end.
    pub async fn line(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(at) = self.buffer[self.scanned..].iter().position(|&b| b == b'\n') {
                let line = self.buffer.split_to(self.scanned + at + 1).freeze();
                self.scanned = 0;
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Ok(Some(line));
            }
            self.scanned = self.buffer.len();
            if self.scanned > LONGEST_LINE {
                return Err(io::Error::other("a line of the daemon's answer is too long").into());
            }
            match self.body.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.iter().all(u8::is_ascii_whitespace) => return Ok(None),
                None => {
                    self.scanned = 0;
                    return Ok(Some(self.buffer.split().freeze()));
                }
            }
        }
    }

    /// The next object; `None` at the end.
    ///
    /// # Errors
    /// The connection broke, or a line is not of this type.
    pub async fn next(&mut self) -> Result<Option<T>> {
        let Some(line) = self.line().await? else { return Ok(None) };
        spec::gojson::from_slice(&line)
            .map(Some)
            .map_err(|source| Error::Decode { request: self.request.clone(), source })
    }
}
