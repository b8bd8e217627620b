//! What `create`, `run` and `exec` share: the pid file, descriptors to keep, waiting in the foreground.

use std::os::fd::AsFd;
use std::path::Path;

use runtime::Child;
use spec::oci::runtime::Process;
use sys::file::Durability;
use sys::poll::{Epoll, Interest, Signals};
use sys::scm::{self, Wait};

use super::args::Args;
use super::{Context, failure, terminal, words};

/// Tells which limits stay lower than what the configuration asks for, and which capabilities cannot be ambient.
pub(super) fn warn_of_limits(context: &Context, process: &Process) -> Result<(), String> {
    if let Some(sets) = &process.capabilities {
        let lacks = |name: &&String| !(sets.inheritable.contains(name) && sets.permitted.contains(name));
        for name in sets.ambient.iter().filter(lacks) {
            let message = format!("can't raise ambient capability {name}: operation not permitted");
            context.log.write("warning", &message);
        }
    }
    for limit in runtime::lowered(process).map_err(|e| failure(&e))? {
        context.log.write("warning", &limit.to_string());
    }
    Ok(())
}

/// Writes a pid where the caller looks for it, whole.
pub(super) fn write_pid(file: Option<&str>, pid: i32) -> Result<(), String> {
    let Some(file) = file.filter(|file| !file.is_empty()) else { return Ok(()) };
    sys::file::write_atomic(Path::new(file), pid.to_string().as_bytes(), 0o644, Durability::Process)
        .map_err(words)
}

/// Hands the process to whoever supervises it by its pidfd; `kind` is runc's word for the two ways of making one.
pub(super) fn send_pidfd(args: &Args, kind: &str, child: &Child) -> Result<(), String> {
    let Some(path) = args.value("pidfd-socket").filter(|path| !path.is_empty()) else { return Ok(()) };
    let socket = scm::connect(Path::new(path)).map_err(words)?;
    scm::send(&socket, kind.as_bytes(), &[child.pidfd.as_fd()], Wait::Yes).map(drop).map_err(words)
}

/// How many descriptors from 3 on are the container's: `--preserve-fds`, and those of socket activation.
pub(super) fn preserved(args: &Args) -> Result<u32, String> {
    let asked: u32 = args.number("preserve-fds")?.unwrap_or(0);
    let passed = std::env::var("LISTEN_FDS").ok().and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    Ok(asked.saturating_add(passed))
}

/// Orphans of the container come to us, who wait for its init.
pub(super) fn adopt_orphans() -> Result<(), String> {
    sys::process::set_subreaper().map_err(words)
}

/// Waits for a process's end, and hands signals (and a terminal's bytes) on meanwhile; its exit code.
pub(super) fn wait(child: &mut Child) -> Result<u8, String> {
    const PROCESS: u64 = 0;
    const SIGNALS: u64 = 1;
    let forwarded: Vec<i32> = (1..32).filter(|n| !KEPT.contains(n)).collect();
    let mut signals = Signals::block(&forwarded).map_err(words)?;
    let epoll = Epoll::new().map_err(words)?;
    epoll.add(&child.pidfd, PROCESS, Interest::READ).map_err(words)?;
    epoll.add(&signals, SIGNALS, Interest::READ).map_err(words)?;
    let mut screen =
        child.console.take().map(|console| terminal::Screen::open(console, &epoll)).transpose()?;
    let mut ready = Vec::new();
    loop {
        epoll.wait(&mut ready, None).map_err(words)?;
        for event in &ready {
            if let Some(screen) = &mut screen {
                screen.serve(*event, &epoll)?;
            }
        }
        while let Some(signal) = signals.take().map_err(words)? {
            match (signal, &screen) {
                (WINCH, Some(screen)) => screen.resize(),
                // It may have ended this moment.
                _ => drop(sys::process::pidfd_send_signal(child.pidfd.as_fd(), signal)),
            }
        }
        if ready.iter().any(|event| event.token == PROCESS) {
            let status = sys::process::reap(child.pidfd.as_fd()).map_err(words)?;
            if let Some(screen) = &mut screen {
                screen.drain()?;
            }
            return Ok(u8::try_from(status.code()).unwrap_or(u8::MAX));
        }
    }
}

/// SIGWINCH: our terminal has another size.
const WINCH: i32 = 28;
/// Not for the container: faults of our own, what cannot be taken, what tells of children.
const KEPT: [i32; 8] = [4, 7, 8, 9, 11, 17, 19, 31];
