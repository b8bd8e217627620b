//! What must hold of a configuration before anything is made of it.
//!
//! Only what can be seen without looking at the host: whether a file, a device or a security module is there is
//! the runtime's to check.

mod linux;
mod resources;
pub mod seccomp;

use super::{Hooks, IdMapping, Mount, NamespaceKind, Process, Rlimit, Scheduler, SchedulerPolicy, Spec};
use crate::ErrorKind;

/// A member that is missing, unknown, out of range or at odds with another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// Its JSON path, such as `linux.uidMappings[0].size`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Invalid {
    /// From its two facts.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }

    /// The class of the error: always the caller's fault.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidParameter
    }
}

type Outcome = Result<(), Invalid>;

fn fail<T>(field: impl Into<String>, reason: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid::new(field, reason))
}

/// The id that means "leave it as it is" to the kernel.
const NO_ID: u32 = u32::MAX;
/// Longest host and domain name (`__NEW_UTS_LEN`).
const LONGEST_NAME: usize = 64;

impl Spec {
    /// Checks a whole configuration.
    ///
    /// # Errors
    /// The first member that is wrong.
    pub fn validate(&self) -> Outcome {
        let Some(process) = &self.process else { return fail("process", "is missing") };
        if process.args.is_empty() {
            return fail("process.args", "must not be empty");
        }
        process.validate()?;
        match &self.root {
            Some(root) if !root.path.is_empty() || root.overlay.is_some() => {}
            Some(_) => return fail("root.path", "is empty"),
            None => return fail("root", "is missing"),
        }
        for (field, name) in [("hostname", &self.hostname), ("domainname", &self.domainname)] {
            if name.is_empty() {
                continue;
            }
            if name.len() > LONGEST_NAME {
                return fail(field, format!("is longer than {LONGEST_NAME} bytes"));
            }
            if !self.linux.has(NamespaceKind::Uts) {
                return fail(field, "unable to set hostname without a private UTS namespace");
            }
        }
        for (index, mount) in self.mounts.iter().enumerate() {
            self.validate_mount(mount, &format!("mounts[{index}]"))?;
        }
        validate_hooks(&self.hooks)?;
        linux::validate(&self.linux)?;
        self.validate_ids(process)
    }

    fn validate_mount(&self, mount: &Mount, at: &str) -> Outcome {
        if mount.destination.is_empty() {
            return fail(format!("{at}.destination"), "is empty");
        }
        let has = |words: &[&str]| mount.options.iter().any(|option| words.contains(&option.as_str()));
        let bind = mount.r#type == "bind" || has(&["bind", "rbind"]);
        if bind && mount.source.is_empty() {
            return fail(format!("{at}.source"), "is empty, but this is a bind mount");
        }
        if !bind && mount.r#type.is_empty() {
            return fail(format!("{at}.type"), "is missing, and this is no bind mount");
        }
        mappings(&mount.uid_mappings, &format!("{at}.uidMappings"))?;
        mappings(&mount.gid_mappings, &format!("{at}.gidMappings"))?;
        if mount.uid_mappings.is_empty() != mount.gid_mappings.is_empty() {
            return fail(format!("{at}.uidMappings"), "and gidMappings must be given together");
        }
        let mapped = !mount.uid_mappings.is_empty();
        if mapped && !bind {
            return fail(format!("{at}.uidMappings"), "are for bind mounts only");
        }
        if has(&["idmap", "ridmap"]) && !mapped && self.linux.uid_mappings.is_empty() {
            return fail(
                format!("{at}.options"),
                "idmap without mappings, and the container has none either",
            );
        }
        Ok(())
    }

    /// In a user namespace only ids that are mapped can be had.
    fn validate_ids(&self, process: &Process) -> Outcome {
        let linux = &self.linux;
        if linux.uid_mappings.is_empty() {
            return Ok(());
        }
        let inside = |mappings: &[IdMapping], id: u32| {
            mappings.iter().any(|m| id.checked_sub(m.container_id).is_some_and(|above| above < m.size))
        };
        let user = &process.user;
        if user.username.is_empty() && !inside(&linux.uid_mappings, user.uid) {
            return fail("process.user.uid", format!("{} is not in linux.uidMappings", user.uid));
        }
        if user.username.is_empty() && !inside(&linux.gid_mappings, user.gid) {
            return fail("process.user.gid", format!("{} is not in linux.gidMappings", user.gid));
        }
        for (index, gid) in user.additional_gids.iter().enumerate() {
            if !inside(&linux.gid_mappings, *gid) {
                let field = format!("process.user.additionalGids[{index}]");
                return fail(field, format!("{gid} is not in linux.gidMappings"));
            }
        }
        Ok(())
    }
}

