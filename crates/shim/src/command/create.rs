//! `create`, and `run`: the same, started, waited for and deleted.

use std::path::{Path, PathBuf};

use runtime::{Ahead, Child, Container, Io, Request};
use spec::oci::runtime::scope::Scope;
use spec::oci::runtime::{CgroupDriver, Spec, State};

use super::args::{Args, Known};
use super::record::{self, Held, Record, Status};
use super::{Context, Outcome, delete, failure, process, terminal, words};

const OPTIONS: [Known; 11] = [
    ("bundle", "b", true),
    ("console-socket", "", true),
    ("pidfd-socket", "", true),
    ("pid-file", "", true),
    ("no-pivot", "", false),
    ("no-new-keyring", "", false),
    ("preserve-fds", "", true),
    ("detach", "d", false),
    ("keep", "", false),
    ("no-subreaper", "", false),
    ("systemd-cgroup", "", false),
];

/// `create <id>`: init waits at its gate.
pub(super) fn create(context: &Context, words: &[String]) -> Outcome {
    let args = Args::parse(words, &OPTIONS)?;
    let made = make(context, &args, Kind::Created).map_err(|e| format!("runtime create failed: {e}"))?;
    made.terminal.send(&made.child)?;
    Ok(0)
}

/// `run <id>`.
pub(super) fn run(context: &Context, words: &[String]) -> Outcome {
    let args = Args::parse(words, &OPTIONS)?;
    let detached = args.has("detach");
    if !detached {
        process::adopt_orphans()?;
    }
    let kind = if detached { Kind::Detached } else { Kind::Foreground };
    let made = make(context, &args, kind).map_err(|e| format!("runtime run failed: {e}"))?;
    let Made { held, mut container, mut child, terminal } = made;
    if let Some(console) = child.console.as_ref().filter(|_| !detached) {
        // Before its program writes. A terminal that keeps its mode shows the same with other line ends.
        let _ = sys::pty::keep_newlines(std::os::fd::AsFd::as_fd(console));
    }
    let started = terminal.send(&child).and_then(|()| container.start().map_err(|e| failure(&e)));
    if let Err(error) = started {
        let _ = container.kill(::spec::signal::KILL, true);
        let _ = sys::process::reap(std::os::fd::AsFd::as_fd(&child.pidfd));
        let _ = container.delete();
        let _ = held.forget();
        return Err(format!("runtime run failed: {error}"));
    }
    if detached {
        return Ok(0);
    }
    // Others may look at the container, and stop it, while it runs.
    let Held { directory, record, spec, lock } = held;
    drop((record, spec, lock));
    let code = process::wait(&mut child)?;
    if args.has("keep") {
        return Ok(code);
    }
    let deleted = container.delete().map_err(|e| e.to_string());
    sys::file::remove_tree(&directory).map_err(super::words).and(deleted)?;
    Ok(code)
}

/// What is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// To be started by another command.
    Created,
    /// To be started by this one, which then ends.
    Detached,
    /// To be started by this one, which then waits.
    Foreground,
}

struct Made {
    held: Held,
    container: Container,
    child: Child,
    terminal: terminal::Target,
}

fn make(context: &Context, args: &Args, kind: Kind) -> Result<Made, String> {
    let id = args.id()?;
    record::check_id(id)?;
    let bundle = bundle(args)?;
    let config = sys::file::read(&bundle.join("config.json")).map_err(words)?;
    let mut spec = Spec::from_bundle(&config).map_err(|e| e.to_string())?;
    absolute(&mut spec, &bundle);
    let ahead = Ahead::begin(&spec).map_err(|e| failure(&e))?;
    let systemd = context.systemd || args.has("systemd-cgroup");
    let cgroups = if systemd { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs };
    if !systemd {
        spec.linux.cgroups_path = cgroup(&spec.linux.cgroups_path, id);
    }
    let wants_terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
    let terminal =
        terminal::Target::of(args.value("console-socket"), wants_terminal, kind == Kind::Foreground)?;
    let created = shim::log::time::format(shim::log::time::now());
    let record = Record {
        id: id.to_owned(),
        pid: 0,
        start_time: 0,
        bundle: bundle.display().to_string(),
        rootfs: spec.root.as_ref().map(|root| root.path.clone()).unwrap_or_default(),
        created,
        cgroup: cgroup_directory(&spec, cgroups, id)?,
        cgroups,
    };
    let mut held = record::claim(context, record, spec, &config)?;
    match begin(context, args, kind, &mut held, wants_terminal, ahead) {
        Ok((container, child)) => Ok(Made { held, container, child, terminal }),
        Err(error) => {
            // The first failure is the one to report.
            let _ = held.forget();
            Err(error)
        }
    }
}

