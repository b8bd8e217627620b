//! Values as they are written on the command line and in the file: read, checked, and shown in errors.

use serde_json::{Map, Value, json};

use super::keys::{Fate, Key, Kind, Ours};

impl Kind {
    /// What a flag says, as the file would.
    ///
    /// # Errors
    /// How it should have been written.
    pub(crate) fn read(self, text: &str) -> Result<Value, String> {
        let pair = |form: &str| {
            text.split_once('=')
                .filter(|(k, _)| !k.is_empty())
                .ok_or(format!("expected {form}, as in {self}"))
        };
        match self {
            Self::Bool => go_bool(text).map(Value::Bool).ok_or("expected true or false".into()),
            Self::Number => text.parse::<i64>().map(Value::from).map_err(|_| "expected a number".into()),
            Self::Text => Ok(text.into()),
            Self::List => Ok(json!([text])),
            Self::Pairs => pair("KEY=VALUE").map(|(k, v)| json!({ k: v })),
            Self::Switches => {
                // A name alone switches it on.
                let (name, value) = text.split_once('=').unwrap_or((text, "true"));
                let value = go_bool(value).ok_or("expected NAME=true or NAME=false")?;
                Ok(json!({ name: value }))
            }
            Self::Pools => {
                let mut pool = Map::new();
                for part in text.split(',') {
                    match part.split_once('=') {
                        Some(("base", base)) => pool.insert("base".into(), base.into()),
                        Some(("size", size)) => {
                            let size = size.parse::<u8>().map_err(|_| format!("{size:?} is not a prefix"))?;
                            pool.insert("size".into(), size.into())
                        }
                        _ => return Err(format!("{part:?} is neither base=ADDRESS/PREFIX nor size=PREFIX")),
                    };
                }
                Ok(json!([pool]))
            }
            Self::Ulimits => {
                let (name, limits) = pair("NAME=SOFT[:HARD]")?;
                let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
                let number = |t: &str| t.parse::<i64>().map_err(|_| format!("{t:?} is not a number"));
                Ok(json!({ name: { "Name": name, "Soft": number(soft)?, "Hard": number(hard)? } }))
            }
            Self::Runtimes => pair("NAME=PATH").map(|(name, path)| json!({ name: { "path": path } })),
            Self::Nested => {
                let (driver, option) = pair("DRIVER=KEY=VALUE")?;
                let (k, v) = option.split_once('=').ok_or("expected DRIVER=KEY=VALUE")?;
                Ok(json!({ driver: { k: v } }))
            }
            Self::Object | Self::Objects => Err("only the configuration file can say that".into()),
        }
    }

    /// Adds what a repeated flag says to what it has said.
    pub(crate) fn add(self, before: &mut Value, more: Value) {
        merge(before, more);
    }

    /// Whether the flag may be repeated.
    pub(crate) fn repeats(self) -> bool {
        !matches!(self, Self::Bool | Self::Number | Self::Text)
    }

    /// Checks a value of the file. `path` is where it stands.
    ///
    /// # Errors
    /// The path, what is expected there, and what is there.
    pub(crate) fn check(self, path: &str, value: &Value) -> Result<(), String> {
        let fits = |path: &str, expected: &str, fits: bool, value: &Value| {
            if fits { Ok(()) } else { Err(format!("{path}: expected {expected}, found {}", kind_of(value))) }
        };
        let items = |kind: Self| {
            let list =
                value.as_array().ok_or(format!("{path}: expected a list, found {}", kind_of(value)))?;
            list.iter().enumerate().try_for_each(|(n, item)| kind.check(&format!("{path}[{n}]"), item))
        };
        let members = |check: &dyn Fn(&str, &Value) -> Result<(), String>| {
            let object =
                value.as_object().ok_or(format!("{path}: expected an object, found {}", kind_of(value)))?;
            object.iter().try_for_each(|(name, item)| check(&format!("{path}.{name}"), item))
        };
        match self {
            Self::Bool => fits(path, "true or false", value.is_boolean(), value),
            Self::Number => fits(path, "a whole number", value.is_i64(), value),
            Self::Text => fits(path, "a string", value.is_string(), value),
            Self::List => items(Self::Text),
            Self::Pairs => members(&|path, item| Self::Text.check(path, item)),
            Self::Switches => members(&|path, item| Self::Bool.check(path, item)),
            Self::Nested => members(&|path, item| Self::Pairs.check(path, item)),
            Self::Pools | Self::Objects => items(Self::Object),
            Self::Ulimits | Self::Runtimes => members(&|path, item| Self::Object.check(path, item)),
            Self::Object => fits(path, "an object", value.is_object(), value),
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bool => "true",
            Self::Number => "15",
            Self::Text | Self::List => "text",
            Self::Pairs => "max-size=10m",
            Self::Switches => "buildkit=true",
            Self::Pools => "base=10.0.0.0/8,size=24",
            Self::Ulimits => "nofile=1024:2048",
            Self::Runtimes => "crun=/usr/bin/crun",
            Self::Nested => "bridge=com.docker.network.driver.mtu=1400",
            Self::Object => "{}",
            Self::Objects => "[{}]",
        })
    }
}

