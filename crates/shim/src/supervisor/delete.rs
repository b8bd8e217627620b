//! `Delete`: the end of the container and of its shim.

use std::os::fd::AsFd;

use runtime::Failure;
use shim::proto::{Event, Exit, SOCKET};
use spec::signal;

use super::request::{errno, failure, refusal};
use super::{Container, Supervisor};

impl Supervisor {
    /// Refused while a started init runs. Afterwards the shim lives only as long as clients take output.
    pub(super) fn delete(&mut self) -> Result<(), Failure> {
        match &self.container {
            Some(container) if container.started && container.init.end.is_none() => {
                return Err(refusal("delete", errno::EBUSY, "the container is running"));
            }
            Some(container) if container.init.end.is_some() => self.record_now(),
            Some(_) | None => {}
        }
        // The socket first: the next shim of this container may be spawned as soon as we have answered.
        self.listener = None;
        let unlinked = sys::file::remove(&self.dir.join(SOCKET))
            .map_err(|error| failure("delete", &error.object, &error.source));
        // Others may keep files here; then the directory stays.
        let _ = std::fs::remove_dir(&self.dir);
        self.discard().and(unlinked)
    }

    /// Removes what there is of the container, a waiting init too.
    pub(super) fn discard(&mut self) -> Result<(), Failure> {
        let Some(container) = self.container.take() else { return Ok(()) };
        let Container { kernel, mut init, execs, .. } = container;
        if init.end.is_none() {
            // It may be gone already, and reaped; what is left then, `delete` reports.
            let _ = sys::process::pidfd_send_signal(init.pidfd.as_fd(), signal::KILL);
            let _ = sys::process::reap(init.pidfd.as_fd());
            init.streams.finish();
        }
        self.lingering.push(init);
        for (id, mut exec) in execs {
            if !exec.is_told() {
                // What is still there dies with the cgroup.
                let (code, finished_at) = exec.end.map_or_else(
                    || (128 + signal::KILL, shim::log::time::now()),
                    |end| (end.status.code(), end.at),
                );
                self.tell(&Event::ExecExited { id, exit: Exit { code, oom_killed: false, finished_at } });
            }
            exec.streams.finish();
            self.lingering.push(exec);
        }
        kernel.delete()
    }
}
