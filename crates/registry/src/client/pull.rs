//! An image comes in: manifest, configuration, layers. The caller tags it when all is here.

use std::sync::Arc;

use bytes::Bytes;
use spec::api::{AuthConfig, Progress};
use spec::oci::image::{Descriptor, Image, Index, Manifest, Platform, media};
use spec::{Digest, Reference};
use store::{ChainId, MemberKind, Origin, Store};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use super::flight::{Flights, say};
use super::resolve::{Fetched, choose, key, manifest, small_blob};
use super::sources::Sources;
use super::{Client, attestation, layer, signature};
use crate::Error;

/// What a pull has brought in.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The manifest or index that the name is for.
    pub target: Descriptor,
    /// Where it is from, and who has signed it as the policy demands.
    pub origin: Origin,
}

/// Runs blocking work of the store.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.expect("the store's work neither panics nor is aborted")
}

pub(crate) async fn pull(
    client: &Client,
    store: &Store,
    reference: &Reference,
    platform: &Platform,
    auth: Option<&AuthConfig>,
    progress: Sender<Progress>,
) -> Result<Pulled, Error> {
    let (sources, target) = Sources::of(client, reference, auth)?.find().await?;
    say(&progress, Progress::of(key(reference), format!("Pulling from {}", reference.path))).await;
    let signature = signature::check(client, reference, &target.descriptor, &sources).await?;

    let lease = {
        let (store, what) = (store.clone(), format!("pull of {reference}"));
        blocking(move || Ok(store.lease(&what)?)).await?
    };
    keep(store, &target).await?;
    let (chosen, attestations) = for_platform(&sources, store, reference, platform, &target).await?;
    // From here on what has come in is kept for another try, unless it is known to be of no use.
    let manifest = chosen.descriptor.clone();
    on_manifest(store, move |store| Ok(store.expect_image(&manifest)?)).await?;
    let (sources, flights) = (Arc::new(sources), &client.flights);
    let at_once = client.transport.config().downloads;
    // Side by side, and each to its end: nothing is being written when a failure is told.
    let (arrived, beside) = tokio::join!(
        content(flights, &sources, store, reference, &chosen, at_once, &progress),
        attestation::bring(flights, &sources, store, reference, &attestations, at_once),
    );
    let arrived = arrived.and(beside);
    if arrived.as_ref().err().is_none_or(|error| !error.is_passing()) {
        let digest = chosen.descriptor.digest;
        on_manifest(store, move |store| Ok(store.forget_image(&digest)?)).await?;
    }
    arrived?;
    drop(lease);
    let mut origin = Origin::repository(reference.repository());
    origin.signatures.extend(signature);
    Ok(Pulled { target: target.descriptor, origin })
}

async fn on_manifest(
    store: &Store,
    work: impl FnOnce(&Store) -> Result<(), Error> + Send + 'static,
) -> Result<(), Error> {
    let store = store.clone();
    blocking(move || work(&store)).await
}

/// Configuration and layers.
async fn content(
    flights: &Flights,
    sources: &Arc<Sources>,
    store: &Store,
    reference: &Reference,
    chosen: &Fetched,
    at_once: usize,
    progress: &Sender<Progress>,
) -> Result<(), Error> {
    let session = sources.get(0).await?;
    let manifest: Manifest = serde_json::from_slice(&chosen.bytes)
        .map_err(|e| session.protocol(format!("manifest of {}: {e}", reference.familiar())))?;
    let diff_ids = configuration(sources, store, reference, &manifest).await?;
    layers(flights, sources, store, &manifest.layers, &diff_ids, at_once, progress).await
}

/// Puts a manifest or index into the store.
async fn keep(store: &Store, fetched: &Fetched) -> Result<(), Error> {
    let (store, media_type, bytes) =
        (store.clone(), fetched.descriptor.media_type.clone(), fetched.bytes.clone());
    blocking(move || Ok(store.put_blob(&media_type, &bytes).map(drop)?)).await
}

