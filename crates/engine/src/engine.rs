//! The engine: holds the services and the containers. Its verbs are in `container/`, `image/`, `network`, `volume`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock, RwLock};

use spec::oci::runtime::CgroupDriver;

pub use crate::container::attach::{AttachOptions, Attached};
pub use crate::container::{ListOptions, LogOptions, RemoveOptions, WaitCondition, Waiter};

use crate::Error;
use crate::blocking::lasting;
use crate::calm::Calm;
use crate::container::exec::Execs;
use crate::container::places;
use crate::container::recover::{Answers, find_all};
use crate::container::selinux::Policy;
use crate::container::shims::Shims;
use crate::container::table::Table;
use crate::container::userns::Userns;
use crate::events::Bus;
use crate::settings::Settings;
use crate::volume::Volumes;

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// State that outlives a boot (`/var/lib/corten`).
    pub data_root: PathBuf,
    /// State that does not (`/run/corten`).
    pub exec_root: PathBuf,
    /// Who makes the containers' cgroups.
    pub cgroups: CgroupDriver,
    /// Their parent: a path (`/corten`), or a slice of systemd's.
    pub cgroup_parent: String,
    /// The `corten-shim` program.
    pub shim: PathBuf,
    /// Networks.
    pub network: network::Config,
    /// Whose ids containers have that say nothing of it: empty is the host's, `auto` a range of each one's own, else an
    /// account with subordinate ids.
    pub userns_remap: String,
    /// Where `auto` takes ranges from: an account, `first:count`, or empty for ours.
    pub userns_pool: String,
    /// Containers are confined by SELinux labels, where the kernel has them.
    pub selinux: bool,
    /// What the user sets for all containers.
    pub settings: Settings,
    /// The tar (docker-archive) of the image that ships inside Corten, and its name.
    pub built_in: Option<(&'static str, &'static [u8])>,
}

/// The engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

/// The services and the tables.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) settings: RwLock<Arc<Settings>>,
    pub(crate) store: store::Store,
    pub(crate) networks: network::Networks,
    pub(crate) shims: Shims,
    pub(crate) registry: registry::client::Client,
    pub(crate) containers: Table,
    pub(crate) execs: Execs,
    pub(crate) volumes: Volumes,
    pub(crate) userns: Userns,
    pub(crate) selinux: Option<Policy>,
    pub(crate) events: Bus,
    /// One prune of each kind at a time: containers, images, volumes, networks.
    pub(crate) prunes: [tokio::sync::Mutex<()>; 4],
    pub(crate) roots: OnceLock<KeptRoots>,
    /// Held by who removes what containers have left: one tree after the other.
    pub(crate) removals: tokio::sync::Mutex<()>,
    pub(crate) calm: Calm,
    /// When the disk was last looked at, it had less space than it should.
    pub(crate) scarce: AtomicBool,
    /// Held by who makes what the next starts need.
    pub(crate) preparing: std::sync::Mutex<()>,
    /// Images have changed: there may be less space than should be.
    pub(crate) written: tokio::sync::Notify,
    /// Health probes so far, and those of them that failed.
    pub(crate) probes: AtomicU64,
    pub(crate) failed_probes: AtomicU64,
}

/// Where plugins are looked for: Docker's places, and our own.
fn plugins(config: &Config) -> Vec<PathBuf> {
    let docker = ["/run/docker/plugins", "/etc/docker/plugins", "/usr/lib/docker/plugins"];
    std::iter::once(config.exec_root.join("plugins")).chain(docker.map(PathBuf::from)).collect()
}

/// [`Roots`] with a face for `Debug`.
pub(crate) struct KeptRoots(pub(crate) Box<Roots>);

impl std::fmt::Debug for KeptRoots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Roots")
    }
}

/// What else the collector must keep (the build cache's layers and blobs), asked at each collection. `None`: it cannot
/// be said now, and nothing is collected.
pub type Roots = dyn Fn() -> Option<(Vec<store::ChainId>, Vec<spec::Digest>)> + Send + Sync;

/// Which of [`Inner::prunes`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Prune {
    Containers,
    Images,
    Volumes,
    Networks,
}

