//! The server's end: a registry for a team.
//!
//! ```text
//! <root>/blobs/<algorithm>/<hex>                     all content, once
//!        repositories/<name>/_tags/<tag>             a digest
//!                            _manifests/<hex>        a media type
//!                            _layers/<hex>           empty: the blob may be had here
//!                            _referrers/<hex>/<hex>  empty: the second manifest's subject is the first
//!                            _uploads/<id>           the bytes of an upload so far; <id>.state: their hash
//!        token-key.pem                               signs tokens, when this server makes them
//! ```
//!
//! Components of repository names do not begin with `_`, so nothing is mistaken for a repository. A bucket has the same keys.
//! Leaves first, root last: blob → link → tag; removing is the reverse.
//!
//! | room | what is in it |
//! |---|---|
//! | `config` | how to serve, and the file that says so |
//! | `listen`, `wire`, `stall` | connections; files sent without a copy; clients that take nothing |
//! | `route` | method and path → route; names are checked here |
//! | `refusal` | the specification's error codes |
//! | `body` | what is sent |
//! | `access`, `users`, `token`, `sign_in` | who somebody is and what they may do: htpasswd, bearer tokens, rules |
//! | `repository` | the records above |
//! | `storage` | where they are: files, or a bucket |
//! | `blob`, `upload`, `manifest`, `list` | the verbs |
//! | `proxy` | a cache of another registry |
//! | `collect`, `check` | what nobody refers to goes; what is damaged is found |
//! | `notify`, `outward` | webhooks; requests of the server's own |
//! | `metrics`, `page` | numbers for Prometheus; pages for people |
//! | `digest`, `pattern` | sha256 and sha512; `*` and `**` |

mod access;
mod blob;
mod body;
mod check;
mod collect;
mod config;
mod digest;
mod list;
mod listen;
mod manifest;
mod metrics;
mod notify;
mod outward;
mod page;
mod pattern;
mod proxy;
mod refusal;
mod repository;
mod route;
mod sign_in;
mod stall;
mod storage;
mod token;
mod upload;
mod users;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use http::header::{HOST, USER_AGENT, WARNING, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot, watch};

use crate::{Error, tls};
use access::{Access, Identity};
use body::Body;
use config::Action;
use metrics::Metrics;
use notify::Notifier;
use outward::Outward;
use refusal::{Code, Refusal};
use repository::Repositories;
use route::{Name, Route};
use storage::{Bucket, Files, Storage};
use token::Tokens;
use users::Users;

pub use check::Damage;
pub use collect::Collected;
pub use config::Config;

/// What tokens and challenges call this registry, unless told otherwise.
pub(crate) const ISSUER: &str = "corten-registry";
/// How long webhooks may take for what happened last.
const FLUSH: Duration = Duration::from_secs(5);
/// After the start, before the first collection.
const SETTLE: Duration = Duration::from_secs(60);

/// What every connection shares.
pub(crate) struct Registry {
    this: Weak<Registry>,
    pub(crate) config: Config,
    pub(crate) repositories: Repositories,
    access: RwLock<Arc<Access>>,
    pub(crate) cache: Option<proxy::Cache>,
    pub(crate) notifier: Notifier,
    pub(crate) metrics: Arc<Metrics>,
}

/// The other end of a connection.
pub(crate) struct Peer {
    address: SocketAddr,
    local: SocketAddr,
    /// Where files go that the connection sends by itself.
    parts: Option<wire::Parts>,
}

/// Who makes a request, and how.
pub(crate) struct Caller {
    pub(crate) identity: Identity,
    pub(crate) access: Arc<Access>,
    pub(crate) address: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) method: Method,
    pub(crate) agent: String,
    /// Scheme and host as the client sees them.
    pub(crate) origin: String,
}

impl Caller {
    pub(crate) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    pub(crate) fn may(&self, name: &Name, action: Action) -> bool {
        self.access.may(&self.identity, name, action)
    }

