//! What a pidfd tells of its process, and a process's place in time.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::check;
use crate::{Error, Result};

/// The pid behind a pidfd, in the namespace of this process's /proc.
///
/// # Errors
/// read(2)'s of /proc/self/fdinfo; ESRCH when the process was reaped.
pub fn pidfd_pid(pidfd: BorrowedFd<'_>) -> Result<i32> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(&path).map_err(|e| Error::new("read", &path, e))?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    pid.filter(|pid| *pid > 0).ok_or_else(|| Error::new("read", path, Errno::SRCH))
}

/// A copy of another process's descriptor (Linux 5.6), close-on-exec.
///
/// # Errors
/// pidfd_getfd(2)'s: EBADF when it has none of this number, EPERM when this process may not trace it.
pub fn pidfd_getfd(pidfd: BorrowedFd<'_>, number: i32) -> Result<OwnedFd> {
    // SAFETY: plain numbers.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) };
    let fd = check("pidfd_getfd", answer)?;
    // SAFETY: the call succeeded, so the answer is a new descriptor that is ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// When a process began, in clock ticks after the machine's start, and whether it has ended but is not reaped:
/// with its pid the first says which process it is (proc_pid_stat(5)). `None`: there is no such process.
pub fn start_time(pid: i32) -> Option<(u64, bool)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    let state = fields.next()?;
    Some((fields.nth(18)?.parse().ok()?, matches!(state, "Z" | "X")))
}
