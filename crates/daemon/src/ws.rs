//! Attach over a WebSocket (RFC 6455): the container's bytes in binary messages, without the frames of the other form.
//!
//! What the client sends, in text or binary messages, is the program's input. Either end's close ends the session: a
//! WebSocket has no half-close.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use engine::Attached;
use engine::container::attach::{DetachKeys, OnDetach};
use futures_util::{SinkExt, StreamExt};
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{HeaderMap, HeaderName};
use spec::api::Stream as FrameStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error as SocketError;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use crate::error::{Error, Result};
use crate::listen::{Hangup, Stream};
use crate::server::{Reply, Takeover};

/// One read's worth of bytes.
const CHUNK: usize = 64 << 10;
/// How long the client's own close is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// The largest message that is read.
const MESSAGE: usize = 1 << 20;

/// Checks what the client asked for, and gives the key that the answer proves to have read.
///
/// # Errors
/// It is no WebSocket handshake of version 13.
pub fn key(headers: &HeaderMap) -> Result<HeaderValue> {
    let has = |name: HeaderName, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .any(|text| text.split(',').any(|w| w.trim().eq_ignore_ascii_case(word)))
    };
    let key = headers.get("sec-websocket-key").filter(|_| has(UPGRADE, "websocket"));
    match key {
        Some(key)
            if has(CONNECTION, "upgrade") && has(HeaderName::from_static("sec-websocket-version"), "13") =>
        {
            Ok(key.clone())
        }
        _ => Err(Error::invalid("attach/ws needs a WebSocket handshake (version 13)")),
    }
}

/// Hands the connection over to an attached stream.
pub fn takeover(key: &HeaderValue, headers: &HeaderMap, attached: Attached) -> Reply {
    let mut head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n",
        derive_accept_key(key.as_bytes())
    );
    // Any protocol is as good as another: the first is agreed to, as a browser insists on one of its own.
    let protocol = headers.get("sec-websocket-protocol").and_then(|v| v.to_str().ok());
    if let Some(first) = protocol.and_then(|p| p.split(',').next()) {
        head.push_str(&format!("Sec-WebSocket-Protocol: {}\r\n", first.trim()));
    }
    head.push_str("\r\n");
    Reply::Takeover(Takeover {
        head: head.into(),
        then: Box::new(move |client, early| Box::pin(run(client, early, attached))),
    })
}

async fn run(client: Stream, early: Bytes, attached: Attached) {
    let Ok(hangup) = Hangup::of(&client) else { return };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE))
        .max_frame_size(Some(MESSAGE))
        .write_buffer_size(0);
    let socket =
        WebSocketStream::from_partially_read(client, early.to_vec(), Role::Server, Some(config)).await;
    let (mut to_client, mut from_client) = socket.split();
    let mut plain = Plain { framed: !attached.tty, left: 0, buffer: BytesMut::new() };
    let (from_shim, to_shim) = match attached.socket {
        Some(socket) => {
            let (from, to) = socket.into_split();
            (Some(from), Some(to))
        }
        None => (None, None),
    };
    let output = async {
        if let Some(mut replay) = attached.replay {
            while let Some(chunk) = replay.recv().await {
                plain.send(&chunk, &mut to_client).await?;
            }
        }
        let Some(mut from_shim) = from_shim else { return Ok(()) };
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            chunk.clear();
            // A shim that has gone has ended its streams.
            if !matches!(from_shim.read_buf(&mut chunk).await, Ok(1..)) {
                return Ok::<_, SocketError>(());
            }
            plain.send(&chunk, &mut to_client).await?;
        }
    };
    let keys = DetachKeys::new(attached.detach_keys);
    tokio::select! {
        ended = output => if let Err(error) = ended {
            tracing::debug!(%error, "attached WebSocket ended");
        },
        detached = input(&mut from_client, to_shim.filter(|_| attached.stdin), keys) => if detached {
            attached.on_detach.into_iter().for_each(OnDetach::tell);
        },
        () = hangup.wait() => return,
    }
    // The client may be gone already. One that is not answers with its own close.
    let _ = to_client.close().await;
    let closed = async { while let Some(Ok(_)) = from_client.next().await {} };
    let _ = tokio::time::timeout(PATIENCE, closed).await;
}

