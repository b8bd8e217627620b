//! Pseudo-terminals (pty(7)): a pair whose peer comes by TIOCGPTPEER, sizes.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::{Error, Result};

/// A new pseudo-terminal.
#[derive(Debug)]
pub struct Pair {
    /// The end that plays the keyboard and screen.
    pub controller: OwnedFd,
    /// The end that programs get.
    pub terminal: OwnedFd,
}

/// A newline that is written to a terminal stays one, for whoever reads its controlling end and shows it elsewhere.
///
/// # Errors
/// termios(3)'s.
pub fn keep_newlines(terminal: BorrowedFd<'_>) -> Result<()> {
    let failed = |errno| Error::new("set the mode of", "terminal", errno);
    let mut mode = rustix::termios::tcgetattr(terminal).map_err(failed)?;
    mode.output_modes.remove(rustix::termios::OutputModes::ONLCR);
    rustix::termios::tcsetattr(terminal, rustix::termios::OptionalActions::Now, &mode).map_err(failed)
}

/// Makes a pseudo-terminal in the devpts instance that is mounted at `directory`.
///
/// The terminal is opened through its controller, never by its name, which the container could have replaced.
///
/// # Errors
/// open(2)'s of `ptmx`, and ioctl_tty(2)'s.
pub fn open(directory: BorrowedFd<'_>) -> Result<Pair> {
    let failed = |step| move |errno| Error::new(step, "ptmx", errno);
    let controller = rustix::fs::openat2(
        directory,
        c"ptmx",
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    )
    .map_err(failed("open"))?;
    rustix::pty::unlockpt(&controller).map_err(failed("unlock"))?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = rustix::pty::ioctl_tiocgptpeer(&controller, flags).map_err(failed("open the peer of"))?;
    Ok(Pair { controller, terminal })
}

/// Sets the number of rows and columns; programs on the terminal get SIGWINCH.
///
/// # Errors
/// ioctl_tty(2)'s.
pub fn resize(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).map_err(|errno| Error::new("resize", "terminal", errno))
}

/// Makes it the controlling terminal of the calling session leader.
///
/// # Errors
/// ioctl_tty(2)'s.
pub fn control(terminal: BorrowedFd<'_>) -> Result<()> {
    rustix::process::ioctl_tiocsctty(terminal).map_err(|errno| Error::new("control", "terminal", errno))
}

/// Gives the terminal, or any open file, to a user, and leaves its group as it is.
///
/// # Errors
/// chown(2)'s.
pub fn give(terminal: BorrowedFd<'_>, uid: u32) -> Result<()> {
    rustix::fs::fchown(terminal, Some(Uid::from_raw(uid)), None::<Gid>)
        .map_err(|errno| Error::new("chown", "terminal", errno))
}

/// Gives a pipe or socket to a user (and a group), so that it can open `/dev/stdout`; anything else stays as it is, as it
/// does when the call fails.
pub fn give_pipe(fd: BorrowedFd<'_>, uid: u32, gid: Option<u32>) {
    use rustix::fs::FileType;
    let kind = rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
    if matches!(kind, Ok(FileType::Fifo | FileType::Socket)) {
        let _ = rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), gid.map(Gid::from_raw));
    }
}

/// [`give_pipe`] for the calling process's own standard streams.
pub fn give_own_pipes(uid: u32, gid: Option<u32>) {
    let streams = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let streams = [streams.0.as_fd(), streams.1.as_fd(), streams.2.as_fd()];
    streams.into_iter().for_each(|fd| give_pipe(fd, uid, gid));
}

/// Makes these three descriptors 0, 1 and 2 of this process. They stay open over execve(2).
///
/// # Errors
/// dup(2)'s.
pub fn set_standard(stdin: BorrowedFd<'_>, stdout: BorrowedFd<'_>, stderr: BorrowedFd<'_>) -> Result<()> {
    // Copies above 2 first, so that no dup2 closes a source.
    let copy = |fd: BorrowedFd<'_>| {
        rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|errno| Error::new("dup", "stdio", errno))
    };
    let copies = [copy(stdin)?, copy(stdout)?, copy(stderr)?];
    for (number, fd) in (0..).zip(&copies) {
        // SAFETY: 0, 1 and 2 are the standard streams, which no value of this process owns by an OwnedFd.
        if unsafe { libc::dup2(fd.as_fd().as_raw_fd(), number) } < 0 {
            return Err(Error::new("dup", "stdio", std::io::Error::last_os_error()));
        }
    }
    Ok(())
}

/// The rows and columns of a terminal; `None` when it is none, or has no size.
pub fn size(terminal: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// The process's own terminal passes every key on while this lives, and is as it was afterwards.
#[derive(Debug)]
pub struct Raw {
    terminal: OwnedFd,
    before: rustix::termios::Termios,
}

impl Raw {
    /// Makes it so.
    ///
    /// # Errors
    /// termios(3)'s: ENOTTY when it is no terminal.
    pub fn enter(terminal: BorrowedFd<'_>) -> Result<Self> {
        let failed = |errno| Error::new("set the mode of", "terminal", errno);
        let before = rustix::termios::tcgetattr(terminal).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        // What is shown there has plain newlines: see [`keep_newlines`].
        raw.output_modes |= before.output_modes & rustix::termios::OutputModes::OPOST;
        rustix::termios::tcsetattr(terminal, rustix::termios::OptionalActions::Now, &raw).map_err(failed)?;
        let terminal = rustix::io::fcntl_dupfd_cloexec(terminal, 3).map_err(failed)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no settings.
        let now = rustix::termios::OptionalActions::Now;
        let _ = rustix::termios::tcsetattr(&self.terminal, now, &self.before);
    }
}
