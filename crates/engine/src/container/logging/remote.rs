//! The drivers that send: what the user says, and what the shim is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use shim::proto::{Address, Form, Remote, SyslogFormat};

use super::attributes::Attributes;
use super::options::{self, Options};
use crate::container::record::Record;
use crate::{Error, error};

/// What waits for a server at most: Docker's ring buffer and fluentd's limit.
const BUFFER: u64 = 1 << 20;

/// Where journald listens.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Where this host's syslog listens: the first that is there.
const SYSLOG: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// `mode` and `max-buffer-size`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode {
    drop: bool,
    buffer: u64,
}

impl Mode {
    pub(super) fn read(options: &mut Options<'_>) -> Result<Self, Error> {
        let drop = match options.take("mode") {
            None | Some("blocking") => false,
            Some("non-blocking") => true,
            Some(other) => {
                return Err(Error::Invalid(format!("logger: logging mode not supported: {other}")));
            }
        };
        let buffer = match options.take("max-buffer-size") {
            None => BUFFER,
            Some(_) if !drop => {
                return Err(Error::Invalid(
                    "logger: max-buffer-size option is only supported with 'mode=non-blocking'".into(),
                ));
            }
            Some(text) => options::size(text, options::BINARY).map_err(|e| {
                Error::Invalid(format!("error parsing option max-buffer-size: {}", e.message()))
            })?,
        };
        Ok(Self { drop, buffer })
    }
}

/// A driver's options, read.
#[derive(Debug)]
pub(super) struct Wanted {
    mode: Mode,
    target: Target,
    driver: Driver,
    later: bool,
    retry_wait: u64,
    max_retries: u64,
    buffer: Option<u64>,
}

#[derive(Debug)]
enum Driver {
    Journald,
    Syslog { facility: u8, format: SyslogFormat },
    Fluentd { sub_second: bool, acknowledged: bool },
    Gelf,
}

/// A server as the user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Paths(Vec<Address>),
    /// Host and port, to be looked up at each start.
    Tcp(String),
    Udp(String),
}

impl Wanted {
    pub(super) fn read(driver: &str, mode: Mode, options: &mut Options<'_>) -> Result<Self, Error> {
        let wanted = |target, driver| Self {
            mode,
            target,
            driver,
            later: false,
            retry_wait: 1000,
            max_retries: u64::MAX,
            buffer: None,
        };
        match driver {
            "journald" => {
                let journal = Address::Unixgram(JOURNAL.into());
                Ok(wanted(Target::Paths(vec![journal]), Driver::Journald))
            }
            "syslog" => {
                let target = syslog_target(options.take("syslog-address"))?;
                for key in ["ca-cert", "cert", "key", "skip-verify"] {
                    // They are for tcp+tls, which is refused above.
                    options.take(&format!("syslog-tls-{key}"));
                }
                let facility = facility(options.take("syslog-facility"))?;
                let format = match options.take("syslog-format") {
                    None => SyslogFormat::Local,
                    Some("rfc3164") => SyslogFormat::Rfc3164,
                    Some("rfc5424") => SyslogFormat::Rfc5424,
                    Some("rfc5424micro") => SyslogFormat::Rfc5424Micro,
                    Some(_) => return Err(Error::Invalid("Invalid syslog format".into())),
                };
                Ok(wanted(target, Driver::Syslog { facility, format }))
            }
            "fluentd" => {
                let target = fluentd_target(options.take("fluentd-address"))?;
                let sub_second = options.switch("fluentd-sub-second-precision")?.unwrap_or(false);
                let later = options.switch("fluentd-async")?;
                let connect_later = options.switch("fluentd-async-connect")?;
                let acknowledged = options.switch("fluentd-request-ack")?.unwrap_or(false);
                let retry_wait = options.duration("fluentd-retry-wait")?;
                let max_retries = options.number("fluentd-max-retries")?;
                // Writes never wait here, and a server that was away is tried again by itself.
                options.duration("fluentd-write-timeout")?;
                options.duration("fluentd-async-reconnect-interval")?;
                let buffer = options.take("fluentd-buffer-limit");
                let mut wanted = wanted(target, Driver::Fluentd { sub_second, acknowledged });
                wanted.later = later.or(connect_later).unwrap_or(false);
                if let Some(wait) = retry_wait {
                    wanted.retry_wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                }
                if let Some(count) = max_retries {
                    wanted.max_retries = u64::try_from(count).map_err(|_| {
                        Error::Invalid(format!("strconv.ParseUint: parsing \"{count}\": invalid syntax"))
                    })?;
                }
                wanted.buffer = buffer.map(|text| options::size(text, options::BINARY)).transpose()?;
                Ok(wanted)
            }
            "gelf" => {
                let address = options
                    .take("gelf-address")
                    .ok_or_else(|| Error::Invalid("gelf-address is a required parameter".into()))?;
                let target = gelf_target(address)?;
                match options.take("gelf-compression-type") {
                    None | Some("gzip" | "zlib" | "none") => {}
                    Some(_) => {
                        return Err(Error::Invalid(
                            "gelf: 'gelf-compression-type' must be one of none, gzip or zlib".into(),
                        ));
                    }
                }
                // Entries go uncompressed, which every server takes.
                options.number("gelf-compression-level")?;
                let max_retries = options.number("gelf-tcp-max-reconnect")?;
                let retry_wait = options.number("gelf-tcp-reconnect-delay")?;
                let mut wanted = wanted(target, Driver::Gelf);
                if let Some(count) = max_retries {
                    wanted.max_retries = u64::try_from(count).map_err(|_| {
                        Error::Invalid("gelf-tcp-max-reconnect must be a positive integer".into())
                    })?;
                }
                if let Some(seconds) = retry_wait {
                    wanted.retry_wait = u64::try_from(seconds)
                        .map_err(|_| {
                            Error::Invalid("gelf-tcp-reconnect-delay must be a positive integer".into())
                        })?
                        .saturating_mul(1000);
                }
                Ok(wanted)
            }
            other => Err(Error::Invalid(format!("logger: no log driver named '{other}' is registered"))),
        }
    }

