//! Volumes of the local driver: `<data root>/volumes/<name>/_data`, with `meta.json` beside it.
//!
//! The directories are the truth; the map in memory is what was read from them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use spec::Filters;
use spec::api::{Volume, VolumeCreateRequest, VolumeListResponse, VolumesPruneResponse};
use sys::file::{self, Durability};

use crate::blocking::{blocking, lasting};
use crate::container::check_volume_name;
use crate::engine::Prune;
use crate::{Engine, Error, events, time};

/// The label of volumes nobody named.
pub(crate) const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// meta.json.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// Nanoseconds since 1970.
    pub(crate) created_at: u64,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: BTreeMap<String, String>,
}

/// All volumes.
#[derive(Debug)]
pub(crate) struct Volumes {
    root: PathBuf,
    known: Mutex<BTreeMap<String, Meta>>,
}

impl Volumes {
    /// Reads what is there.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        // Others than root pass through to bind sources they may own; they cannot list.
        file::create_dir_all(root, 0o711)?;
        let mut known = BTreeMap::new();
        for name in file::list(root)? {
            let path = root.join(&name).join("meta.json");
            let Some(bytes) = file::read_if_exists(&path)? else {
                // A create that did not finish; it never held anything.
                file::remove_tree(&root.join(&name))?;
                continue;
            };
            let meta = serde_json::from_slice(&bytes)
                .map_err(|source| Error::Record { path: path.display().to_string(), source })?;
            known.insert(name, meta);
        }
        Ok(Self { root: root.to_owned(), known: Mutex::new(known) })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Meta>> {
        self.known.lock().expect("no holder of this lock can panic")
    }

    /// Where its files are on the host.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.root.join(name).join("_data")
    }

    /// What to bind for it: its own directory, or the one a `type=none,o=bind` volume stands for.
    pub(crate) fn source(&self, name: &str, meta: &Meta) -> PathBuf {
        match meta.options.get("device") {
            Some(device) => PathBuf::from(device),
            None => self.data(name),
        }
    }

    /// By its exact name.
    pub(crate) fn get(&self, name: &str) -> Option<Meta> {
        self.known().get(name).cloned()
    }

    /// Names and records of all.
    pub(crate) fn all(&self) -> Vec<(String, Meta)> {
        self.known().iter().map(|(name, meta)| (name.clone(), meta.clone())).collect()
    }

    /// The volume of that name, made if it is not there; whether it was made.
    pub(crate) fn create(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
    ) -> Result<(Meta, bool), Error> {
        check_options(&options)?;
        let meta = Meta { created_at: time::now(), labels, options };
        // The place in the map is taken first, so that two creates of one name make one volume.
        match self.known().entry(name.to_owned()) {
            std::collections::btree_map::Entry::Occupied(there) => return Ok((there.get().clone(), false)),
            std::collections::btree_map::Entry::Vacant(free) => free.insert(meta.clone()),
        };
        let made = (|| -> Result<(), Error> {
            let dir = self.root.join(name);
            file::create_dir_all(&dir, 0o701)?;
            file::create_dir_all(&self.data(name), 0o755)?;
            if let Some(size) = meta.options.get("size").and_then(|size| spec::size::parse(size)) {
                if !sys::quota::is_enforced(&self.root) {
                    return Err(store::Error::NoQuota(self.root.clone()).into());
                }
                sys::quota::limit(&self.data(name), size)?;
            }
            let bytes = serde_json::to_vec_pretty(&meta).expect("records have string keys only");
            Ok(file::write_atomic(&dir.join("meta.json"), &bytes, 0o600, Durability::Machine)?)
        })();
        if let Err(error) = made {
            self.known().remove(name);
            // What is left has no meta.json: the next open removes it.
            let _ = file::remove_tree(&self.root.join(name));
            return Err(error);
        }
        Ok((meta, true))
    }

    /// Removes it with its content. The caller has made sure that nobody uses it.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        // The record first: what a crash leaves behind is then garbage, not half a volume.
        let dir = self.root.join(name);
        file::remove(&dir.join("meta.json"))?;
        let limited = self.known().remove(name).is_some_and(|meta| meta.options.contains_key("size"));
        if limited {
            sys::quota::release(&self.data(name))?;
        }
        Ok(file::remove_tree(&dir)?)
    }

    /// Bytes in it.
    pub(crate) fn size(&self, name: &str) -> u64 {
        disk_usage(&self.data(name))
    }

    fn api(&self, name: &str, meta: &Meta) -> Volume {
        Volume {
            name: name.to_owned(),
            driver: "local".into(),
            mountpoint: self.data(name).display().to_string(),
            created_at: time::rfc3339(meta.created_at / 1_000_000_000 * 1_000_000_000),
            labels: meta.labels.clone(),
            scope: "local".into(),
            options: meta.options.clone(),
            ..Volume::default()
        }
    }
}

