//! Published and exposed ports: `80/tcp` with `{HostIp, HostPort}`.

use std::net::IpAddr;

use network::{PortRequest, PublishedPort};
use spec::api::{ContainerConfig, HostConfig, PortBinding, PortMap, PortSummary};

use crate::Error;

/// Reads `80`, `80/tcp`, `80/udp` or `80/sctp`.
pub(crate) fn container_port(text: &str) -> Result<(u16, String), Error> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number = port.parse::<u16>().ok().filter(|p| *p != 0);
    let number = number.ok_or_else(|| Error::Invalid(format!("invalid port specification: {text:?}")))?;
    match protocol.to_ascii_lowercase().as_str() {
        protocol @ ("tcp" | "udp" | "sctp") => Ok((number, protocol.to_owned())),
        _ => Err(Error::Invalid(format!("invalid proto: {protocol}"))),
    }
}

fn host_ports(text: &str) -> Option<(u16, u16)> {
    if text.is_empty() {
        return Some((0, 0));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

fn host_ip(text: &str, publish_on: Option<IpAddr>) -> Result<Option<IpAddr>, Error> {
    if text.is_empty() {
        return Ok(publish_on);
    }
    let ip = text.trim_matches(['[', ']']).parse().map(Some);
    ip.map_err(|_| Error::Invalid(format!("invalid IP address in port binding: {text}")))
}

/// What is to be published: `-p`, and with `-P` every exposed port that `-p` does not name;
/// on `publish_on` where the user names no address, else where the network says.
pub(crate) fn requests(
    config: &ContainerConfig,
    host: &HostConfig,
    publish_on: Option<IpAddr>,
) -> Result<Vec<PortRequest>, Error> {
    let mut requests = Vec::new();
    for (text, bindings) in &host.port_bindings {
        let (container_port, protocol) = container_port(text)?;
        // A port without bindings is published on any free one.
        let any = [PortBinding::default()];
        let bindings = bindings.as_deref().filter(|b| !b.is_empty()).unwrap_or(&any);
        for binding in bindings {
            let host_ports = host_ports(&binding.host_port).ok_or_else(|| {
                Error::Invalid(format!("invalid port specification: {:?}", binding.host_port))
            })?;
            let request = PortRequest {
                container_port,
                protocol: protocol.clone(),
                host_ip: host_ip(&binding.host_ip, publish_on)?,
                host_ports,
            };
            if !requests.contains(&request) {
                requests.push(request);
            }
        }
    }
    for text in config.exposed_ports.keys() {
        let exposed = exposed(text)?;
        if !host.publish_all_ports {
            continue;
        }
        for (container_port, protocol) in exposed {
            if !requests.iter().any(|r| r.container_port == container_port && r.protocol == protocol) {
                let host_ip = publish_on;
                requests.push(PortRequest { container_port, protocol, host_ip, host_ports: (0, 0) });
            }
        }
    }
    Ok(requests)
}

/// The ports of `8000-8002/tcp` (images may expose ranges).
fn exposed(text: &str) -> Result<Vec<(u16, String)>, Error> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let Some((first, last)) = range.split_once('-') else { return Ok(vec![container_port(text)?]) };
    let (first, _) = container_port(&format!("{first}/{protocol}"))?;
    let (last, protocol) = container_port(&format!("{last}/{protocol}"))?;
    Ok((first..=last).map(|port| (port, protocol.clone())).collect())
}

/// `NetworkSettings.Ports`: published ports with their bindings, exposed ones without.
pub(crate) fn map(config: &ContainerConfig, published: &[PublishedPort]) -> PortMap {
    let mut map: PortMap = config.exposed_ports.keys().map(|port| (port.clone(), None)).collect();
    for port in published {
        let key = format!("{}/{}", port.container_port, port.protocol);
        map.entry(key)
            .or_default()
            .get_or_insert_default()
            .push(PortBinding { host_ip: port.host_ip.to_string(), host_port: host_port(port) });
    }
    map
}

/// None when it is reached at the container's address.
fn host_port(port: &PublishedPort) -> String {
    if port.host_port == 0 { String::new() } else { port.host_port.to_string() }
}

/// The ports of a line of `ps`.
pub(crate) fn summary(config: &ContainerConfig, published: &[PublishedPort]) -> Vec<PortSummary> {
    let mut ports: Vec<PortSummary> = published
        .iter()
        .map(|port| PortSummary {
            ip: if port.host_port == 0 { String::new() } else { port.host_ip.to_string() },
            private_port: port.container_port,
            public_port: port.host_port,
            r#type: port.protocol.clone(),
        })
        .collect();
    for (private_port, protocol) in config.exposed_ports.keys().filter_map(|p| exposed(p).ok()).flatten() {
        if !ports.iter().any(|p| p.private_port == private_port && p.r#type == protocol) {
            ports.push(PortSummary { private_port, r#type: protocol, ..PortSummary::default() });
        }
    }
    ports
}

/// Whether a `publish` or `expose` filter (`80`, `80/tcp`, `80-90/udp`) names one of these ports.
pub(crate) fn filter_matches(
    filter: &str,
    ports: impl IntoIterator<Item = (u16, String)>,
) -> Result<bool, Error> {
    let wanted = exposed(filter)?;
    Ok(ports.into_iter().any(|port| wanted.contains(&port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Option<IpAddr> = None;

    fn host(key: &str, ip: &str, port: &str) -> HostConfig {
        let binding = PortBinding { host_ip: ip.into(), host_port: port.into() };
        HostConfig { port_bindings: [(key.to_owned(), Some(vec![binding]))].into(), ..HostConfig::default() }
    }

    #[test]
    fn bindings_are_read_and_refused() {
        let config = ContainerConfig::default();
        let one = requests(&config, &host("80/tcp", "", "8000-8010"), ANY).unwrap();
        assert_eq!((one[0].host_ports, one[0].host_ip), ((8000, 8010), None));
        assert_eq!(requests(&config, &host("53/udp", "127.0.0.1", ""), ANY).unwrap()[0].host_ports, (0, 0));
        let v6 = requests(&config, &host("80/sctp", "[::1]", "1"), ANY).unwrap();
        assert_eq!((v6[0].protocol.as_str(), v6[0].host_ip), ("sctp", "::1".parse().ok()));
        for (key, ip, port) in [
            ("0/tcp", "", "1"),
            ("80/x", "", "1"),
            ("80", "a.b", "1"),
            ("80", "", "9-8"),
            ("80", "", "70000"),
        ] {
            assert!(requests(&config, &host(key, ip, port), ANY).is_err(), "{key} {ip} {port}");
        }
    }

    #[test]
    fn publish_all_adds_what_is_exposed_and_not_named() {
        let exposed_ports = ["80/tcp", "81-82/tcp"].map(|p| (p.to_owned(), Default::default())).into();
        let config = ContainerConfig { exposed_ports, ..ContainerConfig::default() };
        let all = HostConfig { publish_all_ports: true, ..host("80/tcp", "", "8080") };
        let requests = requests(&config, &all, "127.0.0.1".parse().ok()).unwrap();
        let ports: Vec<u16> = requests.iter().map(|r| r.container_port).collect();
        assert_eq!(ports, [80, 81, 82]);
        assert!(requests.iter().all(|r| r.host_ip == "127.0.0.1".parse().ok()));
    }

    #[test]
    fn exposed_ports_are_shown_without_bindings() {
        let exposed_ports =
            [("80/tcp".to_owned(), Default::default()), ("53/udp".to_owned(), Default::default())].into();
        let config = ContainerConfig { exposed_ports, ..ContainerConfig::default() };
        let published = [PublishedPort {
            container_port: 80,
            protocol: "tcp".into(),
            host_ip: "0.0.0.0".parse().unwrap(),
            host_port: 8080,
        }];
        let map = map(&config, &published);
        assert_eq!(map["53/udp"], None);
        assert_eq!(map["80/tcp"].as_ref().unwrap()[0].host_port, "8080");
        let summary = summary(&config, &published);
        assert_eq!(summary.len(), 2);
        assert!(filter_matches("50-60/udp", [(53, "udp".to_owned())]).unwrap());
        assert!(!filter_matches("80", [(80, "udp".to_owned())]).unwrap());
    }
}
