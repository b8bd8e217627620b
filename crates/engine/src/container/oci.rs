//! A record becomes an OCI configuration. Pure but for what it is told of the host in [`Host`].

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use spec::api::{self, HostConfig};
use spec::defaults;
use spec::defaults::oci::{self as standard, bind};
use spec::oci::runtime as oci;
use store::RwMount;

use super::mounts::{Kind, MountPoint, depth};
use super::record::{NetworkMode, Record};
use super::seccomp::Facts;
use super::security::{self, Security};
use super::{check, config, files};
use crate::Error;

/// What the configuration needs to know beside the record.
#[derive(Debug)]
pub(crate) struct Host<'a> {
    /// The overlay mount's directories.
    pub(crate) rw: &'a RwMount,
    /// By layer ([`MountPoint::layer`]), the directories of the images it has mounted.
    pub(crate) images: BTreeMap<String, RwMount>,
    /// The container's directory: hostname, hosts, resolv.conf are in it (or in the one whose network it shares).
    pub(crate) files: &'a Path,
    /// Binds of its secrets.
    pub(crate) secrets: Vec<oci::Mount>,
    /// Where its cgroup is, as the driver names it.
    pub(crate) cgroup: String,
    /// The name it sees as its own.
    pub(crate) hostname: &'a str,
    /// A pid in the pid namespace to join (`--pid container:x`).
    pub(crate) pid_of: Option<i32>,
    /// A pid in the IPC namespace to join (`--ipc container:x`).
    pub(crate) ipc_of: Option<i32>,
    /// A pid in the user namespace of a container with ids of its own.
    pub(crate) user_of: Option<i32>,
    /// Devices by path on this host (`--device`, `--privileged`).
    pub(crate) devices: Vec<oci::Device>,
    /// Device numbers of the block devices that limits name.
    pub(crate) throttles: oci::BlockIo,
    /// The kernel can limit swap.
    pub(crate) swap_limit: bool,
    /// Paths to mask beside Docker's fixed ones.
    pub(crate) masked: Vec<String>,
    /// Major and minor version of the kernel.
    pub(crate) kernel: (u32, u32),
    /// The built-in seccomp profile goes along compiled, which our own runtime understands.
    pub(crate) compiled: bool,
}

/// The OCI configuration of a container; and its seccomp filter, if that goes along compiled.
pub(crate) fn spec(record: &Record, host: &Host<'_>) -> Result<(oci::Spec, Option<Arc<OwnedFd>>), Error> {
    let wanted = &record.host;
    let security = security::read(&wanted.security_opt)?;
    let capabilities = security::capabilities(wanted)?;
    let own_uts = wanted.uts_mode != "host";
    let facts = Facts { capabilities: &capabilities, kernel: host.kernel };
    let (filter, seccomp) = if host.compiled && security.has_built_in(wanted.privileged) {
        (Some(shim::built_in_filter(&capabilities)?), None)
    } else {
        (None, security.filter(wanted.privileged, facts))
    };
    let paths = |given: &Option<Vec<String>>, standard: &[&str]| -> Vec<String> {
        match given {
            Some(paths) => paths.clone(),
            None if wanted.privileged => Vec::new(),
            None => standard.iter().map(|p| (*p).to_owned()).collect(),
        }
    };
    let mut masked_paths = paths(&wanted.masked_paths, &defaults::MASKED_PATHS);
    if wanted.masked_paths.is_none() && !wanted.privileged {
        masked_paths.extend(host.masked.iter().cloned());
    }
    let spec = oci::Spec {
        oci_version: oci::OCI_VERSION.into(),
        process: Some(process(record, host.hostname, &capabilities, &security)?),
        root: Some(oci::Root {
            path: String::new(),
            readonly: wanted.readonly_rootfs,
            overlay: Some(oci::Overlay {
                lower: host.rw.lower.iter().map(|p| p.display().to_string()).collect(),
                upper: host.rw.upper.display().to_string(),
                work: host.rw.work.display().to_string(),
                idmap: record.ids.is_some(),
                volatile: host.rw.volatile,
            }),
        }),
        hostname: if own_uts { host.hostname.to_owned() } else { String::new() },
        domainname: if own_uts { record.config.domainname.clone() } else { String::new() },
        mounts: mounts(record, host, &security),
        annotations: wanted.annotations.clone(),
        linux: oci::Linux {
            uid_mappings: record.ids.as_ref().map(|ids| ids.uids.clone()).unwrap_or_default(),
            gid_mappings: record.ids.as_ref().map(|ids| ids.gids.clone()).unwrap_or_default(),
            mount_label: record.labels.as_ref().map(|labels| labels.mount.clone()).unwrap_or_default(),
            sysctl: sysctls(record),
            resources: Some(oci::Resources {
                devices: device_rules(wanted, &host.devices)?,
                ..resources(&wanted.resources, host.throttles.clone(), host.swap_limit)
            }),
            cgroups_path: host.cgroup.clone(),
            namespaces: namespaces(wanted, record.network_mode(), host),
            devices: standard::standard_devices().into_iter().chain(host.devices.iter().cloned()).collect(),
            seccomp,
            rootfs_propagation: rootfs_propagation(&record.mounts),
            masked_paths,
            readonly_paths: paths(&wanted.readonly_paths, &defaults::READONLY_PATHS),
            ..oci::Linux::default()
        },
        ..oci::Spec::default()
    };
    Ok((spec, filter))
}

