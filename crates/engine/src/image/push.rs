//! Push: one tag, or all tags of a repository.

use spec::Reference;
use spec::api::{AuthConfig, Platform, Progress};
use tokio::sync::mpsc;

use crate::blocking::blocking;
use crate::{Engine, Error};

impl Engine {
    /// `POST /images/{name}/push`: an empty tag is all tags; a platform alone, if one is named.
    pub async fn push(
        &self,
        name: &str,
        tag: &str,
        platform: Option<&Platform>,
        auth: Option<AuthConfig>,
        progress: mpsc::Sender<Progress>,
    ) -> Result<(), Error> {
        let repository: Reference = name.parse().map_err(|e| Error::Invalid(format!("{e}: {name:?}")))?;
        if repository.digest.is_some() {
            return Err(Error::Invalid("cannot push a digest reference".into()));
        }
        let tag = repository.tag.clone().or_else(|| (!tag.is_empty()).then(|| tag.to_owned()));
        let full = repository.repository();
        let mut found: Vec<_> = self
            .inner
            .store
            .images()
            .into_iter()
            .filter_map(|record| Some((record.name.parse::<Reference>().ok()?, record.target)))
            .filter(|(reference, _)| reference.repository() == full && reference.tag.is_some())
            .filter(|(reference, _)| tag.is_none() || reference.tag == tag)
            .collect();
        if found.is_empty() {
            let shown = tag.map_or_else(
                || repository.familiar_repository(),
                |tag| format!("{}:{tag}", repository.familiar_repository()),
            );
            return Err(Error::NotFound(format!("An image does not exist locally with the tag: {shown}")));
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        // Progress for nobody is dropped: the push itself is what counts.
        let first = Progress::status(format!("The push refers to repository [{full}]"));
        drop(progress.send(first).await);
        for (reference, target) in found {
            let registry = &self.inner.registry;
            let store = &self.inner.store;
            registry.push(store, &reference, &target, platform, auth.as_ref(), progress.clone()).await?;
            let (inner, origin) = (self.inner.clone(), store::Origin::repository(full.clone()));
            blocking(move || inner.store.note_origin(&target, &origin)).await?;
            self.image_event("push", &reference.familiar(), &reference.familiar_repository());
        }
        Ok(())
    }
}
