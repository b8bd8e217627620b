//! Webhooks: what happens is told to others, in Docker distribution's envelope.
//!
//! Each webhook has a queue of its own, bounded, and tells in order; what cannot be told is tried again, then given up.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::Caller;
use super::config::Webhook;
use super::digest::Digest;
use super::metrics::Metrics;
use super::route::Name;
use crate::client::{Body, Transport, Url};

/// Events that wait for one webhook.
const QUEUE: usize = 1000;
/// Events in one request.
const BATCH: usize = 20;
/// How often an event is told, and how long it takes between the first two; each pause is twice the last.
const TRIES: u32 = 8;
const PAUSE: Duration = Duration::from_millis(250);
const MEDIA_TYPE: &str = "application/vnd.docker.distribution.events.v1+json";

/// Something that happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event<'a> {
    pub(crate) action: &'static str,
    pub(crate) repository: &'a Name,
    pub(crate) digest: &'a Digest,
    pub(crate) media_type: &'a str,
    pub(crate) size: u64,
    pub(crate) tag: Option<&'a str>,
    /// Where a blob was mounted from.
    pub(crate) from: Option<&'a Name>,
}

impl<'a> Event<'a> {
    pub(crate) fn new(action: &'static str, repository: &'a Name, digest: &'a Digest) -> Self {
        Self { action, repository, digest, media_type: "", size: 0, tag: None, from: None }
    }

    fn envelope(&self, caller: &Caller) -> Value {
        let kind = if self.media_type.contains("manifest") || self.media_type.contains("index") {
            "manifests"
        } else {
            "blobs"
        };
        let repository = self.repository.as_str();
        let mut target = json!({
            "digest": self.digest,
            "repository": repository,
            "url": format!("{}/v2/{repository}/{kind}/{}", caller.origin, self.digest),
        });
        if self.size > 0 {
            target["size"] = self.size.into();
            target["length"] = self.size.into();
        }
        if !self.media_type.is_empty() {
            target["mediaType"] = self.media_type.into();
        }
        if let Some(tag) = self.tag {
            target["tag"] = tag.into();
        }
        if let Some(from) = self.from {
            target["fromRepository"] = from.as_str().into();
        }
        let identity = caller.identity.name();
        json!({
            "id": uuid(),
            "timestamp": jiff::Timestamp::now().to_string(),
            "action": self.action,
            "target": target,
            "request": {
                "id": uuid(),
                "addr": caller.address.to_string(),
                "host": caller.origin.split("://").nth(1).unwrap_or_default(),
                "method": caller.method.as_str(),
                "useragent": caller.agent,
            },
            "actor": if identity.is_empty() { json!({}) } else { json!({ "name": identity }) },
            "source": { "addr": caller.local.to_string(), "instanceID": instance() },
        })
    }
}

/// Random, in the form that consumers of these events expect of an id (RFC 9562, version 4).
fn uuid() -> String {
    let mut bytes = sys::random::bytes::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = spec::digest::hex(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// This server among others.
fn instance() -> &'static str {
    static INSTANCE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    INSTANCE.get_or_init(uuid)
}

/// All webhooks.
pub(crate) struct Notifier {
    webhooks: Vec<Arc<Queue>>,
    metrics: Arc<Metrics>,
    /// They end with this.
    _tasks: JoinSet<()>,
}

struct Queue {
    webhook: Webhook,
    waiting: Mutex<VecDeque<Value>>,
    more: Notify,
}

impl Notifier {
    pub(crate) fn new(webhooks: &[Webhook], transport: &Arc<Transport>, metrics: &Arc<Metrics>) -> Self {
        let mut tasks = JoinSet::new();
        let queue = |webhook: &Webhook| {
            let queue =
                Arc::new(Queue { webhook: webhook.clone(), waiting: Mutex::default(), more: Notify::new() });
            tasks.spawn(deliver(Arc::clone(&queue), Arc::clone(transport), Arc::clone(metrics)));
            queue
        };
        let webhooks = webhooks.iter().map(queue).collect();
        Self { webhooks, metrics: Arc::clone(metrics), _tasks: tasks }
    }

    /// Tells whom it concerns; never waits.
    pub(crate) fn tell(&self, caller: &Caller, event: Event<'_>) {
        let concerned = |webhook: &Webhook| {
            (webhook.actions.is_empty() || webhook.actions.iter().any(|a| a == event.action))
                && webhook.repositories.iter().any(|p| p.matches(event.repository.as_str()))
        };
        let mut envelope = None;
        for queue in self.webhooks.iter().filter(|queue| concerned(&queue.webhook)) {
            let envelope = envelope.get_or_insert_with(|| event.envelope(caller)).clone();
            let mut waiting = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= QUEUE {
                // The oldest is worth the least.
                waiting.pop_front();
                self.metrics.events_dropped.fetch_add(1, Relaxed);
            }
            waiting.push_back(envelope);
            queue.more.notify_one();
        }
    }

    /// Waits until all that waits is told, or given up.
    pub(crate) async fn flush(&self, patience: Duration) {
        let told = async {
            for queue in &self.webhooks {
                while !queue.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        };
        if tokio::time::timeout(patience, told).await.is_err() {
            tracing::warn!("some events were told to nobody");
        }
    }
}

/// One webhook's messenger.
async fn deliver(queue: Arc<Queue>, transport: Arc<Transport>, metrics: Arc<Metrics>) {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    for (name, value) in &queue.webhook.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    loop {
        let batch: Vec<Value> = {
            let waiting = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.iter().take(BATCH).cloned().collect()
        };
        if batch.is_empty() {
            queue.more.notified().await;
            continue;
        }
        let body = json!({ "events": batch }).to_string();
        let told = tell(&queue.webhook.url, &headers, body, &transport).await;
        let counter = if told { &metrics.events_delivered } else { &metrics.events_failed };
        counter.fetch_add(batch.len() as u64, Relaxed);
        // What was dropped for want of room meanwhile is not there any more.
        let mut waiting = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|event| !batch.iter().any(|told| told["id"] == event["id"]));
    }
}

async fn tell(url: &str, headers: &HeaderMap, body: String, transport: &Arc<Transport>) -> bool {
    let mut pause = PAUSE;
    for attempt in 1..=TRIES {
        let sent = match Url::parse(url) {
            Ok(url) => {
                let body = Body::Full(body.clone().into());
                transport.once(Method::POST, &url, headers, body).await.map_err(|e| e.at_host())
            }
            Err(why) => Err(why),
        };
        let why = match sent {
            Ok(answer) if answer.status.is_success() => {
                // The connection is used again when the answer has been read.
                let _ = answer.bytes(64 << 10).await;
                return true;
            }
            Ok(answer) => answer.status.to_string(),
            Err(why) => why,
        };
        tracing::warn!(url, attempt, why, "a webhook did not take its events");
        if attempt < TRIES {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
    false
}
