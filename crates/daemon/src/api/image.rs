//! `/images` and `/distribution`.

use http::{Response, StatusCode};
use spec::api::{DistributionInspect, Platform, Progress};
use spec::{Filters, Reference};

use super::progress::progress;
use super::system::registry_auth;
use super::{Call, empty, ok, shaped, stream};
use crate::body::{self, Body};
use crate::error::{Error, Result};
use crate::versions;

const LIST_FILTERS: &[&str] = &["before", "dangling", "label", "label!", "reference", "since", "until"];
const SEARCH_FILTERS: &[&str] = &["is-automated", "is-official", "stars"];
const PRUNE_FILTERS: &[&str] = &["dangling", "label", "label!", "until"];

pub(super) async fn list(call: &Call) -> Result<Response<Body>> {
    let filters = Filters::parse(call.query.get("filters"), LIST_FILTERS)?;
    shaped(call, &call.engine.images(call.query.bool("all"), &filters).await?, versions::image_list)
}

pub(super) async fn inspect(call: &Call, name: &str) -> Result<Response<Body>> {
    shaped(call, &call.engine.image_inspect(name).await?, versions::image_inspect)
}

pub(super) async fn history(call: &Call, name: &str) -> Result<Response<Body>> {
    ok(&call.engine.image_history(name).await?)
}

pub(super) async fn tag(call: &Call, name: &str) -> Result<Response<Body>> {
    call.engine.image_tag(name, call.query.get("repo"), call.query.get("tag")).await?;
    empty(StatusCode::CREATED)
}

pub(super) async fn remove(call: &Call, name: &str) -> Result<Response<Body>> {
    let removed = call.engine.image_remove(name, call.query.bool("force")).await?;
    // The build cache's roots are known here, not to the engine: the sweep is done from here.
    if removed.iter().any(|item| !item.deleted.is_empty()) {
        call.collect().await?;
    }
    ok(&removed)
}

pub(super) async fn prune(call: &Call) -> Result<Response<Body>> {
    let filters = Filters::parse(call.query.get("filters"), PRUNE_FILTERS)?;
    let mut pruned = call.engine.prune_images(&filters).await?;
    pruned.space_reclaimed += call.collect().await?.cast_signed();
    ok(&pruned)
}

/// `POST /images/create`: a pull, or an import from the body.
pub(super) async fn create(call: Call) -> Result<Response<Body>> {
    match (call.query.optional("fromImage"), call.query.optional("fromSrc")) {
        (Some(image), None) => {
            let reference = with_tag(image, call.query.get("tag"));
            pull(call, reference).await
        }
        (None, Some("-")) => import(call).await,
        (None, Some(_)) => Err(Error::not_implemented("importing from a URL")),
        (None, None) => Err(Error::invalid("one of fromImage and fromSrc must be given")),
        (Some(_), Some(_)) => Err(Error::invalid("only one of fromImage and fromSrc may be given")),
    }
}

/// `tag` may be a digest, and the name may carry its own.
fn with_tag(image: &str, tag: &str) -> String {
    match tag {
        "" => image.to_owned(),
        digest if digest.contains(':') => format!("{image}@{digest}"),
        tag => format!("{image}:{tag}"),
    }
}

async fn pull(call: Call, reference: String) -> Result<Response<Body>> {
    let auth = registry_auth(&call.headers);
    let platform = call.query.optional("platform").map(str::to_owned);
    let engine = call.engine;
    progress(call.peer, move |lines| async move {
        Ok(engine.pull(&reference, platform.as_deref(), auth, lines).await?)
    })
    .await
}

async fn import(call: Call) -> Result<Response<Body>> {
    let query = call.query;
    let tar = body::to_file(call.body, &call.services.scratch).await?;
    let engine = call.engine;
    progress(call.peer, move |lines| async move {
        let changes = query.all("changes");
        let (repo, tag) = (query.get("repo"), query.get("tag"));
        let id = engine.import(tar, repo, tag, &changes, query.get("message")).await?;
        // A client that has gone ends the stream by itself.
        let _ = lines.send(Progress::status(id.to_string())).await;
        Ok(())
    })
    .await
}

pub(super) async fn push(call: Call, name: String) -> Result<Response<Body>> {
    let auth = registry_auth(&call.headers);
    let tag = call.query.get("tag").to_owned();
    let platform = match call.query.optional("platform") {
        None => None,
        Some(text) => Some(spec::gojson::from_slice::<Platform>(text.as_bytes()).map_err(|e| {
            Error::invalid(format!(
                "failed to parse platform: {e}: it is a JSON object with os and architecture"
            ))
        })?),
    };
    let engine = call.engine;
    progress(call.peer, move |lines| async move {
        Ok(engine.push(&name, &tag, platform.as_ref(), auth, lines).await?)
    })
    .await
}

pub(super) async fn search(call: &Call) -> Result<Response<Body>> {
    let filters = Filters::parse(call.query.get("filters"), SEARCH_FILTERS)?;
    let limit = call.query.number("limit")?.unwrap_or(0);
    ok(&call.engine.search(call.query.get("term"), limit, &filters, registry_auth(&call.headers)).await?)
}

pub(super) async fn load(call: Call) -> Result<Response<Body>> {
    let tar = body::to_file(call.body, &call.services.scratch).await?;
    let engine = call.engine;
    progress(call.peer, move |lines| async move {
        for line in engine.load(tar).await? {
            // As above.
            let _ = lines.send(Progress::stream(format!("{line}\n"))).await;
        }
        Ok(())
    })
    .await
}

pub(super) async fn get(call: Call, name: String) -> Result<Response<Body>> {
    archive(call, vec![name]).await
}

pub(super) async fn save(call: Call) -> Result<Response<Body>> {
    let names = call.query.all("names");
    if names.is_empty() {
        return Err(Error::invalid("no image names given: names=… is missing"));
    }
    archive(call, names).await
}

async fn archive(call: Call, names: Vec<String>) -> Result<Response<Body>> {
    let chunks = call.engine.save(names).await?;
    stream("application/x-tar", Body::fallible(chunks).until(call.peer.gone()))
}

pub(super) async fn distribution(call: &Call, name: &str) -> Result<Response<Body>> {
    let reference: Reference = name.parse().map_err(|e| Error::invalid(format!("{name}: {e}")))?;
    let auth = registry_auth(&call.headers);
    let (descriptor, platforms) =
        call.engine.registry().inspect(&reference.or_latest(), auth.as_ref()).await?;
    ok(&DistributionInspect { descriptor: Some(descriptor), platforms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_may_be_a_digest() {
        assert_eq!(with_tag("a/b", "1"), "a/b:1");
        assert_eq!(with_tag("a/b:2", ""), "a/b:2");
        assert_eq!(with_tag("a/b", "sha256:00"), "a/b@sha256:00");
    }
}