/// Bytes on disk below a directory of the host's; what cannot be read counts as nothing.
fn disk_usage(path: &Path) -> u64 {
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

/// Of the local driver's options only a bind of a host directory is known, and a size alone.
fn check_options(options: &BTreeMap<String, String>) -> Result<(), Error> {
    if options.is_empty() {
        return Ok(());
    }
    let get = |key: &str| options.get(key).map_or("", String::as_str);
    if let Some(key) = options.keys().find(|k| !matches!(k.as_str(), "type" | "o" | "device" | "size")) {
        return Err(Error::Invalid(format!("invalid option: {key:?}")));
    }
    if options.len() == 1 && options.contains_key("size") {
        return match spec::size::parse(get("size")) {
            Some(bytes) if bytes > 0 => Ok(()),
            _ => Err(Error::Invalid(format!("invalid size: {:?}", get("size")))),
        };
    }
    let bind = get("o").split(',').any(|o| o == "bind" || o == "rbind");
    if matches!(get("type"), "none" | "") && bind && get("device").starts_with('/') && get("size").is_empty()
    {
        return Ok(());
    }
    Err(Error::NotImplemented(
        "of the local driver's options only type=none,o=bind,device=/path and size alone are supported yet"
            .into(),
    ))
}

impl Engine {
    /// Containers that have a volume, running or not.
    fn volume_users(&self, name: &str) -> Vec<String> {
        let uses = |view: &crate::container::View| view.record.mounts.iter().any(|m| m.name == name);
        let all = self.inner.containers.all().into_iter();
        all.filter(|c| uses(&c.view())).map(|c| c.id.to_string()).collect()
    }

    /// `GET /volumes`.
    pub async fn volumes(&self, filters: &Filters) -> Result<VolumeListResponse, Error> {
        let mut volumes = Vec::new();
        for (name, meta) in self.inner.volumes.all() {
            let dangling = || self.volume_users(&name).is_empty();
            let passes = filters.any("name", |wanted| name.contains(wanted))
                && filters.any("driver", |wanted| wanted == "local")
                && filters.labels("label", &meta.labels)
                && filters.any("dangling", |wanted| is_true(wanted) == dangling());
            if passes {
                volumes.push(self.inner.volumes.api(&name, &meta));
            }
        }
        Ok(VolumeListResponse { volumes, warnings: Vec::new() })
    }

    /// `POST /volumes/create`: the volume of that name is kept when it is there.
    pub async fn volume_create(&self, request: VolumeCreateRequest) -> Result<Volume, Error> {
        if !matches!(request.driver.as_str(), "" | "local") {
            return Err(Error::NotFound(format!(
                "error looking up volume plugin {0}: plugin {0:?} not found",
                request.driver
            )));
        }
        if !request.cluster_volume_spec.is_null() {
            return Err(Error::NotImplemented(
                "cluster volumes need swarm mode, which is not supported".into(),
            ));
        }
        check_volume_name(&request.name)?;
        let (name, mut labels) = (request.name, request.labels);
        let name = if name.is_empty() {
            labels.insert(ANONYMOUS.into(), String::new());
            spec::digest::hex(&sys::random::bytes::<32>())
        } else {
            name
        };
        let meta = self.make_volume(&name, labels, request.driver_opts).await?;
        Ok(self.inner.volumes.api(&name, &meta))
    }

    /// The volume of that name, made with an event if it is not there.
    pub(crate) async fn make_volume(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
    ) -> Result<Meta, Error> {
        let (inner, owned) = (self.inner.clone(), name.to_owned());
        let (meta, made) = blocking(move || inner.volumes.create(&owned, labels, options)).await?;
        if made {
            self.volume_event("create", name, &[("driver", "local".into())]);
        }
        Ok(meta)
    }

    pub(crate) fn volume_event(&self, action: &str, name: &str, attributes: &[(&str, String)]) {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        self.publish(events::message("volume", action, name, attributes));
    }

    /// `GET /volumes/{name}`.
    pub async fn volume_inspect(&self, name: &str) -> Result<Volume, Error> {
        let meta = self.inner.volumes.get(name).ok_or_else(|| Error::NoSuchVolume(name.to_owned()))?;
        Ok(self.inner.volumes.api(name, &meta))
    }

    /// `DELETE /volumes/{name}`: 409 while a container has it, stopped ones included. `force`: a missing one is no error.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<(), Error> {
        if self.inner.volumes.get(name).is_none() {
            return if force { Ok(()) } else { Err(Error::NoSuchVolume(name.to_owned())) };
        }
        let users = self.volume_users(name);
        if !users.is_empty() {
            return Err(Error::Conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
        }
        let (inner, owned) = (self.inner.clone(), name.to_owned());
        blocking(move || inner.volumes.remove(&owned)).await?;
        self.volume_event("destroy", name, &[("driver", "local".into())]);
        Ok(())
    }

    /// `POST /volumes/prune`: anonymous ones nobody has; with the filter `all` named ones too.
    pub async fn prune_volumes(&self, filters: &Filters) -> Result<VolumesPruneResponse, Error> {
        let _one = self.prune_lock(Prune::Volumes)?;
        let all = filters.get("all").iter().any(|v| is_true(v));
        let mut answer = VolumesPruneResponse::default();
        for (name, meta) in self.inner.volumes.all() {
            let wanted = (all || meta.labels.contains_key(ANONYMOUS))
                && filters.labels("label", &meta.labels)
                && !excluded(filters, &meta.labels);
            if !wanted || !self.volume_users(&name).is_empty() {
                continue;
            }
            let (inner, owned) = (self.inner.clone(), name.clone());
            let size = lasting(move || inner.volumes.size(&owned)).await;
            if self.volume_remove(&name, true).await.is_ok() {
                answer.volumes_deleted.push(name);
                answer.space_reclaimed += size.cast_signed();
            }
        }
        self.volume_event("prune", "", &[("reclaimed", answer.space_reclaimed.to_string())]);
        Ok(answer)
    }
}

/// A boolean of a filter, as Go's `strconv.ParseBool` reads it.
pub(crate) fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// Whether a `label!` filter excludes something with these labels.
pub(crate) fn excluded(filters: &Filters, labels: &BTreeMap<String, String>) -> bool {
    filters.get("label!").iter().any(|unwanted| match unwanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|v| v == value),
        None => labels.contains_key(unwanted),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_survive_and_half_made_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(dir.path()).unwrap();
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        assert!(volumes.create("one", labels.clone(), BTreeMap::new()).unwrap().1);
        assert!(!volumes.create("one", BTreeMap::new(), BTreeMap::new()).unwrap().1);
        file::create_dir_all(&dir.path().join("half/_data"), 0o755).unwrap();
        let again = Volumes::open(dir.path()).unwrap();
        assert_eq!(again.all().len(), 1);
        assert_eq!(again.get("one").unwrap().labels, labels);
        assert!(!dir.path().join("half").exists());
        again.remove("one").unwrap();
        assert!(!dir.path().join("one").exists() && again.get("one").is_none());
    }

    #[test]
    fn only_binds_are_known_of_the_drivers_options() {
        let options = |pairs: &[(&str, &str)]| {
            check_options(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
        };
        assert!(options(&[]).is_ok());
        assert!(options(&[("type", "none"), ("o", "bind"), ("device", "/x")]).is_ok());
        assert!(matches!(options(&[("type", "nfs"), ("device", ":/x")]), Err(Error::NotImplemented(_))));
        assert!(matches!(options(&[("colour", "red")]), Err(Error::Invalid(_))));
    }
}
