//! History: how each step of an image came to be, the newest first.

use spec::api::{ImageHistoryResponseItem, Platform};
use store::Store;

use super::Names;
use super::summary::{Summary, not_provided};
use crate::blocking::blocking;
use crate::{Engine, Error, time};

impl Engine {
    /// `GET /images/{name}/history`, of one platform's image.
    pub async fn image_history(
        &self,
        name: &str,
        platform: Option<&Platform>,
    ) -> Result<Vec<ImageHistoryResponseItem>, Error> {
        let target = self.target(name)?;
        let names = Names::of(&self.by_target().remove(&target.digest).unwrap_or_default());
        let (inner, shown, platform) = (self.inner.clone(), name.to_owned(), platform.cloned());
        blocking(move || {
            let summary = Summary::of(&inner.store, &target);
            let wanted = platform.unwrap_or_else(Platform::host);
            let best = summary.best(Some(&wanted)).or_else(|| summary.best(None));
            let image = match best {
                Some((_, image)) if wanted.matches(&image.platform()) => image,
                _ => return Err(not_provided(&shown, &wanted)),
            };
            let diff_ids = &image.config.rootfs.diff_ids;
            // What each layer takes on disk; nothing if it is not unpacked.
            let sizes = (1..=diff_ids.len()).map(|count| {
                let chain = Store::chain_of(&diff_ids[..count])?;
                inner.store.layer_size(&chain)
            });
            let mut sizes = sizes.map(Option::unwrap_or_default);
            let mut items: Vec<ImageHistoryResponseItem> = image
                .config
                .history
                .iter()
                .map(|step| {
                    let created = step.created.as_deref().and_then(time::parse_rfc3339).unwrap_or(0);
                    let size = if step.empty_layer { 0 } else { sizes.next().unwrap_or(0) };
                    ImageHistoryResponseItem {
                        id: "<missing>".into(),
                        created: (created / 1_000_000_000).cast_signed(),
                        created_by: step.created_by.clone(),
                        tags: Vec::new(),
                        size: size.cast_signed(),
                        comment: step.comment.clone(),
                    }
                })
                .collect();
            items.reverse();
            if let Some(newest) = items.first_mut() {
                newest.id = target.digest.to_string();
                newest.tags = names.tags;
            }
            Ok(items)
        })
        .await
    }
}
