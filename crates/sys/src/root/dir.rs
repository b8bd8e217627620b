//! One directory of an untrusted tree, open: single names, no links followed.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, RawDir, StatVfsMountFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::{Access, Kind, Metadata, Time, failed};
use crate::Result;

/// Levels that [`Dir::remove_tree`] descends before it lifts what is deeper up to the top.
const REMOVE_DEPTH: usize = 64;
/// The kernel's limits of one xattr's value and of a file's list of names (xattr(7)).
const XATTR_MAX: usize = 65536;

/// File systems that show the kernel (linux/magic.h): proc, sysfs, cgroup, cgroup2, devpts, mqueue, debugfs, tracefs,
/// securityfs, bpf, configfs, pstore, efivarfs, binfmt_misc, selinuxfs.
const KERNEL_INTERFACES: [u64; 15] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x1cd1,
    0x1980_0202,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
    0x6265_6570,
    0x6165_676c,
    0xde5e_81e4,
    0x4249_4e4d,
    0xf97c_ff8c,
];

/// An open directory of an untrusted tree.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    label: PathBuf,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: OsString,
    /// What it was when the directory was read; `None` on file systems that do not say.
    pub kind: Option<Kind>,
}

impl Dir {
    pub(super) fn new(fd: OwnedFd, label: PathBuf) -> Self {
        Self { fd, label }
    }

    /// What errors call it: a path for people, never to be opened.
    pub fn label(&self) -> &Path {
        &self.label
    }

    /// The directory's own stat(2).
    ///
    /// # Errors
    /// fstat(2)'s.
    pub fn own_metadata(&self) -> Result<Metadata> {
        Metadata::of(self.as_fd()).map_err(|e| failed("stat", &self.label, e))
    }

