//! The bytes of a config.json that somebody else wrote.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Invalid, Process, Spec};

impl Spec {
    /// Decodes and validates a bundle's config.json. Members that are no part of the specification are passed over,
    /// Corten's own too: a bundle cannot ask for what only the engine may.
    ///
    /// # Errors
    /// What is wrong, with the JSON path of the member.
    pub fn from_bundle(json: &[u8]) -> Result<Self, Invalid> {
        let mut spec: Self = decode(json)?;
        // Any 1.x: later minor versions only add members.
        if spec.oci_version.split('.').next() != Some("1") {
            let reason = format!("unsupported version {:?}: this runtime knows 1.0 to 1.3", spec.oci_version);
            return Err(Invalid::new("ociVersion", reason));
        }
        if let Some(root) = &mut spec.root {
            root.overlay = None;
        }
        if let Some(process) = &mut spec.process {
            process.forget_extensions();
        }
        spec.validate()?;
        Ok(spec)
    }
}

impl Process {
    /// Decodes and validates the process of an exec, as [`Spec::from_bundle`].
    ///
    /// # Errors
    /// As there.
    pub fn from_json(json: &[u8]) -> Result<Self, Invalid> {
        let mut process: Self = decode(json)?;
        process.forget_extensions();
        process.validate()?;
        Ok(process)
    }

    /// Names of users are for the engine to be looked up; the specification's `username` is not Linux's.
    fn forget_extensions(&mut self) {
        self.user.username.clear();
        self.user.additional_groups.clear();
    }
}

/// Decodes JSON of the specification.
///
/// # Errors
/// Where the first member is that cannot be.
pub fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, Invalid> {
    serde_json::from_slice(json).or_else(|error| {
        again(json).ok_or_else(|| {
            let text = error.to_string();
            let reason = text.split(" at line ").next().unwrap_or_default();
            let field = path_at(json, error.line(), error.column());
            Invalid::new(if field.is_empty() { "config.json" } else { &field }, reason)
        })
    })
}

/// Without the nulls: programs written in Go say that for what they have none of. From bytes as before, and not from the
/// value: a second decoder of a whole configuration would be an eighth of the runtime's program.
fn again<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    fn forget_nulls(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.retain(|_, member| !member.is_null());
                members.values_mut().for_each(forget_nulls);
            }
            Value::Array(elements) => elements.iter_mut().for_each(forget_nulls),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut value = serde_json::from_slice(json).ok()?;
    forget_nulls(&mut value);
    serde_json::from_slice(&serde_json::to_vec(&value).ok()?).ok()
}

/// The JSON path of the member that ends at (or around) this line and column, both counted from 1.
fn path_at(json: &[u8], line: usize, column: usize) -> String {
    enum Step {
        Key(String),
        Index(usize),
    }
    let before: usize =
        json.split_inclusive(|b| *b == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    let json = &json[..json.len().min(before + column)];
    let mut steps: Vec<Step> = Vec::new();
    let mut bytes = json.iter().copied().enumerate().peekable();
    let mut is_key = false;
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'{' => {
                steps.push(Step::Key(String::new()));
                is_key = true;
            }
            b'[' => {
                steps.push(Step::Index(0));
                is_key = false;
            }
            b'}' | b']' => {
                steps.pop();
            }
            b',' => match steps.last_mut() {
                Some(Step::Index(index)) => *index += 1,
                Some(Step::Key(_)) => is_key = true,
                None => {}
            },
            b':' => is_key = false,
            b'"' => {
                let mut end = json.len();
                while let Some((at, byte)) = bytes.next() {
                    match byte {
                        b'\\' => drop(bytes.next()),
                        b'"' => {
                            end = at;
                            break;
                        }
                        _ => {}
                    }
                }
                if let (true, Some(Step::Key(key))) = (is_key, steps.last_mut()) {
                    *key = String::from_utf8_lossy(&json[at + 1..end]).into_owned();
                }
            }
            _ => {}
        }
    }
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key(key) if key.is_empty() => {}
            Step::Key(key) if path.is_empty() => path = key,
            Step::Key(key) => path = format!("{path}.{key}"),
            Step::Index(index) => path = format!("{path}[{index}]"),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_member_is_named() {
        let table = [
            (r#"{"ociVersion":"1.0.2","process":{"cwd":"/","user":{"uid":-1}}}"#, "process.user.uid"),
            (r#"{"ociVersion":"1.0.2","process":{"cwd":7}}"#, "process.cwd"),
            (
                r#"{"ociVersion":"1.0.2","mounts":[{"destination":"/a"},{"destination":[]}]}"#,
                "mounts[1].destination",
            ),
            (
                r#"{"ociVersion":"1.0.2","linux":{"namespaces":[{"type":"pid"},{"type":"moon"}]}}"#,
                "linux.namespaces[1].type",
            ),
            (
                "{\"ociVersion\":\"1.0.2\",\n\"linux\":{\n\"uidMappings\":[{\"containerID\":0,\"hostID\":0}]}}",
                "linux.uidMappings[0]",
            ),
            (
                r#"{"ociVersion":"1.0.2","linux":{"uidMappings":[{"containerID":4294967296}]}}"#,
                "linux.uidMappings[0].containerID",
            ),
            (r#"{"ociVersion":"2.0.0"}"#, "ociVersion"),
            ("{", "config.json"),
        ];
        for (json, field) in table {
            assert_eq!(Spec::from_bundle(json.as_bytes()).unwrap_err().field, field, "{json}");
        }
    }

    #[test]
    fn null_is_nothing_and_strange_members_are_passed_over() {
        let json = br#"{"ociVersion":"1.2.0","mounts":null,"strange":{"a":[1]},"root":{"path":"r","overlay":{"lower":[],"upper":"/etc"}},
            "process":{"args":["x"],"cwd":"/","env":null,"user":{"uid":1,"gid":2,"username":"root"}},
            "linux":{"namespaces":[{"type":"mount"}]}}"#;
        let spec = Spec::from_bundle(json).unwrap();
        assert_eq!(spec.root.unwrap().overlay, None);
        assert_eq!(spec.process.unwrap().user, super::super::User { uid: 1, gid: 2, ..Default::default() });
    }
}
