//! What becomes of a container's output: it is cut into entries, which go to the files and to the log server.

use std::time::Instant;

use spec::api::Stream;

use super::file::{Files, Loss};
use super::remote::{self, Remote};
use super::split::{Piece, Splitter};
use super::time;
use crate::proto::Log;

/// Writes one container's log.
#[derive(Debug)]
pub struct Writer {
    stdout: Splitter,
    stderr: Splitter,
    files: Option<Files>,
    remote: Option<Remote>,
    /// A loss has been told.
    told: bool,
}

/// The log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its files.
    #[error(transparent)]
    Files(#[from] sys::Error),
    /// Its server.
    #[error(transparent)]
    Remote(#[from] remote::DialError),
}

impl Writer {
    /// Opens the files and connects to the server.
    ///
    /// # Errors
    /// As [`Files::open`] and [`Remote::connect`].
    pub fn open(settings: &Log) -> Result<Self, Error> {
        let remote = settings.remote.as_ref().map(Remote::connect).transpose()?;
        let files = settings.files.as_ref().map(|files| Files::open(files, &settings.attrs)).transpose()?;
        Ok(Self {
            stdout: Splitter::new(Stream::Stdout),
            stderr: Splitter::new(Stream::Stderr),
            files,
            remote,
            told: false,
        })
    }

    /// Takes what a stream has put out just now. Everything that ends a line is in the file afterwards, and with
    /// the server or waiting for it.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let Self { stdout, stderr, files, remote, .. } = self;
        let splitter = if stream == Stream::Stderr { stderr } else { stdout };
        splitter.feed(bytes, time::now(), |piece| add(files, remote, piece));
        self.flush();
    }

    /// Takes what is left of unfinished lines. For when the streams have ended. The server may not have all yet:
    /// see [`Writer::is_flushed`].
    pub fn end(&mut self) {
        let Self { stdout, stderr, files, remote, .. } = self;
        let now = time::now();
        for splitter in [stdout, stderr] {
            splitter.finish(now, |piece| add(files, remote, piece));
        }
        self.flush();
        if let Some(remote) = &mut self.remote {
            remote.hurry();
        }
    }

    /// Closes the log. What the server has not taken is lost.
    pub fn finish(&mut self) {
        self.end();
        if let Some(files) = &mut self.files {
            files.finish();
        }
        if let Some(remote) = &mut self.remote {
            remote.give_up();
        }
    }

    fn flush(&mut self) {
        if let Some(files) = &mut self.files {
            files.flush();
        }
        if let Some(remote) = &mut self.remote {
            remote.send();
        }
    }

    /// Gives memory back that only a burst of output needs.
    pub fn shrink(&mut self) {
        self.stdout.shrink();
        self.stderr.shrink();
        if let Some(files) = &mut self.files {
            files.shrink();
        }
    }

    /// The log server, to be waited for.
    pub fn remote(&mut self) -> Option<&mut Remote> {
        self.remote.as_mut()
    }

    /// When the server is to be tried again.
    pub fn deadline(&self) -> Option<Instant> {
        self.remote.as_ref().and_then(Remote::deadline)
    }

    /// Whether output has to wait because the server is slow.
    pub fn is_full(&self) -> bool {
        self.remote.as_ref().is_some_and(Remote::is_full)
    }

    /// Whether nothing waits for the server, or waiting for it is in vain.
    pub fn is_flushed(&self) -> bool {
        self.remote.as_ref().is_none_or(Remote::is_flushed)
    }

    /// A child of the shim has ended; it may be one that compresses.
    pub fn reaped(&mut self, pid: i32, success: bool) {
        if let Some(files) = &mut self.files {
            files.reaped(pid, success);
        }
    }

    /// What was lost, when that is to be told: at the first loss, and once it is over.
    pub fn loss(&mut self, over: bool) -> Option<Loss> {
        if self.told && !over {
            return None;
        }
        let mut loss = self.files.as_ref().map(|files| files.loss().clone()).unwrap_or_default();
        if let Some(remote) = &self.remote {
            let more = remote.loss();
            loss.add(more.entries, || more.why.clone());
        }
        self.told = loss.entries > 0;
        self.told.then_some(loss)
    }
}

fn add(files: &mut Option<Files>, remote: &mut Option<Remote>, piece: &Piece<'_>) {
    if let Some(files) = files {
        files.add(piece);
    }
    if let Some(remote) = remote {
        remote.add(piece);
    }
}
