//! A tar as local files. Whatever the tar says, nothing is made outside the directory it is unpacked in: every
//! name is walked from that directory's descriptor, component by component, and no symbolic link is followed.

use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, fchmod, fchown, makedev,
};
use rustix::io::Errno;
use tar::{Entry, EntryType};

use super::rules::Plan;
use super::{CAPABILITY, XATTR};

/// The mode of directories the tar needs and does not hold.
const IMPLIED: Mode = Mode::from_raw_mode(0o755);
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Unpacks `tar` as the plan says. Owners, and what a file may do with them (setuid, capabilities), are kept only if
/// `owners`: otherwise the files are ours.
pub(crate) fn unpack(tar: impl Read, plan: &Plan, owners: bool) -> io::Result<()> {
    let opened =
        rustix::fs::open(plan.directory.as_str(), DIRECTORY.difference(OFlags::NOFOLLOW), Mode::empty());
    let root = opened.map_err(io::Error::from).map_err(super::at(Path::new(&plan.directory)))?;
    let mut unpacker = Unpacker { root, plan, owners, directories: Vec::new() };
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = plan.rename(&entry.path_bytes());
        let shown = format!("{}/{}", plan.directory.trim_end_matches('/'), String::from_utf8_lossy(&name));
        unpacker.entry(&mut entry, &name).map_err(|error| match error {
            Failure::System(source) => super::at(Path::new(&shown))(source.into()),
            Failure::Io(source) => super::at(Path::new(&shown))(source),
            Failure::Refused(reason) => io::Error::other(reason),
        })?;
    }
    unpacker.finish();
    Ok(())
}

enum Failure {
    System(Errno),
    Io(io::Error),
    Refused(String),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

struct Unpacker<'a> {
    root: OwnedFd,
    plan: &'a Plan,
    owners: bool,
    /// Directories and their times, which are set when nothing is written in them any more.
    directories: Vec<(Vec<Vec<u8>>, u64)>,
}

