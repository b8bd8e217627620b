//! The flags of `run` and `create` as the engine's request.

use spec::api::{
    ContainerConfig, ContainerCreateRequest, Empty, EndpointSettings, HealthConfig, HostConfig, LogConfig,
    NetworkingConfig, Resources,
};

use std::collections::BTreeMap;

use super::create::CreateFlags;
use super::network::Attachment;
use super::port::Ports;
use super::volume::Volume;
use super::{device, env, limits, map, mount, network, secret, security, volume};
use crate::error::{Error, Result};

/// The standard streams a container's creator attaches to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Streams {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

impl CreateFlags {
    /// Refuses a `--pull` that is none.
    pub(crate) fn check_pull(&self) -> Result<()> {
        match self.pull.as_str() {
            "always" | "missing" | "never" | "" => Ok(()),
            pull => Err(Error::invalid(format!(
                "invalid pull option: '{pull}': must be one of \"always\", \"missing\" or \"never\""
            ))),
        }
    }

    /// Which streams are attached, given that the container does not run in the background.
    pub(crate) fn streams(&self) -> Streams {
        let mut streams = Streams::default();
        for word in &self.attach {
            match word.to_ascii_lowercase().as_str() {
                "stdin" => streams.stdin = true,
                "stdout" => streams.stdout = true,
                _ => streams.stderr = true,
            }
        }
        if self.attach.is_empty() {
            streams = Streams { stdin: false, stdout: true, stderr: true };
        }
        streams.stdin |= self.interactive;
        streams
    }

    /// The whole request. `words` are the image, then the command.
    pub(crate) fn request(&self, words: &[String], streams: Streams) -> Result<ContainerCreateRequest> {
        let (image, command) = words.split_first().ok_or_else(|| Error::invalid("an image is needed"))?;
        let mut request = ContainerCreateRequest {
            config: self.config(image, command, streams)?,
            host_config: self.host_config()?,
            networking_config: NetworkingConfig::default(),
            secrets: self
                .secret
                .iter()
                .map(|text| secret::read(text))
                .collect::<Result<_, _>>()
                .map_err(Error::Invalid)?,
        };
        self.networks(&mut request)?;
        self.volumes(&mut request)?;
        let mut ports = Ports::default();
        for text in &self.publish {
            ports.publish(text).map_err(Error::Invalid)?;
        }
        for text in &self.expose {
            ports.expose(text).map_err(Error::Invalid)?;
        }
        request.host_config.port_bindings = ports.bindings;
        request.config.exposed_ports = ports.exposed;
        Ok(request)
    }

    fn config(&self, image: &str, command: &[String], streams: Streams) -> Result<ContainerConfig> {
        Ok(ContainerConfig {
            hostname: self.hostname.clone(),
            domainname: self.domainname.clone(),
            user: self.user.clone(),
            attach_stdin: streams.stdin,
            attach_stdout: streams.stdout,
            attach_stderr: streams.stderr,
            tty: self.tty,
            open_stdin: self.interactive,
            stdin_once: self.interactive && streams.stdin,
            env: env::variables(&self.env_file, &self.env)?,
            cmd: command.to_vec(),
            healthcheck: self.health()?,
            image: image.to_owned(),
            working_dir: self.workdir.clone(),
            // An empty entrypoint means none: the API spells that as one empty word.
            entrypoint: self.entrypoint.iter().cloned().collect(),
            labels: map(&env::labels(&self.label_file, &self.label)?),
            stop_signal: Some(self.stop_signal.clone()).filter(|signal| !signal.is_empty()),
            stop_timeout: self.stop_timeout,
            ..ContainerConfig::default()
        })
    }

