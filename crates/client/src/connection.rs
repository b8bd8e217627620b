//! One HTTP exchange with the engine.

use std::os::fd::OwnedFd;
use std::sync::Mutex;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use spec::api::ErrorResponse;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::body::RequestBody;
use crate::descriptors::WithDescriptors;
use crate::query::Query;
use crate::ssh::Ssh;
use crate::{Body, Error, Hijacked, Host, JsonLines, Result, Tls, Upload, lookup, tls};

/// Bytes of an answer for which there is room beforehand, at most.
const MOST_AT_ONCE: u64 = 16 << 20;

/// A client of one engine. Cheap to make: nothing is opened before the first call.
#[derive(Debug)]
pub struct Client {
    host: Host,
    tls: Option<Tls>,
    headers: Vec<(String, String)>,
    version: Mutex<Version>,
    idle: Mutex<Vec<SendRequest<RequestBody>>>,
    user_agent: String,
}

/// How to speak to an engine.
#[derive(Debug, Default)]
pub struct Options {
    /// Fixes the API version (`DOCKER_API_VERSION`).
    pub version: Option<String>,
    /// Certificates; plain TCP without. Other hosts have no use for them.
    pub tls: Option<Tls>,
    /// Sent with every request.
    pub headers: Vec<(String, String)>,
}

/// A connection before anything is said on it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

#[derive(Debug, Clone)]
struct Version {
    text: String,
    /// The user's word or the engine's: not to be changed any more.
    settled: bool,
}

/// A call on its way: method, path, parameters, body.
pub(crate) struct Call {
    method: Method,
    path: String,
    query: Query,
    headers: Vec<(&'static str, String)>,
    payload: Payload,
    /// Sent with the first bytes, over a unix socket.
    descriptors: Vec<OwnedFd>,
}

enum Payload {
    Empty,
    Json(Bytes),
    Stream(Upload, &'static str),
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: Query::new(),
            headers: Vec::new(),
            payload: Payload::Empty,
            descriptors: Vec::new(),
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(crate) fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    pub(crate) fn head(path: impl Into<String>) -> Self {
        Self::new(Method::HEAD, path)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    pub(crate) fn query(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        if !value.is_empty() {
            self.headers.push((name, value.to_owned()));
        }
        self
    }

    pub(crate) fn json(mut self, body: &impl Serialize) -> Self {
        let bytes = serde_json::to_vec(body).expect("the API's types have text keys only");
        self.payload = Payload::Json(bytes.into());
        self
    }

    pub(crate) fn upload(mut self, upload: Upload, content_type: &'static str) -> Self {
        self.payload = Payload::Stream(upload, content_type);
        self
    }

    pub(crate) fn descriptors(mut self, descriptors: Vec<OwnedFd>) -> Self {
        self.descriptors = descriptors;
        self
    }

    fn describe(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

impl Client {
    /// A client of the engine at `host`.
    pub fn new(host: Host, options: Options) -> Self {
        let version = match options.version {
            Some(text) => Version { text: text.trim_start_matches('v').to_owned(), settled: true },
            None => Version { text: spec::api::API_VERSION.to_owned(), settled: false },
        };
        Self {
            host,
            tls: options.tls,
            headers: options.headers,
            version: Mutex::new(version),
            idle: Mutex::default(),
            user_agent: format!("Corten-Client/{} (linux)", env!("CARGO_PKG_VERSION")),
        }
    }

    /// Where the engine is.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The API version of the next call: the newest that both sides know, once the engine has been heard.
    pub fn api_version(&self) -> String {
        self.current_version().text
    }

    /// Finds out the API version, if that has not happened yet.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn negotiate(&self) -> Result<()> {
        if self.current_version().settled {
            return Ok(());
        }
        let response = self.exchange(Method::HEAD, "/_ping", &Call::get(""), empty()).await?;
        let theirs = response.headers().get("api-version").and_then(|v| v.to_str().ok());
        if let Some(theirs) = theirs {
            self.settle(theirs);
        }
        Ok(())
    }

    /// Opens a connection and keeps it for the next call.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn connect(&self) -> Result<()> {
        let sender = self.open().await?;
        self.keep(sender);
        Ok(())
    }

    /// Sends a call; the answer's status is a success.
    pub(crate) async fn send(&self, mut call: Call) -> Result<Response<Incoming>> {
        let json = match std::mem::replace(&mut call.payload, Payload::Empty) {
            Payload::Empty => None,
            Payload::Json(bytes) => {
                call.headers.push((CONTENT_TYPE.as_str(), "application/json".to_owned()));
                Some(bytes)
            }
            Payload::Stream(upload, kind) => {
                // A stream cannot be sent twice, so the version must be right the first time.
                self.negotiate().await?;
                call.headers.push((CONTENT_TYPE.as_str(), kind.to_owned()));
                return self.checked(&call, upload.into_body()).await;
            }
        };
        let body = || json.clone().map_or_else(empty, full);
        let version = self.api_version();
        match self.checked(&call, body()).await {
            Err(Error::Daemon { status: 400, message })
                if message.contains("is too new") && self.downgraded(&version, &message) =>
            {
                self.checked(&call, body()).await
            }
            other => other,
        }
    }

    async fn checked(&self, call: &Call, body: RequestBody) -> Result<Response<Incoming>> {
        let target = format!("/v{}{}{}", self.current_version().text, call.path, call.query.as_str());
        let response = self.exchange(call.method.clone(), &target, call, body).await?;
        let status = response.status();
        if status.is_success()
            || status == StatusCode::SWITCHING_PROTOCOLS
            || status == StatusCode::NOT_MODIFIED
        {
            return Ok(response);
        }
        let body = response.into_body().collect().await?.to_bytes();
        let message = match serde_json::from_slice::<ErrorResponse>(&body) {
            Ok(answer) if !answer.message.is_empty() => answer.message,
            Ok(_) | Err(_) => String::from_utf8_lossy(&body).trim().to_owned(),
        };
        let message = if message.is_empty() { status.to_string() } else { message };
        Err(Error::Daemon { status: status.as_u16(), message })
    }

    async fn exchange(
        &self,
        method: Method,
        target: &str,
        call: &Call,
        body: RequestBody,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, "api.moby.localhost")
            .header(USER_AGENT, &self.user_agent);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let request = request.body(body).map_err(Error::Request)?;
        let mut sender = match self.idle_connection() {
            _ if !call.descriptors.is_empty() => self.open_with(&call.descriptors).await?,
            Some(sender) => sender,
            None => self.open().await?,
        };
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            self.keep(sender);
        }
        Ok(response)
    }

