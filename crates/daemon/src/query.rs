//! Query parameters as Go's `net/url` and moby's form helpers read them.

use crate::error::{Error, Result};

/// The parameters of a request, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d`: `+` is a space, `%xx` a byte. Pairs that are not UTF-8 are read with replacements.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true), decode(value, true))
        });
        Self(pairs.collect())
    }

    /// The first value; empty when there is none.
    pub fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v)
    }

    /// The first value, unless it is empty.
    pub fn optional(&self, key: &str) -> Option<&str> {
        Some(self.get(key)).filter(|v| !v.is_empty())
    }

    /// All values of a repeatable parameter.
    pub fn all(&self, key: &str) -> Vec<String> {
        self.0.iter().filter(|(k, _)| k == key).map(|(_, v)| v.clone()).collect()
    }

    /// moby's booleans: empty, `0`, `no`, `false`, `none` are false, all else is true.
    pub fn bool(&self, key: &str) -> bool {
        !matches!(self.get(key).trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A boolean that is `default` when absent.
    pub fn bool_or(&self, key: &str, default: bool) -> bool {
        if self.0.iter().any(|(k, _)| k == key) { self.bool(key) } else { default }
    }

    /// A number; `None` when absent or empty.
    ///
    /// # Errors
    /// The value is not a number of that type.
    pub fn number<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>> {
        let Some(text) = self.optional(key) else { return Ok(None) };
        let number = text.parse().map_err(|_| Error::invalid(format!("invalid value {text:?} of {key}")))?;
        Ok(Some(number))
    }

    /// A moment in Unix seconds with an optional fraction (`1700000000.5`), in nanoseconds; `None` when absent.
    ///
    /// # Errors
    /// The value is of another form.
    pub fn time(&self, key: &str) -> Result<Option<i128>> {
        let Some(text) = self.optional(key) else { return Ok(None) };
        let invalid = || Error::invalid(format!("invalid value {text:?} of {key}: expected Unix seconds"));
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        let seconds: i64 = seconds.parse().map_err(|_| invalid())?;
        if !fraction.bytes().all(|c| c.is_ascii_digit()) {
            return Err(invalid());
        }
        let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
        let nanos = digits.fold(0i128, |n, digit| n * 10 + i128::from(digit - b'0'));
        let sign = if text.starts_with('-') { -1 } else { 1 };
        Ok(Some(i128::from(seconds) * 1_000_000_000 + sign * nanos))
    }
}

/// Undoes percent-encoding; `plus` is a space in queries, itself in paths.
pub fn decode(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|c| char::from(*c).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high << 4 | low).expect("two hex digits are a byte"));
                at += 3;
                continue;
            }
            (b'+', _, _) if plus => out.push(b' '),
            (byte, _, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_mobys() {
        let query = Query::parse("a=&b=0&c=No&d=false&e=none&f=1&g=True&h=x&i");
        for key in ["a", "b", "c", "d", "e", "i", "missing"] {
            assert!(!query.bool(key), "{key}");
        }
        for key in ["f", "g", "h"] {
            assert!(query.bool(key), "{key}");
        }
        assert!(query.bool_or("missing", true) && !query.bool_or("b", true));
    }

    #[test]
    fn values_are_decoded_and_repeated() {
        let query = Query::parse("t=a%3A1&t=b+c&filters=%7B%22x%22%3A%5B%22%C3%A4%22%5D%7D&bad=%4");
        assert_eq!(query.all("t"), ["a:1", "b c"]);
        assert_eq!(query.get("filters"), r#"{"x":["ä"]}"#);
        assert_eq!(query.get("bad"), "%4");
    }

    #[test]
    fn times_are_seconds_with_a_fraction() {
        let query = Query::parse("a=1.5&b=1700000000.000000001&c=-1.5&d=x&e=1.x&f=0");
        assert_eq!(query.time("a").unwrap(), Some(1_500_000_000));
        assert_eq!(query.time("b").unwrap(), Some(1_700_000_000_000_000_001));
        assert_eq!(query.time("c").unwrap(), Some(-1_500_000_000));
        assert_eq!(query.time("f").unwrap(), Some(0));
        assert_eq!(query.time("missing").unwrap(), None);
        assert!(query.time("d").is_err() && query.time("e").is_err());
    }
}
