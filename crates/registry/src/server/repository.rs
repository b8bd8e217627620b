//! A registry's records: links from names to content.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::digest::Digest;
use super::manifest::Contents;
use super::refusal::{Code, Refusal};
use super::route::{Key, Name, UploadId};
use super::storage::{Entry, Growing, Stat, Storage};

pub(crate) type Result<T> = std::result::Result<T, Refusal>;

/// How long a repository's size is believed: another server may have changed it.
const SIZE_BELIEVED: Duration = Duration::from_secs(60);
/// Manifests whose contents are remembered.
const CONTENTS_LIMIT: usize = 16 << 10;

/// A kind of link to content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Layer,
    Manifest,
}

impl Link {
    fn directory(self) -> &'static str {
        match self {
            Self::Layer => "_layers",
            Self::Manifest => "_manifests",
        }
    }
}

/// All repositories.
pub(crate) struct Repositories {
    pub(crate) storage: Storage,
    /// What no manifest refers to is left alone for so long.
    pub(crate) grace: Duration,
    /// Held shared while links are made, alone while they are swept: content is not removed from under a new link.
    links: RwLock<()>,
    /// What was linked since a collection began; `None` while there is none.
    fresh: Mutex<Option<HashSet<Digest>>>,
    /// Uploads that a request is at work on.
    busy: Arc<Mutex<HashSet<UploadId>>>,
    /// What manifests say, which never changes.
    contents: Mutex<HashMap<Digest, Arc<Contents>>>,
    sizes: Mutex<HashMap<Name, (Instant, u64)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a blob is kept.
pub(crate) fn blob_key(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn directory(name: &Name) -> String {
    format!("repositories/{}", name.as_str())
}

pub(crate) fn link_key(name: &Name, link: Link, digest: &Digest) -> String {
    format!("{}/{}/{}", directory(name), link.directory(), digest.hex())
}

fn tag_key(name: &Name, tag: &str) -> String {
    format!("{}/_tags/{tag}", directory(name))
}

fn referrers_key(name: &Name, subject: &Digest) -> String {
    format!("{}/_referrers/{}", directory(name), subject.hex())
}

pub(crate) fn upload_key(name: &Name, id: &UploadId) -> String {
    format!("{}/_uploads/{}", directory(name), id.0)
}

impl Repositories {
    pub(crate) fn new(storage: Storage, grace: Duration) -> Self {
        Self {
            storage,
            grace,
            links: RwLock::default(),
            fresh: Mutex::default(),
            busy: Arc::default(),
            contents: Mutex::default(),
            sizes: Mutex::default(),
        }
    }

    /// For making links.
    pub(crate) async fn linking(&self) -> RwLockReadGuard<'_, ()> {
        self.links.read().await
    }

    /// For removing what is not linked.
    pub(crate) async fn sweeping(&self) -> RwLockWriteGuard<'_, ()> {
        self.links.write().await
    }

    /// From now on what is linked is noted; `false` when a collection is at work already.
    pub(crate) fn begin_collection(&self) -> bool {
        let mut fresh = lock(&self.fresh);
        let idle = fresh.is_none();
        fresh.get_or_insert_default();
        idle
    }

    pub(crate) fn end_collection(&self) {
        *lock(&self.fresh) = None;
    }

    pub(crate) fn is_fresh(&self, digest: &Digest) -> bool {
        lock(&self.fresh).as_ref().is_some_and(|fresh| fresh.contains(digest))
    }

    /// All repositories' names, sorted.
    pub(crate) async fn names(&self) -> Result<Vec<Name>> {
        let mut names = Vec::new();
        let mut pending = vec![String::new()];
        while let Some(prefix) = pending.pop() {
            let entries = self.storage.list(&format!("repositories/{prefix}")).await?;
            if entries.iter().any(|e| e.name.starts_with('_')) {
                names.extend(Name::parse(&prefix));
            }
            let inner = entries.into_iter().map(|e| e.name).filter(|n| !n.starts_with('_'));
            pending.extend(inner.map(|n| if prefix.is_empty() { n } else { format!("{prefix}/{n}") }));
        }
        names.sort();
        Ok(names)
    }

    /// Whether there is a manifest in it.
    pub(crate) async fn exists(&self, name: &Name) -> Result<bool> {
        Ok(!self.entries(name, Link::Manifest).await?.is_empty())
    }

    // ---- links

    /// What a link says: nothing for a layer, its media type for a manifest. `None` when there is no such link.
    pub(crate) async fn link(&self, name: &Name, link: Link, digest: &Digest) -> Result<Option<String>> {
        let bytes = self.storage.read(&link_key(name, link, digest)).await?;
        Ok(bytes.map(|b| String::from_utf8_lossy(&b).into_owned()))
    }

