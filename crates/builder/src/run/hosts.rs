//! The files that a RUN finds in /etc and that are in no layer: hosts, hostname, resolv.conf.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use crate::error::{Error, Result};

/// The text of /etc/hosts. `extra` are `name:ip` (or `name=ip`); `host-gateway` is the network's gateway.
pub(crate) fn hosts(
    hostname: &str,
    address: Option<IpAddr>,
    gateway: Option<IpAddr>,
    extra: &[String],
) -> Result<String> {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for entry in extra {
        let invalid = || Error::Request(format!("bad format for add-host: {entry:?}"));
        let (name, address) = entry.split_once(['=', ':']).ok_or_else(invalid)?;
        let address = address.trim_start_matches('[').trim_end_matches(']');
        let address: IpAddr = match (address, gateway) {
            ("host-gateway", Some(gateway)) => gateway,
            ("host-gateway", None) => Ipv4Addr::LOCALHOST.into(),
            (address, _) => address.parse().map_err(|_| invalid())?,
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(invalid());
        }
        let _ = writeln!(text, "{address}\t{name}");
    }
    let address = address.unwrap_or(Ipv4Addr::LOCALHOST.into());
    let _ = writeln!(text, "{address}\t{hostname}");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_hosts_are_added() {
        let gateway = Ipv4Addr::new(10, 0, 0, 1).into();
        let extra = ["a:1.2.3.4".to_owned(), "b=host-gateway".into(), "c:[::2]".into()];
        let text = hosts("me", Some(Ipv4Addr::new(10, 0, 0, 2).into()), Some(gateway), &extra).unwrap();
        assert!(text.ends_with("1.2.3.4\ta\n10.0.0.1\tb\n::2\tc\n10.0.0.2\tme\n"), "{text}");
        assert!(hosts("me", None, None, &["x:y".into()]).is_err());
    }
}
