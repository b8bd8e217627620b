//! `ps`: the container's processes.

use super::args::{Args, Known};
use super::{Context, Outcome, json, print, record, words};

const OPTIONS: [Known; 1] = [("format", "f", true)];

/// `ps <id>`.
pub(super) fn ps(context: &Context, arguments: &[String]) -> Outcome {
    let args = Args::parse(arguments, &OPTIONS)?;
    let id = args.words.first().ok_or("expected the container's id")?;
    let held = record::open(context, id)?;
    let cgroup = sys::cgroup::Cgroup::open(&held.record.cgroup).map_err(words)?;
    let pids = cgroup.processes().map_err(words)?;
    match args.value("format") {
        Some("json") => print(&json(&pids)),
        None | Some("table") => {
            let mut text = format!("{:<8}CMD\n", "PID");
            for pid in pids {
                let path = format!("/proc/{pid}/cmdline");
                let line = sys::file::read(std::path::Path::new(&path)).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                text.push_str(&format!("{pid:<8}{}\n", line.trim_end()));
            }
            print(&text)
        }
        Some(other) => Err(format!("invalid format option: {other}")),
    }
}
