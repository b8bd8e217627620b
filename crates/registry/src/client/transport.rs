//! Connections to registries, and all else that this crate asks: TLS or plain, pooled, redirects followed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, HOST, LOCATION, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::hosts::{Place, Trust};
use super::message::{Answer, Body, Pace, text_of};
use super::proxy::{Line, Proxy};
use super::{Config, host};
use crate::{Error, tls};

/// How long a connection may take to stand, TLS included.
const CONNECT: Duration = Duration::from_secs(15);
/// How long a registry may take to digest an upload.
const UPLOAD: Duration = Duration::from_secs(15 * 60);
/// How long an idle connection is kept (at most twice that), and how many per host.
const IDLE: Duration = Duration::from_secs(5);
const IDLE_LIMIT: usize = 32;
/// How long files with certificates are believed not to change.
const FRESH: Duration = Duration::from_secs(5);
const REDIRECTS: usize = 10;

/// How far the other end is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Security {
    /// TLS, the certificate checked.
    Verified,
    /// TLS with any certificate.
    Unverified,
    /// No TLS.
    Plain,
}

/// An address on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) security: Security,
    /// Host and port as they were written.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) path: String,
}

impl Url {
    /// An address of http or https, whose certificate must be good.
    pub(crate) fn parse(address: &str) -> Result<Self, String> {
        let uri: http::Uri = address.parse().map_err(|e| format!("{address}: {e}"))?;
        let security = match uri.scheme_str() {
            Some("https") => Security::Verified,
            Some("http") => Security::Plain,
            Some(_) | None => return Err(format!("{address}: not an address of http or https")),
        };
        let authority = uri.authority().map_or("", |a| a.as_str());
        let authority = authority.rsplit('@').next().unwrap_or_default().to_owned();
        Ok(Self { security, authority, path: uri.path_and_query().map_or("/", |p| p.as_str()).to_owned() })
    }

    /// Another address on the same host.
    pub(crate) fn at(&self, path: impl Into<String>) -> Self {
        Self { path: path.into(), ..self.clone() }
    }
}

/// Connections and what is known about hosts.
pub(crate) struct Transport {
    config: RwLock<Arc<Config>>,
    certificates: Vec<PathBuf>,
    /// How each host turned out to speak.
    known: Mutex<HashMap<String, Security>>,
    tls: Mutex<HashMap<(String, bool), Trusting>>,
    /// What hosts.toml adds, by authority.
    trusts: Mutex<HashMap<String, Trust>>,
    idle: Arc<Mutex<Pool>>,
}

/// Connections that nobody uses for the moment.
#[derive(Default)]
struct Pool {
    idle: HashMap<(Security, String), Vec<Idle>>,
    /// A task closes those that nobody has used for long.
    is_watched: bool,
}

/// How a host is trusted, and since when that is known.
struct Trusting {
    config: Arc<rustls::ClientConfig>,
    since: Instant,
}

struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("config", &self.config).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Transport {
    pub(crate) fn new(config: Config, certificates: Vec<PathBuf>) -> Self {
        Self {
            config: RwLock::new(Arc::new(config)),
            certificates,
            known: Mutex::default(),
            tls: Mutex::default(),
            trusts: Mutex::default(),
            idle: Arc::default(),
        }
    }

    /// How registries are spoken to, as it is now.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes that. What was found out about hosts may no longer hold.
    pub(crate) fn configure(&self, config: Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        lock(&self.known).clear();
        lock(&self.idle).idle.clear();
        lock(&self.tls).clear();
    }

    /// Where certificates and hosts.toml are, by registry.
    pub(crate) fn directories(&self) -> &[PathBuf] {
        &self.certificates
    }

    /// The address of a place's API.
    pub(crate) async fn place(&self, place: &Place) -> Result<Url, Error> {
        let known = place.trust == lock(&self.trusts).get(&place.authority).cloned().unwrap_or_default();
        if !known {
            lock(&self.trusts).insert(place.authority.clone(), place.trust.clone());
            lock(&self.known).remove(&place.authority);
            lock(&self.tls).retain(|(authority, _), _| *authority != place.authority);
        }
        let url = match place.tls {
            Some(false) => {
                Url { security: Security::Plain, authority: place.authority.clone(), path: String::new() }
            }
            Some(true) if !self.is_insecure(&place.authority).await => {
                let security =
                    if place.trust.skip_verify { Security::Unverified } else { Security::Verified };
                Url { security, authority: place.authority.clone(), path: String::new() }
            }
            Some(true) | None => self.base(&place.authority).await?,
        };
        Ok(url.at(place.api.clone()))
    }

    /// Whether a host may be spoken to without verified TLS. Names are looked up for the CIDRs among the insecure ones.
    async fn is_insecure(&self, authority: &str) -> bool {
        // A user who has put roots down for a host wants it verified.
        if self
            .certificates
            .iter()
            .any(|d| d.join(authority).is_dir() && crate::tls::has_roots(&d.join(authority)))
        {
            return false;
        }
        let config = self.config();
        if host::is_insecure(authority, &config.insecure) {
            return true;
        }
        let (name, port) = host::split(authority, 443);
        if name.parse::<std::net::IpAddr>().is_ok()
            || !config.insecure.iter().any(|entry| entry.contains('/'))
        {
            return false;
        }
        let Ok(Ok(found)) = timeout(CONNECT, tokio::net::lookup_host((name, port))).await else {
            return false;
        };
        let mut found = found.map(|address| host::is_insecure(&address.to_string(), &config.insecure));
        found.any(|insecure| insecure)
    }

    /// Finds out how a host speaks: TLS; for insecure and loopback ones, TLS with any certificate, then none.
    /// What was found out is kept.
    pub(crate) async fn base(&self, authority: &str) -> Result<Url, Error> {
        let url = |security| Url { security, authority: authority.to_owned(), path: "/".into() };
        if let Some(security) = lock(&self.known).get(authority) {
            return Ok(url(*security));
        }
        let skip = lock(&self.trusts).get(authority).is_some_and(|trust| trust.skip_verify);
        let ways: &[Security] = if self.is_insecure(authority).await {
            &[Security::Unverified, Security::Plain]
        } else if skip {
            &[Security::Unverified]
        } else {
            &[Security::Verified]
        };
        let mut failures: Vec<String> = Vec::new();
        for security in ways {
            let url = url(*security);
            match self.connect(&url).await {
                Ok(sender) => {
                    lock(&self.known).insert(authority.to_owned(), *security);
                    self.keep(&url, sender);
                    return Ok(url);
                }
                Err(detail) if failures.contains(&detail) => {}
                Err(detail) => failures.push(detail),
            }
        }
        Err(Error::Unreachable { host: authority.to_owned(), detail: failures.join("; ") })
    }

    /// The address a `Location` or realm names, seen from `from`. Nobody leads from verified TLS to none.
    pub(crate) fn resolve(&self, from: &Url, location: &str) -> Result<Url, Error> {
        let protocol = |detail: String| Error::Protocol { host: from.authority.clone(), detail };
        if location.starts_with('/') && !location.starts_with("//") {
            return Ok(from.at(location));
        }
        let url = Url::parse(location).map_err(|e| protocol(format!("it leads to {e}")))?;
        let trusting = host::is_insecure(&url.authority, &self.config().insecure);
        let security = match url.security {
            Security::Verified if trusting => Security::Unverified,
            Security::Plain if !trusting && from.security == Security::Verified => {
                return Err(protocol(format!("it leads to http://{}, which is not safe", url.authority)));
            }
            security => security,
        };
        Ok(Url { security, ..url })
    }

    /// Sends one request and follows redirects of GET and HEAD. Credentials stay with the host they are for.
    pub(crate) async fn send(
        self: &Arc<Self>,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Body,
    ) -> Result<Answer, Error> {
        let mut url = url.clone();
        let mut body = Some(body);
        for _ in 0..REDIRECTS {
            let body = body.take().unwrap_or(Body::empty());
            let answer = self.once(method.clone(), &url, &headers, body).await?;
            let redirected = matches!(
                answer.status,
                StatusCode::MOVED_PERMANENTLY
                    | StatusCode::FOUND
                    | StatusCode::SEE_OTHER
                    | StatusCode::TEMPORARY_REDIRECT
                    | StatusCode::PERMANENT_REDIRECT
            );
            let location = answer.header(LOCATION.as_str());
            if !redirected || location.is_empty() || !matches!(method, Method::GET | Method::HEAD) {
                return Ok(answer);
            }
            let next = self.resolve(&url, location)?;
            if next.authority != url.authority || next.security != url.security {
                headers.remove(AUTHORIZATION);
            }
            answer.discard().await;
            url = next;
        }
        Err(Error::Protocol { host: url.authority, detail: format!("more than {REDIRECTS} redirects") })
    }

    /// Sends one request; a redirect is an answer. It is sent again when a pooled connection turns out to be dead.
    pub(crate) async fn once(
        self: &Arc<Self>,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Answer, Error> {
        let again = match &body {
            Body::Full(bytes) => Some(bytes.clone()),
            Body::Stream(..) => None,
        };
        // A pooled connection may have died unseen: what can be sent again is, on a new one.
        if let Some(bytes) = again
            && let Some(sender) = self.pooled(url).await
            && let Ok(answer) = self.exchange(sender, &method, url, headers, Body::Full(bytes)).await
        {
            return Ok(answer);
        }
        let host = || url.authority.clone();
        let sender = self.connect(url).await.map_err(|detail| {
            // It may have changed how it speaks.
            lock(&self.known).remove(&url.authority);
            Error::Unreachable { host: host(), detail }
        })?;
        let answered = self.exchange(sender, &method, url, headers, body).await;
        answered.map_err(|detail| Error::Broken { host: host(), detail })
    }

    async fn exchange(
        self: &Arc<Self>,
        mut sender: SendRequest<Body>,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Answer, String> {
        let patience = if matches!(body, Body::Full(_)) { self.config().patience } else { UPLOAD };
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.headers_mut() = headers.clone();
        // A proxy without a tunnel is told the whole address.
        let proxy = match url.security {
            Security::Plain => {
                let proxy = self.config().proxies.on_the_way(&url.authority, false)?;
                proxy.filter(Proxy::takes_requests)
            }
            Security::Verified | Security::Unverified => None,
        };
        let target = match proxy {
            None => url.path.clone(),
            Some(proxy) => {
                if let Some(value) = proxy.authorization().and_then(|a| HeaderValue::try_from(a).ok()) {
                    request.headers_mut().insert(PROXY_AUTHORIZATION, value);
                }
                format!("http://{}{}", url.authority, url.path)
            }
        };
        *request.uri_mut() = target.parse().map_err(|e| format!("{target}: {e}"))?;
        let authority = HeaderValue::from_str(&url.authority).map_err(|e| e.to_string())?;
        request.headers_mut().insert(HOST, authority);
        request
            .headers_mut()
            .insert(USER_AGENT, HeaderValue::from_static(concat!("corten/", env!("CARGO_PKG_VERSION"))));
        let response = timeout(patience, sender.send_request(request))
            .await
            .map_err(|_| format!("no answer within {} seconds", patience.as_secs_f32()))?
            .map_err(|e| text_of(&e))?;
        let (parts, body) = response.into_parts();
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            url: url.clone(),
            body,
            ahead: None,
            sender: Some(sender),
            transport: Arc::clone(self),
            pace: Pace::default(),
        })
    }

    async fn connect(&self, url: &Url) -> Result<SendRequest<Body>, String> {
        timeout(CONNECT, self.open(url))
            .await
            .unwrap_or_else(|_| Err(format!("no connection within {} seconds", CONNECT.as_secs())))
    }

    async fn open(&self, url: &Url) -> Result<SendRequest<Body>, String> {
        let plain = url.security == Security::Plain;
        let (name, port) = host::split(&url.authority, if plain { 80 } else { 443 });
        let line: Box<dyn Line> = match self.config().proxies.on_the_way(&url.authority, !plain)? {
            None => Box::new(tcp(name, port).await?),
            Some(proxy) => proxy.open((name, port), !plain, &|proxy| self.trust(proxy, true)).await?,
        };
        if plain {
            return handshake(line).await;
        }
        let config = self.trust(&url.authority, url.security == Security::Verified)?;
        handshake(secure(line, name, config).await?).await
    }

    fn trust(&self, authority: &str, verify: bool) -> Result<Arc<rustls::ClientConfig>, String> {
        let key = (authority.to_owned(), verify);
        if let Some(known) = lock(&self.tls).get(&key).filter(|known| known.since.elapsed() < FRESH) {
            return Ok(Arc::clone(&known.config));
        }
        let trust = lock(&self.trusts).get(authority).cloned().unwrap_or_default();
        let config = tls::client(authority, &self.certificates, &trust, verify)?;
        lock(&self.tls).insert(key, Trusting { config: Arc::clone(&config), since: Instant::now() });
        Ok(config)
    }

    async fn pooled(&self, url: &Url) -> Option<SendRequest<Body>> {
        let key = (url.security, url.authority.clone());
        loop {
            let mut idle = lock(&self.idle).idle.get_mut(&key)?.pop()?;
            if idle.since.elapsed() < IDLE
                && timeout(Duration::from_millis(100), idle.sender.ready()).await.is_ok_and(|r| r.is_ok())
            {
                return Some(idle.sender);
            }
        }
    }

    pub(crate) fn keep(&self, url: &Url, sender: SendRequest<Body>) {
        let mut pool = lock(&self.idle);
        let connections = pool.idle.entry((url.security, url.authority.clone())).or_default();
        if connections.len() < IDLE_LIMIT {
            connections.push(Idle { sender, since: Instant::now() });
        }
        if !std::mem::replace(&mut pool.is_watched, true) {
            tokio::spawn(close_idle(Arc::downgrade(&self.idle), IDLE));
        }
    }
}

