//! Where the API is offered: `unix://`, `tcp://`, `fd://`.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use crate::tls;

/// One place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A unix socket.
    Unix(PathBuf),
    /// TCP, with TLS if there are certificates.
    Tcp(SocketAddr),
    /// Sockets that the service manager opened: all, the one of this number, or those of this name.
    Inherited(String),
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Inherited(which) => write!(f, "fd://{which}"),
        }
    }
}

impl Host {
    /// Reads one. A TCP port that is left out is 2376 with TLS, 2375 without; a name is looked up.
    ///
    /// # Errors
    /// How it should have been written.
    pub fn parse(text: &str, tls: bool) -> Result<Self, String> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("unix://") {
            if !Path::new(path).is_absolute() {
                return Err(format!("{text}: the socket's path must be absolute: unix:///{path}"));
            }
            return Ok(Self::Unix(path.into()));
        }
        if let Some(which) = text.strip_prefix("fd://") {
            return Ok(Self::Inherited(if which == "*" { String::new() } else { which.into() }));
        }
        let Some(address) = text.strip_prefix("tcp://") else {
            return Err(format!(
                "invalid bind address ({text}): use unix:///PATH, tcp://ADDRESS:PORT or fd://"
            ));
        };
        let default = if tls { 2376 } else { 2375 };
        let address = address.trim_end_matches('/');
        let (name, port) = match address.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (
                name,
                port.parse().map_err(|_| format!("invalid bind address ({text}): {port:?} is no port"))?,
            ),
            _ => (address, default),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let ip = match name {
            "" => return Ok(Self::Tcp(SocketAddr::from(([0, 0, 0, 0], port)))),
            "localhost" => IpAddr::from([127, 0, 0, 1]),
            name => match name.parse() {
                Ok(ip) => ip,
                Err(_) => (name, port)
                    .to_socket_addrs()
                    .ok()
                    .and_then(|mut all| all.next())
                    .ok_or_else(|| format!("invalid bind address ({text}): {name} has no address"))?
                    .ip(),
            },
        };
        Ok(Self::Tcp(SocketAddr::new(ip, port)))
    }
}

/// Whoever reaches the API is root on this host: a TCP address that others reach is served with their certificates
/// verified, or when the user has said in so many words that TLS is not wanted (`--tls=false`).
///
/// # Errors
/// What to do instead.
pub(crate) fn check(host: &Host, tls: Option<&tls::Files>, tls_wanted: Option<bool>) -> Result<(), String> {
    let Host::Tcp(address) = host else { return Ok(()) };
    let verified = tls.is_some_and(|files| files.verify);
    if verified || is_loopback(address.ip()) || (tls.is_none() && tls_wanted == Some(false)) {
        return Ok(());
    }
    Err(format!(
        "{host} would let anyone who can reach it become root on this host: use --tlsverify with certificates, or \
         ssh; --tls=false serves it all the same"
    ))
}

/// Whether only this host's users reach it.
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read() {
        for (text, tls, shown) in [
            ("unix:///run/x.sock", false, "unix:///run/x.sock"),
            ("tcp://localhost:1", false, "tcp://127.0.0.1:1"),
            ("tcp://[::1]:1", false, "tcp://[::1]:1"),
            ("tcp://127.0.0.1", false, "tcp://127.0.0.1:2375"),
            ("tcp://", true, "tcp://0.0.0.0:2376"),
            ("tcp://:5", true, "tcp://0.0.0.0:5"),
            ("fd://*", false, "fd://"),
            ("fd://corten.socket", false, "fd://corten.socket"),
        ] {
            assert_eq!(Host::parse(text, tls).unwrap().to_string(), shown, "{text}");
        }
        for bad in ["unix://x", "/run/x.sock", "tcp://127.0.0.1:x", "npipe://x"] {
            assert!(Host::parse(bad, false).is_err(), "{bad}");
        }
    }
}
