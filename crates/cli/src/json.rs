//! JSON as the engine wrote it: the members of objects keep their order, numbers their digits.

use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads one document.
    pub(crate) fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }

    /// Any of the API's types as JSON.
    pub(crate) fn of(value: &impl serde::Serialize) -> Self {
        let text = serde_json::to_vec(value).expect("the API's types have text keys only");
        Self::parse(&text).expect("what was just written is JSON")
    }

    /// An object's member.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) | Self::List(_) => {
                None
            }
        }
    }

    /// The text at a path of members; empty when there is none.
    pub(crate) fn text(&self, path: &[&str]) -> &str {
        match path.iter().try_fold(self, |at, key| at.get(key)) {
            Some(Self::Text(text)) => text,
            _ => "",
        }
    }

    /// The number at a path of members; 0 when there is none.
    pub(crate) fn int(&self, path: &[&str]) -> i64 {
        match path.iter().try_fold(self, |at, key| at.get(key)) {
            Some(Self::Int(number)) => *number,
            _ => 0,
        }
    }

    /// The boolean at a path of members.
    pub(crate) fn flag(&self, path: &[&str]) -> bool {
        matches!(path.iter().try_fold(self, |at, key| at.get(key)), Some(Self::Bool(true)))
    }

    /// The items of the list at a path of members.
    pub(crate) fn items(&self, path: &[&str]) -> &[Self] {
        match path.iter().try_fold(self, |at, key| at.get(key)) {
            Some(Self::List(items)) => items,
            _ => &[],
        }
    }

    /// The members of the object at a path of members.
    pub(crate) fn members(&self, path: &[&str]) -> &[(String, Self)] {
        match path.iter().try_fold(self, |at, key| at.get(key)) {
            Some(Self::Object(members)) => members,
            _ => &[],
        }
    }

    /// On one line, as Go's `json` writes it with HTML's characters left alone.
    pub(crate) fn compact(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => write!(out, "{value}").expect("writing to a String cannot fail"),
            Self::Float(value) => write!(out, "{value}").expect("writing to a String cannot fail"),
            Self::Text(text) => quote(out, text),
            Self::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (i, (key, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    quote(out, key);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// Over several lines, as Go's `json.Indent` writes it. `indent` is one level, `prefix` starts each line.
    pub(crate) fn pretty(&self, prefix: &str, indent: &str) -> String {
        let mut out = String::new();
        self.write_pretty(&mut out, prefix, indent, 0);
        out
    }

    fn write_pretty(&self, out: &mut String, prefix: &str, indent: &str, depth: usize) {
        let newline = |out: &mut String, depth: usize| {
            out.push('\n');
            out.push_str(prefix);
            (0..depth).for_each(|_| out.push_str(indent));
        };
        match self {
            Self::List(items) if !items.is_empty() => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    newline(out, depth + 1);
                    item.write_pretty(out, prefix, indent, depth + 1);
                }
                newline(out, depth);
                out.push(']');
            }
            Self::Object(members) if !members.is_empty() => {
                out.push('{');
                for (i, (key, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    newline(out, depth + 1);
                    quote(out, key);
                    out.push_str(": ");
                    value.write_pretty(out, prefix, indent, depth + 1);
                }
                newline(out, depth);
                out.push('}');
            }
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Text(_)
            | Self::List(_)
            | Self::Object(_) => self.write(out),
        }
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || matches!(c, '\u{2028}' | '\u{2029}') => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("writing to a String cannot fail");
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Json {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        #[allow(clippy::cast_precision_loss, reason = "beyond i64 only the magnitude matters")]
        Ok(i64::try_from(value).map_or(Json::Float(value as f64), Json::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_escapes_as_go_does() {
        let json = Json::parse(br#"{"b":1,"a":[true,null,1.5],"e":{},"t":"<a&b>\u0001\n"}"#).unwrap();
        assert_eq!(json.compact(), r#"{"b":1,"a":[true,null,1.5],"e":{},"t":"<a&b>\u0001\n"}"#);
        assert_eq!(
            Json::parse(br#"{"b":[],"a":[1]}"#).unwrap().pretty("", "    "),
            "{\n    \"b\": [],\n    \"a\": [\n        1\n    ]\n}"
        );
    }
}
