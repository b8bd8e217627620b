//! What the user sets for all containers and pulls. Replaced as a whole while the engine runs: [`Engine::configure`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, PoisonError};

use spec::api::{ContainerConfig, HostConfig, LogConfig, Runtime, Ulimit};

use crate::collect::FreeSpace;
use crate::container::{cdi, check};
use crate::{Engine, Error, events, system};

/// The settings. What is empty is Docker's default.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Shown by `info`.
    pub labels: Vec<String>,
    /// Shown by `info`.
    pub debug: bool,
    /// Shown by `info` and `version`.
    pub experimental: bool,
    /// How new containers log.
    pub log: LogConfig,
    /// Limits of new containers that do not set their own.
    pub ulimits: Vec<Ulimit>,
    /// `/dev/shm` of new containers, bytes; 0 is the default.
    pub shm_size: i64,
    /// Seconds between a container's stop signal and SIGKILL; -1 waits for ever.
    pub stop_timeout: Option<i64>,
    /// New containers get an init.
    pub init: bool,
    /// New containers cannot gain privileges.
    pub no_new_privileges: bool,
    /// The system call filter of containers that name none: empty is the built-in one, `unconfined` is none, else a
    /// profile's JSON.
    pub seccomp_profile: String,
    /// Where CDI specifications are, the later directories winning.
    pub cdi_spec_dirs: Vec<String>,
    /// `host` or `private`.
    pub cgroupns_mode: String,
    /// `shareable` or `private`.
    pub ipc_mode: String,
    /// Name servers of containers that name none.
    pub dns: Vec<String>,
    /// Search domains of containers that name none.
    pub dns_search: Vec<String>,
    /// resolv.conf options of containers that name none.
    pub dns_options: Vec<String>,
    /// What `host-gateway` means; else the default bridge's address.
    pub host_gateway: Vec<IpAddr>,
    /// Where ports of containers on the default network are published.
    pub publish_ip: Option<Ipv4Addr>,
    /// Options of new networks, by driver.
    pub network_options: BTreeMap<String, BTreeMap<String, String>>,
    /// Runtimes beside our own. They are shown and refused.
    pub runtimes: BTreeMap<String, Runtime>,
    /// The runtime of containers that name none.
    pub default_runtime: String,
    /// How much of the data root's file system the collector keeps free.
    pub free_space: FreeSpace,
    /// Registries.
    pub registry: registry::client::Config,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            labels: Vec::new(),
            debug: false,
            experimental: false,
            log: LogConfig { r#type: "json-file".into(), ..LogConfig::default() },
            ulimits: Vec::new(),
            shm_size: 0,
            stop_timeout: None,
            init: false,
            no_new_privileges: false,
            seccomp_profile: String::new(),
            cdi_spec_dirs: cdi::DIRECTORIES.map(str::to_owned).to_vec(),
            cgroupns_mode: String::new(),
            ipc_mode: String::new(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            host_gateway: Vec::new(),
            publish_ip: None,
            network_options: BTreeMap::new(),
            runtimes: BTreeMap::new(),
            default_runtime: "corten".into(),
            free_space: FreeSpace::default(),
            registry: registry::client::Config::default(),
        }
    }
}

impl Settings {
    /// Whether containers can be made with these settings: what each create would be told is told once.
    ///
    /// # Errors
    /// As of a create that asks for nothing.
    pub fn check(&self) -> Result<(), Error> {
        let mut host = HostConfig::default();
        self.fill(&mut host);
        check::request(&ContainerConfig::default(), &host).map(drop)
    }

    /// Fills in what a new container's user left open. It is recorded with the container, so that a later change
    /// of the settings is for later containers.
    pub(crate) fn fill(&self, host: &mut HostConfig) {
        if host.log_config.r#type.is_empty() {
            host.log_config.r#type.clone_from(&self.log.r#type);
        }
        if host.log_config.r#type == self.log.r#type {
            for (key, value) in &self.log.config {
                host.log_config.config.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        for ulimit in &self.ulimits {
            if !host.resources.ulimits.iter().any(|own| own.name == ulimit.name) {
                host.resources.ulimits.push(ulimit.clone());
            }
        }
        if host.shm_size == 0 {
            host.shm_size = self.shm_size;
        }
        if host.resources.init.is_none() && self.init {
            host.resources.init = Some(true);
        }
        let says = |host: &HostConfig, option: &str| {
            host.security_opt.iter().any(|o| o.split(['=', ':']).next() == Some(option))
        };
        if self.no_new_privileges && !says(host, "no-new-privileges") {
            host.security_opt.push("no-new-privileges".into());
        }
        if !self.seccomp_profile.is_empty() && !host.privileged && !says(host, "seccomp") {
            host.security_opt.push(format!("seccomp={}", self.seccomp_profile));
        }
        for (mode, default) in
            [(&mut host.cgroupns_mode, &self.cgroupns_mode), (&mut host.ipc_mode, &self.ipc_mode)]
        {
            if mode.is_empty() {
                mode.clone_from(default);
            }
        }
    }

