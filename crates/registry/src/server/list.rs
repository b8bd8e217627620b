//! Lists: repositories, tags, referrers.

use http::header::{CONTENT_TYPE, LINK};
use http::{Response, StatusCode};
use serde_json::json;
use spec::oci::image::media;

use super::body::{self, Body, header};
use super::config::Action;
use super::digest::Digest;
use super::manifest::Descriptor;
use super::refusal::{Code, Refusal};
use super::repository::{Link, Result, blob_key};
use super::route::{Name, parameter};
use super::{Caller, Registry};
use crate::client::encode;

/// Names in one answer when the client does not say how many.
const PAGE: usize = 1000;
/// Names in one answer at most.
const PAGE_LIMIT: usize = 10_000;
/// Descriptors in one answer.
const REFERRERS: usize = 1000;

pub(crate) async fn catalog(registry: &Registry, caller: &Caller, query: &str) -> Result<Response<Body>> {
    let page = Page::of(query, PAGE)?;
    let names = visible(registry, caller).await?;
    let (names, next) = page.cut(names.iter().map(|n| n.as_str().to_owned()));
    let response = body::json(StatusCode::OK, &json!({ "repositories": names }));
    Ok(page.linked(response, "/v2/_catalog", next))
}

/// The repositories that have something, and that the caller may pull from.
pub(super) async fn visible(registry: &Registry, caller: &Caller) -> Result<Vec<Name>> {
    let mut names = Vec::new();
    for name in registry.repositories.names().await? {
        let seen = matches!(caller.identity, super::access::Identity::Bearer { .. })
            || caller.may(&name, Action::Pull);
        if seen && registry.repositories.exists(&name).await? {
            names.push(name);
        }
    }
    Ok(names)
}

pub(crate) async fn tags(registry: &Registry, name: Name, query: &str) -> Result<Response<Body>> {
    let page = Page::of(query, PAGE_LIMIT)?;
    if !registry.repositories.exists(&name).await? {
        let text = format!("repository name not known to registry: {}", name.as_str());
        return Err(Refusal::new(Code::NameUnknown, text));
    }
    let tags = registry.repositories.tags(&name).await?;
    let (tags, next) = page.cut(tags.into_iter().map(|(tag, _)| tag));
    let response = body::json(StatusCode::OK, &json!({ "name": name.as_str(), "tags": tags }));
    Ok(page.linked(response, &format!("/v2/{}/tags/list", name.as_str()), next))
}

/// Which part of a sorted list is wanted.
#[derive(Debug)]
struct Page {
    after: String,
    limit: usize,
}

impl Page {
    fn of(query: &str, default: usize) -> Result<Self> {
        let odd = || Refusal::new(Code::PageInvalid, "n is not a number");
        let limit = match parameter(query, "n") {
            None => default,
            Some(n) => n.parse().map_err(|_| odd())?,
        };
        Ok(Self { after: parameter(query, "last").unwrap_or_default(), limit: limit.min(PAGE_LIMIT) })
    }

    /// The part, and the last of it when there are more.
    fn cut(&self, all: impl Iterator<Item = String>) -> (Vec<String>, Option<String>) {
        let mut part: Vec<String> =
            all.filter(|item| *item > self.after).take(self.limit.saturating_add(1)).collect();
        let more = part.len() > self.limit;
        part.truncate(self.limit);
        let next = if more { part.last().cloned() } else { None };
        (part, next)
    }

    fn linked(&self, mut response: Response<Body>, path: &str, next: Option<String>) -> Response<Body> {
        if let Some(last) = next {
            let link = format!("<{path}?last={last}&n={}>; rel=\"next\"", self.limit);
            response.headers_mut().insert(LINK, header(link));
        }
        response
    }
}

/// The manifests whose subject is this one, as an index.
pub(crate) async fn referrers(
    registry: &Registry,
    name: Name,
    subject: Digest,
    query: &str,
) -> Result<Response<Body>> {
    let repositories = &registry.repositories;
    let wanted = parameter(query, "artifactType").filter(|w| !w.is_empty());
    let after = parameter(query, "last").unwrap_or_default();
    let (mut manifests, mut next) = (Vec::new(), None);
    for digest in repositories.referrers(&name, &subject).await? {
        if digest.hex() <= after {
            continue;
        }
        let Some(media_type) = repositories.link(&name, Link::Manifest, &digest).await? else { continue };
        let Ok(contents) = repositories.contents(&digest).await else { continue };
        let Some(stat) = repositories.storage.stat(&blob_key(&digest)).await? else { continue };
        let artifact_type =
            contents.artifact_type.clone().or_else(|| contents.config.as_ref().map(|c| c.media_type.clone()));
        if wanted.is_some() && wanted != artifact_type {
            continue;
        }
        if manifests.len() == REFERRERS {
            next = manifests.last().map(|d: &Descriptor| d.digest.hex());
            break;
        }
        manifests.push(Descriptor {
            media_type,
            digest,
            size: stat.size,
            artifact_type,
            annotations: contents.annotations.clone(),
            urls: Vec::new(),
            platform: None,
        });
    }
    let index = json!({ "schemaVersion": 2, "mediaType": media::INDEX, "manifests": manifests });
    let mut response = body::json(StatusCode::OK, &index);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, header(media::INDEX));
    if let Some(last) = next {
        let path = format!("/v2/{}/referrers/{subject}", name.as_str());
        let filter = wanted.as_ref().map(|w| format!("&artifactType={}", encode(w))).unwrap_or_default();
        headers.insert(LINK, header(format!("<{path}?last={last}{filter}>; rel=\"next\"")));
    }
    if wanted.is_some() {
        headers.insert("oci-filters-applied", header("artifactType"));
    }
    Ok(response)
}
