//! The client's end.
//!
//! | room | what is in it |
//! |---|---|
//! | `host` | registry names → addresses, and how far each is trusted |
//! | `hosts`, `sources` | the places that may have an image: mirrors, and the registry; falling back from one to the next |
//! | `proxy` | HTTP proxies on the way |
//! | `transport` | connections: pooled, TLS or plain, redirects followed |
//! | `message` | what is sent, and what comes back piece by piece |
//! | `challenge` | what a registry asks for; tokens |
//! | `session` | one repository with its authorization: a request, asked again with a token |
//! | `download`, `flight` | a blob's bytes, resumed and over several connections; blobs that several pulls want |
//! | `content`, `upload` | what belongs to an image here, and a blob on its way out |
//! | `signature` | which images are let in |
//! | `resolve`, `pull`, `layer`, `attestation`, `push`, `login`, `search`, `catalog`, `copy` | the verbs |
//! | `web` | any address on the web, for who builds from it |

mod attestation;
mod catalog;
mod challenge;
mod content;
mod copy;
mod download;
mod flight;
mod host;
mod hosts;
mod layer;
mod login;
mod message;
mod proxy;
mod pull;
mod push;
mod resolve;
mod search;
mod session;
mod signature;
mod sources;
mod transport;
mod upload;
mod web;

pub(crate) use challenge::encode;
pub(crate) use hosts::{Place, Trust};
pub(crate) use message::{Answer, Body};
pub use proxy::Proxies;
pub use pull::Pulled;
pub(crate) use session::{Intent, Session};
pub use signature::Rule;
pub(crate) use transport::{Transport, Url};
pub use web::Download;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spec::api::{AuthConfig, AuthResponse, Progress, SearchResult};
use spec::oci::image::{Descriptor, Manifest, Platform};
use spec::{Digest, Reference};
use store::{ChainId, Store};
use tokio::sync::mpsc::Sender;

use crate::Error;
use flight::Flights;

/// A registry client: connections are pooled inside. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Arc<Transport>,
    flights: Arc<Flights>,
}

/// How registries are spoken to.
#[derive(Debug, Clone)]
pub struct Config {
    /// `host:port` or CIDR of registries that may be spoken to without verified TLS, beside loopback ones.
    pub insecure: Vec<String>,
    /// `http[s]://host[:port]` of registries that are asked for Docker Hub's images first.
    pub mirrors: Vec<String>,
    /// The same for other registries, by their `host[:port]`; a path comes before the repository's name.
    pub mirrors_of: BTreeMap<String, Vec<String>>,
    /// Which images have to be signed, and by whom. The first rule that fits counts.
    pub signatures: Vec<Rule>,
    /// Layers that come at once in one pull.
    pub downloads: usize,
    /// Layers that go at once in one push.
    pub uploads: usize,
    /// How often a request that can be repeated is tried, and how often a download may break off without progress.
    pub attempts: u32,
    /// How long a registry may be silent.
    pub patience: Duration,
    /// The way to them.
    pub proxies: Proxies,
}

impl Default for Config {
    /// Docker's.
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            mirrors: Vec::new(),
            mirrors_of: BTreeMap::new(),
            signatures: Vec::new(),
            downloads: 3,
            uploads: 5,
            attempts: 5,
            patience: Duration::from_secs(60),
            proxies: Proxies::default(),
        }
    }
}

/// The credentials for a reference's registry, of those that a client sends by name or address of a registry.
pub fn credentials<'a>(
    auths: &'a BTreeMap<String, AuthConfig>,
    reference: &Reference,
) -> Option<&'a AuthConfig> {
    let wanted = host::of_domain(&reference.domain);
    auths.iter().find(|(address, _)| host::of_server_address(address) == wanted).map(|(_, auth)| auth)
}

/// Whether a value of `WWW-Authenticate` is understood: for the fuzz target alone.
#[cfg(fuzzing)]
pub fn reads_challenge(header: &str) -> bool {
    challenge::parse(header).is_some()
}

