//! The fd-based mount API (fsopen(2), open_tree(2), move_mount(2), mount_setattr(2)).
//!
//! A [`Mount`] is made detached, gets its attributes while nobody can reach it, and is attached to an open
//! directory or file: no path is resolved twice.

#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::flags::flags;
use crate::{Error, Result};

mod named;
mod overlay;

pub use named::{Covering, Flags, covering, is_mounted_at, mount_at, mounted_below, unmount_at};
pub use overlay::makes_unattached as makes_overlays_unattached;

/// What statfs(2) says of a procfs, and of a sysfs.
const PROC_SUPER_MAGIC: u64 = 0x9fa0;
const SYSFS_MAGIC: u64 = 0x6265_6572;

/// A mount that is held by its descriptor.
#[derive(Debug)]
pub struct Mount {
    fd: OwnedFd,
    label: String,
}

/// Attributes of a mount (mount_setattr(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes(u64);

flags!(Attributes);

impl Attributes {
    /// No writing.
    pub const READ_ONLY: Self = Self(0x1);
    /// Set-user-ID bits and file capabilities do not count.
    pub const NO_SUID: Self = Self(0x2);
    /// Device nodes are not opened.
    pub const NO_DEV: Self = Self(0x4);
    /// Nothing is executed.
    pub const NO_EXEC: Self = Self(0x8);
    /// Access times are not kept. At most one of the access time attributes; none of them is relatime.
    pub const NO_ATIME: Self = Self(0x10);
    /// Access times are always kept.
    pub const STRICT_ATIME: Self = Self(0x20);
    /// The three bits that the access time attributes share.
    pub const ATIME: Self = Self(0x70);
    /// Access times of directories are not kept.
    pub const NO_DIR_ATIME: Self = Self(0x80);
    /// Symbolic links are not followed.
    pub const NO_SYMLINKS: Self = Self(0x20_0000);
}

/// The part of an overlay that takes what is written: two directories of one file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upper<'p> {
    /// What was written.
    pub directory: &'p str,
    /// overlayfs's own.
    pub work: &'p str,
    /// None of it is needed after a crash of the machine (`volatile`, Linux 5.10): fsync(2) does nothing, and taking the
    /// mount down does not wait until the file system below has written all that it has to write, for whomever.
    pub volatile: bool,
}

/// What happens to mounts made below this one in its other copies (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Nothing, and nothing comes from them.
    Private,
    /// They come here; nothing goes out.
    Slave,
    /// Both ways.
    Shared,
    /// As private, and it cannot be bind mounted.
    Unbindable,
}

