//! daemon.json: read, checked against the table, and put together with the flags.
//!
//! A directive is given once: in the file or as a flag. The texts are Docker's.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::keys;
use super::value::shown;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("unable to configure the Docker daemon with file {}: {reason}", path.display())]
pub struct Error {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("{0}")]
    Read(String),
    #[error("{0}")]
    Json(serde_json::Error),
    #[error("expected an object of directives")]
    NoObject,
    #[error("the following directives don't match any configuration option: {}", .0.join(", "))]
    Unknown(Vec<String>),
    #[error("the following directives are specified both as a flag and in the configuration file: {}", .0.join(", "))]
    Twice(Vec<String>),
    #[error("{0} and {1} must not both be specified in the config file")]
    TwoNames(&'static str, &'static str),
    #[error("{0}")]
    Type(String),
}

/// Directives that have a new name, which is a list.
const RENAMED: [(&str, &str); 1] = [("host-gateway-ip", "host-gateway-ips")];
/// May be given in both places: they are put together.
const MERGED: &str = "runtimes";

/// Flags and the file, together. Without the file it is the flags alone, unless the user has named it.
///
/// # Errors
/// The file cannot be read, is not JSON, has directives that are unknown, of a wrong type, or given as flags too.
pub(crate) fn load(
    path: &Path,
    named: bool,
    flags: &Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    let error = |reason| Error { path: path.to_owned(), reason };
    let bytes = match sys::file::read_if_exists(path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) if !named => return Ok(flags.clone()),
        Ok(None) => {
            return Err(error(Reason::Read(format!("open {}: no such file or directory", path.display()))));
        }
        Err(failed) => return Err(error(Reason::Read(crate::error::chain(&failed)))),
    };
    merge(&bytes, flags).map_err(error)
}

fn merge(bytes: &[u8], flags: &Map<String, Value>) -> Result<Map<String, Value>, Reason> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(flags.clone());
    }
    let Value::Object(file) = serde_json::from_slice(bytes).map_err(Reason::Json)? else {
        return Err(Reason::NoObject);
    };
    let file = rename(flatten(file))?;

    // In the order of their names, as Go has them.
    let mut unknown: Vec<_> = file.keys().filter(|name| keys::find(name).is_none()).cloned().collect();
    unknown.sort();
    if !unknown.is_empty() {
        return Err(Reason::Unknown(unknown));
    }
    let mut twice: Vec<_> = flags
        .iter()
        .filter(|(name, _)| *name != MERGED)
        .filter_map(|(name, flag)| Some((name, flag, file.get(name)?)))
        .map(|(name, flag, file)| {
            let show = |value| mask(name, shown(value));
            format!("{name}: (from flag: {}, from file: {})", show(flag), show(file))
        })
        .collect();
    twice.sort();
    if !twice.is_empty() {
        return Err(Reason::Twice(twice));
    }
    let mut merged = flags.clone();
    for (name, value) in file {
        let kind = keys::find(&name).expect("unknown ones were refused above").kind;
        kind.check(&name, &value).map_err(Reason::Type)?;
        match merged.get_mut(&name) {
            Some(flag) => kind.add(flag, value),
            None => {
                merged.insert(name, value);
            }
        }
    }
    Ok(merged)
}

/// `proxies` is an object in the file, and three flags. Null is as if it were not there.
fn flatten(file: Map<String, Value>) -> Map<String, Value> {
    let mut flat = Map::new();
    for (name, value) in file {
        match value {
            Value::Null => {}
            Value::Object(members) if name == "proxies" => flat.extend(members),
            value => {
                flat.insert(name, value);
            }
        }
    }
    flat
}

fn rename(mut file: Map<String, Value>) -> Result<Map<String, Value>, Reason> {
    for (old, new) in RENAMED {
        let Some(value) = file.remove(old) else { continue };
        if file.contains_key(new) {
            return Err(Reason::TwoNames(old, new));
        }
        file.insert(new.into(), Value::Array(vec![value]));
    }
    Ok(file)
}

/// Passwords in proxies' addresses are not shown.
fn mask(name: &str, text: String) -> String {
    if name.ends_with("-proxy") { registry::client::Proxies::shown(&text) } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn flags_and_file_become_one() {
        for (flags, file, merged) in [
            (json!({ "debug": true }), "", json!({ "debug": true })),
            (json!({ "debug": true }), " \n", json!({ "debug": true })),
            (json!({}), "\u{feff}{\"debug\": false}", json!({ "debug": false })),
            (json!({ "bip": "a" }), r#"{"mtu": 1400, "dns": null}"#, json!({ "bip": "a", "mtu": 1400 })),
            (json!({}), r#"{"proxies": {"http-proxy": "x"}}"#, json!({ "http-proxy": "x" })),
            (json!({}), r#"{"host-gateway-ip": "1.2.3.4"}"#, json!({ "host-gateway-ips": ["1.2.3.4"] })),
            (
                json!({ "runtimes": { "a": { "path": "/a" } } }),
                r#"{"runtimes": {"b": {"path": "/b"}}}"#,
                json!({ "runtimes": { "a": { "path": "/a" }, "b": { "path": "/b" } } }),
            ),
        ] {
            assert_eq!(Value::Object(merge(file.as_bytes(), &object(flags)).unwrap()), merged, "{file}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_dockers_words() {
        for (flags, file, text) in [
            (
                json!({ "debug": true }),
                r#"{"debug": false}"#,
                "the following directives are specified both as a flag and in the configuration file: debug: (from \
                 flag: true, from file: false)",
            ),
            (
                json!({ "hosts": ["fd://"] }),
                r#"{"hosts": ["unix:///x", "tcp://y"]}"#,
                "the following directives are specified both as a flag and in the configuration file: hosts: (from \
                 flag: [fd://], from file: [unix:///x tcp://y])",
            ),
            (
                json!({ "http-proxy": "http://u:p@x" }),
                r#"{"proxies": {"http-proxy": "http://v:q@y"}}"#,
                "the following directives are specified both as a flag and in the configuration file: http-proxy: \
                 (from flag: http://xxxxx:xxxxx@x, from file: http://xxxxx:xxxxx@y)",
            ),
            (
                json!({}),
                r#"{"foo": 1, "bar": 2, "debug": true}"#,
                "the following directives don't match any configuration option: bar, foo",
            ),
            (json!({}), r#"{"dns": ["1.1.1.1", 2]}"#, "dns[1]: expected a string, found a number"),
            (json!({}), "[]", "expected an object of directives"),
            (
                json!({}),
                r#"{"host-gateway-ip": "1.2.3.4", "host-gateway-ips": []}"#,
                "host-gateway-ip and host-gateway-ips must not both be specified in the config file",
            ),
        ] {
            assert_eq!(merge(file.as_bytes(), &object(flags)).unwrap_err().to_string(), text);
        }
        assert!(matches!(merge(b"{", &Map::new()), Err(Reason::Json(_))));
    }

    #[test]
    fn only_a_named_file_has_to_be_there() {
        let path = Path::new("/nonexistent/daemon.json");
        assert!(load(path, false, &Map::new()).unwrap().is_empty());
        let text = load(path, true, &Map::new()).unwrap_err().to_string();
        assert_eq!(
            text,
            "unable to configure the Docker daemon with file /nonexistent/daemon.json: open \
             /nonexistent/daemon.json: no such file or directory"
        );
    }
}
