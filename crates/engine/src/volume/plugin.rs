//! Volume plugins, protocol v1: programs of the host's that keep volumes, asked over a socket (HTTP, JSON).
//!
//! | room | what is in it |
//! |---|---|
//! | `place` | where plugins are found: sockets, and files that say an address |
//! | `call` | one question, with a bound on the answer's time and size |
//! | here | the questions, and the plugins met so far |
//!
//! A plugin is the host's administrator's, and trusted with paths; it may still be slow, dead or wrong, and then only
//! its own volumes suffer.

mod call;
mod place;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::call::Failure;
pub(crate) use self::call::{LONG, QUICK, SHORT};
use self::place::Address;
use crate::Error;

/// What a plugin must say it does.
const VOLUME_DRIVER: &str = "VolumeDriver";

/// The plugins of this host.
#[derive(Debug)]
pub(crate) struct Plugins {
    directories: Vec<PathBuf>,
    /// Those that have answered.
    met: Mutex<BTreeMap<String, Arc<Plugin>>>,
    /// Those that could not be asked a moment ago.
    silent: Mutex<BTreeMap<String, Instant>>,
}

/// How long a plugin that could not be asked is not asked whether it knows a name: else it would hold up the making of
/// every volume, whoever keeps it.
const REST: Duration = Duration::from_secs(30);

/// One that is a volume driver.
#[derive(Debug)]
pub(crate) struct Plugin {
    /// Its name: the driver's.
    pub(crate) name: String,
    address: Address,
    scope: OnceLock<String>,
}

/// A volume as its plugin tells it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Told {
    pub(crate) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) mountpoint: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) created_at: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) status: BTreeMap<String, serde_json::Value>,
}

/// `null` is as good as nothing.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A question about one volume.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct About<'a> {
    name: &'a str,
    #[serde(rename = "ID", skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opts: Option<&'a BTreeMap<String, String>>,
}

/// Every answer; each has some of these.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Answer {
    #[serde(deserialize_with = "or_default")]
    err: String,
    #[serde(deserialize_with = "or_default")]
    mountpoint: String,
    volume: Option<Told>,
    #[serde(deserialize_with = "or_default")]
    volumes: Vec<Told>,
    #[serde(deserialize_with = "or_default")]
    implements: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    capabilities: Capabilities,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Capabilities {
    #[serde(deserialize_with = "or_default")]
    scope: String,
}

impl Plugins {
    /// Those in these directories, looked for when they are asked for.
    pub(crate) fn new(directories: Vec<PathBuf>) -> Self {
        Self { directories, met: Mutex::default(), silent: Mutex::default() }
    }

    fn met(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Plugin>>> {
        self.met.lock().expect("no holder of this lock can panic")
    }

    /// The names of those that have answered.
    pub(crate) fn names(&self) -> Vec<String> {
        self.met().keys().cloned().collect()
    }

    /// By its name (Docker's words when there is none).
    pub(crate) async fn find(&self, name: &str) -> Result<Arc<Plugin>, Error> {
        if let Some(met) = self.met().get(name) {
            return Ok(met.clone());
        }
        let within = |error| Error::within(format!("error looking up volume plugin {name}"), error);
        let address = match place::find(&self.directories, name) {
            Ok(Some(address)) => address,
            Ok(None) => return Err(within(Error::NotFound(format!("plugin {name:?} not found")))),
            Err(why) => return Err(within(Error::Internal(format!("legacy plugin: {why}")))),
        };
        self.activate(name, address).await.map_err(within)
    }

    /// Every one that is there and is a volume driver. The others are no use to anybody here.
    pub(crate) async fn all(&self) -> Vec<Arc<Plugin>> {
        self.these(|_| true).await
    }

    /// Those of them that have not been silent just now.
    pub(crate) async fn responsive(&self) -> Vec<Arc<Plugin>> {
        let silent: Vec<String> = {
            let mut silent = self.silent.lock().expect("no holder of this lock can panic");
            silent.retain(|_, since| since.elapsed() < REST);
            silent.keys().cloned().collect()
        };
        self.these(|name| !silent.iter().any(|other| other == name)).await
    }

    async fn these(&self, wanted: impl Fn(&str) -> bool) -> Vec<Arc<Plugin>> {
        let mut names = place::scan(&self.directories);
        names.extend(self.names());
        names.retain(|name| wanted(name));
        let asked = names.into_iter().map(|name| async move {
            let found = self.find(&name).await;
            if let Err(error) = &found {
                tracing::debug!(plugin = name, "{}", error.message());
                self.is_silent(&name);
            }
            found.ok()
        });
        futures_util::future::join_all(asked).await.into_iter().flatten().collect()
    }

    /// Whether a plugin knows a name, which it is asked beside all others.
    pub(crate) async fn knows(&self, plugin: &Plugin, name: &str) -> bool {
        let about = About { name, id: None, opts: None };
        match plugin.ask("VolumeDriver.Get", &about, QUICK).await {
            Ok(answer) => answer.volume.is_some(),
            Err(Failure::Refused(_)) => false,
            Err(failure) => {
                tracing::warn!(plugin = plugin.name, "{failure}");
                self.is_silent(&plugin.name);
                false
            }
        }
    }

    fn is_silent(&self, name: &str) {
        let mut silent = self.silent.lock().expect("no holder of this lock can panic");
        silent.insert(name.to_owned(), Instant::now());
    }

    async fn activate(&self, name: &str, address: Address) -> Result<Arc<Plugin>, Error> {
        let plugin = Plugin { name: name.to_owned(), address, scope: OnceLock::new() };
        let answer = plugin.ask("Plugin.Activate", &serde_json::Value::Null, QUICK).await;
        let manifest = answer.map_err(|failure| Error::Internal(format!("legacy plugin: {failure}")))?;
        if !manifest.implements.iter().any(|word| word == VOLUME_DRIVER) {
            return Err(Error::Internal(format!(
                "legacy plugin: plugin does not implement the requested driver: plugin={name:?}, requested \
                 implementation={VOLUME_DRIVER:?}"
            )));
        }
        Ok(self.met().entry(name.to_owned()).or_insert(Arc::new(plugin)).clone())
    }
}

impl Plugin {
    async fn ask(
        &self,
        method: &str,
        question: &impl Serialize,
        time: call::Time,
    ) -> Result<Answer, Failure> {
        let answer: Answer = call::call(&self.address, method, question, time).await?;
        // Its own words, alone: that is what its author wants to be read.
        if answer.err.is_empty() { Ok(answer) } else { Err(Failure::Refused(answer.err)) }
    }

