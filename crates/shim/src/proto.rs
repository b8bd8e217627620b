//! What cortend and a shim say to each other, over one unix socket per connection.
//!
//! A message is a 4-byte little-endian length and that many bytes of JSON, sent with its file descriptors
//! (`SCM_RIGHTS`) on the first byte. Every request gets exactly one reply, in order. The first request on a
//! connection is [`Request::Hello`]. A connection on which [`Request::Watch`] was said carries nothing but the
//! shim's [`Event`]s afterwards: wake-ups only, the truth is `exit.json` on disk.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use runtime::Failure;
pub use runtime::foreign::Runtime as Foreign;
use serde::{Deserialize, Serialize};
use spec::oci::runtime::{CgroupDriver, IdMapping, Mount, Process, Resources, Spec};

/// The protocol's version; a shim accepts older and newer daemons and answers with its own.
pub const VERSION: u32 = 1;

/// The step of a failure to connect to the log server; its detail says all.
pub const LOG_SERVER: &str = "log server";

/// What a shim is called with before its directory.
pub const DIR: &str = "--dir";

/// What a template of shims is called with instead. Of the same length, as it becomes the other in the arguments of its copies.
pub const NEW: &str = "--new";

/// The name of a shim's socket in its directory.
pub const SOCKET: &str = "shim.sock";

/// Asked by cortend.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// First on every connection.
    Hello {
        /// The daemon's [`VERSION`].
        version: u32,
    },
    /// Makes a shim with this directory, which is there, by a copy of a template; nobody else does that. Fds: the end of its first
    /// connection. Reply: [`Reply::Pid`], with a pidfd.
    Copy {
        /// The copy's.
        dir: PathBuf,
    },
    /// Makes a user namespace, and a network namespace that belongs to it; both are held until `Create`, or the shim's
    /// end. Reply: [`Reply::Pid`] of the process that holds them.
    Namespaces(Box<Ids>),
    /// Makes the sandbox. Fds: the filter if `filter`, the end of a promise if `promise`, then one socket per entry of
    /// `attach`.
    Create(Box<Create>),
    /// Lets init execute its program.
    Start,
    /// Runs one more process. Fds: one socket if `attach` is set. Reply: [`Reply::Pid`].
    Exec(Box<Exec>),
    /// Signals init (`exec: None`) or an exec's process.
    Kill {
        /// Signal number.
        signal: i32,
        /// The exec, or init.
        exec: Option<String>,
        /// Every process of the container.
        all: bool,
    },
    /// Sets the size of a terminal.
    Resize {
        /// The exec, or init.
        exec: Option<String>,
        /// Rows.
        height: u16,
        /// Columns.
        width: u16,
    },
    /// Connects one more client to init's streams. Fds: its socket.
    Attach(Attach),
    /// Freezes.
    Pause,
    /// Thaws.
    Resume,
    /// New limits.
    Update(Box<Resources>),
    /// Mounts one more thing in the running container.
    Mount(Box<Mount>),
    /// Takes away what is mounted there.
    Unmount {
        /// In the container.
        destination: String,
    },
    /// Reply: [`Reply::Status`].
    Status,
    /// From now on this connection carries [`Event`]s.
    Watch,
    /// Removes what is left of the container and ends the shim. Only after init has ended (or was never created).
    Delete,
}

/// Whose ids the user namespace has that is made before the container.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ids {
    /// These.
    Own {
        /// Of users.
        uids: Vec<IdMapping>,
        /// Of groups.
        gids: Vec<IdMapping>,
    },
    /// Those of a process: it is that one's user namespace.
    Of {
        /// On the host.
        pid: i32,
    },
}

/// Everything a shim needs to make its container.
#[derive(Debug, Serialize, Deserialize)]
pub struct Create {
    /// Where the shim's directory is now, which has the container's id for a name. It was spawned before its container was
    /// there; `None` when it has its directory from the beginning.
    #[serde(default)]
    pub dir: Option<PathBuf>,
    /// The OCI configuration, with `root.overlay` set for overlay roots.
    pub spec: Spec,
    /// A network namespace comes with what is promised.
    pub netns: bool,
    /// A memory file with the compiled seccomp filter comes with the message; the configuration has none then.
    #[serde(default)]
    pub filter: bool,
    /// Not all that the container needs is there yet: the end of a [`Promise`](crate::promise::Promise) comes with the message.
    #[serde(default)]
    pub promise: bool,
    /// Where the log goes; `None` keeps none (log driver `none`).
    pub log: Option<Log>,
    /// Stdin is a pipe that stays open (`OpenStdin`); otherwise stdin is /dev/null.
    pub open_stdin: bool,
    /// Close stdin when the first attached client with stdin ends (`StdinOnce`).
    pub stdin_once: bool,
    /// Clients that attached before the start.
    pub attach: Vec<Attach>,
    /// Start right after create, in one message (the usual case).
    pub start: bool,
    /// Init reaps and forwards signals, and the program is its child (`--init`).
    #[serde(default)]
    pub reaper: bool,
    /// Another runtime makes the container's processes.
    #[serde(default)]
    pub runtime: Option<Foreign>,
    /// Who makes its cgroup, which says how the configuration names it.
    #[serde(default)]
    pub cgroups: CgroupDriver,
    /// Where to write the exit record of init, atomically, once the log is complete.
    pub exit_file: PathBuf,
}

/// What becomes of init's output.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Log {
    /// The files that are kept on this host, from which `logs` reads.
    pub files: Option<LogFiles>,
    /// Where it is sent as well.
    pub remote: Option<Remote>,
    /// What every entry in the files carries beside its text (labels, environment, tag).
    pub attrs: BTreeMap<String, String>,
}

