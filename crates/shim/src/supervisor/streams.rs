//! The standard streams of one process: its output goes to the log and to every attached client, what clients
//! send goes to its stdin.
//!
//! Nothing is lost and nothing waits: when a client has [`SOFT_LIMIT`] bytes outstanding, the process's output is
//! left in its pipe, which fills up and holds the process back.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use runtime::{Io, Stdio};
use shim::log::{Loss, Writer};
use shim::proto::Attach;
use spec::api::Stream;
use sys::poll::{self, Epoll, Interest, Ready};

use super::attached::{AtEnd, Client};
use super::pace::Pace;
use super::stdin::Stdin;
use super::token::{MAX_ITEM, Part, Token, Watched};

/// Output stops being read while a client has this much outstanding.
const SOFT_LIMIT: usize = 256 * 1024;

/// The same once the process has ended. The log has to be completed then, without waiting for clients, and
/// what is left in the pipes is at most their size, which is below this (pipe(7): 1 MiB).
const HARD_LIMIT: usize = 4 * 1024 * 1024;

/// What is read at a time: a pipe's usual size.
pub(crate) const SCRATCH: usize = 64 * 1024;

/// What a pipe can hold once its process has written a lot (pipe(7): the most that is allowed).
const LARGE_PIPE: usize = 1024 * 1024;

/// The shim's ends of a process's streams, with its clients.
#[derive(Debug)]
pub(crate) struct Streams {
    process: u32,
    stdin: Stdin,
    stdout: Option<Output>,
    stderr: Option<Output>,
    log: Option<Writer>,
    log_ended: bool,
    /// The log server's socket in the wait set, with its number.
    log_watched: Option<(u32, Watched)>,
    clients: Vec<Client>,
    last_client: u32,
    at_end: AtEnd,
    limit: usize,
}

/// The reading end of a pipe, or a terminal.
#[derive(Debug)]
struct Output {
    file: File,
    watched: Watched,
    pace: Pace,
}

/// The shim's ends of the pipes, before the process is there.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

/// Makes pipes; stdin is /dev/null unless `open_stdin`. The shim's ends do not block.
pub(crate) fn pipes(open_stdin: bool) -> io::Result<(Io, Ends)> {
    let (stdin, our_stdin): (OwnedFd, Option<OwnedFd>) = if open_stdin {
        let (read, write) = io::pipe()?;
        (read.into(), Some(write.into()))
    } else {
        (sys::file::open("/dev/null".as_ref()).map_err(|e| e.source)?.into(), None)
    };
    let (our_stdout, stdout) = io::pipe()?;
    let (our_stderr, stderr) = io::pipe()?;
    let theirs = Stdio { stdin, stdout: stdout.into(), stderr: stderr.into() };
    let ours = Ends { stdin: our_stdin, stdout: Some(our_stdout.into()), stderr: Some(our_stderr.into()) };
    Ok((Io::Streams(theirs), ours))
}

/// Null devices for all three, for a process whose output nobody takes.
pub(crate) fn nothing() -> io::Result<Io> {
    let null = sys::file::append("/dev/null".as_ref(), 0).map_err(|e| e.source)?;
    let (stdout, stderr) = (null.try_clone()?, null.try_clone()?);
    Ok(Io::Streams(Stdio { stdin: null.into(), stdout: stdout.into(), stderr: stderr.into() }))
}

impl Ends {
    /// A terminal is written and read through two fds, so that each is watched for itself.
    pub(crate) fn of_console(console: &OwnedFd, open_stdin: bool) -> io::Result<Self> {
        let stdin = if open_stdin { Some(console.try_clone()?) } else { None };
        Ok(Self { stdin, stdout: Some(console.try_clone()?), stderr: None })
    }
}

