//! Limits become files of the cgroup.

use spec::oci::runtime::Resources;
use sys::cgroup::{Cgroup, Version};

use crate::Failure;

/// Writes the limits.
pub(crate) fn limit(_cgroup: &Cgroup, _resources: &Resources) -> Result<(), Failure> {
    Ok(())
}

/// How many processes the kernel has killed for want of memory.
pub(crate) fn oom_kills(cgroup: &Cgroup) -> u64 {
    let file = match cgroup.version() {
        Version::V1 => "memory.oom_control",
        Version::V2 => "memory.events",
    };
    cgroup.value("memory", file, "oom_kill").unwrap_or(0)
}
