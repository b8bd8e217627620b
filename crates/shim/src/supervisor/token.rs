//! What an fd in the wait set is, and what it waits for.

use std::os::fd::AsFd;

use sys::poll::{Epoll, Interest};

/// Names one fd of the shim. Numbers are never used twice, so an event that comes late finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Signals,
    Listener,
    Connection(u32),
    /// One fd of the process with this number (init is 0).
    Stream(u32, Part),
}

/// The fds around one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Stdin,
    Stdout,
    Stderr,
    Client(u32),
    /// The log server.
    Log,
}

/// Connections and clients are counted up to this; the next one is refused.
pub(crate) const MAX_ITEM: u32 = (1 << 29) - 1;

impl Token {
    /// Three bits of kind, 29 of item, 32 of process.
    pub(crate) fn pack(self) -> u64 {
        let (kind, item, process) = match self {
            Self::Signals => (0, 0, 0),
            Self::Listener => (1, 0, 0),
            Self::Connection(item) => (2, item, 0),
            Self::Stream(process, Part::Stdin) => (3, 0, process),
            Self::Stream(process, Part::Stdout) => (4, 0, process),
            Self::Stream(process, Part::Stderr) => (5, 0, process),
            Self::Stream(process, Part::Client(item)) => (6, item, process),
            Self::Stream(process, Part::Log) => (7, 0, process),
        };
        kind << 61 | u64::from(item & MAX_ITEM) << 32 | u64::from(process)
    }

    pub(crate) fn unpack(packed: u64) -> Option<Self> {
        let item = (packed >> 32) as u32 & MAX_ITEM;
        let process = packed as u32;
        Some(match packed >> 61 {
            0 => Self::Signals,
            1 => Self::Listener,
            2 => Self::Connection(item),
            3 => Self::Stream(process, Part::Stdin),
            4 => Self::Stream(process, Part::Stdout),
            5 => Self::Stream(process, Part::Stderr),
            6 => Self::Stream(process, Part::Client(item)),
            7 => Self::Stream(process, Part::Log),
            _ => return None,
        })
    }
}

/// An fd's place in the wait set.
#[derive(Debug)]
pub(crate) struct Watched {
    token: Token,
    armed: Option<Interest>,
}

impl Watched {
    /// Not in the set yet.
    pub(crate) fn new(token: Token) -> Self {
        Self { token, armed: None }
    }

    /// Makes the set wait for `wanted`. `None` takes the fd out, so that not even its end wakes us: an end that
    /// we cannot act on yet would wake us again and again.
    ///
    /// A failure (the kernel is out of memory) is not kept: the next call tries again.
    pub(crate) fn arm(&mut self, epoll: &Epoll, fd: impl AsFd, wanted: Option<Interest>) {
        let token = self.token.pack();
        let done = match (self.armed, wanted) {
            (old, new) if old == new => return,
            (None, Some(interest)) => epoll.add(fd, token, interest),
            (Some(_), Some(interest)) => epoll.modify(fd, token, interest),
            (_, None) => epoll.remove(fd),
        };
        if done.is_ok() {
            self.armed = wanted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_comes_back() {
        for token in [
            Token::Signals,
            Token::Listener,
            Token::Connection(MAX_ITEM),
            Token::Stream(0, Part::Stdin),
            Token::Stream(u32::MAX, Part::Stdout),
            Token::Stream(1, Part::Stderr),
            Token::Stream(u32::MAX, Part::Client(MAX_ITEM)),
            Token::Stream(2, Part::Log),
        ] {
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
    }
}
