//! Prune: images without a name, or all names that no container was made with.

use std::collections::{BTreeMap, HashMap, HashSet};

use spec::api::ImagesPruneResponse;
use spec::{Digest, Filters, Reference};
use store::ImageRecord;

use super::created_at;
use super::summary::Summary;
use crate::blocking::lasting;
use crate::container::mounts::Kind;
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
        let filter = self.image_filter(&wanted).await?;
        let (inner, targets) = (self.inner.clone(), self.by_target());
        let taken = lasting(move || {
            let mut taken: BTreeMap<String, ImageRecord> = BTreeMap::new();
            let mut names: HashMap<Digest, usize> = HashMap::new();
            for (digest, records) in targets {
                names.insert(digest, records.len());
                let summary = Summary::of(&inner.store, &records[0].target);
                let config = summary.best(None).map(|(_, image)| &image.config);
                let labels = config.map(|c| c.config.labels.clone()).unwrap_or_default();
                let made = config.map_or(0, created_at);
                for record in records {
                    if (!dangling_only || record.is_dangling()) && filter.takes(&record, &labels, made) {
                        taken.insert(record.name.clone(), record);
                    }
                }
            }
            (taken, names)
        })
        .await;
        let names = self.unused(taken.0, taken.1);
        let mut answer = ImagesPruneResponse::default();
        for (name, digest) in names {
            // One that came into use or went meanwhile is none of ours.
            if let Ok((items, freed)) = self.drop_name(&name, digest).await {
                answer.images_deleted.extend(items);
                answer.space_reclaimed += freed.cast_signed();
            }
        }
        Ok(answer)
    }

    /// Of these names those that no container was made with. What a container knows by its id keeps its last name, and
    /// what only containers hold is kept.
    fn unused(
        &self,
        mut taken: BTreeMap<String, ImageRecord>,
        mut names: HashMap<Digest, usize>,
    ) -> Vec<(String, Digest)> {
        let mut used: HashSet<Digest> = HashSet::new();
        for container in self.inner.containers.all() {
            let view = container.view();
            let (record, said) = (&view.record, view.record.config.image.as_str());
            let mounted = record.mounts.iter().filter(|m| m.kind == Kind::Image);
            used.extend(mounted.filter_map(|m| m.source.parse::<Digest>().ok()));
            let id = said.strip_prefix("sha256:").unwrap_or(said);
            let is_id = !id.is_empty() && record.image.hex().starts_with(id);
            if is_id || said.ends_with(&format!("@{}", record.image)) {
                used.insert(record.image);
            }
            taken.retain(|_, r| !(r.is_dangling() && r.target.digest == record.image));
            if let Ok(reference) = said.parse::<Reference>() {
                taken.remove(&Reference { digest: None, ..reference.clone() }.or_latest().to_string());
                taken.remove(&reference.or_latest().to_string());
            }
        }
        let mut unused = Vec::new();
        for (name, record) in taken {
            let digest = record.target.digest;
            match names.get_mut(&digest) {
                Some(left) if *left > 1 => *left -= 1,
                _ if used.contains(&digest) => continue,
                _ => {}
            }
            unused.push((name, digest));
        }
        unused
    }
}
