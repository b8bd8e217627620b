//! A container's files, opened for one operation.

use std::sync::Arc;

use sys::root::Root;
use sys::tree::{Bind, Layers, Tree};
use tokio::sync::{OwnedMutexGuard, OwnedRwLockReadGuard};

use crate::blocking::lasting;
use crate::container::mounts::{Kind, MountPoint};
use crate::container::userns::Ids;
use crate::container::{Container, ended_meanwhile, files};
use crate::engine::Inner;
use crate::volume::Mounted;
use crate::{Engine, Error};

/// The tree of a container: of a running one as its processes see it, of another one mounted for the operation, with its
/// volumes and binds.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) container: Arc<Container>,
    /// As the client named it, for messages.
    pub(crate) named: String,
    tree: Tree,
    /// Of one that does not run: what had to be mounted to be seen.
    _volumes: Vec<Mounted>,
    /// Two mounts of one writable layer would not see each other's changes: a container that does not run stays so until
    /// the operation is over.
    still: Option<OwnedMutexGuard<()>>,
    /// One that runs may end and be started, but only when the operation is over.
    _layer: Option<OwnedRwLockReadGuard<()>>,
}

impl Opened {
    pub(crate) fn root(&self) -> &Root {
        self.tree.root()
    }

    /// The container's ids on the host, if its files are seen with these: those of one that does not run are seen as they
    /// are on disk.
    pub(crate) fn ids(&self) -> Option<Ids> {
        if self.is_still() { None } else { self.container.view().record.ids.clone() }
    }

    /// Whether the container does not run, and will not before this is dropped.
    pub(crate) fn is_still(&self) -> bool {
        self.still.is_some()
    }
}

/// What a tree is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Reading,
    Writing,
}

impl Engine {
    pub(crate) async fn open_tree(&self, named: &str, purpose: Purpose) -> Result<Opened, Error> {
        let container = self.inner.containers.find(named)?;
        let opened = |tree, volumes, still, layer| Opened {
            container: container.clone(),
            named: named.to_owned(),
            tree,
            _volumes: volumes,
            still,
            _layer: layer,
        };
        if container.view().state.is_alive() {
            let layer = container.layer.clone().read_owned().await;
            let (inner, running) = (self.inner.clone(), container.clone());
            if let Some(tree) = lasting(move || inner.running_tree(&running)).await? {
                return Ok(opened(tree, Vec::new(), None, Some(layer)));
            }
            // Let go: who has the verbs may be waiting for it.
        }
        let still = container.verbs.clone().lock_owned().await;
        let (inner, found) = (self.inner.clone(), container.clone());
        let (volumes, mounts) = self.mounted_volumes(&container).await?;
        // It may have been started while this waited.
        let (tree, runs) = lasting(move || -> Result<_, Error> {
            if let Some(tree) = inner.running_tree(&found)? {
                return Ok((tree, true));
            }
            Ok((inner.mounted_tree(&found, &mounts, purpose)?, false))
        })
        .await?;
        if !runs {
            return Ok(opened(tree, volumes, Some(still), None));
        }
        let layer = container.layer.clone().read_owned().await;
        Ok(opened(tree, Vec::new(), None, Some(layer)))
    }

    /// The mounts of a container that does not run, with its volumes mounted where they have to be.
    async fn mounted_volumes(&self, container: &Container) -> Result<(Vec<Mounted>, Vec<MountPoint>), Error> {
        let view = container.view();
        let (mut volumes, mut mounts) = (Vec::new(), view.record.mounts.clone());
        if view.state.is_alive() || view.gone {
            return Ok((volumes, mounts));
        }
        for mount in mounts.iter_mut().filter(|m| m.kind == Kind::Volume && m.host_directory) {
            let volume = self.use_volume(&mount.name, "archive").await?;
            mount.source = volume.path.display().to_string();
            volumes.push(volume);
        }
        Ok((volumes, mounts))
    }
}

impl Inner {
    /// `None` when it does not run: init may have ended a moment ago, before or after the daemon was told.
    fn running_tree(&self, container: &Container) -> Result<Option<Tree>, Error> {
        let view = container.view();
        let Some(pid) = view.state.init() else { return Ok(None) };
        let cgroup = crate::container::cgroup::directory(&view.record, &self.config);
        match Tree::of_process(pid, || crate::container::leftovers::pids(&cgroup).contains(&pid)) {
            Ok(tree) => Ok(Some(tree)),
            Err(e) if ended_meanwhile(&e) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn mounted_tree(
        &self,
        container: &Container,
        mounts: &[MountPoint],
        purpose: Purpose,
    ) -> Result<Tree, Error> {
        let view = container.view();
        if view.gone {
            return Err(Error::NoSuchContainer(container.id.to_string()));
        }
        let rw = self.store.rw_mount(container.id.as_str())?;
        let mut binds = Vec::new();
        for file in files::MANAGED {
            let (source, target) = (container.places.run.join(file), format!("/etc/{file}"));
            let taken = view.record.mounts.iter().any(|m| m.destination == target);
            // They are made at the first start.
            if !taken && source.exists() {
                let read_only = view.record.host.readonly_rootfs;
                binds.push(Bind { source, target: target.into(), read_only, recursive: false });
            }
        }
        // What is in a tmpfs is gone when the container ends; images are seen while it runs.
        for mount in mounts.iter().filter(|m| !matches!(m.kind, Kind::Tmpfs | Kind::Image)) {
            binds.push(Bind {
                source: mount.source.clone().into(),
                target: mount.destination.clone().into(),
                read_only: !mount.writable,
                recursive: !mount.non_recursive,
            });
        }
        // As when it runs.
        binds.sort_by_key(|bind| bind.target.components().count());
        let store::RwMount { lower, upper, work, volatile } = &rw;
        let layers = |read_only| Layers { lower, upper, work, volatile: *volatile, read_only };
        if purpose == Purpose::Reading {
            match Tree::mount(layers(true), &binds) {
                // The place for a bind has to be made: the container has never run.
                Err(e) if e.errno() == EROFS => {}
                mounted => return Ok(mounted?),
            }
        }
        Ok(Tree::mount(layers(false), &binds)?)
    }
}

/// Read-only file system (errno(3)).
const EROFS: i32 = 30;
