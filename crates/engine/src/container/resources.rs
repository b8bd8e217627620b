//! Limits against this host: what it has not is refused or, where Docker does, left out with a warning.

use std::collections::BTreeSet;
use std::path::Path;

use spec::api::Resources;

use crate::blocking::blocking;
use crate::{Engine, Error, system};

/// What this host can limit. Read once for each request that limits something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// cgroup v2 is all there is.
    pub(crate) unified: bool,
    pub(crate) swap: bool,
    pub(crate) swappiness: bool,
    pub(crate) oom_control: bool,
    pub(crate) realtime: bool,
    pub(crate) block_weight: bool,
    pub(crate) processors: usize,
    /// Lists of what is online, such as `0-3,7`.
    pub(crate) cpus: String,
    pub(crate) nodes: String,
    /// Where nothing can be raised.
    pub(crate) ceiling: Option<Ceiling>,
}

/// Limits of this process that no child may exceed, for want of CAP_SYS_RESOURCE.
pub(crate) type Ceiling = Vec<(String, u64)>;

impl Kernel {
    /// Blocking.
    pub(crate) fn read() -> Self {
        let there = |path: &str| Path::new(path).exists();
        let list = |path: &str| system::read(path);
        let unified = system::unified();
        let v1 = |file: &str| !unified && there(&format!("/sys/fs/cgroup/{file}"));
        let controllers = list("/sys/fs/cgroup/cgroup.controllers");
        Self {
            unified,
            swap: system::swap_limit(),
            swappiness: v1("memory/memory.swappiness"),
            oom_control: v1("memory/memory.oom_control"),
            realtime: v1("cpu/cpu.rt_runtime_us"),
            block_weight: if unified {
                controllers.split_whitespace().any(|c| c == "io")
            } else {
                v1("blkio/blkio.weight") || v1("blkio/blkio.bfq.weight")
            },
            processors: system::processors(),
            cpus: list("/sys/devices/system/cpu/online"),
            nodes: list("/sys/devices/system/node/online"),
            ceiling: ceiling(),
        }
    }
}

fn ceiling() -> Option<Ceiling> {
    // capability.h: CAP_SYS_RESOURCE is number 24.
    let status = system::read("/proc/self/status");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = u64::from_str_radix(effective.unwrap_or_default().trim(), 16).unwrap_or(u64::MAX);
    (bits >> 24 & 1 == 0).then(|| {
        let limits = system::read("/proc/self/limits");
        let known = [
            ("Max open files", "nofile"),
            ("Max processes", "nproc"),
            ("Max core file size", "core"),
            ("Max locked memory", "memlock"),
            ("Max stack size", "stack"),
            ("Max file size", "fsize"),
            ("Max cpu time", "cpu"),
            ("Max data size", "data"),
            ("Max msgqueue size", "msgqueue"),
            ("Max pending signals", "sigpending"),
            ("Max realtime priority", "rtprio"),
            ("Max nice priority", "nice"),
        ];
        known
            .into_iter()
            .filter_map(|(line, name)| {
                let rest = limits.lines().find_map(|l| l.strip_prefix(line))?;
                let hard = rest.split_whitespace().nth(1)?;
                Some((name.to_owned(), hard.parse().ok()?))
            })
            .collect()
    })
}

impl Engine {
    /// As [`adapt`], for this host. The host is not looked at for a request without limits.
    pub(crate) async fn adapt(&self, wanted: &mut Resources) -> Result<Vec<String>, Error> {
        // What the original client always sends.
        wanted.memory_swappiness = wanted.memory_swappiness.filter(|n| *n != -1);
        wanted.pids_limit = wanted.pids_limit.filter(|n| *n > 0);
        if *wanted == Resources::default() {
            return Ok(Vec::new());
        }
        adapt(wanted, &blocking(Kernel::read).await)
    }
}