    pub(crate) fn check(&self, name: &Name, actions: &[Action]) -> Result<(), Refusal> {
        self.access.check(&self.identity, name, actions)
    }

    pub(crate) fn host(&self) -> &str {
        self.origin.split("://").nth(1).unwrap_or_default()
    }
}

/// Tells a serving registry what to do.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// Certificates, users and rules are read again.
    pub reload: Arc<Notify>,
    /// What nobody refers to is collected now.
    pub collect: Arc<Notify>,
}

/// Opens what a configuration says content is kept in.
async fn open(config: &Config, outward: &Arc<Outward>) -> Result<Repositories, Error> {
    let storage = match &config.settings.bucket {
        Some(bucket) => {
            let opened = Bucket::open_bucket(bucket.clone(), Arc::clone(outward)).await;
            Storage::Bucket(opened.map_err(|e| setup("use bucket", &bucket.bucket, e.to_string()))?)
        }
        None => {
            let root = config.root.clone();
            let opened = tokio::task::spawn_blocking(move || Files::open_root(&root)).await;
            let opened = opened.expect("opening does not panic");
            Storage::Files(
                opened.map_err(|e| setup("open", &config.root.display().to_string(), e.to_string()))?,
            )
        }
    };
    Ok(Repositories::new(storage, config.settings.collect.grace))
}

fn setup(step: &'static str, object: &str, detail: impl Into<String>) -> Error {
    Error::Setup { step, object: object.to_owned(), detail: detail.into() }
}

fn certificate(config: &Config) -> Result<Option<Arc<rustls::ServerConfig>>, Error> {
    let Some((chain, key)) = &config.tls else { return Ok(None) };
    tls::server(chain, key).map(Some).map_err(|e| setup("use certificate", &chain.display().to_string(), e))
}

/// Users, tokens and rules of a configuration.
async fn access(config: &Config, storage: &Storage) -> Result<Access, Error> {
    let users = match &config.htpasswd {
        Some(path) => {
            let path = path.clone();
            let shown = path.display().to_string();
            Some(Users::open(&path).map_err(|e| setup("read users", &shown, e))?)
        }
        None => None,
    };
    let settings = &config.settings;
    let anonymous = settings.rules.iter().any(|rule| rule.anonymous);
    let tokens = match &settings.token {
        Some(issuer) if issuer.realm.is_some() => {
            let path = issuer.key.clone().unwrap_or_default();
            let shown = path.display().to_string();
            Some(Tokens::of_others(issuer.clone(), &path).map_err(|e| setup("read token keys", &shown, e))?)
        }
        issuer if issuer.is_some() || (anonymous && users.is_some()) => {
            // Clients that have no password ask for one when the challenge is Basic; for a token they just ask.
            let own = || token::Issuer { name: ISSUER.into(), service: ISSUER.into(), ..Default::default() };
            let issuer = issuer.clone().unwrap_or_else(own);
            Some(Tokens::of_our_own(issuer, storage).await.map_err(|e| setup("use", "the token key", e))?)
        }
        _ => None,
    };
    Ok(Access { users, tokens, rules: settings.rules.clone(), groups: settings.groups.clone() })
}

