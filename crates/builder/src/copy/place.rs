//! Puts files into a stage's root.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sys::root::{Access, Dir, Follow, Kind, OpenFile, Root};

use super::mode::Mode;
use super::spread::spread;
use super::tree::{Filter, Found, Source, Visitor, kind_at, walk};
use crate::error::{Error, Result};

/// Files up to this many bytes are copied through memory.
const SMALL: u64 = 64 << 10;

/// How to copy, variables replaced and names looked up.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Absolute, in the stage.
    pub(crate) destination: PathBuf,
    /// It must be a directory: it ends with `/`, or there are several sources.
    pub(crate) into: bool,
    /// The new owner; `None` keeps the source's.
    pub(crate) owner: Option<(u32, u32)>,
    /// The new permission bits.
    pub(crate) mode: Option<Mode>,
}

impl Plan {
    /// Copies one source: a file into or as the destination, a directory's content into it.
    /// A source that keeps its parents brings them along from its `tree`.
    pub(crate) fn copy(&self, root: &Root, source: &Source, filter: &Filter, tree: &Root) -> Result<()> {
        if let Some(parents) = &source.parents {
            let below = Self { destination: self.destination.join(parents), ..self.clone() };
            below.bring_parents(root, source, parents, tree)?;
            return below.copy_one(root, source, filter);
        }
        self.copy_one(root, source, filter)
    }

    /// Makes the directories that a source keeps, as they are in its tree.
    fn bring_parents(&self, root: &Root, source: &Source, parents: &Path, tree: &Root) -> Result<()> {
        let kept = parents.components().count();
        let above = Path::new(&source.path);
        // A directory's content is copied, so itself is one of those that are made.
        let above = if source.is_dir() { above } else { above.parent().unwrap_or(above) };
        for up in (0..kept).rev() {
            let ancestor = |path: &Path| path.ancestors().nth(up).map(Path::to_owned);
            let (Some(from), Some(to)) = (ancestor(above), ancestor(&self.destination)) else { continue };
            if kind_at(root, &to)?.is_some() {
                continue;
            }
            let metadata = tree.metadata(&from, Follow::Yes)?;
            self.create_dirs(root, &to)?;
            let (dir, name) = root.parent(&to)?;
            let (uid, gid) = self.owner.unwrap_or((metadata.uid, metadata.gid));
            dir.chown(&name, uid, gid)?;
            dir.chmod(&name, self.bits(metadata.mode, true))?;
        }
        Ok(())
    }

    fn bits(&self, mode: u32, is_dir: bool) -> u32 {
        self.mode.as_ref().map_or(mode, |change| change.apply(mode, is_dir))
    }

    fn copy_one(&self, root: &Root, source: &Source, filter: &Filter) -> Result<()> {
        if source.is_dir() {
            if let Some(kind) = kind_at(root, &self.destination)?
                && kind != Kind::Directory
            {
                return Err(non_directory(&self.destination));
            }
            let top = self.create_dirs(root, &self.destination)?;
            return walk(source, filter, &mut Copier { plan: self, stack: vec![top], name: None });
        }
        let (dir, name) = self.place(root, source.name())?;
        walk(source, filter, &mut Copier { plan: self, stack: vec![dir], name: Some(name) })
    }

    /// Writes a file whose content stands in the Dockerfile.
    pub(crate) fn write(&self, root: &Root, name: &str, content: &[u8]) -> Result<()> {
        let (dir, name) = self.place(root, name)?;
        dir.remove_tree(&name)?;
        let mut file = dir.open_file(&name, Access::CreateNew, 0o600)?;
        file.write_all(content).map_err(|e| sys::Error::new("write", name.clone(), e))?;
        let (uid, gid) = self.owner.unwrap_or((0, 0));
        file.set_owner(uid, gid)?;
        file.set_mode(self.bits(0o644, false))?;
        Ok(())
    }

