//! Attach and exec: bytes in both directions between a client and a shim.
//!
//! A client that closes its writing half ends the program's stdin and goes on reading. A shim that closes ends it all.

use bytes::Bytes;
use engine::container::attach::{DetachKeys, OnDetach};
use engine::{Attached, ExecStarting};
use http::HeaderMap;
use http::header::UPGRADE;
use spec::api::Stream as FrameStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::listen::{Hangup, Stream};
use crate::router::Version;
use crate::server::{Reply, Takeover};

/// One read's worth of bytes.
const CHUNK: usize = 64 << 10;

/// Content type of a stream: raw with a terminal, frames without; clients before 1.42 know one name for both.
pub fn content_type(tty: bool, version: Version) -> &'static str {
    if tty || version < Version(1, 42) {
        "application/vnd.docker.raw-stream"
    } else {
        "application/vnd.docker.multiplexed-stream"
    }
}

/// Hands the connection over to an attached stream, in the form the client asked for.
pub fn takeover(headers: &HeaderMap, version: Version, attached: Attached) -> Reply {
    Reply::Takeover(Takeover {
        head: head(headers, version, attached.tty),
        then: Box::new(move |client, early| Box::pin(run(client, early, attached))),
    })
}

/// Hands the connection over to an exec, and starts that only then. A client whose program cannot be started reads why
/// on stdout, as in Docker; the exec has the exit code.
pub fn exec(headers: &HeaderMap, version: Version, starting: ExecStarting) -> Reply {
    let tty = starting.tty();
    Reply::Takeover(Takeover {
        head: head(headers, version, tty),
        then: Box::new(move |client, early| {
            Box::pin(async move {
                match starting.run().await {
                    Ok(Some(attached)) => run(client, early, attached).await,
                    Ok(None) => {}
                    Err(error) => message(client, tty, &error.message()).await,
                }
            })
        }),
    })
}

/// One line on stdout, and the end.
async fn message(mut client: Stream, tty: bool, text: &str) {
    let line = format!("{text}\r\n");
    let length = u32::try_from(line.len()).expect("a message is short");
    let mut bytes = if tty { Vec::new() } else { FrameStream::Stdout.header(length).to_vec() };
    bytes.extend_from_slice(line.as_bytes());
    // The client may have gone.
    let _ = client.write_all(&bytes).await;
    let _ = client.shutdown().await;
}

/// The head of an answer that turns into a stream.
fn head(headers: &HeaderMap, version: Version, tty: bool) -> Bytes {
    if !headers.contains_key(UPGRADE) {
        // Clients that do not ask for an upgrade know one type only.
        return "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n".into();
    }
    let content_type = content_type(tty, version);
    format!(
        "HTTP/1.1 101 UPGRADED\r\nContent-Type: {content_type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
         Api-Version: {}\r\nDocker-Experimental: false\r\nOstype: linux\r\n\r\n",
        spec::api::API_VERSION
    )
    .into()
}

/// Copies until the shim ends the stream, the user detaches, or the client hangs up.
async fn run(mut client: Stream, early: Bytes, attached: Attached) {
    let Ok(hangup) = Hangup::of(&client) else { return };
    let (from_client, mut to_client) = tokio::io::split(&mut client);
    let output = async {
        if let Some(mut replay) = attached.replay {
            while let Some(chunk) = replay.recv().await {
                to_client.write_all(&chunk).await?;
            }
        }
        let Some(socket) = attached.socket else { return Ok(()) };
        let (from_shim, to_shim) = socket.into_split();
        let mut keys = DetachKeys::new(attached.detach_keys);
        let mut input = std::pin::pin!(input(from_client, early, to_shim, attached.stdin, &mut keys));
        let mut copying = std::pin::pin!(copy(from_shim, &mut to_client));
        tokio::select! {
            ended = &mut copying => ended,
            detached = &mut input => match detached? {
                Input::Detached => {
                    attached.on_detach.into_iter().for_each(OnDetach::tell);
                    Ok(())
                }
                // Held until the end: the shim must not take its peer for gone.
                Input::Ended(_to_shim) => tokio::select! {
                    ended = &mut copying => ended,
                    () = hangup.wait() => Ok(()),
                },
            },
        }
    };
    let ended: std::io::Result<()> = output.await;
    if let Err(error) = ended {
        tracing::debug!(%error, "attached stream ended");
    }
    // The client may be gone already.
    let _ = client.shutdown().await;
}

/// How the client's bytes came to an end.
enum Input<W> {
    /// The detach keys were typed.
    Detached,
    /// The client sends no more; the writer is half-closed.
    Ended(W),
}

