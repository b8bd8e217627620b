//! What is recorded of a container: the user's intent, and its place on networks while it runs.

use std::collections::BTreeMap;

use network::{Endpoint, PublishedPort};
use serde::{Deserialize, Serialize};
use spec::api::{self, ContainerConfig, Descriptor, EndpointSettings, HostConfig};
use spec::{Digest, Id};

use super::mounts::{self, Kind, MountPoint};
use super::secrets::Secret;
use super::selinux::Labels;
use super::state::{Policy, Restart};
use super::userns::Ids;

/// What the user asked for, merged with the image's configuration: `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Of this record's form.
    pub(crate) version: u32,
    pub(crate) id: Id,
    /// Without the slash.
    pub(crate) name: String,
    /// Nanoseconds since 1970.
    pub(crate) created_at: u64,
    /// The target its image name pointed at: Docker's image id.
    pub(crate) image: Digest,
    /// The manifest it was made from.
    pub(crate) manifest: Descriptor,
    pub(crate) config: ContainerConfig,
    pub(crate) host: HostConfig,
    /// All mounts but the standard ones, parents before children.
    pub(crate) mounts: Vec<MountPoint>,
    /// The networks it wants to be on, by name.
    pub(crate) networks: BTreeMap<String, EndpointSettings>,
    /// Their contents are files beside this record.
    #[serde(default)]
    pub(crate) secrets: Vec<Secret>,
    /// The host's ids of its users and groups; `None`: they are the same.
    #[serde(default)]
    pub(crate) ids: Option<Ids>,
    /// SELinux's; `None`: it is not there, or not wanted.
    #[serde(default)]
    pub(crate) labels: Option<Labels>,
}

/// The version this engine writes.
pub(crate) const VERSION: u32 = 1;

/// A container's place on networks, while it runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attachment {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) ports: Vec<PublishedPort>,
}

/// `HostConfig.NetworkMode`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NetworkMode {
    /// The host's namespace.
    Host,
    /// Only loopback.
    None,
    /// Another container's namespace: its id or name.
    Container(String),
    /// The default bridge or a network of the user's.
    Networks,
}

impl Record {
    /// What is to happen when it ends.
    pub(crate) fn policy(&self) -> Policy {
        let restart = match &self.host.restart_policy {
            None => Restart::No,
            Some(policy) => match policy.name.as_str() {
                "always" => Restart::Always,
                "unless-stopped" => Restart::UnlessStopped,
                "on-failure" => {
                    Restart::OnFailure { max: u32::try_from(policy.maximum_retry_count).unwrap_or(0) }
                }
                _ => Restart::No,
            },
        };
        Policy { restart, auto_remove: self.host.auto_remove, health: super::health::rules(&self.config) }
    }

    /// Its writable layers: its own, then those above the images it has mounted, in the order of the mounts. Nothing is
    /// written to the latter.
    pub(crate) fn layers(&self) -> Vec<String> {
        let images = self.mounts.iter().map(|mount| &mount.layer).filter(|layer| !layer.is_empty());
        std::iter::once(self.id.to_string()).chain(images.cloned()).collect()
    }

    /// Whether nothing of it lasts longer than the machine is up: it is removed when it ends, and has no volumes to be
    /// removed with it.
    pub(crate) fn is_transient(&self) -> bool {
        self.host.auto_remove && !self.mounts.iter().any(|mount| mount.anonymous)
    }

    /// Its mounts as clients see them: those of `--tmpfs` stand in the host's configuration only.
    pub(crate) fn shown_mounts(&self) -> Vec<api::MountPoint> {
        let plain = |m: &MountPoint| {
            m.kind == Kind::Tmpfs && self.host.tmpfs.keys().any(|path| mounts::clean(path) == m.destination)
        };
        self.mounts.iter().filter(|m| !plain(m)).map(MountPoint::api).collect()
    }

    /// How it is connected.
    pub(crate) fn network_mode(&self) -> NetworkMode {
        network_mode(&self.host.network_mode)
    }

    /// The program and its arguments, as they are executed.
    pub(crate) fn command(&self) -> Vec<String> {
        self.config.entrypoint.iter().chain(&self.config.cmd).cloned().collect()
    }

    /// The signal `stop` sends.
    pub(crate) fn stop_signal(&self) -> i32 {
        self.config.stop_signal.as_deref().and_then(spec::signal::parse).unwrap_or(spec::signal::TERM)
    }
}

/// Reads `HostConfig.NetworkMode`.
pub(crate) fn network_mode(text: &str) -> NetworkMode {
    match text {
        "host" => NetworkMode::Host,
        "none" => NetworkMode::None,
        other => match other.strip_prefix("container:") {
            Some(container) => NetworkMode::Container(container.to_owned()),
            None => NetworkMode::Networks,
        },
    }
}
