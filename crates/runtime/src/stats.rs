//! What a container's cgroup has used, in the form that runc's `events` has: nanoseconds, bytes and counts. What the host
//! does not count is left out.

use serde_json::{Map, Value, json};
use sys::cgroup::{Cgroup, Version};

use crate::{Container, host};

/// The key of runc's list, blkio's files (the throttling policy's when there is no other), and the words of io.stat with
/// theirs in blkio.
type Io = (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)]);

const IO: [Io; 8] = [
    (
        "ioServiceBytesRecursive",
        &["blkio.bfq.io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive"],
        &[("rbytes", "Read"), ("wbytes", "Write")],
    ),
    (
        "ioServicedRecursive",
        &["blkio.bfq.io_serviced_recursive", "blkio.throttle.io_serviced_recursive"],
        &[("rios", "Read"), ("wios", "Write")],
    ),
    ("ioQueueRecursive", &["blkio.bfq.io_queued_recursive"], &[]),
    ("ioServiceTimeRecursive", &["blkio.bfq.io_service_time_recursive"], &[]),
    ("ioWaitTimeRecursive", &["blkio.bfq.io_wait_time_recursive"], &[]),
    ("ioMergedRecursive", &["blkio.bfq.io_merged_recursive"], &[]),
    ("ioTimeRecursive", &["blkio.bfq.time_recursive"], &[]),
    ("sectorsRecursive", &["blkio.bfq.sectors_recursive"], &[]),
];

const PAGE_SIZES: &str = "/sys/kernel/mm/hugepages";

impl Container {
    /// What it has used until now, as JSON.
    pub fn stats(&self) -> Value {
        let counted = Counted(&self.cgroup);
        let mut told = json!({
            "cpu": counted.cpu(),
            "cpuset": counted.cpuset(),
            "memory": counted.memory(),
            "pids": {
                "current": counted.number("pids", "pids.current"),
                // 0 is no limit.
                "limit": counted.number("pids", "pids.max").unwrap_or(0),
            },
            "blkio": counted.io(),
            "hugetlb": counted.huge_pages(),
            "intel_rdt": self.class.as_ref().map_or_else(|| json!({}), |class| class.stats()),
        });
        leave_out_nothing(&mut told);
        told["network_interfaces"] = Value::Null;
        told
    }
}

/// A cgroup's files.
struct Counted<'a>(&'a Cgroup);

