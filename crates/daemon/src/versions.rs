//! What an answer looked like to older clients, and what their requests meant.
//!
//! The engine answers in the newest version's shape. Each function here takes such an answer, as JSON, back to the
//! version a client speaks: what was added since is taken out, what was dropped since is put back (moby
//! `api/docs/CHANGELOG.md`). One `if` per version that changed something, the newest first. Requests go the other way:
//! what an older version did not have is ignored, as its daemon would have.

use serde_json::{Map, Value, json};

use spec::api::ContainerCreateRequest;

use crate::error::{Error, Result};
use crate::router::Version;

/// Takes an answer back to an older version.
pub type Gate = fn(&mut Value, Version);

/// `GET /containers/{id}/json`.
pub fn container_inspect(answer: &mut Value, version: Version) {
    if version < Version(1, 52) {
        legacy_network(answer);
        let driver = answer["Driver"].clone();
        add(answer, "GraphDriver", json!({ "Name": driver, "Data": null }));
        take(answer, &["Storage"]);
    }
    if version < Version(1, 48) {
        take(answer, &["ImageManifestDescriptor"]);
    }
    if version < Version(1, 46) {
        take(&mut answer["HostConfig"], &["Annotations"]);
    }
    if version < Version(1, 45) {
        short_id_alias(answer);
    }
    endpoints(&mut answer["NetworkSettings"]["Networks"], version);
    if version < Version(1, 42) {
        add(&mut answer["HostConfig"], "KernelMemory", json!(0));
        add(&mut answer["HostConfig"], "KernelMemoryTCP", json!(0));
    }
}

/// Until 1.51 the addresses on the default bridge stood beside the networks as well.
fn legacy_network(answer: &mut Value) {
    let settings = &mut answer["NetworkSettings"];
    let default = settings["Networks"]["bridge"].clone();
    for (key, none) in [
        ("EndpointID", json!("")),
        ("Gateway", json!("")),
        ("GlobalIPv6Address", json!("")),
        ("GlobalIPv6PrefixLen", json!(0)),
        ("IPAddress", json!("")),
        ("IPPrefixLen", json!(0)),
        ("IPv6Gateway", json!("")),
        ("MacAddress", json!("")),
    ] {
        let value = default.get(key).cloned().unwrap_or(none);
        add(settings, key, value);
    }
    for (key, value) in [
        ("Bridge", json!("")),
        ("HairpinMode", json!(false)),
        ("LinkLocalIPv6Address", json!("")),
        ("LinkLocalIPv6PrefixLen", json!(0)),
        ("SecondaryIPAddresses", Value::Null),
        ("SecondaryIPv6Addresses", Value::Null),
    ] {
        add(settings, key, value);
    }
}

/// Until 1.44 the short id was among the aliases; since then it is a DNS name only.
fn short_id_alias(answer: &mut Value) {
    let Some(id) = answer["Id"].as_str().and_then(|id| id.get(..12)).map(str::to_owned) else { return };
    let Some(networks) = answer["NetworkSettings"]["Networks"].as_object_mut() else { return };
    for (name, endpoint) in networks {
        // The predefined networks have no names.
        if matches!(name.as_str(), "bridge" | "host" | "none") {
            continue;
        }
        let aliases = &mut endpoint["Aliases"];
        if aliases.as_array().is_some_and(|a| a.iter().any(|alias| *alias == id.as_str())) {
            continue;
        }
        match aliases.as_array_mut() {
            Some(aliases) => aliases.push(id.clone().into()),
            None => *aliases = json!([id]),
        }
    }
}

/// A container's networks.
fn endpoints(networks: &mut Value, version: Version) {
    for endpoint in networks.as_object_mut().into_iter().flat_map(Map::values_mut) {
        if version < Version(1, 48) {
            take(endpoint, &["GwPriority"]);
        }
        if version < Version(1, 44) {
            take(endpoint, &["DNSNames"]);
        }
    }
}

