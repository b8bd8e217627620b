//! Who uses a volume: verbs that work on its name, containers that are being made with it, and those for whom something
//! is mounted.
//!
//! What is mounted is the kernel's to say, and who is alive the containers': after a daemon's death both are read again
//! ([`Engine::adopt_mounts`], [`Engine::sweep_mounts`]).

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::local::{self, Mount};
use crate::blocking::lasting;
use crate::container::Container;
use crate::container::mounts::{Kind, MountPoint};
use crate::engine::Inner;
use crate::{Engine, Error};

/// In memory: all of it is found again.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// One verb at a time works on a name.
    names: Locks,
    /// One at a time reads all of its content.
    contents: Locks,
    /// One at a time fills it from an image: the next one finds it filled, and not half so.
    fills: Locks,
    /// Containers under way that are to have it.
    held: Mutex<BTreeMap<String, usize>>,
    /// For whom it is mounted (containers' ids, and operations' own), and where.
    mounted: Mutex<BTreeMap<String, BTreeMap<String, PathBuf>>>,
}

type Locks = Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>;

/// The right to work on a volume's name.
pub(super) type Name = tokio::sync::OwnedMutexGuard<()>;
/// The right to fill a volume from an image.
pub(super) type Fill = tokio::sync::OwnedMutexGuard<()>;
/// The right to read a volume's content as a whole.
pub(super) type Content = tokio::sync::OwnedMutexGuard<()>;

/// How long a container's start waits for somebody who reads a volume as a whole.
const PATIENCE: Duration = Duration::from_secs(30);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock can panic")
}

/// The lock of a name. Those nobody has are forgotten.
fn of(locks: &Locks, name: &str) -> Arc<tokio::sync::Mutex<()>> {
    let mut locks = lock(locks);
    locks.retain(|_, held| Arc::strong_count(held) > 1);
    locks.entry(name.to_owned()).or_default().clone()
}

fn is_read(name: &str) -> Error {
    Error::Conflict(format!("volume {name} is being copied or exported: try again when that is done"))
}

impl Uses {
    pub(super) async fn name(&self, name: &str) -> Name {
        of(&self.names, name).lock_owned().await
    }

    /// Its content, for one who reads all of it.
    pub(super) fn content_now(&self, name: &str) -> Result<Content, Error> {
        of(&self.contents, name).try_lock_owned().map_err(|_| is_read(name))
    }

    /// The right to fill it. Blocking.
    pub(super) fn fill(&self, name: &str) -> Fill {
        of(&self.fills, name).blocking_lock_owned()
    }

    /// Waits until nobody reads a volume as a whole.
    async fn wait_for_content(&self, name: &str) -> Result<(), Error> {
        let free = of(&self.contents, name).lock_owned();
        tokio::time::timeout(PATIENCE, free).await.map(drop).map_err(|_| is_read(name))
    }

    /// Two names at once, whatever their order.
    pub(super) async fn names(&self, one: &str, other: &str) -> (Name, Name) {
        let first = self.name(one.min(other)).await;
        (first, self.name(one.max(other)).await)
    }

    /// Whether it is being made part of a container.
    pub(super) fn is_held(&self, name: &str) -> bool {
        lock(&self.held).contains_key(name)
    }

    /// Whether something is mounted for somebody.
    pub(super) fn is_mounted(&self, name: &str) -> bool {
        lock(&self.mounted).contains_key(name)
    }

    fn add(&self, name: &str, who: &str, path: PathBuf) {
        lock(&self.mounted).entry(name.to_owned()).or_default().insert(who.to_owned(), path);
    }

    /// Where it is mounted for `who` already.
    fn place(&self, name: &str, who: &str) -> Option<PathBuf> {
        lock(&self.mounted).get(name)?.get(who).cloned()
    }

    /// Whether `who` was there, and whether nobody is left.
    fn remove(&self, name: &str, who: &str) -> (bool, bool) {
        let mut mounted = lock(&self.mounted);
        let Some(all) = mounted.get_mut(name) else { return (false, true) };
        let was = all.remove(who).is_some();
        let empty = all.is_empty();
        if empty {
            mounted.remove(name);
        }
        (was, empty)
    }
}

/// A volume that is not removed meanwhile: its container is not listed yet.
#[derive(Debug)]
pub(crate) struct Hold {
    inner: Arc<Inner>,
    name: String,
}

impl Hold {
    pub(super) fn of(inner: &Arc<Inner>, name: &str) -> Self {
        *lock(&inner.volumes.uses.held).entry(name.to_owned()).or_default() += 1;
        Self { inner: inner.clone(), name: name.to_owned() }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = lock(&self.inner.volumes.uses.held);
        if let Some(count) = held.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.name);
            }
        }
    }
}

/// A volume that is mounted for one operation.
#[derive(Debug)]
pub(crate) struct Mounted {
    engine: Engine,
    name: String,
    who: String,
    /// Where its files are.
    pub(crate) path: PathBuf,
    runtime: tokio::runtime::Handle,
    released: bool,
}

impl Mounted {
    /// Ends the use.
    pub(crate) async fn release(mut self) -> Result<(), Error> {
        self.released = true;
        self.engine.unmount_volume(&self.name, &self.who).await
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        let (engine, name, who) = (self.engine.clone(), self.name.clone(), self.who.clone());
        self.runtime.spawn(async move {
            if let Err(error) = engine.unmount_volume(&name, &who).await {
                tracing::warn!(volume = name, "cannot unmount it: {}", error.message());
            }
        });
    }
}

