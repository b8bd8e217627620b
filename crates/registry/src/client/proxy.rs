//! Through an HTTP proxy: which connections go that way, and the tunnel (RFC 9110, CONNECT).

use std::net::IpAddr;

use base64::Engine as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::host;

/// The longest answer to a CONNECT that is read.
const HEAD: usize = 16 << 10;

/// Proxies, as `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` name them. Empty is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For connections without TLS.
    pub http: String,
    /// For connections with TLS.
    pub https: String,
    /// What is reached directly: names with all below them, addresses, CIDRs, with `:port` if only that; `*` is all.
    pub none: String,
}

/// A proxy to go through.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    authority: String,
    /// The value of `Proxy-Authorization`.
    pub(crate) authorization: Option<String>,
}

impl Proxies {
    /// The proxy on the way to an authority; `None` when it is reached directly.
    ///
    /// # Errors
    /// The proxy's address is of a kind that is not supported.
    pub(crate) fn on_the_way(&self, authority: &str, tls: bool) -> Result<Option<Proxy>, String> {
        let address = if tls { &self.https } else { &self.http };
        let (name, port) = host::split(authority, if tls { 443 } else { 80 });
        if address.is_empty() || self.is_direct(name, port) {
            return Ok(None);
        }
        Proxy::parse(address).map(Some)
    }

    /// A proxy's address without the password in it.
    pub fn shown(address: &str) -> String {
        match (address.find("://"), address.rfind('@')) {
            (Some(scheme), Some(at)) if scheme < at => {
                format!("{}://xxxxx:xxxxx{}", &address[..scheme], &address[at..])
            }
            _ => address.to_owned(),
        }
    }

    fn is_direct(&self, name: &str, port: u16) -> bool {
        let address: Option<IpAddr> = name.parse().ok();
        if name == "localhost" || address.is_some_and(|ip| ip.is_loopback()) {
            return true;
        }
        self.none.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
            if entry == "*" {
                return true;
            }
            if let Some(ip) = address
                && host::in_network(ip, entry) == Some(true)
            {
                return true;
            }
            let (entry, entry_port) = host::split(entry, 0);
            let (entry, only_below) = match entry.strip_prefix("*.").or_else(|| entry.strip_prefix('.')) {
                Some(rest) => (rest, true),
                None => (entry, false),
            };
            let below = name
                .len()
                .checked_sub(entry.len() + 1)
                .is_some_and(|at| name.as_bytes()[at] == b'.' && name[at + 1..].eq_ignore_ascii_case(entry));
            (entry_port == 0 || entry_port == port)
                && (below || (!only_below && name.eq_ignore_ascii_case(entry)))
        })
    }
}

impl Proxy {
    /// `[http://][user:password@]host[:port]`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some((scheme, _)) => {
                return Err(format!("proxies of kind {scheme}:// are not supported: use http://"));
            }
            None => text,
        };
        let rest = rest.split('/').next().unwrap_or_default();
        let (user, authority) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
        if authority.is_empty() {
            return Err("the proxy's address names no host".into());
        }
        let encode = |user: &str| {
            let user = percent_decoded(user);
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user))
        };
        Ok(Self { authority: authority.to_owned(), authorization: user.map(encode) })
    }

    /// A connection to the proxy.
    pub(crate) async fn connect(&self) -> Result<TcpStream, String> {
        let (name, port) = host::split(&self.authority, 80);
        TcpStream::connect((name, port)).await.map_err(|e| format!("proxy {}: {e}", self.authority))
    }

    /// A connection through the proxy, to speak TLS over.
    pub(crate) async fn tunnel(&self, name: &str, port: u16) -> Result<TcpStream, String> {
        let mut stream = self.connect().await?;
        let failed = |detail: String| format!("proxy {}: {detail}", self.authority);
        let target = if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") };
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(authorization) = &self.authorization {
            request += &format!("Proxy-Authorization: {authorization}\r\n");
        }
        request += "\r\n";
        stream.write_all(request.as_bytes()).await.map_err(|e| failed(e.to_string()))?;
        // Byte by byte: what follows the head belongs to TLS.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() == HEAD {
                return Err(failed("its answer has no end".into()));
            }
            head.push(stream.read_u8().await.map_err(|e| failed(e.to_string()))?);
        }
        let line = String::from_utf8_lossy(&head);
        let line = line.lines().next().unwrap_or_default();
        match line.split(' ').nth(1) {
            Some(status) if status.starts_with('2') => Ok(stream),
            _ => Err(failed(format!("it answered {line:?} to CONNECT {target}"))),
        }
    }
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|h| u8::from_str_radix(h, 16).ok()))
            .flatten();
        decoded.push(hex.unwrap_or(bytes[at]));
        at += if hex.is_some() { 3 } else { 1 };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_reached_directly() {
        let proxies = Proxies {
            http: "http://plain:3128".into(),
            https: "u:p%40@secure".into(),
            none: "example.com, .below.org,10.0.0.0/8,192.0.2.1,host:5000".into(),
        };
        let way = |authority: &str| proxies.on_the_way(authority, true).unwrap().map(|p| p.authority);
        for direct in [
            "localhost:5000",
            "127.0.0.1:5000",
            "[::1]:5000",
            "example.com",
            "a.EXAMPLE.com:8443",
            "a.below.org",
            "10.9.9.9:5000",
            "192.0.2.1",
            "host:5000",
        ] {
            assert_eq!(way(direct), None, "{direct}");
        }
        for proxied in
            ["notexample.com", "below.org", "11.0.0.1", "host", "host:5001", "registry-1.docker.io"]
        {
            assert_eq!(way(proxied).as_deref(), Some("secure"), "{proxied}");
        }
        assert_eq!(proxies.on_the_way("x:80", false).unwrap().unwrap().authority, "plain:3128");
        let all = Proxies { none: "*".into(), ..proxies };
        assert_eq!(all.on_the_way("x", true).unwrap(), None);
    }

    #[test]
    fn proxies_are_read() {
        let proxy = Proxy::parse("http://u:p%40@h:1/").unwrap();
        assert_eq!(
            (proxy.authority.as_str(), proxy.authorization.as_deref()),
            ("h:1", Some("Basic dTpwQA=="))
        );
        for bad in ["socks5://h", "https://h", "http://", "u@"] {
            assert!(Proxy::parse(bad).is_err(), "{bad}");
        }
    }
}
