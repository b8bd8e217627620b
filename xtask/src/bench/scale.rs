//! A thousand containers on one host: the last start beside the first, memory, listing, and the daemon's start among them. With
//! `--containers` so many, which are promised nothing; beyond a thousand they are on networks of their own, as a bridge of Linux has
//! 1,024 ports.

use super::report::{Promise, Report};
use super::{Options, median, peer::Peer, timed};
use crate::Outcome;

/// What is promised is promised for so many.
pub(super) const COUNT: usize = 1000;
/// Containers on one network.
const PORTS: usize = 1000;
/// Starts whose median is taken, at the beginning and at the end.
const SAMPLE: usize = 20;

/// Runs it, on Corten only: Docker needs minutes for it, and its default bridge has no more places either.
pub(super) fn bench(options: &Options) -> Outcome {
    let mut peer = Peer::corten("corten", &options.dist()?)?;
    let mut report = Report::new("scale", &["corten"]);
    // After its first container: what is loaded lazily is there.
    peer.ok(&["run", "--rm", "busybox:bench", "true"])?;
    let idle = peer.daemon_megabytes()?;
    report.row("idle daemon, resident", "MB", &[idle], Promise { must: 20.0, aim: 12.0 });

    let count = options.containers.max(2 * SAMPLE);
    let promised = |must: f64, aim: f64| if count == COUNT { Promise { must, aim } } else { Promise::NONE };
    let mut starts = Vec::with_capacity(count);
    for number in 0..count {
        let network = if number < PORTS { "bridge".to_owned() } else { format!("n{}", number / PORTS) };
        if number >= PORTS && number % PORTS == 0 {
            peer.ok(&["network", "create", &network])?;
        }
        let name = format!("c{number}");
        let words = ["run", "-d", "--name", &name, "--network", &network, "busybox:bench", "sleep", "100000"];
        starts.push(timed(|| peer.ok(&words).map(drop))?);
    }
    let first = median(starts[..SAMPLE].to_vec());
    let last = median(starts[count - SAMPLE..].to_vec());
    report.row("start of the first", "ms", &[first], Promise::NONE);
    let hundredths = |ms: f64| (ms * 100.0).round() / 100.0;
    let promise = promised(hundredths(first * 1.5), hundredths(first * 1.1));
    report.row(&format!("start of the {count}th"), "ms", &[last], promise);

    let times = options.times.max(5);
    let lists = (0..times).map(|_| timed(|| peer.ok(&["ps"]).map(drop))).collect::<Result<_, _>>()?;
    report.row(&format!("ps of {count}"), "ms", &[median(lists)], promised(15.0, 8.0));
    let resident = peer.daemon_megabytes()?;
    report.row(&format!("daemon with {count}, resident"), "MB", &[resident], promised(60.0, 30.0));
    // All of ours: the shims, and what the daemon grew by.
    let each = peer.shim_megabytes()? + (resident - idle).max(0.0) / count as f64;
    report.row("memory of a container, PSS", "MB", &[each], promised(0.4, 0.15));

    let restarts = (0..5).map(|_| peer.restart()).collect::<Result<Vec<_>, _>>()?;
    let promise = promised(500.0, 200.0);
    report.row(&format!("daemon's start with {count}"), "ms", &[median(restarts)], promise);
    let resident = peer.daemon_megabytes()?;
    report.row("daemon after its start, resident", "MB", &[resident], promised(60.0, 30.0));

    let names: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();
    let words: Vec<&str> = ["rm", "-f"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let removed = timed(|| peer.ok(&words).map(drop))?;
    report.row(&format!("rm -f of {count}"), "ms", &[removed], Promise::NONE);
    report.finish(options.gate)
}
