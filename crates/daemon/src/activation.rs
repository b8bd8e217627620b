//! Sockets that the service manager opened before this process was there (sd_listen_fds(3)).

use std::io;
use std::os::fd::OwnedFd;

/// The first inherited socket's number.
const FIRST: i32 = 3;

/// The inherited sockets: number and name of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inherited(Vec<(i32, String)>);

/// Why a socket cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are none.
    #[error(
        "no sockets found via socket activation: make sure the service was started by systemd, through its .socket unit"
    )]
    None,
    /// There are, but not that one.
    #[error("no socket of the name or number {wanted:?} was inherited; there are: {}", there.join(", "))]
    Missing {
        /// What was asked for.
        wanted: String,
        /// Names and numbers.
        there: Vec<String>,
    },
    /// It is no listening socket.
    #[error("descriptor {number} is no listening socket")]
    NoSocket {
        /// Its number.
        number: i32,
        /// Why.
        source: io::Error,
    },
    /// It cannot be taken over.
    #[error(transparent)]
    Descriptor(#[from] sys::Error),
}

/// One that was taken over.
#[derive(Debug)]
pub enum Socket {
    /// At a path, which is the service manager's to remove.
    Unix(std::os::unix::net::UnixListener),
    /// On an address.
    Tcp(std::net::TcpListener),
}

impl Inherited {
    /// As the environment tells it.
    pub fn from_env() -> Self {
        Self::read(std::process::id(), |name| std::env::var(name).ok())
    }

    fn read(pid: u32, env: impl Fn(&str) -> Option<String>) -> Self {
        if env("LISTEN_PID").and_then(|p| p.parse().ok()) != Some(pid) {
            return Self::default();
        }
        let count: i32 = env("LISTEN_FDS").and_then(|n| n.parse().ok()).unwrap_or(0);
        let names = env("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let sockets = (FIRST..FIRST + count.clamp(0, 1024))
            .map(|number| (number, names.next().unwrap_or_default().to_owned()))
            .collect();
        Self(sockets)
    }

    /// The sockets that `fd://which` means: all, the one of this number, or those of this name.
    fn find(&self, which: &str) -> Result<Vec<i32>, Error> {
        if self.0.is_empty() {
            return Err(Error::None);
        }
        let number: Option<i32> = which.parse().ok();
        let fits = |(n, name): &&(i32, String)| which.is_empty() || number == Some(*n) || name == which;
        let found: Vec<i32> = self.0.iter().filter(fits).map(|(n, _)| *n).collect();
        if found.is_empty() {
            let there = self.0.iter().map(|(n, name)| format!("{n} {name:?}")).collect();
            return Err(Error::Missing { wanted: which.into(), there });
        }
        Ok(found)
    }

    /// Takes them over, not blocking.
    ///
    /// # Errors
    /// There is none such, or it is no listening socket.
    pub fn take(&self, which: &str) -> Result<Vec<Socket>, Error> {
        self.find(which)?
            .into_iter()
            .map(|number| {
                let no_socket = |source| Error::NoSocket { number, source };
                let fd = sys::process::inherited(number)?;
                Socket::of(fd).map_err(no_socket)
            })
            .collect()
    }
}

impl Socket {
    fn of(fd: OwnedFd) -> io::Result<Self> {
        // Only an address of its own family is read as such.
        let unix = std::os::unix::net::UnixListener::from(fd.try_clone()?);
        if unix.local_addr().is_ok() {
            unix.set_nonblocking(true)?;
            return Ok(Self::Unix(unix));
        }
        let tcp = std::net::TcpListener::from(fd);
        tcp.local_addr()?;
        tcp.set_nonblocking(true)?;
        Ok(Self::Tcp(tcp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_found_by_number_and_name() {
        let read = |pid: u32| {
            Inherited::read(pid, |name| match name {
                "LISTEN_PID" => Some("7".into()),
                "LISTEN_FDS" => Some("3".into()),
                "LISTEN_FDNAMES" => Some("api:metrics".into()),
                _ => None,
            })
        };
        assert_eq!(read(8), Inherited::default());
        let inherited = read(7);
        for (which, found) in [("", vec![3, 4, 5]), ("api", vec![3]), ("5", vec![5]), ("metrics", vec![4])] {
            assert_eq!(inherited.find(which).unwrap(), found, "{which}");
        }
        assert!(matches!(inherited.find("x"), Err(Error::Missing { .. })));
        assert!(matches!(read(8).find(""), Err(Error::None)));
    }

    #[test]
    fn what_is_no_socket_is_refused() {
        use std::os::fd::OwnedFd;
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(matches!(Socket::of(OwnedFd::from(socket)), Ok(Socket::Tcp(_))));
        assert!(Socket::of(std::fs::File::open("/dev/null").unwrap().into()).is_err());
    }
}
