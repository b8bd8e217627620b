//! The digest of what a COPY reads: names, kinds, modes, owners, bytes, link targets; not times.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use sha2::{Digest as _, Sha256};
use spec::Digest;
use sys::root::Kind;

use super::tree::{Filter, Found, Source, Visitor, walk};
use crate::error::{Error, Result};
use crate::key::Hasher;

/// The digest of these sources as the filter shows them. `owners`: the sources' owners count (they will be kept).
pub(crate) fn digest(sources: &[Source], filter: &Filter, owners: bool) -> Result<Digest> {
    let mut visitor = Content { hasher: Hasher::default(), owners };
    for source in sources {
        visitor.hasher.field(source.path.as_bytes()).number(u64::from(source.is_dir()));
        walk(source, filter, &mut visitor)?;
    }
    Ok(visitor.hasher.finish())
}

struct Content {
    hasher: Hasher,
    owners: bool,
}

impl Content {
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

impl Visitor for Content {
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
                self.header(found, b"file")?;
                let mut file = found.open()?;
                let mut bytes = Sha256::new();
                let mut buffer = vec![0; 128 << 10];
                loop {
                    let read = file.read(&mut buffer).map_err(|e| {
                        Error::System(sys::Error::new("read", found.path.display().to_string(), e))
                    })?;
                    if read == 0 {
                        break;
                    }
                    bytes.update(&buffer[..read]);
                }
                self.hasher.field(&bytes.finalize());
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
