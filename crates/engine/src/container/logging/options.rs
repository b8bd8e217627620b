//! Values of log options, read as Docker reads them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Error;

/// What a kilobyte is.
pub(super) const DECIMAL: u64 = 1000;
/// What a kilobyte is, of memory.
pub(super) const BINARY: u64 = 1024;

/// The options of one container. Each is taken once; what is left is unknown.
#[derive(Debug)]
pub(super) struct Options<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Options<'a> {
    pub(super) fn new(config: &'a BTreeMap<String, String>) -> Self {
        Self(config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect())
    }

    /// An option's value. An empty one is as good as none.
    pub(super) fn take(&mut self, key: &str) -> Option<&'a str> {
        self.0.remove(key).filter(|value| !value.is_empty())
    }

    pub(super) fn rest(&self) -> impl Iterator<Item = &'a str> {
        self.0.keys().copied()
    }

    pub(super) fn switch(&mut self, key: &str) -> Result<Option<bool>, Error> {
        self.take(key).map(switch).transpose()
    }

    pub(super) fn number(&mut self, key: &str) -> Result<Option<i64>, Error> {
        let read = |text: &str| {
            text.parse()
                .map_err(|_| Error::Invalid(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))
        };
        self.take(key).map(read).transpose()
    }

    pub(super) fn duration(&mut self, key: &str) -> Result<Option<Duration>, Error> {
        let read = |text: &str| {
            let nanoseconds = spec::duration::parse(text).map_err(|e| Error::Invalid(e.to_string()))?;
            // What is negative is over at once.
            Ok(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0)))
        };
        self.take(key).map(read).transpose()
    }
}

/// Go's `strconv.ParseBool`.
fn switch(text: &str) -> Result<bool, Error> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::Invalid(format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))),
    }
}

/// `10m`, `1g`, `1.5kb`: a kilobyte is `base` bytes.
pub(super) fn size(text: &str, base: u64) -> Result<u64, Error> {
    let read = || {
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
        let number: f64 = lower[..digits].parse().ok()?;
        let unit = lower[digits..].trim();
        let unit = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(unit);
        let power = match unit {
            "" => 0,
            "k" => 1,
            "m" => 2,
            "g" => 3,
            "t" => 4,
            "p" => 5,
            _ => return None,
        };
        let bytes = number * base.pow(power) as f64;
        (0.0..1e18).contains(&bytes).then_some(bytes as u64)
    };
    read().ok_or_else(|| Error::Invalid(format!("invalid size: '{text}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, base, bytes) in [
            ("10m", DECIMAL, 10_000_000),
            ("10m", BINARY, 10 << 20),
            ("1.5kb", BINARY, 1536),
            ("2 GiB", BINARY, 2 << 30),
            ("7", DECIMAL, 7),
        ] {
            assert_eq!(size(text, base).unwrap(), bytes, "{text}");
        }
        for bad in ["", "x", "10x", "-1", "m", "1e3"] {
            assert!(size(bad, BINARY).is_err(), "{bad}");
        }
    }
}
