//! A container's end.

use spec::oci::runtime::scope::Scope;
use spec::oci::runtime::{Hooks, State};
use sys::cgroup::Cgroup;

use crate::failure::at;
use crate::{Container, Failure, hooks, rdt};

impl Container {
    /// Kills what is left in the cgroup and removes it, and runs the last hooks. For after init was reaped.
    ///
    /// # Errors
    /// All teardown failures in one, the first one's step.
    pub fn delete(self) -> Result<(), Failure> {
        let state = self.state("stopped");
        remove(self.cgroup, self.class.as_ref(), self.scope.as_ref(), &self.hooks, &state)
    }
}

pub(crate) fn remove(
    cgroup: Cgroup,
    class: Option<&rdt::Class>,
    scope: Option<&Scope>,
    hooks: &Hooks,
    state: &State,
) -> Result<(), Failure> {
    // A frozen process of v1 would not die.
    let thawed = if cgroup.is_frozen() { cgroup.thaw() } else { Ok(()) };
    let killed = cgroup.kill();
    let stopped = scope.and_then(|scope| crate::cgroup::systemd::stop_scope(&scope.unit).err());
    let steps = [thawed, killed, cgroup.remove()];
    let mut failures: Vec<Failure> =
        steps.into_iter().filter_map(|step| step.err().map(at("delete"))).collect();
    failures.extend(stopped);
    failures.extend(class.and_then(|class| class.remove().err()));
    failures.extend(hooks::try_all("poststop", &hooks.poststop, state));
    let details: Vec<String> =
        failures.iter().map(|failure| format!("{}: {}", failure.path, failure.detail)).collect();
    match failures.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(Failure { path: String::new(), detail: details.join("; "), ..first }),
    }
}
