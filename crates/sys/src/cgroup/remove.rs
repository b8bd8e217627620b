//! A cgroup's end: emptied, then removed with what is below it.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Cgroup, Directory, MADE, patiently};
use crate::{Error, Result};

/// Cgroups below a container's own are its own doing; deeper than this is an attack on our stack.
const DEPTH: usize = 64;

pub(super) fn remove(cgroup: &Cgroup) -> Result<()> {
    let mut first = None;
    if let Some(unified) = &cgroup.unified
        && let Err(error) = unified.wait_for("populated 0")
    {
        first.get_or_insert(error);
    }
    for directory in cgroup.unified.iter().chain(&cgroup.v1) {
        match remove_directory(directory) {
            Ok(()) => remove_above(directory),
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    first.map_or(Ok(()), Err)
}

/// What was made above it only for it or its like; the kernel keeps those that still have others below.
fn remove_above(directory: &Directory) {
    let mut path = directory.label.as_str();
    while let Some((above, _)) = path.rsplit_once('/')
        && above.len() > directory.point.len()
        && rustix::fs::getxattr(above, MADE, &mut [0_u8; 1][..]).is_ok()
        && rustix::fs::unlinkat(CWD, above, AtFlags::REMOVEDIR).is_ok()
    {
        path = above;
    }
}

fn remove_directory(directory: &Directory) -> Result<()> {
    match remove_below(directory) {
        // v1 without a unified hierarchy, where nothing tells of the last process's end.
        Err(error) if error.errno() == libc::EBUSY => {
            patiently("rmdir", &directory.label, || match remove_below(directory) {
                Ok(()) => Ok(true),
                Err(error) if error.errno() == libc::EBUSY => Ok(false),
                Err(error) => Err(error),
            })
        }
        done => done,
    }
}

fn remove_below(directory: &Directory) -> Result<()> {
    // Without a path of our own in between: the label is the host's mount point and names that we made.
    match rustix::fs::unlinkat(CWD, directory.label.as_str(), AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::BUSY) => {}
        Err(errno) => return Err(Error::new("rmdir", &directory.label, errno)),
    }
    remove_children(directory.fd.as_fd(), &directory.label, 0)?;
    match rustix::fs::unlinkat(CWD, directory.label.as_str(), AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::new("rmdir", &directory.label, errno)),
    }
}

fn remove_children(fd: BorrowedFd<'_>, label: &str, depth: usize) -> Result<()> {
    for name in children(fd, label)? {
        let label = format!("{label}/{name}");
        if depth == DEPTH {
            return Err(Error::new("rmdir", label, Errno::LOOP));
        }
        remove_children(open(fd, &name, &label)?.as_fd(), &label, depth + 1)?;
        rustix::fs::unlinkat(fd, name.as_str(), AtFlags::REMOVEDIR)
            .map_err(|errno| Error::new("rmdir", label, errno))?;
    }
    Ok(())
}

/// Calls `each` for a cgroup's directory and all below it.
pub(super) fn visit(
    fd: BorrowedFd<'_>,
    label: &str,
    each: &mut impl FnMut(BorrowedFd<'_>, &str) -> Result<()>,
) -> Result<()> {
    fn descend(
        fd: BorrowedFd<'_>,
        label: &str,
        depth: usize,
        each: &mut impl FnMut(BorrowedFd<'_>, &str) -> Result<()>,
    ) -> Result<()> {
        each(fd, label)?;
        if depth == DEPTH {
            return Ok(());
        }
        for name in children(fd, label)? {
            let label = format!("{label}/{name}");
            // One that was removed meanwhile has no processes.
            if let Ok(child) = open(fd, &name, &label) {
                descend(child.as_fd(), &label, depth + 1, each)?;
            }
        }
        Ok(())
    }
    descend(fd, label, 0, each)
}

fn open(fd: BorrowedFd<'_>, name: &str, label: &str) -> Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(fd, name, flags, Mode::empty()).map_err(|errno| Error::new("open", label, errno))
}

fn children(fd: BorrowedFd<'_>, label: &str) -> Result<Vec<String>> {
    let failed = |errno| Error::new("list", label, errno);
    let mut names = Vec::new();
    for entry in Dir::read_from(fd).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy();
        if entry.file_type() == FileType::Directory && name != "." && name != ".." {
            names.push(name.into_owned());
        }
    }
    Ok(names)
}
