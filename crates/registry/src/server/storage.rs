//! Where a registry keeps what it has: records (small, whole), blobs (large, by digest), uploads (growing).
//!
//! | room | what is in it |
//! |---|---|
//! | `files` | a directory; one server at a time |
//! | `bucket`, `s3` | a bucket of an S3-compatible object store; any number of servers |
//!
//! Keys are paths without a leading `/`. Whatever is in one was checked by `route`.

mod bucket;
mod files;
mod s3;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::body::Body;
use super::digest::Digest;

pub(crate) use bucket::Bucket;
pub(crate) use bucket::BucketConfig;
pub(crate) use files::Files;

/// A failure of what is below.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A step that failed.
    #[error("{step} {key}: {detail}")]
    Failed { step: &'static str, key: String, detail: String },
    /// There is no room.
    #[error("{step} {key}: the registry's storage is full")]
    Full { step: &'static str, key: String },
    /// The bytes have another digest than they should.
    #[error("the content has digest {actual}, not {expected}")]
    DigestMismatch { expected: Box<Digest>, actual: Box<Digest> },
    /// Another process has it open.
    #[error("the registry at {0} is in use by another process")]
    InUse(String),
}

impl Error {
    pub(super) fn mismatch(expected: &Digest, actual: &Digest) -> Self {
        Self::DigestMismatch { expected: Box::new(*expected), actual: Box::new(*actual) }
    }

    fn failed(step: &'static str, key: &str) -> impl FnOnce(String) -> Self {
        let key = key.to_owned();
        move |detail| Self::Failed { step, key, detail }
    }

    /// What the client's transport says of the object store.
    fn sent(step: &'static str, key: &str) -> impl FnOnce(crate::Error) -> Self {
        let failed = Self::failed(step, key);
        move |error| failed(error.at_host())
    }

    fn io(step: &'static str, key: &str) -> impl FnOnce(std::io::Error) -> Self {
        let key = key.to_owned();
        move |e| match e.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full { step, key },
            _ => Self::Failed { step, key, detail: e.to_string() },
        }
    }
}

impl From<sys::Error> for Error {
    fn from(error: sys::Error) -> Self {
        Self::io(error.step, &error.object)(error.source)
    }
}

/// Kept as long as anything still writes to an upload.
pub(crate) type Hold = Arc<dyn Send + Sync>;

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// What is known of a key without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
}

impl Stat {
    /// Nothing for what is from the future.
    pub(crate) fn age(&self) -> Duration {
        self.modified.elapsed().unwrap_or_default()
    }
}

/// One name below a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// `None` for what only has names below itself.
    pub(crate) stat: Option<Stat>,
}

/// A place to keep things.
pub(crate) enum Storage {
    Files(Files),
    Bucket(Bucket),
}

impl Storage {
    /// A record; `None` when there is none.
    pub(crate) async fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Files(files) => files.read(key).await,
            Self::Bucket(bucket) => bucket.read(key).await,
        }
    }

    /// Puts a record, whole or not at all; it survives a crash of the machine.
    pub(crate) async fn write(&self, key: &str, bytes: impl Into<Bytes>) -> Result<()> {
        match self {
            Self::Files(files) => files.write(key, bytes.into()).await,
            Self::Bucket(bucket) => bucket.write(key, bytes.into()).await,
        }
    }

    /// Removes a record or blob; one that is not there is no error.
    pub(crate) async fn remove(&self, key: &str) -> Result<()> {
        match self {
            Self::Files(files) => files.remove(key).await,
            Self::Bucket(bucket) => bucket.remove(key).await,
        }
    }

    pub(crate) async fn stat(&self, key: &str) -> Result<Option<Stat>> {
        match self {
            Self::Files(files) => files.stat(key).await,
            Self::Bucket(bucket) => bucket.stat(key).await,
        }
    }

    /// Makes it as new as if it had been written now.
    pub(crate) async fn touch(&self, key: &str) -> Result<()> {
        match self {
            Self::Files(files) => files.touch(key).await,
            Self::Bucket(bucket) => bucket.touch(key).await,
        }
    }

    /// The names directly below a key, sorted.
    pub(crate) async fn list(&self, key: &str) -> Result<Vec<Entry>> {
        match self {
            Self::Files(files) => files.list(key).await,
            Self::Bucket(bucket) => bucket.list(key).await,
        }
    }

    /// A part of a blob that is there, as what is sent.
    pub(crate) async fn open(&self, key: &str, first: u64, length: u64) -> Result<Body> {
        match self {
            Self::Files(files) => files.open(key, first, length).await,
            Self::Bucket(bucket) => bucket.open(key, first, length).await,
        }
    }

    /// Where the object store itself gives out a blob, when clients are to go there.
    pub(crate) fn elsewhere(&self, key: &str) -> Option<String> {
        match self {
            Self::Files(_) => None,
            Self::Bucket(bucket) => bucket.elsewhere(key),
        }
    }

    /// The digest of what is under a key, by the algorithm of `alike`.
    pub(crate) async fn digest(&self, key: &str, alike: &Digest) -> Result<Digest> {
        match self {
            Self::Files(files) => files.digest(key, *alike).await,
            Self::Bucket(bucket) => bucket.digest(key, *alike).await,
        }
    }

    /// Makes an empty upload at a key.
    pub(crate) async fn begin(&self, key: &str) -> Result<()> {
        match self {
            Self::Files(files) => files.begin(key).await,
            Self::Bucket(bucket) => bucket.begin(key).await,
        }
    }

    /// An upload as far as it is; `None` when there is none.
    pub(crate) async fn resume(&self, key: &str, hold: Hold) -> Result<Option<Growing>> {
        match self {
            Self::Files(files) => Ok(files.resume(key, hold).await?.map(Growing::File)),
            Self::Bucket(bucket) => {
                Ok(bucket.resume(key, hold).await?.map(|object| Growing::Object(Box::new(object))))
            }
        }
    }
}

/// An upload that grows. Dropped: what [`Growing::save`] saved stays.
pub(crate) enum Growing {
    File(files::Growing),
    Object(Box<bucket::Growing>),
}

impl Growing {
    /// Bytes so far.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::File(file) => file.size(),
            Self::Object(object) => object.size(),
        }
    }

    /// Adds bytes.
    pub(crate) async fn append(&mut self, bytes: Bytes) -> Result<()> {
        match self {
            Self::File(file) => file.append(bytes).await,
            Self::Object(object) => object.append(bytes).await,
        }
    }

    /// Keeps what came, for the next request. Failed: it is as after [`Growing::rewind`].
    pub(crate) async fn save(self) -> Result<()> {
        match self {
            Self::File(file) => file.save().await,
            Self::Object(object) => object.save().await,
        }
    }

    /// Forgets what came since the upload was taken up.
    pub(crate) async fn rewind(self) -> Result<()> {
        match self {
            Self::File(file) => file.rewind().await,
            Self::Object(object) => object.rewind().await,
        }
    }

    /// Makes it a blob, if it has that digest; it is no upload any more then. It survives a crash of the machine.
    /// Failed: it is as after [`Growing::rewind`].
    pub(crate) async fn commit(self, digest: &Digest, key: &str) -> Result<()> {
        match self {
            Self::File(file) => file.commit(*digest, key).await,
            Self::Object(object) => object.commit(*digest, key).await,
        }
    }

    /// Gives it up.
    pub(crate) async fn cancel(self) -> Result<()> {
        match self {
            Self::File(file) => file.cancel().await,
            Self::Object(object) => object.cancel().await,
        }
    }
}
