//! Init executes its program.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use spec::oci::runtime::State;

use crate::{Container, Failure, hooks};

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
        init.wait_executed(|descriptor| self.notify(&self.init, descriptor))?;
        self.poststart()
    }

    /// The same for an init that waits at its gate, over a connection to that.
    ///
    /// # Errors
    /// As [`Container::start`].
    pub fn start_through(&mut self, connection: UnixStream) -> Result<(), Failure> {
        self.waiting = Some(connection.into());
        self.start()
    }

    /// The first failure ends the container, as in runc.
    fn poststart(&self) -> Result<(), Failure> {
        if self.hooks.poststart.is_empty() {
            return Ok(());
        }
        let done = hooks::run_all("poststart", &self.hooks.poststart, &self.state("running"));
        if done.is_err() {
            // What it was that failed is what is to be told.
            let _ = self.kill(spec::signal::KILL, false);
        }
        done
    }

    /// What hooks and listeners are told.
    pub(crate) fn state(&self, status: &str) -> State {
        State { status: status.into(), pid: Some(self.init_pid), ..self.state.clone() }
    }

    /// The profile's supervisor gets a descriptor of a process of ours.
    pub(crate) fn notify(&self, process: &OwnedFd, descriptor: i32) -> Result<(), Failure> {
        match self.seccomp.as_ref().and_then(|filter| filter.listener.as_ref()) {
            Some(listener) => hooks::notify(listener, process, descriptor, &self.state("creating")),
            None => Err(Failure::new("seccomp", "", "there is no listener in the profile")),
        }
    }
}
