//! `corten-shim <id> --dir <dir>`: supervises one container. cortend spawns it with a connection as fd 3.
//! `corten-shim <word> --new <dir>`: makes such ones by copying itself (see `template`).
//! `corten-shim --compress`: compresses stdin to stdout; a shim spawns it for a log that it has rotated.
//!
//! Under the name `docker-init`: the first process of a container that another runtime makes.
//!
//! Under the name `corten-runtime`, or as `corten-shim runtime …`: a runtime's command line (see `command`).

mod command;
mod supervisor;
mod template;

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use shim::proto::{DIR, NEW};
use supervisor::{Place, Supervisor};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--compress") {
        return compress();
    }
    if let Some(words) = init_arguments() {
        let (code, why) = runtime::init(&words);
        let _ = writeln!(std::io::stderr(), "{why}");
        return ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX));
    }
    if let Some(words) = command::arguments() {
        return command::main(&words);
    }
    // First of all, before anything else is opened.
    let connection = match sys::scm::inherited() {
        Ok(connection) => connection,
        Err(error) => return fail(&error),
    };
    let (option, dir) = match arguments(std::env::args().skip(1)) {
        Ok(words) => words,
        Err(usage) => return fail(&usage),
    };
    // There is time for it now, and none when the container is to start.
    sys::cgroup::remember_hierarchies();
    let settled = settle_in();
    if option == NEW {
        let made = settled.and_then(|oom_score| {
            let live = |connection, dir| supervise(connection, dir, Ok(oom_score));
            template::serve(connection, &dir, live)
        });
        return match made {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("{error}: {}", error.source)),
        };
    }
    if supervise(connection, dir, settled) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Supervises one container to its end; whether nothing went wrong.
fn supervise(connection: UnixStream, dir: PathBuf, settled: Result<Option<i32>, sys::Error>) -> bool {
    let dir = Arc::new(Mutex::new(dir));
    std::panic::set_hook({
        let dir = Arc::clone(&dir);
        Box::new(move |panic| note(&dir, &panic.to_string()))
    });
    let ready = settled.and_then(|oom_score| sys::process::set_subreaper().map(|()| oom_score));
    let supervisor = ready.and_then(|oom_score| Supervisor::new(connection, Arc::clone(&dir), oom_score));
    let ended = supervisor.and_then(Supervisor::run);
    if let Err(error) = &ended {
        note(&dir, &format!("{error}: {}", error.source));
    }
    ended.is_ok()
}

/// Compresses a rotated log, stdin to stdout; our parent, the shim, sees how it went.
fn compress() -> ExitCode {
    let run = || -> std::io::Result<()> {
        sys::process::set_lowest_priority().map_err(|e| e.source)?;
        let input = std::io::stdin().as_fd().try_clone_to_owned()?;
        let output = std::io::stdout().as_fd().try_clone_to_owned()?;
        shim::log::compress::run(input.into(), output.into())
    };
    if run().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// As `docker-init -- <program> …`: the first process of another runtime's container (`--init`).
fn init_arguments() -> Option<Vec<String>> {
    let mut words = std::env::args();
    let named = words.next()?.rsplit('/').next() == Some("docker-init");
    (named && words.next().as_deref() == Some("--")).then(|| words.collect())
}

/// The container's id stands in the arguments for people who look at `ps`.
fn arguments(mut arguments: impl Iterator<Item = String>) -> Result<(&'static str, PathBuf), &'static str> {
    match (arguments.next(), arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (Some(_id), Some(DIR), Some(dir), None) if dir.starts_with('/') => Ok((DIR, dir.into())),
        (Some(_), Some(NEW), Some(dir), None) if dir.starts_with('/') => Ok((NEW, dir.into())),
        _ => Err(
            "usage: corten-shim <id> --dir <absolute path>, with a connection as fd 3 (cortend does this)",
        ),
    }
}

/// Becomes a supervisor: in nobody's way, and the last to be killed when memory runs out.
/// `Some` with the OOM score adjustment that we had, when it is another now: children are to have the old one.
fn settle_in() -> Result<Option<i32>, sys::Error> {
    std::env::set_current_dir("/").map_err(|e| sys::Error::new("chdir", "/", e))?;
    sys::process::set_name("corten-shim")?;
    let adjustment = Path::new("/proc/self/oom_score_adj");
    let before = String::from_utf8_lossy(&sys::file::read(adjustment)?).trim().parse().unwrap_or(0);
    let open = std::fs::OpenOptions::new().write(true).open(adjustment);
    // Without CAP_SYS_RESOURCE the value may only be raised: what cortend has is kept then.
    let lowered = open.and_then(|mut file| file.write_all(b"-999"));
    Ok(lowered.is_ok().then_some(before))
}

/// Nobody reads our standard error when cortend has started us: it is /dev/null then.
fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "corten-shim: {error}");
    ExitCode::FAILURE
}

/// Leaves the reason of our own end in `shim.log`, one line at most.
fn note(dir: &Place, text: &str) {
    let dir = dir.lock().unwrap_or_else(PoisonError::into_inner);
    if let Ok(mut file) = sys::file::create(&dir.join("shim.log"), 0o600) {
        let _ = writeln!(file, "{text}");
    }
}
