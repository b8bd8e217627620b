//! Lists: repositories, tags, referrers.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, LINK};
use http::{Response, StatusCode};
use serde_json::json;
use spec::Digest;
use spec::oci::image::{Descriptor, Index, media};

use super::blob::blocking;
use super::body::{self, Body, header};
use super::manifest::Contents;
use super::refusal::{Code, Refusal};
use super::repository::{Link, Repositories};
use super::route::{Name, parameter};

type Result<T> = std::result::Result<T, Refusal>;

pub(crate) async fn catalog(repositories: Arc<Repositories>, query: &str) -> Result<Response<Body>> {
    let page = Page::of(query)?;
    blocking(move || {
        let names = repositories.names()?.into_iter().filter(|n| repositories.exists(n));
        let (names, next) = page.cut(names.map(|n| n.as_str().to_owned()).collect());
        let response = body::json(StatusCode::OK, &json!({ "repositories": names }));
        Ok(page.linked(response, "/v2/_catalog", next))
    })
    .await
}

pub(crate) async fn tags(repositories: Arc<Repositories>, name: Name, query: &str) -> Result<Response<Body>> {
    let page = Page::of(query)?;
    blocking(move || {
        if !repositories.exists(&name) {
            let text = format!("repository name not known to registry: {}", name.as_str());
            return Err(Refusal::new(Code::NameUnknown, text));
        }
        let (tags, next) = page.cut(repositories.tags(&name)?);
        let response = body::json(StatusCode::OK, &json!({ "name": name.as_str(), "tags": tags }));
        Ok(page.linked(response, &format!("/v2/{}/tags/list", name.as_str()), next))
    })
    .await
}

/// Which part of a sorted list is wanted.
#[derive(Debug)]
struct Page {
    after: String,
    limit: Option<usize>,
}

impl Page {
    fn of(query: &str) -> Result<Self> {
        let limit = match parameter(query, "n") {
            None => None,
            Some(n) => Some(n.parse().map_err(|_| Refusal::new(Code::Unsupported, "n is not a number"))?),
        };
        Ok(Self { after: parameter(query, "last").unwrap_or_default(), limit })
    }

    /// The part, and the last of it when there are more.
    fn cut(&self, all: Vec<String>) -> (Vec<String>, Option<String>) {
        let mut part: Vec<String> = all.into_iter().filter(|item| *item > self.after).collect();
        match self.limit {
            Some(limit) if limit < part.len() => {
                part.truncate(limit);
                let last = part.last().cloned();
                (part, last)
            }
            Some(_) | None => (part, None),
        }
    }

    fn linked(&self, mut response: Response<Body>, path: &str, next: Option<String>) -> Response<Body> {
        if let (Some(last), Some(limit)) = (next, self.limit) {
            let link = format!("<{path}?last={last}&n={limit}>; rel=\"next\"");
            response.headers_mut().insert(LINK, header(link));
        }
        response
    }
}

/// The manifests whose subject is this one, as an index.
pub(crate) async fn referrers(
    repositories: Arc<Repositories>,
    name: Name,
    subject: Digest,
    query: &str,
) -> Result<Response<Body>> {
    let wanted = parameter(query, "artifactType");
    blocking(move || {
        let mut manifests = Vec::new();
        for digest in repositories.referrers(&name, &subject)? {
            let Some(media_type) = repositories.link(&name, Link::Manifest, &digest)? else { continue };
            let bytes = repositories.store().blob_bytes(&digest)?;
            let Ok(contents) = serde_json::from_slice::<Contents>(&bytes) else { continue };
            let mut descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
            descriptor.artifact_type = contents.artifact_type.or(contents.config.map(|c| c.media_type));
            descriptor.annotations = contents.annotations;
            if wanted.is_none() || wanted == descriptor.artifact_type {
                manifests.push(descriptor);
            }
        }
        let index = Index {
            schema_version: 2,
            media_type: media::INDEX.to_owned(),
            manifests,
            annotations: Default::default(),
        };
        let mut response = body::json(StatusCode::OK, &index);
        response.headers_mut().insert(CONTENT_TYPE, header(media::INDEX));
        if wanted.is_some() {
            response.headers_mut().insert("oci-filters-applied", header("artifactType"));
        }
        Ok(response)
    })
    .await
}
