//! What create does inside a container's root: the working directory is made, and empty volumes are filled with what
//! the image has at their place; so are those that come to a container later. Everything goes through [`Root`]: the tree is the image's, not ours.

use std::path::Path;

use store::RwMount;
use sys::root::{Follow, Kind, Root};

use crate::Error;
use crate::copy::{self, Place};

/// The tree of a writable layer on its image, as the container will see it.
pub(crate) fn tree(rw: &RwMount) -> Result<Root, Error> {
    let top = sys::overlay::open_detached(&rw.lower, &rw.upper, &rw.work, rw.volatile)?;
    Ok(Root::from_fd(top, "container root"))
}

/// The tree of the image alone, below a writable layer that may be in use. `None`: the image is empty.
pub(crate) fn image(rw: &RwMount) -> Result<Option<Root>, Error> {
    if rw.lower.is_empty() {
        return Ok(None);
    }
    Ok(Some(Root::from_fd(sys::overlay::open_read_only(&rw.lower)?, "image")))
}

/// Makes the working directory where it is missing.
pub(crate) fn make_working_dir(tree: &Root, path: &str) -> Result<(), Error> {
    match tree.create_dirs(path, 0o755) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::Invalid(format!(
            "cannot make the working directory {path:?}: {}",
            crate::error::chain(&error)
        ))),
    }
}

/// Whether a volume mounted at `path` would hide a directory, whose content an empty volume then takes.
pub(crate) fn has_directory(tree: &Root, path: &str) -> bool {
    tree.metadata(path, Follow::Yes).is_ok_and(|metadata| metadata.kind == Kind::Directory)
}

/// Fills an empty volume with the directory at `path`, with its owners, modes, times and xattrs. Does nothing when the
/// volume holds something, or the image has no directory there.
pub(crate) fn fill(tree: &Root, path: &str, volume: &Path) -> Result<(), Error> {
    if !has_directory(tree, path) {
        return Ok(());
    }
    let volume = Place::of_host(volume)?;
    if !volume.is_empty()? {
        return Ok(());
    }
    copy::tree(&Place::below(tree, path)?, &volume)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_volume_is_filled_once_with_everything() {
        let scratch = tempfile::tempdir().unwrap();
        let (image, volume) = (scratch.path().join("image"), scratch.path().join("volume"));
        for dir in [image.join("data/sub"), volume.clone()] {
            sys::file::create_dir_all(&dir, 0o755).unwrap();
        }
        sys::file::create(&image.join("data/a"), 0o640).unwrap();
        std::fs::hard_link(image.join("data/a"), image.join("data/sub/b")).unwrap();
        std::os::unix::fs::symlink("/etc", image.join("data/link")).unwrap();
        // An absolute link to the directory must stay inside the image.
        std::os::unix::fs::symlink("/data", image.join("via")).unwrap();
        let tree = Root::open(&image).unwrap();
        tree.top().chown("data", 7, 8).unwrap();

        fill(&tree, "/via", &volume).unwrap();
        let metadata = |name: &str| std::fs::symlink_metadata(volume.join(name)).unwrap();
        assert_eq!((metadata("").uid(), metadata("").gid()), (7, 8));
        assert_eq!(metadata("a").mode() & 0o777, 0o640);
        assert_eq!(metadata("a").ino(), metadata("sub/b").ino());
        assert_eq!(std::fs::read_link(volume.join("link")).unwrap(), Path::new("/etc"));

        sys::file::remove(&volume.join("a")).unwrap();
        fill(&tree, "/data", &volume).unwrap();
        assert!(!volume.join("a").exists(), "a volume that holds something is left alone");
    }
}
