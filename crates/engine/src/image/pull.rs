//! Pull: the registry client brings the content, the engine names it and says how it went.

use spec::Reference;
use spec::api::{AuthConfig, AuthResponse, Platform, Progress};
use tokio::sync::mpsc;

use crate::blocking::blocking;
use crate::{Engine, Error};

impl Engine {
    /// Pulls and tags; all lines of Docker's pull, the last two included. A name without tag and digest is all tags of
    /// the repository. The built-in image needs no registry.
    pub async fn pull(
        &self,
        reference: &str,
        platform: Option<&str>,
        auth: Option<AuthConfig>,
        progress: mpsc::Sender<Progress>,
    ) -> Result<(), Error> {
        let wanted: Reference =
            reference.parse().map_err(|e| Error::Invalid(format!("{e}: {reference:?}")))?;
        let platform = match platform.filter(|p| !p.is_empty()) {
            None => Platform::host(),
            Some(text) => Platform::parse(text).ok_or_else(|| {
                Error::Invalid(format!("{text:?} is an invalid platform: expected os/arch[/variant]"))
            })?,
        };
        if wanted.tag.is_some() || wanted.digest.is_some() || self.is_built_in(reference) {
            return self.pull_one(wanted.or_latest(), &platform, auth.as_ref(), &progress).await;
        }
        for tag in self.inner.registry.tags(&wanted, auth.as_ref()).await? {
            let tagged = Reference { tag: Some(tag), ..wanted.clone() };
            self.pull_one(tagged, &platform, auth.as_ref(), &progress).await?;
        }
        Ok(())
    }

    async fn pull_one(
        &self,
        wanted: Reference,
        platform: &Platform,
        auth: Option<&AuthConfig>,
        progress: &mpsc::Sender<Progress>,
    ) -> Result<(), Error> {
        let name = wanted.to_string();
        let before = self.inner.store.images().into_iter().find(|r| r.name == name).map(|r| r.target.digest);
        // Progress for nobody is dropped: the pull itself is what counts.
        let tell = async |line: Progress| drop(progress.send(line).await);
        let familiar = wanted.familiar();
        if before.is_none() && self.load_built_in(&familiar).await? {
            let digest = self.target(&familiar)?.digest;
            tell(Progress::status(format!("Digest: {digest}"))).await;
            tell(Progress::status(format!("Status: Loaded {familiar}, which ships with Corten"))).await;
            return Ok(());
        }
        let lease_store = self.inner.clone();
        let _lease = blocking(move || lease_store.store.lease("pull")).await?;
        let pulled =
            self.inner.registry.pull(&self.inner.store, &wanted, platform, auth, progress.clone()).await?;
        let digest = pulled.target.digest;
        let (inner, named) = (self.inner.clone(), wanted.clone());
        blocking(move || inner.store.tag_from(&named, &pulled.target, &pulled.origin)).await?;
        self.image_event("pull", &familiar, &wanted.familiar_repository());
        tell(Progress::status(format!("Digest: {digest}"))).await;
        let status =
            if before == Some(digest) { "Image is up to date for" } else { "Downloaded newer image for" };
        tell(Progress::status(format!("Status: {status} {familiar}"))).await;
        Ok(())
    }

    /// Checks credentials.
    pub async fn login(&self, auth: AuthConfig) -> Result<AuthResponse, Error> {
        Ok(self.inner.registry.login(&auth).await?)
    }
}
