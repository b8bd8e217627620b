//! Whether a request can be honoured. What Docker refuses is refused in its words; what Docker does and Corten does
//! not yet is refused plainly: an option that would change what a container may do is never ignored.

use spec::api::{ContainerConfig, HostConfig, Resources};

use super::health::{OnFailure, Test};
use super::record::{NetworkMode, network_mode};
use super::security;
use crate::Error;

const MIB: i64 = 1 << 20;
/// The least memory a container can be given.
const MIN_MEMORY: i64 = 6 * MIB;

fn invalid<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid(text.into()))
}

fn not_yet<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::NotImplemented(text.into()))
}

/// Checks which modes go together. The user's configuration alone: what the image exposes is no conflict.
pub(crate) fn modes(config: &ContainerConfig, host: &HostConfig) -> Result<(), Error> {
    let conflicting = |what: &str| invalid(format!("conflicting options: {what}"));
    match network_mode(&host.network_mode) {
        NetworkMode::Container(target) => {
            if target.is_empty() {
                return invalid("invalid network mode: invalid container format container:<name|id>");
            }
            for (given, what) in [
                (!config.hostname.is_empty(), "hostname and the network mode"),
                (
                    !host.links.is_empty(),
                    "container type network can't be used with links. This would result in undefined behavior",
                ),
                (!host.dns.is_empty(), "dns and the network mode"),
                (!host.extra_hosts.is_empty(), "custom host-to-IP mapping and the network mode"),
                (
                    !host.port_bindings.is_empty() || host.publish_all_ports,
                    "port publishing and the container type network mode",
                ),
                (!config.exposed_ports.is_empty(), "port exposing and the container type network mode"),
            ] {
                if given {
                    return conflicting(what);
                }
            }
        }
        NetworkMode::Host if !host.links.is_empty() => {
            return conflicting(
                "host type networking can't be used with links. This would result in undefined behavior",
            );
        }
        NetworkMode::Host | NetworkMode::None | NetworkMode::Networks => {}
    }
    if host.uts_mode == "host" && !config.hostname.is_empty() {
        return conflicting("hostname and the UTS mode");
    }
    Ok(())
}

/// Checks a merged configuration and its host half. Returns the warnings to show.
pub(crate) fn request(config: &ContainerConfig, host: &HostConfig) -> Result<Vec<String>, Error> {
    configuration(config)?;
    let mut warnings = Vec::new();
    resources(&host.resources)?;
    namespaces(host)?;
    restart(host)?;
    super::logging::Logging::read(&host.log_config)?;
    security::read(&host.security_opt)?;
    security::capabilities(host)?;
    sysctls(host)?;
    if host.shm_size < 0 {
        return invalid("SHM size can not be less than 0");
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        ));
    }
    size_limit(host)?;
    if let Some(runtime) = host.runtime.as_deref()
        && !matches!(runtime, "" | "corten" | "runc" | "io.containerd.runc.v2")
    {
        return invalid(format!("unknown or invalid runtime name: {runtime}"));
    }
    if !matches!(host.isolation.as_str(), "" | "default") {
        return invalid(format!("invalid isolation ({}): linux only supports 'default'", host.isolation));
    }
    if host.annotations.contains_key("") {
        return invalid("invalid Annotations: the empty string is not permitted as an annotation key");
    }
    if let Some(health) = &config.healthcheck
        && !Test::is_known(&health.test)
    {
        warnings.push(format!("Unknown healthcheck type '{}': no health check is run", health.test[0]));
    }
    if network_mode(&host.network_mode) == NetworkMode::Host && !host.port_bindings.is_empty() {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    Ok(warnings)
}

/// How many bytes the writable layer may take: `--storage-opt size=10G`.
pub(crate) fn size_limit(host: &HostConfig) -> Result<Option<u64>, Error> {
    let mut limit = None;
    for (key, value) in &host.storage_opt {
        if key != "size" {
            return invalid(format!("unknown option {key} of --storage-opt: the only one is size"));
        }
        match spec::size::parse(value) {
            Some(bytes) if bytes > 0 => limit = Some(bytes),
            _ => return invalid(format!("invalid size of --storage-opt: {value:?}")),
        }
    }
    Ok(limit)
}

