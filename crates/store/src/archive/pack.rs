//! Files → entries, in one order: a directory before what is in it, names in byte order.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sys::root::{Access, Dir, Kind, Metadata, Root, Time, TooDeep, Visit};

use super::{Entry, EntryKind, OPAQUE_MARKER, OPAQUE_XATTR, WHITEOUT_PREFIX, Whiteouts, Writer, keeps_xattr};
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
}

/// What went in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Packed {
    /// Entries written.
    pub entries: u64,
    /// Bytes on disk of what they stand for.
    pub size: u64,
}

/// Appends the content of a directory to an archive. Hard links within it stay links; sockets are left out. The same
/// files give the same bytes.
///
/// # Errors
/// A file error, the receiver's, or a layer made with overlayfs features that an archive cannot say.
pub fn pack<W: Write>(root: &Root, how: &Pack<'_>, out: &mut Writer<W>) -> Result<Packed> {
    let lower = how
        .lower
        .map(|paths| paths.iter().map(|path| Root::open(path)).collect::<std::result::Result<_, _>>())
        .transpose()?;
    let mut packing = Packing { how, lower, out, links: HashMap::new(), packed: Packed::default() };
    root.walk(how.base, TooDeep::Fail, |visit| packing.visit(&visit))?;
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
        for (key, value) in dir.xattrs(name)? {
            if keeps_xattr(&key) {
                xattrs.push((key, value));
            } else if overlay && key == OPAQUE_XATTR {
                opaque = value == b"y";
            } else if overlay && is_beyond_archives(key.as_bytes()) {
                return Err(Error::Invalid(format!(
                    "{} was made with overlayfs's redirect_dir or metacopy: mount with both off",
                    path.display()
                )));
            }
        }
        let Some(mut entry) = entry_of(self.how.prefix.join(path), metadata) else { return Ok(()) };
        entry.xattrs = xattrs;
        self.packed.size += metadata.disk;
        match metadata.kind {
            Kind::File => self.file(dir, name, entry, metadata),
            Kind::Symlink => {
                entry.link = dir.read_link(name)?;
                self.append(&entry, &mut io::empty())
            }
            Kind::Directory => {
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

    fn file(
        &mut self,
        dir: &Dir,
        name: &std::ffi::OsStr,
        mut entry: Entry,
        metadata: &Metadata,
    ) -> Result<()> {
        if metadata.links > 1 {
            match self.links.entry((metadata.device, metadata.inode)) {
                std::collections::hash_map::Entry::Occupied(first) => {
                    entry.kind = EntryKind::HardLink;
                    entry.link = first.get().as_os_str().to_owned();
                    entry.size = 0;
                    entry.xattrs.clear();
                    self.packed.size -= metadata.disk;
                    return self.append(&entry, &mut io::empty());
                }
                std::collections::hash_map::Entry::Vacant(vacant) => {
                    vacant.insert(entry.path.clone());
                }
            }
        }
        let mut file = dir.open_file(name, Access::Read, 0)?;
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
        modified: Time { seconds: metadata.modified.seconds, nanos: 0 },
        major: if is_device { metadata.major } else { 0 },
        minor: if is_device { metadata.minor } else { 0 },
        ..Entry::new(path, kind, metadata.mode)
    })
}

/// A directory that shows another one's content, or a file whose content is in another layer.
fn is_beyond_archives(key: &[u8]) -> bool {
    matches!(key, b"trusted.overlay.redirect" | b"trusted.overlay.metacopy")
}
