//! Requests of the server's own: to the object store, to the registry it is a cache of, to webhooks.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::tls;

/// How long a connection may take to stand, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the other end may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// How long an idle connection is kept, and how many per host.
const IDLE: Duration = Duration::from_secs(20);
const IDLE_LIMIT: usize = 32;

type Sender = SendRequest<Full<Bytes>>;

/// Connections to others, pooled.
#[derive(Default)]
pub(crate) struct Outward {
    tls: Mutex<HashMap<String, Arc<rustls::ClientConfig>>>,
    idle: Mutex<HashMap<String, Vec<(Sender, Instant)>>>,
}

/// What came back: the head, and a body that is read piece by piece.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    back: Option<(Arc<Outward>, String, Sender)>,
}

impl Answer {
    /// A header's text; empty when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length").parse().ok()
    }

    /// The next bytes; `None` at the end, when the connection can be used again.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            let frame = timeout(SILENCE, self.body.frame())
                .await
                .map_err(|_| format!("nothing came for {} seconds", SILENCE.as_secs()))?;
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(text_of(&error)),
                None => {
                    if let Some((outward, origin, sender)) = self.back.take() {
                        outward.keep(origin, sender);
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// The whole body, at most `limit` bytes.
    pub(crate) async fn bytes(mut self, limit: usize) -> Result<Bytes, String> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if all.len() + chunk.len() > limit {
                return Err(format!("more than {limit} bytes where less was expected"));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }
}

impl Outward {
    /// One request. It is sent again when a pooled connection turns out to be dead.
    pub(crate) async fn send(
        self: &Arc<Self>,
        method: Method,
        url: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Answer, String> {
        let url: Uri = url.parse().map_err(|e| format!("{url}: {e}"))?;
        let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
            return Err(format!("{url}: not the address of anything"));
        };
        let origin = format!("{scheme}://{authority}");
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url.path_and_query().map_or("/", |p| p.as_str()).parse().unwrap_or_default();
        *request.headers_mut() = headers.clone();
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            request.headers_mut().insert(HOST, host);
        }
        request.headers_mut().entry(USER_AGENT).or_insert(HeaderValue::from_static("corten-registry"));
        if let Some(sender) = self.pooled(&origin).await
            && let Ok(answer) = self.exchange(&origin, sender, request.clone()).await
        {
            return Ok(answer);
        }
        let sender = timeout(CONNECT, self.connect(scheme == "https", authority))
            .await
            .map_err(|_| format!("{origin}: no connection within {} seconds", CONNECT.as_secs()))?
            .map_err(|e| format!("{origin}: {e}"))?;
        self.exchange(&origin, sender, request).await.map_err(|e| format!("{origin}: {e}"))
    }

    async fn exchange(
        self: &Arc<Self>,
        origin: &str,
        mut sender: Sender,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, String> {
        let response = timeout(SILENCE, sender.send_request(request))
            .await
            .map_err(|_| format!("no answer within {} seconds", SILENCE.as_secs()))?
            .map_err(|e| text_of(&e))?;
        let (parts, body) = response.into_parts();
        let back = Some((Arc::clone(self), origin.to_owned(), sender));
        Ok(Answer { status: parts.status, headers: parts.headers, body, back })
    }

    async fn connect(&self, secure: bool, authority: &http::uri::Authority) -> Result<Sender, String> {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|e| e.to_string())?;
        // Without it small requests wait; the connection works all the same.
        let _ = stream.set_nodelay(true);
        if !secure {
            return handshake(stream).await;
        }
        let config = self.trust(authority.as_str())?;
        let name = rustls::pki_types::ServerName::try_from(host).map_err(|e| e.to_string())?;
        let stream =
            TlsConnector::from(config).connect(name, stream).await.map_err(|e| format!("TLS: {e}"))?;
        handshake(stream).await
    }

    /// The host's roots, and those of certs.d.
    fn trust(&self, authority: &str) -> Result<Arc<rustls::ClientConfig>, String> {
        if let Some(config) = lock(&self.tls).get(authority) {
            return Ok(Arc::clone(config));
        }
        let directories: [PathBuf; 2] = ["/etc/corten/certs.d".into(), "/etc/docker/certs.d".into()];
        let config = tls::client(authority, &directories, &Default::default(), true)?;
        lock(&self.tls).insert(authority.to_owned(), Arc::clone(&config));
        Ok(config)
    }

    async fn pooled(&self, origin: &str) -> Option<Sender> {
        loop {
            let (mut sender, since) = lock(&self.idle).get_mut(origin)?.pop()?;
            let ready = timeout(Duration::from_millis(100), sender.ready());
            if since.elapsed() < IDLE && ready.await.is_ok_and(|r| r.is_ok()) {
                return Some(sender);
            }
        }
    }

    fn keep(&self, origin: String, sender: Sender) {
        let mut idle = lock(&self.idle);
        let senders = idle.entry(origin).or_default();
        senders.retain(|(sender, since)| since.elapsed() < IDLE && !sender.is_closed());
        if senders.len() < IDLE_LIMIT {
            senders.push((sender, Instant::now()));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn handshake<S>(stream: S) -> Result<Sender, String>
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

/// An error with its causes.
fn text_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
}