    async fn about(&self, method: &str, about: About<'_>, time: call::Time) -> Result<Answer, Error> {
        let answer = self.ask(method, &about, time).await;
        answer.map_err(|failure| Error::Internal(failure.to_string()))
    }

    /// Makes a volume.
    pub(super) async fn create(&self, name: &str, options: &BTreeMap<String, String>) -> Result<(), Error> {
        let about = About { name, id: None, opts: Some(options) };
        self.about("VolumeDriver.Create", about, LONG).await.map(drop)
    }

    /// Removes one.
    pub(super) async fn remove(&self, name: &str) -> Result<(), Error> {
        let about = About { name, id: None, opts: None };
        self.about("VolumeDriver.Remove", about, SHORT).await.map(drop)
    }

    /// Makes its files available to `id`; where they are.
    pub(super) async fn mount(&self, name: &str, id: &str) -> Result<PathBuf, Error> {
        let about = About { name, id: Some(id), opts: None };
        let place = self.about("VolumeDriver.Mount", about, LONG).await?.mountpoint;
        if !place.starts_with('/') {
            return Err(Error::Internal(format!(
                "the volume driver {} gave no absolute path as mountpoint: {place:?}",
                self.name
            )));
        }
        Ok(place.into())
    }

    /// Ends `id`'s use.
    pub(super) async fn unmount(&self, name: &str, id: &str) -> Result<(), Error> {
        let about = About { name, id: Some(id), opts: None };
        self.about("VolumeDriver.Unmount", about, SHORT).await.map(drop)
    }

    /// Where its files are when they are mounted. What the plugin will not say is not known.
    pub(super) async fn path(&self, name: &str) -> String {
        let about = About { name, id: None, opts: None };
        let answer = self.about("VolumeDriver.Path", about, SHORT).await;
        answer.map(|answer| answer.mountpoint).unwrap_or_default()
    }

    /// The volume of that name. `None`: the plugin has none, or says that something is wrong with it.
    pub(super) async fn get(&self, name: &str) -> Result<Option<Told>, Error> {
        let about = About { name, id: None, opts: None };
        match self.ask("VolumeDriver.Get", &about, SHORT).await {
            Ok(answer) => Ok(answer.volume.map(|told| Told { name: name.to_owned(), ..told })),
            Err(Failure::Refused(why)) => {
                tracing::debug!(volume = name, plugin = self.name, why, "not found");
                Ok(None)
            }
            Err(failure) => Err(Error::Internal(format!(
                "error while checking if volume {name:?} exists in driver {:?}: {failure}",
                self.name
            ))),
        }
    }

    /// All its volumes.
    pub(super) async fn list(&self) -> Result<Vec<Told>, Error> {
        let answer = self.ask("VolumeDriver.List", &serde_json::json!({}), QUICK).await;
        answer.map(|answer| answer.volumes).map_err(|failure| Error::Internal(failure.to_string()))
    }

    /// `local` or `global`; a plugin need not know the question.
    pub(super) async fn scope(&self) -> String {
        if let Some(scope) = self.scope.get() {
            return scope.clone();
        }
        let answer = self.ask("VolumeDriver.Capabilities", &serde_json::json!({}), QUICK).await;
        let Ok(answer) = answer else { return super::LOCAL.into() };
        let scope = match answer.capabilities.scope.to_lowercase() {
            scope if scope == "global" => scope,
            _ => super::LOCAL.into(),
        };
        self.scope.get_or_init(|| scope).clone()
    }
}
