//! Namespaces that nobody lives in: a process holds them until they have been opened.

use std::io::{PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use spec::oci::runtime::IdMapping;
use sys::namespace::{self, Namespaces};
use sys::process::{self, Clone, Spawned};

use crate::failure::{at, failed};
use crate::{Failure, kill, stage};

/// The process. It ends when this is dropped, or with its maker.
#[derive(Debug)]
pub struct Holder {
    process: Spawned,
    /// In the procfs of the maker, which may not be of the maker's pid namespace.
    pid: i32,
    _end: PipeWriter,
}

impl Holder {
    /// Holds a new user namespace with these maps, and what else is asked for, which belongs to it.
    ///
    /// # Errors
    /// Step `clone`; step `namespace` for maps that the kernel refuses.
    pub fn new(uids: &[IdMapping], gids: &[IdMapping], more: Namespaces) -> Result<Self, Failure> {
        let holder = Self::spawn(Namespaces::USER.with(more), || true)?;
        stage::write_maps(holder.pid, uids, gids)?;
        Ok(holder)
    }

    /// Holds new namespaces that belong to a user namespace of somebody else's.
    ///
    /// # Errors
    /// Step `clone`; step `namespace` when they cannot be made there.
    pub fn within(user: BorrowedFd<'_>, more: Namespaces) -> Result<Self, Failure> {
        let (mut made, tell) = std::io::pipe().map_err(failed("namespace", "pipe"))?;
        let mut tell = Some(tell);
        let holder = Self::spawn(Namespaces::empty(), || {
            let joined = namespace::join(user, Namespaces::USER).and_then(|()| namespace::unshare(more));
            joined.is_ok() && tell.take().is_some_and(|mut tell| tell.write_all(b"m").is_ok())
        })?;
        drop(tell);
        match made.read(&mut [0]) {
            Ok(1) => Ok(holder),
            _ => Err(Failure::new("namespace", "user", "no namespaces can be made in it")),
        }
    }

    fn spawn(namespaces: Namespaces, prepare: impl FnOnce() -> bool) -> Result<Self, Failure> {
        let (read, end) = std::io::pipe().map_err(failed("namespace", "pipe"))?;
        let options = Clone { namespaces, cgroup: None, sibling: false };
        let (mut read, mut end, mut prepare) = (Some(read), Some(end), Some(prepare));
        let process = process::clone_child(&options, || {
            drop(end.take());
            if prepare.take().is_some_and(|prepare| prepare()) {
                let _ = read.take().map(|mut read| read.read(&mut [0]));
            }
            0
        })
        .map_err(at("clone"))?;
        let end = end.take().expect("only the child takes it from its copy");
        match process::pidfd_pid(process.pidfd.as_fd()) {
            Ok(pid) => Ok(Self { process, pid, _end: end }),
            Err(error) => {
                kill::end(&process);
                Err(at("namespace")(error))
            }
        }
    }

    /// Whose `/proc/<pid>/ns` they are in.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Opens one of them, by its name in proc(5).
    ///
    /// # Errors
    /// Step `namespace`.
    pub fn open(&self, name: &str) -> Result<OwnedFd, Failure> {
        let path = format!("/proc/{}/ns/{name}", self.pid);
        sys::file::open(Path::new(&path)).map(OwnedFd::from).map_err(at("namespace"))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        kill::end(&self.process);
    }
}
