//! CDI devices: what a vendor's file says that a device needs (nodes, mounts, variables, hooks) is put into the
//! container's configuration.
//!
//! The files are read again at each start that asks for such a device: a driver's upgrade rewrites them. Files that
//! cannot be used do not matter unless a device is missing; then the answer names them.

mod format;

use std::collections::BTreeMap;
use std::path::Path;

use spec::api::{DeviceRequest, HostConfig};
use spec::oci::runtime as oci;
use sys::root::{Follow, Kind, Root};

use crate::{Engine, Error};
use format::{DeviceNode, Edits, Mount};

/// Where the files are, the later directories winning.
pub(crate) const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// No file is larger; what is, is not one of ours to read.
const LARGEST: usize = 16 << 20;

/// The devices of this host, by their whole names.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    devices: BTreeMap<String, Found>,
    errors: Vec<String>,
}

#[derive(Debug)]
struct Found {
    /// The place of its directory: the higher wins.
    priority: usize,
    /// Two files of one directory have it: neither is taken.
    conflict: bool,
    edits: Edits,
    /// Of its file, for whoever gets any of its devices.
    common: Edits,
    file: String,
}

impl Registry {
    /// Reads the files. Blocking.
    pub(crate) fn read(directories: &[impl AsRef<Path>]) -> Self {
        let mut registry = Self::default();
        for (priority, directory) in directories.iter().enumerate() {
            let directory = directory.as_ref();
            let mut names = sys::file::list(directory).unwrap_or_default();
            names.sort_unstable();
            for name in names {
                let path = directory.join(&name);
                let file = path.display().to_string();
                let spec = match path.extension().and_then(|e| e.to_str()) {
                    Some("json") => read(&path, |text| serde_json::from_str(text).map_err(|e| e.to_string())),
                    Some("yaml") => {
                        read(&path, |text| serde_saphyr::from_str(text).map_err(|e| e.to_string()))
                    }
                    Some(_) | None => continue,
                };
                match spec {
                    Ok(spec) => registry.add(spec, priority, &file),
                    Err(why) => registry.errors.push(format!("{file}: {why}")),
                }
            }
        }
        registry
    }

    fn add(&mut self, spec: format::Spec, priority: usize, file: &str) {
        for device in spec.devices {
            let name = format!("{}={}", spec.kind, device.name);
            let found = Found {
                priority,
                conflict: false,
                edits: device.container_edits,
                common: spec.container_edits.clone(),
                file: file.to_owned(),
            };
            match self.devices.get_mut(&name) {
                Some(other) if other.priority == priority => {
                    other.conflict = true;
                    self.errors.push(format!("conflicting device {name:?} ({}, {file})", other.file));
                }
                Some(_) | None => {
                    self.devices.insert(name, found);
                }
            }
        }
    }

    /// The names of the devices.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.devices.iter().filter(|(_, found)| !found.conflict).map(|(name, _)| name.as_str())
    }

    /// Puts the devices into a configuration.
    ///
    /// # Errors
    /// A device that is not there, or a node of the host's that is not.
    pub(crate) fn inject(&self, names: &[String], spec: &mut oci::Spec) -> Result<(), Error> {
        let found = self.find(names)?;
        let mut files: Vec<&str> = Vec::new();
        for device in found {
            if !files.contains(&device.file.as_str()) {
                files.push(&device.file);
                device.common.apply(spec)?;
            }
            device.edits.apply(spec)?;
        }
        Ok(())
    }

    fn find(&self, names: &[String]) -> Result<Vec<&Found>, Error> {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for name in names {
            match self.devices.get(name) {
                Some(device) if !device.conflict => found.push(device),
                Some(_) | None => missing.push(name.as_str()),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let mut text = format!("unresolvable CDI devices {}", missing.join(", "));
        if !self.errors.is_empty() {
            text.push_str(&format!(" (not read: {})", self.errors.join("; ")));
        }
        Err(failed(text))
    }
}

fn failed(why: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("CDI device injection failed: {why}"))
}

