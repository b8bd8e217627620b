//! Processes: clone3 with a pidfd, exec, reap, signals; posix_spawn from a large threaded process.
//!
//! Two ways to a child. [`spawn`] is for a large, threaded parent: the child borrows the parent's memory until
//! it executes (vfork semantics), so its cost does not grow with the parent. [`clone_child`] is for a small
//! parent with one thread: the child is a copy that may run any code, in new namespaces and a cgroup.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitOptions};

use crate::{Error, Result};

mod apart;
mod beside;
#[cfg(target_arch = "x86_64")]
mod early;
mod execute;
mod inherit;
mod limit;
mod low;
mod pidfd;
mod reaper;
mod scheduling;
mod spawn;

pub(crate) use beside::Beside;
pub use execute::{
    change_directory, check_current_directory, execute, leave_session_keyring, may_execute, reset_signals,
    run_read_only, seal_descriptors, set_umask,
};
pub use inherit::inherited;
pub use limit::{Limit, limit, raise_descriptor_limit, set_limit};
pub use low::keep_low_descriptors;
pub use pidfd::{pidfd_getfd, pidfd_pid, start_time};
pub use reaper::{become_reaper, hold_signals, lead_foreground};
pub use scheduling::{
    IoPriority, Scheduling, set_cpus, set_io_priority, set_memory_policy, set_personality, set_scheduling,
};
pub use spawn::{spawn, spawn_at};

/// A child as its parent sees it.
#[derive(Debug)]
pub struct Spawned {
    /// The child's pid in the caller's pid namespace.
    pub pid: i32,
    /// Readable when the child has ended; [`reap`] it then.
    pub pidfd: OwnedFd,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this code (0–255).
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl ExitStatus {
    /// One number for both, as shells and Docker have it: the code, or 128 + signal.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// A child that [`reap_any`] took, with its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaped {
    /// The ended child's pid.
    pub pid: i32,
    /// How it ended.
    pub status: ExitStatus,
}

/// Waits for a child's end and takes its status. Blocks while the child runs.
///
/// # Errors
/// waitid(2)'s: ECHILD when the child was reaped already, or is not this process's.
pub fn reap(pidfd: BorrowedFd<'_>) -> Result<ExitStatus> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Ok(Some(info)) => {
                return Ok(match (info.exit_status(), info.terminating_signal()) {
                    (Some(code), _) => ExitStatus::Code(code),
                    (None, Some(signal)) => ExitStatus::Signal(signal),
                    (None, None) => unreachable!("WEXITED answers with an exit or a signal only"),
                });
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::new("waitid", "", errno)),
        }
    }
}

/// Takes the status of any child that has ended, without waiting. `None`: no child has ended, or there is none.
///
/// For a subreaper, which inherits processes that it did not start.
///
/// # Errors
/// wait4(2)'s, but ECHILD.
pub fn reap_any() -> Result<Option<Reaped>> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let status = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => ExitStatus::Code(code),
                    (None, Some(signal)) => ExitStatus::Signal(signal),
                    (None, None) => unreachable!("stops are not asked for"),
                };
                return Ok(Some(Reaped { pid: pid.as_raw_nonzero().get(), status }));
            }
            Ok(None) | Err(Errno::CHILD) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::new("wait4", "", errno)),
        }
    }
}

/// A pidfd of a process that runs, or is not yet reaped.
///
/// # Errors
/// pidfd_open(2)'s: ESRCH when there is no such process.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    let error = |errno| Error::new("pidfd_open", pid.to_string(), errno);
    let pid = Pid::from_raw(pid).ok_or_else(|| error(Errno::INVAL))?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(error)
}

/// Sends a signal by number; 0 only checks that the process is there.
///
/// # Errors
/// pidfd_send_signal(2)'s: ESRCH when the process has ended.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: plain integers and a null siginfo, which makes the kernel fill in kill(2)'s.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    check("pidfd_send_signal", answer).map(drop)
}