    /// What the shim is told. `attrs` are the labels, variables and the tag.
    pub(super) async fn settings(
        self,
        record: &Record,
        attributes: &Attributes,
        attrs: &BTreeMap<String, String>,
    ) -> Result<Remote, Error> {
        let tag = attributes.tag(record);
        let extra = attrs.iter().filter(|(key, _)| *key != "tag");
        let host = crate::system::hostname();
        let form = match self.driver {
            Driver::Journald => Form::Journald { fields: journal_fields(record, &tag, extra) },
            Driver::Syslog { facility, format } => Form::Syslog {
                facility,
                tag,
                hostname: host,
                pid: std::process::id(),
                format,
                utc_offset: jiff::tz::TimeZone::system().to_offset(jiff::Timestamp::now()).seconds(),
            },
            Driver::Fluentd { sub_second, acknowledged } => {
                let mut fields: BTreeMap<String, String> =
                    extra.map(|(k, v)| (k.clone(), v.clone())).collect();
                fields.insert("container_id".into(), record.id.to_string());
                fields.insert("container_name".into(), format!("/{}", record.name));
                Form::Fluentd { tag, fields, sub_second, acknowledged }
            }
            Driver::Gelf => {
                let mut fields: BTreeMap<String, String> =
                    extra.map(|(k, v)| (format!("_{k}"), v.clone())).collect();
                for (key, value) in [
                    ("_container_id", record.id.to_string()),
                    ("_container_name", record.name.clone()),
                    ("_image_id", record.image.to_string()),
                    ("_image_name", record.config.image.clone()),
                    ("_command", record.command().join(" ")),
                    ("_tag", tag),
                    ("_created", crate::time::rfc3339(record.created_at)),
                ] {
                    fields.insert(key.into(), value);
                }
                Form::Gelf { host, fields }
            }
        };
        let addresses = match self.target {
            Target::Paths(paths) => paths,
            Target::Tcp(host) => look_up("tcp", &host).await?.into_iter().map(Address::Tcp).collect(),
            Target::Udp(host) => look_up("udp", &host).await?.into_iter().map(Address::Udp).collect(),
        };
        Ok(Remote {
            addresses,
            form,
            later: self.later,
            retry_wait: self.retry_wait,
            max_retries: self.max_retries,
            buffer: self.buffer.unwrap_or(self.mode.buffer),
            drop: self.mode.drop || self.later,
        })
    }
}

async fn look_up(network: &str, host: &str) -> Result<Vec<SocketAddr>, Error> {
    let unknown = || error::no_log_server(&format!("dial {network}: lookup {host}: no such host"));
    let found: Vec<SocketAddr> = tokio::net::lookup_host(host).await.map_err(|_| unknown())?.collect();
    if found.is_empty() { Err(unknown()) } else { Ok(found) }
}

fn journal_fields<'a>(
    record: &Record,
    tag: &str,
    extra: impl Iterator<Item = (&'a String, &'a String)>,
) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = extra.map(|(k, v)| (journal_key(k), v.clone())).collect();
    fields.remove("");
    for (key, value) in [
        ("CONTAINER_ID", record.id.short()),
        ("CONTAINER_ID_FULL", record.id.as_str()),
        ("CONTAINER_NAME", &record.name),
        ("CONTAINER_TAG", tag),
        ("IMAGE_NAME", &record.config.image),
        ("SYSLOG_IDENTIFIER", tag),
    ] {
        fields.insert(key.into(), value.to_owned());
    }
    fields
}

/// Keys of the journal are capitals, digits and underscores, and do not begin with one.
fn journal_key(key: &str) -> String {
    let upper = key.to_ascii_uppercase();
    let allowed = upper.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    allowed.skip_while(|c| *c == '_').collect()
}

