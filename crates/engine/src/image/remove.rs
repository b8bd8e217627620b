//! Remove: a name goes; with the last name the image goes too, unless containers need it.

use spec::api::{ImageDeleteResponseItem, Platform};
use spec::{Digest, Reference};
use store::{ImageRecord, MemberKind};

use crate::blocking::{lasting, to_the_end};
use crate::container::mounts::Kind;
use crate::container::record::Record;
use crate::{Engine, Error};

/// What is to go.
struct Plan {
    records: Vec<ImageRecord>,
    last: Last,
}

/// What becomes of the image when these names are gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Others keep it.
    HasOthers,
    /// Containers use it: it stays, without a name.
    StaysNameless,
    /// It goes.
    Goes,
}

impl Engine {
    /// `DELETE /images/{name}`. With `platforms`, only their content goes, and the names stay.
    pub async fn image_remove(
        &self,
        name: &str,
        force: bool,
        platforms: &[Platform],
    ) -> Result<Vec<ImageDeleteResponseItem>, Error> {
        if !platforms.is_empty() {
            if !force {
                return Err(Error::Invalid(
                    "Content will be removed from all images referencing this variant. Use —-force to force delete."
                        .into(),
                ));
            }
            return self.remove_platforms(name, platforms).await;
        }
        let plan = self.plan_removal(name, force)?;
        let engine = self.clone();
        Ok(to_the_end(async move { engine.remove_planned(plan).await }).await?.0)
    }

    /// Takes one name (as the store keeps it) off an image; the image goes with its last. What went, and the bytes freed.
    pub(super) async fn drop_name(
        &self,
        name: &str,
        target: Digest,
    ) -> Result<(Vec<ImageDeleteResponseItem>, u64), Error> {
        let all = self.by_target().remove(&target).unwrap_or_default();
        let records: Vec<ImageRecord> = all.iter().filter(|r| r.name == name).cloned().collect();
        if records.is_empty() {
            return Err(Error::NoSuchImage(name.to_owned()));
        }
        let last = match (all.len() > 1, self.image_users(&target).is_empty()) {
            (true, _) => Last::HasOthers,
            (false, true) => Last::Goes,
            (false, false) => Last::StaysNameless,
        };
        let (engine, plan) = (self.clone(), Plan { records, last });
        to_the_end(async move { engine.remove_planned(plan).await }).await
    }

    async fn remove_planned(&self, plan: Plan) -> Result<(Vec<ImageDeleteResponseItem>, u64), Error> {
        let target = plan.records[0].target.digest.to_string();
        let (inner, records, last) = (self.inner.clone(), plan.records.clone(), plan.last);
        lasting(move || {
            if last == Last::StaysNameless {
                let names: Vec<String> = records.iter().map(|r| r.name.clone()).collect();
                return inner.store.make_dangling(&names);
            }
            records.iter().try_for_each(|record| inner.store.untag(&record.name))
        })
        .await?;
        let mut items = Vec::new();
        for record in plan.records.iter().filter(|r| !r.is_dangling()) {
            let shown =
                record.name.parse::<Reference>().map_or_else(|_| record.name.clone(), |r| r.familiar());
            self.image_event("untag", &target, &shown);
            items.push(ImageDeleteResponseItem { untagged: shown, deleted: String::new() });
        }
        if plan.last != Last::Goes {
            return Ok((items, 0));
        }
        self.image_event("delete", &target, &target);
        items.push(ImageDeleteResponseItem { untagged: String::new(), deleted: target });
        Ok((items, self.collect().await?))
    }

