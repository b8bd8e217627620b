//! `state`: the specification's, and what runc says beside it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::args::Args;
use super::record::{self, Held};
use super::{Context, Outcome, json, print};

/// In runc's order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    oci_version: String,
    pub(super) id: String,
    pub(super) pid: i32,
    pub(super) status: String,
    pub(super) bundle: String,
    rootfs: String,
    pub(super) created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    pub(super) owner: String,
}

/// `state <id>`.
pub(super) fn state(context: &Context, words: &[String]) -> Outcome {
    let args = Args::parse(words, &[])?;
    let held = record::open(context, args.id()?)?;
    print(&json(&value(&held)))
}

/// Everything that is told of a container.
pub(super) fn value(held: &Held) -> Told {
    let state = held.state(held.status());
    let record = &held.record;
    Told {
        oci_version: state.oci_version,
        id: state.id,
        pid: state.pid.unwrap_or_default(),
        status: state.status,
        bundle: state.bundle,
        rootfs: record.rootfs.clone(),
        created: record.created.clone(),
        annotations: state.annotations,
        owner: String::new(),
    }
}
