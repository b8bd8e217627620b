//! A request, from its head to its verb: who asks, what for, whether they may.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use http::header::{HOST, USER_AGENT, WARNING, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};

use super::access::Identity;
use super::body::{self, Body, Sent};
use super::config::Action;
use super::refusal::{Code, Refusal};
use super::route::{self, Name, Route};
use super::{Caller, Peer, Registry, blob, list, manifest, page, sign_in, upload};

impl Registry {
    pub(super) async fn handle(this: &Arc<Self>, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
        let begun = Instant::now();
        this.metrics.in_flight.fetch_add(1, Relaxed);
        let (head, body) = request.into_parts();
        let (method, path) = (head.method.clone(), head.uri.path().to_owned());
        let mut sent = Sent::new(body, &head.headers);
        let (kind, mut response) = this.answer(peer, &head, &mut sent).await;
        sent.let_go();
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

    async fn answer(&self, peer: &Peer, head: &Parts, sent: &mut Sent) -> (&'static str, Response<Body>) {
        let access = Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner));
        let mut caller = Caller {
            identity: Identity::Anonymous,
            access,
            address: peer.address,
            local: peer.local,
            method: head.method.clone(),
            agent: header_text(&head.headers, USER_AGENT),
            origin: self.origin(&head.headers, peer),
        };
        let path = head.uri.path().to_owned();
        let query = head.uri.query().unwrap_or_default();
        if path == "/token" {
            return ("token", sign_in::answer(&caller, head, sent).await);
        }
        let people = self.config.page && (path == "/" || path.starts_with("/repositories/"));
        let routed = (!people).then(|| route::route(&head.method, &path));
        let (kind, scope) = match &routed {
            None => ("page", None),
            Some(Ok(route)) => (route.kind(), route.scope()),
            Some(Err(_)) => ("refused", None),
        };
        let identified = caller.access.identify(&head.headers).await;
        let insufficient = matches!(identified, Ok(Identity::Bearer { .. }));
        let outcome = match (identified, routed) {
            (Err(refusal), _) | (Ok(_), Some(Err(refusal))) => Err(refusal),
            (Ok(identity), routed) => {
                caller.identity = identity;
                match routed.and_then(Result::ok) {
                    None => page::get(self, &caller, &path, query).await,
                    Some(route) => self.act(&caller, route, query, &head.headers, sent).await,
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
        sent: &mut Sent,
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
            Route::ManifestPut(name, key) => manifest::put(self, caller, name, key, headers, sent).await,
            Route::ManifestDelete(name, key) => manifest::delete(self, caller, name, key).await,
            Route::UploadBegin(name) => upload::begin(self, caller, name, query, sent).await,
            Route::UploadStatus(name, id) => upload::status(self, name, id).await,
            Route::UploadPatch(name, id) => upload::patch(self, name, id, headers, sent).await,
            Route::UploadPut(name, id) => upload::put(self, caller, name, id, query, headers, sent).await,
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
