//! The parts of an OCI configuration that are the same for every container: mounts, devices, device rules,
//! namespaces, capability sets. `engine` and `builder` both start from them.

use super::CAPABILITIES;
use crate::oci::runtime::{Capabilities, Device, DeviceRule, Mount, Namespace, NamespaceKind};

/// The mounts every container has, parents before children. `shm_size` is /dev/shm's, in bytes.
///
/// An ipc namespace shared with the host or another container needs /dev/shm and /dev/mqueue from there instead:
/// the caller replaces these entries.
pub fn standard_mounts(shm_size: i64) -> Vec<Mount> {
    let shm = format!("size={shm_size}");
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm]),
    ]
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        r#type: kind.into(),
        source: source.into(),
        options: options.iter().map(|o| (*o).into()).collect(),
        ..Mount::default()
    }
}

/// A bind mount of a host path.
pub fn bind(source: &str, destination: &str, options: &[&str]) -> Mount {
    let mut mount = mount(destination, "bind", source, options);
    mount.options.insert(0, "rbind".into());
    mount
}

/// The device nodes every container has (runtime-spec config-linux.md, "Default Devices"), but for /dev/console and
/// /dev/ptmx, which come from devpts.
pub fn standard_devices() -> Vec<Device> {
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
        .into_iter()
        .map(|(name, major, minor)| Device {
            path: format!("/dev/{name}"),
            r#type: "c".into(),
            major,
            minor,
            file_mode: Some(0o666),
            uid: Some(0),
            gid: Some(0),
        })
        .collect()
}

/// Which devices a container may use, in order, the last match deciding: any node may be made, the standard ones and
/// pseudo-terminals used, nothing else.
pub fn device_rules() -> Vec<DeviceRule> {
    let rule = |allow, kind: &str, major, minor, access: &str| DeviceRule {
        allow,
        r#type: kind.into(),
        major,
        minor,
        access: access.into(),
    };
    let mut rules = vec![
        rule(false, "a", None, None, "rwm"),
        rule(true, "c", None, None, "m"),
        rule(true, "b", None, None, "m"),
    ];
    for device in standard_devices() {
        rules.push(rule(true, "c", Some(device.major), Some(device.minor), "rwm"));
    }
    // console, ptmx, pts/*.
    for (major, minor) in [(5, Some(1)), (5, Some(2)), (136, None)] {
        rules.push(rule(true, "c", Some(major), minor, "rwm"));
    }
    rules
}

/// The namespaces of an ordinary container. The network one is joined when its fd comes with the request.
pub fn standard_namespaces() -> Vec<Namespace> {
    [
        NamespaceKind::Mount,
        NamespaceKind::Uts,
        NamespaceKind::Ipc,
        NamespaceKind::Pid,
        NamespaceKind::Network,
        NamespaceKind::Cgroup,
    ]
    .into_iter()
    .map(|kind| Namespace { r#type: kind, path: String::new() })
    .collect()
}

/// Capability sets from one list: bounding, effective and permitted alike, inheritable and ambient empty.
/// The runtime drops the effective and permitted ones of a user that is not root.
pub fn capability_sets(names: &[String]) -> Capabilities {
    Capabilities {
        bounding: names.to_vec(),
        effective: names.to_vec(),
        permitted: names.to_vec(),
        inheritable: Vec::new(),
        ambient: Vec::new(),
    }
}

/// [`CAPABILITIES`] as owned names.
pub fn capabilities() -> Vec<String> {
    CAPABILITIES.iter().map(|name| (*name).to_owned()).collect()
}