impl Propagation {
    const fn bits(self) -> u64 {
        match self {
            Self::Private => libc::MS_PRIVATE,
            Self::Slave => libc::MS_SLAVE,
            Self::Shared => libc::MS_SHARED,
            Self::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// Whether an operation covers the mounts below too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The one mount.
    One,
    /// It and all below.
    All,
}

impl Mount {
    /// A new instance of a file system, detached. `options` are the file system's own: `key` or `key=value`.
    ///
    /// # Errors
    /// fsopen(2)'s, fsconfig(2)'s and fsmount(2)'s; the object holds what the file system said.
    pub fn new(kind: &str, source: &str, options: &[&str], attributes: Attributes) -> Result<Self> {
        let context = Context::open(kind)?;
        if !source.is_empty() {
            context.set("source", source)?;
        }
        for option in options {
            match option.split_once('=') {
                Some((key, value)) => context.set(key, value)?,
                None => context.set_flag(option)?,
            }
        }
        context.mount(attributes)
    }

    /// A copy (bind mount) of what is at `path` on the caller's side, detached. Links in `path` are followed.
    ///
    /// # Errors
    /// open_tree(2)'s.
    pub fn copy(path: &Path, depth: Depth) -> Result<Self> {
        let label = path.display().to_string();
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        flags.set(OpenTreeFlags::AT_RECURSIVE, depth == Depth::All);
        let fd = rustix::mount::open_tree(CWD, path, flags).map_err(|e| Error::new("bind", &label, e))?;
        Ok(Self { fd, label })
    }

    /// A copy (bind mount) of an open file or directory, detached.
    ///
    /// # Errors
    /// open_tree(2)'s: EINVAL for one in another mount namespace.
    pub fn copy_of(fd: BorrowedFd<'_>, label: &str, depth: Depth) -> Result<Self> {
        let mut flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        flags.set(OpenTreeFlags::AT_RECURSIVE, depth == Depth::All);
        let fd = rustix::mount::open_tree(fd, c"", flags).map_err(|e| Error::new("bind", label, e))?;
        Ok(Self { fd, label: label.to_owned() })
    }

    /// The mount that `path` leads to.
    ///
    /// # Errors
    /// open_tree(2)'s; EINVAL later for a path that is no mount's top.
    pub fn open(path: &Path) -> Result<Self> {
        let label = path.display().to_string();
        let fd = rustix::mount::open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLOEXEC)
            .map_err(|e| Error::new("open", &label, e))?;
        Ok(Self { fd, label })
    }

    /// Its top directory, opened for reading.
    ///
    /// # Errors
    /// openat(2)'s.
    pub fn open_top(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, c".", flags, Mode::empty())
            .map_err(|e| Error::new("open", &self.label, e))
    }

    /// An overlay of `lower` directories (highest first, at least one) with a writable part.
    ///
    /// `label`: SELinux's, of every file in it; empty for each one's own.
    ///
    /// On kernels before 6.7 it is made attached, at the upper directory, which is why it wants the caller's mounts private.
    ///
    /// # Errors
    /// As [`Mount::new`]'s.
    pub fn overlay(lower: &[String], upper: Upper<'_>, label: &str) -> Result<Self> {
        overlay::mount(lower, upper, label)
    }

    /// The same for reading: `lower` directories, two at least. Unlike the other it needs no sync of the file system below
    /// when it is taken down.
    ///
    /// # Errors
    /// As [`Mount::new`]'s.
    pub fn overlay_read_only(lower: &[String]) -> Result<Self> {
        overlay::mount_read_only(lower)
    }

    /// A mount that somebody else has made (fsmount(2), open_tree(2)); `label` is what errors call it.
    pub fn from_fd(fd: OwnedFd, label: impl Into<String>) -> Self {
        Self { fd, label: label.into() }
    }

