//! The addresses of a network to make: read and checked, with Docker's words for what is wrong. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use network::{Range, Subnet};
use spec::api::IpamConfig;

use crate::Error;

/// The subnets of the families that the network has; those of others are checked no further than Docker does.
pub(super) fn ranges(configs: &[IpamConfig], v4: bool, v6: bool) -> Result<Vec<Range>, Error> {
    let mut wrong = Vec::new();
    let mut ranges = Vec::new();
    for config in configs {
        match range(config, v6, &mut wrong) {
            Some(range) if if range.subnet.is_v4() { v4 } else { v6 } => ranges.push(range),
            _ => {}
        }
    }
    if wrong.is_empty() {
        return Ok(ranges);
    }
    Err(Error::Invalid(format!("invalid network config:\n{}", wrong.join("\n"))))
}

fn range(config: &IpamConfig, v6: bool, wrong: &mut Vec<String>) -> Option<Range> {
    let given = cidr(&config.subnet);
    let Some((ip, subnet)) = given else {
        wrong.push(format!("invalid subnet {}: invalid CIDR block notation", config.subnet));
        return None;
    };
    if !subnet.is_v4() && !v6 {
        return None;
    }
    if ip != subnet.first() {
        wrong.push(format!("invalid subnet {}: it should be {subnet}", config.subnet));
    }
    let mut address = |text: &str, what: String| match address_in(subnet, text) {
        Ok(ip) => Some(ip),
        Err(why) => {
            wrong.push(format!("invalid {what}: {why}"));
            None
        }
    };
    let gateway =
        Some(&config.gateway).filter(|g| !g.is_empty()).and_then(|g| address(g, format!("gateway {g}")));
    let reserved: BTreeMap<String, IpAddr> = config
        .auxiliary_addresses
        .iter()
        .filter_map(|(name, text)| Some((name.clone(), address(text, format!("auxiliary address {name}"))?)))
        .collect();
    let range = (!config.ip_range.is_empty()).then(|| part_of(subnet, &config.ip_range, wrong)).flatten();
    Some(Range { subnet, range, gateway, reserved })
}

fn family(v4: bool) -> &'static str {
    if v4 { "IPv4" } else { "IPv6" }
}

/// `a.b.c.d/n`: the address as it is written, and the subnet around it.
fn cidr(text: &str) -> Option<(IpAddr, Subnet)> {
    let (ip, _) = text.split_once('/')?;
    Some((ip.parse().ok()?, Subnet::parse(text)?))
}

fn part_of(subnet: Subnet, text: &str, wrong: &mut Vec<String>) -> Option<Subnet> {
    let Some((ip, part)) = cidr(text) else {
        wrong.push(format!("invalid ip-range {text}: invalid CIDR block notation"));
        return None;
    };
    if part.is_v4() != subnet.is_v4() {
        wrong.push(format!("invalid ip-range {text}: parent subnet is an {} block", family(subnet.is_v4())));
        return None;
    }
    if part.prefix() < subnet.prefix() {
        wrong.push(format!("invalid ip-range {text}: CIDR block is bigger than its parent subnet {subnet}"));
    }
    if ip != part.first() {
        wrong.push(format!("invalid ip-range {text}: it should be {part}"));
    }
    if !subnet.overlaps(part) {
        wrong.push(format!("invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range"));
    }
    Some(part)
}

fn address_in(subnet: Subnet, text: &str) -> Result<IpAddr, String> {
    let ip: IpAddr = text.parse().map_err(|_| "invalid address".to_owned())?;
    if ip.is_ipv4() != subnet.is_v4() {
        return Err(format!("parent subnet is an {} block", family(subnet.is_v4())));
    }
    if subnet.contains(ip) {
        Ok(ip)
    } else {
        Err(format!("parent subnet {subnet} doesn't contain this address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(subnet: &str, range: &str, gateway: &str, aux: &str) -> IpamConfig {
        let aux = (!aux.is_empty()).then(|| ("a".to_owned(), aux.to_owned()));
        IpamConfig {
            subnet: subnet.into(),
            ip_range: range.into(),
            gateway: gateway.into(),
            auxiliary_addresses: aux.into_iter().collect(),
        }
    }

    #[test]
    fn both_families_are_read() {
        let configs =
            [config("10.1.0.0/16", "10.1.2.0/24", "10.1.0.9", "10.1.0.5"), config("fd00::/64", "", "", "")];
        let read = ranges(&configs, true, true).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].range.unwrap().to_string(), "10.1.2.0/24");
        assert_eq!(read[0].reserved["a"].to_string(), "10.1.0.5");
        assert_eq!(ranges(&configs, true, false).unwrap().len(), 1);
        assert_eq!(ranges(&configs, false, true).unwrap()[0].subnet.to_string(), "fd00::/64");
    }

    #[test]
    fn what_is_wrong_is_told_in_docker_s_words_all_at_once() {
        for (config, text) in [
            (config("10.1.0.0/33", "", "", ""), "invalid subnet 10.1.0.0/33: invalid CIDR block notation"),
            (config("10.1.2.3/24", "", "", ""), "invalid subnet 10.1.2.3/24: it should be 10.1.2.0/24"),
            (
                config("10.1.2.0/24", "", "10.2.0.1", ""),
                "invalid gateway 10.2.0.1: parent subnet 10.1.2.0/24 doesn't contain this address",
            ),
            (
                config("10.1.2.0/24", "", "fd00::1", ""),
                "invalid gateway fd00::1: parent subnet is an IPv4 block",
            ),
            (config("10.1.2.0/24", "", "x", ""), "invalid gateway x: invalid address"),
            (
                config("10.1.2.0/24", "", "", "10.9.9.9"),
                "invalid auxiliary address a: parent subnet 10.1.2.0/24 doesn't contain this address",
            ),
            (config("10.1.2.0/24", "x", "", ""), "invalid ip-range x: invalid CIDR block notation"),
            (
                config("10.1.2.0/24", "10.1.0.0/16", "", ""),
                "invalid ip-range 10.1.0.0/16: CIDR block is bigger than its parent subnet 10.1.2.0/24",
            ),
            (
                config("10.1.2.0/24", "10.1.2.9/28", "", ""),
                "invalid ip-range 10.1.2.9/28: it should be 10.1.2.0/28",
            ),
            (
                config("10.1.2.0/24", "10.1.3.0/28", "", ""),
                "invalid ip-range 10.1.3.0/28: parent subnet 10.1.2.0/24 doesn't contain ip-range",
            ),
            (
                config("fd00::/64", "10.0.0.0/8", "", ""),
                "invalid ip-range 10.0.0.0/8: parent subnet is an IPv6 block",
            ),
        ] {
            let refused = ranges(&[config], true, true).unwrap_err().to_string();
            assert_eq!(refused, format!("invalid network config:\n{text}"));
        }
        let two =
            ranges(&[config("x", "", "", ""), config("y", "", "", "")], true, true).unwrap_err().to_string();
        assert_eq!(two.lines().count(), 3);
    }
}