impl Engine {
    /// Makes a volume's files available to `who`, and says where they are.
    pub(crate) async fn mount_volume(&self, name: &str, who: &str) -> Result<PathBuf, Error> {
        let volumes = &self.inner.volumes;
        let _name = volumes.uses.name(name).await;
        self.mount_named(name, who).await
    }

    /// For the holder of the name.
    pub(super) async fn mount_named(&self, name: &str, who: &str) -> Result<PathBuf, Error> {
        let volumes = &self.inner.volumes;
        let meta = volumes.get(name).ok_or_else(|| Error::NoSuchVolume(name.to_owned()))?;
        let data = volumes.data(name)?;
        if meta.is_plain() {
            return Ok(data);
        }
        if let Some(path) = volumes.uses.place(name, who) {
            return Ok(path);
        }
        let mounted = if meta.is_local() {
            let at = data.clone();
            let wanted = Mount::of(&meta.options).await;
            match wanted {
                // A server that does not answer keeps this waiting for minutes.
                Ok(mount) => lasting(move || mount.mount(&at)).await.map(|()| data.clone()),
                Err(error) => Err(error),
            }
        } else {
            let plugin = volumes.plugins.find(&meta.driver).await;
            match plugin {
                Ok(plugin) => plugin.mount(name, who).await,
                Err(error) => Err(error),
            }
        };
        let path = mounted.map_err(|error| {
            let source = if meta.is_local() { data.display().to_string() } else { String::new() };
            Error::within(format!("error while mounting volume '{source}'"), error)
        })?;
        volumes.uses.add(name, who, path.clone());
        Ok(path)
    }

    /// Ends `who`'s use of a volume; what is mounted goes with the last one.
    pub(crate) async fn unmount_volume(&self, name: &str, who: &str) -> Result<(), Error> {
        let _name = self.inner.volumes.uses.name(name).await;
        self.unmount_named(name, who).await
    }

    /// For the holder of the name.
    pub(super) async fn unmount_named(&self, name: &str, who: &str) -> Result<(), Error> {
        let volumes = &self.inner.volumes;
        let (was, last) = volumes.uses.remove(name, who);
        let Some(meta) = volumes.get(name).filter(|_| was) else { return Ok(()) };
        let unmounted = if !meta.is_local() {
            match volumes.plugins.find(&meta.driver).await {
                Ok(plugin) => plugin.unmount(name, who).await,
                Err(error) => Err(error),
            }
        } else if last {
            let data = volumes.data(name)?;
            lasting(move || local::unmount(&data)).await
        } else {
            return Ok(());
        };
        unmounted.map_err(|error| Error::within(format!("error unmounting volume {name}"), error))
    }

    /// [`mount_volume`](Self::mount_volume) for an operation.
    pub(crate) async fn use_volume(&self, name: &str, what: &str) -> Result<Mounted, Error> {
        let _name = self.inner.volumes.uses.name(name).await;
        self.use_named(name, what).await
    }

    /// For the holder of the name.
    pub(super) async fn use_named(&self, name: &str, what: &str) -> Result<Mounted, Error> {
        let who = format!("{what}-{}", spec::digest::hex(&sys::random::bytes::<16>()));
        let path = self.mount_named(name, &who).await?;
        let runtime = tokio::runtime::Handle::current();
        Ok(Mounted { engine: self.clone(), name: name.to_owned(), who, path, runtime, released: false })
    }

    /// Mounts the volumes of a container that starts, and says where they are. An error leaves those before mounted: the
    /// caller unmounts what is no longer used.
    pub(crate) async fn mount_volumes(&self, mounts: &mut [MountPoint], who: &str) -> Result<(), Error> {
        for mount in mounts.iter_mut().filter(|m| m.kind == Kind::Volume) {
            self.inner.volumes.uses.wait_for_content(&mount.name).await?;
            mount.source = self.mount_volume(&mount.name, who).await?.display().to_string();
        }
        Ok(())
    }

    /// Ends a container's use of its volumes. Every one is tried.
    pub(crate) async fn unmount_volumes(&self, mounts: &[MountPoint], who: &str) -> Vec<Error> {
        let mut failed = Vec::new();
        for mount in mounts.iter().filter(|m| m.kind == Kind::Volume) {
            failed.extend(self.unmount_volume(&mount.name, who).await.err());
        }
        failed
    }

    /// What a container that was alive has mounted since before this daemon's start.
    pub(crate) fn adopt_mounts(&self, container: &Container) {
        let record = container.view().record.clone();
        for mount in record.mounts.iter().filter(|m| m.kind == Kind::Volume) {
            if self.inner.volumes.get(&mount.name).is_some_and(|meta| !meta.is_plain()) {
                let path = PathBuf::from(&mount.source);
                self.inner.volumes.uses.add(&mount.name, container.id.as_str(), path);
            }
        }
    }

    /// Unmounts what a daemon that died had mounted for nobody who is left.
    pub(crate) async fn sweep_mounts(&self) {
        let volumes = &self.inner.volumes;
        for (name, meta) in volumes.all() {
            if meta.is_plain() || !meta.is_local() || volumes.uses.is_mounted(&name) {
                continue;
            }
            let Ok(data) = volumes.data(&name) else { continue };
            if let Err(error) = lasting(move || local::unmount(&data)).await {
                tracing::warn!(volume = name, "cannot unmount it: {}", error.message());
            }
        }
    }
}
