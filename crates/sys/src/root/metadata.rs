//! What stat(2) says of a file, in plain numbers.

use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl Kind {
    /// The file type; one this kernel has no name for yet reads as a socket: a thing nobody can copy.
    pub(super) fn from_file_type(file_type: FileType) -> Self {
        match file_type {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Fifo,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Socket | FileType::Unknown => Self::Socket,
        }
    }

    pub(super) fn to_file_type(self) -> FileType {
        match self {
            Self::File => FileType::RegularFile,
            Self::Directory => FileType::Directory,
            Self::Symlink => FileType::Symlink,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
            Self::CharDevice => FileType::CharacterDevice,
            Self::BlockDevice => FileType::BlockDevice,
        }
    }
}

/// A point in time: seconds since 1970 (negative before) and nanoseconds within the second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// 0 to 999 999 999.
    pub nanos: u32,
}

/// What stat(2) says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// File, directory, …
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content.
    pub size: u64,
    /// Bytes on disk.
    pub disk: u64,
    /// Number of hard links.
    pub links: u64,
    /// A device's major number.
    pub major: u32,
    /// A device's minor number.
    pub minor: u32,
    /// When the content last changed.
    pub modified: Time,
    /// When anything of it last changed, attributes included: the kernel's own clock, which no program sets.
    pub changed: Time,
    /// The file system it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

impl Metadata {
    /// fstat(2).
    ///
    /// # Errors
    /// As the call's.
    pub fn of(fd: BorrowedFd<'_>) -> Result<Self, Errno> {
        rustix::fs::fstat(fd).map(|stat| Self::from_stat(&stat))
    }

    pub(super) fn from_stat(stat: &Stat) -> Self {
        Self {
            kind: Kind::from_file_type(FileType::from_raw_mode(stat.st_mode)),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            // stat(2) counts in units of 512 bytes, whatever the file system's block is.
            disk: u64::try_from(stat.st_blocks).unwrap_or(0) * 512,
            #[allow(clippy::useless_conversion, reason = "u32 on some architectures")]
            links: u64::from(stat.st_nlink),
            major: rustix::fs::major(stat.st_rdev),
            minor: rustix::fs::minor(stat.st_rdev),
            modified: Time { seconds: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) },
            changed: Time { seconds: stat.st_ctime, nanos: u32::try_from(stat.st_ctime_nsec).unwrap_or(0) },
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }

    /// Whether this is how overlayfs says "removed" (a character device 0/0).
    pub fn is_whiteout(&self) -> bool {
        self.kind == Kind::CharDevice && self.major == 0 && self.minor == 0
    }
}
