//! `/volumes`: one method per endpoint.

use std::collections::BTreeMap;

use bytes::Bytes;
use spec::Filters;
use spec::api::{Volume, VolumeChanges, VolumeCreateRequest, VolumeListResponse, VolumesPruneResponse};

use crate::connection::Call;
use crate::image::TAR;
use crate::query::{Query, segment};
use crate::{Body, Client, Result, Upload};

impl Client {
    /// `GET /volumes`.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    pub async fn volume_list(&self, filters: &Filters) -> Result<VolumeListResponse> {
        self.read(Call::get("/volumes").query(Query::new().with("filters", &filters.to_param()))).await
    }

    /// `POST /volumes/create`.
    ///
    /// # Errors
    /// As every call.
    pub async fn volume_create(&self, request: &VolumeCreateRequest) -> Result<Volume> {
        self.read(Call::post("/volumes/create").json(request)).await
    }

    /// `GET /volumes/{name}`, as the engine wrote it.
    ///
    /// # Errors
    /// As every call.
    pub async fn volume_inspect_raw(&self, name: &str) -> Result<Bytes> {
        self.raw(Call::get(format!("/volumes/{}", segment(name)))).await
    }

    /// `DELETE /volumes/{name}`.
    ///
    /// # Errors
    /// As every call; 409 when it is in use.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<()> {
        let call = Call::delete(format!("/volumes/{}", segment(name)));
        self.done(call.query(Query::new().flag("force", force))).await
    }

    /// `POST /volumes/prune`.
    ///
    /// # Errors
    /// As every call.
    pub async fn volume_prune(&self, filters: &Filters) -> Result<VolumesPruneResponse> {
        let query = Query::new().with("filters", &filters.to_param());
        self.read(Call::post("/volumes/prune").query(query)).await
    }

    /// `PUT /volumes/{name}`: of cluster volumes only.
    ///
    /// # Errors
    /// As every call; 503 without a swarm.
    pub async fn volume_cluster_update(
        &self,
        name: &str,
        version: u64,
        spec: &serde_json::Value,
    ) -> Result<()> {
        let query = Query::new().with("version", &version.to_string());
        self.done(Call::put(path(name, "")).query(query).json(spec)).await
    }

    /// `POST /volumes/{name}/update`, Corten's own.
    ///
    /// # Errors
    /// As every call.
    pub async fn volume_update(&self, name: &str, changes: &VolumeChanges) -> Result<Volume> {
        self.read(Call::post(path(name, "/update")).json(changes)).await
    }

    /// `POST /volumes/{name}/rename`, Corten's own.
    ///
    /// # Errors
    /// As every call; 409 when it is in use or the new name is taken.
    pub async fn volume_rename(&self, name: &str, new: &str) -> Result<()> {
        self.done(Call::post(path(name, "/rename")).query(Query::new().with("name", new))).await
    }

    /// `POST /volumes/{name}/copy`, Corten's own.
    ///
    /// # Errors
    /// As every call; 409 when a running container may write to it and `force` is not given.
    pub async fn volume_copy(&self, name: &str, new: &str, force: bool) -> Result<Volume> {
        let query = Query::new().with("name", new).flag("force", force);
        self.read(Call::post(path(name, "/copy")).query(query)).await
    }

    /// `GET /volumes/{name}/export`, Corten's own: a tar.
    ///
    /// # Errors
    /// As [`volume_copy`](Self::volume_copy).
    pub async fn volume_export(&self, name: &str, force: bool) -> Result<Body> {
        let call = Call::get(path(name, "/export")).query(Query::new().flag("force", force));
        Ok(Body(self.send(call).await?.into_body()))
    }

    /// `POST /volumes/import`, Corten's own.
    ///
    /// # Errors
    /// As every call; 409 when the name is taken.
    pub async fn volume_import(&self, request: &VolumeCreateRequest, upload: Upload) -> Result<Volume> {
        let json = |map: &BTreeMap<String, String>| match map.is_empty() {
            true => String::new(),
            false => serde_json::json!(map).to_string(),
        };
        let query = Query::new()
            .with("name", &request.name)
            .with("labels", &json(&request.labels))
            .with("driveropts", &json(&request.driver_opts));
        self.read(Call::post("/volumes/import").query(query).upload(upload, TAR)).await
    }
}

fn path(name: &str, verb: &str) -> String {
    format!("/volumes/{}{verb}", segment(name))
}
