//! An overlay mount that is attached nowhere (fsopen(2), fsmount(2)): only its descriptor holds it, so that nothing is
//! left on the host when the descriptor is closed or the process dies.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::{Error, Result};

/// Mounts `lower` (highest first) under `upper`, and returns the root directory of the mount, opened for reading.
/// Set-user-id programs and devices mean nothing on it. Without `lower` the upper directory itself is opened:
/// overlayfs needs at least one.
///
/// # Errors
/// fsopen(2)'s, fsconfig(2)'s, fsmount(2)'s.
pub fn open_detached(lower: &[PathBuf], upper: &Path, work: &Path) -> Result<OwnedFd> {
    let failed = |step: &'static str| move |e: Errno| Error::new(step, upper.display().to_string(), e);
    let directory = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    if lower.is_empty() {
        return rustix::fs::open(upper, directory, rustix::fs::Mode::empty()).map_err(failed("open"));
    }
    let context =
        rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("fsopen overlay"))?;
    // One string holds at most 255 bytes, so one call for each; Linux before 6.7 knows only the joined form.
    for (index, path) in lower.iter().enumerate() {
        match rustix::mount::fsconfig_set_string(&context, "lowerdir+", path) {
            Err(Errno::INVAL) if index == 0 => {
                rustix::mount::fsconfig_set_string(&context, "lowerdir", joined(lower).as_path())
                    .map_err(failed("set lowerdir"))?;
                break;
            }
            done => done.map_err(failed("set lowerdir"))?,
        }
    }
    rustix::mount::fsconfig_set_string(&context, "upperdir", upper).map_err(failed("set upperdir"))?;
    rustix::mount::fsconfig_set_string(&context, "workdir", work).map_err(failed("set workdir"))?;
    rustix::mount::fsconfig_create(&context).map_err(failed("mount overlay"))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(failed("fsmount"))?;
    // The mount's own descriptor is O_PATH; a readable one of its root keeps the mount as well.
    rustix::fs::openat(&mount, ".", directory, rustix::fs::Mode::empty()).map_err(failed("open"))
}

/// `a:b:c`, with overlayfs's escapes for what means something to it.
fn joined(lower: &[PathBuf]) -> PathBuf {
    let mut text = std::ffi::OsString::new();
    for (index, path) in lower.iter().enumerate() {
        if index > 0 {
            text.push(":");
        }
        let escaped = path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:");
        text.push(escaped);
    }
    text.into()
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
        let fd = open_detached(&lower, &dir.path().join("upper"), &dir.path().join("work")).unwrap();
        let root = Root::from_fd(fd, "test");
        assert_eq!(root.read("/etc/a", 10).unwrap(), b"1");
        std::io::Write::write_all(&mut root.open_file("/etc/b", Access::CreateNew, 0o644).unwrap(), b"2")
            .unwrap();
        root.remove_tree("/etc/a").unwrap();
        drop(root);
        assert_eq!(std::fs::read(dir.path().join("upper/etc/b")).unwrap(), b"2");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(dir.path().to_str().unwrap()));
        dir.close().unwrap();
    }
}
