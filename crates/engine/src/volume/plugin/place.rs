//! Where plugins are found: `<name>.sock`, else `<name>.spec` (an address) or `<name>.json` (`{"Addr": …}`), each also in a
//! directory of its name.

use std::collections::BTreeSet;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The longest file that says an address.
const LONGEST: u64 = 64 << 10;

/// Where a plugin listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Unix(PathBuf),
    /// `host:port`
    Tcp(String),
}

impl Address {
    /// `unix:///path`, `tcp://host:port` or `http://host:port`.
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("tcp" | "http", place)) if place.contains(':') => {
                Ok(Self::Tcp(place.trim_end_matches('/').to_owned()))
            }
            Some(("https", _)) => Err(format!("{text}: plugins over TLS are not supported yet")),
            _ => Err(format!("{text:?}: expected unix:///path or tcp://host:port")),
        }
    }
}

/// A name that is one: it becomes part of a path.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

/// The address of the plugin of that name; an error says what is wrong with the file that tells it.
pub(super) fn find(directories: &[PathBuf], name: &str) -> Result<Option<Address>, String> {
    if !is_name(name) {
        return Ok(None);
    }
    let places = |ending: &str| {
        let file = format!("{name}.{ending}");
        let of = move |dir: &PathBuf| [dir.join(&file), dir.join(name).join(&file)];
        directories.iter().flat_map(of).collect::<Vec<_>>()
    };
    if let Some(socket) = places("sock").into_iter().find(|path| is_socket(path)) {
        return Ok(Some(Address::Unix(socket)));
    }
    let first = |ending: &str| places(ending).into_iter().find(|path| path.exists());
    if let Some(path) = first("spec") {
        return Address::parse(&read(&path)?).map(Some);
    }
    if let Some(path) = first("json") {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Plugin {
            addr: String,
        }
        let plugin: Plugin =
            serde_json::from_str(&read(&path)?).map_err(|e| format!("{}: {e}", path.display()))?;
        return Address::parse(&plugin.addr).map(Some);
    }
    Ok(None)
}

/// The names of all that are there.
pub(super) fn scan(directories: &[PathBuf]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for dir in directories {
        for entry in sys::file::list(dir).unwrap_or_default() {
            let path = dir.join(&entry);
            if path.is_dir() {
                names.insert(entry);
            } else if let Some((name, "sock" | "spec" | "json")) = entry.rsplit_once('.') {
                names.insert(name.to_owned());
            }
        }
    }
    names.retain(|name| matches!(find(directories, name), Ok(Some(_))));
    names
}

fn is_socket(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn read(path: &Path) -> Result<String, String> {
    let named = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let metadata = path.metadata().map_err(|e| named(&e))?;
    if !metadata.is_file() || metadata.len() > LONGEST {
        return Err(named(&"not a file that says an address"));
    }
    let bytes = sys::file::read(path).map_err(|e| named(&e.source))?;
    String::from_utf8(bytes).map_err(|e| named(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_found_by_socket_and_by_file() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().to_owned();
        let write = |name: &str, text: &str| {
            sys::file::write_atomic(&dir.join(name), text.as_bytes(), 0o600, sys::file::Durability::Process)
                .unwrap();
        };
        let _one = std::os::unix::net::UnixListener::bind(dir.join("one.sock")).unwrap();
        sys::file::create_dir_all(&dir.join("two"), 0o700).unwrap();
        let _two = std::os::unix::net::UnixListener::bind(dir.join("two/two.sock")).unwrap();
        write("three.spec", "unix:///run/three.sock\n");
        write("four.json", r#"{"Name": "four", "Addr": "tcp://127.0.0.1:9"}"#);
        write("bad.json", "{");
        write("plain.sock", "no socket");
        let dirs = [dir.clone(), "/nowhere".into()];
        assert_eq!(scan(&dirs).into_iter().collect::<Vec<_>>(), ["four", "one", "three", "two"]);
        let unix = |path: PathBuf| Ok(Some(Address::Unix(path)));
        assert_eq!(find(&dirs, "one"), unix(dir.join("one.sock")));
        assert_eq!(find(&dirs, "two"), unix(dir.join("two/two.sock")));
        assert_eq!(find(&dirs, "three"), unix("/run/three.sock".into()));
        assert_eq!(find(&dirs, "four"), Ok(Some(Address::Tcp("127.0.0.1:9".into()))));
        assert!(find(&dirs, "bad").unwrap_err().contains("bad.json"));
        for none in ["plain", "", "../one", "."] {
            assert_eq!(find(&dirs, none), Ok(None), "{none}");
        }
    }

    #[test]
    fn addresses() {
        assert!(Address::parse("https://host:1").unwrap_err().contains("TLS"));
        assert!(Address::parse("/run/x").is_err() && Address::parse("tcp://host").is_err());
    }
}
