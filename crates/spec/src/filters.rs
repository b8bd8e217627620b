//! The `filters` parameter of list endpoints: `{"key":{"value":true}}` or `{"key":["value"]}`.
//!
//! Several values of one key mean "or", several keys mean "and".

use std::collections::BTreeMap;

use serde_json::Value;

/// Parsed filters: each key with its values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

/// A filter parameter that cannot be used, in Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFilter {
    /// Not JSON of one of the two forms.
    #[error("invalid filter: {0}")]
    Malformed(String),
    /// A key the endpoint does not know.
    #[error("invalid filter '{0}'")]
    UnknownKey(String),
}

impl Filters {
    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the parameter; an empty text is no filter. Keys must be in `known`.
    ///
    /// # Errors
    /// [`InvalidFilter`] for JSON of another form, or for a key that is not known.
    pub fn parse(text: &str, known: &[&str]) -> Result<Self, InvalidFilter> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let malformed = || InvalidFilter::Malformed(text.chars().take(100).collect());
        let Value::Object(map) = serde_json::from_str(text).map_err(|_| malformed())? else {
            return Err(malformed());
        };
        let mut filters = BTreeMap::new();
        for (key, value) in map {
            if !known.contains(&key.as_str()) {
                return Err(InvalidFilter::UnknownKey(key));
            }
            let values = match value {
                Value::Object(set) => {
                    set.into_iter().filter(|(_, v)| v != &Value::Bool(false)).map(|(k, _)| k).collect()
                }
                Value::Array(list) => list
                    .into_iter()
                    .map(|v| v.as_str().map(str::to_owned).ok_or_else(malformed))
                    .collect::<Result<Vec<_>, _>>()?,
                Value::Null => Vec::new(),
                Value::Bool(_) | Value::Number(_) | Value::String(_) => return Err(malformed()),
            };
            filters.insert(key, values);
        }
        Ok(Self(filters))
    }

    /// Adds one value, as a client does for `--filter key=value`.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.entry(key.into()).or_default().push(value.into());
    }

    /// The parameter's text; empty when there is no filter.
    pub fn to_param(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let map = self.0.iter().map(|(k, vs)| {
            (k.clone(), Value::Object(vs.iter().map(|v| (v.clone(), Value::Bool(true))).collect()))
        });
        Value::Object(map.collect()).to_string()
    }

    /// All keys with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(key, values)| (key.as_str(), values.as_slice()))
    }

    /// The values of one key.
    pub fn get(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether the key is absent, or one of its values passes.
    pub fn any(&self, key: &str, passes: impl Fn(&str) -> bool) -> bool {
        let values = self.get(key);
        values.is_empty() || values.iter().any(|v| passes(v))
    }

    /// Whether every value of `key` (`name` or `name=value`) is among the labels.
    pub fn labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.get(key).iter().all(|wanted| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|v| v == value),
            None => labels.contains_key(wanted),
        })
    }
}
