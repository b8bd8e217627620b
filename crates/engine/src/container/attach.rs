//! Attach: one more client on the streams of a container's init. Legal before the start: the socket then waits, so that
//! nothing is lost between attach and start.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use bytes::Bytes;
use shim::proto::{Attach, Request};
use tokio::sync::mpsc;

use super::state::Phase;
use super::{Container, EarlyClient, LogOptions};
use crate::{Engine, Error};

/// How many clients may wait for one start.
const EARLY_CLIENTS: usize = 64;

/// `POST /containers/{id}/attach`.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Replay the log first.
    pub logs: bool,
    /// Stay connected.
    pub stream: bool,
    /// Forward stdin.
    pub stdin: bool,
    /// Send stdout.
    pub stdout: bool,
    /// Send stderr.
    pub stderr: bool,
    /// `ctrl-p,ctrl-q` when empty.
    pub detach_keys: String,
}

/// A connected stream: bytes in both directions, as they go over the wire (frames unless `tty`).
#[derive(Debug)]
pub struct Attached {
    /// To the shim. `None`: nothing more will come after `replay`.
    pub socket: Option<tokio::net::UnixStream>,
    /// Log to send first.
    pub replay: Option<mpsc::Receiver<Bytes>>,
    /// Raw bytes instead of frames.
    pub tty: bool,
    /// The bytes that detach, for [`DetachKeys`]; empty without a terminal.
    pub detach_keys: Vec<u8>,
    /// Whether client bytes are wanted.
    pub stdin: bool,
    /// For the case that the user types the keys.
    pub on_detach: Option<OnDetach>,
}

/// The news that a user has left a program that goes on.
#[derive(Debug)]
pub struct OnDetach {
    pub(super) engine: Engine,
    pub(super) container: Arc<Container>,
    /// Of an exec, its id.
    pub(super) exec: Option<String>,
}

impl OnDetach {
    /// Tells `docker events`.
    pub fn tell(self) {
        let event = match self.exec {
            Some(exec) => self.container.event("exec_detach", &[("execID", exec)]),
            None => self.container.event("detach", &[]),
        };
        self.engine.publish(event);
    }
}

impl Engine {
    /// `POST /containers/{id}/attach`.
    pub async fn attach(&self, id: &str, options: AttachOptions) -> Result<Attached, Error> {
        let container = self.inner.containers.find(id)?;
        let record = container.view().record.clone();
        let tty = record.config.tty;
        let stdin = options.stdin && record.config.open_stdin;
        let detach_keys = DetachKeys::parse(&options.detach_keys)?;
        let detach_keys = if tty && stdin { detach_keys } else { Vec::new() };
        let replay = if options.logs {
            let logs = LogOptions { stdout: options.stdout, stderr: options.stderr, ..LogOptions::default() };
            Some(self.logs(id, logs).await?.0)
        } else {
            None
        };
        if !options.stream {
            return Ok(Attached { socket: None, replay, tty, detach_keys, stdin: false, on_detach: None });
        }
        let wanted = Attach { stdin, stdout: options.stdout, stderr: options.stderr, framed: !tty };
        let (ours, theirs) = pair()?;
        // Under the lock a start that is under way has taken its early clients already, and is over.
        let _verbs = container.verbs.lock().await;
        match container.view().state.phase {
            Phase::Paused => {
                return Err(Error::Conflict(format!(
                    "container {} is paused, unpause the container before attach",
                    container.id
                )));
            }
            Phase::Restarting => {
                return Err(Error::Conflict(format!(
                    "container {} is restarting, wait until the container is running",
                    container.id
                )));
            }
            Phase::Running => {
                container.ask(Request::Attach(wanted), vec![theirs]).await?;
            }
            Phase::Created | Phase::Exited => {
                let mut early = container.early.lock().expect("no holder of this lock can panic");
                if early.len() >= EARLY_CLIENTS {
                    return Err(Error::Conflict(format!(
                        "container {} has {EARLY_CLIENTS} clients waiting for its start",
                        container.id
                    )));
                }
                early.push(EarlyClient { attach: wanted, socket: theirs });
            }
            Phase::Removing | Phase::Dead => {
                return Err(Error::Conflict(format!("container {} is being removed", container.id)));
            }
        }
        self.publish(container.event("attach", &[]));
        let on_detach = Some(OnDetach { engine: self.clone(), container: container.clone(), exec: None });
        Ok(Attached { socket: Some(ours), replay, tty, detach_keys, stdin, on_detach })
    }

