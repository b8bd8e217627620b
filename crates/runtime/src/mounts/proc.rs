//! What may be mounted on `/proc` and inside it: next to nothing, since programs, and runtimes, take what they read there
//! for the kernel's word (CVE-2019-16884, CVE-2019-19921). The list is runc's.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use sys::mount::{Mount, is_procfs};
use sys::root::Root;

use crate::Failure;
use crate::failure::at_path;

/// Files that other programs (lxcfs) show in the place of the kernel's; `/proc/net` is a link to init's own.
const ALLOWED: [&str; 10] = [
    "/proc/1/net/dev",
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// Refuses a mount inside a procfs, and anything but a procfs on `/proc`. What `target` is on cannot change any more,
/// whatever becomes of the path.
pub(super) fn check(
    root: &Root,
    destination: &str,
    target: BorrowedFd<'_>,
    mount: &Mount,
) -> Result<(), Failure> {
    let failed = at_path("mount", destination);
    let inside = is_procfs(target).map_err(&failed)?;
    if !inside && Path::new(destination) != Path::new("/proc") {
        return Ok(());
    }
    let path = root.canonical(destination).map_err(&failed)?;
    if path == Path::new("/proc") {
        if is_procfs(mount.as_fd()).map_err(&failed)? {
            return Ok(());
        }
        let detail = format!("{destination:?} cannot be mounted because it is not of type proc");
        return Err(Failure::new("mount", destination, detail));
    }
    if !inside || ALLOWED.iter().any(|allowed| path == Path::new(allowed)) {
        return Ok(());
    }
    let detail = format!("{destination:?} cannot be mounted because it is inside /proc");
    Err(Failure::new("mount", destination, detail))
}
