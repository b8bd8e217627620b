//! What a container's cgroup has used, in the form that runc's `events` has.

use serde_json::{Value, json};
use sys::cgroup::{Cgroup, Version};

/// Nanoseconds, bytes and counts; what the host does not count is left out.
pub fn stats(cgroup: &Cgroup) -> Value {
    let number =
        |controller: &str, file: &str| -> Option<u64> { cgroup.read(controller, file).ok()?.parse().ok() };
    let value = |controller: &str, file: &str, key: &str| cgroup.value(controller, file, key);
    let micro = |key: &str| value("cpu", "cpu.stat", key).map(|n| n * 1000);
    // A limit that nobody set is a number near the largest.
    let limit = |file: &str| match cgroup.read("memory", file).as_deref() {
        Ok("max") | Err(_) => u64::MAX,
        Ok(text) => text.parse().unwrap_or(u64::MAX),
    };
    let (total, user, system) = match cgroup.version() {
        Version::V1 => {
            let usage = |file: &str| number("cpuacct", file);
            (usage("cpuacct.usage"), usage("cpuacct.usage_user"), usage("cpuacct.usage_sys"))
        }
        Version::V2 => (micro("usage_usec"), micro("user_usec"), micro("system_usec")),
    };
    let memory = match cgroup.version() {
        Version::V1 => json!({
            "usage": {
                "limit": limit("memory.limit_in_bytes"),
                "usage": number("memory", "memory.usage_in_bytes"),
                "max": number("memory", "memory.max_usage_in_bytes"),
                "failcnt": number("memory", "memory.failcnt"),
            },
            "cache": value("memory", "memory.stat", "cache"),
            "raw": raw(cgroup),
        }),
        Version::V2 => json!({
            "usage": {
                "limit": limit("memory.max"),
                "usage": number("memory", "memory.current"),
                "max": number("memory", "memory.peak"),
                "failcnt": value("memory", "memory.events", "max"),
            },
            "swap": { "limit": limit("memory.swap.max"), "usage": number("memory", "memory.swap.current") },
            "cache": value("memory", "memory.stat", "file"),
            "raw": raw(cgroup),
        }),
    };
    json!({
        "cpu": {
            "usage": { "total": total, "user": user, "kernel": system },
            "throttling": {
                "periods": value("cpu", "cpu.stat", "nr_periods"),
                "throttledPeriods": value("cpu", "cpu.stat", "nr_throttled"),
                "throttledTime": match cgroup.version() {
                    Version::V1 => value("cpu", "cpu.stat", "throttled_time"),
                    Version::V2 => micro("throttled_usec"),
                },
            },
        },
        "memory": memory,
        "pids": { "current": number("pids", "pids.current"), "limit": number("pids", "pids.max").unwrap_or(0) },
        "blkio": {},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

/// memory.stat as it is.
fn raw(cgroup: &Cgroup) -> Value {
    let text = cgroup.read("memory", "memory.stat").unwrap_or_default();
    let pairs = text.lines().filter_map(|line| {
        let (key, number) = line.split_once(' ')?;
        Some((key.to_owned(), Value::from(number.parse::<u64>().ok()?)))
    });
    Value::Object(pairs.collect())
}
