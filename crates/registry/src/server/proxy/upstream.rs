//! Requests to the registry behind a cache, with the authorization that it asks for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use spec::oci::image::media;

use crate::server::config::Proxy;
use crate::server::list::encode;
use crate::server::outward::{Answer, Outward};
use crate::server::route::Name;

/// Docker Hub keeps official images in a repository that nobody names.
const HUB: &str = "registry-1.docker.io";
const HUB_NAMES: [&str; 3] = ["docker.io", "index.docker.io", HUB];
const REDIRECTS: usize = 5;
/// A token is used for so long when it does not say, and for a little less than it says.
const LIFETIME: u64 = 60;
const MARGIN: u64 = 10;
const TOKENS: usize = 1000;

/// Why it did not give what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("it does not have it")]
    Absent,
    #[error("it answered {0}")]
    Refused(StatusCode),
    #[error("{0}")]
    Unreachable(String),
}

pub(super) struct Upstream {
    origin: String,
    hub: bool,
    username: String,
    password: String,
    outward: Arc<Outward>,
    /// By repository; the empty name's is `Basic`, which is for all.
    authorizations: Mutex<HashMap<String, (HeaderValue, Instant)>>,
}

impl Upstream {
    pub(super) fn new(config: &Proxy, outward: Arc<Outward>) -> Result<Self, String> {
        let password = match &config.password_file {
            Some(path) => {
                let bytes = sys::file::read(path).map_err(|e| format!("{}: {}", path.display(), e.source))?;
                String::from_utf8_lossy(&bytes).trim_end().to_owned()
            }
            None => String::new(),
        };
        let hub = HUB_NAMES.contains(&config.upstream.as_str());
        let host = if hub { HUB } else { &config.upstream };
        let scheme = if config.insecure { "http" } else { "https" };
        Ok(Self {
            origin: format!("{scheme}://{host}"),
            hub,
            username: config.username.clone(),
            password,
            outward,
            authorizations: Mutex::default(),
        })
    }