impl Process {
    /// Checks the process of a container or an exec.
    ///
    /// # Errors
    /// The first member that is wrong.
    pub fn validate(&self) -> Outcome {
        if !self.cwd.starts_with('/') {
            return fail("process.cwd", "Cwd property must not be empty or relative");
        }
        for (name, texts) in [("args", &self.args), ("env", &self.env)] {
            if let Some(index) = texts.iter().position(|text| text.contains('\0')) {
                return fail(format!("process.{name}[{index}]"), "has a zero byte");
            }
        }
        for (field, id) in [("uid", self.user.uid), ("gid", self.user.gid)] {
            if id == NO_ID {
                return fail(format!("process.user.{field}"), format!("{id} is no id"));
            }
        }
        if let Some(index) = self.user.additional_gids.iter().position(|gid| *gid == NO_ID) {
            return fail(format!("process.user.additionalGids[{index}]"), format!("{NO_ID} is no id"));
        }
        if let Some(umask) = self.user.umask.filter(|umask| *umask > 0o777) {
            return fail("process.user.umask", format!("{umask:o} (octal) has more than permission bits"));
        }
        if let Some(score) = self.oom_score_adj.filter(|score| !(-1000..=1000).contains(score)) {
            return fail("process.oomScoreAdj", format!("{score} is not within -1000 and 1000"));
        }
        rlimits(&self.rlimits)?;
        if let Some(io) = self.io_priority.filter(|io| !(0..=7).contains(&io.priority)) {
            return fail("process.ioPriority.priority", format!("{} is not within 0 and 7", io.priority));
        }
        self.scheduler.as_ref().map_or(Ok(()), scheduler)?;
        if let Some(affinity) = &self.exec_cpu_affinity {
            for (field, list) in [("initial", &affinity.initial), ("final", &affinity.last)] {
                if !list.is_empty() {
                    number_list(list)
                        .or_else(|reason| fail(format!("process.execCPUAffinity.{field}"), reason))?;
                }
            }
        }
        Ok(())
    }
}

fn rlimits(limits: &[Rlimit]) -> Outcome {
    for (index, limit) in limits.iter().enumerate() {
        let at = format!("process.rlimits[{index}]");
        if !RLIMITS.contains(&limit.r#type.as_str()) {
            return fail(format!("{at}.type"), format!("unknown limit {:?}", limit.r#type));
        }
        if limits[..index].iter().any(|other| other.r#type == limit.r#type) {
            return fail(format!("{at}.type"), format!("{} is there twice", limit.r#type));
        }
        if limit.soft > limit.hard {
            return fail(
                format!("{at}.soft"),
                format!("{} is above the hard limit {}", limit.soft, limit.hard),
            );
        }
    }
    Ok(())
}

/// getrlimit(2).
const RLIMITS: [&str; 16] = [
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
];

/// sched(7).
fn scheduler(scheduler: &Scheduler) -> Outcome {
    use SchedulerPolicy::{Batch, Deadline, Fifo, Idle, Iso, Other, RoundRobin};
    let at = |field: &str| format!("process.scheduler.{field}");
    let real_time = match scheduler.policy {
        Fifo | RoundRobin => true,
        Other | Batch | Idle | Deadline => false,
        Iso => return fail(at("policy"), "SCHED_ISO is in no kernel"),
    };
    let deadline = scheduler.policy == Deadline;
    if !(-20..=19).contains(&scheduler.nice) {
        return fail(at("nice"), format!("{} is not within -20 and 19", scheduler.nice));
    }
    if real_time && !(1..=99).contains(&scheduler.priority) {
        return fail(at("priority"), format!("{} is not within 1 and 99", scheduler.priority));
    }
    if !real_time && scheduler.priority != 0 {
        return fail(at("priority"), "is for SCHED_FIFO and SCHED_RR only");
    }
    if !deadline && (scheduler.runtime, scheduler.deadline, scheduler.period) != (0, 0, 0) {
        return fail(at("runtime"), "runtime, deadline and period are for SCHED_DEADLINE only");
    }
    if deadline && (scheduler.runtime == 0 || scheduler.runtime > scheduler.deadline) {
        return fail(at("runtime"), "must be above 0 and not above the deadline");
    }
    Ok(())
}

fn validate_hooks(hooks: &Hooks) -> Outcome {
    for (kind, hooks) in hooks.all() {
        for (index, hook) in hooks.iter().enumerate() {
            let at = format!("hooks.{kind}[{index}]");
            if !hook.path.starts_with('/') {
                return fail(format!("{at}.path"), format!("{:?} is not absolute", hook.path));
            }
            if hook.timeout.is_some_and(|seconds| seconds <= 0) {
                return fail(format!("{at}.timeout"), "must be above 0");
            }
        }
    }
    Ok(())
}

/// Mappings of ids: the kernel takes 340 of them at most (user_namespaces(7)).
fn mappings(mappings: &[IdMapping], at: &str) -> Outcome {
    if mappings.len() > 340 {
        return fail(at, "more than 340 mappings");
    }
    for (index, mapping) in mappings.iter().enumerate() {
        if mapping.size == 0 {
            return fail(format!("{at}[{index}].size"), "is 0");
        }
        for (field, first) in [("containerID", mapping.container_id), ("hostID", mapping.host_id)] {
            // The last id must not be the one that means none.
            if first.checked_add(mapping.size).is_none() {
                return fail(format!("{at}[{index}].{field}"), "the range ends above the largest id");
            }
        }
        let overlap = |a: u32, a_size: u32, b: u32, b_size: u32| a < b + b_size && b < a + a_size;
        for other in &mappings[..index] {
            if overlap(mapping.container_id, mapping.size, other.container_id, other.size)
                || overlap(mapping.host_id, mapping.size, other.host_id, other.size)
            {
                return fail(format!("{at}[{index}]"), "overlaps with another one");
            }
        }
    }
    Ok(())
}

/// `0-3,7`; what is wrong with it.
fn number_list(list: &str) -> Result<(), String> {
    let number =
        |text: &str| text.trim().parse::<u16>().map_err(|_| format!("{list:?} is no list of numbers"));
    for part in list.split(',') {
        match part.split_once('-') {
            Some((first, last)) if number(first)? > number(last)? => {
                return Err(format!("{list:?} has a range that ends before it begins"));
            }
            Some(_) => {}
            None => drop(number(part)?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
