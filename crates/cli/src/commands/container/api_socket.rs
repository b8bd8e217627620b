//! `--use-api-socket`: the container gets the engine's socket, and the user's credentials.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use client::{Client, Host};
use serde_json::{Value, json};
use spec::api::{AuthConfig, ContainerCreateRequest, Mount};

use crate::app::App;
use crate::copy::stream::outgoing;
use crate::error::Result;

/// Where programs in a container look for the engine.
const SOCKET: &str = "/var/run/docker.sock";
/// The directory of the credentials in a container.
const DIRECTORY: &str = "/run/secrets/docker";

/// Adds the socket to the request; returns the `config.json` that the container gets, if there are credentials.
pub(super) fn prepare(
    app: &App,
    client: &Client,
    request: &mut ContainerCreateRequest,
) -> Result<Option<Value>> {
    let source = match client.host() {
        Host::Unix(path) => path.display().to_string(),
        // On a machine that is not this one.
        Host::Tcp(_) | Host::Ssh(_) => SOCKET.to_owned(),
    };
    request.host_config.mounts.push(Mount {
        r#type: "bind".into(),
        source,
        target: SOCKET.into(),
        ..Mount::default()
    });
    let encoded = app.config()?.all_registries();
    let decoded = URL_SAFE.decode(encoded).unwrap_or_default();
    let all: BTreeMap<String, AuthConfig> = serde_json::from_slice(&decoded).unwrap_or_default();
    if all.is_empty() {
        return Ok(None);
    }
    let entry = |(server, auth): (String, AuthConfig)| {
        let pair = STANDARD.encode(format!("{}:{}", auth.username, auth.password));
        let mut entry = json!({ "auth": pair });
        if !auth.identitytoken.is_empty() {
            entry["identitytoken"] = auth.identitytoken.into();
        }
        (server, entry)
    };
    request.config.env.push(format!("DOCKER_CONFIG={DIRECTORY}"));
    Ok(Some(json!({ "auths": all.into_iter().map(entry).collect::<serde_json::Map<_, _>>() })))
}

/// Puts the credentials into the container that was made.
pub(super) async fn deliver(client: &Client, id: &str, config: &Value) -> Result<()> {
    let bytes = config.to_string().into_bytes();
    let upload = outgoing(Arc::default(), move |out| {
        let mut tar = tar::Builder::new(out);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        let path = format!("{}/config.json", DIRECTORY.trim_start_matches('/'));
        tar.append_data(&mut header, path, bytes.as_slice())?;
        tar.finish()
    });
    Ok(client.container_archive_put(id, "/", false, upload.body).await?)
}