fn read(path: &Path, parse: impl Fn(&str) -> Result<format::Spec, String>) -> Result<format::Spec, String> {
    let bytes = sys::file::read(path).map_err(|e| e.errno().to_string())?;
    if bytes.len() > LARGEST {
        return Err("is too large".into());
    }
    let spec = parse(&String::from_utf8_lossy(&bytes))?;
    spec.check()?;
    Ok(spec)
}

impl Engine {
    /// Whether the devices that are asked for by name are there. Blocking.
    pub(crate) fn check_devices(&self, host: &HostConfig) -> Result<(), Error> {
        let requests = &host.resources.device_requests;
        if requests.is_empty() {
            return Ok(());
        }
        wanted(requests, &Registry::read(&self.settings().cdi_spec_dirs)).map(drop)
    }

    /// Puts the devices that are asked for by name into a configuration. Blocking.
    pub(crate) fn inject_devices(&self, host: &HostConfig, spec: &mut oci::Spec) -> Result<(), Error> {
        let requests = &host.resources.device_requests;
        if requests.is_empty() {
            return Ok(());
        }
        let registry = Registry::read(&self.settings().cdi_spec_dirs);
        registry.inject(&wanted(requests, &registry)?, spec)
    }
}

/// What device requests ask for: names of CDI devices. `--gpus` asks for a vendor's GPUs by number.
///
/// # Errors
/// A driver that is not there, or a request that CDI has no words for.
pub(crate) fn wanted(requests: &[DeviceRequest], registry: &Registry) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for request in requests {
        if request.driver == "cdi" {
            if request.count != 0 {
                return Err(Error::Invalid("unexpected count in CDI device request".into()));
            }
            if !request.options.is_empty() {
                return Err(Error::Invalid("unexpected options in CDI device request".into()));
            }
            names.extend(request.device_ids.iter().cloned());
        } else {
            names.extend(gpus(request, registry)?);
        }
    }
    registry.find(&names)?;
    Ok(names)
}

/// The GPUs of a request: of the vendor that is named, or of the one whose CDI file is there.
fn gpus(request: &DeviceRequest, registry: &Registry) -> Result<Vec<String>, Error> {
    const KINDS: [(&str, &str); 3] =
        [("nvidia", "nvidia.com/gpu"), ("amd", "amd.com/gpu"), ("intel", "intel.com/gpu")];
    let wants_gpu = request.capabilities.iter().any(|all| all.iter().any(|c| c == "gpu"));
    let kind = KINDS
        .iter()
        .filter(|(driver, _)| wants_gpu && (request.driver.is_empty() || *driver == request.driver))
        .find(|(_, kind)| registry.names().any(|name| name.starts_with(&format!("{kind}="))));
    let Some((_, kind)) = kind else { return Err(no_driver(request)) };
    let ids = match request.count {
        0 => request.device_ids.clone(),
        count if !request.device_ids.is_empty() => {
            return Err(Error::Invalid(format!(
                "cannot set both Count ({count}) and DeviceIDs on device request"
            )));
        }
        count if count < 0 => vec!["all".into()],
        count => (0..count).map(|n| n.to_string()).collect(),
    };
    Ok(ids.into_iter().map(|id| format!("{kind}={id}")).collect())
}

fn no_driver(request: &DeviceRequest) -> Error {
    let words: Vec<String> = request.capabilities.iter().map(|c| format!("[{}]", c.join(" "))).collect();
    Error::Invalid(format!(
        "could not select device driver {:?} with capabilities: [{}]: no CDI specification of such a device in {}",
        request.driver,
        words.join(" "),
        DIRECTORIES.join(" or ")
    ))
}

