//! SIGHUP: daemon.json is read again. What Docker reloads takes effect for later requests; the rest waits for the next
//! start. A file that is wrong changes nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::{Engine, Settings};
use serde_json::Value;

use crate::config::{Error, Options, Source};
use crate::log;

/// The options as they are now, and where they came from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Current(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    options: Mutex<Options>,
}

impl Current {
    /// As read at the start.
    pub fn new(source: Source, options: Options) -> Self {
        Self(Arc::new(Inner { source, options: Mutex::new(options) }))
    }

    /// How long requests in flight may go on at the end.
    pub fn patience(&self) -> Option<Duration> {
        self.options().patience
    }

    fn options(&self) -> MutexGuard<'_, Options> {
        // What is in it is replaced field by field; none is worse than another.
        self.0.options.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the file again and puts it into effect.
    ///
    /// # Errors
    /// The file is wrong; nothing was changed.
    pub fn reload(&self, engine: &Engine) -> Result<(), Error> {
        let new = self.0.source.read()?;
        for warning in &new.warnings {
            tracing::warn!("{warning}");
        }
        let settings = reloaded(&engine.settings(), &new.engine.settings);
        let attributes = attributes(&settings, &new);
        {
            let mut options = self.options();
            options.patience = new.patience;
            options.features = new.features;
            options.log.level = new.log.level;
        }
        log::set_level(new.log.level);
        engine.configure(settings, attributes);
        Ok(())
    }
}

/// The settings of before, with what may change.
fn reloaded(before: &Settings, new: &Settings) -> Settings {
    Settings {
        labels: new.labels.clone(),
        debug: new.debug,
        runtimes: new.runtimes.clone(),
        default_runtime: new.default_runtime.clone(),
        shm_size: new.shm_size,
        ipc_mode: new.ipc_mode.clone(),
        stop_timeout: new.stop_timeout,
        registry: registry::client::Config {
            proxies: before.registry.proxies.clone(),
            ..new.registry.clone()
        },
        ..before.clone()
    }
}

/// What `daemon reload` tells, under Docker's names.
fn attributes(settings: &Settings, options: &Options) -> BTreeMap<String, String> {
    let list = |items: &[String]| Value::from(items.to_vec()).to_string();
    let features: Vec<_> = options.features.iter().map(|(name, on)| format!("{name}:{on}")).collect();
    let runtimes: Vec<_> = settings
        .runtimes
        .iter()
        .map(|(name, runtime)| (name.as_str(), runtime.path.as_str()))
        .chain([("corten", "")])
        .map(|(name, path)| format!("{name}:{path}"))
        .collect();
    let shm_size = if settings.shm_size > 0 { settings.shm_size } else { spec::defaults::SHM_SIZE };
    let ipc_mode = if settings.ipc_mode.is_empty() { "private" } else { &settings.ipc_mode };
    let stop_timeout = settings.stop_timeout.unwrap_or(spec::defaults::STOP_TIMEOUT);
    let shutdown_timeout = options.patience.map_or(-1, |p| i64::try_from(p.as_secs()).unwrap_or(i64::MAX));
    let registry = &settings.registry;
    [
        ("debug", settings.debug.to_string()),
        ("default-ipc-mode", ipc_mode.to_owned()),
        ("default-runtime", settings.default_runtime.clone()),
        ("default-shm-size", shm_size.to_string()),
        ("default-stop-timeout", stop_timeout.to_string()),
        ("features", format!("map[{}]", features.join(" "))),
        ("insecure-registries", list(&registry.insecure)),
        ("labels", list(&settings.labels)),
        ("live-restore", true.to_string()),
        ("max-concurrent-downloads", registry.downloads.to_string()),
        ("max-concurrent-uploads", registry.uploads.to_string()),
        ("max-download-attempts", registry.attempts.to_string()),
        ("registry-mirrors", list(&registry.mirrors)),
        ("runtimes", runtimes.join(" ")),
        ("shutdown-timeout", shutdown_timeout.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_docker_reloads_changes() {
        let before = Settings { dns: vec!["1.1.1.1".into()], ..Settings::default() };
        let mut new = Settings { labels: vec!["a=b".into()], init: true, debug: true, ..Settings::default() };
        new.registry.downloads = 9;
        new.registry.proxies.http = "http://x".into();
        let after = reloaded(&before, &new);
        assert_eq!((after.labels, after.debug, after.registry.downloads), (new.labels, true, 9));
        assert_eq!((after.dns, after.init), (before.dns, false));
        assert_eq!(after.registry.proxies, registry::client::Proxies::default());
    }
}
