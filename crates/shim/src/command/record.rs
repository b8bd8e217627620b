//! What is kept of a container between two commands.

use std::fs::File;
use std::path::{Path, PathBuf};

use runtime::{Container, Existing};
use serde::{Deserialize, Serialize};
use spec::oci::runtime::{CgroupDriver, Spec, State};
use sys::file::{self, Durability};

use super::{Context, failure, words};

const EEXIST: i32 = 17;
const LONGEST_ID: usize = 1024;

/// The record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) id: String,
    /// 0 until init is there.
    pub(super) pid: i32,
    /// Tells init from another process that got its pid.
    pub(super) start_time: u64,
    pub(super) bundle: String,
    pub(super) rootfs: String,
    /// RFC 3339.
    pub(super) created: String,
    /// Where its cgroup is.
    pub(super) cgroup: String,
    /// Who has made that.
    #[serde(default)]
    pub(super) cgroups: CgroupDriver,
}

impl Record {
    /// Keeps it in the container's directory.
    pub(super) fn save(&self, directory: &Path) -> Result<(), String> {
        let bytes = serde_json::to_vec(self).map_err(|e| e.to_string())?;
        file::write_atomic(&directory.join("state.json"), &bytes, 0o600, Durability::Process).map_err(words)
    }
}

/// A container's directory, locked until the value is gone.
pub(super) struct Held {
    pub(super) directory: PathBuf,
    pub(super) record: Record,
    pub(super) spec: Spec,
    /// Init is a copy of this process, but for the lock.
    pub(super) lock: File,
}

/// What the specification says a container can be, and paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// Letters, digits and `_+-.`, as runc has it.
pub(super) fn check_id(id: &str) -> Result<(), String> {
    let fine = id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-.".contains(&b));
    if id.is_empty() {
        return Err("container id cannot be empty".into());
    }
    if !fine || matches!(id, "." | "..") || id.len() > LONGEST_ID {
        return Err(format!("invalid container ID format: {id}"));
    }
    Ok(())
}

/// Takes the directory of a new container.
pub(super) fn claim(context: &Context, record: Record, spec: Spec, config: &[u8]) -> Result<Held, String> {
    let directory = context.root.join(&record.id);
    file::create_dir_all(&context.root, 0o700).map_err(words)?;
    match file::create_dir_new(&directory, 0o700) {
        Err(error) if error.errno() == EEXIST => return Err("container with given ID already exists".into()),
        done => done.map_err(words)?,
    }
    let lock = lock(&directory)?;
    let held = Held { directory, record, spec, lock };
    let kept = file::write_atomic(&held.directory.join("config.json"), config, 0o600, Durability::Process)
        .map_err(words)
        .and_then(|()| held.record.save(&held.directory));
    if let Err(error) = kept {
        // The first failure is the one to report.
        let _ = held.forget();
        return Err(error);
    }
    Ok(held)
}

/// A container that is there.
pub(super) fn open(context: &Context, id: &str) -> Result<Held, String> {
    check_id(id)?;
    let directory = context.root.join(id);
    if !directory.is_dir() {
        return Err(format!("container {id:?} does not exist"));
    }
    let lock = lock(&directory)?;
    // It may have been removed while we waited for the lock.
    let read = |name: &str| file::read_if_exists(&directory.join(name)).map_err(words);
    let (Some(record), Some(config)) = (read("state.json")?, read("config.json")?) else {
        return Err(format!("container {id:?} does not exist"));
    };
    let record: Record =
        serde_json::from_slice(&record).map_err(|e| format!("{}: {e}", directory.display()))?;
    let mut spec = Spec::from_bundle(&config).map_err(|e| e.to_string())?;
    if record.cgroups == CgroupDriver::Cgroupfs {
        // With what create has made of it.
        spec.linux.cgroups_path.clone_from(&record.cgroup);
    }
    Ok(Held { directory, record, spec, lock })
}

fn lock(directory: &Path) -> Result<File, String> {
    let path = directory.join("lock");
    let file = file::append(&path, 0o600).map_err(words)?;
    file::lock(&file, &path).map_err(words)?;
    Ok(file)
}

impl Held {
    /// Who has made it: root, or a number.
    pub(super) fn owner(&self) -> String {
        use std::os::unix::fs::MetadataExt;
        match std::fs::metadata(&self.directory).map(|found| found.uid()) {
            Ok(0) => "root".into(),
            Ok(uid) => format!("#{uid}"),
            Err(_) => String::new(),
        }
    }

    /// Removes the record with its directory.
    pub(super) fn forget(&self) -> Result<(), String> {
        file::remove_tree(&self.directory).map_err(words)
    }

    pub(super) fn gate(&self) -> PathBuf {
        self.directory.join("gate")
    }

    pub(super) fn status(&self) -> Status {
        if self.record.pid == 0 {
            // Whoever makes it holds the lock; that is us, or it has ended before it was done.
            return Status::Stopped;
        }
        match sys::process::start_time(self.record.pid) {
            Some((start, ended)) if start == self.record.start_time && !ended => {}
            Some(_) | None => return Status::Stopped,
        }
        if self.gate().exists() && sys::scm::connect(&self.gate()).is_ok() {
            return Status::Created;
        }
        let frozen = sys::cgroup::Cgroup::open(&self.record.cgroup).is_ok_and(|cgroup| cgroup.is_frozen());
        if frozen { Status::Paused } else { Status::Running }
    }

    /// The specification's state.
    pub(super) fn state(&self, status: Status) -> State {
        State {
            oci_version: ::spec::oci::runtime::OCI_VERSION.into(),
            id: self.record.id.clone(),
            status: status.word().into(),
            pid: Some(if status == Status::Stopped { 0 } else { self.record.pid }),
            bundle: self.record.bundle.clone(),
            annotations: self.spec.annotations.clone(),
        }
    }

    /// Takes hold of the container in the kernel.
    pub(super) fn container(&self, preserved: u32) -> Result<Container, String> {
        let existing = Existing {
            spec: &self.spec,
            pid: self.record.pid,
            cgroups: self.record.cgroups,
            state: self.state(Status::Running),
            preserved,
        };
        Container::open(existing).map_err(|e| failure(&e))
    }
}
