//! `state`: the specification's, and what runc says beside it.

use serde_json::{Value, json};

use super::args::Args;
use super::record::{self, Held};
use super::{Context, Outcome, json, print};

/// `state <id>`.
pub(super) fn state(context: &Context, words: &[String]) -> Outcome {
    let args = Args::parse(words, &[])?;
    let held = record::open(context, args.id()?)?;
    print(&json(&value(&held)))
}

/// Everything that is told of a container.
pub(super) fn value(held: &Held) -> Value {
    let state = held.state(held.status());
    let record = &held.record;
    json!({
        "ociVersion": state.oci_version,
        "id": state.id,
        "pid": state.pid,
        "status": state.status,
        "bundle": state.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
        "annotations": state.annotations,
        "owner": "",
    })
}
