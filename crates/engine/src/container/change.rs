//! Changes of an existing container beyond Docker's update: published ports, environment, labels, mounts.
//!
//! [`apply`] is pure: a record and the wish become a new record, and what has to be done to a running container. The
//! rest does that.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use shim::proto::Request;
use spec::api::{ContainerChanges, EnvChanges, LabelChanges, MountChanges, PublishChanges};
use spec::defaults::oci::standard_mounts;

use network::{PortRequest, PublishedPort};
use store::{Image, RwMount, RwOptions};

use super::mounts::{self, Kind, MountPoint};
use super::record::{Attachment, NetworkMode, Record};
use super::{Container, copyup, create, files, has_ended, oci, ports, propagation};
use crate::blocking::{blocking, lasting};
use crate::{Engine, Error};

/// What a running container needs so that it becomes what its record says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Live {
    /// Ports to publish.
    pub(crate) publish: Vec<PortRequest>,
    /// Ports no longer to be published: number and protocol in the container.
    pub(crate) unpublish: Vec<(u16, String)>,
    /// Mounts to add, parents before children. Volumes and images among them have no source yet.
    pub(crate) mount: Vec<MountPoint>,
    /// Mounts to take away.
    pub(crate) unmount: Vec<MountPoint>,
}

/// What new mounts needed; it goes again when the change fails.
#[derive(Debug, Default)]
pub(crate) struct Made {
    volumes: create::MadeVolumes,
    /// Above images.
    layers: Vec<String>,
    /// What the user should know of the images.
    pub(crate) warnings: Vec<String>,
}

/// Changes the record; ports without an address are published on `publish_on`,
/// else where the network says. Nothing is changed when one of the wishes
/// cannot be met.
pub(crate) fn apply(
    record: &mut Record,
    changes: ContainerChanges,
    publish_on: Option<IpAddr>,
) -> Result<Live, Error> {
    let mut changed = record.clone();
    let mut live = Live::default();
    publish(&mut changed, changes.publish, publish_on, &mut live)?;
    environment(&mut changed.config.env, changes.env)?;
    labels(&mut changed, changes.labels)?;
    mount(&mut changed, changes.mounts, &mut live)?;
    *record = changed;
    Ok(live)
}

fn publish(
    record: &mut Record,
    changes: PublishChanges,
    publish_on: Option<IpAddr>,
    live: &mut Live,
) -> Result<(), Error> {
    if changes.add.is_empty() && changes.remove.is_empty() {
        return Ok(());
    }
    if record.network_mode() != NetworkMode::Networks {
        return Err(Error::Conflict(format!(
            "conflicting options: port publishing and the container type network mode ({})",
            record.host.network_mode
        )));
    }
    for text in &changes.remove {
        let port = ports::container_port(text)?;
        let before = record.host.port_bindings.len();
        record.host.port_bindings.retain(|key, _| ports::container_port(key).ok().as_ref() != Some(&port));
        if record.host.port_bindings.len() == before {
            return Err(Error::Invalid(format!("port {text} of the container is not published by -p")));
        }
        live.unpublish.push(port);
    }
    // Read by themselves first, so that what is refused is what was asked for.
    let wish = spec::api::HostConfig { port_bindings: changes.add.clone(), ..Default::default() };
    let known = ports::requests(&record.config, &record.host, publish_on)?;
    live.publish = ports::requests(&Default::default(), &wish, publish_on)?;
    live.publish.retain(|request| !known.contains(request));
    for (key, bindings) in changes.add {
        let held = record.host.port_bindings.entry(key).or_default().get_or_insert_default();
        for binding in bindings.unwrap_or_default() {
            if !held.contains(&binding) {
                held.push(binding);
            }
        }
    }
    Ok(())
}

fn environment(env: &mut Vec<String>, changes: EnvChanges) -> Result<(), Error> {
    fn name(entry: &str) -> &str {
        entry.split_once('=').map_or(entry, |(name, _)| name)
    }
    for gone in &changes.remove {
        let before = env.len();
        env.retain(|entry| name(entry) != gone);
        if env.len() == before {
            return Err(Error::Invalid(format!("the container has no environment variable {gone:?}")));
        }
    }
    for new in changes.add {
        if !new.contains('=') || name(&new).is_empty() {
            return Err(Error::Invalid(format!("invalid environment variable {new:?}: expected NAME=value")));
        }
        match env.iter_mut().find(|entry| name(entry) == name(&new)) {
            Some(entry) => *entry = new,
            None => env.push(new),
        }
    }
    Ok(())
}

