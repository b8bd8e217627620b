//! What of ours is left on a host: a test that leaves anything has failed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::{BOUND, Command, Host, until};

/// What the names of shims and layers begin with that are made before there is a container for them. They go with the daemon.
const READY: &str = "ready-";
/// What the shim is called with that is a template of others.
const TEMPLATE: &str = " --new ";

/// Everything that should not be there once no container is left, one line each. The daemon may still run, and may be about
/// to remove what nobody waits for (a shim's last moments, the layer of a cancelled step): it has half of [`BOUND`] for that.
pub fn host(host: &Host) -> Vec<String> {
    let start = Instant::now();
    until("the end of what is going, or its bound", || {
        let found = left(host);
        (found.is_empty() || start.elapsed() > BOUND / 2).then_some(found)
    })
}

fn left(host: &Host) -> Vec<String> {
    let directory = host.path("");
    let shims = processes_of(&host.path("run")).into_iter().map(|pid| (pid, command_line(pid)));
    let shims =
        shims.filter(|(_, line)| line.contains("corten-shim") && !line.contains(&format!("/{READY}")));
    let (templates, shims): (Vec<_>, Vec<_>) = shims.partition(|(_, line)| line.contains(TEMPLATE));
    // The daemon has one.
    let shims = shims.into_iter().chain(templates.into_iter().skip(1));
    let mut found: Vec<String> = shims.map(|(pid, line)| format!("process {pid}: {line}")).collect();
    found.extend(mounts_in(&directory));
    found.extend(cgroups(&host.name));
    found.extend(links(host));
    found.extend(entries(&host.path("data/containers"), "container"));
    found.extend(entries(&host.path("data/rw"), "writable layer"));
    found.extend(entries(&host.path("data/ingest"), "half-written blob"));
    found.extend(entries(&host.path("run/shim"), "shim directory"));
    found.extend(entries(&host.path("run/containers"), "container's directory"));
    found.extend(entries(&host.path("run/network/endpoints"), "endpoint"));
    found.extend(entries(&host.path("data/tmp"), "scratch file"));
    found
}

/// How many blobs and layers are being written, or removed.
pub fn in_flight(host: &Host) -> usize {
    entries(&host.path("data/ingest"), "").len()
}

/// Processes that have `directory` in their command line.
pub fn processes_of(directory: &Path) -> Vec<i32> {
    let needle = directory.display().to_string();
    let me = std::process::id().cast_signed();
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        if pid != me && command_line(pid).contains(&needle) {
            pids.push(pid);
        }
    }
    pids
}

/// Processes in a network namespace: what a failed test has started there.
pub fn processes_in(netns: &str) -> Vec<i32> {
    let listed = Command::new(&["ip", "netns", "pids", netns]).output().stdout;
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn command_line(pid: i32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Mounts on this machine under `directory`.
pub fn mounts_in(directory: &Path) -> Vec<String> {
    let needle = directory.display().to_string();
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    table.lines().filter(|l| l.contains(&needle)).map(|l| format!("mount {l}")).collect()
}

/// Unmounts what a failed test has left below a directory, the last first.
pub fn unmount_below(directory: &Path) {
    let places = mounts_in(directory).into_iter().rev();
    for place in places.filter_map(|line| line.split(' ').nth(5).map(str::to_owned)) {
        if Path::new(&place).starts_with(directory) {
            let _ = Command::new(&["umount", "-l", &place]).output();
        }
    }
}

/// Cgroups below the host's parent, in every hierarchy.
pub fn cgroups(name: &str) -> Vec<String> {
    parents(name)
        .iter()
        .flat_map(|parent| std::fs::read_dir(parent).into_iter().flatten().flatten())
        .filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()))
        .map(|entry| format!("cgroup {}", entry.path().display()))
        .collect()
}

/// Kills what still runs in the host's cgroups (containers whose shim was killed) and removes them.
pub fn remove_cgroups(name: &str) {
    if has_systemd() {
        let _ = Command::new(&["systemctl", "stop", &format!("{name}.slice")]).output();
    }
    let below = |parent: &Path| std::fs::read_dir(parent).into_iter().flatten().flatten().map(|e| e.path());
    let processes =
        |cgroup: PathBuf| std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let running: String = parents(name).iter().flat_map(|parent| below(parent)).map(processes).collect();
    for pid in running.split_whitespace() {
        let _ = Command::new(&["kill", "-9", pid]).output();
    }
    for parent in parents(name) {
        for cgroup in below(&parent).filter(|p| p.is_dir()) {
            // A killed process leaves its cgroup only when it has ended; what stays busy is not ours to wait for.
            let _ = (0..200).find(|_| std::fs::remove_dir(&cgroup).is_ok() || !cgroup.exists());
        }
        let _ = std::fs::remove_dir(&parent);
    }
}

/// Whether systemd is this host's first process.
pub fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn parents(name: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let below = std::fs::read_dir(root).into_iter().flatten().flatten().map(|e| e.path().join(name));
    // Of a slice `ct-x.slice`, which lies in `ct.slice`.
    let slice = root.join(format!("{}.slice/{name}.slice", name.split('-').next().unwrap_or(name)));
    below.chain([root.join(name), slice]).filter(|p| p.is_dir()).collect()
}

/// Links in the host's namespace that belong to containers. Ready ones (made ahead, for containers to come) are the
/// daemon's and vanish with it.
fn links(host: &Host) -> Vec<String> {
    let ports = host.command(&["nft", "list", "ruleset"]).ok();
    let published = ports.lines().filter(|l| l.contains("elements = {") && l.contains("tcp . "));
    published.map(|l| format!("published port {}", l.trim())).collect()
}

fn entries(directory: &Path, what: &str) -> Vec<String> {
    let listed = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let listed = listed.filter(|e| !e.file_name().to_string_lossy().starts_with(READY));
    listed.map(|e| format!("{what} {}", e.path().display())).collect()
}

/// The links of a host by name, to see that what was made is gone again.
pub fn link_names(host: &Host) -> Vec<String> {
    let json = Command::new(&["ip", "-n", &host.name, "-j", "link"]).ok();
    let links: serde_json::Value = serde_json::from_str(&json).expect("ip's JSON");
    let name = |l: &serde_json::Value| l["ifname"].as_str().unwrap_or_default().to_owned();
    links.as_array().map(|l| l.iter().map(name).collect()).unwrap_or_default()
}
