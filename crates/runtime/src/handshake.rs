//! What caller and child say to each other, over a socket pair that closes when the child executes its program.
//!
//! | the child says | and the caller |
//! |---|---|
//! | `hooks`: its mounts are made, its root is not yet entered | runs the runtime's hooks, says `go` |
//! | `ready` (with the terminal's controlling end, if there is one) | says `go` when the program is to be executed |
//! | `settled`: with a gate, it waits there and needs the caller no more | may end |
//! | `listen` and a descriptor's number: its filter has a listener | takes a copy and sends it on |
//! | `failed` and a [`Failure`] | reports it |
//! | nothing, and the stream ends | after `go` that is success |
//!
//! With a gate, the one who starts the container connects to it and takes the caller's place, at `go`.

use std::io::{Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use sys::scm::{self, Wait};

use crate::Failure;

const GO: u8 = b'g';
const HOOKS: u8 = b'h';
const READY: u8 = b'r';
const SETTLED: u8 = b's';
const LISTEN: u8 = b'l';
const FAILED: u8 = b'f';
/// Of a stage (see there): the descriptor of the process that it has made.
const MADE: u8 = b'm';

const ECONNRESET: i32 = 104;

/// A failure is a few hundred bytes; the child could send more only if it were not ours.
const LONGEST: u64 = 64 << 10;

/// The caller's end.
#[derive(Debug)]
pub(crate) struct Caller(UnixStream);

/// The child's end.
#[derive(Debug)]
pub(crate) struct Child(UnixStream);

/// What a child says before it is ready.
#[derive(Debug)]
pub(crate) enum Heard {
    /// It waits for hooks.
    Hooks,
    /// Its sandbox stands.
    Ready(Option<OwnedFd>),
    /// It has ended without a word.
    End,
}

/// Init waits at its gate.
#[derive(Debug)]
pub(crate) struct Settled;

/// A new pair, both ends close-on-exec.
pub(crate) fn pair() -> Result<(Caller, Child), Failure> {
    let (caller, child) = UnixStream::pair()
        .map_err(|e| Failure::new("handshake", "socketpair", crate::failure::errno_text(&e)))?;
    Ok((Caller(caller), Child(child)))
}

impl From<UnixStream> for Caller {
    fn from(connection: UnixStream) -> Self {
        Self(connection)
    }
}

impl From<UnixStream> for Child {
    fn from(connection: UnixStream) -> Self {
        Self(connection)
    }
}

impl Caller {
    /// The child may go on.
    pub(crate) fn go(&self) {
        // A child that has ended already has said why, or will be found dead: nothing is lost here.
        let _ = scm::send(&self.0, &[GO], &[], Wait::Yes);
    }

    /// The child's next word before it is ready; what it failed in is the error.
    pub(crate) fn hear(&mut self) -> Result<Heard, Failure> {
        match self.word()? {
            None => Ok(Heard::End),
            Some((READY, fds)) => Ok(Heard::Ready(fds.into_iter().next())),
            Some((HOOKS, _)) => Ok(Heard::Hooks),
            Some((FAILED, _)) => Err(self.failure()),
            Some(_) => Err(strange()),
        }
    }

    /// Waits for an exec to be ready; the terminal's controlling end.
    pub(crate) fn wait_ready(&mut self) -> Result<Option<OwnedFd>, Failure> {
        match self.hear()? {
            Heard::Ready(console) => Ok(console),
            Heard::Hooks => Err(strange()),
            Heard::End => Err(Failure::new("init", "", "the process ended before it was ready")),
        }
    }

    /// Waits until the child has executed its program (or was killed before: its status tells). `listen` gets the
    /// number of a descriptor of the child's that a supervisor is to have.
    pub(crate) fn wait_executed(
        &mut self,
        mut listen: impl FnMut(i32) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        loop {
            match self.word()? {
                None => return Ok(()),
                Some((FAILED, _)) => return Err(self.failure()),
                Some((LISTEN, _)) => {
                    let mut number = [0; 4];
                    (&self.0).read_exact(&mut number).map_err(|_| strange())?;
                    listen(i32::from_ne_bytes(number))?;
                }
                Some(_) => return Err(strange()),
            }
        }
    }

    /// Waits until the child needs this end no more.
    pub(crate) fn wait_settled(mut self) -> Result<Settled, Failure> {
        match self.word()? {
            Some((SETTLED, _)) => Ok(Settled),
            Some((FAILED, _)) => Err(self.failure()),
            Some(_) => Err(strange()),
            None => Err(Failure::new("init", "", "the process ended before it could be started")),
        }
    }

    /// The pidfd of the process that a stage has made.
    pub(crate) fn wait_made(&mut self) -> Result<OwnedFd, Failure> {
        match self.word()? {
            Some((MADE, fds)) => fds.into_iter().next().ok_or_else(strange),
            Some((FAILED, _)) => Err(self.failure()),
            Some(_) => Err(strange()),
            None => Err(Failure::new("clone", "", "the process ended before it made init")),
        }
    }

    fn word(&mut self) -> Result<Option<(u8, Vec<OwnedFd>)>, Failure> {
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

fn strange() -> Failure {
    Failure::new("init", "", "the process said what it should not")
}

impl Child {
    /// Waits for the word to go on; false when the caller has ended.
    pub(crate) fn wait_go(&self) -> bool {
        let mut word = [0];
        let heard = scm::receive(&self.0, &mut word, &mut Vec::new(), Wait::Yes);
        matches!(heard, Ok(1)) && word[0] == GO
    }

    /// Lets the caller run its hooks, and waits for them.
    pub(crate) fn hooks(&self) -> Result<(), Failure> {
        self.say(HOOKS, None)?;
        if self.wait_go() { Ok(()) } else { Err(Failure::new("hooks", "", "the caller has ended")) }
    }

    /// The sandbox stands.
    pub(crate) fn ready(&self, console: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
        self.say(READY, console)
    }

    /// The caller is needed no more.
    pub(crate) fn settled(&self) -> Result<(), Failure> {
        self.say(SETTLED, None)
    }

    /// A stage has made this process.
    pub(crate) fn made(&self, pidfd: BorrowedFd<'_>) -> Result<(), Failure> {
        self.say(MADE, Some(pidfd))
    }

    /// The filter that was just loaded has a listener. By write(2), as every profile has to allow it.
    pub(crate) fn listen(&self, descriptor: i32) -> std::io::Result<()> {
        let mut word = [0; 5];
        word[0] = LISTEN;
        word[1..].copy_from_slice(&descriptor.to_ne_bytes());
        (&self.0).write_all(&word)
    }

    /// It does not stand, or the program cannot be executed.
    pub(crate) fn failed(&self, failure: &Failure) {
        let mut bytes = vec![FAILED];
        bytes.extend(serde_json::to_vec(failure).unwrap_or_default());
        // Without a caller there is nobody to tell.
        let _ = scm::send(&self.0, &bytes, &[], Wait::Yes);
    }

    fn say(&self, word: u8, fd: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        scm::send(&self.0, &[word], &fds, Wait::Yes).map(drop).map_err(crate::failure::at("handshake"))
    }
}