    /// Name servers, search domains and options of a container's resolv.conf: its own, else ours.
    pub(crate) fn resolver<'a>(&'a self, host: &'a HostConfig) -> [&'a [String]; 3] {
        [(&host.dns, &self.dns), (&host.dns_search, &self.dns_search), (&host.dns_options, &self.dns_options)]
            .map(|(own, ours)| if own.is_empty() { &ours[..] } else { &own[..] })
    }

    /// Where ports of a container are published whose user names no address.
    pub(crate) fn publish_on(&self, host: &HostConfig) -> Ipv4Addr {
        let default = matches!(host.network_mode.as_str(), "" | "default" | "bridge");
        self.publish_ip.filter(|_| default).unwrap_or(Ipv4Addr::UNSPECIFIED)
    }
}

impl Engine {
    /// The settings as they are now.
    pub fn settings(&self) -> Arc<Settings> {
        // What is behind the lock is replaced in one step: a panic elsewhere leaves it whole.
        Arc::clone(&self.inner.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the settings, and tells it as `daemon reload` with these attributes.
    pub fn configure(&self, settings: Settings, mut attributes: BTreeMap<String, String>) {
        self.inner.registry.configure(settings.registry.clone());
        *self.inner.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        attributes.insert("name".into(), system::hostname());
        self.publish(events::message("daemon", "reload", &system::id(), attributes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ulimit(name: &str, soft: i64) -> Ulimit {
        Ulimit { name: name.into(), soft, hard: soft }
    }

    #[test]
    fn the_user_wins_and_the_settings_fill_in() {
        let settings = Settings {
            log: LogConfig { r#type: "json-file".into(), config: [("max-size".into(), "1m".into())].into() },
            ulimits: vec![ulimit("nofile", 1), ulimit("core", 2)],
            shm_size: 7,
            init: true,
            no_new_privileges: true,
            seccomp_profile: "unconfined".into(),
            cgroupns_mode: "host".into(),
            dns: vec!["1.1.1.1".into()],
            publish_ip: Some(Ipv4Addr::LOCALHOST),
            ..Settings::default()
        };
        let mut open = HostConfig::default();
        settings.fill(&mut open);
        assert_eq!((open.log_config.r#type.as_str(), open.shm_size), ("json-file", 7));
        assert_eq!(open.log_config.config["max-size"], "1m");
        assert_eq!(open.resources.ulimits, settings.ulimits);
        assert_eq!(open.resources.init, Some(true));
        assert_eq!(open.security_opt, ["no-new-privileges", "seccomp=unconfined"]);
        assert_eq!(open.cgroupns_mode, "host");
        assert_eq!(settings.resolver(&open)[0], ["1.1.1.1"]);
        assert_eq!(settings.publish_on(&open), Ipv4Addr::LOCALHOST);

        let mut own = HostConfig {
            log_config: LogConfig { r#type: "none".into(), ..LogConfig::default() },
            security_opt: vec!["no-new-privileges=false".into(), "seccomp=builtin".into()],
            shm_size: 1,
            network_mode: "host".into(),
            dns: vec!["9.9.9.9".into()],
            ..HostConfig::default()
        };
        own.resources.ulimits = vec![ulimit("nofile", 9)];
        own.resources.init = Some(false);
        settings.fill(&mut own);
        assert!(own.log_config.config.is_empty());
        assert_eq!(own.security_opt, ["no-new-privileges=false", "seccomp=builtin"]);
        assert_eq!((own.shm_size, own.resources.init), (1, Some(false)));
        assert_eq!(own.resources.ulimits, [ulimit("nofile", 9), ulimit("core", 2)]);
        assert_eq!(settings.resolver(&own)[0], ["9.9.9.9"]);
        assert_eq!(settings.publish_on(&own), Ipv4Addr::UNSPECIFIED);
    }
}
