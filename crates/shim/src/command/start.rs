//! `start`: init executes its program.

use super::args::Args;
use super::record::{self, Status};
use super::{Context, Outcome, failure, words};

/// `start <id>`.
pub(super) fn start(context: &Context, arguments: &[String]) -> Outcome {
    let args = Args::parse(arguments, &[])?;
    let held = record::open(context, args.id()?)?;
    match held.status() {
        Status::Created => {}
        Status::Stopped => return Err("cannot start a container that has stopped".into()),
        Status::Running | Status::Paused => return Err("cannot start an already running container".into()),
        Status::Creating => return Err("cannot start a container that is being created".into()),
    }
    let mut container = held.container(0)?;
    let connection = sys::scm::connect(&held.gate()).map_err(words)?;
    container.start_through(connection).map_err(|e| failure(&e))?;
    sys::file::remove(&held.gate()).map_err(words)?;
    Ok(0)
}
