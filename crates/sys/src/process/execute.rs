//! The last steps of a cloned child before its program, and the execve itself.

use std::ffi::{CStr, CString, c_char};

use rustix::fs::Mode;

use super::check;
use crate::{Error, Result};

/// Puts this process in the state that programs expect: every signal unmasked and at its default, SIGPIPE too.
pub fn reset_signals() {
    // SAFETY: plain numbers. SIGKILL, SIGSTOP and the C library's own two signals are refused, which is right.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// The mode bits that new files do not get.
pub fn set_umask(mask: u32) {
    rustix::process::umask(Mode::from_raw_mode(mask));
}

/// Marks every descriptor from `first` on close-on-exec, whoever opened it and how.
///
/// # Errors
/// close_range(2)'s.
pub fn seal_descriptors(first: u32) -> Result<()> {
    // SAFETY: plain numbers; CLOSE_RANGE_CLOEXEC closes nothing now, so no owner loses its descriptor.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    check("close_range", answer).map(drop)
}

/// execve(2). Comes back only with an error.
pub fn execute(program: &CStr, argv: &[CString], env: &[CString]) -> Error {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: the three are nul-terminated strings and null-terminated arrays, alive until the call is over.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    Error::new("execve", program.to_string_lossy(), std::io::Error::last_os_error())
}
