//! What goes on besides serving: reloading, collecting, numbers. None of it ends.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;

use super::{Collected, Control, Registry, access, body, collect, listen};
use crate::Error;

/// After the start, before the first collection.
const SETTLE: Duration = Duration::from_secs(60);

/// Certificates, users and rules, read again when told to. What cannot be read leaves all as it was.
pub(super) async fn reload(registry: &Registry, certificate: &listen::Tls, control: &Control) {
    loop {
        control.reload.notified().await;
        let renewed = async {
            let access = access(&registry.config, &registry.repositories.storage).await?;
            Ok::<_, Error>((super::certificate(&registry.config)?, access))
        };
        match renewed.await {
            Ok((renewed, access)) => {
                *certificate.write().unwrap_or_else(PoisonError::into_inner) = renewed;
                *registry.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
                tracing::info!("certificates and users were read again");
            }
            Err(error) => tracing::error!(%error, "all stays as it was"),
        }
    }
}

pub(super) async fn collect_now_and_then(registry: &Registry, control: &Control) {
    let settings = &registry.config.settings;
    let mut pause = settings.collect.every.map(|every| every.min(SETTLE));
    loop {
        let timer = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = timer => {}
            () = control.collect.notified() => {}
        }
        pause = settings.collect.every;
        if registry.config.read_only {
            tracing::info!("nothing is collected: read-only");
            continue;
        }
        match collect::collect(&registry.repositories, &settings.retention, &settings.collect, false).await {
            Ok(Some(done)) => {
                registry.metrics.collections.fetch_add(1, Relaxed);
                registry.metrics.collected_blobs.fetch_add(done.blobs, Relaxed);
                registry.metrics.collected_bytes.fetch_add(done.bytes, Relaxed);
                let (tags, manifests) = (done.tags.len(), done.manifests.len());
                let Collected { blobs, bytes, uploads, .. } = done;
                tracing::info!(tags, manifests, blobs, bytes, uploads, "collected");
            }
            Ok(None) => {}
            Err(refusal) => tracing::error!(%refusal, "could not collect"),
        }
    }
}

/// Numbers for whoever asks, on an address of their own.
pub(super) async fn metrics_pages(listener: Option<TcpListener>, registry: &Arc<Registry>) {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let registry = Arc::clone(registry);
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|_: Request<Incoming>| async {
                let media_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                let response = body::full(StatusCode::OK, media_type, registry.metrics.text());
                Ok::<_, std::convert::Infallible>(response)
            });
            let stream = hyper_util::rt::TokioIo::new(stream);
            let served = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .serve_connection(stream, service);
            // Whoever asked has gone; they ask again.
            let _ = tokio::time::timeout(Duration::from_secs(10), served).await;
        });
    }
}
