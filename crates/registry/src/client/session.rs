//! One repository on one registry, with the authorization that was got for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use spec::Reference;
use spec::api::AuthConfig;

use super::challenge::{self, Challenge, encode};
use super::message::{Answer, Body};
use super::transport::{Security, Transport, Url};
use super::{Client, host};
use crate::Error;

/// The largest answer that is not content.
const SMALL: usize = 1 << 20;

/// What is to be done in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    Pull,
    Push,
}

/// A repository, spoken to with one set of credentials.
pub(crate) struct Session {
    transport: Arc<Transport>,
    base: Url,
    repository: String,
    /// For messages.
    name: String,
    auth: AuthConfig,
    intent: Intent,
    /// The value of `Authorization` that worked last.
    authorization: Mutex<Option<HeaderValue>>,
}

/// A registry's errors, as the distribution specification writes them.
#[derive(Debug, Deserialize)]
struct Complaints {
    #[serde(default)]
    errors: Vec<Complaint>,
}

#[derive(Debug, Deserialize)]
struct Complaint {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Session {
    pub(crate) async fn open(
        client: &Client,
        reference: &Reference,
        auth: Option<&AuthConfig>,
        intent: Intent,
    ) -> Result<Self, Error> {
        let base = client.transport.base(host::of_domain(&reference.domain)).await?;
        Ok(Self::at(client, base, reference, auth, intent))
    }

    /// A session with the mirror of a registry. Credentials are for the registry itself.
    pub(crate) async fn with_mirror(
        client: &Client,
        mirror: &str,
        reference: &Reference,
    ) -> Result<Self, Error> {
        let base = match mirror.strip_prefix("http://") {
            Some(authority) => {
                let authority = authority.trim_end_matches('/').to_owned();
                Url { security: Security::Plain, authority, path: "/".into() }
            }
            None => client.transport.base(host::of_server_address(mirror)).await?,
        };
        Ok(Self::at(client, base, reference, None, Intent::Pull))
    }

    fn at(
        client: &Client,
        base: Url,
        reference: &Reference,
        auth: Option<&AuthConfig>,
        intent: Intent,
    ) -> Self {
        Self {
            transport: Arc::clone(&client.transport),
            base,
            repository: reference.path.clone(),
            name: reference.familiar_repository(),
            auth: auth.cloned().unwrap_or_default(),
            intent,
            authorization: Mutex::default(),
        }
    }

    /// A session with a whole registry, for logging in.
    pub(crate) async fn with_registry(client: &Client, host: &str, auth: &AuthConfig) -> Result<Self, Error> {
        Ok(Self {
            transport: Arc::clone(&client.transport),
            base: client.transport.base(host).await?,
            repository: String::new(),
            name: host.to_owned(),
            auth: auth.clone(),
            intent: Intent::Pull,
            authorization: Mutex::default(),
        })
    }

    /// How often what can be repeated is tried.
    pub(crate) fn attempts(&self) -> u32 {
        self.transport.config().attempts
    }

    /// The registry's host and port.
    pub(crate) fn host(&self) -> &str {
        &self.base.authority
    }

    /// An address in the repository.
    pub(crate) fn url(&self, rest: &str) -> Url {
        self.base.at(format!("/v2/{}/{rest}", self.repository))
    }

    /// The address of the API itself.
    pub(crate) fn root(&self) -> Url {
        self.base.at("/v2/")
    }

    /// The address an upload goes on at.
    pub(crate) fn follow(&self, location: &str) -> Result<Url, Error> {
        self.transport.resolve(&self.base, location)
    }

