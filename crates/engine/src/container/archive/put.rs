//! In: a tar is unpacked into a directory of a container.

use std::io::Read;
use std::path::{Path, PathBuf};

use store::archive::{Existing, Unpack, Whiteouts, unpack};

use super::{Opened, Purpose, absolute, look_up, owner};
use crate::blocking::lasting;
use crate::container::userns;
use crate::{Engine, Error};

/// A tar on its way into a container.
#[derive(Debug)]
pub struct Extraction {
    engine: Engine,
    opened: Opened,
    /// The directory, without links.
    directory: PathBuf,
    owner: Option<(u32, u32)>,
    existing: Existing,
}

impl Engine {
    /// `PUT /containers/{id}/archive`: looks whether it can be done; [`Extraction::run`] does it. `keep_kind`: no directory
    /// gives way to something else, and nothing else to a directory. `own`: everything belongs to the container's user,
    /// if it has one, instead of whom the archive says.
    pub async fn archive_put(
        &self,
        id: &str,
        path: &str,
        keep_kind: bool,
        own: bool,
    ) -> Result<Extraction, Error> {
        let opened = self.open_tree(id, Purpose::Writing).await?;
        let (engine, path) = (self.clone(), path.to_owned());
        lasting(move || {
            let directory = destination(&opened, &path)?;
            let user = &opened.container.view().record.config.user;
            let owner =
                if own && !user.is_empty() { Some(owner::resolve(opened.root(), user)?) } else { None };
            let existing = if keep_kind { Existing::KeepsKind } else { Existing::GivesWayBelow };
            Ok(Extraction { engine, opened, directory, owner, existing })
        })
        .await
    }
}

impl Extraction {
    /// Unpacks `tar`, plain or compressed. Blocking. On failure what was unpacked so far stays.
    pub fn run(self, tar: &mut (dyn Read + Send)) -> Result<(), Error> {
        let ids = self.opened.ids();
        let how = Unpack {
            base: &self.directory,
            whiteouts: Whiteouts::Literal,
            owner: self.owner,
            owners: userns::owners(ids.as_ref()),
            existing: self.existing,
        };
        let root = self.opened.root();
        let mut put = || -> Result<(), Error> {
            let (_, inflated) =
                store::inflate(tar).map_err(|source| store::Error::Read { what: "archive", source })?;
            unpack(inflated, root, &how)?;
            Ok(())
        };
        match ids.as_ref().and_then(|ids| ids.outside(0, 0)) {
            None => put()?,
            // What the host's root makes there would belong to nobody.
            Some((uid, gid)) => sys::caps::acting_as(uid, gid, put)??,
        }
        self.engine.publish(self.opened.container.event("extract-to-dir", &[]));
        Ok(())
    }
}

/// The directory to unpack into, without links. It must be there and writable.
fn destination(opened: &Opened, path: &str) -> Result<PathBuf, Error> {
    let (root, asked) = (opened.root(), absolute(path));
    let dir = root.dir(&asked).map_err(|e| match e.source.kind() {
        std::io::ErrorKind::NotADirectory => Error::Invalid("extraction point is not a directory".into()),
        _ => look_up(path, &opened.named, e),
    })?;
    let directory = root.canonical(&asked)?;
    let record = &opened.container.view().record;
    let mounted = record.mounts.iter().any(|m| within(root.canonical(&m.destination).ok(), &directory));
    // The kernel knows of a running container; on one that does not run the root is mounted for writing.
    let sealed = dir.is_read_only()? || opened.is_still() && record.host.readonly_rootfs && !mounted;
    if sealed {
        let what = if mounted { "mounted volume" } else { "container rootfs" };
        return Err(Error::Forbidden(format!("{what} is marked read-only")));
    }
    Ok(directory)
}

fn within(mount: Option<PathBuf>, path: &Path) -> bool {
    mount.is_some_and(|mount| path.starts_with(mount))
}
