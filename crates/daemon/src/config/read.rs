//! Small things read: addresses, sizes, labels. Texts are Docker's where it has some.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::router::Version;

/// `10.1.0.1/16`.
pub(crate) fn cidr(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let parsed = text
        .split_once('/')
        .and_then(|(ip, prefix)| Some((ip.parse().ok()?, prefix.parse().ok().filter(|p: &u8| *p <= 32)?)));
    parsed.ok_or_else(|| format!("{text} is not of the form 10.1.0.1/16"))
}

/// A pool: networks of `/size` are cut from `base`.
pub(crate) fn pool(base: &str, size: u8) -> Result<(Ipv4Addr, u8, u8), String> {
    match cidr(base)? {
        (ip, prefix) if size >= prefix && size <= 30 => Ok((ip, prefix, size)),
        _ => Err(format!("base={base},size={size}: the size must be between the base's prefix and 30")),
    }
}

pub(crate) fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("IP address is not correctly formatted: {text}"))
}

/// `64m`, `1.5GiB`: base 1024.
pub(crate) fn size(text: &str) -> Option<i64> {
    spec::size::parse(text).map(u64::cast_signed)
}

/// Labels are `KEY=VALUE`, a key has one value.
pub(crate) fn labels(labels: &[String]) -> Result<(), String> {
    let mut seen = BTreeMap::new();
    for label in labels {
        let (key, value) = label
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| format!("bad attribute format: {label}"))?;
        if let Some(before) = seen.insert(key, value)
            && before != value
        {
            return Err(format!("conflict labels for {key}={value} and {key}={before}"));
        }
    }
    Ok(())
}

/// `native.cgroupdriver=cgroupfs` is all there is to choose.
pub(crate) fn exec_options(options: &[String]) -> Result<(), String> {
    for option in options {
        let invalid = |why: &str| format!("invalid exec-opt ({option}): {why}");
        let (key, value) = option.split_once('=').ok_or_else(|| invalid("must be formatted 'opt=value'"))?;
        match (key.trim().to_ascii_lowercase().as_str(), value.trim()) {
            ("" | "native.cgroupdriver", "") | ("", _) => {
                return Err(invalid("must be formatted 'opt=value'"));
            }
            ("native.cgroupdriver", "cgroupfs") => {}
            ("native.cgroupdriver", "systemd") => {
                return Err(invalid("cgroups are made without systemd: use cgroupfs"));
            }
            ("native.cgroupdriver", _) => {
                return Err(invalid("option 'native.cgroupdriver' only accepts 'cgroupfs'"));
            }
            _ => return Err(invalid("unknown option")),
        }
    }
    Ok(())
}

/// A mirror's address without its last slash.
pub(crate) fn mirror(text: &str) -> Result<String, String> {
    let invalid = |why: &str| Err(format!("invalid mirror: {why}: {text:?}"));
    let Some((scheme, rest)) = text.split_once("://") else {
        return invalid("no scheme specified: must use either 'https://' or 'http://'");
    };
    if !matches!(scheme, "http" | "https") {
        return invalid("unsupported scheme: must use either 'https://' or 'http://'");
    }
    let host = rest.trim_end_matches('/');
    if host.is_empty() {
        return invalid("it names no host");
    }
    if host.contains(['/', '?', '#']) {
        return invalid("path, query, or fragment at end of the URI");
    }
    if host.contains('@') {
        return invalid("username/password not allowed in URI");
    }
    Ok(format!("{scheme}://{host}"))
}

/// An API version that is spoken.
pub(crate) fn version(text: &str) -> Result<Version, String> {
    if text.is_empty() {
        return Err("value is empty".into());
    }
    if text.starts_with(['v', 'V']) {
        return Err("API version must be provided without \"v\" prefix".into());
    }
    let parsed = text
        .split_once('.')
        .and_then(|(major, minor)| Some(Version(major.parse().ok()?, minor.parse().ok()?)))
        .ok_or_else(|| format!("{text} is not of the form 1.44"))?;
    if parsed < Version::oldest() {
        return Err(format!("minimum supported API version is {}: {text}", spec::api::MIN_API_VERSION));
    }
    if parsed > Version::newest() {
        return Err(format!("maximum supported API version is {}: {text}", spec::api::API_VERSION));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_things_are_read() {
        assert_eq!(pool("10.0.0.0/8", 24).unwrap(), (Ipv4Addr::new(10, 0, 0, 0), 8, 24));
        for (base, size) in [("10.0.0.0/24", 16), ("10/8", 24), ("10.0.0.0/8", 31)] {
            assert!(pool(base, size).is_err(), "{base} {size}");
        }
        for (text, bytes) in [("64M", Some(64 << 20)), ("1.5kb", Some(1536)), ("x", None), ("1x", None)] {
            assert_eq!(size(text), bytes, "{text}");
        }
        assert_eq!(mirror("https://m.example:5000/").unwrap(), "https://m.example:5000");
        for bad in ["m", "ftp://m", "https://", "https://m/x", "https://u@m"] {
            assert!(mirror(bad).is_err(), "{bad}");
        }
        assert!(exec_options(&["native.cgroupdriver=cgroupfs".into()]).is_ok());
        for bad in ["x", "native.cgroupdriver=", "a=b"] {
            assert!(exec_options(&[bad.into()]).is_err(), "{bad}");
        }
    }
}
