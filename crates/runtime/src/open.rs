//! A container that another process has made.

use spec::oci::runtime::{Spec, State};
use sys::cgroup::Cgroup;
use sys::namespace::Namespaces;
use sys::process;

use crate::failure::at;
use crate::namespaces::Plan;
use crate::{Container, Failure, seccomp};

/// What is known of it.
#[derive(Debug)]
pub struct Existing<'a> {
    /// Its configuration, as it was made with.
    pub spec: &'a Spec,
    /// Init's pid. Whether that is the same process still is for the caller to know.
    pub pid: i32,
    /// Where its cgroup is.
    pub cgroup: &'a str,
    /// Who it is to hooks and listeners.
    pub state: State,
    /// How many descriptors from 3 on an exec gets.
    pub preserved: u32,
}

impl Container {
    /// Takes hold of a container whose init has not been reaped.
    ///
    /// # Errors
    /// Step `clone` with ESRCH when init has ended; step `cgroup`.
    pub fn open(existing: Existing<'_>) -> Result<Self, Failure> {
        let Existing { spec, pid, cgroup, state, preserved } = existing;
        let init = process::pidfd_open(pid).map_err(at("clone"))?;
        let cgroup = Cgroup::open(cgroup).map_err(at("cgroup"))?;
        let oom_kills_before = crate::cgroup::oom_kills(&cgroup);
        Ok(Self {
            init,
            init_pid: pid,
            cgroup,
            joined: Plan::joined_by_exec(spec),
            waiting: None,
            oom_kills_before,
            seccomp: spec.linux.seccomp.as_ref().map(seccomp::Filter::compile).transpose()?,
            root: crate::namespaces::root_ids(&spec.linux),
            hooks: spec.hooks.clone(),
            preserved,
            state,
        })
    }
}

/// Removes what a container has left whose init has ended, and runs its last hooks. What was removed before is no
/// error.
///
/// # Errors
/// All failures in one.
pub fn delete_remains(spec: &Spec, cgroup: &str, state: &State) -> Result<(), Failure> {
    // One that is there in part only is completed first: then it can be removed as any other.
    let cgroup = Cgroup::create(cgroup).map_err(at("cgroup"))?;
    crate::delete::remove(cgroup, &spec.hooks, state)
}

impl Plan {
    /// What an exec joins beside the namespaces that every container has. Joining the user namespace one is in
    /// already is an error, so it must be known.
    pub(crate) fn joined_by_exec(spec: &Spec) -> Namespaces {
        use spec::oci::runtime::NamespaceKind::{Time, User};
        let all = [(User, Namespaces::USER), (Time, Namespaces::TIME)];
        let has = all.into_iter().filter(|(kind, _)| spec.linux.has(*kind));
        has.fold(Namespaces::empty(), |joined, (_, kind)| joined.with(kind))
    }
}