    /// The directory and the name that a file called `name` gets.
    fn place(&self, root: &Root, name: &str) -> Result<(Dir, String)> {
        let existing = kind_at(root, &self.destination)?;
        let inside = self.into || existing == Some(Kind::Directory);
        if self.into && existing.is_some_and(|kind| kind != Kind::Directory) {
            return Err(non_directory(&self.destination));
        }
        let directory = if inside {
            self.destination.as_path()
        } else {
            self.destination.parent().unwrap_or(Path::new("/"))
        };
        let last = self.destination.file_name().map(|n| n.to_string_lossy().into_owned());
        let name = match last {
            Some(last) if !inside => last,
            Some(_) | None => name.to_owned(),
        };
        Ok((self.create_dirs(root, directory)?, name))
    }

    /// Makes missing directories, mode 0755, owned as the copies are.
    pub(crate) fn create_dirs(&self, root: &Root, path: &Path) -> Result<Dir> {
        let (uid, gid) = self.owner.unwrap_or((0, 0));
        create_dirs(root, path, uid, gid)
    }
}

/// mkdir -p with an owner for what was missing.
pub(crate) fn create_dirs(root: &Root, path: &Path, uid: u32, gid: u32) -> Result<Dir> {
    let mut missing = Vec::new();
    for ancestor in path.ancestors() {
        if ancestor.file_name().is_none() || kind_at(root, ancestor)?.is_some() {
            break;
        }
        missing.push(ancestor);
    }
    let dir = root.create_dirs(path, 0o755)?;
    if (uid, gid) != (0, 0) {
        for made in missing {
            let (parent, name) = root.parent(made)?;
            parent.chown(name, uid, gid)?;
        }
    }
    Ok(dir)
}

fn non_directory(path: &Path) -> Error {
    Error::Step {
        step: "COPY failed".into(),
        detail: format!("cannot copy to non-directory: {}", path.display()),
    }
}

struct Copier<'a> {
    plan: &'a Plan,
    /// The directories that are being filled, the innermost last.
    stack: Vec<Dir>,
    /// A single file's new name.
    name: Option<String>,
}

impl Copier<'_> {
    fn dir(&self) -> &Dir {
        self.stack.last().expect("the walk leaves only what it entered")
    }

    /// Owner, mode, attributes and time of something just made, in the order that loses none of them.
    fn attributes(&self, found: &Found<'_>, name: &std::ffi::OsStr) -> Result<()> {
        let dir = self.dir();
        let metadata = &found.metadata;
        let (uid, gid) = self.plan.owner.unwrap_or((metadata.uid, metadata.gid));
        dir.chown(name, uid, gid)?;
        if metadata.kind != Kind::Symlink {
            dir.chmod(name, self.plan.bits(metadata.mode, metadata.kind == Kind::Directory))?;
        }
        for (key, value) in found.dir.xattrs(found.name)?.into_iter().filter(|(key, _)| is_kept(key)) {
            dir.set_xattr(name, &key, &value)?;
        }
        dir.set_modified(name, metadata.modified)?;
        Ok(())
    }

    /// Removes what has the name; a directory does not give way.
    fn make_room(&self, name: &std::ffi::OsStr) -> Result<()> {
        let dir = self.dir();
        match dir.metadata(name) {
            Ok(there) if there.kind == Kind::Directory => {
                let detail =
                    format!("cannot replace a directory by a file: {}", dir.label().join(name).display());
                Err(Error::Step { step: "COPY failed".into(), detail })
            }
            Ok(_) => Ok(dir.remove(name)?),
            Err(_) => Ok(()),
        }
    }

    /// One file, all by its descriptor: there may be very many.
    fn file(&self, found: &Found<'_>, name: &std::ffi::OsStr) -> Result<()> {
        let dir = self.dir();
        let mut from = found.open()?;
        let mut to = match dir.open_file(name, Access::CreateNew, 0o600) {
            // Something is there already.
            Err(e) if matches!(e.errno(), 17 | 21 | 40) => {
                self.make_room(name)?;
                dir.open_file(name, Access::CreateNew, 0o600)?
            }
            made => made?,
        };
        let metadata = &found.metadata;
        copy_bytes(&mut from, &mut to, metadata.size)
            .map_err(|e| sys::Error::new("copy", found.path.display().to_string(), e))?;
        let (uid, gid) = self.plan.owner.unwrap_or((metadata.uid, metadata.gid));
        to.set_owner(uid, gid)?;
        to.set_mode(self.plan.bits(metadata.mode, false))?;
        for (key, value) in from.own_xattrs()?.into_iter().filter(|(key, _)| is_kept(key)) {
            if let Ok(key) = std::ffi::CString::new(key.as_encoded_bytes()) {
                to.set_own_xattr(&key, &value)?;
            }
        }
        Ok(to.set_own_modified(metadata.modified)?)
    }
}