fn process(
    record: &Record,
    hostname: &str,
    capabilities: &[String],
    security: &Security,
) -> Result<oci::Process, Error> {
    let config = &record.config;
    let size = match record.host.console_size[..] {
        [height, width] if config.tty && height > 0 && width > 0 => Some(oci::ConsoleSize {
            height: u16::try_from(height).unwrap_or(u16::MAX),
            width: u16::try_from(width).unwrap_or(u16::MAX),
        }),
        _ => None,
    };
    Ok(oci::Process {
        terminal: config.tty,
        console_size: size,
        user: user(&config.user, &record.host.group_add),
        args: record.command(),
        env: config::environment(config, hostname),
        cwd: if config.working_dir.is_empty() { "/".into() } else { config.working_dir.clone() },
        capabilities: Some(standard::capability_sets(capabilities)),
        rlimits: rlimits(&record.host.resources.ulimits)?,
        no_new_privileges: security.no_new_privileges,
        apparmor_profile: security.apparmor(record.host.privileged),
        selinux_label: process_label(record),
        oom_score_adj: Some(i32::try_from(record.host.oom_score_adj).unwrap_or(0)),
        ..oci::Process::default()
    })
}

/// SELinux's label of its processes. A privileged one is not confined.
pub(crate) fn process_label(record: &Record) -> String {
    let labels = record.labels.as_ref().filter(|_| !record.host.privileged);
    labels.map(|labels| labels.process.clone()).unwrap_or_default()
}

/// `--user` and `--group-add`. A number is a number; a name is looked up by the runtime, in the container's own files.
pub(crate) fn user(user: &str, groups: &[String]) -> oci::User {
    // Nobody is root, with root's groups of the image's group file.
    let username = if user.is_empty() { "0" } else { user };
    let mut result = oci::User { username: username.to_owned(), ..oci::User::default() };
    for group in groups {
        match group.parse() {
            Ok(number) => result.additional_gids.push(number),
            Err(_) => result.additional_groups.push(group.clone()),
        }
    }
    result
}

fn rlimits(ulimits: &[api::Ulimit]) -> Result<Vec<oci::Rlimit>, Error> {
    // -1 is no limit, in Docker and as RLIM_INFINITY.
    let number = |n: i64| u64::try_from(n).unwrap_or(u64::MAX);
    ulimits
        .iter()
        .map(|u| {
            Ok(oci::Rlimit {
                r#type: check::rlimit_name(&u.name)?,
                soft: number(u.soft),
                hard: number(u.hard),
            })
        })
        .collect()
}

