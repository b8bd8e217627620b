//! A registry's search, version 1: Docker Hub's, and that of those that copy it.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;
use spec::api::{AuthConfig, SearchResult};

use super::hosts::Place;
use super::message::Body;
use super::{Client, challenge, session::Session};
use crate::Error;

/// Who searches Docker Hub.
const HUB: &str = "index.docker.io";
/// The largest answer that is read.
const LIMIT: usize = 4 << 20;

pub(crate) async fn search(
    client: &Client,
    term: &str,
    limit: u32,
    auth: Option<&AuthConfig>,
) -> Result<Vec<SearchResult>, Error> {
    #[derive(Deserialize)]
    #[serde(default)]
    #[derive(Default)]
    struct Found {
        results: Vec<SearchResult>,
    }
    let (registry, term) = match term.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (HUB, term),
    };
    // The hub's registry and its search are different hosts.
    let place = Place { authority: registry.to_owned(), ..Place::registry(registry) };
    let base = client.transport.place(&place).await?;
    let term = term.strip_prefix("library/").unwrap_or(term);
    let url = base.at(format!("/v1/search?q={}&n={limit}", challenge::encode(term)));
    let mut headers = HeaderMap::new();
    let basic = auth.and_then(challenge::basic).and_then(|basic| HeaderValue::from_str(&basic).ok());
    if let Some(mut basic) = basic {
        basic.set_sensitive(true);
        headers.insert(AUTHORIZATION, basic);
    }
    headers.insert("x-docker-token", HeaderValue::from_static("true"));
    let answer = client.transport.send(Method::GET, &url, headers, Body::empty()).await?;
    if !answer.status.is_success() {
        let session =
            Session::with_registry(client, registry, auth.unwrap_or(&AuthConfig::default())).await?;
        return Err(session.failure(answer).await);
    }
    let found = serde_json::from_slice::<Found>(&answer.bytes(LIMIT).await?);
    found.map(|found| found.results).map_err(|e| Error::Protocol {
        host: registry.to_owned(),
        detail: format!("its search's answer: {e}"),
    })
}
