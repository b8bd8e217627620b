//! `/containers/{id}/exec` and `/exec`.

use http::{Response, StatusCode};
use spec::ErrorKind;
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
    let mut start: ExecStart = body::json_or_none(&call.headers, call.body).await?.unwrap_or_default();
    if call.version < Version(1, 42) {
        start.console_size = None;
    }
    let (detach, tty) = (start.detach, start.tty);
    if !detach {
        connection?;
    }
    match call.engine.exec_start(id, start).await.map_err(Error::from) {
        Ok(Some(attached)) => Ok(crate::stream::takeover(&call.headers, call.version, attached)),
        Ok(None) => empty(StatusCode::OK).map(Reply::Response),
        // There is such an exec and it may be started, but its program cannot: clients that are attached read that in
        // the stream, and the exit code in the exec.
        Err(error) if !detach && !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => {
            Ok(crate::stream::message(&call.headers, call.version, tty, error.message()))
        }
        Err(error) => Err(error),
    }
}

pub(super) async fn resize(call: &Call, id: &str) -> Result<Response<Body>> {
    let (height, width) = super::container::size(call)?;
    call.engine.exec_resize(id, height, width).await?;
    empty(StatusCode::OK)
}

pub(super) async fn inspect(call: &Call, id: &str) -> Result<Response<Body>> {
    ok(&call.engine.exec_inspect(id).await?)
}
