//! systemd makes the cgroup: a scope, which it knows of and leaves to us (`Delegate`).
//!
//! Limits are told to it as properties, so that its next reload does not undo them, and then written as by the other
//! driver: it has no property for some.

use std::io::{PipeWriter, Read};
use std::path::Path;

use spec::oci::runtime::scope::Scope;
use spec::oci::runtime::{CgroupDriver, Cpu, Memory, Resources};
use sys::cgroup::{Cgroup, Version};
use sys::dbus::{Answer, Body, Connection, Target, Value};
use sys::process::{self, Clone, Spawned};

use crate::Failure;
use crate::failure::{at, failed};

const MANAGER: Target<'static> = Target {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};

/// systemd's own socket, which root may use and which needs no bus; else the bus.
const SOCKETS: [&str; 2] = ["/run/systemd/private", "/run/dbus/system_bus_socket"];
const BUS: &str = SOCKETS[1];

/// A container's cgroup before it is made: where it is, and the scope that it is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    path: String,
    pub(crate) scope: Option<Scope>,
}

/// A process that keeps a new scope from being empty, which would be its end. It ends with this value, or its maker.
#[derive(Debug)]
pub(crate) struct Keeper {
    child: Spawned,
    /// It reads from this until its end.
    _life: PipeWriter,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        crate::kill::end(&self.child);
    }
}

impl Place {
    pub(crate) fn of(cgroups_path: &str, driver: CgroupDriver, id: &str) -> Result<Self, Failure> {
        let wrong = |why| Failure::new("spec", "linux.cgroupsPath", why);
        match driver {
            CgroupDriver::Cgroupfs => Ok(Self { path: cgroups_path.to_owned(), scope: None }),
            CgroupDriver::Systemd => {
                let scope = Scope::parse(cgroups_path, id).map_err(wrong)?;
                Ok(Self { path: scope.path(), scope: Some(scope) })
            }
        }
    }

    /// Makes a directory, or takes one that nobody uses: limits would be another's too.
    fn take(&self) -> Result<Cgroup, Failure> {
        let cgroup = Cgroup::create(&self.path).map_err(at("cgroup"))?;
        let refused = |why: String| Err(Failure::new("cgroup", &self.path, why));
        match cgroup.processes().map_err(at("cgroup"))?.len() {
            0 if cgroup.is_frozen() => refused("container's cgroup unexpectedly frozen".into()),
            0 => Ok(cgroup),
            count => refused(format!("container's cgroup is not empty: {count} process(es) found")),
        }
    }

    /// One that is there.
    pub(crate) fn open(&self) -> Result<Cgroup, Failure> {
        Cgroup::open(&self.path).map_err(at("cgroup"))
    }

    /// One that is there, with what is missing of it.
    pub(crate) fn complete(&self) -> Result<Cgroup, Failure> {
        Cgroup::create(&self.path).map_err(at("cgroup"))
    }

    /// Makes it. With a keeper, it is there as long as that, or a process of the container.
    pub(crate) fn make(&self, resources: &Resources) -> Result<(Cgroup, Option<Keeper>), Failure> {
        let Some(scope) = &self.scope else {
            return self.take().map(|cgroup| (cgroup, None));
        };
        let mut manager = Manager::connect()?;
        let keeper = keeper()?;
        manager.start(scope, keeper.child.pid, resources)?;
        // What systemd does not switch on for the scope's own children is missing until now.
        match Cgroup::create(&self.path).map_err(at("cgroup")) {
            Ok(cgroup) if cgroup.version() == Version::V2 => Ok((cgroup, Some(keeper))),
            other => {
                drop(keeper);
                manager.stop(&scope.unit)?;
                other.and(Err(refused("the systemd driver needs cgroup v2 alone: use cgroupfs")))
            }
        }
    }
}

/// New limits of a scope. `bandwidth`: what `cpu.max` says now.
pub(super) fn update(scope: &Scope, resources: &Resources, bandwidth: &str) -> Result<(), Failure> {
    let properties = properties(resources, bandwidth)?;
    if properties.is_empty() {
        return Ok(());
    }
    let body = Body::default().text(&scope.unit).bool(true).properties(&properties);
    match Manager::connect()?.call("SetUnitProperties", &body)? {
        Answer::Done(_) => Ok(()),
        Answer::Refused(_, why) => Err(refused(&format!("unable to set unit properties: {why}"))),
    }
}