impl Visitor for Copier<'_> {
    fn files(&mut self, found: &[Found<'_>]) -> Result<()> {
        let copier = &*self;
        spread(found, |file| copier.file(file, file.name)).map(drop)
    }

    fn enter(&mut self, found: &Found<'_>) -> Result<()> {
        let dir = self.dir();
        let inner = match dir.metadata(found.name) {
            Ok(there) if there.kind == Kind::Directory => dir.dir(found.name)?,
            Ok(_) => return Err(non_directory(&dir.label().join(found.name))),
            Err(e) if e.errno() == 2 => dir.create_dir(found.name, 0o755)?,
            Err(e) => return Err(e.into()),
        };
        self.stack.push(inner);
        Ok(())
    }

    fn leave(&mut self, found: &Found<'_>) -> Result<()> {
        self.stack.pop();
        // Now, because filling it changed its time.
        self.attributes(found, found.name)
    }

    fn leaf(&mut self, found: &Found<'_>) -> Result<()> {
        if found.metadata.kind == Kind::File {
            // Those of a directory are there already.
            return self.name.as_ref().map_or(Ok(()), |name| self.file(found, name.as_ref()));
        }
        let name = self.name.clone().map_or_else(|| found.name.to_owned(), Into::into);
        let dir = self.dir();
        self.make_room(&name)?;
        match found.metadata.kind {
            Kind::Symlink => dir.symlink(found.dir.read_link(found.name)?, &name)?,
            kind @ (Kind::Fifo | Kind::CharDevice | Kind::BlockDevice) => {
                let metadata = &found.metadata;
                dir.make_node(&name, kind, metadata.mode, metadata.major, metadata.minor)?;
            }
            Kind::File | Kind::Socket | Kind::Directory => return Ok(()),
        }
        self.attributes(found, &name)
    }
}

/// The kernel's own attributes (overlayfs's, SELinux's) stay behind.
fn is_kept(key: &std::ffi::OsStr) -> bool {
    let key = key.to_string_lossy();
    key == "security.capability" || key.starts_with("user.")
}

/// `std::io::copy` uses copy_file_range(2) between files, which asks more of the kernel than a small file is worth.
fn copy_bytes(from: &mut std::fs::File, to: &mut std::fs::File, size: u64) -> std::io::Result<()> {
    if size > SMALL {
        return std::io::copy(from, to).map(drop);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    from.take(SMALL).read_to_end(&mut bytes)?;
    to.write_all(&bytes)?;
    // It has grown meanwhile.
    if bytes.len() as u64 == SMALL { std::io::copy(from, to).map(drop) } else { Ok(()) }
}

/// The destination as an absolute path: relative ones start at the working directory.
pub(crate) fn destination(working_dir: &str, text: &str) -> (PathBuf, bool) {
    let into = text.ends_with('/') || text == "." || text.ends_with("/.") || text.is_empty();
    let joined = if text.starts_with('/') { text.to_owned() } else { format!("{working_dir}/{text}") };
    (PathBuf::from(format!("/{}", crate::ignore::clean(&joined))), into)
}
