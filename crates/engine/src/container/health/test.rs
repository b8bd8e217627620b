//! The `Test` of a health check, read. Pure.
//!
//! `["NONE"]`, `["CMD", program, …]` and `["CMD-SHELL", line]` are Docker's. Corten adds two kinds that need no program
//! in the image: `["HTTP", url, option…]` and `["TCP", "host:port"]`. The original command line can only write
//! CMD-SHELL, so a line that is nothing but `http://…` or `tcp://…` means these: no shell could run it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};

use crate::Error;

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Test {
    /// Runs a program in the container.
    Exec(Vec<String>),
    /// Asks a web server in the container.
    Http(Http),
    /// Connects to a port in the container.
    Tcp(Target),
}

/// An HTTP request, and the answers that mean health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Http {
    pub(crate) target: Target,
    pub(crate) uri: Uri,
    pub(crate) method: Method,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// From and to, both included.
    pub(crate) healthy: (u16, u16),
}

/// Where to connect, inside the container's network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Tried in this order.
    pub(crate) addresses: Vec<SocketAddr>,
}

fn invalid(text: impl Into<String>) -> Error {
    Error::Invalid(text.into())
}

impl Test {
    /// Reads the words of a test. `Ok(None)`: no check (`NONE`, nothing, or a kind that Docker too would ignore).
    pub(crate) fn read(words: &[String], shell: &[String]) -> Result<Option<Self>, Error> {
        let Some((kind, rest)) = words.split_first() else { return Ok(None) };
        match (kind.as_str(), rest) {
            ("CMD", [_, ..]) => Ok(Some(Self::Exec(rest.to_vec()))),
            ("CMD-SHELL", [line]) if is_url(line, "http://") => http(line, &[]).map(Some),
            ("CMD-SHELL", [line]) if is_url(line, "tcp://") => tcp(&line["tcp://".len()..]).map(Some),
            ("CMD-SHELL", [_, ..]) => {
                let shell = if shell.is_empty() { &["/bin/sh".to_owned(), "-c".to_owned()] } else { shell };
                Ok(Some(Self::Exec(shell.iter().chain(rest).cloned().collect())))
            }
            ("HTTP", [url, options @ ..]) => http(url, options).map(Some),
            ("TCP", [address]) => tcp(address.strip_prefix("tcp://").unwrap_or(address)).map(Some),
            ("HTTP" | "TCP", _) => Err(invalid(format!(
                "invalid Healthcheck: expected [\"HTTP\", url, option…] or [\"TCP\", \"host:port\"], got {words:?}"
            ))),
            _ => Ok(None),
        }
    }

    /// Whether [`Test::read`] has a meaning for these words; `false` is worth a warning.
    pub(crate) fn is_known(words: &[String]) -> bool {
        words
            .first()
            .is_none_or(|kind| matches!(kind.as_str(), "NONE" | "CMD" | "CMD-SHELL" | "HTTP" | "TCP"))
    }
}

fn is_url(line: &str, scheme: &str) -> bool {
    line.starts_with(scheme) && !line.contains(|c: char| c.is_whitespace() || "|&;<>()$`\\\"'".contains(c))
}

fn tcp(address: &str) -> Result<Test, Error> {
    let (host, port) = address
        .trim_end_matches('/')
        .rsplit_once(':')
        .ok_or_else(|| invalid(format!("invalid Healthcheck: {address:?} has no port")))?;
    let port = port
        .parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| invalid(format!("invalid Healthcheck: invalid port in {address:?}")))?;
    Ok(Test::Tcp(target(host, port)?))
}

