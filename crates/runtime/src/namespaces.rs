//! Which namespaces are made for a container, and which are joined.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use spec::oci::runtime::{IdMapping, Linux, NamespaceKind, Spec};
use sys::namespace::{self, Namespaces};

use crate::Failure;
use crate::failure::at;

/// The plan for one container.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Made by clone3.
    pub(crate) made: Namespaces,
    /// One for the network that is made beside the caller's own steps, as it takes the kernel longest (see [`Ahead`]); joined by
    /// the child.
    ///
    /// [`Ahead`]: crate::Ahead
    pub(crate) network: bool,
    /// Made by the child, once it is in its cgroups: the cgroup it is in becomes the namespace's root.
    pub(crate) cgroup: bool,
    /// Joined by the child.
    pub(crate) joined: Vec<(OwnedFd, Namespaces)>,
    /// Joined on the child's behalf: a process cannot change its own.
    pub(crate) pid: Option<OwnedFd>,
    /// The container's ids are not the host's.
    pub(crate) user: Option<User>,
    /// The container's clocks are not the host's: a new time namespace.
    pub(crate) time: bool,
}

/// A user namespace.
#[derive(Debug)]
pub(crate) enum User {
    /// With the configuration's maps.
    New,
    /// Somebody else's.
    Joined(OwnedFd),
}

impl Plan {
    /// `promised`: a network namespace that is joined whatever the configuration says of the network.
    pub(crate) fn of(spec: &Spec, promised: bool) -> Result<Self, Failure> {
        let mut plan = Self {
            made: Namespaces::empty(),
            network: false,
            cgroup: false,
            joined: Vec::new(),
            pid: None,
            user: None,
            time: false,
        };
        for namespace in &spec.linux.namespaces {
            let kind = match namespace.r#type {
                NamespaceKind::Network if promised => continue,
                NamespaceKind::Network => Namespaces::NETWORK,
                NamespaceKind::Ipc => Namespaces::IPC,
                NamespaceKind::Uts => Namespaces::UTS,
                NamespaceKind::Pid if namespace.path.is_empty() => Namespaces::PID,
                NamespaceKind::Pid => {
                    plan.pid = Some(open(&namespace.path)?);
                    continue;
                }
                NamespaceKind::Mount => Namespaces::MOUNT,
                NamespaceKind::User => {
                    let path = &namespace.path;
                    plan.user = Some(if path.is_empty() { User::New } else { User::Joined(open(path)?) });
                    continue;
                }
                NamespaceKind::Time if namespace.path.is_empty() => {
                    plan.time = true;
                    continue;
                }
                NamespaceKind::Time => Namespaces::TIME,
                NamespaceKind::Cgroup if namespace.path.is_empty() => {
                    plan.cgroup = true;
                    continue;
                }
                NamespaceKind::Cgroup => Namespaces::CGROUP,
            };
            if namespace.path.is_empty() {
                plan.made = plan.made.with(kind);
            } else {
                plan.joined.push((open(&namespace.path)?, kind));
            }
        }
        plan.network = promised || makes_network(spec);
        if plan.network {
            plan.made = plan.made.without(Namespaces::NETWORK);
        }
        Ok(plan)
    }

    /// Whether the container has a network namespace that is not the caller's.
    pub(crate) fn has(&self, kind: Namespaces) -> bool {
        self.made.contains(kind)
            || (self.network && kind == Namespaces::NETWORK)
            || self.joined.iter().any(|(_, joined)| joined.contains(kind))
    }

    /// Whether the container has a cgroup namespace that is not the caller's.
    pub(crate) fn has_cgroup(&self) -> bool {
        self.cgroup || self.has(Namespaces::CGROUP)
    }

    /// Whether init has to be made by a stage (see there).
    pub(crate) fn is_staged(&self) -> bool {
        self.user.is_some() || self.time
    }

    /// The cgroup that the process is in becomes the top of what it sees.
    pub(crate) fn make_cgroup_namespace(&self) -> Result<(), Failure> {
        if self.cgroup { namespace::unshare(Namespaces::CGROUP).map_err(at("namespace")) } else { Ok(()) }
    }

    /// Joins what is to be joined, once the process is in its cgroups. `network`: the one made beside.
    pub(crate) fn join(&self, network: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
        let joined = self.joined.iter().map(|(fd, kind)| (fd.as_fd(), *kind));
        network
            .map(|fd| (fd, Namespaces::NETWORK))
            .into_iter()
            .chain(joined)
            .try_for_each(|(fd, kind)| namespace::join(fd, kind).map_err(at("namespace")))
    }
}

/// Whether the container gets a new network namespace that the caller can make for it. One that goes with a new user namespace has
/// to be made by who is in that: by the stage, as whatever else it is there for.
pub(crate) fn makes_network(spec: &Spec) -> bool {
    is_new(spec, NamespaceKind::Network) && !is_staged(spec)
}

/// What [`Plan::is_staged`] says, for who has no plan yet.
pub(crate) fn is_staged(spec: &Spec) -> bool {
    spec.linux.has(NamespaceKind::User) || is_new(spec, NamespaceKind::Time)
}

fn is_new(spec: &Spec, kind: NamespaceKind) -> bool {
    spec.linux.namespaces.iter().any(|other| other.r#type == kind && other.path.is_empty())
}

/// The host's ids of the container's root; `None` where they are the same, or not known.
pub(crate) fn root_ids(linux: &Linux) -> Option<(u32, u32)> {
    let zero = |maps: &[IdMapping]| maps.iter().find(|map| map.container_id == 0).map(|map| map.host_id);
    zero(&linux.uid_mappings).zip(zero(&linux.gid_mappings))
}

/// Runs `make` while children of this process are born in the pid namespace behind `fd` (a pidfd or ns file).
pub(crate) fn with_pid_namespace<T>(
    fd: Option<BorrowedFd<'_>>,
    make: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let Some(fd) = fd else { return make() };
    let own = open("/proc/self/ns/pid")?;
    namespace::join(fd, Namespaces::PID).map_err(at("namespace"))?;
    let made = make();
    namespace::join(own.as_fd(), Namespaces::PID).map_err(at("namespace"))?;
    made
}

fn open(path: &str) -> Result<OwnedFd, Failure> {
    sys::file::open(Path::new(path)).map(OwnedFd::from).map_err(at("namespace"))
}
