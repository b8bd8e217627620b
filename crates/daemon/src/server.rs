//! Connections: HTTP by hyper, version 1.1 until a handler takes the connection over for raw bytes, or version 2.
//!
//! A client that speaks HTTP/2 begins with its preface at once, on unix sockets and in cleartext too. `Upgrade: h2c` in
//! front of an ordinary request is not answered, as RFC 9113 allows: the client goes on with 1.1.
//!
//! Attach and exec hand the socket to the client's terminal, with `101` when the client asked for an upgrade, with a
//! bare `200` when it did not (old clients). Both are done here in the same way: the handler never answers, hyper is
//! taken off the socket, and what it had read already goes with it.

use std::convert::Infallible;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::body::Body;
use crate::listen::{Descriptors, Hangup, Listener, Stream};
use crate::rewind::{Protocol, Rewound};

/// How many requests one HTTP/2 connection may have in flight.
const STREAMS: u32 = 256;
/// What is spoken, for the handshake of TLS (RFC 7301).
pub const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What a handler wants done with its connection.
pub enum Reply {
    /// Answer, and read the next request.
    Response(Response<Body>),
    /// Give it the connection.
    Takeover(Takeover),
}

/// Works on the raw bytes of a connection.
pub type Raw = Box<dyn FnOnce(Stream, Bytes) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A connection to be taken over.
pub struct Takeover {
    /// Status line and headers to send first.
    pub head: Bytes,
    /// Gets the socket and what was read beyond the request.
    pub then: Raw,
}

/// Answers requests.
pub trait Handler: Clone + Send + Sync + Unpin + 'static {
    /// Answers one.
    fn handle(&self, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Reply> + Send;
}

/// Accepts and serves until `stop` is true, then lets requests in flight finish: those of each listener for as long as
/// `patience` says, or for ever. Containers are not concerned.
pub async fn serve(
    listeners: Vec<Listener>,
    handler: impl Handler,
    stop: watch::Receiver<bool>,
    patience: impl Fn() -> Option<Duration> + Clone + Send + 'static,
) {
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, handler.clone(), stop.clone(), patience.clone()));
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept(
    listener: Listener,
    handler: impl Handler,
    mut stop: watch::Receiver<bool>,
    patience: impl Fn() -> Option<Duration>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => {
                    let (handler, stop) = (handler.clone(), stop.clone());
                    connections.spawn(async move {
                        match accepted.establish().await {
                            Ok(stream) => connection(stream, handler, stop).await,
                            Err(error) => tracing::debug!(%error, "TLS handshake failed"),
                        }
                    });
                }
                Err(error) => {
                    // Out of descriptors or memory: others must end first.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = stopped(&mut stop) => break,
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    let patience = patience().unwrap_or(Duration::MAX);
    if tokio::time::timeout(patience, finished).await.is_err() {
        tracing::warn!("requests in flight were cut off");
    }
}

/// Completes when the daemon is told to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means that the daemon is ending too.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn connection(stream: Stream, handler: impl Handler, mut stop: watch::Receiver<bool>) {
    let hangup = match Hangup::of(&stream) {
        Ok(hangup) => Arc::new(hangup),
        Err(error) => {
            tracing::warn!(%error, "cannot watch a connection");
            return;
        }
    };
    let descriptors = match &stream {
        Stream::Unix(_, descriptors) => descriptors.clone(),
        Stream::Tcp(_) | Stream::Tls(_) => Descriptors::default(),
    };
    let peer = Peer { hangup, stop: stop.clone(), descriptors };
    let sniffed = tokio::select! {
        sniffed = Rewound::sniff(stream) => sniffed,
        () = stopped(&mut stop) => return,
    };
    match sniffed {
        Ok((stream, Protocol::Http1)) => http1(stream, handler, peer, stop).await,
        Ok((stream, Protocol::Http2)) => http2(stream, handler, peer, stop).await,
        Err(error) => tracing::debug!(%error, "connection ended"),
    }
}

/// One request after the other, until one of them takes the connection over.
async fn http1(stream: Rewound<Stream>, handler: impl Handler, peer: Peer, mut stop: watch::Receiver<bool>) {
    let (takeovers, mut taken) = mpsc::channel::<Takeover>(1);
    let service = service_fn(move |request| {
        let (handler, takeovers, peer) = (handler.clone(), takeovers.clone(), peer.clone());
        Box::pin(async move {
            match handler.handle(request, peer).await {
                Reply::Response(response) => Ok::<_, Infallible>(response),
                Reply::Takeover(takeover) => {
                    // The connection's task receives it and drops this future.
                    let _ = takeovers.send(takeover).await;
                    std::future::pending().await
                }
            }
        })
    });
    let mut http = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut stopping = false;
    let takeover = loop {
        tokio::select! {
            ended = poll_fn(|cx| http.poll_without_shutdown(cx)) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                break None;
            }
            Some(takeover) = taken.recv() => break Some(takeover),
            () = stopped(&mut stop), if !stopping => {
                stopping = true;
                Pin::new(&mut http).graceful_shutdown();
            }
        }
    };
    let Some(takeover) = takeover else { return };
    let parts = http.into_parts();
    drop(parts.service);
    // All that was sniffed has been read again: it held the request.
    let (mut stream, _) = parts.io.into_inner().into_parts();
    let early = parts.read_buf;
    let raw = async {
        if stream.write_all(&takeover.head).await.is_ok() {
            (takeover.then)(stream, early).await;
        }
    };
    tokio::select! {
        () = raw => {}
        () = stopped(&mut stop) => {}
    }
}

/// Many requests at once. None of them can have the connection: [`Handler::handle`] sees the request's version.
async fn http2(stream: Rewound<Stream>, handler: impl Handler, peer: Peer, mut stop: watch::Receiver<bool>) {
    let service = service_fn(move |request| {
        let (handler, peer) = (handler.clone(), peer.clone());
        Box::pin(async move {
            match handler.handle(request, peer).await {
                Reply::Response(response) => Ok::<_, Infallible>(response),
                Reply::Takeover(_) => {
                    let mut refused = Response::new(Body::empty());
                    *refused.status_mut() = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
                    Ok(refused)
                }
            }
        })
    });
    let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(STREAMS)
        .serve_connection(TokioIo::new(stream), service);
    let mut http = std::pin::pin!(http);
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = http.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = stopped(&mut stop), if !stopping => {
                stopping = true;
                http.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The client at the other end, for answers that go on for long.
#[derive(Clone)]
pub struct Peer {
    hangup: Arc<Hangup>,
    stop: watch::Receiver<bool>,
    descriptors: Descriptors,
}

impl Peer {
    /// The descriptors that came with its bytes.
    pub fn descriptors(&self) -> Vec<OwnedFd> {
        self.descriptors.take()
    }

    /// Completes when the client has hung up, or the daemon stops.
    pub async fn gone(mut self) {
        tokio::select! {
            () = self.hangup.wait() => {}
            () = stopped(&mut self.stop) => {}
        }
    }
}
