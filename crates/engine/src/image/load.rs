//! Load: the images of a tar, and the image that ships inside Corten.

use std::fs::File;
use std::io::Read;

use spec::Reference;
use spec::api::Platform;

use crate::blocking::{lasting, to_the_end};
use crate::{Engine, Error};

impl Engine {
    /// `POST /images/load`: the lines to show (`Loaded image: x`).
    pub async fn load(&self, tar: File) -> Result<Vec<String>, Error> {
        let engine = self.clone();
        to_the_end(async move { engine.load_from(tar).await }).await
    }

    /// Reads images in, names and unpacks them.
    pub(super) async fn load_from(&self, mut tar: impl Read + Send + 'static) -> Result<Vec<String>, Error> {
        let inner = self.inner.clone();
        let loaded = lasting(move || -> Result<_, Error> {
            let _lease = inner.store.lease("load")?;
            let mut loaded = Vec::new();
            for (name, target) in inner.store.load(&mut tar)? {
                match &name {
                    Some(name) => inner.store.tag(name, &target)?,
                    None => inner.store.keep_dangling(&target)?,
                }
                // An image for another platform only is kept packed.
                if let Ok(image) = inner.store.image(&target, &Platform::host()) {
                    inner.store.unpack_image(&image)?;
                }
                loaded.push((name, target));
            }
            Ok(loaded)
        })
        .await?;
        let mut lines = Vec::new();
        for (name, target) in loaded {
            let id = target.digest.to_string();
            let shown = name.map(|n| n.or_latest().familiar());
            self.image_event("load", &id, shown.as_deref().unwrap_or(&id));
            lines.push(match shown {
                Some(name) => format!("Loaded image: {name}"),
                None => format!("Loaded image ID: {id}"),
            });
        }
        Ok(lines)
    }

    /// Loads the built-in image if `name` is its name; `false` when it is not.
    pub(crate) async fn load_built_in(&self, name: &str) -> Result<bool, Error> {
        match self.inner.config.built_in {
            Some((_, tar)) if self.is_built_in(name) => self.load_from(tar).await.map(|_| true),
            _ => Ok(false),
        }
    }

    /// Whether a name is the built-in image's.
    pub(crate) fn is_built_in(&self, name: &str) -> bool {
        let full = |text: &str| text.parse::<Reference>().map(Reference::or_latest).ok();
        self.inner
            .config
            .built_in
            .is_some_and(|(own, _)| full(name).is_some_and(|name| Some(name) == full(own)))
    }
}
