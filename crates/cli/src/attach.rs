//! Being the terminal of a process: its output to ours, our input to it.

use std::io::{Read as _, Write as _};

use client::{Client, Frames, Hijacked};
use spec::api::Stream;
use tokio::sync::mpsc;

use crate::app::App;
use crate::error::{Error, Result};
use crate::{print, terminal};

/// Bytes read at once, in either direction.
const BUFFER: usize = 32 * 1024;
/// Chunks of input waiting to be sent.
const QUEUE: usize = 4;

/// How an attach came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The output ended.
    Output,
    /// The user pressed the detach keys.
    Detached,
}

/// What `attach` and `exec` say when the user detaches.
pub(crate) const DETACHED: &str = "read escape sequence";

/// What to do with the two halves of a hijacked connection.
#[derive(Debug)]
pub(crate) struct Session {
    /// The process has a terminal: output is one stream, and ours is in raw mode.
    pub(crate) tty: bool,
    /// Send our input.
    pub(crate) stdin: bool,
    /// The keys that detach; empty for none.
    pub(crate) detach_keys: Vec<u8>,
}

impl Session {
    /// Checks that a process with a terminal gets one.
    pub(crate) fn check_terminal(tty: bool, stdin: bool) -> Result<()> {
        if tty && stdin && !terminal::stdin_is_terminal() {
            return Err(Error::invalid("the input device is not a TTY"));
        }
        Ok(())
    }

    /// Puts our terminal into raw mode, if the process has one and we send input.
    pub(crate) fn raw(&self) -> Result<Option<terminal::Raw>> {
        if !(self.tty && self.stdin && terminal::stdin_is_terminal()) {
            return Ok(None);
        }
        let raw = terminal::Raw::enter();
        raw.map(Some).map_err(|source| Error::Io { what: "cannot set the terminal to raw mode", source })
    }

    /// Copies until the output ends or the user detaches.
    pub(crate) async fn copy(self, connection: Hijacked) -> Result<End> {
        let Hijacked { mut output, mut input, multiplexed: _ } = connection;
        let tty = self.tty;
        let receive = async {
            let mut buffer = vec![0; BUFFER];
            let mut sink = Sink::new(tty);
            loop {
                match output.read(&mut buffer).await? {
                    0 => return Ok(End::Output),
                    n => sink.write(&buffer[..n])?,
                }
            }
        };
        if !self.stdin {
            return receive.await;
        }
        let mut chunks = read_stdin();
        let mut keys = DetachKeys::new(if tty { self.detach_keys } else { Vec::new() });
        let send = async {
            while let Some(chunk) = chunks.recv().await {
                let (bytes, detached) = keys.filter(&chunk);
                // The process may have closed its input; its output still counts.
                if !bytes.is_empty() && input.write(&bytes).await.is_err() {
                    return None;
                }
                if detached {
                    return Some(End::Detached);
                }
            }
            // As above: nobody may be reading any more.
            let _ = input.close().await;
            None
        };
        tokio::pin!(receive, send);
        tokio::select! {
            end = &mut receive => end,
            ended = &mut send => match ended {
                Some(end) => Ok(end),
                None => receive.await,
            },
        }
    }
}

/// Where output goes: as it is, or taken apart into stdout and stderr.
pub(crate) struct Sink {
    frames: Option<Frames>,
}

impl Sink {
    /// For a process with or without a terminal.
    pub(crate) fn new(tty: bool) -> Self {
        Self { frames: (!tty).then(Frames::default) }
    }

    /// Writes a piece of the stream.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        let Some(frames) = &mut self.frames else {
            print::out(bytes);
            return Ok(());
        };
        while let Some((stream, piece)) = frames.next(&mut bytes)? {
            match stream {
                Stream::Stdin | Stream::Stdout => print::out(piece),
                Stream::Stderr => {
                    let mut stderr = std::io::stderr().lock();
                    stderr
                        .write_all(piece)
                        .map_err(|source| Error::Io { what: "cannot write to stderr", source })?;
                }
                Stream::System => {
                    let text = String::from_utf8_lossy(piece);
                    return Err(Error::invalid(format!("error from daemon in stream: {text}")));
                }
            }
        }
        Ok(())
    }
}