impl Streams {
    /// `stdin_once`: a client's end is the end of stdin.
    pub(crate) fn new(process: u32, ends: Ends, log: Option<Writer>, stdin_once: bool) -> io::Result<Self> {
        for end in [&ends.stdin, &ends.stdout, &ends.stderr].into_iter().flatten() {
            poll::set_nonblocking(end).map_err(|e| e.source)?;
        }
        let output = |end: Option<OwnedFd>, part| {
            end.map(|fd| Output {
                file: fd.into(),
                watched: Watched::new(Token::Stream(process, part)),
                pace: Pace::default(),
            })
        };
        Ok(Self {
            process,
            stdin: Stdin::new(process, ends.stdin.map(File::from)),
            stdout: output(ends.stdout, Part::Stdout),
            stderr: output(ends.stderr, Part::Stderr),
            log,
            log_ended: false,
            log_watched: None,
            clients: Vec::new(),
            last_client: 0,
            at_end: if stdin_once { AtEnd::EndStdin } else { AtEnd::Detach },
            limit: SOFT_LIMIT,
        })
    }

    /// Adds a client. Streams that have ended already are ended for it too.
    pub(crate) fn attach(&mut self, wants: Attach, socket: UnixStream) -> io::Result<()> {
        if self.last_client == MAX_ITEM {
            return Err(io::Error::other("too many clients have attached"));
        }
        self.last_client += 1;
        self.clients.push(Client::new(self.process, self.last_client, socket, wants)?);
        Ok(())
    }

    /// Does what one fd is ready for.
    pub(crate) fn serve(&mut self, part: Part, ready: Ready, scratch: &mut [u8]) {
        match part {
            Part::Stdin => self.stdin.flush(),
            Part::Stdout => self.take(Stream::Stdout, scratch),
            Part::Stderr => self.take(Stream::Stderr, scratch),
            Part::Log => {
                if let Some(remote) = self.log.as_mut().and_then(Writer::remote) {
                    remote.serve(ready.closed);
                }
            }
            Part::Client(number) => {
                if let Some(client) = self.clients.iter_mut().find(|c| c.number == number) {
                    client.serve(ready, &mut self.stdin, self.at_end, scratch);
                }
            }
        }
    }

    /// Reads what an output has, at most a full pipe, and hands it on.
    fn take(&mut self, stream: Stream, scratch: &mut [u8]) {
        let mut taken = 0;
        while taken < LARGE_PIPE && self.may_read(stream) {
            let read = self.pump(stream, scratch);
            taken += read;
            if read < scratch.len() {
                break;
            }
        }
        if let Some(output) = self.output(stream) {
            output.pace.took(taken, Instant::now());
            if output.pace.wants_room() {
                // A terminal has no size to set: it keeps its own, and never rests.
                output.pace.room = poll::set_pipe_size(&output.file, LARGE_PIPE).unwrap_or(1);
            }
        }
    }

