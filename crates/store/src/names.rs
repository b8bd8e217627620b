//! Image names: `images.json`, the root set, one atomic file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use spec::oci::image::Descriptor;
use spec::{Digest, Reference};
use sys::file::{self, Durability};

use crate::error::{Error, Result};
use crate::image::Document;
use crate::origin::Origin;
use crate::{Store, lock};

/// What stands in a record's name where an image has none.
const DANGLING: &str = "<dangling>@";
/// Fewer hex digits than this are no id (moby, `daemon/containerd/image.go`).
const MIN_ID: usize = 4;

/// A name and what it points at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Normalised name with tag (`docker.io/library/busybox:latest`), or `<dangling>@sha256:…` for untagged ones.
    pub name: String,
    /// A manifest or an index.
    pub target: Descriptor,
    /// Seconds since 1970 when this name was set.
    pub tagged_at: u64,
    /// Where the target is from.
    #[serde(flatten)]
    pub origin: Origin,
}

impl ImageRecord {
    /// Whether the image is kept without a name.
    pub fn is_dangling(&self) -> bool {
        self.name.starts_with(DANGLING)
    }
}

/// All records, by name.
pub(crate) type Names = BTreeMap<String, ImageRecord>;

impl Store {
    /// All names.
    pub fn images(&self) -> Vec<ImageRecord> {
        self.names().values().cloned().collect()
    }

    /// Points a name (`latest` when it has neither tag nor digest) at a manifest or index that is in the store. A target
    /// whose last name this was becomes dangling (kept, listed without a name).
    ///
    /// # Errors
    /// [`Error::NoBlob`] when the target, its configuration or a layer is missing, or a file error.
    pub fn tag(&self, name: &Reference, target: &Descriptor) -> Result<()> {
        self.tag_from(name, target, &Origin::default())
    }

    /// The same for a target whose origin has been seen: it was pulled, or built.
    ///
    /// # Errors
    /// As [`Store::tag`].
    pub fn tag_from(&self, name: &Reference, target: &Descriptor, origin: &Origin) -> Result<()> {
        self.put_name(name.clone().or_latest().to_string(), target, origin)
    }

    /// Adds to what is known of a target's origin.
    ///
    /// # Errors
    /// A file error.
    pub fn note_origin(&self, target: &Descriptor, origin: &Origin) -> Result<()> {
        self.change_names(|names| Ok(note(names, &target.digest, origin)))
    }

    /// Keeps an image without a name (an import or commit without one). Does nothing when it has one.
    ///
    /// # Errors
    /// As [`Store::tag`].
    pub fn keep_dangling(&self, target: &Descriptor) -> Result<()> {
        self.keep_dangling_from(target, &Origin::default())
    }

    /// The same for a target whose origin has been seen.
    ///
    /// # Errors
    /// As [`Store::tag`].
    pub fn keep_dangling_from(&self, target: &Descriptor, origin: &Origin) -> Result<()> {
        if self.names().values().any(|record| record.target.digest == target.digest) {
            return self.note_origin(target, origin);
        }
        self.put_name(dangling(&target.digest), target, origin)
    }

    fn put_name(&self, name: String, target: &Descriptor, origin: &Origin) -> Result<()> {
        // Shared until the name is written: the collector sees the name, or sees the lease that the caller has.
        let _shared = self.shared();
        self.check_complete(target)?;
        let tagged_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.change_names(|names| {
            let known = names.values().find(|other| other.target.digest == target.digest);
            let known = known.map(|known| known.origin.clone()).unwrap_or_default();
            let record = ImageRecord { name: name.clone(), target: target.clone(), tagged_at, origin: known };
            let before = names.insert(name.clone(), record);
            let mut same = before.as_ref().is_some_and(|before| before.target == *target);
            if !name.starts_with(DANGLING) {
                same &= names.remove(&dangling(&target.digest)).is_none();
            }
            if let Some(before) = before.filter(|before| before.target.digest != target.digest) {
                keep_nameless(names, before);
            }
            same &= !note(names, &target.digest, origin);
            // A build that found everything in its cache names what has the name already: only the time is new, and goes
            // to the disk with the next change.
            Ok(!same)
        })
    }

    /// Removes one record by its exact `name`; what nothing else needs goes with [`Store::collect`].
    ///
    /// # Errors
    /// [`Error::NotFound`] or a file error.
    pub fn untag(&self, name: &str) -> Result<()> {
        self.change_names(|names| {
            let gone = names.remove(name).ok_or_else(|| Error::NotFound(name.to_owned()));
            gone.map(|_| true)
        })
    }

    /// Removes records by their exact names, but keeps what they named without a name when nothing else names it.
    ///
    /// # Errors
    /// A file error.
    pub fn make_dangling(&self, gone: &[String]) -> Result<()> {
        self.change_names(|names| {
            for name in gone {
                let Some(record) = names.remove(name) else { continue };
                keep_nameless(names, record);
            }
            Ok(true)
        })
    }

