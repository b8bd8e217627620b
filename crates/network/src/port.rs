//! Published ports: who has which, and holding them against the host's other programs.
//!
//! A published port is also bound by a socket here, which never listens: packets to it are redirected before the
//! kernel looks for a socket, but another program that wants the port gets EADDRINUSE, and we do when one has it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, listen, socket_with, sockopt,
};
use serde::{Deserialize, Serialize};
use spec::Id;

use crate::Error;

/// A port to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRequest {
    /// In the container.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// 0.0.0.0 and :: are all addresses of a family; `None` is what the network says, else both.
    pub host_ip: Option<IpAddr>,
    /// First and last acceptable host port; `(0, 0)` is any free one.
    pub host_ports: (u16, u16),
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// In the container.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// On the host.
    pub host_ip: IpAddr,
    /// On the host; 0 when it is reached at the container's address only.
    pub host_port: u16,
}

/// A transport whose ports can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub(crate) fn parse(name: &str) -> Result<Self, Error> {
        match name {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(Error::Invalid(format!(
                "invalid port protocol {name:?}: tcp, udp and sctp can be published"
            ))),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// Its number in an IP header.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// One holder of a port.
#[derive(Debug)]
struct Claim {
    ip: IpAddr,
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

    /// Takes the first free port that the request accepts, the same on each of these addresses. `name_of` names a
    /// container for the message.
    pub(crate) fn claim(
        &self,
        container: &Id,
        request: &PortRequest,
        addresses: &[IpAddr],
        name_of: impl Fn(&Id) -> Option<String>,
    ) -> Result<Vec<PublishedPort>, Error> {
        let protocol = Protocol::parse(&request.protocol)?;
        let (first, last) = request.host_ports;
        if last < first || (first == 0 && last != 0) {
            return Err(Error::Invalid(format!("invalid range of host ports: {first}-{last}")));
        }
        let mut way = (addresses.first().copied(), Holder::Process);
        // The kernel's choice for one family may be taken in the other.
        let choices = if last == 0 { 16 } else { 1 };
        for port in (0..choices).flat_map(|_| first..=last) {
            match self.claim_all(container, protocol, addresses, port, request.host_ip.is_none())? {
                Ok(claimed) => {
                    let published = |(host_ip, host_port)| PublishedPort {
                        container_port: request.container_port,
                        protocol: request.protocol.clone(),
                        host_ip,
                        host_port,
                    };
                    return Ok(claimed.into_iter().map(published).collect());
                }
                Err((ip, by)) => way = (Some(ip), by),
            }
        }
        let (ip, holder) = way;
        let host = ip.map(|ip| SocketAddr::new(ip, first).to_string()).unwrap_or_default();
        Err(match holder {
            _ if first != last => Error::PortTaken {
                host: format!("{host}-{last}"),
                holder: " (every port of the range)".to_owned(),
            },
            Holder::Process => Error::PortBound(format!("{host}/{}", request.protocol)),
            Holder::Container(id) => {
                let name = name_of(&id).unwrap_or_else(|| id.short().to_owned());
                Error::PortTaken { host, holder: format!(" (by container {name})") }
            }
        })
    }

    /// One port on all of these addresses, or who is in the way. A family that the host does not have is left out if it
    /// was not asked for by name.
    #[expect(clippy::type_complexity, reason = "an outcome of its own would be used here only")]
    fn claim_all(
        &self,
        container: &Id,
        protocol: Protocol,
        addresses: &[IpAddr],
        port: u16,
        lenient: bool,
    ) -> Result<Result<Vec<(IpAddr, u16)>, (IpAddr, Holder)>, Error> {
        let mut claimed: Vec<(IpAddr, u16)> = Vec::new();
        let give_back = |claimed: &[(IpAddr, u16)]| {
            claimed.iter().for_each(|(ip, port)| self.remove(container, protocol, *ip, *port));
        };
        for ip in addresses {
            let wanted = claimed.first().map_or(port, |(_, port)| *port);
            match self.try_claim(container, protocol, *ip, wanted) {
                Ok(Ok(port)) => claimed.push((*ip, port)),
                Ok(Err(holder)) => {
                    give_back(&claimed);
                    return Ok(Err((*ip, holder)));
                }
                Err(Error::Kernel { source, .. }) if lenient && ip.is_ipv6() && is_missing(&source) => {}
                Err(error) => {
                    give_back(&claimed);
                    return Err(error);
                }
            }
        }
        Ok(Ok(claimed))
    }

    fn try_claim(
        &self,
        container: &Id,
        protocol: Protocol,
        ip: IpAddr,
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
                if let Some(socket) = socket {
                    self.set_socket(container, protocol, ip, port, socket);
                }
                Ok(Ok(port))
            }
            Err(e) => {
                self.remove(container, protocol, ip, port);
                if e == Errno::ADDRINUSE {
                    return Ok(Err(Holder::Process));
                }
                Err(bind_error(protocol, ip, port, e))
            }
        }
    }

    /// A port of the kernel's choice.
    fn claim_any(&self, container: &Id, protocol: Protocol, ip: IpAddr) -> Result<u16, Error> {
        // The kernel's choice is taken by a claim only if that claim has lost its socket: try a few times, no more.
        for _ in 0..64 {
            let (socket, port) = bind_socket(protocol, ip, 0).map_err(|e| bind_error(protocol, ip, 0, e))?;
            if self.reserve(container, protocol, ip, port, socket).is_ok() {
                return Ok(port);
            }
        }
        Err(bind_error(protocol, ip, 0, Errno::ADDRINUSE))
    }

    /// Enters a claim; the container in the way otherwise.
    fn reserve(
        &self,
        container: &Id,
        protocol: Protocol,
        ip: IpAddr,
        port: u16,
        socket: Option<OwnedFd>,
    ) -> Result<(), Id> {
        let mut ports = self.lock();
        let claims = ports.entry((protocol, port)).or_default();
        let in_the_way = |c: &&Claim| {
            c.ip == ip || (c.ip.is_ipv4() == ip.is_ipv4() && (c.ip.is_unspecified() || ip.is_unspecified()))
        };
        if let Some(other) = claims.iter().find(in_the_way) {
            let holder = other.container.clone();
            return Err(holder);
        }
        claims.push(Claim { ip, container: container.clone(), socket });
        Ok(())
    }

    fn set_socket(&self, container: &Id, protocol: Protocol, ip: IpAddr, port: u16, socket: OwnedFd) {
        let mut ports = self.lock();
        let claims = ports.get_mut(&(protocol, port));
        if let Some(claim) =
            claims.and_then(|c| c.iter_mut().find(|c| c.ip == ip && c.container == *container))
        {
            claim.socket = Some(socket);
        }
    }

    fn remove(&self, container: &Id, protocol: Protocol, ip: IpAddr, port: u16) {
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
        if port == 0 {
            return;
        }
        let socket = bind_socket(protocol, ip, port).ok().and_then(|(socket, _)| socket);
        // Two records cannot hold one port: each was claimed before it was written.
        let _ = self.reserve(container, protocol, ip, port, socket);
    }

    /// The socket that holds a port.
    pub(crate) fn socket(&self, container: &Id, published: &PublishedPort) -> Option<OwnedFd> {
        let protocol = Protocol::parse(&published.protocol).ok()?;
        let ports = self.lock();
        let claims = ports.get(&(protocol, published.host_port))?;
        let claim = claims.iter().find(|c| c.ip == published.host_ip && c.container == *container)?;
        claim.socket.as_ref()?.try_clone().ok()
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

fn bind_error(protocol: Protocol, ip: IpAddr, port: u16, errno: Errno) -> Error {
    Error::Kernel {
        step: "failed to bind host port",
        object: format!("{}/{}", SocketAddr::new(ip, port), protocol.name()),
        source: errno.into(),
    }
}

/// Whether the host lacks the family altogether.
fn is_missing(error: &std::io::Error) -> bool {
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

/// Binds so that no other socket can have the port. No socket where the kernel has none of that protocol: then nobody
/// else on this host has one either.
fn bind_socket(protocol: Protocol, ip: IpAddr, port: u16) -> Result<(Option<OwnedFd>, u16), Errno> {
    // Without SO_REUSEADDR others are kept out, whatever their options.
    match bind_as(protocol, ip, port, false) {
        // What is left of an earlier relay's connections (TIME_WAIT) is in nobody's way: then a socket that listens
        // keeps the others out.
        Err(Errno::ADDRINUSE) if protocol == Protocol::Tcp => bind_as(protocol, ip, port, true),
        bound => bound,
    }
}

fn bind_as(
    protocol: Protocol,
    ip: IpAddr,
    port: u16,
    listens: bool,
) -> Result<(Option<OwnedFd>, u16), Errno> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = match socket_with(family, kind, SocketFlags::CLOEXEC, Some(number)) {
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) if protocol == Protocol::Sctp => {
            let chosen = if port == 0 { random_port() } else { port };
            return Ok((None, chosen));
        }
        socket => socket?,
    };
    if ip.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Udp {
        // Nobody reads what slips past the redirection while a port is being published: keep as little as possible.
        sockopt::set_socket_recv_buffer_size(&socket, 1)?;
    }
    if listens {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &SocketAddr::new(ip, port))?;
    if listens {
        listen(&socket, 1)?;
    }
    let port = if port == 0 { SocketAddr::try_from(getsockname(&socket)?)?.port() } else { port };
    Ok((Some(socket), port))
}

