//! Engine API: volume objects.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::*;

/// `VolumeUsageData` of the Engine API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeUsageData {
    pub size: i64,
    pub ref_count: i64,
}

/// `Volume` of the Engine API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Volume {
    pub name: String,
    pub driver: String,
    pub mountpoint: String,
    pub created_at: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub status: BTreeMap<String, serde_json::Value>,
    #[serde(serialize_with = "null_if_empty_map")]
    pub labels: BTreeMap<String, String>,
    pub scope: String,
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub cluster_volume: serde_json::Value,
    #[serde(serialize_with = "null_if_empty_map")]
    pub options: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_data: Option<VolumeUsageData>,
}

/// `VolumeCreateRequest` of the Engine API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeCreateRequest {
    pub name: String,
    pub driver: String,
    pub driver_opts: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub cluster_volume_spec: serde_json::Value,
}

/// Body of `POST /volumes/{name}/update`, Corten's own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeChanges {
    pub labels: LabelChanges,
    /// What it may take from now on (`10g`); of a volume that was made with a size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
}

/// `VolumeListResponse` of the Engine API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeListResponse {
    pub volumes: Vec<Volume>,
    #[serde(serialize_with = "null_if_empty")]
    pub warnings: Vec<String>,
}

/// Answer of `POST /volumes/prune`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumesPruneResponse {
    #[serde(serialize_with = "null_if_empty")]
    pub volumes_deleted: Vec<String>,
    pub space_reclaimed: i64,
}
