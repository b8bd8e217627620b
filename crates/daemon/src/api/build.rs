//! `/build`.

use std::collections::BTreeMap;

use http::Response;
use serde_json::json;

use super::progress::progress;
use super::system::registry_auths;
use super::{Call, blocking, ok};
use crate::body::Body;
use crate::context;
use crate::error::{Error, Result};
use crate::query::Query;

/// Builds from the context in the body.
pub(super) async fn build(call: Call) -> Result<Response<Body>> {
    if call.query.get("version") == "2" {
        return Err(Error::not_implemented(
            "BuildKit (version=2; set DOCKER_BUILDKIT=0 for the classic builder)",
        ));
    }
    if let Some(remote) = call.query.optional("remote") {
        return Err(Error::not_implemented(&format!("a build context from elsewhere ({remote})")));
    }
    let mut request = request(&call.query)?;
    request.auths = registry_auths(&call.headers);
    let context = context::receive(call.body, &call.services.scratch).await?;
    request.context = context.path().to_owned();
    let host = call.services.builder.clone();
    progress(call.peer, move |lines| async move {
        // Removed when the build ends or is cancelled.
        let _context = context;
        builder::build(&host, request, lines).await?;
        Ok(())
    })
    .await
}

/// What to build, but for its context.
fn request(query: &Query) -> Result<builder::Request> {
    let dockerfile = query.optional("dockerfile").unwrap_or("Dockerfile").to_owned();
    let network = query.optional("networkmode").unwrap_or("default").to_owned();
    Ok(builder::Request {
        context: Default::default(),
        auths: BTreeMap::new(),
        dockerfile,
        tags: query.all("t").into_iter().filter(|t| !t.is_empty()).collect(),
        args: map(query, "buildargs")?,
        labels: map::<Option<String>>(query, "labels")?
            .into_iter()
            .map(|(k, v)| (k, v.unwrap_or_default()))
            .collect(),
        target: query.get("target").to_owned(),
        no_cache: query.bool("nocache"),
        pull: query.bool("pull"),
        network,
        quiet: query.bool("q"),
        platform: query.get("platform").to_owned(),
        extra_hosts: query.all("extrahosts").into_iter().filter(|h| !h.is_empty()).collect(),
    })
}

/// A parameter that is a JSON object.
fn map<V: serde::de::DeserializeOwned>(query: &Query, key: &str) -> Result<BTreeMap<String, V>> {
    let Some(text) = query.optional(key) else { return Ok(BTreeMap::new()) };
    let map: Option<_> = serde_json::from_str(text).map_err(|e| {
        Error::invalid(format!("error reading {key}: {e}: expected a JSON object of strings"))
    })?;
    Ok(map.unwrap_or_default())
}

/// Forgets the cache, then frees what only it held.
pub(super) async fn prune(call: &Call) -> Result<Response<Body>> {
    let host = call.services.builder.clone();
    let forgotten = blocking(move || Ok(builder::prune(&host)?)).await?;
    let freed = call.collect().await?;
    tracing::info!(forgotten, freed, "build cache pruned");
    ok(&json!({ "CachesDeleted": [], "SpaceReclaimed": freed }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_a_request() {
        let query = Query::parse(
            "t=a%3A1&t=b&buildargs=%7B%22x%22%3A%221%22%2C%22y%22%3Anull%7D&labels=null&nocache=1&q=0&target=s&\
             extrahosts=h%3A1.2.3.4",
        );
        let request = request(&query).unwrap();
        assert_eq!(request.tags, ["a:1", "b"]);
        assert_eq!(request.args["x"].as_deref(), Some("1"));
        assert_eq!(request.args["y"], None);
        assert!(request.labels.is_empty() && request.no_cache && !request.quiet);
        assert_eq!((request.dockerfile.as_str(), request.network.as_str()), ("Dockerfile", "default"));
        assert_eq!(request.extra_hosts, ["h:1.2.3.4"]);
        assert!(super::request(&Query::parse("buildargs=%5B%5D")).is_err());
    }
}