impl Counted<'_> {
    fn is_v2(&self) -> bool {
        self.0.version() == Version::V2
    }

    fn number(&self, controller: &str, file: &str) -> Option<u64> {
        self.0.read(controller, file).ok()?.parse().ok()
    }

    fn text(&self, controller: &str, file: &str) -> String {
        self.0.read(controller, file).unwrap_or_default()
    }

    /// A limit that nobody set is the largest number.
    fn limit(&self, file: &str) -> u64 {
        self.number("memory", file).unwrap_or(u64::MAX)
    }

    fn cpu(&self) -> Value {
        let of_stat = |key: &str| self.0.value("cpu", "cpu.stat", key);
        let micro = |key: &str| of_stat(key).map(|microseconds| microseconds * 1000);
        let usage = if self.is_v2() {
            json!({ "total": micro("usage_usec"), "user": micro("user_usec"), "kernel": micro("system_usec") })
        } else {
            let of = |file: &str| self.number("cpuacct", file);
            let each = |file: &str| numbers(&self.text("cpuacct", file));
            json!({
                "total": of("cpuacct.usage"),
                "user": of("cpuacct.usage_user"),
                "kernel": of("cpuacct.usage_sys"),
                "percpu": each("cpuacct.usage_percpu"),
                "percpu_kernel": each("cpuacct.usage_percpu_sys"),
                "percpu_user": each("cpuacct.usage_percpu_user"),
            })
        };
        let mut cpu = json!({
            "usage": usage,
            "throttling": {
                "periods": of_stat("nr_periods"),
                "throttledPeriods": of_stat("nr_throttled"),
                "throttledTime": if self.is_v2() { micro("throttled_usec") } else { of_stat("throttled_time") },
            },
        });
        self.add_pressure(&mut cpu, "cpu");
        cpu
    }

    fn cpuset(&self) -> Value {
        let list = |file: &str| set(&self.text("cpuset", file));
        if self.is_v2() {
            return json!({ "cpus": list("cpuset.cpus.effective"), "mems": list("cpuset.mems.effective") });
        }
        let of = |name: &str| self.number("cpuset", &format!("cpuset.{name}"));
        let level: Option<i64> = self.text("cpuset", "cpuset.sched_relax_domain_level").parse().ok();
        json!({
            "cpus": list("cpuset.cpus"),
            "cpu_exclusive": of("cpu_exclusive"),
            "mems": list("cpuset.mems"),
            "mem_hardwall": of("mem_hardwall"),
            "mem_exclusive": of("mem_exclusive"),
            "memory_migrate": of("memory_migrate"),
            "memory_spread_page": of("memory_spread_page"),
            "memory_spread_slab": of("memory_spread_slab"),
            "memory_pressure": of("memory_pressure"),
            "sched_load_balance": of("sched_load_balance"),
            "sched_relax_domain_level": level,
        })
    }

    fn memory(&self) -> Value {
        let of = |file: &str| self.number("memory", file);
        let of_stat = |key: &str| self.0.value("memory", "memory.stat", key);
        let raw: Map<String, Value> = self.text("memory", "memory.stat").lines().filter_map(pair).collect();
        let mut memory = if self.is_v2() {
            let (limit, usage) = (self.limit("memory.max"), of("memory.current"));
            // With the memory, as v1 has it.
            let swap = of("memory.swap.current").zip(usage).map(|(swap, memory)| swap + memory);
            json!({
                "usage": {
                    "limit": limit,
                    "usage": usage,
                    "max": of("memory.peak"),
                    "failcnt": self.0.value("memory", "memory.events", "max"),
                },
                "swap": { "limit": self.limit("memory.swap.max").saturating_add(limit), "usage": swap, "failcnt": 0 },
                "cache": of_stat("file"),
                "raw": raw,
            })
        } else {
            let entry = |name: &str| {
                json!({
                    "limit": self.limit(&format!("{name}.limit_in_bytes")),
                    "usage": of(&format!("{name}.usage_in_bytes")),
                    "max": of(&format!("{name}.max_usage_in_bytes")),
                    "failcnt": of(&format!("{name}.failcnt")).unwrap_or(0),
                })
            };
            json!({
                "usage": entry("memory"),
                "swap": entry("memory.memsw"),
                "kernel": entry("memory.kmem"),
                "kernelTCP": entry("memory.kmem.tcp"),
                "cache": of_stat("cache"),
                "raw": raw,
            })
        };
        self.add_pressure(&mut memory, "memory");
        memory
    }

    fn io(&self) -> Value {
        let mut io = json!({});
        let of_v2 = self.text("io", "io.stat");
        for (name, files, words) in IO {
            let entries = if self.is_v2() {
                io_v2(&of_v2, words)
            } else {
                let all = files.iter().map(|file| io_v1(&self.text("blkio", file)));
                all.into_iter().find(|entries| !entries.is_empty()).unwrap_or_default()
            };
            if !entries.is_empty() {
                io[name] = entries.into();
            }
        }
        self.add_pressure(&mut io, "io");
        io
    }

    /// By page size, such as `2MB`.
    fn huge_pages(&self) -> Value {
        let sizes = sys::file::list(std::path::Path::new(PAGE_SIZES)).unwrap_or_default();
        let of = |directory: &String| -> Option<(String, Value)> {
            let kib: u64 = directory.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let size = page_size(kib);
            let file = |name: &str| format!("hugetlb.{size}.{name}");
            let number = |name: &str| self.number("hugetlb", &file(name));
            let told = if self.is_v2() {
                // What is reserved, where the kernel tells that.
                let usage = number("rsvd.current").or_else(|| number("current"))?;
                json!({ "usage": usage, "failcnt": self.0.value("hugetlb", &file("events"), "max") })
            } else {
                json!({ "usage": number("usage_in_bytes")?, "max": number("max_usage_in_bytes"), "failcnt": number("failcnt") })
            };
            Some((size, told))
        };
        Value::Object(sizes.iter().filter_map(of).collect())
    }

    /// How long processes waited for something: v2's, where the kernel counts it.
    fn add_pressure(&self, told: &mut Value, what: &str) {
        if !self.is_v2() {
            return;
        }
        if let Some(pressure) = pressure(&self.text(what, &format!("{what}.pressure"))) {
            told["psi"] = pressure;
        }
    }
}

