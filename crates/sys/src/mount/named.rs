//! Mounts by path (mount(2), umount2(2)), for a directory of ours whose options a user wrote: the flags and the
//! file system's data go to the kernel as they are, and it alone says what is wrong with them.

use std::ffi::CString;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::flags::flags;
use crate::{Error, Result, file};

/// Flags of mount(2): of the mount, of its file system, what is done (`BIND`), and the propagation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(u32);

flags!(Flags);

impl Flags {
    /// No writing.
    pub const READ_ONLY: Self = Self(1);
    /// Set-user-ID bits and file capabilities do not count.
    pub const NO_SUID: Self = Self(1 << 1);
    /// Device nodes are not opened.
    pub const NO_DEV: Self = Self(1 << 2);
    /// Nothing is executed.
    pub const NO_EXEC: Self = Self(1 << 3);
    /// Every write waits for the disk.
    pub const SYNCHRONOUS: Self = Self(1 << 4);
    /// Changes another mount.
    pub const REMOUNT: Self = Self(1 << 5);
    /// Mandatory locks, which newer kernels do without.
    pub const MANDATORY_LOCKS: Self = Self(1 << 6);
    /// As [`SYNCHRONOUS`](Self::SYNCHRONOUS), for directories.
    pub const DIR_SYNCHRONOUS: Self = Self(1 << 7);
    /// Access times are not kept.
    pub const NO_ATIME: Self = Self(1 << 10);
    /// Access times of directories are not kept.
    pub const NO_DIR_ATIME: Self = Self(1 << 11);
    /// A second place for files that are mounted already.
    pub const BIND: Self = Self(1 << 12);
    /// And for the mounts below.
    pub const RECURSIVE: Self = Self(1 << 14);
    /// No propagation.
    pub const PRIVATE: Self = Self(1 << 18);
    /// Propagation in.
    pub const SLAVE: Self = Self(1 << 19);
    /// Propagation in and out.
    pub const SHARED: Self = Self(1 << 20);
    /// No propagation, and no binds.
    pub const UNBINDABLE: Self = Self(1 << 17);
    /// Access times are kept when they tell something.
    pub const RELATIVE_ATIME: Self = Self(1 << 21);
    /// Access times are always kept.
    pub const STRICT_ATIME: Self = Self(1 << 24);

    const PROPAGATION: Self = Self(0xf << 17 | 1 << 14);

    /// As mount(2) has them.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// What is left for the call that mounts: the propagation takes one of its own.
    #[must_use]
    pub const fn without_propagation(self) -> Self {
        Self(self.0 & !(0xf << 17))
    }
}

/// Mounts `source` on the directory `target`. A bind that is read-only becomes so in a second step, as everywhere; a
/// propagation is set last. When one of the steps fails nothing is mounted.
///
/// # Errors
/// mount(2)'s: ENODEV for a file system the kernel does not know, ENOENT for a source that is not there, EINVAL for
/// options it does not understand. EINVAL also for a text with a NUL in it.
pub fn mount_at(source: &str, target: &Path, kind: &str, flags: Flags, data: &str) -> Result<()> {
    let failed = |errno: Errno| Error::new("mount", target.display().to_string(), errno);
    let data = CString::new(data).map_err(|_| failed(Errno::INVAL))?;
    let first = MountFlags::from_bits_retain(flags.without_propagation().0);
    rustix::mount::mount(source, target, kind, first, data.as_c_str()).map_err(failed)?;
    let rest = || -> std::result::Result<(), Errno> {
        if flags.contains(Flags::BIND.with(Flags::READ_ONLY)) {
            rustix::mount::mount_remount(target, first, c"")?;
        }
        let propagation = MountPropagationFlags::from_bits_truncate(flags.0 & Flags::PROPAGATION.0);
        if propagation.difference(MountPropagationFlags::REC).is_empty() {
            return Ok(());
        }
        rustix::mount::mount_change(target, propagation)
    };
    rest().map_err(|errno| {
        // The mount is ours alone so far: nobody can have made it busy.
        let _ = rustix::mount::unmount(target, UnmountFlags::DETACH);
        failed(errno)
    })
}

