//! What the command line asks of `cortend registry ask`, a process of its own that speaks to registries for it, without an
//! engine: one [`Ask`] on standard input, [`Told`] lines on standard output.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{AuthConfig, Progress};
use crate::oci::image::Descriptor;

/// One question.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ask {
    /// What is to be done.
    pub verb: Verb,
    /// The image in question.
    pub reference: String,
    /// Credentials for its registry.
    #[serde(default)]
    pub auth: Option<AuthConfig>,
    /// The registry may be spoken to without verified TLS.
    #[serde(default)]
    pub insecure: bool,
}

/// What is to be done with an image in its registry.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Its manifest or index: [`Found`].
    Manifest,
    /// A small blob of its repository: a text.
    Blob(Descriptor),
    /// Puts a manifest there; its content must be there: the descriptor.
    Put {
        /// The manifest's media type.
        media_type: String,
        /// Its bytes.
        bytes: String,
    },
    /// Copies it, with all that belongs to it: the descriptor.
    Copy {
        /// Where to.
        to: String,
        /// Credentials for that registry.
        to_auth: Option<AuthConfig>,
    },
    /// What refers to it: descriptors.
    Referrers {
        /// Only of this artifact type; empty is any.
        kind: String,
    },
}

/// A manifest as the registry has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Found {
    /// What it is.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: String,
}

/// One line of the answer; the last one is no progress.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// How far it is.
    Progress(Progress),
    /// It is done.
    Done(Value),
    /// It failed, and why.
    Failed(String),
}
