//! Every JSON answer of a test's daemon against the Engine API's schema (the swagger of the newest version).
//!
//! The schema is Docker's, so it is not part of this repository: it is read from `../shared/spec` beside it. Where that
//! is missing, answers are not checked and the test says so; with `CI=true` it fails.
//!
//! How it is read: an unknown property is a mistake unless [`ALLOWED`] says why not; `null` stands for an empty array
//! or map, as Go writes one, and else only where the schema says `x-nullable`; formats are not looked at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Map, Value};

/// The newest version, the schema's own.
const NEWEST: (u32, u32) = (1, 55);

/// Properties the schema lacks: whose, which, and the first version without them (`None`: they stay). Older versions had
/// them (moby `api/docs/CHANGELOG.md`); the old shape of the disk usage is for clients that do not negotiate.
#[rustfmt::skip]
#[allow(clippy::type_complexity, reason = "a table of three columns")]
const ALLOWED: &[(&str, &[&str], Option<(u32, u32)>)] = &[
    ("NetworkSettings", &[
        "Bridge", "EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "HairpinMode", "IPAddress",
        "IPPrefixLen", "IPv6Gateway", "LinkLocalIPv6Address", "LinkLocalIPv6PrefixLen", "MacAddress",
        "SecondaryIPAddresses", "SecondaryIPv6Addresses",
    ], Some((1, 52))),
    ("EventMessage", &["status", "id", "from"], Some((1, 52))),
    ("ImageInspect", &["DockerVersion", "Parent"], Some((1, 52))),
    ("ImageInspect", &["Container", "ContainerConfig"], Some((1, 45))),
    ("ImageInspect", &["VirtualSize"], Some((1, 44))),
    ("ImageSummary", &["VirtualSize"], Some((1, 44))),
    ("ImageConfig", &[
        "AttachStderr", "AttachStdin", "AttachStdout", "Domainname", "Hostname", "Image", "OpenStdin", "StdinOnce", "Tty",
    ], Some((1, 50))),
    ("HostConfig", &["KernelMemory", "KernelMemoryTCP"], Some((1, 42))),
    ("SystemInfo", &["BridgeNfIp6tables", "BridgeNfIptables"], Some((1, 50))),
    ("SystemInfo", &["KernelMemory", "KernelMemoryTCP"], Some((1, 42))),
    ("Commit", &["Expected"], Some((1, 49))),
    ("RegistryServiceConfig", &[
        "AllowNondistributableArtifactsCIDRs", "AllowNondistributableArtifactsHostnames",
    ], Some((1, 48))),
    ("SystemDataUsageResponse", &["BuilderSize"], Some((1, 42))),
    ("SystemDataUsageResponse", &["DataRoot"], None),
    ("SystemDataUsageResponse", &["BuildCache", "Containers", "Images", "LayersSize", "Volumes"], None),
];

/// Operations that Docker does not have.
const OWN: &[(&str, &str)] = &[
    ("GET", "/images/{name}/layers"),
    ("POST", "/build/context"),
    ("POST", "/volumes/import"),
    ("POST", "/volumes/{name}/copy"),
    ("POST", "/volumes/{name}/update"),
];

/// One recorded piece of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    method: String,
    path: String,
    version: (u32, u32),
    status: u16,
    body: String,
}

/// What is wrong with the answers in a wire log, one line each, each mistake once.
pub fn check(log: &Path) -> Vec<String> {
    let Some(schema) = schema() else { return Vec::new() };
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let mut found = BTreeSet::new();
    // The last line may be half-written: the daemon was killed.
    for answer in text.lines().filter_map(|line| Answer::read(&serde_json::from_str(line).ok()?)) {
        for mistake in schema.mistakes(&answer) {
            let (major, minor) = answer.version;
            found.insert(format!("{} {} (v{major}.{minor}): {mistake}", answer.method, answer.path));
        }
    }
    found.into_iter().collect()
}

