//! An overlay mount that is attached nowhere: only its descriptor holds it, so that nothing is left on the host when the
//! descriptor is closed or the process dies.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::mount::{Attributes, Depth, Mount, Propagation, Upper, propagate_all};
use crate::namespace::{Namespaces, unshare};
use crate::{Error, Result};

/// Mounts `lower` (highest first) under `upper` (see [`Upper`]), and returns the root directory of the mount, opened for reading.
/// Set-user-id programs, devices and programs mean nothing on it. Without `lower` the upper directory itself is opened:
/// overlayfs needs at least one.
///
/// # Errors
/// As [`Mount::overlay`]'s, and unshare(2)'s.
pub fn open_detached(lower: &[PathBuf], upper: &Path, work: &Path, volatile: bool) -> Result<OwnedFd> {
    if lower.is_empty() {
        return rustix::fs::open(upper, DIRECTORY, Mode::empty()).map_err(|e| failed("open", upper, e));
    }
    let lower: Vec<String> = lower.iter().map(|path| text(path)).collect::<Result<_>>()?;
    let (upper, work) = (text(upper)?, text(work)?);
    detached(&upper, || Mount::overlay(&lower, Upper { directory: &upper, work: &work, volatile }, ""))
}

/// [`open_detached`] without an upper directory: `layers` (highest first, at least one) as they are, read-only.
///
/// # Errors
/// As [`Mount::overlay_read_only`]'s, and unshare(2)'s.
pub fn open_read_only(layers: &[PathBuf]) -> Result<OwnedFd> {
    match layers {
        [] => Err(failed("mount overlay", Path::new(""), Errno::INVAL)),
        [only] => rustix::fs::open(only, DIRECTORY, Mode::empty()).map_err(|e| failed("open", only, e)),
        layers => {
            let layers: Vec<String> = layers.iter().map(|path| text(path)).collect::<Result<_>>()?;
            detached(&layers[0], || Mount::overlay_read_only(&layers))
        }
    }
}

/// The root directory of what `mount` makes; `place` names it in errors.
fn detached(place: &str, mount: impl FnOnce() -> Result<Mount> + Send) -> Result<OwnedFd> {
    // On kernels before 6.7 the mount is made attached: on a thread that sees mounts of its own it is nobody else's.
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| -> Result<OwnedFd> {
            unshare(Namespaces::MOUNT)?;
            propagate_all(Propagation::Private)?;
            let mount = mount()?;
            let harmless = Attributes::NO_SUID.with(Attributes::NO_DEV).with(Attributes::NO_EXEC);
            mount.set(harmless, Attributes::empty(), Depth::One)?;
            // The mount's own descriptor is O_PATH; a readable one of its root keeps the mount as well.
            rustix::fs::openat(mount.as_fd(), ".", DIRECTORY, Mode::empty())
                .map_err(|e| failed("open", Path::new(place), e))
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn text(path: &Path) -> Result<String> {
    path.to_str().map(ToOwned::to_owned).ok_or_else(|| failed("mount overlay", path, Errno::INVAL))
}

fn failed(step: &'static str, path: &Path, errno: Errno) -> Error {
    Error::new(step, path.display().to_string(), errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file;
    use crate::root::{Access, Root};

    #[test]
    fn writes_go_to_the_upper_directory_and_nothing_stays_mounted() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["low1/etc", "low2", "upper", "work"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        file::write_atomic(&dir.path().join("low1/etc/a"), b"1", 0o644, file::Durability::Process).unwrap();
        let lower = [dir.path().join("low2"), dir.path().join("low1")];
        let fd = open_detached(&lower, &dir.path().join("upper"), &dir.path().join("work"), false).unwrap();
        let root = Root::from_fd(fd, "test");
        assert_eq!(root.read("/etc/a", 10).unwrap(), b"1");
        std::io::Write::write_all(&mut root.open_file("/etc/b", Access::CreateNew, 0o644).unwrap(), b"2")
            .unwrap();
        root.remove_tree("/etc/a").unwrap();
        drop(root);
        assert_eq!(std::fs::read(dir.path().join("upper/etc/b")).unwrap(), b"2");
        let sealed = Root::from_fd(open_read_only(&lower).unwrap(), "test");
        assert_eq!(sealed.read("/etc/a", 10).unwrap(), b"1");
        assert!(sealed.open_file("/etc/c", Access::CreateNew, 0o644).is_err());
        drop(sealed);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(dir.path().to_str().unwrap()));
        dir.close().unwrap();
    }
}
