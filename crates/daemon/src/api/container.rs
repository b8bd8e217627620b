//! `/containers`.

use bytes::Bytes;
use engine::engine::{AttachOptions, ListOptions, LogOptions, RemoveOptions, WaitCondition};
use http::{Response, StatusCode};
use hyper::body::Body as _;
use spec::Filters;
use spec::api::{ContainerConfig, ContainerCreateRequest};

use super::{Call, empty, json, ok, shaped, stream};
use crate::body::{self, Body, Task};
use crate::error::{Error, Result};
use crate::router::Version;
use crate::server::Reply;
use crate::{versions, ws};

/// Filters of the list.
const LIST_FILTERS: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
/// Filters of prune.
const PRUNE_FILTERS: &[&str] = &["label", "label!", "until"];

pub(super) async fn list(call: &Call) -> Result<Response<Body>> {
    let options = ListOptions {
        all: call.query.bool("all"),
        limit: call.query.number("limit")?.unwrap_or(-1),
        size: call.query.bool("size"),
        filters: Filters::parse(call.query.get("filters"), LIST_FILTERS)?,
    };
    shaped(call, &call.engine.container_lines(options).await?, versions::container_list)
}

pub(super) async fn create(call: Call) -> Result<Response<Body>> {
    let mut request: ContainerCreateRequest = body::required_json(&call.headers, call.body).await?;
    if request.config == ContainerConfig::default() {
        return Err(Error::invalid("config cannot be empty in order to create a container"));
    }
    let warning = versions::container_create(&mut request, call.version)?;
    let platform = call.query.optional("platform").filter(|_| call.version >= Version(1, 41));
    let mut created = call.engine.create(call.query.optional("name"), platform, request).await?;
    created.warnings.extend(warning);
    Ok(json(StatusCode::CREATED, &created))
}

pub(super) async fn inspect(call: &Call, id: &str) -> Result<Response<Body>> {
    shaped(call, &call.engine.inspect(id, call.query.bool("size")).await?, versions::container_inspect)
}

pub(super) async fn top(call: &Call, id: &str) -> Result<Response<Body>> {
    ok(&call.engine.top(id).await?)
}

pub(super) async fn start(call: &Call, id: &str) -> Result<Response<Body>> {
    // Old clients sent the host's half of the configuration here. `{}` and `null` say nothing.
    if call.body.size_hint().exact().is_none_or(|length| length > 7) {
        return Err(Error::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    call.engine.start(id).await?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn stop(call: &Call, id: &str) -> Result<Response<Body>> {
    call.engine.stop(id, stop_signal(call), call.query.number("t")?).await?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn restart(call: &Call, id: &str) -> Result<Response<Body>> {
    call.engine.restart(id, stop_signal(call), call.query.number("t")?).await?;
    empty(StatusCode::NO_CONTENT)
}

/// The signal to stop with, which clients before 1.42 could not choose.
fn stop_signal(call: &Call) -> Option<&str> {
    call.query.optional("signal").filter(|_| call.version >= Version(1, 42))
}

pub(super) async fn kill(call: &Call, id: &str) -> Result<Response<Body>> {
    call.engine.kill(id, call.query.optional("signal")).await?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn pause(call: &Call, id: &str) -> Result<Response<Body>> {
    call.engine.pause(id).await?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn unpause(call: &Call, id: &str) -> Result<Response<Body>> {
    call.engine.unpause(id).await?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn rename(call: &Call, id: &str) -> Result<Response<Body>> {
    call.engine.rename(id, call.query.get("name")).await?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn update(call: Call, id: &str) -> Result<Response<Body>> {
    let request = body::json(&call.headers, call.body).await?;
    ok(&call.engine.update(id, request).await?)
}

pub(super) async fn resize(call: &Call, id: &str) -> Result<Response<Body>> {
    let (height, width) = size(call)?;
    call.engine.resize(id, height, width).await?;
    empty(StatusCode::OK)
}

/// A terminal's size: `h` rows, `w` columns.
pub(super) fn size(call: &Call) -> Result<(u16, u16)> {
    let read = |key, name| -> Result<u16> {
        let text = call.query.get(key);
        text.parse()
            .map_err(|_| Error::invalid(format!("invalid resize {name} {text:?}: expected 0 to 65535")))
    };
    Ok((read("h", "height")?, read("w", "width")?))
}

pub(super) async fn remove(call: &Call, id: &str) -> Result<Response<Body>> {
    if call.query.bool("link") {
        call.engine.remove_link(id).await?;
        return empty(StatusCode::NO_CONTENT);
    }
    let options = RemoveOptions { force: call.query.bool("force"), volumes: call.query.bool("v") };
    call.engine.remove(id, options).await?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn prune(call: &Call) -> Result<Response<Body>> {
    let filters = Filters::parse(call.query.get("filters"), PRUNE_FILTERS)?;
    ok(&call.engine.prune_containers(&filters).await?)
}

/// The headers go out at once: the CLI sends this before it starts the container, and waits for them.
pub(super) fn wait(call: Call, id: &str) -> Result<Response<Body>> {
    let condition = match call.query.get("condition") {
        _ if call.version < Version(1, 30) => WaitCondition::NotRunning,
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => return Err(Error::invalid(format!("invalid condition: {other:?}"))),
    };
    let waiter = call.engine.wait(id, condition)?;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let task = Task::spawn(async move {
        let mut line = serde_json::to_vec(&waiter.done().await).expect("the answer is an object");
        line.push(b'\n');
        // The client may have gone.
        let _ = sender.send(Bytes::from(line)).await;
    });
    stream("application/json", Body::stream(receiver).until(call.peer.gone()).with_task(task))
}

pub(super) async fn logs(call: Call, id: &str) -> Result<Response<Body>> {
    let query = &call.query;
    let options = LogOptions {
        follow: query.bool("follow"),
        stdout: query.bool("stdout"),
        stderr: query.bool("stderr"),
        since: query.time("since")?.unwrap_or(0),
        until: query.time("until")?.unwrap_or(0),
        timestamps: query.bool("timestamps"),
        details: query.bool("details"),
        // What is not a number means all, as in Docker.
        tail: query.get("tail").parse().ok(),
    };
    if !options.stdout && !options.stderr {
        return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
    }
    let (chunks, tty) = call.engine.logs(id, options).await?;
    let content_type = crate::stream::content_type(tty, call.version);
    stream(content_type, Body::stream(chunks).until(call.peer.gone()))
}

pub(super) async fn attach(call: &Call, id: &str) -> Result<Reply> {
    call.need_connection()?;
    let attached = call.engine.attach(id, attach_options(call)).await?;
    Ok(crate::stream::takeover(&call.headers, call.version, attached))
}

pub(super) async fn attach_socket(call: &Call, id: &str) -> Result<Reply> {
    call.need_connection()?;
    let key = ws::key(&call.headers)?;
    let mut options = attach_options(call);
    if call.version < Version(1, 42) {
        (options.stdin, options.stdout, options.stderr) = (true, true, true);
    }
    let attached = call.engine.attach(id, options).await?;
    Ok(ws::takeover(&key, &call.headers, attached))
}

fn attach_options(call: &Call) -> AttachOptions {
    let query = &call.query;
    AttachOptions {
        logs: query.bool("logs"),
        stream: query.bool("stream"),
        stdin: query.bool("stdin"),
        stdout: query.bool("stdout"),
        stderr: query.bool("stderr"),
        detach_keys: query.get("detachKeys").to_owned(),
    }
}
