//! A client attached to a process: output waits here until the client takes it.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use shim::proto::Attach;
use spec::api::Stream;
use sys::poll::{Epoll, Interest, Ready};

use super::stdin::Stdin;
use super::token::{Part, Token, Watched};

/// One socket.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) number: u32,
    socket: UnixStream,
    watched: Watched,
    wants: Attach,
    /// Output that the socket has not taken; what is before `sent` it has.
    pending: Vec<u8>,
    sent: usize,
    /// The client writes no more.
    ended: bool,
    /// The client reads no more.
    gone: bool,
    /// No more output will come: once all is sent, the socket is shut down.
    finishing: bool,
}

/// What the end of a client's writing means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtEnd {
    /// The process's stdin ends too.
    EndStdin,
    /// The client is detached.
    Detach,
}

impl Client {
    pub(crate) fn new(process: u32, number: u32, socket: UnixStream, wants: Attach) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            number,
            socket,
            watched: Watched::new(Token::Stream(process, Part::Client(number))),
            wants,
            pending: Vec::new(),
            sent: 0,
            ended: false,
            gone: false,
            finishing: false,
        })
    }

    /// Whether output of this stream goes to this client.
    pub(crate) fn takes(&self, stream: Stream) -> bool {
        let wanted = if stream == Stream::Stderr { self.wants.stderr } else { self.wants.stdout };
        wanted && !self.gone && !self.finishing
    }

    /// How many bytes wait for the client.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.len() - self.sent
    }

    /// Sends output, or keeps what the socket does not take.
    pub(crate) fn send(&mut self, stream: Stream, bytes: &[u8]) {
        if !self.takes(stream) {
            return;
        }
        let length = u32::try_from(bytes.len()).expect("one read is far below 4 GiB");
        let header = stream.header(length);
        let header: &[u8] = if self.wants.framed { &header } else { &[] };
        let mut sent = 0;
        if self.waiting() == 0 {
            // The usual case: the client keeps up, and nothing is copied.
            match self.socket.write_vectored(&[IoSlice::new(header), IoSlice::new(bytes)]) {
                Ok(n) => sent = n,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return self.lose(),
            }
        }
        self.pending.extend_from_slice(header.get(sent..).unwrap_or_default());
        self.pending.extend_from_slice(bytes.get(sent.saturating_sub(header.len())..).unwrap_or_default());
    }

    /// After this no output comes.
    pub(crate) fn finish(&mut self) {
        self.finishing = true;
    }

    /// Does what the socket is ready for. `scratch` is room for one read.
    pub(crate) fn serve(&mut self, ready: Ready, stdin: &mut Stdin, at_end: AtEnd, scratch: &mut [u8]) {
        if ready.write {
            self.flush();
        }
        if ready.closed {
            // Both directions are shut: nobody reads, but something may still be there to be read.
            self.lose();
        }
        if ready.read && self.may_read(stdin) {
            match self.socket.read(scratch) {
                Ok(0) => self.end(stdin, at_end),
                Ok(n) if self.wants.stdin => stdin.write(&scratch[..n]),
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => {
                    self.lose();
                    self.end(stdin, at_end);
                }
            }
        }
    }

    /// Stdin of a client without stdin is read too, and thrown away.
    fn may_read(&self, stdin: &Stdin) -> bool {
        !self.ended && (!self.wants.stdin || stdin.has_room())
    }

    fn end(&mut self, stdin: &mut Stdin, at_end: AtEnd) {
        self.ended = true;
        if self.wants.stdin {
            match at_end {
                AtEnd::EndStdin => stdin.end(),
                AtEnd::Detach => self.finishing = true,
            }
        }
    }

    fn lose(&mut self) {
        self.gone = true;
        self.pending = Vec::new();
        self.sent = 0;
    }

    fn flush(&mut self) {
        while self.waiting() > 0 {
            match self.socket.write(&self.pending[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.lose(),
            }
        }
        self.pending.clear();
        self.sent = 0;
    }

    /// Whether there is nothing left to do.
    pub(crate) fn is_over(&self) -> bool {
        (self.gone && self.ended) || (self.finishing && self.waiting() == 0)
    }

    /// Tells the client that it is over; the answer is that it is not to be kept. Others may hold duplicates of
    /// the socket (cortend for a moment, an init that waits for its start), so dropping it would not do.
    pub(crate) fn close(&mut self, epoll: &Epoll) -> bool {
        self.watched.arm(epoll, &self.socket, None);
        // Fails only when the client is gone already.
        let _ = self.socket.shutdown(Shutdown::Both);
        false
    }

    pub(crate) fn arm(&mut self, epoll: &Epoll, stdin: &Stdin) {
        let interest = Interest { read: self.may_read(stdin), write: self.waiting() > 0 };
        // A closed socket would wake us for ever: it is watched only while it can be read.
        let wanted = (!self.gone || interest.read).then_some(interest);
        self.watched.arm(epoll, &self.socket, wanted);
    }

    pub(crate) fn shrink(&mut self) {
        if self.waiting() == 0 {
            self.pending = Vec::new();
            self.sent = 0;
        }
    }
}
