//! Files → entries, in one order: a directory before what is in it, names in byte order.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sys::root::{Descend, Dir, Kind, Metadata, Root, TooDeep, Visit};

use super::{
    Entry, EntryKind, OPAQUE_MARKER, OPAQUE_XATTR, OVERLAY_XATTRS, Owners, WHITEOUT_PREFIX, Whiteouts,
    Writer, keeps_xattr,
};
use crate::error::{Error, Result};

/// How to pack.
#[derive(Debug, Clone, Copy)]
pub struct Pack<'p> {
    /// The directory below the root whose content is packed.
    pub base: &'p Path,
    /// What is put before each path; empty for none.
    pub prefix: &'p Path,
    /// What overlayfs's devices 0/0 and opaque directories are.
    pub whiteouts: Whiteouts,
    /// The directories below the upper one, to leave out opaque marks that hide nothing (overlayfs gives one to every
    /// new directory). `None`: not known, all are kept.
    pub lower: Option<&'p [PathBuf]>,
    /// Whose the files are.
    pub owners: Owners<'p>,
}

/// What went in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packed {
    /// Entries written.
    pub entries: u64,
    /// Bytes on disk of what they stand for.
    pub size: u64,
    /// What of an upper directory carries overlayfs's notes for itself, the opaque mark aside.
    pub noted: Vec<PathBuf>,
}

/// How much of an entry goes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// It, and what is below it.
    All,
    /// It alone.
    Itself,
    /// Nothing of it.
    Nothing,
}

/// Appends the content of a directory to an archive. Hard links within it stay links; sockets are left out, and what
/// vanishes while the archive is made. The same files give the same bytes.
///
/// # Errors
/// A file error, the receiver's, or a layer made with overlayfs features that an archive cannot say.
pub fn pack<W: Write>(root: &Root, how: &Pack<'_>, out: &mut Writer<W>) -> Result<Packed> {
    pack_some(root, how, out, |_| Ok(Take::All))
}

/// As [`pack`], but `take` says what goes in.
///
/// # Errors
/// As [`pack`]'s, and `take`'s.
pub fn pack_some<W: Write>(
    root: &Root,
    how: &Pack<'_>,
    out: &mut Writer<W>,
    mut take: impl FnMut(&Visit<'_>) -> Result<Take>,
) -> Result<Packed> {
    let lower = how
        .lower
        .map(|paths| paths.iter().map(|path| Root::open(path)).collect::<std::result::Result<_, _>>())
        .transpose()?;
    let mut packing = Packing { how, lower, out, links: HashMap::new(), packed: Packed::default() };
    root.walk_some(how.base, TooDeep::Fail, |visit| -> Result<Descend> {
        let take = take(&visit)?;
        if take != Take::Nothing {
            packing.visit(&visit)?;
        }
        Ok(if take == Take::All { Descend::Into } else { Descend::Past })
    })?;
    Ok(packing.packed)
}

/// Appends one name of a directory as `path`: without what is below it, if it is a directory.
///
/// # Errors
/// As [`pack`]'s.
pub fn pack_one<W: Write>(
    dir: &Dir,
    name: &OsStr,
    path: &Path,
    owners: Owners<'_>,
    out: &mut Writer<W>,
) -> Result<Packed> {
    let (base, prefix) = (Path::new(""), Path::new(""));
    let how = Pack { base, prefix, whiteouts: Whiteouts::Literal, lower: None, owners };
    let mut packing =
        Packing { how: &how, lower: None, out, links: HashMap::new(), packed: Packed::default() };
    if let Some(metadata) = unless_vanished(dir.metadata(name))? {
        packing.visit(&Visit { path, dir, name, metadata: &metadata })?;
    }
    Ok(packing.packed)
}

struct Packing<'p, W> {
    how: &'p Pack<'p>,
    lower: Option<Vec<Root>>,
    out: &'p mut Writer<W>,
    /// Files with several names → the first one's path in the archive.
    links: HashMap<(u64, u64), PathBuf>,
    packed: Packed,
}

