//! A directory's content becomes another directory's: owners, modes, times, xattrs, access control lists, hard links and
//! holes as they are. Everything goes through [`sys::root`]: the tree is an image's or a user's, not ours.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use sys::root::{Access, Dir, Kind, Metadata, Root, Time, TooDeep, Visit};

use crate::Error;

/// Entries made in a directory inherit it, so it is set when they are all there.
const DEFAULT_ACL: &str = "system.posix_acl_default";
/// The file system has no such attributes (errno(3)).
const EOPNOTSUPP: i32 = 95;

/// A directory by its parent and its name there.
#[derive(Debug)]
pub(crate) struct Place {
    parent: Dir,
    name: OsString,
}

impl Place {
    /// Of the host's, trusted.
    pub(crate) fn of_host(path: &Path) -> Result<Self, Error> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let (parent, name) = Root::open(parent)?.parent(path.file_name().unwrap_or_default())?;
        Ok(Self { parent, name })
    }

    /// Below a root, whose links are followed inside it.
    pub(crate) fn below(root: &Root, path: &str) -> Result<Self, Error> {
        let (parent, name) = root.parent(root.canonical(path)?)?;
        Ok(Self { parent, name })
    }

    fn root(&self) -> Result<Root, Error> {
        Ok(self.parent.dir(&self.name)?.to_root()?)
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.root()?.top().entries()?.is_empty())
    }
}

/// Copies what is in `from`, and the attributes of `from` itself. `to` must be empty. Sockets are left out: they are
/// nothing without the process that listens.
pub(crate) fn tree(from: &Place, to: &Place) -> Result<(), Error> {
    let (source, target) = (from.root()?, to.root()?);
    let mut copy = Copy { target: &target, links: HashMap::new(), directories: Vec::new() };
    source.walk("", TooDeep::Fail, |visit| copy.one(&visit))?;
    // A directory's time changes with each entry made in it, so the deepest go first, after everything.
    for Directory { path, time, acl } in copy.directories.into_iter().rev() {
        let (dir, name) = target.parent(&path)?;
        finish(&dir, &name, time, acl)?;
    }
    let own = source.top().own_metadata()?;
    let acl = attributes(&from.parent, &from.name, &to.parent, &to.name, &own)?;
    finish(&to.parent, &to.name, own.modified, acl)
}

struct Copy<'a> {
    target: &'a Root,
    /// Files with several names: device and inode to the first copy.
    links: HashMap<(u64, u64), PathBuf>,
    directories: Vec<Directory>,
}

struct Directory {
    path: PathBuf,
    time: Time,
    acl: Option<Vec<u8>>,
}

impl Copy<'_> {
    fn one(&mut self, visit: &Visit<'_>) -> Result<(), Error> {
        let Visit { path, dir, name, metadata } = visit;
        let (to, _) = self.target.parent(path)?;
        if metadata.kind != Kind::Directory && metadata.links > 1 {
            if let Some(first) = self.links.get(&(metadata.device, metadata.inode)) {
                let (from, first) = self.target.parent(first)?;
                return Ok(from.hard_link(first, &to, name)?);
            }
            self.links.insert((metadata.device, metadata.inode), path.to_path_buf());
        }
        match metadata.kind {
            Kind::Directory => drop(to.create_dir(name, 0o700)?),
            Kind::File => {
                let from = dir.open_regular(name)?;
                let file = to.open_file(name, Access::CreateNew, 0o600)?;
                sys::copy::content(&from, &file)
                    .map_err(|e| sys::Error::new("copy", path.display().to_string(), e))?;
            }
            Kind::Symlink => to.symlink(dir.read_link(name)?, name)?,
            Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => {
                to.make_node(name, metadata.kind, 0o600, metadata.major, metadata.minor)?;
            }
            Kind::Socket => return Ok(()),
        }
        let acl = attributes(dir, name, &to, name, metadata)?;
        if metadata.kind == Kind::Directory {
            self.directories.push(Directory { path: path.to_path_buf(), time: metadata.modified, acl });
        } else {
            to.set_modified(name, metadata.modified)?;
        }
        Ok(())
    }
}

/// Owner first: changing it clears setuid bits and file capabilities. Returns the default ACL, which is not set yet.
fn attributes(
    from: &Dir,
    name: &OsStr,
    to: &Dir,
    new_name: &OsStr,
    metadata: &Metadata,
) -> Result<Option<Vec<u8>>, Error> {
    to.chown(new_name, metadata.uid, metadata.gid)?;
    if metadata.kind != Kind::Symlink {
        to.chmod(new_name, metadata.mode)?;
    }
    let mut acl = None;
    for (key, value) in from.xattrs(name)? {
        if key == DEFAULT_ACL {
            acl = Some(value);
        } else if !key.as_encoded_bytes().starts_with(b"trusted.overlay.") {
            unless_unsupported(to.set_xattr(new_name, &key, &value))?;
        }
    }
    Ok(acl)
}

fn finish(dir: &Dir, name: &OsStr, time: Time, acl: Option<Vec<u8>>) -> Result<(), Error> {
    if let Some(acl) = acl {
        unless_unsupported(dir.set_xattr(name, OsStr::new(DEFAULT_ACL), &acl))?;
    }
    Ok(dir.set_modified(name, time)?)
}

/// A file system that has no such attributes (memory, another host's) does without, as in Docker.
fn unless_unsupported(set: sys::Result<()>) -> Result<(), Error> {
    match set {
        Err(error) if error.errno() == EOPNOTSUPP => Ok(()),
        set => Ok(set?),
    }
}