    /// The same directory as the top of a tree of its own.
    ///
    /// # Errors
    /// dup(2)'s.
    pub fn to_root(&self) -> Result<super::Root> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.fd, 0).map_err(|e| failed("dup", &self.label, e))?;
        Ok(super::Root::from_fd(fd, self.label.clone()))
    }

    /// The names in it, in no order, without `.` and `..`.
    ///
    /// # Errors
    /// getdents(2)'s.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let error = |e| failed("list", &self.label, e);
        // The position belongs to the open file, so a second listing must start again.
        rustix::fs::seek(&self.fd, rustix::fs::SeekFrom::Start(0)).map_err(error)?;
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut raw = RawDir::new(&self.fd, &mut buffer);
        let mut entries = Vec::new();
        while let Some(entry) = raw.next() {
            let entry = entry.map_err(error)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                rustix::fs::FileType::Unknown => None,
                known => Some(Kind::from_file_type(known)),
            };
            entries.push(Entry { name: OsString::from_vec(name.to_vec()), kind });
        }
        Ok(entries)
    }

    /// stat(2) of a name; a link is not followed.
    ///
    /// # Errors
    /// fstatat(2)'s.
    pub fn metadata(&self, name: impl AsRef<OsStr>) -> Result<Metadata> {
        let name = name.as_ref();
        let at = self.check(name)?;
        rustix::fs::statat(&self.fd, at, AtFlags::SYMLINK_NOFOLLOW)
            .map(|stat| Metadata::from_stat(&stat))
            .map_err(|e| self.failed("stat", name, e))
    }

    /// An `O_PATH` descriptor of a name; a link is not followed.
    ///
    /// # Errors
    /// openat(2)'s.
    pub fn find(&self, name: impl AsRef<OsStr>) -> Result<OwnedFd> {
        self.openat("find", name.as_ref(), OFlags::PATH, 0)
    }

    /// A directory in it. A link is ENOTDIR.
    ///
    /// # Errors
    /// openat(2)'s.
    pub fn dir(&self, name: impl AsRef<OsStr>) -> Result<Self> {
        let name = name.as_ref();
        let fd = self.openat("open directory", name, OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        Ok(Self::new(fd, self.label.join(name)))
    }

    /// A file in it. A link is ELOOP. A FIFO or device does not block the caller. The umask applies to `mode`.
    ///
    /// # Errors
    /// openat(2)'s.
    pub fn open_file(&self, name: impl AsRef<OsStr>, access: Access, mode: u32) -> Result<File> {
        let flags = access.flags() | OFlags::NONBLOCK | OFlags::NOCTTY;
        self.openat("open", name.as_ref(), flags, mode).map(File::from)
    }

    /// Opens a regular file for reading; anything else is EINVAL, a link ELOOP. Nothing but a regular file is ever opened,
    /// so a device that was put in its place since it was looked at does nothing.
    ///
    /// # Errors
    /// openat(2)'s.
    pub fn open_regular(&self, name: impl AsRef<OsStr>) -> Result<File> {
        let name = name.as_ref();
        let found = self.find(name)?;
        let metadata = Metadata::of(found.as_fd()).map_err(|e| self.failed("stat", name, e))?;
        match metadata.kind {
            Kind::File => {}
            Kind::Symlink => return Err(self.failed("open", name, Errno::LOOP)),
            Kind::Directory | Kind::Fifo | Kind::Socket | Kind::CharDevice | Kind::BlockDevice => {
                return Err(self.failed("open", name, Errno::INVAL));
            }
        }
        // Through /proc: the one way from an O_PATH descriptor to one that can be read, and it is the same file.
        let path = format!("/proc/self/fd/{}", found.as_raw_fd());
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map(File::from)
            .map_err(|e| self.failed("open", name, e))
    }

    /// Whether what it is on is mounted without writing.
    ///
    /// # Errors
    /// fstatvfs(3)'s.
    pub fn is_read_only(&self) -> Result<bool> {
        rustix::fs::fstatvfs(&self.fd)
            .map(|system| system.f_flag.contains(StatVfsMountFlags::RDONLY))
            .map_err(|e| failed("statvfs", &self.label, e))
    }

    /// Whether it is on a file system that shows the kernel instead of keeping files (`/proc`, `/sys`, cgroups …):
    /// endless, and nothing that could be copied.
    ///
    /// # Errors
    /// fstatfs(2)'s.
    pub fn is_kernel_interface(&self) -> Result<bool> {
        rustix::fs::fstatfs(&self.fd)
            .map(|system| KERNEL_INTERFACES.contains(&(system.f_type as u64 & 0xffff_ffff)))
            .map_err(|e| failed("statfs", &self.label, e))
    }

    /// Makes a directory and opens it. It has exactly this mode, whatever the umask.
    ///
    /// # Errors
    /// mkdirat(2)'s.
    pub fn create_dir(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<Self> {
        let name = name.as_ref();
        let at = self.check(name)?;
        rustix::fs::mkdirat(&self.fd, at, Mode::from_raw_mode(mode & 0o7777))
            .map_err(|e| self.failed("mkdir", name, e))?;
        let dir = self.dir(name)?;
        dir.set_mode(mode)?;
        Ok(dir)
    }

    /// As [`Dir::create_dir`], but one that is there is opened as it is.
    ///
    /// # Errors
    /// mkdirat(2)'s and openat(2)'s.
    pub fn create_dir_or_open(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<Self> {
        let name = name.as_ref();
        match self.create_dir(name, mode) {
            Err(e) if e.errno() == libc::EEXIST => self.dir(name),
            made => made,
        }
    }

    /// Makes a symbolic link. `target` may say anything: it is never followed out of the tree by this room.
    ///
    /// # Errors
    /// symlinkat(2)'s.
    pub fn symlink(&self, target: impl AsRef<OsStr>, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        let at = self.check(name)?;
        rustix::fs::symlinkat(target.as_ref(), &self.fd, at).map_err(|e| self.failed("symlink", name, e))
    }

    /// What a symbolic link says.
    ///
    /// # Errors
    /// readlinkat(2)'s.
    pub fn read_link(&self, name: impl AsRef<OsStr>) -> Result<OsString> {
        let name = name.as_ref();
        let at = self.check(name)?;
        rustix::fs::readlinkat(&self.fd, at, Vec::new())
            .map(|target| OsString::from_vec(target.into_bytes()))
            .map_err(|e| self.failed("readlink", name, e))
    }

    /// A further name, `name` in `to`, for what is at `from` here. A link at `from` is linked itself, not followed.
    ///
    /// # Errors
    /// linkat(2)'s.
    pub fn hard_link(&self, from: impl AsRef<OsStr>, to: &Self, name: impl AsRef<OsStr>) -> Result<()> {
        let (from, name) = (from.as_ref(), name.as_ref());
        let (from_at, to_at) = (self.check(from)?, to.check(name)?);
        rustix::fs::linkat(&self.fd, from_at, &to.fd, to_at, AtFlags::empty())
            .map_err(|e| to.failed("link", name, e))
    }

    /// Makes a device, FIFO or socket. The umask applies to `mode`.
    ///
    /// # Errors
    /// mknodat(2)'s.
    pub fn make_node(
        &self,
        name: impl AsRef<OsStr>,
        kind: Kind,
        mode: u32,
        major: u32,
        minor: u32,
    ) -> Result<()> {
        let name = name.as_ref();
        let at = self.check(name)?;
        let device = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(&self.fd, at, kind.to_file_type(), Mode::from_raw_mode(mode & 0o7777), device)
            .map_err(|e| self.failed("mknod", name, e))
    }

    /// Removes a name that is not a directory.
    ///
    /// # Errors
    /// unlinkat(2)'s.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        let at = self.check(name)?;
        rustix::fs::unlinkat(&self.fd, at, AtFlags::empty()).map_err(|e| self.failed("unlink", name, e))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// unlinkat(2)'s.
    pub fn remove_dir(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        let at = self.check(name)?;
        rustix::fs::unlinkat(&self.fd, at, AtFlags::REMOVEDIR).map_err(|e| self.failed("rmdir", name, e))
    }

    /// Renames a name here to `name` in `to`, replacing what is there (rename(2)).
    ///
    /// # Errors
    /// renameat(2)'s.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: &Self, name: impl AsRef<OsStr>) -> Result<()> {
        let (from, name) = (from.as_ref(), name.as_ref());
        let (from_at, to_at) = (self.check(from)?, to.check(name)?);
        rustix::fs::renameat(&self.fd, from_at, &to.fd, to_at).map_err(|e| to.failed("rename", name, e))
    }

    /// Removes a name and all below it. Not there: no error. Works for trees deeper than any path, with a bounded
    /// number of open files.
    ///
    /// # Errors
    /// unlinkat(2)'s; part of the tree may be gone then.
    pub fn remove_tree(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        if gone(self.remove(name), libc::EISDIR)? || gone(self.remove_dir(name), libc::ENOTEMPTY)? {
            return Ok(());
        }
        let top = match self.dir(name) {
            Err(e) if e.errno() == libc::ENOENT => return Ok(()),
            opened => opened?,
        };
        let mut lifted = 0;
        // What was too deep comes up to the top and is met in the next round, so each round has less depth to do.
        loop {
            top.remove_children(&top, 0, &mut lifted)?;
            if gone(self.remove_dir(name), libc::ENOTEMPTY)? {
                return Ok(());
            }
        }
    }

    fn remove_children(&self, top: &Self, depth: usize, lifted: &mut u64) -> Result<()> {
        for Entry { name, kind } in self.entries()? {
            if kind != Some(Kind::Directory) && gone(self.remove(&name), libc::EISDIR)? {
                continue;
            }
            if gone(self.remove_dir(&name), libc::ENOTEMPTY)? {
                continue;
            }
            if depth < REMOVE_DEPTH {
                self.dir(&name)?.remove_children(top, depth + 1, lifted)?;
                gone(self.remove_dir(&name), libc::ENOTEMPTY)?;
            } else {
                *lifted += 1;
                let unused = format!(".removing-{}-{lifted}", std::process::id());
                self.rename(&name, top, unused)?;
            }
        }
        Ok(())
    }

    /// lchown(2): a link's own owner changes.
    ///
    /// # Errors
    /// fchownat(2)'s.
    pub fn chown(&self, name: impl AsRef<OsStr>, uid: u32, gid: u32) -> Result<()> {
        let name = name.as_ref();
        let at = self.check(name)?;
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(&self.fd, at, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| self.failed("chown", name, e))
    }

    /// Sets permission bits. A link is EOPNOTSUPP: it has none.
    ///
    /// # Errors
    /// chmod(2)'s.
    pub fn chmod(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<()> {
        let name = name.as_ref();
        let fd = self.find(name)?;
        // Through /proc: fchmod(2) does not take an O_PATH descriptor, and this follows nothing.
        rustix::fs::chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), Mode::from_raw_mode(mode & 0o7777))
            .map_err(|e| self.failed("chmod", name, e))
    }

    /// Sets the time of the last change; a link's own, and the time of the last access is kept.
    ///
    /// # Errors
    /// utimensat(2)'s.
    pub fn set_modified(&self, name: impl AsRef<OsStr>, time: Time) -> Result<()> {
        let name = name.as_ref();
        let at = self.check(name)?;
        rustix::fs::utimensat(&self.fd, at, &timestamps(time), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| self.failed("utimens", name, e))
    }

    /// Sets an extended attribute; a link's own.
    ///
    /// # Errors
    /// lsetxattr(2)'s.
    pub fn set_xattr(&self, name: impl AsRef<OsStr>, key: &OsStr, value: &[u8]) -> Result<()> {
        let name = name.as_ref();
        rustix::fs::lsetxattr(self.proc_path(name)?, key, value, XattrFlags::empty())
            .map_err(|e| self.failed("setxattr", name, e))
    }

    /// Removes an extended attribute; a link's own. Not there: ENODATA.
    ///
    /// # Errors
    /// lremovexattr(2)'s.
    pub fn remove_xattr(&self, name: impl AsRef<OsStr>, key: &OsStr) -> Result<()> {
        let name = name.as_ref();
        rustix::fs::lremovexattr(self.proc_path(name)?, key).map_err(|e| self.failed("removexattr", name, e))
    }

    /// The extended attributes, sorted by name; a link's own. None where the file system has none.
    ///
    /// # Errors
    /// llistxattr(2)'s and lgetxattr(2)'s.
    pub fn xattrs(&self, name: impl AsRef<OsStr>) -> Result<Vec<(OsString, Vec<u8>)>> {
        let name = name.as_ref();
        let path = self.proc_path(name)?;
        // Most files have none, and a short list needs no large buffer.
        let mut list = Vec::with_capacity(256);
        let listed = match rustix::fs::llistxattr(&path, rustix::buffer::spare_capacity(&mut list)) {
            Err(Errno::RANGE) => {
                list.reserve(XATTR_MAX);
                rustix::fs::llistxattr(&path, rustix::buffer::spare_capacity(&mut list))
            }
            other => other,
        };
        match listed {
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            other => other.map_err(|e| self.failed("listxattr", name, e))?,
        };
        let mut keys: Vec<&[u8]> = list.split(|&b| b == 0).filter(|k| !k.is_empty()).collect();
        keys.sort_unstable();
        let mut found = Vec::new();
        for key in keys {
            let mut value = Vec::with_capacity(XATTR_MAX);
            let key = OsStr::from_bytes(key);
            match rustix::fs::lgetxattr(&path, key, rustix::buffer::spare_capacity(&mut value)) {
                Ok(_) => found.push((key.to_owned(), value.as_slice().to_vec())),
                // Removed since it was listed.
                Err(Errno::NODATA) => {}
                Err(e) => return Err(self.failed("getxattr", name, e)),
            }
        }
        Ok(found)
    }

    /// `/proc/self/fd/<this directory>/<name>`: the one way to an xattr by directory and name before Linux 6.13.
    fn proc_path(&self, name: &OsStr) -> Result<PathBuf> {
        self.check(name)?;
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()));
        path.push(name);
        Ok(path)
    }

    fn openat(&self, step: &'static str, name: &OsStr, flags: OFlags, mode: u32) -> Result<OwnedFd> {
        let at = self.check(name)?;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, at, flags, Mode::from_raw_mode(mode & 0o7777))
            .map_err(|e| self.failed(step, name, e))
    }

    /// A name, not a path: without `/`, and neither empty nor `.` nor `..`.
    fn check<'n>(&self, name: &'n OsStr) -> Result<&'n OsStr> {
        let bytes = name.as_bytes();
        if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
            return Err(self.failed("look up", name, Errno::INVAL));
        }
        Ok(name)
    }

    fn failed(&self, step: &'static str, name: &OsStr, errno: Errno) -> crate::Error {
        failed(step, &self.label.join(name), errno)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether a removal leaves nothing behind: it worked, or there was nothing. `false` for the errno that asks for
/// another way.
fn gone(removed: Result<()>, otherwise: i32) -> Result<bool> {
    match removed {
        Ok(()) => Ok(true),
        Err(e) if e.errno() == libc::ENOENT => Ok(true),
        Err(e) if e.errno() == otherwise => Ok(false),
        Err(e) => Err(e),
    }
}

fn timestamps(time: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() },
    }
}

