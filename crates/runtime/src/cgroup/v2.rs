//! The files of cgroup v2 (kernel documentation, admin-guide/cgroup-v2), from limits that are told in v1's words.

use spec::oci::runtime::{Cpu, Memory, Resources};

use super::v1::unlimited_or;
use super::{Write, throttles};
use crate::Failure;

/// Microseconds; the kernel's own and Docker's default.
pub(super) const PERIOD: u64 = 100_000;

/// `bandwidth`: what `cpu.max` says now.
pub(super) fn writes(resources: &Resources, bandwidth: &str) -> Result<Vec<Write>, Failure> {
    let mut writes = Vec::new();
    if let Some(memory) = &resources.memory {
        writes.extend(memory.limit.map(|n| Write::new("memory", "memory.max", bytes(n))));
        writes.extend(memory.reservation.map(|n| Write::new("memory", "memory.low", bytes(n.max(0)))));
        writes.extend(swap(memory)?.map(|n| Write::new("memory", "memory.swap.max", n).optional()));
    }
    if let Some(cpu) = &resources.cpu {
        let shares = cpu.shares.filter(|n| *n > 0);
        writes.extend(shares.map(|n| Write::new("cpu", "cpu.weight", weight_of_shares(n))));
        if let Some((quota, period)) = quota_and_period(cpu, bandwidth) {
            let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
            writes.push(Write::new("cpu", "cpu.max", format!("{quota} {period}")));
        }
        writes.extend(cpu.burst.map(|n| Write::new("cpu", "cpu.max.burst", n)));
        writes.extend(cpu.idle.map(|n| Write::new("cpu", "cpu.idle", n)));
        if cpu.realtime_runtime.is_some_and(|n| n != 0) || cpu.realtime_period.is_some_and(|n| n != 0) {
            return Err(Failure::new("cgroup", "cpu.rt_runtime_us", "cgroup v2 has no real-time limits"));
        }
        for (file, list) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
            writes.extend(Some(list).filter(|text| !text.is_empty()).map(|t| Write::new("cpuset", file, t)));
        }
    }
    if let Some(pids) = &resources.pids {
        writes.push(Write::new("pids", "pids.max", unlimited_or(pids.limit)));
    }
    if let Some(io) = &resources.block_io {
        if let Some(weight) = io.weight.filter(|n| *n > 0) {
            // Whichever of the two weighing schedulers is there.
            writes.push(Write::new("io", "io.bfq.weight", weight).optional());
            let scaled = 1 + (u64::from(weight).max(10) - 10) * 9999 / 990;
            writes.push(Write::new("io", "io.weight", format!("default {scaled}")).optional());
        }
        let weights = io.weight_device.iter().filter_map(|d| Some((d.major, d.minor, d.weight?)));
        let line = |(major, minor, weight): (i64, i64, u16)| format!("{major}:{minor} {weight}");
        writes.extend(weights.map(|w| Write::new("io", "io.bfq.weight", line(w))));
        for (_, key, devices) in throttles(io) {
            let line = |t: &spec::oci::runtime::Throttle| format!("{}:{} {key}={}", t.major, t.minor, t.rate);
            writes.extend(devices.iter().map(|device| Write::new("io", "io.max", line(device))));
        }
    }
    for limit in &resources.hugepage_limits {
        writes.push(Write::new("hugetlb", format!("hugetlb.{}.max", limit.page_size), limit.limit));
    }
    writes.extend(super::rdma(resources));
    if resources.network.is_some() {
        return Err(Failure::new("cgroup", "net_cls.classid", "cgroup v2 does not mark traffic"));
    }
    for (file, value) in &resources.unified {
        // Every file of v2 is in the one directory, whatever its controller.
        if file.contains('/') || !file.contains('.') {
            return Err(Failure::new("cgroup", file, "is not the name of a cgroup file"));
        }
        writes.push(Write::new("memory", file, value));
    }
    Ok(writes)
}

/// Both, when one of them is to be set: the other stays as `cpu.max` has it. Without a quota there is no limit.
pub(super) fn quota_and_period(cpu: &Cpu, bandwidth: &str) -> Option<(Option<u64>, u64)> {
    let (quota, period) = (cpu.quota.filter(|n| *n != 0), cpu.period.filter(|n| *n > 0));
    if quota.is_none() && period.is_none() {
        return None;
    }
    let mut now = bandwidth.split_whitespace().map(|word| word.parse::<u64>().ok());
    let (quota_now, period_now) = (now.next().flatten(), now.next().flatten());
    let quota = quota.map_or(quota_now, |quota| u64::try_from(quota).ok());
    Some((quota, period.or(period_now).unwrap_or(PERIOD)))
}

