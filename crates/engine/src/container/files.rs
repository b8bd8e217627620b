//! The files Corten keeps for a container and mounts over its own: hostname, hosts, resolv.conf.

use std::net::IpAddr;
use std::path::Path;

use network::Endpoint;
use sys::file::{self, Durability};

use super::Container;
use super::record::{NetworkMode, Record};
use super::start::hostname;
use crate::{Engine, Error};

/// Their names, below /etc.
pub(crate) const MANAGED: [&str; 3] = ["hostname", "hosts", "resolv.conf"];

const LOCAL: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// Writes the three files. They are the container's to change while it runs, and are made anew at each start.
pub(crate) fn write(dir: &Path, hostname: &str, hosts: &str, resolv_conf: &str) -> Result<(), Error> {
    for (name, text) in MANAGED.into_iter().zip([&*format!("{hostname}\n"), hosts, resolv_conf]) {
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
    for endpoint in endpoints {
        text.push_str(&own_lines(record, hostname, endpoint));
    }
    text.push_str(linked);
    Ok(text)
}

/// The lines of the container itself on one of its networks.
fn own_lines(record: &Record, hostname: &str, endpoint: &Endpoint) -> String {
    let domain = &record.config.domainname;
    let mut names = hostname.to_owned();
    if !domain.is_empty() {
        names = format!("{names}.{domain}");
    }
    // The name may hold its domain already: both forms are known.
    if let Some((first, _)) = names.split_once('.') {
        names = format!("{names} {first}");
    }
    endpoint.addresses().map(|address| format!("{}\t{names}\n", address.ip)).collect()
}

/// Changes a file of a container that runs: in place, it has this very file mounted. Blocking.
pub(crate) fn change(path: &Path, change: impl FnOnce(&str) -> String) -> Result<(), Error> {
    let text = String::from_utf8_lossy(&file::read(path)?).into_owned();
    let changed = change(&text);
    if changed != text {
        let failed = |e| sys::Error::new("write", path.display().to_string(), e);
        let mut file = file::create(path, 0o644)?;
        std::io::Write::write_all(&mut file, changed.as_bytes()).map_err(failed)?;
    }
    Ok(())
}

impl Engine {
    /// A container that runs has come to a network or left it, where it has had `endpoint`: its files say so. A resolv.conf
    /// that is not as it was written `before` is the container's own, and stays. Blocking.
    pub(crate) fn follow_network(
        &self,
        container: &Container,
        before: &str,
        endpoint: &Endpoint,
    ) -> Result<(), Error> {
        let record = container.view().record.clone();
        let lines = own_lines(&record, &hostname(&record), endpoint);
        let is_there = record.networks.contains_key(&endpoint.network_name);
        change(&container.places.run.join("hosts"), |hosts| {
            let other = |line: &&str| !lines.lines().any(|own| own == *line);
            let rest: String = hosts.lines().filter(other).map(|line| format!("{line}\n")).collect();
            if is_there { rest + &lines } else { rest }
        })?;
        let new = self.resolv_conf(&record)?;
        change(
            &container.places.run.join("resolv.conf"),
            |text| if text == before { new } else { text.into() },
        )
    }

    /// The text of its resolv.conf on a network namespace of its own.
    pub(crate) fn resolv_conf(&self, record: &Record) -> Result<String, Error> {
        let requests = match record.network_mode() {
            NetworkMode::Networks => self.endpoint_requests(record)?,
            NetworkMode::Host | NetworkMode::None | NetworkMode::Container(_) => Vec::new(),
        };
        let settings = self.settings();
        let [servers, search, options] = settings.resolver(&record.host);
        Ok(self.inner.networks.resolv_conf(&requests, servers, search, options).text)
    }
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
