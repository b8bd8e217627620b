//! Waiting on many fds in one thread: epoll(7), signalfd(2), poll(2).

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{self, PollFd, PollFlags, Timespec, epoll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::{Error, Result};

/// What to wait for. A closed peer and an error are always reported, even with neither.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Interest {
    /// Bytes (or a connection, or the end) can be read.
    pub read: bool,
    /// Bytes can be written.
    pub write: bool,
}

impl Interest {
    /// Only reading.
    pub const READ: Self = Self { read: true, write: false };
    /// Only writing.
    pub const WRITE: Self = Self { read: false, write: true };
}

/// An fd that is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// What it was registered with.
    pub token: u64,
    /// A read will not block.
    pub read: bool,
    /// A write will not block.
    pub write: bool,
    /// Both directions have ended, or the fd has failed (EPOLLHUP, EPOLLERR).
    pub closed: bool,
}

/// A set of fds to wait on, level-triggered.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

/// How many ready fds one wait reports; the rest come with the next.
const BATCH: usize = 32;

impl Epoll {
    /// An empty set.
    ///
    /// # Errors
    /// epoll_create1(2)'s.
    pub fn new() -> Result<Self> {
        let fd = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| Error::new("epoll_create", "", e))?;
        Ok(Self(fd))
    }

    /// Adds an fd. `token` comes back when it is ready. A closed fd leaves the set by itself only when it has
    /// no duplicates, in this process or another.
    ///
    /// # Errors
    /// epoll_ctl(2)'s; EPERM for a regular file.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> Result<()> {
        epoll::add(&self.0, fd, epoll::EventData::new_u64(token), flags(interest))
            .map_err(|e| Error::new("epoll_ctl", "add", e))
    }

    /// Changes what an fd in the set waits for.
    ///
    /// # Errors
    /// epoll_ctl(2)'s.
    pub fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> Result<()> {
        epoll::modify(&self.0, fd, epoll::EventData::new_u64(token), flags(interest))
            .map_err(|e| Error::new("epoll_ctl", "modify", e))
    }

    /// Takes an fd out.
    ///
    /// # Errors
    /// epoll_ctl(2)'s.
    pub fn remove(&self, fd: impl AsFd) -> Result<()> {
        epoll::delete(&self.0, fd).map_err(|e| Error::new("epoll_ctl", "remove", e))
    }

    /// Waits until an fd is ready or `timeout` has passed (`None` is for ever), and puts what is ready into
    /// `ready`, which is emptied first. A signal that interrupts the wait leaves it empty.
    ///
    /// # Errors
    /// epoll_wait(2)'s.
    pub fn wait(&self, ready: &mut Vec<Ready>, timeout: Option<Duration>) -> Result<()> {
        ready.clear();
        let mut events = [MaybeUninit::uninit(); BATCH];
        let timeout = timeout.map(timespec);
        match epoll::wait(&self.0, &mut events, timeout.as_ref()) {
            Ok((events, _)) => {
                // The kernel's structure is packed: its fields are copied, not borrowed.
                ready.extend(events.iter().map(|&epoll::Event { flags, data }| Ready {
                    token: data.u64(),
                    read: flags.intersects(epoll::EventFlags::IN),
                    write: flags.intersects(epoll::EventFlags::OUT),
                    closed: flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR),
                }));
                Ok(())
            }
            Err(Errno::INTR) => Ok(()),
            Err(e) => Err(Error::new("epoll_wait", "", e)),
        }
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn flags(interest: Interest) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::empty();
    flags.set(epoll::EventFlags::IN, interest.read);
    flags.set(epoll::EventFlags::OUT, interest.write);
    flags
}

fn timespec(duration: Duration) -> Timespec {
    let tv_sec = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: i64::from(duration.subsec_nanos()) }
}

/// Waits for one fd; `false` when `timeout` has passed first.
///
/// # Errors
/// poll(2)'s, but EINTR, after which it waits again.
pub fn wait(fd: impl AsFd, interest: Interest, timeout: Option<Duration>) -> Result<bool> {
    let mut wanted = PollFlags::empty();
    wanted.set(PollFlags::IN, interest.read);
    wanted.set(PollFlags::OUT, interest.write);
    let end = timeout.map(|t| std::time::Instant::now() + t);
    loop {
        let left = end.map(|end| timespec(end.saturating_duration_since(std::time::Instant::now())));
        match event::poll(&mut [PollFd::new(&fd, wanted)], left.as_ref()) {
            Ok(n) => return Ok(n > 0),
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::new("poll", "", e)),
        }
    }
}

