//! `/networks`: one method per endpoint.

use bytes::Bytes;
use spec::Filters;
use spec::api::{
    Network, NetworkConnectRequest, NetworkCreateRequest, NetworkCreateResponse, NetworkDisconnectRequest,
    NetworksPruneResponse,
};

use crate::connection::Call;
use crate::query::{Query, segment};
use crate::{Client, Result};

impl Client {
    /// `GET /networks`.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    pub async fn network_list(&self, filters: &Filters) -> Result<Vec<Network>> {
        self.list(Call::get("/networks").query(Query::new().with("filters", &filters.to_param()))).await
    }

    /// `POST /networks/create`.
    ///
    /// # Errors
    /// As every call.
    pub async fn network_create(&self, request: &NetworkCreateRequest) -> Result<NetworkCreateResponse> {
        self.read(Call::post("/networks/create").json(request)).await
    }

    /// `GET /networks/{id}`, as the engine wrote it.
    ///
    /// # Errors
    /// As every call.
    pub async fn network_inspect_raw(&self, id: &str, verbose: bool) -> Result<Bytes> {
        let call = Call::get(format!("/networks/{}", segment(id)));
        self.raw(call.query(Query::new().flag("verbose", verbose))).await
    }

    /// `DELETE /networks/{id}`.
    ///
    /// # Errors
    /// As every call; 403 when it has endpoints.
    pub async fn network_remove(&self, id: &str) -> Result<()> {
        self.done(Call::delete(format!("/networks/{}", segment(id)))).await
    }

    /// `POST /networks/{id}/connect`.
    ///
    /// # Errors
    /// As every call.
    pub async fn network_connect(&self, id: &str, request: &NetworkConnectRequest) -> Result<()> {
        self.done(Call::post(format!("/networks/{}/connect", segment(id))).json(request)).await
    }

    /// `POST /networks/{id}/disconnect`.
    ///
    /// # Errors
    /// As every call.
    pub async fn network_disconnect(&self, id: &str, request: &NetworkDisconnectRequest) -> Result<()> {
        self.done(Call::post(format!("/networks/{}/disconnect", segment(id))).json(request)).await
    }

    /// `POST /networks/prune`.
    ///
    /// # Errors
    /// As every call.
    pub async fn network_prune(&self, filters: &Filters) -> Result<NetworksPruneResponse> {
        let query = Query::new().with("filters", &filters.to_param());
        self.read(Call::post("/networks/prune").query(query)).await
    }
}
