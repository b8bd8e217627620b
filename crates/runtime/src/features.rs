//! What this runtime can do, whatever this host has of it.

use spec::defaults::ALL_CAPABILITIES;
use spec::oci::runtime::features::{
    CgroupFeatures, Enabled, Features, IntelRdtFeatures, LinuxFeatures, MemoryPolicyFeatures,
    MountExtensions, SeccompFeatures,
};
use spec::oci::runtime::{Hooks, MemoryPolicyFlag, MemoryPolicyMode, OCI_VERSION, seccomp};

use crate::mounts;

/// The specification's answer to `features`.
pub fn features() -> Features {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let flags =
        seccomp::FLAGS.iter().filter(|name| crate::seccomp::flag(name).is_ok_and(sys::seccomp::knows_flag));
    let hooks = Hooks::default();
    Features {
        oci_version_min: "1.0.0".into(),
        oci_version_max: OCI_VERSION.into(),
        hooks: hooks.all().map(|(name, _)| name.to_owned()).collect(),
        mount_options: words(&mounts::OPTIONS),
        linux: LinuxFeatures {
            namespaces: words(&["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]),
            capabilities: words(&ALL_CAPABILITIES),
            cgroup: CgroupFeatures { v1: true, v2: true, systemd: true, systemd_user: false, rdma: true },
            seccomp: SeccompFeatures {
                enabled: true,
                actions: words(&seccomp::ACTIONS),
                operators: words(&seccomp::OPERATORS),
                archs: words(&sys::seccomp::ARCHITECTURES),
                known_flags: words(&seccomp::FLAGS),
                supported_flags: flags.map(|name| (*name).to_owned()).collect(),
            },
            apparmor: Enabled { enabled: true },
            selinux: Enabled { enabled: true },
            intel_rdt: IntelRdtFeatures { enabled: true, schemata: true, monitoring: true },
            memory_policy: MemoryPolicyFeatures {
                modes: words(&MemoryPolicyMode::WORDS),
                flags: words(&MemoryPolicyFlag::WORDS),
            },
            mount_extensions: MountExtensions { idmap: Enabled { enabled: true } },
            net_devices: Enabled { enabled: true },
        },
        ..Features::default()
    }
}
