//! `Exec`: one more process in the container.

use runtime::Failure;
use shim::message::Incoming;
use shim::proto::Exec;

use super::process::Wiring;
use super::request::{ended, errno, failure, refusal};
use super::{Supervisor, attach};

impl Supervisor {
    /// The new process's pid.
    pub(super) fn exec(&mut self, mut exec: Exec, incoming: &mut Incoming) -> Result<i32, Failure> {
        let client =
            exec.attach.map(|wants| attach::socket(incoming).map(|socket| (wants, socket))).transpose()?;
        let number = self.next_process().ok_or_else(|| refusal("exec", errno::EBUSY, "too many execs"))?;
        exec.process.oom_score_adj = exec.process.oom_score_adj.or(self.oom_score);
        let container = self.running("exec")?;
        if !container.started {
            return Err(ended("exec"));
        }
        if container.paused {
            // The new process would be frozen before it has executed, and we with it.
            return Err(refusal("exec", errno::EBUSY, "the container is paused"));
        }
        if container.execs.contains_key(&exec.id) {
            return Err(refusal("exec", errno::EEXIST, "an exec has this id"));
        }
        let wiring = Wiring {
            terminal: exec.process.terminal,
            open_stdin: exec.attach.is_some_and(|wants| wants.stdin),
            stdin_once: true,
            discard: exec.attach.is_none(),
            log: None,
        };
        let (io, ends) = wiring.ends()?;
        let child = container.kernel.exec(&exec.process, io)?;
        // From here on the process runs: a failure to serve its streams has to end it.
        let pidfd = child.pidfd.try_clone();
        let served = wiring.process(number, child, ends).and_then(|mut process| {
            if let Some((wants, socket)) = client {
                process.streams.attach(wants, socket).map_err(|e| failure("attach", "", &e))?;
            }
            Ok(process)
        });
        match served {
            Ok(process) => {
                let pid = process.pid;
                container.execs.insert(exec.id, process);
                Ok(pid)
            }
            Err(failure) => {
                if let Ok(pidfd) = pidfd {
                    // It may have ended by itself; it is reaped like any other child.
                    let _ =
                        sys::process::pidfd_send_signal(std::os::fd::AsFd::as_fd(&pidfd), spec::signal::KILL);
                }
                Err(failure)
            }
        }
    }
}
