//! Another runtime's command (`runc`, `crun` and what speaks like them) makes the processes, in place of this crate.
//!
//! | room | what is in it |
//! |---|---|
//! | this file | the verbs, as [`Container`](crate::Container) has them |
//! | `bundle` | a configuration of ours becomes a bundle that any runtime can use |
//! | `command` | one run of the program, and what it says when it fails |
//!
//! ```text
//! <directory>/config.json        the bundle, with rootfs/ and mounts/<n>/
//!             state/             the runtime's own records (`--root`)
//!             log.json, pid, console, process.json, resources.json   of one command
//! ```
//!
//! What is mounted in the bundle is mounted in a namespace that is left again: the host shows none of it.

mod bundle;
mod command;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spec::oci::runtime::{CgroupDriver, NamespaceKind, Process, Resources, Spec};
use spec::signal;
use sys::cgroup::Cgroup;
use sys::file::Durability;
use sys::namespace::{self, Namespaces};
use sys::process;
use sys::root::Root;

use crate::failure::at;
use crate::{Child, Failure, FirstProcess, Io, user};
use command::Call;

/// Which program, and how it is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// The program; absolute.
    pub path: PathBuf,
    /// Before everything else.
    pub arguments: Vec<String>,
    /// Of this host: what becomes the container's init with [`FirstProcess::Reaper`]. It runs `-- <program> …`.
    pub init: PathBuf,
}

/// What is to be made.
#[derive(Debug)]
pub struct Request<'a> {
    /// Who makes it.
    pub runtime: &'a Runtime,
    /// The container's id.
    pub id: &'a str,
    /// For the bundle and the runtime's records; nobody else's.
    pub directory: PathBuf,
    /// The configuration, with what is ours alone.
    pub spec: &'a Spec,
    /// What the first process is.
    pub first: FirstProcess,
    /// The network namespace to join.
    pub netns: Option<BorrowedFd<'a>>,
    /// Who makes its cgroup.
    pub cgroups: CgroupDriver,
    /// How init is wired to the caller.
    pub io: Io,
}

/// A container that another runtime has made.
#[derive(Debug)]
pub struct Container {
    call: Call,
    id: String,
    init_pid: i32,
    /// For what the runtime's command does not tell.
    cgroup: Option<Cgroup>,
    oom_kills: Option<crate::cgroup::OomKills>,
    /// Init's end is not the others' end: its pid namespace is not the container's own.
    shares_pids: bool,
}

