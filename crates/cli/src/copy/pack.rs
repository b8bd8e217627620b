//! Local files as a tar.

use std::collections::HashMap;
use std::io::{self, Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use spec::api::ContentPlace;
use tar::EntryType;

use super::rules::{Source, followed};
use super::{CAPABILITY, XATTR, append_link, at};
use crate::error::{Error, Result};
use crate::path;

/// Links followed from one to the next before it is taken for a circle, as the kernel does.
const LONGEST_CHAIN: usize = 40;

/// From this size on a file's content is read by an engine of the same machine; below it a tar is as fast.
const LEAST_APART: u64 = 1 << 20;

/// Every file in a tar is filled up to a multiple of this.
const BLOCK: u64 = 512;

/// Looks at what is to be copied. Links in front of the last component are followed, the last one if `follow`.
pub(crate) fn source(path: &str, follow: bool) -> Result<Source> {
    let (resolved, known_as) = if follow {
        followed(path, &real(path)?)
    } else {
        let (directory, entry) = path.rsplit_once('/').unwrap_or((".", path));
        let resolved = format!("{}/{entry}", real(&format!("{directory}/"))?.trim_end_matches('/'));
        let known_as = path.ends_with('/') && path::base(path) != path::base(&resolved);
        (resolved, known_as.then(|| path::base(path).to_owned()))
    };
    let meta = Path::new(&resolved).symlink_metadata().map_err(Error::file("lstat", &resolved))?;
    Ok(Source { path: resolved, is_dir: meta.is_dir(), known_as })
}

/// A path without symbolic links. An error names the first component that is not there.
fn real(path: &str) -> Result<String> {
    match std::fs::canonicalize(path) {
        Ok(real) => Ok(real.to_string_lossy().into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(Error::invalid("not a directory")),
        Err(error) => Err(Error::file("lstat", missing(path))(error)),
    }
}

/// What of a path is not there: one of its directories, or what a link leads to.
fn missing(path: &str) -> String {
    let mut path = path::clean(path);
    for _ in 0..LONGEST_CHAIN {
        let ancestors: Vec<_> = Path::new(&path).ancestors().collect();
        let Some(dangling) = ancestors.into_iter().rev().find(|ancestor| !ancestor.exists()) else { break };
        let Ok(link) = std::fs::read_link(dangling) else { return dangling.display().to_string() };
        path = path::join(&path::split(&dangling.to_string_lossy()).0, &link.to_string_lossy());
    }
    path
}

/// Writes the tar of a source; `name` takes the place of its last component.
pub(crate) fn pack<W: Write>(tar: &mut tar::Builder<W>, source: &Source, name: &str) -> io::Result<()> {
    tar.sparse(false);
    let (directory, entry) = path::split(&source.path);
    // Nothing in a tar is called `/`.
    let name = if name == "/" { "." } else { name };
    let mut packer = Packer { tar, seen: HashMap::new() };
    packer.add(&Path::new(&directory).join(entry), name.as_bytes().to_owned())
}

/// The tar of one file without its content, for an engine that reads it itself.
#[derive(Debug)]
pub(crate) struct Apart {
    pub(crate) tar: Vec<u8>,
    /// Where the content belongs in the tar.
    pub(crate) place: ContentPlace,
    pub(crate) content: std::fs::File,
}

/// As [`pack`], of a file that is large enough to be worth it; `None` for anything else.
pub(crate) fn apart(source: &Source, name: &str) -> io::Result<Option<Apart>> {
    let path = Path::new(&source.path);
    let meta = path.symlink_metadata().map_err(at(path))?;
    if !meta.is_file() || meta.len() < LEAST_APART {
        return Ok(None);
    }
    let mut tar = tar::Builder::new(Vec::new());
    tar.sparse(false);
    let mut packer = Packer { tar: &mut tar, seen: HashMap::new() };
    let (content, length) = packer.begin_file(path, name.as_bytes(), header(&meta))?;
    let offset = tar.get_ref().len() as u64;
    tar.get_mut().write_all(padding(length))?;
    Ok(Some(Apart { tar: tar.into_inner()?, place: ContentPlace { offset, length }, content }))
}

struct Packer<'a, W: Write> {
    tar: &'a mut tar::Builder<W>,
    /// Files with several names, and the first of these.
    seen: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Packer<'_, W> {
    /// Adds a file, and what is below it.
    fn add(&mut self, path: &Path, name: Vec<u8>) -> io::Result<()> {
        let meta = path.symlink_metadata().map_err(at(path))?;
        let kind = meta.file_type();
        if kind.is_socket() {
            return Ok(());
        }
        let mut header = header(&meta);
        if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
            let inside = [name.as_slice(), b"/"].concat();
            self.tar.append_data(&mut header, as_path(&inside), io::empty())?;
            return self.below(path, &inside);
        }
        if meta.nlink() > 1
            && let Some(first) = self.seen.insert((meta.dev(), meta.ino()), name.clone())
        {
            header.set_entry_type(EntryType::Link);
            append_link(self.tar, &mut header, &as_path(&name), &first)?;
            self.seen.insert((meta.dev(), meta.ino()), first);
            return Ok(());
        }
        if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            let target = std::fs::read_link(path).map_err(at(path))?;
            return append_link(self.tar, &mut header, &as_path(&name), target.as_os_str().as_bytes());
        }
        if kind.is_file() {
            return self.file(path, &name, header);
        }
        header.set_entry_type(if kind.is_fifo() {
            EntryType::Fifo
        } else if kind.is_char_device() {
            EntryType::Char
        } else {
            EntryType::Block
        });
        if !kind.is_fifo() {
            header.set_device_major(rustix::fs::major(meta.rdev()))?;
            header.set_device_minor(rustix::fs::minor(meta.rdev()))?;
        }
        self.tar.append_data(&mut header, as_path(&name), io::empty())
    }

    fn file(&mut self, path: &Path, name: &[u8], header: tar::Header) -> io::Result<()> {
        let (file, length) = self.begin_file(path, name, header)?;
        self.content(file, length).map_err(at(path))
    }

    /// All of a file but its content, and how long that is.
    fn begin_file(
        &mut self,
        path: &Path,
        name: &[u8],
        mut header: tar::Header,
    ) -> io::Result<(std::fs::File, u64)> {
        // It may have become a pipe since it was looked at: neither wait for one nor follow a link.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from);
        let file = std::fs::File::from(opened.map_err(at(path))?);
        let length = file.metadata().map_err(at(path))?.len();
        let mut capability = [0; 64];
        if let Ok(n @ 1..) = rustix::fs::fgetxattr(&file, CAPABILITY, &mut capability) {
            let key = format!("{XATTR}{CAPABILITY}");
            self.tar.append_pax_extensions([(key.as_str(), &capability[..n])])?;
        }
        header.set_entry_type(EntryType::Regular);
        header.set_size(length);
        self.tar.append_data(&mut header, as_path(name), io::empty())?;
        Ok((file, length))
    }

    /// Adds what the header before it announced, in pieces of the upload's own size: the archive's writer would take 8 KiB at a time.
    fn content(&mut self, file: std::fs::File, length: u64) -> io::Result<()> {
        let out = self.tar.get_mut();
        // The header has been sent when the last byte is read: a file that grows meanwhile is cut.
        let mut content = file.take(length);
        let mut buffer = vec![0; client::CHUNK.min(usize::try_from(length).unwrap_or(usize::MAX))];
        let mut left = length;
        while left > 0 {
            let n = content.read(&mut buffer)?;
            if n == 0 {
                return Err(io::Error::other("the file shrank while it was copied"));
            }
            out.write_all(&buffer[..n])?;
            left -= n as u64;
        }
        out.write_all(padding(length))
    }

    /// Adds a directory's entries; the same files give the same tar.
    fn below(&mut self, path: &Path, name: &[u8]) -> io::Result<()> {
        let entries = std::fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut names: Vec<_> = entries.map_err(at(path))?.iter().map(std::fs::DirEntry::file_name).collect();
        names.sort();
        for entry in names {
            self.add(&path.join(&entry), [name, entry.as_bytes()].concat())?;
        }
        Ok(())
    }
}

fn header(meta: &std::fs::Metadata) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(meta.mode() & 0o7777);
    header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
    header.set_uid(meta.uid().into());
    header.set_gid(meta.gid().into());
    header.set_size(0);
    header
}

/// What follows a content of this length.
fn padding(length: u64) -> &'static [u8] {
    let missing = usize::try_from(length.next_multiple_of(BLOCK) - length).expect("less than a block");
    &[0; BLOCK as usize][..missing]
}

fn as_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}
