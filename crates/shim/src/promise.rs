//! What a container needs that is still being made when its shim begins with it: its network namespace, the host's files that its
//! mounts are of, and its root. A socket pair: a message with what there is keeps the promise, the end without one breaks it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

pub use runtime::{EarlyRoot, Promised};
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
    pub fn keep(self, root: Option<&Mount>, netns: Option<BorrowedFd<'_>>) {
        let which = [u8::from(root.is_some()), u8::from(netns.is_some())];
        let fds: Vec<BorrowedFd<'_>> = root.map(AsFd::as_fd).into_iter().chain(netns).collect();
        let _ = scm::send(&self.0, &which, &fds, Wait::Yes);
    }
}

/// The shim's end of it. Waits until all is there.
///
/// # Errors
/// recvmsg(2)'s; UnexpectedEof for a promise that is broken.
pub fn wait(end: &OwnedFd) -> io::Result<Promised> {
    let (mut which, mut fds) = ([0; 2], Vec::new());
    match scm::receive(end, &mut which, &mut fds, Wait::Yes) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => {
            let [mut root, mut network] = [None, None];
            let wanted = [&mut root, &mut network].into_iter().zip(which).filter(|(_, there)| *there != 0);
            wanted.zip(fds).for_each(|((place, _), fd)| *place = Some(fd));
            Ok(Promised { root: root.map(|fd| Mount::from_fd(fd, "overlay")), network })
        }
        Err(error) => Err(error.source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_or_broken() {
        let (promise, end) = Promise::new().unwrap();
        promise.keep(None, None);
        let kept = wait(&end).unwrap();
        assert!(kept.root.is_none() && kept.network.is_none());

        let (promise, end) = Promise::new().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let mount = Mount::from_fd(file.into(), "null");
        promise.keep(Some(&mount), None);
        let kept = wait(&end).unwrap();
        assert!(kept.root.is_some() && kept.network.is_none());

        let (promise, end) = Promise::new().unwrap();
        promise.keep(None, Some(mount.as_fd()));
        let kept = wait(&end).unwrap();
        assert!(kept.root.is_none() && kept.network.is_some());

        let (promise, end) = Promise::new().unwrap();
        promise.keep(Some(&mount), Some(mount.as_fd()));
        let kept = wait(&end).unwrap();
        assert!(kept.root.is_some() && kept.network.is_some());

        let (promise, end) = Promise::new().unwrap();
        drop(promise);
        assert_eq!(wait(&end).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
