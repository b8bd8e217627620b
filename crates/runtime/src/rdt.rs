//! Intel RDT, and AMD's QoS: a class of cache and memory bandwidth for the container's processes (the kernel's
//! Documentation/filesystems/resctrl.rst).
//!
//! A class is a directory of resctrl: `schemata` says what it gets, `tasks` who is in it, and below `mon_groups` some of
//! those are counted by themselves. A process hands its class on to its children, so init and each exec enter it by
//! themselves, before they join anything of the container's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use spec::oci::runtime::{IntelRdt, Spec};

use crate::Failure;
use crate::failure::at;

/// The member of a configuration.
pub(crate) const FIELD: &str = "linux.intelRdt";
const MOUNTS: &str = "/proc/self/mountinfo";
const EEXIST: i32 = 17;

/// A container's class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Class {
    /// Where resctrl is mounted.
    mount: PathBuf,
    directory: PathBuf,
    /// The container's alone: it goes with it.
    own: bool,
    /// The group in which the container alone is counted.
    monitor: Option<PathBuf>,
}

impl Class {
    /// The class that a configuration asks for, if it does.
    ///
    /// # Errors
    /// Step `spec` where this host has no resctrl.
    pub(crate) fn of(spec: &Spec, id: &str) -> Result<Option<Self>, Failure> {
        let Some(rdt) = &spec.linux.intel_rdt else { return Ok(None) };
        let table = sys::file::read(Path::new(MOUNTS)).map_err(at("intelRdt"))?;
        match mount_point(&String::from_utf8_lossy(&table)) {
            Some(mount) => Ok(Some(Self::below(Path::new(mount), rdt, id))),
            None => Err(refused(
                "",
                "no resctrl file system is mounted on this host: mount one at /sys/fs/resctrl, \
                 if its processor can divide caches",
            )),
        }
    }

    /// That of a container that is there: without resctrl there is no class any more.
    pub(crate) fn known(spec: &Spec, id: &str) -> Option<Self> {
        Self::of(spec, id).ok().flatten()
    }

    fn below(mount: &Path, rdt: &IntelRdt, id: &str) -> Self {
        let own = rdt.clos_id.is_empty();
        let directory = match rdt.clos_id.as_str() {
            "" => mount.join(id),
            "/" => mount.to_owned(),
            name => mount.join(name),
        };
        let monitor = rdt.enable_monitoring.then(|| directory.join("mon_groups").join(id));
        Self { mount: mount.to_owned(), directory, own, monitor }
    }

    /// Refuses what this host cannot do.
    pub(crate) fn can(&self, rdt: &IntelRdt) -> Result<(), Failure> {
        let offered = sys::file::list(&self.mount.join("info")).map_err(at("intelRdt"))?;
        let has = |known: &dyn Fn(&str) -> bool| offered.iter().any(|name| known(name));
        // With code and data apart there is no schema for both.
        if !rdt.l3_cache_schema.is_empty() && !has(&|name| matches!(name, "L3" | "L3CODE")) {
            return Err(refused(
                ".l3CacheSchema",
                "this host does not divide its L3 caches (no info/L3 in resctrl)",
            ));
        }
        if !rdt.mem_bw_schema.is_empty() && !has(&|name| name == "MB") {
            return Err(refused(
                ".memBwSchema",
                "this host does not divide its memory bandwidth (no info/MB in resctrl)",
            ));
        }
        if rdt.enable_monitoring && !has(&|name| name.ends_with("_MON")) {
            return Err(refused(
                ".enableMonitoring",
                "this host does not count by classes (no info/L3_MON in resctrl)",
            ));
        }
        Ok(())
    }

