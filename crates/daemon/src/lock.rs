//! One daemon per data root: a lock file that the kernel releases when its holder ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a lock is waited for that may be a dead daemon's.
const DYING: Duration = Duration::from_secs(1);

/// A held lock; released when dropped.
#[derive(Debug)]
pub struct Lock(File);

/// Why the lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another daemon runs on this data root.
    #[error(
        "{} is in use by another cortend (pid {pid}): stop it, or give this one its own --data-root and --exec-root",
        root.display()
    )]
    Held {
        /// The data root.
        root: PathBuf,
        /// The holder, as it wrote itself down.
        pid: String,
    },
    /// The lock file cannot be used.
    #[error("{step} {}", path.display())]
    Io {
        /// What was tried.
        step: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Lock {
    /// Takes the lock of a data root and writes this process's pid into it.
    ///
    /// # Errors
    /// Another process holds it, or a file error.
    pub fn acquire(root: &Path) -> Result<Self, Error> {
        let path = root.join("cortend.lock");
        let io = |step| {
            let path = path.clone();
            move |source| Error::Io { step, path, source }
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io("open"))?;
        let mut locked = file.try_lock();
        // Another daemon keeps it. A program that a killed one was about to start has its files for a moment longer.
        let until = Instant::now() + DYING;
        while matches!(locked, Err(TryLockError::WouldBlock)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
            locked = file.try_lock();
        }
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(io("read"))?;
                return Err(Error::Held { root: root.to_owned(), pid: pid.trim().to_owned() });
            }
            Err(TryLockError::Error(e)) => return Err(io("lock")(e)),
        }
        file.set_len(0).map_err(io("truncate"))?;
        file.rewind().map_err(io("seek"))?;
        writeln!(file, "{}", std::process::id()).map_err(io("write"))?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file unlocks it too; an error here has no consequence.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        let first = Lock::acquire(root.path()).unwrap();
        let text = Lock::acquire(root.path()).unwrap_err().to_string();
        assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
        drop(first);
        Lock::acquire(root.path()).unwrap();
    }
}
