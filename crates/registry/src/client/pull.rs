//! An image comes in: manifest, configuration, layers. The caller tags it when all is here.

use std::collections::HashMap;
use std::sync::Arc;

use spec::api::{AuthConfig, Progress};
use spec::oci::image::{Descriptor, Image, Index, Manifest, Platform, media};
use spec::{Digest, Reference};
use store::{ChainId, Store};
use tokio::sync::mpsc::Sender;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

use super::resolve::{Fetched, choose, find, key, manifest, small_blob};
use super::session::Session;
use super::{Client, layer};
use crate::Error;

/// Runs blocking work of the store.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.expect("the store's work neither panics nor is aborted")
}

/// Sends a status line. A listener that has gone is no reason to stop: the caller does that.
pub(crate) async fn say(progress: &Sender<Progress>, line: Progress) {
    let _ = progress.send(line).await;
}

pub(crate) async fn pull(
    client: &Client,
    store: &Store,
    reference: &Reference,
    platform: &Platform,
    auth: Option<&AuthConfig>,
    progress: Sender<Progress>,
) -> Result<Descriptor, Error> {
    let (session, target) = find(client, reference, auth).await?;
    let session = Arc::new(session);
    say(&progress, Progress::of(key(reference), format!("Pulling from {}", reference.path))).await;

    let lease = {
        let (store, what) = (store.clone(), format!("pull of {reference}"));
        blocking(move || Ok(store.lease(&what)?)).await?
    };
    keep(store, &target).await?;
    let chosen = for_platform(&session, store, reference, platform, &target).await?;
    let manifest: Manifest = serde_json::from_slice(&chosen.bytes)
        .map_err(|e| session.protocol(format!("manifest of {}: {e}", reference.familiar())))?;
    let diff_ids = configuration(&session, store, reference, &manifest).await?;
    let at_once = client.transport.config().downloads;
    layers(&session, store, &manifest.layers, &diff_ids, at_once, &progress).await?;
    drop(lease);
    Ok(target.descriptor)
}

/// Puts a manifest or index into the store.
async fn keep(store: &Store, fetched: &Fetched) -> Result<(), Error> {
    let (store, media_type, bytes) =
        (store.clone(), fetched.descriptor.media_type.clone(), fetched.bytes.clone());
    blocking(move || Ok(store.put_blob(&media_type, &bytes).map(drop)?)).await
}

/// The manifest itself, or the one of an index that is for the platform.
async fn for_platform(
    session: &Session,
    store: &Store,
    reference: &Reference,
    platform: &Platform,
    target: &Fetched,
) -> Result<Fetched, Error> {
    if media::is_manifest(&target.descriptor.media_type) {
        return Ok(Fetched { descriptor: target.descriptor.clone(), bytes: target.bytes.clone() });
    }
    let index: Index = serde_json::from_slice(&target.bytes)
        .map_err(|e| session.protocol(format!("index of {}: {e}", reference.familiar())))?;
    let descriptor = choose(&index, platform).ok_or_else(|| Error::NoPlatform {
        reference: reference.familiar(),
        platform: platform.to_string(),
    })?;
    let fetched = manifest(session, reference, &descriptor.digest.to_string()).await?;
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
    session: &Session,
    store: &Store,
    reference: &Reference,
    manifest: &Manifest,
) -> Result<Vec<Digest>, Error> {
    let bytes = small_blob(session, &manifest.config).await?;
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
    session: &Arc<Session>,
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
    // A blob that occurs twice comes once: the second waits for the first.
    let mut blobs: HashMap<Digest, Arc<Mutex<()>>> = HashMap::new();
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
        let alone = Arc::clone(blobs.entry(layer.digest).or_default());
        let (session, store, progress, slots) =
            (Arc::clone(session), store.clone(), progress.clone(), Arc::clone(&slots));
        tasks.spawn(async move {
            let _alone = alone.lock().await;
            let _slot = slots.acquire().await.expect("it is never closed");
            layer::fetch(&session, &store, &wanted, &progress).await
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a layer's task neither panics nor is aborted")?;
    }
    Ok(())
}
