//! The files Corten keeps for a container and mounts over its own: hostname, hosts, resolv.conf.

use std::net::IpAddr;
use std::path::Path;

use network::Endpoint;
use sys::file::{self, Durability};

use super::record::Record;
use crate::Error;

const LOCAL: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// Writes the three files. They are the container's to change while it runs, and are made anew at each start.
pub(crate) fn write(dir: &Path, hostname: &str, hosts: &str, resolv_conf: &str) -> Result<(), Error> {
    for (name, text) in
        [("hostname", &*format!("{hostname}\n")), ("hosts", hosts), ("resolv.conf", resolv_conf)]
    {
        file::write_atomic(&dir.join(name), text.as_bytes(), 0o644, Durability::Process)?;
    }
    Ok(())
}

/// The hosts file: localhost, `--add-host`, the container itself on each of its networks, and what it is linked to.
pub(crate) fn hosts(
    record: &Record,
    hostname: &str,
    endpoints: &[Endpoint],
    gateway: Option<IpAddr>,
    linked: &str,
) -> Result<String, Error> {
    let mut text = LOCAL.to_owned();
    for extra in &record.host.extra_hosts {
        let (name, ip) = extra_host(extra, gateway)?;
        text.push_str(&format!("{ip}\t{name}\n"));
    }
    let domain = &record.config.domainname;
    let mut names = hostname.to_owned();
    if !domain.is_empty() {
        names = format!("{names}.{domain}");
    }
    // The name may hold its domain already: both forms are known.
    if let Some((first, _)) = names.split_once('.') {
        names = format!("{names} {first}");
    }
    for address in endpoints.iter().flat_map(Endpoint::addresses) {
        text.push_str(&format!("{}\t{names}\n", address.ip));
    }
    text.push_str(linked);
    Ok(text)
}

/// `name:address` or `name=address`; `host-gateway` is the default bridge's address.
pub(crate) fn extra_host(text: &str, gateway: Option<IpAddr>) -> Result<(String, String), Error> {
    let bad = || Error::Invalid(format!("bad format for add-host: {text:?}"));
    let (name, address) = text.split_once(['=', ':']).ok_or_else(bad)?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(bad());
    }
    if address == "host-gateway" {
        let gateway = gateway.ok_or_else(|| {
            Error::Invalid(
                "unable to derive the IP value for host-gateway: there is no default bridge".into(),
            )
        })?;
        return Ok((name.to_owned(), gateway.to_string()));
    }
    let ip: IpAddr = address
        .trim_matches(['[', ']'])
        .parse()
        .map_err(|_| Error::Invalid(format!("invalid IP address in add-host: {address:?}")))?;
    Ok((name.to_owned(), ip.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_hosts_are_read() {
        let gateway = Some("172.17.0.1".parse().unwrap());
        assert_eq!(extra_host("a:1.2.3.4", None).unwrap(), ("a".into(), "1.2.3.4".into()));
        assert_eq!(extra_host("a=[::1]", None).unwrap(), ("a".into(), "::1".into()));
        assert_eq!(extra_host("a:host-gateway", gateway).unwrap().1, "172.17.0.1");
        for bad in ["a", ":1.2.3.4", "a:b", "a b:1.2.3.4", "a:host-gateway"] {
            assert!(extra_host(bad, None).is_err(), "{bad}");
        }
    }
}
