//! The `linux` object.

use super::{NamespaceKind, Outcome, fail, mappings, number_list, resources, seccomp};
use crate::oci::runtime::{Device, IntelRdt, Linux, MemoryPolicy, MemoryPolicyFlag, MemoryPolicyMode};

impl Linux {
    /// Whether the container has a namespace of this kind that is not the runtime's.
    pub fn has(&self, kind: NamespaceKind) -> bool {
        self.namespaces.iter().any(|namespace| namespace.r#type == kind)
    }

    /// Whether a new namespace of this kind is made for it.
    pub fn makes(&self, kind: NamespaceKind) -> bool {
        self.namespaces.iter().any(|namespace| namespace.r#type == kind && namespace.path.is_empty())
    }
}

pub(super) fn validate(linux: &Linux) -> Outcome {
    namespaces(linux)?;
    for (index, device) in linux.devices.iter().enumerate() {
        self::device(device, &format!("linux.devices[{index}]"))?;
    }
    if let Some(all) = &linux.resources {
        resources::validate(all, "linux.resources")?;
    }
    if let Some(profile) = &linux.seccomp {
        seccomp::validate(profile)?;
    }
    const PROPAGATIONS: [&str; 9] =
        ["", "private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"];
    if !PROPAGATIONS.contains(&linux.rootfs_propagation.as_str()) {
        return fail("linux.rootfsPropagation", format!("unknown value {:?}", linux.rootfs_propagation));
    }
    for (field, paths) in [("maskedPaths", &linux.masked_paths), ("readonlyPaths", &linux.readonly_paths)] {
        if let Some(index) = paths.iter().position(|path| !path.starts_with('/')) {
            return fail(format!("linux.{field}[{index}]"), format!("{:?} is not absolute", paths[index]));
        }
    }
    if let Some(rdt) = &linux.intel_rdt {
        intel_rdt(rdt)?;
    }
    if let Some(policy) = &linux.memory_policy {
        memory_policy(policy)?;
    }
    if linux.personality.as_ref().is_some_and(|personality| !personality.flags.is_empty()) {
        return fail("linux.personality.flags", "unsupported: the specification names none");
    }
    Ok(())
}

fn namespaces(linux: &Linux) -> Outcome {
    for (index, namespace) in linux.namespaces.iter().enumerate() {
        let at = format!("linux.namespaces[{index}]");
        if linux.namespaces[..index].iter().any(|other| other.r#type == namespace.r#type) {
            return fail(format!("{at}.type"), "is there twice");
        }
        if !namespace.path.is_empty() && !namespace.path.starts_with('/') {
            return fail(format!("{at}.path"), format!("{:?} is not absolute", namespace.path));
        }
    }
    if !linux.has(NamespaceKind::Mount) {
        let why = "there is no mount namespace, so everything would be mounted on the host: add one of type \"mount\"";
        return fail("linux.namespaces", why);
    }
    mappings(&linux.uid_mappings, "linux.uidMappings")?;
    mappings(&linux.gid_mappings, "linux.gidMappings")?;
    for (field, maps) in [("uidMappings", &linux.uid_mappings), ("gidMappings", &linux.gid_mappings)] {
        let at = format!("linux.{field}");
        if !maps.is_empty() && !linux.has(NamespaceKind::User) {
            return fail(at, "there is no user namespace to map ids in");
        }
        if linux.makes(NamespaceKind::User) && !maps.iter().any(|mapping| mapping.container_id == 0) {
            return fail(at, "the new user namespace needs a mapping for id 0, which sets the container up");
        }
    }
    if let Some(offsets) = &linux.time_offsets {
        if !linux.makes(NamespaceKind::Time) {
            return fail("linux.timeOffsets", "there is no new time namespace to set them in");
        }
        for (field, offset) in [("boottime", offsets.boottime), ("monotonic", offsets.monotonic)] {
            if offset.is_some_and(|offset| offset.nanosecs >= 1_000_000_000) {
                return fail(format!("linux.timeOffsets.{field}.nanosecs"), "is a second or more");
            }
        }
    }
    if !linux.net_devices.is_empty() && !linux.has(NamespaceKind::Network) {
        return fail("linux.netDevices", "there is no network namespace to move them into");
    }
    for (from, device) in &linux.net_devices {
        for name in [from, &device.name].into_iter().filter(|name| *name == from || !name.is_empty()) {
            // dev_valid_name() of the kernel.
            let bad = |c: char| c == '/' || c == ':' || c.is_whitespace();
            if name.is_empty() || name.len() > 15 || matches!(name.as_str(), "." | "..") || name.contains(bad)
            {
                return fail(format!("linux.netDevices.{from}"), format!("{name:?} is no name of a device"));
            }
        }
        let twice = linux.net_devices.iter().filter(|(other, d)| {
            let name =
                |from: &String, name: &String| if name.is_empty() { from.clone() } else { name.clone() };
            name(other, &d.name) == name(from, &device.name)
        });
        if twice.count() > 1 {
            return fail(format!("linux.netDevices.{from}.name"), "two devices would have this name");
        }
    }
    Ok(())
}

fn device(device: &Device, at: &str) -> Outcome {
    if !device.path.starts_with('/') {
        return fail(format!("{at}.path"), format!("{:?} is not absolute", device.path));
    }
    if !matches!(device.r#type.as_str(), "c" | "b" | "u" | "p") {
        return fail(format!("{at}.type"), format!("unknown type {:?}: one of c, b, u, p", device.r#type));
    }
    for (field, number) in [("major", device.major), ("minor", device.minor)] {
        if device.r#type != "p" && u32::try_from(number).is_err() {
            return fail(format!("{at}.{field}"), format!("{number} is out of range"));
        }
    }
    if let Some(mode) = device.file_mode.filter(|mode| mode & !0o17_7777 != 0) {
        return fail(format!("{at}.fileMode"), format!("{mode:o} (octal) is no mode"));
    }
    Ok(())
}

fn intel_rdt(rdt: &IntelRdt) -> Outcome {
    // `/` is the class of everybody who is in no other.
    let id = rdt.clos_id.as_str();
    if matches!(id, "." | "..") || id.contains(['\n', '\0']) || (id != "/" && id.contains('/')) {
        return fail("linux.intelRdt.closID", format!("{id:?} is no name of a directory"));
    }
    for (field, line) in [("l3CacheSchema", &rdt.l3_cache_schema), ("memBwSchema", &rdt.mem_bw_schema)] {
        if line.contains('\n') {
            return fail(format!("linux.intelRdt.{field}"), "has a line break");
        }
    }
    if let Some(index) = rdt.schemata.iter().position(|line| line.contains('\n')) {
        return fail(format!("linux.intelRdt.schemata[{index}]"), "has a line break");
    }
    if !rdt.mem_bw_schema.is_empty() && !rdt.mem_bw_schema.starts_with("MB:") {
        return fail("linux.intelRdt.memBwSchema", "does not begin with MB:");
    }
    Ok(())
}

/// set_mempolicy(2).
fn memory_policy(policy: &MemoryPolicy) -> Outcome {
    use MemoryPolicyMode::{Bind, Default, Interleave, Local, Preferred, PreferredMany, WeightedInterleave};
    let nodes = "linux.memoryPolicy.nodes";
    match policy.mode {
        Default | Local if !policy.nodes.is_empty() => return fail(nodes, "this mode takes no nodes"),
        Bind | Interleave | WeightedInterleave | PreferredMany if policy.nodes.is_empty() => {
            return fail(nodes, "this mode needs nodes");
        }
        Default | Local | Preferred | Bind | Interleave | WeightedInterleave | PreferredMany => {}
    }
    if !policy.nodes.is_empty() {
        number_list(&policy.nodes).or_else(|reason| fail(nodes, reason))?;
    }
    let has = |flag| policy.flags.contains(&flag);
    if has(MemoryPolicyFlag::RelativeNodes) && has(MemoryPolicyFlag::StaticNodes) {
        return fail("linux.memoryPolicy.flags", "nodes are either static or relative");
    }
    if has(MemoryPolicyFlag::NumaBalancing) && policy.mode != Bind {
        return fail("linux.memoryPolicy.flags", "MPOL_F_NUMA_BALANCING is for MPOL_BIND only");
    }
    Ok(())
}
