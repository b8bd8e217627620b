//! `/volumes`.

use http::{Response, StatusCode};
use spec::Filters;

use super::{Call, empty, json, ok};
use crate::body::{self, Body};
use crate::error::Result;
use crate::router::Version;

pub(super) async fn list(call: &Call) -> Result<Response<Body>> {
    let filters = Filters::parse(call.query.get("filters"), &["dangling", "driver", "label", "name"])?;
    ok(&call.engine.volumes(&filters).await?)
}

pub(super) async fn create(call: Call) -> Result<Response<Body>> {
    let request = body::json(&call.headers, call.body).await?;
    Ok(json(StatusCode::CREATED, &call.engine.volume_create(request).await?))
}

pub(super) async fn inspect(call: &Call, name: &str) -> Result<Response<Body>> {
    ok(&call.engine.volume_inspect(name).await?)
}

pub(super) async fn remove(call: &Call, name: &str) -> Result<Response<Body>> {
    call.engine.volume_remove(name, call.query.bool("force")).await?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn prune(call: &Call) -> Result<Response<Body>> {
    let mut filters = Filters::parse(call.query.get("filters"), &["all", "label", "label!"])?;
    // Volumes with a name were pruned as well until 1.41.
    if call.version < Version(1, 42) {
        filters.add("all", "true");
    }
    ok(&call.engine.prune_volumes(&filters).await?)
}
