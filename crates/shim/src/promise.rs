//! What a container needs that is still being made when its shim begins with it: the host's files that its mounts are of, and its
//! root. A socket pair: a byte with the root's mount keeps the promise, the end without one breaks it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

pub use runtime::EarlyRoot;
use sys::mount::Mount;
use sys::scm::{self, Wait};

/// The end of who makes it. Dropped, it is broken.
#[derive(Debug)]
pub struct Promise(UnixStream);

impl Promise {
    /// A promise, and the end that goes to the shim.
    ///
    /// # Errors
    /// socketpair(2)'s.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Self(ours), theirs.into()))
    }

    /// All is there. Without the root's mount, init makes it. Nothing is to be said to a shim that has given up: its answer
    /// tells why.
    pub fn keep(self, root: Option<&Mount>) {
        let fds: Vec<BorrowedFd<'_>> = root.into_iter().map(AsFd::as_fd).collect();
        let _ = scm::send(&self.0, b"+", &fds, Wait::Yes);
    }
}

/// The shim's end of it. Waits until all is there; gives the root's mount, if that is made.
///
/// # Errors
/// recvmsg(2)'s; UnexpectedEof for a promise that is broken.
pub fn wait(end: &OwnedFd) -> io::Result<Option<Mount>> {
    let mut fds = Vec::new();
    match scm::receive(end, &mut [0], &mut fds, Wait::Yes) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => Ok(fds.pop().map(|fd| Mount::from_fd(fd, "overlay"))),
        Err(error) => Err(error.source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_or_broken() {
        let (promise, end) = Promise::new().unwrap();
        promise.keep(None);
        assert!(wait(&end).unwrap().is_none());

        let (promise, end) = Promise::new().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        promise.keep(Some(&Mount::from_fd(file.into(), "null")));
        assert!(wait(&end).unwrap().is_some());

        let (promise, end) = Promise::new().unwrap();
        drop(promise);
        assert_eq!(wait(&end).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