/// Our stdin, read by a thread of its own: a terminal, pipe or file is read the same way, and a read that never
/// returns holds up nobody. The thread ends with the program.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (queue, chunks) = mpsc::channel(QUEUE);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; BUFFER];
        while let Ok(n @ 1..) = stdin.read(&mut buffer) {
            if queue.blocking_send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    chunks
}

/// Finds the detach keys in the input. Keys that may be their beginning are held back until that is known.
struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// The bytes to send on, and whether the keys were pressed.
    fn filter(&mut self, chunk: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(chunk.len() + self.matched);
        for &byte in chunk {
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return (out, true);
                }
                continue;
            }
            out.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            if self.keys.first() == Some(&byte) {
                self.matched = 1;
            } else {
                out.push(byte);
            }
        }
        (out, false)
    }
}

/// The keys that detach from a process: those of the flag, or those of `config.json` (`detachKeys`), or the engine's
/// own. They count only where somebody types; elsewhere the file is not read for them.
pub(crate) fn detach_keys(app: &App, flag: &str, typed: bool) -> Result<(String, Vec<u8>)> {
    let text = match flag {
        "" if typed => app.config()?.text("detachKeys").unwrap_or_default(),
        flag => flag,
    };
    Ok((text.to_owned(), parse_detach_keys(text)?))
}

/// `ctrl-p,ctrl-q` as bytes.
fn parse_detach_keys(text: &str) -> Result<Vec<u8>> {
    let key = |word: &str| {
        let wrong = || Error::invalid(format!("invalid escape keys: Unknown character: '{word}'"));
        match word.as_bytes() {
            [byte] => Ok(*byte),
            _ => match word.strip_prefix("ctrl-").unwrap_or_default().as_bytes() {
                [c @ b'a'..=b'z'] => Ok(c - b'a' + 1),
                [b'@'] => Ok(0),
                [c @ b'['..=b'_'] => Ok(c - b'[' + 27),
                _ => Err(wrong()),
            },
        }
    };
    let text = if text.is_empty() { "ctrl-p,ctrl-q" } else { text };
    text.split(',').map(key).collect()
}

/// Keeps the process's terminal as large as ours; never returns.
pub(crate) async fn follow_size<F>(tty: bool, resize: impl Fn(u16, u16) -> F) -> std::convert::Infallible
where
    F: Future<Output = client::Result<()>>,
{
    let changes = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change());
    let Ok(mut changes) = changes else { return std::future::pending().await };
    if !tty {
        return std::future::pending().await;
    }
    loop {
        if let Some([height, width]) = terminal::size() {
            // The process may be gone already, or not be there yet; a wrong size is no reason to stop.
            let _ = resize(height, width).await;
        }
        if changes.recv().await.is_none() {
            return std::future::pending().await;
        }
    }
}

/// Copies while signals are passed on and the size is followed.
pub(crate) async fn converse(
    client: &Client,
    id: &str,
    session: Session,
    connection: Hijacked,
    signals: Option<&mut crate::signals::Signals>,
) -> Result<End> {
    let tty = session.tty;
    let forward = async {
        match signals {
            Some(signals) => signals.forward(client, id).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        end = session.copy(connection) => end,
        never = follow_size(tty, |height, width| client.container_resize(id, height, width)) => match never {},
        never = forward => match never {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_found_across_reads() {
        let mut keys = DetachKeys::new(parse_detach_keys("").unwrap());
        assert_eq!(keys.filter(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.filter(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(keys.filter(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(keys.filter(b"\x11rest"), (Vec::new(), true));
        assert_eq!(parse_detach_keys("ctrl-@,a,ctrl-_").unwrap(), [0, b'a', 31]);
        assert!(parse_detach_keys("ctrl-X").is_err() && parse_detach_keys("ab").is_err());
        let mut none = DetachKeys::new(Vec::new());
        assert_eq!(none.filter(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}
