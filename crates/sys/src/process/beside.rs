//! What the kernel takes long for, done by a process beside this one: it has this one's memory and descriptors, and ends with
//! what it was made for. Where there is a second processor, this one goes on meanwhile.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions};

use super::apart::{MaskedSignals, Stack};
use super::check;
use crate::{Error, Result};

/// waitid(2)'s `__WALL`: children that tell nobody of their end, too.
const ALL: WaitIdOptions = WaitIdOptions::from_bits_retain(0x4000_0000);

/// What the process does, and its answer. It allocates nothing, takes no lock, touches nothing thread-local (this thread's are its
/// own, `errno` among them) and does not panic.
type Step = fn() -> std::result::Result<OwnedFd, Errno>;

struct Order {
    step: Step,
    /// A descriptor, or a negated errno.
    answer: AtomicI32,
}

/// A process beside this one. Dropped, it is waited for, and its answer closed.
#[derive(Debug)]
pub(crate) struct Beside {
    name: &'static str,
    pidfd: OwnedFd,
    order: *mut Order,
    /// Until the process has ended.
    _stack: Stack,
    taken: bool,
}

impl Beside {
    /// Begins with it.
    ///
    /// # Safety
    /// `step` is as the type says.
    ///
    /// # Errors
    /// clone(2)'s.
    pub(crate) unsafe fn begin(name: &'static str, step: Step) -> Result<Self> {
        let stack = Stack::new()?;
        // Killed, it leaves this answer.
        let order = Box::into_raw(Box::new(Order { step, answer: AtomicI32::new(-libc::EINTR) }));
        let mut pidfd: c_int = -1;
        let masked = MaskedSignals::new();
        // SAFETY: the child runs `carry_out` on a stack of its own, which is kept until it has ended, as is the order. The rest of
        // the shared memory it leaves alone, as the caller promises. All signals are masked in it: no handler runs there. Without
        // a signal of its end nobody else takes its status.
        let pid = unsafe {
            libc::clone(
                carry_out,
                stack.top(),
                libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_PIDFD,
                order.cast::<c_void>(),
                &raw mut pidfd,
            )
        };
        let begun = check("clone", pid.into());
        drop(masked);
        if let Err(error) = begun {
            // SAFETY: made above, and there is no child that has it.
            drop(unsafe { Box::from_raw(order) });
            return Err(error);
        }
        // SAFETY: the call succeeded with CLONE_PIDFD, so the kernel stored a new descriptor that is ours alone.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Self { name, pidfd, order, _stack: stack, taken: false })
    }

    /// Waits for its answer.
    ///
    /// # Errors
    /// The step's; waitid(2)'s.
    pub(crate) fn finish(mut self) -> Result<OwnedFd> {
        self.take()
    }

    fn take(&mut self) -> Result<OwnedFd> {
        self.taken = true;
        loop {
            match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | ALL) {
                Ok(Some(_)) => break,
                Ok(None) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::new("waitid", self.name, errno)),
            }
        }
        // SAFETY: made in `begin`; the process that had it, too, has ended.
        let order = unsafe { Box::from_raw(std::mem::replace(&mut self.order, std::ptr::null_mut())) };
        match order.answer.load(Ordering::Acquire) {
            // SAFETY: the process opened it in the table that it shared with this one, and left it to us.
            fd @ 0.. => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            negated => Err(Error::new("make", self.name, Errno::from_raw_os_error(-negated))),
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.taken {
            // Nobody wants its answer; it is closed here.
            let _ = self.take();
        }
    }
}

extern "C" fn carry_out(order: *mut c_void) -> c_int {
    // SAFETY: `begin` passes an order that outlives this process; the parent reads it when this has ended.
    let order = unsafe { &*order.cast::<Order>() };
    let answer = match (order.step)() {
        Ok(fd) => fd.into_raw_fd(),
        Err(errno) => -errno.raw_os_error(),
    };
    order.answer.store(answer, Ordering::Release);
    // SAFETY: ends the child only, without this process's exit handlers.
    unsafe { libc::_exit(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> std::result::Result<OwnedFd, Errno> {
        rustix::fs::open(c"/dev/null", rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())
    }

    fn refuse() -> std::result::Result<OwnedFd, Errno> {
        Err(Errno::NOSPC)
    }

    #[test]
    fn its_answer_is_this_processs() {
        // SAFETY: system calls alone.
        let beside = unsafe { Beside::begin("null device", open) }.unwrap();
        let file = std::fs::File::from(beside.finish().unwrap());
        assert!(std::os::unix::fs::FileTypeExt::is_char_device(&file.metadata().unwrap().file_type()));
        // SAFETY: as above.
        let refused = unsafe { Beside::begin("nothing", refuse) }.unwrap().finish().unwrap_err();
        assert_eq!(refused.errno(), libc::ENOSPC);
    }

    #[test]
    fn dropped_it_leaves_nothing() {
        // SAFETY: system calls alone.
        let beside = unsafe { Beside::begin("null device", open) }.unwrap();
        let pid = super::super::pidfd_pid(beside.pidfd.as_fd()).unwrap();
        drop(beside);
        assert!(super::super::pidfd_open(pid).is_err(), "{pid} is there");
    }
}
