//! A directory as the tar that a build gets.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use client::{Upload, UploadWriter};
use spec::api::ContextEntry;

use super::ignore::Ignore;
use crate::error::{Error, Result};

/// A build's files.
#[derive(Debug)]
pub(super) struct Context {
    directory: PathBuf,
    ignore: Ignore,
    /// Files from elsewhere, and the names they get.
    extra: Vec<(String, Vec<u8>)>,
    /// Sent even if ignored: the engine needs them.
    needed: BTreeSet<String>,
}

impl Context {
    /// The files of `directory`. `dockerfile` is relative to it; `<dockerfile>.dockerignore` goes before
    /// `.dockerignore`.
    pub(super) fn open(directory: &Path, dockerfile: &str, extra: Vec<(String, Vec<u8>)>) -> Result<Self> {
        let own = directory.join(format!("{dockerfile}.dockerignore"));
        let common = directory.join(".dockerignore");
        let path = if own.is_file() { own } else { common };
        let beside = extra.iter().find(|(name, _)| *name == format!("{dockerfile}.dockerignore"));
        let ignore = match std::fs::read_to_string(&path) {
            _ if beside.is_some() => {
                Ignore::parse(&beside.map_or("".into(), |(_, text)| String::from_utf8_lossy(text)))
            }
            Ok(text) => Ignore::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ignore::default(),
            Err(error) => return Err(Error::file("cannot read", path)(error)),
        };
        let needed = BTreeSet::from([".dockerignore".to_owned(), dockerfile.to_owned()]);
        Ok(Self { directory: directory.to_owned(), ignore, extra, needed })
    }

    /// Makes the tar while it is sent.
    pub(super) fn upload(self) -> Upload {
        upload(move |tar| {
            self.walk(&mut |_, path, name| add(tar, path, name))?;
            for (name, bytes) in &self.extra {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o600);
                header.set_cksum();
                tar.append_data(&mut header, name, bytes.as_slice())?;
            }
            Ok(())
        })
    }

    /// What is in it, for an engine that may have most of it; `None` when a name is no text, which a list cannot say.
    pub(super) fn listing(&self) -> io::Result<Option<Vec<ContextEntry>>> {
        let mut entries = Vec::new();
        let mut texts = true;
        self.walk(&mut |own, path, name| {
            texts &= own.to_str().is_some();
            let meta = path.symlink_metadata()?;
            if !meta.file_type().is_socket() {
                entries.push(entry(name, &meta));
            }
            Ok(())
        })?;
        Ok(texts.then_some(entries))
    }

    /// The tar of some entries only.
    pub(super) fn upload_of(&self, names: Vec<String>) -> Upload {
        let directory = self.directory.clone();
        upload(move |tar| {
            for name in &names {
                let path = directory.join(name);
                add(tar, &path, name).map_err(at(&path))?;
            }
            Ok(())
        })
    }

    /// Calls `visit` with each entry's own name, its path and its name in the context; a directory before what is in it.
    fn walk(&self, visit: &mut Visit<'_>) -> io::Result<()> {
        self.directory(visit, &self.directory, "")
    }

    fn directory(&self, visit: &mut Visit<'_>, path: &Path, name: &str) -> io::Result<()> {
        let mut entries =
            std::fs::read_dir(path).map_err(at(path))?.collect::<io::Result<Vec<_>>>().map_err(at(path))?;
        // The same files give the same tar.
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let file_name = entry.file_name();
            let own = file_name.to_string_lossy();
            let name = if name.is_empty() { own.into_owned() } else { format!("{name}/{own}") };
            let is_dir = entry.file_type().map_err(at(&path))?.is_dir();
            let excluded = self.ignore.excludes(&name) && !self.needed.contains(&name);
            let needed_below = || self.needed.iter().any(|needed| needed.starts_with(&format!("{name}/")));
            let below = is_dir && (!excluded || self.ignore.may_return(&name) || needed_below());
            if !excluded {
                visit(&file_name, &path, &name).map_err(at(&path))?;
            }
            if below {
                self.directory(visit, &path, &name)?;
            }
        }
        Ok(())
    }
}

type Visit<'v> = dyn FnMut(&OsStr, &Path, &str) -> io::Result<()> + 'v;

/// Makes a tar in a thread of its own while it is sent.
fn upload(write: impl FnOnce(&mut tar::Builder<UploadWriter>) -> io::Result<()> + Send + 'static) -> Upload {
    let (writer, upload) = Upload::new();
    std::thread::spawn(move || {
        let mut tar = tar::Builder::new(writer);
        tar.follow_symlinks(false);
        tar.sparse(false);
        let outcome = write(&mut tar);
        match (outcome, tar.into_inner()) {
            (Ok(()), Ok(writer)) => drop(writer.finish()),
            (Err(error), Ok(writer)) => writer.abort(error),
            // The connection is gone: the request tells why.
            (_, Err(_)) => {}
        }
    });
    upload
}

/// An entry as stat(2) has it. The change time is in its stamp: no program can set that back.
fn entry(name: &str, meta: &std::fs::Metadata) -> ContextEntry {
    let stamp = format!(
        "{}.{} {}.{} {}:{}",
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
        meta.dev(),
        meta.ino()
    );
    let size = if meta.is_file() { meta.len() } else { 0 };
    ContextEntry { path: name.to_owned(), mode: meta.mode(), size, stamp }
}

/// Adds one file with its mode and time. Who owns it here does not matter there.
fn add(tar: &mut tar::Builder<UploadWriter>, path: &Path, name: &str) -> io::Result<()> {
    let meta = path.symlink_metadata()?;
    let kind = meta.file_type();
    if kind.is_socket() {
        return Ok(());
    }
    let mut header = tar::Header::new_gnu();
    header.set_mode(meta.mode() & 0o7777);
    header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    if kind.is_symlink() {
        header.set_entry_type(tar::EntryType::Symlink);
        return tar.append_link(&mut header, name, std::fs::read_link(path)?);
    }
    if kind.is_file() {
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(meta.len());
        // A file that grows meanwhile is cut, one that shrinks is filled: the header has been sent.
        let file = std::fs::File::open(path)?.take(meta.len()).chain(io::repeat(0)).take(meta.len());
        return tar.append_data(&mut header, name, file);
    }
    header.set_entry_type(if kind.is_dir() {
        tar::EntryType::Directory
    } else if kind.is_fifo() {
        tar::EntryType::Fifo
    } else if kind.is_char_device() {
        tar::EntryType::Char
    } else {
        tar::EntryType::Block
    });
    tar.append_data(&mut header, name, io::empty())
}

/// The path in front of an error.
fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.to_owned();
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
