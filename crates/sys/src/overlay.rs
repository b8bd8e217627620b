//! An overlay of layers as a tree one can work in, mounted nowhere (fsopen(2), fsmount(2); overlayfs.rst).

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};

use crate::{Error, Result};

/// Mounts an overlay that no namespace sees. The descriptor is its top directory; the mount is gone when it, and all
/// that was opened below it, is closed.
///
/// `lower` is from the highest to the lowest, and must not be empty. Linux 6.5 (`lowerdir+`); before, all lower paths
/// together must fit into the 255 bytes that fsconfig(2) takes.
///
/// # Errors
/// Those of the three calls.
pub fn detached(lower: &[PathBuf], upper: &Path, work: &Path) -> Result<OwnedFd> {
    let failed = |e: Errno| Error::new("mount overlay", upper.display().to_string(), e);
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
    match lower.iter().try_for_each(|layer| fsconfig_set_string(&fs, "lowerdir+", layer)) {
        Ok(()) => {}
        Err(Errno::INVAL) => {
            let joined: Vec<String> =
                lower.iter().map(|layer| layer.display().to_string().replace(':', "\\:")).collect();
            fsconfig_set_string(&fs, "lowerdir", joined.join(":")).map_err(failed)?;
        }
        Err(e) => return Err(failed(e)),
    }
    fsconfig_set_string(&fs, "upperdir", upper).map_err(failed)?;
    fsconfig_set_string(&fs, "workdir", work).map_err(failed)?;
    fsconfig_create(&fs).map_err(failed)?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::{Access, Root};
    use std::io::Write;

    #[test]
    fn a_write_goes_to_the_upper_directory_and_nothing_stays_mounted() {
        // The upper directory must not be on an overlay itself: /dev/shm is a tmpfs everywhere.
        let scratch = tempfile::tempdir_in("/dev/shm").unwrap();
        let dir = |name: &str| {
            let path = scratch.path().join(name);
            crate::file::create_dir_all(&path, 0o755).unwrap();
            path
        };
        let (low, high, upper, work) = (dir("low"), dir("high"), dir("upper"), dir("work"));
        crate::file::create(&low.join("a"), 0o644).unwrap();
        let root = Root::from_fd(detached(&[high, low], &upper, &work).unwrap(), "overlay");
        let names: Vec<_> = root.top().entries().unwrap().into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["a"]);
        root.open_file("b", Access::CreateNew, 0o600).unwrap().write_all(b"x").unwrap();
        assert!(upper.join("b").exists());
        drop(root);
        let mounts = crate::file::read(Path::new("/proc/self/mountinfo")).unwrap();
        assert!(!String::from_utf8_lossy(&mounts).contains(&*upper.display().to_string()));
    }
}
