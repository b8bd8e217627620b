//! One sample: a container's cgroup and network devices, read and put into the API's words.

use std::collections::BTreeMap;
use std::path::Path;

use spec::api::{
    ContainerBlkioStatEntry, ContainerBlkioStats, ContainerCPUStats, ContainerCPUUsage, ContainerMemoryStats,
    ContainerNetworkStats, ContainerPidsStats, ContainerStatsResponse, ContainerStorageStats,
    ContainerThrottlingData,
};
use sys::cgroup::{Cgroup, Version};

use crate::time;

/// `sysconf(_SC_CLK_TCK)`, USER_HZ: fixed by the ABI.
const TICKS: u64 = 100;
const NANOSECONDS_PER_TICK: u64 = 1_000_000_000 / TICKS;
/// What Docker tells of v2's `memory.stat`, in the kernel's words.
const MEMORY_V2: [&str; 31] = [
    "active_anon",
    "active_file",
    "anon",
    "anon_thp",
    "file",
    "file_dirty",
    "file_mapped",
    "file_writeback",
    "inactive_anon",
    "inactive_file",
    "kernel_stack",
    "pgactivate",
    "pgdeactivate",
    "pgfault",
    "pglazyfree",
    "pglazyfreed",
    "pgmajfault",
    "pgrefill",
    "pgscan",
    "pgsteal",
    "shmem",
    "slab",
    "slab_reclaimable",
    "slab_unreclaimable",
    "sock",
    "thp_collapse_alloc",
    "thp_fault_alloc",
    "unevictable",
    "workingset_activate",
    "workingset_nodereclaim",
    "workingset_refault",
];

/// Id and name, as the API has them.
pub(super) type Name = (String, String);

/// The answer for a container that does not run.
pub(super) fn nothing((id, name): Name) -> ContainerStatsResponse {
    ContainerStatsResponse {
        id: Some(id),
        name: Some(name),
        os_type: Some("linux".into()),
        read: time::rfc3339(0),
        preread: time::rfc3339(0),
        cpu_stats: Some(no_cpu()),
        precpu_stats: Some(no_cpu()),
        memory_stats: Some(ContainerMemoryStats::default()),
        pids_stats: Some(ContainerPidsStats::default()),
        blkio_stats: Some(ContainerBlkioStats::default()),
        storage_stats: Some(ContainerStorageStats::default()),
        ..ContainerStatsResponse::default()
    }
}

/// Docker's zero, whose inner objects are there.
pub(super) fn no_cpu() -> ContainerCPUStats {
    ContainerCPUStats {
        cpu_usage: Some(ContainerCPUUsage::default()),
        throttling_data: Some(ContainerThrottlingData::default()),
        ..ContainerCPUStats::default()
    }
}

/// A sample. What the host does not count is zero.
///
/// # Errors
/// The cgroup is gone.
pub(super) fn take(
    cgroup: &str,
    pid: i32,
    own_network: bool,
    name: Name,
) -> Result<ContainerStatsResponse, sys::Error> {
    let cgroup = Cgroup::open(cgroup)?;
    let is_v2 = cgroup.version() == Version::V2;
    let (system, online) = host_cpu(&read("/proc/stat"));
    let mut cpu = if is_v2 { cpu_v2(&cgroup) } else { cpu_v1(&cgroup) };
    cpu.system_cpu_usage = Some(system);
    cpu.online_cpus = Some(online);
    let networks =
        if own_network { networks(&read(&format!("/proc/{pid}/net/dev"))) } else { BTreeMap::new() };
    Ok(ContainerStatsResponse {
        read: time::rfc3339(time::now()),
        cpu_stats: Some(cpu),
        memory_stats: Some(if is_v2 { memory_v2(&cgroup) } else { memory_v1(&cgroup) }),
        pids_stats: Some(pids(&cgroup, is_v2)),
        blkio_stats: Some(if is_v2 { io_v2(&text(&cgroup, "io", "io.stat")) } else { io_v1(&cgroup) }),
        networks,
        ..nothing(name)
    })
}

