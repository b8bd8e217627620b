//! The user's terminal: its size, and raw mode, which is left on every way out.

use std::os::fd::BorrowedFd;
use std::sync::Mutex;

use rustix::termios::{OptionalActions, Termios};

/// The terminal's settings before raw mode, while it is in raw mode.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether stdin is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    rustix::termios::isatty(rustix::stdio::stdin())
}

/// Whether stdout is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    rustix::termios::isatty(rustix::stdio::stdout())
}

/// Whether stderr is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    rustix::termios::isatty(rustix::stdio::stderr())
}

/// Height and width of the terminal; `None` when there is none.
pub(crate) fn size() -> Option<[u16; 2]> {
    let of = |fd: BorrowedFd<'_>| rustix::termios::tcgetwinsize(fd).ok();
    let size = of(rustix::stdio::stdout()).or_else(|| of(rustix::stdio::stdin()))?;
    (size.ws_row > 0 && size.ws_col > 0).then_some([size.ws_row, size.ws_col])
}

/// Raw mode, until dropped.
#[derive(Debug)]
pub(crate) struct Raw(());

impl Raw {
    /// Puts the terminal into raw mode. Panics and early exits restore it too, by way of [`restore`].
    pub(crate) fn enter() -> std::io::Result<Self> {
        let stdin = rustix::stdio::stdin();
        let before = rustix::termios::tcgetattr(stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        *SAVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(before);
        rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Leaves raw mode, if the terminal is in it.
pub(crate) fn restore() {
    let saved = SAVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(before) = saved {
        // The terminal may be gone; then there is nothing to restore.
        let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &before);
    }
}

/// Without echo, as for a password, until dropped.
#[derive(Debug)]
pub(crate) struct Silent(());

impl Silent {
    /// Turns echo off.
    pub(crate) fn enter() -> std::io::Result<Self> {
        let stdin = rustix::stdio::stdin();
        let before = rustix::termios::tcgetattr(stdin)?;
        let mut silent = before.clone();
        silent.local_modes.remove(rustix::termios::LocalModes::ECHO);
        *SAVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(before);
        rustix::termios::tcsetattr(stdin, OptionalActions::Flush, &silent)?;
        Ok(Self(()))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        restore();
    }
}
