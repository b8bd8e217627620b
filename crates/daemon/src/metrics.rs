//! Metrics for Prometheus at `--metrics-addr`, under Docker's names; written in its text format (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use engine::Engine;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::body::Body;
use crate::error;
use crate::router::Route;
use crate::server::{Handler, Peer, Reply};

/// Upper bounds of the histograms' buckets, seconds: the Prometheus libraries' own.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What an action is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Noun {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
}

/// An action whose time is measured, under Docker's word for it.
pub type Action = (Noun, &'static str);

/// Shown from the start, as in Docker.
const ALWAYS: [Action; 5] = [
    (Noun::Container, "changes"),
    (Noun::Container, "commit"),
    (Noun::Container, "create"),
    (Noun::Container, "delete"),
    (Noun::Container, "start"),
];

/// The action behind a route, if it is one that is measured.
pub fn action(route: &Route) -> Option<Action> {
    let container = |word| Some((Noun::Container, word));
    let image = |word| Some((Noun::Image, word));
    let network = |word| Some((Noun::Network, word));
    match route {
        Route::ContainerCreate => container("create"),
        Route::ContainerStart(_) => container("start"),
        Route::ContainerRemove(_) => container("delete"),
        Route::ImageLoad => image("load"),
        Route::ImageSave | Route::ImageGet(_) => image("save"),
        Route::ImageTag(_) => image("tag"),
        Route::ImageRemove(_) => image("delete"),
        Route::NetworkCreate => network("create"),
        Route::NetworkConnect(_) => network("connect"),
        Route::NetworkDisconnect(_) => network("disconnect"),
        Route::NetworkRemove(_) => network("rm"),
        _ => None,
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Histogram {
    /// How many took no longer than each bound.
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

impl Histogram {
    fn add(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        for (bucket, bound) in self.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= bound);
        }
        self.count += 1;
        self.seconds += seconds;
    }
}

/// How long actions took. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Times(Arc<Mutex<BTreeMap<Action, Histogram>>>);

impl Default for Times {
    fn default() -> Self {
        let always = ALWAYS.map(|action| (action, Histogram::default()));
        Self(Arc::new(Mutex::new(always.into())))
    }
}

impl Times {
    /// Notes one that succeeded.
    pub fn add(&self, action: Action, time: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(action).or_default().add(time);
    }
}

/// Serves `/metrics`.
#[derive(Clone)]
pub struct Metrics {
    engine: Engine,
    times: Times,
}

impl Metrics {
    /// The metrics of an engine.
    pub fn new(engine: Engine, times: Times) -> Self {
        Self { engine, times }
    }

    async fn text(&self) -> Result<String, engine::Error> {
        let (info, counts) = (self.engine.info().await?, self.engine.counts());
        let mut text = Text::default();
        {
            let times = self.times.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (noun, word) in
                [(Noun::Container, "container"), (Noun::Image, "image"), (Noun::Network, "network")]
            {
                text.histograms(
                    &format!("engine_daemon_{word}_actions_seconds"),
                    &format!("The number of seconds it takes to process each {word} action"),
                    times
                        .iter()
                        .filter(|((n, _), _)| *n == noun)
                        .map(|((_, action), times)| (*action, times)),
                );
            }
        }
        text.head(
            "engine_daemon_container_states_containers",
            "gauge",
            "The count of containers in various states",
        );
        for (state, count) in
            [("paused", counts.paused), ("running", counts.running), ("stopped", counts.stopped)]
        {
            text.sample("engine_daemon_container_states_containers", &[("state", state)], count);
        }
        text.one(
            "engine_daemon_engine_cpus_cpus",
            "gauge",
            "The number of cpus that the host system of the engine has",
            info.ncpu,
        );
        text.head(
            "engine_daemon_engine_info",
            "gauge",
            "The information related to the engine and the OS it is running on",
        );
        text.sample(
            "engine_daemon_engine_info",
            &[
                ("architecture", &info.architecture),
                ("commit", ""),
                ("daemon_id", &info.id),
                ("graphdriver", &info.driver),
                ("kernel", &info.kernel_version),
                ("os", &info.operating_system),
                ("os_type", &info.os_type),
                ("os_version", &info.os_version),
                ("version", &info.server_version),
            ],
            1,
        );
        text.one(
            "engine_daemon_engine_memory_bytes",
            "gauge",
            "The number of bytes of memory that the host system of the engine has",
            info.mem_total,
        );
        text.one(
            "engine_daemon_events_subscribers_total",
            "gauge",
            "The number of current subscribers to events",
            counts.listeners,
        );
        text.one("engine_daemon_events_total", "counter", "The number of events logged", counts.events);
        text.one(
            "engine_daemon_health_checks_failed_total",
            "counter",
            "The total number of failed health checks",
            counts.failed_probes,
        );
        text.one(
            "engine_daemon_health_checks_total",
            "counter",
            "The total number of health checks",
            counts.probes,
        );
        process(&mut text);
        Ok(text.0)
    }
}

impl Handler for Metrics {
    async fn handle(&self, request: Request<Incoming>, _peer: Peer) -> Reply {
        let response = match (request.method(), request.uri().path()) {
            (&Method::GET, "/metrics") => match self.text().await {
                Ok(text) => {
                    let mut response = Response::new(Body::full(Bytes::from(text)));
                    let form = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                    response.headers_mut().insert(CONTENT_TYPE, form);
                    response
                }
                Err(failed) => error::Error::from(failed).into_response(),
            },
            _ => error::message(StatusCode::NOT_FOUND, "page not found".into()),
        };
        Reply::Response(response)
    }
}

/// What every Prometheus client tells of its own process (proc_pid_stat(5)). What cannot be read is left out.
fn process(text: &mut Text) {
    let read = |path: &str| {
        let bytes = sys::file::read(Path::new(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    if let Some(stat) = read("/proc/self/stat").as_deref().and_then(Stat::read) {
        let boot = read("/proc/stat")
            .and_then(|all| all.lines().find_map(|l| l.strip_prefix("btime "))?.trim().parse::<f64>().ok());
        let help = "Total user and system CPU time spent in seconds.";
        text.one("process_cpu_seconds_total", "counter", help, stat.cpu_seconds);
        text.one("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", stat.resident);
        text.one(
            "process_virtual_memory_bytes",
            "gauge",
            "Virtual memory size in bytes.",
            stat.virtual_memory,
        );
        if let Some(boot) = boot {
            let help = "Start time of the process since unix epoch in seconds.";
            text.one("process_start_time_seconds", "gauge", help, boot + stat.started);
        }
    }
    if let Ok(open) = sys::file::list(Path::new("/proc/self/fd")) {
        text.one("process_open_fds", "gauge", "Number of open file descriptors.", open.len());
    }
    if let Some(limit) = sys::process::Limit::by_name("RLIMIT_NOFILE") {
        let (most, _) = sys::process::limit(limit);
        text.one("process_max_fds", "gauge", "Maximum number of open file descriptors.", most);
    }
}

/// Some fields of `/proc/<pid>/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    /// Seconds after boot.
    started: f64,
    virtual_memory: u64,
    resident: u64,
}

impl Stat {
    /// Linux counts this file's times in hundredths of a second (USER_HZ) on all architectures that Corten runs on.
    const HZ: f64 = 100.0;
    const PAGE: u64 = 4096;

    fn read(text: &str) -> Option<Self> {
        // The name may hold anything, parentheses too.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // The first one here is the third of proc(5).
        let number = |n: usize| fields.get(n - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_seconds: (number(14)? + number(15)?) as f64 / Self::HZ,
            started: number(22)? as f64 / Self::HZ,
            virtual_memory: number(23)?,
            resident: number(24)? * Self::PAGE,
        })
    }
}

/// The text so far.
#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escaped(v))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, kind, help);
        self.sample(name, &[], value);
    }

    fn histograms<'a>(
        &mut self,
        name: &str,
        help: &str,
        times: impl Iterator<Item = (&'static str, &'a Histogram)>,
    ) {
        let mut times = times.peekable();
        if times.peek().is_none() {
            return;
        }
        self.head(name, "histogram", help);
        for (action, times) in times {
            for (count, bound) in times.buckets.iter().zip(BUCKETS) {
                let bound = bound.to_string();
                self.sample(&format!("{name}_bucket"), &[("action", action), ("le", &bound)], count);
            }
            self.sample(&format!("{name}_bucket"), &[("action", action), ("le", "+Inf")], times.count);
            self.sample(&format!("{name}_sum"), &[("action", action)], times.seconds);
            self.sample(&format!("{name}_count"), &[("action", action)], times.count);
        }
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_what_took_no_longer() {
        let mut histogram = Histogram::default();
        for millis in [1, 30, 20_000] {
            histogram.add(Duration::from_millis(millis));
        }
        let mut text = Text::default();
        text.histograms("x", "h", [("start", &histogram)].into_iter());
        for line in [
            "# TYPE x histogram",
            "x_bucket{action=\"start\",le=\"0.005\"} 1",
            "x_bucket{action=\"start\",le=\"0.05\"} 2",
            "x_bucket{action=\"start\",le=\"10\"} 2",
            "x_bucket{action=\"start\",le=\"+Inf\"} 3",
            "x_sum{action=\"start\"} 20.031",
            "x_count{action=\"start\"} 3",
        ] {
            assert!(text.0.lines().any(|l| l == line), "{line} is not in\n{}", text.0);
        }
    }

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        text.sample("x", &[("os", "a\"b\\c\nd")], 1);
        assert_eq!(text.0, "x{os=\"a\\\"b\\\\c\\nd\"} 1\n");
    }

    #[test]
    fn a_process_is_read_past_its_name() {
        let line = "1 (a) b) S 2 3 4 5 6 7 8 9 10 11 250 50 16 17 18 19 20 21 900 4096 2 25";
        let expected = Stat { cpu_seconds: 3.0, started: 9.0, virtual_memory: 4096, resident: 8192 };
        assert_eq!(Stat::read(line), Some(expected));
    }
}
