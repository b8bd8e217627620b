//! Inspect: one platform's image behind a name, this host's when there are several.

use spec::api::{ImageInspect, ImageMetadata, Platform, RootFs};

use super::Names;
use crate::blocking::blocking;
use crate::{Engine, Error, time};

impl Engine {
    /// `GET /images/{name}/json`.
    pub async fn image_inspect(&self, name: &str) -> Result<ImageInspect, Error> {
        let target = self.target(name)?;
        let records = self.by_target().remove(&target.digest).unwrap_or_default();
        let names = Names::of(&records);
        let tagged_at = records.iter().map(|r| r.tagged_at).max().unwrap_or(0);
        let (inner, wanted) = (self.inner.clone(), target.clone());
        let (image, size) = blocking(move || -> Result<_, Error> {
            let image = inner.store.image(&wanted, &Platform::host())?;
            let size = super::list::size(&inner.store, &image);
            Ok((image, size))
        })
        .await?;
        let config = image.config;
        let some = |text: String| if text.is_empty() { None } else { Some(text) };
        Ok(ImageInspect {
            id: target.digest.to_string(),
            descriptor: Some(target),
            repo_tags: names.tags,
            repo_digests: names.digests,
            comment: some(config.comment),
            created: config.created,
            author: some(config.author),
            config: Some(config.config),
            architecture: config.architecture,
            variant: some(config.variant),
            os: config.os,
            os_version: some(config.os_version),
            size: size.cast_signed(),
            root_fs: RootFs {
                r#type: "layers".into(),
                layers: config.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
            },
            metadata: ImageMetadata { last_tag_time: Some(time::rfc3339(tagged_at * 1_000_000_000)) },
            ..ImageInspect::default()
        })
    }
}
