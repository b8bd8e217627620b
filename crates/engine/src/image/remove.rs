//! Remove: a name goes; with the last name the image goes too, unless containers need it.

use spec::api::ImageDeleteResponseItem;
use spec::{Digest, Reference};
use store::{ChainId, ImageRecord};

use crate::blocking::{lasting, to_the_end};
use crate::container::mounts::Kind;
use crate::container::record::Record;
use crate::engine::Inner;
use crate::{Engine, Error};

/// What is to go.
struct Plan {
    records: Vec<ImageRecord>,
    /// Nothing is left of the image.
    all: bool,
}

/// What the build cache needs; `None` when there is a cache and nobody has said what it needs.
fn cache_roots(inner: &Inner) -> Option<(Vec<ChainId>, Vec<Digest>)> {
    if let Some(roots) = inner.roots.get() {
        return (roots.0)();
    }
    let cache = sys::file::list(&inner.config.data_root.join("build")).ok()?;
    cache.is_empty().then(Default::default)
}

impl Engine {
    /// `DELETE /images/{name}`.
    pub async fn image_remove(&self, name: &str, force: bool) -> Result<Vec<ImageDeleteResponseItem>, Error> {
        Ok(self.remove_name(name, force).await?.0)
    }

    /// Removes by name or id; what went, and the bytes freed.
    pub(super) async fn remove_name(
        &self,
        name: &str,
        force: bool,
    ) -> Result<(Vec<ImageDeleteResponseItem>, u64), Error> {
        let plan = self.plan_removal(name, force)?;
        let engine = self.clone();
        to_the_end(async move { engine.remove_planned(plan).await }).await
    }

    async fn remove_planned(&self, plan: Plan) -> Result<(Vec<ImageDeleteResponseItem>, u64), Error> {
        let target = plan.records[0].target.digest.to_string();
        let (inner, names) =
            (self.inner.clone(), plan.records.iter().map(|r| r.name.clone()).collect::<Vec<_>>());
        lasting(move || names.iter().try_for_each(|name| inner.store.untag(name))).await?;
        let mut items = Vec::new();
        for record in plan.records.iter().filter(|r| !r.is_dangling()) {
            let shown =
                record.name.parse::<Reference>().map_or_else(|_| record.name.clone(), |r| r.familiar());
            self.image_event("untag", &target, &target);
            items.push(ImageDeleteResponseItem { untagged: shown, deleted: String::new() });
        }
        if !plan.all {
            return Ok((items, 0));
        }
        self.image_event("delete", &target, &target);
        items.push(ImageDeleteResponseItem { untagged: String::new(), deleted: target });
        let inner = self.inner.clone();
        let freed = lasting(move || {
            let Some((layers, blobs)) = cache_roots(&inner) else { return Ok(0) };
            inner.store.collect(&layers, &blobs)
        })
        .await?;
        Ok((items, freed))
    }

    fn plan_removal(&self, name: &str, force: bool) -> Result<Plan, Error> {
        let target = self.target(name)?;
        let records = self.by_target().remove(&target.digest).unwrap_or_default();
        let reference = name.parse::<Reference>().ok().map(|r| r.or_latest());
        let named: Vec<ImageRecord> = match &reference {
            Some(reference) => {
                let full = reference.to_string();
                records.iter().filter(|r| r.name == full).cloned().collect()
            }
            None => Vec::new(),
        };
        let repositories = |records: &[ImageRecord]| {
            let mut all: Vec<String> = records
                .iter()
                .filter_map(|r| r.name.parse::<Reference>().ok())
                .map(|r| r.repository())
                .collect();
            all.sort_unstable();
            all.dedup();
            all.len()
        };
        let all = named.is_empty() || named.len() == records.len();
        if !all {
            // Other names keep the image: only this one goes, whoever uses it.
            return Ok(Plan { records: named, all: false });
        }
        let users = self.image_users(&target.digest);
        let shown = if named.is_empty() { target.digest.short() } else { name.to_owned() };
        if let Some((id, _)) = users.iter().find(|(_, running)| *running) {
            return Err(Error::Conflict(format!(
                "conflict: unable to delete {shown} (cannot be forced) - image is being used by running container {id}"
            )));
        }
        if force {
            let all = users.is_empty();
            return Ok(Plan { records, all });
        }
        if let Some((id, _)) = users.first() {
            return Err(Error::Conflict(format!(
                "conflict: unable to delete {shown} (must be forced) - image is being used by stopped container {id}"
            )));
        }
        if named.is_empty() && repositories(&records) > 1 {
            return Err(Error::Conflict(format!(
                "conflict: unable to delete {shown} (must be forced) - image is referenced in multiple repositories"
            )));
        }
        Ok(Plan { records, all: true })
    }

    /// Containers made from an image, or that have it mounted: short id, and whether it runs.
    fn image_users(&self, image: &Digest) -> Vec<(String, bool)> {
        let all = self.inner.containers.all();
        let text = image.to_string();
        let mounted =
            |record: &Record| record.mounts.iter().any(|m| m.kind == Kind::Image && m.source == text);
        let views = all.iter().map(|c| c.view());
        let views = views.filter(|v| v.record.image == *image || mounted(&v.record));
        views.map(|v| (v.record.id.short().to_owned(), v.state.api().running)).collect()
    }
}