impl<W: Write> Packing<'_, W> {
    fn visit(&mut self, visit: &Visit<'_>) -> Result<()> {
        let Visit { path, dir, name, metadata } = *visit;
        let overlay = self.how.whiteouts == Whiteouts::Overlay;
        if overlay && metadata.is_whiteout() {
            let mut hidden = std::ffi::OsString::from(WHITEOUT_PREFIX);
            hidden.push(name);
            let entry = Entry::new(self.how.prefix.join(path.with_file_name(hidden)), EntryKind::File, 0o600);
            return self.append(&entry, &mut io::empty());
        }
        let mut opaque = false;
        let mut xattrs = Vec::new();
        let Some(found) = unless_vanished(dir.xattrs(name))? else { return Ok(()) };
        let mut noted = false;
        for (key, value) in found {
            if keeps_xattr(&key) {
                xattrs.push((key, value));
            } else if overlay && key == OPAQUE_XATTR {
                opaque = value == b"y";
            } else if overlay && is_beyond_archives(key.as_bytes()) {
                return Err(Error::Invalid(format!(
                    "{} was made with overlayfs's redirect_dir or metacopy: mount with both off",
                    path.display()
                )));
            } else {
                noted |= overlay && key.as_bytes().starts_with(OVERLAY_XATTRS);
            }
        }
        if noted {
            self.packed.noted.push(path.to_owned());
        }
        let Some(mut entry) = entry_of(self.how.prefix.join(path), metadata) else { return Ok(()) };
        (entry.uid, entry.gid) = self.how.owners.inside(entry.uid, entry.gid);
        if overlay {
            // Layers say whole seconds everywhere, or the same step would give another layer.
            entry.modified.nanos = 0;
        }
        entry.xattrs = xattrs;
        match metadata.kind {
            Kind::File => self.file(dir, name, entry, metadata),
            Kind::Symlink => {
                let Some(target) = unless_vanished(dir.read_link(name))? else { return Ok(()) };
                entry.link = target;
                self.append(&entry, &mut io::empty())
            }
            Kind::Directory => {
                self.packed.size += metadata.disk;
                self.append(&entry, &mut io::empty())?;
                if opaque && self.hides(path) {
                    let marker = Entry::new(entry.path.join(OPAQUE_MARKER), EntryKind::File, 0o600);
                    self.append(&marker, &mut io::empty())?;
                }
                Ok(())
            }
            Kind::Fifo | Kind::CharDevice | Kind::BlockDevice | Kind::Socket => {
                self.append(&entry, &mut io::empty())
            }
        }
    }

    fn file(&mut self, dir: &Dir, name: &OsStr, mut entry: Entry, metadata: &Metadata) -> Result<()> {
        let identity = (metadata.device, metadata.inode);
        if let Some(first) = self.links.get(&identity) {
            entry.kind = EntryKind::HardLink;
            entry.link = first.as_os_str().to_owned();
            entry.size = 0;
            entry.xattrs.clear();
            return self.append(&entry, &mut io::empty());
        }
        let Some(mut file) = unless_vanished(dir.open_regular(name))? else { return Ok(()) };
        if metadata.links > 1 {
            self.links.insert(identity, entry.path.clone());
        }
        self.packed.size += metadata.disk;
        self.append(&entry, &mut file)
    }

    fn append(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<()> {
        self.packed.entries += 1;
        self.out.append(entry, content)
    }

    /// Whether a lower layer has, or may have, anything at this path.
    fn hides(&self, path: &Path) -> bool {
        let (Some(lower), Some(parent), Some(name)) = (&self.lower, path.parent(), path.file_name()) else {
            return true;
        };
        lower.iter().any(|root| root.dir_no_links(parent).and_then(|dir| dir.metadata(name)).is_ok())
    }
}

/// `None` for what was removed, or became something else, since it was listed: a running container goes on.
fn unless_vanished<T>(done: sys::Result<T>) -> Result<Option<T>> {
    // ENOENT, ENOTDIR, EINVAL, ELOOP and ESTALE of errno(3).
    match done {
        Err(e) if [2, 20, 22, 40, 116].contains(&e.errno()) => Ok(None),
        done => Ok(Some(done?)),
    }
}

/// An entry for a file; `None` for a socket, which is nothing without its process.
pub fn entry_of(path: PathBuf, metadata: &Metadata) -> Option<Entry> {
    let kind = match metadata.kind {
        Kind::File => EntryKind::File,
        Kind::Directory => EntryKind::Directory,
        Kind::Symlink => EntryKind::Symlink,
        Kind::Fifo => EntryKind::Fifo,
        Kind::CharDevice => EntryKind::CharDevice,
        Kind::BlockDevice => EntryKind::BlockDevice,
        Kind::Socket => return None,
    };
    let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
    Some(Entry {
        uid: metadata.uid,
        gid: metadata.gid,
        size: if kind == EntryKind::File { metadata.size } else { 0 },
        modified: metadata.modified,
        major: if is_device { metadata.major } else { 0 },
        minor: if is_device { metadata.minor } else { 0 },
        ..Entry::new(path, kind, metadata.mode)
    })
}

/// A directory that shows another one's content, or a file whose content is in another layer.
fn is_beyond_archives(key: &[u8]) -> bool {
    matches!(key, b"trusted.overlay.redirect" | b"trusted.overlay.metacopy")
}
