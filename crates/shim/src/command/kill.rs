//! `kill`: a signal to init, or to all.

use spec::oci::runtime::NamespaceKind;
use spec::signal;

use super::args::{Args, Known};
use super::record::{self, Status};
use super::{Context, Outcome, failure};

const OPTIONS: [Known; 1] = [("all", "a", false)];

/// `kill <id> [signal]`.
pub(super) fn kill(context: &Context, words: &[String]) -> Outcome {
    let args = Args::parse(words, &OPTIONS)?;
    let (id, word) = match &args.words[..] {
        [id] => (id, "TERM"),
        [id, word] => (id, word.as_str()),
        _ => return Err("expected the container's id and a signal".into()),
    };
    // 0 is none: it tells whether one could be sent.
    let signal = if word == "0" { Some(0) } else { signal::parse(word) };
    let signal = signal.ok_or_else(|| format!("unknown signal {word:?}"))?;
    let held = record::open(context, id)?;
    let stopped = held.status() == Status::Stopped;
    // Without a pid namespace of its own, processes may outlive init.
    let pids = held.spec.linux.namespaces.iter().find(|n| n.r#type == NamespaceKind::Pid);
    let shares_pids = pids.is_none_or(|namespace| !namespace.path.is_empty());
    let all = args.has("all") || (shares_pids && signal == signal::KILL);
    if stopped && !all {
        return Err("container not running".into());
    }
    if stopped {
        let cgroup = sys::cgroup::Cgroup::open(&held.record.cgroup).map_err(super::words)?;
        let sent = if signal == signal::KILL { cgroup.kill() } else { cgroup.signal(signal) };
        return sent.map(|()| 0).map_err(super::words);
    }
    held.container(0)?.kill(signal, all).map_err(|e| failure(&e))?;
    Ok(0)
}