/// Makes the sandbox and leaves its init waiting for [`Container::start`]. The caller has one thread and adopts orphans:
/// init is the child of a command that ends.
///
/// # Errors
/// Step `runtime` with what the command has said; nothing of the container is left then.
pub fn create(request: Request<'_>) -> Result<(Container, Child), Failure> {
    let spec = request.spec;
    spec.validate().map_err(|invalid| Failure::new("spec", invalid.field, invalid.reason))?;
    // A shim that was killed has left its own.
    sys::file::remove_tree(&request.directory).map_err(at("runtime"))?;
    let host = sys::file::open(Path::new("/proc/self/ns/mnt")).map_err(at("namespace"))?;
    namespace::unshare(Namespaces::MOUNT).map_err(at("namespace"))?;
    let directory = request.directory.clone();
    let call = Call { runtime: request.runtime.clone(), directory, cgroups: request.cgroups };
    let made = bundle::make(&request).and_then(|()| {
        let arguments = ["create", "--bundle", text(&call.directory)?];
        call.process(&arguments, &[request.id], &request.io)
    });
    let left = namespace::join(host.as_fd(), Namespaces::MOUNT).map_err(at("namespace"));
    match made.and_then(|child| left.map(|()| child)) {
        Ok(child) => {
            let path = request.cgroups.directory(&spec.linux.cgroups_path).unwrap_or_default();
            let cgroup = Cgroup::open(&path).ok();
            let pids = spec.linux.namespaces.iter().find(|n| n.r#type == NamespaceKind::Pid);
            let container = Container {
                id: request.id.to_owned(),
                call,
                init_pid: child.pid,
                oom_kills: cgroup.as_ref().map(|cgroup| crate::cgroup::OomKills::from_now(cgroup, None)),
                cgroup,
                shares_pids: pids.is_none_or(|namespace| !namespace.path.is_empty()),
            };
            Ok((container, child))
        }
        Err(failure) => {
            // The first failure is the one to report.
            let _ = call.run(&["delete", "--force", request.id]);
            let _ = sys::file::remove_tree(&call.directory);
            Err(failure)
        }
    }
}

impl Container {
    /// Lets init execute its program.
    ///
    /// # Errors
    /// Step `runtime`.
    pub fn start(&mut self) -> Result<(), Failure> {
        self.call.run(&["start", &self.id])
    }

    /// Runs one more process in the container.
    ///
    /// # Errors
    /// Step `runtime`; step `user` when the container knows no such user.
    pub fn exec(&self, process: &Process, io: &Io) -> Result<Child, Failure> {
        let root =
            Root::open(Path::new(&format!("/proc/{}/root", self.init_pid))).map_err(at("namespace"))?;
        let process = Process { user: numbers(&root, process)?, ..process.clone() };
        let path = self.call.directory.join("process.json");
        write(&path, &process)?;
        let arguments = ["exec", "--detach", "--process", text(&path)?];
        self.call.process(&arguments, &[&self.id], io)
    }

    /// Sends a signal to init, or with `all` to every process of the container.
    ///
    /// # Errors
    /// Step `kill` with ESRCH when init has ended, else step `runtime`.
    pub fn kill(&self, number: i32, all: bool) -> Result<(), Failure> {
        let number = number.to_string();
        let words =
            if all { vec!["kill", "--all", &self.id, &number] } else { vec!["kill", &self.id, &number] };
        self.call.run(&words).map_err(|failure| {
            let gone = ["not running", "already finished", "no such process", "does not exist"];
            let said = failure.detail.to_lowercase();
            match gone.iter().any(|words| said.contains(words)) {
                true => Failure { step: "kill".into(), errno: ESRCH, ..failure },
                false => failure,
            }
        })
    }

    /// After init's end: nothing of the container may go on.
    pub fn end_others(&self) {
        if self.shares_pids {
            // What cannot be ended now, `delete` ends.
            let _ = self.cgroup.as_ref().map(Cgroup::kill);
        }
    }

    /// Freezes the container.
    ///
    /// # Errors
    /// Step `runtime`.
    pub fn pause(&self) -> Result<(), Failure> {
        self.call.run(&["pause", &self.id])
    }

    /// Thaws it.
    ///
    /// # Errors
    /// Step `runtime`.
    pub fn resume(&self) -> Result<(), Failure> {
        self.call.run(&["resume", &self.id])
    }

    /// Sets new limits.
    ///
    /// # Errors
    /// Step `runtime`.
    pub fn update(&self, resources: &Resources) -> Result<(), Failure> {
        let path = self.call.directory.join("resources.json");
        write(&path, resources)?;
        self.call.run(&["update", "--resources", text(&path)?, &self.id])
    }

    /// Whether the kernel has killed a process of the container for want of memory.
    pub fn oom_killed(&self) -> bool {
        let kills = self.cgroup.as_ref().zip(self.oom_kills.as_ref());
        kills.is_some_and(|(cgroup, kills)| kills.count(cgroup, false) > 0)
    }

    /// Removes what is left of the container, its processes too.
    ///
    /// # Errors
    /// Step `runtime`, or `delete` for what is left in the directory.
    pub fn delete(self) -> Result<(), Failure> {
        let deleted = self.call.run(&["delete", "--force", &self.id]);
        deleted.and(sys::file::remove_tree(&self.call.directory).map_err(at("delete")))
    }
}

const ESRCH: i32 = 3;

/// Who a process runs as, in numbers: the specification knows no names.
fn numbers(root: &Root, process: &Process) -> Result<spec::oci::runtime::User, Failure> {
    let identity = user::resolve(root, &process.user)?;
    Ok(spec::oci::runtime::User {
        uid: identity.uid,
        gid: identity.gid,
        umask: process.user.umask,
        additional_gids: identity.groups,
        ..Default::default()
    })
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_vec(value)
        .map_err(|error| Failure::new("runtime", path.display().to_string(), error.to_string()))?;
    sys::file::write_atomic(path, &json, 0o600, Durability::Process).map_err(at("runtime"))
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| Failure::new("runtime", path.display().to_string(), "the path is not UTF-8"))
}

/// What a command that has ended says of the process it has made.
fn child(directory: &Path) -> Result<Child, Failure> {
    let path = directory.join("pid");
    let bytes = sys::file::read(&path).map_err(at("runtime"))?;
    let pid = String::from_utf8_lossy(&bytes)
        .trim()
        .parse()
        .map_err(|_| Failure::new("runtime", path.display().to_string(), "the runtime has written no pid"))?;
    // It is our child now, and nobody else reaps it: the pid is still its own.
    let pidfd = process::pidfd_open(pid).map_err(at("runtime"))?;
    Ok(Child { pid, pidfd, console: None })
}

/// Ends a process that cannot be served.
fn end(pidfd: BorrowedFd<'_>) {
    // It may have ended by itself.
    let _ = process::pidfd_send_signal(pidfd, signal::KILL);
}