/// A log on this host: the file that is written, and those that were rotated away.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogFiles {
    /// The file that is written.
    pub path: PathBuf,
    /// How entries are written.
    pub format: LogFormat,
    /// Rotate when the file would pass this many bytes; 0 is never.
    pub max_size: u64,
    /// How many files to keep, the current one included (`.1` is the newest rotated one).
    pub max_files: u32,
    /// Rotated files are compressed (`.1.gz`).
    pub compress: bool,
}

/// How entries are written to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// `{"log":"…\n","stream":"stdout","time":"…"}` lines.
    JsonFile,
    /// Protocol buffers between their lengths, as Docker's `local` driver writes them.
    Local,
}

/// A log server. It is connected before init is made; a failure fails the start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Remote {
    /// The first that answers is taken.
    pub addresses: Vec<Address>,
    /// What is sent.
    pub form: Form,
    /// The container starts without a connection, which is made later (`fluentd-async`).
    pub later: bool,
    /// Milliseconds until a lost connection is tried again; each further time half as long again, a minute at most.
    pub retry_wait: u64,
    /// After so many failed tries in a row entries are dropped for good.
    pub max_retries: u64,
    /// How many bytes may wait for the server.
    pub buffer: u64,
    /// What comes when so much waits is dropped (`mode=non-blocking`). Otherwise a connected server that is slow
    /// holds the container's output back.
    pub drop: bool,
}

/// Where a log server listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Address {
    /// A TCP connection.
    Tcp(SocketAddr),
    /// One datagram for each entry.
    Udp(SocketAddr),
    /// A unix stream socket.
    Unix(PathBuf),
    /// A unix datagram socket.
    Unixgram(PathBuf),
}

/// The forms in which entries are sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Form {
    /// systemd's native journal protocol.
    Journald {
        /// Of every entry.
        fields: BTreeMap<String, String>,
    },
    /// Syslog.
    Syslog {
        /// 0 to 23.
        facility: u8,
        /// The sender's name in every message.
        tag: String,
        /// This host's name.
        hostname: String,
        /// The daemon's process id.
        pid: u32,
        /// Which of syslog's formats.
        format: SyslogFormat,
        /// Seconds that local time is ahead of UTC.
        utc_offset: i32,
    },
    /// Fluentd's forward protocol, one message for each entry.
    Fluentd {
        /// Of every message.
        tag: String,
        /// Of every record.
        fields: BTreeMap<String, String>,
        /// Times have nanoseconds.
        sub_second: bool,
        /// The server is to say of each message that it has it; until then it is kept, to be sent again.
        #[serde(default)]
        acknowledged: bool,
    },
    /// Graylog's extended log format, uncompressed.
    Gelf {
        /// This host's name.
        host: String,
        /// Of every entry, with their underscore.
        fields: BTreeMap<String, String>,
    },
}

/// The formats of a syslog message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyslogFormat {
    /// As programs write to `/dev/log`: RFC 3164 without a host name.
    Local,
    /// RFC 3164.
    Rfc3164,
    /// RFC 5424.
    Rfc5424,
    /// RFC 5424 with microseconds.
    Rfc5424Micro,
}

/// What an attached client wants. Its socket carries output as Docker's 8-byte-header frames when `framed`
/// (no terminal), raw bytes otherwise; what the client writes is stdin, and its half-close ends stdin.
/// A slow client holds the container's output back; a closed socket detaches. Without [`Create::stdin_once`],
/// or on a terminal, the half-close of a client with stdin detaches it. The socket becomes non-blocking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Forward what the client writes.
    pub stdin: bool,
    /// Send stdout.
    pub stdout: bool,
    /// Send stderr.
    pub stderr: bool,
    /// Multiplexed frames instead of raw bytes.
    pub framed: bool,
}

/// One more process in a running container.
#[derive(Debug, Serialize, Deserialize)]
pub struct Exec {
    /// The exec's id.
    pub id: String,
    /// What to run; `process.terminal` asks for a pseudo-terminal.
    pub process: Process,
    /// How the one client is connected; `None` is detached (output discarded).
    pub attach: Option<Attach>,
}

/// Answered by the shim.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The shim's version.
    Hello {
        /// The shim's [`VERSION`].
        version: u32,
    },
    /// Done.
    Done,
    /// Created or executed: the process's pid on the host.
    Pid(i32),
    /// To [`Request::Status`].
    Status(Status),
    /// It failed; nothing was changed.
    Failed(Failure),
}

/// What a shim knows of its container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Init's pid on the host; `None` before `Create` and after a failed one.
    pub pid: Option<i32>,
    /// `Start` has succeeded.
    pub started: bool,
    /// The cgroup is frozen.
    pub paused: bool,
    /// Init has ended.
    pub exit: Option<Exit>,
    /// Execs that are running.
    pub execs: Vec<String>,
}

/// How a process ended. `exit.json` is this record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code, or 128 + signal.
    pub code: i32,
    /// The kernel killed a process of the container for want of memory.
    pub oom_killed: bool,
    /// Nanoseconds since 1970.
    pub finished_at: u64,
}

/// A wake-up for the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Init has ended, its log is complete and `exit.json` is written.
    Exited(Exit),
    /// An exec has ended and its client has all output.
    ExecExited {
        /// The exec's id.
        id: String,
        /// How.
        exit: Exit,
    },
    /// The kernel killed something in the container for want of memory.
    Oom,
    /// Entries of the log were lost: told at the first, and again at the end with their number.
    LogLost {
        /// How many entries.
        entries: u64,
        /// Why the first was.
        why: String,
    },
}
