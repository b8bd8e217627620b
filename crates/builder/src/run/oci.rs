//! The OCI configuration of a RUN: an ordinary, unprivileged container.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use spec::defaults::{self, oci};
use spec::oci::runtime::{
    Cpu, DeviceRule, Linux, Memory, Mount, NamespaceKind, OCI_VERSION, Overlay, Process, Resources, Root,
    Spec, User,
};
use store::RwMount;

use crate::Limits;
use crate::error::Result;
use crate::instructions::run::Security;

/// What differs from one RUN to the next.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    /// The arguments.
    pub(crate) arguments: Vec<String>,
    /// `NAME=value`.
    pub(crate) env: Vec<String>,
    /// Working directory.
    pub(crate) working_dir: &'a str,
    /// `name|uid[:group|gid]`; empty is root.
    pub(crate) user: &'a str,
    /// Where the root comes from.
    pub(crate) root: &'a RwMount,
    /// Bind mounts and others, after the standard ones.
    pub(crate) mounts: Vec<Mount>,
    /// Under the cgroup root.
    pub(crate) cgroup: String,
    /// No network namespace of its own.
    pub(crate) host_network: bool,
    /// How much it may.
    pub(crate) security: Security,
    /// What it is called.
    pub(crate) hostname: &'a str,
    /// `--memory` and the like.
    pub(crate) limits: &'a Limits,
}

/// The configuration, and the compiled seccomp filter that goes with it.
pub(crate) fn spec(settings: Settings<'_>) -> Result<(Spec, Option<Arc<OwnedFd>>)> {
    let insecure = settings.security == Security::Insecure;
    let capabilities =
        if insecure { defaults::ALL_CAPABILITIES.map(Into::into).to_vec() } else { oci::capabilities() };
    let shm = if settings.limits.shm_size > 0 { settings.limits.shm_size } else { defaults::SHM_SIZE };
    let mut mounts = oci::standard_mounts(shm);
    mounts.extend(settings.mounts);
    let mut namespaces = oci::standard_namespaces();
    if settings.host_network {
        namespaces.retain(|namespace| namespace.r#type != NamespaceKind::Network);
    }
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let filter = if insecure { None } else { Some(shim::built_in_filter(&capabilities)?) };
    let spec = Spec {
        oci_version: OCI_VERSION.into(),
        process: Some(Process {
            args: settings.arguments,
            env: settings.env,
            cwd: settings.working_dir.to_owned(),
            user: User { username: settings.user.to_owned(), ..User::default() },
            capabilities: Some(oci::capability_sets(&capabilities)),
            rlimits: settings.limits.ulimits.clone(),
            ..Process::default()
        }),
        root: Some(Root {
            overlay: Some(Overlay {
                lower: settings.root.lower.iter().map(|path| text(path)).collect(),
                upper: text(&settings.root.upper),
                work: text(&settings.root.work),
                idmap: false,
                volatile: settings.root.volatile,
            }),
            ..Root::default()
        }),
        hostname: settings.hostname.into(),
        mounts,
        linux: Linux {
            resources: Some(resources(settings.limits, insecure)),
            cgroups_path: settings.cgroup,
            namespaces,
            devices: oci::standard_devices(),
            masked_paths: if insecure { Vec::new() } else { defaults::MASKED_PATHS.map(Into::into).to_vec() },
            readonly_paths: if insecure {
                Vec::new()
            } else {
                defaults::READONLY_PATHS.map(Into::into).to_vec()
            },
            ..Linux::default()
        },
        ..Spec::default()
    };
    Ok((spec, filter))
}

fn resources(limits: &Limits, insecure: bool) -> Resources {
    let positive = |n: i64| u64::try_from(n).ok().filter(|n| *n > 0);
    let memory = Memory {
        limit: (limits.memory != 0).then_some(limits.memory),
        swap: (limits.memory_swap != 0).then_some(limits.memory_swap),
        ..Memory::default()
    };
    let cpu = Cpu {
        shares: positive(limits.cpu_shares),
        quota: (limits.cpu_quota != 0).then_some(limits.cpu_quota),
        period: positive(limits.cpu_period),
        cpus: limits.cpuset_cpus.clone(),
        mems: limits.cpuset_mems.clone(),
        ..Cpu::default()
    };
    let every = DeviceRule { allow: true, access: "rwm".into(), ..DeviceRule::default() };
    Resources {
        devices: if insecure { vec![every] } else { oci::device_rules() },
        memory: (memory != Memory::default()).then_some(memory),
        cpu: (cpu != Cpu::default()).then_some(cpu),
        ..Resources::default()
    }
}
