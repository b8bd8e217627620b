//! Pull: the registry client brings the content, the engine names it and says how it went.

use spec::Reference;
use spec::api::{AuthConfig, AuthResponse, Platform, Progress};
use tokio::sync::mpsc;

use crate::blocking::blocking;
use crate::{Engine, Error};

impl Engine {
    /// Pulls and tags; all lines of Docker's pull, the last two included. The built-in image needs no registry.
    pub async fn pull(
        &self,
        reference: &str,
        platform: Option<&str>,
        auth: Option<AuthConfig>,
        progress: mpsc::Sender<Progress>,
    ) -> Result<(), Error> {
        let wanted: Reference =
            reference.parse().map_err(|e| Error::Invalid(format!("{e}: {reference:?}")))?;
        let wanted = wanted.or_latest();
        let platform = match platform.filter(|p| !p.is_empty()) {
            None => Platform::host(),
            Some(text) => Platform::parse(text).ok_or_else(|| {
                Error::Invalid(format!("{text:?} is an invalid platform: expected os/arch[/variant]"))
            })?,
        };
        let name = wanted.to_string();
        let before = self.inner.store.images().into_iter().find(|r| r.name == name).map(|r| r.target.digest);
        // Progress for nobody is dropped: the pull itself is what counts.
        let tell = async |line: Progress| drop(progress.send(line).await);
        if before.is_none() && self.load_built_in(reference).await? {
            let digest = self.target(reference)?.digest;
            tell(Progress::status(format!("Digest: {digest}"))).await;
            tell(Progress::status(format!("Status: Loaded {}, which ships with Corten", wanted.familiar())))
                .await;
            return Ok(());
        }
        let lease_store = self.inner.clone();
        let _lease = blocking(move || lease_store.store.lease("pull")).await?;
        let target = self
            .inner
            .registry
            .pull(&self.inner.store, &wanted, &platform, auth.as_ref(), progress.clone())
            .await?;
        let digest = target.digest;
        let (inner, named) = (self.inner.clone(), wanted.clone());
        blocking(move || inner.store.tag(&named, &target)).await?;
        self.image_event("pull", &wanted.familiar(), &wanted.familiar_repository());
        tell(Progress::status(format!("Digest: {digest}"))).await;
        let status =
            if before == Some(digest) { "Image is up to date for" } else { "Downloaded newer image for" };
        tell(Progress::status(format!("Status: {status} {}", wanted.familiar()))).await;
        Ok(())
    }

    /// Checks credentials.
    pub async fn login(&self, auth: AuthConfig) -> Result<AuthResponse, Error> {
        let status = self.inner.registry.login(&auth).await?;
        Ok(AuthResponse { status, identity_token: String::new() })
    }
}
