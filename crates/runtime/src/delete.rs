//! A container's end.

use crate::failure::at;
use crate::{Container, Failure};

impl Container {
    /// Kills what is left in the cgroup and removes it. For after init was reaped.
    ///
    /// # Errors
    /// All teardown failures in one, the first one's step.
    pub fn delete(self) -> Result<(), Failure> {
        // A frozen process of v1 would not die.
        let thawed = if self.cgroup.is_frozen() { self.cgroup.thaw() } else { Ok(()) };
        let steps = [thawed, self.cgroup.kill(), self.cgroup.remove()];
        let failures: Vec<Failure> =
            steps.into_iter().filter_map(|step| step.err().map(at("delete"))).collect();
        let details: Vec<String> =
            failures.iter().map(|failure| format!("{}: {}", failure.path, failure.detail)).collect();
        match failures.into_iter().next() {
            None => Ok(()),
            Some(first) => Err(Failure { path: String::new(), detail: details.join("; "), ..first }),
        }
    }
}