    fn plan_removal(&self, name: &str, force: bool) -> Result<Plan, Error> {
        let target = self.target(name)?;
        let records = self.by_target().remove(&target.digest).unwrap_or_default();
        let by_id = target.digest.to_string().starts_with(name) || target.digest.hex().starts_with(name);
        let short = target.digest.short();
        let mut others = records.len() > 1;
        if !by_id && let Ok(reference) = name.parse::<Reference>() {
            let named = same_names(&reference, &records);
            if named.is_empty() {
                return Err(Error::NoSuchImage(reference.or_latest().familiar()));
            }
            if named.len() != records.len() {
                // Other names keep the image: only these go, whoever uses it.
                return Ok(Plan { records: named, last: Last::HasOthers });
            }
            others = false;
            if let Some((user, _)) = self.image_users(&target.digest).first() {
                if force {
                    return Ok(Plan { records, last: Last::StaysNameless });
                }
                return Err(Error::Conflict(format!(
                    "conflict: unable to delete {} (must be forced) - container {user} is using its referenced image {short}",
                    reference.or_latest().familiar()
                )));
            }
        } else if let Some(first) = records.iter().find_map(|r| r.name.parse::<Reference>().ok()) {
            others = same_names(&first, &records).len() != records.len();
        }
        let users = self.image_users(&target.digest);
        let conflict =
            |how, why| Err(Error::Conflict(format!("conflict: unable to delete {short} ({how}) - {why}")));
        if let Some((user, _)) = users.iter().find(|(_, running)| *running) {
            return conflict("cannot be forced", format!("image is being used by running container {user}"));
        }
        if !force && let Some((user, _)) = users.first() {
            return conflict("must be forced", format!("image is being used by stopped container {user}"));
        }
        if !force && others {
            return conflict("must be forced", "image is referenced in multiple repositories".into());
        }
        Ok(Plan { records, last: if users.is_empty() { Last::Goes } else { Last::StaysNameless } })
    }

    /// Removes the manifests for some platforms, with the attestations of them; the collector takes the rest.
    async fn remove_platforms(
        &self,
        name: &str,
        platforms: &[Platform],
    ) -> Result<Vec<ImageDeleteResponseItem>, Error> {
        let target = self.target(name)?;
        let named: Vec<Digest> = self.inner.store.images().iter().map(|r| r.target.digest).collect();
        let (inner, shown, platforms) = (self.inner.clone(), name.to_owned(), platforms.to_vec());
        let gone = lasting(move || -> Result<Vec<Digest>, Error> {
            let members = inner.store.members(&target)?;
            let mut gone: Vec<Digest> = Vec::new();
            for platform in &platforms {
                let of = |m: &&store::Member| {
                    m.kind == MemberKind::Image && !m.blobs.is_empty() && platform.matches(&m.platform)
                };
                let found: Vec<Digest> =
                    members.iter().filter(of).map(|member| member.descriptor.digest).collect();
                if found.is_empty() {
                    return Err(super::summary::not_provided(&shown, platform));
                }
                if let Some(whole) = found.iter().find(|digest| named.contains(digest)) {
                    return Err(Error::Conflict(format!(
                        "conflict: unable to delete {} ({platform}) - it is an image of its own: remove that",
                        whole.short()
                    )));
                }
                gone.extend(found);
            }
            let beside = members.iter().filter(|m| !m.blobs.is_empty()).filter_map(|m| match m.kind {
                MemberKind::Attestation(subject) if gone.contains(&subject) => Some(m.descriptor.digest),
                _ => None,
            });
            let beside: Vec<Digest> = beside.collect();
            gone.extend(beside);
            gone.iter().try_for_each(|digest| inner.store.remove_blob(digest))?;
            Ok(gone)
        })
        .await?;
        self.collect().await?;
        let deleted = |digest: &Digest| ImageDeleteResponseItem {
            untagged: String::new(),
            deleted: digest.to_string(),
        };
        Ok(gone.iter().map(deleted).collect())
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

/// The names of one image that a reference means: that very tag, or all of the repository's when it has a digest. Names
/// without a tag, and none at all, go with it when no other tag of the repository is left.
fn same_names(reference: &Reference, records: &[ImageRecord]) -> Vec<ImageRecord> {
    let (repository, tag) = (reference.repository(), reference.clone().or_latest().tag);
    let any_tag = reference.digest.is_some() && reference.tag.is_none();
    let mut same = Vec::new();
    let mut besides = Vec::new();
    let mut other_tags = false;
    for record in records {
        let Ok(name) = record.name.parse::<Reference>() else {
            same.push(record.clone());
            continue;
        };
        if name.repository() != repository {
            continue;
        }
        match &name.tag {
            None => besides.push(record.clone()),
            _ if any_tag || name.tag == tag => same.push(record.clone()),
            Some(_) => other_tags = true,
        }
    }
    if !other_tags {
        same.extend(besides);
    }
    same
}
