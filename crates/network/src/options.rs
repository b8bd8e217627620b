//! What the options of a network's driver say. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sys::netlink::route::{IpvlanFlag, IpvlanMode, MacvlanMode};

use crate::Error;

/// How the addresses of one family lead outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum GatewayMode {
    /// With the host's address; only published ports are reached.
    #[default]
    Nat,
    /// With the host's address; who can route to the network reaches all ports.
    NatUnprotected,
    /// With their own; published ports are reached at the containers' addresses.
    Routed,
    /// The bridge has no address.
    Isolated,
}

/// The options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// The bridge's name.
    pub(crate) bridge: Option<String>,
    /// Largest packet, bytes.
    pub(crate) mtu: Option<u32>,
    /// Containers reach each other.
    pub(crate) containers_talk: bool,
    /// Containers go outside with the host's address.
    pub(crate) masquerade: bool,
    /// Where ports are published whose user names no address.
    pub(crate) publish_on: Option<IpAddr>,
    /// The bridge has no IPv4 address: someone else is the gateway.
    pub(crate) without_v4_address: bool,
    /// Of IPv4 and IPv6.
    gateway_modes: [GatewayMode; 2],
    /// Interfaces of the host from which containers' addresses are reached directly.
    pub(crate) trusted: Vec<String>,
    /// The host's address that outgoing connections have.
    pub(crate) source: Option<Ipv4Addr>,
    /// The same of IPv6.
    pub(crate) source6: Option<Ipv6Addr>,
    /// Containers' interfaces are called this and a number.
    pub(crate) prefix: String,
    /// The interface that macvlan and ipvlan links are made on.
    pub(crate) parent: Option<String>,
    pub(crate) macvlan_mode: MacvlanMode,
    pub(crate) ipvlan_mode: IpvlanMode,
    pub(crate) ipvlan_flag: IpvlanFlag,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bridge: None,
            mtu: None,
            containers_talk: true,
            masquerade: true,
            publish_on: None,
            without_v4_address: false,
            gateway_modes: [GatewayMode::Nat; 2],
            trusted: Vec::new(),
            source: None,
            source6: None,
            prefix: "eth".to_owned(),
            parent: None,
            macvlan_mode: MacvlanMode::Bridge,
            ipvlan_mode: IpvlanMode::L2,
            ipvlan_flag: IpvlanFlag::Bridge,
        }
    }
}

impl Options {
    /// Reads the options; those this room does not know are passed over, as with Docker.
    pub(crate) fn read(all: &BTreeMap<String, String>) -> Result<Self, Error> {
        let mut options = Self::default();
        for (key, value) in all {
            let key = key.as_str();
            let refused =
                |why: String| Error::Invalid(format!("failed to parse {key} value: {value} ({why})"));
            let number = || -> Result<Option<u32>, Error> {
                let wrong = |_| refused(format!("strconv.Atoi: parsing {value:?}: invalid syntax"));
                value.parse().map(|number| Some(number).filter(|n| *n != 0)).map_err(wrong)
            };
            let flag = || {
                flag(value)
                    .ok_or_else(|| refused(format!("strconv.ParseBool: parsing {value:?}: invalid syntax")))
            };
            let text = || Some(value.clone()).filter(|v| !v.is_empty());
            match key {
                "com.docker.network.bridge.name" => options.bridge = text(),
                "com.docker.network.driver.mtu" => options.mtu = number()?,
                "com.docker.network.bridge.enable_icc" => options.containers_talk = flag()?,
                "com.docker.network.bridge.enable_ip_masquerade" => options.masquerade = flag()?,
                "com.docker.network.bridge.inhibit_ipv4" => options.without_v4_address = flag()?,
                "com.docker.network.bridge.host_binding_ipv4" => {
                    options.publish_on = Some(value.parse().map_err(|_| refused("nil ip".into()))?);
                }
                "com.docker.network.bridge.gateway_mode_ipv4" => {
                    options.gateway_modes[0] = gateway_mode(value).map_err(refused)?;
                }
                "com.docker.network.bridge.gateway_mode_ipv6" => {
                    options.gateway_modes[1] = gateway_mode(value).map_err(refused)?;
                }
                "com.docker.network.bridge.trusted_host_interfaces" => {
                    let names = value.split([':', ',']).map(str::trim).filter(|name| !name.is_empty());
                    options.trusted = names.map(str::to_owned).collect();
                }
                "com.docker.network.host_ipv4" => {
                    options.source = Some(value.parse().map_err(|_| refused("nil ip".into()))?);
                }
                "com.docker.network.host_ipv6" => {
                    options.source6 = Some(value.parse().map_err(|_| refused("nil ip".into()))?);
                }
                "com.docker.network.container_iface_prefix" => {
                    crate::bridge::check_name("interface", &format!("{value}00"))?;
                    options.prefix.clone_from(value);
                }
                "parent" => options.parent = text(),
                "macvlan_mode" => options.macvlan_mode = macvlan_mode(value)?,
                "ipvlan_mode" => options.ipvlan_mode = ipvlan_mode(value)?,
                "ipvlan_flag" => options.ipvlan_flag = ipvlan_flag(value)?,
                _ => {}
            }
        }
        Ok(options)
    }

