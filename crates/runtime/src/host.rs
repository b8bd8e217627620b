//! What the host must have for a configuration, and what init hands on to the container from the host's side.

use std::path::Path;

use spec::oci::runtime::{
    IoClass, MemoryPolicy, MemoryPolicyFlag, MemoryPolicyMode, Personality, PersonalityDomain, Process,
    SchedulerFlag, SchedulerPolicy, Spec,
};
use sys::process::{IoPriority, Scheduling};

use crate::Failure;
use crate::failure::at;

const EACCES: i32 = 13;
const EPERM: i32 = 1;

/// Refuses what this host cannot do, before anything is made.
pub(crate) fn check(spec: &Spec, process: &Process) -> Result<(), Failure> {
    check_process(process)?;
    if !spec.linux.mount_label.is_empty() && !has_selinux() {
        return Err(Failure::new("spec", "linux.mountLabel", "SELinux is not enabled on this host"));
    }
    Ok(())
}

/// The same for the process of an exec.
pub(crate) fn check_process(process: &Process) -> Result<(), Failure> {
    if !process.apparmor_profile.is_empty() && !has_apparmor() {
        return Err(Failure::new("spec", "process.apparmorProfile", "AppArmor is not enabled on this host"));
    }
    if !process.selinux_label.is_empty() && !has_selinux() {
        return Err(Failure::new("spec", "process.selinuxLabel", "SELinux is not enabled on this host"));
    }
    Ok(())
}

/// Whether the kernel confines by AppArmor profiles.
pub fn has_apparmor() -> bool {
    read("/sys/module/apparmor/parameters/enabled").starts_with('Y')
}

/// Whether the kernel confines by SELinux labels.
pub fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

fn read(path: &str) -> String {
    sys::file::read(Path::new(path)).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
}

/// What takes the host's rights and stays with a process: while the caller's /proc can be seen, before any
/// namespace's ids count.
pub(crate) fn settle(spec: &Spec, process: &Process) -> Result<(), Failure> {
    settle_process(process)?;
    use_all_cpus();
    Habits::of(spec).settle()
}

/// Whatever processors our caller may use: the container's are its cgroup's.
pub(crate) fn use_all_cpus() {
    // More than any kernel has; it takes those that there are.
    let _ = sys::process::set_cpus(&[u64::MAX; 128]);
}

/// The same for every process of a container.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    memory_policy: Option<MemoryPolicy>,
    personality: Option<Personality>,
}

impl Habits {
    pub(crate) fn of(spec: &Spec) -> Self {
        let linux = &spec.linux;
        Self { memory_policy: linux.memory_policy.clone(), personality: linux.personality.clone() }
    }

    pub(crate) fn settle(&self) -> Result<(), Failure> {
        if let Some(policy) = &self.memory_policy {
            let mode = match policy.mode {
                MemoryPolicyMode::Default => 0,
                MemoryPolicyMode::Preferred => 1,
                MemoryPolicyMode::Bind => 2,
                MemoryPolicyMode::Interleave => 3,
                MemoryPolicyMode::Local => 4,
                MemoryPolicyMode::PreferredMany => 5,
                MemoryPolicyMode::WeightedInterleave => 6,
            };
            let mode = policy.flags.iter().fold(mode, |mode, flag| {
                mode | match flag {
                    MemoryPolicyFlag::NumaBalancing => 1 << 13,
                    MemoryPolicyFlag::RelativeNodes => 1 << 14,
                    MemoryPolicyFlag::StaticNodes => 1 << 15,
                }
            });
            let failed = at("memoryPolicy");
            sys::process::set_memory_policy(mode, &mask(&policy.nodes)).map_err(failed)?;
        }
        if let Some(personality) = &self.personality {
            let domain = match personality.domain {
                PersonalityDomain::Linux => 0,
                PersonalityDomain::Linux32 => 8,
            };
            sys::process::set_personality(domain).map_err(at("personality"))?;
        }
        Ok(())
    }
}

/// The same for an exec.
pub(crate) fn settle_process(process: &Process) -> Result<(), Failure> {
    if let Some(adjustment) = process.oom_score_adj {
        set_oom_score(adjustment)?;
    }
    if let Some(priority) = process.io_priority {
        let class = match priority.class {
            IoClass::RealTime => 1,
            IoClass::BestEffort => 2,
            IoClass::Idle => 3,
        };
        let level = u16::try_from(priority.priority).unwrap_or_default();
        sys::process::set_io_priority(IoPriority { class, level }).map_err(at("ioPriority"))?;
    }
    if let Some(scheduler) = &process.scheduler {
        let policy = match scheduler.policy {
            SchedulerPolicy::Other => 0,
            SchedulerPolicy::Fifo => 1,
            SchedulerPolicy::RoundRobin => 2,
            SchedulerPolicy::Batch => 3,
            SchedulerPolicy::Iso => 4,
            SchedulerPolicy::Idle => 5,
            SchedulerPolicy::Deadline => 6,
        };
        let flags = scheduler.flags.iter().fold(0, |flags, flag| {
            flags
                | match flag {
                    SchedulerFlag::ResetOnFork => 1,
                    SchedulerFlag::Reclaim => 1 << 1,
                    SchedulerFlag::DeadlineOverrun => 1 << 2,
                    SchedulerFlag::KeepPolicy => 1 << 3,
                    SchedulerFlag::KeepParameters => 1 << 4,
                    SchedulerFlag::UtilClampMin => 1 << 5,
                    SchedulerFlag::UtilClampMax => 1 << 6,
                }
        });
        let scheduling = Scheduling {
            policy,
            flags,
            nice: scheduler.nice,
            priority: u32::try_from(scheduler.priority).unwrap_or_default(),
            runtime: scheduler.runtime,
            deadline: scheduler.deadline,
            period: scheduler.period,
        };
        sys::process::set_scheduling(scheduling).map_err(at("scheduler"))?;
    }
    Ok(())
}

/// Lowering it takes a privilege that we may lack: then it stays as it is.
fn set_oom_score(adjustment: i32) -> Result<(), Failure> {
    let path = Path::new("/proc/self/oom_score_adj");
    match sys::file::write(path, adjustment.to_string().as_bytes()) {
        Err(error) if !matches!(error.errno(), EACCES | EPERM) => Err(at("oom_score_adj")(error)),
        _ => Ok(()),
    }
}

/// `0-3,7` as bits.
pub(crate) fn mask(list: &str) -> Vec<u64> {
    let mut mask: Vec<u64> = Vec::new();
    for part in list.split(',').filter(|part| !part.trim().is_empty()) {
        let number = |text: &str| text.trim().parse::<u16>().unwrap_or_default();
        let (first, last) =
            part.split_once('-').map_or((number(part), number(part)), |(a, b)| (number(a), number(b)));
        for bit in usize::from(first)..=usize::from(last) {
            if mask.len() <= bit / 64 {
                mask.resize(bit / 64 + 1, 0);
            }
            mask[bit / 64] |= 1 << (bit % 64);
        }
    }
    mask
}
