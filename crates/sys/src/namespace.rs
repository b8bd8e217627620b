//! Namespaces: make and join (namespaces(7)).

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::flags::flags;
use crate::{Error, Result};

/// A set of kinds of namespaces, as clone(2)'s flags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Namespaces(u64);

flags!(Namespaces);

impl Namespaces {
    /// Mount points.
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS as u64);
    /// Process ids; joined or made by the *next child*, not by the caller.
    pub const PID: Self = Self(libc::CLONE_NEWPID as u64);
    /// Network devices, addresses, rules.
    pub const NETWORK: Self = Self(libc::CLONE_NEWNET as u64);
    /// System V IPC and POSIX message queues.
    pub const IPC: Self = Self(libc::CLONE_NEWIPC as u64);
    /// Host and domain name.
    pub const UTS: Self = Self(libc::CLONE_NEWUTS as u64);
    /// The cgroup that is shown as the root.
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP as u64);
    /// User and group ids, and the capabilities over what the other namespaces of it hold.
    pub const USER: Self = Self(libc::CLONE_NEWUSER as u64);
    /// Offsets of the monotonic and the boot clock; made for the *next child*, joined at once.
    pub const TIME: Self = Self(0x80);

    /// clone(2)'s flags.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }
}

/// Leaves the parent's namespaces of these kinds for new ones.
///
/// # Errors
/// unshare(2)'s.
pub fn unshare(namespaces: Namespaces) -> Result<()> {
    // SAFETY: the set holds namespace flags only; none of them touches memory or descriptors.
    let answer = unsafe { libc::unshare(namespaces.0 as i32) };
    check("unshare", answer)
}

/// Joins namespaces: those of a process when `fd` is a pidfd, or the one that an ns file names.
///
/// # Errors
/// setns(2)'s; ESRCH when the process has ended.
pub fn join(fd: BorrowedFd<'_>, namespaces: Namespaces) -> Result<()> {
    // SAFETY: an open descriptor and namespace flags; no memory is touched.
    let answer = unsafe { libc::setns(fd.as_raw_fd(), namespaces.0 as i32) };
    check("setns", answer)
}

/// Sets the UTS namespace's host name.
///
/// # Errors
/// sethostname(2)'s: EINVAL when it is longer than 64 bytes.
pub fn set_host_name(name: &str) -> Result<()> {
    rustix::system::sethostname(name.as_bytes()).map_err(|errno| Error::new("sethostname", name, errno))
}

/// Sets the UTS namespace's NIS domain name.
///
/// # Errors
/// setdomainname(2)'s: EINVAL when it is longer than 64 bytes.
pub fn set_domain_name(name: &str) -> Result<()> {
    rustix::system::setdomainname(name.as_bytes()).map_err(|errno| Error::new("setdomainname", name, errno))
}

fn check(step: &'static str, answer: i32) -> Result<()> {
    if answer < 0 { Err(Error::new(step, "", std::io::Error::last_os_error())) } else { Ok(()) }
}
