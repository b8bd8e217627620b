//! The program as a template: it supervises nothing and listens nowhere, makes shims by copying itself, and ends with the daemon's
//! connection.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use shim::message::{self, Incoming};
use shim::proto::{DIR, Failure, NEW, Reply, Request, VERSION};
use sys::process::{self, Clone, Spawned};
use sys::scm::{self, Wait};

/// Answers until the daemon is gone. `nameless` is what stands in the arguments for a copy's directory, whose life is `live`.
pub(crate) fn serve(
    connection: UnixStream,
    nameless: &Path,
    live: impl Fn(UnixStream, PathBuf) -> bool,
) -> Result<(), sys::Error> {
    let failed = |source| sys::Error::new("understand", "the daemon", source);
    let mut incoming = Incoming::default();
    let mut connection = Some(connection);
    while let Some(daemon) = &connection {
        let Some(request) = incoming.message().map_err(failed)? else {
            if incoming.receive(daemon, Wait::Yes).map_err(failed)? {
                continue;
            }
            break;
        };
        let (reply, pidfd) = match (request, incoming.fd()) {
            (Request::Hello { .. }, _) => (Reply::Hello { version: VERSION }, None),
            (Request::Copy { dir }, Some(first)) => {
                match copy(&mut connection, first, dir, nameless, &live) {
                    Ok(copied) => (Reply::Pid(copied.pid), Some(copied.pidfd)),
                    Err(error) => (refused(&error.to_string()), None),
                }
            }
            _ => (refused("a template makes copies of itself, and nothing else"), None),
        };
        let bytes = message::encode(&reply).map_err(failed)?;
        let Some(daemon) = &connection else { break };
        scm::send(daemon, &bytes, &pidfd.iter().map(AsFd::as_fd).collect::<Vec<_>>(), Wait::Yes)?;
    }
    Ok(())
}

/// The copy is a child of the daemon. It lives, and ends with 0 if that ended well.
fn copy(
    connection: &mut Option<UnixStream>,
    first: OwnedFd,
    dir: PathBuf,
    nameless: &Path,
    live: impl Fn(UnixStream, PathBuf) -> bool,
) -> Result<Spawned, sys::Error> {
    process::clone_child(&Clone { sibling: true, ..Clone::default() }, || {
        // The copy's copy: the daemon must see the template's end.
        drop(connection.take());
        if process::become_session_leader().is_err() {
            return 1;
        }
        if let (Some(old), Some(new)) = (nameless.file_name(), dir.file_name()) {
            // For people who look at `ps`.
            let names = (old.as_bytes(), new.as_bytes());
            let _ = process::replace_in_arguments(&[(NEW.as_bytes(), DIR.as_bytes()), names]);
        }
        i32::from(!live(first.into(), dir))
    })
}

fn refused(why: &str) -> Reply {
    Reply::Failed(Failure { step: "copy".into(), errno: 0, path: String::new(), detail: why.into() })
}