/// One of the ports that are nobody's (RFC 6335, 6).
fn random_port() -> u16 {
    49152 | u16::from_ne_bytes(sys::random::bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(ports: &Ports, n: u8, ip: [u8; 4], range: (u16, u16)) -> Result<PublishedPort, String> {
        let ip = IpAddr::from(ip);
        let request =
            PortRequest { container_port: 80, protocol: "tcp".into(), host_ip: Some(ip), host_ports: range };
        let claimed = ports.claim(&id(n), &request, &[ip], |_| Some("web".into()));
        claimed.map(|mut all| all.remove(0)).map_err(|e| e.to_string())
    }

    fn id(n: u8) -> Id {
        Id::from_bytes([n; 32])
    }

    #[test]
    fn a_port_has_one_holder_and_the_message_names_it() {
        let ports = Ports::default();
        let web = claim(&ports, 1, [127, 0, 0, 1], (0, 0)).unwrap();
        let port = web.host_port;
        let again = || claim(&ports, 2, [0, 0, 0, 0], (port, port));
        let expected =
            format!("Bind for 0.0.0.0:{port} failed: port is already allocated (by container web)");
        assert_eq!(again().unwrap_err(), expected);
        // Releasing what another holds changes nothing; the holder's own release frees it.
        ports.release(&id(2), std::slice::from_ref(&web));
        assert!(again().is_err());
        ports.release(&id(1), std::slice::from_ref(&web));
        again().unwrap();
    }

    #[test]
    fn another_program_is_in_the_way_and_is_kept_out() {
        let ports = Ports::default();
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let refused = claim(&ports, 1, [127, 0, 0, 1], (port, port)).unwrap_err();
        assert!(refused.ends_with("(by another process on the host)"), "{refused}");
        drop(other);
        claim(&ports, 1, [127, 0, 0, 1], (port, port)).unwrap();
        // std sets SO_REUSEADDR, as most servers do.
        let refused = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_range_gives_its_first_free_port() {
        let ports = Ports::default();
        let first = claim(&ports, 1, [127, 0, 0, 1], (0, 0)).unwrap().host_port;
        let second = claim(&ports, 2, [127, 0, 0, 1], (first, first.saturating_add(20))).unwrap().host_port;
        assert!(second > first && second <= first + 20);
    }

    #[test]
    fn both_families_have_the_same_port_or_none() {
        let ports = Ports::default();
        let both = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        let any =
            PortRequest { container_port: 1, protocol: "tcp".into(), host_ip: None, host_ports: (0, 0) };
        let claimed = ports.claim(&id(1), &any, &both, |_| None).unwrap();
        assert_eq!(claimed[0].host_port, claimed[1].host_port);
        let other = std::net::TcpListener::bind("[::1]:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let taken = PortRequest { host_ports: (port, port), ..any };
        let refused = ports.claim(&id(2), &taken, &both, |_| None).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("failed to bind host port [::1]:{port}/tcp: ")), "{refused}");
        assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok(), "the other was given back");
    }
}
