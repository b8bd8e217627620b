//! The kernel in safe Rust. The only room whose source may say `unsafe`; each block argues why it is sound.
//!
//! It knows no OCI, no JSON, no policy, and logs nothing. A failure is an [`Error`]: the step, the object, the errno.
//!
//! | room | what is in it |
//! |---|---|
//! | [`caps`] | Capabilities of a process (capabilities(7)) |
//! | [`cgroup`] | Control groups, v2 and v1/hybrid, through a directory fd (cgroups(7)) |
//! | [`clock`] | Clocks (clock_gettime(2)) |
//! | [`copy`] | A file's content as another file (ioctl_ficlone(2), copy_file_range(2)) |
//! | [`dbus`] | A blocking client of D-Bus, as far as talking to systemd and firewalld needs it |
//! | [`dial`] | Connections that are made without waiting (connect(2)) |
//! | [`file`] | Files with their path in every error, and atomic writes |
//! | [`inotify`] | Waiting for changes in a directory (inotify(7)) |
//! | [`memfd`] | Sealed programs in memory (memfd_create(2)) |
//! | [`memory`] | The allocator's unused memory goes back to the kernel |
//! | [`mount`] | The fd-based mount API (fsopen(2), open_tree(2), move_mount(2), mount_setattr(2)); mounts by path where a user wrote the options |
//! | [`namespace`] | Namespaces: make and join (namespaces(7)) |
//! | [`netlink`] | Netlink sockets and messages (netlink(7)): rtnetlink and nf_tables both stand on it |
//! | [`netns`] | The calling thread's network namespace (network_namespaces(7)) |
//! | [`poll`] | Waiting on many fds in one thread: epoll(7), signalfd(2), poll(2) |
//! | [`overlay`] | An overlay mount that is attached nowhere (fsmount(2)) |
//! | [`process`] | Processes: clone3 with a pidfd, exec, reap, signals; posix_spawn from a large threaded process |
//! | [`pty`] | Pseudo-terminals (pty(7)): a pair whose peer comes by TIOCGPTPEER, sizes |
//! | [`quota`] | Project quotas: what a directory may take (quotactl(2)) |
//! | [`random`] | Random bytes (getrandom(2)) |
//! | [`root`] | Paths inside an untrusted tree: every look-up by openat2(2) with RESOLVE_IN_ROOT |
//! | [`scm`] | Messages with file descriptors over unix sockets (unix(7), SCM_RIGHTS) |
//! | [`scratch`] | Files that never have a name (O_TMPFILE) |
//! | [`seccomp`] | A seccomp profile becomes a BPF filter, and is loaded (seccomp(2)) |
//! | [`sysctl`] | Kernel parameters under `/proc/sys` |
//! | [`tree`] | A container's tree, running or not, as the host works in it (mount_namespaces(7)) |
//! | [`writeback`] | A large file goes to the disk while it is written (sync_file_range(2)) |
//! | [`xtables`] | What iptables-legacy does with what is forwarded (getsockopt(2)) |

#![deny(missing_docs)]

pub mod caps;
pub mod cgroup;
pub mod clock;
pub mod copy;
pub mod dbus;
pub mod dial;
pub mod file;
mod flags;
pub mod inotify;
pub mod memfd;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod netns;
pub mod overlay;
pub mod poll;
pub mod process;
pub mod pty;
pub mod quota;
pub mod random;
pub mod root;
pub mod scm;
pub mod scratch;
pub mod seccomp;
pub mod sysctl;
pub mod tree;
pub mod writeback;
pub mod xtables;

/// A system call that failed: what was tried, on what, and why.
#[derive(Debug, thiserror::Error)]
#[error("{step} {object}")]
pub struct Error {
    /// What was tried, in a word or two (`open`, `mount overlay`).
    pub step: &'static str,
    /// The path or name it was tried on.
    pub object: String,
    /// The errno.
    pub source: std::io::Error,
}

impl Error {
    /// An error from its three facts.
    pub fn new(step: &'static str, object: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self { step, object: object.into(), source: source.into() }
    }

    /// The errno, or 0 when the failure was not a system call's.
    pub fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(0)
    }
}

/// What the functions of this room return.
pub type Result<T> = std::result::Result<T, Error>;