fn labels(record: &mut Record, changes: LabelChanges) -> Result<(), Error> {
    let labels = &mut record.config.labels;
    for gone in &changes.remove {
        if labels.remove(gone).is_none() {
            return Err(Error::Invalid(format!("the container has no label {gone:?}")));
        }
    }
    if changes.add.contains_key("") {
        return Err(Error::Invalid("invalid label: its name is empty".into()));
    }
    labels.extend(changes.add);
    Ok(())
}

fn mount(record: &mut Record, changes: MountChanges, live: &mut Live) -> Result<(), Error> {
    for text in &changes.remove {
        let target = mounts::clean(text);
        let Some(at) = record.mounts.iter().position(|m| m.destination == target) else {
            return Err(Error::Invalid(format!("nothing of the container's own is mounted at {target}")));
        };
        if record.mounts.iter().any(|m| m.destination.starts_with(&format!("{target}/"))) {
            return Err(Error::Conflict(format!("there are mounts below {target}: remove them first")));
        }
        live.unmount.push(record.mounts.remove(at));
        mounts::forget(&mut record.host, &mut record.config, &target);
    }
    for wish in changes.add {
        let mut mount = mounts::from_mount(&wish)?;
        if record.mounts.iter().any(|m| m.destination == mount.destination) {
            return Err(Error::Invalid(format!("Duplicate mount point: {}", mount.destination)));
        }
        if mount.kind == Kind::Image {
            // The layers of those that leave are there until the change is done.
            let taken =
                record.mounts.iter().chain(&live.unmount).filter_map(|m| layer_number(&m.layer)).max();
            mount.layer = format!("{}.{}", record.id, taken.unwrap_or(0) + 1);
        }
        record.host.mounts.push(wish);
        record.mounts.push(mount.clone());
        live.mount.push(mount);
    }
    record.mounts.sort_by_key(|mount| mounts::depth(&mount.destination));
    live.mount.sort_by_key(|mount| mounts::depth(&mount.destination));
    Ok(())
}

/// `n` of a layer `<container>.<n>`.
fn layer_number(layer: &str) -> Option<u32> {
    layer.rsplit_once('.')?.1.parse().ok()
}

impl Engine {
    /// Makes the volumes that new mounts name, with what the image has there, and layers above images, and makes sure of the sources of binds.
    /// They stay as long as they are held.
    pub(crate) async fn make_sources(
        &self,
        record: &mut Record,
        live: &mut Live,
        made: &mut Made,
    ) -> Result<(), Error> {
        for wish in &mut live.mount {
            match wish.kind {
                Kind::Tmpfs => continue,
                Kind::Bind => {
                    propagation::guard(wish, &self.inner.config.data_root)?;
                    create::bind_source(wish)?;
                    propagation::check(&mut wish.clone())?;
                }
                Kind::Volume => {
                    self.make_volume_of(wish, &mut made.volumes).await?;
                    if wish.is_filled() {
                        // Of the image: the container's own layer may be in use.
                        self.populate(&record.id, wish, copyup::image).await?;
                    }
                }
                Kind::Image => {
                    let (image, warnings) = self.image_for(&wish.name, None).await?;
                    made.warnings.extend(warnings);
                    wish.source = image.target.digest.to_string();
                    made.layers.push(wish.layer.clone());
                    self.make_layer(wish.clone(), image, record.host.auto_remove).await?;
                }
            }
            let recorded = record.mounts.iter_mut().find(|m| m.destination == wish.destination);
            wish.clone_into(recorded.expect("the wish is in the record"));
        }
        Ok(())
    }