    /// The same, and a class that is not as the configuration says, before anything is made.
    pub(crate) fn check(&self, rdt: &IntelRdt) -> Result<(), Failure> {
        self.can(rdt)?;
        let shown = sys::file::read_if_exists(&self.directory.join("schemata")).map_err(at("intelRdt"))?;
        let Some(shown) = shown else {
            return if !self.own && lines(rdt).next().is_none() {
                let why = "there is no such class, and no schema to make one with";
                Err(refused(".closID", &format!("{:?}: {why}", rdt.clos_id)))
            } else {
                Ok(())
            };
        };
        if self.own {
            let name = self.directory.file_name().unwrap_or_default().to_string_lossy();
            return Err(refused(
                "",
                &format!("a class {name:?} is there already: to use it, name it as closID"),
            ));
        }
        let shown = String::from_utf8_lossy(&shown);
        let step = self.number("MB", "bandwidth_gran").unwrap_or(1);
        for (member, wanted) in
            [(".l3CacheSchema", &rdt.l3_cache_schema), (".memBwSchema", &rdt.mem_bw_schema)]
        {
            if !wanted.is_empty() && !agrees(wanted, &shown, step) {
                let have = shown.trim().replace('\n', ", ");
                let why =
                    format!("the class {:?} is there already, with another schema: {have}", rdt.clos_id);
                return Err(refused(member, &why));
            }
        }
        Ok(())
    }

    /// Makes what is missing of it, and says what it gets. On failure nothing new is left.
    pub(crate) fn make(&self, rdt: &IntelRdt) -> Result<(), Failure> {
        let made = match sys::file::create_dir_new(&self.directory, 0o755) {
            Ok(()) => true,
            // Somebody else's, whether it was there before or just came to be.
            Err(error) if error.errno() == EEXIST && !self.own => false,
            Err(error) => return Err(self.failure(error)),
        };
        self.fill(rdt).inspect_err(|_| {
            // The first failure is the one to report.
            if made {
                let _ = sys::file::remove_dir(&self.directory);
            }
        })
    }

    fn fill(&self, rdt: &IntelRdt) -> Result<(), Failure> {
        self.set(rdt)?;
        match &self.monitor {
            Some(group) => sys::file::create_dir_new(group, 0o755).map_err(|error| self.failure(error)),
            None => Ok(()),
        }
    }

    /// Says what it gets. What `schemata` says comes last and counts.
    pub(crate) fn set(&self, rdt: &IntelRdt) -> Result<(), Failure> {
        let all = [&rdt.l3_cache_schema, &rdt.mem_bw_schema, &rdt.schemata.join("\n")];
        all.into_iter().filter(|text| !text.is_empty()).try_for_each(|text| {
            sys::file::write(&self.directory.join("schemata"), format!("{text}\n").as_bytes())
                .map_err(|error| self.failure(error))
        })
    }

    /// Takes this process in, and with it all that come from it.
    pub(crate) fn enter(&self) -> Result<(), Failure> {
        // In this order: who is counted has to be in the class.
        [Some(&self.directory), self.monitor.as_ref()].into_iter().flatten().try_for_each(|group| {
            sys::file::write(&group.join("tasks"), b"0").map_err(|error| self.failure(error))
        })
    }

    /// Removes what is the container's alone. What is not there is no error.
    pub(crate) fn remove(&self) -> Result<(), Failure> {
        // Its files go with a directory of resctrl's, and what is counted in a class goes with that.
        let group = if self.own { Some(&self.directory) } else { self.monitor.as_ref() };
        group.map_or(Ok(()), |group| sys::file::remove_dir(group).map_err(at("delete")))
    }