    fn health(&self) -> Result<Option<HealthConfig>> {
        let times = [
            self.health_interval,
            self.health_timeout,
            self.health_start_period,
            self.health_start_interval,
            self.health_retries,
        ];
        let any = !self.health_cmd.is_empty() || times.iter().any(|n| *n != 0);
        match (self.no_healthcheck, any) {
            (true, true) => Err(Error::invalid("--no-healthcheck conflicts with --health-* options")),
            (true, false) => Ok(Some(HealthConfig { test: vec!["NONE".into()], ..HealthConfig::default() })),
            (false, false) => Ok(None),
            (false, true) => {
                for (name, value) in [
                    "--health-interval",
                    "--health-timeout",
                    "--health-start-period",
                    "--health-start-interval",
                ]
                .iter()
                .zip(times)
                {
                    if value < 0 {
                        return Err(Error::invalid(format!("{name} cannot be negative")));
                    }
                }
                if self.health_retries < 0 {
                    return Err(Error::invalid("--health-retries cannot be negative"));
                }
                let test = match self.health_cmd.as_str() {
                    "" => Vec::new(),
                    command => vec!["CMD-SHELL".into(), command.into()],
                };
                Ok(Some(HealthConfig {
                    test,
                    interval: self.health_interval,
                    timeout: self.health_timeout,
                    retries: self.health_retries,
                    start_period: self.health_start_period,
                    start_interval: self.health_start_interval,
                }))
            }
        }
    }

