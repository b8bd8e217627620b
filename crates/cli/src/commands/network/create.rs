//! `corten network create`.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use spec::api::{ConfigReference, Ipam, IpamConfig, NetworkCreateRequest};

use crate::app::App;
use crate::error::{Error, Result};
use crate::flags::map;
use crate::print;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Let containers be attached by hand
    #[arg(long)]
    attachable: bool,
    /// Address that no container gets (name=ip)
    #[arg(long)]
    aux_address: Vec<String>,
    /// Network to copy the configuration from
    #[arg(long, default_value = "")]
    config_from: String,
    /// Create a configuration only
    #[arg(long)]
    config_only: bool,
    /// Driver to manage the network
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// Gateway of a subnet
    #[arg(long, value_delimiter = ',')]
    gateway: Vec<String>,
    /// Give containers addresses from this part of a subnet
    #[arg(long, value_delimiter = ',')]
    ip_range: Vec<String>,
    /// Driver to manage the addresses
    #[arg(long, default_value = "default")]
    ipam_driver: String,
    /// Set an option of the address driver
    #[arg(long)]
    ipam_opt: Vec<String>,
    /// Give containers IPv4 addresses
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv4: Option<bool>,
    /// Give containers IPv6 addresses
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv6: Option<bool>,
    /// Keep the network away from the outside
    #[arg(long)]
    internal: bool,
    /// Set a label on the network
    #[arg(long)]
    label: Vec<String>,
    /// Set an option of the driver
    #[arg(short, long)]
    opt: Vec<String>,
    /// Scope of the network
    #[arg(long, default_value = "")]
    scope: String,
    /// Subnet of the network in CIDR form
    #[arg(long, value_delimiter = ',')]
    subnet: Vec<String>,
    name: Vec<String>,
}

impl Verb for Create {
    const USAGE: &'static str = "[OPTIONS] NETWORK";
    const ABOUT: &'static str = "Create a network";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let ipam = Ipam {
            driver: self.ipam_driver.clone(),
            config: subnets(&self.subnet, &self.gateway, &self.ip_range, &self.aux_address)
                .map_err(Error::Invalid)?,
            options: map(&self.ipam_opt),
        };
        let request = NetworkCreateRequest {
            name: self.name[0].clone(),
            driver: self.driver,
            scope: self.scope,
            internal: self.internal,
            attachable: self.attachable,
            config_only: self.config_only,
            config_from: Some(ConfigReference { network: self.config_from })
                .filter(|from| !from.network.is_empty()),
            ipam: Some(ipam),
            enable_ipv4: self.ipv4,
            enable_ipv6: self.ipv6,
            options: map(&self.opt),
            labels: map(&self.label),
            ..NetworkCreateRequest::default()
        };
        let created = app.client().await?.network_create(&request).await?;
        if !created.warning.is_empty() {
            print::err_line(format!("WARNING: {}", created.warning));
        }
        print::line(created.id);
        Ok(0)
    }
}

/// Each gateway, range and auxiliary address with the subnet it lies in.
fn subnets(
    subnets: &[String],
    gateways: &[String],
    ranges: &[String],
    aux: &[String],
) -> Result<Vec<IpamConfig>, String> {
    let mut configs = Vec::new();
    for subnet in subnets {
        parse_cidr(subnet)?;
        configs.push(IpamConfig { subnet: subnet.clone(), ..IpamConfig::default() });
    }
    if subnets.is_empty() && !(gateways.is_empty() && ranges.is_empty() && aux.is_empty()) {
        return Err("every ip-range, gateway or aux-address must have a corresponding subnet".into());
    }
    for range in ranges {
        find(&mut configs, parse_cidr(range)?.0, range)?.ip_range.clone_from(range);
    }
    for gateway in gateways {
        let address = gateway.parse().map_err(|_| format!("invalid IP address: {gateway}"))?;
        let config = find(&mut configs, address, gateway)?;
        if !config.gateway.is_empty() {
            return Err(format!(
                "cannot configure multiple gateways ({gateway}, {}) for the same subnet",
                config.gateway
            ));
        }
        config.gateway.clone_from(gateway);
    }
    for word in aux {
        let (name, text) =
            word.split_once('=').ok_or(format!("invalid aux-address {word}: expected name=ip"))?;
        let address = text.parse().map_err(|_| format!("invalid IP address: {text}"))?;
        find(&mut configs, address, text)?.auxiliary_addresses.insert(name.to_owned(), text.to_owned());
    }
    Ok(configs)
}

fn find<'a>(
    configs: &'a mut [IpamConfig],
    address: IpAddr,
    text: &str,
) -> Result<&'a mut IpamConfig, String> {
    configs
        .iter_mut()
        .find(|config| parse_cidr(&config.subnet).is_ok_and(|subnet| contains(subnet, address)))
        .ok_or_else(|| format!("no matching subnet for {text}"))
}

fn parse_cidr(text: &str) -> Result<(IpAddr, u32), String> {
    let wrong = || format!("invalid CIDR address: {text}");
    let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let bits: u32 = bits.parse().map_err(|_| wrong())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    if bits <= most { Ok((address, bits)) } else { Err(wrong()) }
}

fn contains((network, bits): (IpAddr, u32), address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            (network.to_bits() ^ address.to_bits()) & mask == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            (network.to_bits() ^ address.to_bits()) & mask == 0
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_find_their_subnets() {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let configs = subnets(
            &words(&["10.1.0.0/16", "fd00::/64"]),
            &words(&["fd00::1", "10.1.0.1"]),
            &words(&["10.1.2.0/24"]),
            &words(&["a=10.1.0.5"]),
        )
        .unwrap();
        assert_eq!((&*configs[0].gateway, &*configs[0].ip_range), ("10.1.0.1", "10.1.2.0/24"));
        assert_eq!(configs[0].auxiliary_addresses["a"], "10.1.0.5");
        assert_eq!(configs[1].gateway, "fd00::1");
        assert!(subnets(&[], &words(&["10.0.0.1"]), &[], &[]).is_err());
        assert!(subnets(&words(&["10.0.0.0/8"]), &words(&["11.0.0.1"]), &[], &[]).is_err());
        assert!(subnets(&words(&["10.0.0.0/33"]), &[], &[], &[]).is_err());
    }
}