fn begin(
    context: &Context,
    args: &Args,
    kind: Kind,
    held: &mut Held,
    wants_terminal: bool,
    ahead: Ahead,
) -> Result<(Container, Child), String> {
    let gate = match kind {
        Kind::Created => Some(sys::scm::listen(&held.gate()).map_err(words)?),
        Kind::Detached | Kind::Foreground => None,
    };
    let io = if wants_terminal { Io::Terminal } else { Io::Inherited };
    let state = State { status: String::new(), pid: None, ..held.state(Status::Creating) };
    let request = Request {
        state,
        gate: gate.as_ref(),
        preserved: process::preserved(args)?,
        keep_keyring: context.no_new_keyring || args.has("no-new-keyring"),
        cgroups: held.record.cgroups,
        no_pivot: context.no_pivot || args.has("no-pivot"),
        ..Request::new(&held.spec, io)
    };
    if let Some(process) = &held.spec.process {
        process::warn_of_limits(context, process)?;
    }
    let mut saved = Ok(());
    let born = |pid| {
        held.record.pid = pid;
        held.record.start_time = sys::process::start_time(pid).map_or(0, |(start, _)| start);
        saved = held.record.save(&held.directory);
    };
    let (mut container, child) = runtime::create_ahead(&request, ahead, born).map_err(|e| failure(&e))?;
    let kept = (|| {
        saved?;
        process::write_pid(args.value("pid-file"), child.pid)?;
        process::send_pidfd(args, "standard", &child)?;
        if kind == Kind::Created { container.release().map_err(|e| failure(&e)) } else { Ok(()) }
    })();
    match kept {
        Ok(()) => Ok((container, child)),
        Err(error) => {
            delete::end(container, &child);
            Err(error)
        }
    }
}

fn bundle(args: &Args) -> Result<PathBuf, String> {
    let here = std::env::current_dir().map_err(|e| format!("the working directory: {e}"))?;
    let bundle = here.join(args.value("bundle").unwrap_or(""));
    std::path::absolute(&bundle).map_err(|e| format!("{}: {e}", bundle.display()))
}

/// Paths of the host in a configuration are the bundle's.
fn absolute(spec: &mut Spec, bundle: &Path) {
    let join = |path: &str| bundle.join(path).display().to_string();
    if let Some(root) = &mut spec.root {
        root.path = join(&root.path);
    }
    for mount in &mut spec.mounts {
        let bind = mount.r#type == "bind" || mount.options.iter().any(|o| o == "bind" || o == "rbind");
        if bind {
            mount.source = join(&mount.source);
        }
    }
}

/// Where it is below the hierarchies' tops.
fn cgroup_directory(spec: &Spec, cgroups: CgroupDriver, id: &str) -> Result<String, String> {
    match cgroups {
        CgroupDriver::Cgroupfs => Ok(spec.linux.cgroups_path.clone()),
        CgroupDriver::Systemd => Scope::parse(&spec.linux.cgroups_path, id).map(|scope| scope.path()),
    }
}

/// Under the hierarchies' tops; without a path, the container's id.
fn cgroup(path: &str, id: &str) -> String {
    match path.trim_matches('/') {
        "" => format!("/{id}"),
        path => format!("/{path}"),
    }
}
