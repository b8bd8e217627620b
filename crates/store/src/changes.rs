//! What a writable layer changes in the layers below it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use sys::root::{Dir, Kind, Metadata, Root, Time, TooDeep};

use crate::Store;
use crate::archive::{OPAQUE_XATTR, keeps_xattr};
use crate::error::Result;

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It, or something in it, is another.
    Modified,
    /// It was not there.
    Added,
    /// It is not there any more.
    Deleted,
}

/// A path that is not as the layers below have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Below the root.
    pub path: PathBuf,
    /// What happened.
    pub kind: ChangeKind,
}

/// When something that is in both is a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judge {
    /// When mode, owner, capabilities, and for all but directories size or time differ: `docker diff`.
    Attributes,
    /// A directory as by its attributes, anything else always: nothing that was written may be missed.
    Presence,
}

impl Store {
    /// The changes in a writable layer, a directory before what is in it; the parents of a change are changes.
    /// `stubs` (paths below the root) are mount points: what is empty there, and new, was made for a mount and is no
    /// change, nor are directories that hold nothing else.
    ///
    /// # Errors
    /// [`crate::Error::NoRw`], also for one that is removed meanwhile, or a file error.
    pub fn rw_changes(&self, id: &str, stubs: &[PathBuf], judge: Judge) -> Result<Vec<Change>> {
        self.unless_gone(id, self.find_changes(id, stubs, judge))
    }

    fn find_changes(&self, id: &str, stubs: &[PathBuf], judge: Judge) -> Result<Vec<Change>> {
        let mount = self.rw_mount(id)?;
        let upper = Root::open(&mount.upper)?;
        let lower: Vec<Root> = mount.lower.iter().map(|path| Root::open(path)).collect::<sys::Result<_>>()?;
        let lower: Vec<&Dir> = lower.iter().map(Root::top).collect();
        let mut search = Search { stubs, judge, changes: Vec::new() };
        search.directory(upper.top(), &lower, false, Path::new(""))?;
        Ok(search.changes)
    }
}

struct Search<'s> {
    stubs: &'s [PathBuf],
    judge: Judge,
    changes: Vec<Change>,
}

/// What the layers below show at a name.
struct Below {
    metadata: Metadata,
    /// The layer's directory that it is in.
    layer: usize,
    /// For a directory: all that are merged into it, highest first.
    merged: Vec<Dir>,
}

