//! The daily commands: what a developer or a CI job waits for.

use std::path::PathBuf;

use super::report::{Promise, Report};
use super::{Options, median, names, peer::Peer, timed};
use crate::Outcome;

/// A workload and what SPECIFICATION.md promises for it, in milliseconds.
struct Workload {
    name: &'static str,
    promise: Promise,
    /// So many times fewer rounds than the short ones.
    weight: usize,
    run: fn(&Peer) -> Result<f64, String>,
}

const fn row(
    name: &'static str,
    (must, aim): (f64, f64),
    weight: usize,
    run: fn(&Peer) -> Result<f64, String>,
) -> Workload {
    Workload { name, promise: Promise { must, aim }, weight, run }
}

const WORKLOADS: [Workload; 18] = [
    row("run --rm true", (12.0, 7.0), 1, |peer| run_rm(peer, &[])),
    row("… by the original docker", (45.0, 35.0), 1, run_original),
    row("… --network none", (9.0, 5.0), 1, |peer| run_rm(peer, &["--network", "none"])),
    row("… --network host", (9.0, 5.0), 1, |peer| run_rm(peer, &["--network", "host"])),
    row("… -p 18080:80", (20.0, 10.0), 1, |peer| run_rm(peer, &["-p", "18080:80"])),
    row("run -d", (30.0, 10.0), 1, run_detached),
    row("exec true", (4.0, 2.5), 1, exec),
    row("rm -f", (10.0, 5.0), 1, remove),
    row("ps", (5.0, 2.5), 1, ps),
    row("version --client", (2.0, 1.0), 1, version),
    row("20 × run --rm at once", (200.0, 100.0), 5, twenty),
    row("50 × run -d in turn", (600.0, 300.0), 5, start_fifty_timed),
    row("rm -f of the 50", (300.0, 150.0), 5, remove_fifty),
    row("50 MB through the log, cat's own time", (200.0, 100.0), 5, |peer| {
        logged(peer, CAT, Clock::Container)
    }),
    row("50 MB of yes | head through the log", FREE, 5, |peer| logged(peer, YES, Clock::Client)),
    row("… to /dev/null in the container", FREE, 5, |peer| logged(peer, NOWHERE, Clock::Client)),
    row("50 MB attached", (200.0, 100.0), 5, attached),
    row("cp of 100 MB into it", (100.0, 60.0), 5, copy),
];

/// Runs it, and adds what the processes take of memory.
pub(super) fn bench(options: &Options) -> Outcome {
    let peers = options.peers()?;
    let mut report = Report::new("engine", &names(&peers));
    for workload in &WORKLOADS {
        let mut figures = vec![Vec::new(); peers.len()];
        for round in 0..=(options.times / workload.weight).max(3) {
            for (peer, figures) in peers.iter().zip(&mut figures) {
                let figure =
                    (workload.run)(peer).map_err(|e| format!("{} on {}: {e}", workload.name, peer.name))?;
                // The first round warms caches.
                if round > 0 {
                    figures.push(figure);
                }
            }
        }
        let medians: Vec<f64> = figures.into_iter().map(median).collect();
        report.row(workload.name, "ms", &medians, workload.promise);
    }
    memory(&peers, &mut report)?;
    report.finish(options.gate)
}

fn memory(peers: &[Peer], report: &mut Report) -> Outcome {
    let idle = peers.iter().map(Peer::daemon_megabytes).collect::<Result<Vec<_>, _>>()?;
    report.row("daemon after all this, resident", "MB", &idle, Promise { must: 30.0, aim: 20.0 });
    for peer in peers {
        for i in 0..10 {
            peer.ok(&["run", "-d", "--name", &format!("mem{i}"), "busybox:bench", "sleep", "1000"])?;
        }
    }
    let shim = peers.iter().map(Peer::shim_megabytes).collect::<Result<Vec<_>, _>>()?;
    report.row("shim of a container, PSS", "MB", &shim, Promise { must: 0.4, aim: 0.15 });
    Ok(())
}

const BUSYBOX: &str = "busybox:bench";
const SLEEP: [&str; 3] = [BUSYBOX, "sleep", "100000"];

fn run_rm(peer: &Peer, flags: &[&str]) -> Result<f64, String> {
    timed(|| peer.ok(&[&["run", "--rm"], flags, &[BUSYBOX, "true"]].concat()).map(drop))
}

fn run_original(peer: &Peer) -> Result<f64, String> {
    timed(|| peer.original(&["run", "--rm", BUSYBOX, "true"]))
}

fn run_detached(peer: &Peer) -> Result<f64, String> {
    let figure = timed(|| peer.ok(&[&["run", "-d", "--name", "d1"], &SLEEP[..]].concat()).map(drop))?;
    peer.ok(&["rm", "-f", "d1"])?;
    Ok(figure)
}

/// A container that stays for all rounds.
fn standing(peer: &Peer) -> Outcome {
    if peer.ok(&["ps", "-q", "--filter", "name=^x1$"])?.is_empty() {
        peer.ok(&[&["run", "-d", "--name", "x1"], &SLEEP[..]].concat())?;
    }
    Ok(())
}

fn exec(peer: &Peer) -> Result<f64, String> {
    standing(peer)?;
    timed(|| peer.ok(&["exec", "x1", "true"]).map(drop))
}

