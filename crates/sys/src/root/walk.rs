//! Visiting all of a tree, in one order, with a bounded number of open directories.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::{Dir, Kind, Metadata, Root};
use crate::Error;

/// Directories kept open on the way down. Deeper ones are opened again on the way up.
const OPEN_LEVELS: usize = 32;

/// What a walk does with a directory whose path is longer than the kernel takes (4096 bytes). A container can make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooDeep {
    /// Fail with ENAMETOOLONG.
    Fail,
    /// Leave out what is below it.
    Skip,
}

/// One entry, as a walk meets it.
#[derive(Debug)]
pub struct Visit<'w> {
    /// Its path below the start of the walk.
    pub path: &'w Path,
    /// The directory it is in.
    pub dir: &'w Dir,
    /// Its name there.
    pub name: &'w OsStr,
    /// What it is.
    pub metadata: &'w Metadata,
}

/// Whether a walk goes on below what it has just visited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descend {
    /// Into the directory, if it is one.
    Into,
    /// On to the next name.
    Past,
}

struct Level {
    path: PathBuf,
    dir: Option<Dir>,
    names: std::vec::IntoIter<OsString>,
}

impl Root {
    /// Visits everything below `start` (not itself): each directory before what is in it, names in byte order, no
    /// link followed. The tree may change meanwhile: what vanishes is left out.
    ///
    /// # Errors
    /// openat2(2)'s, getdents(2)'s, or what `visit` returns.
    pub fn walk<E: From<Error>>(
        &self,
        start: impl AsRef<Path>,
        too_deep: TooDeep,
        mut visit: impl FnMut(Visit<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.walk_some(start, too_deep, |seen| visit(seen).map(|()| Descend::Into))
    }

    /// As [`Root::walk`], but `visit` says of each directory whether to go into it.
    ///
    /// # Errors
    /// As [`Root::walk`]'s.
    pub fn walk_some<E: From<Error>>(
        &self,
        start: impl AsRef<Path>,
        too_deep: TooDeep,
        mut visit: impl FnMut(Visit<'_>) -> Result<Descend, E>,
    ) -> Result<(), E> {
        let start = start.as_ref();
        let mut levels = vec![level(self.dir_no_links(start)?, PathBuf::new())?];
        while let Some(depth) = levels.len().checked_sub(1) {
            let Some(name) = levels[depth].names.next() else {
                levels.pop();
                continue;
            };
            if levels[depth].dir.is_none() {
                match self.dir_no_links(start.join(&levels[depth].path)) {
                    Ok(dir) => levels[depth].dir = Some(dir),
                    Err(e) if vanished(&e) => {
                        levels.pop();
                        continue;
                    }
                    Err(e) => return Err(e.into()),
                }
            }
            let Level { path, dir: Some(dir), .. } = &levels[depth] else { continue };
            let metadata = match dir.metadata(&name) {
                Ok(metadata) => metadata,
                Err(e) if vanished(&e) => continue,
                Err(e) => return Err(e.into()),
            };
            let path = path.join(&name);
            let descend = visit(Visit { path: &path, dir, name: &name, metadata: &metadata })?;
            if metadata.kind != Kind::Directory || descend == Descend::Past {
                continue;
            }
            match dir.dir(&name).and_then(|below| level(below, path)) {
                Ok(below) => levels.push(below),
                Err(e) if vanished(&e) => continue,
                Err(e) => return Err(e.into()),
            }
            if depth >= OPEN_LEVELS {
                // Without a descriptor to come back with, its path must be one the kernel takes.
                match self.dir_no_links(start.join(&levels[depth].path)) {
                    Ok(_) => levels[depth].dir = None,
                    Err(e) if e.errno() == libc::ENAMETOOLONG && too_deep == TooDeep::Skip => {
                        levels.truncate(depth);
                    }
                    Err(e) if vanished(&e) => levels.truncate(depth),
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Ok(())
    }
}

fn level(dir: Dir, path: PathBuf) -> crate::Result<Level> {
    let mut names: Vec<OsString> = dir.entries()?.into_iter().map(|entry| entry.name).collect();
    names.sort_unstable();
    Ok(Level { path, dir: Some(dir), names: names.into_iter() })
}

/// Removed, or replaced by something else, since it was listed.
fn vanished(error: &Error) -> bool {
    [libc::ENOENT, libc::ENOTDIR, libc::ELOOP, libc::ESTALE].contains(&error.errno())
}
