//! Project quotas (quotactl(2), ioctl_xfs_fsgetxattr(2)): what a directory and all that is ever made in it may take. ext4
//! has them with the features `quota` and `project` and the mount option `prjquota`, xfs with `pquota`.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::io::Errno;

use crate::{Error, Result, file};

/// `struct fsxattr` of linux/fs.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    pad: [u8; 8],
}

/// `struct if_dqblk` of linux/quota.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Quota {
    block_hard_limit: u64,
    block_soft_limit: u64,
    space: u64,
    inode_hard_limit: u64,
    inode_soft_limit: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
}

/// `struct fs_quota_stat` of linux/dqblk_xfs.h begins so; the rest is room for what follows.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct State {
    version: i8,
    flags: u16,
    rest: [u64; 15],
}

// linux/fs.h: `_IOR('X', 31, struct fsxattr)`, `_IOW('X', 32, struct fsxattr)`, `FS_XFLAG_PROJINHERIT`.
const FS_IOC_FSGETXATTR: libc::Ioctl = 0x801c_581f_u32 as libc::Ioctl;
const FS_IOC_FSSETXATTR: libc::Ioctl = 0x401c_5820_u32 as libc::Ioctl;
const INHERIT: u32 = 0x200;
// linux/quota.h, linux/dqblk_xfs.h: commands of projects (`PRJQUOTA` in the low byte).
const GET_QUOTA: u32 = 0x80_0007 << 8 | 2;
const SET_QUOTA: u32 = 0x80_0008 << 8 | 2;
const GET_STATE: u32 = 0x5805 << 8 | 2;
/// `FS_QUOTA_PDQ_ENFD`
const ENFORCED: u16 = 0x20;
/// `QIF_BLIMITS`
const LIMITS: u32 = 1;
/// Bytes that a limit counts in.
const UNIT: u64 = 1024;
/// Numbers tried until one is free. Taken are as many as there are limited directories, of a billion.
const TRIES: usize = 64;

/// Whether the file system that a directory is on keeps to limits of projects.
pub fn is_enforced(directory: &Path) -> bool {
    let mut state = State { version: 0, flags: 0, rest: [0; 15] };
    file::open(directory).is_ok_and(|directory| {
        quotactl(&directory, GET_STATE, 0, &mut state).is_ok() && state.flags & ENFORCED != 0
    })
}

/// Limits what an empty directory may take from now on, in bytes. Its project is a new one.
///
/// # Errors
/// The file system has no projects, or none is free.
pub fn limit(directory: &Path, bytes: u64) -> Result<()> {
    let opened = file::open(directory)?;
    let failed = |step, errno| Error::new(step, directory.display().to_string(), errno);
    for _ in 0..TRIES {
        // 0 is the project of everything else; the upper half is left to people who number projects themselves.
        let project = u32::from_le_bytes(crate::random::bytes()) >> 1 | 1;
        let mut quota = Quota::default();
        match quotactl(&opened, GET_QUOTA, project, &mut quota) {
            Ok(()) if quota.space > 0 || quota.inodes > 0 || quota.block_hard_limit > 0 => continue,
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed("quotactl get", errno)),
        }
        quotactl(&opened, SET_QUOTA, project, &mut blocks(bytes)).map_err(|e| failed("quotactl set", e))?;
        let mut attributes = Attributes::default();
        ioctl(&opened, FS_IOC_FSGETXATTR, &mut attributes).map_err(|e| failed("get project of", e))?;
        attributes.project = project;
        attributes.flags |= INHERIT;
        return ioctl(&opened, FS_IOC_FSSETXATTR, &mut attributes).map_err(|e| failed("set project of", e));
    }
    Err(failed("find a free project for", Errno::BUSY))
}

/// Changes the limit of a directory that has one, in bytes. One below what is in it stops further growth only.
///
/// # Errors
/// ioctl_xfs_fsgetxattr(2)'s and quotactl(2)'s; ENOENT when it has none.
pub fn change(directory: &Path, bytes: u64) -> Result<()> {
    let opened = file::open(directory)?;
    let failed = |step, errno| Error::new(step, directory.display().to_string(), errno);
    let mut attributes = Attributes::default();
    ioctl(&opened, FS_IOC_FSGETXATTR, &mut attributes).map_err(|e| failed("get project of", e))?;
    if attributes.project == 0 {
        return Err(failed("find the limit of", Errno::NOENT));
    }
    quotactl(&opened, SET_QUOTA, attributes.project, &mut blocks(bytes))
        .map_err(|e| failed("quotactl set", e))
}

fn blocks(bytes: u64) -> Quota {
    let hard = bytes.div_ceil(UNIT);
    Quota { block_hard_limit: hard, block_soft_limit: hard, valid: LIMITS, ..Quota::default() }
}

/// Gives the limit of a directory's project up; for one that has none nothing is done. Before it is removed.
///
/// # Errors
/// quotactl(2)'s.
pub fn release(directory: &Path) -> Result<()> {
    let opened = file::open(directory)?;
    let mut attributes = Attributes::default();
    // Without projects there is no limit either.
    if ioctl(&opened, FS_IOC_FSGETXATTR, &mut attributes).is_err() || attributes.project == 0 {
        return Ok(());
    }
    let mut none = Quota { valid: LIMITS, ..Quota::default() };
    quotactl(&opened, SET_QUOTA, attributes.project, &mut none)
        .map_err(|e| Error::new("quotactl set", directory.display().to_string(), e))
}

#[allow(unsafe_code, reason = "ioctl(2)")]
fn ioctl(
    directory: &File,
    request: libc::Ioctl,
    attributes: &mut Attributes,
) -> std::result::Result<(), Errno> {
    // SAFETY: both requests read or write one `struct fsxattr`, which `Attributes` is, at a pointer that is valid and
    // exclusive for the call; the descriptor is open for as long.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), request, std::ptr::from_mut(attributes)) };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

#[allow(unsafe_code, reason = "quotactl_fd(2) has no wrapper")]
fn quotactl<T>(directory: &File, command: u32, id: u32, data: &mut T) -> std::result::Result<(), Errno> {
    // SAFETY: the commands used here read or write one object of the type that each caller passes (`struct if_dqblk`,
    // `struct fs_quota_stat`), at a pointer that is valid and exclusive for the call.
    let result = unsafe {
        libc::syscall(libc::SYS_quotactl_fd, directory.as_raw_fd(), command, id, std::ptr::from_mut(data))
    };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}