    /// `POST /containers/{id}/resize`: 409 unless it runs.
    pub async fn resize(&self, id: &str, height: u16, width: u16) -> Result<(), Error> {
        let container = self.inner.containers.find(id)?;
        container.running_link()?;
        // Without a terminal there is nothing to do, and Docker says so to nobody.
        if container.view().record.config.tty {
            container.ask(Request::Resize { exec: None, height, width }, Vec::new()).await?;
        }
        let attributes = [("height", height.to_string()), ("width", width.to_string())];
        self.publish(container.event("resize", &attributes));
        Ok(())
    }
}

/// A connected pair: the client's end for tokio, the shim's as a plain fd.
pub(crate) fn pair() -> Result<(tokio::net::UnixStream, OwnedFd), Error> {
    let failed = |e: std::io::Error| sys::Error::new("socketpair", "attach", e);
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    Ok((tokio::net::UnixStream::from_std(ours).map_err(failed)?, theirs.into()))
}

/// Finds the keys that detach in what the user types, also when they come in several reads.
#[derive(Debug)]
pub struct DetachKeys {
    keys: Vec<u8>,
    /// How many of them were the last bytes seen.
    matched: usize,
}

impl DetachKeys {
    /// `ctrl-p,ctrl-q` and the like: single characters, or `ctrl-` and one of `a`–`z`, `@`, `[`, `\`, `]`, `^`, `_`.
    /// Empty is the default.
    ///
    /// # Errors
    /// Any other word.
    pub fn parse(text: &str) -> Result<Vec<u8>, Error> {
        if text.is_empty() {
            return Ok(vec![16, 17]);
        }
        let key = |word: &str| match word.strip_prefix("ctrl-").map(str::as_bytes) {
            Some([letter @ b'a'..=b'z']) => Some(letter - b'a' + 1),
            Some(b"@") => Some(0),
            Some([sign @ (b'[' | b'\\' | b']' | b'^' | b'_')]) => Some(sign - 64),
            Some(_) => None,
            None => match word.as_bytes() {
                [one] if one.is_ascii() => Some(*one),
                _ => None,
            },
        };
        text.split(',')
            .map(|word| {
                key(word).ok_or_else(|| Error::Invalid(format!("Invalid detach keys ({text}) provided")))
            })
            .collect()
    }

    /// Looks for these keys; none are never found.
    pub fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// Passes input on to `out`, but for a beginning of the keys that may go on. `true`: the keys were typed; what came
    /// before them is in `out`, what comes after is dropped.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool {
        if self.keys.is_empty() {
            out.extend_from_slice(input);
            return false;
        }
        for &byte in input {
            // The held bytes are the first `matched` keys; with `byte` they go on, or their longest end that begins
            // the keys is kept and the rest passes.
            if self.matched == 0 && byte != self.keys[0] {
                out.push(byte);
                continue;
            }
            let mut seen = self.keys[..self.matched].to_vec();
            seen.push(byte);
            let passed = (0..seen.len()).find(|at| self.keys.starts_with(&seen[*at..])).unwrap_or(seen.len());
            out.extend_from_slice(&seen[..passed]);
            self.matched = seen.len() - passed;
            if self.matched == self.keys.len() {
                self.matched = 0;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8], reads: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut scanner = DetachKeys::new(keys.to_vec());
        let mut out = Vec::new();
        let found = reads.iter().any(|read| scanner.feed(read, &mut out));
        (out, found)
    }

    #[test]
    fn keys_are_read() {
        assert_eq!(DetachKeys::parse("").unwrap(), [16, 17]);
        assert_eq!(DetachKeys::parse("ctrl-a,d,ctrl-[").unwrap(), [1, b'd', 27]);
        for bad in ["ctrl-", "ctrl-A", "xy", "a,,b", "ctrl-1", "é"] {
            assert!(DetachKeys::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_found_across_reads_and_all_else_passes() {
        assert_eq!(typed(&[16, 17], &[b"ab\x10", b"\x11cd"]), (b"ab".to_vec(), true));
        assert_eq!(typed(&[16, 17], &[b"\x10", b"x"]), (b"\x10x".to_vec(), false));
        assert_eq!(typed(&[16, 17], &[b"\x10\x10", b"\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(typed(&[], &[b"\x10\x11"]), (b"\x10\x11".to_vec(), false));
        assert_eq!(typed(b"x", &[b"ax"]), (b"a".to_vec(), true));
    }

    #[test]
    fn repeating_keys_realign() {
        assert_eq!(typed(b"aab", &[b"aaab"]), (b"a".to_vec(), true));
        assert_eq!(typed(b"abac", &[b"abab", b"ac"]), (b"ab".to_vec(), true));
        assert_eq!(typed(b"aab", &[b"aac"]), (b"aac".to_vec(), false));
    }
}
