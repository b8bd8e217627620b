//! The client's end: pull and push.

use spec::Reference;
use spec::api::{AuthConfig, Progress};
use spec::oci::image::{Descriptor, Platform};
use store::Store;
use tokio::sync::mpsc::Sender;

use crate::Error;

/// A registry client: connections are pooled inside. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    _private: (),
}

/// Which registries may be spoken to without verified TLS, beside loopback ones.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `host:port` or CIDR.
    pub insecure: Vec<String>,
}

impl Client {
    /// A client.
    pub fn new(_config: Config) -> Self {
        todo!()
    }

    /// Brings an image and its layers into the store (blobs, unpacked layers) and returns the target.
    /// The caller tags it. Sends Docker's status lines (`Pulling fs layer`, `Downloading`, `Pull complete` …),
    /// not the last two (`Digest:`, `Status:`).
    ///
    /// # Errors
    /// As the variants say; content already verified stays for the next try.
    pub async fn pull(
        &self,
        _store: &Store,
        _reference: &Reference,
        _platform: &Platform,
        _auth: Option<&AuthConfig>,
        _progress: Sender<Progress>,
    ) -> Result<Descriptor, Error> {
        todo!()
    }

    /// Sends an image to its registry: missing blobs, then manifests. Sends Docker's status lines, the
    /// `tag: digest: … size: …` line and the aux object included.
    ///
    /// # Errors
    /// As the variants say.
    pub async fn push(
        &self,
        _store: &Store,
        _reference: &Reference,
        _target: &Descriptor,
        _auth: Option<&AuthConfig>,
        _progress: Sender<Progress>,
    ) -> Result<(), Error> {
        todo!()
    }

    /// Asks what a reference points at, without pulling.
    ///
    /// # Errors
    /// As the variants say.
    pub async fn resolve(
        &self,
        _reference: &Reference,
        _auth: Option<&AuthConfig>,
    ) -> Result<Descriptor, Error> {
        todo!()
    }

    /// Asks what a reference points at, and for which platforms.
    ///
    /// # Errors
    /// As the variants say.
    pub async fn inspect(
        &self,
        _reference: &Reference,
        _auth: Option<&AuthConfig>,
    ) -> Result<(Descriptor, Vec<Platform>), Error> {
        todo!()
    }

    /// Checks credentials (`docker login`); returns the status line.
    ///
    /// # Errors
    /// `Denied` when they are wrong.
    pub async fn login(&self, _auth: &AuthConfig) -> Result<String, Error> {
        todo!()
    }
}
