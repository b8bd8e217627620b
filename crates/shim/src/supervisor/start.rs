//! `Start`: init executes its program.

use runtime::Failure;

use super::Supervisor;
use super::request::{also, errno, refusal};

impl Supervisor {
    /// On failure nothing of the container is left.
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        let container = self.running("start")?;
        if container.started {
            return Err(refusal("start", errno::EEXIST, "it has been started"));
        }
        if container.paused {
            return Err(refusal("start", errno::EBUSY, "it is paused"));
        }
        match container.kernel.start() {
            Ok(()) => {
                container.started = true;
                Ok(())
            }
            Err(failure) => Err(also(failure, self.discard())),
        }
    }
}
