//! Save: images as a tar, sent as it is made.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{Engine, Error, chunks};

impl Engine {
    /// A docker-archive of these images, as it is made.
    pub async fn save(&self, names: Vec<String>) -> Result<mpsc::Receiver<Result<Bytes, Error>>, Error> {
        if names.is_empty() {
            return Err(Error::Invalid("no image was named".into()));
        }
        let mut targets = Vec::new();
        for name in &names {
            targets.push((self.target(name)?.digest.to_string(), name.clone()));
        }
        let inner = self.inner.clone();
        let receiver = chunks::made_by(move |out| Ok(inner.store.save(&names, out)?));
        for (id, name) in targets {
            self.image_event("save", &id, &name);
        }
        Ok(receiver)
    }
}