/// The manifest itself, or the one of an index that is for the platform, and what the index has of statements about it.
async fn for_platform(
    sources: &Sources,
    store: &Store,
    reference: &Reference,
    platform: &Platform,
    target: &Fetched,
) -> Result<(Fetched, Vec<Descriptor>), Error> {
    if media::is_manifest(&target.descriptor.media_type) {
        let own = Fetched { descriptor: target.descriptor.clone(), bytes: target.bytes.clone() };
        return Ok((own, Vec::new()));
    }
    let session = sources.get(0).await?;
    let index: Index = serde_json::from_slice(&target.bytes)
        .map_err(|e| session.protocol(format!("index of {}: {e}", reference.familiar())))?;
    let descriptor = choose(&index, platform).ok_or_else(|| Error::NoPlatform {
        reference: reference.familiar(),
        platform: platform.to_string(),
    })?;
    let kind = MemberKind::Attestation(descriptor.digest);
    let beside = index.manifests.iter();
    let beside = beside.filter(|d| MemberKind::of(d) == kind && media::is_manifest(&d.media_type));
    Ok((child(sources, store, reference, descriptor).await?, beside.cloned().collect()))
}

/// A manifest that an index names, into the store.
pub(super) async fn child(
    sources: &Sources,
    store: &Store,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Fetched, Error> {
    let key = descriptor.digest.to_string();
    let key = key.as_str();
    let fetched = sources.ask(|session| async move { manifest(&session, reference, key).await }).await?;
    if fetched.descriptor.size != descriptor.size {
        return Err(sources.get(0).await?.protocol(format!(
            "manifest {} has {} bytes instead of {}",
            descriptor.digest, fetched.descriptor.size, descriptor.size
        )));
    }
    keep(store, &fetched).await?;
    Ok(fetched)
}

/// Brings the configuration in and returns the DiffIDs, one for each layer.
async fn configuration(
    sources: &Sources,
    store: &Store,
    reference: &Reference,
    manifest: &Manifest,
) -> Result<Vec<Digest>, Error> {
    let session = sources.get(0).await?;
    let bytes = configuration_blob(sources, store, &manifest.config).await?;
    let config: Image = serde_json::from_slice(&bytes)
        .map_err(|e| session.protocol(format!("configuration of {}: {e}", reference.familiar())))?;
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(session.protocol(format!(
            "{} has {} layers, but its configuration names {}",
            reference.familiar(),
            manifest.layers.len(),
            config.rootfs.diff_ids.len()
        )));
    }
    Ok(config.rootfs.diff_ids)
}

/// Brings a configuration in, whatever it is.
pub(super) async fn configuration_blob(
    sources: &Sources,
    store: &Store,
    config: &Descriptor,
) -> Result<Bytes, Error> {
    let bytes = sources.ask(|session| async move { small_blob(&session, config).await }).await?;
    let (store, media_type, content) = (store.clone(), config.media_type.clone(), bytes.clone());
    blocking(move || Ok(store.put_blob(&media_type, &content).map(drop)?)).await?;
    Ok(bytes)
}

/// Brings the layers in, several at once and in any order: none needs its parent to be unpacked.
async fn layers(
    flights: &Flights,
    sources: &Arc<Sources>,
    store: &Store,
    layers: &[Descriptor],
    diff_ids: &[Digest],
    at_once: usize,
    progress: &Sender<Progress>,
) -> Result<(), Error> {
    for layer in layers {
        say(progress, Progress::of(layer.digest.short(), "Pulling fs layer")).await;
    }
    let slots = Arc::new(Semaphore::new(at_once));
    // Dropped, as when the client has gone, it ends its tasks.
    let mut tasks = JoinSet::new();
    let mut parent: Option<ChainId> = None;
    for (position, (layer, diff_id)) in layers.iter().zip(diff_ids).enumerate() {
        let chain = Store::chain_of(&diff_ids[..=position]).expect("there is at least one");
        let wanted = layer::Wanted {
            blob: layer.clone(),
            layer: Some(layer::Layer { diff_id: *diff_id, parent, chain }),
        };
        parent = Some(chain);
        // A blob that occurs twice, or that another pull fetches, comes once.
        let flight = flights.of(store.root(), layer.digest);
        let (sources, store, progress, slots) =
            (Arc::clone(sources), store.clone(), progress.clone(), Arc::clone(&slots));
        tasks.spawn(async move { layer::fetch(&sources, &store, &wanted, &flight, &slots, &progress).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a layer's task neither panics nor is aborted")?;
    }
    Ok(())
}