    /// One request about a repository; the answer is a success.
    pub(super) async fn ask(
        &self,
        method: Method,
        name: &Name,
        rest: &str,
        manifest: bool,
    ) -> Result<Answer, Failure> {
        let name = match name.as_str() {
            name if self.hub && !name.contains('/') => format!("library/{name}"),
            name => name.to_owned(),
        };
        let url = format!("{}/v2/{name}/{rest}", self.origin);
        let mut headers = HeaderMap::new();
        if manifest {
            let kinds = [media::INDEX, media::MANIFEST, media::DOCKER_LIST, media::DOCKER_MANIFEST];
            for kind in kinds {
                headers.append(ACCEPT, HeaderValue::from_static(kind));
            }
        }
        for attempt in 0..2 {
            if let Some(value) = self.authorization(&name) {
                headers.insert(AUTHORIZATION, value);
            }
            let answer = self.follow(method.clone(), &url, headers.clone()).await?;
            match answer.status {
                status if status.is_success() => return Ok(answer),
                StatusCode::UNAUTHORIZED if attempt == 0 => self.authorize(&name, &answer).await?,
                StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    return Err(Failure::Absent);
                }
                status => return Err(Failure::Refused(status)),
            }
        }
        Err(Failure::Refused(StatusCode::UNAUTHORIZED))
    }

    /// Redirects are followed; the authorization stays with the registry.
    async fn follow(&self, method: Method, url: &str, mut headers: HeaderMap) -> Result<Answer, Failure> {
        let mut url = url.to_owned();
        for _ in 0..REDIRECTS {
            let answer = self
                .outward
                .send(method.clone(), &url, &headers, Bytes::new())
                .await
                .map_err(Failure::Unreachable)?;
            let location = answer.headers.get(LOCATION).and_then(|l| l.to_str().ok()).map(str::to_owned);
            let (true, Some(location)) = (answer.status.is_redirection(), location) else {
                return Ok(answer);
            };
            if location.starts_with('/') {
                let origin: String = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
                url = format!("{origin}{location}");
            } else {
                if url.starts_with("https:") && !location.starts_with("https:") {
                    return Err(Failure::Unreachable(format!("it leads out of TLS, to {location}")));
                }
                let same = location.splitn(4, '/').take(3).eq(url.splitn(4, '/').take(3));
                if !same {
                    headers.remove(AUTHORIZATION);
                }
                url = location;
            }
        }
        Err(Failure::Unreachable(format!("more than {REDIRECTS} redirects")))
    }

    fn authorization(&self, name: &str) -> Option<HeaderValue> {
        let known = self.authorizations.lock().unwrap_or_else(PoisonError::into_inner);
        let good = |name: &str| known.get(name).filter(|(_, until)| *until > Instant::now());
        good(name).or_else(|| good("")).map(|(value, _)| value.clone())
    }

    fn basic(&self) -> Option<HeaderValue> {
        let encoded = STANDARD.encode(format!("{}:{}", self.username, self.password));
        let mut value = HeaderValue::try_from(format!("Basic {encoded}")).ok()?;
        value.set_sensitive(true);
        (!self.username.is_empty()).then_some(value)
    }

    /// Gets what a challenge asks for.
    async fn authorize(&self, name: &str, refused: &Answer) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Granted {
            #[serde(default)]
            token: String,
            #[serde(default)]
            access_token: String,
            #[serde(default)]
            expires_in: u64,
        }
        let odd = |why: &str| Failure::Unreachable(format!("its token service {why}"));
        let challenge = refused.header(WWW_AUTHENTICATE.as_str());
        let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            let value = self.basic().ok_or(Failure::Absent)?;
            self.keep(String::new(), value, Duration::from_secs(3600));
            return Ok(());
        }
        let realm = parameter(rest, "realm").ok_or_else(|| odd("has no address"))?;
        if self.origin.starts_with("https:") && !realm.starts_with("https:") {
            return Err(odd("has no TLS"));
        }
        let service = parameter(rest, "service").unwrap_or_default();
        let scope = encode(&format!("repository:{name}:pull"));
        let separator = if realm.contains('?') { '&' } else { '?' };
        let url = format!("{realm}{separator}service={}&scope={scope}", encode(&service));
        let mut headers = HeaderMap::new();
        headers.extend(self.basic().map(|value| (AUTHORIZATION, value)));
        let answer = self
            .outward
            .send(Method::GET, &url, &headers, Bytes::new())
            .await
            .map_err(Failure::Unreachable)?;
        match answer.status {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(Failure::Absent),
            status => return Err(Failure::Refused(status)),
        }
        let bytes = answer.bytes(1 << 20).await.map_err(Failure::Unreachable)?;
        let granted: Granted = serde_json::from_slice(&bytes).map_err(|_| odd("is not understood"))?;
        let token = if granted.token.is_empty() { granted.access_token } else { granted.token };
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| odd("gave no token"))?;
        value.set_sensitive(true);
        let lifetime = granted.expires_in.max(LIFETIME).saturating_sub(MARGIN);
        self.keep(name.to_owned(), value, Duration::from_secs(lifetime.min(24 * 3600)));
        Ok(())
    }

    fn keep(&self, name: String, value: HeaderValue, lifetime: Duration) {
        let mut known = self.authorizations.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TOKENS {
            known.clear();
        }
        known.insert(name, (value, Instant::now() + lifetime));
    }
}

/// A parameter of a challenge: `key="value"`, several apart by commas.
fn parameter(text: &str, key: &str) -> Option<String> {
    let at = text.find(&format!("{key}=\""))? + key.len() + 2;
    Some(text[at..].split('"').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let text = r#"realm="https://a/t",service="s",scope="repository:x:pull,push""#;
        assert_eq!(parameter(text, "realm").as_deref(), Some("https://a/t"));
        assert_eq!(parameter(text, "scope").as_deref(), Some("repository:x:pull,push"));
        assert_eq!(parameter(text, "error"), None);
    }
}
