//! Save: images as a tar, sent as it is made.

use bytes::Bytes;
use spec::api::Platform;
use tokio::sync::mpsc;

use crate::blocking::blocking;
use crate::{Engine, Error, chunks};

impl Engine {
    /// An OCI layout of these images that is a docker-archive too, as it is made.
    pub async fn save(
        &self,
        names: Vec<String>,
        platforms: Vec<Platform>,
    ) -> Result<mpsc::Receiver<Result<Bytes, Error>>, Error> {
        if names.is_empty() {
            return Err(Error::Invalid("no image was named".into()));
        }
        let (inner, wanted, only) = (self.inner.clone(), names.clone(), platforms.clone());
        // What is not there is said before the first byte.
        let saved = blocking(move || -> Result<_, store::Error> {
            let saved = inner.store.to_save(&wanted)?;
            saved.iter().try_for_each(|one| inner.store.check_save(one, &only))?;
            Ok(saved)
        })
        .await
        .map_err(|error| match error {
            store::Error::NotFound(shown) => Error::NoSuchImage(shown),
            other => other.into(),
        })?;
        let inner = self.inner.clone();
        let receiver = chunks::made_by(move |out| Ok(inner.store.save(&names, &platforms, out)?));
        for (name, target) in saved {
            let id = target.digest.to_string();
            let shown = name.map_or_else(|| id.clone(), |name| name.familiar());
            self.image_event("save", &id, &shown);
        }
        Ok(receiver)
    }
}