/// Makes layers again that a power cut may have damaged. What fails is made when it is used.
fn repair(store: &store::Store) {
    match store.repair() {
        Ok(repaired) if repaired == store::Repaired::default() => {}
        Ok(store::Repaired { again, removed, doubtful }) => {
            tracing::info!(
                again,
                removed,
                "the machine was restarted: layers that may not have been on the disk were made again"
            );
            for layer in doubtful {
                tracing::warn!(%layer, "a layer may be damaged by the restart, and its blob is not here: pull its image again");
            }
        }
        Err(error) => {
            tracing::warn!(
                error = Error::from(error).message(),
                "layers that the machine's restart may have damaged are not all made again"
            );
        }
    }
}

impl Engine {
    /// Opens the data root, adopts the containers whose shims live, records the ends of the others.
    ///
    /// # Errors
    /// The data root, the network or the shim program cannot be used.
    pub async fn open(config: Config) -> Result<Self, Error> {
        let (inner, found) = lasting(move || -> Result<_, Error> {
            let userns = Userns::open(&config.userns_remap, &config.userns_pool)?;
            let (disk, run) = (places::disk_root(&config), places::run_root(&config));
            for dir in [&config.data_root, &config.exec_root, &disk, &run] {
                sys::file::create_dir_all(dir, 0o700)?;
            }
            // Made here, it stays when it is empty: the next container's start needs not make it. Where it cannot be made
            // the first container says why.
            if config.cgroups == CgroupDriver::Cgroupfs {
                let _ = sys::cgroup::Cgroup::create_parent(&config.cgroup_parent);
            }
            let store = store::Store::open(&config.data_root)?;
            // Before all the rest: somebody may wait for a name since the last daemon's end.
            let answers = Answers::ask(&config)?;
            let networks = network::Networks::open(config.network.clone(), &answers.alive())?;
            repair(&store);
            let volumes = Volumes::open(&config.data_root.join("volumes"), plugins(&config))?;
            let program = Arc::new(shim::client::Program::seal(&config.shim)?);
            let shims = Shims::new(program, config.exec_root.join("shim"));
            let found = find_all(&config, &store, answers)?;
            for obstacle in networks.obstacles(None) {
                tracing::warn!("{obstacle}");
            }
            let inner = Inner {
                store,
                networks,
                shims,
                registry: registry::client::Client::new(config.settings.registry.clone()),
                containers: Table::default(),
                execs: Execs::default(),
                volumes,
                userns,
                selinux: Policy::open(config.selinux),
                events: Bus::new(),
                prunes: Default::default(),
                roots: OnceLock::new(),
                removals: tokio::sync::Mutex::default(),
                calm: Calm::default(),
                scarce: AtomicBool::new(false),
                preparing: std::sync::Mutex::default(),
                written: tokio::sync::Notify::new(),
                probes: AtomicU64::new(0),
                failed_probes: AtomicU64::new(0),
                settings: RwLock::new(Arc::new(config.settings.clone())),
                config,
            };
            Ok((inner, found))
        })
        .await?;
        let engine = Self { inner: Arc::new(inner) };
        engine.adopt(found).await;
        Ok(engine)
    }

    // ---- services, for the builder's wiring in the daemon
    /// Images and layers.
    pub fn store(&self) -> &store::Store {
        &self.inner.store
    }
    /// Networks.
    pub fn networks(&self) -> &network::Networks {
        &self.inner.networks
    }
    /// The sealed shim.
    pub fn shim(&self) -> &Arc<shim::client::Program> {
        self.inner.shims.program()
    }
    /// The registry client.
    pub fn registry(&self) -> &registry::client::Client {
        &self.inner.registry
    }
    /// As opened; the [`settings`](Self::settings) may have changed since.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Says what else the collector must keep when an image is removed. Once, by the daemon, which knows the build cache.
    pub fn keep(&self, roots: Box<Roots>) {
        // A second call has nothing new to say.
        let _ = self.inner.roots.set(KeptRoots(roots));
    }

    /// The right to prune one kind of object; 409 while another prune of it runs.
    pub(crate) fn prune_lock(&self, kind: Prune) -> Result<tokio::sync::MutexGuard<'_, ()>, Error> {
        self.inner.prunes[kind as usize]
            .try_lock()
            .map_err(|_| Error::Conflict("a prune operation is already running".into()))
    }
}
