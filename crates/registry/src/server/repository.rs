//! The files of a registry: links from names to content. Content itself is the store's.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use spec::Digest;
use store::Store;
use sys::file::{self, Durability};

use super::refusal::{Code, Refusal};
use super::route::{Key, Name, UploadId};

/// An upload that nobody went on with for so long is given up.
const ABANDONED: Duration = Duration::from_secs(7 * 24 * 3600);

type Result<T> = std::result::Result<T, Refusal>;

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
    root: PathBuf,
    store: Store,
    /// Held while links are removed, so that content is not removed from under a new one.
    links: Mutex<()>,
    /// Uploads that a request is at work on.
    busy: Mutex<HashSet<UploadId>>,
}

impl Repositories {
    /// Opens or makes the registry's root and forgets abandoned uploads.
    ///
    /// # Errors
    /// The store's, or a file error.
    pub(crate) fn open(root: &Path) -> std::result::Result<Self, store::Error> {
        let store = Store::open(root)?;
        let root = root.join("repositories");
        file::create_dir_all(&root, 0o700)?;
        let this = Self { root, store, links: Mutex::default(), busy: Mutex::default() };
        for name in this.names()? {
            let uploads = this.directory(&name).join("_uploads");
            for id in file::list(&uploads)? {
                let path = uploads.join(id);
                let changed =
                    std::fs::metadata(&path).and_then(|m| m.modified()).unwrap_or(SystemTime::now());
                if changed.elapsed().is_ok_and(|age| age > ABANDONED) {
                    file::remove(&path)?;
                }
            }
        }
        Ok(this)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    fn directory(&self, name: &Name) -> PathBuf {
        self.root.join(name.as_str())
    }

    fn link_path(&self, name: &Name, link: Link, digest: &Digest) -> PathBuf {
        self.directory(name).join(link.directory()).join(digest.hex())
    }

    /// For changes of links.
    pub(crate) fn lock(&self) -> MutexGuard<'_, ()> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All repositories' names, sorted.
    pub(crate) fn names(&self) -> std::result::Result<Vec<Name>, sys::Error> {
        let mut names = Vec::new();
        let mut pending = vec![String::new()];
        while let Some(prefix) = pending.pop() {
            let entries = file::list(&self.root.join(&prefix))?;
            if entries.iter().any(|e| e.starts_with('_')) {
                names.extend(Name::parse(&prefix));
            }
            let inner = entries.iter().filter(|e| !e.starts_with('_'));
            pending
                .extend(inner.map(|e| if prefix.is_empty() { e.clone() } else { format!("{prefix}/{e}") }));
        }
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        Ok(names)
    }

    /// Whether anything was ever put there.
    pub(crate) fn exists(&self, name: &Name) -> bool {
        self.directory(name).join(Link::Manifest.directory()).is_dir()
    }

    /// What a link says: nothing for a layer, its media type for a manifest. `None` when there is no such link.
    pub(crate) fn link(&self, name: &Name, link: Link, digest: &Digest) -> Result<Option<String>> {
        let bytes = file::read_if_exists(&self.link_path(name, link, digest))?;
        Ok(bytes.map(|b| String::from_utf8_lossy(&b).into_owned()))
    }

    pub(crate) fn add_link(&self, name: &Name, link: Link, digest: &Digest, text: &str) -> Result<()> {
        self.write(&self.link_path(name, link, digest), text)
    }

    fn write(&self, path: &Path, text: &str) -> Result<()> {
        file::create_dir_all(path.parent().expect("it is below the root"), 0o700)?;
        Ok(file::write_atomic(path, text.as_bytes(), 0o600, Durability::Machine)?)
    }

    /// Removes a link, and its content when no other repository links to it.
    pub(crate) fn remove_link(&self, name: &Name, link: Link, digest: &Digest) -> Result<()> {
        let _links = self.lock();
        file::remove(&self.link_path(name, link, digest))?;
        for other in self.names()? {
            for link in [Link::Layer, Link::Manifest] {
                if self.link_path(&other, link, digest).exists() {
                    return Ok(());
                }
            }
        }
        Ok(self.store.remove_blob(digest)?)
    }

    // ---- tags

    fn tags_directory(&self, name: &Name) -> PathBuf {
        self.directory(name).join("_tags")
    }

    pub(crate) fn tags(&self, name: &Name) -> Result<Vec<String>> {
        Ok(file::list(&self.tags_directory(name))?.into_iter().filter(|t| !t.starts_with('.')).collect())
    }

    /// What a key points at; `None` when there is no such tag or manifest.
    pub(crate) fn resolve(&self, name: &Name, key: &Key) -> Result<Option<(Digest, String)>> {
        let digest = match key {
            Key::Digest(digest) => *digest,
            Key::Tag(tag) => {
                let Some(bytes) = file::read_if_exists(&self.tags_directory(name).join(tag))? else {
                    return Ok(None);
                };
                let text = String::from_utf8_lossy(&bytes);
                text.trim().parse().map_err(|e| Refusal::new(Code::Unknown, format!("tag {tag}: {e}")))?
            }
        };
        Ok(self.link(name, Link::Manifest, &digest)?.map(|media_type| (digest, media_type)))
    }

    pub(crate) fn set_tag(&self, name: &Name, tag: &str, digest: &Digest) -> Result<()> {
        self.write(&self.tags_directory(name).join(tag), &digest.to_string())
    }

    pub(crate) fn remove_tag(&self, name: &Name, tag: &str) -> Result<()> {
        Ok(file::remove(&self.tags_directory(name).join(tag))?)
    }

    // ---- referrers

    fn referrers_directory(&self, name: &Name, subject: &Digest) -> PathBuf {
        self.directory(name).join("_referrers").join(subject.hex())
    }

    pub(crate) fn add_referrer(&self, name: &Name, subject: &Digest, manifest: &Digest) -> Result<()> {
        self.write(&self.referrers_directory(name, subject).join(manifest.hex()), "")
    }

    pub(crate) fn remove_referrer(&self, name: &Name, subject: &Digest, manifest: &Digest) -> Result<()> {
        Ok(file::remove(&self.referrers_directory(name, subject).join(manifest.hex()))?)
    }

    pub(crate) fn referrers(&self, name: &Name, subject: &Digest) -> Result<Vec<Digest>> {
        let names = file::list(&self.referrers_directory(name, subject))?;
        Ok(names.iter().filter_map(|hex| format!("sha256:{hex}").parse().ok()).collect())
    }

    // ---- uploads

    fn upload_path(&self, name: &Name, id: &UploadId) -> PathBuf {
        self.directory(name).join("_uploads").join(&id.0)
    }

    /// Opens an upload.
    pub(crate) fn begin(&self, name: &Name) -> Result<UploadId> {
        let id = UploadId(spec::digest::hex(&sys::random::bytes::<16>()));
        let path = self.upload_path(name, &id);
        file::create_dir_all(path.parent().expect("it is below the root"), 0o700)?;
        file::create(&path, 0o600)?;
        Ok(id)
    }

    /// Takes an upload for one request: two at once would mix their bytes.
    pub(crate) fn take(self: &std::sync::Arc<Self>, name: &Name, id: &UploadId) -> Result<Upload> {
        let path = self.upload_path(name, id);
        let unknown = || Refusal::new(Code::BlobUploadUnknown, "there is no such upload");
        let file = OpenOptions::new().read(true).append(true).open(&path).map_err(|_| unknown())?;
        let size = file.metadata().map_err(|_| unknown())?.len();
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if !busy.insert(id.clone()) {
            return Err(Refusal::new(Code::BlobUploadInvalid, "another request is at work on this upload"));
        }
        Ok(Upload { repositories: std::sync::Arc::clone(self), id: id.clone(), path, file, size })
    }
}

/// An upload that one request is at work on.
pub(crate) struct Upload {
    repositories: std::sync::Arc<Repositories>,
    id: UploadId,
    path: PathBuf,
    /// Appended to.
    pub(crate) file: File,
    /// Bytes so far.
    pub(crate) size: u64,
}

impl Upload {
    /// Forgets its bytes.
    pub(crate) fn remove(&self) -> Result<()> {
        Ok(file::remove(&self.path)?)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.repositories.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
