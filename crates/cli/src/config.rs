//! The user's `config.json`: credentials and habits, shared with Docker. Keys we do not know are kept.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::app::env;
use crate::error::{Error, Result};
use crate::{file, print};

/// The file's content, and where it is.
#[derive(Debug)]
pub(crate) struct Config {
    path: PathBuf,
    members: Map<String, Value>,
    /// The file is there and cannot be read as JSON: it is not to be replaced.
    broken: bool,
}

impl Config {
    /// Reads the file in `dir`, or in `$DOCKER_CONFIG`, or in `~/.docker`. An absent file is an empty one, and one
    /// that cannot be read too, after a warning; a place that is no directory is a mistake.
    pub(crate) fn load(dir: Option<PathBuf>) -> Result<Self> {
        let home = || PathBuf::from(env("HOME").unwrap_or_else(|| "/root".into())).join(".docker");
        let dir = dir.or_else(|| env("DOCKER_CONFIG").map(PathBuf::from)).unwrap_or_else(home);
        let path = dir.join("config.json");
        let read = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Map::new()),
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                return Err(Error::file("cannot read", path)(error));
            }
            Err(error) => Err(error.to_string()),
        };
        let broken = read.is_err();
        let members = read.unwrap_or_else(|error| {
            print::err_line(format!("WARNING: Error loading config file: {}: {error}", path.display()));
            Map::new()
        });
        Ok(Self { path, members, broken })
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of the file, of contexts, certificates and plugins.
    pub(crate) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// A text the user has set, as `psFormat`.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.members.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// The texts of a list, as `cliPluginsExtraDirs`.
    pub(crate) fn list(&self, key: &str) -> Vec<&str> {
        let list = self.members.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// A member of an object, as the `builder` of `aliases`.
    pub(crate) fn entry(&self, object: &str, key: &str) -> Option<&Value> {
        self.members.get(object).and_then(|object| object.get(key))
    }

    /// An object, as `auths`.
    pub(crate) fn object(&self, key: &str) -> Option<&Map<String, Value>> {
        self.members.get(key).and_then(Value::as_object)
    }

    /// The headers of every request; `DOCKER_CUSTOM_HEADERS` (`name=value,…`) goes before the file.
    pub(crate) fn headers(&self) -> Result<Vec<(String, String)>> {
        if let Some(text) = env("DOCKER_CUSTOM_HEADERS") {
            let pairs = text.split(',').map(|field| {
                let pair = field.trim().split_once('=').filter(|(name, _)| !name.is_empty());
                let (name, value) = pair.ok_or_else(|| {
                    Error::invalid(format!(
                        "failed to parse custom headers from DOCKER_CUSTOM_HEADERS environment variable: value \
                         must be formatted as comma-separated key=value pairs: {field:?}"
                    ))
                })?;
                Ok((name.trim().to_owned(), value.to_owned()))
            });
            return pairs.collect();
        }
        let headers = self.object("HttpHeaders").into_iter().flatten();
        Ok(headers
            .filter(|(name, _)| !name.eq_ignore_ascii_case("user-agent"))
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect())
    }

    /// The proxy variables for containers and builds of the engine at `host`.
    pub(crate) fn proxies(&self, host: &str) -> Vec<(String, String)> {
        let Some(proxies) = self.entry("proxies", host).or_else(|| self.entry("proxies", "default")) else {
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

    /// Writes the file with one member changed; nothing removes it.
    pub(crate) fn set(&self, key: &str, value: Option<Value>) -> Result<()> {
        let mut members = self.members.clone();
        match value {
            Some(value) => members.insert(key.to_owned(), value),
            None => members.remove(key),
        };
        // Docker's client always writes this one.
        members.entry("auths").or_insert_with(|| Map::new().into());
        self.write(&members)
    }

    /// Replaces the file in one step; only its owner may read it.
    fn write(&self, members: &Map<String, Value>) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;

        if self.broken {
            return Err(Error::invalid(format!(
                "{} cannot be read and would lose what is in it: repair or remove it first",
                self.path.display()
            )));
        }
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.directory());
        made.map_err(Error::file("cannot create", self.directory()))?;
        file::replace(&self.path, crate::json::Json::of(members).pretty("", "\t").as_bytes(), 0o600)
    }
}