    /// What it has and what was counted, in the form that runc's `events` has.
    pub(crate) fn stats(&self) -> Value {
        let mut told = Map::new();
        let schemata = |directory: &Path| -> Vec<String> {
            read(&directory.join("schemata")).lines().map(|line| line.trim().to_owned()).collect()
        };
        let (root, class) = (schemata(&self.mount), schemata(&self.directory));
        let line_of =
            |lines: &[String], resource: &str| lines.iter().find(|line| line.contains(resource)).cloned();
        if self.mount.join("info/L3").is_dir() {
            told.insert(
                "l3_cache_info".into(),
                json!({
                    "cbm_mask": read(&self.mount.join("info/L3/cbm_mask")).trim(),
                    "min_cbm_bits": self.number("L3", "min_cbm_bits"),
                    "num_closids": self.number("L3", "num_closids"),
                }),
            );
            told.extend(line_of(&root, "L3").map(|line| ("l3_cache_schema_root".into(), line.into())));
            told.extend(line_of(&class, "L3").map(|line| ("l3_cache_schema".into(), line.into())));
        }
        if self.mount.join("info/MB").is_dir() {
            told.insert(
                "mem_bw_info".into(),
                json!({
                    "bandwidth_gran": self.number("MB", "bandwidth_gran"),
                    "delay_linear": self.number("MB", "delay_linear"),
                    "min_bandwidth": self.number("MB", "min_bandwidth"),
                    "num_closids": self.number("MB", "num_closids"),
                }),
            );
            told.extend(line_of(&root, "MB").map(|line| ("mem_bw_schema_root".into(), line.into())));
            told.extend(line_of(&class, "MB").map(|line| ("mem_bw_schema".into(), line.into())));
        }
        told.insert("schemata".into(), class.into());
        let counted = self.monitor.as_ref().unwrap_or(&self.directory).join("mon_data");
        for (name, files) in
            [("mbm_stats", &["mbm_total_bytes", "mbm_local_bytes"][..]), ("cmt_stats", &["llc_occupancy"])]
        {
            let of = |domain: &String| -> Map<String, Value> {
                let number = |file: &&str| read(&counted.join(domain).join(file)).trim().parse::<u64>().ok();
                files.iter().filter_map(|file| Some(((*file).to_owned(), number(file)?.into()))).collect()
            };
            let domains = sys::file::list(&counted).unwrap_or_default();
            let all: Vec<Value> =
                domains.iter().map(of).filter(|all| !all.is_empty()).map(Value::from).collect();
            if !all.is_empty() {
                told.insert(name.into(), all.into());
            }
        }
        told.into()
    }

    fn number(&self, resource: &str, file: &str) -> Option<u64> {
        read(&self.mount.join("info").join(resource).join(file)).trim().parse().ok()
    }

    /// The kernel says in a file why it has refused something.
    fn failure(&self, error: sys::Error) -> Failure {
        let failure = at("intelRdt")(error);
        match read(&self.mount.join("info/last_cmd_status")).trim() {
            "" | "ok" => failure,
            said => Failure { detail: format!("{} ({said})", failure.detail), ..failure },
        }
    }
}

fn refused(member: &str, why: &str) -> Failure {
    Failure::new("spec", format!("{FIELD}{member}"), why)
}

fn read(path: &Path) -> String {
    sys::file::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Where proc_pid_mountinfo(5) says that resctrl is mounted.
fn mount_point(table: &str) -> Option<&str> {
    table.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        kind.starts_with("resctrl ").then(|| place.split(' ').nth(4)).flatten()
    })
}

/// What is to be written, in its order.
fn lines(rdt: &IntelRdt) -> impl Iterator<Item = &str> {
    let all = [&rdt.l3_cache_schema, &rdt.mem_bw_schema].into_iter().chain(&rdt.schemata);
    all.map(String::as_str).filter(|line| !line.is_empty())
}

/// Whether a class has what a schema says. The kernel writes a schema its own way (order, zeros, spaces), and rounds
/// bandwidth up to a multiple of `step`.
fn agrees(wanted: &str, shown: &str, step: u64) -> bool {
    let Some((resource, wanted)) = parse(wanted) else { return false };
    let step = if resource == "MB" { step.max(1) } else { 1 };
    let Some((_, shown)) = shown.lines().filter_map(parse).find(|(name, _)| *name == resource) else {
        return false;
    };
    wanted.iter().all(|(domain, value)| {
        shown.get(domain).is_some_and(|is| is == value || *is == value.div_ceil(step).saturating_mul(step))
    })
}

/// `L3:0=7f0;1=1f`: masks are hexadecimal, bandwidth is not.
fn parse(line: &str) -> Option<(&str, BTreeMap<u32, u64>)> {
    let (resource, domains) = line.trim().split_once(':')?;
    let radix = if resource == "MB" { 10 } else { 16 };
    let domain = |text: &str| -> Option<(u32, u64)> {
        let (id, value) = text.trim().split_once('=')?;
        Some((id.trim().parse().ok()?, u64::from_str_radix(value.trim(), radix).ok()?))
    };
    Some((resource, domains.split(';').map(domain).collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests;
