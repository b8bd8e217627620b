//! `/networks`.

use http::{Response, StatusCode};
use spec::Filters;
use spec::api::NetworkCreateRequest;

use super::{Call, empty, json, ok, shaped};
use crate::body::{self, Body};
use crate::error::Result;
use crate::router::Version;
use crate::versions;

pub(super) async fn list(call: &Call) -> Result<Response<Body>> {
    let known = ["dangling", "driver", "id", "label", "name", "scope", "type"];
    let filters = Filters::parse(call.query.get("filters"), &known)?;
    ok(&call.engine.network_list(&filters).await?)
}

pub(super) async fn create(call: Call) -> Result<Response<Body>> {
    let mut request: NetworkCreateRequest = body::json(&call.headers, call.body).await?;
    if call.version < Version(1, 48) {
        request.enable_ipv4 = None;
    }
    Ok(json(StatusCode::CREATED, &call.engine.network_create(request).await?))
}

pub(super) async fn inspect(call: &Call, id: &str) -> Result<Response<Body>> {
    shaped(call, &call.engine.network_inspect(id).await?, versions::network_inspect)
}

pub(super) async fn remove(call: &Call, id: &str) -> Result<Response<Body>> {
    call.engine.network_remove(id).await?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn connect(call: Call, id: &str) -> Result<Response<Body>> {
    let request = body::json(&call.headers, call.body).await?;
    call.engine.network_connect(id, request).await?;
    empty(StatusCode::OK)
}

pub(super) async fn disconnect(call: Call, id: &str) -> Result<Response<Body>> {
    let request = body::json(&call.headers, call.body).await?;
    call.engine.network_disconnect(id, request).await?;
    empty(StatusCode::OK)
}

pub(super) async fn prune(call: &Call) -> Result<Response<Body>> {
    let filters = Filters::parse(call.query.get("filters"), &["label", "label!", "until"])?;
    ok(&call.engine.prune_networks(&filters).await?)
}