impl Search<'_> {
    /// `hides`: what the layers below have in this directory and the upper one has not is deleted.
    fn directory(&mut self, upper: &Dir, lower: &[&Dir], hides: bool, path: &Path) -> Result<()> {
        let mut names: Vec<OsString> = upper.entries()?.into_iter().map(|entry| entry.name).collect();
        let own = names.len();
        if hides {
            for entry in lower.iter().map(|dir| dir.entries()).collect::<sys::Result<Vec<_>>>()?.concat() {
                names.push(entry.name);
            }
        }
        let mut names: Vec<(OsString, bool)> =
            names.into_iter().enumerate().map(|(n, name)| (name, n >= own)).collect();
        names.sort_unstable();
        names.dedup_by(|later, first| later.0 == first.0);
        for (name, only_below) in names {
            let below = below(lower, &name)?;
            let child = path.join(&name);
            // What vanishes meanwhile is as if it had never been.
            let metadata = if only_below { None } else { upper.metadata(&name).ok() };
            match (metadata, below) {
                (Some(now), Some(before)) if !now.is_whiteout() => {
                    self.both(upper, lower, &name, &now, &before, child)?;
                }
                (Some(now), None) if !now.is_whiteout() => self.added(upper, &name, &now, child)?,
                (Some(_), Some(_)) => self.push(child, ChangeKind::Deleted),
                (None, Some(_)) if only_below => self.push(child, ChangeKind::Deleted),
                (Some(_) | None, None) | (None, Some(_)) => {}
            }
        }
        Ok(())
    }

    fn both(
        &mut self,
        upper: &Dir,
        lower: &[&Dir],
        name: &OsStr,
        now: &Metadata,
        before: &Below,
        path: PathBuf,
    ) -> Result<()> {
        let is_dir = now.kind == Kind::Directory;
        let opaque = is_dir && is_opaque(upper, name)?;
        let mut changed = differ(now, &before.metadata);
        if !changed && !is_dir {
            let capability = |key: &OsStr| key == "security.capability";
            changed = self.judge == Judge::Presence
                || kept(upper, name, capability)? != kept(lower[before.layer], name, capability)?;
        }
        if !changed && is_dir && self.judge == Judge::Presence {
            changed =
                opaque || kept(upper, name, keeps_xattr)? != kept(lower[before.layer], name, keeps_xattr)?;
        }
        let place = self.changes.len();
        self.push(path.clone(), ChangeKind::Modified);
        if is_dir && let Ok(dir) = upper.dir(name) {
            // A layer hides a directory's old content with one mark; to a reader it is deleted name by name.
            let merged: Vec<&Dir> = match self.judge {
                Judge::Presence if opaque => Vec::new(),
                Judge::Presence | Judge::Attributes => before.merged.iter().collect(),
            };
            self.directory(&dir, &merged, opaque, &path)?;
        }
        if !changed && self.changes.len() == place + 1 {
            self.changes.truncate(place);
        }
        Ok(())
    }

    fn added(&mut self, upper: &Dir, name: &OsStr, now: &Metadata, path: PathBuf) -> Result<()> {
        let mut found = vec![(path.clone(), *now)];
        if now.kind == Kind::Directory
            && let Ok(dir) = upper.dir(name)
        {
            dir.to_root()?.walk("", TooDeep::Skip, |visit| {
                if !visit.metadata.is_whiteout() {
                    found.push((path.join(visit.path), *visit.metadata));
                }
                Ok::<_, crate::Error>(())
            })?;
        }
        // From the end, so that a directory comes after what is in it.
        let mut kept: Vec<PathBuf> = Vec::new();
        for (path, metadata) in found.into_iter().rev() {
            let is_stub = match metadata.kind {
                Kind::File => metadata.size == 0 && self.stubs.contains(&path),
                Kind::Directory => {
                    let is_empty = !kept.last().is_some_and(|last| last.starts_with(&path));
                    is_empty && self.stubs.iter().any(|stub| stub.starts_with(&path))
                }
                Kind::Symlink | Kind::Fifo | Kind::Socket | Kind::CharDevice | Kind::BlockDevice => false,
            };
            if !is_stub {
                kept.push(path);
            }
        }
        for path in kept.into_iter().rev() {
            self.push(path, ChangeKind::Added);
        }
        Ok(())
    }

    fn push(&mut self, path: PathBuf, kind: ChangeKind) {
        self.changes.push(Change { path, kind });
    }
}

/// As overlayfs merges: a whiteout or anything but a directory hides what is below it, an opaque directory too.
fn below(lower: &[&Dir], name: &OsStr) -> Result<Option<Below>> {
    let mut found: Option<Below> = None;
    for (layer, dir) in lower.iter().enumerate() {
        let metadata = match dir.metadata(name) {
            Ok(metadata) => metadata,
            Err(e) if e.source.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e.into()),
        };
        let is_dir = metadata.kind == Kind::Directory;
        if metadata.is_whiteout() || (!is_dir && found.is_some()) {
            break;
        }
        let below = found.get_or_insert(Below { metadata, layer, merged: Vec::new() });
        if !is_dir {
            break;
        }
        below.merged.push(dir.dir(name)?);
        if is_opaque(dir, name)? {
            break;
        }
    }
    Ok(found)
}

fn differ(now: &Metadata, before: &Metadata) -> bool {
    let plain = |m: &Metadata| (m.kind, m.mode, m.uid, m.gid, m.major, m.minor);
    plain(now) != plain(before)
        || now.kind != Kind::Directory
            && (now.size != before.size || !same_time(now.modified, before.modified))
}

/// Archives keep whole seconds, so a time without a fraction is any in its second.
fn same_time(a: Time, b: Time) -> bool {
    a.seconds == b.seconds && (a.nanos == b.nanos || a.nanos == 0 || b.nanos == 0)
}

fn kept(dir: &Dir, name: &OsStr, keeps: impl Fn(&OsStr) -> bool) -> Result<Vec<(OsString, Vec<u8>)>> {
    let mut found = dir.xattrs(name)?;
    found.retain(|(key, _)| keeps(key));
    Ok(found)
}

fn is_opaque(dir: &Dir, name: &OsStr) -> Result<bool> {
    Ok(dir.xattrs(name)?.iter().any(|(key, value)| key == OPAQUE_XATTR && value == b"y"))
}
