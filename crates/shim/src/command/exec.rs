//! `exec`: one more process.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use runtime::Io;
use spec::oci::runtime::{Capabilities, Process};

use super::args::{Args, Known};
use super::record::{self, Status};
use super::{Context, failure, process, terminal, words};

const OPTIONS: [Known; 20] = [
    ("console-socket", "", true),
    ("pidfd-socket", "", true),
    ("cwd", "", true),
    ("env", "e", true),
    ("tty", "t", false),
    ("user", "u", true),
    ("additional-gids", "g", true),
    ("process", "p", true),
    ("detach", "d", false),
    ("pid-file", "", true),
    ("process-label", "", true),
    ("apparmor", "", true),
    ("no-new-privs", "", false),
    ("cap", "c", true),
    ("preserve-fds", "", true),
    ("cgroup", "", true),
    ("ignore-paused", "", false),
    ("systemd-cgroup", "", false),
    ("no-subreaper", "", false),
    ("no-new-keyring", "", false),
];

/// runc's code for an exec that did not come to be.
const FAILED: u8 = 255;

/// `exec <id> [command …]`; the process's exit code.
pub(super) fn exec(context: &Context, arguments: &[String]) -> Result<u8, String> {
    let args = Args::leading(arguments, &OPTIONS)?;
    let (id, command) = args.words.split_first().ok_or("expected the container's id")?;
    let places = places(args.values("cgroup"))?;
    let held = record::open(context, id)?;
    match held.status() {
        Status::Stopped => return Err("cannot exec in a stopped container".into()),
        Status::Paused if !args.has("ignore-paused") => {
            return Err("cannot exec in a paused container (use --ignore-paused to override)".into());
        }
        Status::Creating | Status::Created | Status::Running | Status::Paused => {}
    }
    let base = held.spec.process.clone().unwrap_or_default();
    let wanted = match args.value("process") {
        Some(path) => {
            let json = sys::file::read(Path::new(path)).map_err(words)?;
            Process::from_json(&json).map_err(|e| e.to_string())?
        }
        None => from_options(&args, base, command)?,
    };
    let detached = args.has("detach");
    let target = terminal::Target::of(args.value("console-socket"), wanted.terminal, !detached)?;
    let container = held.container(process::preserved(&args)?)?;
    if !detached {
        process::adopt_orphans()?;
    }
    // From here on others may work on the container too: an exec may last.
    drop(held);
    let io = if wanted.terminal { Io::Terminal } else { Io::Inherited };
    process::warn_of_limits(context, &wanted)?;
    let mut child = container.exec_below(&wanted, io, &places).map_err(|e| failure(&e))?;
    process::write_pid(args.value("pid-file"), child.pid)?;
    process::send_pidfd(&args, "setns", &child)?;
    target.send(&child)?;
    if detached { Ok(0) } else { process::wait(&mut child) }
}

/// The end of an exec that did not come to be.
pub(super) fn failed(context: &Context, error: &str) -> ExitCode {
    context.log.fatal(&format!("exec failed: {error}"));
    ExitCode::from(FAILED)
}

/// `--cgroup`: a path below the container's cgroup, or `controller[,controller…]:path` once or more.
fn places(arguments: &[String]) -> Result<BTreeMap<String, String>, String> {
    let mut places = BTreeMap::new();
    for argument in arguments {
        let wrong = |why: &str| Err(format!("invalid --cgroup argument: {argument} ({why})"));
        let (controllers, path) = match argument.split_once(':') {
            Some((controllers, _)) if controllers.split(',').any(str::is_empty) => {
                return wrong("empty <controller> prefix");
            }
            Some(parts) => parts,
            None if arguments.len() > 1 => return wrong("missing <controller>: prefix"),
            None => ("", argument.as_str()),
        };
        for controller in controllers.split(',') {
            if places.insert(controller.to_owned(), path.to_owned()).is_some() {
                return wrong(&format!("controller {controller} specified multiple times"));
            }
        }
    }
    Ok(places)
}

/// As the container's process, but for what the options say.
fn from_options(args: &Args, mut process: Process, command: &[String]) -> Result<Process, String> {
    process.args = command.to_vec();
    if process.args.is_empty() {
        return Err("process args cannot be empty".into());
    }
    process.terminal = args.has("tty");
    process.console_size = None;
    process.env.extend(args.values("env").iter().cloned());
    if let Some(cwd) = args.value("cwd") {
        process.cwd = cwd.to_owned();
    }
    if let Some(user) = args.value("user") {
        let number = |text: &str| text.parse().map_err(|_| format!("converting {text:?} into an id"));
        let (uid, gid) = user.split_once(':').map_or((user, None), |(uid, gid)| (uid, Some(gid)));
        process.user.uid = number(uid)?;
        if let Some(gid) = gid {
            process.user.gid = number(gid)?;
        }
    }
    for gid in args.values("additional-gids") {
        let number = gid.parse().map_err(|_| format!("converting {gid:?} into an id"))?;
        process.user.additional_gids.push(number);
    }
    if args.has("no-new-privs") {
        process.no_new_privileges = true;
    }
    if let Some(profile) = args.value("apparmor") {
        process.apparmor_profile = profile.to_owned();
    }
    if let Some(label) = args.value("process-label") {
        process.selinux_label = label.to_owned();
    }
    let more = args.values("cap");
    if !more.is_empty() {
        let sets = process.capabilities.get_or_insert_with(Capabilities::default);
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend(more.iter().cloned());
        }
        // Where some are handed on to programs, these are too.
        if !sets.inheritable.is_empty() {
            for set in [&mut sets.inheritable, &mut sets.ambient] {
                set.extend(more.iter().cloned());
            }
        }
    }
    Ok(process)
}

#[cfg(test)]
mod tests {
    #[test]
    fn places_are_told_by_controller() {
        let places = |arguments: &[&str]| {
            let all: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            super::places(&all)
                .map(|all| all.into_iter().map(|(name, path)| name + "=" + &path).collect::<Vec<_>>())
        };
        assert_eq!(places(&[]).unwrap(), [""; 0]);
        assert_eq!(places(&["a/b"]).unwrap(), ["=a/b"]);
        assert_eq!(places(&["cpu,cpuacct:c", "memory:/"]).unwrap(), ["cpu=c", "cpuacct=c", "memory=/"]);
        for (arguments, why) in [
            (&[":a"][..], "empty <controller> prefix"),
            (&["cpu,:a"], "empty <controller> prefix"),
            (&["a", "b"], "missing <controller>: prefix"),
            (&["cpu:a", "cpu:b"], "controller cpu specified multiple times"),
        ] {
            assert!(places(arguments).unwrap_err().contains(why), "{arguments:?}");
        }
    }
}
