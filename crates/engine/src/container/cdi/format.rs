//! A CDI specification's JSON (Container Device Interface, SPEC.md of cncf-tags/container-device-interface).

use std::collections::BTreeMap;

use serde::Deserialize;
use spec::oci::runtime::IntelRdt;

/// The versions of the format that are known.
const VERSIONS: [&str; 8] = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];
/// What a hook may be, as OCI names them.
const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// One file: devices of one kind.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    cdi_version: String,
    /// `vendor.com/class`.
    pub(super) kind: String,
    annotations: BTreeMap<String, String>,
    pub(super) devices: Vec<Device>,
    /// For whoever gets any of the devices.
    pub(super) container_edits: Edits,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Device {
    pub(super) name: String,
    annotations: BTreeMap<String, String>,
    pub(super) container_edits: Edits,
}

/// What is changed in a container's configuration.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Edits {
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<DeviceNode>,
    pub(super) net_devices: Vec<NetDevice>,
    pub(super) hooks: Vec<Hook>,
    pub(super) mounts: Vec<Mount>,
    pub(super) intel_rdt: Option<IntelRdt>,
    pub(super) additional_gids: Vec<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeviceNode {
    pub(super) path: String,
    pub(super) host_path: String,
    pub(super) r#type: String,
    pub(super) major: i64,
    pub(super) minor: i64,
    pub(super) file_mode: Option<u32>,
    pub(super) permissions: String,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NetDevice {
    pub(super) host_interface_name: String,
    pub(super) name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    pub(super) r#type: String,
    pub(super) options: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Hook {
    pub(super) hook_name: String,
    pub(super) path: String,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) timeout: Option<i64>,
}

impl Spec {
    /// Checks what the form alone does not say.
    pub(super) fn check(&self) -> Result<(), String> {
        if !VERSIONS.contains(&self.cdi_version.trim_start_matches('v')) {
            return Err(format!("invalid version {:?}", self.cdi_version));
        }
        if !is_kind(&self.kind) {
            return Err(format!("invalid kind {:?}, expected vendor.com/class", self.kind));
        }
        if self.devices.is_empty() {
            return Err("invalid spec, no devices".into());
        }
        self.container_edits.check()?;
        for (index, device) in self.devices.iter().enumerate() {
            if !is_device_name(&device.name) {
                return Err(format!("invalid device name {:?}", device.name));
            }
            if self.devices[..index].iter().any(|other| other.name == device.name) {
                return Err(format!("invalid spec, multiple device {:?}", device.name));
            }
            device
                .container_edits
                .check()
                .map_err(|why| format!("invalid device {:?}: {why}", device.name))?;
        }
        Ok(())
    }
}

impl Edits {
    fn check(&self) -> Result<(), String> {
        if let Some(env) = self.env.iter().find(|env| env.find('=').is_none_or(|at| at == 0)) {
            return Err(format!("invalid environment variable {env:?}"));
        }
        for node in &self.device_nodes {
            if !node.path.starts_with('/') {
                return Err(format!("invalid device node path {:?}", node.path));
            }
            if !matches!(node.r#type.as_str(), "" | "b" | "c" | "u" | "p") {
                return Err(format!("invalid device node type {:?} of {:?}", node.r#type, node.path));
            }
            if !node.permissions.bytes().all(|c| b"rwm".contains(&c)) {
                return Err(format!("invalid permissions {:?} of {:?}", node.permissions, node.path));
            }
        }
        for hook in &self.hooks {
            if !HOOKS.contains(&hook.hook_name.as_str()) {
                return Err(format!("invalid hook name {:?}", hook.hook_name));
            }
            if !hook.path.starts_with('/') {
                return Err(format!("invalid hook {:?}: path {:?}", hook.hook_name, hook.path));
            }
        }
        for mount in &self.mounts {
            if mount.host_path.is_empty() || !mount.container_path.starts_with('/') {
                return Err(format!("invalid mount of {:?} on {:?}", mount.host_path, mount.container_path));
            }
        }
        Ok(())
    }
}

/// `vendor.com/class`.
pub(super) fn is_kind(kind: &str) -> bool {
    let word = |text: &str, more: &[u8]| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
    };
    kind.split_once('/').is_some_and(|(vendor, class)| word(vendor, b"-_.") && word(class, b"-_"))
}

/// A device's name within its kind.
pub(super) fn is_device_name(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    name.starts_with(edge)
        && name.ends_with(edge)
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.:".contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (kind, good) in [
            ("vendor.com/gpu", true),
            ("v/c", true),
            ("vendor", false),
            ("/c", false),
            ("1/c", false),
            ("v/a.b", false),
        ] {
            assert_eq!(is_kind(kind), good, "{kind}");
        }
        for (name, good) in
            [("all", true), ("0", true), ("gpu:1.2", true), ("", false), ("-a", false), ("a/b", false)]
        {
            assert_eq!(is_device_name(name), good, "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |json: &str| serde_json::from_str::<Spec>(json).unwrap().check();
        for (json, text) in [
            (r#"{"cdiVersion": "9.0.0", "kind": "v/c"}"#, "invalid version \"9.0.0\""),
            (r#"{"cdiVersion": "0.6.0", "kind": "c"}"#, "invalid kind \"c\""),
            (r#"{"cdiVersion": "0.6.0", "kind": "v/c"}"#, "no devices"),
            (
                r#"{"cdiVersion": "0.6.0", "kind": "v/c", "devices": [{"name": "a"}, {"name": "a"}]}"#,
                "multiple device \"a\"",
            ),
            (
                r#"{"cdiVersion": "0.6.0", "kind": "v/c", "devices": [{"name": "a", "containerEdits": {"hooks": [{"hookName": "x", "path": "/x"}]}}]}"#,
                "invalid device \"a\": invalid hook name \"x\"",
            ),
        ] {
            let error = check(json).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
        assert!(check(r#"{"cdiVersion": "1.1.0", "kind": "v/c", "devices": [{"name": "a"}]}"#).is_ok());
    }
}
