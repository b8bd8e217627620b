//! Contexts: engines under names, kept where Docker keeps them and as it does.
//!
//! | file, below the configuration's directory | what is in it |
//! |---|---|
//! | `contexts/meta/<sha256 of the name>/meta.json` | name, description, address |
//! | `contexts/tls/<sha256 of the name>/docker/{ca,cert,key}.pem` | certificates |

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use client::Tls;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::file;

/// The context that is always there: what flags and variables say.
pub(crate) const DEFAULT: &str = "default";
/// The endpoint all contexts have.
const DOCKER: &str = "docker";
/// The certificates' file names.
pub(crate) const CERTIFICATES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

/// A context as `meta.json` holds it. What other programs keep in it stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Meta {
    pub(crate) name: String,
    pub(crate) metadata: Map<String, Value>,
    pub(crate) endpoints: BTreeMap<String, Map<String, Value>>,
}

impl Meta {
    pub(crate) fn description(&self) -> &str {
        self.metadata.get("Description").and_then(Value::as_str).unwrap_or_default()
    }

    /// The engine's address; empty when the context names none.
    pub(crate) fn host(&self) -> &str {
        let host = self.endpoints.get(DOCKER).and_then(|endpoint| endpoint.get("Host"));
        host.and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn skip_verify(&self) -> bool {
        let skip = self.endpoints.get(DOCKER).and_then(|endpoint| endpoint.get("SkipTLSVerify"));
        skip.and_then(Value::as_bool).unwrap_or_default()
    }

    pub(crate) fn describe(&mut self, description: &str) {
        if description.is_empty() {
            self.metadata.remove("Description");
        } else {
            self.metadata.insert("Description".into(), description.into());
        }
    }

    pub(crate) fn point_at(&mut self, host: &str, skip_verify: bool) {
        let mut endpoint = Map::new();
        if !host.is_empty() {
            endpoint.insert("Host".into(), host.into());
        }
        endpoint.insert("SkipTLSVerify".into(), skip_verify.into());
        self.endpoints.insert(DOCKER.into(), endpoint);
    }
}

/// The directory of contexts.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    /// The contexts of a configuration's directory.
    pub(crate) fn new(configuration: &Path) -> Self {
        Self { root: configuration.join("contexts") }
    }

    pub(crate) fn meta_dir(&self, name: &str) -> PathBuf {
        self.root.join("meta").join(id(name))
    }

    pub(crate) fn tls_dir(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(id(name))
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.meta_dir(name).join("meta.json").is_file()
    }

    pub(crate) fn read(&self, name: &str) -> Result<Meta> {
        let path = self.meta_dir(name).join("meta.json");
        match std::fs::read(&path) {
            Ok(bytes) => parse(&bytes, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::invalid(format!(
                "context {name:?}: context not found: open {}: no such file or directory",
                path.display()
            ))),
            Err(error) => Err(Error::file("cannot read", path)(error)),
        }
    }

    /// All contexts on disk, by name.
    pub(crate) fn list(&self) -> Result<Vec<Meta>> {
        let directory = self.root.join("meta");
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::file("cannot list", directory)(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(Error::file("cannot list", &directory))?.path().join("meta.json");
            match std::fs::read(&path) {
                Ok(bytes) => found.push(parse(&bytes, &path)?),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => return Err(Error::file("cannot read", path)(error)),
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Writes the address and the description; the certificates stay.
    pub(crate) fn write(&self, meta: &Meta) -> Result<()> {
        let directory = self.meta_dir(&meta.name);
        make(&directory, 0o755)?;
        let text = serde_json::to_vec(meta).expect("text keys only");
        file::replace(&directory.join("meta.json"), &text, 0o644)
    }

    /// Replaces all certificates.
    pub(crate) fn write_tls(&self, name: &str, tls: &Tls) -> Result<()> {
        let directory = self.tls_dir(name);
        remove(&directory)?;
        let directory = directory.join(DOCKER);
        let parts = [&tls.ca, &tls.certificate, &tls.key];
        for (file_name, part) in CERTIFICATES.iter().zip(parts) {
            if let Some(bytes) = part {
                make(&directory, 0o700)?;
                file::replace(&directory.join(file_name), bytes, 0o600)?;
            }
        }
        Ok(())
    }

    /// The certificates of a context.
    pub(crate) fn read_tls(&self, name: &str) -> Result<Tls> {
        let directory = self.tls_dir(name).join(DOCKER);
        let [ca, certificate, key] = CERTIFICATES.map(|file| directory.join(file));
        Ok(Tls {
            ca: optional(&ca)?,
            certificate: optional(&certificate)?,
            key: optional(&key)?,
            skip_verify: false,
        })
    }

    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        remove(&self.tls_dir(name))?;
        remove(&self.meta_dir(name))
    }
}

/// Whether a context may have this name.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if name == DEFAULT {
        return Err(Error::invalid(format!("{DEFAULT:?} is a reserved context name")));
    }
    let plain = |c: char| c.is_ascii_alphanumeric();
    let rest = name.strip_prefix(plain).unwrap_or_default();
    if rest.is_empty() || !rest.chars().all(|c| plain(c) || "_.+-".contains(c)) {
        return Err(Error::invalid(format!(
            "context name {name:?} is invalid, names are validated against regexp \
             \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\""
        )));
    }
    Ok(())
}

/// A file's bytes; nothing when it is not there.
pub(crate) fn optional(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("cannot read", path)(error)),
    }
}

fn id(name: &str) -> String {
    Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse(bytes: &[u8], path: &Path) -> Result<Meta> {
    serde_json::from_slice(bytes).map_err(|error| Error::invalid(format!("{}: {error}", path.display())))
}

fn make(directory: &Path, mode: u32) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(directory);
    made.map_err(Error::file("cannot create", directory))
}

fn remove(directory: &Path) -> Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("cannot remove", directory)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_where_docker_puts_it() {
        let directory = Store::new(Path::new("/c")).meta_dir("foo");
        let expected = "/c/contexts/meta/2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
        assert_eq!(directory, Path::new(expected));
        for good in ["ab", "a.b+c-d_e", "0x"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "default", "-ab", "a b", "a/b", "../x"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
