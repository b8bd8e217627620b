//! What takes space below the data root, to the block.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use spec::api::DataRootUsage;

use crate::blocking::lasting;
use crate::{Engine, Error};

/// A part of [`DataRootUsage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Blobs,
    Ingest,
    Layers,
    WritableLayers,
    Containers,
    Logs,
    Volumes,
    BuildCache,
    Networks,
    Other,
}

impl Part {
    /// What a path below the data root is part of.
    fn of(path: &Path) -> Self {
        let mut names = path.iter();
        match names.next().and_then(OsStr::to_str) {
            Some("blobs") => Self::Blobs,
            Some("ingest") => Self::Ingest,
            Some("layers") => Self::Layers,
            Some("rw") => Self::WritableLayers,
            Some("volumes") => Self::Volumes,
            Some("build") => Self::BuildCache,
            Some("network") => Self::Networks,
            Some("containers") => match names.nth(1).and_then(OsStr::to_str) {
                Some("local-logs") => Self::Logs,
                Some(name) if name.contains("-json.log") || name.contains("container-cached.log") => {
                    Self::Logs
                }
                _ => Self::Containers,
            },
            _ => Self::Other,
        }
    }
}

impl Engine {
    /// What is on disk, by what it is for: the sum is what `du` says of the data root.
    pub async fn data_root_usage(&self) -> Result<DataRootUsage, Error> {
        let inner = self.inner.clone();
        let sums: BTreeMap<Part, u64> = lasting(move || inner.store.usage(Part::of)).await?;
        let part = |part: Part| sums.get(&part).copied().unwrap_or(0);
        Ok(DataRootUsage {
            path: self.inner.config.data_root.display().to_string(),
            total: sums.values().sum(),
            blobs: part(Part::Blobs),
            ingest: part(Part::Ingest),
            layers: part(Part::Layers),
            writable_layers: part(Part::WritableLayers),
            containers: part(Part::Containers),
            logs: part(Part::Logs),
            volumes: part(Part::Volumes),
            build_cache: part(Part::BuildCache),
            networks: part(Part::Networks),
            other: part(Part::Other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_their_part() {
        for (path, part) in [
            ("", Part::Other),
            ("images.json", Part::Other),
            ("layers/ab/diff/containers", Part::Layers),
            ("containers", Part::Containers),
            ("containers/c1/config.json", Part::Containers),
            ("containers/c1/c1-json.log", Part::Logs),
            ("containers/c1/c1-json.log.1", Part::Logs),
            ("containers/c1/local-logs/container.log", Part::Logs),
            ("containers/c1/secrets/x-json.log", Part::Containers),
        ] {
            assert_eq!(Part::of(Path::new(path)), part, "{path}");
        }
    }
}
