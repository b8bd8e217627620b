//! The OCI distribution protocol (distribution-spec 1.1), both ends.
//!
//! | room | what is in it |
//! |---|---|
//! | [`client`] | resolve, pull, push, log in: auth, TLS, resume, digests verified |
//! | [`server`] | a registry for a team: on files or in a bucket, with users, tokens, a cache, collection |
//! | `tls` | certificates and trust, for both |
//! | `digest` | hashing |
//!
//! Words: a *repository* is a name on a registry (`library/busybox`); a *challenge* is what a registry asks for in
//! `WWW-Authenticate`; an *upload* is a blob on its way in.

#![deny(missing_docs)]

pub mod client;
mod digest;
pub mod server;
mod tls;

use spec::ErrorKind;

/// A failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such repository or no right to see it.
    #[error(
        "pull access denied for {repository}, repository does not exist or may require 'docker login': denied: {detail}"
    )]
    Denied {
        /// The repository, as users name it.
        repository: String,
        /// In the registry's words.
        detail: String,
    },
    /// No right to push there, or no room.
    #[error(
        "push access denied for {repository}, repository does not exist or may require 'docker login': denied: {detail}"
    )]
    PushDenied {
        /// The repository, as users name it.
        repository: String,
        /// In the registry's words.
        detail: String,
    },
    /// Wrong credentials, or none where some are needed.
    #[error("login attempt to {host} failed: unauthorized: {detail}")]
    Unauthorized {
        /// Host and port.
        host: String,
        /// In the registry's words.
        detail: String,
    },
    /// No such tag or digest.
    #[error("manifest for {0} not found: manifest unknown: manifest unknown")]
    ManifestUnknown(String),
    /// The image is not made for that platform.
    #[error("no matching manifest for {platform} in the manifest list entries of {reference}")]
    NoPlatform {
        /// The image.
        reference: String,
        /// The platform asked for.
        platform: String,
    },
    /// The image that is to be pushed is not here for that platform.
    #[error(
        "image with reference {reference} was found but does not provide the specified platform ({platform})"
    )]
    NotProvided {
        /// The image.
        reference: String,
        /// The platform asked for.
        platform: String,
    },
    /// The registry cannot be reached.
    #[error("failed to reach registry {host}: {detail}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// Why.
        detail: String,
    },
    /// A connection to the registry broke, or it fell silent.
    #[error("the connection to registry {host} broke: {detail}")]
    Broken {
        /// Host and port.
        host: String,
        /// How.
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
    /// The registry refuses for now (too many requests, maintenance).
    #[error("registry {host} is not available: {detail}")]
    Unavailable {
        /// Host and port.
        host: String,
        /// In the registry's words.
        detail: String,
    },
    /// The signature policy does not let the image in.
    #[error("{reference} is refused by the signature policy for {pattern}: {detail}")]
    Unsigned {
        /// The image.
        reference: String,
        /// The rule's pattern.
        pattern: String,
        /// Why.
        detail: String,
    },
    /// The server, or the way to a registry, cannot be set up as asked for.
    #[error("{step} {object}: {detail}")]
    Setup {
        /// What was tried.
        step: &'static str,
        /// On what.
        object: String,
        /// Why.
        detail: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// Whether the same may go well a little later: what has come in is of use then.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Broken { .. } | Self::Unavailable { .. })
    }

    /// A refusal of which the next try may know nothing.
    pub(crate) fn into_passing(self) -> Self {
        match self {
            Self::Unauthorized { host, detail } => Self::Unavailable { host, detail },
            other => other,
        }
    }

    /// The same failure, with what was going on.
    pub(crate) fn during(mut self, what: String) -> Self {
        if let Self::Unreachable { detail, .. }
        | Self::Broken { detail, .. }
        | Self::Unavailable { detail, .. } = &mut self
        {
            *detail = format!("{what}: {detail}");
        }
        self
    }

    /// What went wrong with a host that is no registry.
    pub(crate) fn at_host(&self) -> String {
        match self {
            Self::Unreachable { host, detail }
            | Self::Broken { host, detail }
            | Self::Protocol { host, detail } => format!("{host}: {detail}"),
            other => other.to_string(),
        }
    }

    /// The class of this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Denied { .. }
            | Self::ManifestUnknown(_)
            | Self::NoPlatform { .. }
            | Self::NotProvided { .. } => ErrorKind::NotFound,
            Self::PushDenied { .. } => ErrorKind::Forbidden,
            Self::Unauthorized { .. } => ErrorKind::Unauthorized,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Unsigned { .. } => ErrorKind::Forbidden,
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Protocol { .. } | Self::Setup { .. } => {
                ErrorKind::Internal
            }
            Self::Store(error) => error.kind(),
        }
    }
}