/// Serves until `stop` completes; tells the bound address through `ready`.
///
/// # Errors
/// The address, the storage, the users, the keys or the certificate cannot be used.
pub async fn serve(
    config: Config,
    control: Control,
    ready: oneshot::Sender<SocketAddr>,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    config.check().map_err(|e| setup("use", "the configuration", e))?;
    let certificate = Arc::new(RwLock::new(certificate(&config)?));
    if config.tls.is_none() && !config.listen.ip().is_loopback() {
        tracing::warn!(address = %config.listen, "serving without TLS: content and passwords can be read on the way");
    }
    let outward: Arc<Outward> = Arc::default();
    let repositories = open(&config, &outward).await?;
    let access = access(&config, &repositories.storage).await?;
    let cache = match &config.settings.proxy {
        Some(proxy) => {
            let scratch =
                if config.settings.bucket.is_some() { std::env::temp_dir() } else { config.root.clone() };
            let cache = proxy::Cache::new(proxy.clone(), Arc::clone(&outward), scratch);
            Some(cache.map_err(|e| setup("be a cache of", &proxy.upstream, e))?)
        }
        None => None,
    };
    let metrics: Arc<Metrics> = Arc::default();
    let registry = Arc::new_cyclic(|this| Registry {
        this: this.clone(),
        notifier: Notifier::new(&config.settings.webhooks, &outward, &metrics),
        repositories,
        access: RwLock::new(Arc::new(access)),
        cache,
        metrics,
        config,
    });
    let (listener, bound) = listen_on(registry.config.listen).await?;
    let counting = match registry.config.metrics {
        Some(address) => Some(listen_on(address).await?.0),
        None => None,
    };
    // Nobody may be waiting for it.
    let _ = ready.send(bound);

    let (stopping, stopped) = watch::channel(false);
    let serving = listen::serve(listener, Arc::clone(&certificate), Arc::clone(&registry), stopped.clone());
    let besides = async {
        tokio::join!(
            reload(&registry, &certificate, &control),
            collect_now_and_then(&registry, &control),
            metrics_pages(counting, &registry),
        )
    };
    let stop = async {
        stop.await;
        stopping.send_replace(true);
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(serving, stop) } => {}
        _ = besides => unreachable!("there is always more to do besides"),
    }
    registry.notifier.flush(FLUSH).await;
    Ok(())
}

async fn listen_on(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |e: std::io::Error| setup("listen on", &address.to_string(), e.to_string());
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Collects what nobody refers to, once, without serving.
///
/// # Errors
/// The storage is in use, or cannot be read.
pub async fn collect(config: &Config, dry: bool) -> Result<Collected, Error> {
    let repositories = open(config, &Arc::default()).await?;
    let settings = &config.settings;
    let collected = collect::collect(&repositories, &settings.retention, &settings.collect, dry).await;
    let collected = collected.map_err(|e| setup("collect in", &config.place(), e.to_string()))?;
    Ok(collected.expect("nobody else has it open"))
}

/// Reads everything, and tells what is damaged.
///
/// # Errors
/// The storage is in use, or cannot be read.
pub async fn check(config: &Config) -> Result<Vec<Damage>, Error> {
    let repositories = open(config, &Arc::default()).await?;
    check::check(&repositories).await.map_err(|e| setup("check", &config.place(), e.to_string()))
}

/// Certificates, users and rules, read again when told to. What cannot be read leaves all as it was.
async fn reload(registry: &Registry, certificate: &listen::Tls, control: &Control) {
    loop {
        control.reload.notified().await;
        let renewed = async {
            let access = access(&registry.config, &registry.repositories.storage).await?;
            Ok::<_, Error>((self::certificate(&registry.config)?, access))
        };
        match renewed.await {
            Ok((renewed, access)) => {
                *certificate.write().unwrap_or_else(PoisonError::into_inner) = renewed;
                *registry.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
                tracing::info!("certificates and users were read again");
            }
            Err(error) => tracing::error!(%error, "all stays as it was"),
        }
    }
}

async fn collect_now_and_then(registry: &Registry, control: &Control) {
    let settings = &registry.config.settings;
    let mut pause = settings.collect.every.map(|every| every.min(SETTLE));
    loop {
        let timer = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = timer => {}
            () = control.collect.notified() => {}
        }
        pause = settings.collect.every;
        if registry.config.read_only {
            tracing::info!("nothing is collected: read-only");
            continue;
        }
        match collect::collect(&registry.repositories, &settings.retention, &settings.collect, false).await {
            Ok(Some(done)) => {
                registry.metrics.collections.fetch_add(1, Relaxed);
                registry.metrics.collected_blobs.fetch_add(done.blobs, Relaxed);
                registry.metrics.collected_bytes.fetch_add(done.bytes, Relaxed);
                let (tags, manifests) = (done.tags.len(), done.manifests.len());
                let Collected { blobs, bytes, uploads, .. } = done;
                tracing::info!(tags, manifests, blobs, bytes, uploads, "collected");
            }
            Ok(None) => {}
            Err(refusal) => tracing::error!(%refusal, "could not collect"),
        }
    }
}