/// What could not be read is not told.
fn leave_out_nothing(told: &mut Value) {
    if let Value::Object(members) = told {
        members.retain(|_, member| !member.is_null());
        members.values_mut().for_each(leave_out_nothing);
    }
}

/// As the files of hugetlb are named.
fn page_size(kib: u64) -> String {
    match kib {
        1_048_576.. => format!("{}GB", kib >> 20),
        1024.. => format!("{}MB", kib >> 10),
        _ => format!("{kib}KB"),
    }
}

/// `key value`
fn pair(line: &str) -> Option<(String, Value)> {
    let (key, number) = line.split_once(' ')?;
    Some((key.to_owned(), number.parse::<u64>().ok()?.into()))
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// `0-3,7` as its numbers.
fn set(list: &str) -> Vec<usize> {
    let bits = host::mask(list);
    (0..bits.len() * 64).filter(|bit| bits[bit / 64] & (1 << (bit % 64)) != 0).collect()
}

/// `8:0 Read 4096`, or `8:0 4096` of files that count one thing only; the sum of all devices has no device.
fn io_v1(text: &str) -> Vec<Value> {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (device, op, value) = match words[..] {
            [device, op, value] => (device, op, value),
            [device, value] => (device, "", value),
            _ => return None,
        };
        io_entry(device, op, value)
    };
    text.lines().filter_map(entry).collect()
}

/// `8:0 rbytes=4096 wbytes=0 …`
fn io_v2(text: &str, words: &[(&str, &str)]) -> Vec<Value> {
    let entries = |line: &'_ str| -> Vec<Value> {
        let Some((device, rest)) = line.split_once(' ') else { return Vec::new() };
        let pairs = rest.split_whitespace().filter_map(|word| word.split_once('='));
        pairs
            .filter_map(|(key, value)| {
                let (_, op) = words.iter().find(|(known, _)| *known == key)?;
                io_entry(device, op, value)
            })
            .collect()
    };
    text.lines().flat_map(entries).collect()
}

fn io_entry(device: &str, op: &str, value: &str) -> Option<Value> {
    let (major, minor) = device.split_once(':')?;
    let number = |text: &str| text.parse::<u64>().ok();
    let mut entry = json!({ "major": number(major)?, "minor": number(minor)?, "value": number(value)? });
    if !op.is_empty() {
        entry["op"] = op.into();
    }
    Some(entry)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same of `full`.
fn pressure(text: &str) -> Option<Value> {
    let mut told = Map::new();
    for line in text.lines() {
        let (kind, rest) = line.split_once(' ')?;
        let number = |(key, value): (&str, &str)| -> Option<(String, Value)> {
            let value = if key == "total" {
                value.parse::<u64>().ok()?.into()
            } else {
                value.parse::<f64>().ok()?.into()
            };
            Some((key.to_owned(), value))
        };
        let numbers = rest.split_whitespace().filter_map(|word| number(word.split_once('=')?));
        told.insert(kind.to_owned(), Value::Object(numbers.collect()));
    }
    (!told.is_empty()).then(|| told.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(set("0-1,66"), [0, 1, 66]);
        assert_eq!(
            io_v1("8:0 Read 5\n8:0 7\nTotal 12\n"),
            [
                json!({ "major": 8, "minor": 0, "op": "Read", "value": 5 }),
                json!({ "major": 8, "minor": 0, "value": 7 })
            ]
        );
        let io = io_v2("8:0 rbytes=5 wbytes=6 rios=1 wios=1 dbytes=0\n253:1 \n", IO[1].2);
        assert_eq!(io[0], json!({ "major": 8, "minor": 0, "op": "Read", "value": 1 }));
        assert_eq!(io.len(), 2);
        let told =
            pressure("some avg10=0.50 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.00 total=0").unwrap();
        assert_eq!(
            (&told["some"]["avg10"], &told["some"]["total"], &told["full"]["total"]),
            (&json!(0.5), &json!(9), &json!(0))
        );
        assert_eq!(pressure(""), None);
        assert_eq!([64, 2048, 1_048_576].map(page_size), ["64KB", "2MB", "1GB"]);
        let mut told = json!({ "a": null, "b": { "c": null, "d": 0 } });
        leave_out_nothing(&mut told);
        assert_eq!(told, json!({ "b": { "d": 0 } }));
    }
}
