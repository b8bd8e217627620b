//! Create: everything is checked first, then made with an undo, then recorded. The container can be found only when it
//! is whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use spec::api::{
    ContainerCreateRequest, ContainerCreateResponse, EndpointSettings, NetworkingConfig, Platform,
};
use spec::{ErrorKind, Id, Reference};
use store::{Image, RwMount, RwOptions};
use sys::root::{Follow, Root};

use super::mounts::{Kind, MountPoint};
use super::places::Places;
use super::record::{Attachment, NetworkMode, Record, VERSION};
use super::secrets::{self, Secret};
use super::state::State;
use super::table::Reservation;
use super::{
    Container, cgroup, check, config, copyup, files, mounts, persist, ports, propagation, rename, selinux,
};
use crate::blocking::{blocking, lasting, to_the_end};
use crate::volume::{self, ANONYMOUS, Hold, Wish};
use crate::{Engine, Error, names, time};

/// How often a generated name may be taken already.
const NAME_TRIES: u32 = 6;

/// Volumes that a create has made or met.
#[derive(Debug, Default)]
pub(crate) struct MadeVolumes {
    anonymous: Vec<String>,
    /// They are not removed before the container is listed.
    holds: Vec<Hold>,
}

impl MadeVolumes {
    /// The anonymous ones, which nobody knows of if what they were made for has failed; they can be removed now.
    pub(crate) fn let_go(self) -> Vec<String> {
        drop(self.holds);
        self.anonymous
    }
}

impl Engine {
    /// `POST /containers/create`. An image that is not here is 404 `No such image`: the client then pulls it.
    pub async fn create(
        &self,
        name: Option<&str>,
        platform: Option<&str>,
        request: ContainerCreateRequest,
    ) -> Result<ContainerCreateResponse, Error> {
        let (engine, name, platform) = (self.clone(), name.map(str::to_owned), platform.map(str::to_owned));
        self.inner.calm.disturb();
        to_the_end(async move { engine.create_now(name.as_deref(), platform.as_deref(), request).await })
            .await
    }

