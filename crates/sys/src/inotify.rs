//! Waiting for changes in a directory (inotify(7)).

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;

use crate::{Error, Result};

/// A directory whose files are watched: the fd is readable when one was written, made, renamed or removed.
#[derive(Debug)]
pub struct Changes(OwnedFd);

impl Changes {
    /// Watches the files directly in `directory`.
    ///
    /// # Errors
    /// inotify_init1(2)'s (EMFILE: too many instances), inotify_add_watch(2)'s.
    pub fn watch(directory: &Path) -> Result<Self> {
        let failed = |step| move |e: Errno| Error::new(step, directory.display().to_string(), e);
        let fd = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(failed("inotify_init"))?;
        let changes = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE;
        add_watch(&fd, directory, changes | WatchFlags::ONLYDIR).map_err(failed("inotify_add_watch"))?;
        Ok(Self(fd))
    }

    /// Forgets what has happened so far, and says whether anything had. Call it before looking at the files:
    /// what happens afterwards makes the fd readable again.
    ///
    /// # Errors
    /// read(2)'s.
    pub fn drain(&mut self) -> Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 2048];
        let mut reader = Reader::new(&self.0, &mut buffer);
        let mut any = false;
        loop {
            match reader.next() {
                Ok(_) => any = true,
                Err(Errno::AGAIN) => return Ok(any),
                Err(Errno::INTR) => {}
                Err(e) => return Err(Error::new("read", "inotify", e)),
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_and_a_rename_are_seen() {
        let directory = tempfile::tempdir().unwrap();
        let mut changes = Changes::watch(directory.path()).unwrap();
        assert!(!changes.drain().unwrap());
        let file = directory.path().join("f");
        crate::file::write_atomic(&file, b"x", 0o600, crate::file::Durability::Process).unwrap();
        assert!(crate::poll::wait(&changes, crate::poll::Interest::READ, None).unwrap());
        assert!(changes.drain().unwrap());
        assert!(!changes.drain().unwrap());
    }
}
