//! Docker's plugins for the command line: programs `docker-<name>` that bring commands of their own, as `compose` and
//! `buildx`.
//!
//! A plugin called as `docker-<name> docker-cli-plugin-metadata` says in JSON what it is; called with this program's
//! own words it does its work. It finds its engine by itself, from the same flags, variables and files; only an engine
//! that is Corten's own default has to be named to it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;

use crate::app::{App, env};
use crate::config::Config;
use crate::error::{Error, Result};

/// The word that makes a plugin say what it is.
const METADATA: &str = "docker-cli-plugin-metadata";
/// Where packages put plugins.
const SYSTEM: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// What a plugin says of itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Metadata {
    pub(crate) schema_version: String,
    pub(crate) vendor: String,
    pub(crate) version: String,
    pub(crate) short_description: String,
    pub(crate) hidden: bool,
}

/// A plugin, and what it says or why it cannot be used.
#[derive(Debug)]
pub(crate) struct Plugin {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) metadata: std::result::Result<Metadata, String>,
}

/// The program of the plugin `name`.
pub(crate) fn find(config: &Config, name: &str) -> Option<PathBuf> {
    if !is_name(name) {
        return None;
    }
    directories(config)
        .into_iter()
        .map(|dir| dir.join(format!("docker-{name}")))
        .find(|path| is_program(path))
}

/// The names of all plugins.
pub(crate) fn names(config: &Config) -> Vec<String> {
    programs(config).into_keys().collect()
}

/// All plugins by name, each asked what it is, all at the same time.
pub(crate) fn list(config: &Config) -> Vec<Plugin> {
    let asked: Vec<_> = programs(config).into_iter().map(|(name, path)| (name, ask(&path), path)).collect();
    asked
        .into_iter()
        .map(|(name, child, path)| Plugin { name, metadata: child.and_then(answer), path })
        .collect()
}

/// The programs of all plugins.
fn programs(config: &Config) -> BTreeMap<String, PathBuf> {
    let mut programs: BTreeMap<String, PathBuf> = BTreeMap::new();
    for directory in directories(config) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let file_name = entry.file_name();
            let name = file_name.to_str().and_then(|name| name.strip_prefix("docker-"));
            // The first directory that has a plugin wins.
            if let Some(name) = name.filter(|name| is_name(name) && is_program(&entry.path())) {
                programs.entry(name.to_owned()).or_insert_with(|| entry.path());
            }
        }
    }
    programs
}

/// Becomes the plugin, which gets all of this program's words: the global options, then `words`, which begin with the
/// plugin's name. Returns only when that fails.
#[allow(clippy::disallowed_methods, reason = "plugins are programs of the user's choice")]
pub(crate) fn run(app: &App, program: &Path, words: &[String]) -> Result<u8> {
    let mut command = std::process::Command::new(program);
    command.args(app.globals().words()).args(words);
    if let Some(called) = std::env::args_os().next() {
        command.env("DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND", called);
    }
    if let Some(host) = host(app, words)? {
        command.env("DOCKER_HOST", host);
    }
    let error = command.exec();
    Err(Error::file("cannot run", program)(error))
}

/// The engine's address, if the plugin would not find it by itself.
fn host(app: &App, words: &[String]) -> Result<Option<String>> {
    let endpoint = app.endpoint()?;
    let by_default = endpoint.context == crate::context::DEFAULT;
    if endpoint.chosen {
        let ours = by_default && app.globals().hosts.is_empty() && env("CORTEN_HOST").is_some();
        return Ok(ours.then(|| endpoint.host.to_string()));
    }
    let asks = |word: &String| matches!(word.as_str(), "version" | "help" | "--help" | "-h" | "--version");
    let needs_no_engine = words.iter().skip(1).any(asks) || words.get(1).is_none_or(|w| w.starts_with("__"));
    if needs_no_engine {
        return Ok(Some(endpoint.host.to_string()));
    }
    // The plugin cannot start our daemon, and complains in its own words if there is none.
    let found = app.block_on(async { Ok(app.client().await?.host().to_string()) });
    Ok(Some(found.unwrap_or_else(|_| endpoint.host.to_string())))
}

fn directories(config: &Config) -> Vec<PathBuf> {
    let extra = config.list("cliPluginsExtraDirs").into_iter().map(PathBuf::from);
    let own = std::iter::once(config.directory().join("cli-plugins"));
    extra.chain(own).chain(SYSTEM.map(PathBuf::from)).collect()
}

/// Lower-case letters and digits, a letter first.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[allow(clippy::disallowed_methods, reason = "plugins are programs of the user's choice")]
fn ask(program: &Path) -> std::result::Result<std::process::Child, String> {
    std::process::Command::new(program)
        .arg(METADATA)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("failed to fetch metadata: {error}"))
}

fn answer(child: std::process::Child) -> std::result::Result<Metadata, String> {
    let output = child.wait_with_output().map_err(|error| format!("failed to fetch metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("failed to fetch metadata: {}", output.status));
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("invalid metadata: {error}"))?;
    match metadata.schema_version.as_str() {
        "" => Err("plugin SchemaVersion version cannot be empty".into()),
        version if !version.starts_with("0.") => {
            Err(format!("plugin SchemaVersion {version:?} is not valid: must be lower than 1.0.0"))
        }
        _ if metadata.vendor.is_empty() => Err("plugin metadata does not define a vendor".into()),
        _ => Ok(metadata),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_plugins() {
        for (name, good) in [
            ("compose", true),
            ("buildx2", true),
            ("", false),
            ("2x", false),
            ("a-b", false),
            ("../x", false),
        ] {
            assert_eq!(is_name(name), good, "{name}");
        }
    }
}
