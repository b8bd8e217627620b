//! Corten beside what else is installed, in one run: each engine in a network namespace of its own, the workloads taken in
//! turn, medians, and the ratio to the second engine. With `--gate` it fails where a promise of SPECIFICATION.md is not
//! kept. Every table is written to `target/bench/` as JSON, too.
//!
//! | word | what it times |
//! |---|---|
//! | `engine` (or none) | starts, execs, removals, logs, copies: the daily commands |
//! | `runtime` | the runtime alone, beside runc and crun |
//! | `scale` | a thousand containers: memory, listing, the daemon's start |
//! | `network` | starts, connections, throughput, names |
//! | `images`, `pull`, `registry` | load and save; a registry's client; its server |
//! | `build` | Dockerfiles |
//! | `profile` | no figures to compare: where a start's time goes, as pictures in `docs/performance/` |

mod build;
mod functions;
mod images;
pub(crate) mod net;
mod peer;
mod profile;
mod pull;
mod registry;
mod report;
mod revision;
mod runtime;
mod scale;
mod timeline;
mod workloads;

use std::path::PathBuf;
use std::time::Instant;

pub(crate) use functions::{PROGRAMS, functions, piece};
use peer::Peer;

use crate::{Outcome, build as program, root};

/// What was asked for.
struct Options {
    times: usize,
    gate: bool,
    alone: bool,
    compare: Option<String>,
    built: bool,
    /// For `scale`.
    containers: usize,
}

const USAGE: &str = "usage: cargo xtask bench [WORD] [-n TIMES] [--gate] [--alone | --compare REV] [--built] [--containers N]; the words are at \
                     the head of xtask/src/bench.rs";

/// Runs the benchmark: see [`USAGE`]. With `--built` the binaries that `cargo xtask build` made last are taken as they are.
pub(crate) fn bench(arguments: &[String]) -> Outcome {
    let takes_value = |flag: &str| matches!(flag, "-n" | "--compare" | "--containers");
    let mut before = "";
    for argument in arguments {
        let known = takes_value(before)
            || takes_value(argument)
            || matches!(argument.as_str(), "--gate" | "--alone" | "--built")
            || (before.is_empty() && !argument.starts_with('-'));
        if !known {
            return Err(format!("{argument}: not known; {USAGE}"));
        }
        before = argument;
    }
    let value = |flag: &str| arguments.iter().position(|a| a == flag).and_then(|i| arguments.get(i + 1));
    let has = |flag: &str| arguments.iter().any(|a| a == flag);
    let options = Options {
        times: value("-n").map_or(Ok(20), |n| n.parse()).map_err(|_| "-n takes a number".to_owned())?,
        gate: has("--gate"),
        alone: has("--alone"),
        compare: value("--compare").cloned(),
        built: has("--built"),
        containers: value("--containers")
            .map_or(Ok(scale::COUNT), |n| n.parse())
            .map_err(|_| "--containers takes a number".to_owned())?,
    };
    let word = arguments.first().map(String::as_str).filter(|word| !word.starts_with('-'));
    match word.unwrap_or("engine") {
        "engine" => workloads::bench(&options),
        "runtime" => runtime::bench(&options),
        "scale" => scale::bench(&options),
        "network" => net::bench(&options),
        "images" => images::bench(&options),
        "pull" => pull::bench(&options),
        "registry" => registry::bench(&options),
        "build" => build::bench(&options),
        "profile" => profile::bench(&options),
        other => Err(format!("no such benchmark: {other}; {USAGE}")),
    }
}

impl Options {
    /// Ours as it ships, and what it is compared with: Debian's docker.io, another commit of ours, or nothing.
    fn peers(&self) -> Result<Vec<Peer>, String> {
        let mut peers = vec![Peer::corten("corten", &self.dist()?)?];
        match &self.compare {
            Some(revision) => peers.push(Peer::corten(revision, &revision::build(revision)?)?),
            None if self.alone => {}
            None => peers.push(Peer::docker()?),
        }
        Ok(peers)
    }

    /// The directory of our binaries.
    fn dist(&self) -> Result<PathBuf, String> {
        if self.built { Ok(root().join("target/dist")) } else { program::build() }
    }
}

fn names(peers: &[Peer]) -> Vec<&str> {
    peers.iter().map(|p| p.name.as_str()).collect()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Milliseconds that `work` takes.
fn timed(work: impl FnOnce() -> Result<(), String>) -> Result<f64, String> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
