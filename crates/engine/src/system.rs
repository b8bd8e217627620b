//! What this host and this engine are: `info` and `version`.

use std::path::Path;
use std::sync::atomic::Ordering;

use spec::Digest;
use spec::api::{
    AddressPool, Commit, FirewallInfo, IndexInfo, PluginsInfo, RegistryServiceConfig, Runtime, SystemInfo,
    SystemVersion, VersionComponent, VersionPlatform,
};

use crate::blocking::blocking;
use crate::container::state::Phase;
use crate::{Engine, Error, time};

/// The version clients see.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A file of the kernel's, without the last line's end; empty when it is not there.
pub(crate) fn read(path: &str) -> String {
    let bytes = sys::file::read_if_exists(Path::new(path)).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

/// The host's name.
pub(crate) fn hostname() -> String {
    read("/proc/sys/kernel/hostname")
}

/// The identity of this daemon: the machine's (machine-id(5)).
pub(crate) fn id() -> String {
    read("/etc/machine-id")
}

/// How many processors are online.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Whether the kernel can limit swap (on v1 only with `swapaccount=1`).
pub(crate) fn swap_limit() -> bool {
    if unified() {
        return Path::new("/proc/swaps").exists();
    }
    Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
}

/// Whether cgroup v2 is all there is.
pub fn unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Whether systemd runs this host (sd_booted(3)).
pub fn has_systemd() -> bool {
    std::fs::symlink_metadata("/run/systemd/system").is_ok_and(|found| found.is_dir())
}

fn mem_total() -> i64 {
    let line = read("/proc/meminfo").lines().find_map(|l| l.strip_prefix("MemTotal:").map(str::to_owned));
    let kib = line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<i64>().ok());
    kib.unwrap_or(0) * 1024
}

fn operating_system() -> String {
    let text = read("/etc/os-release");
    let name = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".into(), |n| n.trim_matches('"').to_owned())
}

/// As `uname -m` says it.
fn machine() -> String {
    std::env::consts::ARCH.to_owned()
}

/// As Go says it.
fn go_arch() -> String {
    spec::api::Platform::host().architecture
}

/// As `uname -r` says it.
pub(crate) fn kernel() -> String {
    read("/proc/sys/kernel/osrelease")
}

/// Facts that are files' business. Blocking.
struct Host {
    id: String,
    kernel: String,
    operating_system: String,
    memory: i64,
    name: String,
    forwarding: bool,
    descriptors: i64,
    swap: bool,
    unified: bool,
}

impl Host {
    fn read() -> Self {
        Self {
            id: id(),
            kernel: kernel(),
            operating_system: operating_system(),
            memory: mem_total(),
            name: hostname(),
            forwarding: read("/proc/sys/net/ipv4/ip_forward") == "1",
            descriptors: i64::try_from(sys::file::list(Path::new("/proc/self/fd")).map_or(0, |l| l.len()))
                .unwrap_or(0),
            swap: swap_limit(),
            unified: unified(),
        }
    }
}

/// What is counted, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Containers that run, or wait for their policy to start them again.
    pub running: i64,
    /// Containers that are frozen.
    pub paused: i64,
    /// Containers that do neither.
    pub stopped: i64,
    /// Events so far.
    pub events: u64,
    /// Who listens to events now.
    pub listeners: usize,
    /// Health probes so far.
    pub probes: u64,
    /// Those of them that failed.
    pub failed_probes: u64,
}

