//! Published ports: who has which, and holding them against the host's other programs.
//!
//! A published port is also bound by a socket here, which never listens: packets to it are redirected before the
//! kernel looks for a socket, but another program that wants the port gets EADDRINUSE, and we do when one has it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, socket_with, sockopt};
use serde::{Deserialize, Serialize};
use spec::Id;

use crate::Error;

/// A port to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRequest {
    /// In the container.
    pub container_port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// 0.0.0.0 is all addresses.
    pub host_ip: Ipv4Addr,
    /// First and last acceptable host port; `(0, 0)` is any free one.
    pub host_ports: (u16, u16),
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// In the container.
    pub container_port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// On the host.
    pub host_ip: Ipv4Addr,
    /// On the host.
    pub host_port: u16,
}

/// A transport whose ports can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub(crate) fn parse(name: &str) -> Result<Self, Error> {
        match name {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(Error::Invalid(format!("invalid port protocol {name:?}: tcp and udp can be published"))),
        }
    }

    /// Its number in an IP header.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// One holder of a port.
#[derive(Debug)]
struct Claim {
    ip: Ipv4Addr,
    container: Id,
    /// `None` while it is being bound, or when after a restart another program was quicker.
    socket: Option<OwnedFd>,
}

/// Who has which port of this host.
#[derive(Debug, Default)]
pub(crate) struct Ports(Mutex<HashMap<(Protocol, u16), Vec<Claim>>>);

/// Who is in the way.
enum Holder {
    Container(Id),
    Process,
}

impl Ports {
    fn lock(&self) -> MutexGuard<'_, HashMap<(Protocol, u16), Vec<Claim>>> {
        // Every change under this lock is a single insertion or removal: a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the first free port that the request accepts. `name_of` names a container for the message.
    pub(crate) fn claim(
        &self,
        container: &Id,
        request: &PortRequest,
        name_of: impl Fn(&Id) -> Option<String>,
    ) -> Result<PublishedPort, Error> {
        let protocol = Protocol::parse(&request.protocol)?;
        let ip = request.host_ip;
        let (first, last) = request.host_ports;
        if last < first || (first == 0 && last != 0) {
            return Err(Error::Invalid(format!("invalid range of host ports: {first}-{last}")));
        }
        let mut holder = Holder::Process;
        for port in first..=last {
            match self.try_claim(container, protocol, ip, port)? {
                Ok(host_port) => {
                    return Ok(PublishedPort {
                        container_port: request.container_port,
                        protocol: request.protocol.clone(),
                        host_ip: ip,
                        host_port,
                    });
                }
                Err(by) => holder = by,
            }
        }
        let host = if first == last { format!("{ip}:{first}") } else { format!("{ip}:{first}-{last}") };
        let holder = match holder {
            _ if first != last => " (every port of the range)".to_owned(),
            Holder::Process => " (by another process on the host)".to_owned(),
            Holder::Container(id) => {
                let name = name_of(&id).unwrap_or_else(|| id.short().to_owned());
                format!(" (by container {name})")
            }
        };
        Err(Error::PortTaken { host, holder })
    }

    fn try_claim(
        &self,
        container: &Id,
        protocol: Protocol,
        ip: Ipv4Addr,
        port: u16,
    ) -> Result<Result<u16, Holder>, Error> {
        if port == 0 {
            return self.claim_any(container, protocol, ip).map(Ok);
        }
        if let Err(holder) = self.reserve(container, protocol, ip, port, None) {
            return Ok(Err(Holder::Container(holder)));
        }
        match bind_socket(protocol, ip, port) {
            Ok((socket, _)) => {
                self.set_socket(container, protocol, ip, port, socket);
                Ok(Ok(port))
            }
            Err(e) => {
                self.remove(container, protocol, ip, port);
                if e == Errno::ADDRINUSE {
                    return Ok(Err(Holder::Process));
                }
                Err(bind_error(ip, port, e))
            }
        }
    }

    /// A port of the kernel's choice.
    fn claim_any(&self, container: &Id, protocol: Protocol, ip: Ipv4Addr) -> Result<u16, Error> {
        // The kernel's choice is taken by a claim only if that claim has lost its socket: try a few times, no more.
        for _ in 0..64 {
            let (socket, port) = bind_socket(protocol, ip, 0).map_err(|e| bind_error(ip, 0, e))?;
            if self.reserve(container, protocol, ip, port, Some(socket)).is_ok() {
                return Ok(port);
            }
        }
        Err(bind_error(ip, 0, Errno::ADDRINUSE))
    }

    /// Enters a claim; the container in the way otherwise.
    fn reserve(
        &self,
        container: &Id,
        protocol: Protocol,
        ip: Ipv4Addr,
        port: u16,
        socket: Option<OwnedFd>,
    ) -> Result<(), Id> {
        let mut ports = self.lock();
        let claims = ports.entry((protocol, port)).or_default();
        if let Some(other) =
            claims.iter().find(|c| c.ip == ip || c.ip.is_unspecified() || ip.is_unspecified())
        {
            return Err(other.container.clone());
        }
        claims.push(Claim { ip, container: container.clone(), socket });
        Ok(())
    }

