//! The writing end of a process's stdin: what clients send waits here until the process takes it.

use std::fs::File;
use std::io::{ErrorKind, Write};

use sys::poll::{Epoll, Interest};

use super::token::{Part, Token, Watched};

/// A pipe or terminal that is written without waiting.
#[derive(Debug)]
pub(crate) struct Stdin {
    file: Option<File>,
    watched: Watched,
    pending: Vec<u8>,
    /// Close the pipe once everything pending is written.
    ending: bool,
}

impl Stdin {
    /// `file` is non-blocking; `None` is a stdin that nobody can write to (/dev/null).
    pub(crate) fn new(process: u32, file: Option<File>) -> Self {
        let watched = Watched::new(Token::Stream(process, Part::Stdin));
        Self { file, watched, pending: Vec::new(), ending: false }
    }

    /// Whether more may be written: nothing is pending. What comes for a closed stdin is thrown away.
    pub(crate) fn has_room(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes all bytes. Only for when it [has room](Self::has_room), which bounds what is pending to one read.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if self.file.is_some() && !self.ending {
            self.pending.extend_from_slice(bytes);
            self.flush();
        }
    }

    /// Ends the stream after what is pending.
    pub(crate) fn end(&mut self) {
        self.ending = true;
        self.flush();
    }

    /// Ends the stream now: the process has ended.
    pub(crate) fn close(&mut self) {
        self.file = None;
        self.pending = Vec::new();
    }

    /// Writes what the process takes now.
    pub(crate) fn flush(&mut self) {
        let Some(file) = &mut self.file else { return };
        let mut written = 0;
        while written < self.pending.len() {
            match file.write(&self.pending[written..]) {
                Ok(n) if n > 0 => written += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                // The process has closed its stdin (EPIPE), or there is no process any more (EIO).
                Ok(_) | Err(_) => return self.close(),
            }
        }
        self.pending.drain(..written);
        if self.pending.is_empty() && self.ending {
            self.close();
        }
    }

    pub(crate) fn arm(&mut self, epoll: &Epoll) {
        if let Some(file) = &self.file {
            let wanted = (!self.pending.is_empty()).then_some(Interest::WRITE);
            self.watched.arm(epoll, file, wanted);
        }
    }

    pub(crate) fn shrink(&mut self) {
        self.pending.shrink_to_fit();
    }
}
