//! Mount points in a writable layer: something must be there to mount /etc/hosts and the like on, and what had to be
//! made for it must not end up in the layer.

use std::path::{Path, PathBuf};

use store::RwMount;
use sys::root::{Dir, Kind, Metadata, Root};

use crate::error::Result;
use crate::writable::Writable;

/// What was made, lowest first.
#[derive(Debug, Default)]
pub(crate) struct Stubs {
    made: Vec<Made>,
}

#[derive(Debug)]
struct Made {
    /// In the writable layer.
    path: PathBuf,
    /// As it was made (or copied up).
    metadata: Metadata,
}

impl Stubs {
    /// Makes the mount points that are missing: files, and directories for `dirs`. The layer is empty before, so
    /// everything in it afterwards is a stub, whatever links the paths went through.
    pub(crate) fn prepare(layer: &Writable, files: &[&str], dirs: &[&str]) -> Result<Self> {
        let root = layer.open()?;
        for path in files {
            root.touch(path, 0o755, 0o644)?;
        }
        for path in dirs {
            root.create_dirs(path, 0o755)?;
        }
        drop(root);
        let mut stubs = Self::default();
        collect(Root::open(&layer.mount().upper)?.top(), Path::new(""), &mut stubs.made)?;
        Ok(stubs)
    }

    /// Removes those that the step left as they were. Nothing may be mounted any more.
    pub(crate) fn remove(&self, mount: &RwMount) -> Result<()> {
        let upper = Root::open(&mount.upper)?;
        for made in self.made.iter().rev() {
            let Ok((dir, name)) = upper.parent(&made.path) else { continue };
            let Ok(now) = dir.metadata(&name) else { continue };
            let before = &made.metadata;
            let same =
                (now.kind, now.mode, now.uid, now.gid) == (before.kind, before.mode, before.uid, before.gid);
            if !same {
                continue;
            }
            match now.kind {
                Kind::File if now.size == 0 && now.inode == before.inode => dir.remove(&name)?,
                // A directory with something in it is a change; one that replaced another says so by an attribute.
                Kind::Directory if dir.dir(&name)?.entries()?.is_empty() && !is_opaque(&dir, &name)? => {
                    dir.remove_dir(&name)?;
                }
                Kind::File
                | Kind::Directory
                | Kind::Symlink
                | Kind::Fifo
                | Kind::Socket
                | Kind::CharDevice
                | Kind::BlockDevice => {}
            }
        }
        Ok(())
    }
}

fn collect(dir: &Dir, path: &Path, made: &mut Vec<Made>) -> Result<()> {
    for entry in dir.entries()? {
        let metadata = dir.metadata(&entry.name)?;
        let path = path.join(&entry.name);
        made.push(Made { path: path.clone(), metadata });
        if metadata.kind == Kind::Directory {
            collect(&dir.dir(&entry.name)?, &path, made)?;
        }
    }
    Ok(())
}

/// Whether the directory hides what is below it in the layers under it (overlayfs).
fn is_opaque(dir: &Dir, name: &std::ffi::OsStr) -> Result<bool> {
    Ok(dir.xattrs(name)?.iter().any(|(key, value)| {
        (key == "trusted.overlay.opaque" || key == "user.overlay.opaque") && value.as_slice() == b"y"
    }))
}
