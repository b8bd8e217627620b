//! New limits for a running container.

use spec::oci::runtime::Resources;

use crate::{Container, Failure, cgroup};

impl Container {
    /// Writes new limits.
    ///
    /// # Errors
    /// Step `cgroup` with the file.
    pub fn update(&self, resources: &Resources) -> Result<(), Failure> {
        cgroup::update(&self.cgroup, self.scope.as_ref(), resources)
    }

    /// Whether the kernel has killed a process of the container for want of memory.
    pub fn oom_killed(&self) -> bool {
        cgroup::oom_kills(&self.cgroup) > self.oom_kills_before
    }
}