/// The end of a scope whose processes have ended, before its cgroup is removed: systemd would wait in vain to hear from that.
/// `unit` is its name; one that is not there is no error.
///
/// # Errors
/// Step `cgroup`: systemd does not run here, or refuses.
pub fn stop_scope(unit: &str) -> Result<(), Failure> {
    Manager::connect()?.stop(unit)
}

fn refused(why: &str) -> Failure {
    Failure::new("cgroup", "systemd", why)
}

struct Manager(Connection);

impl Manager {
    fn connect() -> Result<Self, Failure> {
        if !Path::new("/run/systemd/system").is_dir() {
            return Err(refused("systemd not running on this host, cannot use systemd cgroups manager"));
        }
        let mut last = Err(refused("there is no socket of systemd's"));
        for path in SOCKETS {
            match Connection::open(Path::new(path)) {
                Ok(mut connection) => {
                    if path == BUS {
                        let bus = "org.freedesktop.DBus";
                        let target =
                            Target { destination: bus, path: "/org/freedesktop/DBus", interface: bus };
                        connection.call(target, "Hello", &Body::default()).map_err(at("cgroup"))?;
                    }
                    return Ok(Self(connection));
                }
                Err(error) => last = Err(at("cgroup")(error)),
            }
        }
        last
    }

    fn call(&mut self, member: &str, body: &Body) -> Result<Answer, Failure> {
        self.0.call(MANAGER, member, body).map_err(at("cgroup"))
    }

    fn start(&mut self, scope: &Scope, pid: i32, resources: &Resources) -> Result<(), Failure> {
        // So that the ends of jobs are told.
        self.call("Subscribe", &Body::default())?;
        let mut all = vec![
            ("Description", Value::Text(format!("container {}", scope.unit))),
            ("DefaultDependencies", Value::Bool(false)),
            // One that has failed (a process was killed for want of memory) is forgotten as well.
            ("CollectMode", Value::Text("inactive-or-failed".into())),
        ];
        if scope.unit.ends_with(".slice") {
            all.push(("Wants", Value::Texts(vec![scope.slice.clone()])));
        } else {
            all.push(("Slice", Value::Text(scope.slice.clone())));
            all.push(("Delegate", Value::Bool(true)));
            all.push(("PIDs", Value::Numbers(vec![pid.cast_unsigned()])));
        }
        for name in ["CPUAccounting", "MemoryAccounting", "IOAccounting", "TasksAccounting"] {
            all.push((name, Value::Bool(true)));
        }
        all.extend(properties(resources, "")?);
        let body = Body::default().text(&scope.unit).text("replace").properties(&all).none("a(sa(sv))");
        let mut answer = self.call("StartTransientUnit", &body)?;
        if matches!(&answer, Answer::Refused(name, _) if name.ends_with(".UnitExists")) {
            // What a crash has left; one that is in use refuses again.
            self.call("ResetFailedUnit", &Body::default().text(&scope.unit))?;
            answer = self.call("StartTransientUnit", &body)?;
        }
        match answer {
            Answer::Done(job) => match self.outcome(&job)?.as_str() {
                "done" => Ok(()),
                result => {
                    Err(refused(&format!("error creating systemd unit `{}`: got `{result}`", scope.unit)))
                }
            },
            Answer::Refused(_, why) => {
                Err(refused(&format!("unable to start unit {:?} ({:?}): {why}", scope.unit, scope.slice)))
            }
        }
    }

    /// Also of one that is gone, as most are: systemd ends what has become empty.
    fn stop(&mut self, unit: &str) -> Result<(), Failure> {
        self.call("Subscribe", &Body::default())?;
        match self.call("StopUnit", &Body::default().text(unit).text("replace"))? {
            Answer::Done(job) => self.outcome(&job).map(drop),
            Answer::Refused(name, _) if name.ends_with(".NoSuchUnit") => Ok(()),
            Answer::Refused(_, why) => Err(refused(&format!("unable to stop unit {unit:?}: {why}"))),
        }
    }