    async fn create_now(
        &self,
        name: Option<&str>,
        platform: Option<&str>,
        request: ContainerCreateRequest,
    ) -> Result<ContainerCreateResponse, Error> {
        let ContainerCreateRequest { mut config, mut host_config, networking_config, secrets } = request;
        if config.image.is_empty() {
            return Err(Error::Invalid("no image was specified".into()));
        }
        let name = name.map(|n| n.strip_prefix('/').unwrap_or(n)).filter(|n| !n.is_empty());
        if let Some(name) = name {
            rename::check(name)?;
        }
        let platform = read_platform(platform)?;
        let (image, mut warnings) = self.image_for(&config.image, platform).await?;
        check::modes(&config, &host_config)?;
        config::merge(&mut config, &image.config.config)?;
        let settings = self.settings();
        settings.fill(&mut host_config);
        warnings.extend(check::request(&config, &host_config)?);
        settings.runtime(host_config.runtime.as_deref().unwrap_or_default())?;
        cgroup::check_parent(&host_config.resources.cgroup_parent, &self.inner.config)?;
        warnings.extend(self.adapt(&mut host_config.resources).await?);
        ports::requests(&config, &host_config, settings.publish_on(&host_config))?;
        for extra in &host_config.extra_hosts {
            files::extra_host(extra, Some(std::net::Ipv4Addr::LOCALHOST.into()))?;
        }
        for rule in &host_config.resources.device_cgroup_rules {
            super::oci::device_cgroup_rule(rule)?;
        }
        self.check_devices(&host_config)?;
        let secrets = secrets::read(secrets)?;
        let networks = self.wanted_networks(&mut host_config.network_mode, networking_config)?;
        self.resolve_links(&mut host_config)?;
        if let Some(other) = host_config.pid_mode.strip_prefix("container:") {
            let target = self.joined(other, "failed to join PID namespace")?;
            host_config.pid_mode = format!("container:{}", target.id);
        }
        if let Some(other) = host_config.ipc_mode.strip_prefix("container:") {
            let target = self.joined(other, "failed to join IPC namespace")?;
            let theirs = target.view().record.host.ipc_mode.clone();
            if !matches!(theirs.as_str(), "shareable" | "host") && !theirs.starts_with("container:") {
                return Err(Error::Invalid(format!(
                    "container {other}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
                )));
            }
            host_config.ipc_mode = format!("container:{}", target.id);
        }
        let modes = [&host_config.network_mode, &host_config.ipc_mode, &host_config.pid_mode];
        let joined = modes.iter().filter_map(|mode| mode.strip_prefix("container:"));
        let joined = joined.map(|id| self.inner.containers.find(id)).collect::<Result<Vec<_>, _>>()?;
        let (ids, _held) = self.settle_ids(&host_config, &joined)?;
        let labels = self.settle_labels(&host_config)?;
        let inherited = self.inherited_mounts(&host_config.volumes_from)?;
        let mut mounts = mounts::wanted(&config, &host_config, inherited)?;
        for mount in mounts.iter_mut().filter(|m| m.kind == Kind::Bind) {
            propagation::guard(mount, &self.inner.config.data_root)?;
            bind_source(mount)?;
        }
        let mut images = vec![image];
        let id = Id::from_bytes(sys::random::bytes());
        for mount in mounts.iter_mut().filter(|m| m.kind == Kind::Image) {
            // One of --volumes-from is the very image that the other container has.
            let wanted = if mount.source.is_empty() { &mount.name } else { &mount.source };
            let (image, more) = self.image_for(wanted, None).await?;
            warnings.extend(more);
            mount.source = image.target.digest.to_string();
            mount.layer = format!("{id}.{}", images.len());
            images.push(image);
        }
        let image = &images[0];

        let (reservation, name) = self.reserve(name, &id)?;
        if config.hostname.is_empty()
            && host_config.uts_mode != "host"
            && matches!(
                super::record::network_mode(&host_config.network_mode),
                NetworkMode::Networks | NetworkMode::None
            )
        {
            id.short().clone_into(&mut config.hostname);
        }
        config.stop_signal.take_if(|s| s.is_empty());
        let record = Record {
            version: VERSION,
            id: id.clone(),
            name,
            created_at: time::now(),
            image: image.target.digest,
            manifest: image.manifest_descriptor.clone(),
            config,
            host: host_config,
            mounts,
            networks,
            secrets: secrets.iter().map(|(secret, _)| secret.clone()).collect(),
            ids,
            labels,
        };
        let (container, _volumes_held) = self.make_container(record, images, secrets).await?;
        reservation.keep(container.clone());
        self.publish(container.event("create", &[]));
        Ok(ContainerCreateResponse { id: id.to_string(), warnings })
    }

    /// Directory, writable layer, volumes, record: all of them or nothing. `images`: its own, then those it has mounted.
    async fn make_container(
        &self,
        mut record: Record,
        images: Vec<Image>,
        secrets: Vec<(Secret, Vec<u8>)>,
    ) -> Result<(Arc<Container>, Vec<Hold>), Error> {
        let places = Places::of(&self.inner.config, &record);
        let mut made = MadeVolumes::default();
        let layers = record.layers();
        let result = async {
            for mount in record.mounts.iter_mut().filter(|m| m.kind == Kind::Volume) {
                self.make_volume_of(mount, &mut made).await?;
            }
            let (engine, dir, in_memory) = (self.clone(), places.records.clone(), places.is_transient());
            let (record, elsewhere) = lasting(move || -> Result<_, Error> {
                if in_memory {
                    sys::file::create_dir_all(&dir, 0o700)?;
                } else {
                    engine.inner.store.create_directory(&dir)?;
                }
                secrets::write(&dir, &secrets)?;
                let elsewhere = engine.fill_container(&record, &images)?;
                // The record goes last: a container is what has a config.json.
                if elsewhere.is_empty() {
                    persist::save_record(&dir, &record)?;
                }
                Ok((record, elsewhere))
            })
            .await?;
            let record = if elsewhere.is_empty() {
                record
            } else {
                for at in elsewhere {
                    self.populate(&record.id, &record.mounts[at], |rw| Ok(Some(copyup::tree(rw)?))).await?;
                }
                let dir = places.records.clone();
                lasting(move || persist::save_record(&dir, &record).map(|()| record)).await?
            };
            Ok(Container::new(places.clone(), record, State::default(), Attachment::default()))
        }
        .await;
        let error = match result {
            Ok(container) => return Ok((container, made.holds)),
            Err(error) => error,
        };
        let inner = self.inner.clone();
        let mut undone = blocking(move || -> Vec<Error> {
            let removed = sys::file::remove_tree(&places.records).err().map(Error::from);
            let rw = layers.iter().filter_map(|layer| inner.store.rw_remove(layer).err()).map(Error::from);
            removed.into_iter().chain(rw).collect()
        })
        .await;
        for name in made.let_go() {
            undone.extend(self.volume_remove(&name, true).await.err());
        }
        Err(Error::first(error, undone))
    }

