//! The files of cgroup v1 (kernel documentation, admin-guide/cgroup-v1).

use spec::oci::runtime::Resources;

use super::{Write, throttles};
use crate::Failure;

pub(super) fn writes(resources: &Resources) -> Result<Vec<Write>, Failure> {
    let mut writes = Vec::new();
    let mut write = |controller, file: &str, value: Option<String>| {
        writes.extend(value.map(|value| Write::new(controller, file, value)));
    };
    if let Some(memory) = &resources.memory {
        write("memory", "memory.limit_in_bytes", memory.limit.map(|n| n.to_string()));
        write("memory", "memory.soft_limit_in_bytes", memory.reservation.map(|n| n.to_string()));
        let disabled = memory.disable_oom_killer.map(|disabled| u8::from(disabled).to_string());
        write("memory", "memory.oom_control", disabled);
    }
    if let Some(cpu) = &resources.cpu {
        write("cpu", "cpu.shares", cpu.shares.filter(|n| *n > 0).map(|n| n.to_string()));
        write("cpu", "cpu.cfs_period_us", cpu.period.filter(|n| *n > 0).map(|n| n.to_string()));
        write("cpu", "cpu.cfs_quota_us", cpu.quota.filter(|n| *n != 0).map(|n| n.to_string()));
        write("cpu", "cpu.cfs_burst_us", cpu.burst.map(|n| n.to_string()));
        write("cpu", "cpu.idle", cpu.idle.map(|n| n.to_string()));
        write("cpu", "cpu.rt_period_us", cpu.realtime_period.filter(|n| *n > 0).map(|n| n.to_string()));
        write("cpu", "cpu.rt_runtime_us", cpu.realtime_runtime.filter(|n| *n != 0).map(|n| n.to_string()));
        write("cpuset", "cpuset.cpus", Some(cpu.cpus.clone()).filter(|text| !text.is_empty()));
        write("cpuset", "cpuset.mems", Some(cpu.mems.clone()).filter(|text| !text.is_empty()));
    }
    if let Some(pids) = &resources.pids {
        write("pids", "pids.max", Some(unlimited_or(pids.limit)));
    }
    if let Some(memory) = &resources.memory {
        let swap =
            super::memory_and_swap(memory).map(|n| Write::new("memory", "memory.memsw.limit_in_bytes", n));
        let swappiness = memory.swappiness.map(|n| Write::new("memory", "memory.swappiness", n));
        let tcp = memory.kernel_tcp.map(|n| Write::new("memory", "memory.kmem.tcp.limit_in_bytes", n));
        writes.extend(swap.into_iter().chain(swappiness).chain(tcp).map(Write::optional));
    }
    if let Some(io) = &resources.block_io {
        // The file's name depends on the scheduler: bfq's is the only one that weighs today.
        let weight = io.weight.filter(|n| *n > 0);
        writes.extend(weight.map(|n| Write::new("blkio", "blkio.bfq.weight", n).optional()));
        let weights = io.weight_device.iter().filter_map(|d| Some((d.major, d.minor, d.weight?)));
        let line = |(major, minor, weight): (i64, i64, u16)| format!("{major}:{minor} {weight}");
        writes.extend(weights.map(|w| Write::new("blkio", "blkio.bfq.weight_device", line(w))));
        for (file, _, devices) in throttles(io) {
            let line = |t: &spec::oci::runtime::Throttle| format!("{}:{} {}", t.major, t.minor, t.rate);
            writes.extend(devices.iter().map(|device| Write::new("blkio", file, line(device))));
        }
    }
    for limit in &resources.hugepage_limits {
        let file = format!("hugetlb.{}.limit_in_bytes", limit.page_size);
        writes.push(Write::new("hugetlb", file, limit.limit));
    }
    writes.extend(super::rdma(resources));
    if let Some(network) = &resources.network {
        writes.extend(network.class_id.map(|id| Write::new("net_cls", "net_cls.classid", id)));
        let line = |p: &spec::oci::runtime::InterfacePriority| format!("{} {}", p.name, p.priority);
        writes
            .extend(network.priorities.iter().map(|p| Write::new("net_prio", "net_prio.ifpriomap", line(p))));
    }
    if let Some(key) = resources.unified.keys().next() {
        return Err(Failure::new("cgroup", key, "this host has cgroup v1: files of v2 cannot be set"));
    }
    Ok(writes)
}

pub(super) fn unlimited_or(limit: i64) -> String {
    if limit > 0 { limit.to_string() } else { "max".to_owned() }
}