/// Client → shim, until the client closes or detaches; whether it was the latter.
async fn input(
    mut client: impl futures_util::Stream<Item = std::result::Result<Message, SocketError>> + Unpin,
    mut shim: Option<tokio::net::unix::OwnedWriteHalf>,
    mut keys: DetachKeys,
) -> bool {
    let mut pass = Vec::new();
    while let Some(Ok(message)) = client.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            Message::Close(_) => return false,
            // Answered where they are read.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        let Some(shim) = &mut shim else { continue };
        pass.clear();
        let detached = keys.feed(&bytes, &mut pass);
        // A program that has closed its stdin is no reason to stop reading its output.
        let _ = shim.write_all(&pass).await;
        if detached {
            return true;
        }
    }
    false
}

/// Takes the frames off what comes from a shim or a log.
struct Plain {
    framed: bool,
    /// What is left of the frame under way.
    left: usize,
    /// A header that has not come whole.
    buffer: BytesMut,
}

impl Plain {
    async fn send(
        &mut self,
        chunk: &[u8],
        client: &mut (impl futures_util::Sink<Message, Error = SocketError> + Unpin),
    ) -> std::result::Result<(), SocketError> {
        for piece in self.pieces(chunk) {
            client.send(Message::Binary(piece)).await?;
        }
        Ok(())
    }

    /// The payloads in a chunk.
    fn pieces(&mut self, chunk: &[u8]) -> Vec<Bytes> {
        if !self.framed {
            return vec![Bytes::copy_from_slice(chunk)];
        }
        self.buffer.extend_from_slice(chunk);
        let mut pieces = Vec::new();
        loop {
            if self.left > 0 && !self.buffer.is_empty() {
                let piece = self.buffer.split_to(self.left.min(self.buffer.len())).freeze();
                self.left -= piece.len();
                pieces.push(piece);
            }
            if self.left > 0 || self.buffer.len() < 8 {
                return pieces;
            }
            let header: [u8; 8] = self.buffer[..8].try_into().expect("eight bytes are eight");
            self.buffer.advance(8);
            // Our own shim writes known streams only.
            self.left = FrameStream::parse(header).map_or(0, |(_, length)| length as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_off_wherever_they_are_cut() {
        let mut bytes = FrameStream::Stdout.header(5).to_vec();
        bytes.extend_from_slice(b"hello");
        bytes.extend_from_slice(&FrameStream::Stderr.header(0));
        bytes.extend_from_slice(&FrameStream::Stderr.header(2));
        bytes.extend_from_slice(b"!!");
        for size in 1..bytes.len() {
            let mut plain = Plain { framed: true, left: 0, buffer: BytesMut::new() };
            let text: Vec<u8> =
                bytes.chunks(size).flat_map(|c| plain.pieces(c)).flat_map(|p| p.to_vec()).collect();
            assert_eq!(text, b"hello!!", "cut every {size} bytes");
        }
        let mut raw = Plain { framed: false, left: 0, buffer: BytesMut::new() };
        assert_eq!(raw.pieces(b"\x01raw"), [Bytes::from_static(b"\x01raw")]);
    }

    #[test]
    fn only_a_handshake_is_one() {
        let mut headers = HeaderMap::new();
        assert!(key(&headers).is_err());
        headers.insert(UPGRADE, "WebSocket".parse().unwrap());
        headers.insert(CONNECTION, "keep-alive, Upgrade".parse().unwrap());
        headers.insert("sec-websocket-key", "x".parse().unwrap());
        assert!(key(&headers).is_err());
        headers.insert("sec-websocket-version", "13".parse().unwrap());
        assert_eq!(key(&headers).unwrap(), "x");
    }
}
