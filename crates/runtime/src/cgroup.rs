//! Limits become files of the cgroup.

mod devices;
pub(crate) mod systemd;
mod v1;
mod v2;

use std::path::Path;

use spec::oci::runtime::scope::Scope;
use spec::oci::runtime::{BlockIo, Memory, Resources, Spec, Throttle};
use sys::cgroup::{Cgroup, Version};
pub(crate) use systemd::Place;

use crate::Failure;
use crate::failure::at;

pub(crate) use devices::allow;

const ENOENT: i32 = 2;
const EINVAL: i32 = 22;

/// One file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Write {
    controller: &'static str,
    file: String,
    value: String,
    /// The kernel may be built without it; then there is nothing to limit.
    optional: bool,
}

impl Write {
    fn new(controller: &'static str, file: impl Into<String>, value: impl ToString) -> Self {
        Self { controller, file: file.into(), value: value.to_string(), optional: false }
    }

    fn optional(self) -> Self {
        Self { optional: true, ..self }
    }
}

/// New limits of a container that runs, for systemd too if it is a scope.
pub(crate) fn update(cgroup: &Cgroup, scope: Option<&Scope>, resources: &Resources) -> Result<(), Failure> {
    check_memory(cgroup, resources)?;
    scope.map_or(Ok(()), |scope| systemd::update(scope, resources, &bandwidth(cgroup)))?;
    limit(cgroup, resources)
}

/// Whether the container may change its cgroups: they are mounted without `ro`.
pub(crate) fn is_writable(spec: &Spec) -> bool {
    let shows = |kind: &str| matches!(kind, "cgroup" | "cgroup2");
    spec.mounts.iter().any(|mount| shows(&mount.r#type) && !mount.options.iter().any(|option| option == "ro"))
}

/// Gives the cgroup to the root of a user namespace, as far as it may have it (cgroups(7), delegation): v2 only.
pub(crate) fn delegate(cgroup: &Cgroup, uid: u32, gid: u32) -> Result<(), Failure> {
    if cgroup.version() == Version::V1 {
        return Ok(());
    }
    // The kernel says which files a delegate may have.
    let known = sys::file::read_if_exists(Path::new("/sys/kernel/cgroup/delegate")).map_err(at("cgroup"))?;
    let known = known.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let files = known.as_deref().unwrap_or("cgroup.procs\ncgroup.subtree_control\ncgroup.threads");
    for (_, directory, _) in cgroup.directories() {
        for file in files.lines().chain([""]) {
            match sys::file::chown(&Path::new(directory).join(file), uid, gid) {
                // Those of a controller that is not switched on.
                Err(error) if error.errno() == ENOENT => {}
                done => done.map_err(at("cgroup"))?,
            }
        }
    }
    Ok(())
}

/// v2's file of quota and period, which are written together: what it says now.
fn bandwidth(cgroup: &Cgroup) -> String {
    cgroup.read("cpu", "cpu.max").unwrap_or_default()
}

/// Memory with swap, in v1's words: who lifts the limit of memory and says nothing of swap, lifts both.
fn memory_and_swap(memory: &Memory) -> Option<i64> {
    match (memory.swap.filter(|n| *n != 0), memory.limit) {
        (None, Some(-1)) => Some(-1),
        (swap, _) => swap,
    }
}

/// Writes the limits; what is not set stays as it is.
pub(crate) fn limit(cgroup: &Cgroup, resources: &Resources) -> Result<(), Failure> {
    let writes = match cgroup.version() {
        Version::V1 => v1::writes(resources),
        Version::V2 => v2::writes(resources, &bandwidth(cgroup)),
    };
    check_memory(cgroup, resources)?;
    let mut refused = Vec::new();
    for write in writes? {
        match cgroup.write(write.controller, &write.file, &write.value) {
            Err(error) if error.errno() == ENOENT && write.optional => {}
            // Some limits bound each other (memory and memory with swap, quota and period): which one has to be
            // written first depends on what was there before.
            Err(error) if error.errno() == EINVAL => refused.push(write),
            done => done.map_err(at("cgroup"))?,
        }
    }
    refused
        .into_iter()
        .try_for_each(|write| cgroup.write(write.controller, &write.file, &write.value).map_err(at("cgroup")))
}

/// `checkBeforeUpdate`: a limit below what is used would have the kernel kill for it.
fn check_memory(cgroup: &Cgroup, resources: &Resources) -> Result<(), Failure> {
    let Some(memory) = resources.memory.as_ref().filter(|m| m.check_before_update == Some(true)) else {
        return Ok(());
    };
    let (file, limit_file) = match cgroup.version() {
        Version::V1 => ("memory.usage_in_bytes", "memory.limit_in_bytes"),
        Version::V2 => ("memory.current", "memory.max"),
    };
    let used: i64 = cgroup.read("memory", file).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    match memory.limit {
        Some(limit) if limit > 0 && used > limit => {
            let detail = format!("the limit {limit} is below what is used, {used}");
            Err(Failure::new("cgroup", limit_file, detail))
        }
        Some(_) | None => Ok(()),
    }
}

/// The same file and form in both versions.
fn rdma(resources: &Resources) -> impl Iterator<Item = Write> + '_ {
    resources.rdma.iter().map(|(device, limits)| {
        let word =
            |key: &str, limit: Option<u32>| limit.map(|limit| format!(" {key}={limit}")).unwrap_or_default();
        let handles = word("hca_handle", limits.hca_handles);
        Write::new("rdma", "rdma.max", format!("{device}{handles}{}", word("hca_object", limits.hca_objects)))
    })
}

/// The processes of a cgroup that the kernel kills for want of memory, counted from a time on.
#[derive(Debug)]
pub(crate) struct OomKills {
    before: u64,
    /// The cgroup above and its count, which has those below in it: systemd removes a scope's as soon as it is empty, perhaps
    /// before anybody could look.
    above: Option<(Cgroup, u64)>,
}

impl OomKills {
    /// Counts from now on; the cgroup may have been there before.
    pub(crate) fn from_now(cgroup: &Cgroup, scope: Option<&Scope>) -> Self {
        let parent = scope.and_then(|_| Path::new(cgroup.path()).parent()?.to_str());
        let above = parent.and_then(|path| Cgroup::open(path).ok());
        Self {
            before: oom_kills(cgroup).unwrap_or(0),
            above: above.and_then(|above| oom_kills(&above).map(|count| (above, count))),
        }
    }

    /// How many there were. `killed`: init ended by SIGKILL; then a cgroup that is gone, and one more above, mean that it was
    /// one of them.
    pub(crate) fn count(&self, cgroup: &Cgroup, killed: bool) -> u64 {
        let gone = || {
            let (above, before) = self.above.as_ref().filter(|_| killed)?;
            Some(u64::from(oom_kills(above)? > *before))
        };
        oom_kills(cgroup).map_or_else(|| gone().unwrap_or(0), |now| now.saturating_sub(self.before))
    }
}

/// `None` when the cgroup is gone or has no such count.
fn oom_kills(cgroup: &Cgroup) -> Option<u64> {
    let file = match cgroup.version() {
        Version::V1 => "memory.oom_control",
        Version::V2 => "memory.events",
    };
    cgroup.value("memory", file, "oom_kill")
}

/// The throttled devices with the words of each kind: (file of v1, key of v2, devices).
fn throttles(io: &BlockIo) -> [(&'static str, &'static str, &[Throttle]); 4] {
    [
        ("blkio.throttle.read_bps_device", "rbps", &io.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", "wbps", &io.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", "riops", &io.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", "wiops", &io.throttle_write_iops_device),
    ]
}
