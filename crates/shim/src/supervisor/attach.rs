//! `Attach`: one more client for init's streams.

use std::os::unix::net::UnixStream;

use runtime::Failure;
use shim::message::Incoming;
use shim::proto::Attach;

use super::Supervisor;
use super::request::{ended, errno, failure, refusal};

/// The socket that came with a request.
pub(super) fn socket(incoming: &mut Incoming) -> Result<UnixStream, Failure> {
    let fd =
        incoming.fd().ok_or_else(|| refusal("attach", errno::EINVAL, "no socket came with the request"))?;
    let socket = UnixStream::from(fd);
    // What is no socket has no local address.
    socket.local_addr().map_err(|e| failure("attach", "", &e))?;
    Ok(socket)
}

impl Supervisor {
    pub(super) fn attach(&mut self, attach: Attach, incoming: &mut Incoming) -> Result<(), Failure> {
        let socket = socket(incoming)?;
        let container = self.container.as_mut().ok_or_else(|| ended("attach"))?;
        if container.init.end.is_some_and(|end| end.finished) {
            return Err(ended("attach"));
        }
        container.init.streams.attach(attach, socket).map_err(|e| failure("attach", "", &e))
    }
}
