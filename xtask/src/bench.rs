//! Corten beside Debian's docker.io, in one run: each engine in a network namespace of its own, the workloads
//! taken in turn, medians, and the ratio to Docker. With `--gate` it fails where a promise of SPECIFICATION.md is
//! not kept.

mod images;
mod peer;
mod runtime;

use std::time::Instant;

use peer::Peer;

use crate::{Outcome, build};

/// A workload and what SPECIFICATION.md promises for it, in milliseconds.
struct Workload {
    name: &'static str,
    promise: f64,
    repeat: usize,
    run: fn(&Peer) -> Result<f64, String>,
}

const WORKLOADS: [Workload; 8] = [
    Workload { name: "run --rm true", promise: 30.0, repeat: 1, run: run_rm },
    Workload { name: "run -d", promise: 30.0, repeat: 1, run: run_detached },
    Workload { name: "exec true", promise: 10.0, repeat: 1, run: exec },
    Workload { name: "rm -f", promise: 30.0, repeat: 1, run: remove },
    Workload { name: "ps", promise: 5.0, repeat: 1, run: ps },
    Workload { name: "20 × run --rm at once", promise: f64::INFINITY, repeat: 5, run: twenty },
    Workload { name: "50 MB through the log", promise: f64::INFINITY, repeat: 5, run: logs },
    Workload { name: "50 MB attached", promise: f64::INFINITY, repeat: 5, run: attached },
];

/// Runs the benchmark: `[images] [-n TIMES] [--gate] [--alone]`; `images` is those rows only.
pub(crate) fn bench(arguments: &[String]) -> Outcome {
    let value = |flag: &str| arguments.iter().position(|a| a == flag).and_then(|i| arguments.get(i + 1));
    let times: usize =
        value("-n").map_or(Ok(20), |n| n.parse()).map_err(|_| "-n takes a number".to_owned())?;
    let has = |flag: &str| arguments.iter().any(|a| a == flag);
    let dist = build::build()?;
    let mut peers = vec![Peer::corten(&dist)?];
    if !has("--alone") {
        peers.push(Peer::docker()?);
    }
    let mut broken = Vec::new();
    println!("| workload | {} | ratio | promise |", names(&peers));
    println!("|---|{}---|---|", "---|".repeat(peers.len()));
    let only_images = has("images");
    for workload in WORKLOADS.iter().filter(|_| !only_images) {
        let mut figures = vec![Vec::new(); peers.len()];
        for round in 0..=(times / workload.repeat).max(3) {
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
        row(workload.name, "ms", &medians, workload.promise, &mut broken);
    }
    images::rows(&peers, &mut broken)?;
    if !only_images {
        memory(&peers, &mut broken)?;
        runtime::rows(&dist, times, &mut broken)?;
    }
    if has("--gate") && !broken.is_empty() {
        return Err(format!("promises broken: {}", broken.join("; ")));
    }
    Ok(())
}

fn memory(peers: &[Peer], broken: &mut Vec<String>) -> Outcome {
    let idle = peers.iter().map(Peer::daemon_megabytes).collect::<Result<Vec<_>, _>>()?;
    row("daemon, resident", "MB", &idle, 30.0, broken);
    for peer in peers {
        for i in 0..10 {
            peer.ok(&["run", "-d", "--name", &format!("mem{i}"), "busybox:bench", "sleep", "1000"])?;
        }
    }
    let shim = peers.iter().map(Peer::shim_megabytes).collect::<Result<Vec<_>, _>>()?;
    row("shim of a container, PSS", "MB", &shim, 0.5, broken);
    Ok(())
}

fn names(peers: &[Peer]) -> String {
    peers.iter().map(|p| p.name).collect::<Vec<_>>().join(" | ")
}

fn row(name: &str, unit: &str, figures: &[f64], promise: f64, broken: &mut Vec<String>) {
    let cells: Vec<String> = figures.iter().map(|f| format!("{f:.2} {unit}")).collect();
    let ratio = figures.get(1).map_or("–".to_owned(), |docker| format!("{:.2}", figures[0] / docker));
    let promised = if promise.is_finite() { format!("≤ {promise} {unit}") } else { "–".into() };
    println!("| {name} | {} | {ratio} | {promised} |", cells.join(" | "));
    if figures[0] > promise {
        broken.push(format!("{name}: {:.2} {unit}, promised {promised}", figures[0]));
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn timed(work: impl FnOnce() -> Result<(), String>) -> Result<f64, String> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn run_rm(peer: &Peer) -> Result<f64, String> {
    timed(|| peer.ok(&["run", "--rm", "busybox:bench", "true"]).map(drop))
}

fn run_detached(peer: &Peer) -> Result<f64, String> {
    let figure =
        timed(|| peer.ok(&["run", "-d", "--name", "d1", "busybox:bench", "sleep", "1000"]).map(drop))?;
    peer.ok(&["rm", "-f", "d1"])?;
    Ok(figure)
}

fn exec(peer: &Peer) -> Result<f64, String> {
    if peer.ok(&["ps", "-q", "--filter", "name=^x1$"])?.is_empty() {
        peer.ok(&["run", "-d", "--name", "x1", "busybox:bench", "sleep", "100000"])?;
    }
    timed(|| peer.ok(&["exec", "x1", "true"]).map(drop))
}

fn remove(peer: &Peer) -> Result<f64, String> {
    peer.ok(&["run", "-d", "--name", "d1", "busybox:bench", "sleep", "1000"])?;
    timed(|| peer.ok(&["rm", "-f", "d1"]).map(drop))
}

fn ps(peer: &Peer) -> Result<f64, String> {
    timed(|| peer.ok(&["ps"]).map(drop))
}

fn twenty(peer: &Peer) -> Result<f64, String> {
    timed(|| {
        let started = (0..20)
            .map(|_| peer.start(&["run", "--rm", "busybox:bench", "true"]))
            .collect::<Result<Vec<_>, _>>()?;
        for child in started {
            let output = child.wait_with_output().map_err(|e| e.to_string())?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
        }
        Ok(())
    })
}

const FIFTY_MEGABYTES: &str =
    "yes 0123456789012345678901234567890123456789012345678901234567890 | head -c 50000000";

fn logs(peer: &Peer) -> Result<f64, String> {
    let figure = timed(|| {
        peer.ok(&["run", "-d", "--name", "l1", "busybox:bench", "sh", "-c", FIFTY_MEGABYTES])?;
        peer.ok(&["wait", "l1"]).map(drop)
    })?;
    let length = peer.output(&["logs", "l1"])?.len();
    peer.ok(&["rm", "-f", "l1"])?;
    if length == 50_000_000 { Ok(figure) } else { Err(format!("the log has {length} bytes")) }
}

fn attached(peer: &Peer) -> Result<f64, String> {
    timed(|| match peer.output(&["run", "--rm", "busybox:bench", "sh", "-c", FIFTY_MEGABYTES])?.len() {
        50_000_000 => Ok(()),
        length => Err(format!("{length} bytes arrived")),
    })
}
