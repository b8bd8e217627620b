//! `--device`, `--gpus`, and the limits per device.

use spec::api::{DeviceMapping, DeviceRequest, ThrottleDevice, WeightDevice};

use super::{csv, key_value};
use crate::units;

/// Whether the text is a CDI name, `vendor.com/class=name`, rather than a path.
pub(crate) fn is_cdi(text: &str) -> bool {
    !text.starts_with('/')
        && text.split_once('=').is_some_and(|(kind, name)| kind.contains('/') && !name.is_empty())
}

/// The request for CDI devices.
pub(crate) fn cdi(names: Vec<String>) -> DeviceRequest {
    DeviceRequest { driver: "cdi".into(), device_ids: names, ..DeviceRequest::default() }
}

/// `/host[:/container[:rwm]]`.
pub(crate) fn mapping(text: &str) -> Result<DeviceMapping, String> {
    let is_mode = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c)) && text.len() <= 3;
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, mode) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, mode] if is_mode(mode) => (*host, *host, *mode),
        [host, container] => (*host, *container, "rwm"),
        [host, container, mode] => (*host, *container, *mode),
        _ => return Err(format!("bad format for path: {text}")),
    };
    if host.is_empty() {
        return Err(format!("bad format for path: {text}"));
    }
    if !is_mode(mode) {
        return Err(format!("bad mode specified: {mode}"));
    }
    if !container.starts_with('/') {
        return Err(format!("{container} is not an absolute path"));
    }
    Ok(DeviceMapping {
        path_on_host: host.to_owned(),
        path_in_container: container.to_owned(),
        cgroup_permissions: mode.to_owned(),
    })
}

/// `a|b|c *:* rwm`, as the cgroup takes it.
pub(crate) fn cgroup_rule(text: &str) -> Result<String, String> {
    let number = |n: &str| n == "*" || (!n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let ok = match text.split(' ').collect::<Vec<_>>().as_slice() {
        [kind, device, mode] => {
            matches!(*kind, "a" | "b" | "c")
                && device.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
                && (1..=3).contains(&mode.len())
                && mode.chars().all(|c| "rwm".contains(c))
        }
        _ => false,
    };
    if ok { Ok(text.to_owned()) } else { Err(format!("invalid device cgroup format '{text}'")) }
}

/// `/dev/sda:1mb`: bytes a second.
pub(crate) fn throttle_bytes(text: &str) -> Result<ThrottleDevice, String> {
    let unit = "[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb";
    throttle(text, unit, units::parse_bytes)
}

/// `/dev/sda:100`: operations a second.
pub(crate) fn throttle_operations(text: &str) -> Result<ThrottleDevice, String> {
    throttle(text, ". Number must be a positive integer", |rate| rate.parse().map_err(|_| String::new()))
}

fn throttle(
    text: &str,
    unit: &str,
    read: impl Fn(&str) -> Result<i64, String>,
) -> Result<ThrottleDevice, String> {
    let wrong =
        || format!("invalid rate for device: {text}. The correct format is <device-path>:<number>{unit}");
    let (path, rate) = text.split_once(':').ok_or(format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    let rate = read(rate).ok().filter(|rate| *rate >= 0).ok_or_else(wrong)?;
    Ok(ThrottleDevice { path: path.to_owned(), rate })
}

/// `/dev/sda:500`.
pub(crate) fn weight(text: &str) -> Result<WeightDevice, String> {
    let (path, weight) = text.split_once(':').ok_or(format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    let weight = weight.parse().ok().filter(|w| *w == 0 || (10..=1000).contains(w));
    let weight = weight.ok_or(format!("invalid weight for device: {text}"))?;
    Ok(WeightDevice { path: path.to_owned(), weight })
}

/// `all`, a number, or `count=…,device=…,capabilities=…,driver=…,options=…`.
pub(crate) fn gpus(text: &str) -> Result<DeviceRequest, String> {
    let mut request = DeviceRequest::default();
    let mut capabilities = Vec::new();
    let count = |value: &str| match value {
        "all" => Ok(-1),
        n => n.parse().map_err(|_| {
            format!("invalid count ({n}): value must be either \"all\" or an integer: invalid syntax")
        }),
    };
    let mut counted = false;
    for field in csv(text)? {
        if !field.contains('=') {
            request.count = count(&field)?;
            counted = true;
            continue;
        }
        let (key, value) = key_value(&field)?;
        match key.as_str() {
            "driver" => request.driver = value.to_owned(),
            "count" => {
                request.count = count(value)?;
                counted = true;
            }
            "device" => request.device_ids = value.split(',').map(str::to_owned).collect(),
            "capabilities" => capabilities.extend(value.split(',').map(str::to_owned)),
            "options" => request.options = super::map(&csv(value)?),
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if !counted && request.device_ids.is_empty() {
        request.count = 1;
    }
    if !capabilities.iter().any(|capability| capability == "gpu") {
        capabilities.push("gpu".to_owned());
    }
    request.capabilities = vec![capabilities];
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        for (text, host, container, mode) in [
            ("/dev/fuse", "/dev/fuse", "/dev/fuse", "rwm"),
            ("/dev/fuse:/dev/x", "/dev/fuse", "/dev/x", "rwm"),
            ("/dev/fuse:r", "/dev/fuse", "/dev/fuse", "r"),
            ("/dev/fuse:/dev/x:rw", "/dev/fuse", "/dev/x", "rw"),
        ] {
            let device = mapping(text).unwrap();
            assert_eq!(
                (&*device.path_on_host, &*device.path_in_container, &*device.cgroup_permissions),
                (host, container, mode)
            );
        }
        assert!(mapping("/dev/x:/y:abc").is_err() && mapping("a:b:c:d").is_err() && mapping("").is_err());
        assert!(is_cdi("vendor.com/gpu=0") && !is_cdi("/dev/x=y") && !is_cdi("x=y"));
        assert!(cgroup_rule("c 1:* rw").is_ok() && cgroup_rule("x 1:2 r").is_err());
    }

    #[test]
    fn rates_and_gpus() {
        assert_eq!(throttle_bytes("/dev/sda:1mb").unwrap().rate, 1 << 20);
        assert!(throttle_bytes("/dev/sda:-1").is_err() && throttle_operations("/dev/sda:1m").is_err());
        assert_eq!(gpus("all").unwrap().count, -1);
        let request = gpus("\"device=0,1\",capabilities=utility").unwrap();
        assert_eq!((request.count, request.device_ids.len()), (0, 2));
        assert_eq!(request.capabilities, [["utility", "gpu"]]);
    }
}