    fn idle_connection(&self) -> Option<SendRequest<RequestBody>> {
        let mut idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let at = idle.iter().position(SendRequest::is_ready)?;
        Some(idle.swap_remove(at))
    }

    fn keep(&self, sender: SendRequest<RequestBody>) {
        let mut idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        idle.retain(|s| !s.is_closed());
        idle.push(sender);
    }

    async fn open(&self) -> Result<SendRequest<RequestBody>> {
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.dial().await?)).await?;
        // An error of the connection reaches the caller through the request it breaks.
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    /// A connection whose first bytes carry descriptors.
    async fn open_with(&self, descriptors: &[OwnedFd]) -> Result<SendRequest<RequestBody>> {
        let Host::Unix(path) = &self.host else {
            let source = std::io::Error::from(std::io::ErrorKind::Unsupported);
            return Err(Error::Connect { host: self.host.to_string(), source });
        };
        let failed = |source: std::io::Error| Error::Connect { host: self.host.to_string(), source };
        let stream = UnixStream::connect(path).await.map_err(failed)?;
        let stream = WithDescriptors::new(stream, descriptors).map_err(failed)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    /// Whether the engine is Corten's, which understands more than the Engine API.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn is_corten(&self) -> Result<bool> {
        let response = self.exchange(Method::HEAD, "/_ping", &Call::get(""), empty()).await?;
        let server = response.headers().get(http::header::SERVER).and_then(|v| v.to_str().ok());
        Ok(server.is_some_and(|server| server.starts_with("Corten/")))
    }