impl Client {
    /// A client that trusts the host's roots and `/etc/{corten,docker}/certs.d/<host>`.
    pub fn new(config: Config) -> Self {
        Self::with_certificates(config, vec!["/etc/corten/certs.d".into(), "/etc/docker/certs.d".into()])
    }

    /// A client that trusts the host's roots and what `directories/<host>` hold (Docker's certs.d: `*.crt` are roots,
    /// `*.cert` and `*.key` the client's own).
    pub fn with_certificates(config: Config, directories: Vec<PathBuf>) -> Self {
        Self { transport: Arc::new(Transport::new(config, directories)), flights: Arc::default() }
    }

    /// Changes how registries are spoken to, from the next request on.
    pub fn configure(&self, config: Config) {
        self.transport.configure(config);
    }

    /// The connections, for requests that are not a registry's.
    pub(crate) fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    /// Brings an image and its layers into the store (blobs, unpacked layers), with the statements about it that its index
    /// has. The caller tags it, and holds a lease until it has. Sends Docker's status lines (`Pulling fs layer`, `Downloading`, `Pull complete` …),
    /// not the last two (`Digest:`, `Status:`).
    ///
    /// # Errors
    /// As the variants say; content already verified stays for the next try.
    pub async fn pull(
        &self,
        store: &Store,
        reference: &Reference,
        platform: &Platform,
        auth: Option<&AuthConfig>,
        progress: Sender<Progress>,
    ) -> Result<Pulled, Error> {
        pull::pull(self, store, reference, platform, auth, progress).await
    }

    /// Sends an image to its registry: missing blobs, then manifests. With a platform its manifest alone; else of an index
    /// what is here. Sends Docker's status lines, the `tag: digest: … size: …` line and the aux object included, but not
    /// the first (`The push refers to …`), which is said once for all tags.
    ///
    /// # Errors
    /// As the variants say.
    pub async fn push(
        &self,
        store: &Store,
        reference: &Reference,
        target: &Descriptor,
        platform: Option<&Platform>,
        auth: Option<&AuthConfig>,
        progress: Sender<Progress>,
    ) -> Result<(), Error> {
        push::push(self, store, reference, target, platform, auth, progress).await
    }

    /// Asks what a reference points at, without pulling.
    ///
    /// # Errors
    /// As the variants say.
    pub async fn resolve(
        &self,
        reference: &Reference,
        auth: Option<&AuthConfig>,
    ) -> Result<Descriptor, Error> {
        resolve::resolve(self, reference, auth).await
    }

    /// Asks what a reference points at, and for which platforms it is made.
    ///
    /// # Errors
    /// As the variants say.
    pub async fn inspect(
        &self,
        reference: &Reference,
        auth: Option<&AuthConfig>,
    ) -> Result<(Descriptor, Vec<Platform>), Error> {
        resolve::inspect(self, reference, auth).await
    }

    /// The manifest behind a reference and its configuration's bytes, whatever it is the manifest of; of an index the one
    /// for this machine.
    ///
    /// # Errors
    /// As the variants say.
    pub async fn manifest_and_config(
        &self,
        reference: &Reference,
        auth: Option<&AuthConfig>,
    ) -> Result<(Manifest, Bytes), Error> {
        resolve::manifest_and_config(self, reference, auth).await
    }

    /// Brings one layer of a repository into the store, and unpacks it on `parent`.
    ///
    /// # Errors
    /// As the variants say.
    pub async fn layer(
        &self,
        store: &Store,
        reference: &Reference,
        auth: Option<&AuthConfig>,
        blob: &Descriptor,
        diff_id: Digest,
        parent: Option<ChainId>,
    ) -> Result<ChainId, Error> {
        let sources = sources::Sources::of(self, reference, auth)?;
        let chain = ChainId::on(parent.as_ref(), diff_id);
        let wanted =
            layer::Wanted { blob: blob.clone(), layer: Some(layer::Layer { diff_id, parent, chain }) };
        let flight = self.flights.of(store.root(), blob.digest);
        let slot = tokio::sync::Semaphore::new(1);
        let (progress, mut heard) = tokio::sync::mpsc::channel(16);
        let (fetched, ()) = tokio::join!(
            async {
                let fetched = layer::fetch(&sources, store, &wanted, &flight, &slot, &progress).await;
                drop(progress);
                fetched
            },
            async { while heard.recv().await.is_some() {} }
        );
        fetched.map(|()| chain)
    }

