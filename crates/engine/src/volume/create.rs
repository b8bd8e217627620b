//! Create: a volume of that name is kept when it is there, whichever driver has it.

use std::collections::BTreeMap;

use spec::api::{Volume, VolumeCreateRequest};

use super::{ANONYMOUS, Hold, LOCAL, Meta, options, record};
use crate::blocking::{blocking, to_the_end};
use crate::container::check_volume_name;
use crate::{Engine, Error, time};

/// A volume that is wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    pub(crate) name: String,
    /// Empty: whoever has a volume of that name, else the local one.
    pub(crate) driver: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: BTreeMap<String, String>,
}

impl Meta {
    pub(super) fn new(wish: Wish) -> Self {
        let driver = if wish.driver.is_empty() { LOCAL.into() } else { wish.driver };
        let name = if crate::names::is_valid(&wish.name) { String::new() } else { wish.name };
        Self { created_at: time::now(), labels: wish.labels, options: wish.options, driver, name }
    }
}

/// A name for a volume that was given none.
pub(crate) fn random_name() -> String {
    spec::digest::hex(&sys::random::bytes::<32>())
}

impl Engine {
    /// `POST /volumes/create`: the volume of that name is kept when it is there.
    pub async fn volume_create(&self, request: VolumeCreateRequest) -> Result<Volume, Error> {
        if !request.cluster_volume_spec.is_null() {
            return Err(Error::NotImplemented(
                "cluster volumes need swarm mode, which is not supported".into(),
            ));
        }
        let VolumeCreateRequest { mut name, mut driver, driver_opts: options, mut labels, .. } = request;
        if name.is_empty() {
            if driver.is_empty() {
                driver = LOCAL.into();
            }
            name = random_name();
            labels.insert(ANONYMOUS.into(), String::new());
        }
        let (engine, wish) = (self.clone(), Wish { name, driver, labels, options });
        let name = wish.name.clone();
        let (meta, _) = to_the_end(async move { engine.make_volume(wish).await }).await?;
        self.described(&name, &meta, false).await
    }

    /// The volume of that name, made with an event if it is not there. It stays as long as it is held.
    pub(crate) async fn make_volume(&self, wish: Wish) -> Result<(Meta, Hold), Error> {
        let volumes = &self.inner.volumes;
        let _name = volumes.uses.name(&wish.name).await;
        let hold = Hold::of(&self.inner, &wish.name);
        let (name, within) = (wish.name.clone(), format!("create {}", wish.name));
        let made = match self.existing(&wish).await {
            Ok(Some(meta)) => return Ok((meta, hold)),
            Ok(None) => self.make_named(wish).await,
            Err(error) => Err(error),
        };
        let meta = made.map_err(|error| Error::within(within, error))?;
        self.volume_event("create", &name, &[("driver", meta.driver.clone())]);
        Ok((meta, hold))
    }

    async fn make_named(&self, wish: Wish) -> Result<Meta, Error> {
        let volumes = &self.inner.volumes;
        let name = wish.name.clone();
        if matches!(wish.driver.as_str(), "" | LOCAL) {
            check_volume_name(&name)?;
            options::check(&wish.options)?;
            let inner = self.inner.clone();
            return blocking(move || inner.volumes.create(&name, Meta::new(wish), |_| Ok(()))).await;
        }
        record::directory(&name)?;
        let plugin = volumes.plugins.find(&wish.driver).await?;
        if plugin.get(&name).await?.is_none() {
            plugin.create(&name, &wish.options).await?;
        }
        let (inner, meta) = (self.inner.clone(), Meta::new(wish));
        let recorded = meta.clone();
        blocking(move || inner.volumes.record(&name, recorded)).await?;
        Ok(meta)
    }

    /// The volume that a wish means, if there is one. For the holder of the name.
    async fn existing(&self, wish: &Wish) -> Result<Option<Meta>, Error> {
        let (volumes, name) = (&self.inner.volumes, &wish.name);
        let Some(meta) = volumes.get(name) else {
            return if wish.driver.is_empty() { self.found_at_plugin(name).await } else { Ok(None) };
        };
        let other = !wish.driver.is_empty() && wish.driver != meta.driver;
        if other && wish.driver != LOCAL {
            volumes.plugins.find(&wish.driver).await?;
        }
        let unique = |text: String| Error::Conflict(format!("{text}: volume name must be unique"));
        let theirs = &meta.driver;
        match self.told(name, &meta).await {
            Ok(Some(_)) if other => Err(unique(format!("driver '{theirs}' already has volume '{name}'"))),
            Ok(Some(_)) => Ok(Some(meta)),
            Ok(None) if !self.volume_users(name).is_empty() => Err(unique(format!(
                "found references to volume '{name}' in driver '{theirs}' but the volume was not found in the driver -- \
                 you may need to remove containers referencing this volume or force remove the volume to re-create it"
            ))),
            Ok(None) => {
                self.forget(name).await?;
                Ok(None)
            }
            Err(error) => Err(unique(format!(
                "found reference to volume '{name}' in driver '{theirs}', but got an error while checking the driver: {}",
                error.message()
            ))),
        }
    }
}
