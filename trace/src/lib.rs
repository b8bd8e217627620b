//! What programs ask of the kernel, as the kernel itself tells it: every system call, fork, exec and end of some processes
//! and of all that they start, and their allocations. For tests that hold counts and for pictures of where time goes; the
//! programs are the unmodified ones, and are hardly slowed (ptrace would double their time).
//!
//! Rooms: [`Trace`] switches the kernel's tracing on and off (an *instance* of tracefs, so that nobody else's tracing is
//! touched), [`Event`] is a line of what it wrote.
//!
//! Source: the kernel's `Documentation/trace/ftrace.rst`, `events.rst` and `uprobetracer.rst`; needs Linux 4.13
//! (`event-fork`), `CONFIG_FTRACE_SYSCALLS` and root.

#![allow(
    clippy::disallowed_methods,
    reason = "tests and benchmarks run programs; nothing that ships uses this"
)]

mod event;
mod probe;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

pub use event::{Event, What};

/// Kilobytes of the kernel's buffer, for each processor.
const BUFFER: &str = "32768";

/// Tracing that is on. Dropped: it is off, and nothing is left of it.
#[derive(Debug)]
pub struct Trace {
    mount: PathBuf,
    instance: PathBuf,
    /// The group of our probes, where there are any.
    probes: Option<String>,
}

/// Tracings of this process so far: each has names of its own.
static COUNT: AtomicU32 = AtomicU32::new(0);

impl Trace {
    /// Traces `processes` with all their threads, and what they start. With `allocations`, the calls of the C library's
    /// allocator, too.
    ///
    /// # Errors
    ///
    /// Where tracefs cannot be mounted or lacks a file; the message names it.
    pub fn start(processes: &[u32], allocations: bool) -> io::Result<Self> {
        let name = format!("corten_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mount = std::env::temp_dir().join(format!("trace-{name}"));
        std::fs::create_dir_all(&mount)?;
        run("mount", &["-t", "tracefs", "none", &mount.display().to_string()])?;
        let instance = mount.join("instances").join(&name);
        let mut trace = Self { mount, instance, probes: None };
        std::fs::create_dir(&trace.instance).map_err(|e| at(&trace.instance, &e))?;
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
            trace.probes = Some(name.clone());
            probe::set(&trace.mount, &name)?;
            trace.write(&format!("events/{name}/enable"), "1")?;
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
        format!("echo $$ >> {}; exec \"$@\"", self.instance.join("set_event_pid").display())
    }

    /// Ends it and returns what happened, in the order of time.
    ///
    /// # Errors
    ///
    /// If the kernel's buffer was too small for all of it.
    pub fn stop(self) -> io::Result<Vec<Event>> {
        self.write("tracing_on", "0")?;
        let path = self.instance.join("trace");
        let text = std::fs::read(&path).map_err(|e| at(&path, &e))?;
        let text = String::from_utf8_lossy(&text);
        // `# entries-in-buffer/entries-written: 100/100   #P:2`
        let kept = text.lines().find_map(|line| line.strip_prefix("# entries-in-buffer/entries-written: "));
        let kept = kept.and_then(|counts| counts.split_whitespace().next()?.split_once('/'));
        if let Some((kept, written)) = kept
            && kept != written
        {
            return Err(io::Error::other(format!("the kernel kept {kept} of {written} events: trace less")));
        }
        Ok(text.lines().filter_map(event::parse).collect())
    }

    fn follow(&self, thread: &str) -> io::Result<()> {
        use io::Write as _;
        let path = self.instance.join("set_event_pid");
        let file = std::fs::File::options().append(true).open(&path);
        file.and_then(|mut file| file.write_all(thread.as_bytes())).map_err(|e| at(&path, &e))
    }

    fn write(&self, name: &str, value: &str) -> io::Result<()> {
        let path = self.instance.join(name);
        // These are files of the kernel's: one write is one command, and creating makes no sense.
        let file = std::fs::File::options().write(true).open(&path);
        file.and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes())).map_err(|e| at(&path, &e))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        for name in ["tracing_on", "events/enable"] {
            let _ = self.write(name, "0");
        }
        let _ = std::fs::remove_dir(&self.instance);
        if let Some(group) = &self.probes {
            probe::clear(&self.mount, group);
        }
        let _ = run("umount", &[&self.mount.display().to_string()]);
        let _ = std::fs::remove_dir(&self.mount);
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
