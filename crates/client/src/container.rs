//! `/containers`: one method per endpoint.

use std::os::fd::OwnedFd;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Response;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use spec::Filters;
use spec::api::{
    CONTENT_HEADER, ContainerCreateRequest, ContainerCreateResponse, ContainerInspectResponse,
    ContainerStatsResponse, ContainerSummary, ContainerTopResponse, ContainerUpdateRequest,
    ContainerUpdateResponse, ContainerWaitResponse, ContainersPruneResponse, ContentPlace, FilesystemChange,
    PathStat,
};

use crate::connection::Call;
use crate::query::{Query, segment};
use crate::{Body, Client, Error, Hijacked, JsonLines, Result, Upload};

/// Which streams an attach carries.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Send input.
    pub stdin: bool,
    /// Receive stdout.
    pub stdout: bool,
    /// Receive stderr.
    pub stderr: bool,
    /// What has been written before, first.
    pub logs: bool,
    /// The keys that detach; empty for the engine's.
    pub detach_keys: String,
}

/// Which part of a log to read.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Go on as more is written.
    pub follow: bool,
    /// Seconds since 1970, with a fraction; empty for the beginning.
    pub since: String,
    /// The same; empty for the end.
    pub until: String,
    /// A time in front of each line.
    pub timestamps: bool,
    /// The log driver's attributes in front of each line.
    pub details: bool,
    /// This many lines from the end, or `all`.
    pub tail: String,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCondition {
    /// Not running, now or later.
    NotRunning,
    /// The next exit, even if it is not running now.
    NextExit,
    /// Removed.
    Removed,
}

/// A wait that the engine has registered, and that has not come to its end.
#[derive(Debug)]
pub struct Waiting(Body);

impl Waiting {
    /// The exit.
    ///
    /// # Errors
    /// The connection broke before the container ended.
    pub async fn finish(self) -> Result<ContainerWaitResponse> {
        let bytes = self.0.bytes().await?;
        spec::gojson::from_slice(&bytes)
            .map_err(|source| Error::Decode { request: "POST /containers/wait".into(), source })
    }
}

fn archive_put(id: &str, at: &str, owners: bool, tar: Upload) -> Call {
    let query = Query::new().with("path", at).with("noOverwriteDirNonDir", "true");
    let query = query.with("copyUIDGID", if owners { "true" } else { "" });
    Call::put(path(id, "archive")).query(query).upload(tar, "application/x-tar")
}

impl Client {
    /// `GET /containers/json`.
    ///
    /// # Errors
    /// As every call: see [`Error`].
    pub async fn container_list(
        &self,
        all: bool,
        limit: Option<i64>,
        size: bool,
        filters: &Filters,
    ) -> Result<Vec<ContainerSummary>> {
        self.container_list_map(all, limit, size, filters, |container: ContainerSummary| container).await
    }

    /// `GET /containers/json`, of which `T` has what is wanted, with each container turned into something smaller as soon as
    /// it is read: there may be thousands. `each` may begin again with the first.
    ///
    /// # Errors
    /// As every call: see [`Error`].
    pub async fn container_list_map<T: DeserializeOwned, R>(
        &self,
        all: bool,
        limit: Option<i64>,
        size: bool,
        filters: &Filters,
        each: impl FnMut(T) -> R,
    ) -> Result<Vec<R>> {
        let query = Query::new()
            .flag("all", all)
            .number("limit", limit)
            .flag("size", size)
            .with("filters", &filters.to_param());
        self.map_list(Call::get("/containers/json").query(query), each).await
    }

    /// `POST /containers/create`.
    ///
    /// # Errors
    /// As every call; 404 when the image is not there.
    pub async fn container_create(
        &self,
        name: &str,
        platform: &str,
        request: &ContainerCreateRequest,
    ) -> Result<ContainerCreateResponse> {
        let query = Query::new().with("name", name).with("platform", platform);
        self.read(Call::post("/containers/create").query(query).json(request)).await
    }

    /// `GET /containers/{id}/json`.
    ///
    /// # Errors
    /// As every call.
    pub async fn container_inspect(&self, id: &str) -> Result<ContainerInspectResponse> {
        self.read(Call::get(path(id, "json"))).await
    }

    /// `GET /containers/{id}/json`, as the engine wrote it.
    ///
    /// # Errors
    /// As every call.
    pub async fn container_inspect_raw(&self, id: &str, size: bool) -> Result<Bytes> {
        self.raw(Call::get(path(id, "json")).query(Query::new().flag("size", size))).await
    }

