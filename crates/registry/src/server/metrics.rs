//! Numbers for Prometheus (text format 0.0.4), on an address of their own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the histogram of times, in seconds.
const BOUNDS: [f64; 8] = [0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0];

/// Counters and gauges.
#[derive(Default)]
pub(crate) struct Metrics {
    /// By method, kind of route and status.
    requests: Mutex<BTreeMap<(String, &'static str, u16), u64>>,
    times: Mutex<BTreeMap<&'static str, Times>>,
    pub(crate) in_flight: AtomicU64,
    pub(crate) connections: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    pub(crate) cache_hits: AtomicU64,
    pub(crate) cache_misses: AtomicU64,
    pub(crate) events_delivered: AtomicU64,
    pub(crate) events_failed: AtomicU64,
    pub(crate) events_dropped: AtomicU64,
    pub(crate) collections: AtomicU64,
    pub(crate) collected_blobs: AtomicU64,
    pub(crate) collected_bytes: AtomicU64,
}

#[derive(Default)]
struct Times {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Metrics {
    pub(crate) fn answered(&self, method: &http::Method, kind: &'static str, status: u16, took: Duration) {
        // A method of a client's own making must not grow the table.
        let known = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"];
        let method = if known.contains(&method.as_str()) { method.as_str() } else { "other" };
        *lock(&self.requests).entry((method.to_owned(), kind, status)).or_default() += 1;
        let mut times = lock(&self.times);
        let times = times.entry(kind).or_default();
        times.count += 1;
        times.sum += took.as_secs_f64();
        for (bucket, bound) in times.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(took.as_secs_f64() <= bound);
        }
    }

    pub(crate) fn took(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn gave(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn text(&self) -> String {
        let family = |name: &str, kind: &str, help: &str| {
            format!("# HELP corten_registry_{name} {help}\n# TYPE corten_registry_{name} {kind}\n")
        };
        let mut text = family("requests_total", "counter", "Requests answered.");
        for ((method, kind, status), count) in &*lock(&self.requests) {
            let labels = format!(r#"method="{method}",route="{kind}",code="{status}""#);
            text.push_str(&format!("corten_registry_requests_total{{{labels}}} {count}\n"));
        }
        text.push_str(&family("request_duration_seconds", "histogram", "Time to the head of the answer."));
        for (kind, times) in &*lock(&self.times) {
            let name = "corten_registry_request_duration_seconds";
            for (bound, count) in BOUNDS.iter().zip(times.buckets) {
                text.push_str(&format!("{name}_bucket{{route=\"{kind}\",le=\"{bound}\"}} {count}\n"));
            }
            text.push_str(&format!("{name}_bucket{{route=\"{kind}\",le=\"+Inf\"}} {}\n", times.count));
            text.push_str(&format!("{name}_sum{{route=\"{kind}\"}} {}\n", times.sum));
            text.push_str(&format!("{name}_count{{route=\"{kind}\"}} {}\n", times.count));
        }
        for (name, kind, help, value) in [
            ("requests_in_flight", "gauge", "Requests being answered.", &self.in_flight),
            ("connections", "gauge", "Open connections.", &self.connections),
            ("received_bytes_total", "counter", "Bytes of uploads.", &self.received),
            ("sent_bytes_total", "counter", "Bytes of blobs and manifests promised to clients.", &self.sent),
            ("cache_hits_total", "counter", "Blobs given out of the cache.", &self.cache_hits),
            ("cache_misses_total", "counter", "Blobs fetched from upstream.", &self.cache_misses),
            ("events_delivered_total", "counter", "Events that webhooks took.", &self.events_delivered),
            ("events_failed_total", "counter", "Events given up after every try.", &self.events_failed),
            ("events_dropped_total", "counter", "Events for which there was no room.", &self.events_dropped),
            ("collections_total", "counter", "Collections done.", &self.collections),
            ("collected_blobs_total", "counter", "Blobs collected.", &self.collected_blobs),
            ("collected_bytes_total", "counter", "Bytes collected.", &self.collected_bytes),
        ] {
            text.push_str(&family(name, kind, help));
            text.push_str(&format!("corten_registry_{name} {}\n", value.load(Relaxed)));
        }
        text
    }
}
