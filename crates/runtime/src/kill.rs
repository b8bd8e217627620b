//! Signals to init, or to all processes of a container.

use std::os::fd::AsFd;

use sys::process::{self, Spawned};

use crate::failure::at;
use crate::{Container, Failure};

const SIGKILL: i32 = 9;

impl Container {
    /// Sends a signal to init, or with `all` to every process of the container's cgroup.
    ///
    /// # Errors
    /// Step `kill`; ESRCH when init has ended.
    pub fn kill(&self, signal: i32, all: bool) -> Result<(), Failure> {
        let sent = match (all, signal) {
            (false, _) => process::pidfd_send_signal(self.init.as_fd(), signal),
            (true, SIGKILL) => self.cgroup.kill(),
            (true, _) => self.cgroup.signal(signal),
        };
        sent.map_err(at("kill"))
    }
}

/// Kills and reaps a child that did not become what it should have.
pub(crate) fn end(child: &Spawned) {
    // Both fail only when it has ended and was reaped already.
    let _ = process::pidfd_send_signal(child.pidfd.as_fd(), SIGKILL);
    let _ = process::reap(child.pidfd.as_fd());
}
