//! Paths and query strings.

use std::fmt::Write as _;

/// A query string under construction. Empty values are left out: the API reads a missing parameter as empty.
#[derive(Debug, Default)]
pub(crate) struct Query(String);

impl Query {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds `key=value`, unless the value is empty.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        if !value.is_empty() {
            self.push(key, value);
        }
        self
    }

    /// Adds `key=1` if set.
    pub(crate) fn flag(self, key: &str, set: bool) -> Self {
        if set { self.with(key, "1") } else { self }
    }

    /// Adds a number, if there is one.
    pub(crate) fn number(self, key: &str, value: Option<i64>) -> Self {
        match value {
            Some(value) => self.with(key, &value.to_string()),
            None => self,
        }
    }

    /// Adds `key=value` for each value.
    pub(crate) fn all(mut self, key: &str, values: &[String]) -> Self {
        values.iter().for_each(|value| self.push(key, value));
        self
    }

    fn push(&mut self, key: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(key);
        self.0.push('=');
        encode(&mut self.0, value, |c| matches!(c, b'-' | b'_' | b'.' | b'~' | b'/' | b':'));
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name as part of a path: an image's slashes, tag and digest stay as they are.
pub(crate) fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    encode(&mut out, name, |c| matches!(c, b'-' | b'_' | b'.' | b'~' | b'/' | b':' | b'@'));
    out
}

fn encode(out: &mut String, text: &str, plain: impl Fn(u8) -> bool) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain(byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_what_would_end_a_value() {
        let query = Query::new().with("a", "x&y=z é").with("b", "").flag("c", true).flag("d", false);
        assert_eq!(query.as_str(), "?a=x%26y%3Dz%20%C3%A9&c=1");
        assert_eq!(segment("127.0.0.1:5000/a/b:t@sha256:00"), "127.0.0.1:5000/a/b:t@sha256:00");
        assert_eq!(segment("a?b#c"), "a%3Fb%23c");
    }
}
