//! Prune: images without a name, or all that no container uses; what is left of pulls that broke off.

use spec::Filters;
use spec::api::ImagesPruneResponse;

use crate::blocking::blocking;
use crate::engine::Prune;
use crate::volume::is_true;
use crate::{Engine, Error};

impl Engine {
    /// `POST /images/prune`: the filter `dangling` is true unless it says otherwise.
    pub async fn prune_images(&self, filters: &Filters) -> Result<ImagesPruneResponse, Error> {
        let _one = self.prune_lock(Prune::Images)?;
        let dangling_only = filters.get("dangling").iter().all(|v| is_true(v));
        let mut wanted = Filters::default();
        for key in ["label", "label!", "until"] {
            filters.get(key).iter().for_each(|value| wanted.add(key, value.clone()));
        }
        if dangling_only {
            wanted.add("dangling", "true");
        }
        let mut answer = ImagesPruneResponse::default();
        if ["label", "label!", "until"].iter().all(|key| filters.get(key).is_empty()) {
            // What pulls that broke off have left is of no image yet.
            let inner = self.inner.clone();
            answer.space_reclaimed += blocking(move || inner.store.discard_broken()).await?.cast_signed();
        }
        for image in self.images(true, &wanted).await?.into_iter().filter(|i| i.containers == 0) {
            let names = if image.repo_tags.is_empty() { vec![image.id] } else { image.repo_tags };
            for name in names {
                // One that came into use or went meanwhile is none of ours.
                if let Ok((items, freed)) = self.remove_name(&name, false).await {
                    answer.images_deleted.extend(items);
                    answer.space_reclaimed += freed.cast_signed();
                }
            }
        }
        Ok(answer)
    }
}
