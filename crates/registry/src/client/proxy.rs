//! Through a proxy: which connections go that way, and the tunnel (CONNECT of RFC 9110, or SOCKS 5 of RFC 1928).

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tower_service::Service;

use super::message::text_of;
use super::{host, transport};

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
    kind: Kind,
    authority: String,
    /// User and password.
    user: Option<(String, String)>,
}

/// What a proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// SOCKS 5; it looks names up (Go's HTTP client takes `socks5` and `socks5h` for the same, and so does Docker).
    Socks,
}

/// A connection, whatever it goes through.
pub(crate) trait Line: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Line for S {}

/// How a proxy is trusted that is spoken to over TLS.
pub(crate) type Trusted<'t> = dyn Fn(&str) -> Result<Arc<rustls::ClientConfig>, String> + Send + Sync + 't;

impl Proxies {
    /// Those of the environment; a lower-case name stands in for an upper-case one that is not there.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let value =
            |name: &str| variable(name).or_else(|| variable(&name.to_ascii_lowercase())).unwrap_or_default();
        Self { http: value("HTTP_PROXY"), https: value("HTTPS_PROXY"), none: value("NO_PROXY") }
    }

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
    /// `[http://|https://|socks5://|socks5h://][user:password@]host[:port]`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (kind, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Kind::Http, rest),
            Some(("https", rest)) => (Kind::Https, rest),
            Some(("socks5" | "socks5h", rest)) => (Kind::Socks, rest),
            Some((scheme, _)) => {
                return Err(format!(
                    "proxies of kind {scheme}:// are not supported: use http://, https:// or socks5://"
                ));
            }
            None => (Kind::Http, text),
        };
        let rest = rest.split('/').next().unwrap_or_default();
        let (user, authority) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
        if authority.is_empty() {
            return Err("the proxy's address names no host".into());
        }
        let decoded = |text: &str| String::from_utf8_lossy(&percent_decoded(text)).into_owned();
        let user = user.map(|user| {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            (decoded(user), decoded(password))
        });
        Ok(Self { kind, authority: authority.to_owned(), user })
    }

    /// Whether requests without TLS are told to the proxy, with the whole address, instead of going through a tunnel.
    pub(crate) fn takes_requests(&self) -> bool {
        self.kind != Kind::Socks
    }

    /// The value of `Proxy-Authorization`.
    pub(crate) fn authorization(&self) -> Option<String> {
        let (user, password) = self.user.as_ref()?;
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Some(format!("Basic {encoded}"))
    }

    /// A connection on which a host is reached: the proxy's own when it takes requests and there is no TLS, else a tunnel.
    pub(crate) async fn open(
        &self,
        (name, port): (&str, u16),
        tls: bool,
        trusted: &Trusted<'_>,
    ) -> Result<Box<dyn Line>, String> {
        let opened = match self.kind {
            Kind::Socks => self.socks(name, port).await,
            Kind::Http | Kind::Https => {
                let stream = self.connect(trusted).await;
                match stream {
                    Ok(stream) if tls => self.tunnel(stream, name, port).await,
                    other => other,
                }
            }
        };
        opened.map_err(|detail| format!("proxy {}: {detail}", self.authority))
    }

    /// A connection to the proxy.
    async fn connect(&self, trusted: &Trusted<'_>) -> Result<Box<dyn Line>, String> {
        let (name, port) = self.address();
        let tcp = transport::tcp(name, port).await?;
        if self.kind == Kind::Http {
            return Ok(Box::new(tcp));
        }
        Ok(Box::new(transport::secure(tcp, name, trusted(&self.authority)?).await?))
    }

    /// Host and port; the port that Go's HTTP client takes when none is named.
    fn address(&self) -> (&str, u16) {
        let port = match self.kind {
            Kind::Http => 80,
            Kind::Https => 443,
            Kind::Socks => 1080,
        };
        host::split(&self.authority, port)
    }

    /// A connection through the proxy, to speak TLS over.
    async fn tunnel(
        &self,
        mut stream: Box<dyn Line>,
        name: &str,
        port: u16,
    ) -> Result<Box<dyn Line>, String> {
        let target = host::join(name, port);
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(authorization) = self.authorization() {
            request += &format!("Proxy-Authorization: {authorization}\r\n");
        }
        request += "\r\n";
        stream.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
        // Byte by byte: what follows the head belongs to TLS.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() == HEAD {
                return Err("its answer has no end".into());
            }
            head.push(stream.read_u8().await.map_err(|e| e.to_string())?);
        }
        let line = String::from_utf8_lossy(&head);
        let line = line.lines().next().unwrap_or_default();
        match line.split(' ').nth(1) {
            Some(status) if status.starts_with('2') => Ok(stream),
            _ => Err(format!("it answered {line:?} to CONNECT {target}")),
        }
    }

    /// The same through a SOCKS proxy.
    async fn socks(&self, name: &str, port: u16) -> Result<Box<dyn Line>, String> {
        let (proxy, proxy_port) = self.address();
        let tcp = transport::tcp(proxy, proxy_port).await?;
        let uri = |text: &str| text.parse::<http::Uri>().map_err(|e| format!("{text}: {e}"));
        let mut socks = SocksV5::new(uri(&self.authority)?, Opened(Some(TokioIo::new(tcp))));
        if let Some((user, password)) = self.user.clone() {
            socks = socks.with_auth(user, password);
        }
        let opened = socks.call(uri(&host::join(name, port))?).await.map_err(|e| text_of(&e))?;
        Ok(Box::new(opened.into_inner()))
    }
}

/// The connection that the SOCKS handshake goes over, as a connector that has connected.
struct Opened(Option<TokioIo<TcpStream>>);

impl Service<http::Uri> for Opened {
    type Response = TokioIo<TcpStream>;
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        std::future::ready(self.0.take().ok_or_else(|| std::io::ErrorKind::NotConnected.into()))
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
            (proxy.authority.as_str(), proxy.authorization().as_deref()),
            ("h:1", Some("Basic dTpwQA=="))
        );
        for (text, address) in [
            ("h", ("h", 80)),
            ("https://h", ("h", 443)),
            ("socks5://u@h", ("h", 1080)),
            ("socks5h://[::1]:9", ("::1", 9)),
        ] {
            assert_eq!(Proxy::parse(text).unwrap().address(), address, "{text}");
        }
        for bad in ["socks4://h", "ftp://h", "http://", "u@"] {
            assert!(Proxy::parse(bad).is_err(), "{bad}");
        }
    }
}
