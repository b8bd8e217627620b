//! A program started from a large, threaded process: vfork semantics, so the parent's memory is not copied.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::apart::{MaskedSignals, Stack};
use super::limit::descriptors_of_children;
use super::low::Low;
use super::{Spawned, check, reap};
use crate::{Error, Result};

/// Starts `program` (an open file, such as a sealed memfd) as a new session's leader.
///
/// The child has fds 0, 1 and 2 of this process, and `fds` at the numbers that stand beside them; nothing else.
/// Signal mask and dispositions are the defaults, the limit of descriptors is what it was before
/// [`raise_descriptor_limit`](super::raise_descriptor_limit). Returns when the program has been executed.
///
/// # Errors
/// clone(2)'s or execveat(2)'s; EINVAL for a string with a zero byte. No child is left then.
pub fn spawn(
    program: BorrowedFd<'_>,
    argv: &[&str],
    env: &[(&str, &str)],
    fds: &[(BorrowedFd<'_>, i32)],
) -> Result<Spawned> {
    start(&Program::Open(program), argv, env, fds)
}

/// As [`spawn`], of the program at an absolute path, which may be a script.
///
/// # Errors
/// As there, with execve(2)'s.
pub fn spawn_at(
    path: &str,
    argv: &[&str],
    env: &[(&str, &str)],
    fds: &[(BorrowedFd<'_>, i32)],
) -> Result<Spawned> {
    let failed = |errno| Error::new("execve", path, errno);
    if !path.starts_with('/') {
        return Err(failed(Errno::NOENT));
    }
    let path = CString::new(path).map_err(|_| failed(Errno::INVAL))?;
    start(&Program::At(&path), argv, env, fds)
}

enum Program<'a> {
    Open(BorrowedFd<'a>),
    At(&'a CStr),
}

fn start(
    program: &Program<'_>,
    argv: &[&str],
    env: &[(&str, &str)],
    fds: &[(BorrowedFd<'_>, i32)],
) -> Result<Spawned> {
    let name = argv.first().copied().unwrap_or_default();
    let c_string = |text: String| CString::new(text).map_err(|_| Error::new("spawn", name, Errno::INVAL));
    let argv: Vec<CString> = argv.iter().map(|a| c_string((*a).to_owned())).collect::<Result<_>>()?;
    let env: Vec<CString> = env.iter().map(|(k, v)| c_string(format!("{k}={v}"))).collect::<Result<_>>()?;
    let argv_pointers = pointers(&argv);
    let env_pointers = pointers(&env);
    if fds.iter().any(|(_, to)| *to < 0) {
        return Err(Error::new("spawn", name, Errno::BADF));
    }
    let file = match program {
        Program::Open(program) => Some(*program),
        Program::At(_) => None,
    };
    let sources: Vec<BorrowedFd<'_>> = fds.iter().map(|(from, _)| *from).chain(file).collect();
    let low = Low::copy(&sources);
    let mut numbers: Vec<c_int> = match &low {
        Some(low) => low.numbers().collect(),
        None => sources.iter().map(AsRawFd::as_raw_fd).collect(),
    };
    let file = file.and_then(|_| numbers.pop());
    let mut moves: Vec<Move> =
        numbers.into_iter().zip(fds).map(|(from, (_, to))| Move { from, to: *to }).collect();
    let above = moves.iter().map(|m| m.to).max().unwrap_or(2).max(2) + 1;
    let mut order = Order {
        program: file.unwrap_or(-1),
        path: match program {
            Program::Open(_) => c"".as_ptr(),
            Program::At(path) => path.as_ptr(),
        },
        argv: argv_pointers.as_ptr(),
        env: env_pointers.as_ptr(),
        moves: &mut moves,
        above,
        low: low.as_ref().map(Low::above),
        descriptors: descriptors_of_children()
            .map(|(soft, hard)| libc::rlimit64 { rlim_cur: soft, rlim_max: hard }),
        errno: 0,
    };
    let stack = Stack::new()?;
    let mut pidfd: c_int = -1;
    let table = if low.is_some() { libc::CLONE_FILES } else { 0 };
    let masked = MaskedSignals::new();
    // SAFETY: the child runs `begin` on its own stack and shares this memory, but this thread stands still until
    // the child has executed or exited (CLONE_VFORK), so the borrowed strings and `order` stay valid and are not
    // touched meanwhile. `begin` neither allocates nor locks nor returns, so other threads' locks do not matter.
    // Signals are masked, so that no handler of this process runs in the child on shared memory. A descriptor table that is
    // shared is not changed before the child has its own.
    let pid = unsafe {
        libc::clone(
            begin,
            stack.top(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | table | libc::SIGCHLD,
            (&raw mut order).cast::<c_void>(),
            &raw mut pidfd,
        )
    };
    let spawned = check("clone", pid.into());
    drop(masked);
    let pid = spawned? as i32;
    // SAFETY: the call succeeded with CLONE_PIDFD, so the kernel stored a new descriptor that is ours alone.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    if order.errno != 0 {
        let error = Error::new("execve", name, Errno::from_raw_os_error(order.errno));
        let _ = reap(std::os::fd::AsFd::as_fd(&pidfd));
        return Err(error);
    }
    Ok(Spawned { pid, pidfd })
}

struct Move {
    from: c_int,
    to: c_int,
}

/// What the child does, made ready beforehand: it must not allocate.
struct Order<'a> {
    /// An open file; negative for the one at `path`.
    program: c_int,
    path: *const c_char,
    argv: *const *const c_char,
    env: *const *const c_char,
    moves: &'a mut [Move],
    /// The first descriptor number that is above all targets.
    above: c_int,
    /// The child shares the descriptor table, and needs of it what is below this number.
    low: Option<c_int>,
    /// Its limit of descriptors, if not this process's.
    descriptors: Option<libc::rlimit64>,
    /// The child's answer, in the shared memory; 0 when it has executed.
    errno: c_int,
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

extern "C" fn begin(order: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes an Order that outlives the child's use of it, and stands still meanwhile.
    let order = unsafe { &mut *order.cast::<Order<'_>>() };
    order.errno = carry_out(order);
    // SAFETY: ends the child only, without this process's exit handlers.
    unsafe { libc::_exit(127) }
}

/// Comes back with an errno, or not at all. Async-signal-safe calls only.
fn carry_out(order: &mut Order<'_>) -> c_int {
    let errno = || std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    // SAFETY: system calls on plain numbers and on strings that `spawn` keeps alive. The child has its own
    // signal dispositions (no CLONE_SIGHAND), and its own descriptor table from the first call on.
    unsafe {
        if let Some(low) = order.low
            && libc::syscall(libc::SYS_close_range, low, u32::MAX, libc::CLOSE_RANGE_UNSHARE) < 0
        {
            return errno();
        }
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        if libc::setsid() < 0 {
            return errno();
        }
        // First everything above the targets, so that no move can overwrite a source.
        let by_path = order.program < 0;
        let program =
            if by_path { -1 } else { libc::fcntl(order.program, libc::F_DUPFD_CLOEXEC, order.above) };
        if program < 0 && !by_path {
            return errno();
        }
        for entry in order.moves.iter_mut() {
            entry.from = libc::fcntl(entry.from, libc::F_DUPFD_CLOEXEC, order.above);
            if entry.from < 0 {
                return errno();
            }
        }
        if libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) < 0 {
            return errno();
        }
        for entry in order.moves.iter() {
            if libc::dup2(entry.from, entry.to) < 0 {
                return errno();
            }
        }
        if let Some(limit) = &order.descriptors
            && libc::setrlimit64(libc::RLIMIT_NOFILE, limit) < 0
        {
            return errno();
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        if by_path {
            libc::execve(order.path, order.argv, order.env);
        } else {
            libc::syscall(
                libc::SYS_execveat,
                program,
                order.path,
                order.argv,
                order.env,
                libc::AT_EMPTY_PATH,
            );
        }
        errno()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::super::{ExitStatus, reap};
    use super::*;

    fn busybox() -> File {
        File::open("/bin/busybox").expect("these tests need /bin/busybox (Debian: busybox-static)")
    }

    fn pipe() -> (File, File) {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        (read.into(), write.into())
    }

    #[test]
    fn the_child_has_the_asked_for_descriptors_and_no_other() {
        let (mut read, write) = pipe();
        let leak = File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
        // The target 5 and 6 may be sources' own numbers: the moves must not overwrite each other.
        let script = "echo $A; ls /proc/self/fd >&6; cut -d' ' -f1,6 /proc/self/stat >&6; exit 7";
        let child = spawn(
            busybox().as_fd(),
            &["sh", "-c", script],
            &[("A", "b"), ("PATH", "/bin")],
            &[(write.as_fd(), 6), (write.as_fd(), 1)],
        )
        .unwrap();
        drop(write);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(reap(child.pidfd.as_fd()).unwrap(), ExitStatus::Code(7));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "b");
        // 3 is the directory that ls reads.
        assert_eq!(lines[1..6], ["0", "1", "2", "3", "6"], "{text}");
        assert!(lines[6].ends_with(&child.pid.to_string()), "session leader: {text}");
    }

    #[test]
    fn children_at_once_have_their_own_where_low_numbers_are_kept() {
        super::super::keep_low_descriptors().unwrap();
        let _many: Vec<_> = (0..200).map(|_| File::open("/dev/null").unwrap()).collect();
        // More than there are numbers: some have to do without.
        let child = |number: usize| {
            let (mut read, write) = pipe();
            let script = format!("ls /proc/self/fd >&6; echo {number} >&9");
            let fds: Vec<_> = (1..10).map(|to| (write.as_fd(), to)).collect();
            let child = spawn(busybox().as_fd(), &["sh", "-c", &script], &[("PATH", "/bin")], &fds).unwrap();
            drop(fds);
            drop(write);
            let mut text = String::new();
            read.read_to_string(&mut text).unwrap();
            assert_eq!(reap(child.pidfd.as_fd()).unwrap(), ExitStatus::Code(0));
            let mut lines: Vec<_> = text.lines().collect();
            assert_eq!(lines.pop(), Some(number.to_string().as_str()));
            // 10 is the directory that ls reads.
            assert_eq!(lines, ["0", "1", "10", "2", "3", "4", "5", "6", "7", "8", "9"]);
        };
        std::thread::scope(|scope| {
            for number in 0..8 {
                scope.spawn(move || (0..4).for_each(|again| child(number * 4 + again)));
            }
        });
    }

    #[test]
    fn the_child_has_the_limit_from_before() {
        let before = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        super::super::raise_descriptor_limit().unwrap();
        let raised = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        assert_eq!(raised.current, before.maximum);
        let (mut read, write) = pipe();
        let child =
            spawn(busybox().as_fd(), &["sh", "-c", "ulimit -Sn; ulimit -Hn"], &[], &[(write.as_fd(), 1)])
                .unwrap();
        drop(write);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(reap(child.pidfd.as_fd()).unwrap(), ExitStatus::Code(0));
        let shown = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |n| n.to_string());
        assert_eq!(text, format!("{}\n{}\n", shown(before.current), shown(before.maximum)));
    }

    #[test]
    fn a_program_that_cannot_be_executed_is_an_error_and_no_child() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"no program").unwrap();
        let error = spawn(file.as_fd(), &["x"], &[], &[]).unwrap_err();
        assert_eq!(error.errno(), libc::EACCES);
    }

    #[test]
    fn a_program_is_found_by_its_path_and_may_be_a_script() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("script");
        crate::file::write_atomic(
            &path,
            b"#!/bin/busybox sh\nexit $1\n",
            0o755,
            crate::file::Durability::Process,
        )
        .unwrap();
        let path = path.to_str().unwrap();
        let child = spawn_at(path, &[path, "7"], &[], &[]).unwrap();
        assert_eq!(reap(child.pidfd.as_fd()).unwrap(), ExitStatus::Code(7));
        assert_eq!(spawn_at("/no/such", &["x"], &[], &[]).unwrap_err().errno(), libc::ENOENT);
        assert_eq!(spawn_at("script", &["x"], &[], &[]).unwrap_err().errno(), libc::ENOENT);
    }

    #[test]
    fn a_signal_is_a_status_of_its_own() {
        let child = spawn(busybox().as_fd(), &["sleep", "1000"], &[], &[]).unwrap();
        super::super::pidfd_send_signal(child.pidfd.as_fd(), libc::SIGTERM).unwrap();
        assert_eq!(reap(child.pidfd.as_fd()).unwrap(), ExitStatus::Signal(libc::SIGTERM));
    }
}
