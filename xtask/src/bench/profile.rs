//! Where a command's time goes: every system call of client, daemon, shim and container on one axis of time, as a picture in
//! `docs/performance/`, and as counts on the terminal.

use std::collections::BTreeMap;

use trace::{Event, Trace, What};

use super::{Options, peer::Peer, timeline};
use crate::{Outcome, root};

const COMMANDS: [(&str, &[&str]); 4] = [
    ("run", &["run", "--rm", "busybox:bench", "true"]),
    ("run-host-network", &["run", "--rm", "--network", "host", "busybox:bench", "true"]),
    ("exec", &["exec", "x1", "true"]),
    ("rm", &["rm", "-f", "x1"]),
];
/// Rounds before the one that is looked at.
const WARM: usize = 10;

/// Runs it.
pub(super) fn bench(options: &Options) -> Outcome {
    let peer = Peer::corten("corten", &options.dist()?)?;
    let directory = root().join("docs/performance");
    std::fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    for _ in 0..WARM {
        peer.ok(COMMANDS[0].1)?;
    }
    peer.ok(&["run", "-d", "--name", "x1", "busybox:bench", "sleep", "100000"])?;
    peer.ok(COMMANDS[2].1)?;
    for (name, words) in COMMANDS {
        let failed = |e: std::io::Error| format!("tracing {name}: {e}");
        let trace = Trace::start(&peer.processes()?, false).map_err(failed)?;
        peer.traced(&trace, words)?;
        let events = trace.stop().map_err(failed)?;
        let path = directory.join(format!("{name}.svg"));
        let picture = timeline::draw(&format!("corten {}", words.join(" ")), &events);
        std::fs::write(&path, picture).map_err(|e| format!("{}: {e}", path.display()))?;
        println!("## {name}: {}\n", path.display());
        table(&events);
    }
    Ok(())
}

/// Calls and milliseconds in them, by program and kind; then the longest.
fn table(events: &[Event]) {
    let mut kinds: BTreeMap<(String, &str), (usize, f64)> = BTreeMap::new();
    let mut calls: BTreeMap<(String, String), (usize, f64)> = BTreeMap::new();
    for span in timeline::spans(events) {
        let kind = kinds.entry((span.program.clone(), timeline::kind(&span.call).0)).or_default();
        *kind = (kind.0 + 1, kind.1 + span.end - span.start);
        if timeline::kind(&span.call).0 != timeline::WAITING {
            let call = calls.entry((span.program, span.call)).or_default();
            *call = (call.0 + 1, call.1 + span.end - span.start);
        }
    }
    println!("| program | kind | calls | ms |\n|---|---|---|---|");
    for ((program, kind), (count, seconds)) in kinds {
        println!("| {program} | {kind} | {count} | {:.2} |", seconds * 1e3);
    }
    let mut longest: Vec<_> = calls.into_iter().collect();
    longest.sort_by(|(_, (_, a)), (_, (_, b))| b.total_cmp(a));
    println!("\n| program | call | times | ms |\n|---|---|---|---|");
    for ((program, call), (count, seconds)) in longest.into_iter().take(16) {
        println!("| {program} | {call} | {count} | {:.2} |", seconds * 1e3);
    }
    let made = events.iter().filter(|e| matches!(e.what, What::Fork { .. })).count();
    let execs = events.iter().filter(|e| matches!(e.what, What::Exec { .. })).count();
    println!("\n{made} processes and threads were made, {execs} programs run.\n");
}
