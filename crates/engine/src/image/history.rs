//! History: how each step of an image came to be, the newest first.

use spec::api::{ImageHistoryResponseItem, Platform};
use store::Store;

use super::Names;
use crate::blocking::blocking;
use crate::{Engine, Error, time};

impl Engine {
    /// `GET /images/{name}/history`.
    pub async fn image_history(&self, name: &str) -> Result<Vec<ImageHistoryResponseItem>, Error> {
        let target = self.target(name)?;
        let names = Names::of(&self.by_target().remove(&target.digest).unwrap_or_default());
        let inner = self.inner.clone();
        blocking(move || {
            let image = inner.store.image(&target, &Platform::host())?;
            let diff_ids = &image.config.rootfs.diff_ids;
            // What each layer adds: the stack up to it, less the stack below it.
            let mut sizes = Vec::new();
            let mut below = 0;
            for count in 1..=diff_ids.len() {
                let chain = Store::chain_of(&diff_ids[..count]);
                let all = chain.and_then(|c| inner.store.chain_size(&c).ok()).unwrap_or(below);
                sizes.push(all.saturating_sub(below));
                below = all;
            }
            let mut sizes = sizes.into_iter();
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