fn bytes(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

/// v1 limits memory and swap together, v2 swap alone.
pub(super) fn swap(memory: &Memory) -> Result<Option<String>, Failure> {
    match (super::memory_and_swap(memory), memory.limit) {
        (None, _) => Ok(None),
        (Some(-1), _) => Ok(Some("max".to_owned())),
        (Some(both), Some(limit)) if both >= limit && limit > 0 => Ok(Some((both - limit).to_string())),
        (Some(_), _) => Err(Failure::new(
            "cgroup",
            "memory.swap.max",
            "memory and swap together must be at least the memory limit",
        )),
    }
}

/// Shares (2 to 262144, 1024 is the default) on the scale of weights (1 to 10000, 100 is the default): the curve
/// through these three points that runc has used since 1.3.2, quadratic in the logarithms.
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            // Exact for every whole share count: 262144 needs 18 of the 52 bits.
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use spec::oci::runtime::{BlockIo, Pids, Throttle};

    use super::*;

    fn text(resources: &Resources) -> Vec<String> {
        let writes = writes(resources, "max 100000").unwrap();
        writes.iter().map(|w| format!("{}/{}={}", w.controller, w.file, w.value)).collect()
    }

    #[test]
    fn shares_on_the_scale_of_weights() {
        let table = [(2, 1), (1024, 100), (262_144, 10_000), (512, 59), (2048, 174)];
        for (shares, weight) in table {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }

    #[test]
    fn limits_become_files() {
        let memory = Memory {
            limit: Some(64 << 20),
            swap: Some(96 << 20),
            reservation: Some(32 << 20),
            ..Memory::default()
        };
        let cpu = Cpu { quota: Some(50_000), cpus: "0-1".into(), ..Cpu::default() };
        let throttle = Throttle { major: 8, minor: 0, rate: 1000 };
        let io =
            BlockIo { weight: Some(500), throttle_read_bps_device: vec![throttle], ..BlockIo::default() };
        let mut resources = Resources {
            memory: Some(memory),
            cpu: Some(cpu),
            pids: Some(Pids { limit: -1 }),
            block_io: Some(io),
            ..Resources::default()
        };
        resources.unified.insert("memory.high".into(), "1000".into());
        assert_eq!(
            text(&resources),
            [
                "memory/memory.max=67108864",
                "memory/memory.low=33554432",
                "memory/memory.swap.max=33554432",
                "cpu/cpu.max=50000 100000",
                "cpuset/cpuset.cpus=0-1",
                "pids/pids.max=max",
                "io/io.bfq.weight=500",
                "io/io.weight=default 4950",
                "io/io.max=8:0 rbps=1000",
                "memory/memory.high=1000",
            ]
        );
    }

    #[test]
    fn quota_and_period_stay_when_the_other_is_set() {
        let both = |quota, period, now: &str| quota_and_period(&Cpu { quota, period, ..Cpu::default() }, now);
        assert_eq!(both(None, Some(0), "max 100000"), None);
        assert_eq!(both(Some(5000), None, "max 50000"), Some((Some(5000), 50_000)));
        assert_eq!(both(None, Some(20_000), "5000 50000"), Some((Some(5000), 20_000)));
        assert_eq!(both(None, Some(20_000), "max 50000"), Some((None, 20_000)));
        assert_eq!(both(Some(-1), None, "5000 50000"), Some((None, 50_000)));
        assert_eq!(both(Some(5000), None, ""), Some((Some(5000), PERIOD)));
    }

    #[test]
    fn swap_is_what_is_above_memory() {
        let swap = |limit, both| swap(&Memory { limit, swap: both, ..Memory::default() });
        assert_eq!(swap(Some(10), Some(10)), Ok(Some("0".into())));
        assert_eq!(swap(None, Some(-1)), Ok(Some("max".into())));
        assert_eq!(swap(Some(10), None), Ok(None));
        assert_eq!(swap(Some(-1), None), Ok(Some("max".into())));
        assert!(swap(Some(10), Some(9)).is_err());
        assert!(swap(None, Some(9)).is_err());
    }
}
