//! Paths inside an untrusted tree: every look-up by openat2(2) with RESOLVE_IN_ROOT.
//!
//! A tree that a container can write to, or that came out of an archive, may hold symbolic links that point anywhere,
//! and may change between two system calls. So no path is ever checked and then used: a look-up gives a file
//! descriptor, and the descriptor is what is used.
//!
//! - [`Root`] takes paths. `..` at the top stays at the top, absolute links start at the top, magic links
//!   (`/proc/<pid>/fd/…`) are refused: what chroot(2) would see, without entering.
//! - [`Dir`] is one directory of such a tree, open. It takes single names, never paths, and follows no link.
//! - [`Root::parent`] goes from the first to the second: `let (dir, name) = root.parent(path)?; dir.remove(&name)?`.
//!
//! Directories are opened for reading rather than with `O_PATH`, so that the same descriptor can be listed, changed and
//! synced; nothing but a directory is ever opened by a look-up of a directory, so no FIFO or device can be triggered.
//!
//! An attribute without an `*at` call (mode without following, xattrs) is reached through `/proc/self/fd`, so the
//! calling process needs the host's `/proc`.

mod dir;
mod metadata;
mod walk;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

pub use dir::{Dir, Entry, OpenFile};
pub use metadata::{Kind, Metadata, Time};
pub use walk::{Descend, TooDeep, Visit};

use crate::{Error, Result};

/// openat2 answers EAGAIN when a rename or mount anywhere raced with a `..`; an attacker can make that likely but not
/// certain, so a bounded number of tries is enough.
const TRIES: u32 = 128;
/// As many links as the kernel follows in one look-up (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// The top of an untrusted tree.
#[derive(Debug)]
pub struct Root {
    top: Dir,
}

/// How a look-up treats a symbolic link at the end of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Go to what it points at, inside the tree.
    Yes,
    /// Take the link itself.
    No,
}

/// What to open a file for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing; it must exist.
    Write,
    /// Writing from the start; made when missing.
    Truncate,
    /// Writing; it must not exist.
    CreateNew,
}

impl Access {
    fn flags(self) -> OFlags {
        match self {
            Self::Read => OFlags::RDONLY,
            Self::Write => OFlags::WRONLY,
            Self::Truncate => OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC,
            Self::CreateNew => OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL,
        }
    }
}

