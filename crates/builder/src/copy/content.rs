//! The digest of what a COPY reads: names, kinds, modes, owners, bytes, link targets; not times.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use spec::Digest;
use sys::root::{Kind, OpenFile};

use super::spread::spread;
use super::tree::{Filter, Found, Source, Visitor, walk};
use crate::error::Result;
use crate::index::Index;
use crate::key::Hasher;

/// The digest of a source as the filter shows it. `owners`: the source's owners count (they will be kept). Files that
/// the index knows are not read.
pub(crate) fn digest(
    source: &Source,
    filter: &Filter,
    owners: bool,
    index: Option<&mut Index>,
) -> Result<Digest> {
    let mut visitor = Content { hasher: Hasher::default(), owners, index, digests: HashMap::new() };
    visitor.hasher.field(source.path.as_bytes()).number(u64::from(source.is_dir()));
    walk(source, filter, &mut visitor)?;
    Ok(visitor.hasher.finish())
}

struct Content<'i> {
    hasher: Hasher,
    owners: bool,
    index: Option<&'i mut Index>,
    /// Of the files that come as leaves next.
    digests: HashMap<PathBuf, [u8; 32]>,
}

impl Content<'_> {
    fn header(&mut self, found: &Found<'_>, kind: &[u8]) -> Result<()> {
        let metadata = &found.metadata;
        self.hasher.field(kind).field(found.path.as_os_str().as_bytes()).number(u64::from(metadata.mode));
        if self.owners {
            self.hasher.number(u64::from(metadata.uid)).number(u64::from(metadata.gid));
        }
        for (key, value) in found.dir.xattrs(found.name)? {
            self.hasher.field(key.as_bytes()).field(&value);
        }
        Ok(())
    }
}

impl Visitor for Content<'_> {
    fn files(&mut self, found: &[Found<'_>]) -> Result<()> {
        let mut unknown = Vec::new();
        for file in found {
            match self.index.as_mut().map(|index| index.find(&file.metadata)).transpose()?.flatten() {
                Some(digest) => drop(self.digests.insert(file.path.to_owned(), digest)),
                None => unknown.push(*file),
            }
        }
        let digests = spread(&unknown, file)?;
        for (file, digest) in unknown.iter().zip(digests) {
            if let Some(index) = &mut self.index {
                index.learn(&file.metadata, digest);
            }
            self.digests.insert(file.path.to_owned(), digest);
        }
        Ok(())
    }

    fn enter(&mut self, found: &Found<'_>) -> Result<()> {
        self.header(found, b"directory")
    }

    fn leave(&mut self, _: &Found<'_>) -> Result<()> {
        self.hasher.field(b"end");
        Ok(())
    }

    fn leaf(&mut self, found: &Found<'_>) -> Result<()> {
        match found.metadata.kind {
            Kind::File => {
                let metadata = &found.metadata;
                self.hasher
                    .field(b"file")
                    .field(found.path.as_os_str().as_bytes())
                    .number(u64::from(metadata.mode));
                if self.owners {
                    self.hasher.number(u64::from(metadata.uid)).number(u64::from(metadata.gid));
                }
                // A source that is a file itself has not been seen yet.
                if !self.digests.contains_key(found.path) {
                    self.files(&[*found])?;
                }
                if let Some(digest) = self.digests.remove(found.path) {
                    self.hasher.field(&digest);
                }
            }
            Kind::Symlink => {
                self.header(found, b"link")?;
                self.hasher.field(found.dir.read_link(found.name)?.as_bytes());
            }
            Kind::Fifo | Kind::Socket => self.header(found, b"fifo")?,
            Kind::CharDevice | Kind::BlockDevice => {
                self.header(found, b"device")?;
                let metadata = &found.metadata;
                self.hasher.number(u64::from(metadata.kind == Kind::BlockDevice));
                self.hasher.number(u64::from(metadata.major)).number(u64::from(metadata.minor));
            }
            Kind::Directory => {}
        }
        Ok(())
    }
}

/// A file's attributes and bytes.
fn file(found: &Found<'_>) -> Result<[u8; 32]> {
    let mut digest = Sha256::new();
    let mut file = found.open()?;
    for (key, value) in file.own_xattrs()? {
        digest.update(key.as_bytes());
        digest.update((value.len() as u64).to_le_bytes());
        digest.update(&value);
    }
    digest.update([0]);
    feed(&mut digest, &mut file, found.metadata.size)
        .map_err(|e| sys::Error::new("read", found.path.display().to_string(), e))?;
    Ok(digest.finalize().into())
}

/// Feeds a file's bytes; `size` says about how many there are.
pub(crate) fn feed(digest: &mut Sha256, file: &mut File, size: u64) -> std::io::Result<()> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let mut buffer = vec![0; size.clamp(4 << 10, 128 << 10)];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => digest.update(&buffer[..read]),
        }
    }
}