    /// `POST /containers/{id}/start`.
    ///
    /// # Errors
    /// As every call.
    pub async fn container_start(&self, id: &str) -> Result<()> {
        self.done(Call::post(path(id, "start"))).await
    }

    /// `POST /containers/{id}/stop`.
    ///
    /// # Errors
    /// As every call.
    pub async fn container_stop(&self, id: &str, signal: &str, timeout: Option<i64>) -> Result<()> {
        let query = Query::new().with("signal", signal).number("t", timeout);
        self.done(Call::post(path(id, "stop")).query(query)).await
    }

    /// `POST /containers/{id}/restart`.
    ///
    /// # Errors
    /// As every call.
    pub async fn container_restart(&self, id: &str, signal: &str, timeout: Option<i64>) -> Result<()> {
        let query = Query::new().with("signal", signal).number("t", timeout);
        self.done(Call::post(path(id, "restart")).query(query)).await
    }

    /// `POST /containers/{id}/kill`.
    ///
    /// # Errors
    /// As every call; 409 when it is not running.
    pub async fn container_kill(&self, id: &str, signal: &str) -> Result<()> {
        self.done(Call::post(path(id, "kill")).query(Query::new().with("signal", signal))).await
    }

    /// `DELETE /containers/{id}`.
    ///
    /// # Errors
    /// As every call; 409 when it is running and `force` is not set.
    pub async fn container_remove(&self, id: &str, volumes: bool, link: bool, force: bool) -> Result<()> {
        let query = Query::new().flag("v", volumes).flag("link", link).flag("force", force);
        self.done(Call::delete(format!("/containers/{}", segment(id))).query(query)).await
    }

    /// `POST /containers/{id}/pause`.
    ///
    /// # Errors
    /// As every call.
    pub async fn container_pause(&self, id: &str) -> Result<()> {
        self.done(Call::post(path(id, "pause"))).await
    }

    /// `POST /containers/{id}/unpause`.
    ///
    /// # Errors
    /// As every call.
    pub async fn container_unpause(&self, id: &str) -> Result<()> {
        self.done(Call::post(path(id, "unpause"))).await
    }

    /// `POST /containers/{id}/wait`. Returns when the engine has registered the wait, so that a start sent
    /// afterwards cannot be missed.
    ///
    /// # Errors
    /// As every call.
    pub async fn container_wait(&self, id: &str, condition: WaitCondition) -> Result<Waiting> {
        let condition = match condition {
            WaitCondition::NotRunning => "not-running",
            WaitCondition::NextExit => "next-exit",
            WaitCondition::Removed => "removed",
        };
        let call = Call::post(path(id, "wait")).query(Query::new().with("condition", condition));
        Ok(Waiting(Body(self.send(call).await?.into_body())))
    }

    /// `POST /containers/{id}/attach`.
    ///
    /// # Errors
    /// As every call.
    pub async fn container_attach(&self, id: &str, options: &AttachOptions) -> Result<Hijacked> {
        let query = Query::new()
            .flag("stream", true)
            .flag("stdin", options.stdin)
            .flag("stdout", options.stdout)
            .flag("stderr", options.stderr)
            .flag("logs", options.logs)
            .with("detachKeys", &options.detach_keys);
        self.hijack(Call::post(path(id, "attach")).query(query)).await
    }

    /// `POST /containers/{id}/resize`.
    ///
    /// # Errors
    /// As every call.
    pub async fn container_resize(&self, id: &str, height: u16, width: u16) -> Result<()> {
        let query = Query::new().number("h", Some(height.into())).number("w", Some(width.into()));
        self.done(Call::post(path(id, "resize")).query(query)).await
    }

    /// `GET /containers/{id}/logs`.
    ///
    /// # Errors
    /// As every call.
    pub async fn container_logs(&self, id: &str, options: &LogOptions) -> Result<Body> {
        let query = Query::new()
            .flag("stdout", true)
            .flag("stderr", true)
            .flag("follow", options.follow)
            .with("since", &options.since)
            .with("until", &options.until)
            .flag("timestamps", options.timestamps)
            .flag("details", options.details)
            .with("tail", &options.tail);
        Ok(Body(self.send(Call::get(path(id, "logs")).query(query)).await?.into_body()))
    }

    /// `GET /containers/{id}/top`.
    ///
    /// # Errors
    /// As every call.
    pub async fn container_top(&self, id: &str, ps_args: &str) -> Result<ContainerTopResponse> {
        self.read(Call::get(path(id, "top")).query(Query::new().with("ps_args", ps_args))).await
    }

