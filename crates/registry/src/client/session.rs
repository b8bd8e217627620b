//! One repository on one registry, with the authorization that was got for it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LINK, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use spec::Reference;
use spec::api::AuthConfig;

use super::Client;
use super::challenge::{self, Challenge, encode};
use super::download::pause;
use super::hosts::{self, Place};
use super::message::{Answer, Body};
use super::transport::{Security, Transport, Url};
use crate::Error;

/// The largest answer that is not content.
const SMALL: usize = 1 << 20;
/// The longest that a registry may ask to wait before the next try: one that asks for more is not available.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A token is renewed when it has less than this to live.
const STALE: Duration = Duration::from_secs(5);
/// What a token lives that does not say so (distribution's token specification).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);

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
    /// The registry that a mirror is asked in the stead of.
    mirror_of: Option<String>,
    /// Of hosts.toml.
    headers: HeaderMap,
    /// What else the token is to allow.
    scopes: Mutex<BTreeSet<String>>,
    authorization: Mutex<Authorization>,
    /// Who holds it gets a token for all.
    renewing: tokio::sync::Mutex<()>,
}

/// What the registry wants to see with each request.
#[derive(Debug, Clone, Default)]
struct Authorization {
    /// The value of `Authorization` that worked last.
    value: Option<HeaderValue>,
    expires: Option<Instant>,
    /// What it answers.
    challenge: Option<Challenge>,
    /// How often there was a new one.
    count: u64,
}

