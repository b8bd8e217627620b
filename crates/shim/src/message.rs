//! Messages on a socket: a 4-byte little-endian length, that many bytes of JSON, and file descriptors on the
//! first byte.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use serde::{Serialize, de::DeserializeOwned};
use sys::scm::{self, Wait};

/// The longest message, its length left out.
pub const MAX: usize = 1 << 20;

/// How many fds may wait for the messages they belong to.
const MAX_WAITING_FDS: usize = 2 * scm::MAX_FDS;

/// How much is received at a time.
const CHUNK: usize = 16 * 1024;

/// A message as it goes over the socket.
///
/// # Errors
/// InvalidInput when it would be longer than [`MAX`].
pub fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > MAX {
        let text = format!("a message of {length} bytes is longer than {MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let length = u32::try_from(length).expect("at most MAX");
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// What has arrived on a socket and was not taken yet.
#[derive(Debug, Default)]
pub struct Incoming {
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

impl Incoming {
    /// Receives what there is; `false` at the end of the stream.
    ///
    /// # Errors
    /// recvmsg(2)'s (WouldBlock when nothing is there and `wait` says so); InvalidData for too many fds.
    pub fn receive(&mut self, socket: impl AsFd, wait: Wait) -> io::Result<bool> {
        let had = self.bytes.len();
        self.bytes.resize(had + CHUNK, 0);
        let mut fds = Vec::new();
        let received = scm::receive(socket, &mut self.bytes[had..], &mut fds, wait);
        self.bytes.truncate(had + *received.as_ref().unwrap_or(&0));
        if self.bytes.is_empty() {
            // Most connections wait for hours.
            self.bytes = Vec::new();
        }
        self.fds.extend(fds);
        if self.fds.len() > MAX_WAITING_FDS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "more file descriptors than messages use",
            ));
        }
        Ok(received.map_err(|e| e.source)? > 0)
    }

    /// The next whole message; `None` when it has not arrived yet.
    ///
    /// # Errors
    /// InvalidData when it is too long or no message of this type. Nothing after it can be trusted then.
    pub fn message<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some((length, rest)) = self.bytes.split_first_chunk() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX {
            let text = format!("a message of {length} bytes is longer than {MAX}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let Some(json) = rest.get(..length) else { return Ok(None) };
        let message = serde_json::from_slice(json)?;
        self.bytes.drain(..4 + length);
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        Ok(Some(message))
    }

    /// The next fd, in the order in which they were sent.
    pub fn fd(&mut self) -> Option<OwnedFd> {
        self.fds.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn messages_come_whole_whatever_the_pieces_and_keep_their_fds() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let bytes = [encode(&vec![1; 3]).unwrap(), encode(&vec![2; 3000]).unwrap()].concat();
        let (mut incoming, mut messages) = (Incoming::default(), Vec::new());
        scm::send(&ours, &bytes[..1], &[ours.as_fd()], Wait::Yes).unwrap();
        for piece in bytes[1..].chunks(7) {
            (&ours).write_all(piece).unwrap();
            assert!(incoming.receive(&theirs, Wait::No).unwrap());
            messages.extend(incoming.message::<Vec<i32>>().unwrap());
        }
        assert_eq!(messages, [vec![1; 3], vec![2; 3000]]);
        assert!(incoming.fd().is_some() && incoming.fd().is_none());
        assert_eq!(incoming.receive(&theirs, Wait::No).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(incoming.bytes.capacity(), 0, "a daemon has two for each container");
        drop(ours);
        assert!(!incoming.receive(&theirs, Wait::No).unwrap());
    }

    #[test]
    fn a_message_too_long_or_of_the_wrong_kind_is_refused() {
        assert_eq!(encode(&"x".repeat(MAX)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        for bytes in [vec![1, 0, 16, 0], vec![2, 0, 0, 0, b'{', b'}']] {
            let mut incoming = Incoming { bytes, ..Incoming::default() };
            assert!(incoming.message::<String>().is_err());
        }
    }
}
