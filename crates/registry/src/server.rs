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
//! | `answer` | a request from its head to its verb |
//! | `blob`, `upload`, `manifest`, `list` | the verbs |
//! | `background` | what goes on besides: reloading, collecting, numbers |
//! | `proxy` | a cache of another registry |
//! | `collect`, `check` | what nobody refers to goes; what is damaged is found |
//! | `notify` | webhooks |
//! | `metrics`, `page` | numbers for Prometheus; pages for people |
//! | `digest`, `pattern` | sha256 and sha512; `*` and `**` |

mod access;
mod answer;
mod background;
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
use std::sync::{Arc, RwLock, Weak};
use std::time::Duration;

use http::Method;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot, watch};

use crate::client::{self, Client};
use crate::{Error, tls};
use access::{Access, Identity};
use config::Action;
use metrics::Metrics;
use notify::Notifier;
use refusal::Refusal;
use repository::Repositories;
use route::Name;
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

/// What the server's own requests are sent by: to the object store, to the registry it is a cache of, to webhooks.
fn client(config: &Config) -> Client {
    Client::new(client::Config { proxies: config.proxies.clone(), ..client::Config::default() })
}

/// Opens what a configuration says content is kept in.
async fn open(config: &Config, client: &Client) -> Result<Repositories, Error> {
    let storage = match &config.settings.bucket {
        Some(bucket) => {
            let opened = Bucket::open_bucket(bucket.clone(), Arc::clone(client.transport())).await;
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
    let client = client(&config);
    let repositories = open(&config, &client).await?;
    let access = access(&config, &repositories.storage).await?;
    let cache = match &config.settings.proxy {
        Some(proxy) => {
            let scratch =
                if config.settings.bucket.is_some() { std::env::temp_dir() } else { config.root.clone() };
            let cache = proxy::Cache::new(proxy.clone(), client.clone(), scratch);
            Some(cache.map_err(|e| setup("be a cache of", &proxy.upstream, e))?)
        }
        None => None,
    };
    let metrics: Arc<Metrics> = Arc::default();
    let registry = Arc::new_cyclic(|this| Registry {
        this: this.clone(),
        notifier: Notifier::new(&config.settings.webhooks, client.transport(), &metrics),
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
            background::reload(&registry, &certificate, &control),
            background::collect_now_and_then(&registry, &control),
            background::metrics_pages(counting, &registry),
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
    let repositories = open(config, &client(config)).await?;
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
    let repositories = open(config, &client(config)).await?;
    check::check(&repositories).await.map_err(|e| setup("check", &config.place(), e.to_string()))
}

impl Registry {
    pub(crate) fn itself(&self) -> Arc<Self> {
        self.this.upgrade().expect("somebody is using it")
    }
}

/// The default place of the configuration file.
pub fn default_file() -> PathBuf {
    "/etc/corten/registry.toml".into()
}