    /// Waits for a job's end: `done`, `failed`, …
    fn outcome(&mut self, job: &Body) -> Result<String, Failure> {
        let job = job.reader().string().unwrap_or_default();
        loop {
            let told = self.0.signal().map_err(at("cgroup"))?;
            let mut reader = told.body.reader();
            if told.member == "JobRemoved"
                && reader.number().is_some()
                && reader.string().as_ref() == Some(&job)
            {
                let (_unit, result) = (reader.string(), reader.string());
                return Ok(result.unwrap_or_default());
            }
        }
    }
}

/// A child that does nothing until it is ended, or its maker has ended.
fn keeper() -> Result<Keeper, Failure> {
    let (read, write) = std::io::pipe().map_err(failed("cgroup", "pipe"))?;
    let (mut read, mut write) = (Some(read), Some(write));
    let child = process::clone_child(&Clone::default(), || {
        drop(write.take());
        let _ = read.take().map(|mut read| read.read(&mut [0]));
        0
    })
    .map_err(at("clone"))?;
    Ok(Keeper { child, _life: write.expect("only the child takes it from its copy") })
}

/// Limits in systemd's words (systemd.resource-control(5)).
fn properties(resources: &Resources, bandwidth: &str) -> Result<Vec<(&'static str, Value)>, Failure> {
    let mut all = Vec::new();
    if let Some(memory) = &resources.memory {
        all.extend(of_memory(memory)?);
    }
    if let Some(cpu) = &resources.cpu {
        all.extend(of_cpu(cpu, bandwidth));
    }
    if let Some(pids) = &resources.pids {
        all.push(("TasksMax", limit(if pids.limit > 0 { pids.limit } else { -1 })));
    }
    Ok(all)
}

/// All ones is no limit.
fn limit(number: i64) -> Value {
    Value::Number(u64::try_from(number).unwrap_or(u64::MAX))
}

fn of_memory(memory: &Memory) -> Result<Vec<(&'static str, Value)>, Failure> {
    let swap = super::v2::swap(memory)?.map(|text| Value::Number(text.parse().unwrap_or(u64::MAX)));
    let all = [
        ("MemoryMax", memory.limit.map(limit)),
        ("MemoryLow", memory.reservation.map(|bytes| limit(bytes.max(0)))),
        ("MemorySwapMax", swap),
    ];
    Ok(all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

fn of_cpu(cpu: &Cpu, bandwidth: &str) -> Vec<(&'static str, Value)> {
    let mut all = Vec::new();
    if let Some(shares) = cpu.shares.filter(|n| *n > 0) {
        all.push(("CPUWeight", Value::Number(super::v2::weight_of_shares(shares))));
    }
    if let Some((quota, period)) = super::v2::quota_and_period(cpu, bandwidth) {
        // systemd counts in hundredths of a processor.
        let per_second = |quota: u64| (quota.saturating_mul(1_000_000) / period).next_multiple_of(10_000);
        all.push(("CPUQuotaPeriodUSec", Value::Number(period)));
        all.push(("CPUQuotaPerSecUSec", Value::Number(quota.map_or(u64::MAX, per_second))));
    }
    for (name, list) in [("AllowedCPUs", &cpu.cpus), ("AllowedMemoryNodes", &cpu.mems)] {
        if !list.is_empty() {
            let words = crate::host::mask(list);
            all.push((name, Value::Bytes(words.into_iter().flat_map(u64::to_le_bytes).collect())));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use spec::oci::runtime::Pids;

    use super::*;

    #[test]
    fn limits_become_properties() {
        let memory = Memory { limit: Some(64 << 20), swap: Some(-1), ..Memory::default() };
        let cpu = Cpu { quota: Some(25_001), shares: Some(1024), cpus: "0,9".into(), ..Cpu::default() };
        let resources = Resources {
            memory: Some(memory),
            cpu: Some(cpu),
            pids: Some(Pids { limit: 0 }),
            ..Resources::default()
        };
        assert_eq!(
            properties(&resources, "max 100000").unwrap(),
            [
                ("MemoryMax", Value::Number(64 << 20)),
                ("MemorySwapMax", Value::Number(u64::MAX)),
                ("CPUWeight", Value::Number(100)),
                ("CPUQuotaPeriodUSec", Value::Number(100_000)),
                ("CPUQuotaPerSecUSec", Value::Number(260_000)),
                ("AllowedCPUs", Value::Bytes(vec![1, 2, 0, 0, 0, 0, 0, 0])),
                ("TasksMax", Value::Number(u64::MAX)),
            ]
        );
    }
}
