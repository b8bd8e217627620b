//! Prune: volumes of the local driver that no container has.

use spec::Filters;
use spec::api::VolumesPruneResponse;

use super::{ANONYMOUS, Meta, excluded, is_boolean, is_true};
use crate::blocking::lasting;
use crate::engine::Prune;
use crate::{Engine, Error};

impl Engine {
    /// `POST /volumes/prune`: anonymous ones nobody has; with the filter `all` named ones too.
    pub async fn prune_volumes(&self, filters: &Filters) -> Result<VolumesPruneResponse, Error> {
        let _one = self.prune_lock(Prune::Volumes)?;
        if let Some(bad) = filters.get("all").iter().find(|word| !is_boolean(word)) {
            return Err(Error::Invalid(format!("invalid filter 'all=[{bad}]'")));
        }
        let all = filters.get("all").iter().any(|v| is_true(v));
        let mut answer = VolumesPruneResponse::default();
        for (name, meta) in self.inner.volumes.all() {
            let wanted = (all || meta.labels.contains_key(ANONYMOUS))
                && is_ours(&meta)
                && filters.labels("label", &meta.labels)
                && !excluded(filters, &meta.labels);
            if !wanted || !self.volume_users(&name).is_empty() {
                continue;
            }
            let data = self.inner.volumes.data(&name)?;
            let size = lasting(move || disk_usage(&data)).await;
            if self.volume_remove(&name, true).await.is_ok() {
                answer.volumes_deleted.push(name);
                answer.space_reclaimed += size.cast_signed();
            }
        }
        self.volume_event("prune", "", &[("reclaimed", answer.space_reclaimed.to_string())]);
        Ok(answer)
    }
}

/// As in Docker, what was made with its options is somebody's; ours of owner and mode say nothing of that.
fn is_ours(meta: &Meta) -> bool {
    meta.is_local() && meta.options.keys().all(|key| matches!(key.as_str(), "uid" | "gid" | "mode"))
}

/// Bytes on disk below a directory of the host's; what cannot be read counts as nothing.
fn disk_usage(path: &std::path::Path) -> u64 {
    use sys::root::{Dir, Kind, Root};
    fn of(dir: &Dir, depth: usize) -> u64 {
        let mut sum = 0;
        for entry in dir.entries().unwrap_or_default() {
            let Ok(metadata) = dir.metadata(&entry.name) else { continue };
            sum += metadata.disk;
            if metadata.kind == Kind::Directory
                && depth < 256
                && let Ok(below) = dir.dir(&entry.name)
            {
                sum += of(&below, depth + 1);
            }
        }
        sum
    }
    Root::open(path).map_or(0, |root| of(root.top(), 0))
}
