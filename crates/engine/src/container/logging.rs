//! How a container logs: `HostConfig.LogConfig`, checked when it is created and carried out by its shim.
//!
//! | driver | what the shim does |
//! |---|---|
//! | `json-file` | writes files |
//! | `local` | writes smaller files, compressed when rotated |
//! | `journald`, `syslog`, `fluentd`, `gelf` | sends, and writes files for `logs` (the cache) |
//! | `none` | nothing |
//!
//! | room | what is in it |
//! |---|---|
//! | [`options`] | values: sizes, numbers, switches, addresses |
//! | [`attributes`] | labels, environment and tag of every entry |
//! | [`remote`] | the drivers that send |

mod attributes;
mod options;
mod remote;

use std::path::PathBuf;

use shim::proto::{Log, LogFiles, LogFormat};
use spec::api::LogConfig;

use self::attributes::Attributes;
use self::options::Options;
use self::remote::Wanted;
use super::Container;
use super::record::Record;
use crate::Error;

/// The drivers, as `info` lists them: all but `none`.
pub(crate) const DRIVERS: [&str; 6] = ["fluentd", "gelf", "journald", "json-file", "local", "syslog"];

/// Files of json-file: at most so many bytes each, and so many of them. Docker's never rotate.
const JSON_FILE: Limits = Limits { max_size: 50_000_000, max_files: 5, compress: false };

/// Files of local, and the cache (Docker's).
const LOCAL: Limits = Limits { max_size: 20 << 20, max_files: 5, compress: true };

/// A `LogConfig`, read.
#[derive(Debug)]
pub(crate) struct Logging {
    files: Option<(Place, Limits)>,
    remote: Option<Wanted>,
    attributes: Attributes,
}

/// Where the files of a log are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    JsonFile,
    Local,
    Cache,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    max_size: u64,
    max_files: u32,
    compress: bool,
}

impl Logging {
    /// Reads a configuration; `None` is the driver `none`.
    ///
    /// # Errors
    /// A driver that there is not, an option that it does not have, a value that makes no sense: in Docker's words.
    pub(crate) fn read(config: &LogConfig) -> Result<Option<Self>, Error> {
        let driver = match config.r#type.as_str() {
            "" => "json-file",
            "none" => return Ok(None),
            driver => driver,
        };
        let mut options = Options::new(&config.config);
        let mode = remote::Mode::read(&mut options)?;
        if !DRIVERS.contains(&driver) {
            return Err(Error::Invalid(format!("logger: no log driver named '{driver}' is registered")));
        }
        let attributes = Attributes::read(&mut options)?;
        let mut cache = LOCAL;
        let with_cache = !options.switch("cache-disabled")?.unwrap_or(false);
        limits(&mut options, "cache-", options::BINARY, &mut cache)?;
        let mut remote = None;
        let files = match driver {
            "json-file" => {
                let mut own = JSON_FILE;
                limits(&mut options, "", options::DECIMAL, &mut own)?;
                Some((Place::JsonFile, own))
            }
            "local" => {
                let mut own = LOCAL;
                limits(&mut options, "", options::BINARY, &mut own)?;
                Some((Place::Local, own))
            }
            _ => {
                remote = Some(Wanted::read(driver, mode, &mut options)?);
                with_cache.then_some((Place::Cache, cache))
            }
        };
        if let Some(unknown) = options.rest().next() {
            return Err(Error::Invalid(match driver {
                "local" => format!("unknown log opt '{unknown}' for log driver local"),
                driver => format!("unknown log opt '{unknown}' for {driver} log driver"),
            }));
        }
        Ok(Some(Self { files, remote, attributes }))
    }

    /// What the shim is told. Names of log servers are looked up now.
    async fn settings(self, container: &Container, record: &Record) -> Result<Log, Error> {
        let attrs = self.attributes.of(record)?;
        let files = self.files.map(|(place, limits)| LogFiles {
            path: place.path(container),
            format: place.format(),
            max_size: limits.max_size,
            max_files: limits.max_files,
            compress: limits.compress,
        });
        let remote = match self.remote {
            Some(wanted) => Some(wanted.settings(record, &self.attributes, &attrs).await?),
            None => None,
        };
        Ok(Log { files, remote, attrs })
    }
}

impl Place {
    fn path(self, container: &Container) -> PathBuf {
        match self {
            Self::JsonFile => container.places.logs.join(format!("{}-json.log", container.id)),
            Self::Local => container.places.logs.join("local-logs").join("container.log"),
            Self::Cache => container.places.logs.join("container-cached.log"),
        }
    }

    fn format(self) -> LogFormat {
        match self {
            Self::JsonFile => LogFormat::JsonFile,
            Self::Local | Self::Cache => LogFormat::Local,
        }
    }
}

impl Container {
    /// What the shim is to do with the output of this container; `None` is nothing.
    pub(crate) async fn log_settings(&self, record: &Record) -> Result<Option<Log>, Error> {
        match Logging::read(&record.host.log_config)? {
            Some(logging) => logging.settings(self, record).await.map(Some),
            None => Ok(None),
        }
    }