    /// The same mount, held once more.
    ///
    /// # Errors
    /// dup(2)'s.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone().map_err(|e| Error::new("dup", &self.label, e))?;
        Ok(Self { fd, label: self.label.clone() })
    }

    /// Adds and removes attributes. Setting an access time attribute replaces the one before.
    ///
    /// # Errors
    /// mount_setattr(2)'s.
    pub fn set(&self, add: Attributes, remove: Attributes, depth: Depth) -> Result<()> {
        if add.is_empty() && remove.is_empty() {
            return Ok(());
        }
        let mut attr = SetAttr { set: add.0, clear: remove.0, ..SetAttr::default() };
        if (add.0 | remove.0) & Attributes::ATIME.0 != 0 {
            attr.clear |= Attributes::ATIME.0;
        }
        set_attr(self.fd.as_fd(), c"", libc::AT_EMPTY_PATH, depth, &attr)
            .map_err(|e| Error::new("mount_setattr", &self.label, e))
    }

    /// Sets the propagation.
    ///
    /// # Errors
    /// mount_setattr(2)'s.
    pub fn propagate(&self, propagation: Propagation, depth: Depth) -> Result<()> {
        let attr = SetAttr { propagation: propagation.bits(), ..SetAttr::default() };
        set_attr(self.fd.as_fd(), c"", libc::AT_EMPTY_PATH, depth, &attr)
            .map_err(|e| Error::new("mount_setattr", &self.label, e))
    }

    /// Maps the ids of its files as a user namespace does (Linux 5.12). It must not be attached yet.
    ///
    /// # Errors
    /// mount_setattr(2)'s: EINVAL for a file system that cannot, EPERM for a mount that is mapped already.
    pub fn map_ids(&self, user_namespace: BorrowedFd<'_>, depth: Depth) -> Result<()> {
        const IDMAP: u64 = 0x10_0000;
        let userns_fd = user_namespace.as_raw_fd().cast_unsigned().into();
        let attr = SetAttr { set: IDMAP, userns_fd, ..SetAttr::default() };
        set_attr(self.fd.as_fd(), c"", libc::AT_EMPTY_PATH, depth, &attr)
            .map_err(|e| Error::new("map the ids of", &self.label, e))
    }

    /// Puts it onto an open (`O_PATH` will do) directory or file.
    ///
    /// # Errors
    /// move_mount(2)'s; ENOTDIR when one is a directory and the other is not.
    pub fn attach(&self, target: BorrowedFd<'_>) -> Result<()> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(&self.fd, c"", target, c"", flags)
            .map_err(|e| Error::new("move_mount", &self.label, e))
    }

    /// Puts it onto the working directory, which is in the caller's mount namespace also after that was copied, and may
    /// be below directories that the caller cannot pass.
    ///
    /// # Errors
    /// move_mount(2)'s.
    pub fn attach_here(&self) -> Result<()> {
        self.attach(CWD)
    }
}

/// Whether it is on a procfs (proc(5)).
///
/// # Errors
/// fstatfs(2)'s.
pub fn is_procfs(fd: BorrowedFd<'_>) -> Result<bool> {
    is_on(fd, PROC_SUPER_MAGIC)
}

/// Whether it is on a sysfs (sysfs(5)).
///
/// # Errors
/// fstatfs(2)'s.
pub fn is_sysfs(fd: BorrowedFd<'_>) -> Result<bool> {
    is_on(fd, SYSFS_MAGIC)
}

fn is_on(fd: BorrowedFd<'_>, magic: u64) -> Result<bool> {
    let found = rustix::fs::fstatfs(fd).map_err(|e| Error::new("statfs", "", e))?;
    // A C long of either width or sign: the number fits all of them.
    Ok(found.f_type as u64 & 0xffff_ffff == magic)
}

/// Takes away what is mounted at `name` in a directory, at once for new users and in the end for those who have files of it
/// open. The directory is the caller's working directory then. A link is not followed.
///
/// # Errors
/// umount2(2)'s: EINVAL when nothing is mounted there.
pub fn detach(directory: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    // umount2(2) takes a path only, and a procfs for one by descriptor cannot be had in every user namespace.
    let failed = |step| move |errno| Error::new(step, name.to_string_lossy(), errno);
    rustix::process::fchdir(directory).map_err(failed("fchdir"))?;
    rustix::mount::unmount(name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).map_err(failed("umount"))
}

impl AsFd for Mount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Mount> for OwnedFd {
    fn from(mount: Mount) -> Self {
        mount.fd
    }
}

/// Sets the propagation of every mount that the caller sees.
///
/// # Errors
/// mount_setattr(2)'s.
pub fn propagate_all(propagation: Propagation) -> Result<()> {
    let attr = SetAttr { propagation: propagation.bits(), ..SetAttr::default() };
    set_attr(CWD, c"/", 0, Depth::All, &attr).map_err(|e| Error::new("mount_setattr", "/", e))
}