    /// Finds the target of what a user typed: a reference, a full or short id (`sha256:…` or hex prefix). An id may be
    /// that of the target, or of a manifest or configuration behind it. A name wins over an id.
    ///
    /// # Errors
    /// [`Error::NotFound`], or an ambiguous prefix.
    pub fn resolve(&self, text: &str) -> Result<Descriptor> {
        let names = self.names();
        let reference = text.parse::<Reference>().ok().map(Reference::or_latest);
        if let Some(found) = reference.as_ref().and_then(|reference| by_reference(&names, reference)) {
            return Ok(found.clone());
        }
        if let Some(prefix) = id_prefix(text)
            && let Some(found) = self.by_id(&names, prefix, text)?
        {
            return Ok(found);
        }
        let shown = match reference {
            Some(reference) if !text.starts_with("sha256:") => reference.familiar(),
            _ => text.to_owned(),
        };
        Err(Error::NotFound(shown))
    }

    fn by_id(&self, names: &Names, prefix: &str, text: &str) -> Result<Option<Descriptor>> {
        let mut targets: BTreeMap<Digest, &Descriptor> = BTreeMap::new();
        for record in names.values() {
            targets.insert(record.target.digest, &record.target);
        }
        let only = |found: Vec<&Descriptor>| match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some((*one).clone())),
            _ => Err(Error::Invalid(format!(
                "ambiguous reference: more than one image has an id that starts with {text}"
            ))),
        };
        let matches = |digest: &Digest| digest.hex().starts_with(prefix);
        let direct = targets.values().filter(|t| matches(&t.digest)).copied().collect();
        if let Some(found) = only(direct)? {
            return Ok(Some(found));
        }
        // Nobody's own id: whose manifest or configuration is it?
        let behind =
            targets.values().filter(|t| self.digests_behind(t).iter().any(matches)).copied().collect();
        only(behind)
    }

    /// The digests of the manifests and configurations behind a target, as far as they are here.
    fn digests_behind(&self, target: &Descriptor) -> Vec<Digest> {
        match self.document(target) {
            Ok(Document::Manifest(manifest)) => vec![manifest.config.digest],
            Ok(Document::Index(index)) => index
                .manifests
                .iter()
                .filter(|manifest| self.blob_path(&manifest.digest).exists())
                .flat_map(|manifest| {
                    let config = match self.document(manifest) {
                        Ok(Document::Manifest(manifest)) => Some(manifest.config.digest),
                        _ => None,
                    };
                    std::iter::once(manifest.digest).chain(config)
                })
                .collect(),
            Err(_) => Vec::new(),
        }
    }

    /// An index may be here without the manifests of other platforms; a manifest must be whole.
    fn check_complete(&self, target: &Descriptor) -> Result<()> {
        let needed = match self.document(target)? {
            Document::Index(_) => Vec::new(),
            Document::Manifest(manifest) => {
                let needed = manifest.layers.iter().chain([&manifest.config]);
                needed.filter(|d| d.urls.is_empty()).map(|d| d.digest).collect()
            }
        };
        match needed.into_iter().find(|digest| !self.blob_path(digest).exists()) {
            Some(missing) => Err(Error::NoBlob(missing)),
            None => Ok(()),
        }
    }

    fn names(&self) -> Arc<Names> {
        self.inner.names.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leaves first, root last: what the names point at is made durable, then the names.
    /// `change` tells whether the disk must know.
    fn change_names(&self, change: impl FnOnce(&mut Names) -> Result<bool>) -> Result<()> {
        let _one_writer = lock(&self.inner.naming);
        let mut names = Names::clone(&self.names());
        if change(&mut names)? {
            file::sync_directory(&self.path("blobs/sha256"))?;
            let bytes = serde_json::to_vec_pretty(&names).expect("plain data serialises");
            file::write_atomic(&self.path("images.json"), &bytes, 0o600, Durability::Machine)?;
        }
        *self.inner.names.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(names);
        Ok(())
    }
}

/// Reads images.json; none is an empty one.
pub(crate) fn load(path: &Path) -> Result<Names> {
    let Some(bytes) = file::read_if_exists(path)? else { return Ok(Names::new()) };
    serde_json::from_slice(&bytes).map_err(|e| Error::Io {
        step: "parse",
        path: path.to_owned(),
        source: e.into(),
    })
}

/// Makes what a removed record named dangling, unless something else names it.
fn keep_nameless(names: &mut Names, record: ImageRecord) {
    if !names.values().any(|other| other.target.digest == record.target.digest) {
        let name = dangling(&record.target.digest);
        names.insert(name.clone(), ImageRecord { name, ..record });
    }
}

/// Notes an origin with all names of a target; whether that is news.
fn note(names: &mut Names, target: &Digest, origin: &Origin) -> bool {
    let records = names.values_mut().filter(|record| record.target.digest == *target);
    records.fold(false, |new, record| record.origin.learn(origin) | new)
}

fn dangling(digest: &Digest) -> String {
    format!("{DANGLING}{digest}")
}

/// A reference with a digest means that content, under any tag of the repository; without, it means the very name.
fn by_reference<'n>(names: &'n Names, reference: &Reference) -> Option<&'n Descriptor> {
    if let Some(record) = names.get(&reference.to_string()) {
        return Some(&record.target);
    }
    let digest = reference.digest?;
    let repository = reference.repository();
    names
        .values()
        .find(|record| {
            record.target.digest == digest
                && record.name.parse::<Reference>().is_ok_and(|name| name.repository() == repository)
        })
        .map(|record| &record.target)
}

/// The hex digits of what may be an id.
fn id_prefix(text: &str) -> Option<&str> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = hex.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
    (is_hex && (MIN_ID..=64).contains(&hex.len())).then_some(hex)
}