    fn set_socket(&self, container: &Id, protocol: Protocol, ip: Ipv4Addr, port: u16, socket: OwnedFd) {
        let mut ports = self.lock();
        let claims = ports.get_mut(&(protocol, port));
        if let Some(claim) =
            claims.and_then(|c| c.iter_mut().find(|c| c.ip == ip && c.container == *container))
        {
            claim.socket = Some(socket);
        }
    }

    fn remove(&self, container: &Id, protocol: Protocol, ip: Ipv4Addr, port: u16) {
        let mut ports = self.lock();
        if let Some(claims) = ports.get_mut(&(protocol, port)) {
            claims.retain(|c| c.ip != ip || c.container != *container);
            if claims.is_empty() {
                ports.remove(&(protocol, port));
            }
        }
    }

    /// Takes a recorded port again after a restart. It goes on working when another program has bound it meanwhile.
    pub(crate) fn restore(&self, container: &Id, published: &PublishedPort) {
        let Ok(protocol) = Protocol::parse(&published.protocol) else { return };
        let (ip, port) = (published.host_ip, published.host_port);
        let socket = bind_socket(protocol, ip, port).ok().map(|(socket, _)| socket);
        // Two records cannot hold one port: each was claimed before it was written.
        let _ = self.reserve(container, protocol, ip, port, socket);
    }

    /// Gives ports back. Those of others are left alone.
    pub(crate) fn release(&self, container: &Id, published: &[PublishedPort]) {
        for port in published {
            if let Ok(protocol) = Protocol::parse(&port.protocol) {
                self.remove(container, protocol, port.host_ip, port.host_port);
            }
        }
    }
}

fn bind_error(ip: Ipv4Addr, port: u16, errno: Errno) -> Error {
    Error::Kernel { step: "bind host port", object: format!("{ip}:{port}"), source: errno.into() }
}

/// Binds without SO_REUSEADDR, so that no other socket can have the port, whatever its options.
fn bind_socket(protocol: Protocol, ip: Ipv4Addr, port: u16) -> Result<(OwnedFd, u16), Errno> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
    };
    let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, Some(number))?;
    if protocol == Protocol::Udp {
        // Nobody reads what slips past the redirection while a port is being published: keep as little as possible.
        sockopt::set_socket_recv_buffer_size(&socket, 1)?;
    }
    bind(&socket, &SocketAddrV4::new(ip, port))?;
    let port = if port == 0 { SocketAddrV4::try_from(getsockname(&socket)?)?.port() } else { port };
    Ok((socket, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(ip: [u8; 4], ports: (u16, u16)) -> PortRequest {
        PortRequest { container_port: 80, protocol: "tcp".into(), host_ip: ip.into(), host_ports: ports }
    }

    fn id(n: u8) -> Id {
        Id::from_bytes([n; 32])
    }

    #[test]
    fn a_port_has_one_holder_and_the_message_names_it() {
        let ports = Ports::default();
        let web = ports.claim(&id(1), &request([127, 0, 0, 1], (0, 0)), |_| None).unwrap();
        let again = request([0, 0, 0, 0], (web.host_port, web.host_port));
        let refused = ports.claim(&id(2), &again, |_| Some("web".into())).unwrap_err().to_string();
        let expected = format!(
            "Bind for 0.0.0.0:{} failed: port is already allocated (by container web)",
            web.host_port
        );
        assert_eq!(refused, expected);
        // Releasing what another holds changes nothing; the holder's own release frees it.
        ports.release(&id(2), std::slice::from_ref(&web));
        assert!(ports.claim(&id(2), &again, |_| None).is_err());
        ports.release(&id(1), std::slice::from_ref(&web));
        ports.claim(&id(2), &again, |_| None).unwrap();
    }

    #[test]
    fn another_program_is_in_the_way_and_is_kept_out() {
        let ports = Ports::default();
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let wanted = request([127, 0, 0, 1], (port, port));
        let refused = ports.claim(&id(1), &wanted, |_| None).unwrap_err().to_string();
        assert!(refused.ends_with("(by another process on the host)"), "{refused}");
        drop(other);
        ports.claim(&id(1), &wanted, |_| None).unwrap();
        // std sets SO_REUSEADDR, as most servers do.
        let refused = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_range_gives_its_first_free_port() {
        let ports = Ports::default();
        let first = ports.claim(&id(1), &request([127, 0, 0, 1], (0, 0)), |_| None).unwrap().host_port;
        let range = request([127, 0, 0, 1], (first, first.saturating_add(20)));
        let second = ports.claim(&id(2), &range, |_| None).unwrap().host_port;
        assert!(second > first && second <= first + 20);
    }
}