impl Engine {
    /// What is counted.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            events: self.inner.events.count(),
            listeners: self.inner.events.listeners(),
            probes: self.inner.probes.load(Ordering::Relaxed),
            failed_probes: self.inner.failed_probes.load(Ordering::Relaxed),
            ..Counts::default()
        };
        for container in self.inner.containers.all() {
            match container.view().state.phase {
                Phase::Running | Phase::Restarting => counts.running += 1,
                Phase::Paused => counts.paused += 1,
                Phase::Created | Phase::Exited | Phase::Removing | Phase::Dead => counts.stopped += 1,
            }
        }
        counts
    }

    /// `GET /info`.
    pub async fn info(&self) -> Result<SystemInfo, Error> {
        let host = blocking(Host::read).await;
        let Counts { running, paused, stopped, .. } = self.counts();
        let mut targets: Vec<Digest> =
            self.inner.store.images().into_iter().map(|r| r.target.digest).collect();
        targets.sort_unstable();
        targets.dedup();
        let mut warnings = Vec::new();
        if !host.swap {
            warnings.push("WARNING: No swap limit support".to_owned());
        }
        if !host.forwarding {
            warnings.push("WARNING: IPv4 forwarding is disabled".to_owned());
        }
        let inner = self.inner.clone();
        let obstacles = blocking(move || inner.networks.obstacles(None)).await;
        warnings.extend(obstacles.into_iter().map(|obstacle| format!("WARNING: {obstacle}")));
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let pools = &self.inner.config.network.pools;
        let config = &self.inner.config;
        let settings = self.settings();
        let security = crate::container::security::options(
            &settings,
            self.inner.selinux.is_some(),
            self.inner.userns.is_on(),
        );
        let proxy = registry::client::Proxies::shown;
        Ok(SystemInfo {
            id: host.id,
            containers: running + paused + stopped,
            containers_running: running,
            containers_paused: paused,
            containers_stopped: stopped,
            images: i64::try_from(targets.len()).unwrap_or(i64::MAX),
            driver: "overlayfs".into(),
            debug: settings.debug,
            labels: settings.labels.clone(),
            experimental_build: settings.experimental,
            driver_status: vec![words(&["driver-type", "corten.store.v1"])],
            docker_root_dir: config.data_root.display().to_string(),
            plugins: Some(PluginsInfo {
                volume: self.volume_drivers(),
                network: words(&["bridge", "host", "null"]),
                authorization: Vec::new(),
                log: words(&crate::container::logging::DRIVERS),
            }),
            memory_limit: true,
            swap_limit: host.swap,
            cpu_cfs_period: true,
            cpu_cfs_quota: true,
            cpu_shares: true,
            cpu_set: true,
            pids_limit: true,
            oom_kill_disable: !host.unified,
            ipv4_forwarding: host.forwarding,
            n_fd: host.descriptors,
            // What we have instead: tasks.
            n_goroutines: i64::try_from(tokio::runtime::Handle::current().metrics().num_alive_tasks())
                .unwrap_or(i64::MAX),
            system_time: time::rfc3339(time::now()),
            logging_driver: settings.log.r#type.clone(),
            cgroup_driver: config.cgroups.name().into(),
            cgroup_version: if host.unified { "2".into() } else { "1".into() },
            n_events_listener: i64::try_from(self.inner.events.listeners()).unwrap_or(i64::MAX),
            kernel_version: host.kernel,
            operating_system: host.operating_system,
            os_type: "linux".into(),
            architecture: machine(),
            ncpu: i64::try_from(processors()).unwrap_or(1),
            mem_total: host.memory,
            index_server_address: "https://index.docker.io/v1/".into(),
            registry_config: Some(self.registries()),
            http_proxy: proxy(&settings.registry.proxies.http),
            https_proxy: proxy(&settings.registry.proxies.https),
            no_proxy: settings.registry.proxies.none.clone(),
            name: host.name,
            server_version: VERSION.into(),
            runtimes: settings
                .runtimes
                .clone()
                .into_iter()
                .chain([(
                    "corten".to_owned(),
                    Runtime { path: config.shim.display().to_string(), ..Runtime::default() },
                )])
                .collect(),
            default_runtime: settings.default_runtime.clone(),
            swarm: serde_json::json!({
                "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false,
                "Error": "", "RemoteManagers": null
            }),
            live_restore_enabled: true,
            isolation: String::new(),
            init_binary: String::new(),
            containerd_commit: Some(Commit::default()),
            runc_commit: Some(Commit::default()),
            init_commit: Some(Commit::default()),
            security_options: security,
            cdi_spec_dirs: settings.cdi_spec_dirs.clone(),
            default_address_pools: pools
                .iter()
                .map(|pool| AddressPool { base: pool.base.to_string(), size: pool.size.into() })
                .collect(),
            firewall_backend: Some(FirewallInfo { driver: "nftables".into(), info: Vec::new() }),
            warnings,
            ..SystemInfo::default()
        })
    }

    fn registries(&self) -> RegistryServiceConfig {
        let settings = self.settings();
        let mirrors = settings.registry.mirrors.clone();
        let hub =
            IndexInfo { name: "docker.io".into(), mirrors: mirrors.clone(), secure: true, official: true };
        let mut index_configs = std::collections::BTreeMap::from([("docker.io".to_owned(), hub)]);
        let (ranges, hosts): (Vec<_>, Vec<_>) =
            settings.registry.insecure.iter().cloned().partition(|r| r.contains('/'));
        for host in hosts {
            let index = IndexInfo { name: host.clone(), mirrors: Vec::new(), secure: false, official: false };
            index_configs.insert(host, index);
        }
        let mut insecure_registry_cidrs = vec!["::1/128".to_owned(), "127.0.0.0/8".to_owned()];
        insecure_registry_cidrs.extend(ranges);
        RegistryServiceConfig { insecure_registry_cidrs, index_configs, mirrors }
    }

    /// `GET /version`.
    pub fn version(&self) -> SystemVersion {
        let details = serde_json::json!({
            "ApiVersion": spec::api::API_VERSION,
            "MinAPIVersion": spec::api::MIN_API_VERSION,
            "Os": "linux",
            "Arch": go_arch(),
            "KernelVersion": kernel(),
            "Experimental": self.settings().experimental.to_string(),
            "GitCommit": "",
            "GoVersion": "",
            "BuildTime": "",
        });
        SystemVersion {
            platform: VersionPlatform { name: "Corten".into() },
            components: vec![VersionComponent { name: "Engine".into(), version: VERSION.into(), details }],
            version: VERSION.into(),
            api_version: spec::api::API_VERSION.into(),
            min_api_version: spec::api::MIN_API_VERSION.into(),
            os: "linux".into(),
            arch: go_arch(),
            kernel_version: kernel(),
            experimental: self.settings().experimental,
            ..SystemVersion::default()
        }
    }
}