    /// Opens a connection on which nothing has been said yet.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Denied`], [`Error::Tls`].
    pub async fn dial(&self) -> Result<Box<dyn Stream>> {
        let host = || self.host.to_string();
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::PermissionDenied => Error::Denied { host: host(), source },
            _ => Error::Connect { host: host(), source },
        };
        match &self.host {
            Host::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(failed)?)),
            Host::Tcp(address) => {
                let addresses = lookup::addresses(address).await.map_err(failed)?;
                let stream = TcpStream::connect(&*addresses).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                match &self.tls {
                    None => Ok(Box::new(stream)),
                    Some(tls) => tls::connect(tls, address, stream).await.map_or_else(
                        |source| Err(Error::Tls { host: host(), source }),
                        |stream| Ok(Box::new(stream) as Box<dyn Stream>),
                    ),
                }
            }
            Host::Ssh(ssh) => Ok(Box::new(Ssh::connect(ssh).map_err(failed)?)),
        }
    }

    fn current_version(&self) -> Version {
        self.version.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Takes the engine's maximum from its refusal; whether the next call goes out with another version than
    /// `used`. Calls in flight at the same time are refused together, and each gets its second try.
    fn downgraded(&self, used: &str, refusal: &str) -> bool {
        if !self.current_version().settled {
            self.settle(refusal.rsplit(' ').next().unwrap_or_default());
        }
        self.api_version() != used
    }

    fn settle(&self, theirs: &str) {
        let mut version = self.version.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if number(theirs).is_some_and(|theirs| Some(theirs) < number(&version.text)) {
            version.text = theirs.to_owned();
        }
        version.settled = true;
    }

    /// Sends a call whose answer is not looked at.
    pub(crate) async fn done(&self, call: Call) -> Result<()> {
        let response = self.send(call).await?;
        // Read to the end, so that the connection can be used again.
        response.into_body().collect().await?;
        Ok(())
    }

    /// Sends a call and returns the answer's bytes.
    pub(crate) async fn raw(&self, call: Call) -> Result<Bytes> {
        let mut body = self.send(call).await?.into_body();
        // What is told beforehand is room for a start: nobody has to send it.
        let length = body.size_hint().exact().unwrap_or_default().min(MOST_AT_ONCE);
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                bytes.extend_from_slice(&data);
            }
        }
        Ok(bytes.into())
    }

    /// Sends a call and reads the answer's JSON.
    pub(crate) async fn read<T: DeserializeOwned>(&self, call: Call) -> Result<T> {
        let request = call.describe();
        let bytes = self.raw(call).await?;
        spec::gojson::from_slice(&bytes).map_err(|source| Error::Decode { request, source })
    }

    /// Sends a call whose answer is a list; Go writes an empty one as `null`.
    pub(crate) async fn list<T: DeserializeOwned>(&self, call: Call) -> Result<Vec<T>> {
        Ok(self.read::<Option<Vec<T>>>(call).await?.unwrap_or_default())
    }

    /// As [`Client::list`], with each item turned into something smaller as soon as it is read; see
    /// [`map_items`](spec::gojson::map_items).
    pub(crate) async fn map_list<T: DeserializeOwned, R>(
        &self,
        call: Call,
        each: impl FnMut(T) -> R,
    ) -> Result<Vec<R>> {
        let request = call.describe();
        let bytes = self.raw(call).await?;
        spec::gojson::map_items(&bytes, each).map_err(|source| Error::Decode { request, source })
    }

    /// Sends a call whose answer is a stream of JSON.
    pub(crate) async fn lines<T: DeserializeOwned>(&self, call: Call) -> Result<JsonLines<T>> {
        let request = call.describe();
        Ok(JsonLines::new(Body(self.send(call).await?.into_body()), request))
    }

    /// Sends a call that turns its connection into a pipe.
    pub(crate) async fn hijack(&self, call: Call) -> Result<Hijacked> {
        let call = call.header(CONNECTION.as_str(), "Upgrade").header(UPGRADE.as_str(), "tcp");
        let response = self.send(call).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::NotUpgraded(response.status().as_u16()));
        }
        let multiplexed = match response.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes) {
            Some(b"application/vnd.docker.multiplexed-stream") => Some(true),
            // Before API 1.42 framed streams carried this type too.
            Some(_) | None => None,
        };
        Ok(Hijacked::new(hyper::upgrade::on(response).await?, multiplexed))
    }
}

fn empty() -> RequestBody {
    full(Bytes::new())
}

fn full(bytes: Bytes) -> RequestBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// `1.41` as (1, 41).
fn number(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client::new(Host::Unix("/nowhere".into()), Options::default())
    }

    #[test]
    fn an_older_engine_sets_the_version() {
        let client = client();
        let refusal = "client version 1.55 is too new. Maximum supported API version is 1.41";
        assert!(client.downgraded("1.55", refusal));
        assert_eq!(client.api_version(), "1.41");
        assert!(client.downgraded("1.55", refusal), "a call that was in flight");
        assert!(
            !client
                .downgraded("1.41", "client version 1.41 is too new. Maximum supported API version is 1.40")
        );
    }

    #[test]
    fn a_newer_engine_does_not() {
        let client = client();
        client.settle("9.99");
        assert_eq!(client.api_version(), spec::api::API_VERSION);
    }
}