fn configuration(config: &ContainerConfig) -> Result<(), Error> {
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        ));
    }
    if let Some(variable) = config.env.iter().find(|v| v.is_empty() || v.starts_with('=')) {
        return invalid(format!("invalid environment variable: {variable}"));
    }
    if let Some(signal) = config.stop_signal.as_deref()
        && !signal.is_empty()
        && spec::signal::parse(signal).is_none()
    {
        return invalid(format!("invalid signal: {signal}"));
    }
    if config.hostname.len() > 64 || config.hostname.contains(['/', '\n', ' ']) {
        return invalid(format!("invalid hostname: {:?}", config.hostname));
    }
    if config.domainname.contains(['/', '\n', ' ']) {
        return invalid(format!("invalid domain name: {:?}", config.domainname));
    }
    OnFailure::read(&config.labels)?;
    if let Some(health) = &config.healthcheck {
        Test::read(&health.test, &config.shell)?;
        for (name, value) in [
            ("Interval", health.interval),
            ("Timeout", health.timeout),
            ("StartPeriod", health.start_period),
            ("StartInterval", health.start_interval),
        ] {
            if value != 0 && value < 1_000_000 {
                return invalid(format!("{name} in Healthcheck cannot be less than 1ms"));
            }
        }
        if health.retries < 0 {
            return invalid("Retries in Healthcheck cannot be negative");
        }
    }
    Ok(())
}