    /// Reads once from an output and hands it on; how much it was. 0 when there is nothing now.
    fn pump(&mut self, stream: Stream, scratch: &mut [u8]) -> usize {
        let Some(open) = self.output(stream) else { return 0 };
        let read = loop {
            match open.file.read(scratch) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(n) if n > 0 => {
                if let Some(log) = &mut self.log {
                    log.write(stream, &scratch[..n]);
                }
                self.clients.iter_mut().for_each(|client| client.send(stream, &scratch[..n]));
                n
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
            // The end; a terminal without processes says EIO.
            Ok(_) | Err(_) => {
                *self.output(stream) = None;
                0
            }
        }
    }

    fn output(&mut self, stream: Stream) -> &mut Option<Output> {
        if stream == Stream::Stderr { &mut self.stderr } else { &mut self.stdout }
    }

    /// Takes what the ended process has left, without waiting. Whether that was all: every output has ended.
    pub(crate) fn drain(&mut self, scratch: &mut [u8]) -> bool {
        self.limit = HARD_LIMIT;
        self.stdin.close();
        for stream in [Stream::Stdout, Stream::Stderr] {
            // More reads than a pipe can fill mean that somebody still writes: other work comes first then.
            let mut reads = HARD_LIMIT / SCRATCH;
            while reads > 0 && self.may_read(stream) && self.pump(stream, scratch) > 0 {
                reads -= 1;
            }
        }
        self.stdout.is_none() && self.stderr.is_none()
    }

    /// Ends the outputs, also those that somebody still holds. Whether the log server has all it will get.
    pub(crate) fn end_outputs(&mut self) -> bool {
        if self.stdout.take().is_some() | self.stderr.take().is_some() | !self.log_ended {
            self.log_ended = true;
            if let Some(log) = &mut self.log {
                log.end();
            }
        }
        self.log.as_ref().is_none_or(Writer::is_flushed)
    }

    /// Ends everything that has not ended: the log is closed, clients get what is outstanding and then their end.
    pub(crate) fn finish(&mut self) {
        self.stdin.close();
        self.end_outputs();
        if let Some(log) = &mut self.log {
            log.finish();
        }
        self.log_watched = None;
        self.clients.iter_mut().for_each(Client::finish);
    }

    /// Log entries that were lost, when that is to be told.
    pub(crate) fn loss(&mut self, over: bool) -> Option<Loss> {
        self.log.as_mut()?.loss(over)
    }

    /// A child of the shim has ended that is no process of the container: perhaps one that compresses.
    pub(crate) fn reaped(&mut self, pid: i32, success: bool) {
        if let Some(log) = &mut self.log {
            log.reaped(pid, success);
        }
    }

    /// Whether every client has all output there is.
    pub(crate) fn is_flushed(&self) -> bool {
        self.clients.iter().all(|client| client.waiting() == 0)
    }

    pub(crate) fn has_clients(&self) -> bool {
        !self.clients.is_empty()
    }

    fn may_read(&self, stream: Stream) -> bool {
        let held = self.limit == SOFT_LIMIT && self.log.as_ref().is_some_and(Writer::is_full);
        !held && self.clients.iter().all(|client| !client.takes(stream) || client.waiting() < self.limit)
    }

    /// Forgets clients that are through, and brings the wait set in line with what can be done now.
    pub(crate) fn arm(&mut self, epoll: &Epoll) {
        self.clients.retain_mut(|client| !client.is_over() || client.close(epoll));
        let now = Instant::now();
        self.arm_log(epoll, now);
        let reads = [self.may_read(Stream::Stdout), self.may_read(Stream::Stderr)];
        for (output, may_read) in [&mut self.stdout, &mut self.stderr].into_iter().zip(reads) {
            if let Some(output) = output {
                let awake = output.pace.is_awake(now);
                output.watched.arm(epoll, &output.file, (may_read && awake).then_some(Interest::READ));
            }
        }
        for client in &mut self.clients {
            client.arm(epoll, &self.stdin);
        }
        self.stdin.arm(epoll);
    }

    /// Waits for the log server, and takes the step that is due.
    fn arm_log(&mut self, epoll: &Epoll, now: Instant) {
        let Some(remote) = self.log.as_mut().and_then(Writer::remote) else { return };
        if remote.deadline().is_some_and(|deadline| deadline <= now) {
            remote.send();
        }
        let Some((fd, interest, generation)) = remote.socket() else {
            // The socket is closed, and has left the wait set by that.
            self.log_watched = None;
            return;
        };
        let kept = self.log_watched.take().filter(|(of, _)| *of == generation);
        let mut watched = kept.unwrap_or((generation, Watched::new(Token::Stream(self.process, Part::Log))));
        watched.1.arm(epoll, fd, Some(interest));
        self.log_watched = Some(watched);
    }

    /// When there is something to do though nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let rests =
            [&self.stdout, &self.stderr].into_iter().flatten().filter_map(|output| output.pace.rest());
        rests.chain(self.log.as_ref().and_then(Writer::deadline)).min()
    }

    /// Gives memory back that only a burst needs.
    pub(crate) fn shrink(&mut self) {
        self.stdin.shrink();
        self.clients.iter_mut().for_each(Client::shrink);
        if let Some(log) = &mut self.log {
            log.shrink();
        }
    }
}
