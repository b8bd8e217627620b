//! The user's `config.json`: credentials and habits, shared with Docker. Keys we do not know are kept.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Value, json};
use spec::Reference;
use spec::api::AuthConfig;

use crate::app::env;
use crate::error::{Error, Result};

/// The key of Docker Hub's credentials.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";

/// The file's content, and where it is.
#[derive(Debug)]
pub(crate) struct Config {
    path: PathBuf,
    members: Map<String, Value>,
}

impl Config {
    /// Reads the file in `dir`, or in `$DOCKER_CONFIG`, or in `~/.docker`; an absent file is an empty one.
    pub(crate) fn load(dir: Option<PathBuf>) -> Result<Self> {
        let home = || PathBuf::from(env("HOME").unwrap_or_else(|| "/root".into())).join(".docker");
        let dir = dir.or_else(|| env("DOCKER_CONFIG").map(PathBuf::from)).unwrap_or_else(home);
        let path = dir.join("config.json");
        let members = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Error::invalid(format!("{}: {error}", path.display())))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Map::new(),
            Err(error) => return Err(Error::file("cannot read", &path)(error)),
        };
        Ok(Self { path, members })
    }

    /// A text the user has set, as `psFormat`.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.members.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// The proxy variables for containers and builds.
    pub(crate) fn proxies(&self) -> Vec<(String, String)> {
        let Some(proxies) = self.members.get("proxies").and_then(|p| p.get("default")) else {
            return Vec::new();
        };
        let mut variables = Vec::new();
        for (key, name) in [
            ("httpProxy", "HTTP_PROXY"),
            ("httpsProxy", "HTTPS_PROXY"),
            ("ftpProxy", "FTP_PROXY"),
            ("noProxy", "NO_PROXY"),
            ("allProxy", "ALL_PROXY"),
        ] {
            if let Some(value) = proxies.get(key).and_then(Value::as_str).filter(|v| !v.is_empty()) {
                variables.push((name.to_owned(), value.to_owned()));
                variables.push((name.to_lowercase(), value.to_owned()));
            }
        }
        variables
    }

    /// The credentials of one registry; empty when there are none.
    pub(crate) fn credentials(&self, server: &str) -> AuthConfig {
        let entry = |auths: &Value| {
            let auths = auths.as_object()?;
            let key = auths.keys().find(|key| *key == server || host_of(key) == host_of(server))?;
            Some(read_entry(key, &auths[key]))
        };
        let from_env = env("DOCKER_AUTH_CONFIG").and_then(|text| serde_json::from_str::<Value>(&text).ok());
        from_env
            .as_ref()
            .and_then(|value| entry(value.get("auths")?))
            .or_else(|| entry(self.members.get("auths")?))
            .unwrap_or_default()
    }

    /// `X-Registry-Auth` for an image: base64 of the credentials of its registry.
    pub(crate) fn registry_auth(&self, image: &Reference) -> String {
        let server = if image.domain == spec::reference::DEFAULT_DOMAIN { HUB } else { &image.domain };
        encode(&self.credentials(server))
    }

    /// `X-Registry-Config`: the credentials of all registries.
    pub(crate) fn all_registries(&self) -> String {
        let Some(auths) = self.members.get("auths").and_then(Value::as_object) else { return String::new() };
        let all: BTreeMap<_, _> = auths.iter().map(|(key, value)| (key, read_entry(key, value))).collect();
        if all.is_empty() { String::new() } else { encode(&all) }
    }

    /// Remembers credentials and writes the file.
    pub(crate) fn store(&self, server: &str, auth: &AuthConfig) -> Result<()> {
        let mut members = self.members.clone();
        let entry = if auth.identitytoken.is_empty() {
            json!({ "auth": STANDARD.encode(format!("{}:{}", auth.username, auth.password)) })
        } else {
            json!({
                "auth": STANDARD.encode(format!("{}:", auth.username)),
                "identitytoken": auth.identitytoken,
            })
        };
        let auths = members.entry("auths").or_insert_with(|| json!({}));
        if let Some(auths) = auths.as_object_mut() {
            auths.insert(server.to_owned(), entry);
        }
        self.write(&members)
    }

    /// Forgets credentials and writes the file; whether there were any.
    pub(crate) fn erase(&self, server: &str) -> Result<bool> {
        let mut members = self.members.clone();
        let auths = members.get_mut("auths").and_then(Value::as_object_mut);
        let found = auths.is_some_and(|auths| auths.remove(server).is_some());
        if found {
            self.write(&members)?;
        }
        Ok(found)
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Replaces the file in one step; only its owner may read it.
    fn write(&self, members: &Map<String, Value>) -> Result<()> {
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let dir = path.parent().unwrap_or(std::path::Path::new("/"));
        std::fs::create_dir_all(dir).map_err(Error::file("cannot create", dir))?;
        let temporary = dir.join(format!(".config.json.{}", std::process::id()));
        let text = crate::json::Json::of(members).pretty("", "\t");
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
        written.map_err(Error::file("cannot write", &temporary))?;
        rustix::fs::rename(&temporary, &path)
            .map_err(|error| Error::file("cannot replace", &path)(error.into()))
    }
}

fn encode(value: &impl serde::Serialize) -> String {
    URL_SAFE.encode(serde_json::to_vec(value).expect("text keys only"))
}

fn read_entry(server: &str, entry: &Value) -> AuthConfig {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let decoded = STANDARD.decode(text("auth")).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (username, password) = match decoded.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((user, password)) => (user.to_owned(), password.trim_end_matches('\0').to_owned()),
        None => (text("username"), text("password")),
    };
    AuthConfig {
        username,
        password,
        serveraddress: server.to_owned(),
        identitytoken: text("identitytoken"),
        registrytoken: text("registrytoken"),
        auth: String::new(),
    }
}

/// The host of a key that may be a URL.
fn host_of(server: &str) -> &str {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}