    /// The size of a blob that a repository has. One that nothing refers to yet is kept for a while longer, since
    /// somebody who asks is about to refer to it.
    pub(crate) async fn blob(&self, name: &Name, digest: &Digest) -> Result<Option<u64>> {
        let (layer, manifest) = (link_key(name, Link::Layer, digest), link_key(name, Link::Manifest, digest));
        if let Some(stat) = self.storage.stat(&layer).await? {
            if stat.age() > self.grace / 2 {
                let _linking = self.linking().await;
                if self.storage.stat(&layer).await?.is_some() {
                    self.storage.touch(&layer).await?;
                }
            }
        } else if self.storage.stat(&manifest).await?.is_none() {
            return Ok(None);
        }
        Ok(self.storage.stat(&blob_key(digest)).await?.map(|stat| stat.size))
    }

    /// The caller holds [`Repositories::linking`], and the content is there.
    pub(crate) async fn add_link(&self, name: &Name, link: Link, digest: &Digest, text: &str) -> Result<()> {
        if let Some(fresh) = lock(&self.fresh).as_mut() {
            fresh.insert(*digest);
        }
        let key = link_key(name, link, digest);
        let new = self.storage.stat(&key).await?.is_none();
        let blob = blob_key(digest);
        if let Some(stat) = self.storage.stat(&blob).await? {
            // Another server's collector may have its eye on it.
            if new && stat.age() > self.grace / 2 {
                self.storage.touch(&blob).await?;
            }
            if new && let Some((_, size)) = lock(&self.sizes).get_mut(name) {
                *size += stat.size;
            }
        }
        Ok(self.storage.write(&key, text.to_owned()).await?)
    }

    /// The caller holds [`Repositories::linking`] or [`Repositories::sweeping`].
    pub(crate) async fn remove_link(&self, name: &Name, link: Link, digest: &Digest) -> Result<()> {
        lock(&self.sizes).remove(name);
        Ok(self.storage.remove(&link_key(name, link, digest)).await?)
    }

    /// Removes content that no repository links to, where that is quickly told; elsewhere the collector does.
    pub(crate) async fn remove_unlinked(&self, digest: &Digest) -> Result<()> {
        if matches!(self.storage, Storage::Bucket(_)) {
            return Ok(());
        }
        let _sweeping = self.sweeping().await;
        for name in self.names().await? {
            for link in [Link::Layer, Link::Manifest] {
                if self.storage.stat(&link_key(&name, link, digest)).await?.is_some() {
                    return Ok(());
                }
            }
        }
        Ok(self.storage.remove(&blob_key(digest)).await?)
    }

    /// A repository's links of a kind, with when each was made.
    pub(crate) async fn entries(&self, name: &Name, link: Link) -> Result<Vec<(Digest, Stat)>> {
        let entries = self.storage.list(&format!("{}/{}", directory(name), link.directory())).await?;
        Ok(entries.into_iter().filter_map(|e| Some((Digest::from_hex(&e.name)?, e.stat?))).collect())
    }

    /// The bytes of all that a repository links to, each blob once.
    pub(crate) async fn size(&self, name: &Name) -> Result<u64> {
        if let Some((since, size)) = lock(&self.sizes).get(name)
            && since.elapsed() < SIZE_BELIEVED
        {
            return Ok(*size);
        }
        let mut digests = HashSet::new();
        for link in [Link::Layer, Link::Manifest] {
            digests.extend(self.entries(name, link).await?.into_iter().map(|(digest, _)| digest));
        }
        let mut size = 0;
        for digest in digests {
            size += self.storage.stat(&blob_key(&digest)).await?.map_or(0, |stat| stat.size);
        }
        lock(&self.sizes).insert(name.clone(), (Instant::now(), size));
        Ok(size)
    }

    // ---- manifests

    /// A manifest's bytes, its digest verified.
    pub(crate) async fn manifest(&self, digest: &Digest) -> Result<Vec<u8>> {
        let lost = || Refusal::new(Code::ManifestUnknown, format!("the content of {digest} is gone"));
        let bytes = self.storage.read(&blob_key(digest)).await?.ok_or_else(lost)?;
        if digest.alike(&bytes) != *digest {
            return Err(Refusal::new(Code::Unknown, format!("the content of {digest} is damaged")));
        }
        Ok(bytes)
    }

    /// What a manifest says.
    pub(crate) async fn contents(&self, digest: &Digest) -> Result<Arc<Contents>> {
        if let Some(contents) = lock(&self.contents).get(digest) {
            return Ok(Arc::clone(contents));
        }
        let contents: Contents = serde_json::from_slice(&self.manifest(digest).await?)
            .map_err(|e| Refusal::new(Code::Unknown, format!("manifest {digest}: {e}")))?;
        let contents = Arc::new(contents);
        let mut known = lock(&self.contents);
        if known.len() >= CONTENTS_LIMIT {
            known.clear();
        }
        known.insert(*digest, Arc::clone(&contents));
        Ok(contents)
    }

    // ---- tags

