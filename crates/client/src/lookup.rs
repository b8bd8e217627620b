//! Addresses of a host's name.
//!
//! The C library would load the machine's name services (nss(5)) into this process for that, and the command line that
//! ships has its C library in itself: the services expect another one, and some then crash. So getent(1) is asked, which
//! gives the same answer.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;

use tokio::process::Command;

const NO_SUCH_HOST: &str = "no such host";

/// The addresses that `address` (`host:port`, with an IPv6 address in brackets) means, those to try first in front.
///
/// # Errors
/// There is no such host, or nobody to ask.
pub(crate) async fn addresses(address: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(known) = address.parse() {
        return Ok(vec![known]);
    }
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, format!("{address} has no port"));
    let (name, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    let port: u16 = port.parse().map_err(|_| invalid())?;
    let failed = |kind, why: &str| io::Error::new(kind, format!("lookup {name}: {why}"));
    // Not every getent knows `--`, and no host's name begins so.
    if name.starts_with('-') {
        return Err(failed(io::ErrorKind::NotFound, NO_SUCH_HOST));
    }
    let asked = Command::new("getent").args(["ahosts", name]).stdin(Stdio::null()).output().await;
    let answer = asked.map_err(|error| failed(error.kind(), &format!("cannot run getent: {error}")))?;
    let found: Vec<SocketAddr> =
        listed(&String::from_utf8_lossy(&answer.stdout)).map(|ip| SocketAddr::new(ip, port)).collect();
    if found.is_empty() { Err(failed(io::ErrorKind::NotFound, NO_SUCH_HOST)) } else { Ok(found) }
}

/// getent's lines, one for each address and type of socket: `127.0.0.1  STREAM localhost`.
fn listed(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let ip = words.next()?.parse().ok()?;
        (words.next()? == "STREAM").then_some(ip)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn getents_lines_are_read() {
        let text = "::1             STREAM localhost\n::1             DGRAM  \n::1             RAW    \n\
                    127.0.0.1       STREAM \n127.0.0.1       DGRAM  \nfe80::1%eth0    STREAM \n";
        let found: Vec<String> = listed(text).map(|ip| ip.to_string()).collect();
        assert_eq!(found, ["::1", "127.0.0.1"]);
    }

    #[tokio::test]
    async fn names_and_addresses_are_found() {
        for (asked, one) in
            [("127.0.0.1:80", "127.0.0.1:80"), ("[::1]:80", "[::1]:80"), ("localhost:80", "127.0.0.1:80")]
        {
            let found = addresses(asked).await.unwrap();
            assert!(found.contains(&one.parse().unwrap()), "{asked}: {found:?}");
        }
        for name in ["-x", "x.invalid"] {
            let error = addresses(&format!("{name}:80")).await.unwrap_err();
            assert_eq!(error.to_string(), format!("lookup {name}: no such host"));
        }
    }
}
