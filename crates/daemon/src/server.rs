//! Connections: HTTP/1.1 by hyper until a handler takes the connection over for raw bytes.
//!
//! Attach and exec hand the socket to the client's terminal, with `101` when the client asked for an upgrade, with a
//! bare `200` when it did not (old clients). Both are done here in the same way: the handler never answers, hyper is
//! taken off the socket, and what it had read already goes with it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::body::Body;
use crate::listen::{Hangup, Listener, Stream};

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
    let (takeovers, mut taken) = mpsc::channel::<Takeover>(1);
    let peer = Peer { hangup, stop: stop.clone() };
    let service = service_fn(move |request| {
        let (handler, takeovers, peer) = (handler.clone(), takeovers.clone(), peer.clone());
        Box::pin(async move {
            match handler.handle(request, peer).await {
                Reply::Response(response) => Ok::<_, std::convert::Infallible>(response),
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
    let (mut stream, early) = (parts.io.into_inner(), parts.read_buf);
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

/// The client at the other end, for answers that go on for long.
#[derive(Clone)]
pub struct Peer {
    hangup: Arc<Hangup>,
    stop: watch::Receiver<bool>,
}

impl Peer {
    /// Completes when the client has hung up, or the daemon stops.
    pub async fn gone(mut self) {
        tokio::select! {
            () = self.hangup.wait() => {}
            () = stopped(&mut self.stop) => {}
        }
    }
}
