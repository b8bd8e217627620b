//! Inspect: one platform's image behind a name, this host's when there are several.

use spec::api::{ImageInspect, ImageMetadata, Platform, RootFs};

use super::Names;
use super::summary::{Summary, identity, not_provided};
use crate::blocking::blocking;
use crate::{Engine, Error, time};

impl Engine {
    /// `GET /images/{name}/json`: with a platform the image is that platform's; `manifests` adds what there is of each.
    pub async fn image_inspect(
        &self,
        name: &str,
        platform: Option<&Platform>,
        manifests: bool,
    ) -> Result<ImageInspect, Error> {
        let mut target = self.target(name)?;
        let records = self.by_target().remove(&target.digest).unwrap_or_default();
        let names = Names::of(&records);
        let tagged_at = records.iter().map(|r| r.tagged_at).max().unwrap_or(0);
        let (inner, wanted) = (self.inner.clone(), target.clone());
        let summary = blocking(move || Summary::of(&inner.store, &wanted)).await;
        let best = summary.best(platform);
        if let Some(wanted) = platform {
            let (member, _) = best.ok_or_else(|| not_provided(name, wanted))?;
            target = member.descriptor.clone();
        }
        let (size, config) = match best {
            Some((member, image)) => (member.content() + member.unpacked(), image.config.clone()),
            None => (summary.size(), spec::oci::image::Image::default()),
        };
        let some = |text: String| if text.is_empty() { None } else { Some(text) };
        let comment = config.history.last().map_or(config.comment, |step| step.comment.clone());
        Ok(ImageInspect {
            id: target.digest.to_string(),
            descriptor: Some(target),
            manifests: if manifests { summary.manifests(&self.manifest_users(), None) } else { Vec::new() },
            identity: identity(&records),
            repo_tags: names.tags,
            repo_digests: names.digests,
            comment: some(comment),
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
