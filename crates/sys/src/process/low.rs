//! Numbers at the lower end of the descriptor table, kept for what children are given.
//!
//! A process with thousands of descriptors pays for each of them at each child: the table is copied, and at the child's
//! execution all that it does not want is closed. A child that shares the table until it has taken its own copy of the
//! lower end alone (close_range(2) with CLOSE_RANGE_UNSHARE, Linux 5.9) pays for that end only, so that what it needs must
//! lie there.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::DupFlags;

use crate::{Error, Result};

/// Enough for several children at once; who finds too few left does without.
const COUNT: usize = 32;

static KEPT: OnceLock<Kept> = OnceLock::new();

#[derive(Debug)]
struct Kept {
    /// What a number stands for while nobody uses it.
    filler: OwnedFd,
    free: Mutex<Vec<OwnedFd>>,
    /// The first number above all of them.
    above: RawFd,
}

impl Kept {
    fn free(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        // Descriptors are moved in and out whole.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the lowest free numbers for the children of [`spawn`](super::spawn()) to come. To be called early, before there are many
/// descriptors.
///
/// # Errors
/// open(2)'s and fcntl(2)'s; children are started as before then.
pub fn keep_low_descriptors() -> Result<()> {
    let filler = rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::new("open", "/", errno))?;
    let free = (0..COUNT)
        .map(|_| rustix::io::fcntl_dupfd_cloexec(&filler, 3))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|errno| Error::new("duplicate", "/", errno))?;
    let above = free.iter().map(AsRawFd::as_raw_fd).max().unwrap_or(2) + 1;
    // A second call keeps nothing more.
    let _ = KEPT.set(Kept { filler, free: Mutex::new(free), above });
    Ok(())
}

/// Some descriptors again, at low numbers, as long as this is there.
#[derive(Debug)]
pub(super) struct Low {
    kept: &'static Kept,
    taken: Vec<OwnedFd>,
}

impl Low {
    /// `None` where no numbers are kept, or too few are left.
    pub(super) fn copy(fds: &[BorrowedFd<'_>]) -> Option<Self> {
        let kept = KEPT.get()?;
        let taken = {
            let mut free = kept.free();
            let rest = free.len().checked_sub(fds.len())?;
            free.split_off(rest)
        };
        let mut low = Self { kept, taken };
        for (number, fd) in low.taken.iter_mut().zip(fds) {
            rustix::io::dup3(fd, number, DupFlags::CLOEXEC).ok()?;
        }
        Some(low)
    }

    /// Their numbers, in order.
    pub(super) fn numbers(&self) -> impl Iterator<Item = RawFd> {
        self.taken.iter().map(AsRawFd::as_raw_fd)
    }

    /// The first number above all that are kept.
    pub(super) fn above(&self) -> RawFd {
        self.kept.above
    }
}

impl Drop for Low {
    fn drop(&mut self) {
        for number in &mut self.taken {
            // Of an open descriptor onto an open descriptor it does not fail; if it did, the number would hold its file
            // until it is taken the next time.
            let _ = rustix::io::dup3(self.kept.filler.as_fd(), number, DupFlags::CLOEXEC);
        }
        self.kept.free().append(&mut self.taken);
    }
}