/// What can be done to a file that is already open. The order matters: chown(2) clears setuid and capabilities.
pub trait OpenFile: AsFd {
    /// fchown(2).
    ///
    /// # Errors
    /// As the call's.
    fn set_owner(&self, uid: u32, gid: u32) -> Result<()> {
        rustix::fs::fchown(self, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(|e| crate::Error::new("chown", describe(self.as_fd()), e))
    }

    /// fchmod(2).
    ///
    /// # Errors
    /// As the call's.
    fn set_mode(&self, mode: u32) -> Result<()> {
        rustix::fs::fchmod(self, Mode::from_raw_mode(mode & 0o7777))
            .map_err(|e| crate::Error::new("chmod", describe(self.as_fd()), e))
    }

    /// fsetxattr(2).
    ///
    /// # Errors
    /// As the call's.
    fn set_own_xattr(&self, key: &CStr, value: &[u8]) -> Result<()> {
        rustix::fs::fsetxattr(self, key, value, XattrFlags::empty())
            .map_err(|e| crate::Error::new("setxattr", describe(self.as_fd()), e))
    }

    /// The extended attributes, sorted by name. None where the file system has none.
    ///
    /// # Errors
    /// flistxattr(2)'s and fgetxattr(2)'s.
    fn own_xattrs(&self) -> Result<Vec<(OsString, Vec<u8>)>> {
        let failed = |step, e: Errno| crate::Error::new(step, describe(self.as_fd()), e);
        let mut list = Vec::with_capacity(256);
        let listed = match rustix::fs::flistxattr(self, rustix::buffer::spare_capacity(&mut list)) {
            Err(Errno::RANGE) => {
                list.reserve(XATTR_MAX);
                rustix::fs::flistxattr(self, rustix::buffer::spare_capacity(&mut list))
            }
            other => other,
        };
        match listed {
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            other => other.map_err(|e| failed("listxattr", e))?,
        };
        let mut keys: Vec<&[u8]> = list.split(|&b| b == 0).filter(|k| !k.is_empty()).collect();
        keys.sort_unstable();
        let mut found = Vec::new();
        for key in keys {
            let mut value = Vec::with_capacity(XATTR_MAX);
            let key = OsStr::from_bytes(key);
            match rustix::fs::fgetxattr(self, key, rustix::buffer::spare_capacity(&mut value)) {
                Ok(_) => found.push((key.to_owned(), value.as_slice().to_vec())),
                // Removed since it was listed.
                Err(Errno::NODATA) => {}
                Err(e) => return Err(failed("getxattr", e)),
            }
        }
        Ok(found)
    }

    /// futimens(3), the time of the last access kept.
    ///
    /// # Errors
    /// As the call's.
    fn set_own_modified(&self, time: Time) -> Result<()> {
        rustix::fs::futimens(self, &timestamps(time))
            .map_err(|e| crate::Error::new("utimens", describe(self.as_fd()), e))
    }
}

impl OpenFile for File {}
impl OpenFile for Dir {}

/// The name behind a descriptor, for an error.
fn describe(fd: BorrowedFd<'_>) -> String {
    rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())
        .map_or_else(|_| "an open file".to_owned(), |path| path.to_string_lossy().into_owned())
}
