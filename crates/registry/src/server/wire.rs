//! A plain connection whose blobs go from the page cache to the socket (sendfile(2)): no buffer, no copy.
//!
//! hyper writes what a body yields. [`super::body::Body::Wired`] yields placeholders, pieces of one static; the
//! connection knows them by their address and sends the file's bytes in their place. Answers on an HTTP/1 connection are in
//! order, so a queue of one part per answer is enough.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::body::{Body, Part};

/// Never written, never read: only its address counts.
static PLACEHOLDER: [u8; 64 << 10] = [0; 64 << 10];
/// Sent at a time, so that others have their turn.
const TURN: usize = 512 << 10;

/// A piece that stands for at most `left` bytes of a file.
pub(super) fn placeholder(left: u64) -> Bytes {
    let length = usize::try_from(left).map_or(PLACEHOLDER.len(), |left| left.min(PLACEHOLDER.len()));
    Bytes::from_static(&PLACEHOLDER[..length])
}

fn is_placeholder(bytes: &[u8]) -> bool {
    PLACEHOLDER.as_ptr_range().contains(&bytes.as_ptr())
}

/// The parts of files that a connection is to send.
#[derive(Clone, Default)]
pub(super) struct Parts(Arc<Mutex<VecDeque<Part>>>);

impl Parts {
    /// Takes a file's part over from a body, if it is one.
    pub(super) fn take(&self, body: &mut Body) {
        if let Body::File(part) = body
            && part.left > 0
        {
            let wired = Body::Wired(part.left);
            if let Body::File(part) = std::mem::replace(body, wired) {
                self.lock().push_back(part);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Part>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection without TLS.
pub(super) struct Wire {
    stream: TokioIo<TcpStream>,
    parts: Parts,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, parts: Parts) -> Self {
        Self { stream: TokioIo::new(stream), parts }
    }

    /// Sends up to `count` bytes of the part whose turn it is.
    fn send(&mut self, cx: &mut Context<'_>, count: usize) -> Poll<io::Result<usize>> {
        let stream = self.stream.inner();
        let mut parts = self.parts.lock();
        let Some(part) = parts.front_mut() else {
            return Poll::Ready(Err(io::Error::other("a placeholder without a file")));
        };
        let count = count.min(TURN).min(usize::try_from(part.left).unwrap_or(usize::MAX));
        loop {
            part.read_ahead();
            let sent =
                stream.try_io(Interest::WRITABLE, || sys::file::send(&part.file, part.at, count, stream));
            match sent {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready!(stream.poll_write_ready(cx))?,
                Ok(0) => return Poll::Ready(Err(io::Error::other("a blob is shorter than it was"))),
                Ok(n) => {
                    part.at += n as u64;
                    part.left -= n as u64;
                    if part.left == 0 {
                        parts.pop_front();
                    }
                    return Poll::Ready(Ok(n));
                }
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if is_placeholder(bytes) {
            return self.send(cx, bytes.len());
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    /// True: hyper then hands on what bodies yield instead of copying it.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let start = slices.iter().position(|s| !s.is_empty()).unwrap_or(0);
        let slices = &slices[start..];
        let placeholders = slices.iter().take_while(|s| is_placeholder(s));
        let count: usize = placeholders.map(|s| s.len()).sum();
        if count > 0 {
            return self.send(cx, count);
        }
        let end = slices.iter().position(|s| is_placeholder(s)).unwrap_or(slices.len());
        Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..end])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
