//! One question to a plugin: `POST /<method>` with JSON, over its socket.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::place::Address;
use crate::error::chain;

/// What the answers are made of (Docker's plugin protocol).
const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";
/// The longest answer: some ten thousand volumes.
const LONGEST: usize = 16 << 20;
/// Between two tries to reach a plugin that is just being started.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a question may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    /// To be answered.
    answer: Duration,
    /// To find somebody who listens: a plugin may be started beside us.
    listen: Duration,
}

/// Making and mounting: what is behind a plugin may have to be made first. Docker's bound.
pub(crate) const LONG: Time = Time { answer: Duration::from_secs(120), listen: Duration::from_secs(5) };
/// Everything else that concerns one volume. Docker's bound.
pub(crate) const SHORT: Time = Time { answer: Duration::from_secs(60), listen: Duration::from_secs(1) };
/// What lists ask all plugins: one that hangs must not keep the others' volumes from being seen.
pub(crate) const QUICK: Time = Time { answer: Duration::from_secs(5), listen: Duration::ZERO };

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The plugin could not be asked, or said nothing that is an answer.
    #[error("{method}: {why}")]
    Broken { method: String, why: String },
    /// The plugin's own words.
    #[error("{0}")]
    Refused(String),
}

/// Asks, and reads the answer.
pub(super) async fn call<A: DeserializeOwned>(
    address: &Address,
    method: &str,
    question: &impl Serialize,
    time: Time,
) -> Result<A, Failure> {
    let broken = |why: String| Failure::Broken { method: method.to_owned(), why };
    let body = match serde_json::to_vec(question).map_err(|e| broken(e.to_string()))? {
        // Nothing is asked but who it is.
        null if null == b"null" => Vec::new(),
        body => body,
    };
    let answered = tokio::time::timeout(time.answer, exchange(address, method, body, time.listen)).await;
    let (status, bytes) = match answered {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => return Err(broken(why)),
        Err(_) => return Err(broken(format!("no answer within {} s", time.answer.as_secs()))),
    };
    if !status.is_success() {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Told {
            err: String,
        }
        // Those that follow the protocol say it as always; others write a text.
        let told = serde_json::from_slice::<Told>(&bytes).map(|told| told.err).unwrap_or_default();
        let text = if told.is_empty() { String::from_utf8_lossy(&bytes).trim().to_owned() } else { told };
        let text = text.chars().take(1000).collect::<String>();
        let text = if text.is_empty() { status.to_string() } else { text };
        return Err(Failure::Refused(format!("{method}: {text}")));
    }
    serde_json::from_slice(&bytes).map_err(|e| broken(format!("its answer is not what it should be: {e}")))
}

async fn exchange(
    address: &Address,
    method: &str,
    body: Vec<u8>,
    patience: Duration,
) -> Result<(http::StatusCode, Bytes), String> {
    let began = tokio::time::Instant::now();
    loop {
        let connected = match address {
            Address::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
            Address::Tcp(place) => TcpStream::connect(place).await.map(Stream::Tcp),
        };
        return match connected {
            Ok(Stream::Unix(stream)) => speak(stream, method, body).await,
            Ok(Stream::Tcp(stream)) => speak(stream, method, body).await,
            Err(_) if began.elapsed() + PAUSE < patience => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => {
                let place = match address {
                    Address::Unix(path) => path.display().to_string(),
                    Address::Tcp(place) => place.clone(),
                };
                Err(format!("cannot connect to {place}: {}", crate::error::errno_text(&error)))
            }
        };
    }
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: &str,
    body: Vec<u8>,
) -> Result<(http::StatusCode, Bytes), String> {
    let failed = |error: hyper::Error| chain(&error);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = http::Request::post(format!("/{method}"))
        .header(http::header::HOST, "plugin.moby.localhost")
        .header(http::header::ACCEPT, MEDIA_TYPE)
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(http::header::USER_AGENT, concat!("corten/", env!("CARGO_PKG_VERSION")))
        .header(http::header::CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| e.to_string())?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(failed)?;
        let status = answer.status();
        let bytes = Limited::new(answer.into_body(), LONGEST).collect().await.map_err(|e| e.to_string())?;
        Ok((status, bytes.to_bytes()))
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // A server that closes the connection has said all it had to say, or its error comes out of the exchange.
        _ = connection => exchange.await,
    }
}
