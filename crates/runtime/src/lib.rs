//! An OCI configuration becomes a process tree, in the calling (single-threaded) process.
//!
//! A container here is what the kernel knows: a pidfd, a cgroup, namespaces. Names, logs, restarts and the
//! network's addresses belong to higher floors.
//!
//! Words: *init* is the container's first process, *exec* a further one. `create` leaves init waiting in its
//! finished sandbox; `start` lets it execute the program.

use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};
use spec::oci::runtime::{Process, Resources, Spec};

/// What went wrong in the kernel: the step, the errno, the path. Crosses the shim's socket as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{step}{}{path}: {detail}", if path.is_empty() { "" } else { " " })]
pub struct Failure {
    /// Which step failed, a stable word such as `exec`, `mount`, `chdir`, `user`, `cgroup`, `seccomp`.
    pub step: String,
    /// The errno, or 0 when no system call failed.
    pub errno: i32,
    /// The path or name the step was about; may be empty.
    pub path: String,
    /// The rest of the fact, in words (for an errno: its text).
    pub detail: String,
}

/// The three standard streams a process gets. With a terminal, `stdin` is the pty's peer for all three.
#[derive(Debug)]
pub struct Stdio {
    /// Becomes fd 0.
    pub stdin: OwnedFd,
    /// Becomes fd 1.
    pub stdout: OwnedFd,
    /// Becomes fd 2.
    pub stderr: OwnedFd,
}

/// How a process of the container is wired to its caller.
#[derive(Debug)]
pub enum Io {
    /// Pipes or files made by the caller.
    Streams(Stdio),
    /// A new pseudo-terminal of the container's own devpts; its controlling end comes back in [`Child::console`].
    Terminal,
}

/// A process of the container, not yet reaped.
#[derive(Debug)]
pub struct Child {
    /// Pid in the caller's pid namespace.
    pub pid: i32,
    /// Readable when the process has ended.
    pub pidfd: OwnedFd,
    /// The controlling end of the pseudo-terminal, with [`Io::Terminal`].
    pub console: Option<OwnedFd>,
}

/// A container that exists in the kernel.
#[derive(Debug)]
pub struct Container {
    // R (helper) fills in: pid, pidfd, sync pipe to the waiting init, cgroup handle, spec parts needed by exec
    _private: (),
}

/// Makes the sandbox of `spec` and leaves its init waiting for [`Container::start`].
///
/// `netns`: the network namespace to join; overrides the path in `spec`.
/// On failure nothing of the container is left.
///
/// # Errors
/// The first step that failed.
pub fn create(_spec: &Spec, _netns: Option<BorrowedFd<'_>>, _io: Io) -> Result<(Container, Child), Failure> {
    todo!()
}

impl Container {
    /// Lets init execute its program; returns when the `execve` has succeeded or failed.
    ///
    /// # Errors
    /// Step `exec` with ENOENT, EACCES … when the program cannot be executed; init is gone then.
    pub fn start(&mut self) -> Result<(), Failure> {
        todo!()
    }

    /// Runs one more process in the container; returns when its `execve` has succeeded.
    ///
    /// # Errors
    /// As [`Container::start`].
    pub fn exec(&self, _process: &Process, _io: Io) -> Result<Child, Failure> {
        todo!()
    }

    /// Sends a signal to init, or with `all` to every process of the container's cgroup.
    ///
    /// # Errors
    /// Step `kill`; ESRCH when init has ended.
    pub fn kill(&self, _signal: i32, _all: bool) -> Result<(), Failure> {
        todo!()
    }

    /// Freezes the container's cgroup.
    ///
    /// # Errors
    /// Step `freeze`.
    pub fn pause(&self) -> Result<(), Failure> {
        todo!()
    }

    /// Thaws it.
    ///
    /// # Errors
    /// Step `thaw`.
    pub fn resume(&self) -> Result<(), Failure> {
        todo!()
    }

    /// Writes new limits.
    ///
    /// # Errors
    /// Step `cgroup` with the file.
    pub fn update(&self, _resources: &Resources) -> Result<(), Failure> {
        todo!()
    }

    /// Whether the kernel has killed a process of the container for want of memory.
    pub fn oom_killed(&self) -> bool {
        todo!()
    }

    /// Kills what is left in the cgroup and removes it. For after init was reaped.
    ///
    /// # Errors
    /// All teardown failures in one, the first one's step.
    pub fn delete(self) -> Result<(), Failure> {
        todo!()
    }
}
