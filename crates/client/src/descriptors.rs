//! A unix socket whose first bytes carry descriptors (unix(7), SCM_RIGHTS): an engine on the same machine reads a
//! directory itself instead of being sent its files.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

/// The most that one message carries.
const MOST: usize = 64;

pub(crate) struct WithDescriptors {
    stream: UnixStream,
    /// Empty once they are sent.
    descriptors: Vec<OwnedFd>,
}

impl WithDescriptors {
    pub(crate) fn new(stream: UnixStream, descriptors: &[OwnedFd]) -> io::Result<Self> {
        if descriptors.len() > MOST {
            return Err(io::Error::other(format!("more than {MOST} directories")));
        }
        let descriptors = descriptors.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>()?;
        Ok(Self { stream, descriptors })
    }

    fn send_first(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<BorrowedFd<'_>> = self.descriptors.iter().map(AsFd::as_fd).collect();
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        Ok(sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut control, flags)?)
    }
}

impl AsyncRead for WithDescriptors {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for WithDescriptors {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.descriptors.is_empty() || bytes.is_empty() {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_io(Interest::WRITABLE, || self.send_first(bytes)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => {
                    self.descriptors.clear();
                    return Poll::Ready(sent);
                }
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
