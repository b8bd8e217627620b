//! `--network`: a name, or `name=…,alias=…,ip=…`.

use spec::api::{EndpointIpamConfig, EndpointSettings};

use super::{csv, key_value};

/// One network to join.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Attachment {
    pub(crate) name: String,
    pub(crate) settings: EndpointSettings,
}

/// Reads one `--network`.
pub(crate) fn parse(text: &str) -> Result<Attachment, String> {
    let mut attachment = Attachment::default();
    if !text.contains('=') {
        attachment.name = text.to_owned();
        return Ok(attachment);
    }
    let settings = &mut attachment.settings;
    for field in csv(text)? {
        let (key, value) = key_value(&field)?;
        let value = value.trim();
        match key.as_str() {
            "name" => attachment.name = value.to_owned(),
            "alias" => settings.aliases.push(value.to_owned()),
            "ip" => ipam(settings).ipv4_address = address(value)?,
            "ip6" => ipam(settings).ipv6_address = address(value)?,
            "link-local-ip" => ipam(settings).link_local_ips.push(address(value)?),
            "mac-address" => settings.mac_address = value.to_owned(),
            "driver-opt" => {
                let (key, value) =
                    value.split_once('=').ok_or("invalid key value pair format in driver options")?;
                settings.driver_opts.insert(key.trim().to_lowercase(), value.trim().to_owned());
            }
            "gw-priority" => {
                settings.gw_priority =
                    value.parse().map_err(|_| format!("invalid gw-priority ({value}): invalid syntax"))?;
            }
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    if attachment.name.is_empty() {
        return Err("network name/id is not specified".into());
    }
    Ok(attachment)
}

/// The addresses of an endpoint, made when first needed.
pub(crate) fn ipam(settings: &mut EndpointSettings) -> &mut EndpointIpamConfig {
    settings.ipam_config.get_or_insert_default()
}

/// An address, checked.
pub(crate) fn address(text: &str) -> Result<String, String> {
    match text.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("invalid IP address: {text}")),
    }
}

/// Whether it is an Ethernet address.
pub(crate) fn is_mac(text: &str) -> bool {
    let parts: Vec<_> = text.split([':', '-']).collect();
    parts.len() == 6
        && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// `name:ip` or `name=ip`; the API wants the colon.
pub(crate) fn extra_host(text: &str) -> Result<String, String> {
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| format!("bad format for add-host: {text:?}"))?;
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if bare != "host-gateway" && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {address:?}"));
    }
    Ok(format!("{name}:{bare}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_forms() {
        assert_eq!(parse("container:abc").unwrap().name, "container:abc");
        let net = parse("name=n,alias=a,alias=b,ip=10.0.0.9,driver-opt=x=1,gw-priority=-2").unwrap();
        assert_eq!((net.name.as_str(), net.settings.gw_priority), ("n", -2));
        assert_eq!(net.settings.aliases, ["a", "b"]);
        assert_eq!(net.settings.ipam_config.unwrap().ipv4_address, "10.0.0.9");
        assert_eq!(net.settings.driver_opts["x"], "1");
        for bad in ["alias=a", "name=n,foo=1", "name=n,ip=x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