impl Root {
    /// The tree below a directory of the host. `path` itself is trusted: its links are followed.
    ///
    /// # Errors
    /// open(2)'s.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed("open", path, e))?;
        Ok(Self { top: Dir::new(fd, path.to_owned()) })
    }

    /// The tree below an open directory; `label` is what errors call it.
    pub fn from_fd(fd: OwnedFd, label: impl Into<PathBuf>) -> Self {
        Self { top: Dir::new(fd, label.into()) }
    }

    /// The top directory.
    pub fn top(&self) -> &Dir {
        &self.top
    }

    /// An `O_PATH` descriptor of whatever is there: to stat, to mount from or onto, to give to fchdir(2).
    ///
    /// # Errors
    /// openat2(2)'s.
    pub fn find(&self, path: impl AsRef<Path>, follow: Follow) -> Result<OwnedFd> {
        let nofollow = if follow == Follow::No { OFlags::NOFOLLOW } else { OFlags::empty() };
        self.openat2("find", path.as_ref(), OFlags::PATH | nofollow, 0, ResolveFlags::empty())
    }

    /// A directory; links are followed inside the tree.
    ///
    /// # Errors
    /// openat2(2)'s.
    pub fn dir(&self, path: impl AsRef<Path>) -> Result<Dir> {
        let path = path.as_ref();
        let fd = self.openat2(
            "open directory",
            path,
            OFlags::RDONLY | OFlags::DIRECTORY,
            0,
            ResolveFlags::empty(),
        )?;
        Ok(Dir::new(fd, self.label(path)))
    }

    /// A directory, no component of whose path is a symbolic link (then ELOOP).
    ///
    /// # Errors
    /// openat2(2)'s.
    pub fn dir_no_links(&self, path: impl AsRef<Path>) -> Result<Dir> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = self.openat2("open directory", path, flags, 0, ResolveFlags::NO_SYMLINKS)?;
        Ok(Dir::new(fd, self.label(path)))
    }

    /// The directory that holds the last component of `path`, open, and that component's name. The last component
    /// need not exist, and is not followed. EINVAL when there is none (`/`, `.`) or it is `..`.
    ///
    /// # Errors
    /// openat2(2)'s.
    pub fn parent(&self, path: impl AsRef<Path>) -> Result<(Dir, OsString)> {
        let (parent, name) = self.split(path.as_ref())?;
        Ok((self.dir(parent)?, name.to_owned()))
    }

    /// As [`Root::parent`], with missing directories made.
    ///
    /// # Errors
    /// As [`Root::create_dirs`].
    pub fn create_parent(&self, path: impl AsRef<Path>, mode: u32) -> Result<(Dir, OsString)> {
        let (parent, name) = self.split(path.as_ref())?;
        Ok((self.create_dirs(parent, mode)?, name.to_owned()))
    }

    /// mkdir -p inside the tree: missing directories are made with exactly this mode (no umask), owned by the caller.
    /// Links on the way are followed, dangling ones too: what they point at is made, inside the tree.
    ///
    /// # Errors
    /// openat2(2)'s and mkdirat(2)'s; ENOTDIR when something else is in the way.
    pub fn create_dirs(&self, path: impl AsRef<Path>, mode: u32) -> Result<Dir> {
        let path = path.as_ref();
        match self.dir(path) {
            Err(e) if e.errno() == libc::ENOENT => {}
            done => return done,
        }
        let Resolved { mut dir, missing, .. } = self.resolve_partly(path)?;
        for name in missing {
            dir = dir.create_dir_or_open(&name, mode)?;
        }
        Ok(dir)
    }

    /// Opens a file; links are followed inside the tree. A FIFO or device does not block the caller, but is opened:
    /// check the kind first ([`Root::metadata`]), or use [`Root::read`].
    ///
    /// # Errors
    /// openat2(2)'s.
    pub fn open_file(&self, path: impl AsRef<Path>, access: Access, mode: u32) -> Result<File> {
        let flags = access.flags() | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(File::from(self.openat2("open", path.as_ref(), flags, mode, ResolveFlags::empty())?))
    }

    /// Something to mount a file on: opens (`O_PATH`) what is there, or makes an empty file and the directories above
    /// it. Dangling links are made good inside the tree.
    ///
    /// # Errors
    /// As [`Root::create_dirs`].
    pub fn touch(&self, path: impl AsRef<Path>, dir_mode: u32, mode: u32) -> Result<OwnedFd> {
        let path = path.as_ref();
        match self.find(path, Follow::Yes) {
            Err(e) if e.errno() == libc::ENOENT => {}
            done => return done,
        }
        let Resolved { mut dir, mut missing, .. } = self.resolve_partly(path)?;
        let Some(name) = missing.pop() else {
            // It came into being since the first look: somebody else is at work in the tree.
            return self.find(path, Follow::Yes);
        };
        for parent in missing {
            dir = dir.create_dir_or_open(&parent, dir_mode)?;
        }
        match dir.open_file(&name, Access::CreateNew, mode) {
            Ok(file) => {
                file.set_mode(mode)?;
                Ok(file.into())
            }
            Err(e) if e.errno() == libc::EEXIST => dir.find(&name),
            Err(e) => Err(e),
        }
    }

    /// The bytes of a regular file of at most `limit` bytes. Anything else is refused: EINVAL, or EFBIG.
    /// Meant for `/etc/passwd` and the like, which the tree's owner may have replaced by a FIFO or something endless.
    ///
    /// # Errors
    /// As said, and openat2(2)'s and read(2)'s.
    pub fn read(&self, path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let file = self.open_file(path, Access::Read, 0)?;
        let metadata = Metadata::of(file.as_fd()).map_err(|e| failed("stat", &self.label(path), e))?;
        if metadata.kind != Kind::File {
            return Err(failed("read", &self.label(path), Errno::INVAL));
        }
        let mut bytes = Vec::new();
        (&file)
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|e| Error::new("read", self.label(path).display().to_string(), e))?;
        if bytes.len() as u64 > limit {
            return Err(failed("read", &self.label(path), Errno::FBIG));
        }
        Ok(bytes)
    }

    /// stat(2) inside the tree.
    ///
    /// # Errors
    /// openat2(2)'s.
    pub fn metadata(&self, path: impl AsRef<Path>, follow: Follow) -> Result<Metadata> {
        let path = path.as_ref();
        let fd = self.find(path, follow)?;
        Metadata::of(fd.as_fd()).map_err(|e| failed("stat", &self.label(path), e))
    }

    /// Where `path` leads, all links followed inside the tree: an absolute path in it. What does not exist is taken by
    /// the letter. For people and for looking up again: somebody may change the tree at once.
    ///
    /// # Errors
    /// openat2(2)'s; ELOOP for links without an end.
    pub fn canonical(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let Resolved { mut path, missing, .. } = self.resolve_partly(path.as_ref())?;
        path.extend(missing);
        Ok(Path::new("/").join(path))
    }

    /// Removes what is at `path`, whole; a link at its end is removed, not followed. Not there: no error.
    ///
    /// # Errors
    /// openat2(2)'s and unlinkat(2)'s.
    pub fn remove_tree(&self, path: impl AsRef<Path>) -> Result<()> {
        match self.parent(path) {
            Ok((dir, name)) => dir.remove_tree(&name),
            Err(e) if e.errno() == libc::ENOENT => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn split<'p>(&self, path: &'p Path) -> Result<(&'p Path, &'p OsStr)> {
        match path.components().next_back() {
            Some(Component::Normal(name)) => Ok((path.parent().unwrap_or(Path::new("")), name)),
            Some(_) | None => Err(failed("look up", &self.label(path), Errno::INVAL)),
        }
    }

    /// Goes as far as the path exists, following links, and returns the last directory and the names that are missing
    /// below it (or the one of what is no directory at the very end). Each step is one openat2 of a path without links from the top, so a component that turns into a link
    /// meanwhile is an error, not a way out.
    fn resolve_partly(&self, path: &Path) -> Result<Resolved> {
        let mut pending: VecDeque<OsString> = components(path);
        let mut resolved = PathBuf::new();
        let mut dir = self.dir_no_links("")?;
        let mut links = 0;
        while let Some(name) = pending.pop_front() {
            if name == ".." {
                resolved.pop();
                dir = self.dir_no_links(&resolved)?;
                continue;
            }
            let found = match dir.metadata(&name) {
                Ok(found) => found,
                Err(e) if e.errno() == libc::ENOENT => {
                    if pending.iter().any(|n| n == "..") {
                        return Err(e);
                    }
                    pending.push_front(name);
                    return Ok(Resolved { dir, path: resolved, missing: pending.into() });
                }
                Err(e) => return Err(e),
            };
            if found.kind == Kind::Symlink {
                links += 1;
                if links > MAX_LINKS {
                    return Err(failed("look up", &self.label(path), Errno::LOOP));
                }
                let target = PathBuf::from(dir.read_link(&name)?);
                if target.is_absolute() {
                    resolved.clear();
                    dir = self.dir_no_links("")?;
                }
                for component in components(&target).into_iter().rev() {
                    pending.push_front(component);
                }
            } else if found.kind == Kind::Directory || !pending.is_empty() {
                resolved.push(&name);
                dir = self.dir_no_links(&resolved)?;
            } else {
                // A file at the very end: the caller finds it there.
                return Ok(Resolved { dir, path: resolved, missing: vec![name] });
            }
        }
        Ok(Resolved { dir, path: resolved, missing: Vec::new() })
    }

    fn label(&self, path: &Path) -> PathBuf {
        self.top.label().join(path.strip_prefix("/").unwrap_or(path))
    }

    fn openat2(
        &self,
        step: &'static str,
        path: &Path,
        flags: OFlags,
        mode: u32,
        more: ResolveFlags,
    ) -> Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
        // An empty path is ENOENT to the kernel; here it is the top.
        let asked = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        // openat2 refuses a mode without O_CREAT.
        let mode =
            if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(mode & 0o7777) } else { Mode::empty() };
        let mut tries = 0;
        loop {
            match rustix::fs::openat2(self.top.as_fd(), asked, flags | OFlags::CLOEXEC, mode, resolve) {
                Ok(fd) => return Ok(fd),
                Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => tries += 1,
                Err(e) => return Err(failed(step, &self.label(path), e)),
            }
        }
    }
}

/// How far a path could be followed.
struct Resolved {
    /// The last directory that is there.
    dir: Dir,
    /// Its path from the top, without links.
    path: PathBuf,
    /// The names below it that are missing.
    missing: Vec<OsString>,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.top.as_fd()
    }
}

/// The components of a path that mean something to a walk from the top: names and `..`.
fn components(path: &Path) -> VecDeque<OsString> {
    path.as_os_str()
        .as_bytes()
        .split(|&b| b == b'/')
        .filter(|c| !c.is_empty() && *c != b".")
        .map(|c| OsString::from_vec(c.to_vec()))
        .collect()
}

fn failed(step: &'static str, path: &Path, errno: Errno) -> Error {
    Error::new(step, path.display().to_string(), errno)
}

#[cfg(test)]
mod tests;
