//! The OCI configuration of a RUN: an ordinary, unprivileged container.

use std::path::Path;

use spec::defaults::{self, oci};
use spec::oci::runtime::{
    Linux, Mount, NamespaceKind, OCI_VERSION, Overlay, Process, Resources, Root, Spec, User,
};
use store::RwMount;

/// What a RUN's container is called inside, as BuildKit calls it: the same for each, so that what it writes is too.
pub(crate) const HOSTNAME: &str = "buildkitsandbox";

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
}

/// The configuration.
pub(crate) fn spec(settings: Settings<'_>) -> Spec {
    let capabilities = oci::capabilities();
    let mut mounts = oci::standard_mounts(defaults::SHM_SIZE);
    mounts.extend(settings.mounts);
    let mut namespaces = oci::standard_namespaces();
    if settings.host_network {
        namespaces.retain(|namespace| namespace.r#type != NamespaceKind::Network);
    }
    let text = |path: &Path| path.to_string_lossy().into_owned();
    Spec {
        oci_version: OCI_VERSION.into(),
        process: Some(Process {
            args: settings.arguments,
            env: settings.env,
            cwd: settings.working_dir.to_owned(),
            user: User { username: settings.user.to_owned(), ..User::default() },
            capabilities: Some(oci::capability_sets(&capabilities)),
            ..Process::default()
        }),
        root: Some(Root {
            overlay: Some(Overlay {
                lower: settings.root.lower.iter().map(|path| text(path)).collect(),
                upper: text(&settings.root.upper),
                work: text(&settings.root.work),
                idmap: false,
            }),
            ..Root::default()
        }),
        hostname: HOSTNAME.into(),
        mounts,
        linux: Linux {
            resources: Some(Resources { devices: oci::device_rules(), ..Resources::default() }),
            cgroups_path: settings.cgroup,
            namespaces,
            devices: oci::standard_devices(),
            seccomp: Some(defaults::default_profile(&capabilities)),
            masked_paths: defaults::MASKED_PATHS.map(Into::into).to_vec(),
            readonly_paths: defaults::READONLY_PATHS.map(Into::into).to_vec(),
            ..Linux::default()
        },
        ..Spec::default()
    }
}
