//! Requests to the registry behind a cache, as a client of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use spec::Reference;
use spec::api::AuthConfig;
use spec::oci::image::media;

use crate::Error;
use crate::client::{Answer, Body, Client, Intent, Place, Session};
use crate::server::config::Proxy;
use crate::server::route::Name;

/// Docker Hub keeps official images in a repository that nobody names.
const HUB_NAMES: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
/// Repositories whose authorization is kept.
const SESSIONS: usize = 1000;

/// Why it did not give what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("it does not have it")]
    Absent,
    #[error("it does not let this cache see it")]
    Denied,
    #[error("it answered {0}")]
    Refused(StatusCode),
    #[error("{0}")]
    Unreachable(String),
}

pub(super) struct Upstream {
    client: Client,
    place: Place,
    hub: bool,
    auth: Option<AuthConfig>,
    /// By repository.
    sessions: Mutex<HashMap<String, Arc<Session>>>,
}

impl Upstream {
    pub(super) fn new(config: &Proxy, client: Client) -> Result<Self, String> {
        let password = match &config.password_file {
            Some(path) => {
                let bytes = sys::file::read(path).map_err(|e| format!("{}: {}", path.display(), e.source))?;
                String::from_utf8_lossy(&bytes).trim_end().to_owned()
            }
            None => String::new(),
        };
        let username = config.username.clone();
        let auth = AuthConfig { username, password, ..AuthConfig::default() };
        let place = Place { tls: Some(!config.insecure), ..Place::registry(&config.upstream) };
        Ok(Self {
            client,
            place,
            hub: HUB_NAMES.contains(&config.upstream.as_str()),
            auth: Some(auth).filter(|auth| !auth.username.is_empty()),
            sessions: Mutex::default(),
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
        let mut headers = HeaderMap::new();
        if manifest {
            let kinds = [media::INDEX, media::MANIFEST, media::DOCKER_LIST, media::DOCKER_MANIFEST];
            for kind in kinds {
                headers.append(ACCEPT, HeaderValue::from_static(kind));
            }
        }
        let session = self.session(name).await?;
        let answer = session.send(method, &session.url(rest), headers, Body::empty()).await.map_err(why)?;
        match answer.status {
            status if status.is_success() => Ok(answer),
            StatusCode::NOT_FOUND => Err(Failure::Absent),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::Denied),
            status => Err(Failure::Refused(status)),
        }
    }

    async fn session(&self, name: &Name) -> Result<Arc<Session>, Failure> {
        let path = match name.as_str() {
            name if self.hub && !name.contains('/') => format!("library/{name}"),
            name => name.to_owned(),
        };
        if let Some(session) = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).get(&path) {
            return Ok(Arc::clone(session));
        }
        let reference =
            Reference { domain: self.place.authority.clone(), path: path.clone(), tag: None, digest: None };
        let opened = Session::at(&self.client, &self.place, &reference, self.auth.as_ref(), Intent::Pull);
        let session = Arc::new(opened.await.map_err(why)?);
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= SESSIONS {
            sessions.clear();
        }
        sessions.insert(path, Arc::clone(&session));
        Ok(session)
    }
}

fn why(error: Error) -> Failure {
    match error {
        Error::Denied { .. } | Error::Unauthorized { .. } => Failure::Denied,
        error => Failure::Unreachable(error.at_host()),
    }
}
