//! `kill`: a signal to init, or to all.

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
    let signal = signal::parse(word).ok_or_else(|| format!("unknown signal {word:?}"))?;
    let held = record::open(context, id)?;
    let stopped = held.status() == Status::Stopped;
    if stopped && !args.has("all") {
        return Err("container not running".into());
    }
    if stopped {
        // Without a pid namespace of its own, processes may outlive init.
        let cgroup = sys::cgroup::Cgroup::open(&held.record.cgroup).map_err(super::words)?;
        let sent = if signal == signal::KILL { cgroup.kill() } else { cgroup.signal(signal) };
        return sent.map(|()| 0).map_err(super::words);
    }
    held.container(0)?.kill(signal, args.has("all")).map_err(|e| failure(&e))?;
    Ok(0)
}
