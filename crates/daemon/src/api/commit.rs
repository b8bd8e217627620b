//! `/commit`, and the other two ways to a container's changes: `/containers/{id}/changes` and `/export`.

use engine::CommitOptions;
use http::{Response, StatusCode};
use serde_json::json;

use super::{Call, ok, stream};
use crate::body::{self, Body};
use crate::error::Result;

pub(super) async fn commit(call: Call) -> Result<Response<Body>> {
    let query = call.query;
    // The CLI sends one parameter per instruction; several lines in one are taken as well.
    let given = query.all("changes");
    let changes = given.iter().flat_map(|c| c.split('\n')).map(|c| c.trim().to_owned());
    let options = CommitOptions {
        repo: query.get("repo").to_owned(),
        tag: query.get("tag").to_owned(),
        comment: query.get("comment").to_owned(),
        author: query.get("author").to_owned(),
        pause: query.bool_or("pause", true),
        changes: changes.filter(|c| !c.is_empty()).collect(),
        config: body::json_or_none(&call.headers, call.body).await?,
    };
    let id = call.engine.commit(query.get("container"), options).await?;
    Ok(super::json(StatusCode::CREATED, &json!({ "Id": id.to_string() })))
}

pub(super) async fn changes(call: &Call, id: &str) -> Result<Response<Body>> {
    ok(&call.engine.changes(id).await?)
}

pub(super) async fn export(call: Call, id: &str) -> Result<Response<Body>> {
    let tar = call.engine.export(id).await?;
    stream("application/octet-stream", Body::fallible(tar).until(call.peer.gone()))
}