/// Objects become one, lists follow each other, anything else is replaced.
fn merge(before: &mut Value, more: Value) {
    match (before, more) {
        (Value::Object(before), Value::Object(more)) => {
            for (name, value) in more {
                match before.get_mut(&name) {
                    Some(there) => merge(there, value),
                    None => {
                        before.insert(name, value);
                    }
                }
            }
        }
        (Value::Array(before), Value::Array(more)) => before.extend(more),
        (before, more) => *before = more,
    }
}

impl Key {
    /// Whether the value is what happens anyway, for a directive that cannot be set.
    pub(crate) fn is_ours(&self, value: &Value) -> bool {
        let ours = match self.fate {
            Fate::Works | Fate::Moot => return true,
            Fate::Warned(ours, _) | Fate::Refused(ours, _) => ours,
        };
        let nothing = match value {
            Value::Null => true,
            Value::Bool(value) => !value,
            Value::Number(n) => n.as_f64() == Some(0.0),
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(object) => object.is_empty(),
        };
        match ours {
            Ours::True => value == &Value::Bool(true),
            Ours::Nothing => nothing,
            Ours::Words(words) => nothing || value.as_str().is_some_and(|text| words.contains(&text)),
        }
    }
}

/// As Go's strconv reads it.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value as Go prints it, which is how Docker shows it in errors.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(object) => {
            let members: Vec<_> = object.iter().map(|(k, v)| format!("{k}:{}", shown(v))).collect();
            format!("map[{}]", members.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_say_what_the_file_would() {
        for (kind, text, value) in [
            (Kind::Bool, "T", json!(true)),
            (Kind::Number, "-1", json!(-1)),
            (Kind::List, "a=b", json!(["a=b"])),
            (Kind::Pairs, "max-size=10m", json!({ "max-size": "10m" })),
            (Kind::Switches, "buildkit", json!({ "buildkit": true })),
            (Kind::Pools, "base=10.0.0.0/8,size=24", json!([{ "base": "10.0.0.0/8", "size": 24 }])),
            (Kind::Ulimits, "nofile=1:2", json!({ "nofile": { "Name": "nofile", "Soft": 1, "Hard": 2 } })),
            (Kind::Runtimes, "x=/y", json!({ "x": { "path": "/y" } })),
            (Kind::Nested, "bridge=a.b=1", json!({ "bridge": { "a.b": "1" } })),
        ] {
            assert_eq!(kind.read(text).unwrap(), value, "{text}");
            kind.check("k", &value).unwrap();
        }
        for (kind, text) in [
            (Kind::Bool, "yes"),
            (Kind::Number, "x"),
            (Kind::Pairs, "x"),
            (Kind::Pools, "x=1"),
            (Kind::Ulimits, "nofile=x"),
            (Kind::Nested, "bridge=x"),
            (Kind::Object, "{}"),
        ] {
            assert!(kind.read(text).is_err(), "{text}");
        }
        let mut pools = Kind::Pools.read("base=a,size=1").unwrap();
        Kind::Pools.add(&mut pools, Kind::Pools.read("base=b,size=2").unwrap());
        assert_eq!(pools, json!([{ "base": "a", "size": 1 }, { "base": "b", "size": 2 }]));
    }

    #[test]
    fn a_wrong_type_is_named_with_its_path() {
        for (kind, value, text) in [
            (Kind::Bool, json!("x"), "k: expected true or false, found a string"),
            (Kind::Number, json!(1.5), "k: expected a whole number, found a number"),
            (Kind::List, json!(["a", 1]), "k[1]: expected a string, found a number"),
            (Kind::Pairs, json!({ "max-size": 1 }), "k.max-size: expected a string, found a number"),
            (
                Kind::Nested,
                json!({ "bridge": { "a": true } }),
                "k.bridge.a: expected a string, found a boolean",
            ),
            (Kind::Pools, json!({}), "k: expected a list, found an object"),
        ] {
            assert_eq!(kind.check("k", &value).unwrap_err(), text);
        }
    }

    #[test]
    fn values_are_shown_as_go_prints_them() {
        assert_eq!(shown(&json!(["fd://", "tcp://x"])), "[fd:// tcp://x]");
        assert_eq!(shown(&json!({ "max-file": "3", "max-size": "1m" })), "map[max-file:3 max-size:1m]");
    }
}
