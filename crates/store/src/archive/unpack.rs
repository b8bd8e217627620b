//! Entries → files. The archive is the attacker: every name is looked up inside the root, nothing is followed out.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use sys::root::{Access, Dir, Kind, OpenFile, Root, Time};

use super::{
    AUFS_PREFIX, Entry, EntryKind, OPAQUE_MARKER, OPAQUE_XATTR, Owners, Reader, WHITEOUT_PREFIX, Whiteouts,
    keeps_xattr,
};
use crate::error::{Error, Result};

/// Directories that are implied by a path but have no entry.
const IMPLIED_MODE: u32 = 0o755;
const BUFFER: usize = 128 << 10;
/// What a small file takes on disk, for [`Unpacked::size`].
const DISK_BLOCK: u64 = 4096;

const DEFAULT_ACL: &str = "system.posix_acl_default";
const DEFAULT_ACL_C: &std::ffi::CStr = c"system.posix_acl_default";

/// How to unpack.
#[derive(Debug, Clone, Copy)]
pub struct Unpack<'p> {
    /// The directory below the root that the archive's paths start at; made when missing.
    pub base: &'p Path,
    /// What `.wh.` entries are.
    pub whiteouts: Whiteouts,
    /// Everything belongs to this user and group, instead of whom the archive says.
    pub owner: Option<(u32, u32)>,
    /// Whose the files become.
    pub owners: Owners<'p>,
    /// What becomes of what is there already.
    pub existing: Existing,
}

impl Unpack<'_> {
    /// As the archive has it.
    pub fn literal() -> Self {
        Self {
            base: Path::new(""),
            whiteouts: Whiteouts::Literal,
            owner: None,
            owners: Owners::default(),
            existing: Existing::GivesWay,
        }
    }
}

/// What becomes of what is at an entry's path before it is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It gives way, but a directory to a directory; the top takes the attributes that the archive has for it.
    GivesWay,
    /// The same, but the top is left as it is.
    GivesWayBelow,
    /// The same, but a directory gives way to nothing else, and nothing else to a directory.
    KeepsKind,
}

/// What came out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries read.
    pub entries: u64,
    /// Bytes on disk, each file rounded up to blocks of 4 KiB.
    pub size: u64,
    /// The archive hides everything below it ([`Whiteouts::Overlay`] only): overlayfs has no mark for that on a
    /// layer's top.
    pub opaque: bool,
}

/// Unpacks an inflated archive below `root`. An entry replaces what an earlier one, or what was there before, put at its
/// path; a directory stays and takes the entry's attributes. `..` and absolute paths stay inside. Hard links reach only
/// what is below the root.
///
/// # Errors
/// The source's, malformed content, or a file error; what was unpacked so far stays.
pub fn unpack(source: impl Read, root: &Root, how: &Unpack<'_>) -> Result<Unpacked> {
    let mut reader = Reader::new(source);
    let mut unpacking = Unpacking {
        root,
        how,
        parent: None,
        directories: Vec::new(),
        buffer: vec![0; BUFFER],
        done: Unpacked::default(),
    };
    root.create_dirs(how.base, IMPLIED_MODE)?;
    while let Some(entry) = reader.entry()? {
        unpacking.done.entries += 1;
        unpacking.entry(&entry, &mut reader).map_err(|e| blame(e, &entry))?;
    }
    unpacking.finish_directories()?;
    reader.drain()?;
    Ok(unpacking.done)
}

struct Unpacking<'p> {
    root: &'p Root,
    how: &'p Unpack<'p>,
    /// The directory the last entry was in, open: archives are in order, so mostly the next one is there too. Forgotten
    /// as soon as anything is removed, for it may have been on the way.
    parent: Option<(PathBuf, Dir)>,
    /// Their times are set last: every entry made in a directory changes its time. So are their default ACLs: what is
    /// made in a directory inherits them.
    directories: Vec<(PathBuf, Time, Option<Vec<u8>>)>,
    buffer: Vec<u8>,
    done: Unpacked,
}

