//! Where an engine is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::Error;

/// The address of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A unix socket: `unix:///run/corten/corten.sock`.
    Unix(PathBuf),
    /// TCP, plain or with TLS: `tcp://127.0.0.1:2375`.
    Tcp(String),
    /// A program on another machine that passes bytes on: `ssh://user@box`.
    Ssh(SshHost),
}

/// What `ssh://[user@]host[:port][/path of the socket there]` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshHost {
    /// Who logs in; ssh's own choice if nobody is named.
    pub user: Option<String>,
    /// The machine, or its name in ssh's configuration.
    pub host: String,
    /// The port; ssh's own choice if none is named.
    pub port: Option<u16>,
    /// The engine's socket on that machine; what its command line finds by itself if none is named.
    pub socket: Option<String>,
}

/// Docker's port for TCP.
const TCP_PORT: u16 = 2375;

impl FromStr for Host {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let unsupported = |reason| Error::UnsupportedHost { host: text.to_owned(), reason };
        match text.trim().split_once("://") {
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some(("tcp", address)) => with_port(address.trim_end_matches('/')).map(Self::Tcp),
            Some(("ssh", rest)) => ssh(rest).map(Self::Ssh),
            Some(("npipe", _)) => Err(unsupported("named pipes exist on Windows only")),
            Some(("fd", _)) => Err(unsupported("fd:// is an address to listen at")),
            Some(_) => Err(Error::InvalidHost(text.to_owned())),
            None if text.starts_with('/') => Ok(Self::Unix(text.into())),
            None if text.is_empty() => Err(Error::InvalidHost(text.to_owned())),
            None => with_port(text).map(Self::Tcp),
        }
    }
}

fn with_port(address: &str) -> Result<String, Error> {
    let address = if address.is_empty() { "localhost" } else { address };
    let after_v6 = address.rsplit_once(']').map_or(address, |(_, rest)| rest);
    match after_v6.rsplit_once(':') {
        None => Ok(format!("{address}:{TCP_PORT}")),
        Some((_, port)) if port.parse::<u16>().is_ok() => Ok(address.to_owned()),
        Some((_, port)) => {
            Err(Error::InvalidPort { host: format!("tcp://{address}"), port: port.to_owned() })
        }
    }
}

fn ssh(rest: &str) -> Result<SshHost, Error> {
    let invalid = Error::InvalidSsh;
    if let Some((_, query)) = rest.split_once('?') {
        return Err(invalid(format!("query parameters are not allowed: {query:?}")));
    }
    if rest.contains('#') {
        return Err(invalid("fragments are not allowed".into()));
    }
    let (authority, socket) = match rest.split_once('/') {
        Some((authority, path)) => (authority, Some(format!("/{path}")).filter(|path| path.len() > 1)),
        None => (rest, None),
    };
    let (user, place) = match authority.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, authority),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err(invalid("plain-text password is not supported".into()));
    }
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(invalid("hostname is empty".into()));
    }
    let port = port.map(|text| text.parse().map_err(|_| invalid(format!("invalid port {text:?}"))));
    Ok(SshHost {
        user: user.filter(|user| !user.is_empty()).map(str::to_owned),
        host: host.to_owned(),
        port: port.transpose()?,
        socket,
    })
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Ssh(ssh) => {
                f.write_str("ssh://")?;
                if let Some(user) = &ssh.user {
                    write!(f, "{user}@")?;
                }
                if ssh.host.contains(':') {
                    write!(f, "[{}]", ssh.host)?;
                } else {
                    f.write_str(&ssh.host)?;
                }
                if let Some(port) = ssh.port {
                    write!(f, ":{port}")?;
                }
                f.write_str(ssh.socket.as_deref().unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, host) in [
            ("unix:///run/x.sock", Host::Unix("/run/x.sock".into())),
            ("tcp://127.0.0.1:1", Host::Tcp("127.0.0.1:1".into())),
            ("tcp://box", Host::Tcp("box:2375".into())),
            ("tcp://[::1]", Host::Tcp("[::1]:2375".into())),
            ("tcp://", Host::Tcp("localhost:2375".into())),
            ("box:99", Host::Tcp("box:99".into())),
        ] {
            assert_eq!(text.parse::<Host>().unwrap(), host);
        }
        for bad in ["", "unix://", "foo://x", "http://x", "tcp://a:b", "fd://"] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_ssh_addresses() {
        for text in
            ["ssh://box", "ssh://me@box:22", "ssh://box/run/d.sock", "ssh://me@[fd00::1]:22", "ssh://[::1]"]
        {
            assert_eq!(text.parse::<Host>().unwrap().to_string(), text);
        }
        let full = "ssh://me@box:22/run/d.sock".parse::<Host>().unwrap();
        let expected = SshHost {
            user: Some("me".into()),
            host: "box".into(),
            port: Some(22),
            socket: Some("/run/d.sock".into()),
        };
        assert_eq!(full, Host::Ssh(expected));
        for bad in ["ssh://", "ssh://a:b@c", "ssh://c?x=1", "ssh://c:port", "ssh://c#f"] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
    }
}
