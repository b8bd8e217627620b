//! Inspect: everything that is known of one container.

use std::collections::BTreeMap;

use spec::api::{ContainerInspectResponse, EndpointSettings, NetworkSettings, RestartPolicy};

use super::record::{NetworkMode, Record};
use super::{Container, View, ports};
use crate::blocking::lasting;
use crate::{Engine, Error, network as networks, time};

impl Engine {
    /// `GET /containers/{id}/json`.
    pub async fn inspect(&self, id: &str, size: bool) -> Result<ContainerInspectResponse, Error> {
        let container = self.inner.containers.find(id)?;
        let view = container.view();
        let record = &view.record;
        let command = record.command();
        let file = |name: &str| container.places.run.join(name).display().to_string();
        let sizes = if size { Some(self.sizes(&container).await?) } else { None };
        let labels = record.labels.clone().unwrap_or_default();
        Ok(ContainerInspectResponse {
            id: record.id.to_string(),
            created: time::rfc3339(record.created_at),
            path: command.first().cloned().unwrap_or_default(),
            args: command.get(1..).unwrap_or_default().to_vec(),
            state: view.state.api(),
            image: record.image.to_string(),
            resolv_conf_path: file("resolv.conf"),
            hostname_path: file("hostname"),
            hosts_path: file("hosts"),
            log_path: container
                .log_path(&record.host.log_config)
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            name: format!("/{}", record.name),
            restart_count: view.state.restarts.into(),
            driver: "overlayfs".into(),
            platform: "linux".into(),
            image_manifest_descriptor: Some(record.manifest.clone()),
            exec_ids: self.inner.execs.of(&container.id),
            host_config: spec::api::HostConfig { links: self.shown_links(record), ..host_config(record) },
            storage: serde_json::json!({ "RootFS": { "Snapshot": { "Name": "overlayfs" } } }),
            size_rw: sizes.map(|(rw, _)| rw),
            size_root_fs: sizes.map(|(_, all)| all),
            mounts: record.shown_mounts(),
            mount_label: labels.mount,
            process_label: labels.process,
            config: record.config.clone(),
            network_settings: self.network_settings(&view),
            ..ContainerInspectResponse::default()
        })
    }

    fn network_settings(&self, view: &View) -> NetworkSettings {
        let alive = view.state.is_alive();
        NetworkSettings {
            sandbox_id: if alive { view.record.id.to_string() } else { String::new() },
            sandbox_key: view.state.init().map(|pid| format!("/proc/{pid}/ns/net")).unwrap_or_default(),
            ports: if alive { ports::map(&view.record.config, &view.network.ports) } else { BTreeMap::new() },
            networks: self.networks_of(view),
        }
    }

    /// Its networks. One that has been started keeps their ids when it ends.
    pub(super) fn networks_of(&self, view: &View) -> BTreeMap<String, EndpointSettings> {
        let mut all = endpoint_settings(view);
        for (name, settings) in &mut all {
            if view.state.starts > 0
                && settings.network_id.is_empty()
                && let Ok(network) = self.inner.networks.find(name)
            {
                settings.network_id = network.id.to_string();
            }
        }
        all
    }

    /// Bytes of the writable layer, and of it with its image.
    pub(crate) async fn sizes(&self, container: &Container) -> Result<(i64, i64), Error> {
        let (inner, id) = (self.inner.clone(), container.id.clone());
        let record = container.view().record.clone();
        lasting(move || {
            let rw = inner.store.rw_size(id.as_str())?;
            let image = inner.store.image(&record.manifest, &spec::api::Platform::host()).ok();
            let chain = image.and_then(|i| i.chain);
            let image = chain.map_or(Ok(0), |chain| inner.store.chain_size(&chain))?;
            Ok((rw.cast_signed(), (rw + image).cast_signed()))
        })
        .await
    }
}

/// As asked for, with the defaults that Docker shows filled in.
fn host_config(record: &Record) -> spec::api::HostConfig {
    let mut host = record.host.clone();
    let fill = |field: &mut String, default: &str| {
        if field.is_empty() {
            *field = default.to_owned();
        }
    };
    fill(&mut host.log_config.r#type, "json-file");
    fill(&mut host.ipc_mode, "private");
    fill(&mut host.cgroupns_mode, "private");
    fill(&mut host.network_mode, "bridge");
    if host.resources.memory > 0 && host.resources.memory_swap == 0 {
        host.resources.memory_swap = host.resources.memory.saturating_mul(2);
    }
    host.runtime.get_or_insert_with(|| "corten".into());
    host.restart_policy.get_or_insert_with(|| RestartPolicy { name: "no".into(), maximum_retry_count: 0 });
    if host.shm_size == 0 {
        host.shm_size = spec::defaults::SHM_SIZE;
    }
    if !host.privileged {
        let owned = |paths: &[&str]| paths.iter().map(|p| (*p).to_owned()).collect();
        host.masked_paths.get_or_insert_with(|| owned(&spec::defaults::MASKED_PATHS));
        host.readonly_paths.get_or_insert_with(|| owned(&spec::defaults::READONLY_PATHS));
    }
    if host.console_size.is_empty() {
        host.console_size = vec![0, 0];
    }
    host
}

/// Each network it wants or has, with the facts of the endpoint while there is one.
pub(super) fn endpoint_settings(view: &View) -> BTreeMap<String, EndpointSettings> {
    let record = &view.record;
    let mut all = record.networks.clone();
    match record.network_mode() {
        NetworkMode::Host => {
            all.entry("host".into()).or_default();
        }
        NetworkMode::None => {
            all.entry("none".into()).or_default();
        }
        NetworkMode::Container(_) | NetworkMode::Networks => {}
    }
    for endpoint in &view.network.endpoints {
        let settings = all.entry(endpoint.network_name.clone()).or_default();
        networks::fill_endpoint(settings, endpoint);
    }
    all
}
