//! `/containers/{id}/exec` and `/exec`.

use http::{Response, StatusCode};
use spec::api::{ExecConfig, ExecStart, IDResponse};

use super::{Call, empty, json, ok};
use crate::body::{self, Body};
use crate::error::{Error, Result};
use crate::router::Version;
use crate::server::Reply;

pub(super) async fn create(call: Call, id: &str) -> Result<Response<Body>> {
    let mut config: ExecConfig = body::json(&call.headers, call.body).await?;
    if config.cmd.is_empty() {
        return Err(Error::invalid("no exec command specified"));
    }
    if call.version < Version(1, 42) {
        config.console_size = None;
    }
    let id = call.engine.exec_create(id, config).await?;
    Ok(json(StatusCode::CREATED, &IDResponse { id }))
}

pub(super) async fn start(call: Call, id: &str) -> Result<Reply> {
    let connection = call.need_connection();
    let mut start: ExecStart = body::json(&call.headers, call.body).await?;
    if call.version < Version(1, 42) {
        start.console_size = None;
    }
    let detach = start.detach;
    if !detach {
        connection?;
    }
    let starting = call.engine.exec_start(id, start)?;
    if detach {
        starting.run().await?;
        return empty(StatusCode::OK).map(Reply::Response);
    }
    Ok(crate::stream::exec(&call.headers, call.version, starting))
}

pub(super) async fn resize(call: &Call, id: &str) -> Result<Response<Body>> {
    let (height, width) = super::container::size(call)?;
    call.engine.exec_resize(id, height, width).await?;
    empty(StatusCode::OK)
}

pub(super) async fn inspect(call: &Call, id: &str) -> Result<Response<Body>> {
    ok(&call.engine.exec_inspect(id).await?)
}
