//! Paths that are hidden or read-only.

use std::os::fd::{AsFd, OwnedFd};

use sys::mount::{Attributes, Depth, Mount, is_sysfs};
use sys::root::{Follow, Kind, Metadata, Root};

use crate::Failure;
use crate::failure::at_path;
use crate::mounts::Mounted;

const ENOENT: i32 = 2;
const ENOTDIR: i32 = 20;

/// Directories of a sysfs that are there for other file systems to be mounted on: nobody can make anything in them.
const EMPTY: [&str; 3] = ["/sys/kernel/debug", "/sys/kernel/tracing", "/sys/kernel/security"];

/// Hides files behind /dev/null and directories behind an empty one, read-only. Absent ones are skipped.
pub(crate) fn mask(root: &Root, mounted: &Mounted, paths: &[String]) -> Result<(), Failure> {
    let mut null: Option<OwnedFd> = None;
    let mut empty: Option<OwnedFd> = None;
    let mut done: Vec<&str> = Vec::new();
    for path in paths {
        // Once is enough.
        if done.contains(&path.as_str()) {
            continue;
        }
        done.push(path);
        let failed = at_path("mask", path);
        let Some((target, kind)) = find(root, mounted, path)? else { continue };
        if kind == Kind::Directory {
            if empty.is_none() {
                empty = find_empty(root, mounted)?;
            }
            let mount = match &empty {
                Some(empty) => {
                    let copy = Mount::copy_of(empty.as_fd(), "an empty directory", Depth::One);
                    copy.and_then(|c| {
                        c.set(Attributes::READ_ONLY, Attributes::empty(), Depth::One).map(|()| c)
                    })
                }
                None => Mount::new("tmpfs", "tmpfs", &["nr_blocks=1", "nr_inodes=1"], Attributes::READ_ONLY),
            };
            let mount = mount.map_err(&failed)?;
            mount.attach(target.as_fd()).map_err(&failed)?;
            // What is attached can be copied.
            if empty.is_none() {
                empty = Some(mount.open_top().map_err(&failed)?);
            }
        } else {
            if null.is_none() {
                null = Some(open_null(root)?);
            }
            let null = null.as_ref().expect("set above");
            let mount = Mount::copy_of(null.as_fd(), "/dev/null", Depth::One).map_err(&failed)?;
            mount.attach(target.as_fd()).map_err(&failed)?;
        }
    }
    Ok(())
}

/// A directory of the container's sysfs that the kernel keeps empty. Another file system would do, but costs: each that there is
/// on a host makes all memory cgroups larger.
fn find_empty(root: &Root, mounted: &Mounted) -> Result<Option<OwnedFd>, Failure> {
    for path in EMPTY {
        if let Some((fd, Kind::Directory)) = find(root, mounted, path)?
            && is_sysfs(fd.as_fd()).map_err(at_path("mask", path))?
        {
            return Ok(Some(fd));
        }
    }
    Ok(None)
}

/// Makes paths and all below read-only, each by a copy of itself on top of it. Absent ones are skipped.
pub(crate) fn make_read_only(root: &Root, mounted: &Mounted, paths: &[String]) -> Result<(), Failure> {
    for path in paths {
        let failed = at_path("read-only path", path);
        let Some((target, _)) = find(root, mounted, path)? else { continue };
        let copy = Mount::copy_of(target.as_fd(), path, Depth::All).map_err(&failed)?;
        copy.set(Attributes::READ_ONLY, Attributes::empty(), Depth::All).map_err(&failed)?;
        copy.attach(target.as_fd()).map_err(&failed)?;
    }
    Ok(())
}

/// What lies on a mount of the configuration's is looked for in that mount, however it is reached now: whoever can
/// rename in the container's tree could hide it from us for this moment.
fn find(root: &Root, mounted: &Mounted, path: &str) -> Result<Option<(OwnedFd, Kind)>, Failure> {
    let failed = at_path("find", path);
    let found = match mounted.below(path) {
        Some((mount, rest)) if rest.as_os_str().is_empty() => {
            mount.as_fd().try_clone_to_owned().map_err(|e| sys::Error::new("dup", path, e))
        }
        Some((mount, rest)) => match mount.open_top() {
            Ok(top) => Root::from_fd(top, path).find(rest, Follow::Yes),
            Err(error) => Err(error),
        },
        None => root.find(path, Follow::Yes),
    };
    let fd = match found {
        Err(error) if matches!(error.errno(), ENOENT | ENOTDIR) => return Ok(None),
        found => found.map_err(&failed)?,
    };
    let metadata = Metadata::of(fd.as_fd()).map_err(|errno| failed(sys::Error::new("stat", path, errno)))?;
    Ok(Some((fd, metadata.kind)))
}

/// The container's /dev/null, when it is one: what an image put there instead would show through (CVE-2025-31133).
fn open_null(root: &Root) -> Result<OwnedFd, Failure> {
    let failed = at_path("mask", "/dev/null");
    let fd = root.find("/dev/null", Follow::No).map_err(&failed)?;
    let found =
        Metadata::of(fd.as_fd()).map_err(|errno| failed(sys::Error::new("stat", "/dev/null", errno)))?;
    if found.kind == Kind::CharDevice && (found.major, found.minor) == (1, 3) {
        Ok(fd)
    } else {
        Err(Failure::new("mask", "/dev/null", "is not the null device"))
    }
}