/// The calling process runs when nobody else wants to (setpriority(2)).
///
/// # Errors
/// setpriority(2)'s.
pub fn set_lowest_priority() -> Result<()> {
    rustix::process::setpriority_process(None, 19).map_err(|e| Error::new("setpriority", "", e))
}

/// Makes this process the parent of its descendants' orphans (PR_SET_CHILD_SUBREAPER).
///
/// # Errors
/// prctl(2)'s.
pub fn set_subreaper() -> Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|errno| Error::new("prctl", "PR_SET_CHILD_SUBREAPER", errno))
}

/// Names the calling thread, as `ps` shows it; the kernel keeps the first 15 bytes.
///
/// # Errors
/// prctl(2)'s; EINVAL for a name with a zero byte.
pub fn set_name(name: &str) -> Result<()> {
    let c_name = CString::new(name).map_err(|_| Error::new("prctl", name, Errno::INVAL))?;
    rustix::thread::set_name(&c_name).map_err(|errno| Error::new("prctl", name, errno))
}

/// Of each pair puts the second wherever the first, of the same length, stands in this process's arguments, as `ps` shows them.
/// What `std::env::args` gives may change with it: they lie where the kernel has put them.
///
/// # Errors
/// EINVAL for words of different lengths; what reading and writing /proc/self says.
pub fn replace_in_arguments(pairs: &[(&[u8], &[u8])]) -> Result<()> {
    /// In proc_pid_stat(5), counted from the field behind the name, which may hold anything.
    const ARG_START: usize = 48 - 3;
    let failed = |step, object: &str, errno| Error::new(step, object.to_owned(), errno);
    if pairs.iter().any(|(old, new)| old.len() != new.len() || old.is_empty()) {
        return Err(failed("replace", "arguments", Errno::INVAL));
    }
    let stat = crate::file::read(Path::new("/proc/self/stat"))?;
    let stat = String::from_utf8_lossy(&stat);
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let start: Option<u64> = fields.split_whitespace().nth(ARG_START).and_then(|field| field.parse().ok());
    let start = start.ok_or_else(|| failed("read", "/proc/self/stat", Errno::INVAL))?;
    let arguments = crate::file::read(Path::new("/proc/self/cmdline"))?;
    let memory = std::fs::OpenOptions::new()
        .write(true)
        .open("/proc/self/mem")
        .map_err(|e| Error::new("open", "/proc/self/mem", e))?;
    for (old, new) in pairs {
        for at in (0..arguments.len()).filter(|at| arguments[*at..].starts_with(old)) {
            std::os::unix::fs::FileExt::write_all_at(&memory, new, start + at as u64)
                .map_err(|e| Error::new("write", "/proc/self/mem", e))?;
        }
    }
    Ok(())
}

/// Leaves the terminal and the process group: setsid(2).
///
/// # Errors
/// setsid(2)'s: EPERM when this process leads a group already.
pub fn become_session_leader() -> Result<()> {
    rustix::process::setsid().map(drop).map_err(|errno| Error::new("setsid", "", errno))
}

/// Whether others of the same user may trace this process and read its /proc files (PR_SET_DUMPABLE).
///
/// # Errors
/// prctl(2)'s.
pub fn set_dumpable(dumpable: bool) -> Result<()> {
    use rustix::process::DumpableBehavior::{Dumpable, NotDumpable};
    rustix::process::set_dumpable_behavior(if dumpable { Dumpable } else { NotDumpable })
        .map_err(|errno| Error::new("prctl", "PR_SET_DUMPABLE", errno))
}

/// How many threads this process has.
///
/// # Errors
/// stat(2)'s of /proc/self/task.
pub fn thread_count() -> Result<u64> {
    // proc(5): the directory has one link per thread, beside the two that each directory has.
    let stat =
        rustix::fs::stat("/proc/self/task").map_err(|errno| Error::new("stat", "/proc/self/task", errno))?;
    #[allow(clippy::useless_conversion, reason = "the width differs by architecture")]
    Ok(u64::from(stat.st_nlink).saturating_sub(2))
}

