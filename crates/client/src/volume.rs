//! `/volumes`: one method per endpoint.

use bytes::Bytes;
use spec::Filters;
use spec::api::{Volume, VolumeCreateRequest, VolumeListResponse, VolumesPruneResponse};

use crate::connection::Call;
use crate::query::{Query, segment};
use crate::{Client, Result};

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
}