impl Unpacker<'_> {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, name: &[u8]) -> Result<(), Failure> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let path = self.components(name)?;
        let Some((last, above)) = path.split_last() else { return Ok(()) };
        let parent = self.directory(above)?;
        let exists = self.make_room(parent.as_fd(), last, kind, name)?;
        let mode = self.mode(entry)?;
        let mtime = entry.header().mtime()?;
        if kind.is_dir() {
            if !exists {
                rustix::fs::mkdirat(&parent, last.as_slice(), IMPLIED)?;
            }
            let directory = rustix::fs::openat(&parent, last.as_slice(), DIRECTORY, Mode::empty())?;
            self.give(entry, directory.as_fd())?;
            fchmod(&directory, mode)?;
            self.directories.push((path, mtime));
            return Ok(());
        }
        if kind.is_file() || matches!(kind, EntryType::GNUSparse) {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&parent, last.as_slice(), flags, Mode::RUSR | Mode::WUSR)?;
            let mut file = std::fs::File::from(file);
            io::copy(entry, &mut file)?;
            self.give(entry, file.as_fd())?;
            fchmod(&file, mode)?;
            if self.owners {
                attributes(entry, &file)?;
            }
            rustix::fs::futimens(&file, &times(mtime))?;
            return Ok(());
        }
        match kind {
            EntryType::Link => {
                let link = self.plan.rename(&entry.link_name_bytes().unwrap_or_default());
                let target = self.components(&link)?;
                let Some((target_last, target_above)) = target.split_last() else {
                    return Err(Failure::Refused(format!("invalid hard link {}", text(name))));
                };
                let target_parent = self.directory(target_above)?;
                rustix::fs::linkat(
                    &target_parent,
                    target_last.as_slice(),
                    &parent,
                    last.as_slice(),
                    AtFlags::empty(),
                )?;
                return Ok(());
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                rustix::fs::symlinkat(target.as_ref(), &parent, last.as_slice())?;
            }
            EntryType::Fifo => {
                rustix::fs::mknodat(&parent, last.as_slice(), FileType::Fifo, mode, 0)?;
            }
            EntryType::Char | EntryType::Block => {
                let file_type =
                    if kind == EntryType::Char { FileType::CharacterDevice } else { FileType::BlockDevice };
                let header = entry.header();
                let (major, minor) = (header.device_major()?, header.device_minor()?);
                let device = makedev(major.unwrap_or(0), minor.unwrap_or(0));
                rustix::fs::mknodat(&parent, last.as_slice(), file_type, mode, device)?;
            }
            other => {
                let kind = char::from(other.as_byte());
                return Err(Failure::Refused(format!(
                    "unhandled tar header type {kind:?} of {}",
                    text(name)
                )));
            }
        }
        if self.owners {
            let (uid, gid) = owner(entry)?;
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(&parent, last.as_slice(), Some(uid), Some(gid), flags)?;
        }
        // Not all file systems keep a link's time, and nobody misses it.
        let _ = rustix::fs::utimensat(&parent, last.as_slice(), &times(mtime), AtFlags::SYMLINK_NOFOLLOW);
        Ok(())
    }

    /// A name's components, `.` and `..` resolved; none of them leads outside.
    fn components(&self, name: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        let mut path: Vec<Vec<u8>> = Vec::new();
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    path.pop().ok_or_else(|| {
                        Failure::Refused(format!("{} is outside of {:?}", text(name), self.plan.directory))
                    })?;
                }
                part => path.push(part.to_owned()),
            }
        }
        Ok(path)
    }

    /// Opens a directory below the root, and makes it if it is not there.
    fn directory(&self, path: &[Vec<u8>]) -> Result<OwnedFd, Failure> {
        let mut at = self.root.try_clone()?;
        for part in path {
            let part = part.as_slice();
            at = match rustix::fs::openat(&at, part, DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&at, part, IMPLIED)?;
                    rustix::fs::openat(&at, part, DIRECTORY, Mode::empty())?
                }
                other => other?,
            };
        }
        Ok(at)
    }

    /// Removes what a file would replace. A directory stays for a directory, and neither takes the other's place.
    fn make_room(
        &self,
        parent: BorrowedFd<'_>,
        last: &[u8],
        kind: EntryType,
        name: &[u8],
    ) -> Result<bool, Failure> {
        let found = match rustix::fs::statat(parent, last, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            found => FileType::from_raw_mode(found?.st_mode).is_dir(),
        };
        let at = format!("{}/{}", self.plan.directory.trim_end_matches('/'), String::from_utf8_lossy(name));
        let at = at.trim_end_matches('/');
        match (found, kind.is_dir()) {
            (true, true) => Ok(true),
            (true, false) => Err(Failure::Refused(format!(
                "cannot overwrite directory {at:?} with non-directory {:?}",
                self.plan.directory
            ))),
            (false, true) => Err(Failure::Refused(format!(
                "cannot overwrite non-directory {at:?} with directory {:?}",
                self.plan.directory
            ))),
            (false, false) => {
                rustix::fs::unlinkat(parent, last, AtFlags::empty())?;
                Ok(false)
            }
        }
    }

    /// The entry's mode; without what depends on its owner, unless that is kept.
    fn mode<R: Read>(&self, entry: &Entry<'_, R>) -> Result<Mode, Failure> {
        let mode = entry.header().mode()? & 0o7777;
        let directory = entry.header().entry_type().is_dir();
        Ok(Mode::from_raw_mode(if self.owners || directory { mode } else { mode & 0o1777 }))
    }

    fn give<R: Read>(&self, entry: &Entry<'_, R>, file: BorrowedFd<'_>) -> Result<(), Failure> {
        if self.owners {
            let (uid, gid) = owner(entry)?;
            fchown(file, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// Sets the directories' times, innermost first.
    fn finish(self) {
        for (path, mtime) in self.directories.iter().rev() {
            // It was there a moment ago; if it is not any more, its time does not matter.
            if let Ok(directory) = self.directory(path) {
                let _ = rustix::fs::futimens(&directory, &times(*mtime));
            }
        }
    }
}

fn owner<R: Read>(entry: &Entry<'_, R>) -> Result<(Uid, Gid), Failure> {
    let id = |id: u64| {
        let id = u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        id.ok_or_else(|| Failure::Refused("an owner's number is out of range".into()))
    };
    let header = entry.header();
    Ok((Uid::from_raw(id(header.uid()?)?), Gid::from_raw(id(header.gid()?)?)))
}

/// Sets a file's capabilities.
fn attributes<R: Read>(entry: &mut Entry<'_, R>, file: &std::fs::File) -> Result<(), Failure> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
    for extension in extensions {
        let extension = extension?;
        if extension.key().ok().and_then(|key| key.strip_prefix(XATTR)) == Some(CAPABILITY) {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::fsetxattr(file, CAPABILITY, extension.value_bytes(), flags)?;
        }
    }
    Ok(())
}

fn times(mtime: u64) -> Timestamps {
    let seconds = i64::try_from(mtime).unwrap_or(0);
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: 0 },
    }
}

