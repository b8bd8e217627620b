//! What programs ask of the kernel, as the kernel itself tells it: every system call, fork, exec and end of some processes
//! and of all that they start, and their allocations. For tests that hold counts and for pictures of where time goes; the
//! programs are the unmodified ones, and are hardly slowed (ptrace would double their time).
//!
//! Rooms: [`Trace`] switches the kernel's tracing on and off (an *instance* of tracefs, so that nobody else's tracing is
//! touched), [`Event`] is a line of what it wrote; [`called`] tells which functions of a program run.
//!
//! Source: the kernel's `Documentation/trace/ftrace.rst`, `events.rst` and `uprobetracer.rst`; needs Linux 4.13
//! (`event-fork`), `CONFIG_FTRACE_SYSCALLS` and root.

#![allow(
    clippy::disallowed_methods,
    reason = "tests and benchmarks run programs; nothing that ships uses this"
)]

mod event;
mod functions;
mod instance;
mod probe;

use std::io;
use std::path::Path;
use std::process::Command;

pub use event::{Event, What};
pub use functions::called;
use instance::Instance;

/// Kilobytes of the kernel's buffer, for each processor.
const BUFFER: &str = "32768";

/// Tracing that is on. Dropped: it is off, and nothing is left of it.
#[derive(Debug)]
pub struct Trace {
    instance: Instance,
    /// There are probes of ours, in a group with the instance's name.
    probes: bool,
}

impl Trace {
    /// Traces `processes` with all their threads, and what they start. With `allocations`, the calls of the C library's
    /// allocator, too.
    ///
    /// # Errors
    ///
    /// Where tracefs cannot be mounted or lacks a file; the message names it.
    pub fn start(processes: &[u32], allocations: bool) -> io::Result<Self> {
        let mut trace = Self { instance: Instance::make()?, probes: false };
        trace.write("buffer_size_kb", BUFFER)?;
        trace.write("trace_clock", "mono")?;
        trace.write("options/event-fork", "1")?;
        for pid in processes {
            // One that has ended meanwhile asks for nothing more.
            let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            for thread in threads.flatten() {
                trace.follow(&thread.file_name().to_string_lossy())?;
            }
        }
        if processes.is_empty() {
            // None at all would be everybody.
            trace.follow(&std::process::id().to_string())?;
        }
        if allocations {
            trace.probes = true;
            probe::set(&trace.instance.mount, &trace.instance.name)?;
            trace.write(&format!("events/{}/enable", trace.instance.name), "1")?;
        }
        for event in
            ["syscalls", "sched/sched_process_fork", "sched/sched_process_exec", "sched/sched_process_exit"]
        {
            trace.write(&format!("events/{event}/enable"), "1")?;
        }
        Ok(trace)
    }

    /// A shell script that makes itself traced and becomes the program in its arguments: `sh -c SCRIPT sh PROGRAM …`.
    pub fn joining(&self) -> String {
        format!("echo $$ >> {}; exec \"$@\"", self.instance.file("set_event_pid").display())
    }

    /// Ends it and returns what happened, in the order of time.
    ///
    /// # Errors
    ///
    /// If the kernel's buffer was too small for all of it.
    pub fn stop(self) -> io::Result<Vec<Event>> {
        self.write("tracing_on", "0")?;
        let text = self.instance.read()?;
        Ok(text.lines().filter_map(event::parse).collect())
    }

    fn follow(&self, thread: &str) -> io::Result<()> {
        use io::Write as _;
        let path = self.instance.file("set_event_pid");
        let file = std::fs::File::options().append(true).open(&path);
        file.and_then(|mut file| file.write_all(thread.as_bytes())).map_err(|e| at(&path, &e))
    }

    fn write(&self, name: &str, value: &str) -> io::Result<()> {
        self.instance.write(name, value)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.instance.close();
        if self.probes {
            probe::clear(&self.instance.mount, &self.instance.name);
        }
    }
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn run(program: &str, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(program).args(arguments).output().map_err(|e| at(Path::new(program), &e))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} {}: {}", arguments.join(" "), said.trim())))
}
