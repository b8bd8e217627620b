//! Programs of the host that are run at six points of a container's life (runtime-spec, "POSIX-platform Hooks").

use std::ffi::CString;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use spec::oci::runtime::{Hook, State};
use sys::namespace::Namespaces;
use sys::poll::{self, Interest};
use sys::process::{self, Clone, ExitStatus};

use crate::failure::{at_path, failed};
use crate::{Failure, kill};

/// What a hook says before it fails is part of the failure, so far.
const LONGEST: u64 = 4 << 10;

/// Runs them one after the other; the first that fails ends it.
pub(crate) fn run_all(kind: &str, hooks: &[Hook], state: &State) -> Result<(), Failure> {
    if hooks.is_empty() {
        return Ok(());
    }
    let json = serde_json::to_vec(state).unwrap_or_default();
    hooks.iter().enumerate().try_for_each(|(index, hook)| {
        run(hook, &json).map_err(|failure| Failure {
            step: "hook".into(),
            detail: format!("error running {kind} hook #{index}: {}", failure.detail),
            ..failure
        })
    })
}

/// Runs them all; the failures in words. For those whose failure does not end anything.
pub(crate) fn try_all(kind: &str, hooks: &[Hook], state: &State) -> Vec<Failure> {
    let one = |hook| run_all(kind, std::slice::from_ref(hook), state).err();
    hooks.iter().filter_map(one).collect()
}

fn run(hook: &Hook, state: &[u8]) -> Result<(), Failure> {
    let failed_at = at_path("hook", &hook.path);
    let (read, mut write) = std::io::pipe().map_err(failed("hook", &hook.path))?;
    let (mut said, say) = std::io::pipe().map_err(failed("hook", &hook.path))?;
    let child = process::clone_child(
        &Clone { namespaces: Namespaces::empty(), cgroup: None, sibling: false },
        || {
            let error = execute(hook, &read, &say);
            // Standard error is the pipe by now, or nobody reads it.
            let _ = std::io::stderr().write_all(error.as_bytes());
            127
        },
    )
    .map_err(&failed_at)?;
    drop((read, say));
    // A pipe holds 64 KiB. A hook that reads nothing may end before: then there is nobody to tell.
    let _ = poll::set_nonblocking(&write);
    let _ = write.write_all(state);
    drop(write);
    let limit = hook.timeout.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let ended = poll::wait(&child.pidfd, Interest::READ, limit).map_err(&failed_at)?;
    let fail = |detail: String| Failure::new("hook", &hook.path, detail);
    if !ended {
        kill::end(&child);
        return Err(fail(format!("timeout after {} s", hook.timeout.unwrap_or_default())));
    }
    match process::reap(child.pidfd.as_fd()).map_err(&failed_at)? {
        ExitStatus::Code(0) => Ok(()),
        status => {
            let mut text = Vec::new();
            // Whatever the hook has left running may keep the pipe open: only what is there already.
            let _ = poll::set_nonblocking(&said);
            let _ = std::io::Read::read_to_end(&mut std::io::Read::take(&mut said, LONGEST), &mut text);
            let how = match status {
                ExitStatus::Code(code) => format!("exit status {code}"),
                ExitStatus::Signal(signal) => format!("signal {signal}"),
            };
            Err(fail(format!("{how}, output: {}", String::from_utf8_lossy(&text).trim())))
        }
    }
}

/// The child's part; what went wrong.
fn execute(hook: &Hook, stdin: &impl AsFd, output: &impl AsFd) -> String {
    let c_string = |text: &String| CString::new(text.as_str()).unwrap_or_default();
    let program = c_string(&hook.path);
    let args: Vec<CString> =
        if hook.args.is_empty() { vec![program.clone()] } else { hook.args.iter().map(c_string).collect() };
    let env: Vec<CString> = hook.env.iter().map(c_string).collect();
    // It is no part of the container's session.
    let _ = process::become_session_leader();
    process::reset_signals();
    let wired = sys::pty::set_standard(stdin.as_fd(), output.as_fd(), output.as_fd());
    if let Err(error) = wired.and_then(|()| process::seal_descriptors(3)) {
        return format!("{error}: {}", error.source);
    }
    process::execute(&program, &args, &env).source.to_string()
}

/// A copy of a descriptor of a container's process, sent to the supervisor that its profile names.
pub(crate) fn notify(
    listener: &crate::seccomp::Listener,
    pidfd: &OwnedFd,
    descriptor: i32,
    state: &State,
) -> Result<(), Failure> {
    let failed = at_path("seccomp", &listener.path);
    let fd = process::pidfd_getfd(pidfd.as_fd(), descriptor).map_err(&failed)?;
    let socket = sys::scm::connect(Path::new(&listener.path)).map_err(&failed)?;
    let json = serde_json::json!({
        "ociVersion": state.oci_version,
        "fds": ["seccompFd"],
        "pid": process::pidfd_pid(pidfd.as_fd()).map_err(&failed)?,
        "metadata": listener.metadata,
        "state": state,
    });
    let bytes = serde_json::to_vec(&json).unwrap_or_default();
    sys::scm::send(&socket, &bytes, &[fd.as_fd()], sys::scm::Wait::Yes).map(drop).map_err(&failed)
}
