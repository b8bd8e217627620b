//! What comes from the host, opened before the host's tree is left.

use sys::mount::{self, Mount, Propagation};

use crate::failure::at;
use crate::idmap::Owners;
use crate::init::Order;
use crate::mounts::Planned;
use crate::{Failure, devices, mounts, root};

/// Mounts that are attached nowhere yet.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) root: Mount,
    pub(crate) mounts: Vec<Planned>,
    /// Device nodes of the host with their paths in the container, where nodes cannot be made.
    pub(crate) devices: Vec<(String, Mount)>,
}

impl Sources {
    /// Opens all. The calling process is in a mount namespace that is not the host's.
    pub(crate) fn open(order: &Order<'_>) -> Result<Self, Failure> {
        let Order { plan, cgroup, .. } = *order;
        let spec = order.request.spec;
        let owners = Owners::of_plan(&spec.linux, plan)?;
        let mut mounts = mounts::open_sources(spec, cgroup, plan, &owners)?;
        // Nothing that is mounted or unmounted from here on may reach the host.
        mount::propagate_all(Propagation::Private).map_err(at("mount"))?;
        mounts::make_overlays(&mut mounts, &owners)?;
        let root = match order.root {
            Some(root) => root.try_clone().map_err(at("mount"))?,
            None => root::open(spec, &owners)?,
        };
        let devices = if plan.user.is_some() { devices::open_all(&spec.linux.devices)? } else { Vec::new() };
        Ok(Self { root, mounts, devices })
    }
}