/// Limits, at create and at update alike.
pub(crate) fn resources(r: &Resources) -> Result<(), Error> {
    if r.memory != 0 && r.memory < MIN_MEMORY {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if r.memory > 0 && r.memory_swap > 0 && r.memory_swap < r.memory {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if r.memory == 0 && r.memory_swap > 0 {
        return invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if let Some(swappiness) = r.memory_swappiness.filter(|n| !(-1..=100).contains(n)) {
        return invalid(format!("Invalid value: {swappiness}, valid memory swappiness range is 0-100"));
    }
    if r.memory_reservation != 0 && r.memory_reservation < MIN_MEMORY {
        return invalid("Minimum memory reservation allowed is 6MB");
    }
    if r.memory > 0 && r.memory_reservation > r.memory {
        return invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if r.nano_cpus != 0 && r.cpu_period > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set.");
    }
    if r.nano_cpus != 0 && r.cpu_quota > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set.");
    }
    if r.cpu_shares < 0 {
        return invalid(format!("invalid CPU shares ({}): value must be a positive integer", r.cpu_shares));
    }
    if r.cpu_period != 0 && !(1000..=1_000_000).contains(&r.cpu_period) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if r.cpu_quota > 0 && r.cpu_quota < 1000 {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if r.blkio_weight != 0 && !(10..=1000).contains(&r.blkio_weight) {
        return invalid("Range of blkio weight is from 10 to 1000");
    }
    for weight in &r.blkio_weight_device {
        if weight.weight != 0 && !(10..=1000).contains(&weight.weight) {
            return invalid(format!("invalid weight for device: {}:{}", weight.path, weight.weight));
        }
    }
    for ulimit in &r.ulimits {
        rlimit_name(&ulimit.name)?;
        if ulimit.hard >= 0 && ulimit.soft > ulimit.hard {
            return invalid(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                ulimit.soft, ulimit.hard
            ));
        }
    }
    if r.cpu_count != 0 || r.cpu_percent != 0 || r.io_maximum_iops != 0 || r.io_maximum_bandwidth != 0 {
        return invalid("CpuCount, CpuPercent and IOMaximum… are Windows' options");
    }
    Ok(())
}

/// `nofile` as `RLIMIT_NOFILE`.
pub(crate) fn rlimit_name(name: &str) -> Result<String, Error> {
    const NAMES: [&str; 16] = [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let lower = name.to_ascii_lowercase();
    let short = lower.strip_prefix("rlimit_").unwrap_or(&lower);
    if NAMES.contains(&short) {
        Ok(format!("RLIMIT_{}", short.to_ascii_uppercase()))
    } else {
        invalid(format!("invalid ulimit type: {name}"))
    }
}

fn namespaces(host: &HostConfig) -> Result<(), Error> {
    let container = |mode: &str| mode.strip_prefix("container:").is_some_and(|c| !c.is_empty());
    if !matches!(host.userns_mode.as_str(), "" | "host") {
        return not_yet("user namespaces are not supported yet (--userns)");
    }
    if !matches!(host.uts_mode.as_str(), "" | "host") {
        return invalid(format!("invalid UTS mode: {}", host.uts_mode));
    }
    if !matches!(host.cgroupns_mode.as_str(), "" | "private" | "host") {
        return invalid(format!("invalid cgroup namespace mode: {}", host.cgroupns_mode));
    }
    if !matches!(host.pid_mode.as_str(), "" | "host") && !container(&host.pid_mode) {
        return invalid(format!("invalid PID mode: {}", host.pid_mode));
    }
    if !matches!(host.ipc_mode.as_str(), "" | "private" | "shareable" | "host" | "none")
        && !container(&host.ipc_mode)
    {
        return invalid(format!("invalid IPC mode: {}", host.ipc_mode));
    }
    if !host.cgroup.is_empty() {
        return not_yet("joining another container's cgroup is not supported");
    }
    if host.resources.cgroup_parent.split('/').any(|part| part == "..") {
        return invalid("cgroup-parent must not contain \"..\"");
    }
    Ok(())
}

/// A restart policy, at create and at update alike.
pub(crate) fn restart(host: &HostConfig) -> Result<(), Error> {
    let Some(policy) = &host.restart_policy else { return Ok(()) };
    match policy.name.as_str() {
        "" | "no" | "always" | "unless-stopped" => {
            if policy.maximum_retry_count > 0 {
                return invalid(
                    "invalid restart policy: maximum retry count can only be used with 'on-failure'",
                );
            }
        }
        "on-failure" => {
            if policy.maximum_retry_count < 0 {
                return invalid("invalid restart policy: maximum retry count cannot be negative");
            }
        }
        other => {
            return invalid(format!(
                "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            ));
        }
    }
    if host.auto_remove && !matches!(policy.name.as_str(), "" | "no") {
        return invalid("can't create 'AutoRemove' container with restart policy");
    }
    Ok(())
}

/// Only what a namespace of the container holds may be set.
fn sysctls(host: &HostConfig) -> Result<(), Error> {
    const IPC: [&str; 9] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.shm_next_id",
    ];
    for key in host.sysctls.keys() {
        let dotted = key.replace('/', ".");
        let ipc = IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.");
        let shares_ipc = host.ipc_mode == "host" || host.ipc_mode.starts_with("container:");
        let shares_net =
            matches!(network_mode(&host.network_mode), NetworkMode::Host | NetworkMode::Container(_));
        if dotted.starts_with("net.") {
            if shares_net {
                return invalid(format!("sysctl '{key}' not allowed in host network namespace"));
            }
        } else if ipc {
            if shares_ipc {
                return invalid(format!("sysctl '{key}' not allowed in host ipc namespace"));
            }
        } else {
            return invalid(format!("sysctl \"{key}\" is not in a separate kernel namespace"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::api::{LogConfig, RestartPolicy};

    fn host(change: impl FnOnce(&mut HostConfig)) -> HostConfig {
        let mut host = HostConfig::default();
        change(&mut host);
        host
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        let refused = [
            (host(|h| h.resources.memory = 1), "Minimum memory limit allowed is 6MB"),
            (host(|h| h.userns_mode = "remap".into()), "user namespaces are not supported yet"),
            (
                host(|h| h.cap_add = vec!["SYS_FOO".into()]),
                "invalid CapAdd: unknown capability: \"CAP_SYS_FOO\"",
            ),
            (host(|h| h.security_opt = vec!["apparmor=x".into()]), "AppArmor is not available"),
            (host(|h| h.security_opt = vec!["foo".into()]), "invalid --security-opt 1: \"foo\""),
            (
                host(|h| h.log_config = LogConfig { r#type: "nope".into(), ..LogConfig::default() }),
                "log driver",
            ),
            (
                host(|h| {
                    h.sysctls.insert("kernel.hostname".into(), "x".into());
                }),
                "not in a separate kernel namespace",
            ),
            (
                host(|h| {
                    h.sysctls.insert("net.x".into(), "1".into());
                    h.network_mode = "host".into();
                }),
                "not allowed in host network",
            ),
            (
                host(|h| {
                    h.auto_remove = true;
                    h.restart_policy = Some(RestartPolicy { name: "always".into(), maximum_retry_count: 0 });
                }),
                "can't create 'AutoRemove' container with restart policy",
            ),
        ];
        for (host, text) in refused {
            let error = request(&ContainerConfig::default(), &host).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        assert!(request(&ContainerConfig::default(), &HostConfig::default()).unwrap().is_empty());
    }
}
