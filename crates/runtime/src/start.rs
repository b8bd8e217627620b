//! Init executes its program.

use crate::{Container, Failure};

impl Container {
    /// Lets init execute its program; returns when the `execve` has succeeded or failed.
    ///
    /// # Errors
    /// Step `exec` with ENOENT, EACCES … when the program cannot be executed; init is gone then (the caller
    /// reaps it). Step `start` when init was started before.
    pub fn start(&mut self) -> Result<(), Failure> {
        let Some(mut init) = self.waiting.take() else {
            return Err(Failure::new("start", "", "the container was started before"));
        };
        init.go();
        init.wait_executed()
    }
}