    /// The files that `logs` reads; `None` when there are none.
    pub(crate) fn log_files(&self, config: &LogConfig) -> Option<(PathBuf, LogFormat)> {
        // What was read when the container was made is read again.
        let (place, _) = Logging::read(config).ok()??.files?;
        Some((place.path(self), place.format()))
    }

    /// `LogPath` of inspect: of the drivers whose files others read.
    pub(crate) fn log_path(&self, config: &LogConfig) -> Option<PathBuf> {
        matches!(config.r#type.as_str(), "" | "json-file").then(|| Place::JsonFile.path(self))
    }
}

/// Reads `max-size`, `max-file` and `compress`, each behind `prefix`.
fn limits(options: &mut Options<'_>, prefix: &str, base: u64, limits: &mut Limits) -> Result<(), Error> {
    match options.take(&format!("{prefix}max-size")) {
        None => {}
        Some("-1") => limits.max_size = 0,
        Some(text) => match options::size(text, base)? {
            0 => return Err(Error::Invalid("max-size must be a positive number".into())),
            size => limits.max_size = size,
        },
    }
    if let Some(count) = options.number(&format!("{prefix}max-file"))? {
        limits.max_files = u32::try_from(count)
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| Error::Invalid("max-file cannot be less than 1".into()))?;
    }
    if let Some(compress) = options.switch(&format!("{prefix}compress"))? {
        if compress && (limits.max_files == 1 || limits.max_size == 0) {
            return Err(Error::Invalid(
                "compress cannot be true when max-file is less than 2 or max-size is not set".into(),
            ));
        }
        limits.compress = compress;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(driver: &str, options: &[(&str, &str)]) -> Result<Option<Logging>, String> {
        let config = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Logging::read(&LogConfig { r#type: driver.into(), config }).map_err(|e| e.message())
    }

    #[test]
    fn bad_configurations_are_refused_in_dockers_words() {
        for (driver, options, expected) in [
            ("nope", &[][..], "logger: no log driver named 'nope' is registered"),
            ("json-file", &[("x", "1")], "unknown log opt 'x' for json-file log driver"),
            ("local", &[("x", "1")], "unknown log opt 'x' for log driver local"),
            (
                "syslog",
                &[("fluentd-address", "1")],
                "unknown log opt 'fluentd-address' for syslog log driver",
            ),
            ("json-file", &[("mode", "fast")], "logger: logging mode not supported: fast"),
            (
                "json-file",
                &[("max-buffer-size", "1m")],
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ),
            (
                "json-file",
                &[("mode", "non-blocking"), ("max-buffer-size", "x")],
                "error parsing option max-buffer-size: invalid size: 'x'",
            ),
            ("json-file", &[("max-size", "many")], "invalid size: 'many'"),
            ("json-file", &[("max-size", "0")], "max-size must be a positive number"),
            ("json-file", &[("max-file", "0")], "max-file cannot be less than 1"),
            ("json-file", &[("max-file", "x")], "strconv.Atoi: parsing \"x\": invalid syntax"),
            ("json-file", &[("compress", "x")], "strconv.ParseBool: parsing \"x\": invalid syntax"),
            (
                "json-file",
                &[("compress", "true"), ("max-file", "1")],
                "compress cannot be true when max-file is less than 2 or max-size is not set",
            ),
            ("syslog", &[("syslog-facility", "24")], "invalid syslog facility"),
            ("syslog", &[("syslog-format", "x")], "Invalid syslog format"),
            (
                "syslog",
                &[("syslog-address", "host:514")],
                "syslog-address should be in form proto://address, got host:514",
            ),
            ("fluentd", &[("fluentd-retry-wait", "x")], "time: invalid duration \"x\""),
        ] {
            assert_eq!(read(driver, options).unwrap_err(), expected);
        }
    }

    #[test]
    fn limits_are_read_and_bounded_by_default() {
        let limits = |driver, options: &[(&str, &str)]| {
            let files = read(driver, options).unwrap().unwrap().files;
            files.map(|(place, l)| (place, l.max_size, l.max_files, l.compress))
        };
        assert_eq!(limits("", &[]), Some((Place::JsonFile, 50_000_000, 5, false)));
        assert_eq!(
            limits("json-file", &[("max-size", "10m"), ("max-file", "3"), ("compress", "true")]),
            Some((Place::JsonFile, 10_000_000, 3, true))
        );
        assert_eq!(limits("json-file", &[("max-size", "-1")]), Some((Place::JsonFile, 0, 5, false)));
        assert_eq!(limits("local", &[("max-size", "1m")]), Some((Place::Local, 1 << 20, 5, true)));
        assert_eq!(
            limits("gelf", &[("gelf-address", "udp://127.0.0.1:12201"), ("cache-max-size", "1k")]),
            Some((Place::Cache, 1024, 5, true))
        );
        assert_eq!(limits("syslog", &[("cache-disabled", "true")]), None);
        assert!(read("none", &[("anything", "1")]).unwrap().is_none());
    }
}