/// Makes a detached mount the caller's root, and lets go of the old one with all that is below it.
/// The working directory is the new root then.
///
/// The caller's mounts must be private. On a root that cannot be pivoted away (initramfs), the new root
/// covers it and chroot(2) does the rest.
///
/// # Errors
/// move_mount(2)'s, pivot_root(2)'s and umount(2)'s.
pub fn pivot(root: &Mount) -> Result<()> {
    let failed = |step| move |errno| Error::new(step, &root.label, errno);
    let top = rustix::fs::open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open /"))?;
    root.attach(top.as_fd())?;
    rustix::process::fchdir(root).map_err(failed("fchdir"))?;
    match rustix::process::pivot_root(c".", c".") {
        Ok(()) => {
            // The old root lies on the new one's top now: `.` still is the new one, `/` leads to the old.
            rustix::mount::unmount(c".", UnmountFlags::DETACH).map_err(failed("umount"))?;
        }
        Err(Errno::INVAL) => rustix::process::chroot(c".").map_err(failed("chroot"))?,
        Err(errno) => return Err(failed("pivot_root")(errno)),
    }
    rustix::process::chdir(c"/").map_err(failed("chdir"))
}

/// As [`pivot`], but the old root stays below, hidden by the new one and chroot(2): for a root that cannot be
/// pivoted away.
///
/// # Errors
/// move_mount(2)'s and chroot(2)'s.
pub fn cover(root: &Mount) -> Result<()> {
    let failed = |step| move |errno| Error::new(step, &root.label, errno);
    let top = rustix::fs::open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open /"))?;
    root.attach(top.as_fd())?;
    rustix::process::fchdir(root).map_err(failed("fchdir"))?;
    rustix::process::chroot(c".").map_err(failed("chroot"))?;
    rustix::process::chdir(c"/").map_err(failed("chdir"))
}

/// A file system that is being configured.
struct Context {
    fd: OwnedFd,
    kind: String,
}

impl Context {
    fn open(kind: &str) -> Result<Self> {
        let fd = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| Error::new("fsopen", kind, errno))?;
        Ok(Self { fd, kind: kind.to_owned() })
    }

    fn set(&self, key: &str, value: &str) -> Result<()> {
        rustix::mount::fsconfig_set_string(&self.fd, key, value)
            .map_err(|errno| self.error("fsconfig", &format!("{key}={value}"), errno))
    }

    fn set_flag(&self, key: &str) -> Result<()> {
        rustix::mount::fsconfig_set_flag(&self.fd, key).map_err(|errno| self.error("fsconfig", key, errno))
    }

    fn mount(&self, attributes: Attributes) -> Result<Mount> {
        rustix::mount::fsconfig_create(&self.fd).map_err(|errno| self.error("mount", "", errno))?;
        let attributes = MountAttrFlags::from_bits_retain(attributes.0 as u32);
        let fd = rustix::mount::fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(|errno| self.error("fsmount", "", errno))?;
        Ok(Mount { fd, label: self.kind.clone() })
    }

    /// The failure, with the file system's own words when it left some (fsopen(2)).
    fn error(&self, step: &'static str, option: &str, errno: Errno) -> Error {
        let mut object = self.kind.clone();
        if !option.is_empty() {
            object.push(' ');
            object.push_str(option);
        }
        let mut buffer = [0; 512];
        while let Ok(length @ 1..) = rustix::io::read(&self.fd, &mut buffer) {
            // "e text" is an error, "w text" a warning.
            let message = String::from_utf8_lossy(&buffer[..length]);
            object.push_str(&format!(" ({})", message.get(2..).unwrap_or_default().trim()));
        }
        Error::new(step, object, errno)
    }
}

/// `struct mount_attr` (linux/mount.h, Linux 5.12).
#[repr(C)]
#[derive(Default)]
struct SetAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

fn set_attr(
    fd: BorrowedFd<'_>,
    path: &CStr,
    flags: i32,
    depth: Depth,
    attr: &SetAttr,
) -> std::io::Result<()> {
    let flags = flags | if depth == Depth::All { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: a valid descriptor and string, and a struct of the size that is passed, which the kernel reads.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<SetAttr>(),
        )
    };
    if answer < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
