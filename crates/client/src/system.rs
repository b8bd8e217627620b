//! `/info`, `/version`, `/events`, `/system`, `/auth`: one method per endpoint.

use bytes::Bytes;
use spec::Filters;
use spec::api::{AuthConfig, AuthResponse, EventMessage};

use crate::connection::Call;
use crate::query::Query;
use crate::{Client, JsonLines, Result};

/// Which events to receive.
#[derive(Debug, Clone, Default)]
pub struct EventOptions {
    /// Seconds since 1970, with a fraction; empty for now.
    pub since: String,
    /// The same; empty for ever.
    pub until: String,
    /// What must match.
    pub filters: Filters,
}

/// How much of the build cache a prune leaves, in bytes; 0 says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct CacheRoom {
    /// This much stays.
    pub reserved: i64,
    /// More than this goes.
    pub most: i64,
    /// As much goes as it takes for this to be free on the disk.
    pub free: i64,
}

impl Client {
    /// `GET /info`, as the engine wrote it.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    pub async fn info_raw(&self) -> Result<Bytes> {
        self.raw(Call::get("/info")).await
    }

    /// `GET /version`, as the engine wrote it.
    ///
    /// # Errors
    /// As every call.
    pub async fn version_raw(&self) -> Result<Bytes> {
        self.raw(Call::get("/version")).await
    }

    /// `GET /system/df`, as the engine wrote it.
    ///
    /// # Errors
    /// As every call.
    pub async fn disk_usage_raw(&self) -> Result<Bytes> {
        self.raw(Call::get("/system/df")).await
    }

    /// `GET /events`.
    ///
    /// # Errors
    /// As every call.
    pub async fn events(&self, options: &EventOptions) -> Result<JsonLines<EventMessage>> {
        let query = Query::new()
            .with("since", &options.since)
            .with("until", &options.until)
            .with("filters", &options.filters.to_param());
        self.lines(Call::get("/events").query(query)).await
    }

    /// `POST /auth`: whether a registry takes these credentials.
    ///
    /// # Errors
    /// As every call; 401 when it does not.
    pub async fn auth(&self, credentials: &AuthConfig) -> Result<AuthResponse> {
        self.read(Call::post("/auth").json(credentials)).await
    }

    /// `GET /images/search`, as the engine wrote it.
    ///
    /// # Errors
    /// As every call.
    pub async fn search_raw(&self, term: &str, limit: i64, filters: &Filters, auth: &str) -> Result<Bytes> {
        let query = Query::new()
            .with("term", term)
            .number("limit", Some(limit).filter(|limit| *limit != 0))
            .with("filters", &filters.to_param());
        self.raw(Call::get("/images/search").query(query).header("X-Registry-Auth", auth)).await
    }

    /// `POST /build/prune`, as the engine wrote it.
    ///
    /// # Errors
    /// As every call.
    pub async fn build_prune_raw(&self, all: bool, keep: CacheRoom, filters: &Filters) -> Result<Bytes> {
        let given = |bytes: i64| Some(bytes).filter(|bytes| *bytes != 0);
        let query = Query::new()
            .flag("all", all)
            .number("keep-storage", given(keep.reserved))
            .number("reserved-space", given(keep.reserved))
            .number("max-used-space", given(keep.most))
            .number("min-free-space", given(keep.free))
            .with("filters", &filters.to_param());
        self.raw(Call::post("/build/prune").query(query)).await
    }
}
