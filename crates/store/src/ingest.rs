//! What arrives piece by piece. A blob's bytes are kept under its digest until it is whole, and the image it is for is
//! noted, so that a download goes on where it broke off, also in another life of the program.
//!
//! ```text
//! ingest/<hex>.part     the first bytes of a blob
//!        <hex>.image    descriptor of a manifest whose content is on its way: the collector keeps what is here of it
//! ```
//!
//! Both are kept for [`KEPT`] after they were last touched, partial blobs up to [`KEPT_BYTES`] in all.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use spec::Digest;
use spec::oci::image::Descriptor;
use sys::file::{self, Durability};

use crate::blob::io_error;
use crate::error::{Error, Result};
use crate::hash::Hasher;
use crate::layer::remove_tree;
use crate::{Store, lock};

const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
const KEPT_BYTES: u64 = 16 << 30;
const PART: &str = ".part";
const IMAGE: &str = ".image";

/// The blobs that are arriving: each has one writer.
#[derive(Debug, Default)]
pub(crate) struct Arriving {
    busy: Mutex<HashSet<Digest>>,
    left: Condvar,
}

impl Arriving {
    fn enter(&self, digest: Digest) {
        let mut busy = lock(&self.busy);
        while !busy.insert(digest) {
            busy = self.left.wait(busy).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn leave(&self, digest: &Digest) {
        lock(&self.busy).remove(digest);
        self.left.notify_all();
    }
}

/// A blob that arrives. What an earlier try has left comes first, out of [`Read`]; what follows goes in by [`Write`].
/// Both are hashed. Dropped: what is there stays for the next try.
#[derive(Debug)]
pub struct Partial {
    store: Store,
    digest: Digest,
    path: PathBuf,
    file: File,
    /// Bytes that an earlier try has left.
    stored: u64,
    hasher: Hasher,
    keep: bool,
}

impl Read for Partial {
    /// What an earlier try has left, to be hashed (and unpacked) once more.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.stored.saturating_sub(self.hasher.bytes());
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let n = self.file.read(&mut buffer[..most])?;
        if n == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}

impl Write for Partial {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        debug_assert!(self.hasher.bytes() >= self.stored, "what is stored is read first");
        let n = self.file.write(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Partial {
    /// Bytes that an earlier try has left.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// Forgets what an earlier try has left.
    ///
    /// # Errors
    /// A file error.
    pub fn restart(&mut self) -> Result<()> {
        let error = |e| io_error("truncate", &self.path)(e);
        self.file.set_len(0).map_err(error)?;
        self.file.seek(SeekFrom::Start(0)).map_err(error)?;
        self.stored = 0;
        self.hasher = Hasher::default();
        Ok(())
    }

    /// Makes the blob visible. Fsyncs.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] or a file error; nothing is left then.
    pub fn commit(mut self) -> Result<u64> {
        self.keep = false;
        let hasher = std::mem::take(&mut self.hasher);
        let size = hasher.bytes();
        let actual = hasher.finish();
        if actual != self.digest {
            return Err(Error::DigestMismatch { expected: self.digest, actual });
        }
        self.file.sync_all().map_err(io_error("fsync", &self.path))?;
        let _shared = self.store.shared();
        file::rename(&self.path, &self.store.blob_path(&actual))?;
        self.store.hold(actual);
        Ok(size)
    }

    /// Leaves nothing for another try; the next writer starts anew.
    pub fn discard(mut self) {
        self.keep = false;
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.keep || self.hasher.bytes().max(self.stored) == 0 {
            // After the rename there is nothing here; what cannot be removed expires.
            let _ = file::remove(&self.path);
        }
        self.store.inner.arriving.leave(&self.digest);
    }
}

impl Store {
    /// Starts a blob, or goes on with one that broke off. While another thread writes it, this waits.
    ///
    /// # Errors
    /// A file error.
    pub fn partial(&self, digest: &Digest) -> Result<Partial> {
        self.inner.arriving.enter(*digest);
        let path = self.path("ingest").join(format!("{}{PART}", digest.hex()));
        let opened = file::open_or_create(&path, 0o600).map_err(Error::from).and_then(|file| {
            let stored = file.metadata().map_err(io_error("stat", &path))?.len();
            Ok((file, stored))
        });
        match opened {
            Ok((file, stored)) => Ok(Partial {
                store: self.clone(),
                digest: *digest,
                path,
                file,
                stored,
                hasher: Hasher::default(),
                keep: true,
            }),
            Err(error) => {
                self.inner.arriving.leave(digest);
                Err(error)
            }
        }
    }

    /// Removes what an earlier try has left of a blob.
    ///
    /// # Errors
    /// A file error.
    pub fn discard_partial(&self, digest: &Digest) -> Result<()> {
        self.partial(digest)?.discard();
        Ok(())
    }

    /// Notes that an image's content is on its way: what arrives of it outlives this process.
    ///
    /// # Errors
    /// A file error.
    pub fn expect_image(&self, manifest: &Descriptor) -> Result<()> {
        let bytes = serde_json::to_vec(manifest).expect("plain data serialises");
        Ok(file::write_atomic(&self.note(&manifest.digest), &bytes, 0o600, Durability::Process)?)
    }

    /// Forgets that: the image is here, or will not come.
    ///
    /// # Errors
    /// A file error.
    pub fn forget_image(&self, manifest: &Digest) -> Result<()> {
        Ok(file::remove(&self.note(manifest))?)
    }

    fn note(&self, manifest: &Digest) -> PathBuf {
        self.path("ingest").join(format!("{}{IMAGE}", manifest.hex()))
    }

    /// The images that are on their way, or broke off not long ago.
    pub(crate) fn expected_images(&self) -> Result<Vec<Descriptor>> {
        let ingest = self.path("ingest");
        let mut expected = Vec::new();
        for name in file::list(&ingest)?.iter().filter(|name| name.ends_with(IMAGE)) {
            let note = file::read_if_exists(&ingest.join(name))?;
            // One that cannot be read keeps nothing, and expires.
            expected.extend(note.and_then(|bytes| serde_json::from_slice::<Descriptor>(&bytes).ok()));
        }
        Ok(expected)
    }

    /// Removes what downloads that broke off have left, and returns the bytes freed. What an image that is not whole has
    /// of blobs and layers is garbage from then on.
    ///
    /// # Errors
    /// A file error.
    pub fn discard_broken(&self) -> Result<u64> {
        expire(&self.path("ingest"), Duration::ZERO, 0, &lock(&self.inner.arriving.busy))
    }

    /// The same for what is too old, or too much.
    pub(crate) fn expire_broken(&self) -> Result<u64> {
        expire(&self.path("ingest"), KEPT, KEPT_BYTES, &lock(&self.inner.arriving.busy))
    }
}

/// Empties the directory but for what a download can go on from.
pub(crate) fn clean(ingest: &Path) -> Result<()> {
    for name in file::list(ingest)? {
        if !name.ends_with(PART) && !name.ends_with(IMAGE) {
            remove_tree(&ingest.join(name))?;
        }
    }
    expire(ingest, KEPT, KEPT_BYTES, &HashSet::new()).map(drop)
}

/// Removes what is older than `age`, then the oldest until no more than `bytes` are left. Blobs that are `busy` stay,
/// and as long as there are some, so do all notes: one of them may be theirs.
fn expire(ingest: &Path, age: Duration, bytes: u64, busy: &HashSet<Digest>) -> Result<u64> {
    let mut found = Vec::new();
    for name in file::list(ingest)? {
        let (stem, is_part) = match (name.strip_suffix(PART), name.strip_suffix(IMAGE)) {
            (Some(stem), _) => (stem, true),
            (None, Some(stem)) => (stem, false),
            (None, None) => continue,
        };
        let digest = format!("sha256:{stem}").parse::<Digest>();
        let stays =
            if is_part { digest.is_ok_and(|digest| busy.contains(&digest)) } else { !busy.is_empty() };
        if stays {
            continue;
        }
        // It may have gone meanwhile.
        let Ok(metadata) = std::fs::symlink_metadata(ingest.join(&name)) else { continue };
        found.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), name));
    }
    found.sort();
    let (now, mut left) = (SystemTime::now(), found.iter().map(|(_, size, _)| size).sum::<u64>());
    let mut freed = 0;
    for (modified, size, name) in found {
        if left > bytes || now.duration_since(modified).is_ok_and(|since| since >= age) {
            file::remove(&ingest.join(name))?;
            left -= size;
            freed += size;
        }
    }
    Ok(freed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(fill: u8) -> Digest {
        Digest::from_bytes([fill; 32])
    }

    #[test]
    fn the_oldest_goes_first_and_what_is_written_stays() {
        let directory = tempfile::tempdir().unwrap();
        let at = |fill: u8, suffix: &str| directory.path().join(format!("{}{suffix}", digest(fill).hex()));
        let now = SystemTime::now();
        for (fill, hours) in [(1, 24 * 8), (2, 5), (3, 4), (4, 3)] {
            let file = file::create(&at(fill, PART), 0o600).unwrap();
            file.set_len(1000).unwrap();
            file.set_modified(now - Duration::from_secs(hours * 3600)).unwrap();
        }
        file::create(&at(5, IMAGE), 0o600).unwrap();
        file::create(&directory.path().join("abc"), 0o600).unwrap();
        let here = || [1, 2, 3, 4].map(|fill| at(fill, PART).exists());

        assert_eq!(expire(directory.path(), KEPT, KEPT_BYTES, &HashSet::new()).unwrap(), 1000);
        assert_eq!(here(), [false, true, true, true]);
        assert_eq!(expire(directory.path(), KEPT, 1500, &HashSet::from([digest(2)])).unwrap(), 1000);
        assert_eq!(here(), [false, true, false, true]);
        assert!(at(5, IMAGE).exists());
        clean(directory.path()).unwrap();
        assert!(!directory.path().join("abc").exists());
        assert_eq!(expire(directory.path(), Duration::ZERO, 0, &HashSet::new()).unwrap(), 2000);
        assert_eq!(file::list(directory.path()).unwrap(), Vec::<String>::new());
    }
}
