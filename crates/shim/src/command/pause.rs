//! `pause` and `resume`.

use super::args::Args;
use super::record::{self, Status};
use super::{Context, Outcome};

/// `pause <id>`.
pub(super) fn pause(context: &Context, words: &[String]) -> Outcome {
    let args = Args::parse(words, &[])?;
    let held = record::open(context, args.id()?)?;
    match held.status() {
        Status::Running | Status::Created => {}
        Status::Stopped => return Err("container not running".into()),
        Status::Paused | Status::Creating => return Err("container not running or created: paused".into()),
    }
    held.container(0)?.pause().map(|()| 0).map_err(|e| e.to_string())
}

/// `resume <id>`.
pub(super) fn resume(context: &Context, words: &[String]) -> Outcome {
    let args = Args::parse(words, &[])?;
    let held = record::open(context, args.id()?)?;
    if held.status() != Status::Paused {
        return Err("container not paused".into());
    }
    held.container(0)?.resume().map(|()| 0).map_err(|e| e.to_string())
}
