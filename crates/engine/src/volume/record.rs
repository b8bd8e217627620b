//! What is recorded of a volume: `meta.json` in its directory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::options;
use crate::Error;

/// The driver that is built in.
pub(crate) const LOCAL: &str = "local";
/// Bytes of the longest name a plugin's volume may have: its directory has two digits for each, and one byte more.
const LONGEST: usize = 127;

/// meta.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// Nanoseconds since 1970.
    pub(crate) created_at: u64,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: BTreeMap<String, String>,
    #[serde(default = "local")]
    pub(crate) driver: String,
    /// Where it is not the directory's: a plugin may call its volumes what it likes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
}

fn local() -> String {
    LOCAL.into()
}

impl Meta {
    /// Of the driver that is built in.
    pub(crate) fn is_local(&self) -> bool {
        self.driver == LOCAL
    }

    /// Its files are in its own directory, always: nothing has to be mounted.
    pub(crate) fn is_plain(&self) -> bool {
        self.is_local() && !options::need_mount(&self.options)
    }
}

/// The directory of a volume's record below the root.
pub(crate) fn directory(name: &str) -> Result<String, Error> {
    if crate::names::is_valid(name) {
        return Ok(name.to_owned());
    }
    if name.is_empty() || name.len() > LONGEST {
        return Err(Error::Invalid(format!(
            "invalid volume name {name:?}: it must have 1 to {LONGEST} bytes"
        )));
    }
    // No valid name begins so.
    Ok(format!("@{}", spec::digest::hex(name.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_root() {
        for name in ["../x", "a/b", "..", "@41", "ä"] {
            let directory = directory(name).unwrap();
            assert!(!directory.contains('/') && directory.starts_with('@'), "{directory}");
        }
        assert_eq!(directory("data").unwrap(), "data");
        assert!(directory("").is_err() && directory(&"/".repeat(128)).is_err());
    }

    #[test]
    fn older_records_are_of_the_local_driver() {
        let meta: Meta = serde_json::from_str(r#"{"created_at":1,"labels":{},"options":{}}"#).unwrap();
        assert!(meta.is_local() && meta.is_plain());
    }
}