/// What a token server gave.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Granted {
    token: String,
    access_token: String,
    /// Stands in for the password from then on.
    pub(crate) refresh_token: String,
    expires_in: u64,
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// With the registry itself, wherever it says that it is.
    pub(crate) async fn open(
        client: &Client,
        reference: &Reference,
        auth: Option<&AuthConfig>,
        intent: Intent,
    ) -> Result<Self, Error> {
        let transport = &client.transport;
        let places = hosts::places(transport.directories(), &transport.config(), &reference.domain)?;
        let push = intent == Intent::Push;
        let fits = |place: &&Place| place.mirror_of.is_none() && (place.push || !push);
        let place = places.iter().rev().find(fits).ok_or_else(|| Error::Setup {
            step: "push to",
            object: reference.domain.clone(),
            detail: "its hosts.toml lets nobody push".into(),
        })?;
        Self::at(client, place, reference, auth, intent).await
    }

    /// With one place.
    pub(crate) async fn at(
        client: &Client,
        place: &Place,
        reference: &Reference,
        auth: Option<&AuthConfig>,
        intent: Intent,
    ) -> Result<Self, Error> {
        let base = client.transport.place(place).await?;
        Ok(Self {
            transport: Arc::clone(&client.transport),
            base,
            repository: format!("{}{}", place.prefix, reference.path),
            name: reference.familiar_repository(),
            auth: auth.cloned().unwrap_or_default(),
            intent,
            mirror_of: place.mirror_of.clone(),
            headers: place.headers.clone(),
            scopes: Mutex::default(),
            authorization: Mutex::default(),
            renewing: tokio::sync::Mutex::default(),
        })
    }

    /// With a whole registry, for logging in.
    pub(crate) async fn with_registry(client: &Client, host: &str, auth: &AuthConfig) -> Result<Self, Error> {
        let transport = &client.transport;
        let places = hosts::places(transport.directories(), &transport.config(), host)?;
        let own = places.last().expect("the registry itself is always there");
        let reference = Reference { domain: host.to_owned(), path: String::new(), tag: None, digest: None };
        let session = Self::at(client, own, &reference, Some(auth), Intent::Pull).await?;
        Ok(Self { name: host.to_owned(), ..session })
    }

    /// How often what can be repeated is tried.
    pub(crate) fn attempts(&self) -> u32 {
        self.transport.config().attempts
    }

    /// An address in the repository.
    pub(crate) fn url(&self, rest: &str) -> Url {
        let mut path = format!("{}/{}/{rest}", self.base.path, self.repository);
        if let Some(registry) = &self.mirror_of {
            // Mirrors of several registries tell them apart by it (containerd's convention).
            let separator = if path.contains('?') { '&' } else { '?' };
            path.push_str(&format!("{separator}ns={}", encode(registry)));
        }
        self.base.at(path)
    }

    /// The address of the API itself.
    pub(crate) fn root(&self) -> Url {
        self.base.at(format!("{}/", self.base.path))
    }

    /// The address an upload or a list goes on at.
    pub(crate) fn follow(&self, location: &str) -> Result<Url, Error> {
        self.transport.resolve(&self.base, location)
    }

    /// Where a list goes on (RFC 8288), if it does.
    pub(crate) fn next(&self, answer: &Answer) -> Result<Option<Url>, Error> {
        let link = answer.header(LINK.as_str());
        let Some((address, parameters)) = link.trim_start().strip_prefix('<').and_then(|l| l.split_once('>'))
        else {
            return Ok(None);
        };
        if parameters.contains("rel=\"next\"") || parameters.contains("rel=next") {
            return self.follow(address).map(Some);
        }
        Ok(None)
    }

    /// Asks for another repository of the registry to be read, too: blobs are mounted from it.
    pub(crate) fn also_read(&self, repository: &str) {
        let scope = format!("repository:{repository}:pull");
        if lock(&self.scopes).insert(scope) {
            // The token that is here does not allow it.
            lock(&self.authorization).expires = Some(Instant::now());
        }
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
        self.refresh().await?;
        let count = lock(&self.authorization).count;
        let answer = self.authorized(method.clone(), url, headers.clone(), body).await?;
        let (StatusCode::UNAUTHORIZED, Some(bytes)) = (answer.status, again) else { return Ok(answer) };
        if answer.url.authority != self.base.authority {
            return Ok(answer);
        }
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
        {
            let _one = self.renewing.lock().await;
            // Somebody else may have answered it while we waited.
            if lock(&self.authorization).count == count {
                self.answer(wanted).await?;
            }
        }
        self.authorized(method, url, headers, Body::Full(bytes)).await
    }

    /// GET or HEAD, tried again while the registry is in trouble.
    pub(crate) async fn get(&self, method: Method, url: &Url, headers: HeaderMap) -> Result<Answer, Error> {
        self.repeat(method, url, headers, Bytes::new()).await
    }

    /// Sends what may be sent several times: again while the registry is in trouble, as often as it may be and when it
    /// says.
    pub(crate) async fn repeat(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, Error> {
        let mut tried = 0;
        loop {
            tried += 1;
            let last = tried >= self.attempts();
            let wait = match self.send(method.clone(), url, headers.clone(), Body::Full(body.clone())).await {
                Ok(answer) if !is_trouble(answer.status) || last => return Ok(answer),
                Ok(answer) => match retry_after(&answer) {
                    Some(wait) if wait > LONGEST_WAIT => return Ok(answer),
                    wait => {
                        answer.discard().await;
                        wait.unwrap_or_else(|| pause(tried))
                    }
                },
                Err(Error::Broken { .. }) if !last => pause(tried),
                Err(error) => return Err(error),
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// GET of an address that is not the registry's: without credentials.
    pub(crate) async fn elsewhere(&self, address: &str, headers: HeaderMap) -> Result<Answer, Error> {
        let url = self.transport.resolve(&self.base, address)?;
        self.transport.send(Method::GET, &url, headers, Body::empty()).await
    }

    async fn authorized(
        &self,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Body,
    ) -> Result<Answer, Error> {
        if url.authority == self.base.authority {
            if let Some(value) = lock(&self.authorization).value.clone() {
                headers.insert(AUTHORIZATION, value);
            }
            headers.extend(self.headers.clone());
        }
        self.transport.send(method, url, headers, body).await
    }

    /// Gets a new token before the one that is here has expired.
    async fn refresh(&self) -> Result<(), Error> {
        let is_stale = || {
            let authorization = lock(&self.authorization);
            let stale = authorization.expires.is_some_and(|at| at <= Instant::now() + STALE);
            authorization.challenge.clone().filter(|_| stale)
        };
        if is_stale().is_none() {
            return Ok(());
        }
        let _one = self.renewing.lock().await;
        match is_stale() {
            Some(challenge) => self.answer(&challenge).await,
            None => Ok(()),
        }
    }

    /// Gets what a challenge asks for.
    async fn answer(&self, wanted: &Challenge) -> Result<(), Error> {
        let (value, expires) = match wanted {
            Challenge::Basic => (challenge::basic(&self.auth).ok_or_else(|| self.denied())?, None),
            Challenge::Bearer { .. } if !self.auth.registrytoken.is_empty() => {
                (format!("Bearer {}", self.auth.registrytoken), None)
            }
            Challenge::Bearer { realm, service, scope } => {
                let granted = self.token(realm, service, scope, false).await?;
                let token = if granted.token.is_empty() { granted.access_token } else { granted.token };
                if token.is_empty() {
                    return Err(self.protocol("its token server gave no token"));
                }
                let life = match granted.expires_in {
                    0 => DEFAULT_LIFE,
                    seconds => Duration::from_secs(seconds),
                };
                // One that hardly lives is not worth renewing before it is refused.
                let expires = (life > 2 * STALE).then(|| Instant::now() + life);
                (format!("Bearer {token}"), expires)
            }
        };
        let mut value =
            HeaderValue::from_str(&value).map_err(|_| self.protocol("it gave a token that is no text"))?;
        value.set_sensitive(true);
        let mut authorization = lock(&self.authorization);
        let count = authorization.count + 1;
        *authorization =
            Authorization { value: Some(value), expires, challenge: Some(wanted.clone()), count };
        Ok(())
    }

    /// A token from a registry's token server (distribution's token and OAuth2 specifications). `lasting`: with one that
    /// stands in for the password.
    pub(crate) async fn token(
        &self,
        realm: &str,
        service: &str,
        scope: &str,
        lasting: bool,
    ) -> Result<Granted, Error> {
        let mut url = self.transport.resolve(&self.base, realm)?;
        if url.security == Security::Plain && self.base.security == Security::Verified {
            return Err(self.protocol("its token server has no TLS"));
        }
        let scopes = self.scopes_with(scope);
        let mut headers = HeaderMap::new();
        let answer = if self.auth.identitytoken.is_empty() {
            let separator = if url.path.contains('?') { '&' } else { '?' };
            url.path.push_str(&format!("{separator}service={}", encode(service)));
            for scope in &scopes {
                url.path.push_str(&format!("&scope={}", encode(scope)));
            }
            if lasting {
                url.path.push_str("&offline_token=true&client_id=corten");
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
                encode(&scopes.join(" ")),
                encode(&self.auth.identitytoken)
            );
            self.transport.send(Method::POST, &url, headers, Body::Full(form.into())).await?
        };
        if !answer.status.is_success() {
            return Err(self.failure(answer).await);
        }
        serde_json::from_slice(&answer.bytes(SMALL).await?)
            .map_err(|e| self.protocol(format!("its token server's answer: {e}")))
    }

    /// All that a token is to allow: what is intended, what else was asked for, what the registry named.
    fn scopes_with(&self, named: &str) -> Vec<String> {
        let own = match self.intent {
            _ if self.repository.is_empty() => String::new(),
            Intent::Push => format!("repository:{}:pull,push", self.repository),
            Intent::Pull => format!("repository:{}:pull", self.repository),
        };
        let more = lock(&self.scopes).clone();
        let mut scopes: Vec<String> = [own].into_iter().filter(|scope| !scope.is_empty()).collect();
        // A registry may want more than was thought of, of another kind.
        let covered = |scope: &str| scope.starts_with(&format!("repository:{}:", self.repository));
        let named = named.split(' ').filter(|scope| !scope.is_empty() && !covered(scope));
        scopes.extend(named.map(str::to_owned).chain(more).filter(|scope| !scope.is_empty()));
        scopes.dedup();
        scopes
    }

    /// No right to do what was intended.
    pub(crate) fn denied(&self) -> Error {
        self.denied_because(None)
    }

    /// The same, in the registry's words if it has some: a quota, a policy.
    fn denied_because(&self, words: Option<String>) -> Error {
        let detail = words.unwrap_or_else(|| "requested access to the resource is denied".into());
        let repository = self.name.clone();
        match self.intent {
            Intent::Pull => Error::Denied { repository, detail },
            Intent::Push => Error::PushDenied { repository, detail },
        }
    }

    /// An answer that makes no sense.
    pub(crate) fn protocol(&self, detail: impl Into<String>) -> Error {
        Error::Protocol { host: self.base.authority.clone(), detail: detail.into() }
    }

    /// A connection that ended before its time.
    pub(crate) fn broke(&self, detail: impl Into<String>) -> Error {
        Error::Broken { host: self.base.authority.clone(), detail: detail.into() }
    }

    /// What an answer that is no success means.
    pub(crate) async fn failure(&self, answer: Answer) -> Error {
        let (status, path, wait) = (answer.status, answer.url.path.clone(), retry_after(&answer));
        // Who we are is known then (RFC 6750 section 3.1), and may not do this.
        let is_known = answer.header(WWW_AUTHENTICATE.as_str()).contains("insufficient_scope");
        let body = answer.bytes(SMALL).await.unwrap_or_default();
        let complaint =
            serde_json::from_slice::<Complaints>(&body).ok().and_then(|c| c.errors.into_iter().next());
        let words = complaint.map(|c| if c.message.is_empty() { c.code } else { c.message });
        let host = self.base.authority.clone();
        match status {
            StatusCode::UNAUTHORIZED if !is_known && self.auth != AuthConfig::default() => {
                let detail = words.unwrap_or_else(|| "incorrect username or password".into());
                Error::Unauthorized { host, detail }
            }
            StatusCode::UNAUTHORIZED => self.denied(),
            StatusCode::FORBIDDEN => self.denied_because(words),
            _ if is_trouble(status) => {
                let mut detail = words.unwrap_or_else(|| status.to_string());
                if let Some(wait) = wait {
                    detail = format!("{detail}: it asks to wait for {} seconds", wait.as_secs());
                }
                Error::Unavailable { host, detail }
            }
            _ => {
                let words = words.map(|w| format!(": {w}")).unwrap_or_default();
                let path = path.split('?').next().unwrap_or_default();
                Error::Protocol { host, detail: format!("{status} for {path}{words}") }
            }
        }
    }
}

/// Whether an answer may be another one a little later.
fn is_trouble(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

/// How long a registry asks to wait: seconds, or a date (RFC 9110 section 10.2.3).
fn retry_after(answer: &Answer) -> Option<Duration> {
    let text = answer.header(RETRY_AFTER.as_str()).trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let wait = at.duration_since(jiff::Timestamp::now());
    Some(Duration::try_from(wait).unwrap_or_default())
}
