//! Inspect, and finding a volume by its name: ours, or one that a plugin has.

use spec::api::{Volume, ZERO_TIME};

use super::plugin::Told;
use super::{Meta, Wish};
use crate::blocking::blocking;
use crate::{Engine, Error};

/// A plugin's volume with what only the plugin knows.
pub(super) fn with_told(volume: &mut Volume, told: Told) {
    volume.mountpoint = told.mountpoint;
    volume.status = told.status;
    if !matches!(told.created_at.as_str(), "" | ZERO_TIME) {
        volume.created_at = told.created_at;
    }
}

impl Engine {
    /// `GET /volumes/{name}`.
    pub async fn volume_inspect(&self, name: &str) -> Result<Volume, Error> {
        let _name = self.inner.volumes.uses.name(name).await;
        let meta = self.named(name).await?;
        self.described(name, &meta, true).await
    }

    /// The record of a volume that is there, ours or a plugin's. For the holder of the name.
    pub(super) async fn named(&self, name: &str) -> Result<Meta, Error> {
        let none = || Error::NoSuchVolume(name.to_owned());
        let Some(meta) = self.inner.volumes.get(name) else {
            return self.found_at_plugin(name).await?.ok_or_else(none);
        };
        let told = self.told(name, &meta).await;
        if told.map_err(|error| Error::within(format!("get {name}"), error))?.is_none() {
            if self.volume_users(name).is_empty() {
                self.forget(name).await?;
            }
            return Err(none());
        }
        Ok(meta)
    }

    /// As the API shows it. `status`: with what the plugin has to say of its state.
    pub(crate) async fn described(&self, name: &str, meta: &Meta, status: bool) -> Result<Volume, Error> {
        let mut volume = self.inner.volumes.api(name, meta);
        if !meta.is_local() {
            let plugin = self.inner.volumes.plugins.find(&meta.driver).await?;
            volume.scope = plugin.scope().await;
            with_told(&mut volume, plugin.get(name).await?.unwrap_or_default());
            if volume.mountpoint.is_empty() {
                volume.mountpoint = plugin.path(name).await;
            }
            if !status {
                volume.status.clear();
            }
        }
        Ok(volume)
    }

    /// What the driver says of a volume that is recorded. `None`: it knows none of that name.
    pub(super) async fn told(&self, name: &str, meta: &Meta) -> Result<Option<Told>, Error> {
        if meta.is_local() {
            return Ok(Some(Told::default()));
        }
        let plugin = self.inner.volumes.plugins.find(&meta.driver).await.map_err(|error| {
            let driver = &meta.driver;
            Error::within(
                format!("error while checking if volume {name:?} exists in driver {driver:?}"),
                error,
            )
        })?;
        plugin.get(name).await
    }

    /// The volume of that name which a plugin has and we did not know of: recorded from now on.
    pub(super) async fn found_at_plugin(&self, name: &str) -> Result<Option<Meta>, Error> {
        let plugins = self.inner.volumes.plugins.responsive().await;
        let asked = plugins.iter().map(|plugin| self.inner.volumes.plugins.knows(plugin, name));
        let answers = futures_util::future::join_all(asked).await;
        for (plugin, has) in plugins.iter().zip(answers) {
            if has {
                let wish = Wish { name: name.to_owned(), driver: plugin.name.clone(), ..Wish::default() };
                let (inner, name, meta) = (self.inner.clone(), name.to_owned(), Meta::new(wish));
                let recorded = meta.clone();
                blocking(move || inner.volumes.record(&name, recorded)).await?;
                return Ok(Some(meta));
            }
        }
        Ok(None)
    }

    pub(super) async fn forget(&self, name: &str) -> Result<(), Error> {
        let (inner, name) = (self.inner.clone(), name.to_owned());
        blocking(move || inner.volumes.remove(&name)).await
    }
}