/// The schema, read once.
fn schema() -> Option<&'static Schema> {
    static SCHEMA: OnceLock<Option<Schema>> = OnceLock::new();
    SCHEMA
        .get_or_init(|| {
            let path = PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../shared/spec/engine-api-1.55.swagger.yaml"
            ));
            let Ok(text) = std::fs::read_to_string(&path) else {
                assert!(
                    std::env::var_os("CI").is_none(),
                    "{} is needed to check the answers",
                    path.display()
                );
                eprintln!(
                    "{} is not there: answers are not checked against the API's schema",
                    path.display()
                );
                return None;
            };
            Some(Schema(serde_yaml_ng::from_str(&text).expect("the schema is YAML")))
        })
        .as_ref()
}

impl Answer {
    fn read(line: &Value) -> Option<Self> {
        let text = |key: &str| line[key].as_str().map(str::to_owned);
        let path = text("path")?;
        let versioned = path.strip_prefix("/v").and_then(|rest| {
            let (version, _) = rest.split_once('/')?;
            let (major, minor) = version.split_once('.')?;
            Some(((major.parse().ok()?, minor.parse().ok()?), rest[version.len()..].to_owned()))
        });
        let (version, path) = versioned.unwrap_or((NEWEST, path));
        let status = u16::try_from(line["status"].as_u64()?).ok()?;
        Some(Self { method: text("method")?, path, version, status, body: text("body")? })
    }
}

/// The swagger document.
struct Schema(Value);

impl Schema {
    fn mistakes(&self, answer: &Answer) -> Vec<String> {
        let mut check = Check { schema: self, version: answer.version, found: Vec::new() };
        let expected = self.expected(answer);
        let stream = serde_json::Deserializer::from_str(answer.body.trim_start_matches('\u{1e}'));
        for value in stream.into_iter::<Value>() {
            match (&expected, value) {
                (Ok(schema), Ok(value)) => check.value(schema, &value, &format!("{}", answer.status)),
                (Err(mistake), Ok(_)) => check.found.push(mistake.clone()),
                (_, Err(error)) => check.found.push(format!("{}: not JSON: {error}", answer.status)),
            }
        }
        check.found
    }

    /// The schema of an answer's body.
    fn expected(&self, answer: &Answer) -> Result<Value, String> {
        if answer.status >= 400 {
            return Ok(serde_json::json!({ "$ref": "#/definitions/ErrorResponse" }));
        }
        if OWN.iter().any(|(method, template)| *method == answer.method && matches(template, &answer.path)) {
            return Ok(serde_json::json!({ "type": "object" }));
        }
        let paths = self.0["paths"].as_object().expect("the document has paths");
        let method = answer.method.to_lowercase();
        let operation = paths
            .iter()
            .filter(|(template, operations)| {
                operations.get(&method).is_some() && matches(template, &answer.path)
            })
            // `/images/json` before `/images/{name}`.
            .min_by_key(|(template, _)| template.matches('{').count())
            .map(|(_, operations)| &operations[&method])
            .ok_or_else(|| format!("{}: the schema has no such operation", answer.status))?;
        let response = &operation["responses"][answer.status.to_string()];
        if response.is_null() {
            return Err(format!("{}: the schema has no such status", answer.status));
        }
        Ok(response["schema"].clone())
    }
}

/// Whether a path is of a template; `{name}` in the middle may hold slashes.
fn matches(template: &str, path: &str) -> bool {
    let path = path.trim_end_matches('/');
    match (template.split_once('{'), template.rsplit_once('}')) {
        (Some((before, _)), Some((_, after))) if template.matches('{').count() == 1 => {
            path.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).is_some_and(|name| {
                let with_slashes = matches!(before, "/images/" | "/distribution/" | "/volumes/");
                !name.is_empty() && (with_slashes || !name.contains('/'))
            })
        }
        _ => template == path,
    }
}

/// A comparison under way.
struct Check<'a> {
    schema: &'a Schema,
    version: (u32, u32),
    found: Vec<String>,
}

