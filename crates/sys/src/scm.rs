//! Messages with file descriptors over unix sockets (unix(7), SCM_RIGHTS).

#![allow(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::{Error, Result};

/// The most fds one message carries here (the kernel's own bound is 253).
pub const MAX_FDS: usize = 64;

/// The longest path a socket address holds, its final zero byte left out (`sun_path`, unix(7)).
const MAX_PATH: usize = 107;

/// Whether a call waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until it can be done (or the socket's timeout has passed).
    Yes,
    /// It fails with EAGAIN instead.
    No,
}

/// Sends bytes, with `fds` on the first of them; how many bytes were taken. A closed peer is EPIPE, not a signal.
///
/// # Errors
/// sendmsg(2)'s; EINVAL for more than [`MAX_FDS`] fds or for fds without a byte to carry them.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>], wait: Wait) -> Result<usize> {
    let failed = |e: rustix::io::Errno| Error::new("send", "socket", e);
    if fds.len() > MAX_FDS || (bytes.is_empty() && !fds.is_empty()) {
        return Err(failed(rustix::io::Errno::INVAL));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(failed(rustix::io::Errno::INVAL));
    }
    let mut flags = SendFlags::NOSIGNAL;
    flags.set(SendFlags::DONTWAIT, wait == Wait::No);
    retry(|| sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, flags)).map_err(failed)
}

/// Sends one fd over a connected datagram socket, in a message without bytes, without waiting.
///
/// # Errors
/// sendmsg(2)'s.
pub fn send_fd(socket: impl AsFd, fd: BorrowedFd<'_>) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)), "there is room for one");
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    retry(|| sendmsg(&socket, &[], &mut control, flags))
        .map(drop)
        .map_err(|e| Error::new("send", "socket", e))
}

/// Receives what there is, up to the buffer's length, and appends the fds that came with it, close-on-exec.
/// 0 is the end.
///
/// # Errors
/// recvmsg(2)'s; EMSGSIZE when more than [`MAX_FDS`] fds came (those that did not fit are closed).
pub fn receive(socket: impl AsFd, buffer: &mut [u8], fds: &mut Vec<OwnedFd>, wait: Wait) -> Result<usize> {
    let failed = |e: rustix::io::Errno| Error::new("receive", "socket", e);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut flags = RecvFlags::CMSG_CLOEXEC;
    flags.set(RecvFlags::DONTWAIT, wait == Wait::No);
    let message =
        retry(|| recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)).map_err(failed)?;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received);
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(failed(rustix::io::Errno::MSGSIZE));
    }
    Ok(message.bytes)
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            done => return done,
        }
    }
}

/// The number at which a program finds the socket that its parent passed to it.
pub const INHERITED: i32 = 3;

/// Takes the socket that the parent passed as fd [`INHERITED`], once, and makes it close-on-exec. For the
/// beginning of `main`, before anything else is opened.
///
/// # Errors
/// EBADF or ENOTSOCK when no socket was passed; EBUSY the second time.
pub fn inherited() -> Result<UnixStream> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let failed = |e: rustix::io::Errno| Error::new("take the inherited socket", INHERITED.to_string(), e);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(failed(rustix::io::Errno::BUSY));
    }
    // SAFETY: fcntl on a plain number; one that is not open is refused with EBADF.
    if unsafe { libc::fcntl(INHERITED, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(Error::new("take the inherited socket", "", std::io::Error::last_os_error()));
    }
    // SAFETY: the descriptor is open, was opened before this program began and is taken only once, so by the
    // promise of the caller (nothing was opened yet) no other value owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(INHERITED) };
    rustix::net::sockopt::socket_type(&fd).map_err(failed)?;
    Ok(fd.into())
}

/// Listens at `path`, which must not exist. The path may be longer than a socket address: its directory is
/// opened, and the socket made through that.
///
/// # Errors
/// open(2)'s of the directory, bind(2)'s and listen(2)'s.
pub fn listen(path: &Path) -> Result<UnixListener> {
    through_directory(path, |short| UnixListener::bind(short))
        .map_err(|e| Error::new("listen", text(path), e))
}

/// Connects to the socket at `path`, as [`listen`] treats it.
///
/// # Errors
/// open(2)'s of the directory and connect(2)'s.
pub fn connect(path: &Path) -> Result<UnixStream> {
    through_directory(path, |short| UnixStream::connect(short))
        .map_err(|e| Error::new("connect", text(path), e))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn through_directory<T>(path: &Path, act: impl FnOnce(&Path) -> std::io::Result<T>) -> std::io::Result<T> {
    if path.as_os_str().len() <= MAX_PATH {
        return act(path);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(rustix::io::Errno::INVAL.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(parent, flags, Mode::empty())?;
    let mut short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    short.push(name);
    act(&short)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn bytes_and_fds_arrive_together() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        assert_eq!(send(&ours, b"hello", &[writer.as_fd()], Wait::Yes).unwrap(), 5);
        drop(writer);
        let (mut buffer, mut fds) = ([0; 16], Vec::new());
        assert_eq!(receive(&theirs, &mut buffer, &mut fds, Wait::No).unwrap(), 5);
        let mut writer = std::fs::File::from(fds.pop().unwrap());
        assert!(rustix::io::fcntl_getfd(&writer).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        writer.write_all(b"through").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        assert_eq!(receive(&theirs, &mut buffer, &mut fds, Wait::No).unwrap_err().errno(), libc::EAGAIN);
        drop(ours);
        assert_eq!(receive(&theirs, &mut buffer, &mut fds, Wait::Yes).unwrap(), 0);
    }

    #[test]
    fn a_path_longer_than_an_address_works() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("d".repeat(100)).join("e".repeat(100));
        crate::file::create_dir_all(&deep, 0o700).unwrap();
        let path = deep.join("s.sock");
        let listener = listen(&path).unwrap();
        connect(&path).unwrap().write_all(b"x").unwrap();
        let mut byte = [0];
        listener.accept().unwrap().0.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }
}
