//! Nothing to set up: with nobody listening at the default socket, the daemon is started.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use client::Client;

use crate::error::{Error, Result};

const RUN_DIR: &str = "/run/corten";
const LOG: &str = "/run/corten/cortend.log";
/// How long the daemon may take until it answers.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the daemon's log says when another one was faster.
const LOST_THE_RACE: &str = "in use by another cortend";
/// The word that makes this program become the daemon; see [`become_daemon`].
pub(crate) const BECOME_DAEMON: &str = "__become-daemon";

/// Starts the daemon and waits until it answers. Two of us may do this at once: the second daemon finds the first
/// one's socket and goes away, and both of us wait for the same socket.
pub(crate) async fn start(client: &Client) -> Result<()> {
    let daemon =
        find_daemon().ok_or_else(|| Error::invalid("cortend is neither beside corten nor in PATH"))?;
    let log_start = std::fs::metadata(LOG).map_or(0, |meta| meta.len());
    let mut child = spawn(&daemon)?;
    let began = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
        let Err(error) = client.connect().await else { return Ok(()) };
        if began.elapsed() > PATIENCE {
            return Err(failed(&daemon, &format!("it does not answer: {error}"), &log_tail(log_start)));
        }
        if let Some(status) = child.try_wait().ok().flatten().filter(|status| !status.success()) {
            let log = log_tail(log_start);
            if !log.contains(LOST_THE_RACE) {
                return Err(failed(&daemon, &format!("it ended at once ({status})"), &log));
            }
        }
    }
}

fn failed(daemon: &Path, reason: &str, log: &str) -> Error {
    let log = if log.is_empty() { String::new() } else { format!("\n{LOG} says:\n{log}") };
    Error::invalid(format!("cannot start {}: {reason}{log}", daemon.display()))
}

/// Whether the daemon is there to be started, and this user may and wants it (`CORTEN_AUTOSTART=0` does not).
pub(crate) fn possible() -> bool {
    let wanted = std::env::var_os("CORTEN_AUTOSTART").is_none_or(|value| value != "0");
    wanted && rustix::process::geteuid().is_root() && find_daemon().is_some()
}

/// Beside this program, or in PATH.
pub(crate) fn find_daemon() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("cortend")));
    let in_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).map(|dir| dir.join("cortend")).collect::<Vec<_>>());
    beside.into_iter().chain(in_path).find(|path| path.is_file())
}

/// The child is this program again, which leaves the terminal's session and then becomes the daemon.
#[allow(clippy::disallowed_methods, reason = "the command line starts the daemon")]
fn spawn(daemon: &Path) -> Result<std::process::Child> {
    use std::os::unix::fs::DirBuilderExt as _;

    let dir = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(RUN_DIR);
    dir.map_err(Error::file("cannot create", RUN_DIR))?;
    let log = std::fs::OpenOptions::new().create(true).append(true).open(LOG);
    let log = log.map_err(Error::file("cannot open", LOG))?;
    let log_too = log.try_clone().map_err(Error::file("cannot open", LOG))?;
    let exe =
        std::env::current_exe().map_err(|source| Error::Io { what: "cannot find corten itself", source })?;
    std::process::Command::new(exe)
        .arg(BECOME_DAEMON)
        .arg(daemon)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_too)
        .spawn()
        .map_err(Error::file("cannot run", daemon))
}

/// Leaves the session and executes the daemon; returns only when that fails.
#[allow(clippy::disallowed_methods, reason = "the command line starts the daemon")]
pub(crate) fn become_daemon(daemon: &str) -> u8 {
    // Fails only for a group leader, which a freshly started child is not.
    let _ = rustix::process::setsid();
    let error = std::process::Command::new(daemon).exec();
    crate::print::err_line(format!("cannot run {daemon}: {error}"));
    1
}

/// The last lines of the daemon's log, of those after byte `start`.
fn log_tail(start: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(LOG)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(4096).max(start)))?;
        let mut bytes = Vec::new();
        file.take(4096).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(10).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
