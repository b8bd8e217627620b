//! An image comes in: manifest, configuration, layers. The caller tags it when all is here.

use std::sync::Arc;

use spec::api::{AuthConfig, Progress};
use spec::oci::image::{Descriptor, Image, Index, Manifest, Platform, media};
use spec::{Digest, Reference};
use store::{ChainId, Store};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use super::flight::{Flights, say};
use super::resolve::{Fetched, choose, key, manifest, small_blob};
use super::sources::Sources;
use super::{Client, layer, signature};
use crate::Error;

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
) -> Result<Descriptor, Error> {
    let (sources, target) = Sources::of(client, reference, auth)?.find().await?;
    say(&progress, Progress::of(key(reference), format!("Pulling from {}", reference.path))).await;
    signature::check(client, reference, &target.descriptor, &sources).await?;

    let lease = {
        let (store, what) = (store.clone(), format!("pull of {reference}"));
        blocking(move || Ok(store.lease(&what)?)).await?
    };
    keep(store, &target).await?;
    let chosen = for_platform(&sources, store, reference, platform, &target).await?;
    // From here on what has come in is kept for another try, unless it is known to be of no use.
    let manifest = chosen.descriptor.clone();
    on_manifest(store, move |store| Ok(store.expect_image(&manifest)?)).await?;
    let arrived = content(client, sources, store, reference, &chosen, &progress).await;
    if arrived.as_ref().err().is_none_or(|error| !error.is_passing()) {
        let digest = chosen.descriptor.digest;
        on_manifest(store, move |store| Ok(store.forget_image(&digest)?)).await?;
    }
    arrived?;
    drop(lease);
    Ok(target.descriptor)
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
    client: &Client,
    sources: Sources,
    store: &Store,
    reference: &Reference,
    chosen: &Fetched,
    progress: &Sender<Progress>,
) -> Result<(), Error> {
    let session = sources.get(0).await?;
    let manifest: Manifest = serde_json::from_slice(&chosen.bytes)
        .map_err(|e| session.protocol(format!("manifest of {}: {e}", reference.familiar())))?;
    let diff_ids = configuration(&sources, store, reference, &manifest).await?;
    let at_once = client.transport.config().downloads;
    layers(&client.flights, sources, store, &manifest.layers, &diff_ids, at_once, progress).await
}

/// Puts a manifest or index into the store.
async fn keep(store: &Store, fetched: &Fetched) -> Result<(), Error> {
    let (store, media_type, bytes) =
        (store.clone(), fetched.descriptor.media_type.clone(), fetched.bytes.clone());
    blocking(move || Ok(store.put_blob(&media_type, &bytes).map(drop)?)).await
}

/// The manifest itself, or the one of an index that is for the platform.
async fn for_platform(
    sources: &Sources,
    store: &Store,
    reference: &Reference,
    platform: &Platform,
    target: &Fetched,
) -> Result<Fetched, Error> {
    if media::is_manifest(&target.descriptor.media_type) {
        return Ok(Fetched { descriptor: target.descriptor.clone(), bytes: target.bytes.clone() });
    }
    let session = sources.get(0).await?;
    let index: Index = serde_json::from_slice(&target.bytes)
        .map_err(|e| session.protocol(format!("index of {}: {e}", reference.familiar())))?;
    let descriptor = choose(&index, platform).ok_or_else(|| Error::NoPlatform {
        reference: reference.familiar(),
        platform: platform.to_string(),
    })?;
    let key = descriptor.digest.to_string();
    let key = key.as_str();
    let fetched = sources.ask(|session| async move { manifest(&session, reference, key).await }).await?;
    if fetched.descriptor.size != descriptor.size {
        return Err(session.protocol(format!(
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
    let bytes = sources.ask(|session| async move { small_blob(&session, &manifest.config).await }).await?;
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
    let (store, media_type) = (store.clone(), manifest.config.media_type.clone());
    blocking(move || Ok(store.put_blob(&media_type, &bytes).map(drop)?)).await?;
    Ok(config.rootfs.diff_ids)
}

/// Brings the layers in, several at once and in any order: none needs its parent to be unpacked.
async fn layers(
    flights: &Flights,
    sources: Sources,
    store: &Store,
    layers: &[Descriptor],
    diff_ids: &[Digest],
    at_once: usize,
    progress: &Sender<Progress>,
) -> Result<(), Error> {
    for layer in layers {
        say(progress, Progress::of(layer.digest.short(), "Pulling fs layer")).await;
    }
    let (sources, slots) = (Arc::new(sources), Arc::new(Semaphore::new(at_once)));
    // Dropped, as when the client has gone, it ends its tasks.
    let mut tasks = JoinSet::new();
    let mut parent: Option<ChainId> = None;
    for (position, (layer, diff_id)) in layers.iter().zip(diff_ids).enumerate() {
        let wanted = layer::Wanted {
            blob: layer.clone(),
            diff_id: *diff_id,
            parent,
            chain: Store::chain_of(&diff_ids[..=position]).expect("there is at least one"),
        };
        parent = Some(wanted.chain);
        // A blob that occurs twice, or that another pull fetches, comes once.
        let flight = flights.of(store.root(), layer.digest);
        let (sources, store, progress, slots) =
            (Arc::clone(&sources), store.clone(), progress.clone(), Arc::clone(&slots));
        tasks.spawn(async move { layer::fetch(&sources, &store, &wanted, &flight, &slots, &progress).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a layer's task neither panics nor is aborted")?;
    }
    Ok(())
}