/// Where a cloned child begins.
#[derive(Debug, Default)]
pub struct Clone<'a> {
    /// The namespaces that are made for it.
    pub namespaces: crate::namespace::Namespaces,
    /// The cgroup v2 directory it begins in (CLONE_INTO_CGROUP); else its parent's.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// It is the child of this process's parent, not of this process (CLONE_PARENT).
    pub sibling: bool,
}

/// Makes a child that is a copy of this process, runs `child` in it and exits with the code that it returns.
///
/// The copy has copies of all descriptors. `child` does not come back here: nothing of the caller is dropped
/// in it, and a panic ends it with code 101.
///
/// # Errors
/// clone3(2)'s; EBUSY when this process has a second thread (which could hold a lock in the copy for ever).
pub fn clone_child(options: &Clone<'_>, child: impl FnOnce() -> i32) -> Result<Spawned> {
    if thread_count()? != 1 {
        return Err(Error::new("clone3", "from a process with several threads", Errno::BUSY));
    }
    let mut pidfd: i32 = -1;
    let mut flags = options.namespaces.bits() | libc::CLONE_PIDFD as u64;
    if options.cgroup.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    // SAFETY: clone_args is plain numbers, and all zeroes is its "nothing asked for".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags;
    args.pidfd = (&raw mut pidfd) as u64;
    if options.sibling {
        // The parent gets the signal that this process would send.
        args.flags |= libc::CLONE_PARENT as u64;
    } else {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    args.cgroup = options.cgroup.map_or(0, |cgroup| cgroup.as_raw_fd() as u64);
    // SAFETY: without CLONE_VM the child has its own copy of the memory and stack, as after fork(2). There is
    // one thread, so no lock is held by a thread that the copy lacks. `args` outlives the call.
    let mut pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    // In a container clone3 may be forbidden: what asks for nothing new is done by the older call as well.
    if pid < 0
        && std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS)
        && flags == libc::CLONE_PIDFD as u64
        && !options.sibling
    {
        let flags = libc::CLONE_PIDFD | libc::SIGCHLD;
        // SAFETY: as above; the third argument is where the pidfd goes, on every architecture.
        pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    }
    if pid == 0 {
        // Nothing may unwind into the caller's frames: they belong to the parent.
        let code = std::panic::catch_unwind(AssertUnwindSafe(child)).unwrap_or(101);
        // SAFETY: ends this copy at once, without the exit handlers that the parent registered for itself.
        unsafe { libc::_exit(code) }
    }
    let pid = check("clone3", pid)?;
    // SAFETY: the call succeeded with CLONE_PIDFD, so the kernel stored a new descriptor that is ours alone.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Spawned { pid: pid as i32, pidfd })
}

/// linux/sched.h (Linux 5.7); not in libc as a u64.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The answer of a raw system call, or errno as an [`Error`].
fn check(step: &'static str, answer: libc::c_long) -> Result<libc::c_long> {
    if answer < 0 { Err(Error::new(step, "", std::io::Error::last_os_error())) } else { Ok(answer) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_process_with_several_threads_is_not_copied() {
        // The harness runs each test on a thread of its own.
        let error = clone_child(&Clone::default(), || 0).unwrap_err();
        assert_eq!(error.errno(), libc::EBUSY);
    }

    #[test]
    fn a_signal_to_an_ended_process_is_told() {
        let busybox = std::fs::File::open("/bin/busybox").expect("this test needs /bin/busybox");
        let child = spawn(busybox.as_fd(), &["true"], &[], &[]).unwrap();
        assert_eq!(reap(child.pidfd.as_fd()).unwrap(), ExitStatus::Code(0));
        assert_eq!(pidfd_send_signal(child.pidfd.as_fd(), 0).unwrap_err().errno(), libc::ESRCH);
        assert_eq!(reap(child.pidfd.as_fd()).unwrap_err().errno(), libc::ECHILD);
    }
}
