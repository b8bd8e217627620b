//! Create: everything is checked first, then made with an undo, then recorded. The container can be found only when it
//! is whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use spec::api::{
    ContainerCreateRequest, ContainerCreateResponse, EndpointSettings, NetworkingConfig, Platform,
};
use spec::{Id, Reference};
use store::{Image, RwMount, RwOptions};
use sys::root::Follow;

use super::mounts::{Kind, MountPoint};
use super::record::{Attachment, NetworkMode, Record, VERSION};
use super::secrets::{self, Secret};
use super::state::State;
use super::table::Reservation;
use super::{Container, cgroup, check, config, copyup, files, mounts, persist, ports, rename, selinux};
use crate::blocking::{blocking, lasting, to_the_end};
use crate::volume::ANONYMOUS;
use crate::{Engine, Error, names, time};

/// How often a generated name may be taken already.
const NAME_TRIES: u32 = 6;

impl Engine {
    /// `POST /containers/create`. An image that is not here is 404 `No such image`: the client then pulls it.
    pub async fn create(
        &self,
        name: Option<&str>,
        platform: Option<&str>,
        request: ContainerCreateRequest,
    ) -> Result<ContainerCreateResponse, Error> {
        let (engine, name, platform) = (self.clone(), name.map(str::to_owned), platform.map(str::to_owned));
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
        for mount in mounts.iter().filter(|m| m.kind == Kind::Bind) {
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
        let container = self.make_container(record, images, secrets).await?;
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
    ) -> Result<Arc<Container>, Error> {
        let dir = self.inner.config.data_root.join("containers").join(record.id.as_str());
        let mut made_volumes = Vec::new();
        let layers = record.layers();
        let result = async {
            self.make_volumes(&mut record, &mut made_volumes).await?;
            let (engine, dir) = (self.clone(), dir.clone());
            lasting(move || {
                sys::file::create_dir_all(&dir, 0o700)?;
                secrets::write(&dir, &secrets)?;
                engine.fill_container(&record, &images)?;
                // The record goes last: a container is what has a config.json.
                persist::save_record(&dir, &record)?;
                Ok(Container::new(dir, record, State::default(), Attachment::default()))
            })
            .await
        }
        .await;
        let error = match result {
            Ok(container) => return Ok(container),
            Err(error) => error,
        };
        let (inner, dir_name) = (self.inner.clone(), dir.clone());
        let mut undone = blocking(move || -> Vec<Error> {
            let removed = sys::file::remove_tree(&dir_name).err().map(Error::from);
            let rw = layers.iter().filter_map(|layer| inner.store.rw_remove(layer).err()).map(Error::from);
            removed.into_iter().chain(rw).collect()
        })
        .await;
        for name in made_volumes {
            undone.extend(self.volume_remove(&name, true).await.err());
        }
        Err(Error::first(error, undone))
    }

    /// Names the anonymous volumes, makes those that are missing, and notes where each is.
    async fn make_volumes(&self, record: &mut Record, made: &mut Vec<String>) -> Result<(), Error> {
        for mount in record.mounts.iter_mut().filter(|m| m.kind == Kind::Volume) {
            self.make_volume_of(mount, made).await?;
        }
        Ok(())
    }

    /// Makes a mount's volume if it is not there, and notes where it is. An anonymous one goes to `made`.
    pub(crate) async fn make_volume_of(
        &self,
        mount: &mut MountPoint,
        made: &mut Vec<String>,
    ) -> Result<(), Error> {
        let mut labels = std::mem::take(&mut mount.labels);
        if mount.name.is_empty() {
            mount.name = spec::digest::hex(&sys::random::bytes::<32>());
            labels.insert(ANONYMOUS.into(), String::new());
            made.push(mount.name.clone());
        }
        let options = std::mem::take(&mut mount.driver_options);
        let meta = self.make_volume(&mount.name, labels, options).await?;
        let source = self.inner.volumes.source(&mount.name, &meta);
        mount.host_directory = source != self.inner.volumes.data(&mount.name);
        mount.source = source.display().to_string();
        Ok(())
    }

    /// The writable layer, the working directory, and what empty volumes get from the image. Blocking.
    fn fill_container(&self, record: &Record, images: &[Image]) -> Result<(), Error> {
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
        let volumes: Vec<&MountPoint> = record
            .mounts
            .iter()
            .filter(|m| m.kind == Kind::Volume && m.copy && m.subpath.is_empty())
            .collect();
        if working_dir == "/" && volumes.is_empty() {
            return Ok(());
        }
        let tree = copyup::tree(&rw)?;
        for volume in volumes {
            copyup::fill(&tree, &volume.destination, Path::new(&volume.source))?;
        }
        if working_dir != "/" {
            copyup::make_working_dir(&tree, &working_dir)?;
        }
        Ok(())
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
    async fn image_for(&self, name: &str, platform: Option<Platform>) -> Result<(Image, Vec<String>), Error> {
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

    /// `--volumes-from container[:ro|rw]`.
    fn inherited_mounts(&self, from: &[String]) -> Result<Vec<MountPoint>, Error> {
        let mut mounts = Vec::new();
        for text in from {
            let (name, mode) = text.split_once(':').unwrap_or((text, "rw"));
            if !mode.split(',').all(|w| matches!(w, "ro" | "rw" | "z" | "Z")) {
                return Err(Error::Invalid(format!("invalid mode: {mode}")));
            }
            let view = self.joined(name, "cannot use the volumes of another container")?.view();
            for mount in view.record.mounts.iter().filter(|m| m.kind != Kind::Tmpfs) {
                let writable = mount.writable && !mode.split(',').any(|w| w == "ro");
                // It is the other container's: it is not filled, and not removed with this one.
                let layer = String::new();
                mounts.push(MountPoint { writable, copy: false, anonymous: false, layer, ..mount.clone() });
            }
        }
        Ok(mounts)
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
fn check_subpath(mount: &MountPoint, layers: &RwMount) -> Result<(), Error> {
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
