//! The container's root file system becomes this process's root.

use std::path::Path;

use spec::oci::runtime::{Overlay, Spec};
use sys::mount::{self, Attributes, Depth, Mount, Propagation, Upper};
use sys::root::Root;

use crate::failure::{at, at_path};
use crate::idmap::Owners;
use crate::mounts::{Point, map_layers};
use crate::{Failure, mounts, namespaces};

/// What a root is made of, for whoever makes it while the rest of the configuration comes about. What that costs is not the
/// container's: for each new file, pages of the file system's own tables would be charged to the container's memory cgroup,
/// and keep that alive long after the container.
#[derive(Debug)]
pub struct EarlyRoot {
    overlay: Overlay,
    label: String,
    points: Vec<Point>,
}

impl EarlyRoot {
    /// The root of this configuration. `None` where only init can make it, whose ids are not the host's, and where the kernel
    /// (before 6.7) wants an overlay attached somewhere first.
    pub fn of(spec: &Spec) -> Option<Self> {
        let overlay = spec.root.as_ref()?.overlay.as_ref()?;
        let plain = !overlay.idmap && !overlay.lower.is_empty() && !namespaces::is_staged(spec);
        (plain && mount::makes_overlays_unattached()).then(|| Self {
            overlay: overlay.clone(),
            label: spec.linux.mount_label.clone(),
            points: spec.mounts.iter().map(Point::of).collect(),
        })
    }

    /// Its mount, with whatever can be made in it of what other mounts are mounted on: the rest is made when they are.
    ///
    /// # Errors
    /// Step `mount`.
    pub fn make(&self) -> Result<Mount, Failure> {
        let mount = make_overlay(&self.overlay, &self.label)?;
        let top = mount.open_top().map_err(at("mount"))?;
        mounts::make_points(&Root::from_fd(top, "/"), &self.points);
        Ok(mount)
    }
}

/// The root's mount, attached nowhere yet. The caller's mounts are private.
pub(crate) fn open(spec: &Spec, owners: &Owners<'_>) -> Result<Mount, Failure> {
    let Some(root) = &spec.root else {
        return Err(Failure::new("spec", "root", "a container needs a root"));
    };
    if let Some(overlay) = root.overlay.as_ref().filter(|overlay| overlay.idmap) {
        map_layers(&overlay.lower, Some((&overlay.upper, &overlay.work)), owners)?;
        return owners.as_root(|| make(root, &spec.linux.mount_label));
    }
    make(root, &spec.linux.mount_label)
}

fn make(root: &spec::oci::runtime::Root, label: &str) -> Result<Mount, Failure> {
    let mount = match &root.overlay {
        // Overlayfs wants one layer at least; without any, the writable layer is all there is.
        Some(overlay) if overlay.lower.is_empty() => bind(&overlay.upper)?,
        Some(overlay) => make_overlay(overlay, label)?,
        None => bind(&root.path)?,
    };
    Ok(mount)
}

fn make_overlay(overlay: &Overlay, label: &str) -> Result<Mount, Failure> {
    let Overlay { lower, upper, work, volatile, .. } = overlay;
    let upper = Upper { directory: upper, work, volatile: *volatile };
    Mount::overlay(lower, upper, label).map_err(at("mount"))
}

/// Leaves the host's tree for the container's. From here on there is no way back to the host's files but the
/// descriptors that were opened before.
pub(crate) fn enter(mount: &Mount, no_pivot: bool) -> Result<Root, Failure> {
    if no_pivot { mount::cover(mount) } else { mount::pivot(mount) }.map_err(at("pivot"))?;
    Root::open(Path::new("/")).map_err(at("pivot"))
}

/// Enters the directory where the configuration says the container's tree is.
pub(crate) fn go_there(spec: &Spec) -> Result<(), Failure> {
    let path = match &spec.root {
        Some(root) => root.overlay.as_ref().map_or(&root.path, |overlay| &overlay.upper),
        None => return Err(Failure::new("spec", "root", "a container needs a root")),
    };
    sys::process::change_directory(path).map_err(at_path("mount", path))
}

/// Puts the container's tree there, in the host's tree as this process sees it.
pub(crate) fn attach(mount: &Mount) -> Result<Root, Failure> {
    mount.attach_here().map_err(at("mount"))?;
    sys::process::change_directory("/").map_err(at("mount"))?;
    Ok(Root::from_fd(mount.open_top().map_err(at("mount"))?, "/"))
}

fn bind(path: &str) -> Result<Mount, Failure> {
    Mount::copy(Path::new(path), Depth::All).map_err(at_path("mount", path))
}

/// A procfs of this process's pid namespace that is mounted nowhere, so that nothing of the container's can stand
/// in its place (CVE-2019-19921, CVE-2025-52881).
pub(crate) fn private_proc() -> Result<Root, Failure> {
    let attributes = Attributes::NO_SUID.with(Attributes::NO_DEV).with(Attributes::NO_EXEC);
    let mount = Mount::new("proc", "proc", &[], attributes).map_err(at("mount"))?;
    Ok(Root::from_fd(mount.open_top().map_err(at("mount"))?, "/proc"))
}

/// The root's own attributes, once nothing is to be made in it any more.
pub(crate) fn finish(spec: &Spec) -> Result<(), Failure> {
    let read_only = spec.root.as_ref().is_some_and(|root| root.readonly);
    let propagation = match spec.linux.rootfs_propagation.as_str() {
        "" | "private" | "rprivate" => None,
        "shared" | "rshared" => Some(Propagation::Shared),
        "slave" | "rslave" => Some(Propagation::Slave),
        "unbindable" | "runbindable" => Some(Propagation::Unbindable),
        other => return Err(Failure::new("spec", "rootfsPropagation", format!("unknown value {other}"))),
    };
    if !read_only && propagation.is_none() {
        return Ok(());
    }
    let root = Mount::open(Path::new("/")).map_err(at("mount"))?;
    if read_only {
        root.set(Attributes::READ_ONLY, Attributes::empty(), Depth::One).map_err(at("mount"))?;
    }
    if let Some(propagation) = propagation {
        let depth = if spec.linux.rootfs_propagation.starts_with('r') { Depth::All } else { Depth::One };
        root.propagate(propagation, depth).map_err(at("mount"))?;
    }
    Ok(())
}
