//! One container's use of the machine at one moment, in the figures that `stats` shows.

use spec::api::{ContainerBlkioStatEntry, ContainerMemoryStats, ContainerStatsResponse};

use crate::json::Json;
use crate::list::{row, short_id};
use crate::units;

/// The figures of one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sample {
    id: String,
    name: String,
    /// Per cent of one processor.
    cpu: f64,
    /// Bytes, without the cache that costs nothing to give up.
    memory: u64,
    /// Bytes; 0 when unknown.
    memory_limit: u64,
    /// Bytes received and sent.
    network: (u64, u64),
    /// Bytes read and written.
    block: (u64, u64),
    processes: u64,
}

impl Sample {
    /// From the engine's counters.
    pub(super) fn of(stats: &ContainerStatsResponse) -> Self {
        let memory = stats.memory_stats.as_ref();
        let networks = stats.networks.values();
        let blocks = stats.blkio_stats.as_ref().map_or(&[][..], |s| &s.io_service_bytes_recursive);
        Self {
            id: stats.id.clone().unwrap_or_default(),
            name: stats.name.clone().unwrap_or_default(),
            cpu: cpu(stats),
            memory: memory.map_or(0, in_use),
            memory_limit: memory.and_then(|m| m.limit).unwrap_or(0),
            network: networks.fold((0, 0), |(rx, tx), n| (rx + n.rx_bytes, tx + n.tx_bytes)),
            block: (moved(blocks, 'r'), moved(blocks, 'w')),
            processes: stats.pids_stats.as_ref().and_then(|pids| pids.current).unwrap_or(0),
        }
    }
}

/// What became of the processors' time since the sample before.
#[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
fn cpu(stats: &ContainerStatsResponse) -> f64 {
    let (Some(now), Some(before)) = (&stats.cpu_stats, &stats.precpu_stats) else { return 0.0 };
    let usage =
        |cpu: &spec::api::ContainerCPUStats| cpu.cpu_usage.as_ref().map_or(0, |u| u.total_usage) as f64;
    let system = |cpu: &spec::api::ContainerCPUStats| cpu.system_cpu_usage.unwrap_or(0) as f64;
    let own = usage(now) - usage(before);
    let all = system(now) - system(before);
    let each = now.cpu_usage.as_ref().map_or(0, |u| u.percpu_usage.len());
    let processors = now.online_cpus.filter(|n| *n > 0).map_or(each as f64, |n| n as f64);
    if own > 0.0 && all > 0.0 { own / all * processors * 100.0 } else { 0.0 }
}

/// Memory without inactive file cache, as cgroup v1 or v2 counts it.
fn in_use(memory: &ContainerMemoryStats) -> u64 {
    let usage = memory.usage.unwrap_or(0);
    let cache = |key: &str| memory.stats.get(key).copied().filter(|cache| *cache < usage);
    usage - cache("total_inactive_file").or_else(|| cache("inactive_file")).unwrap_or(0)
}

fn moved(entries: &[ContainerBlkioStatEntry], letter: char) -> u64 {
    let is = |entry: &&ContainerBlkioStatEntry| entry.op.to_ascii_lowercase().starts_with(letter);
    entries.iter().filter(is).map(|entry| entry.value).sum()
}

/// A row of the table. `asked` is what the user called the container; without a sample the figures are dashes.
#[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
pub(super) fn fields(asked: &str, sample: &Sample, valid: bool, trunc: bool) -> Json {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let share = |(a, b): (u64, u64)| {
        format!("{} / {}", units::human_size_3(number(a)), units::human_size_3(number(b)))
    };
    let percent = match sample.memory_limit {
        0 => 0.0,
        limit => sample.memory as f64 / limit as f64 * 100.0,
    };
    let memory = format!(
        "{} / {}",
        units::bytes_size(number(sample.memory)),
        units::bytes_size(number(sample.memory_limit))
    );
    let shown = |text: String, dashes: &str| if valid { text } else { dashes.to_owned() };
    let name = sample.name.strip_prefix('/').unwrap_or(&sample.name);
    let id = if trunc { short_id(&sample.id) } else { &sample.id };
    row(vec![
        ("BlockIO", shown(share(sample.block), "--").into()),
        ("CPUPerc", shown(format!("{:.2}%", sample.cpu), "--").into()),
        ("Container", asked.into()),
        ("ID", id.into()),
        ("MemPerc", shown(format!("{percent:.2}%"), "--").into()),
        ("MemUsage", shown(memory, "-- / --").into()),
        ("Name", if name.is_empty() { "--" } else { name }.into()),
        ("NetIO", shown(share(sample.network), "--").into()),
        ("PIDs", shown(sample.processes.to_string(), "--").into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(json: &str) -> ContainerStatsResponse {
        spec::gojson::from_slice(json.as_bytes()).unwrap()
    }

    #[test]
    fn figures_as_docker_computes_them() {
        let v1 = stats(
            r#"{"id":"0123456789abcdef","name":"/c",
                "cpu_stats":{"cpu_usage":{"total_usage":300,"percpu_usage":[1,2]},"system_cpu_usage":2000},
                "precpu_stats":{"cpu_usage":{"total_usage":100},"system_cpu_usage":1000},
                "memory_stats":{"usage":3145728,"limit":4194304,"stats":{"total_inactive_file":1048576,"inactive_file":7}},
                "networks":{"eth0":{"rx_bytes":1000,"tx_bytes":5},"eth1":{"rx_bytes":500}},
                "blkio_stats":{"io_service_bytes_recursive":[{"op":"Read","value":10},{"op":"read","value":1},
                    {"op":"Write","value":2000000},{"op":"Total","value":9},{"op":"","value":1}]},
                "pids_stats":{"current":3}}"#,
        );
        let sample = Sample::of(&v1);
        assert!((sample.cpu - 40.0).abs() < 1e-9, "{}", sample.cpu);
        let text = fields("c", &sample, true, true).compact();
        assert_eq!(
            text,
            r#"{"BlockIO":"11B / 2MB","CPUPerc":"40.00%","Container":"c","ID":"0123456789ab","MemPerc":"50.00%","MemUsage":"2MiB / 4MiB","Name":"c","NetIO":"1.5kB / 5B","PIDs":"3"}"#
        );
    }

    #[test]
    fn what_is_missing_is_zero() {
        let v2 = stats(r#"{"memory_stats":{"usage":10,"stats":{"inactive_file":4}}}"#);
        assert_eq!((Sample::of(&v2).memory, Sample::of(&v2).memory_limit), (6, 0));
        let odd = stats(r#"{"memory_stats":{"usage":10,"stats":{"inactive_file":40}}}"#);
        assert_eq!(Sample::of(&odd).memory, 10);
        assert_eq!(Sample::of(&stats("{}")), Sample::default());
        assert_eq!(fields("c", &Sample::default(), false, true).text(&["MemUsage"]), "-- / --");
        assert_eq!(fields("c", &Sample::default(), false, true).text(&["Name"]), "--");
    }
}