/// Makes reads and writes fail with EAGAIN instead of waiting. Holds for every duplicate of the fd, in every
/// process: do not use it on an fd that was inherited or received.
///
/// # Errors
/// fcntl(2)'s.
pub fn set_nonblocking(fd: impl AsFd) -> Result<()> {
    fcntl_getfl(&fd)
        .and_then(|flags| fcntl_setfl(&fd, flags | OFlags::NONBLOCK))
        .map_err(|e| Error::new("fcntl", "O_NONBLOCK", e))
}

/// Makes a pipe hold up to `bytes`; what it holds now (pipe(7): 64 KiB unless set, 1 MiB at most without
/// `CAP_SYS_RESOURCE`).
///
/// # Errors
/// fcntl(2)'s; EBADF for what is no pipe, EPERM beyond the limit.
pub fn set_pipe_size(pipe: impl AsFd, bytes: usize) -> Result<usize> {
    rustix::pipe::fcntl_setpipe_size(pipe, bytes).map_err(|e| Error::new("fcntl", "F_SETPIPE_SZ", e))
}

/// Signals that arrive as readable bytes instead of interrupting (signalfd(2)).
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks these signals in the calling thread and makes them readable. Threads and processes started
    /// later inherit the block: a program to be executed needs it undone first.
    ///
    /// # Errors
    /// sigprocmask(2)'s and signalfd(2)'s; EINVAL for a number that is no signal.
    pub fn block(signals: &[i32]) -> Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the whole set through a valid pointer.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: sigemptyset has just initialised it, and it cannot fail.
        let mut set = unsafe { set.assume_init() };
        for &signal in signals {
            // SAFETY: `set` is an initialised set; an invalid number is refused with EINVAL.
            if unsafe { libc::sigaddset(&raw mut set, signal) } != 0 {
                return Err(Error::new("sigaddset", signal.to_string(), io::Error::last_os_error()));
            }
        }
        // SAFETY: `set` is initialised and outlives the call; a null old set is allowed.
        let result = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if result != 0 {
            return Err(Error::new("sigprocmask", "", io::Error::from_raw_os_error(result)));
        }
        // SAFETY: -1 asks for a new fd; `set` is initialised and outlives the call.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(Error::new("signalfd", "", io::Error::last_os_error()));
        }
        // SAFETY: the kernel has just made this fd for us, so nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The number of a signal that has arrived; `None` when there is none. Several of the same kind count as
    /// one.
    ///
    /// # Errors
    /// read(2)'s.
    pub fn take(&mut self) -> Result<Option<i32>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is `size` bytes, writable, and lives across the call.
        let n = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if usize::try_from(n) == Ok(size) {
            // SAFETY: the kernel filled the whole structure, which holds integers only.
            let info = unsafe { info.assume_init() };
            return Ok(i32::try_from(info.ssi_signo).ok());
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::WouldBlock {
            return Ok(None);
        }
        Err(Error::new("read", "signalfd", error))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_pipe_is_ready_with_its_token_and_then_closed() {
        let (reader, mut writer) = io::pipe().unwrap();
        let epoll = Epoll::new().unwrap();
        epoll.add(&reader, 7, Interest::READ).unwrap();
        let mut ready = Vec::new();
        epoll.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        assert!(ready.is_empty());
        writer.write_all(b"x").unwrap();
        epoll.wait(&mut ready, None).unwrap();
        assert_eq!(ready, [Ready { token: 7, read: true, write: false, closed: false }]);
        epoll.modify(&reader, 8, Interest::default()).unwrap();
        drop(writer);
        epoll.wait(&mut ready, None).unwrap();
        assert_eq!(ready, [Ready { token: 8, read: false, write: false, closed: true }]);
        epoll.remove(&reader).unwrap();
        epoll.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        assert!(ready.is_empty());
    }

    #[test]
    fn a_blocked_signal_is_read() {
        let mut signals = Signals::block(&[libc::SIGUSR2]).unwrap();
        assert_eq!(signals.take().unwrap(), None);
        // SAFETY: raise has no memory effects; the signal is blocked in this thread.
        unsafe { libc::raise(libc::SIGUSR2) };
        assert!(wait(&signals, Interest::READ, Some(Duration::from_secs(5))).unwrap());
        assert_eq!(signals.take().unwrap(), Some(libc::SIGUSR2));
    }
}
