//! `/volumes`.

use std::collections::BTreeMap;

use http::{Response, StatusCode};
use spec::api::VolumeCreateRequest;
use spec::{ErrorKind, Filters};

use super::{Call, empty, json, ok, stream};
use crate::body::{self, Body};
use crate::error::{Error, Result};
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

/// In Docker's words.
pub(super) fn cluster_update() -> Result<Response<Body>> {
    let text = "volume update only valid for cluster volumes, but swarm is unavailable";
    Err(Error::new(ErrorKind::Unavailable, text.to_owned()))
}

// ---- Corten's own

pub(super) async fn update(call: Call, name: &str) -> Result<Response<Body>> {
    let changes = body::json(&call.headers, call.body).await?;
    ok(&call.engine.volume_update(name, changes).await?)
}

pub(super) async fn rename(call: &Call, name: &str) -> Result<Response<Body>> {
    call.engine.volume_rename(name, call.query.get("name")).await?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn copy(call: &Call, name: &str) -> Result<Response<Body>> {
    let copied = call.engine.volume_copy(name, call.query.get("name"), call.query.bool("force")).await?;
    Ok(json(StatusCode::CREATED, &copied))
}

pub(super) async fn export(call: Call, name: &str) -> Result<Response<Body>> {
    let tar = call.engine.volume_export(name, call.query.bool("force")).await?;
    stream("application/x-tar", Body::fallible(tar).until(call.peer.gone()))
}

/// The body is the tar; `name`, and `labels` and `driveropts` as JSON objects, say what the volume is.
pub(super) async fn import(call: Call) -> Result<Response<Body>> {
    let request = VolumeCreateRequest {
        name: call.query.get("name").to_owned(),
        labels: words(&call, "labels")?,
        driver_opts: words(&call, "driveropts")?,
        ..VolumeCreateRequest::default()
    };
    let (tar, fed) = body::reader(call.body);
    let (fed, imported) = tokio::join!(fed, call.engine.volume_import(request, tar));
    // What was refused is the reason; that it was not read to its end only follows.
    let imported = imported?;
    fed?;
    Ok(json(StatusCode::CREATED, &imported))
}

fn words(call: &Call, key: &str) -> Result<BTreeMap<String, String>> {
    match call.query.optional(key).filter(|text| !text.is_empty()) {
        None => Ok(BTreeMap::new()),
        Some(text) => serde_json::from_str(text).map_err(|error| {
            Error::invalid(format!("invalid {key}: expected an object of strings: {error}"))
        }),
    }
}