fn http(url: &str, options: &[String]) -> Result<Test, Error> {
    let bad = |why: &str| invalid(format!("invalid Healthcheck: {url:?}: {why}"));
    let uri: Uri = url.parse().map_err(|_| bad("it is not a URL"))?;
    match uri.scheme_str() {
        Some("http") => {}
        _ => return Err(bad("only http:// is supported; use a TCP probe or a CMD test otherwise")),
    }
    let host = uri.host().filter(|h| !h.is_empty()).ok_or_else(|| bad("it has no host"))?;
    let mut probe = Http {
        target: target(host, uri.port_u16().unwrap_or(80))?,
        method: Method::GET,
        headers: Vec::new(),
        healthy: (200, 399),
        uri: uri.clone(),
    };
    for option in options {
        let bad = || invalid(format!("invalid Healthcheck: invalid option {option:?}"));
        let (name, value) = option.split_once('=').ok_or_else(bad)?;
        match name {
            "--method" => probe.method = Method::from_bytes(value.as_bytes()).map_err(|_| bad())?,
            "--status" => {
                let (from, to) = value.split_once('-').unwrap_or((value, value));
                let code = |text: &str| {
                    let number: u16 = text.parse().map_err(|_| bad())?;
                    StatusCode::from_u16(number).map(|_| number).map_err(|_| bad())
                };
                probe.healthy = (code(from)?, code(to)?);
            }
            "--header" => {
                let (name, value) = value.split_once(':').ok_or_else(bad)?;
                let name = name.trim().parse().map_err(|_| bad())?;
                probe.headers.push((name, value.trim().parse().map_err(|_| bad())?));
            }
            _ => return Err(bad()),
        }
    }
    Ok(Test::Http(probe))
}

/// The container's own addresses: `localhost`, or one written out. A name would have to be looked up with the
/// container's own resolver, which a probe from outside cannot use.
fn target(host: &str, port: u16) -> Result<Target, Error> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<IpAddr> = if bare.eq_ignore_ascii_case("localhost") {
        vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
    } else {
        let ip = bare.parse().map_err(|_| {
            invalid(format!(
                "invalid Healthcheck: host {host:?}: a probe can only reach localhost or an IP address"
            ))
        })?;
        vec![ip]
    };
    Ok(Target { addresses: addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Option<Test>, Error> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        Test::read(&words, &[])
    }

    fn exec(words: &[&str]) -> Option<Test> {
        Some(Test::Exec(words.iter().map(|w| (*w).to_owned()).collect()))
    }

    #[test]
    fn dockers_forms_are_read() {
        assert_eq!(read(&["CMD", "a", "b"]).unwrap(), exec(&["a", "b"]));
        assert_eq!(read(&["CMD-SHELL", "a b"]).unwrap(), exec(&["/bin/sh", "-c", "a b"]));
        for none in [&[][..], &["NONE"], &["CMD"], &["FOO", "x"]] {
            assert_eq!(read(none).unwrap(), None, "{none:?}");
        }
        let shell = ["/bin/bash".to_owned(), "-ec".to_owned()];
        let line = ["CMD-SHELL".to_owned(), "x".to_owned()];
        assert_eq!(Test::read(&line, &shell).unwrap(), exec(&["/bin/bash", "-ec", "x"]));
        assert!(!Test::is_known(&["FOO".to_owned()]) && Test::is_known(&[]));
    }

    #[test]
    fn probes_from_outside_are_read_in_both_forms() {
        let Some(Test::Http(http)) = read(&["HTTP", "http://localhost:8080/health?x=1"]).unwrap() else {
            panic!("not HTTP")
        };
        assert_eq!(http.target.addresses[0], "127.0.0.1:8080".parse().unwrap());
        assert_eq!((http.uri.path(), http.method, http.healthy), ("/health", Method::GET, (200, 399)));
        assert_eq!(
            read(&["CMD-SHELL", "http://localhost/"]).unwrap(),
            read(&["HTTP", "http://localhost/"]).unwrap()
        );
        assert_eq!(read(&["CMD-SHELL", "tcp://[::1]:5432"]).unwrap(), read(&["TCP", "[::1]:5432"]).unwrap());
        assert!(matches!(read(&["CMD-SHELL", "http://x || exit 1"]), Ok(Some(Test::Exec(_)))));
        let options = ["HTTP", "http://10.0.0.1", "--method=HEAD", "--status=204", "--header=X-A: b"];
        let Some(Test::Http(http)) = read(&options).unwrap() else { panic!("not HTTP") };
        assert_eq!((http.method, http.healthy, http.headers.len()), (Method::HEAD, (204, 204), 1));
    }

    #[test]
    fn what_cannot_be_probed_is_refused() {
        for bad in [
            &["HTTP"][..],
            &["HTTP", "https://localhost/"],
            &["HTTP", "http://example.org/"],
            &["HTTP", "/health"],
            &["HTTP", "http://localhost/", "--colour=red"],
            &["HTTP", "http://localhost/", "--status=99999"],
            &["TCP", "localhost"],
            &["TCP", "localhost:0"],
            &["TCP", "db:5432"],
            &["TCP", "localhost:1", "x"],
        ] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.starts_with("invalid Healthcheck"), "{error}");
        }
    }
}
