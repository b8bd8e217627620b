//! User namespaces that nobody lives in: mounts map their files' ids by them.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use spec::oci::runtime::IdMapping;
use sys::namespace::Namespaces;
use sys::process::{self, Clone};

use crate::failure::{at, failed};
use crate::{Failure, kill, stage};

/// A user namespace with these maps.
pub(crate) fn namespace(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd, Failure> {
    let (read, write) = std::io::pipe().map_err(failed("namespace", "pipe"))?;
    let options = Clone { namespaces: Namespaces::USER, cgroup: None, sibling: false };
    let (mut read, mut write) = (Some(read), Some(write));
    let child = process::clone_child(&options, || {
        // It only has to be there until its namespace is open; it ends with its maker.
        drop(write.take());
        let mut byte = [0];
        let _ = read.take().map(|mut read| read.read(&mut byte));
        0
    })
    .map_err(at("clone"))?;
    // Made by an init, its number is one of the container's; the procfs here may still be the host's.
    let made = process::pidfd_pid(child.pidfd.as_fd()).map_err(at("namespace")).and_then(|pid| {
        stage::write_maps(pid, uids, gids)?;
        let path = format!("/proc/{pid}/ns/user");
        sys::file::open(Path::new(&path)).map(OwnedFd::from).map_err(at("namespace"))
    });
    drop(write);
    kill::end(&child);
    made
}