/// Client → shim, through the detach keys. Without `stdin` the bytes are read and dropped, so that the end is seen.
async fn input<W: AsyncWrite + Unpin>(
    mut client: impl AsyncRead + Unpin,
    early: Bytes,
    mut shim: W,
    stdin: bool,
    keys: &mut DetachKeys,
) -> std::io::Result<Input<W>> {
    let mut chunk = Vec::from(early);
    let mut pass = Vec::new();
    loop {
        if !chunk.is_empty() {
            pass.clear();
            let detached = keys.feed(&chunk, &mut pass);
            // A program that has closed its stdin is no reason to stop reading its output.
            if stdin {
                let _ = shim.write_all(&pass).await;
            }
            if detached {
                return Ok(Input::Detached);
            }
        }
        chunk.clear();
        chunk.reserve(CHUNK);
        if client.read_buf(&mut chunk).await? == 0 {
            if stdin {
                // As above.
                let _ = shim.shutdown().await;
            }
            return Ok(Input::Ended(shim));
        }
    }
}

/// Shim → client, in large chunks.
async fn copy(mut from: impl AsyncRead + Unpin, to: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        chunk.clear();
        if from.read_buf(&mut chunk).await? == 0 {
            return to.flush().await;
        }
        to.write_all(&chunk).await?;
        // TLS holds back what the socket did not take at once.
        to.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::UnixStream;
    use tokio::task::JoinHandle;

    use super::*;

    /// The client's end, the shim's end, and the session between them.
    fn attached(
        detach_keys: &[u8],
        early: &'static [u8],
        replay: Option<tokio::sync::mpsc::Receiver<Bytes>>,
    ) -> (UnixStream, UnixStream, JoinHandle<()>) {
        let (client, ours) = UnixStream::pair().unwrap();
        let (shim, socket) = UnixStream::pair().unwrap();
        let attached = Attached {
            socket: Some(socket),
            replay,
            tty: !detach_keys.is_empty(),
            detach_keys: detach_keys.to_vec(),
            stdin: true,
            on_detach: None,
        };
        let session =
            tokio::spawn(run(Stream::Unix(ours, Default::default()), Bytes::from_static(early), attached));
        (client, shim, session)
    }

    async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(10), work)
            .await
            .unwrap_or_else(|_| panic!("{what} never came"))
    }

    #[tokio::test]
    async fn a_client_that_is_done_sending_still_reads() {
        let (mut client, mut shim, session) = attached(&[], b"early ", None);
        client.write_all(b"late").await.unwrap();
        client.shutdown().await.unwrap();
        let mut input = String::new();
        soon("stdin's end", shim.read_to_string(&mut input)).await.unwrap();
        assert_eq!(input, "early late");
        shim.write_all(b"output").await.unwrap();
        drop(shim);
        let mut output = String::new();
        soon("the stream's end", client.read_to_string(&mut output)).await.unwrap();
        assert_eq!(output, "output");
        soon("the session's end", session).await.unwrap();
    }

    #[tokio::test]
    async fn the_detach_keys_end_the_session_and_not_the_program() {
        let (mut client, mut shim, session) = attached(&[16, 17], b"", None);
        client.write_all(b"ab\x10\x11cd").await.unwrap();
        let mut input = String::new();
        soon("the shim's end", shim.read_to_string(&mut input)).await.unwrap();
        assert_eq!(input, "ab");
        soon("the session's end", session).await.unwrap();
        assert_eq!(soon("the client's end", client.read(&mut [0; 1])).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_ends_the_session() {
        let (mut client, mut shim, session) = attached(&[], b"", None);
        client.shutdown().await.unwrap();
        assert_eq!(soon("stdin's end", shim.read(&mut [0; 1])).await.unwrap(), 0);
        assert!(!session.is_finished());
        drop(client);
        soon("the session's end", session).await.unwrap();
        assert!(shim.write_all(b"x").await.is_err(), "the session left its end to the shim open");
    }

    #[tokio::test]
    async fn the_log_comes_first() {
        let (sender, replay) = tokio::sync::mpsc::channel(1);
        let (mut client, mut shim, _session) = attached(&[], b"", Some(replay));
        shim.write_all(b"new").await.unwrap();
        drop(shim);
        sender.send(Bytes::from_static(b"old ")).await.unwrap();
        drop(sender);
        let mut output = String::new();
        soon("the stream's end", client.read_to_string(&mut output)).await.unwrap();
        assert_eq!(output, "old new");
    }
}