/// `GET /containers/json`.
pub fn container_list(answer: &mut Value, version: Version) {
    for container in items(answer) {
        if version < Version(1, 52) {
            take(container, &["Health"]);
        }
        if version < Version(1, 48) {
            take(container, &["ImageManifestDescriptor"]);
        }
        if version < Version(1, 46) {
            take(&mut container["HostConfig"], &["Annotations"]);
        }
        endpoints(&mut container["NetworkSettings"]["Networks"], version);
    }
}

/// `GET /images/{name}/json`.
pub fn image_inspect(answer: &mut Value, version: Version) {
    let mut nothing = Value::Null;
    if version < Version(1, 53) {
        take(answer, &["Identity"]);
    }
    if version < Version(1, 52) {
        for key in ["Parent", "Comment", "DockerVersion", "Author"] {
            add(answer, key, json!(""));
        }
        add(answer, "GraphDriver", json!({ "Name": "overlayfs", "Data": null }));
        let config = answer.get_mut("Config").unwrap_or(&mut nothing);
        for key in ["User", "WorkingDir"] {
            add(config, key, json!(""));
        }
        for key in ["Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "Volumes"] {
            add(config, key, Value::Null);
        }
    }
    if version < Version(1, 50) {
        let config = answer.get_mut("Config").unwrap_or(&mut nothing);
        for key in ["Hostname", "Domainname", "Image"] {
            add(config, key, json!(""));
        }
        for key in ["AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce"] {
            add(config, key, json!(false));
        }
    }
    if version < Version(1, 48) {
        take(answer, &["Descriptor", "Manifests"]);
    }
    if version < Version(1, 45) {
        add(answer, "Container", json!(""));
        let config = answer["Config"].clone();
        add(answer, "ContainerConfig", config);
    }
    if version < Version(1, 44) {
        let size = answer["Size"].clone();
        add(answer, "VirtualSize", size);
        add(answer, "Created", json!(spec::api::ZERO_TIME));
    }
}

/// `GET /images/json`.
pub fn image_list(answer: &mut Value, version: Version) {
    for image in items(answer) {
        if version < Version(1, 51) {
            image["Containers"] = json!(-1);
        }
        if version < Version(1, 48) {
            take(image, &["Descriptor"]);
        }
        if version < Version(1, 47) {
            take(image, &["Manifests"]);
        }
        if version < Version(1, 44) {
            let size = image["Size"].clone();
            add(image, "VirtualSize", size);
        }
        if version < Version(1, 43) {
            let empty = |names: &Value| names.as_array().is_none_or(Vec::is_empty);
            if empty(&image["RepoTags"]) && empty(&image["RepoDigests"]) {
                image["RepoTags"] = json!(["<none>:<none>"]);
                image["RepoDigests"] = json!(["<none>@<none>"]);
            }
        }
    }
}

/// `GET /info`.
pub fn info(answer: &mut Value, version: Version) {
    if version < Version(1, 53) {
        take(answer, &["NRI"]);
    }
    if version < Version(1, 50) {
        take(answer, &["DiscoveredDevices"]);
        add(answer, "BridgeNfIptables", json!(false));
        add(answer, "BridgeNfIp6tables", json!(false));
    }
    if version < Version(1, 49) {
        take(answer, &["FirewallBackend"]);
        for component in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            let id = answer[component]["ID"].clone();
            if answer[component].is_object() {
                add(&mut answer[component], "Expected", id);
            }
        }
    }
    if version < Version(1, 48) {
        add(&mut answer["RegistryConfig"], "AllowNondistributableArtifactsCIDRs", Value::Null);
        add(&mut answer["RegistryConfig"], "AllowNondistributableArtifactsHostnames", Value::Null);
    }
    if version < Version(1, 46) {
        take(answer, &["Containerd"]);
    }
    if version < Version(1, 42) {
        add(answer, "KernelMemory", json!(false));
        add(answer, "KernelMemoryTCP", json!(false));
    }
}

/// `GET /networks/{id}`.
pub fn network_inspect(answer: &mut Value, version: Version) {
    if version < Version(1, 52) {
        take(answer, &["Status"]);
    }
}

