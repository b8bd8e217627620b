//! `spec`: a configuration to begin with.

use std::path::Path;

use spec::defaults;
use spec::defaults::oci;
use spec::oci::runtime::{Linux, OCI_VERSION, Process, Resources, Rlimit, Root, Spec};
use sys::file::Durability;

use super::args::{Args, Known};
use super::{Outcome, json, words};

const OPTIONS: [Known; 2] = [("bundle", "b", true), ("rootless", "", false)];

/// `spec`: writes config.json, which must not be there.
pub(super) fn spec(arguments: &[String]) -> Outcome {
    let args = Args::parse(arguments, &OPTIONS)?;
    if args.has("rootless") {
        return Err("--rootless is not supported: this runtime is root's".into());
    }
    let path = Path::new(args.value("bundle").unwrap_or(".")).join("config.json");
    if path.exists() {
        return Err("File config.json exists. Remove it first".into());
    }
    let bytes = json(&example());
    sys::file::write_atomic(&path, bytes.as_bytes(), 0o644, Durability::Process).map_err(words)?;
    Ok(0)
}

fn example() -> Spec {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"].map(str::to_owned);
    let limit = Rlimit { r#type: "RLIMIT_NOFILE".into(), soft: 1024, hard: 1024 };
    Spec {
        oci_version: OCI_VERSION.into(),
        process: Some(Process {
            terminal: true,
            args: vec!["sh".into()],
            env: vec![format!("PATH={}", defaults::PATH), "TERM=xterm".into()],
            cwd: "/".into(),
            capabilities: Some(oci::capability_sets(&capabilities)),
            rlimits: vec![limit],
            no_new_privileges: true,
            ..Process::default()
        }),
        root: Some(Root { path: "rootfs".into(), readonly: true, ..Root::default() }),
        hostname: "corten".into(),
        mounts: oci::standard_mounts(defaults::SHM_SIZE),
        linux: Linux {
            resources: Some(Resources { devices: oci::device_rules(), ..Resources::default() }),
            namespaces: oci::standard_namespaces(),
            masked_paths: defaults::MASKED_PATHS.map(Into::into).to_vec(),
            readonly_paths: defaults::READONLY_PATHS.map(Into::into).to_vec(),
            ..Linux::default()
        },
        ..Spec::default()
    }
}