fn remove(peer: &Peer) -> Result<f64, String> {
    peer.ok(&[&["run", "-d", "--name", "d1"], &SLEEP[..]].concat())?;
    timed(|| peer.ok(&["rm", "-f", "d1"]).map(drop))
}

fn ps(peer: &Peer) -> Result<f64, String> {
    timed(|| peer.ok(&["ps"]).map(drop))
}

/// The command line's own start: it asks nobody. Docker's has no such flag.
fn version(peer: &Peer) -> Result<f64, String> {
    let words: &[&str] = if peer.name == "docker" { &["--version"] } else { &["version", "--client"] };
    timed(|| peer.ok(words).map(drop))
}

fn twenty(peer: &Peer) -> Result<f64, String> {
    timed(|| {
        let started =
            (0..20).map(|_| peer.start(&["run", "--rm", BUSYBOX, "true"])).collect::<Result<Vec<_>, _>>()?;
        for child in started {
            let output = child.wait_with_output().map_err(|e| e.to_string())?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
        }
        Ok(())
    })
}

fn fifty_names() -> Vec<String> {
    (0..50).map(|number| format!("f{number}")).collect()
}

fn start_fifty_timed(peer: &Peer) -> Result<f64, String> {
    let figure = timed(|| start_fifty(peer))?;
    remove_all(peer, &fifty_names())?;
    Ok(figure)
}

fn start_fifty(peer: &Peer) -> Outcome {
    fifty_names()
        .iter()
        .try_for_each(|name| peer.ok(&[&["run", "-d", "--name", name], &SLEEP[..]].concat()).map(drop))
}

fn remove_all(peer: &Peer, names: &[String]) -> Outcome {
    let words: Vec<&str> = ["rm", "-f"].into_iter().chain(names.iter().map(String::as_str)).collect();
    peer.ok(&words).map(drop)
}

fn remove_fifty(peer: &Peer) -> Result<f64, String> {
    start_fifty(peer)?;
    timed(|| remove_all(peer, &fifty_names()))
}

/// Nothing is promised.
const FREE: (f64, f64) = (f64::INFINITY, f64::INFINITY);

/// Fifty megabytes in lines. `cat` reads and writes large blocks, so that the time is the log's; `yes` and `head` of busybox
/// need longer than our log does, which the third one shows.
const CAT: &str = "cat /in/fifty";
const YES: &str = "yes 0123456789012345678901234567890123456789012345678901234567890 | head -c 50000000";
const NOWHERE: &str =
    "yes 0123456789012345678901234567890123456789012345678901234567890 | head -c 50000000 > /dev/null";
const FIFTY: usize = 50_000_000;

/// Whose time is told.
#[derive(Clone, Copy)]
enum Clock {
    /// From the command to the end of `wait`.
    Client,
    /// From start to end as the engine recorded them.
    Container,
}

/// The directory that `cat` reads from, as a mount.
fn fifty(peer: &Peer) -> Result<String, String> {
    let directory = peer.scratch("in");
    let file = directory.join("fifty");
    if !file.exists() {
        let line = format!("{}\n", "0123456789".repeat(6));
        let text = line.repeat(FIFTY / line.len() + 1);
        let written =
            std::fs::create_dir_all(&directory).and_then(|()| std::fs::write(&file, &text[..FIFTY]));
        written.map_err(|e| format!("{}: {e}", file.display()))?;
    }
    Ok(format!("{}:/in:ro", directory.display()))
}

/// Runs a container that writes 50 MB, and looks whether all of it is in the log.
fn logged(peer: &Peer, script: &str, clock: Clock) -> Result<f64, String> {
    let mount = fifty(peer)?;
    let client = timed(|| {
        peer.ok(&["run", "-d", "--name", "l1", "-v", &mount, BUSYBOX, "sh", "-c", script])?;
        peer.ok(&["wait", "l1"]).map(drop)
    })?;
    let times = peer.ok(&["inspect", "-f", "{{.State.StartedAt}} {{.State.FinishedAt}}", "l1"])?;
    let length = peer.output(&["logs", "l1"])?.len();
    peer.ok(&["rm", "-f", "l1"])?;
    if length != FIFTY && script != NOWHERE {
        return Err(format!("the log has {length} bytes"));
    }
    match clock {
        Clock::Client => Ok(client),
        Clock::Container => between(&times).ok_or_else(|| format!("times: {times}")),
    }
}

/// Milliseconds between two times of one day, or of two that follow each other.
fn between(times: &str) -> Option<f64> {
    let seconds = |time: &str| -> Option<f64> {
        let (_, clock) = time.trim_end_matches('Z').split_once('T')?;
        clock.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))
    };
    let (start, end) = times.split_once(' ')?;
    Some(((seconds(end)? - seconds(start)?) * 1e3).rem_euclid(86_400e3))
}

fn attached(peer: &Peer) -> Result<f64, String> {
    let mount = fifty(peer)?;
    timed(|| match peer.output(&["run", "--rm", "-v", &mount, BUSYBOX, "sh", "-c", CAT])?.len() {
        FIFTY => Ok(()),
        length => Err(format!("{length} bytes arrived")),
    })
}

fn copy(peer: &Peer) -> Result<f64, String> {
    standing(peer)?;
    let file: PathBuf = peer.scratch("hundred");
    if !file.exists() {
        let noise: Vec<u8> =
            (0..100_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        std::fs::write(&file, noise).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    timed(|| peer.ok(&["cp", &file.display().to_string(), "x1:/hundred"]).map(drop))
}
