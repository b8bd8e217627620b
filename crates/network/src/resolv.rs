//! resolv.conf (resolv.conf(5)): the host's, read; a container's, written.

use std::net::IpAddr;
use std::path::Path;

use crate::namespace::NAME_SERVER;
use crate::{EndpointRequest, Network, Networks};

const HOST: &str = "/etc/resolv.conf";
/// Where systemd-resolved tells the servers behind its own, which is on loopback.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
/// What Docker falls back on, and where there is IPv6 as well.
const PUBLIC: [&str; 2] = ["8.8.8.8", "8.8.4.4"];
const PUBLIC_V6: [&str; 2] = ["2001:4860:4860::8888", "2001:4860:4860::8844"];

/// Lines for a container's resolv.conf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvConf {
    /// The file's text.
    pub text: String,
}

/// What a resolv.conf says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) servers: Vec<IpAddr>,
    search: Vec<String>,
    options: Vec<String>,
}

/// Reads the lines this room knows; others are passed over. The last `search` or `domain` counts.
fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            // A zone after the address (fe80::1%eth0) names an interface that others do not have.
            Some("nameserver") => parsed.servers.extend(words.next().and_then(|w| w.parse::<IpAddr>().ok())),
            Some("search" | "domain") => parsed.search = words.map(str::to_owned).collect(),
            Some("options") => parsed.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    parsed
}

/// The host's, as it is now. An unreadable file is an empty one.
pub(crate) fn host() -> Parsed {
    read(HOST)
}

fn read(path: &str) -> Parsed {
    let bytes = sys::file::read_if_exists(Path::new(path)).ok().flatten().unwrap_or_default();
    parse(&String::from_utf8_lossy(&bytes))
}

/// The host's, for those who cannot reach its loopback.
fn host_for_others() -> Parsed {
    let mut host = host();
    if !host.servers.is_empty() && host.servers.iter().all(IpAddr::is_loopback) {
        host.servers = read(RESOLVED).servers;
    }
    host.servers.retain(|server| !server.is_loopback());
    host
}

impl Networks {
    /// The text of resolv.conf for a container on these networks: the embedded name server (127.0.0.11) on networks
    /// with names, otherwise the host's servers without loopback ones. `dns`, `search`, `options` are the user's.
    ///
    /// On networks with names, `dns` must be told to [`set_name_servers`](Self::set_name_servers) as well.
    pub fn resolv_conf(
        &self,
        endpoints: &[EndpointRequest],
        dns: &[String],
        search: &[String],
        options: &[String],
    ) -> ResolvConf {
        let any = |has: fn(&Network) -> bool| {
            let state = self.core.state();
            endpoints.iter().any(|e| state.find(&e.network).is_ok_and(|entry| has(&entry.network)))
        };
        let mut host = host_for_others();
        let v6 = any(|network| network.v6);
        // Of no use to who has no way there.
        host.servers.retain(|server| server.is_ipv4() || v6);
        if host.servers.is_empty() {
            let public = PUBLIC.iter().chain(PUBLIC_V6.iter().filter(|_| v6));
            host.servers = public.filter_map(|server| server.parse().ok()).collect();
        }
        ResolvConf { text: write(host, any(|network| network.names), dns, search, options) }
    }
}

fn write(host: Parsed, with_names: bool, dns: &[String], search: &[String], options: &[String]) -> String {
    let servers: Vec<String> = if with_names {
        vec![NAME_SERVER.to_string()]
    } else if !dns.is_empty() {
        dns.to_vec()
    } else {
        host.servers.iter().map(IpAddr::to_string).collect()
    };
    let mut search = if search.is_empty() { host.search } else { search.to_vec() };
    // `--dns-search .` is how one asks for none.
    search.retain(|domain| domain != ".");
    let mut options = if options.is_empty() { host.options } else { options.to_vec() };
    if with_names && !options.iter().any(|option| option.starts_with("ndots:")) {
        options.push("ndots:0".to_owned());
    }
    let mut text = String::from("# Made by Corten for this container.\n");
    for server in servers {
        text += &format!("nameserver {server}\n");
    }
    for (word, values) in [("search", search), ("options", options)] {
        if !values.is_empty() {
            text += &format!("{word} {}\n", values.join(" "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn the_host_s_file_is_read_leniently() {
        let host = parse(
            "# x\nnameserver 127.0.0.53\nnameserver  10.0.0.1\nnameserver fe80::1%eth0\nnameserver\n\
             domain a\nsearch b c\noptions edns0 timeout:1\nbogus\n",
        );
        assert_eq!(host.servers, ["127.0.0.53".parse::<IpAddr>().unwrap(), "10.0.0.1".parse().unwrap()]);
        assert_eq!(host.search, ["b", "c"]);
        assert_eq!(host.options, ["edns0", "timeout:1"]);
    }

    #[test]
    fn containers_get_what_docker_gives_them() {
        let host = parse("nameserver 10.0.0.1\nsearch b\noptions timeout:1\n");
        let body = |text: String| text.split_once('\n').unwrap().1.to_owned();
        assert_eq!(
            body(write(host.clone(), true, &[], &[], &[])),
            "nameserver 127.0.0.11\nsearch b\noptions timeout:1 ndots:0\n"
        );
        assert_eq!(
            body(write(
                host.clone(),
                false,
                &strings(&["1.1.1.1"]),
                &strings(&["."]),
                &strings(&["ndots:2"])
            )),
            "nameserver 1.1.1.1\noptions ndots:2\n"
        );
        assert!(write(host, true, &[], &[], &strings(&["ndots:5"])).ends_with("options ndots:5\n"));
    }
}
