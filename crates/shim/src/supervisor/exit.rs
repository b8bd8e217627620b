//! Children end: they are reaped, their last output is taken, their end is recorded and told.

use std::time::{Duration, Instant};

use shim::log::Loss;
use shim::proto::{Event, Exit};
use spec::signal;
use sys::file::{self, Durability};
use sys::process::ExitStatus;

use super::process::End;
use super::{Container, Supervisor};

/// When a record that could not be written (a full disk) is tried again.
const RETRY: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Takes the status of every child that has ended. Orphans that came to us as subreaper leave nothing else.
    pub(super) fn reap(&mut self) -> Result<(), sys::Error> {
        while let Some(reaped) = sys::process::reap_any()? {
            let Some(container) = &mut self.container else { continue };
            let Some(process) = container.processes().find(|p| p.pid == reaped.pid && p.end.is_none()) else {
                container.init.streams.reaped(reaped.pid, reaped.status == ExitStatus::Code(0));
                continue;
            };
            process.end = Some(End::new(reaped.status));
            if container.init.pid == reaped.pid {
                // Without a pid namespace of its own, init's end does not end the others. None may be left.
                container.oom_killed =
                    container.kernel.oom_killed(reaped.status == ExitStatus::Signal(signal::KILL));
                container.kernel.end_others();
            }
        }
        Ok(())
    }

    /// Finishes processes that have ended; what is to be told.
    pub(super) fn ended(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(container) = &mut self.container {
            container.finish_execs(&mut self.scratch, &mut events);
            container.finish_init(&mut self.scratch, &mut events);
            container.tell_loss(false, &mut events);
            container.retry_record();
        }
        events
    }

    /// Init has ended and is to be deleted at once: its log and its record are completed without waiting.
    pub(super) fn record_now(&mut self) {
        let mut events = Vec::new();
        if let Some(container) = &mut self.container {
            if let Some(end) = &mut container.init.end {
                end.deadline = Instant::now();
            }
            container.finish_init(&mut self.scratch, &mut events);
        }
        events.iter().for_each(|event| self.tell(event));
    }
}

impl Container {
    fn finish_init(&mut self, scratch: &mut [u8], events: &mut Vec<Event>) {
        let Some(end) = self.init.finish(scratch) else { return };
        if self.exit.is_some() {
            return;
        }
        let killed = end.status == ExitStatus::Signal(signal::KILL);
        let oom_killed = self.oom_killed || self.kernel.oom_killed(killed);
        if oom_killed && !self.oom_told {
            self.oom_told = true;
            events.push(Event::Oom);
        }
        let exit = Exit { code: end.status.code(), oom_killed, finished_at: end.at };
        self.exit = Some(exit.clone());
        if let Some(end) = &mut self.init.end {
            end.told = true;
        }
        self.tell_loss(true, events);
        self.unwritten = Some(end.deadline);
        self.write_record();
        events.push(Event::Exited(exit));
    }

    fn tell_loss(&mut self, over: bool, events: &mut Vec<Event>) {
        if let Some(Loss { entries, why }) = self.init.streams.loss(over) {
            events.push(Event::LogLost { entries, why });
        }
    }

    /// Execs are told once their clients have all output, or when time is up.
    fn finish_execs(&mut self, scratch: &mut [u8], events: &mut Vec<Event>) {
        for (id, process) in &mut self.execs {
            let Some(end) = process.finish(scratch) else { continue };
            if end.told || !(process.streams.is_flushed() || end.deadline <= Instant::now()) {
                continue;
            }
            if let Some(end) = &mut process.end {
                end.told = true;
            }
            let killed = end.status == ExitStatus::Signal(signal::KILL);
            let oom_killed = killed && self.kernel.oom_killed(false);
            if oom_killed && !self.oom_told {
                self.oom_told = true;
                events.push(Event::Oom);
            }
            let exit = Exit { code: end.status.code(), oom_killed, finished_at: end.at };
            events.push(Event::ExecExited { id: id.clone(), exit });
        }
    }

    fn retry_record(&mut self) {
        if self.unwritten.is_some_and(|when| when <= Instant::now()) {
            self.write_record();
        }
    }

    fn write_record(&mut self) {
        let Some(exit) = &self.exit else { return };
        let json = serde_json::to_vec(exit).expect("a record of numbers has a JSON form");
        let written = file::write_atomic(&self.exit_file, &json, 0o600, Durability::Process);
        self.unwritten = written.is_err().then(|| Instant::now() + RETRY);
    }
}
