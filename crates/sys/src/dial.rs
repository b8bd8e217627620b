//! Connections that are made without waiting (connect(2), EINPROGRESS).

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::{Error, Result};

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Begins to connect. The socket becomes writable when that is decided; `take_error` tells how.
///
/// # Errors
/// socket(2)'s, and connect(2)'s where the answer is known at once.
pub fn tcp(address: SocketAddr) -> Result<TcpStream> {
    let failed = |e: Errno| Error::new("connect", address.to_string(), e);
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = net::socket_with(family, SocketType::STREAM, FLAGS, None).map_err(failed)?;
    match net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket.into()),
        Err(e) => Err(failed(e)),
    }
}

/// Connects; a listener with a full queue is EAGAIN. The socket does not block.
///
/// # Errors
/// socket(2)'s and connect(2)'s.
pub fn unix(path: &Path) -> Result<UnixStream> {
    let failed = |e: Errno| Error::new("connect", path.display().to_string(), e);
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None).map_err(failed)?;
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    net::connect(&socket, &address).map_err(failed)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::poll::{Interest, wait};

    #[test]
    fn a_connection_is_made_and_a_closed_port_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let open = tcp(address).unwrap();
        assert!(wait(&open, Interest::WRITE, None).unwrap());
        assert!(open.take_error().unwrap().is_none());
        drop(listener);
        let refused = match tcp(address) {
            Ok(socket) => {
                assert!(wait(&socket, Interest::WRITE, None).unwrap());
                socket.take_error().unwrap().unwrap()
            }
            Err(e) => e.source,
        };
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let nobody = unix(Path::new("/nonexistent/socket")).unwrap_err();
        assert_eq!(nobody.source.kind(), std::io::ErrorKind::NotFound);
    }
}