    fn host_config(&self) -> Result<HostConfig> {
        let restart = limits::restart(&self.restart).map_err(Error::Invalid)?;
        if self.rm && !matches!(restart.name.as_str(), "" | "no") {
            return Err(Error::invalid("conflicting options: cannot specify both --restart and --rm"));
        }
        self.check_modes()?;
        if self.log_driver == "none" && !self.log_opt.is_empty() {
            return Err(Error::invalid("invalid logging opts for driver none"));
        }
        if self.storage_opt.iter().any(|option| !option.contains('=')) {
            return Err(Error::invalid("invalid storage option"));
        }
        let (cap_add, cap_drop) = security::capabilities(&self.cap_add, &self.cap_drop);
        let mut host = HostConfig {
            resources: self.resources()?,
            container_id_file: self.cidfile.clone(),
            log_config: LogConfig { r#type: self.log_driver.clone(), config: map(&self.log_opt) },
            restart_policy: Some(restart),
            auto_remove: self.rm,
            volume_driver: self.volume_driver.clone(),
            volumes_from: self.volumes_from.clone(),
            console_size: match crate::terminal::size().filter(|_| self.tty) {
                Some([height, width]) => vec![height.into(), width.into()],
                None => Vec::new(),
            },
            annotations: map(&self.annotation),
            cap_add,
            cap_drop,
            cgroupns_mode: self.cgroupns.clone(),
            dns: self.dns.clone(),
            dns_options: self.dns_option.clone(),
            dns_search: self.dns_search.clone(),
            extra_hosts: all("--add-host", &self.add_host, network::extra_host)?,
            group_add: self.group_add.clone(),
            ipc_mode: self.ipc.clone(),
            oom_score_adj: self.oom_score_adj,
            pid_mode: self.pid.clone(),
            privileged: self.privileged,
            publish_all_ports: self.publish_all,
            readonly_rootfs: self.read_only,
            storage_opt: map(&self.storage_opt),
            tmpfs: volume::tmpfs(&self.tmpfs),
            uts_mode: self.uts.clone(),
            userns_mode: self.userns.clone(),
            shm_size: self.shm_size,
            sysctls: map(&self.sysctl),
            runtime: Some(self.runtime.clone()).filter(|runtime| !runtime.is_empty()),
            ..HostConfig::default()
        };
        security::apply(&self.security_opt, &mut host)?;
        Ok(host)
    }

    /// Refuses namespaces of no kind.
    fn check_modes(&self) -> Result<()> {
        let of_container = |mode: &str| mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
        let pid = matches!(self.pid.as_str(), "" | "host") || of_container(&self.pid);
        for (ok, flag, kind) in [
            (pid, "pid", "PID"),
            (matches!(self.uts.as_str(), "" | "host"), "uts", "UTS"),
            (
                matches!(self.userns.as_str(), "" | "host" | "auto") || self.userns.starts_with("remap:"),
                "userns",
                "USER",
            ),
            (matches!(self.cgroupns.as_str(), "" | "host" | "private"), "cgroupns", "CGROUP"),
        ] {
            if !ok {
                return Err(Error::invalid(format!("--{flag}: invalid {kind} mode")));
            }
        }
        Ok(())
    }

    fn resources(&self) -> Result<Resources> {
        let (cdi, paths): (Vec<_>, Vec<_>) =
            self.device.iter().cloned().partition(|text| device::is_cdi(text));
        let mut requests: Vec<_> = (!cdi.is_empty()).then(|| device::cdi(cdi)).into_iter().collect();
        if let Some(text) = &self.gpus {
            requests.push(device::gpus(text).map_err(|reason| wrong("--gpus", text, &reason))?);
        }
        if self.memory_swappiness != -1 && !(0..=100).contains(&self.memory_swappiness) {
            return Err(Error::invalid(format!(
                "invalid value: {}. Valid memory swappiness range is 0-100",
                self.memory_swappiness
            )));
        }
        Ok(Resources {
            cpu_shares: self.cpu_shares,
            memory: self.memory,
            cgroup_parent: self.cgroup_parent.clone(),
            blkio_weight: self.blkio_weight.into(),
            blkio_weight_device: all("--blkio-weight-device", &self.blkio_weight_device, device::weight)?,
            blkio_device_read_bps: all("--device-read-bps", &self.device_read_bps, device::throttle_bytes)?,
            blkio_device_write_bps: all(
                "--device-write-bps",
                &self.device_write_bps,
                device::throttle_bytes,
            )?,
            blkio_device_read_iops: all(
                "--device-read-iops",
                &self.device_read_iops,
                device::throttle_operations,
            )?,
            blkio_device_write_iops: all(
                "--device-write-iops",
                &self.device_write_iops,
                device::throttle_operations,
            )?,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpu_realtime_period: self.cpu_rt_period,
            cpu_realtime_runtime: self.cpu_rt_runtime,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            devices: paths
                .iter()
                .map(|path| device::mapping(path))
                .collect::<Result<_, _>>()
                .map_err(Error::Invalid)?,
            device_cgroup_rules: all("--device-cgroup-rule", &self.device_cgroup_rule, device::cgroup_rule)?,
            device_requests: requests,
            memory_reservation: self.memory_reservation,
            memory_swap: self.memory_swap,
            memory_swappiness: Some(self.memory_swappiness),
            nano_cpus: self.cpus,
            oom_kill_disable: self.oom_kill_disable,
            init: self.init,
            pids_limit: Some(self.pids_limit).filter(|limit| *limit != 0),
            // Of several for the same resource the last counts.
            ulimits: all("--ulimit", &self.ulimit, limits::ulimit)?
                .into_iter()
                .map(|limit| (limit.name.clone(), limit))
                .collect::<BTreeMap<_, _>>()
                .into_values()
                .collect(),
            ..Resources::default()
        })
    }

    /// Networks: the first takes the flags that name none.
    fn networks(&self, request: &mut ContainerCreateRequest) -> Result<()> {
        let mut attachments = Vec::new();
        for text in &self.network {
            attachments.push(network::parse(text).map_err(|reason| wrong("--network", text, &reason))?);
        }
        if attachments.is_empty() {
            attachments.push(Attachment { name: "default".into(), settings: EndpointSettings::default() });
        }
        let name = attachments[0].name.clone();
        if attachments.len() > 1 && !attachments.iter().all(|a| is_user_defined(&a.name)) {
            return Err(Error::invalid(
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
            ));
        }
        self.endpoint(&mut attachments[0].settings, is_user_defined(&name))?;
        request.host_config.links = self.link.clone();
        request.host_config.network_mode = name;
        request.networking_config.endpoints_config = attachments
            .into_iter()
            .filter(|a| is_user_defined(&a.name) || a.settings != EndpointSettings::default())
            .map(|a| (a.name, a.settings))
            .collect();
        Ok(())
    }

    /// What the flags say of the first network.
    fn endpoint(&self, first: &mut EndpointSettings, user_defined: bool) -> Result<()> {
        let ipam = first.ipam_config.clone().unwrap_or_default();
        for (both, flag, other) in [
            (!self.network_alias.is_empty() && !first.aliases.is_empty(), "--network-alias", "alias"),
            (!self.ip.is_empty() && !ipam.ipv4_address.is_empty(), "--ip", "IPv4 address"),
            (!self.ip6.is_empty() && !ipam.ipv6_address.is_empty(), "--ip6", "IPv6 address"),
            (!self.mac_address.is_empty() && !first.mac_address.is_empty(), "--mac-address", "MAC address"),
        ] {
            if both {
                return Err(Error::invalid(format!(
                    "conflicting options: cannot specify both {flag} and per-network {other}"
                )));
            }
        }
        if !self.network_alias.is_empty() && !user_defined {
            return Err(Error::invalid(
                "network-scoped aliases are only supported for user-defined networks",
            ));
        }
        first.aliases.extend_from_slice(&self.network_alias);
        if user_defined {
            first.links.extend_from_slice(&self.link);
        }
        for (flag, text) in [("--ip", &self.ip), ("--ip6", &self.ip6)] {
            if !text.is_empty() {
                let address = network::address(text).map_err(|reason| wrong(flag, text, &reason))?;
                let ipam = network::ipam(first);
                *if flag == "--ip" { &mut ipam.ipv4_address } else { &mut ipam.ipv6_address } = address;
            }
        }
        if !self.link_local_ip.is_empty() {
            network::ipam(first).link_local_ips.extend_from_slice(&self.link_local_ip);
        }
        if !self.mac_address.is_empty() {
            if !network::is_mac(&self.mac_address) {
                return Err(Error::invalid(format!("{} is not a valid mac address", self.mac_address)));
            }
            first.mac_address.clone_from(&self.mac_address);
        }
        Ok(())
    }

    fn volumes(&self, request: &mut ContainerCreateRequest) -> Result<()> {
        if self.volume.is_empty() && self.mount.is_empty() {
            return Ok(());
        }
        let current = std::env::current_dir()
            .map_err(|source| Error::Io { what: "cannot find the current directory", source })?;
        let home = crate::app::env("HOME").unwrap_or_default();
        for text in &self.volume {
            match volume::parse(text, &current, &home).map_err(Error::Invalid)? {
                Volume::Anonymous(target) => {
                    request.config.volumes.insert(target, Empty {});
                }
                Volume::Bind(bind) => request.host_config.binds.push(bind),
            }
        }
        for text in &self.mount {
            let mount = mount::parse(text, &current).map_err(|reason| wrong("--mount", text, &reason))?;
            request.host_config.mounts.push(mount);
        }
        Ok(())
    }
}

/// Reads every word of a flag.
fn all<T>(flag: &str, words: &[String], read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>> {
    words.iter().map(|word| read(word).map_err(|reason| wrong(flag, word, &reason))).collect()
}

fn is_user_defined(network: &str) -> bool {
    !matches!(network, "default" | "bridge" | "host" | "none") && !network.starts_with("container:")
}

fn wrong(flag: &str, value: &str, reason: &str) -> Error {
    Error::invalid(format!("invalid argument {value:?} for {flag:?} flag: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches as _;
    use serde_json::{Value, json};

    fn request(words: &[&str]) -> Result<Value> {
        let words_too = clap::Arg::new("words").num_args(0..);
        let command = <CreateFlags as clap::Args>::augment_args(clap::Command::new("x")).arg(words_too);
        let command = crate::verb::adapt(command, true);
        let matches = command.try_get_matches_from(std::iter::once(&"x").chain(words));
        let matches = matches.map_err(|error| Error::invalid(error.to_string()))?;
        let flags = CreateFlags::from_arg_matches(&matches).unwrap();
        let words: Vec<String> = matches.get_many("words").unwrap().cloned().collect();
        let streams = flags.streams();
        Ok(serde_json::to_value(flags.request(&words, streams)?).unwrap())
    }

    fn check(words: &str, path: &str, wanted: Value) {
        let words: Vec<_> = words.split(' ').collect();
        let request = request(&words).unwrap_or_else(|e| panic!("{words:?}: {e}"));
        assert_eq!(request.pointer(path).unwrap_or(&Value::Null), &wanted, "{words:?} {path}");
    }

    #[test]
    fn flags_become_the_request() {
        for (words, path, wanted) in [
            ("img", "/Image", json!("img")),
            ("img a b", "/Cmd", json!(["a", "b"])),
            ("img", "/Cmd", Value::Null),
            ("img", "/HostConfig/MemorySwappiness", json!(-1)),
            ("img", "/HostConfig/NetworkMode", json!("default")),
            ("img", "/NetworkingConfig/EndpointsConfig", json!({})),
            ("img", "/HostConfig/RestartPolicy", json!({"Name": "no", "MaximumRetryCount": 0})),
            ("img", "/HostConfig/PidsLimit", Value::Null),
            ("img", "/AttachStdout", json!(true)),
            ("-a stderr img", "/AttachStdout", json!(false)),
            ("-i img", "/StdinOnce", json!(true)),
            ("-e A=1 -e B=2 img", "/Env", json!(["A=1", "B=2"])),
            ("--entrypoint sh img -c x", "/Entrypoint", json!(["sh"])),
            ("-l a=1 --label b img", "/Labels", json!({"a": "1", "b": ""})),
            (
                "-p 8080:80 img",
                "/HostConfig/PortBindings/80~1tcp",
                json!([{"HostIp": "", "HostPort": "8080"}]),
            ),
            ("-p 8080:80 img", "/ExposedPorts", json!({"80/tcp": {}})),
            ("-v /a:/b:ro -v /c img", "/HostConfig/Binds", json!(["/a:/b:ro"])),
            ("-v /a:/b:ro -v /c img", "/Volumes", json!({"/c": {}})),
            ("--tmpfs /t:size=1m img", "/HostConfig/Tmpfs", json!({"/t": "size=1m"})),
            ("-m 64m img", "/HostConfig/Memory", json!(67_108_864)),
            ("--memory-swap -1 img", "/HostConfig/MemorySwap", json!(-1)),
            ("--cpus 1.5 img", "/HostConfig/NanoCpus", json!(1_500_000_000)),
            ("--pids-limit -1 img", "/HostConfig/PidsLimit", json!(-1)),
            ("--network n --network-alias a img", "/HostConfig/NetworkMode", json!("n")),
            (
                "--network n --network-alias a img",
                "/NetworkingConfig/EndpointsConfig/n/Aliases",
                json!(["a"]),
            ),
            ("--net host img", "/HostConfig/NetworkMode", json!("host")),
            ("--link db:x img", "/HostConfig/Links", json!(["db:x"])),
            ("--restart on-failure:2 img", "/HostConfig/RestartPolicy/MaximumRetryCount", json!(2)),
            ("--add-host a=1.2.3.4 img", "/HostConfig/ExtraHosts", json!(["a:1.2.3.4"])),
            ("--add-host a:host-gateway img", "/HostConfig/ExtraHosts", json!(["a:host-gateway"])),
            ("--health-cmd true --health-interval 2s img", "/Healthcheck/Test", json!(["CMD-SHELL", "true"])),
            ("--health-cmd true --health-interval 2s img", "/Healthcheck/Interval", json!(2_000_000_000)),
            ("--no-healthcheck img", "/Healthcheck/Test", json!(["NONE"])),
            ("--security-opt systempaths=unconfined img", "/HostConfig/MaskedPaths", json!([])),
            ("--security-opt no-new-privileges img", "/HostConfig/SecurityOpt", json!(["no-new-privileges"])),
            ("--device /dev/fuse img", "/HostConfig/Devices/0/PathInContainer", json!("/dev/fuse")),
            ("--gpus all img", "/HostConfig/DeviceRequests/0/Count", json!(-1)),
            (
                "--ulimit nofile=1:2 img",
                "/HostConfig/Ulimits",
                json!([{"Name": "nofile", "Soft": 1, "Hard": 2}]),
            ),
            ("--init img", "/HostConfig/Init", json!(true)),
            ("--stop-timeout 3 img", "/StopTimeout", json!(3)),
            ("--sysctl net.a=1 img", "/HostConfig/Sysctls", json!({"net.a": "1"})),
            (
                "--log-driver local --log-opt a=b img",
                "/HostConfig/LogConfig",
                json!({"Type": "local", "Config": {"a": "b"}}),
            ),
        ] {
            check(words, path, wanted);
        }
        assert_eq!(request(&["--entrypoint", "", "img"]).unwrap()["Entrypoint"], json!([""]));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for words in [
            "--rm --restart always img",
            "--no-healthcheck --health-cmd x img",
            "-a nowhere img",
            "--network host --network n img",
            "--network n --network host img",
            "--network-alias a img",
            "--network name=n,ip=1.2.3.4 --ip 1.2.3.5 img",
            "--mac-address x img",
            "--pid bogus img",
            "-p 80:80:80:80 img",
            "-v a:b:c:d img",
            "--memory-swappiness 101 img",
        ] {
            assert!(request(&words.split(' ').collect::<Vec<_>>()).is_err(), "{words}");
        }
    }
}
