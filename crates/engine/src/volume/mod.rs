//! Volumes: those of the local driver in `<data root>/volumes/<name>/_data`, with `meta.json` beside it; those of plugins
//! with their `meta.json` alone.
//!
//! | room | what is in it |
//! |---|---|
//! | here | the table |
//! | `create`, `inspect`, `remove` | one volume |
//! | `record`, `options` | `meta.json`; what the local driver's options mean |
//! | `local`, `plugin` | the drivers |
//! | `uses` | who has a volume mounted, and until when |
//! | `list`, `prune` | many at once |
//! | `change`, `copy`, `archive` | beyond Docker: rename and update; copies; out as a tar, and in |
//!
//! The directories are the truth; the map in memory is what was read from them. A plugin's volume may come and go
//! without us: it is asked.

mod archive;
mod change;
mod copy;
mod create;
mod inspect;
mod list;
mod local;
mod options;
mod plugin;
mod prune;
mod record;
mod remove;
mod uses;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use spec::api::Volume;
use sys::file::{self, Durability};
use sys::root::Root;

pub(crate) use self::create::{Wish, random_name};
pub(crate) use self::list::{excluded, is_boolean, is_true};
use self::local::own;
use self::plugin::Plugins;
pub(crate) use self::record::{LOCAL, Meta};
use self::uses::Uses;
pub(crate) use self::uses::{Hold, Mounted};
use crate::container::copyup;
use crate::{Engine, Error, events, time};

/// The label of volumes nobody named.
pub(crate) const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// All volumes.
#[derive(Debug)]
pub(crate) struct Volumes {
    root: PathBuf,
    known: Mutex<BTreeMap<String, Meta>>,
    uses: Uses,
    pub(crate) plugins: Plugins,
}

