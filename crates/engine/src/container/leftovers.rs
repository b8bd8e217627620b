//! A container's cgroup as it is found from outside: who is in it, and ending them.

use std::path::{Path, PathBuf};

/// Where cgroups may be mounted: the unified hierarchy, the hybrid one, and the v1 controllers every host has.
const TOPS: [&str; 5] = [
    "/sys/fs/cgroup",
    "/sys/fs/cgroup/unified",
    "/sys/fs/cgroup/pids",
    "/sys/fs/cgroup/memory",
    "/sys/fs/cgroup/freezer",
];
/// Rounds of killing: a process that forks faster than it dies is caught by a later one.
const ROUNDS: u32 = 50;

fn dirs(cgroup: &str) -> impl Iterator<Item = PathBuf> {
    let below = cgroup.trim_start_matches('/').to_owned();
    TOPS.into_iter()
        .map(move |top| Path::new(top).join(&below))
        .filter(|dir| dir.join("cgroup.procs").exists())
}

/// The pids in a cgroup and those below it, sorted.
pub(crate) fn pids(cgroup: &str) -> Vec<i32> {
    fn collect(dir: &Path, depth: u32, pids: &mut Vec<i32>) {
        let text = sys::file::read(&dir.join("cgroup.procs")).unwrap_or_default();
        pids.extend(String::from_utf8_lossy(&text).lines().filter_map(|l| l.parse::<i32>().ok()));
        for name in sys::file::list(dir).unwrap_or_default() {
            let below = dir.join(name);
            if depth < 16 && below.is_dir() {
                collect(&below, depth + 1, pids);
            }
        }
    }
    let mut pids = Vec::new();
    // Any one hierarchy has them all.
    if let Some(dir) = dirs(cgroup).next() {
        collect(&dir, 0, &mut pids);
    }
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// The names of the cgroups directly in a cgroup, in any hierarchy.
pub(crate) fn children(cgroup: &str) -> Vec<String> {
    let below = cgroup.trim_start_matches('/');
    let mut names: Vec<String> = TOPS
        .iter()
        .map(|top| Path::new(top).join(below))
        .flat_map(|dir| {
            let names = sys::file::list(&dir).unwrap_or_default();
            names.into_iter().filter(move |name| dir.join(name).is_dir())
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Kills what is in a cgroup and removes it from all hierarchies. What cannot be removed is left to the next start.
pub(crate) fn remove(cgroup: &str) {
    kill(cgroup);
    let below = cgroup.trim_start_matches('/').to_owned();
    if let Some(unit) = below.rsplit('/').next().filter(|name| name.ends_with(".scope"))
        && let Err(failure) = shim::stop_scope(unit)
    {
        tracing::warn!(unit, "{failure}");
    }
    for top in sys::file::list(Path::new(TOPS[0])).unwrap_or_default() {
        let dir = Path::new(TOPS[0]).join(top).join(&below);
        // rmdir(2) refuses a cgroup that is in use.
        let _ = std::fs::remove_dir(dir);
    }
    let _ = std::fs::remove_dir(Path::new(TOPS[0]).join(below));
}

/// Kills what is left in a cgroup. Blocking, bounded.
pub(crate) fn kill(cgroup: &str) {
    for _ in 0..ROUNDS {
        let pids = pids(cgroup);
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            // One that has ended meanwhile needs no kill. The pidfd makes sure that it is the one that was listed,
            // or one that came into the same cgroup list: never a stranger signalled by number alone.
            let Ok(fd) = sys::process::pidfd_open(pid) else { continue };
            if self::pids(cgroup).contains(&pid) {
                let _ = sys::process::pidfd_send_signal(std::os::fd::AsFd::as_fd(&fd), spec::signal::KILL);
                let _ = sys::poll::wait(
                    &fd,
                    sys::poll::Interest::READ,
                    Some(std::time::Duration::from_millis(100)),
                );
            }
        }
    }
}