    /// How a family leads outside.
    pub(crate) fn gateway_mode(&self, v4: bool) -> GatewayMode {
        self.gateway_modes[usize::from(!v4)]
    }
}

/// As Go's `strconv.ParseBool`.
pub(crate) fn flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn gateway_mode(text: &str) -> Result<GatewayMode, String> {
    match text {
        "" | "nat" => Ok(GatewayMode::Nat),
        "nat-unprotected" => Ok(GatewayMode::NatUnprotected),
        "routed" => Ok(GatewayMode::Routed),
        "isolated" => Ok(GatewayMode::Isolated),
        _ => Err(format!("unknown gateway mode {text}")),
    }
}

fn macvlan_mode(text: &str) -> Result<MacvlanMode, Error> {
    match text {
        "" | "bridge" => Ok(MacvlanMode::Bridge),
        "private" => Ok(MacvlanMode::Private),
        "vepa" => Ok(MacvlanMode::Vepa),
        "passthru" => Ok(MacvlanMode::Passthru),
        _ => Err(Error::Invalid(format!(
            "requested macvlan mode '{text}' is not valid, 'bridge' mode is the macvlan driver default"
        ))),
    }
}

fn ipvlan_mode(text: &str) -> Result<IpvlanMode, Error> {
    match text {
        "" | "l2" => Ok(IpvlanMode::L2),
        "l3" => Ok(IpvlanMode::L3),
        "l3s" => Ok(IpvlanMode::L3s),
        _ => Err(Error::Invalid(format!(
            "requested ipvlan mode '{text}' is not valid, 'l2' mode is the ipvlan driver default"
        ))),
    }
}

fn ipvlan_flag(text: &str) -> Result<IpvlanFlag, Error> {
    match text {
        "" | "bridge" => Ok(IpvlanFlag::Bridge),
        "private" => Ok(IpvlanFlag::Private),
        "vepa" => Ok(IpvlanFlag::Vepa),
        _ => Err(Error::Invalid(format!(
            "requested ipvlan flag '{text}' is not valid, 'bridge' is the ipvlan driver default flag"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Options, String> {
        let all = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Options::read(&all).map_err(|e| e.to_string())
    }

    #[test]
    fn options_are_read() {
        assert_eq!(read(&[("com.example", "x")]), Ok(Options::default()));
        let options = read(&[
            ("com.docker.network.bridge.gateway_mode_ipv6", "routed"),
            ("com.docker.network.bridge.enable_icc", "0"),
            ("com.docker.network.driver.mtu", "1400"),
            ("com.docker.network.bridge.trusted_host_interfaces", "eth0:eth1"),
            ("macvlan_mode", "passthru"),
            ("ipvlan_mode", "l3s"),
        ])
        .unwrap();
        assert_eq!(options.gateway_mode(true), GatewayMode::Nat);
        assert_eq!(options.gateway_mode(false), GatewayMode::Routed);
        assert_eq!((options.containers_talk, options.mtu), (false, Some(1400)));
        assert_eq!(options.trusted, ["eth0", "eth1"]);
        assert_eq!((options.macvlan_mode, options.ipvlan_mode), (MacvlanMode::Passthru, IpvlanMode::L3s));
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_docker_s_words() {
        for (key, value, text) in [
            (
                "com.docker.network.driver.mtu",
                "abc",
                "failed to parse com.docker.network.driver.mtu value: abc (strconv.Atoi: parsing \"abc\": invalid syntax)",
            ),
            (
                "com.docker.network.bridge.enable_icc",
                "yes",
                "failed to parse com.docker.network.bridge.enable_icc value: yes (strconv.ParseBool: parsing \"yes\": invalid syntax)",
            ),
            (
                "com.docker.network.bridge.host_binding_ipv4",
                "x",
                "failed to parse com.docker.network.bridge.host_binding_ipv4 value: x (nil ip)",
            ),
            (
                "com.docker.network.bridge.gateway_mode_ipv4",
                "x",
                "failed to parse com.docker.network.bridge.gateway_mode_ipv4 value: x (unknown gateway mode x)",
            ),
            (
                "macvlan_mode",
                "x",
                "requested macvlan mode 'x' is not valid, 'bridge' mode is the macvlan driver default",
            ),
            (
                "ipvlan_mode",
                "l4",
                "requested ipvlan mode 'l4' is not valid, 'l2' mode is the ipvlan driver default",
            ),
            (
                "ipvlan_flag",
                "x",
                "requested ipvlan flag 'x' is not valid, 'bridge' is the ipvlan driver default flag",
            ),
        ] {
            assert_eq!(read(&[(key, value)]).unwrap_err(), text);
        }
    }
}
