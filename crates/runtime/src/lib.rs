//! An OCI configuration becomes a process tree, in the calling (single-threaded) process.
//!
//! A container here is what the kernel knows: a pidfd, a cgroup, namespaces. Names, logs, restarts and the
//! network's addresses belong to higher floors.
//!
//! Words: *init* is the container's first process, *exec* a further one. `create` leaves init waiting in its
//! finished sandbox; `start` lets it execute the program. The *caller* is the process that uses this room (the
//! shim), the *child* the copy of it that becomes init or an exec.
//!
//! | room | what is in it |
//! |---|---|
//! | [`create`], `ahead` | the caller's half of making a container, and what runs beside it |
//! | `init` | the child's half: the order of its steps until it is ready |
//! | `start`, `exec`, `kill`, `pause`, `update`, `remount`, `delete` | the other verbs |
//! | `handshake` | what caller and child say to each other |
//! | `stage` | a process between the two, where init could not open or join what is the host's |
//! | `sources` | what comes from the host, opened before its tree is left |
//! | [`host`] | what the host must have; what a process hands on: scheduling, priorities, OOM score |
//! | `hooks` | programs of the host, run at six points of a container's life |
//! | `namespaces`, `hold` | which are made and which are joined; those that wait for their container |
//! | `idmap` | mounts whose files belong to others than on disk |
//! | [`EarlyRoot`] | the root, made before there is a container |
//! | `root`, `mounts`, `devices`, `terminal`, `paths`, `sysctl` | the sandbox, in the order of its making |
//! | `reaper` | `--init`: the duties of a pid namespace's first process |
//! | `process` | from the sandbox to the program: user, capabilities, seccomp, execve |
//! | `limits` | resource limits, as far as this host gives them |
//! | `user`, `program`, `seccomp` | names become ids, a word becomes a file, a profile becomes a filter |
//! | `cgroup` | limits become files of the cgroup |
//! | `rdt` | a class of cache and memory bandwidth |
//! | [`foreign`] | another runtime's command does all that instead |
//!
//! Everything the child does on the container's tree it does through `sys::root::Root`, after that tree has become
//! its root (or, where hooks have to see both, just before); what comes from the host is opened before.

#![deny(missing_docs)]

mod ahead;
mod cgroup;
mod create;
mod delete;
mod devices;
mod exec;
mod failure;
mod features;
pub mod foreign;
mod handshake;
mod hold;
mod hooks;
pub mod host;
mod idmap;
mod init;
mod kill;
mod limits;
mod mounts;
mod namespaces;
mod net_devices;
mod open;
mod paths;
mod pause;
mod process;
mod program;
mod rdt;
mod reaper;
mod remount;
mod root;
mod seccomp;
mod sources;
mod stage;
mod start;
mod stats;
mod sysctl;
mod terminal;
mod update;
mod user;

use std::os::fd::OwnedFd;

pub use ahead::{Ahead, Promised};
pub use cgroup::systemd::stop_scope;
pub use create::{FirstProcess, Request, create, create_ahead, create_with};
pub use failure::Failure;
pub use features::features;
pub use hold::Holder;
pub use limits::{Lowered, lowered};
pub use open::{Existing, delete_remains};
pub use reaper::init;
pub use root::EarlyRoot;
pub use seccomp::Filter;

/// The three standard streams a process gets. With a terminal, `stdin` is the pty's peer for all three.
#[derive(Debug)]
pub struct Stdio {
    /// Becomes fd 0.
    pub stdin: OwnedFd,
    /// Becomes fd 1.
    pub stdout: OwnedFd,
    /// Becomes fd 2.
    pub stderr: OwnedFd,
}

/// How a process of the container is wired to its caller.
#[derive(Debug)]
pub enum Io {
    /// Pipes or files made by the caller.
    Streams(Stdio),
    /// The caller's own.
    Inherited,
    /// A new pseudo-terminal of the container's own devpts; its controlling end comes back in [`Child::console`].
    Terminal,
}

/// A process of the container, not yet reaped.
#[derive(Debug)]
pub struct Child {
    /// Pid in the caller's pid namespace.
    pub pid: i32,
    /// Readable when the process has ended.
    pub pidfd: OwnedFd,
    /// The controlling end of the pseudo-terminal, with [`Io::Terminal`].
    pub console: Option<OwnedFd>,
}

/// A container that exists in the kernel.
#[derive(Debug)]
pub struct Container {
    /// Init, for signals and for joining its namespaces; the caller has a copy in [`Child`].
    init: OwnedFd,
    init_pid: i32,
    cgroup: sys::cgroup::Cgroup,
    /// Its class of cache and memory bandwidth.
    class: Option<rdt::Class>,
    /// The cgroup is this unit of systemd's.
    scope: Option<spec::oci::runtime::scope::Scope>,
    /// What an exec joins beside the namespaces that every container has.
    joined: sys::namespace::Namespaces,
    /// The way to init while it waits to be started.
    waiting: Option<handshake::Caller>,
    oom_kills: cgroup::OomKills,
    /// The profile of every process of the container; compiled once.
    seccomp: Option<seccomp::Filter>,
    /// What an exec gets of the host's side as init did.
    habits: host::Habits,
    /// The host's ids of its root, where they are not the same.
    root: Option<(u32, u32)>,
    /// For those of the later steps.
    hooks: spec::oci::runtime::Hooks,
    /// How many descriptors from 3 on an exec gets from its caller.
    preserved: u32,
    /// Who it is to them.
    state: spec::oci::runtime::State,
}
