//! AppArmor: whether this host has it, and the profile of containers that name none.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::Error;

/// No confinement.
pub(crate) const UNCONFINED: &str = "unconfined";
/// The profile of containers that name none: Docker's name, so that a host's own rules for it hold.
pub(crate) const DEFAULT: &str = "docker-default";
/// Compiles profiles and gives them to the kernel. Nobody else can: the compiled form is its own.
const PARSER: &str = "/sbin/apparmor_parser";
/// The names of the loaded profiles, one a line with its mode.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";

/// Whether containers can be confined: the kernel enforces AppArmor, and profiles can be loaded. As Docker decides it.
pub(crate) fn is_here() -> bool {
    static HERE: OnceLock<bool> = OnceLock::new();
    *HERE.get_or_init(|| {
        let enabled = sys::file::read_if_exists(Path::new("/sys/module/apparmor/parameters/enabled"));
        enabled.ok().flatten().is_some_and(|text| text.starts_with(b"Y")) && Path::new(PARSER).exists()
    })
}

/// A profile that a user names.
///
/// # Errors
/// There is no AppArmor here to enforce it. (Docker ignores the name there; the user would believe to be confined.)
pub(crate) fn wanted(profile: &str) -> Result<String, Error> {
    match profile {
        "" | UNCONFINED => {}
        _ if is_here() => {}
        _ => {
            return Err(Error::Invalid(format!(
                "security option apparmor={profile}: AppArmor is not available on this host: leave the option out or use apparmor=unconfined"
            )));
        }
    }
    Ok(profile.to_owned())
}

/// Loads the default profile unless it is loaded. `scratch` is a directory of the daemon's own. Blocking.
///
/// # Errors
/// It could not be loaded: nothing may start that should be confined by it.
pub(crate) fn load_default(scratch: &Path) -> Result<(), Error> {
    if is_loaded(DEFAULT) {
        return Ok(());
    }
    let path: PathBuf = scratch.join("apparmor-docker-default");
    sys::file::write_atomic(&path, PROFILE.as_bytes(), 0o600, sys::file::Durability::Process)?;
    let file = path.display().to_string();
    let parser = sys::file::open(Path::new(PARSER))?;
    let run = sys::process::spawn(parser.as_fd(), &[PARSER, "-Kr", &file], &[], &[]);
    let ended = run.and_then(|child| sys::process::reap(child.pidfd.as_fd()));
    sys::file::remove(&path)?;
    match ended?.code() {
        0 => Ok(()),
        code => Err(Error::Internal(format!(
            "{PARSER} could not load the AppArmor profile {DEFAULT}: exit code {code}"
        ))),
    }
}

fn is_loaded(name: &str) -> bool {
    let loaded = sys::file::read_if_exists(Path::new(LOADED)).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&loaded).lines().any(|line| line.split(" (").next() == Some(name))
}

/// What a container may do to the host's kernel through files: as good as nothing. Everything in its own file system is
/// open to it; what must not be reached is in /proc and /sys.
const PROFILE: &str = "\
#include <tunables/global>

profile docker-default flags=(attach_disconnected,mediate_deleted) {
  #include <abstractions/base>

  network,
  capability,
  file,
  umount,

  # Signals and traces from the engine, and among the container's own processes.
  signal (receive) peer=unconfined,
  signal (send,receive) peer=docker-default,
  ptrace (trace,read,tracedby,readby) peer=docker-default,

  # Of /proc only what belongs to a process, and the name spaces' own settings.
  deny @{PROC}/* w,
  deny @{PROC}/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}/** w,
  deny @{PROC}/sys/[^k]** w,
  deny @{PROC}/sys/kernel/{?,??,[^s][^h][^m]**} w,
  deny @{PROC}/sysrq-trigger rwklx,
  deny @{PROC}/kcore rwklx,

  deny mount,

  # The kernel's ciphers: here for 32-bit programs too, whose socketcall(2) seccomp cannot look into.
  deny network alg,

  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
";