    /// Makes a mount's volume if it is not there, names it if it is anonymous, and notes where it is.
    pub(crate) async fn make_volume_of(
        &self,
        mount: &mut MountPoint,
        made: &mut MadeVolumes,
    ) -> Result<(), Error> {
        let mut labels = std::mem::take(&mut mount.labels);
        if mount.name.is_empty() {
            mount.name = volume::random_name();
            labels.insert(ANONYMOUS.into(), String::new());
            made.anonymous.push(mount.name.clone());
            if mount.driver.is_empty() {
                // Nobody can have it.
                volume::LOCAL.clone_into(&mut mount.driver);
            }
        }
        let options = std::mem::take(&mut mount.driver_options);
        let driver = std::mem::take(&mut mount.driver);
        let wish = Wish { name: mount.name.clone(), driver, labels, options };
        // From a 404 of a create the client would conclude that the image is missing.
        let (meta, hold) = self.make_volume(wish).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::Invalid(error.message()),
            _ => error,
        })?;
        made.holds.push(hold);
        let shown = self.described(&mount.name, &meta, false).await?;
        mount.source = shown.mountpoint;
        mount.host_directory = !meta.is_plain();
        mount.driver = meta.driver;
        Ok(())
    }

    /// Fills a volume, mounted for it, if it is empty, with what the image has at its place: `tree` of the writable layer.
    pub(crate) async fn populate(
        &self,
        id: &Id,
        mount: &MountPoint,
        tree: impl FnOnce(&RwMount) -> Result<Option<Root>, Error> + Send + 'static,
    ) -> Result<(), Error> {
        let within = |error| Error::within("failed to populate volume".into(), error);
        let (inner, id, destination) = (self.inner.clone(), id.clone(), mount.destination.clone());
        let tree = lasting(move || -> Result<_, Error> {
            let tree = tree(&inner.store.rw_mount(id.as_str())?)?;
            Ok(tree.filter(|tree| copyup::has_directory(tree, &destination)))
        });
        let Some(tree) = tree.await.map_err(within)? else { return Ok(()) };
        let volume = self.use_volume(&mount.name, "populate").await.map_err(within)?;
        let (inner, path) = (self.inner.clone(), volume.path.clone());
        let (name, destination) = (mount.name.clone(), mount.destination.clone());
        let filled = lasting(move || inner.volumes.fill(&name, &path, &tree, &destination)).await;
        let released = volume.release().await;
        filled.map_err(within)?;
        released
    }

    /// The writable layer, the working directory, and what empty volumes get from the image. Returns which mounts are of
    /// volumes that still have to be given that, because they have to be mounted first. Blocking.
    fn fill_container(&self, record: &Record, images: &[Image]) -> Result<Vec<usize>, Error> {
        if let Some(labels) = &record.labels {
            selinux::relabel_mounts(&record.mounts, labels)?;
        }
        let store = &self.inner.store;
        // Held until the writable layers need them: nothing may collect an image in between.
        let _lease = store.lease("create")?;
        let own = super::check::size_limit(&record.host)?;
        let layers = record.layers();
        let layer = |(name, image): (&String, &Image)| -> Result<RwMount, Error> {
            let limit = own.filter(|_| *name == layers[0]);
            // A crash of the machine ends a container, and one with `--rm` is removed then.
            let options = RwOptions { limit, volatile: record.host.auto_remove };
            Ok(store.rw_create_with(name, store.unpack_image(image)?.as_ref(), options)?)
        };
        let mut made = layers.iter().zip(images).map(layer).collect::<Result<Vec<_>, _>>()?.into_iter();
        let rw = made.next().expect("a container's own layer is the first");
        for (mount, layers) in record.mounts.iter().filter(|m| m.kind == Kind::Image).zip(made) {
            check_subpath(mount, &layers)?;
        }
        let working_dir = mounts::clean(&record.config.working_dir);
        let mounts = record.mounts.iter().enumerate();
        let mut volumes: Vec<(usize, &MountPoint)> = mounts.filter(|(_, m)| m.is_filled()).collect();
        if working_dir == "/" && volumes.is_empty() {
            return Ok(Vec::new());
        }
        let tree = copyup::tree(&rw)?;
        volumes.retain(|(_, volume)| copyup::has_directory(&tree, &volume.destination));
        let (elsewhere, here): (Vec<_>, Vec<_>) = volumes.into_iter().partition(|(_, m)| m.host_directory);
        for (_, volume) in here {
            let data = Path::new(&volume.source);
            self.inner.volumes.fill(&volume.name, data, &tree, &volume.destination)?;
        }
        if working_dir != "/" {
            copyup::make_working_dir(&tree, &working_dir)?;
        }
        Ok(elsewhere.into_iter().map(|(at, _)| at).collect())
    }

    fn reserve(&self, name: Option<&str>, id: &Id) -> Result<(Reservation<'_>, String), Error> {
        let table = &self.inner.containers;
        if let Some(name) = name {
            return Ok((table.reserve(name, id)?, name.to_owned()));
        }
        for attempt in 0..NAME_TRIES {
            let name = names::generate(sys::random::bytes(), attempt);
            if let Ok(reservation) = table.reserve(&name, id) {
                return Ok((reservation, name));
            }
        }
        Ok((table.reserve(id.short(), id)?, id.short().to_owned()))
    }

    /// The image of a create: here, or built in.
    pub(crate) async fn image_for(
        &self,
        name: &str,
        platform: Option<Platform>,
    ) -> Result<(Image, Vec<String>), Error> {
        let target = match self.inner.store.resolve(name) {
            Err(store::Error::NotFound(_)) => {
                if !self.load_built_in(name).await? {
                    return Err(Error::NoSuchImage(shown(name)));
                }
                self.inner.store.resolve(name)?
            }
            found => found?,
        };
        let (inner, wanted) = (self.inner.clone(), platform.clone().unwrap_or_else(Platform::host));
        let image = match blocking(move || inner.store.image(&target, &wanted)).await {
            Err(store::Error::NoPlatform(wanted)) => {
                return Err(Error::NotFound(format!(
                    "No such image: {}: it is here, but not for the platform {wanted}",
                    shown(name)
                )));
            }
            image => image?,
        };
        let theirs = Platform {
            os: image.config.os.clone(),
            architecture: image.config.architecture.clone(),
            variant: image.config.variant.clone(),
            ..Platform::default()
        };
        match platform {
            Some(wanted) if !wanted.matches(&theirs) => Err(Error::NotFound(format!(
                "image with reference {} was found but its platform ({theirs}) does not match the specified platform ({wanted})",
                shown(name)
            ))),
            None if !Platform::host().matches(&theirs) => {
                let warning = format!(
                    "The requested image's platform ({theirs}) does not match the detected host platform ({}) and no specific platform was requested",
                    Platform::host()
                );
                Ok((image, vec![warning]))
            }
            _ => Ok((image, Vec::new())),
        }
    }

    /// Reads the network mode and the endpoints: names are looked up, and `mode` becomes what inspect shows.
    fn wanted_networks(
        &self,
        mode: &mut String,
        networking: NetworkingConfig,
    ) -> Result<BTreeMap<String, EndpointSettings>, Error> {
        if matches!(mode.as_str(), "" | "default") {
            "bridge".clone_into(mode);
        }
        let mut endpoints = networking.endpoints_config;
        match super::record::network_mode(mode) {
            NetworkMode::Host | NetworkMode::None => {
                let own = mode.clone();
                if endpoints.keys().any(|name| *name != own && name != "default") {
                    return Err(Error::Invalid(format!(
                        "conflicting options: cannot attach both user-defined and non-user-defined network-modes ({own})"
                    )));
                }
                Ok(BTreeMap::new())
            }
            NetworkMode::Container(other) => {
                let target = self.joined(&other, "joining network namespace of container")?;
                *mode = format!("container:{}", target.id);
                Ok(BTreeMap::new())
            }
            NetworkMode::Networks => {
                if let Some(settings) = endpoints.remove("default") {
                    endpoints.entry("bridge".into()).or_insert(settings);
                }
                endpoints.entry(mode.clone()).or_default();
                let mut wanted = BTreeMap::new();
                for (name, settings) in endpoints {
                    // From a 404 the client would conclude that the image is missing.
                    let network = self.inner.networks.find(&name);
                    let network = network.map_err(|error| Error::Invalid(error.to_string()))?;
                    crate::network::check_endpoint(&network, &settings)?;
                    wanted.insert(network.name, crate::network::intent(&settings));
                }
                Ok(wanted)
            }
        }
    }

    /// A container whose namespace is to be joined. That there is none is the request's fault: from a 404 the client
    /// would conclude that the image is missing.
    fn joined(&self, name: &str, why: &str) -> Result<Arc<Container>, Error> {
        self.inner.containers.find(name).map_err(|error| Error::Invalid(format!("{why}: {error}")))
    }

    /// What the containers of `--volumes-from` have mounted.
    fn inherited_mounts(&self, from: &[String]) -> Result<Vec<MountPoint>, Error> {
        let mut inherited = Vec::new();
        for text in from {
            let (name, write) = mounts::volumes_from(text)?;
            // From a 404 the client would conclude that the image is missing; Docker says so, too.
            let container = self.inner.containers.find(name).map_err(|e| Error::Invalid(e.to_string()))?;
            let view = container.view();
            for mount in view.record.mounts.iter().filter(|m| m.kind != Kind::Tmpfs) {
                // It is the other container's: it is not filled, and not removed with this one.
                inherited.push(MountPoint {
                    writable: mount.writable && write,
                    copy: false,
                    anonymous: false,
                    layer: String::new(),
                    ..mount.clone()
                });
            }
        }
        Ok(inherited)
    }
}

