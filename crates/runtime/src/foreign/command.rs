//! One run of a runtime's program.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use spec::oci::runtime::CgroupDriver;
use sys::poll::{self, Interest};
use sys::scm::{self, Wait};

use super::{Runtime, child, end, text};
use crate::failure::{at, failed};
use crate::{Child, Failure, Io};

/// Every command is short; one that takes longer is stuck, and ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a runtime may look up; nothing of the caller's environment reaches it.
const ENVIRONMENT: [(&str, &str); 1] = [("PATH", spec::defaults::PATH)];

/// How the runtime is called for one container.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) runtime: Runtime,
    /// Where its records and what it says go.
    pub(super) directory: PathBuf,
    pub(super) cgroups: CgroupDriver,
}

impl Call {
    /// A command that makes no process: `words` is the verb with its arguments.
    pub(super) fn run(&self, words: &[&str]) -> Result<(), Failure> {
        let null = null()?;
        self.spawn(words, [null.as_fd(); 3])
    }

    /// A command that makes a process with this wiring: `words`, where its pid and terminal go, `rest`.
    pub(super) fn process(&self, words: &[&str], rest: &[&str], io: &Io) -> Result<Child, Failure> {
        let (pid, socket) = (self.directory.join("pid"), self.directory.join("console"));
        sys::file::remove(&pid).map_err(at("runtime"))?;
        let mut all = [words, &["--pid-file", text(&pid)?]].concat();
        let console = match io {
            Io::Streams(stdio) => {
                all.extend_from_slice(rest);
                let streams = [stdio.stdin.as_fd(), stdio.stdout.as_fd(), stdio.stderr.as_fd()];
                self.spawn(&all, streams)?;
                None
            }
            Io::Inherited => {
                all.extend_from_slice(rest);
                let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
                self.spawn(&all, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])?;
                None
            }
            Io::Terminal => {
                sys::file::remove(&socket).map_err(at("runtime"))?;
                let listener = scm::listen(&socket).map_err(at("runtime"))?;
                all.extend(["--console-socket", text(&socket)?]);
                all.extend_from_slice(rest);
                let null = null()?;
                self.spawn(&all, [null.as_fd(); 3])?;
                // What it has sent waits in the socket, though the sender has ended.
                listener.set_nonblocking(true).map_err(failed("runtime", "console"))?;
                let received =
                    listener.accept().map_err(failed("runtime", "console")).and_then(|(from, _)| {
                        let mut fds = Vec::new();
                        scm::receive(&from, &mut [0; 4096], &mut fds, Wait::No).map_err(at("runtime"))?;
                        fds.pop().ok_or_else(|| {
                            Failure::new("runtime", "console", "no terminal came with the message")
                        })
                    });
                sys::file::remove(&socket).map_err(at("runtime"))?;
                Some(received)
            }
        };
        let made = child(&self.directory)?;
        match console.transpose() {
            Ok(console) => Ok(Child { console, ..made }),
            Err(failure) => {
                end(made.pidfd.as_fd());
                Err(failure)
            }
        }
    }

    fn spawn(&self, words: &[&str], streams: [BorrowedFd<'_>; 3]) -> Result<(), Failure> {
        let Self { runtime, directory, cgroups } = self;
        let verb = words.first().copied().unwrap_or_default();
        let refused = |detail: String| Failure::new("runtime", verb, detail);
        let (log, state) = (directory.join("log.json"), directory.join("state"));
        sys::file::remove(&log).map_err(at("runtime"))?;
        let path = text(&runtime.path)?;
        let mut argv = vec![path];
        argv.extend(runtime.arguments.iter().map(String::as_str));
        argv.extend(["--root", text(&state)?, "--log", text(&log)?, "--log-format", "json"]);
        if *cgroups == CgroupDriver::Systemd {
            argv.push("--systemd-cgroup");
        }
        argv.extend_from_slice(words);
        let [stdin, stdout, stderr] = streams;
        let fds = [(stdin, 0), (stdout, 1), (stderr, 2)];
        let spawned = sys::process::spawn_at(path, &argv, &ENVIRONMENT, &fds).map_err(cannot_run(path))?;
        let in_time = poll::wait(&spawned.pidfd, Interest::READ, Some(PATIENCE)).map_err(at("runtime"))?;
        if !in_time {
            end(spawned.pidfd.as_fd());
        }
        let status = sys::process::reap(spawned.pidfd.as_fd()).map_err(at("runtime"))?;
        match status.code() {
            _ if !in_time => Err(refused(format!("{path} has not ended after {} s", PATIENCE.as_secs()))),
            0 => Ok(()),
            code => Err(refused(said(&log).unwrap_or_else(|| format!("{path} ended with exit code {code}")))),
        }
    }
}

fn null() -> Result<OwnedFd, Failure> {
    sys::file::append(Path::new("/dev/null"), 0).map(OwnedFd::from).map_err(at("runtime"))
}

/// In the words that Docker's users know.
fn cannot_run(path: &str) -> impl Fn(sys::Error) -> Failure + '_ {
    move |error| Failure {
        step: "runtime".into(),
        errno: error.errno(),
        path: "create".into(),
        detail: format!("fork/exec {path}: {}", crate::failure::errno_text(&error.source)),
    }
}

/// The last error in its log: the one that it ended with.
fn said(log: &Path) -> Option<String> {
    let text = sys::file::read(log).ok()?;
    let mut lines =
        text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    lines.rfind(|line| matches!(line.level.as_str(), "error" | "fatal")).map(|line| line.msg)
}

#[derive(serde::Deserialize)]
struct Line {
    level: String,
    msg: String,
}