fn namespaces(wanted: &HostConfig, network: NetworkMode, host: &Host<'_>) -> Vec<oci::Namespace> {
    use oci::NamespaceKind as N;
    let mut namespaces = standard::standard_namespaces();
    namespaces.retain(|n| match n.r#type {
        N::Network => network != NetworkMode::Host,
        N::Pid => wanted.pid_mode != "host",
        N::Ipc => wanted.ipc_mode != "host",
        N::Uts => wanted.uts_mode != "host",
        N::Cgroup => wanted.cgroupns_mode != "host",
        N::Mount | N::User | N::Time => true,
    });
    for (of, kind, file) in [(host.pid_of, N::Pid, "pid"), (host.ipc_of, N::Ipc, "ipc")] {
        if let Some(pid) = of {
            for namespace in namespaces.iter_mut().filter(|n| n.r#type == kind) {
                namespace.path = format!("/proc/{pid}/ns/{file}");
            }
        }
    }
    if let Some(pid) = host.user_of {
        namespaces.push(oci::Namespace { r#type: N::User, path: format!("/proc/{pid}/ns/user") });
    }
    namespaces
}

fn mounts(record: &Record, host: &Host<'_>, security: &Security) -> Vec<oci::Mount> {
    let wanted = &record.host;
    let shm = if wanted.shm_size > 0 { wanted.shm_size } else { defaults::SHM_SIZE };
    let taken = |destination: &str| record.mounts.iter().any(|m| m.destination == destination);
    let mut mounts = standard::standard_mounts(shm);
    mounts.retain(|m| {
        // The message queues of a namespace show in any mount made in it; its shared memory is a mount of its own.
        let own_memory = !matches!(wanted.ipc_mode.as_str(), "none" | "host") && host.ipc_of.is_none();
        !taken(&m.destination) && (own_memory || m.destination != "/dev/shm")
    });
    let writable = |destination: &str| match destination {
        "/sys" => wanted.privileged,
        "/sys/fs/cgroup" => security.writable_cgroups.unwrap_or(wanted.privileged),
        _ => false,
    };
    for mount in mounts.iter_mut().filter(|m| writable(&m.destination)) {
        mount.options.retain(|o| o != "ro");
        mount.options.push("rw".into());
    }
    if wanted.ipc_mode == "host" && !taken("/dev/shm") {
        mounts.push(bind("/dev/shm", "/dev/shm", &["rprivate"]));
    }
    if let Some(pid) = host.ipc_of.filter(|_| !taken("/dev/shm")) {
        let options = ["rprivate", "subpath=dev/shm"];
        mounts.push(bind(&format!("/proc/{pid}/root"), "/dev/shm", &options));
    }
    let mut own = Vec::new();
    for file in files::MANAGED {
        let destination = format!("/etc/{file}");
        if !taken(&destination) {
            let access = if wanted.readonly_rootfs { "ro" } else { "rw" };
            let mut mount =
                bind(&host.files.join(file).display().to_string(), &destination, &[access, "rprivate"]);
            map_ids(&mut mount, record);
            own.push(mount);
        }
    }
    own.extend(record.mounts.iter().map(|mount| user_mount(record, mount, &host.images)));
    own.extend(host.secrets.iter().cloned().map(|mut mount| {
        map_ids(&mut mount, record);
        mount
    }));
    // Parents before children: a volume on /etc has the container's hosts in it.
    own.sort_by_key(|mount| depth(&mount.destination));
    mounts.extend(own);
    mounts
}

/// What is ours on the host belongs on disk to the container's ids as it knows them.
fn map_ids(mount: &mut oci::Mount, record: &Record) {
    if record.ids.is_some() {
        mount.options.push("idmap".into());
    }
}

/// A mount of the user's. `images`: by layer, the directories of those that are mounted.
pub(crate) fn user_mount(
    record: &Record,
    mount: &MountPoint,
    images: &BTreeMap<String, RwMount>,
) -> oci::Mount {
    if let Some(layers) = images.get(&mount.layer) {
        let mut result = image_mount(mount, layers);
        map_ids(&mut result, record);
        return result;
    }
    match mount.kind {
        Kind::Tmpfs => oci::Mount {
            destination: mount.destination.clone(),
            r#type: "tmpfs".into(),
            source: "tmpfs".into(),
            options: mount.options.clone(),
            ..oci::Mount::default()
        },
        // An image's root is an overlay: see `image_mount`.
        Kind::Bind | Kind::Volume | Kind::Image => {
            // Read-only reaches the mounts below the source too, as in Docker since 25.
            // A source that is read-only where it is stays so: nothing says "rw".
            let access = match (mount.writable, mount.non_recursive || mount.read_only_here) {
                (true, _) => None,
                (false, true) => Some("ro"),
                (false, false) => Some("rro"),
            };
            let propagation = if mount.propagation.is_empty() { "rprivate" } else { &mount.propagation };
            let options: Vec<&str> = access.into_iter().chain([propagation]).collect();
            let mut result = bind(&mount.source, &mount.destination, &options);
            if !mount.subpath.is_empty() {
                result.options.push(format!("subpath={}", mount.subpath));
            }
            if mount.non_recursive {
                result.options[0] = "bind".into();
            }
            // Of a directory of the host the ids are the host's, as in Docker.
            if mount.kind == Kind::Volume && !mount.host_directory {
                map_ids(&mut result, record);
            }
            result
        }
    }
}

/// An image's files: an overlay of its layers, which the runtime makes before it leaves the host's tree.
fn image_mount(mount: &MountPoint, layers: &store::RwMount) -> oci::Mount {
    let path = |key: &str, path: &std::path::Path| format!("{key}={}", path.display());
    let mut options = vec!["ro".to_owned()];
    options.extend(layers.lower.iter().map(|layer| path("lowerdir+", layer)));
    options.extend([path("upperdir", &layers.upper), path("workdir", &layers.work)]);
    if layers.volatile {
        options.push("volatile".to_owned());
    }
    if !mount.subpath.is_empty() {
        options.push(format!("subpath={}", mount.subpath));
    }
    oci::Mount {
        destination: mount.destination.clone(),
        r#type: "overlay".into(),
        source: "overlay".into(),
        options,
        ..oci::Mount::default()
    }
}

/// A bind that propagates needs a root that does.
fn rootfs_propagation(mounts: &[MountPoint]) -> String {
    let any = |word: &str| mounts.iter().any(|m| m.propagation.ends_with(word));
    match () {
        () if any("shared") => "rshared".into(),
        () if any("slave") => "rslave".into(),
        () => String::new(),
    }
}

/// Docker's two defaults make ping and low ports work for users that are not root; only in a network namespace of the
/// container's own.
fn sysctls(record: &Record) -> BTreeMap<String, String> {
    let mut sysctls = record.host.sysctls.clone();
    if matches!(record.network_mode(), NetworkMode::Networks | NetworkMode::None) {
        // As far as there are groups.
        let last = record.ids.as_ref().map_or(0x7fff_ffff, |ids| (ids.groups() - 1).min(0x7fff_ffff));
        for (key, value) in [
            ("net.ipv4.ping_group_range", format!("0 {last}")),
            ("net.ipv4.ip_unprivileged_port_start", "0".to_owned()),
        ] {
            sysctls.entry(key.into()).or_insert(value);
        }
    }
    sysctls
}

fn device_rules(wanted: &HostConfig, devices: &[oci::Device]) -> Result<Vec<oci::DeviceRule>, Error> {
    if wanted.privileged {
        return Ok(vec![oci::DeviceRule {
            allow: true,
            r#type: "a".into(),
            access: "rwm".into(),
            ..Default::default()
        }]);
    }
    let mut rules = standard::device_rules();
    for mapping in &wanted.resources.devices {
        let access = if mapping.cgroup_permissions.is_empty() { "rwm" } else { &mapping.cgroup_permissions };
        if !access.bytes().all(|c| b"rwm".contains(&c)) {
            return Err(Error::Invalid(format!("invalid device mode: {access}")));
        }
        let target = device_target(mapping);
        for device in devices.iter().filter(|d| is_below(&d.path, target)) {
            rules.push(oci::DeviceRule {
                allow: true,
                r#type: device.r#type.clone(),
                major: Some(device.major),
                minor: Some(device.minor),
                access: access.into(),
            });
        }
    }
    for rule in &wanted.resources.device_cgroup_rules {
        rules.push(device_cgroup_rule(rule)?);
    }
    Ok(rules)
}

/// Where a `--device` appears in the container.
pub(crate) fn device_target(mapping: &api::DeviceMapping) -> &str {
    if mapping.path_in_container.is_empty() { &mapping.path_on_host } else { &mapping.path_in_container }
}

fn is_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `c 188:* rwm`.
pub(crate) fn device_cgroup_rule(text: &str) -> Result<oci::DeviceRule, Error> {
    let invalid = || Error::Invalid(format!("invalid device cgroup rule format: '{text}'"));
    let mut words = text.split_whitespace();
    let (kind, numbers, access) = (words.next(), words.next(), words.next());
    let (Some(kind @ ("a" | "b" | "c")), Some(numbers), Some(access), None) =
        (kind, numbers, access, words.next())
    else {
        return Err(invalid());
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    let number = |n: &str| {
        if n == "*" { Ok(None) } else { n.parse::<u32>().map(|n| Some(n.into())).map_err(|_| invalid()) }
    };
    if access.is_empty() || !access.bytes().all(|c| b"rwm".contains(&c)) {
        return Err(invalid());
    }
    Ok(oci::DeviceRule {
        allow: true,
        r#type: kind.into(),
        major: number(major)?,
        minor: number(minor)?,
        access: access.into(),
    })
}

/// Limits. `throttles` are the device limits with their numbers looked up.
pub(crate) fn resources(r: &api::Resources, throttles: oci::BlockIo, swap_limit: bool) -> oci::Resources {
    let set = |n: i64| (n != 0).then_some(n);
    let positive = |n: i64| u64::try_from(n).ok().filter(|n| *n > 0);
    // Unset swap is as much again as memory; -1 is no limit.
    let swap = match (r.memory, r.memory_swap) {
        (0, swap) => set(swap),
        (memory, 0) => swap_limit.then_some(memory.saturating_mul(2)),
        (_, swap) => Some(swap),
    };
    let memory = oci::Memory {
        limit: set(r.memory),
        reservation: set(r.memory_reservation),
        swap,
        swappiness: r.memory_swappiness.and_then(|n| u64::try_from(n).ok()),
        disable_oom_killer: r.oom_kill_disable.then_some(true),
        ..oci::Memory::default()
    };
    let (quota, period) = match r.nano_cpus {
        0 => (set(r.cpu_quota), positive(r.cpu_period)),
        nano => (Some(nano / 10_000), Some(100_000)),
    };
    let cpu = oci::Cpu {
        shares: positive(r.cpu_shares),
        quota,
        period,
        realtime_runtime: set(r.cpu_realtime_runtime),
        realtime_period: positive(r.cpu_realtime_period),
        cpus: r.cpuset_cpus.clone(),
        mems: r.cpuset_mems.clone(),
        ..oci::Cpu::default()
    };
    let weight = u16::try_from(r.blkio_weight).ok().filter(|w| *w > 0);
    let block_io = oci::BlockIo { weight, ..throttles };
    oci::Resources {
        memory: (memory != oci::Memory::default()).then_some(memory),
        cpu: (cpu != oci::Cpu::default()).then_some(cpu),
        pids: r.pids_limit.filter(|n| *n > 0).map(|limit| oci::Pids { limit }),
        block_io: (block_io != oci::BlockIo::default()).then_some(block_io),
        ..oci::Resources::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::testing;

    fn build(change: impl FnOnce(&mut Record)) -> oci::Spec {
        let mut record = testing::record();
        change(&mut record);
        let rw = RwMount {
            lower: vec!["/l2".into(), "/l1".into()],
            upper: "/u".into(),
            work: "/w".into(),
            volatile: false,
        };
        let host = Host {
            rw: &rw,
            files: Path::new("/data/c"),
            secrets: Vec::new(),
            images: BTreeMap::new(),
            cgroup: "/corten/c1".into(),
            hostname: "h",
            pid_of: None,
            ipc_of: None,
            user_of: None,
            devices: Vec::new(),
            throttles: oci::BlockIo::default(),
            swap_limit: true,
            masked: Vec::new(),
            kernel: (6, 1),
            compiled: false,
        };
        let (named, filter) = spec(&record, &host).unwrap();
        assert!(filter.is_none());
        let (compiled, filter) = spec(&record, &Host { compiled: true, ..host }).unwrap();
        assert!(compiled.linux.seccomp.is_none());
        assert_eq!(filter.is_some(), named.linux.seccomp.is_some());
        named
    }

    fn mount<'a>(spec: &'a oci::Spec, destination: &str) -> Option<&'a oci::Mount> {
        spec.mounts.iter().find(|m| m.destination == destination)
    }

    fn has(spec: &oci::Spec, kind: oci::NamespaceKind) -> bool {
        spec.linux.namespaces.iter().any(|n| n.r#type == kind)
    }

    #[test]
    fn an_ordinary_container_is_confined() {
        let spec = build(|_| {});
        let process = spec.process.as_ref().unwrap();
        assert_eq!(process.args, ["sh"]);
        assert_eq!(process.env, [format!("PATH={}", defaults::PATH), "HOSTNAME=h".into()]);
        let capabilities = process.capabilities.as_ref().unwrap();
        assert_eq!(capabilities.bounding.len(), 14);
        assert!(capabilities.inheritable.is_empty() && capabilities.ambient.is_empty());
        assert!(spec.linux.seccomp.is_some());
        assert_eq!(spec.linux.masked_paths.len(), defaults::MASKED_PATHS.len());
        assert_eq!(spec.linux.readonly_paths.len(), defaults::READONLY_PATHS.len());
        assert_eq!(spec.linux.cgroups_path, "/corten/c1");
        assert_eq!(spec.root.as_ref().unwrap().overlay.as_ref().unwrap().lower, ["/l2", "/l1"]);
        assert_eq!(mount(&spec, "/etc/hosts").unwrap().source, "/data/c/hosts");
        assert_eq!(spec.linux.sysctl["net.ipv4.ip_unprivileged_port_start"], "0");
        assert!(mount(&spec, "/sys").unwrap().options.contains(&"ro".to_owned()));
        for kind in [oci::NamespaceKind::Pid, oci::NamespaceKind::Network, oci::NamespaceKind::Ipc] {
            assert!(has(&spec, kind));
        }
        let first = &spec.linux.resources.as_ref().unwrap().devices[0];
        assert!(!first.allow && first.r#type == "a");
    }

    #[test]
    fn privileged_lifts_what_it_should() {
        let spec = build(|r| r.host.privileged = true);
        assert!(spec.linux.seccomp.is_none() && spec.linux.masked_paths.is_empty());
        assert_eq!(spec.process.unwrap().capabilities.unwrap().bounding.len(), 41);
        assert!(spec.linux.resources.unwrap().devices[0].allow);
    }

    #[test]
    fn host_modes_leave_namespaces_out() {
        let spec = build(|r| {
            r.host.network_mode = "host".into();
            r.host.pid_mode = "host".into();
            r.host.ipc_mode = "host".into();
        });
        assert!(!has(&spec, oci::NamespaceKind::Network) && !has(&spec, oci::NamespaceKind::Pid));
        assert!(spec.linux.sysctl.is_empty());
        assert_eq!(mount(&spec, "/dev/shm").unwrap().source, "/dev/shm");
    }

    #[test]
    fn limits_are_converted() {
        let spec = build(|r| {
            r.host.resources.memory = 64 << 20;
            r.host.resources.nano_cpus = 1_500_000_000;
            r.host.resources.pids_limit = Some(20);
            r.host.resources.ulimits = vec![api::Ulimit { name: "nofile".into(), soft: 10, hard: -1 }];
        });
        let resources = spec.linux.resources.unwrap();
        assert_eq!(resources.memory.unwrap().swap, Some(128 << 20));
        let cpu = resources.cpu.unwrap();
        assert_eq!((cpu.quota, cpu.period), (Some(150_000), Some(100_000)));
        assert_eq!(resources.pids.unwrap().limit, 20);
        let rlimit = &spec.process.unwrap().rlimits[0];
        assert_eq!((rlimit.r#type.as_str(), rlimit.soft, rlimit.hard), ("RLIMIT_NOFILE", 10, u64::MAX));
    }

    #[test]
    fn the_users_mounts_replace_the_standard_ones() {
        let spec = build(|r| {
            r.host.binds = vec!["/src:/dev/shm:ro".into(), "/h:/etc/hosts".into()];
            r.mounts = super::super::mounts::wanted(&r.config, &r.host, Vec::new()).unwrap();
        });
        let shm: Vec<_> = spec.mounts.iter().filter(|m| m.destination == "/dev/shm").collect();
        assert_eq!((shm.len(), shm[0].source.as_str()), (1, "/src"));
        assert_eq!(shm[0].options, ["rbind", "rro", "rprivate"]);
        assert_eq!(mount(&spec, "/etc/hosts").unwrap().source, "/h");
    }

    #[test]
    fn device_rules_are_read() {
        let rule = device_cgroup_rule("c 188:* rw").unwrap();
        assert_eq!((rule.major, rule.minor, rule.access.as_str()), (Some(188), None, "rw"));
        for bad in ["", "c 1 r", "x 1:1 r", "c 1:1 q", "c 1:1 r x", "c -1:1 r"] {
            assert!(device_cgroup_rule(bad).is_err(), "{bad}");
        }
    }
}
