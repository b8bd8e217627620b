//! The runtime alone: `run` of `true` from a bundle, as a command, beside the runc and crun of `PATH`. Where cgroup v1 is
//! mounted, once more in a mount namespace that has v2 alone, as most hosts have it (crun refuses hybrid ones).

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::peer::installed;
use super::report::{Promise, Report};
use super::{Options, median};
use crate::Outcome;

/// So many times faster than each peer is the goal.
const GOALS: [(&str, f64); 2] = [("runc", 6.0), ("crun", 2.0)];
/// Where the runtimes keep their states: in memory, as `/run` is on a host.
const STATES: &str = "/dev/shm";
/// Megabytes of resident memory at most.
const MEMORY: f64 = 2.0;

/// Runs it.
pub(super) fn bench(options: &Options) -> Outcome {
    let dist = options.dist()?;
    let directory = std::env::temp_dir().join(format!("ct-bench-runtime-{}", std::process::id()));
    let states = Path::new(STATES).join(format!("ct-bench-runtime-{}", std::process::id()));
    let measured = measure(&dist, &directory, &states, options.times);
    for made in [&directory, &states] {
        let _ = std::fs::remove_dir_all(made);
    }
    let (figures, peak) = measured?;
    let names: Vec<&str> = ["corten"].into_iter().chain(GOALS.map(|(peer, _)| peer)).collect();
    let v2 = !Path::new("/sys/fs/cgroup/memory").exists();
    let mut report = Report::new(if v2 { "runtime-v2" } else { "runtime" }, &names);
    let ours = figures[0];
    let faster: Vec<String> =
        figures[1..].iter().map(|theirs| format!("{:.1} times", theirs / ours)).collect();
    let goals = GOALS.map(|(peer, goal)| format!("{goal} times {peer}")).join(", ");
    report.cells("`run` of `true`", "ms", &figures, &faster.join(", "), &goals);
    for ((peer, goal), theirs) in GOALS.iter().zip(&figures[1..]) {
        if theirs / ours < *goal {
            report.broken(format!("run: {:.2} times as fast as {peer}, promised {goal}", theirs / ours));
        }
    }
    report.row("its largest process", "MB", &[peak], Promise::most(MEMORY));
    report.finish(options.gate)?;
    if v2 { Ok(()) } else { in_v2() }
}

/// The same program with the same arguments, where nothing but cgroup v2 is mounted.
fn in_v2() -> Outcome {
    println!();
    let arguments: Vec<String> = std::env::args().collect();
    let mount = "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", mount, "sh"]).args(arguments);
    let status = command.status().map_err(|e| format!("unshare: {e}"))?;
    if status.success() { Ok(()) } else { Err("not with cgroup v2 alone".into()) }
}

fn measure(dist: &Path, directory: &Path, states: &Path, times: usize) -> Result<(Vec<f64>, f64), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", directory.display());
    let ours = directory.join("corten-runtime");
    let mut runtimes = vec![ours.clone()];
    for (peer, _) in GOALS {
        runtimes.push(installed(peer)?);
    }
    std::fs::create_dir_all(directory).map_err(failed)?;
    std::os::unix::fs::symlink(dist.join("corten-shim"), &ours).map_err(failed)?;
    // The same bundle for all.
    bundle(directory, &runtimes[1])?;
    let mut figures = vec![Vec::new(); runtimes.len()];
    let mut willing = vec![true; runtimes.len()];
    for round in 0..=times.max(5) {
        for ((runtime, figures), willing) in runtimes.iter().zip(&mut figures).zip(&mut willing) {
            if !*willing {
                continue;
            }
            let start = Instant::now();
            match run(&mut command(runtime, directory, states)) {
                Err(_) if *runtime != ours => *willing = false,
                done => done?,
            }
            // The first round warms caches.
            if round > 0 && *willing {
                figures.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    Ok((figures.into_iter().map(median).collect(), peak(&ours, directory, states)?))
}

/// Makes a bundle: what a runtime's `spec` writes, with `true` as the program.
pub(super) fn bundle(directory: &Path, runtime: &Path) -> Outcome {
    let failed = |e: std::io::Error| format!("{}: {e}", directory.display());
    let bin = directory.join("rootfs/bin");
    std::fs::create_dir_all(&bin).map_err(failed)?;
    std::fs::copy("/bin/busybox", bin.join("true")).map_err(failed)?;
    run(Command::new(runtime).args(["spec", "--bundle"]).arg(directory))?;
    let config = directory.join("config.json");
    let text = std::fs::read_to_string(&config).map_err(failed)?;
    let text = text.replace("\"terminal\": true", "\"terminal\": false").replace("\"sh\"", "\"/bin/true\"");
    std::fs::write(&config, text).map_err(failed)
}

pub(super) fn command(runtime: &Path, directory: &Path, states: &Path) -> Command {
    let mut command = Command::new(runtime);
    command.arg("--root").arg(states).args(["run", "--bundle"]).arg(directory).arg("bench");
    command
}

/// The largest process of one run, as GNU time tells it.
fn peak(runtime: &Path, directory: &Path, states: &Path) -> Result<f64, String> {
    let line = command(runtime, directory, states);
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["-f", "%M"]).arg(line.get_program()).args(line.get_args());
    let output = timed.stdin(Stdio::null()).output().map_err(|e| format!("/usr/bin/time: {e}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    // What the runtime warns of comes before it.
    let last = text.lines().last().unwrap_or_default();
    let kilobytes: f64 = last.trim().parse().map_err(|_| format!("/usr/bin/time said {text:?}"))?;
    Ok(kilobytes / 1024.0)
}

pub(super) fn run(command: &mut Command) -> Outcome {
    let words = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{words}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{words}: {}", String::from_utf8_lossy(&output.stderr)))
}