    /// Sends a request, once more with new credentials when the registry asks for some. A stream is sent once.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Answer, Error> {
        let again = match &body {
            Body::Full(bytes) => Some(bytes.clone()),
            Body::Stream(..) => None,
        };
        let answer = self.authorized(method.clone(), url, headers.clone(), body).await?;
        let (StatusCode::UNAUTHORIZED, Some(bytes)) = (answer.status, again) else { return Ok(answer) };
        let challenges: Vec<_> = answer
            .headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|v| challenge::parse(v.to_str().ok()?))
            .collect();
        let Some(wanted) = challenges.iter().max_by_key(|c| matches!(c, Challenge::Bearer { .. })) else {
            return Ok(answer);
        };
        answer.discard().await;
        self.answer(wanted).await?;
        self.authorized(method, url, headers, Body::Full(bytes)).await
    }

    /// GET or HEAD, tried again while the registry is in trouble.
    pub(crate) async fn get(&self, method: Method, url: &Url, headers: HeaderMap) -> Result<Answer, Error> {
        let mut pause = Duration::from_millis(200);
        for _ in 1..self.attempts() {
            let answer = self.send(method.clone(), url, headers.clone(), Body::empty()).await?;
            if !(answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS) {
                return Ok(answer);
            }
            answer.discard().await;
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.send(method, url, headers, Body::empty()).await
    }

    async fn authorized(
        &self,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Body,
    ) -> Result<Answer, Error> {
        let authorization = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(value) = authorization
            && url.authority == self.base.authority
        {
            headers.insert(AUTHORIZATION, value);
        }
        self.transport.send(method, url, headers, body).await
    }

    /// Gets what a challenge asks for.
    async fn answer(&self, wanted: &Challenge) -> Result<(), Error> {
        let value = match wanted {
            Challenge::Basic => challenge::basic(&self.auth).ok_or_else(|| self.denied())?,
            Challenge::Bearer { realm, service, scope } => {
                format!("Bearer {}", self.token(realm, service, scope).await?)
            }
        };
        let mut value =
            HeaderValue::from_str(&value).map_err(|_| self.protocol("it gave a token that is no text"))?;
        value.set_sensitive(true);
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(())
    }

    /// A token from a registry's token server (distribution's token and OAuth2 specifications).
    async fn token(&self, realm: &str, service: &str, scope: &str) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Granted {
            #[serde(default)]
            token: String,
            #[serde(default)]
            access_token: String,
        }
        if !self.auth.registrytoken.is_empty() {
            return Ok(self.auth.registrytoken.clone());
        }
        let mut url = self.transport.resolve(&self.base, realm)?;
        if url.security == Security::Plain && self.base.security == Security::Verified {
            return Err(self.protocol("its token server has no TLS"));
        }
        let scope = match self.intent {
            Intent::Push => format!("repository:{}:pull,push", self.repository),
            Intent::Pull if scope.is_empty() && !self.repository.is_empty() => {
                format!("repository:{}:pull", self.repository)
            }
            Intent::Pull => scope.to_owned(),
        };
        let mut headers = HeaderMap::new();
        let answer = if self.auth.identitytoken.is_empty() {
            let separator = if url.path.contains('?') { '&' } else { '?' };
            url.path.push_str(&format!("{separator}service={}", encode(service)));
            if !scope.is_empty() {
                url.path.push_str(&format!("&scope={}", encode(&scope)));
            }
            if let Some((user, _)) = challenge::user_and_password(&self.auth) {
                url.path.push_str(&format!("&account={}", encode(&user)));
            }
            if let Some(basic) = challenge::basic(&self.auth).and_then(|b| HeaderValue::from_str(&b).ok()) {
                headers.insert(AUTHORIZATION, basic);
            }
            self.transport.send(Method::GET, &url, headers, Body::empty()).await?
        } else {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            let form = format!(
                "grant_type=refresh_token&client_id=corten&service={}&scope={}&refresh_token={}",
                encode(service),
                encode(&scope),
                encode(&self.auth.identitytoken)
            );
            self.transport.send(Method::POST, &url, headers, Body::Full(form.into())).await?
        };
        if !answer.status.is_success() {
            return Err(self.failure(answer).await);
        }
        let granted: Granted = serde_json::from_slice(&answer.bytes(SMALL).await?)
            .map_err(|e| self.protocol(format!("its token server's answer: {e}")))?;
        let token = if granted.token.is_empty() { granted.access_token } else { granted.token };
        if token.is_empty() { Err(self.protocol("its token server gave no token")) } else { Ok(token) }
    }

    /// No right to do what was intended.
    pub(crate) fn denied(&self) -> Error {
        match self.intent {
            Intent::Pull => Error::Denied(self.name.clone()),
            Intent::Push => Error::PushDenied(self.name.clone()),
        }
    }

    /// An answer that makes no sense.
    pub(crate) fn protocol(&self, detail: impl Into<String>) -> Error {
        Error::Protocol { host: self.base.authority.clone(), detail: detail.into() }
    }

    /// What an answer that is no success means.
    pub(crate) async fn failure(&self, answer: Answer) -> Error {
        let (status, path) = (answer.status, answer.url.path.clone());
        let body = answer.bytes(SMALL).await.unwrap_or_default();
        let complaint =
            serde_json::from_slice::<Complaints>(&body).ok().and_then(|c| c.errors.into_iter().next());
        let words = complaint.map(|c| if c.message.is_empty() { c.code } else { c.message });
        let host = self.base.authority.clone();
        match status {
            StatusCode::UNAUTHORIZED if self.auth != AuthConfig::default() => {
                let detail = words.unwrap_or_else(|| "incorrect username or password".into());
                Error::Unauthorized { host, detail }
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.denied(),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Error::Unavailable { host, detail: words.unwrap_or_else(|| status.to_string()) }
            }
            _ => {
                let words = words.map(|w| format!(": {w}")).unwrap_or_default();
                let path = path.split('?').next().unwrap_or_default();
                Error::Protocol { host, detail: format!("{status} for {path}{words}") }
            }
        }
    }
}
