//! Rename: the table, the record, and the name service.

use crate::blocking::{blocking, to_the_end};
use crate::{Engine, Error, names};

impl Engine {
    /// `POST /containers/{id}/rename`. Works on running containers.
    pub async fn rename(&self, id: &str, new: &str) -> Result<(), Error> {
        let container = self.inner.containers.find(id)?;
        let new = new.strip_prefix('/').unwrap_or(new).to_owned();
        if new.is_empty() {
            return Err(Error::Invalid("Neither old nor new names may be empty".into()));
        }
        let taken = |error| Error::within("Error when allocating new name".into(), error);
        check(&new).map_err(taken)?;
        let engine = self.clone();
        to_the_end(async move {
            let _verbs = container.verbs.lock().await;
            let mut record = (*container.view().record).clone();
            let old = std::mem::replace(&mut record.name, new.clone());
            if old == new {
                return Err(Error::Invalid(
                    "Renaming a container with the same name as its current name".into(),
                ));
            }
            engine.inner.containers.rename(&container.id, &old, &new).map_err(taken)?;
            if let Err(error) = container.commit_record(record).await {
                engine
                    .inner
                    .containers
                    .rename(&container.id, &new, &old)
                    .expect("the old name was given up a moment ago, under the verbs' lock");
                return Err(error);
            }
            let (inner, id) = (engine.inner.clone(), container.id.clone());
            let before = old.clone();
            blocking(move || inner.networks.rename(&id, &before, &new)).await;
            engine.publish(container.event("rename", &[("oldName", format!("/{old}"))]));
            Ok(())
        })
        .await
    }
}

/// A container name as Docker allows it.
pub(crate) fn check(name: &str) -> Result<(), Error> {
    if names::is_valid(name) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}
