//! `ps`: the container's processes.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use super::args::{Args, Known};
use super::{Context, Outcome, print, record, words};

const OPTIONS: [Known; 1] = [("format", "f", true)];

/// The host's own, in its fixed places.
const PROGRAMS: [&str; 2] = ["/usr/bin/ps", "/bin/ps"];

/// `ps <id> [ps options]`.
pub(super) fn ps(context: &Context, arguments: &[String]) -> Outcome {
    let args = Args::leading(arguments, &OPTIONS)?;
    let (id, options) = args.words.split_first().ok_or("expected the container's id")?;
    let held = record::open(context, id)?;
    let cgroup = sys::cgroup::Cgroup::open(&held.record.cgroup).map_err(words)?;
    let pids = cgroup.processes().map_err(words)?;
    match args.value("format") {
        Some("json") => print(&(serde_json::to_string(&pids).unwrap_or_default() + "\n")),
        None | Some("table") => match PROGRAMS.iter().find(|path| sys::process::may_execute(Path::new(path)))
        {
            Some(program) => print(&table(program, options, &pids)?),
            None if options.is_empty() => print(&lines(&pids)),
            None => Err("there is no ps on this host, which options could be for".into()),
        },
        Some(_) => Err("invalid format option".into()),
    }
}

/// What the host's program tells of these processes.
fn table(program: &str, options: &[String], pids: &[i32]) -> Result<String, String> {
    let mut argv = vec!["ps"];
    argv.extend(options.iter().map(String::as_str));
    if options.is_empty() {
        argv.push("-ef");
    }
    let environment: Vec<(String, String)> = std::env::vars().collect();
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let (mut read, write) = std::io::pipe().map_err(|e| format!("ps: {e}"))?;
    let fds = [(write.as_fd(), 1), (write.as_fd(), 2)];
    let spawned = sys::process::spawn_at(program, &argv, &environment, &fds).map_err(words)?;
    drop(write);
    let mut told = Vec::new();
    read.read_to_end(&mut told).map_err(|e| format!("ps: {e}"))?;
    let told = String::from_utf8_lossy(&told);
    match sys::process::reap(spawned.pidfd.as_fd()).map_err(words)?.code() {
        0 => only(&told, pids),
        code => Err(format!("exit status {code}: {told}")),
    }
}

/// The titles, and the lines with one of these numbers under `PID`.
fn only(told: &str, pids: &[i32]) -> Result<String, String> {
    let mut lines = told.lines();
    let titles = lines.next().unwrap_or_default();
    let column = titles.split_whitespace().position(|title| title == "PID");
    let column = column.ok_or("couldn't find PID field in ps output")?;
    let is_ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Ok(std::iter::once(titles).chain(lines.filter(is_ours)).map(|line| format!("{line}\n")).collect())
}

/// The same in few words, where there is no such program.
fn lines(pids: &[i32]) -> String {
    let mut text = format!("{:<8}CMD\n", "PID");
    for pid in pids {
        let line = sys::file::read(Path::new(&format!("/proc/{pid}/cmdline"))).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        text.push_str(&format!("{pid:<8}{}\n", line.trim_end()));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_containers_lines_remain() {
        let told = "UID   PID PPID CMD\nroot    7    1 sh\nroot   77    7 sleep 7\nroot    8    1 x\n";
        assert_eq!(
            super::only(told, &[7, 77]).unwrap(),
            "UID   PID PPID CMD\nroot    7    1 sh\nroot   77    7 sleep 7\n"
        );
        assert!(super::only("CMD\nsh\n", &[7]).is_err());
    }
}