impl Edits {
    fn apply(&self, spec: &mut oci::Spec) -> Result<(), Error> {
        for mount in &self.mounts {
            spec.mounts.retain(|m| m.destination != mount.container_path);
            spec.mounts.push(oci_mount(mount));
        }
        for node in &self.device_nodes {
            node.apply(spec)?;
        }
        for device in &self.net_devices {
            let moved = oci::NetDevice { name: device.name.clone() };
            spec.linux.net_devices.insert(device.host_interface_name.clone(), moved);
        }
        for hook in &self.hooks {
            let list = match hook.hook_name.as_str() {
                "prestart" => &mut spec.hooks.prestart,
                "createRuntime" => &mut spec.hooks.create_runtime,
                "createContainer" => &mut spec.hooks.create_container,
                "startContainer" => &mut spec.hooks.start_container,
                "poststart" => &mut spec.hooks.poststart,
                _ => &mut spec.hooks.poststop,
            };
            list.push(oci::Hook {
                path: hook.path.clone(),
                args: hook.args.clone(),
                env: hook.env.clone(),
                timeout: hook.timeout,
            });
        }
        if let Some(rdt) = &self.intel_rdt {
            spec.linux.intel_rdt = Some(rdt.clone());
        }
        if let Some(process) = &mut spec.process {
            super::config::overlay(&mut process.env, &self.env);
            for gid in self.additional_gids.iter().filter(|gid| **gid != 0) {
                if !process.user.additional_gids.contains(gid) {
                    process.user.additional_gids.push(*gid);
                }
            }
        }
        Ok(())
    }
}

fn oci_mount(mount: &Mount) -> oci::Mount {
    let mut options = mount.options.clone();
    let binds = mount.r#type.is_empty() || mount.r#type == "bind";
    if binds && !options.iter().any(|o| matches!(o.as_str(), "bind" | "rbind")) {
        options.insert(0, "rbind".into());
    }
    oci::Mount {
        destination: mount.container_path.clone(),
        r#type: if binds { "bind".into() } else { mount.r#type.clone() },
        source: mount.host_path.clone(),
        options,
        ..oci::Mount::default()
    }
}

