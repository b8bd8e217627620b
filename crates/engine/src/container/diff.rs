//! Diff: what a container has changed in its image's files.

use std::path::PathBuf;

use spec::api::FilesystemChange;
use store::{ChangeKind, Judge};

use super::record::Record;
use crate::blocking::lasting;
use crate::{Engine, Error};

/// Where every container has something mounted: what is made there for the mount is no change of the container's.
const MOUNT_POINTS: [&str; 6] = ["proc", "sys", "dev", "etc/hosts", "etc/hostname", "etc/resolv.conf"];

impl Engine {
    /// `GET /containers/{id}/changes`.
    pub async fn changes(&self, id: &str) -> Result<Vec<FilesystemChange>, Error> {
        let container = self.inner.containers.find(id)?;
        let inner = self.inner.clone();
        lasting(move || {
            let stubs = mount_points(&container.view().record);
            let changes = inner.store.rw_changes(container.id.as_str(), &stubs, Judge::Attributes)?;
            let api = |change: store::Change| FilesystemChange {
                path: format!("/{}", change.path.display()),
                kind: match change.kind {
                    ChangeKind::Modified => 0,
                    ChangeKind::Added => 1,
                    ChangeKind::Deleted => 2,
                },
            };
            Ok(changes.into_iter().map(api).collect())
        })
        .await
    }
}

/// The paths, below the root, that something is mounted on while the container runs.
pub(crate) fn mount_points(record: &Record) -> Vec<PathBuf> {
    let own = record.mounts.iter().map(|mount| mount.destination.trim_start_matches('/'));
    own.chain(MOUNT_POINTS).map(PathBuf::from).collect()
}
