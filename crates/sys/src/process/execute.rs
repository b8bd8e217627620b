//! The last steps of a cloned child before its program, and the execve itself.

use std::ffi::{CStr, CString, c_char};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, Mode};
use rustix::io::Errno;

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

/// chdir(2).
///
/// # Errors
/// chdir(2)'s.
pub fn change_directory(path: &str) -> Result<()> {
    rustix::process::chdir(path).map_err(|errno| Error::new("chdir", path, errno))
}

/// That the working directory lies under the root: the kernel marks a path that does not (getcwd(2)).
///
/// # Errors
/// getcwd(2)'s; ENOENT when it lies outside.
pub fn check_current_directory() -> Result<()> {
    let path = rustix::process::getcwd(Vec::new()).map_err(|errno| Error::new("getcwd", "", errno))?;
    if path.to_bytes().starts_with(b"/") { Ok(()) } else { Err(Error::new("getcwd", "", Errno::NOENT)) }
}

/// Executes this program again, from a read-only mount of its own file that is attached nowhere: whatever gets hold of
/// `/proc/<pid>/exe` cannot write to it (CVE-2019-5736). Comes back at once when it is run so already.
///
/// # Errors
/// open_tree(2)'s, mount_setattr(2)'s and execveat(2)'s.
pub fn run_read_only() -> Result<()> {
    const EXE: &str = "/proc/self/exe";
    let failed = |errno| Error::new("seal", EXE, errno);
    let system = rustix::fs::statvfs(EXE).map_err(failed)?;
    if system.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let mount = crate::mount::Mount::copy(Path::new(EXE), crate::mount::Depth::One)?;
    let read_only = crate::mount::Attributes::READ_ONLY;
    mount.set(read_only, crate::mount::Attributes::empty(), crate::mount::Depth::One)?;
    let c_string = |text: std::ffi::OsString| CString::new(text.into_encoded_bytes()).unwrap_or_default();
    let argv: Vec<CString> = std::env::args_os().map(c_string).collect();
    let env: Vec<CString> = std::env::vars_os()
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            c_string(name)
        })
        .collect();
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(&argv), pointers(&env));
    let fd = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&mount));
    // SAFETY: an open descriptor, nul-terminated strings and null-terminated arrays, alive until the call is over.
    unsafe {
        libc::syscall(libc::SYS_execveat, fd, c"".as_ptr(), argv.as_ptr(), env.as_ptr(), libc::AT_EMPTY_PATH)
    };
    Err(Error::new("execveat", EXE, std::io::Error::last_os_error()))
}

/// Whether this process's effective user may execute the file at `path`.
pub fn may_execute(path: &Path) -> bool {
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

/// Leaves the session keyring for a new, empty one (session-keyring(7)). Kernels without keyrings have none to
/// leave and a user over
/// its quota gets none: then all stays as it is.
pub fn leave_session_keyring() {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: keyctl with a null name takes no memory of ours.
    unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<c_char>()) };
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
