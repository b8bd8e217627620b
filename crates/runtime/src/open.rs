//! A container that another process has made.

use spec::oci::runtime::{CgroupDriver, Spec, State};
use sys::namespace::Namespaces;
use sys::process;

use crate::cgroup::Place;
use crate::failure::at;
use crate::host::Habits;
use crate::namespaces::Plan;
use crate::{Container, Failure, rdt, seccomp};

/// What is known of it.
#[derive(Debug)]
pub struct Existing<'a> {
    /// Its configuration, as it was made with.
    pub spec: &'a Spec,
    /// Init's pid. Whether that is the same process still is for the caller to know.
    pub pid: i32,
    /// Who has made its cgroup.
    pub cgroups: CgroupDriver,
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
        let Existing { spec, pid, cgroups, state, preserved } = existing;
        let init = process::pidfd_open(pid).map_err(at("clone"))?;
        let place = Place::of(&spec.linux.cgroups_path, cgroups, &state.id)?;
        let cgroup = place.open()?;
        let class = rdt::Class::known(spec, &state.id);
        let oom_kills = crate::cgroup::OomKills::from_now(&cgroup, place.scope.as_ref());
        Ok(Self {
            init,
            init_pid: pid,
            cgroup,
            class,
            scope: place.scope,
            joined: Plan::joined_by_exec(spec),
            waiting: None,
            oom_kills,
            seccomp: spec.linux.seccomp.as_ref().map(seccomp::Filter::compile).transpose()?,
            habits: Habits::of(spec),
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
pub fn delete_remains(spec: &Spec, cgroups: CgroupDriver, state: &State) -> Result<(), Failure> {
    let place = Place::of(&spec.linux.cgroups_path, cgroups, &state.id)?;
    // One that is there in part only is completed first: then it can be removed as any other.
    let cgroup = place.complete()?;
    let class = rdt::Class::known(spec, &state.id);
    crate::delete::remove(cgroup, class.as_ref(), place.scope.as_ref(), &spec.hooks, state)
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
