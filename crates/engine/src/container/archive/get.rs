//! Out: a path of a container as a tar.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use spec::api::PathStat;
use store::archive::{Owners, Pack, Take, Whiteouts, Writer, entry_of, pack_one, pack_some};
use sys::root::{Dir, Kind, Visit};
use tokio::sync::mpsc;

use super::stat::stat;
use super::{Opened, Purpose, absolute, base, look_up};
use crate::blocking::lasting;
use crate::container::userns;
use crate::{Engine, Error, chunks};

/// How a tar goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1951, without zlib's header: what Docker sends under that name.
    Deflate,
}

impl Engine {
    /// `GET /containers/{id}/archive`: what is at the path, and it as a tar. The tar's paths begin with the path's last
    /// word; a link is itself, unless the path says that it is a directory (`link/`).
    pub async fn archive_get(
        &self,
        id: &str,
        path: &str,
        encoding: Encoding,
    ) -> Result<(PathStat, mpsc::Receiver<Result<Bytes, Error>>), Error> {
        let opened = self.open_tree(id, Purpose::Reading).await?;
        let asked = absolute(path);
        let (opened, stat, source) = lasting(move || {
            let found = find(&opened, &asked).map_err(|e| look_up(&asked, &opened.named, e));
            found.map(|(stat, source)| (opened, stat, source))
        })
        .await?;
        self.publish(opened.container.event("archive-path", &[]));
        let content = chunks::made_by(move |out| {
            // The container's mounts stay as long as this.
            let ids = opened.ids();
            let owners = userns::owners(ids.as_ref());
            match encoding {
                Encoding::Identity => write(&source, owners, out).map(drop),
                Encoding::Gzip => {
                    let out = GzEncoder::new(out, Compression::fast());
                    write(&source, owners, out)?.finish().map(drop).map_err(broken)
                }
                Encoding::Deflate => {
                    let out = DeflateEncoder::new(out, Compression::fast());
                    write(&source, owners, out)?.finish().map(drop).map_err(broken)
                }
            }
        });
        Ok((stat, content))
    }
}

fn broken(error: std::io::Error) -> Error {
    sys::Error::new("write", "archive", error).into()
}

/// What is packed, held by a descriptor: the path may lead elsewhere in the next moment.
struct Source {
    /// The directory itself, or the one it is in.
    dir: Dir,
    /// In that directory; `None` for the directory itself.
    name: Option<OsString>,
    /// In the tar.
    base: PathBuf,
    /// A directory's place in the container, without links.
    path: PathBuf,
}

fn find(opened: &Opened, path: &str) -> Result<(PathStat, Source), sys::Error> {
    let root = opened.root();
    let (stat, metadata) = stat(root, path)?;
    let base = PathBuf::from(base(path));
    let source = if metadata.kind == Kind::Directory {
        Source { dir: root.dir(path)?, name: None, base, path: root.canonical(path)? }
    } else {
        let (dir, name) = root.parent(path)?;
        Source { dir, name: Some(name), base, path: PathBuf::new() }
    };
    Ok((stat, source))
}

fn write<W: Write>(source: &Source, owners: Owners<'_>, out: W) -> Result<W, Error> {
    let mut out = Writer::new(out);
    if let Some(name) = &source.name {
        pack_one(&source.dir, name, &source.base, owners, &mut out)?;
        return Ok(out.finish()?);
    }
    let top = entry_of(source.base.clone(), &source.dir.own_metadata()?);
    let mut top = top.expect("a directory is no socket");
    (top.uid, top.gid) = owners.inside(top.uid, top.gid);
    out.append_empty(&top)?;
    let (base, prefix) = (Path::new(""), source.base.as_path());
    let how = Pack { base, prefix, whiteouts: Whiteouts::Literal, lower: None, owners };
    let mut limits = Limits { top: &source.path, shows_kernel: HashMap::new() };
    pack_some(&source.dir.to_root()?, &how, &mut out, |visit| Ok(limits.take(visit)?))?;
    Ok(out.finish()?)
}

/// Where a tar of a running container ends: what the runtime has mounted to show the kernel is there as empty
/// directories, as it is on the container's own file system. Who asks for a path in there gets it.
struct Limits<'p> {
    top: &'p Path,
    /// By the number of the file system.
    shows_kernel: HashMap<u64, bool>,
}

impl Limits<'_> {
    fn take(&mut self, visit: &Visit<'_>) -> sys::Result<Take> {
        if visit.metadata.kind != Kind::Directory {
            return Ok(Take::All);
        }
        let is_kernels = match self.shows_kernel.get(&visit.metadata.device) {
            Some(known) => *known,
            None => {
                let shows = visit.dir.dir(visit.name).and_then(|dir: Dir| dir.is_kernel_interface())?;
                self.shows_kernel.insert(visit.metadata.device, shows);
                shows
            }
        };
        let is_mounted = visit.dir.own_metadata()?.device != visit.metadata.device;
        let is_devices = is_mounted && self.top.join(visit.path) == Path::new("/dev");
        Ok(if is_devices || is_mounted && is_kernels { Take::Itself } else { Take::All })
    }
}