impl Check<'_> {
    /// Follows a reference; gives the schema and the name it has.
    fn resolve<'b>(&'b self, schema: &'b Value) -> (&'b Value, Option<&'b str>) {
        match schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/definitions/")) {
            Some(name) => (&self.schema.0["definitions"][name], Some(name)),
            None => (schema, None),
        }
    }

    fn value(&mut self, schema: &Value, value: &Value, place: &str) {
        let nullable = schema["x-nullable"] == true;
        let (schema, name) = self.resolve(schema);
        let name = name.or(schema["title"].as_str()).unwrap_or(place);
        let (schema, name) = (schema.clone(), name.to_owned());
        let place = if name == place { name.clone() } else { format!("{place}<{name}>") };
        let Some(properties) = self.properties(&schema) else {
            self.plain(&schema, value, &place, nullable);
            return;
        };
        match value {
            Value::Object(members) => self.members(&properties, &schema, members, &place, &name),
            Value::Null if nullable || schema["x-nullable"] == true => {}
            other => self.found.push(format!("{place}: {} where an object is expected", kind(other))),
        }
    }

    /// The properties of an object and of all it is composed of; `None` for other types and for maps.
    fn properties(&self, schema: &Value) -> Option<Map<String, Value>> {
        let mut all = schema["properties"].as_object().cloned();
        for part in schema["allOf"].as_array().into_iter().flatten() {
            let (part, _) = self.resolve(part);
            if let Some(more) = self.properties(part) {
                all.get_or_insert_default().extend(more);
            }
        }
        all
    }

    fn members(
        &mut self,
        properties: &Map<String, Value>,
        schema: &Value,
        members: &Map<String, Value>,
        place: &str,
        name: &str,
    ) {
        for (key, value) in members {
            let inner = format!("{place}.{key}");
            if let Some(schema) = properties.get(key) {
                self.value(schema, value, &inner);
            } else if schema["additionalProperties"].is_object() {
                self.value(&schema["additionalProperties"].clone(), value, &inner);
            } else if !self.allowed(name, key) {
                self.found.push(format!("{inner}: the schema has no such property"));
            }
        }
        for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            // One is in no property: a leftover of the schema's (it became `Size.Unpacked`).
            let known = properties.contains_key(key);
            if known && !members.contains_key(key) {
                self.found.push(format!("{place}.{key}: missing"));
            }
        }
    }

    fn allowed(&self, place: &str, key: &str) -> bool {
        ALLOWED.iter().any(|(of, keys, until)| {
            *of == place && keys.contains(&key) && until.is_none_or(|until| self.version < until)
        })
    }

    /// Everything but objects with properties.
    fn plain(&mut self, schema: &Value, value: &Value, place: &str, nullable: bool) {
        let wanted = schema["type"].as_str().unwrap_or_default();
        let nullable = nullable || schema["x-nullable"] == true;
        let right = match (wanted, value) {
            ("array", Value::Array(items)) => {
                items.iter().for_each(|item| self.value(&schema["items"], item, &format!("{place}[]")));
                true
            }
            ("object", Value::Object(members)) => {
                if schema["additionalProperties"].is_object() {
                    for (key, member) in members {
                        self.value(&schema["additionalProperties"], member, &format!("{place}[{key}]"));
                    }
                }
                true
            }
            ("string", Value::String(text)) => {
                if let Some(known) = schema["enum"].as_array()
                    && !known.iter().any(|k| k.as_str() == Some(text))
                {
                    self.found.push(format!("{place}: {text:?} is not among {}", schema["enum"]));
                }
                true
            }
            // Null is how Go writes an empty array or map.
            ("array" | "object" | "", Value::Null) => true,
            (_, Value::Null) => nullable,
            ("boolean", Value::Bool(_)) | ("number", Value::Number(_)) | ("", _) => true,
            ("integer", Value::Number(n)) => n.is_i64() || n.is_u64(),
            _ => false,
        };
        if !right {
            self.found.push(format!("{place}: {} where a {wanted} is expected", kind(value)));
        }
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        Schema(serde_json::json!({
            "definitions": {
                "ErrorResponse": { "type": "object", "required": ["message"],
                    "properties": { "message": { "type": "string" } } },
                "Base": { "type": "object", "properties": { "Id": { "type": "string" } } },
                "Thing": { "type": "object", "allOf": [ { "$ref": "#/definitions/Base" },
                    { "type": "object", "properties": {
                        "Size": { "type": "integer" },
                        "State": { "type": "string", "enum": ["on", "off"] },
                        "Names": { "type": "array", "items": { "type": "string" } },
                        "Labels": { "type": "object", "additionalProperties": { "type": "string" } },
                        "Maybe": { "type": "string", "x-nullable": true },
                        "Other": { "$ref": "#/definitions/Base" } } } ] } },
            "paths": {
                "/things/json": { "get": { "responses": { "200": { "schema": {
                    "type": "array", "items": { "$ref": "#/definitions/Thing" } } } } } },
                "/images/{name}/json": { "get": { "responses": { "200": { "schema": {
                    "$ref": "#/definitions/Thing" } } } } } } }))
    }

    fn mistakes(path: &str, status: u16, body: &str) -> Vec<String> {
        let (method, body) = ("GET".into(), body.into());
        schema().mistakes(&Answer { method, path: path.into(), version: NEWEST, status, body })
    }

    #[test]
    fn right_answers_pass() {
        for body in [
            r#"[{"Id":"x","Size":1,"State":"on","Names":["a"],"Labels":{"k":"v"},"Maybe":null,"Other":{"Id":""}}]"#,
            r#"[{"Names":null,"Labels":null}] []"#,
            "null",
            "",
        ] {
            assert_eq!(mistakes("/things/json", 200, body), [""; 0], "{body}");
        }
        assert_eq!(mistakes("/images/a/b/json", 200, "{}"), [""; 0]);
        assert_eq!(mistakes("/elsewhere", 404, r#"{"message":"x"}"#), [""; 0]);
    }

    #[test]
    fn wrong_ones_do_not() {
        for (path, status, body) in [
            ("/things/json", 200, r#"[{"Nmae":"x"}]"#),
            ("/things/json", 200, r#"[{"Size":1.5}]"#),
            ("/things/json", 200, r#"[{"Size":"1"}]"#),
            ("/things/json", 200, r#"[{"State":"half"}]"#),
            ("/things/json", 200, r#"[{"Id":null}]"#),
            ("/things/json", 200, r#"[{"Other":null}]"#),
            ("/things/json", 200, r#"[{"Labels":{"k":1}}]"#),
            ("/things/json", 200, r#"{}"#),
            ("/things/json", 200, r#"[{"#),
            ("/things/json", 201, "[]"),
            ("/nothing", 200, "[]"),
            ("/nothing", 500, "{}"),
        ] {
            assert_eq!(mistakes(path, status, body).len(), 1, "{path} {body}");
        }
    }

    #[test]
    fn a_line_is_read_with_its_version() {
        let line = serde_json::json!({ "method": "GET", "path": "/v1.43/info", "status": 200, "body": "{}" });
        let answer = Answer::read(&line).unwrap();
        assert_eq!((answer.version, answer.path.as_str()), ((1, 43), "/info"));
    }

    #[test]
    fn dockers_own_schema_is_understood() {
        let Some(schema) = super::schema() else { return };
        let mistakes = |path: &str, body: &str| {
            let (method, body) = ("GET".into(), body.into());
            schema.mistakes(&Answer { method, path: path.into(), version: NEWEST, status: 200, body })
        };
        assert_eq!(mistakes("/containers/x/json", r#"{"HostConfig":{"Memory":1,"Binds":null}}"#), [""; 0]);
        assert_eq!(mistakes("/containers/x/json", r#"{"HostConfig":{"Memory":"1","Bidns":[]}}"#).len(), 2);
        assert_eq!(mistakes("/images/a/b/json", r#"{"Id":5}"#).len(), 1);
        assert_eq!(mistakes("/version", r#"{"Version":"1","Versoin":"2"}"#).len(), 1);
    }
}
