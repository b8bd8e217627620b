//! A process of the container, init or an exec, from its birth until its end is told.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use runtime::{Child, Failure, Io};
use shim::log::Writer;
use sys::process::ExitStatus;

use super::request::failure;
use super::streams::{self, Ends, Streams};

/// How long an ended process's output is waited for, when somebody else still holds it (Docker's time).
const DRAIN: Duration = Duration::from_secs(2);

pub(super) struct Process {
    pub(super) number: u32,
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    /// The terminal, for its size.
    pub(super) console: Option<OwnedFd>,
    pub(super) streams: Streams,
    pub(super) end: Option<End>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) status: ExitStatus,
    /// Nanoseconds since 1970.
    pub(super) at: u64,
    /// After this moment nothing is waited for.
    pub(super) deadline: Instant,
    /// Its outputs are closed.
    pub(super) finished: bool,
    /// Its end was told.
    pub(super) told: bool,
}

impl End {
    pub(super) fn new(status: ExitStatus) -> Self {
        let deadline = Instant::now() + DRAIN;
        Self { status, at: shim::log::time::now(), deadline, finished: false, told: false }
    }
}

/// How a process is to be wired.
pub(super) struct Wiring {
    pub(super) terminal: bool,
    pub(super) open_stdin: bool,
    pub(super) stdin_once: bool,
    /// Nobody takes the output.
    pub(super) discard: bool,
    pub(super) log: Option<Writer>,
}

impl Wiring {
    /// What the process gets, and what we keep of it (a terminal's end comes with the process).
    pub(super) fn ends(&self) -> Result<(Io, Ends), Failure> {
        match (self.terminal, self.discard) {
            (true, _) => Ok((Io::Terminal, Ends::default())),
            (false, true) => streams::nothing().map(|io| (io, Ends::default())),
            (false, false) => streams::pipes(self.open_stdin),
        }
        .map_err(|e| failure("stdio", "", &e))
    }

    /// The process as we keep it.
    pub(super) fn process(self, number: u32, child: Child, ends: Ends) -> Result<Process, Failure> {
        let failed = |e: std::io::Error| failure("stdio", "", &e);
        let ends = match &child.console {
            Some(console) => Ends::of_console(console, self.open_stdin).map_err(failed)?,
            None => ends,
        };
        let stdin_once = self.stdin_once && !self.terminal;
        let streams = Streams::new(number, ends, self.log, stdin_once).map_err(failed)?;
        let Child { pid, pidfd, console } = child;
        Ok(Process { number, pid, pidfd, console, streams, end: None })
    }
}

impl Process {
    /// It has ended, and whoever watches knows.
    pub(super) fn is_told(&self) -> bool {
        self.end.is_some_and(|end| end.told)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.end.filter(|end| !end.told).map(|end| end.deadline)
    }

    /// Once it has ended: takes its last output, and closes its streams when that was all or time is up.
    /// `Some` with its end when they are closed.
    pub(super) fn finish(&mut self, scratch: &mut [u8]) -> Option<End> {
        let end = self.end.as_mut()?;
        if !end.finished {
            let drained = self.streams.drain(scratch);
            let late = end.deadline <= Instant::now();
            // The log server gets the rest of the time; its slowness is no reason to tell the end later than that.
            if late || (drained && self.streams.end_outputs()) {
                self.streams.finish();
                end.finished = true;
            }
        }
        end.finished.then_some(*end)
    }

    pub(super) fn kill(&self, signal: i32) -> Result<(), Failure> {
        if self.end.is_some() {
            return Err(super::request::ended("kill"));
        }
        sys::process::pidfd_send_signal(self.pidfd.as_fd(), signal)
            .map_err(|e| failure("kill", &self.pid.to_string(), &e.source))
    }
}