impl DeviceNode {
    /// The node; what the file leaves open is as on the host.
    fn apply(&self, spec: &mut oci::Spec) -> Result<(), Error> {
        let mut device = oci::Device {
            path: self.path.clone(),
            r#type: self.r#type.clone(),
            major: self.major,
            minor: self.minor,
            file_mode: self.file_mode,
            uid: self.uid,
            gid: self.gid,
        };
        if device.r#type.is_empty() || (device.major == 0 && device.r#type != "p") {
            let path = if self.host_path.is_empty() { &self.path } else { &self.host_path };
            let wrong = |why: &dyn std::fmt::Display| {
                failed(format!("failed to stat CDI host device {path:?}: {why}"))
            };
            let root = Root::open(Path::new("/"))?;
            let found = root.metadata(path, Follow::Yes).map_err(|e| wrong(&e))?;
            let kind = match found.kind {
                Kind::BlockDevice => "b",
                Kind::CharDevice => "c",
                Kind::Fifo => "p",
                Kind::File | Kind::Directory | Kind::Symlink | Kind::Socket => {
                    return Err(wrong(&"not a device node"));
                }
            };
            if !device.r#type.is_empty() && device.r#type != kind {
                return Err(wrong(&format!("its type is {kind}, not {}", device.r#type)));
            }
            kind.clone_into(&mut device.r#type);
            (device.major, device.minor) = (found.major.into(), found.minor.into());
            device.file_mode = device.file_mode.or(Some(found.mode));
        }
        if matches!(device.r#type.as_str(), "b" | "c") {
            let resources = spec.linux.resources.get_or_insert_default();
            resources.devices.push(oci::DeviceRule {
                allow: true,
                r#type: device.r#type.clone(),
                major: Some(device.major),
                minor: Some(device.minor),
                access: if self.permissions.is_empty() { "rwm".into() } else { self.permissions.clone() },
            });
        }
        spec.linux.devices.retain(|d| d.path != device.path);
        spec.linux.devices.push(device);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> (tempfile::TempDir, [std::path::PathBuf; 2]) {
        let directory = tempfile::tempdir().unwrap();
        let directories = ["etc", "run"].map(|d| directory.path().join(d));
        for directory in &directories {
            sys::file::create_dir_all(directory, 0o700).unwrap();
        }
        for (name, text) in files {
            sys::file::write_atomic(
                &directory.path().join(name),
                text.as_bytes(),
                0o600,
                sys::file::Durability::Process,
            )
            .unwrap();
        }
        (directory, directories)
    }

    const JSON: &str = r#"{"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu",
        "containerEdits": {"env": ["COMMON=1"]},
        "devices": [{"name": "0", "containerEdits": {"env": ["GPU=0"], "deviceNodes": [{"path": "/dev/null"}],
                     "mounts": [{"hostPath": "/a", "containerPath": "/b", "options": ["ro"]}], "additionalGids": [7],
                     "hooks": [{"hookName": "createContainer", "path": "/h", "args": ["h"]}]}},
                    {"name": "all"}]}"#;
    const YAML: &str = "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: '0'\n  containerEdits:\n    env: [GPU=later]\n";

    #[test]
    fn devices_are_injected() {
        let (_directory, directories) =
            files(&[("etc/a.json", JSON), ("etc/bad.json", "{"), ("etc/x.txt", "{")]);
        let registry = Registry::read(&directories);
        let mut spec = oci::Spec { process: Some(oci::Process::default()), ..oci::Spec::default() };
        registry.inject(&["nvidia.com/gpu=0".into(), "nvidia.com/gpu=all".into()], &mut spec).unwrap();
        let process = spec.process.as_ref().unwrap();
        assert_eq!(process.env, ["COMMON=1", "GPU=0"]);
        assert_eq!(process.user.additional_gids, [7]);
        assert_eq!((spec.linux.devices[0].major, spec.linux.devices[0].minor), (1, 3));
        assert_eq!(spec.linux.resources.unwrap().devices[0].access, "rwm");
        assert_eq!(spec.mounts[0].options, ["rbind", "ro"]);
        assert_eq!(spec.hooks.create_container[0].path, "/h");
        let error = registry.inject(&["a/b=c".into()], &mut oci::Spec::default()).unwrap_err().to_string();
        assert!(error.starts_with("CDI device injection failed: unresolvable CDI devices a/b=c (not read: "));
        assert!(error.contains("bad.json"), "{error}");
    }

    #[test]
    fn later_directories_win_and_conflicts_are_nobodys() {
        let (_directory, directories) = files(&[("etc/a.json", JSON), ("run/a.yaml", YAML)]);
        let mut spec = oci::Spec { process: Some(oci::Process::default()), ..oci::Spec::default() };
        Registry::read(&directories).inject(&["nvidia.com/gpu=0".into()], &mut spec).unwrap();
        assert_eq!(spec.process.unwrap().env, ["GPU=later"]);
        let (_directory, directories) = files(&[("etc/a.json", JSON), ("etc/a.yaml", YAML)]);
        let registry = Registry::read(&directories);
        let error = registry.find(&["nvidia.com/gpu=0".into()]).unwrap_err().to_string();
        assert!(error.contains("conflicting device \"nvidia.com/gpu=0\""), "{error}");
        assert!(registry.find(&["nvidia.com/gpu=all".into()]).is_ok());
    }

    #[test]
    fn gpus_are_a_vendors() {
        let (_directory, directories) = files(&[("etc/a.json", JSON)]);
        let registry = Registry::read(&directories);
        let request = |driver: &str, count: i64, ids: &[&str]| DeviceRequest {
            driver: driver.into(),
            count,
            device_ids: ids.iter().map(|i| (*i).to_owned()).collect(),
            capabilities: vec![vec!["gpu".into()]],
            ..DeviceRequest::default()
        };
        let names = |request: DeviceRequest| wanted(&[request], &registry).map_err(|e| e.to_string());
        assert_eq!(names(request("", -1, &[])).unwrap(), ["nvidia.com/gpu=all"]);
        assert_eq!(names(request("nvidia", 1, &[])).unwrap(), ["nvidia.com/gpu=0"]);
        assert_eq!(names(request("", 0, &["0"])).unwrap(), ["nvidia.com/gpu=0"]);
        for (request, text) in [
            (request("", 2, &[]), "unresolvable CDI devices nvidia.com/gpu=1"),
            (request("amd", -1, &[]), "could not select device driver \"amd\" with capabilities: [[gpu]]"),
            (request("", 1, &["0"]), "cannot set both Count (1) and DeviceIDs"),
            (request("cdi", 1, &["0"]), "unexpected count in CDI device request"),
        ] {
            let error = names(request).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }
}