    /// The layer above an image that a container has mounted.
    async fn make_layer(&self, mount: MountPoint, image: Image, volatile: bool) -> Result<(), Error> {
        let inner = self.inner.clone();
        lasting(move || {
            // Held until the layer needs them: nothing may collect the image's in between.
            let _lease = inner.store.lease("update")?;
            let below = inner.store.unpack_image(&image)?;
            let options = RwOptions { limit: None, volatile };
            let layers = inner.store.rw_create_with(&mount.layer, below.as_ref(), options)?;
            create::check_subpath(&mount, &layers)
        })
        .await
    }

    /// Removes what was made for a change that failed. Every one is tried.
    pub(crate) async fn unmake(&self, made: Made) -> Vec<Error> {
        let Made { volumes, layers, .. } = made;
        let anonymous = volumes.let_go();
        let mut undone = self.remove_layers(layers).await;
        for name in anonymous {
            undone.extend(self.volume_remove(&name, true).await.err());
        }
        undone
    }

    /// Removes layers above images that nobody has mounted any more. Every one is tried.
    pub(crate) async fn remove_layers(&self, layers: Vec<String>) -> Vec<Error> {
        if layers.is_empty() {
            return Vec::new();
        }
        let inner = self.inner.clone();
        let (aside, failed) = blocking(move || {
            let (mut aside, mut failed) = (Vec::new(), Vec::new());
            for layer in &layers {
                match inner.store.rw_set_aside(layer) {
                    Ok(tree) => aside.extend(tree),
                    Err(error) => failed.push(error.into()),
                }
            }
            (aside, failed)
        })
        .await;
        self.remove_later(aside);
        failed
    }

    /// Does to a running container what its record says from now on: all of it, or nothing.
    pub(crate) async fn change_live(&self, container: &Arc<Container>, mut live: Live) -> Result<(), Error> {
        let who = container.id.as_str();
        let changed = async {
            live.mount.iter_mut().try_for_each(propagation::check)?;
            self.mount_volumes(&mut live.mount, who).await?;
            let ports = self.change_ports(container, &live).await?;
            let mounted = self.change_mounts(container, &live).await;
            if let Err(error) = mounted {
                let undone = self.restore_ports(container, &ports).await.err();
                return Err(Error::first(error, undone));
            }
            Ok(())
        }
        .await;
        let (mut gone, undo) = match changed {
            Ok(()) => (live.unmount, None),
            Err(error) => (live.mount, Some(error)),
        };
        // One that is mounted elsewhere in it goes on.
        let left = &container.view().record.mounts;
        let stays = |gone: &MountPoint| {
            left.iter().any(|m| m.name == gone.name && (undo.is_none() || m.destination != gone.destination))
        };
        gone.retain(|mount| !stays(mount));
        let failed = self.unmount_volumes(&gone, who).await;
        match undo {
            Some(error) => Err(Error::first(error, failed)),
            None => Error::all(failed),
        }
    }

    /// Unmounts what leaves, then mounts what comes; when one of them fails, everything is as it was.
    async fn change_mounts(&self, container: &Arc<Container>, live: &Live) -> Result<(), Error> {
        if live.mount.is_empty() && live.unmount.is_empty() {
            return Ok(());
        }
        let record = container.view().record.clone();
        live.mount.iter().try_for_each(|mount| can_come(mount, live, &record))?;
        let images = self.layers_of_images(live).await?;
        let link = container.running_link()?;
        let unmount = |mount: &MountPoint| Request::Unmount { destination: mount.destination.clone() };
        let mount = |mount: &MountPoint| Request::Mount(Box::new(oci::user_mount(&record, mount, &images)));
        let leave = live.unmount.iter().map(|m| (unmount(m), mount(m)));
        let come = live.mount.iter().map(|m| (mount(m), unmount(m)));
        let mut undo = Vec::new();
        for (step, back) in leave.chain(come) {
            if let Err(error) = link.call(step, Vec::new()).await {
                let mut left = Vec::new();
                for back in undo.into_iter().rev() {
                    left.extend(link.call(back, Vec::new()).await.err());
                }
                // It has just ended: what was recorded holds for its next start.
                if has_ended(&error) {
                    return Ok(());
                }
                return Err(Error::first(error.into(), left.into_iter().map(Error::from)));
            }
            undo.push(back);
        }
        Ok(())
    }