/// `GET /containers/{id}/stats`, each sample.
pub fn stats(answer: &mut Value, version: Version) {
    if version < Version(1, 52) {
        take(answer, &["os_type"]);
    }
}

/// An event: `status`, `id` and `from` stood beside the actor.
pub fn event(answer: &mut Value, version: Version) {
    if version < Version(1, 52) && matches!(answer["Type"].as_str(), Some("container" | "image")) {
        let (action, actor) = (answer["Action"].clone(), answer["Actor"].clone());
        add(answer, "status", action);
        add(answer, "id", actor["ID"].clone());
        if let Some(image) = actor["Attributes"].get("image") {
            add(answer, "from", image.clone());
        }
    }
}

/// `POST /containers/create`: takes out what the client's version did not have. Gives a warning for the user.
///
/// # Errors
/// The version does not allow what is asked for.
pub fn container_create(request: &mut ContainerCreateRequest, version: Version) -> Result<Option<String>> {
    let mut warning = None;
    let (config, host) = (&mut request.config, &mut request.host_config);
    let endpoints = &mut request.networking_config.endpoints_config;
    let mac_address = std::mem::take(&mut config.mac_address);
    if !mac_address.is_empty() {
        if version >= Version(1, 52) {
            return Err(Error::invalid(
                "container-wide MAC address no longer supported; use endpoint-specific MAC address instead",
            ));
        }
        if version >= Version(1, 44) {
            warning = Some(
                "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
                    .to_owned(),
            );
        }
        let network = match host.network_mode.as_str() {
            "" | "default" => "bridge",
            mode => mode,
        };
        let endpoint = endpoints.entry(network.to_owned()).or_default();
        if !endpoint.mac_address.is_empty() && endpoint.mac_address != mac_address {
            return Err(Error::invalid(
                "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or \
                 should be left empty",
            ));
        }
        endpoint.mac_address = mac_address;
    }
    if version < Version(1, 44) {
        if endpoints.len() > 1 {
            let names: Vec<&str> = endpoints.keys().map(String::as_str).collect();
            return Err(Error::invalid(format!(
                "Container cannot be created with multiple network endpoints: {}",
                names.join(", ")
            )));
        }
        if let Some(health) = &mut config.healthcheck {
            health.start_interval = 0;
        }
        for mount in host.mounts.iter_mut().filter(|m| m.r#type == "bind" && m.read_only) {
            // Read-only binds were not recursive.
            let options = mount.bind_options.get_or_insert_default();
            (options.read_only_non_recursive, options.read_only_force_recursive) = (true, false);
        }
    }
    if version < Version(1, 43) {
        host.annotations.clear();
    }
    if version < Version(1, 42) {
        host.console_size.clear();
        for options in host.mounts.iter_mut().filter_map(|m| m.bind_options.as_mut()) {
            options.create_mountpoint = false;
        }
    }
    if version < Version(1, 41) && host.cgroupns_mode.is_empty() {
        host.cgroupns_mode = "host".into();
    }
    if version < Version(1, 40) && host.ipc_mode.is_empty() {
        host.ipc_mode = "shareable".into();
    }
    Ok(warning)
}

/// The items of an array.
fn items(answer: &mut Value) -> impl Iterator<Item = &mut Value> {
    answer.as_array_mut().into_iter().flatten()
}

/// Removes members that came later.
fn take(object: &mut Value, keys: &[&str]) {
    if let Some(object) = object.as_object_mut() {
        keys.iter().for_each(|key| drop(object.shift_remove(*key)));
    }
}

