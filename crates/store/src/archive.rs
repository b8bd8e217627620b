//! Tar archives: read with bounds, written deterministically, unpacked and packed through a [`sys::root::Root`].
//!
//! | room | what is in it |
//! |---|---|
//! | [`reader`], `acl` | bytes → entries (ustar, PAX, GNU long names, sparse files of every form, access control lists) |
//! | [`writer`] | entries → bytes (ustar, PAX where a value does not fit) |
//! | [`mod@unpack`] | entries → files |
//! | [`mod@pack`] | files → entries |
//! | `owners` | whose files are |
//!
//! Layers and ordinary archives (a build context, `docker cp`) differ in [`Whiteouts`], and `docker cp` in [`Existing`].

mod acl;
mod owners;
pub mod pack;
pub mod reader;
pub mod unpack;
pub mod writer;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use sys::root::Time;

pub use owners::Owners;
pub use pack::{Pack, Packed, Take, entry_of, pack, pack_one, pack_some};
pub use reader::Reader;
pub use unpack::{Existing, Unpack, Unpacked, unpack};
pub use writer::Writer;

/// The longest path, and the longest extended header, that is read. The kernel's PATH_MAX; and room for the largest
/// xattr (64 KiB) in a few copies.
pub(crate) const MAX_PATH: usize = 4096;
pub(crate) const MAX_EXTENDED: u64 = 1 << 20;
/// More entries than any real layer; fewer than fill a file system's inode table by themselves.
pub(crate) const MAX_ENTRIES: u64 = 4_000_000;
/// The longest sparse file: as long as a file of ext4 can be.
pub(crate) const MAX_SPARSE: u64 = 16 << 40;

/// What an archive entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file; its bytes follow.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A further name of an earlier entry.
    HardLink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

/// One entry's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As in the archive: not yet safe in any way.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Target of a link, as in the archive.
    pub link: OsString,
    /// Permission bits, setuid, setgid and sticky included.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content; 0 for all but files.
    pub size: u64,
    /// When the content last changed.
    pub modified: Time,
    /// A device's major number.
    pub major: u32,
    /// A device's minor number.
    pub minor: u32,
    /// Extended attributes.
    pub xattrs: Vec<(OsString, Vec<u8>)>,
    /// A sparse file's pieces (offset, length), whose bytes follow one after the other; `size` is the whole file's.
    pub sparse: Option<Vec<(u64, u64)>>,
}

impl Entry {
    /// An entry of root's, from 1970, with nothing in it.
    pub fn new(path: impl Into<PathBuf>, kind: EntryKind, mode: u32) -> Self {
        Self {
            path: path.into(),
            kind,
            link: OsString::new(),
            mode,
            uid: 0,
            gid: 0,
            size: 0,
            modified: Time::default(),
            major: 0,
            minor: 0,
            xattrs: Vec::new(),
            sparse: None,
        }
    }
}

/// What removals are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// Nothing: `.wh.` names are ordinary names (build contexts, `docker cp`, `docker export`).
    Literal,
    /// In the archive `.wh.` entries (image-spec, "Whiteouts"); on disk overlayfs's devices 0/0 and opaque xattrs.
    Overlay,
    /// What is removed: out of an archive only. For layers that are put over each other in one directory.
    Remove,
}

/// Marks a removed name in a layer's archive.
pub(crate) const WHITEOUT_PREFIX: &str = ".wh.";
/// Names with this prefix were AUFS's own; only the opaque marker means something.
pub(crate) const AUFS_PREFIX: &str = ".wh..wh.";
/// Marks a directory whose lower content is hidden.
pub(crate) const OPAQUE_MARKER: &str = ".wh..wh..opq";
/// overlayfs's attribute for the same.
pub(crate) const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
/// What the names of overlayfs's attributes begin with.
pub(crate) const OVERLAY_XATTRS: &[u8] = b"trusted.overlay.";

/// The extended attributes that go into and come out of archives. overlayfs's own would let content redirect
/// directories; security labels are the host's to give.
pub(crate) fn keeps_xattr(key: &std::ffi::OsStr) -> bool {
    let key = key.as_bytes();
    key == b"security.capability"
        || key.starts_with(b"system.posix_acl_")
        || (key.starts_with(b"user.") && !key.starts_with(b"user.overlay."))
}
