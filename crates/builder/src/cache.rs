//! The build cache: for each step that was ever done, what it made.
//!
//! `<cache>/<2 hex>/<key>.json`. A key is the digest of everything a step depends on, so a record is never changed,
//! only forgotten. A record whose layer or blob is gone is no record. A record's modification time is its last use, and
//! the least recently used ones go when there are too many.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use spec::Digest;
use spec::oci::image::Descriptor;
use store::{ChainId, Store};
use sys::file::{self, Durability};

use crate::error::Result;

/// More records than this, and the least recently used go: what they hold must not grow without bound.
const MOST: usize = 4000;

/// What a step made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// RFC 3339. Kept, so that a build of nothing but cached steps gives the same image again.
    pub(crate) created: String,
    /// `None`: the step changed no file.
    pub(crate) layer: Option<Layer>,
    /// A directory below the cache that it made instead (`trees/…`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tree: Option<String>,
    /// What a server said of a download, to ask whether it has changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) validators: Vec<(String, String)>,
    /// What a source turned out to be: a file's digest, a commit's id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) source: String,
    /// The vertex's name, for people.
    pub(crate) name: String,
}

/// A layer that a step made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layer {
    /// The stack with it on top.
    pub(crate) chain: ChainId,
    /// Its compressed blob.
    pub(crate) blob: Descriptor,
    /// Its inflated digest.
    pub(crate) diff_id: Digest,
}

/// Where the content of `--mount=type=cache` is.
pub(crate) fn mounts(root: &Path) -> PathBuf {
    root.join("mounts")
}

/// Where directories are that are no layers: parts of contexts that are mounted, downloads.
pub(crate) fn trees(root: &Path) -> PathBuf {
    root.join("trees")
}

/// Where is kept what is known of clients' directories.
pub(crate) fn indexes(root: &Path) -> PathBuf {
    root.join("files")
}

/// Where contexts of clients elsewhere are kept.
pub(crate) fn contexts(root: &Path) -> PathBuf {
    root.join("contexts")
}

/// The records on disk.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The records below `root`, which need not exist.
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The record of a key, if what it names is still there. One that cannot be read is as good as none.
    pub(crate) fn find(&self, key: &Digest, store: &Store) -> Result<Option<Record>> {
        let Some(bytes) = file::read_if_exists(&self.path(key))? else { return Ok(None) };
        let Ok(record) = serde_json::from_slice::<Record>(&bytes) else { return Ok(None) };
        let whole = record
            .layer
            .as_ref()
            .is_none_or(|l| store.has_layer(&l.chain) && store.blob_size(&l.blob.digest).is_some());
        let whole = whole && record.tree.as_ref().is_none_or(|tree| self.root.join(tree).is_dir());
        if !whole {
            return Ok(None);
        }
        if let Ok(file) = file::open(&self.path(key)) {
            // Only the order of forgetting depends on it, and a prune may have been faster.
            let _ = file.set_modified(SystemTime::now());
        }
        Ok(Some(record))
    }

    /// Writes a record.
    pub(crate) fn put(&self, key: &Digest, record: &Record) -> Result<()> {
        let path = self.path(key);
        if let Some(dir) = path.parent() {
            file::create_dir_all(dir, 0o700)?;
        }
        let bytes = serde_json::to_vec(record).expect("a record is plain data");
        Ok(file::write_atomic(&path, &bytes, 0o600, Durability::Process)?)
    }

    /// All records.
    pub(crate) fn all(&self) -> Result<Vec<Record>> {
        Ok(self.with_paths()?.into_iter().map(|(_, record)| record).collect())
    }

    /// All records, with their files.
    pub(crate) fn with_paths(&self) -> Result<Vec<(PathBuf, Record)>> {
        let mut records = Vec::new();
        for path in self.paths()? {
            if let Some(bytes) = file::read_if_exists(&path)?
                && let Ok(record) = serde_json::from_slice(&bytes)
            {
                records.push((path, record));
            }
        }
        Ok(records)
    }

    /// Forgets the least recently used records above a number.
    pub(crate) fn trim(&self) -> Result<()> {
        let records = self.paths()?.len();
        if records > MOST { self.forget_oldest(records - MOST).map(drop) } else { Ok(()) }
    }

    /// Forgets an eighth of the records, those that were used longest ago; returns how many.
    pub(crate) fn forget(&self) -> Result<usize> {
        self.forget_oldest(self.paths()?.len().div_ceil(8))
    }

    fn forget_oldest(&self, count: usize) -> Result<usize> {
        let paths = self.paths()?;
        let used =
            |path: &PathBuf| path.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut by_use: Vec<(SystemTime, PathBuf)> = paths.into_iter().map(|p| (used(&p), p)).collect();
        by_use.sort();
        for (_, path) in by_use.iter().take(count) {
            file::remove(path)?;
        }
        Ok(count.min(by_use.len()))
    }

    fn path(&self, key: &Digest) -> PathBuf {
        let hex = key.hex();
        self.root.join(&hex[..2]).join(format!("{hex}.json"))
    }

    fn paths(&self) -> Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for dir in file::list(&self.root)?.iter().filter(|name| name.len() == 2) {
            let dir = self.root.join(dir);
            let names = file::list(&dir)?;
            paths.extend(
                names.iter().filter(|n| n.ends_with(".json") && !n.starts_with('.')).map(|n| dir.join(n)),
            );
        }
        Ok(paths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_least_recently_used_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, store) =
            (Cache::new(&dir.path().join("build")), Store::open(&dir.path().join("store")).unwrap());
        let key = |n: u8| Digest::from_bytes([n; 32]);
        let record = Record { created: "then".into(), ..Record::default() };
        for n in 0..5 {
            cache.put(&key(n), &record).unwrap();
            let long_ago = SystemTime::now() - Duration::from_secs(100 - u64::from(n));
            file::open(&cache.path(&key(n))).unwrap().set_modified(long_ago).unwrap();
        }
        assert_eq!(cache.find(&key(0), &store).unwrap(), Some(record));
        assert_eq!(cache.forget_oldest(3).unwrap(), 3);
        let left: Vec<u8> = (0..5).filter(|n| cache.find(&key(*n), &store).unwrap().is_some()).collect();
        assert_eq!(left, [0, 4]);
        assert_eq!(cache.all().unwrap().len(), 2);
        assert_eq!((cache.forget().unwrap(), cache.forget().unwrap()), (1, 1), "at least one");
        assert_eq!(cache.forget().unwrap(), 0);
    }
}
