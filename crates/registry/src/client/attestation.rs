//! What is said of an image beside it in its index (provenance, lists of packages) comes in with the image.

use std::sync::Arc;

use spec::Reference;
use spec::oci::image::{Descriptor, Manifest};
use store::Store;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::flight::Flights;
use super::layer::{self, Wanted};
use super::pull::{child, configuration_blob};
use super::sources::Sources;
use crate::Error;

/// Brings the manifests of statements in, with their blobs. One that the registry has lost is left out: the image is
/// whole without it.
pub(super) async fn bring(
    flights: &Flights,
    sources: &Arc<Sources>,
    store: &Store,
    reference: &Reference,
    attestations: &[Descriptor],
    at_once: usize,
) -> Result<(), Error> {
    for attestation in attestations {
        let fetched = match child(sources, store, reference, attestation).await {
            Err(Error::ManifestUnknown(_)) => {
                tracing::debug!(digest = %attestation.digest, "the registry lacks an attestation");
                continue;
            }
            fetched => fetched?,
        };
        let session = sources.get(0).await?;
        let manifest: Manifest = serde_json::from_slice(&fetched.bytes)
            .map_err(|e| session.protocol(format!("attestation {}: {e}", attestation.digest)))?;
        configuration_blob(sources, store, &manifest.config).await?;
        statements(flights, sources, store, &manifest.layers, at_once).await?;
    }
    Ok(())
}

/// They may be large: they come as layers do, but are told to nobody.
async fn statements(
    flights: &Flights,
    sources: &Arc<Sources>,
    store: &Store,
    blobs: &[Descriptor],
    at_once: usize,
) -> Result<(), Error> {
    let (nobody, _) = mpsc::channel(1);
    let slots = Arc::new(Semaphore::new(at_once));
    // Dropped, as when the client has gone, it ends its tasks.
    let mut tasks = JoinSet::new();
    for blob in blobs {
        let flight = flights.of(store.root(), blob.digest);
        let wanted = Wanted { blob: blob.clone(), layer: None };
        let (sources, store, nobody, slots) =
            (Arc::clone(sources), store.clone(), nobody.clone(), Arc::clone(&slots));
        tasks.spawn(async move { layer::fetch(&sources, &store, &wanted, &flight, &slots, &nobody).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a statement's task neither panics nor is aborted")?;
    }
    Ok(())
}