    /// Tags, with when each was set, sorted.
    pub(crate) async fn tags(&self, name: &Name) -> Result<Vec<(String, Stat)>> {
        let entries = self.storage.list(&format!("{}/_tags", directory(name))).await?;
        Ok(entries.into_iter().filter_map(|e: Entry| Some((e.name, e.stat?))).collect())
    }

    /// What a key points at; `None` when there is no such tag or manifest.
    pub(crate) async fn resolve(&self, name: &Name, key: &Key) -> Result<Option<(Digest, String)>> {
        let digest = match key {
            Key::Digest(digest) => *digest,
            Key::Tag(tag) => {
                let Some(bytes) = self.storage.read(&tag_key(name, tag)).await? else { return Ok(None) };
                let text = String::from_utf8_lossy(&bytes);
                text.trim().parse().map_err(|e| Refusal::new(Code::Unknown, format!("tag {tag}: {e}")))?
            }
        };
        Ok(self.link(name, Link::Manifest, &digest).await?.map(|media_type| (digest, media_type)))
    }

    pub(crate) async fn tag(&self, name: &Name, tag: &str) -> Result<Option<Stat>> {
        Ok(self.storage.stat(&tag_key(name, tag)).await?)
    }

    pub(crate) async fn set_tag(&self, name: &Name, tag: &str, digest: &Digest) -> Result<()> {
        Ok(self.storage.write(&tag_key(name, tag), digest.to_string()).await?)
    }

    pub(crate) async fn remove_tag(&self, name: &Name, tag: &str) -> Result<()> {
        Ok(self.storage.remove(&tag_key(name, tag)).await?)
    }

    /// Removes a manifest, the tags that point at it, and what it says about another.
    pub(crate) async fn remove_manifest(&self, name: &Name, digest: &Digest) -> Result<()> {
        let _linking = self.linking().await;
        for (tag, _) in self.tags(name).await? {
            let target = self.resolve(name, &Key::Tag(tag.clone())).await?;
            if target.is_some_and(|(target, _)| target == *digest) {
                self.remove_tag(name, &tag).await?;
            }
        }
        if let Ok(contents) = self.contents(digest).await
            && let Some(subject) = &contents.subject
        {
            self.remove_referrer(name, &subject.digest, digest).await?;
        }
        self.remove_link(name, Link::Manifest, digest).await
    }

    // ---- referrers

    pub(crate) async fn add_referrer(&self, name: &Name, subject: &Digest, manifest: &Digest) -> Result<()> {
        let key = format!("{}/{}", referrers_key(name, subject), manifest.hex());
        Ok(self.storage.write(&key, "").await?)
    }

    pub(crate) async fn remove_referrer(
        &self,
        name: &Name,
        subject: &Digest,
        manifest: &Digest,
    ) -> Result<()> {
        Ok(self.storage.remove(&format!("{}/{}", referrers_key(name, subject), manifest.hex())).await?)
    }

    pub(crate) async fn referrers(&self, name: &Name, subject: &Digest) -> Result<Vec<Digest>> {
        let entries = self.storage.list(&referrers_key(name, subject)).await?;
        Ok(entries.iter().filter_map(|e| Digest::from_hex(&e.name)).collect())
    }

    // ---- uploads

    /// Opens an upload.
    pub(crate) async fn begin(&self, name: &Name) -> Result<UploadId> {
        let id = UploadId::random();
        self.storage.begin(&upload_key(name, &id)).await?;
        Ok(id)
    }

    /// Takes an upload for one request: two at once would mix their bytes.
    pub(crate) async fn take(&self, name: &Name, id: &UploadId) -> Result<Growing> {
        if !lock(&self.busy).insert(id.clone()) {
            return Err(Refusal::new(Code::BlobUploadInvalid, "another request is at work on this upload"));
        }
        let hold = Arc::new(Busy { id: id.clone(), all: Arc::clone(&self.busy) });
        let unknown = || Refusal::new(Code::BlobUploadUnknown, "there is no such upload");
        self.storage.resume(&upload_key(name, id), hold).await?.ok_or_else(unknown)
    }

    /// The ids of a repository's uploads, with how long each has been still.
    pub(crate) async fn uploads(&self, name: &Name) -> Result<Vec<(UploadId, Duration)>> {
        let mut uploads = Vec::new();
        for entry in self.storage.list(&format!("{}/_uploads", directory(name))).await? {
            let Some(id) = UploadId::parse(&entry.name) else { continue };
            let stat = match entry.stat {
                Some(stat) => Some(stat),
                None => self.storage.stat(&format!("{}/state", upload_key(name, &id))).await?,
            };
            uploads.push((id, stat.map_or(Duration::MAX, |stat| stat.age())));
        }
        Ok(uploads)
    }
}

/// An upload that something is at work on.
struct Busy {
    id: UploadId,
    all: Arc<Mutex<HashSet<UploadId>>>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        lock(&self.all).remove(&self.id);
    }
}
