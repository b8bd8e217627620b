//! Engine API: stats objects.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::null_if_empty;

/// `ContainerStatsResponse` of the Engine API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerStatsResponse {
    #[serde(rename = "id", skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(rename = "name", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(rename = "os_type", skip_serializing_if = "Option::is_none")]
    pub os_type: Option<String>,
    #[serde(rename = "read")]
    pub read: String,
    #[serde(rename = "cpu_stats", skip_serializing_if = "Option::is_none")]
    pub cpu_stats: Option<ContainerCPUStats>,
    #[serde(rename = "memory_stats", skip_serializing_if = "Option::is_none")]
    pub memory_stats: Option<ContainerMemoryStats>,
    #[serde(rename = "networks", skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<String, ContainerNetworkStats>,
    #[serde(rename = "pids_stats", skip_serializing_if = "Option::is_none")]
    pub pids_stats: Option<ContainerPidsStats>,
    #[serde(rename = "blkio_stats", skip_serializing_if = "Option::is_none")]
    pub blkio_stats: Option<ContainerBlkioStats>,
    #[serde(rename = "num_procs")]
    pub num_procs: i64,
    #[serde(rename = "storage_stats", skip_serializing_if = "Option::is_none")]
    pub storage_stats: Option<ContainerStorageStats>,
    #[serde(rename = "preread")]
    pub preread: String,
    #[serde(rename = "precpu_stats", skip_serializing_if = "Option::is_none")]
    pub precpu_stats: Option<ContainerCPUStats>,
}

/// `ContainerBlkioStats` of the Engine API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerBlkioStats {
    #[serde(rename = "io_service_bytes_recursive", serialize_with = "null_if_empty")]
    pub io_service_bytes_recursive: Vec<ContainerBlkioStatEntry>,
    #[serde(rename = "io_serviced_recursive", serialize_with = "null_if_empty")]
    pub io_serviced_recursive: Vec<ContainerBlkioStatEntry>,
    #[serde(rename = "io_queue_recursive", serialize_with = "null_if_empty")]
    pub io_queue_recursive: Vec<ContainerBlkioStatEntry>,
    #[serde(rename = "io_service_time_recursive", serialize_with = "null_if_empty")]
    pub io_service_time_recursive: Vec<ContainerBlkioStatEntry>,
    #[serde(rename = "io_wait_time_recursive", serialize_with = "null_if_empty")]
    pub io_wait_time_recursive: Vec<ContainerBlkioStatEntry>,
    #[serde(rename = "io_merged_recursive", serialize_with = "null_if_empty")]
    pub io_merged_recursive: Vec<ContainerBlkioStatEntry>,
    #[serde(rename = "io_time_recursive", serialize_with = "null_if_empty")]
    pub io_time_recursive: Vec<ContainerBlkioStatEntry>,
    #[serde(rename = "sectors_recursive", serialize_with = "null_if_empty")]
    pub sectors_recursive: Vec<ContainerBlkioStatEntry>,
}

/// `ContainerBlkioStatEntry` of the Engine API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerBlkioStatEntry {
    #[serde(rename = "major")]
    pub major: u64,
    #[serde(rename = "minor")]
    pub minor: u64,
    #[serde(rename = "op")]
    pub op: String,
    #[serde(rename = "value")]
    pub value: u64,
}

/// `ContainerCPUStats` of the Engine API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerCPUStats {
    #[serde(rename = "cpu_usage", skip_serializing_if = "Option::is_none")]
    pub cpu_usage: Option<ContainerCPUUsage>,
    #[serde(rename = "system_cpu_usage", skip_serializing_if = "Option::is_none")]
    pub system_cpu_usage: Option<u64>,
    #[serde(rename = "online_cpus", skip_serializing_if = "Option::is_none")]
    pub online_cpus: Option<i64>,
    #[serde(rename = "throttling_data", skip_serializing_if = "Option::is_none")]
    pub throttling_data: Option<ContainerThrottlingData>,
}

/// `ContainerCPUUsage` of the Engine API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerCPUUsage {
    #[serde(rename = "total_usage")]
    pub total_usage: u64,
    #[serde(rename = "percpu_usage", skip_serializing_if = "Vec::is_empty")]
    pub percpu_usage: Vec<u64>,
    #[serde(rename = "usage_in_kernelmode")]
    pub usage_in_kernelmode: u64,
    #[serde(rename = "usage_in_usermode")]
    pub usage_in_usermode: u64,
}

/// `ContainerPidsStats` of the Engine API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerPidsStats {
    #[serde(rename = "current", skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    #[serde(rename = "limit", skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// `ContainerThrottlingData` of the Engine API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerThrottlingData {
    #[serde(rename = "periods")]
    pub periods: u64,
    #[serde(rename = "throttled_periods")]
    pub throttled_periods: u64,
    #[serde(rename = "throttled_time")]
    pub throttled_time: u64,
}

/// `ContainerMemoryStats` of the Engine API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerMemoryStats {
    #[serde(rename = "usage", skip_serializing_if = "Option::is_none")]
    pub usage: Option<u64>,
    #[serde(rename = "max_usage", skip_serializing_if = "Option::is_none")]
    pub max_usage: Option<u64>,
    #[serde(rename = "stats", skip_serializing_if = "BTreeMap::is_empty")]
    pub stats: BTreeMap<String, u64>,
    #[serde(rename = "failcnt", skip_serializing_if = "Option::is_none")]
    pub failcnt: Option<u64>,
    #[serde(rename = "limit", skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    #[serde(rename = "commitbytes", skip_serializing_if = "Option::is_none")]
    pub commitbytes: Option<u64>,
    #[serde(rename = "commitpeakbytes", skip_serializing_if = "Option::is_none")]
    pub commitpeakbytes: Option<u64>,
    #[serde(rename = "privateworkingset", skip_serializing_if = "Option::is_none")]
    pub privateworkingset: Option<u64>,
}

/// `ContainerNetworkStats` of the Engine API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerNetworkStats {
    #[serde(rename = "rx_bytes")]
    pub rx_bytes: u64,
    #[serde(rename = "rx_packets")]
    pub rx_packets: u64,
    #[serde(rename = "rx_errors")]
    pub rx_errors: u64,
    #[serde(rename = "rx_dropped")]
    pub rx_dropped: u64,
    #[serde(rename = "tx_bytes")]
    pub tx_bytes: u64,
    #[serde(rename = "tx_packets")]
    pub tx_packets: u64,
    #[serde(rename = "tx_errors")]
    pub tx_errors: u64,
    #[serde(rename = "tx_dropped")]
    pub tx_dropped: u64,
    #[serde(rename = "endpoint_id", skip_serializing_if = "Option::is_none")]
    pub endpoint_id: Option<String>,
    #[serde(rename = "instance_id", skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
}

/// `ContainerStorageStats` of the Engine API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerStorageStats {
    #[serde(rename = "read_count_normalized", skip_serializing_if = "Option::is_none")]
    pub read_count_normalized: Option<u64>,
    #[serde(rename = "read_size_bytes", skip_serializing_if = "Option::is_none")]
    pub read_size_bytes: Option<u64>,
    #[serde(rename = "write_count_normalized", skip_serializing_if = "Option::is_none")]
    pub write_count_normalized: Option<u64>,
    #[serde(rename = "write_size_bytes", skip_serializing_if = "Option::is_none")]
    pub write_size_bytes: Option<u64>,
}
