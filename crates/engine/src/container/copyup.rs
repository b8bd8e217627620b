//! What create does inside a container's root: the working directory is made, and empty volumes are filled with what
//! the image has at their place. Everything goes through [`Root`]: the tree is the image's, not ours.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use store::RwMount;
use sys::root::{Access, Dir, Follow, Kind, Metadata, OpenFile, Root, Time, TooDeep, Visit};

use crate::Error;

/// The tree of a writable layer on its image, as the container will see it.
pub(crate) fn tree(rw: &RwMount) -> Result<Root, Error> {
    let top = sys::overlay::open_detached(&rw.lower, &rw.upper, &rw.work, rw.volatile)?;
    Ok(Root::from_fd(top, "container root"))
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

/// Fills an empty volume with the directory at `path`, with its owners, modes, times and xattrs. Does nothing when the
/// volume holds something, or the image has no directory there.
pub(crate) fn fill(tree: &Root, path: &str, volume: &Path) -> Result<(), Error> {
    let target = Root::open(volume)?;
    if !target.top().entries()?.is_empty() {
        return Ok(());
    }
    match tree.metadata(path, Follow::Yes) {
        Ok(metadata) if metadata.kind == Kind::Directory => {}
        Ok(_) => return Ok(()),
        Err(_) => return Ok(()),
    }
    let source = tree.dir(path)?.to_root()?;
    let own = source.top().own_metadata()?;
    let mut copy = Copy { target: &target, links: HashMap::new(), times: Vec::new() };
    source.walk("", TooDeep::Fail, |visit| copy.one(&visit))?;
    // A directory's time changes with each entry made in it, so the deepest go first, after everything.
    for (path, time) in copy.times.into_iter().rev() {
        let (dir, name) = target.parent(&path)?;
        dir.set_modified(&name, time)?;
    }
    target.top().set_owner(own.uid, own.gid)?;
    target.top().set_mode(own.mode)?;
    Ok(())
}

struct Copy<'a> {
    target: &'a Root,
    /// Files with several names: device and inode to the first copy.
    links: HashMap<(u64, u64), PathBuf>,
    times: Vec<(PathBuf, Time)>,
}

impl Copy<'_> {
    fn one(&mut self, visit: &Visit<'_>) -> Result<(), Error> {
        let Visit { path, dir, name, metadata } = visit;
        let (to, _) = self.target.parent(path)?;
        if metadata.kind == Kind::File && metadata.links > 1 {
            if let Some(first) = self.links.get(&(metadata.device, metadata.inode)) {
                let (from, first) = self.target.parent(first)?;
                return Ok(from.hard_link(first, &to, name)?);
            }
            self.links.insert((metadata.device, metadata.inode), path.to_path_buf());
        }
        match metadata.kind {
            Kind::Directory => {
                to.create_dir(name, 0o700)?;
                self.times.push((path.to_path_buf(), metadata.modified));
            }
            Kind::File => {
                let mut from = dir.open_file(name, Access::Read, 0)?;
                let mut file = to.open_file(name, Access::CreateNew, 0o600)?;
                io::copy(&mut from, &mut file)
                    .map_err(|e| sys::Error::new("copy", path.display().to_string(), e))?;
            }
            Kind::Symlink => to.symlink(dir.read_link(name)?, name)?,
            Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => {
                to.make_node(name, metadata.kind, 0o600, metadata.major, metadata.minor)?;
            }
            // A socket is nothing without the process that listens.
            Kind::Socket => return Ok(()),
        }
        attributes(dir, &to, name, metadata)
    }
}

/// Owner first: changing it clears setuid bits and file capabilities.
fn attributes(from: &Dir, to: &Dir, name: &std::ffi::OsStr, metadata: &Metadata) -> Result<(), Error> {
    to.chown(name, metadata.uid, metadata.gid)?;
    if metadata.kind != Kind::Symlink {
        to.chmod(name, metadata.mode)?;
    }
    for (key, value) in from.xattrs(name)? {
        let overlays = key.as_encoded_bytes().starts_with(b"trusted.overlay.");
        if !overlays {
            to.set_xattr(name, &key, &value)?;
        }
    }
    if metadata.kind != Kind::Directory {
        to.set_modified(name, metadata.modified)?;
    }
    Ok(())
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