/// Numbers for whoever asks, on an address of their own.
async fn metrics_pages(listener: Option<TcpListener>, registry: &Arc<Registry>) {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let registry = Arc::clone(registry);
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|_: Request<Incoming>| async {
                let media_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                let response = body::full(StatusCode::OK, media_type, registry.metrics.text());
                Ok::<_, std::convert::Infallible>(response)
            });
            let stream = hyper_util::rt::TokioIo::new(stream);
            let served = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .serve_connection(stream, service);
            // Whoever asked has gone; they ask again.
            let _ = tokio::time::timeout(Duration::from_secs(10), served).await;
        });
    }
}

impl Registry {
    pub(crate) fn itself(&self) -> Arc<Self> {
        self.this.upgrade().expect("somebody is using it")
    }

    async fn handle(this: &Arc<Self>, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
        let begun = Instant::now();
        this.metrics.in_flight.fetch_add(1, Relaxed);
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let (kind, mut response) = this.answer(peer, request).await;
        this.metrics.in_flight.fetch_sub(1, Relaxed);
        this.metrics.answered(&method, kind, response.status().as_u16(), begun.elapsed());
        tracing::debug!(%method, path, status = response.status().as_u16(), "answered");
        if method == Method::HEAD {
            *response.body_mut() = Body::empty();
        } else {
            this.metrics.gave(response.body().size_hint().lower());
        }
        if let Some(parts) = &peer.parts {
            parts.take(response.body_mut());
        }
        let headers = response.headers_mut();
        headers.insert("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));
        if let Some(text) = &this.config.settings.warning {
            headers.insert(WARNING, body::header(format!("299 - \"{text}\"")));
        }
        response
    }

    async fn answer(&self, peer: &Peer, request: Request<Incoming>) -> (&'static str, Response<Body>) {
        let (parts, body) = request.into_parts();
        let access = Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner));
        let mut caller = Caller {
            identity: Identity::Anonymous,
            access,
            address: peer.address,
            local: peer.local,
            method: parts.method.clone(),
            agent: header_text(&parts.headers, USER_AGENT),
            origin: self.origin(&parts.headers, peer),
        };
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default();
        if path == "/token" {
            return ("token", sign_in::answer(&caller, &parts, body).await);
        }
        let people = self.config.page && (path == "/" || path.starts_with("/repositories/"));
        let routed = (!people).then(|| route::route(&parts.method, &path));
        let (kind, scope) = match &routed {
            None => ("page", None),
            Some(Ok(route)) => (route.kind(), route.scope()),
            Some(Err(_)) => ("refused", None),
        };
        let identified = caller.access.identify(&parts.headers).await;
        let insufficient = matches!(identified, Ok(Identity::Bearer { .. }));
        let outcome = match (identified, routed) {
            (Err(refusal), _) | (Ok(_), Some(Err(refusal))) => Err(refusal),
            (Ok(identity), routed) => {
                caller.identity = identity;
                match routed.and_then(Result::ok) {
                    None => page::get(self, &caller, &path, query).await,
                    Some(route) => self.act(&caller, route, query, &parts.headers, body).await,
                }
            }
        };
        let response = outcome.unwrap_or_else(|refusal| {
            let unauthorized = refusal.code() == Code::Unauthorized;
            let mut response = if people { page::refused(&refusal) } else { refusal.into_response() };
            if unauthorized {
                let challenge = match people {
                    true => HeaderValue::from_static(r#"Basic realm="Corten Registry""#),
                    false => caller.access.challenge(&caller.origin, scope.as_deref(), insufficient),
                };
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            response
        });
        (kind, response)
    }

    /// Scheme and host as the client wrote them, or as configured.
    fn origin(&self, headers: &HeaderMap, peer: &Peer) -> String {
        if let Some(external) = &self.config.settings.external {
            return external.clone();
        }
        let scheme = if self.config.tls.is_some() { "https" } else { "http" };
        let host = header_text(headers, HOST);
        if host.is_empty() { format!("{scheme}://{}", peer.local) } else { format!("{scheme}://{host}") }
    }

    async fn act(
        &self,
        caller: &Caller,
        route: Route,
        query: &str,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Response<Body>, Refusal> {
        match route.needs() {
            // A client learns at the base how to sign in, even where some may do without.
            None => {
                let welcome = match &route {
                    Route::Catalog => caller.access.may_list(&caller.identity),
                    _ => caller.identity != Identity::Anonymous || caller.access.is_open(),
                };
                if !welcome {
                    return Err(Refusal::new(Code::Unauthorized, "authentication required"));
                }
            }
            Some((name, actions)) => {
                caller.check(name, actions)?;
                let changes = actions.iter().any(|action| *action != Action::Pull);
                if changes && self.config.read_only {
                    return Err(Refusal::new(Code::Unsupported, "the registry is read-only"));
                }
                if changes && self.cache.is_some() {
                    return Err(Refusal::new(
                        Code::Unsupported,
                        "the registry is a cache: push to the registry behind it",
                    ));
                }
            }
        }
        match route {
            Route::Base => Ok(body::json(StatusCode::OK, &serde_json::json!({}))),
            Route::Catalog => list::catalog(self, caller, query).await,
            Route::Tags(name) => list::tags(self, name, query).await,
            Route::Referrers(name, digest) => list::referrers(self, name, digest, query).await,
            Route::BlobGet(name, digest) => blob::get(self, caller, name, digest, headers).await,
            Route::BlobDelete(name, digest) => blob::delete(self, caller, name, digest).await,
            Route::ManifestGet(name, key) => manifest::get(self, caller, name, key, headers).await,
            Route::ManifestPut(name, key) => manifest::put(self, caller, name, key, headers, body).await,
            Route::ManifestDelete(name, key) => manifest::delete(self, caller, name, key).await,
            Route::UploadBegin(name) => upload::begin(self, caller, name, query, body).await,
            Route::UploadStatus(name, id) => upload::status(self, name, id).await,
            Route::UploadPatch(name, id) => upload::patch(self, name, id, headers, body).await,
            Route::UploadPut(name, id) => upload::put(self, caller, name, id, query, headers, body).await,
            Route::UploadDelete(name, id) => upload::cancel(self, name, id).await,
        }
    }

    /// How many bytes an upload may have at the end, if `coming` more are announced; fails when those are too many.
    pub(crate) async fn room(&self, name: &Name, have: u64, coming: u64) -> Result<u64, Refusal> {
        let mut room = self.config.settings.max_blob;
        if let Some(quota) = self.config.quota(name.as_str()) {
            room = room.min(quota.saturating_sub(self.repositories.size(name).await?));
        }
        if have.saturating_add(coming) > room { Err(self.too_large(name)) } else { Ok(room) }
    }

    pub(crate) fn too_large(&self, name: &Name) -> Refusal {
        match self.config.quota(name.as_str()) {
            Some(quota) if quota < self.config.settings.max_blob => {
                let text = format!("{} would be larger than its quota of {quota} bytes", name.as_str());
                Refusal::new(Code::Denied, text)
            }
            _ => {
                let text = format!("a blob may have {} bytes at most", self.config.settings.max_blob);
                Refusal::new(Code::SizeInvalid, text)
            }
        }
    }
}

fn header_text(headers: &HeaderMap, name: http::HeaderName) -> String {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
}

/// The default place of the configuration file.
pub fn default_file() -> PathBuf {
    "/etc/corten/registry.toml".into()
}