fn read(path: &str) -> String {
    sys::file::read(Path::new(path))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

fn text(cgroup: &Cgroup, controller: &str, file: &str) -> String {
    cgroup.read(controller, file).unwrap_or_default()
}

fn number(cgroup: &Cgroup, controller: &str, file: &str) -> u64 {
    text(cgroup, controller, file).parse().unwrap_or(0)
}

/// `key value` lines.
fn pairs(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

fn cpu_v1(cgroup: &Cgroup) -> ContainerCPUStats {
    let times = pairs(&text(cgroup, "cpuacct", "cpuacct.stat"));
    let limits = pairs(&text(cgroup, "cpu", "cpu.stat"));
    let of = |map: &BTreeMap<String, u64>, key: &str| map.get(key).copied().unwrap_or(0);
    let each = text(cgroup, "cpuacct", "cpuacct.usage_percpu");
    ContainerCPUStats {
        cpu_usage: Some(ContainerCPUUsage {
            total_usage: number(cgroup, "cpuacct", "cpuacct.usage"),
            percpu_usage: each.split_whitespace().filter_map(|n| n.parse().ok()).collect(),
            usage_in_kernelmode: of(&times, "system") * NANOSECONDS_PER_TICK,
            usage_in_usermode: of(&times, "user") * NANOSECONDS_PER_TICK,
        }),
        throttling_data: Some(ContainerThrottlingData {
            periods: of(&limits, "nr_periods"),
            throttled_periods: of(&limits, "nr_throttled"),
            throttled_time: of(&limits, "throttled_time"),
        }),
        ..ContainerCPUStats::default()
    }
}

fn cpu_v2(cgroup: &Cgroup) -> ContainerCPUStats {
    let stat = pairs(&text(cgroup, "cpu", "cpu.stat"));
    let of = |key: &str| stat.get(key).copied().unwrap_or(0);
    ContainerCPUStats {
        cpu_usage: Some(ContainerCPUUsage {
            total_usage: of("usage_usec") * 1000,
            percpu_usage: Vec::new(),
            usage_in_kernelmode: of("system_usec") * 1000,
            usage_in_usermode: of("user_usec") * 1000,
        }),
        throttling_data: Some(ContainerThrottlingData {
            periods: of("nr_periods"),
            throttled_periods: of("nr_throttled"),
            throttled_time: of("throttled_usec") * 1000,
        }),
        ..ContainerCPUStats::default()
    }
}

fn memory_v1(cgroup: &Cgroup) -> ContainerMemoryStats {
    let number = |file: &str| Some(number(cgroup, "memory", file)).filter(|n| *n > 0);
    ContainerMemoryStats {
        usage: number("memory.usage_in_bytes"),
        max_usage: number("memory.max_usage_in_bytes"),
        failcnt: number("memory.failcnt"),
        limit: Some(memory_limit(&text(cgroup, "memory", "memory.limit_in_bytes"))),
        stats: pairs(&text(cgroup, "memory", "memory.stat")),
        ..ContainerMemoryStats::default()
    }
}

fn memory_v2(cgroup: &Cgroup) -> ContainerMemoryStats {
    let stat = pairs(&text(cgroup, "memory", "memory.stat"));
    let value = |key: &&str| ((*key).to_owned(), stat.get(*key).copied().unwrap_or(0));
    ContainerMemoryStats {
        usage: Some(number(cgroup, "memory", "memory.current")).filter(|n| *n > 0),
        limit: Some(memory_limit(&text(cgroup, "memory", "memory.max"))),
        stats: MEMORY_V2.iter().map(value).collect(),
        ..ContainerMemoryStats::default()
    }
}

/// Without a limit (`max`, or v1's largest number) it is the host's memory.
fn memory_limit(text: &str) -> u64 {
    let host = pairs_of_meminfo(&read("/proc/meminfo"));
    text.parse().map_or(host, |limit: u64| limit.min(host))
}

fn pairs_of_meminfo(text: &str) -> u64 {
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: u64 = total.and_then(|t| t.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
    kib * 1024
}

/// v2 without a limit is told as the largest number, v1 not at all.
fn pids(cgroup: &Cgroup, is_v2: bool) -> ContainerPidsStats {
    let limit = text(cgroup, "pids", "pids.max");
    ContainerPidsStats {
        current: Some(number(cgroup, "pids", "pids.current")).filter(|n| *n > 0),
        limit: limit.parse().ok().or(if is_v2 && limit == "max" { Some(u64::MAX) } else { None }),
    }
}

/// blkio-controller.rst: the throttling policy's files when there is no other.
fn io_v1(cgroup: &Cgroup) -> ContainerBlkioStats {
    let of = |names: [&str; 2]| {
        let texts = names.iter().map(|name| text(cgroup, "blkio", name));
        texts.map(|text| io_lines_v1(&text)).find(|entries| !entries.is_empty()).unwrap_or_default()
    };
    ContainerBlkioStats {
        io_service_bytes_recursive: of([
            "blkio.bfq.io_service_bytes_recursive",
            "blkio.throttle.io_service_bytes_recursive",
        ]),
        io_serviced_recursive: of([
            "blkio.bfq.io_serviced_recursive",
            "blkio.throttle.io_serviced_recursive",
        ]),
        ..ContainerBlkioStats::default()
    }
}

/// `8:0 Read 4096`; the line with the sum of all devices has no device.
fn io_lines_v1(text: &str) -> Vec<ContainerBlkioStatEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        Some(ContainerBlkioStatEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: words.next()?.to_owned(),
            value: words.next()?.parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}

/// `8:0 rbytes=4096 wbytes=0 …`
fn io_v2(text: &str) -> ContainerBlkioStats {
    let mut bytes = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let device = words.next().and_then(|d| d.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(major, minor)| (major.parse(), minor.parse())) else {
            continue;
        };
        let values: BTreeMap<&str, u64> =
            words.filter_map(|w| w.split_once('=')).filter_map(|(k, v)| Some((k, v.parse().ok()?))).collect();
        for (op, key) in [("read", "rbytes"), ("write", "wbytes")] {
            let value = values.get(key).copied().unwrap_or(0);
            bytes.push(ContainerBlkioStatEntry { major, minor, op: op.into(), value });
        }
    }
    ContainerBlkioStats { io_service_bytes_recursive: bytes, ..ContainerBlkioStats::default() }
}

/// proc_pid_net(5): eight numbers received, eight sent. Not the loopback device.
fn networks(text: &str) -> BTreeMap<String, ContainerNetworkStats> {
    let device = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let numbers: Vec<u64> = rest.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let name = name.trim();
        if numbers.len() < 12 || name == "lo" {
            return None;
        }
        let stats = ContainerNetworkStats {
            rx_bytes: numbers[0],
            rx_packets: numbers[1],
            rx_errors: numbers[2],
            rx_dropped: numbers[3],
            tx_bytes: numbers[8],
            tx_packets: numbers[9],
            tx_errors: numbers[10],
            tx_dropped: numbers[11],
            ..ContainerNetworkStats::default()
        };
        Some((name.to_owned(), stats))
    };
    text.lines().filter_map(device).collect()
}

/// proc_stat(5): the time of all processors together in nanoseconds (user to softirq), and how many there are.
fn host_cpu(text: &str) -> (u64, i64) {
    let all = text.lines().next().unwrap_or_default();
    let ticks: u64 = all.split_whitespace().skip(1).take(7).filter_map(|n| n.parse::<u64>().ok()).sum();
    let is_one = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let online = text.lines().filter(is_one).count();
    (ticks * NANOSECONDS_PER_TICK, i64::try_from(online).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let stat = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1\ncpu1 1 1\nintr 5\n";
        assert_eq!(host_cpu(stat), (28 * 10_000_000, 2));
        let dev = "Inter-|   Receive\n face |bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n\
                   eth0:10 11 12 13 0 0 0 0 20 21 22 23 0 0 0 0\n";
        let found = networks(dev);
        assert_eq!(found.len(), 1);
        let eth0 = &found["eth0"];
        assert_eq!((eth0.rx_bytes, eth0.rx_dropped, eth0.tx_bytes, eth0.tx_dropped), (10, 13, 20, 23));
        let io =
            io_v2("8:0 rbytes=5 wbytes=6 rios=1 wios=1 dbytes=0 dios=0\n253:1 \n").io_service_bytes_recursive;
        assert_eq!((io.len(), io[0].op.as_str(), io[1].value), (4, "read", 6));
        let v1 = io_lines_v1("8:0 Read 5\n8:0 Write 6\nTotal 11\n");
        assert_eq!((v1.len(), v1[1].op.as_str(), v1[1].value), (2, "Write", 6));
        assert_eq!(pairs_of_meminfo("MemTotal:       16 kB\n"), 16384);
    }
}
