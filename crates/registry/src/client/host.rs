//! Registry names: where they are, and how far each is trusted.

use std::net::IpAddr;

/// The registry of `docker.io` names.
const HUB: &str = "registry-1.docker.io";

/// Host and port of the registry behind a reference's domain.
pub(crate) fn of_domain(domain: &str) -> &str {
    match domain {
        "docker.io" | "index.docker.io" => HUB,
        other => other,
    }
}

/// Host and port of the registry behind a `serveraddress`, which may be a URL.
pub(crate) fn of_server_address(address: &str) -> &str {
    let address =
        address.strip_prefix("https://").or_else(|| address.strip_prefix("http://")).unwrap_or(address);
    match address.split('/').next().unwrap_or_default() {
        "" => HUB,
        host => of_domain(host),
    }
}

/// Host and port, apart. An IPv6 address loses its brackets.
pub(crate) fn split(authority: &str, default_port: u16) -> (&str, u16) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().unwrap_or(default_port)),
        _ => (authority, default_port),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

/// Host and port as one text; an IPv6 address gets its brackets.
pub(crate) fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Whether a registry may be spoken to without verified TLS: on loopback, or because the user said so.
pub(crate) fn is_insecure(authority: &str, insecure: &[String]) -> bool {
    let (host, _) = split(authority, 0);
    let address: Option<IpAddr> = host.parse().ok();
    host == "localhost"
        || address.is_some_and(|ip| ip.is_loopback())
        || insecure.iter().any(|entry| {
            entry == authority
                || entry == host
                || address.is_some_and(|ip| in_network(ip, entry) == Some(true))
        })
}

/// Whether an address is in `network/prefix`; `None` when that is not what the text says.
pub(crate) fn in_network(address: IpAddr, network: &str) -> Option<bool> {
    let (network, prefix) = network.split_once('/')?;
    let (network, prefix): (IpAddr, u32) = (network.parse().ok()?, prefix.parse().ok()?);
    let masked = |bits: u128, width: u32| bits.checked_shr(width.checked_sub(prefix)?).or(Some(0));
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            Some(masked(a.to_bits().into(), 32)? == masked(n.to_bits().into(), 32)?)
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => Some(masked(a.to_bits(), 128)? == masked(n.to_bits(), 128)?),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_has_many_names() {
        for address in ["https://index.docker.io/v1/", "docker.io", "index.docker.io", ""] {
            assert_eq!(of_server_address(address), HUB);
        }
        assert_eq!(of_server_address("http://127.0.0.1:5000/v2/"), "127.0.0.1:5000");
        assert_eq!(split("[::1]:5000", 443), ("::1", 5000));
        assert_eq!(split("[::1]", 443), ("::1", 443));
        assert_eq!(split("a.example", 443), ("a.example", 443));
    }

    #[test]
    fn trust_is_by_name_or_network() {
        let insecure = ["reg.local:5000".to_owned(), "10.0.0.0/8".to_owned(), "0.0.0.0/33".to_owned()];
        for yes in ["localhost:5000", "127.9.9.9", "[::1]:5000", "reg.local:5000", "10.1.2.3:80"] {
            assert!(is_insecure(yes, &insecure), "{yes}");
        }
        for no in ["reg.local", "11.0.0.1", "localhost.example.com", "127.0.0.1.example"] {
            assert!(!is_insecure(no, &insecure), "{no}");
        }
        assert!(is_insecure("8.8.8.8", &["0.0.0.0/0".into()]));
    }
}
