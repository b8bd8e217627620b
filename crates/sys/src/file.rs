//! Files with their path in every error, and atomic writes.

#![expect(clippy::disallowed_methods, reason = "this is the room that wraps them")]

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::{Error, Result};

fn error(step: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let object = path.display().to_string();
    move |source| Error { step, object, source }
}

/// Opens for reading.
///
/// # Errors
/// open(2)'s.
pub fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(error("open", path))
}

/// Makes a new, empty file, or empties the one that is there. For files that are not records (logs, scratch).
///
/// # Errors
/// open(2)'s.
pub fn create(path: &Path, mode: u32) -> Result<File> {
    fs::OpenOptions::new()
        .write(true)
        .read(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .map_err(error("create", path))
}

/// Opens for appending; a file that is not there is made with this mode.
///
/// # Errors
/// open(2)'s.
pub fn append(path: &Path, mode: u32) -> Result<File> {
    fs::OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .mode(mode)
        .open(path)
        .map_err(error("append", path))
}

/// Opens for reading and writing, from the start; a file that is not there is made with this mode.
///
/// # Errors
/// open(2)'s.
pub fn open_or_create(path: &Path, mode: u32) -> Result<File> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(mode)
        .open(path)
        .map_err(error("open", path))
}

/// A whole file's bytes.
///
/// # Errors
/// open(2)'s and read(2)'s.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(error("read", path))
}

/// A whole file's bytes; `None` when there is no such file.
///
/// # Errors
/// open(2)'s and read(2)'s, but ENOENT.
pub fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(error("read", path)(e)),
    }
}

/// How much a record is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives a crash of the program.
    Process,
    /// Survives a crash of the machine: the file and its directory are synced.
    Machine,
}

/// Writes to a file that is there, in one write(2): for files of the kernel's, which take each as a whole value.
///
/// # Errors
/// open(2)'s and write(2)'s.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path).map_err(error("open", path))?;
    file.write_all(bytes).map_err(error("write", path))
}

/// Puts `bytes` at `path`, whole or not at all: a temporary file beside it, then rename(2).
///
/// # Errors
/// The failing step's; what was at `path` before is still there then.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32, durability: Durability) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary =
        directory.join(format!(".{name}.{}.{:?}.tmp", std::process::id(), std::thread::current().id()));
    let written = (|| {
        let mut file = create(&temporary, mode)?;
        file.write_all(bytes).map_err(error("write", &temporary))?;
        if durability == Durability::Machine {
            file.sync_all().map_err(error("fsync", &temporary))?;
        }
        rename(&temporary, path)
    })();
    if written.is_err() {
        // The first failure is the one to report; the temporary file may not even exist.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    if durability == Durability::Machine { sync_directory(directory) } else { Ok(()) }
}

/// Gives a file to another user and group. Not through a symbolic link: that itself is given away.
///
/// # Errors
/// fchownat(2)'s.
pub fn chown(path: &Path, uid: u32, gid: u32) -> Result<()> {
    use rustix::fs::{AtFlags, CWD, Gid, Uid};
    // All ones mean "as it is" to the kernel, and are nobody's.
    let (uid, gid) = (Uid::from_raw_unchecked(uid), Gid::from_raw_unchecked(gid));
    rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| Error::new("chown", path.display().to_string(), e))
}

/// Asks the file system to put each directory that is made in this one into a part of the disk of its own, as it does for
/// those of its root (the attribute `T` of chattr(1)). What knows no such attribute goes on as it did.
///
/// # Errors
/// open(2)'s.
pub fn spread_directories(path: &Path) -> Result<()> {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let directory = open(path)?;
    // A hint: without it everything works.
    if let Ok(flags) = ioctl_getflags(&directory) {
        let _ = ioctl_setflags(&directory, flags | IFlags::TOPDIR);
    }
    Ok(())
}

/// Makes a directory's entries durable.
///
/// # Errors
/// open(2)'s and fsync(2)'s.
pub fn sync_directory(path: &Path) -> Result<()> {
    open(path)?.sync_all().map_err(error("fsync", path))
}

/// Writes all that a file system has in memory to its disk: the one that a path is on.
///
/// # Errors
/// open(2)'s and syncfs(2)'s.
pub fn sync_file_system(path: &Path) -> Result<()> {
    rustix::fs::syncfs(open(path)?).map_err(|errno| error("syncfs", path)(errno.into()))
}

/// rename(2).
///
/// # Errors
/// rename(2)'s.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(error("rename", to))
}

/// Makes a directory and its parents with this mode; one that is there is kept as it is.
///
/// # Errors
/// mkdir(2)'s.
pub fn create_dir_all(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(error("mkdir", path))
}

/// Makes one directory with this mode, which must not be there.
///
/// # Errors
/// mkdir(2)'s: EEXIST when it is.
pub fn create_dir_new(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new().mode(mode).create(path).map_err(error("mkdir", path))
}

/// Waits for the lock of a file that is open for writing, and holds it until this process closes the file or ends.
/// A copy of this process (fork(2)) does not have it (fcntl(2), F_SETLKW).
///
/// # Errors
/// fcntl(2)'s.
pub fn lock(file: &File, path: &Path) -> Result<()> {
    loop {
        match rustix::fs::fcntl_lock(file, rustix::fs::FlockOperation::LockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(error("lock", path)(errno.into())),
        }
    }
}

/// Sends up to `count` bytes of a file, from `at`, to a socket without copying them (sendfile(2)); says how many it took.
///
/// # Errors
/// sendfile(2)'s: EAGAIN when the socket is full.
pub fn send(file: &File, at: u64, count: usize, socket: &impl std::os::fd::AsFd) -> std::io::Result<usize> {
    let mut at = at;
    Ok(rustix::fs::sendfile(socket, file, Some(&mut at), count)?)
}

/// Asks the kernel to read a part of a file into its cache; does not wait (posix_fadvise(2), WILLNEED).
pub fn read_ahead(file: &File, at: u64, length: u64) {
    // It is a hint: without it reading takes longer.
    let _ = rustix::fs::fadvise(file, at, std::num::NonZeroU64::new(length), rustix::fs::Advice::WillNeed);
}

/// Removes a file; one that is not there is no error.
///
/// # Errors
/// unlink(2)'s, but ENOENT.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(error("unlink", path)(e)),
        _ => Ok(()),
    }
}

/// Removes an empty directory, or one whose files the kernel takes with it; one that is not there is no error.
///
/// # Errors
/// rmdir(2)'s, but ENOENT.
pub fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(error("rmdir", path)(e)),
        _ => Ok(()),
    }
}

/// Removes a tree; one that is not there is no error. Symbolic links are removed, not followed.
///
/// # Errors
/// unlink(2)'s and rmdir(2)'s, but ENOENT of the tree's own.
pub fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(error("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Bytes of the file system that a path is on: all, and those that may still be written.
///
/// # Errors
/// statvfs(3)'s.
pub fn space(path: &Path) -> Result<(u64, u64)> {
    let system =
        rustix::fs::statvfs(path).map_err(|e| Error::new("statvfs", path.display().to_string(), e))?;
    Ok((system.f_blocks * system.f_frsize, system.f_bavail * system.f_frsize))
}

/// The names in a directory, sorted; none when it is not there.
///
/// # Errors
/// opendir(3)'s, but ENOENT.
pub fn list(path: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(error("list", path)(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(error("list", path))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
