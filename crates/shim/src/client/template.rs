//! Shims that are copies of one that runs already.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Connection, Error, Program, Spawned, end};
use crate::proto::{NEW, Reply, Request};

/// A shim that supervises nothing, but makes others by copying itself (fork), which takes less than executing the program. A copy
/// is a child of this process, as if it had been spawned. It shares the template's memory as long as neither
/// writes there, and knows of the host what that has found out.
#[derive(Debug)]
pub struct Template {
    connection: Mutex<Connection>,
    spawned: Spawned,
    /// What stands for a copy's directory: a name of as many bytes as theirs have.
    nameless: PathBuf,
}

impl Template {
    /// Spawns one for shims whose directories are in `root` and have names of `length` bytes.
    ///
    /// # Errors
    /// As [`Program::spawn`]'s.
    pub fn spawn(program: &Program, root: &Path, length: usize) -> Result<Self, Error> {
        let name = "0".repeat(length);
        let nameless = super::absolute(&root.join(&name))?;
        let (socket, spawned) = program.execute(&name, NEW, &nameless)?;
        let (connection, spawned) = Connection::first(socket, spawned, &nameless)?;
        Ok(Self { connection: Mutex::new(connection), spawned, nameless })
    }

    /// A shim as [`Program::spawn`] makes it. `None` for a directory that is elsewhere, or has a name of another length.
    ///
    /// # Errors
    /// The template has failed, or the copy. Nothing is left of the copy then.
    pub fn copy(&self, dir: &Path) -> Result<Option<(Connection, Spawned)>, Error> {
        let dir = super::absolute(dir)?;
        let length = |path: &Path| path.file_name().map(std::ffi::OsStr::len);
        if dir.parent() != self.nameless.parent() || length(&dir) != length(&self.nameless) {
            return Ok(None);
        }
        sys::file::create_dir_all(&dir, 0o700)?;
        let (ours, theirs) = super::pair(&dir)?;
        let spawned = {
            // A call that was broken off by a panic leaves a connection that fails.
            let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
            match connection.call(&Request::Copy { dir: dir.clone() }, &[&theirs])? {
                Reply::Pid(pid) => match connection.incoming.fd() {
                    Some(pidfd) => Spawned { pid, pidfd },
                    None => return Err(connection.unexpected(&Reply::Pid(pid))),
                },
                reply => return Err(connection.unexpected(&reply)),
            }
        };
        drop(theirs);
        Connection::first(ours, spawned, &dir).map(Some)
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        end(self.spawned.pidfd.as_fd());
    }
}
