//! Paths that are hidden or read-only.

use std::os::fd::{AsFd, OwnedFd};

use sys::mount::{Attributes, Depth, Mount};
use sys::root::{Follow, Kind, Metadata, Root};

use crate::Failure;
use crate::failure::at_path;
use crate::mounts::Mounted;

const ENOENT: i32 = 2;
const ENOTDIR: i32 = 20;

/// Hides files behind /dev/null and directories behind one empty, read-only tmpfs. Absent ones are skipped.
pub(crate) fn mask(root: &Root, mounted: &Mounted, paths: &[String]) -> Result<(), Failure> {
    let mut null: Option<OwnedFd> = None;
    let mut empty: Option<Mount> = None;
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
            // The first is the original, the others are copies of it, which must be attached to be copied.
            let mount = match &empty {
                Some(first) => Mount::copy_of(first.as_fd(), "tmpfs", Depth::One),
                None => Mount::new("tmpfs", "tmpfs", &["nr_blocks=1", "nr_inodes=1"], Attributes::READ_ONLY),
            };
            let mount = mount.map_err(&failed)?;
            mount.attach(target.as_fd()).map_err(&failed)?;
            empty.get_or_insert(mount);
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
