//! `--publish` and `--expose`.

use std::collections::BTreeMap;

use spec::api::{Empty, PortBinding, PortMap};

use super::{csv, key_value};

/// The ports a container publishes and exposes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Ports {
    pub(crate) bindings: PortMap,
    pub(crate) exposed: BTreeMap<String, Empty>,
}

impl Ports {
    /// `[ip:][host[-end]:]container[-end][/protocol]`, or `published=…,target=…,protocol=…`.
    pub(crate) fn publish(&mut self, text: &str) -> Result<(), String> {
        let short;
        let text = if text.contains('=') {
            short = long_form(text)?;
            &short
        } else {
            text
        };
        let (addresses, protocol) = protocol(text)?;
        let (host, container) = addresses.rsplit_once(':').unwrap_or(("", addresses));
        let (ip, host) = match host.strip_prefix('[') {
            Some(rest) => {
                let (ip, host) = rest.split_once(']').ok_or(format!("invalid IP address in {text:?}"))?;
                (ip, host.strip_prefix(':').unwrap_or(host))
            }
            None => host.rsplit_once(':').unwrap_or(("", host)),
        };
        if container.is_empty() {
            return Err(format!("no port specified: {text}<empty>"));
        }
        if !ip.is_empty() && ip.parse::<std::net::IpAddr>().is_err() {
            return Err(format!("invalid IP address: {ip}"));
        }
        let (first, last) = range(container).map_err(|_| format!("invalid containerPort: {container}"))?;
        let host_range = match host {
            "" => None,
            host => Some(range(host).map_err(|_| format!("invalid hostPort: {host}"))?),
        };
        if let Some((host_first, host_last)) = host_range
            && host_last - host_first != last - first
            && first != last
        {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {container} and {host}"
            ));
        }
        for port in first..=last {
            let key = format!("{port}/{protocol}");
            let host_port = match host_range {
                None => String::new(),
                // One container port may take any port of a range.
                Some((from, to)) if first == last && from != to => format!("{from}-{to}"),
                Some((from, _)) => (from + (port - first)).to_string(),
            };
            let binding = PortBinding { host_ip: ip.to_owned(), host_port };
            self.exposed.insert(key.clone(), Empty {});
            self.bindings.entry(key).or_default().get_or_insert_default().push(binding);
        }
        Ok(())
    }

    /// `port[-end][/protocol]`.
    pub(crate) fn expose(&mut self, text: &str) -> Result<(), String> {
        if text.contains(':') {
            return Err(format!("invalid port format for --expose: {text}"));
        }
        let (ports, protocol) = protocol(text)?;
        let (first, last) = range(ports).map_err(|_| {
            let reason = match ports.split_once('-') {
                Some((first, last)) if first.parse::<u16>().is_ok() && last.parse::<u16>().is_ok() => {
                    format!("invalid range specified for port: {ports}")
                }
                Some(_) | None => format!("strconv.ParseUint: parsing {ports:?}: invalid syntax"),
            };
            format!("invalid range format for --expose: {text}, error: {reason}")
        })?;
        self.exposed.extend((first..=last).map(|port| (format!("{port}/{protocol}"), Empty {})));
        Ok(())
    }
}

fn protocol(text: &str) -> Result<(&str, String), String> {
    let (rest, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    match protocol.as_str() {
        "tcp" | "udp" | "sctp" => Ok((rest, protocol)),
        _ => Err(format!("invalid proto: {protocol}")),
    }
}

fn range(text: &str) -> Result<(u16, u16), ()> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u16>().map_err(|_| ());
    let (first, last) = (number(first)?, number(last)?);
    if last < first { Err(()) } else { Ok((first, last)) }
}

fn long_form(text: &str) -> Result<String, String> {
    let (mut published, mut target, mut protocol) = (String::new(), String::new(), "tcp".to_owned());
    for field in csv(text)? {
        let (key, value) = key_value(&field)?;
        match key.as_str() {
            "published" => published = value.to_owned(),
            "target" => target = value.to_owned(),
            "protocol" => protocol = value.to_owned(),
            "mode" => {}
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    if target.is_empty() {
        return Err("missing mandatory field \"target\"".into());
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(text: &str) -> Result<Vec<(String, String, String)>, String> {
        let mut ports = Ports::default();
        ports.publish(text)?;
        assert!(ports.bindings.keys().eq(ports.exposed.keys()));
        let binding = |(key, bindings): (String, Option<Vec<PortBinding>>)| {
            bindings.unwrap().into_iter().map(move |b| (key.clone(), b.host_ip, b.host_port))
        };
        Ok(ports.bindings.into_iter().flat_map(binding).collect())
    }

    #[test]
    fn publish() {
        for (text, wanted) in [
            ("80", vec![("80/tcp", "", "")]),
            ("8080:80", vec![("80/tcp", "", "8080")]),
            ("127.0.0.1:8080:80/udp", vec![("80/udp", "127.0.0.1", "8080")]),
            ("127.0.0.1::80", vec![("80/tcp", "127.0.0.1", "")]),
            ("[::1]:8080:80", vec![("80/tcp", "::1", "8080")]),
            ("[::1]::80/sctp", vec![("80/sctp", "::1", "")]),
            ("8000-8001:80-81", vec![("80/tcp", "", "8000"), ("81/tcp", "", "8001")]),
            ("8000-8010:80", vec![("80/tcp", "", "8000-8010")]),
            ("published=8080,target=80,protocol=udp", vec![("80/udp", "", "8080")]),
        ] {
            let wanted: Vec<_> =
                wanted.into_iter().map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())).collect();
            assert_eq!(published(text).unwrap_or_else(|e| panic!("{text}: {e}")), wanted, "{text}");
        }
        for bad in ["", "x", "80/foo", "1-2:80-90", "70000", "1.2.3:1:2", "90-80", "8080:"] {
            assert!(published(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn expose() {
        let mut ports = Ports::default();
        ports.expose("80-82/udp").unwrap();
        assert_eq!(ports.exposed.keys().collect::<Vec<_>>(), ["80/udp", "81/udp", "82/udp"]);
        assert!(ports.expose("80:80").is_err() && ports.bindings.is_empty());
    }
}