    /// The directories of the images that come or leave.
    async fn layers_of_images(&self, live: &Live) -> Result<BTreeMap<String, RwMount>, Error> {
        let mounts = live.mount.iter().chain(&live.unmount).filter(|m| m.kind == Kind::Image);
        let layers: Vec<String> = mounts.map(|m| m.layer.clone()).collect();
        if layers.is_empty() {
            return Ok(BTreeMap::new());
        }
        let inner = self.inner.clone();
        blocking(move || -> Result<_, Error> {
            let with_place = |layer: String| inner.store.rw_mount(&layer).map(|place| (layer, place));
            Ok(layers.into_iter().map(with_place).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Ports first go, then come: a port can move to another one of the host. Returns what was there before.
    async fn change_ports(&self, container: &Arc<Container>, live: &Live) -> Result<Arc<Attachment>, Error> {
        let before = container.view().network.clone();
        if live.publish.is_empty() && live.unpublish.is_empty() {
            return Ok(before);
        }
        let leaves = |p: &PublishedPort| {
            live.unpublish.iter().any(|(port, protocol)| *port == p.container_port && *protocol == p.protocol)
        };
        let (gone, mut ports): (Vec<_>, Vec<_>) = before.ports.iter().cloned().partition(leaves);
        let (inner, id, wanted) = (self.inner.clone(), container.id.clone(), live.publish.clone());
        let published = blocking(move || -> Result<_, Error> {
            inner.networks.unpublish_live(&id, &gone)?;
            inner.networks.publish_live(&id, &wanted).map_err(|error| {
                let undone = inner.networks.publish_live(&id, &as_requests(&gone)).err();
                Error::first(error.into(), undone.map(Error::from))
            })
        })
        .await?;
        ports.extend(published);
        save_ports(container, ports).await?;
        Ok(before)
    }

    async fn restore_ports(&self, container: &Arc<Container>, before: &Attachment) -> Result<(), Error> {
        let now = container.view().network.ports.clone();
        if now == before.ports {
            return Ok(());
        }
        let (inner, id, wanted) = (self.inner.clone(), container.id.clone(), before.ports.clone());
        blocking(move || -> Result<(), Error> {
            inner.networks.unpublish_live(&id, &now)?;
            inner.networks.publish_live(&id, &as_requests(&wanted))?;
            Ok(())
        })
        .await?;
        save_ports(container, before.ports.clone()).await
    }
}

/// Whether a mount can come to a container that runs.
fn can_come(mount: &MountPoint, live: &Live, record: &Record) -> Result<(), Error> {
    let refused =
        |why: &str| format!("{}: {why}: add the mount while the container is stopped", mount.destination);
    if mount.match_user {
        return Err(Error::NotImplemented(refused("idmap takes a restart")));
    }
    // It would hide them, and at the next start they would be in it.
    let below = format!("{}/", mount.destination);
    let comes = |other: &MountPoint| live.mount.iter().any(|m| m.destination == other.destination);
    let theirs = record.mounts.iter().filter(|m| !comes(m)).map(|m| m.destination.clone());
    let secrets = record.secrets.iter().map(|secret| secret.target.clone());
    let files = files::MANAGED.iter().map(|file| format!("/etc/{file}"));
    let standard = standard_mounts(0).into_iter().map(|m| m.destination);
    match theirs.chain(secrets).chain(files).chain(standard).find(|other| other.starts_with(&below)) {
        Some(other) => Err(Error::Conflict(refused(&format!("{other} is mounted below it")))),
        None => Ok(()),
    }
}

/// Exactly these ports.
fn as_requests(ports: &[PublishedPort]) -> Vec<PortRequest> {
    let request = |port: &PublishedPort| PortRequest {
        container_port: port.container_port,
        protocol: port.protocol.clone(),
        host_ip: Some(port.host_ip),
        host_ports: (port.host_port, port.host_port),
    };
    ports.iter().map(request).collect()
}

async fn save_ports(container: &Arc<Container>, ports: Vec<PublishedPort>) -> Result<(), Error> {
    let view = container.view();
    let network = Arc::new(Attachment { ports, ..(*view.network).clone() });
    container.save_state(view.state.clone(), network.clone()).await?;
    container.publish(|view| view.network = network);
    Ok(())
}

#[cfg(test)]
mod tests {
    use spec::api::{Mount, PortBinding, PortMap};

    use super::*;
    use crate::container::testing;

    fn port(key: &str, host_port: &str) -> PortMap {
        let binding = PortBinding { host_ip: String::new(), host_port: host_port.into() };
        [(key.to_owned(), Some(vec![binding]))].into()
    }

    fn refused(change: impl FnOnce(&mut ContainerChanges)) -> String {
        let mut changes = ContainerChanges::default();
        changes.env.add = vec!["NEW=1".into()];
        change(&mut changes);
        let mut record = testing::record();
        let before = record.clone();
        let error = apply(&mut record, changes, None).unwrap_err().to_string();
        assert_eq!(record, before, "a refused change changes nothing");
        error
    }

    #[test]
    fn ports_come_and_go() {
        let mut record = testing::record();
        let mut changes = ContainerChanges::default();
        changes.publish.add = port("80/tcp", "8080");
        let live = apply(&mut record, changes.clone(), None).unwrap();
        assert_eq!((live.publish[0].container_port, live.publish[0].host_ports), (80, (8080, 8080)));
        assert_eq!(apply(&mut record, changes, None).unwrap(), Live::default(), "it is published already");
        let mut changes = ContainerChanges::default();
        changes.publish.remove = vec!["80".into()];
        changes.publish.add = port("80/tcp", "9090");
        let live = apply(&mut record, changes, None).unwrap();
        assert_eq!(live.unpublish, [(80, "tcp".to_owned())]);
        assert_eq!(live.publish[0].host_ports, (9090, 9090));
        assert_eq!(record.host.port_bindings["80/tcp"].as_ref().unwrap().len(), 1);
    }

    #[test]
    fn environment_and_labels() {
        let mut record = testing::record();
        record.config.env = vec!["A=1".into(), "B=2".into()];
        record.config.labels = [("x".to_owned(), "1".to_owned())].into();
        let mut changes = ContainerChanges::default();
        changes.env.add = vec!["B=3".into(), "C=4".into()];
        changes.env.remove = vec!["A".into()];
        changes.labels.add = [("y".to_owned(), "2".to_owned())].into();
        changes.labels.remove = vec!["x".into()];
        assert_eq!(apply(&mut record, changes, None).unwrap(), Live::default());
        assert_eq!(record.config.env, ["B=3", "C=4"]);
        assert_eq!(record.config.labels, [("y".to_owned(), "2".to_owned())].into());
    }

    #[test]
    fn mounts_come_and_go_with_what_asked_for_them() {
        let mut record = testing::record();
        record.host.binds = vec!["/src:/a".into()];
        record.mounts = mounts::wanted(&record.config, &record.host, Vec::new()).unwrap();
        let mut changes = ContainerChanges::default();
        changes.mounts.add = vec![Mount { r#type: "tmpfs".into(), target: "/t".into(), ..Mount::default() }];
        changes.mounts.remove = vec!["/a/".into()];
        let live = apply(&mut record, changes, None).unwrap();
        assert_eq!((live.unmount[0].source.as_str(), live.mount[0].destination.as_str()), ("/src", "/t"));
        assert!(record.host.binds.is_empty());
        assert_eq!(mounts::wanted(&record.config, &record.host, Vec::new()).unwrap(), record.mounts);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(refused(|c| c.publish.remove = vec!["80".into()]).contains("not published"));
        assert!(refused(|c| c.publish.add = port("80/x", "1")).contains("proto"));
        assert!(refused(|c| c.env.remove = vec!["NO".into()]).contains("NO"));
        assert!(refused(|c| c.env.add.push("=x".into())).contains("NAME=value"));
        assert!(refused(|c| c.labels.remove = vec!["no".into()]).contains("no label"));
        assert!(refused(|c| c.mounts.remove = vec!["/no".into()]).contains("/no"));
        assert!(refused(|c| c.mounts.add.push(Mount::default())).contains("Target"));
    }
}