/// Unmounts what is mounted on a directory, with all below: at once for new users, and in the end for those who have
/// files of it open.
///
/// # Errors
/// umount2(2)'s: EINVAL when nothing is mounted there.
pub fn unmount_at(target: &Path) -> Result<()> {
    rustix::mount::unmount(target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)
        .map_err(|errno| Error::new("umount", target.display().to_string(), errno))
}

/// Whether something is mounted on a path.
///
/// # Errors
/// statx(2)'s.
pub fn is_mounted_at(target: &Path) -> Result<bool> {
    // What is known is enough: a server that is gone is not asked.
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
    let found = rustix::fs::statx(CWD, target, flags, StatxFlags::empty())
        .map_err(|errno| Error::new("statx", target.display().to_string(), errno))?;
    Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Where other mounts are below a directory.
///
/// # Errors
/// The directory is not there, or the table cannot be read.
pub fn mounted_below(directory: &Path) -> Result<Vec<String>> {
    let table = file::read(Path::new("/proc/self/mountinfo"))?;
    let real = real(directory)?;
    let below = |place: &String| Path::new(place) != real && Path::new(place).starts_with(&real);
    let table = String::from_utf8_lossy(&table);
    Ok(table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape).filter(below).collect())
}

/// Where the mount that a path is on is mounted, and how that propagates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covering {
    /// Its place.
    pub mount_point: String,
    /// It sends what is mounted below it to its copies, and gets theirs.
    pub shared: bool,
    /// It gets what is mounted below the mount it is a copy of.
    pub slave: bool,
}

/// The mount that a path (whose links are followed) is on.
///
/// # Errors
/// The path is not there, or the table cannot be read.
pub fn covering(path: &Path) -> Result<Covering> {
    let real = real(path)?;
    let table = file::read(Path::new("/proc/self/mountinfo"))?;
    let found = find(&String::from_utf8_lossy(&table), &real);
    found.ok_or_else(|| Error::new("find the mount of", path.display().to_string(), Errno::NOENT))
}

/// Without links, as the table has it.
fn real(path: &Path) -> Result<std::path::PathBuf> {
    path.canonicalize().map_err(|source| Error::new("find", path.display().to_string(), source))
}

/// proc_pid_mountinfo(5): `id parent device root mountpoint options [tags] - type source superoptions`. Of several mounts
/// on one place the last is on top.
fn find(table: &str, path: &Path) -> Option<Covering> {
    let mut found: Option<Covering> = None;
    for line in table.lines() {
        let mut words = line.split(' ').skip(4);
        let Some(place) = words.next().map(unescape) else { continue };
        let longer = found.as_ref().is_none_or(|f| place.len() >= f.mount_point.len());
        if longer && path.starts_with(&place) {
            let tags: Vec<&str> = words.skip(1).take_while(|word| *word != "-").collect();
            let has = |tag: &str| tags.iter().any(|word| word.starts_with(tag));
            found = Some(Covering { mount_point: place, shared: has("shared:"), slave: has("master:") });
        }
    }
    found
}

/// Blanks, tabs, line ends and backslashes are written as three octal digits.
fn unescape(word: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(word.to_owned(), |text, (written, meant)| text.replace(written, meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_and_last_mount_covers_a_path() {
        let table = "22 1 0:1 / / rw,relatime shared:1 - ext4 /dev/a rw\n\
                     30 22 0:2 / /mnt rw - tmpfs t rw\n\
                     31 22 0:2 / /mnt\\040two rw master:4 - tmpfs t rw\n\
                     32 30 0:3 / /mnt rw shared:7 master:2 - tmpfs t rw\n";
        let of = |path: &str| find(table, Path::new(path)).unwrap();
        assert_eq!((of("/etc").mount_point.as_str(), of("/etc").shared), ("/", true));
        assert_eq!((of("/mnt/x").shared, of("/mnt/x").slave), (true, true));
        assert_eq!((of("/mnt two/y").mount_point.as_str(), of("/mnt two/y").slave), ("/mnt two", true));
        assert_eq!(of("/mnt2").mount_point, "/");
    }
}
