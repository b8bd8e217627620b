//! `Kill`: a signal for init, for an exec, or for everything in the container.

use runtime::Failure;
use spec::signal;

use super::Supervisor;

impl Supervisor {
    pub(super) fn kill(&mut self, signal: i32, exec: Option<&str>, all: bool) -> Result<(), Failure> {
        if exec.is_some() {
            self.process("kill", exec)?.kill(signal)?;
        } else {
            self.running("kill")?.kernel.kill(signal, all)?;
        }
        match &mut self.container {
            // What is frozen does not die: cgroup v1 does not even deliver SIGKILL.
            Some(container) if container.paused && signal == signal::KILL => {
                container.kernel.resume()?;
                container.paused = false;
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }
}
