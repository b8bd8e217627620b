//! New limits for a running container.

use spec::oci::runtime::{IntelRdt, Resources};

use crate::{Container, Failure, cgroup, rdt};

impl Container {
    /// Writes new limits.
    ///
    /// # Errors
    /// Step `cgroup` with the file.
    pub fn update(&self, resources: &Resources) -> Result<(), Failure> {
        cgroup::update(&self.cgroup, self.scope.as_ref(), resources)
    }

    /// Writes other schemas of its class of cache and memory bandwidth; what is empty stays.
    ///
    /// # Errors
    /// Step `spec` when it has none, or this host does not divide that; step `intelRdt` when the kernel refuses it.
    pub fn update_class(&self, rdt: &IntelRdt) -> Result<(), Failure> {
        if *rdt == IntelRdt::default() {
            return Ok(());
        }
        match &self.class {
            Some(class) => class.can(rdt).and_then(|()| class.set(rdt)),
            None => {
                let why = "the container was made without it, or resctrl is not mounted any more";
                Err(Failure::new("spec", rdt::FIELD, why))
            }
        }
    }

    /// Whether the kernel has killed a process of the container for want of memory. `killed`: init has ended, by SIGKILL.
    pub fn oom_killed(&self, killed: bool) -> bool {
        self.oom_kills.count(&self.cgroup, killed) > 0
    }

    /// How many it has killed since this value is there.
    pub fn oom_kills(&self) -> u64 {
        self.oom_kills.count(&self.cgroup, false)
    }
}
