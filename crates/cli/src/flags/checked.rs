//! Words of flags that are read twice: checked while the command line is read, so that a mistake is told in its
//! words, and turned into the request later.

use super::{device, limits, mount, network};

type Word = Result<String, String>;

fn checked<T>(text: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Word {
    read(text).map(|_| text.to_owned())
}

/// `--attach`.
pub(crate) fn stream(text: &str) -> Word {
    match text.to_ascii_lowercase().as_str() {
        "stdin" | "stdout" | "stderr" => Ok(text.to_owned()),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".into()),
    }
}

/// `--add-host`.
pub(crate) fn extra_host(text: &str) -> Word {
    checked(text, network::extra_host)
}

/// `--env`: a name alone takes the value of our own environment; without one the image's is removed.
pub(crate) fn variable(text: &str) -> Word {
    match text.split_once('=') {
        Some(("", _)) => Err(format!("invalid environment variable: {text}")),
        None if text.is_empty() => Err("invalid environment variable: ".into()),
        Some(_) => Ok(text.to_owned()),
        None => Ok(std::env::var(text).map_or_else(|_| text.to_owned(), |value| format!("{text}={value}"))),
    }
}

/// `--label`.
pub(crate) fn label(text: &str) -> Word {
    match text.split('=').next() {
        None | Some("") => Err(format!("invalid label '{text}': empty name")),
        Some(_) => Ok(text.to_owned()),
    }
}

/// `--mount`.
pub(crate) fn mount(text: &str) -> Word {
    checked(text, |text| mount::parse(text, "/".as_ref()))
}

/// `--network`.
pub(crate) fn network(text: &str) -> Word {
    checked(text, network::parse)
}

/// `--ulimit`.
pub(crate) fn ulimit(text: &str) -> Word {
    checked(text, limits::ulimit)
}

/// `--gpus`.
pub(crate) fn gpus(text: &str) -> Word {
    checked(text, device::gpus)
}

/// `--blkio-weight-device`.
pub(crate) fn weight(text: &str) -> Word {
    checked(text, device::weight)
}

/// `--device-read-bps`, `--device-write-bps`.
pub(crate) fn rate(text: &str) -> Word {
    checked(text, device::throttle_bytes)
}

/// `--device-read-iops`, `--device-write-iops`.
pub(crate) fn operations(text: &str) -> Word {
    checked(text, device::throttle_operations)
}

/// `--device-cgroup-rule`.
pub(crate) fn cgroup_rule(text: &str) -> Word {
    checked(text, device::cgroup_rule)
}

/// `--dns`.
pub(crate) fn server(text: &str) -> Word {
    match text.trim().parse::<std::net::IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!("IP address is not correctly formatted: {text}")),
    }
}

/// `--dns-search`; `.` stands for no domain at all.
pub(crate) fn domain(text: &str) -> Word {
    let text = text.trim();
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if text == "." || text.trim_end_matches('.').split('.').all(label) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text} is not a valid domain"))
    }
}

/// `--link`.
pub(crate) fn link(text: &str) -> Word {
    match text.split(':').count() {
        _ if text.is_empty() => Err("empty string specified for links".into()),
        1 | 2 => Ok(text.to_owned()),
        _ => Err(format!("bad format for links: {text}")),
    }
}

/// `--sysctl`: those that belong to a container's namespaces.
pub(crate) fn sysctl(text: &str) -> Word {
    const KNOWN: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    match text.split_once('=') {
        Some((key, _)) if KNOWN.contains(&key) => Ok(text.to_owned()),
        Some((key, _)) if key.starts_with("net.") || key.starts_with("fs.mqueue.") => Ok(text.to_owned()),
        Some(_) | None => Err(format!("sysctl '{text}' is not allowed")),
    }
}

/// `--annotation`: the value may be missing.
pub(crate) fn pair(text: &str) -> Word {
    match text.split('=').next() {
        None | Some("") => Err(format!("invalid argument: {text:?}")),
        Some(_) => Ok(text.to_owned()),
    }
}
