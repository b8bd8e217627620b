//! The OCI distribution protocol (distribution-spec 1.1), both ends.
//!
//! | room | what is in it |
//! |---|---|
//! | [`client`] | resolve, pull, push: auth, TLS, resume, digests verified |
//! | [`server`] | a registry on files |

pub mod client;
pub mod server;

use spec::ErrorKind;

/// A failure. (The helper who owns this crate adds variants; `kind` stays.)
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such repository or no right to see it.
    #[error(
        "pull access denied for {0}, repository does not exist or may require 'docker login': denied: requested access to the resource is denied"
    )]
    Denied(String),
    /// No such tag or digest.
    #[error("manifest for {0} not found: manifest unknown: manifest unknown")]
    ManifestUnknown(String),
    /// The registry cannot be reached.
    #[error("failed to reach registry {host}: {detail}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// Why.
        detail: String,
    },
    /// The registry answered something unexpected.
    #[error("unexpected answer from registry {host}: {detail}")]
    Protocol {
        /// Host and port.
        host: String,
        /// What.
        detail: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// The class of this failure.
    pub fn kind(&self) -> ErrorKind {
        todo!()
    }
}
