//! The calling thread's network namespace (network_namespaces(7)).
//!
//! A thread that has changed its namespace should end soon: everything it opens, and every thread it starts, is in
//! there. Nothing here binds a namespace to a path: it lives as long as a process, a socket or an fd of it.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::process::Beside;
use crate::{Error, Result};

/// A thread that calls a handful of functions needs no more.
const STACK: usize = 128 * 1024;

/// Puts the calling thread, and it alone, into a new network namespace, and returns a hold on that.
///
/// # Errors
/// unshare(2)'s and open(2)'s.
pub fn enter_new() -> Result<OwnedFd> {
    // SAFETY: unshare is unsafe because of CLONE_FILES, which would give this thread its own table of fds; only
    // CLONE_NEWNET is passed, which changes no memory and no fd.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
        .map_err(|e| Error::new("unshare", "network namespace", e))?;
    current()
}

/// A new network namespace that is made while this process does something else: the kernel takes 0.4 ms for it.
#[derive(Debug)]
pub struct Making(Beside);

impl Making {
    /// Begins with it. A copy that this process makes of itself before [`finish`](Self::finish) may have a hold on the namespace, too.
    ///
    /// # Errors
    /// clone(2)'s.
    pub fn begin() -> Result<Self> {
        let step = || {
            // SAFETY: as in `enter_new`; it is the new process that moves.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
            open(c"/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        };
        // SAFETY: two system calls, made without the C library and its `errno`, and nothing else.
        unsafe { Beside::begin("network namespace", step) }.map(Self)
    }

    /// A hold on the namespace, in which nobody is.
    ///
    /// # Errors
    /// unshare(2)'s and open(2)'s.
    pub fn finish(self) -> Result<OwnedFd> {
        self.0.finish()
    }
}

/// Puts the calling thread, and it alone, into the namespace behind `netns`.
///
/// # Errors
/// setns(2)'s.
pub fn enter(netns: impl AsFd) -> Result<()> {
    move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|e| Error::new("setns", "network namespace", e))
}

/// A TCP socket that is not connected yet, in the namespace behind `netns`; it does not block. A thread of its own makes
/// it, so that the caller stays where it is.
///
/// # Errors
/// setns(2)'s and socket(2)'s; the thread cannot be started.
pub fn tcp_socket(netns: impl AsFd + Sync, v6: bool) -> Result<OwnedFd> {
    let make = || {
        enter(&netns)?;
        let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socket_with(family, SocketType::STREAM, flags, None).map_err(|e| Error::new("socket", "tcp", e))
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).stack_size(STACK);
        let thread = thread.spawn_scoped(scope, make).map_err(|e| Error::new("start thread", "netns", e))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A hold on the calling thread's namespace.
///
/// # Errors
/// open(2)'s.
pub fn current() -> Result<OwnedFd> {
    hold("/proc/thread-self/ns/net")
}

/// A hold on a process's namespace.
///
/// # Errors
/// open(2)'s: ENOENT when the process is gone.
pub fn of_process(pid: i32) -> Result<OwnedFd> {
    hold(&format!("/proc/{pid}/ns/net"))
}

fn hold(path: &str) -> Result<OwnedFd> {
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|e| Error::new("open", path, e))
}