/// Closes what has been idle for so long, and ends when there is nothing left to close.
async fn close_idle(pool: Weak<Mutex<Pool>>, after: Duration) {
    loop {
        tokio::time::sleep(after).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut pool = lock(&pool);
        pool.idle.retain(|_, connections| {
            connections.retain(|c| c.since.elapsed() < after && !c.sender.is_closed());
            !connections.is_empty()
        });
        if pool.idle.is_empty() {
            pool.is_watched = false;
            return;
        }
    }
}

/// A connection by TCP.
pub(super) async fn tcp(name: &str, port: u16) -> Result<TcpStream, String> {
    let tcp = TcpStream::connect((name, port)).await.map_err(|e| e.to_string())?;
    // Without it small requests wait; the connection works all the same.
    let _ = tcp.set_nodelay(true);
    Ok(tcp)
}

/// TLS over a connection.
pub(super) async fn secure<S: Line>(
    line: S,
    name: &str,
    config: Arc<rustls::ClientConfig>,
) -> Result<TlsStream<S>, String> {
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).map_err(|e| e.to_string())?;
    TlsConnector::from(config).connect(name, line).await.map_err(|e| tls::failure(&e))
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Body>, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| text_of(&e))?;
    tokio::spawn(async move {
        // It ends with its last sender; a failure is seen by the request in flight.
        let _ = connection.await;
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_nobody_uses_is_closed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let transport = Transport::new(Config::default(), Vec::new());
        let url = Url { security: Security::Plain, authority, path: "/".into() };
        let (sender, accepted) = tokio::join!(transport.connect(&url), listener.accept());
        transport.keep(&url, sender.unwrap());
        assert!(lock(&transport.idle).is_watched);
        // What keep() has started does this later.
        close_idle(Arc::downgrade(&transport.idle), Duration::from_millis(1)).await;
        assert_eq!(accepted.unwrap().0.read(&mut [0]).await.unwrap(), 0, "the end of the stream");
        assert!(!lock(&transport.idle).is_watched);
    }

    #[test]
    fn addresses_are_followed_but_not_out_of_tls() {
        let transport = Transport::new(Config::default(), Vec::new());
        let safe = Url { security: Security::Verified, authority: "r.example".into(), path: "/".into() };
        assert_eq!(transport.resolve(&safe, "/v2/x?a=b").unwrap().path, "/v2/x?a=b");
        let cdn = transport.resolve(&safe, "https://u:p@cdn.example/y?z").unwrap();
        assert_eq!((cdn.authority.as_str(), cdn.path.as_str()), ("cdn.example", "/y?z"));
        assert_eq!(cdn.security, Security::Verified);
        for bad in ["http://cdn.example/", "ftp://x/", "x/y", "//evil.example/x"] {
            assert!(transport.resolve(&safe, bad).is_err(), "{bad}");
        }
        let plain = Url { security: Security::Plain, ..safe };
        assert_eq!(transport.resolve(&plain, "http://cdn.example/").unwrap().security, Security::Plain);
    }
}
