//! What nobody refers to goes: tags that a rule does not keep, links that no manifest needs, blobs that nothing links to,
//! uploads that nobody goes on with. All of it while the registry serves.
//!
//! A repository is swept with [`Repositories::sweeping`] held, so that no manifest comes in between the look and the removal;
//! what a push may be about to refer to is younger than the grace. Blobs are compared with all links; what was linked
//! meanwhile is noted as fresh, and kept.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::config::{Collect, Retention};
use super::digest::Digest;
use super::repository::{Link, Repositories, Result, blob_key};
use super::route::{Key, Name};

/// What was collected, or would be.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Collected {
    /// `repository:tag` of tags that no rule keeps.
    pub tags: Vec<String>,
    /// `repository@digest` of manifests that no rule keeps.
    pub manifests: Vec<String>,
    /// Links to blobs that no manifest of their repository needs.
    pub links: u64,
    /// Uploads that nobody goes on with.
    pub uploads: u64,
    /// Blobs that nothing links to.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Does it, or only says what would be done. `None`: another collection is at work.
pub(crate) async fn collect(
    repositories: &Repositories,
    rules: &[Retention],
    config: &Collect,
    dry: bool,
) -> Result<Option<Collected>> {
    if !repositories.begin_collection() {
        return Ok(None);
    }
    let mut run = Run { repositories, config, dry, done: Collected::default(), linked: HashSet::new() };
    let outcome = run.all(rules).await;
    let done = run.done;
    repositories.end_collection();
    outcome.map(|()| Some(done))
}

struct Run<'r> {
    repositories: &'r Repositories,
    config: &'r Collect,
    dry: bool,
    done: Collected,
    /// Blobs that some repository links to.
    linked: HashSet<Digest>,
}