/// Puts back a member that was there always, unless it is there.
fn add(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.entry(key).or_insert(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of the newest version, through a gate: what is at each place for clients of 1.n (`None`: nothing).
    fn table(gate: Gate, newest: Value, rows: &[(u32, &str, Option<&str>)]) {
        for (minor, pointer, expected) in rows {
            let mut answer = newest.clone();
            gate(&mut answer, Version(1, *minor));
            let found = answer.pointer(pointer).map(Value::to_string);
            assert_eq!(found.as_deref(), *expected, "{pointer} at 1.{minor}");
        }
    }

    #[test]
    fn container_inspect_by_version() {
        let newest = json!({
            "Id": "0123456789abcdef", "Driver": "overlayfs", "Storage": {}, "ImageManifestDescriptor": {},
            "HostConfig": { "Annotations": {} },
            "NetworkSettings": { "Networks": {
                "bridge": { "IPAddress": "172.17.0.2", "DNSNames": null, "GwPriority": 0 },
                "other": { "Aliases": ["web"], "IPAddress": "10.0.0.2" } } } });
        table(
            container_inspect,
            newest,
            &[
                (51, "/NetworkSettings/IPAddress", Some("\"172.17.0.2\"")),
                (52, "/NetworkSettings/IPAddress", None),
                (24, "/NetworkSettings/HairpinMode", Some("false")),
                (51, "/NetworkSettings/SecondaryIPAddresses", Some("null")),
                (51, "/GraphDriver/Name", Some("\"overlayfs\"")),
                (52, "/GraphDriver", None),
                (51, "/Storage", None),
                (52, "/Storage", Some("{}")),
                (47, "/ImageManifestDescriptor", None),
                (48, "/ImageManifestDescriptor", Some("{}")),
                (45, "/HostConfig/Annotations", None),
                (46, "/HostConfig/Annotations", Some("{}")),
                (47, "/NetworkSettings/Networks/bridge/GwPriority", None),
                (43, "/NetworkSettings/Networks/bridge/DNSNames", None),
                (44, "/NetworkSettings/Networks/bridge/DNSNames", Some("null")),
                (44, "/NetworkSettings/Networks/other/Aliases", Some(r#"["web","0123456789ab"]"#)),
                (45, "/NetworkSettings/Networks/other/Aliases", Some(r#"["web"]"#)),
                (44, "/NetworkSettings/Networks/bridge/Aliases", None),
                (41, "/HostConfig/KernelMemory", Some("0")),
                (42, "/HostConfig/KernelMemory", None),
            ],
        );
    }

    #[test]
    fn container_list_by_version() {
        let newest =
            json!([{ "Health": {}, "ImageManifestDescriptor": {}, "HostConfig": { "Annotations": {} } }]);
        table(
            container_list,
            newest,
            &[
                (51, "/0/Health", None),
                (52, "/0/Health", Some("{}")),
                (47, "/0/ImageManifestDescriptor", None),
                (45, "/0/HostConfig/Annotations", None),
            ],
        );
    }

    #[test]
    fn image_inspect_by_version() {
        let newest = json!({ "Identity": {}, "Descriptor": {}, "Manifests": [], "Size": 5, "Config": { "Cmd": ["sh"] } });
        table(
            image_inspect,
            newest,
            &[
                (52, "/Identity", None),
                (53, "/Identity", Some("{}")),
                (51, "/Config/Env", Some("null")),
                (52, "/Config/Env", None),
                (24, "/Config/Cmd", Some(r#"["sh"]"#)),
                (50, "/Config/Hostname", None),
                (49, "/Config/Hostname", Some("\"\"")),
                (51, "/Author", Some("\"\"")),
                (52, "/Author", None),
                (51, "/GraphDriver/Name", Some("\"overlayfs\"")),
                (47, "/Descriptor", None),
                (44, "/ContainerConfig/Cmd", Some(r#"["sh"]"#)),
                (45, "/ContainerConfig", None),
                (43, "/VirtualSize", Some("5")),
                (44, "/VirtualSize", None),
                (43, "/Created", Some("\"0001-01-01T00:00:00Z\"")),
            ],
        );
    }

    #[test]
    fn image_list_by_version() {
        let newest = json!([{
            "Descriptor": {}, "Manifests": [], "Size": 5, "RepoTags": [], "RepoDigests": [], "Containers": 2 }]);
        table(
            image_list,
            newest,
            &[
                (50, "/0/Containers", Some("-1")),
                (51, "/0/Containers", Some("2")),
                (46, "/0/Manifests", None),
                (47, "/0/Descriptor", None),
                (43, "/0/VirtualSize", Some("5")),
                (42, "/0/RepoTags", Some(r#"["<none>:<none>"]"#)),
                (43, "/0/RepoTags", Some("[]")),
            ],
        );
    }

    #[test]
    fn info_by_version() {
        let newest = json!({
            "NRI": {}, "FirewallBackend": {}, "DiscoveredDevices": [], "Containerd": {}, "RuncCommit": { "ID": "x" },
            "RegistryConfig": {} });
        table(
            info,
            newest,
            &[
                (52, "/NRI", None),
                (53, "/NRI", Some("{}")),
                (49, "/BridgeNfIptables", Some("false")),
                (50, "/BridgeNfIptables", None),
                (48, "/FirewallBackend", None),
                (48, "/RuncCommit/Expected", Some("\"x\"")),
                (49, "/RuncCommit/Expected", None),
                (24, "/InitCommit", None),
                (45, "/Containerd", None),
                (41, "/KernelMemory", Some("false")),
            ],
        );
    }

    #[test]
    fn network_inspect_by_version() {
        let newest = json!({ "Status": {} });
        table(network_inspect, newest, &[(51, "/Status", None), (52, "/Status", Some("{}"))]);
    }

    #[test]
    fn stats_by_version() {
        let newest = json!({ "os_type": "linux" });
        table(stats, newest, &[(51, "/os_type", None), (52, "/os_type", Some("\"linux\""))]);
    }

    #[test]
    fn event_by_version() {
        let newest = json!({
            "Type": "container", "Action": "start",
            "Actor": { "ID": "c1", "Attributes": { "image": "busybox" } } });
        table(
            event,
            newest,
            &[
                (51, "/status", Some("\"start\"")),
                (51, "/id", Some("\"c1\"")),
                (51, "/from", Some("\"busybox\"")),
                (52, "/status", None),
            ],
        );
    }

    #[test]
    fn requests_mean_what_their_version_did() {
        let read = |body: Value| -> ContainerCreateRequest { serde_json::from_value(body).unwrap() };
        let body = json!({
            "MacAddress": "02:00:00:00:00:01", "Healthcheck": { "StartInterval": 5 },
            "HostConfig": { "Annotations": { "a": "b" },
                "Mounts": [{ "Type": "bind", "ReadOnly": true, "BindOptions": { "CreateMountpoint": true } }] } });
        assert!(container_create(&mut read(body.clone()), Version(1, 52)).is_err());
        let mut request = read(body.clone());
        assert!(container_create(&mut request, Version(1, 51)).unwrap().unwrap().contains("deprecated"));
        assert_eq!(request.networking_config.endpoints_config["bridge"].mac_address, "02:00:00:00:00:01");
        assert_eq!(request.config.healthcheck.as_ref().unwrap().start_interval, 5);
        assert_eq!(request.host_config.annotations.len(), 1);
        assert_eq!(request.host_config.ipc_mode, "");
        let mut request = read(body);
        assert_eq!(container_create(&mut request, Version(1, 39)).unwrap(), None);
        assert_eq!(request.config.healthcheck.as_ref().unwrap().start_interval, 0);
        assert!(request.host_config.annotations.is_empty());
        let options = request.host_config.mounts[0].bind_options.as_ref().unwrap();
        assert!(options.read_only_non_recursive && !options.create_mountpoint);
        assert_eq!(
            (request.host_config.cgroupns_mode.as_str(), request.host_config.ipc_mode.as_str()),
            ("host", "shareable")
        );
        let two = json!({ "NetworkingConfig": { "EndpointsConfig": { "a": {}, "b": {} } } });
        assert!(container_create(&mut read(two.clone()), Version(1, 43)).is_err());
        assert!(container_create(&mut read(two), Version(1, 44)).is_ok());
    }
}