impl Unpacking<'_> {
    fn entry(&mut self, entry: &Entry, content: &mut impl Read) -> Result<()> {
        let bad = |detail| Error::Entry { entry: entry.path.display().to_string(), detail };
        let path = clean(&entry.path);
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
            // The top itself: only its attributes count.
            if entry.kind == EntryKind::Directory && self.how.existing == Existing::GivesWay {
                let top = self.root.dir(self.how.base)?;
                self.finish(&top, &path, entry)?;
                self.directories.push((path, entry.modified, default_acl(entry)));
            }
            return Ok(());
        };
        if name.as_bytes().starts_with(WHITEOUT_PREFIX.as_bytes()) {
            match self.how.whiteouts {
                Whiteouts::Literal => {}
                Whiteouts::Overlay => return self.whiteout(parent, name, bad),
                Whiteouts::Remove => return self.remove(parent, name),
            }
        }
        self.enter(parent)?;
        if self.how.existing == Existing::KeepsKind {
            self.check_kind(&path, name, entry.kind)?;
        }
        match entry.kind {
            EntryKind::Directory => self.directory(&path, name, entry),
            EntryKind::File => self.file(&path, name, entry, content),
            EntryKind::HardLink => self.hard_link(&path, name, entry),
            EntryKind::Symlink => {
                if entry.link.is_empty() {
                    return Err(bad("a symbolic link to nothing"));
                }
                self.replacing(&path, name, |dir| dir.symlink(&entry.link, name))?;
                self.finish_by_name(name, entry)
            }
            EntryKind::Fifo => self.node(&path, name, entry, Kind::Fifo),
            EntryKind::CharDevice => self.node(&path, name, entry, Kind::CharDevice),
            EntryKind::BlockDevice => self.node(&path, name, entry, Kind::BlockDevice),
        }
    }

    /// Refuses to put a directory for something else, or the other way round.
    fn check_kind(&self, path: &Path, name: &OsStr, kind: EntryKind) -> Result<()> {
        let Ok(there) = self.dir().metadata(name) else { return Ok(()) };
        let (old, new) = (there.kind == Kind::Directory, kind == EntryKind::Directory);
        if old == new {
            return Ok(());
        }
        let word = |is_dir| if is_dir { "directory" } else { "non-directory" };
        let (path, base) = (self.how.base.join(path), self.how.base);
        Err(Error::Invalid(format!(
            "cannot overwrite {} {:?} with {} {:?}",
            word(old),
            path.display().to_string(),
            word(new),
            base.display().to_string(),
        )))
    }

    /// Makes `parent` the open directory, with what is missing on the way.
    fn enter(&mut self, parent: &Path) -> Result<()> {
        if !matches!(&self.parent, Some((path, _)) if path == parent) {
            let path = self.how.base.join(parent);
            let dir = match self.root.create_dirs(&path, IMPLIED_MODE) {
                Err(e) if e.source.kind() == io::ErrorKind::NotADirectory => {
                    self.unhide(parent)?;
                    self.root.create_dirs(&path, IMPLIED_MODE)?
                }
                made => made?,
            };
            self.parent = Some((parent.to_owned(), dir));
        }
        Ok(())
    }

    /// A directory on the way was removed by an earlier whiteout and is made again without an entry of its own.
    fn unhide(&self, parent: &Path) -> Result<()> {
        let mut path = self.how.base.to_owned();
        for component in parent.components() {
            path.push(component);
            let Ok((dir, name)) = self.root.parent(&path) else { return Ok(()) };
            let hidden = dir.metadata(&name).is_ok_and(|there| there.is_whiteout());
            if hidden && self.how.whiteouts == Whiteouts::Overlay {
                dir.remove(&name)?;
                dir.create_dir(&name, IMPLIED_MODE)?;
                dir.set_xattr(&name, OsStr::new(OPAQUE_XATTR), b"y")?;
            }
        }
        Ok(())
    }

    fn dir(&self) -> &Dir {
        &self.parent.as_ref().expect("entered before").1
    }

    /// Makes something; when its name is taken, removes what is there and makes it again.
    fn replacing<T>(
        &mut self,
        path: &Path,
        name: &OsStr,
        make: impl Fn(&Dir) -> sys::Result<T>,
    ) -> Result<T> {
        match make(self.dir()) {
            Err(e) if is_taken(&e) => {}
            made => return Ok(made?),
        }
        self.dir().remove_tree(name)?;
        // The open directory may have been below what was removed.
        let parent = path.parent().unwrap_or(Path::new("")).to_owned();
        self.parent = None;
        self.enter(&parent)?;
        Ok(make(self.dir())?)
    }

    fn directory(&mut self, path: &Path, name: &OsStr, entry: &Entry) -> Result<()> {
        let made = match self.dir().create_dir(name, 0o700) {
            Err(e) if is_taken(&e) => None,
            made => Some(made?),
        };
        let dir = match made {
            Some(dir) => dir,
            None => {
                let there = self.dir().metadata(name)?;
                if there.kind == Kind::Directory {
                    self.dir().dir(name)?
                } else {
                    let dir = self.replacing(path, name, |dir| dir.create_dir(name, 0o700))?;
                    if self.how.whiteouts == Whiteouts::Overlay && there.is_whiteout() {
                        // Removed, then made anew: what is below stays hidden.
                        self.dir().set_xattr(name, OsStr::new(OPAQUE_XATTR), b"y")?;
                    }
                    dir
                }
            }
        };
        self.finish(&dir, path, entry)?;
        self.directories.push((path.to_owned(), entry.modified, default_acl(entry)));
        self.done.size += DISK_BLOCK;
        // What is in it comes next, mostly.
        self.parent = Some((path.to_owned(), dir));
        Ok(())
    }

    fn file(&mut self, path: &Path, name: &OsStr, entry: &Entry, content: &mut impl Read) -> Result<()> {
        let mut file = self.replacing(path, name, |dir| dir.open_file(name, Access::CreateNew, 0o600))?;
        let written = match &entry.sparse {
            None => self.copy(content, &mut file, path),
            Some(pieces) => self.copy_pieces(pieces, entry.size, content, &file, path),
        };
        self.done.size += written?.next_multiple_of(DISK_BLOCK);
        self.finish(&file, path, entry)?;
        Ok(file.set_own_modified(entry.modified)?)
    }

    /// Copies to the end of `content`: failing to read is the archive's fault, failing to write is ours.
    fn copy(&mut self, content: &mut impl Read, file: &mut impl Write, path: &Path) -> Result<u64> {
        let mut copied = 0;
        loop {
            match content.read(&mut self.buffer) {
                Ok(0) => return Ok(copied),
                Ok(n) => {
                    file.write_all(&self.buffer[..n]).map_err(|e| write_error(path, e))?;
                    copied += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Read { what: "archive", source }),
            }
        }
    }

    fn copy_pieces(
        &mut self,
        pieces: &[(u64, u64)],
        size: u64,
        content: &mut impl Read,
        mut file: &std::fs::File,
        path: &Path,
    ) -> Result<u64> {
        let mut copied = 0;
        for &(offset, length) in pieces {
            io::Seek::seek(&mut file, io::SeekFrom::Start(offset)).map_err(|e| write_error(path, e))?;
            copied += self.copy(&mut content.by_ref().take(length), &mut file, path)?;
        }
        file.set_len(size).map_err(|e| write_error(path, e))?;
        Ok(copied)
    }

    fn hard_link(&mut self, path: &Path, name: &OsStr, entry: &Entry) -> Result<()> {
        let bad = |detail| Error::Entry { entry: entry.path.display().to_string(), detail };
        let target = clean(Path::new(&entry.link));
        if target == path {
            // GNU tar writes such an entry for a file that is given twice.
            return Ok(());
        }
        if target.file_name().is_none() {
            return Err(bad("a hard link to a directory"));
        }
        let missing = |e: sys::Error| match e.source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                bad("a hard link to something that is not in the archive")
            }
            _ => e.into(),
        };
        let (from, from_name) = self.root.parent(self.how.base.join(&target)).map_err(missing)?;
        if from.metadata(&from_name).map_err(missing)?.kind == Kind::Directory {
            return Err(bad("a hard link to a directory"));
        }
        self.replacing(path, name, |dir| from.hard_link(&from_name, dir, name))
    }

    fn node(&mut self, path: &Path, name: &OsStr, entry: &Entry, kind: Kind) -> Result<()> {
        self.replacing(path, name, |dir| dir.make_node(name, kind, 0o600, entry.major, entry.minor))?;
        self.finish_by_name(name, entry)
    }

    /// `.wh.x` in the archive: `x` of the layers below is not to be seen. Of this layer it still is.
    fn whiteout(&mut self, parent: &Path, name: &OsStr, bad: impl Fn(&'static str) -> Error) -> Result<()> {
        if name == OPAQUE_MARKER {
            if parent.as_os_str().is_empty() {
                self.done.opaque = true;
                return Ok(());
            }
            self.enter(parent)?;
            let (above, last) = self.root.parent(self.how.base.join(parent))?;
            return Ok(above.set_xattr(&last, OsStr::new(OPAQUE_XATTR), b"y")?);
        }
        if name.as_bytes().starts_with(AUFS_PREFIX.as_bytes()) {
            return Ok(());
        }
        let hidden = OsStr::from_bytes(&name.as_bytes()[WHITEOUT_PREFIX.len()..]);
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(bad("a whiteout of no name"));
        }
        self.enter(parent)?;
        match self.dir().metadata(hidden) {
            Ok(there) if there.kind == Kind::Directory => {
                Ok(self.dir().set_xattr(hidden, OsStr::new(OPAQUE_XATTR), b"y")?)
            }
            Ok(_) => Ok(()),
            Err(_) => Ok(self.dir().make_node(hidden, Kind::CharDevice, 0, 0, 0)?),
        }
    }

    fn owner(&self, entry: &Entry) -> Result<(u32, u32)> {
        let (uid, gid) = self.how.owner.unwrap_or((entry.uid, entry.gid));
        self.how.owners.outside(uid, gid).ok_or_else(|| Error::Entry {
            entry: entry.path.display().to_string(),
            detail: "its owner has no id on the host",
        })
    }

    /// `.wh.x` in the archive: `x` is removed here and now.
    fn remove(&mut self, parent: &Path, name: &OsStr) -> Result<()> {
        self.enter(parent)?;
        if name == OPAQUE_MARKER {
            for entry in self.dir().entries()? {
                self.dir().remove_tree(&entry.name)?;
            }
            return Ok(());
        }
        match name.as_bytes().strip_prefix(WHITEOUT_PREFIX.as_bytes()) {
            Some(hidden) if !name.as_bytes().starts_with(AUFS_PREFIX.as_bytes()) => {
                Ok(self.dir().remove_tree(OsStr::from_bytes(hidden))?)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Owner, then mode (chown(2) clears setuid), then attributes (it clears capabilities too).
    fn finish(&self, file: &impl OpenFile, path: &Path, entry: &Entry) -> Result<()> {
        let (uid, gid) = self.owner(entry)?;
        file.set_owner(uid, gid)?;
        file.set_mode(entry.mode)?;
        let now = |key: &OsStr| keeps_xattr(key) && key != DEFAULT_ACL;
        for (key, value) in entry.xattrs.iter().filter(|(key, _)| now(key)) {
            let Ok(key) = std::ffi::CString::new(key.as_bytes()) else { continue };
            file.set_own_xattr(&key, value).or_else(|e| xattr_error(e, path, key.to_bytes()))?;
        }
        Ok(())
    }

    /// The same for what cannot be opened without effect: links, devices, FIFOs.
    fn finish_by_name(&self, name: &OsStr, entry: &Entry) -> Result<()> {
        let (uid, gid) = self.owner(entry)?;
        let dir = self.dir();
        dir.chown(name, uid, gid)?;
        if entry.kind != EntryKind::Symlink {
            dir.chmod(name, entry.mode)?;
        }
        for (key, value) in entry.xattrs.iter().filter(|(key, _)| keeps_xattr(key)) {
            dir.set_xattr(name, key, value).or_else(|e| xattr_error(e, &entry.path, key.as_bytes()))?;
        }
        Ok(dir.set_modified(name, entry.modified)?)
    }

    fn finish_directories(&mut self) -> Result<()> {
        self.parent = None;
        for (path, time, acl) in self.directories.drain(..) {
            let found = self.root.metadata(self.how.base.join(&path), sys::root::Follow::No);
            // A later entry may have put something else there, or nothing.
            if !found.is_ok_and(|metadata| metadata.kind == Kind::Directory) {
                continue;
            }
            let dir = self.root.dir(self.how.base.join(&path))?;
            if let Some(acl) = acl {
                dir.set_own_xattr(DEFAULT_ACL_C, &acl)
                    .or_else(|e| xattr_error(e, &path, DEFAULT_ACL.as_bytes()))?;
            }
            dir.set_own_modified(time)?;
        }
        Ok(())
    }
}

/// The path below the top: without empty components and `.`, and with `..` taken back. At the top it stays at the top.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut clean: Vec<OsString> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name.to_owned()),
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean.iter().collect()
}

/// EEXIST, and what opening says of a name that is a directory or a link.
fn is_taken(error: &sys::Error) -> bool {
    error.source.kind() == io::ErrorKind::AlreadyExists
}

fn default_acl(entry: &Entry) -> Option<Vec<u8>> {
    entry.xattrs.iter().find(|(key, _)| key == DEFAULT_ACL).map(|(_, value)| value.clone())
}

/// What the kernel refuses of an entry, since it can be no file, is the archive's fault: the entry is named.
fn blame(error: Error, entry: &Entry) -> Error {
    match error {
        // E2BIG, ENOTDIR, EISDIR, EINVAL, EFBIG, EMLINK, ERANGE, ENAMETOOLONG and ELOOP of errno(3).
        Error::Io { step, source, .. }
            if source.raw_os_error().is_some_and(|e| [7, 20, 21, 22, 27, 31, 34, 36, 40].contains(&e)) =>
        {
            Error::NoFile { entry: entry.path.display().to_string(), step, source }
        }
        error => error,
    }
}

fn write_error(path: &Path, source: io::Error) -> Error {
    Error::Io { step: "write", path: path.to_owned(), source }
}

/// A file system without user or ACL attributes, or a kind of file that has none, is no reason to fail. A capability
/// that is lost is.
fn xattr_error(error: sys::Error, path: &Path, key: &[u8]) -> Result<()> {
    let optional = !key.starts_with(b"security.");
    match error.source.kind() {
        io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied if optional => Ok(()),
        _ => Err(Error::Io { step: "setxattr", path: path.to_owned(), source: error.source }),
    }
}
