//! The server's end: a registry on files that can be read and backed up as they are.
//!
//! ```text
//! <root>/blobs/sha256/<hex>                          all content, once (the store's)
//!        repositories/<name>/_tags/<tag>             a digest
//!                            _manifests/<hex>        a media type
//!                            _layers/<hex>           empty: the blob may be had here
//!                            _referrers/<hex>/<hex>  empty: the second manifest's subject is the first
//!                            _uploads/<id>           the bytes of an upload so far
//! ```
//!
//! Components of repository names do not begin with `_`, so nothing is mistaken for a repository.
//!
//! | room | what is in it |
//! |---|---|
//! | `route` | method and path → route; names are checked here |
//! | `refusal` | the specification's error codes |
//! | `body` | what is sent |
//! | `users` | htpasswd |
//! | `repository` | the files above |
//! | `blob`, `upload`, `manifest`, `list` | the verbs |

mod blob;
mod body;
mod list;
mod manifest;
mod refusal;
mod repository;
mod route;
mod upload;
mod users;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::{Error, tls};
use body::Body;
use refusal::{Code, Refusal};
use repository::Repositories;
use route::Route;
use users::Users;

/// How long a client may take for its TLS handshake, and for the head of a request.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long requests in flight may go on after the server was told to stop.
const GRACE: Duration = Duration::from_secs(10);
/// Connections at a time.
const CONNECTIONS: usize = 1024;

/// How to serve.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 is any.
    pub listen: SocketAddr,
    /// Where content is kept.
    pub root: PathBuf,
    /// Users and bcrypt hashes (htpasswd); `None` lets everyone in.
    pub htpasswd: Option<PathBuf>,
    /// Certificate chain and key, PEM; `None` is plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// What every connection shares.
struct Registry {
    repositories: Arc<Repositories>,
    users: Option<Users>,
}

/// Serves until `stop` completes; tells the bound address through `ready`.
///
/// # Errors
/// The address, the root, the users or the certificate cannot be used.
pub async fn serve(
    config: Config,
    ready: oneshot::Sender<SocketAddr>,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let setup = |step, object: &str| {
        let object = object.to_owned();
        move |detail: String| Error::Setup { step, object, detail }
    };
    let acceptor = match &config.tls {
        Some((chain, key)) => {
            let config =
                tls::server(chain, key).map_err(setup("use certificate", &chain.display().to_string()))?;
            Some(TlsAcceptor::from(config))
        }
        None => None,
    };
    let users = match &config.htpasswd {
        Some(path) => Some(Users::open(path).map_err(setup("read users", &path.display().to_string()))?),
        None => None,
    };
    if acceptor.is_none() && !config.listen.ip().is_loopback() {
        tracing::warn!(address = %config.listen, "serving without TLS: content and passwords can be read on the way");
    }
    let root = config.root.clone();
    let repositories = tokio::task::spawn_blocking(move || Repositories::open(&root))
        .await
        .expect("opening does not panic")?;
    let registry = Arc::new(Registry { repositories: Arc::new(repositories), users });
    let listening = setup("listen on", &config.listen.to_string());
    let listener = TcpListener::bind(config.listen).await.map_err(|e| listening(e.to_string()))?;
    let bound = listener.local_addr().map_err(|e| setup("listen on", "")(e.to_string()))?;
    // Nobody may be waiting for it.
    let _ = ready.send(bound);

    let (stopping, stopped) = watch::channel(false);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let slot = Arc::clone(&slots).acquire_owned();
        tokio::select! {
            slot = slot => {
                let slot = slot.expect("it is never closed");
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => {
                            let (registry, acceptor, stopped) =
                                (Arc::clone(&registry), acceptor.clone(), stopped.clone());
                            connections.spawn(async move {
                                connection(stream, acceptor, registry, stopped).await;
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
    stopping.send_replace(true);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, finished).await.is_err() {
        tracing::warn!("requests in flight were cut off");
    }
    Ok(())
}

async fn connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    registry: Arc<Registry>,
    stopped: watch::Receiver<bool>,
) {
    // Without it small answers wait; the connection works all the same.
    let _ = stream.set_nodelay(true);
    match acceptor {
        None => http(stream, registry, stopped).await,
        Some(acceptor) => match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => http(stream, registry, stopped).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake took too long"),
        },
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    registry: Arc<Registry>,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(move |request| {
        let registry = Arc::clone(&registry);
        async move { Ok::<_, Infallible>(registry.handle(request).await) }
    });
    let mut http = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), service)
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

impl Registry {
    async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut response = self.answer(request).await.unwrap_or_else(Refusal::into_response);
        tracing::debug!(%method, path, status = response.status().as_u16(), "answered");
        if method == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
        response
            .headers_mut()
            .insert("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));
        response
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        if let Some(users) = &self.users
            && !users.admit(request.headers().get(AUTHORIZATION)).await
        {
            let refusal = Refusal::new(Code::Unauthorized, "authentication required");
            return Ok(refusal.with_header(WWW_AUTHENTICATE, r#"Basic realm="Corten Registry""#));
        }
        let (parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default();
        let repositories = Arc::clone(&self.repositories);
        match route::route(&parts.method, parts.uri.path())? {
            Route::Base => Ok(body::json(StatusCode::OK, &serde_json::json!({}))),
            Route::Catalog => list::catalog(repositories, query).await,
            Route::Tags(name) => list::tags(repositories, name, query).await,
            Route::Referrers(name, digest) => list::referrers(repositories, name, digest, query).await,
            Route::BlobGet(name, digest) => blob::get(repositories, name, digest, &parts.headers).await,
            Route::BlobDelete(name, digest) => blob::delete(repositories, name, digest).await,
            Route::ManifestGet(name, key) => manifest::get(repositories, name, key).await,
            Route::ManifestPut(name, key) => {
                manifest::put(repositories, name, key, &parts.headers, body).await
            }
            Route::ManifestDelete(name, key) => manifest::delete(repositories, name, key).await,
            Route::UploadBegin(name) => upload::begin(repositories, name, query, body).await,
            Route::UploadStatus(name, id) => upload::status(repositories, name, id).await,
            Route::UploadPatch(name, id) => upload::patch(repositories, name, id, &parts.headers, body).await,
            Route::UploadPut(name, id) => {
                upload::put(repositories, name, id, query, &parts.headers, body).await
            }
            Route::UploadDelete(name, id) => upload::cancel(repositories, name, id).await,
        }
    }
}
