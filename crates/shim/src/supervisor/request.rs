//! One request, one reply.

use std::io;
use std::os::fd::AsFd;

use runtime::Failure;
use shim::message::Incoming;
use shim::proto::{Reply, Request, Status};

use super::{Container, Process, Supervisor};

/// linux/errno.h: what refusals say.
pub(super) mod errno {
    pub(in super::super) const ESRCH: i32 = 3;
    pub(in super::super) const EBUSY: i32 = 16;
    pub(in super::super) const EEXIST: i32 = 17;
    pub(in super::super) const EINVAL: i32 = 22;
    pub(in super::super) const ENOTTY: i32 = 25;
}

/// A step of ours that the kernel refused.
pub(super) fn failure(step: &str, path: &str, error: &io::Error) -> Failure {
    Failure {
        step: step.to_owned(),
        errno: error.raw_os_error().unwrap_or(0),
        path: path.to_owned(),
        detail: error.to_string(),
    }
}

/// A request that cannot be carried out as things are.
pub(super) fn refusal(step: &str, errno: i32, detail: &str) -> Failure {
    Failure { step: step.to_owned(), errno, path: String::new(), detail: detail.to_owned() }
}

/// A failure, and what went wrong in undoing what was done before it.
pub(super) fn also(failure: Failure, undone: Result<(), Failure>) -> Failure {
    match undone {
        Ok(()) => failure,
        Err(left) => Failure { detail: format!("{}; and then {left}", failure.detail), ..failure },
    }
}

/// The process the request is for has ended, or never was.
pub(super) fn ended(step: &str) -> Failure {
    refusal(step, errno::ESRCH, "no such process")
}

impl Supervisor {
    /// Carries a request out. Its fds are taken from `incoming`.
    pub(super) fn answer(&mut self, request: Request, incoming: &mut Incoming) -> Reply {
        let done = match request {
            Request::Create(create) => {
                return self.create(*create, incoming).map_or_else(Reply::Failed, Reply::Pid);
            }
            Request::Namespaces(ids) => {
                return self.hold(&ids).map_or_else(Reply::Failed, Reply::Pid);
            }
            Request::Exec(exec) => return self.exec(*exec, incoming).map_or_else(Reply::Failed, Reply::Pid),
            Request::Copy { .. } => Err(refusal("copy", errno::EINVAL, "this shim is no template")),
            Request::Status => return Reply::Status(self.status()),
            Request::Start => self.start(),
            Request::Kill { signal, exec, all } => self.kill(signal, exec.as_deref(), all),
            Request::Resize { exec, height, width } => self.resize(exec.as_deref(), height, width),
            Request::Attach(attach) => self.attach(attach, incoming),
            Request::Pause => self.pause(),
            Request::Resume => self.resume(),
            Request::Update(resources) => self.running("update").and_then(|c| c.kernel.update(&resources)),
            Request::Mount(mount) => self.running("mount").and_then(|c| c.kernel.mount(&mount)),
            Request::Unmount { destination } => {
                self.running("unmount").and_then(|c| c.kernel.unmount(&destination))
            }
            Request::Delete => self.delete(),
            // The connection answers these itself; a second `Hello` changes nothing.
            Request::Hello { .. } | Request::Watch => Ok(()),
        };
        done.map_or_else(Reply::Failed, |()| Reply::Done)
    }

    /// The container, unless it was never made or its init has ended.
    pub(super) fn running(&mut self, step: &str) -> Result<&mut Container, Failure> {
        self.container.as_mut().filter(|container| container.init.end.is_none()).ok_or_else(|| ended(step))
    }

    /// Init, or an exec, that has not ended.
    pub(super) fn process(&mut self, step: &str, exec: Option<&str>) -> Result<&mut Process, Failure> {
        let container = self.container.as_mut().ok_or_else(|| ended(step))?;
        let process = match exec {
            None => Some(&mut container.init),
            Some(id) => container.execs.get_mut(id),
        };
        process.filter(|process| process.end.is_none()).ok_or_else(|| ended(step))
    }

    fn status(&self) -> Status {
        let Some(container) = &self.container else {
            return Status { pid: None, started: false, paused: false, exit: None, execs: Vec::new() };
        };
        let execs = container.execs.iter().filter(|(_, process)| process.end.is_none());
        Status {
            pid: Some(container.init.pid),
            started: container.started,
            paused: container.paused,
            exit: container.exit.clone(),
            execs: execs.map(|(id, _)| id.clone()).collect(),
        }
    }

    fn resize(&mut self, exec: Option<&str>, height: u16, width: u16) -> Result<(), Failure> {
        let process = self.process("resize", exec)?;
        let console =
            process.console.as_ref().ok_or_else(|| refusal("resize", errno::ENOTTY, "it has no terminal"))?;
        sys::pty::resize(console.as_fd(), height, width).map_err(|e| failure("resize", "", &e.source))
    }

    fn pause(&mut self) -> Result<(), Failure> {
        let container = self.running("pause")?;
        container.kernel.pause()?;
        container.paused = true;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), Failure> {
        let container = self.running("resume")?;
        container.kernel.resume()?;
        container.paused = false;
        Ok(())
    }
}
