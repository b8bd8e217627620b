//! `/exec`: one method per endpoint.

use spec::api::{ExecConfig, ExecInspect, ExecStart, IDResponse};

use crate::connection::Call;
use crate::query::{Query, segment};
use crate::{Client, Hijacked, Result};

impl Client {
    /// `POST /containers/{id}/exec`; the new exec's id.
    ///
    /// # Errors
    /// As every call; 409 when the container is not running.
    pub async fn exec_create(&self, container: &str, config: &ExecConfig) -> Result<String> {
        let call = Call::post(format!("/containers/{}/exec", segment(container))).json(config);
        Ok(self.read::<IDResponse>(call).await?.id)
    }

    /// `POST /exec/{id}/start`, detached.
    ///
    /// # Errors
    /// As every call.
    pub async fn exec_start_detached(&self, id: &str, tty: bool) -> Result<()> {
        let start = ExecStart { detach: true, tty, console_size: None };
        self.done(Call::post(format!("/exec/{id}/start")).json(&start)).await
    }

    /// `POST /exec/{id}/start`, attached.
    ///
    /// # Errors
    /// As every call.
    pub async fn exec_start(&self, id: &str, tty: bool, console_size: Option<[u16; 2]>) -> Result<Hijacked> {
        let start = ExecStart { detach: false, tty, console_size };
        self.hijack(Call::post(format!("/exec/{id}/start")).json(&start)).await
    }

    /// `POST /exec/{id}/resize`.
    ///
    /// # Errors
    /// As every call.
    pub async fn exec_resize(&self, id: &str, height: u16, width: u16) -> Result<()> {
        let query = Query::new().number("h", Some(height.into())).number("w", Some(width.into()));
        self.done(Call::post(format!("/exec/{id}/resize")).query(query)).await
    }

    /// `GET /exec/{id}/json`.
    ///
    /// # Errors
    /// As every call.
    pub async fn exec_inspect(&self, id: &str) -> Result<ExecInspect> {
        self.read(Call::get(format!("/exec/{id}/json"))).await
    }
}