/// The source of a bind mount must be there; `-v` makes a missing one.
pub(crate) fn bind_source(mount: &MountPoint) -> Result<(), Error> {
    let path = Path::new(&mount.source);
    match path.symlink_metadata() {
        Ok(_) => Ok(()),
        Err(_) if mount.create_source => Ok(sys::file::create_dir_all(path, 0o755)?),
        Err(_) => Err(Error::Invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            mount.source
        ))),
    }
}

/// What of an image is to be mounted must be in it.
pub(crate) fn check_subpath(mount: &MountPoint, layers: &RwMount) -> Result<(), Error> {
    if mount.subpath.is_empty() {
        return Ok(());
    }
    match copyup::tree(layers)?.metadata(&mount.subpath, Follow::Yes) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::Invalid(format!(
            "invalid mount config for type \"image\": cannot find subpath {:?} in image {}: {}",
            mount.subpath,
            mount.name,
            crate::error::chain(&error)
        ))),
    }
}

fn read_platform(text: Option<&str>) -> Result<Option<Platform>, Error> {
    match text.filter(|t| !t.is_empty()) {
        None => Ok(None),
        Some(text) => match Platform::parse(text) {
            Some(platform) => Ok(Some(platform)),
            None => {
                Err(Error::Invalid(format!("{text:?} is an invalid platform: expected os/arch[/variant]")))
            }
        },
    }
}

/// An image name as Docker puts it into messages: short, with its tag.
fn shown(name: &str) -> String {
    name.parse::<Reference>().map_or_else(|_| name.to_owned(), |r| r.or_latest().familiar())
}