fn text(name: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(name))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test writes scratch files")]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;
    use crate::copy::pack;

    fn plan(directory: &Path, from: &str, to: &str) -> Plan {
        Plan { directory: directory.display().to_string(), from: from.to_owned(), to: to.to_owned() }
    }

    /// A tar whose names are not checked, as a hostile one's.
    fn tar(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            let data = if kind.is_file() {
                content.as_bytes()
            } else {
                header.set_link_name_literal(content).unwrap();
                b""
            };
            header.set_size(data.len() as u64);
            header.set_cksum();
            tar.append(&header, data).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("sub/deep")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("sub/file"), "content").unwrap();
        std::fs::set_permissions(from.join("sub/file"), std::fs::Permissions::from_mode(0o640)).unwrap();
        std::fs::hard_link(from.join("sub/file"), from.join("sub/same")).unwrap();
        std::os::unix::fs::symlink("..//./file", from.join("sub/link")).unwrap();
        let long = "n".repeat(120);
        std::fs::write(from.join(&long), "long").unwrap();
        let source = pack::source(&from.display().to_string(), false).unwrap();
        assert!(source.is_dir && source.known_as.is_none());
        let mut tar = tar::Builder::new(Vec::new());
        pack::pack(&mut tar, &source, "from").unwrap();
        unpack(tar.into_inner().unwrap().as_slice(), &plan(&to, "from", "new"), false).unwrap();
        let new = to.join("new");
        assert_eq!(std::fs::read_to_string(new.join("sub/file")).unwrap(), "content");
        let (a, b) = (new.join("sub/file").metadata().unwrap(), new.join("sub/same").metadata().unwrap());
        assert_eq!((a.ino(), a.mode() & 0o7777), (b.ino(), 0o640));
        assert_eq!(a.mtime(), from.join("sub/file").metadata().unwrap().mtime());
        assert_eq!(std::fs::read_link(new.join("sub/link")).unwrap().as_os_str(), "..//./file");
        assert_eq!(std::fs::read_to_string(new.join(long)).unwrap(), "long");
    }

    #[test]
    fn nothing_is_made_outside() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, to) = (dir.path().join("outside"), dir.path().join("to"));
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("file"), "before").unwrap();
        let link = outside.display().to_string();
        for entries in [
            [("../outside/file", EntryType::Regular, "after"), ("x", EntryType::Regular, "")],
            [("a/../../outside/file", EntryType::Regular, "after"), ("x", EntryType::Regular, "")],
            [("a", EntryType::Symlink, link.as_str()), ("a/file", EntryType::Regular, "after")],
            [("a", EntryType::Symlink, "../outside"), ("a/file", EntryType::Regular, "after")],
            [("a", EntryType::Symlink, link.as_str()), ("b", EntryType::Link, "a/file")],
            [("a", EntryType::Link, "../outside/file"), ("a", EntryType::Regular, "after")],
            [("a", EntryType::Symlink, link.as_str()), ("a", EntryType::Directory, "")],
        ] {
            let _ = std::fs::remove_dir_all(&to);
            std::fs::create_dir(&to).unwrap();
            let outcome = unpack(tar(&entries).as_slice(), &plan(&to, "x", "x"), false);
            assert!(outcome.is_err(), "{entries:?}");
            assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "before");
            assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "{entries:?}");
        }
        // An absolute name is meant from the directory; a stranger's setuid bit does not become ours.
        unpack(tar(&[("/abs", EntryType::Regular, "x")]).as_slice(), &plan(&to, "x", "x"), false).unwrap();
        assert_eq!(to.join("abs").metadata().unwrap().mode() & 0o7777, 0o755);
    }

    #[test]
    fn files_and_directories_do_not_replace_each_other() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("f"), "old").unwrap();
        let put =
            |name, kind| unpack(tar(&[(name, kind, "new")]).as_slice(), &plan(dir.path(), "x", "x"), false);
        assert!(put("d", EntryType::Regular).unwrap_err().to_string().contains("cannot overwrite directory"));
        assert!(
            put("f", EntryType::Directory)
                .unwrap_err()
                .to_string()
                .contains("cannot overwrite non-directory")
        );
        put("d", EntryType::Directory).unwrap();
        put("f", EntryType::Regular).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("f")).unwrap(), "new");
    }
}