impl Run<'_> {
    async fn all(&mut self, rules: &[Retention]) -> Result<()> {
        // A link that is being made since before the collection began is noted nowhere: it may be the first of a
        // repository that the list would not have yet.
        drop(self.repositories.sweeping().await);
        for name in self.repositories.names().await? {
            let mut gone = HashSet::new();
            for rule in rules.iter().filter(|r| r.repositories.iter().any(|p| p.matches(name.as_str()))) {
                self.retain(&name, rule, &mut gone).await?;
            }
            self.repository(&name, &gone).await?;
            self.uploads(&name).await?;
        }
        for algorithm in ["sha256", "sha512"] {
            self.blobs(algorithm).await?;
        }
        Ok(())
    }

    /// One rule in one repository: first tags, then manifests without one.
    async fn retain(&mut self, name: &Name, rule: &Retention, gone: &mut HashSet<Digest>) -> Result<()> {
        let repositories = self.repositories;
        let mut tags = repositories.tags(name).await?;
        tags.retain(|(tag, _)| {
            rule.tags.iter().any(|p| p.matches(tag)) && !rule.except.iter().any(|p| p.matches(tag))
        });
        // The newest first; of the same moment, the greatest name.
        tags.sort_by(|(a, x), (b, y)| y.modified.cmp(&x.modified).then_with(|| b.cmp(a)));
        let now = SystemTime::now();
        let mut dropped = HashSet::new();
        if rule.keep_last.is_some() || rule.keep_within.is_some() {
            for (place, (tag, stat)) in tags.into_iter().enumerate() {
                let age = now.duration_since(stat.modified).unwrap_or_default();
                let kept = rule.keep_last.is_some_and(|last| place < last)
                    || rule.keep_within.is_some_and(|within| age <= within);
                if kept {
                    continue;
                }
                if !self.dry {
                    // It may have been pushed again since.
                    let _sweeping = repositories.sweeping().await;
                    if repositories.tag(name, &tag).await?.is_none_or(|now| now.modified != stat.modified) {
                        continue;
                    }
                    repositories.remove_tag(name, &tag).await?;
                }
                self.done.tags.push(format!("{}:{tag}", name.as_str()));
                dropped.insert(tag);
            }
        }
        if let Some(after) = rule.untagged_after {
            self.untagged(name, after, &dropped, gone).await?;
        }
        Ok(())
    }

    /// Manifests that no tag leads to, directly or by an index, and that are about no manifest that stays.
    async fn untagged(
        &mut self,
        name: &Name,
        after: Duration,
        dropped: &HashSet<String>,
        gone: &mut HashSet<Digest>,
    ) -> Result<()> {
        let repositories = self.repositories;
        let linking = repositories.linking().await;
        let manifests = repositories.entries(name, Link::Manifest).await?;
        let mut kept: HashSet<Digest> = HashSet::new();
        let mut pending = Vec::new();
        for (tag, _) in repositories.tags(name).await?.into_iter().filter(|(tag, _)| !dropped.contains(tag)) {
            pending.extend(repositories.resolve(name, &Key::Tag(tag)).await?.map(|(digest, _)| digest));
        }
        pending.extend(manifests.iter().filter(|(_, stat)| stat.age() < after).map(|(digest, _)| *digest));
        while let Some(digest) = pending.pop() {
            if !kept.insert(digest) {
                continue;
            }
            pending.extend(repositories.referrers(name, &digest).await?);
            if let Ok(contents) = repositories.contents(&digest).await {
                pending.extend(contents.manifests.iter().map(|d| d.digest));
            }
        }
        drop(linking);
        for (digest, _) in manifests.into_iter().filter(|(digest, _)| !kept.contains(digest)) {
            if !self.dry {
                repositories.remove_manifest(name, &digest).await?;
            }
            gone.insert(digest);
            self.done.manifests.push(format!("{}@{digest}", name.as_str()));
        }
        Ok(())
    }

    /// Links of one repository. `gone` are manifests that would be, in a dry run.
    async fn repository(&mut self, name: &Name, gone: &HashSet<Digest>) -> Result<()> {
        let repositories = self.repositories;
        // What the manifests say is read before the lock is taken. Some may be deleted meanwhile.
        for (digest, _) in repositories.entries(name, Link::Manifest).await? {
            let _ = repositories.contents(&digest).await;
        }
        let _sweeping = repositories.sweeping().await;
        let mut needed = HashSet::new();
        for (digest, _) in repositories.entries(name, Link::Manifest).await? {
            if gone.contains(&digest) {
                continue;
            }
            self.linked.insert(digest);
            needed.extend(repositories.contents(&digest).await?.needs().map(|(_, d)| d.digest));
        }
        for (digest, stat) in repositories.entries(name, Link::Layer).await? {
            if needed.contains(&digest) || stat.age() < self.config.grace {
                self.linked.insert(digest);
                continue;
            }
            if !self.dry {
                repositories.remove_link(name, Link::Layer, &digest).await?;
            }
            self.done.links += 1;
        }
        Ok(())
    }

    async fn uploads(&mut self, name: &Name) -> Result<()> {
        for (id, still) in self.repositories.uploads(name).await? {
            if still < self.config.uploads {
                continue;
            }
            if !self.dry {
                match self.repositories.take(name, &id).await {
                    Ok(upload) => upload.cancel().await?,
                    // Somebody has just gone on with it.
                    Err(_) => continue,
                }
            }
            self.done.uploads += 1;
        }
        Ok(())
    }

    async fn blobs(&mut self, algorithm: &str) -> Result<()> {
        let repositories = self.repositories;
        for entry in repositories.storage.list(&format!("blobs/{algorithm}")).await? {
            let (Some(digest), Some(stat)) = (Digest::from_hex(&entry.name), entry.stat) else { continue };
            if self.linked.contains(&digest) || stat.age() < self.config.grace {
                continue;
            }
            let _sweeping = repositories.sweeping().await;
            let key = blob_key(&digest);
            // Another server may have linked it, or somebody have pushed it again.
            let now = repositories.storage.stat(&key).await?;
            if repositories.is_fresh(&digest) || now.is_none_or(|now| now.age() < self.config.grace) {
                continue;
            }
            if !self.dry {
                repositories.storage.remove(&key).await?;
            }
            self.done.blobs += 1;
            self.done.bytes += stat.size;
        }
        Ok(())
    }
}