    /// Asks for an address of http or https; redirects are followed. `headers` go to that host only.
    ///
    /// # Errors
    /// It cannot be reached, or is no such address; another status than success is for the caller to judge.
    pub async fn download(&self, address: &str, headers: &[(&str, &str)]) -> Result<Download, Error> {
        web::download(self, address, "GET", headers, Vec::new()).await
    }

    /// The same with bytes to send.
    ///
    /// # Errors
    /// As [`Client::download`].
    pub async fn post(
        &self,
        address: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Download, Error> {
        web::download(self, address, "POST", headers, body).await
    }

    /// Checks credentials (`docker login`): the status line, and a token that stands in for the password if the registry
    /// gives one.
    ///
    /// # Errors
    /// `Unauthorized` when they are wrong.
    pub async fn login(&self, auth: &AuthConfig) -> Result<AuthResponse, Error> {
        login::login(self, auth).await
    }

    /// The repository's tags, sorted.
    ///
    /// # Errors
    /// As the variants say.
    pub async fn tags(&self, reference: &Reference, auth: Option<&AuthConfig>) -> Result<Vec<String>, Error> {
        catalog::tags(self, reference, auth).await
    }

    /// What refers to a manifest (signatures, attestations, …), of one kind if it is named.
    ///
    /// # Errors
    /// As the variants say.
    pub async fn referrers(
        &self,
        reference: &Reference,
        kind: &str,
        auth: Option<&AuthConfig>,
    ) -> Result<Vec<Descriptor>, Error> {
        catalog::referrers(self, reference, kind, auth).await
    }

    /// A manifest or index as it is.
    ///
    /// # Errors
    /// As the variants say.
    pub async fn manifest(
        &self,
        reference: &Reference,
        auth: Option<&AuthConfig>,
    ) -> Result<(Descriptor, Bytes), Error> {
        catalog::manifest(self, reference, auth).await
    }

    /// A small blob (an image's configuration).
    ///
    /// # Errors
    /// As the variants say.
    pub async fn blob(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        auth: Option<&AuthConfig>,
    ) -> Result<Bytes, Error> {
        catalog::blob(self, reference, blob, auth).await
    }

    /// Sends a manifest or index whose content is in the repository, under the reference's tag or its digest.
    ///
    /// # Errors
    /// As the variants say.
    pub async fn put_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: Bytes,
        auth: Option<&AuthConfig>,
    ) -> Result<Descriptor, Error> {
        catalog::put_manifest(self, reference, media_type, bytes, auth).await
    }

    /// Copies what a reference points at to another repository or registry, with all that belongs to it and is not there;
    /// nothing is kept here.
    ///
    /// # Errors
    /// As the variants say.
    pub async fn copy(
        &self,
        from: (&Reference, Option<&AuthConfig>),
        to: (&Reference, Option<&AuthConfig>),
        progress: Sender<Progress>,
    ) -> Result<Descriptor, Error> {
        copy::copy(self, from, to, progress).await
    }

    /// Asks a registry's search (`GET /v1/search`) for a term, which may begin with the registry's name.
    ///
    /// # Errors
    /// As the variants say.
    pub async fn search(
        &self,
        term: &str,
        limit: u32,
        auth: Option<&AuthConfig>,
    ) -> Result<Vec<SearchResult>, Error> {
        search::search(self, term, limit, auth).await
    }
}