    /// `GET /containers/{id}/changes`.
    ///
    /// # Errors
    /// As every call.
    pub async fn container_changes(&self, id: &str) -> Result<Vec<FilesystemChange>> {
        self.list(Call::get(path(id, "changes"))).await
    }

    /// `GET /containers/{id}/export`: a tar of the root file system.
    ///
    /// # Errors
    /// As every call.
    pub async fn container_export(&self, id: &str) -> Result<Body> {
        Ok(Body(self.send(Call::get(path(id, "export"))).await?.into_body()))
    }

    /// `HEAD /containers/{id}/archive`: what is at a path. A link is not followed.
    ///
    /// # Errors
    /// As every call; 404 when nothing is there.
    pub async fn container_archive_stat(&self, id: &str, at: &str) -> Result<PathStat> {
        // A refusal of the version has no words here to learn the right one from.
        self.negotiate().await?;
        let call = Call::head(path(id, "archive")).query(Query::new().with("path", at));
        path_stat(&self.send(call).await?)
    }

    /// `GET /containers/{id}/archive`: what is at a path, and a tar of it.
    ///
    /// # Errors
    /// As every call; 404 when nothing is there.
    pub async fn container_archive_get(&self, id: &str, at: &str) -> Result<(PathStat, Body)> {
        let call = Call::get(path(id, "archive")).query(Query::new().with("path", at));
        let response = self.send(call).await?;
        Ok((path_stat(&response)?, Body(response.into_body())))
    }

    /// `PUT /containers/{id}/archive`: unpacks a tar in a directory. Files and directories do not replace each
    /// other. `owners` keeps the tar's.
    ///
    /// # Errors
    /// As every call; 400 when it is no directory, 403 when it is read-only, 404 when it is not there.
    pub async fn container_archive_put(&self, id: &str, at: &str, owners: bool, tar: Upload) -> Result<()> {
        self.done(archive_put(id, at, owners, tar)).await
    }

    /// As [`Client::container_archive_put`], for Corten's engine on the same machine: it reads what belongs at a place of the
    /// tar from a file itself.
    ///
    /// # Errors
    /// As there; 400 with [`NO_DESCRIPTOR`](spec::api::NO_DESCRIPTOR) when the file got lost on the way.
    pub async fn container_archive_put_apart(
        &self,
        id: &str,
        at: &str,
        owners: bool,
        tar: Upload,
        (content, place): (OwnedFd, ContentPlace),
    ) -> Result<()> {
        let call = archive_put(id, at, owners, tar).header(CONTENT_HEADER, &place.to_string());
        self.done(call.descriptors(vec![content])).await
    }

    /// `GET /containers/{id}/stats`. One sample, or one each second until the container is removed.
    ///
    /// # Errors
    /// As every call.
    pub async fn container_stats(&self, id: &str, stream: bool) -> Result<JsonLines<ContainerStatsResponse>> {
        let query = Query::new().with("stream", if stream { "1" } else { "0" });
        self.lines(Call::get(path(id, "stats")).query(query)).await
    }

    /// `POST /containers/{id}/rename`.
    ///
    /// # Errors
    /// As every call.
    pub async fn container_rename(&self, id: &str, name: &str) -> Result<()> {
        self.done(Call::post(path(id, "rename")).query(Query::new().with("name", name))).await
    }

    /// `POST /containers/{id}/update`.
    ///
    /// # Errors
    /// As every call.
    pub async fn container_update(
        &self,
        id: &str,
        request: &ContainerUpdateRequest,
    ) -> Result<ContainerUpdateResponse> {
        self.read(Call::post(path(id, "update")).json(request)).await
    }

    /// `POST /containers/prune`.
    ///
    /// # Errors
    /// As every call.
    pub async fn container_prune(&self, filters: &Filters) -> Result<ContainersPruneResponse> {
        let query = Query::new().with("filters", &filters.to_param());
        self.read(Call::post("/containers/prune").query(query)).await
    }
}

/// The engine's description of a path, in a header.
fn path_stat(response: &Response<Incoming>) -> Result<PathStat> {
    let request = || "/containers/archive".to_owned();
    let header = response.headers().get("x-docker-container-path-stat");
    let json = header.and_then(|value| STANDARD.decode(value.as_bytes()).ok()).unwrap_or_default();
    spec::gojson::from_slice(&json).map_err(|source| Error::Decode { request: request(), source })
}

fn path(id: &str, verb: &str) -> String {
    format!("/containers/{}/{verb}", segment(id))
}
