//! Connections: accepted, bounded in number, and let finish what they do when the server ends.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::stall::Watched;
use super::wire::{Parts, Wire};
use super::{Peer, Registry};

/// How long a client may take for its TLS handshake, and for the head of a request.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long requests in flight may go on after the server was told to stop.
const GRACE: Duration = Duration::from_secs(10);
/// Connections at a time.
const CONNECTIONS: usize = 4096;
/// What is read of a request at a time. A connection keeps it for as long as it stands.
const READ: usize = 256 << 10;

/// The certificate as it is now; `None` is plain HTTP.
pub(super) type Tls = RwLock<Option<Arc<rustls::ServerConfig>>>;

/// Serves until `stopped` says so.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Arc<Tls>,
    registry: Arc<Registry>,
    mut stopped: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let closing = stopped.clone();
    let stop = async {
        // A sender that is gone means that the server is ending too.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let mut stop = std::pin::pin!(stop);
    loop {
        let slot = Arc::clone(&slots).acquire_owned();
        tokio::select! {
            slot = slot => {
                let slot = slot.expect("it is never closed");
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((stream, address)) => {
                            let tls = tls.read().unwrap_or_else(PoisonError::into_inner).clone();
                            let (registry, closing) = (Arc::clone(&registry), closing.clone());
                            connections.spawn(async move {
                                registry.metrics.connections.fetch_add(1, Relaxed);
                                connection(stream, address, tls, &registry, closing).await;
                                registry.metrics.connections.fetch_sub(1, Relaxed);
                                drop(slot);
                            });
                        }
                        Err(error) => {
                            // Out of descriptors or memory: others must end first.
                            tracing::warn!(%error, "cannot accept a connection");
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                    },
                    Some(_) = connections.join_next() => {}
                    () = &mut stop => break,
                }
            }
            () = &mut stop => break,
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, finished).await.is_err() {
        tracing::warn!("requests in flight were cut off");
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<Arc<rustls::ServerConfig>>,
    registry: &Arc<Registry>,
    stopped: watch::Receiver<bool>,
) {
    // Without it small answers wait; the connection works all the same.
    let _ = stream.set_nodelay(true);
    let local = stream.local_addr().unwrap_or(address);
    let peer = |parts| Peer { address, local, parts };
    match tls {
        None => {
            let parts = Parts::default();
            http(Wire::new(stream, parts.clone()), registry, peer(Some(parts)), stopped).await;
        }
        Some(config) => {
            match tokio::time::timeout(PATIENCE, TlsAcceptor::from(config).accept(stream)).await {
                Ok(Ok(stream)) => http(TokioIo::new(stream), registry, peer(None), stopped).await,
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake took too long"),
            }
        }
    }
}

async fn http(
    stream: impl Read + Write + Unpin,
    registry: &Arc<Registry>,
    peer: Peer,
    mut stopped: watch::Receiver<bool>,
) {
    let service =
        service_fn(|request| async { Ok::<_, Infallible>(Registry::handle(registry, &peer, request).await) });
    let mut http = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .max_buf_size(READ)
            .serve_connection(Watched::new(stream), service)
    );
    let stop = async {
        // A sender that is gone means that the server is ending too.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let ended = tokio::select! {
        ended = &mut http => ended,
        () = stop => {
            http.as_mut().graceful_shutdown();
            http.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
