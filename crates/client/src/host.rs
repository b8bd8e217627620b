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
    /// Plain TCP: `tcp://127.0.0.1:2375`.
    Tcp(String),
}

/// Docker's port for TCP without TLS.
const TCP_PORT: u16 = 2375;

impl FromStr for Host {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let unsupported = |reason| Error::UnsupportedHost { host: text.to_owned(), reason };
        match text.trim().split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("tcp" | "http", address)) if !address.is_empty() => {
                Ok(Self::Tcp(with_port(address.trim_end_matches('/'))))
            }
            Some(("https", _)) => Err(unsupported("TLS is not supported yet")),
            Some(("ssh", _)) => Err(unsupported("ssh is not supported yet")),
            Some(("npipe", _)) => Err(unsupported("named pipes exist on Windows only")),
            Some(_) => Err(Error::InvalidHost(text.to_owned())),
            None if text.starts_with('/') => Ok(Self::Unix(text.into())),
            None if text.is_empty() => Err(Error::InvalidHost(text.to_owned())),
            None => Ok(Self::Tcp(with_port(text))),
        }
    }
}

fn with_port(address: &str) -> String {
    let after_v6 = address.rsplit_once(']').map_or(address, |(_, rest)| rest);
    if after_v6.contains(':') { address.to_owned() } else { format!("{address}:{TCP_PORT}") }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
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
            ("box:99", Host::Tcp("box:99".into())),
        ] {
            assert_eq!(text.parse::<Host>().unwrap(), host);
        }
        for bad in ["", "unix://relative", "foo://x"] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
    }
}
