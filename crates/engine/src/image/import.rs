//! Import: a root file system's tar, sent or downloaded, becomes an image of one layer.

use std::io::Read;

use registry::client::Download;
use spec::Digest;
use spec::oci::image::{Image, ImageConfig, Platform};

use crate::blocking::{lasting, to_the_end};
use crate::{Engine, Error};

/// What is shown of a server's refusal.
const WORDS: usize = 4 << 10;

impl Engine {
    /// Asks for an archive at an address of http or https, redirects are followed.
    pub async fn import_source(&self, address: &str) -> Result<Download, Error> {
        let answer = self.inner.registry.download(address, &[]).await?;
        if (200..300).contains(&answer.status()) {
            return Ok(answer);
        }
        let status = answer.status();
        // For people; the status has to do without it.
        let words = answer.bytes(WORDS).await.unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        Err(Error::Invalid(format!("failed to GET {address} with status {status}: {}", words.trim())))
    }

    /// `tar`: the body as it arrives. `changes` are instructions such as `CMD ["sh"]`. Without a platform it is this
    /// host's.
    pub async fn import(
        &self,
        mut tar: impl Read + Send + 'static,
        (repo, tag): (&str, &str),
        changes: &[String],
        message: &str,
        platform: Option<Platform>,
    ) -> Result<Digest, Error> {
        let name = if repo.is_empty() { None } else { Some(super::tag::reference(repo, tag)?) };
        let mut config = ImageConfig::default();
        super::change::apply(&mut config, changes)?;
        let platform = platform.unwrap_or_else(Platform::host);
        let image = Image {
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            config,
            comment: message.to_owned(),
            ..Image::default()
        };
        let engine = self.clone();
        to_the_end(async move {
            let (inner, named) = (engine.inner.clone(), name.clone());
            let target = lasting(move || -> Result<_, Error> {
                let _lease = inner.store.lease("import")?;
                let target = inner.store.import(&mut tar, image)?;
                match &named {
                    Some(name) => inner.store.tag(name, &target)?,
                    None => inner.store.keep_dangling(&target)?,
                }
                Ok(target)
            })
            .await;
            let target = engine.swept(target).await?;
            let id = target.digest.to_string();
            engine.image_event("import", &id, &name.map_or_else(|| id.clone(), |n| n.familiar()));
            Ok(target.digest)
        })
        .await
    }
}
