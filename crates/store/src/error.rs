//! What can go wrong in the store.

use std::path::PathBuf;

use spec::oci::image::Platform;
use spec::{Digest, ErrorKind};

use crate::ChainId;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on a file failed.
    #[error("{step} {}", path.display())]
    Io {
        /// What was tried.
        step: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What was being read in (a download, an upload) broke off, or could not be inflated.
    #[error("read {what}")]
    Read {
        /// What it was.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// What was being written out could not be taken by the receiver.
    #[error("write {what}")]
    Write {
        /// What it was.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// No image of that name.
    #[error("No such image: {0}")]
    NotFound(String),
    /// The image has no manifest for the platform.
    #[error("no matching manifest for {0} in the manifest list entries")]
    NoPlatform(Platform),
    /// An archive's image has none of the platforms that were asked for.
    #[error("image {name} was not loaded: it doesn't provide the requested platform ([{platforms}])")]
    NotLoaded {
        /// The image.
        name: String,
        /// The platforms.
        platforms: String,
    },
    /// The image is here, but not for the platform.
    #[error("image with reference {name} was found but does not provide the specified platform ({platform})")]
    NotProvided {
        /// The image, as it was asked for.
        name: String,
        /// The platform.
        platform: String,
    },
    /// A blob is not in the store.
    #[error("content digest {0}: not found")]
    NoBlob(Digest),
    /// A layer is not unpacked.
    #[error("layer {0} is not unpacked")]
    NoLayer(ChainId),
    /// No writable layer of that id.
    #[error("no such writable layer: {0}")]
    NoRw(String),
    /// A writable layer of that id is there already.
    #[error("writable layer {0} exists already")]
    RwExists(String),
    /// The file system keeps to no limits of directories.
    #[error(
        "a size limit needs project quotas on the file system of {}: ext4 made with -O quota,project and mounted with prjquota, or xfs mounted with pquota", .0.display()
    )]
    NoQuota(PathBuf),
    /// Content that does not have the digest it should have.
    #[error("digest mismatch: expected {expected}, got {actual}")]
    DigestMismatch {
        /// As announced.
        expected: Digest,
        /// As received.
        actual: Digest,
    },
    /// An archive entry that cannot be unpacked.
    #[error("archive entry {entry:?}: {detail}")]
    Entry {
        /// Its path in the archive.
        entry: String,
        /// Why.
        detail: &'static str,
    },
    /// An archive entry that can be no file here.
    #[error("archive entry {entry:?}: {step}")]
    NoFile {
        /// Its path in the archive.
        entry: String,
        /// What was tried.
        step: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A layer that cannot be unpacked.
    #[error("layer {blob}")]
    Layer {
        /// Its blob.
        blob: Digest,
        /// Why.
        source: Box<Self>,
    },
    /// Content that cannot be used: what and why.
    #[error("{0}")]
    Invalid(String),
    /// Another process has the store open.
    #[error("the store at {} is in use by another process", .0.display())]
    InUse(PathBuf),
}

impl Error {
    /// The class of this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } | Self::Write { .. } => ErrorKind::Internal,
            Self::NotFound(_)
            | Self::NoPlatform(_)
            | Self::NotLoaded { .. }
            | Self::NotProvided { .. }
            | Self::NoBlob(_)
            | Self::NoLayer(_)
            | Self::NoRw(_) => ErrorKind::NotFound,
            Self::RwExists(_) => ErrorKind::Conflict,
            Self::Read { .. }
            | Self::DigestMismatch { .. }
            | Self::Entry { .. }
            | Self::NoFile { .. }
            | Self::NoQuota(_)
            | Self::Invalid(_) => ErrorKind::InvalidParameter,
            Self::Layer { source, .. } => source.kind(),
            Self::InUse(_) => ErrorKind::Unavailable,
        }
    }
}

impl From<sys::Error> for Error {
    fn from(error: sys::Error) -> Self {
        Self::Io { step: error.step, path: error.object.into(), source: error.source }
    }
}

/// What the functions of this room return.
pub(crate) type Result<T> = std::result::Result<T, Error>;
