//! `delete`: what is left of a container, whatever happened to whom.

use std::os::fd::AsFd;
use std::time::Duration;

use runtime::{Child, Container};
use spec::signal;
use sys::poll::{self, Interest};

use super::args::{Args, Known};
use super::record::{self, Held, Status};
use super::{Context, Outcome, words};

const OPTIONS: [Known; 1] = [("force", "f", false)];

/// How long a killed init may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// `delete <id>`.
pub(super) fn delete(context: &Context, arguments: &[String]) -> Outcome {
    let args = Args::parse(arguments, &OPTIONS)?;
    let id = args.id()?;
    let force = args.has("force");
    let held = match record::open(context, id) {
        Ok(held) => held,
        // A directory without a record: its maker ended between the two.
        Err(_) if record::check_id(id).is_ok() && context.root.join(id).is_dir() => {
            return sys::file::remove_tree(&context.root.join(id)).map(|()| 0).map_err(words);
        }
        Err(_) if force => return Ok(0),
        Err(error) => return Err(error),
    };
    match held.status() {
        Status::Stopped => {}
        Status::Created | Status::Creating => end_init(&held)?,
        Status::Running | Status::Paused if force => end_init(&held)?,
        status @ (Status::Running | Status::Paused) => {
            return Err(format!("cannot delete container {id} that is not stopped: {}", status.word()));
        }
    }
    let state = held.state(Status::Stopped);
    let deleted = runtime::delete_remains(&held.spec, held.record.cgroups, &state);
    held.forget()?;
    deleted.map(|()| 0).map_err(|e| e.to_string())
}

/// Kills init and waits for its end.
fn end_init(held: &Held) -> Result<(), String> {
    // It may end by itself, before or meanwhile.
    let Ok(pidfd) = sys::process::pidfd_open(held.record.pid) else { return Ok(()) };
    let _ = sys::process::pidfd_send_signal(pidfd.as_fd(), signal::KILL);
    if let Ok(cgroup) = sys::cgroup::Cgroup::open(&held.record.cgroup) {
        // A frozen process of v1 does not die.
        let _ = if cgroup.is_frozen() { cgroup.thaw() } else { Ok(()) };
    }
    match poll::wait(&pidfd, Interest::READ, Some(PATIENCE)) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("container init still running after {} s", PATIENCE.as_secs())),
        Err(error) => Err(words(error)),
    }
}

/// The end of a container that could not be recorded.
pub(super) fn end(container: Container, child: &Child) {
    let _ = container.kill(signal::KILL, true);
    let _ = sys::process::reap(child.pidfd.as_fd());
    let _ = container.delete();
}
