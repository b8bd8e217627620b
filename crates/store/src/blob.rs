//! Blobs: immutable files named by their digest.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use spec::Digest;
use spec::oci::image::Descriptor;
use sys::{file, writeback};

use crate::Store;
use crate::error::{Error, Result};
use crate::hash::{Hasher, digest_of};

/// The largest manifest or configuration that is read into memory (distribution-spec asks for 4 MiB of a manifest).
pub(crate) const MAX_SMALL: u64 = 4 << 20;

/// A blob being written: hashes what passes. Dropped without [`BlobWriter::commit`]: nothing is left.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    committed: bool,
}

impl Write for BlobWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let n = self.file.write(buffer)?;
        let before = self.hasher.bytes();
        self.hasher.update(&buffer[..n]);
        writeback::begin(&self.file, before, self.hasher.bytes());
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl BlobWriter {
    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        self.hasher.bytes()
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the blob visible under its digest, which must be `expected` if given. Fsyncs.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] or a file error; nothing is left then.
    pub fn commit(mut self, expected: Option<Digest>) -> Result<(Digest, u64)> {
        let actual = std::mem::take(&mut self.hasher);
        let size = actual.bytes();
        let actual = actual.finish();
        if let Some(expected) = expected.filter(|expected| *expected != actual) {
            return Err(Error::DigestMismatch { expected, actual });
        }
        self.file.sync_all().map_err(io_error("fsync", &self.path))?;
        let _shared = self.store.shared();
        file::rename(&self.path, &self.store.blob_path(&actual))?;
        self.committed = true;
        self.store.hold(actual);
        Ok((actual, size))
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.committed {
            // What cannot be removed now is removed when the store is opened next.
            let _ = file::remove(&self.path);
        }
    }
}

impl Store {
    /// Starts a blob.
    ///
    /// # Errors
    /// A file error.
    pub fn blob_writer(&self) -> Result<BlobWriter> {
        let path = self.ingest_path();
        let file = file::create(&path, 0o600)?;
        Ok(BlobWriter { store: self.clone(), path, file, hasher: Hasher::default(), committed: false })
    }

    /// Opens a blob; [`Error::NoBlob`] when it is not here.
    ///
    /// # Errors
    /// As said.
    pub fn blob(&self, digest: &Digest) -> Result<File> {
        let _shared = self.shared();
        let opened = self.open_blob(digest)?;
        self.hold(*digest);
        Ok(opened)
    }

    fn open_blob(&self, digest: &Digest) -> Result<File> {
        file::open(&self.blob_path(digest)).map_err(|e| missing(e, digest))
    }

    /// A small blob's bytes (manifest, config), at most 4 MiB, its digest verified.
    ///
    /// # Errors
    /// [`Error::NoBlob`], too large, or corrupt.
    pub fn blob_bytes(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.read_small(self.blob(digest)?, digest)
    }

    /// The same for the collector, which holds the lock that [`Store::blob`] takes.
    pub(crate) fn blob_bytes_unlocked(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.read_small(self.open_blob(digest)?, digest)
    }

    fn read_small(&self, blob: File, digest: &Digest) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        blob.take(MAX_SMALL + 1)
            .read_to_end(&mut bytes)
            .map_err(io_error("read", &self.blob_path(digest)))?;
        if bytes.len() as u64 > MAX_SMALL {
            return Err(Error::Invalid(format!(
                "content {digest} is over 4 MiB: too large to be a manifest"
            )));
        }
        let actual = digest_of(&bytes);
        if actual != *digest {
            return Err(Error::DigestMismatch { expected: *digest, actual });
        }
        Ok(bytes)
    }

    /// A blob's size; `None` when it is not here.
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        let _shared = self.shared();
        let size = self.stored_size(digest)?;
        self.hold(*digest);
        Some(size)
    }

    /// The same for who neither holds what it finds nor gives it out.
    pub(crate) fn stored_size(&self, digest: &Digest) -> Option<u64> {
        std::fs::metadata(self.blob_path(digest)).ok().map(|metadata| metadata.len())
    }

    /// Writes a small blob and returns its descriptor.
    ///
    /// # Errors
    /// A file error.
    pub fn put_blob(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        let digest = digest_of(bytes);
        let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
        if self.blob_size(&digest) == Some(descriptor.size) {
            return Ok(descriptor);
        }
        let mut writer = self.blob_writer()?;
        writer.write_all(bytes).map_err(io_error("write", &writer.path))?;
        writer.commit(Some(digest))?;
        Ok(descriptor)
    }

    /// Removes one blob whatever refers to it (registry server's DELETE).
    ///
    /// # Errors
    /// [`Error::NoBlob`] or a file error.
    pub fn remove_blob(&self, digest: &Digest) -> Result<()> {
        let path = self.blob_path(digest);
        std::fs::remove_file(&path)
            .map_err(|e| missing(sys::Error::new("unlink", path.display().to_string(), e), digest))
    }

    /// The digests of all blobs.
    pub(crate) fn blobs(&self) -> Result<Vec<Digest>> {
        let names = file::list(&self.path("blobs/sha256"))?;
        Ok(names.iter().filter_map(|hex| format!("sha256:{hex}").parse().ok()).collect())
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path("blobs/sha256").join(digest.hex())
    }
}

pub(crate) fn io_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { step, path, source }
}

fn missing(error: sys::Error, digest: &Digest) -> Error {
    if error.source.kind() == io::ErrorKind::NotFound { Error::NoBlob(*digest) } else { error.into() }
}