/// Refuses what cannot be, and takes out what this host cannot limit. The warnings.
///
/// # Errors
/// In Docker's words.
pub(crate) fn adapt(r: &mut Resources, kernel: &Kernel) -> Result<Vec<String>, Error> {
    let invalid = |text: String| Err(Error::Invalid(text));
    let mut warnings = Vec::new();
    let lacks = |what: &str, then: &str| {
        format!("Your kernel does not support {what} or the cgroup is not mounted. {then}")
    };
    if r.memory > 0 && r.memory_swap != -1 && !kernel.swap {
        if r.memory_swap > 0 {
            warnings.push(lacks("swap limit capabilities", "Memory limited without swap."));
        }
        r.memory_swap = -1;
    }
    r.memory_swappiness = r.memory_swappiness.filter(|n| *n != -1);
    if r.memory_swappiness.is_some() && !kernel.swappiness {
        warnings.push(lacks("memory swappiness capabilities", "Memory swappiness discarded."));
        r.memory_swappiness = None;
    }
    if r.oom_kill_disable {
        if !kernel.oom_control {
            warnings
                .push("Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned());
            r.oom_kill_disable = false;
        } else if r.memory == 0 {
            warnings.push("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.".to_owned());
        }
    }
    let most = i64::try_from(kernel.processors).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    if r.nano_cpus < 0 || r.nano_cpus > most {
        let n = kernel.processors;
        return invalid(format!(
            "range of CPUs is from 0.01 to {n}.00, as there are only {n} CPUs available"
        ));
    }
    if (r.cpu_realtime_period != 0 || r.cpu_realtime_runtime != 0) && !kernel.realtime {
        return invalid("kernel does not support CPU real-time scheduler".into());
    }
    if r.cpu_realtime_period != 0 && r.cpu_realtime_runtime > r.cpu_realtime_period {
        return invalid("cpu real-time runtime cannot be higher than cpu real-time period".into());
    }
    if !kernel.block_weight {
        if r.blkio_weight != 0 {
            warnings.push(lacks("Block I/O weight", "Weight discarded."));
            r.blkio_weight = 0;
        }
        if !r.blkio_weight_device.is_empty() {
            warnings.push(lacks("Block I/O weight_device", "Weight-device discarded."));
            r.blkio_weight_device.clear();
        }
    }
    for (text, field, what, online) in [
        (&r.cpuset_cpus, "cpus", "CPUs", &kernel.cpus),
        (&r.cpuset_mems, "mems", "memory nodes", &kernel.nodes),
    ] {
        if text.is_empty() {
            continue;
        }
        let Some(wanted) = number_list(text) else {
            return invalid(format!("Invalid value {text} for cpuset {field}"));
        };
        // A kernel without NUMA has node 0 and says nothing of it.
        let there = number_list(online).filter(|l| !l.is_empty()).unwrap_or_else(|| [0].into());
        if !wanted.is_subset(&there) {
            return invalid(format!(
                "Requested {what} are not available - requested {text}, available: {}",
                if online.is_empty() { "0" } else { online }
            ));
        }
    }
    for ulimit in &mut r.ulimits {
        let Some((name, most)) = kernel.ceiling.iter().flatten().find(|(name, _)| *name == ulimit.name)
        else {
            continue;
        };
        let most = i64::try_from(*most).unwrap_or(i64::MAX);
        // -1 is no limit.
        if !(0..=most).contains(&ulimit.hard) {
            warnings.push(format!(
                "ulimit {name}: a hard limit above {most} takes CAP_SYS_RESOURCE, which this host does not give: limited to {most}"
            ));
            ulimit.hard = most;
            if !(0..=most).contains(&ulimit.soft) {
                ulimit.soft = most;
            }
        }
    }
    Ok(warnings)
}

/// `0-3,7` as numbers; none may be above 8191, the kernel's most processors.
fn number_list(text: &str) -> Option<BTreeSet<u32>> {
    let mut numbers = BTreeSet::new();
    for part in text.trim().split(',').filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        if first > last || last > 8191 {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::api::{Ulimit, WeightDevice};

    fn kernel() -> Kernel {
        Kernel { swap: true, processors: 2, cpus: "0-1".into(), ..Kernel::default() }
    }

    #[test]
    fn what_the_kernel_lacks_is_left_out_with_a_warning() {
        let mut wanted = Resources {
            memory: 64 << 20,
            memory_swap: 128 << 20,
            memory_swappiness: Some(10),
            oom_kill_disable: true,
            blkio_weight: 100,
            blkio_weight_device: vec![WeightDevice { path: "/dev/null".into(), weight: 10 }],
            ulimits: vec![Ulimit { name: "nofile".into(), soft: 1, hard: 99 }],
            ..Resources::default()
        };
        let poor = Kernel { swap: false, ceiling: Some(vec![("nofile".into(), 50)]), ..kernel() };
        let warnings = adapt(&mut wanted, &poor).unwrap();
        assert_eq!(warnings.len(), 6, "{warnings:#?}");
        assert_eq!(
            (wanted.memory_swap, wanted.memory_swappiness, wanted.oom_kill_disable),
            (-1, None, false)
        );
        assert_eq!((wanted.ulimits[0].soft, wanted.ulimits[0].hard), (1, 50));
        assert!(wanted.blkio_weight == 0 && wanted.blkio_weight_device.is_empty());
        let mut client = Resources { memory_swappiness: Some(-1), ..Resources::default() };
        assert!(adapt(&mut client, &poor).unwrap().is_empty() && client.memory_swappiness.is_none());
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let refused = |change: fn(&mut Resources)| {
            let mut wanted = Resources::default();
            change(&mut wanted);
            adapt(&mut wanted, &kernel()).unwrap_err().to_string()
        };
        for (error, text) in [
            (
                refused(|r| r.nano_cpus = 3_000_000_000),
                "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
            ),
            (
                refused(|r| r.cpuset_cpus = "0-2".into()),
                "Requested CPUs are not available - requested 0-2, available: 0-1",
            ),
            (refused(|r| r.cpuset_cpus = "1-0".into()), "Invalid value 1-0 for cpuset cpus"),
            (
                refused(|r| r.cpuset_mems = "3".into()),
                "Requested memory nodes are not available - requested 3, available: 0",
            ),
            (refused(|r| r.cpu_realtime_runtime = 5), "kernel does not support CPU real-time scheduler"),
        ] {
            assert_eq!(error, text);
        }
    }
}