impl Volumes {
    /// Reads what is there. `plugins`: where plugins are looked for.
    pub(crate) fn open(root: &Path, plugins: Vec<PathBuf>) -> Result<Self, Error> {
        // Others than root pass through to bind sources they may own; they cannot list.
        file::create_dir_all(root, 0o711)?;
        let mut known = BTreeMap::new();
        for directory in file::list(root)? {
            let path = root.join(&directory).join("meta.json");
            let Some(bytes) = file::read_if_exists(&path)? else {
                // A create that did not finish; it never held anything.
                local::remove(&root.join(&directory).join("_data"), &BTreeMap::new())?;
                continue;
            };
            let meta: Meta = serde_json::from_slice(&bytes)
                .map_err(|source| Error::Record { path: path.display().to_string(), source })?;
            let name = if meta.name.is_empty() { directory } else { meta.name.clone() };
            known.insert(name, meta);
        }
        let (known, uses, plugins) = (Mutex::new(known), Uses::default(), Plugins::new(plugins));
        Ok(Self { root: root.to_owned(), known, uses, plugins })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Meta>> {
        self.known.lock().expect("no holder of this lock can panic")
    }

    fn directory(&self, name: &str) -> Result<PathBuf, Error> {
        Ok(self.root.join(record::directory(name)?))
    }

    /// Where the files of one of the local driver's are on the host.
    pub(crate) fn data(&self, name: &str) -> Result<PathBuf, Error> {
        Ok(self.directory(name)?.join("_data"))
    }

    /// By its exact name.
    pub(crate) fn get(&self, name: &str) -> Option<Meta> {
        self.known().get(name).cloned()
    }

    /// Names and records of all.
    pub(crate) fn all(&self) -> Vec<(String, Meta)> {
        self.known().iter().map(|(name, meta)| (name.clone(), meta.clone())).collect()
    }

    /// Makes a volume of the local driver; `fill` gives it what it has from the beginning. It is not known, and nothing
    /// of it stays after a failure or a crash, until all of it is there. For the holder of the name.
    fn create(
        &self,
        name: &str,
        meta: Meta,
        fill: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<Meta, Error> {
        let data = self.data(name)?;
        let made = local::make(&data, &meta.options)
            .and_then(|()| fill(&data))
            .and_then(|()| self.record(name, meta.clone()));
        if let Err(error) = made {
            // What is left has no meta.json: the next open removes it.
            let undone = local::remove(&data, &meta.options);
            return Err(Error::first(error, undone.err()));
        }
        Ok(meta)
    }

    /// Writes what is known of a volume from now on.
    fn record(&self, name: &str, meta: Meta) -> Result<(), Error> {
        let dir = self.directory(name)?;
        file::create_dir_all(&dir, 0o701)?;
        let bytes = serde_json::to_vec_pretty(&meta).expect("records have string keys only");
        file::write_atomic(&dir.join("meta.json"), &bytes, 0o600, Durability::Machine)?;
        self.known().insert(name.to_owned(), meta);
        Ok(())
    }

    /// Forgets a volume; one of the local driver's goes with its content. The caller has made sure that nobody uses it.
    fn remove(&self, name: &str) -> Result<(), Error> {
        let (dir, data) = (self.directory(name)?, self.data(name)?);
        let meta = self.get(name).ok_or_else(|| Error::NoSuchVolume(name.to_owned()))?;
        if !meta.is_local() {
            file::remove(&dir.join("meta.json"))?;
            self.known().remove(name);
            return Ok(file::remove_tree(&dir)?);
        }
        // Nothing of another file system is ever removed.
        local::unmount(&data)?;
        if let Some(place) = local::foreign_mount(&data)? {
            return Err(Error::Conflict(format!("{place} is mounted below the volume: unmount it first")));
        }
        // The record first: what a crash leaves behind is then garbage, not half a volume.
        file::remove(&dir.join("meta.json"))?;
        self.known().remove(name);
        local::remove(&data, &meta.options)
    }

    /// Another name, from one moment to the next. For the holder of both names.
    fn rename(&self, name: &str, new: &str) -> Result<(), Error> {
        local::unmount(&self.data(name)?)?;
        let mut known = self.known();
        let meta = known.remove(name).ok_or_else(|| Error::NoSuchVolume(name.to_owned()))?;
        let moved = self.directory(name).and_then(|from| Ok(file::rename(&from, &self.directory(new)?)?));
        known.insert(if moved.is_ok() { new } else { name }.to_owned(), meta);
        drop(known);
        moved?;
        Ok(file::sync_directory(&self.root)?)
    }

    /// Fills a volume whose files are at `data`, if it is empty, with what a tree has at `place`. Blocking.
    pub(crate) fn fill(&self, name: &str, data: &Path, tree: &Root, place: &str) -> Result<(), Error> {
        let _one = self.uses.fill(name);
        copyup::fill(tree, place, data)?;
        // What was asked for is more than what the image has.
        self.get(name).map_or(Ok(()), |meta| own(data, &meta.options))
    }

    fn api(&self, name: &str, meta: &Meta) -> Volume {
        Volume {
            name: name.to_owned(),
            driver: meta.driver.clone(),
            mountpoint: match self.data(name) {
                Ok(data) if meta.is_local() => data.display().to_string(),
                _ => String::new(),
            },
            created_at: time::rfc3339(meta.created_at / 1_000_000_000 * 1_000_000_000),
            labels: meta.labels.clone(),
            scope: LOCAL.into(),
            options: meta.options.clone(),
            ..Volume::default()
        }
    }
}

impl Engine {
    pub(crate) fn volume_event(&self, action: &str, name: &str, attributes: &[(&str, String)]) {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        self.publish(events::message("volume", action, name, attributes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_survive_and_half_made_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Volumes::open(dir.path(), Vec::new()).unwrap();
        let volumes = open();
        let wish = |name: &str, options: &[(&str, &str)]| Wish {
            name: name.into(),
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Wish::default()
        };
        let meta = Meta::new(wish("one", &[("uid", "7"), ("mode", "0700")]));
        volumes.create("one", meta.clone(), |_| Ok(())).unwrap();
        let failed = volumes.create("two", Meta::new(wish("two", &[])), |data| {
            file::create_dir_all(&data.join("x"), 0o755)?;
            Err(Error::Invalid("no".into()))
        });
        assert!(failed.is_err() && !dir.path().join("two").exists());
        file::create_dir_all(&dir.path().join("half/_data"), 0o755).unwrap();
        let again = open();
        assert_eq!(again.all(), [("one".to_owned(), meta)]);
        let top = sys::root::Root::open(&again.data("one").unwrap()).unwrap().top().own_metadata().unwrap();
        assert_eq!((top.uid, top.gid, top.mode), (7, 0, 0o700));
        assert!(!dir.path().join("half").exists());
        again.remove("one").unwrap();
        assert!(!dir.path().join("one").exists() && again.get("one").is_none());
    }

    #[test]
    fn what_is_mounted_in_a_volume_is_not_removed_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(dir.path(), Vec::new()).unwrap();
        volumes.create("one", Meta::new(Wish { name: "one".into(), ..Wish::default() }), |_| Ok(())).unwrap();
        let below = volumes.data("one").unwrap().join("below");
        file::create_dir_all(&below, 0o755).unwrap();
        sys::mount::mount_at("tmpfs", &below, "tmpfs", sys::mount::Flags::empty(), "size=1m").unwrap();
        let refused = volumes.remove("one").unwrap_err().to_string();
        assert!(refused.contains("below is mounted"), "{refused}");
        sys::mount::unmount_at(&below).unwrap();
        volumes.remove("one").unwrap();
    }
}
