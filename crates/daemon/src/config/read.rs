//! Small things read: addresses, sizes, labels. Texts are Docker's where it has some.

use std::collections::BTreeMap;
use std::net::IpAddr;

use network::{Pool, Subnet};

use spec::oci::runtime::CgroupDriver;

use crate::router::Version;

/// `10.1.0.1/16`, or `fd00::1/64`.
pub(crate) fn cidr<T: std::str::FromStr + Into<IpAddr> + Copy>(text: &str) -> Result<(T, u8), String> {
    let parsed = text.split_once('/').and_then(|(ip, prefix)| {
        let (ip, prefix) = (ip.parse::<T>().ok()?, prefix.parse().ok()?);
        Subnet::new(ip.into(), prefix).map(|_| (ip, prefix))
    });
    parsed.ok_or_else(|| format!("{text} is not of the form 10.1.0.1/16 or fd00::1/64"))
}

/// The subnet in `10.1.0.1/16` or `fd00::1/64`.
pub(crate) fn subnet<T: std::str::FromStr + Into<IpAddr> + Copy>(text: &str) -> Result<Subnet, String> {
    let (ip, prefix) = cidr::<T>(text)?;
    Subnet::new(ip.into(), prefix).ok_or_else(|| format!("{text} is no subnet"))
}

/// A pool: networks of `/size` are cut from `base`.
pub(crate) fn pool(base: &str, size: u8) -> Result<Pool, String> {
    let subnet = subnet::<IpAddr>(base)?;
    let longest = if subnet.is_v4() { 30 } else { 126 };
    if (subnet.prefix()..=longest).contains(&size) {
        return Ok(Pool { base: subnet, size });
    }
    Err(format!("base={base},size={size}: the size must be between the base's prefix and {longest}"))
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

/// `native.cgroupdriver=…` is all there is to say: who makes cgroups, if anyone was chosen.
pub(crate) fn exec_options(options: &[String]) -> Result<Option<CgroupDriver>, String> {
    let mut chosen = None;
    for option in options {
        let invalid = |why: &str| format!("invalid exec-opt ({option}): {why}");
        let (key, value) = option.split_once('=').ok_or_else(|| invalid("must be formatted 'opt=value'"))?;
        match (key.trim().to_ascii_lowercase().as_str(), value.trim()) {
            ("" | "native.cgroupdriver", "") | ("", _) => {
                return Err(invalid("must be formatted 'opt=value'"));
            }
            ("native.cgroupdriver", "cgroupfs") => chosen = Some(CgroupDriver::Cgroupfs),
            ("native.cgroupdriver", "systemd") => chosen = Some(CgroupDriver::Systemd),
            ("native.cgroupdriver", _) => {
                return Err(invalid("option 'native.cgroupdriver' only accepts 'cgroupfs' or 'systemd'"));
            }
            _ => return Err(invalid("unknown option")),
        }
    }
    Ok(chosen)
}

/// A mirror's address without its last slash.
pub(crate) fn mirror(text: &str) -> Result<String, String> {
    let address = mirror_with_path(text)?;
    if address.matches('/').count() > 2 {
        return Err(format!("invalid mirror: path, query, or fragment at end of the URI: {text:?}"));
    }
    Ok(address)
}

/// The same of one that may have a path.
pub(crate) fn mirror_with_path(text: &str) -> Result<String, String> {
    let invalid = |why: &str| Err(format!("invalid mirror: {why}: {text:?}"));
    let Some((scheme, rest)) = text.split_once("://") else {
        return invalid("no scheme specified: must use either 'https://' or 'http://'");
    };
    if !matches!(scheme, "http" | "https") {
        return invalid("unsupported scheme: must use either 'https://' or 'http://'");
    }
    let host = rest.trim_end_matches('/');
    if host.is_empty() || host.starts_with('/') {
        return invalid("it names no host");
    }
    if host.contains(['?', '#']) {
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
        assert_eq!(pool("10.0.0.0/8", 24).unwrap().base.to_string(), "10.0.0.0/8");
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
