//! What caller and child say to each other, over a socket pair that closes when the child executes its program.
//!
//! The child says `ready` (with the terminal's controlling end, if there is one) or a [`Failure`]; the caller
//! says `go`. The end of the stream after `go` is success.

use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use sys::scm::{self, Wait};

use crate::Failure;

const GO: u8 = b'g';
const READY: u8 = b'r';
const FAILED: u8 = b'f';

const ECONNRESET: i32 = 104;

/// A failure is a few hundred bytes; the child could send more only if it were not ours.
const LONGEST: u64 = 64 << 10;

/// The caller's end.
#[derive(Debug)]
pub(crate) struct Caller(UnixStream);

/// The child's end.
#[derive(Debug)]
pub(crate) struct Child(UnixStream);

/// A new pair, both ends close-on-exec.
pub(crate) fn pair() -> Result<(Caller, Child), Failure> {
    let (caller, child) = UnixStream::pair()
        .map_err(|e| Failure::new("handshake", "socketpair", crate::failure::errno_text(&e)))?;
    Ok((Caller(caller), Child(child)))
}

impl Caller {
    /// The child may execute its program.
    pub(crate) fn go(&self) {
        // A child that has ended already has said why, or will be found dead: nothing is lost here.
        let _ = scm::send(&self.0, &[GO], &[], Wait::Yes);
    }

    /// Waits until the child is ready; the terminal's controlling end.
    pub(crate) fn wait_ready(&mut self) -> Result<Option<OwnedFd>, Failure> {
        match self.hear()? {
            Some((READY, fds)) => Ok(fds.into_iter().next()),
            Some((FAILED, _)) => Err(self.failure()),
            Some(_) | None => Err(Failure::new("init", "", "the process ended before it was ready")),
        }
    }

    /// Waits until the child has executed its program (or was killed before: its status tells).
    pub(crate) fn wait_executed(&mut self) -> Result<(), Failure> {
        match self.hear()? {
            None => Ok(()),
            Some((FAILED, _)) => Err(self.failure()),
            Some(_) => Err(Failure::new("init", "", "the process said what it should not")),
        }
    }

    fn hear(&mut self) -> Result<Option<(u8, Vec<OwnedFd>)>, Failure> {
        let (mut word, mut fds) = ([0], Vec::new());
        match scm::receive(&self.0, &mut word, &mut fds, Wait::Yes) {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some((word[0], fds))),
            Err(error) if error.errno() == ECONNRESET => {
                Err(Failure::new("init", "", "the process was ended before it was ready"))
            }
            Err(error) => Err(crate::failure::at("handshake")(error)),
        }
    }

    fn failure(&mut self) -> Failure {
        let mut bytes = Vec::new();
        // A child that ends with a word of ours unread leaves ECONNRESET behind what it said.
        let _ = (&self.0).take(LONGEST).read_to_end(&mut bytes);
        serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Failure::new("init", "", "the process failed and could not say why"))
    }
}

impl Child {
    /// Waits for the word to execute the program; false when the caller has ended.
    pub(crate) fn wait_go(&self) -> bool {
        let mut word = [0];
        let heard = scm::receive(&self.0, &mut word, &mut Vec::new(), Wait::Yes);
        matches!(heard, Ok(1)) && word[0] == GO
    }

    /// The sandbox stands.
    pub(crate) fn ready(&self, console: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
        let fds: Vec<BorrowedFd<'_>> = console.into_iter().collect();
        scm::send(&self.0, &[READY], &fds, Wait::Yes).map(drop).map_err(crate::failure::at("handshake"))
    }

    /// It does not, or the program cannot be executed.
    pub(crate) fn failed(&self, failure: &Failure) {
        let mut bytes = vec![FAILED];
        bytes.extend(serde_json::to_vec(failure).unwrap_or_default());
        // Without a caller there is nobody to tell.
        let _ = scm::send(&self.0, &bytes, &[], Wait::Yes);
    }
}