fn facility(text: Option<&str>) -> Result<u8, Error> {
    const NAMES: [(&str, u8); 20] = [
        ("kern", 0),
        ("user", 1),
        ("mail", 2),
        ("daemon", 3),
        ("auth", 4),
        ("syslog", 5),
        ("lpr", 6),
        ("news", 7),
        ("uucp", 8),
        ("cron", 9),
        ("authpriv", 10),
        ("ftp", 11),
        ("local0", 16),
        ("local1", 17),
        ("local2", 18),
        ("local3", 19),
        ("local4", 20),
        ("local5", 21),
        ("local6", 22),
        ("local7", 23),
    ];
    let text = text.unwrap_or("daemon");
    let named = NAMES.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    named
        .or_else(|| text.parse().ok().filter(|n| *n <= 23))
        .ok_or_else(|| Error::Invalid("invalid syslog facility".into()))
}

fn syslog_target(address: Option<&str>) -> Result<Target, Error> {
    let Some(address) = address else {
        let kinds = |path: &&str| [Address::Unixgram(path.into()), Address::Unix(path.into())];
        return Ok(Target::Paths(SYSLOG.iter().flat_map(kinds).collect()));
    };
    let bad = || Error::Invalid(format!("syslog-address should be in form proto://address, got {address}"));
    let (scheme, rest) = address.split_once("://").ok_or_else(bad)?;
    match scheme {
        "unix" => Ok(Target::Paths(vec![Address::Unix(rest.into())])),
        "unixgram" => Ok(Target::Paths(vec![Address::Unixgram(rest.into())])),
        "tcp" => Ok(Target::Tcp(with_port(rest, 514)?)),
        "udp" => Ok(Target::Udp(with_port(rest, 514)?)),
        "tcp+tls" => Err(Error::NotImplemented(
            "syslog over TLS (tcp+tls://) is not supported yet: use tcp:// through a local relay".into(),
        )),
        _ => Err(bad()),
    }
}

fn fluentd_target(address: Option<&str>) -> Result<Target, Error> {
    let address = address.unwrap_or("127.0.0.1:24224");
    let invalid = || Error::Invalid(format!("invalid fluentd-address {address}"));
    match address.split_once("://") {
        None | Some(("tcp", _)) => {
            let rest = address.strip_prefix("tcp://").unwrap_or(address);
            with_port(rest, 24224).map(Target::Tcp).map_err(|_| invalid())
        }
        Some(("unix", path)) if path.starts_with('/') => Ok(Target::Paths(vec![Address::Unix(path.into())])),
        Some(("tls", _)) => {
            Err(Error::NotImplemented("fluentd over TLS (tls://) is not supported yet: use tcp://".into()))
        }
        Some(_) => Err(invalid()),
    }
}

fn gelf_target(address: &str) -> Result<Target, Error> {
    let bad = || Error::Invalid(format!("gelf-address should be in form proto://address, got {address}"));
    let (scheme, rest) = address.split_once("://").ok_or_else(bad)?;
    if !rest.contains(':') {
        return Err(Error::Invalid("gelf: please provide gelf-address as proto://host:port".into()));
    }
    match scheme {
        "tcp" => Ok(Target::Tcp(with_port(rest, 12201)?)),
        "udp" => Ok(Target::Udp(with_port(rest, 12201)?)),
        _ => Err(Error::Invalid("gelf: endpoint needs to be TCP or UDP".into())),
    }
}

/// `host:port`; the port may be left out, brackets are for IPv6.
fn with_port(host: &str, default: u16) -> Result<String, Error> {
    let host = host.trim_end_matches('/');
    let invalid = || Error::Invalid(format!("address {host:?}: a host and a port are needed"));
    let after_brackets = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    match after_brackets.rsplit_once(':') {
        Some((_, port)) => {
            port.parse::<u16>().map_err(|_| invalid())?;
            Ok(host.to_owned())
        }
        None if host.is_empty() => Err(invalid()),
        None => Ok(format!("{host}:{default}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        assert_eq!(syslog_target(Some("tcp://h")).unwrap(), Target::Tcp("h:514".into()));
        assert_eq!(syslog_target(Some("udp://[::1]:1514")).unwrap(), Target::Udp("[::1]:1514".into()));
        let unix = Target::Paths(vec![Address::Unix("/x".into())]);
        assert_eq!(syslog_target(Some("unix:///x")).unwrap(), unix);
        assert_eq!(fluentd_target(None).unwrap(), Target::Tcp("127.0.0.1:24224".into()));
        assert_eq!(fluentd_target(Some("h")).unwrap(), Target::Tcp("h:24224".into()));
        assert_eq!(fluentd_target(Some("tcp://[::1]")).unwrap(), Target::Tcp("[::1]:24224".into()));
        assert_eq!(fluentd_target(Some("unix:///x")).unwrap(), unix);
        assert_eq!(gelf_target("udp://h:1").unwrap(), Target::Udp("h:1".into()));
        for bad in ["tcp://", "http://h:1", "tcp://h:x", "h:514"] {
            assert!(syslog_target(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn journal_keys_are_clean() {
        for (key, clean) in [("com.example.x", "COM_EXAMPLE_X"), ("__a-1", "A_1"), ("é", ""), ("_", "")] {
            assert_eq!(journal_key(key), clean);
        }
    }
}
