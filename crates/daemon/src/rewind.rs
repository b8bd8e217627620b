//! A connection of which a few bytes were read to see what it speaks, and which are read again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What HTTP/2 begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, or 1.0.
    Http1,
    /// HTTP/2, by prior knowledge or agreed on in TLS.
    Http2,
}

/// The stream, and what was read of it already.
#[derive(Debug)]
pub struct Rewound<S> {
    early: Bytes,
    stream: S,
}

impl<S: AsyncRead + Unpin> Rewound<S> {
    /// Reads until it is clear what the client speaks; one that says nothing is waited for.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn sniff(mut stream: S) -> io::Result<(Self, Protocol)> {
        let mut early = BytesMut::with_capacity(4096);
        let protocol = loop {
            let seen = early.len().min(PREFACE.len());
            if early[..seen] != PREFACE[..seen] {
                break Protocol::Http1;
            }
            if seen == PREFACE.len() {
                break Protocol::Http2;
            }
            if stream.read_buf(&mut early).await? == 0 {
                break Protocol::Http1;
            }
        };
        Ok((Self { early: early.freeze(), stream }, protocol))
    }
}

impl<S> Rewound<S> {
    /// The stream, and what nobody has read again.
    pub fn into_parts(self) -> (S, Bytes) {
        (self.stream, self.early)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let n = self.early.len().min(buffer.remaining());
        buffer.put_slice(&self.early[..n]);
        self.early.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn what_was_read_is_read_again() {
        for (text, protocol) in [
            ("GET / HTTP/1.1\r\n\r\n", Protocol::Http1),
            ("POST /x HTTP/1.1\r\n\r\n", Protocol::Http1),
            ("PR", Protocol::Http1),
            ("", Protocol::Http1),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest", Protocol::Http2),
        ] {
            let (mut client, server) = tokio::io::duplex(3);
            let sent = text.to_owned();
            let client = tokio::spawn(async move { client.write_all(sent.as_bytes()).await });
            let (mut stream, found) = Rewound::sniff(server).await.unwrap();
            assert_eq!(found, protocol, "{text}");
            let mut all = String::new();
            stream.read_to_string(&mut all).await.unwrap();
            assert_eq!(all, text);
            client.await.unwrap().unwrap();
        }
    }
}
