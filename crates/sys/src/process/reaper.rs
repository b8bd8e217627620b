//! The duties of a pid namespace's first process (pid_namespaces(7)), for programs that do not know them: forward
//! signals, reap orphans, end with the one program that counts.

use std::os::fd::AsRawFd;

use super::{Spawned, pidfd_send_signal, reap, reap_any};
use crate::Result;
use crate::poll::{self, Interest, Signals};

/// Signals that tell of a fault in the process itself, and those that cannot be blocked or are the C library's.
const NOT_FORWARDED: [i32; 11] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
    32,
    33,
];

/// Blocks every signal that [`become_reaper`] forwards. To be called before the program's process is made, so that no
/// signal is lost; the program has them unblocked by [`super::reset_signals`].
///
/// # Errors
/// As [`Signals::block`].
pub fn hold_signals() -> Result<Signals> {
    let forwarded: Vec<i32> = (1..=64).filter(|signal| !NOT_FORWARDED.contains(signal)).collect();
    Signals::block(&forwarded)
}

/// Becomes the leader of a process group, in the foreground of the terminal that standard input is, if it is one.
/// SIGTTOU must be blocked.
pub fn lead_foreground() {
    // It fails for a session leader, which leads a group already.
    let _ = rustix::process::setpgid(None, None);
    // Without a terminal there is no foreground.
    let _ = rustix::termios::tcsetpgrp(std::io::stdin(), rustix::process::getpgrp());
}

/// Closes every descriptor but the standard ones, and lives on for `child`: forwards what arrives at `signals`, reaps,
/// and exits with the child's code (128 + signal when one ended it).
pub fn become_reaper(mut signals: Signals, child: &Spawned) -> ! {
    use std::os::fd::AsFd;
    let mut kept = [signals.as_fd().as_raw_fd().cast_unsigned(), child.pidfd.as_raw_fd().cast_unsigned()];
    kept.sort_unstable();
    let mut first = 3;
    for end in [kept[0], kept[1], u32::MAX] {
        if first < end {
            let last = if end == u32::MAX { end } else { end - 1 };
            // SAFETY: plain numbers. Other owners lose their descriptors, but this function never returns and uses
            // only the two that are kept: no code of theirs runs again in this process.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
        first = end.saturating_add(1);
    }
    let code = serve(&mut signals, child);
    // SAFETY: ends this process at once, without the exit handlers of the program that it is a copy of.
    unsafe { libc::_exit(code) }
}

fn serve(signals: &mut Signals, child: &Spawned) -> i32 {
    use std::os::fd::AsFd;
    while poll::wait(&*signals, Interest::READ, None).is_ok() {
        while let Ok(Some(signal)) = signals.take() {
            if signal != libc::SIGCHLD {
                // It may have ended just now: its end is the next to be seen.
                let _ = pidfd_send_signal(child.pidfd.as_fd(), signal);
            }
        }
        while let Ok(Some(reaped)) = reap_any() {
            if reaped.pid == child.pid {
                return reaped.status.code();
            }
        }
    }
    // Without its signals there is only the program's end to wait for.
    reap(child.pidfd.as_fd()).map_or(1, super::ExitStatus::code)
}
