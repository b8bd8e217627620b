//! Where a container's files are.

use std::path::{Path, PathBuf};

use super::record::Record;
use crate::Error;
use crate::engine::Config;

/// The directories of one container.
///
/// A container that is gone after a crash of the machine anyway (`--rm`) has its records beside its sockets, in memory: a
/// start and a removal then wait for no disk. Its output may be large, and is on the disk all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    /// config.json, state.json, exit.json, secrets.
    pub(crate) records: PathBuf,
    /// hostname, hosts, resolv.conf: made anew at each start.
    pub(crate) run: PathBuf,
    /// What it put out. It need not be there before there is any.
    pub(crate) logs: PathBuf,
}

impl Places {
    /// Those of a container with this record.
    pub(crate) fn of(config: &Config, record: &Record) -> Self {
        let root = if record.is_transient() { run_root(config) } else { disk_root(config) };
        Self::found(config, &root.join(record.id.as_str()))
    }

    /// Whether the records are in memory.
    pub(crate) fn is_transient(&self) -> bool {
        self.records == self.run
    }

    /// Those of a container whose records were found in `records`.
    pub(crate) fn found(config: &Config, records: &Path) -> Self {
        let name = records.file_name().unwrap_or_default();
        let (run, logs) = (run_root(config).join(name), disk_root(config).join(name));
        Self { records: records.to_owned(), run, logs }
    }
}

/// The directories of all containers, in both places: those with records in them, and others.
pub(crate) fn all(config: &Config) -> Result<Vec<PathBuf>, Error> {
    let mut all = Vec::new();
    for root in [disk_root(config), run_root(config)] {
        all.extend(sys::file::list(&root)?.into_iter().map(|name| root.join(name)));
    }
    Ok(all)
}

/// What lasts of all containers.
pub(crate) fn disk_root(config: &Config) -> PathBuf {
    config.data_root.join("containers")
}

/// What does not.
pub(crate) fn run_root(config: &Config) -> PathBuf {
    config.exec_root.join("containers")
}
