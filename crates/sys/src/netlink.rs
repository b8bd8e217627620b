//! Netlink sockets and messages (netlink(7)): rtnetlink and nf_tables both stand on it.
//!
//! A [`Socket`] belongs to the network namespace of the thread that opened it, for good: it may be used from any
//! thread afterwards. Requests go out in batches, one sendmsg(2) for many; the kernel answers during the call, so
//! nothing is waited for.
//!
//! | room | what is in it |
//! |---|---|
//! | [`route`] | links, addresses, routes (rtnetlink(7)) |
//! | [`conntrack`] | connections that the kernel tracks |
//! | [`nft`] | tables, chains, rules, sets and maps (nf_tables, `linux/netfilter/nf_tables.h`) |

pub mod conntrack;
pub mod nft;
pub mod route;

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, getsockname, recv, send, socket_with,
};

use crate::{Error, Result};

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Larger than any message the kernel makes: dumps are cut at 32 KiB (`NLMSG_GOODSIZE` and netlink(7)).
const RECEIVE: usize = 64 * 1024;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

/// Set in the kind of an attribute that holds attributes.
const NESTED: u16 = 0x8000;

/// Which part of the kernel a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// rtnetlink(7).
    Route,
    /// nf_tables and connection tracking.
    Netfilter,
}

/// A netlink socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    family: Family,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// socket(2)'s and bind(2)'s.
    pub fn open(family: Family) -> Result<Self> {
        Self::subscribed(family, 0)
    }

    /// Opens a socket that also hears the notifications of these groups (a mask, as in `struct sockaddr_nl`).
    fn subscribed(family: Family, groups: u32) -> Result<Self> {
        let error = |e: Errno| Error::new("open netlink socket", format!("{family:?}"), e);
        let protocol = match family {
            Family::Route => None,
            Family::Netfilter => Some(NETFILTER),
        };
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
            .map_err(error)?;
        bind(&fd, &SocketAddrNetlink::new(0, groups)).map_err(error)?;
        Ok(Self { fd, family })
    }

    /// The number by which notifications name this socket as the cause of a change.
    ///
    /// # Errors
    /// getsockname(2)'s.
    pub fn port(&self) -> Result<u32> {
        let error = |e: Errno| Error::new("getsockname", "netlink socket", e);
        let address = getsockname(&self.fd).map_err(error)?;
        SocketAddrNetlink::try_from(address).map(|address| address.pid()).map_err(error)
    }

    /// Sends a batch and reads its answers. All requests of an rtnetlink batch are tried, whatever becomes of the
    /// others; an nf_tables batch is a transaction.
    ///
    /// # Errors
    /// The first request that failed, by its own step and object.
    fn run(&mut self, batch: &Batch) -> Result<()> {
        if batch.steps.is_empty() {
            return Ok(());
        }
        let whole = |e: Errno| Error::new("send netlink batch", format!("{:?}", self.family), e);
        send(&self.fd, &batch.bytes, SendFlags::empty()).map_err(whole)?;
        let mut failure: Option<Error> = None;
        let mut buffer = vec![0; RECEIVE];
        loop {
            let length = match recv(&self.fd, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                // The kernel has answered all it will: it does so within send(2).
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(failure.unwrap_or_else(|| whole(e))),
            };
            for message in Messages(&buffer[..length]) {
                let Some(errno) = message.errno() else { continue };
                // The batch's own begin and end have no step; their failure is the whole batch's.
                let step = (message.sequence as usize).checked_sub(1).and_then(|i| batch.steps.get(i));
                let error = match step {
                    Some(step) if step.tolerated == Some(errno) => continue,
                    Some(step) => Error::new(step.what, step.object.clone(), errno),
                    None => whole(errno),
                };
                failure.get_or_insert(error);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Sends one request whose answer is data, and gives the payload of each message of the answer to `each`.
    fn query(&mut self, batch: &Batch, mut each: impl FnMut(u16, &[u8])) -> Result<()> {
        let step = batch.steps.first().expect("a query has one request");
        let error = |e: Errno| Error::new(step.what, step.object.clone(), e);
        send(&self.fd, &batch.bytes, SendFlags::empty()).map_err(error)?;
        let mut buffer = vec![0; RECEIVE];
        loop {
            let length = match recv(&self.fd, &mut buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => length,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(error(e)),
            };
            for message in Messages(&buffer[..length]) {
                match message.kind {
                    NLMSG_DONE => return Ok(()),
                    // An error, or with number 0 the acknowledgement that ends an answer of one message.
                    NLMSG_ERROR => return message.errno().map_or(Ok(()), |e| Err(error(e))),
                    kind => each(kind, message.payload),
                }
            }
        }
    }
}

/// What a request was for, so that its failure can say so.
#[derive(Debug)]
struct Step {
    what: &'static str,
    object: String,
    tolerated: Option<Errno>,
}

/// Requests on their way. The n-th has sequence number n, from 1.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    steps: Vec<Step>,
}

impl Batch {
    /// Appends a request: `fixed` is the family's own header, `attributes` writes what follows it.
    fn push(
        &mut self,
        (what, object): (&'static str, &str),
        (kind, flags): (u16, u16),
        fixed: &[u8],
        attributes: impl FnOnce(&mut Writer<'_>),
    ) {
        self.steps.push(Step { what, object: object.to_owned(), tolerated: None });
        let sequence = u32::try_from(self.steps.len()).expect("a batch is short");
        self.push_raw(kind, flags, sequence, fixed, attributes);
    }

    /// Appends a message that is no step of its own.
    fn push_raw(
        &mut self,
        kind: u16,
        flags: u16,
        sequence: u32,
        fixed: &[u8],
        attributes: impl FnOnce(&mut Writer<'_>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(fixed);
        attributes(&mut Writer(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - start).expect("a message is short");
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// The last request may fail with this number: that is as good as success.
    fn tolerate(&mut self, errno: Errno) {
        if let Some(step) = self.steps.last_mut() {
            step.tolerated = Some(errno);
        }
    }
}

/// Writes attributes (`struct nlattr`), padded to four bytes.
struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    /// What is written already.
    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.within(kind, |w| w.raw(value));
    }

    fn string(&mut self, kind: u16, value: &str) {
        self.within(kind, |w| {
            w.0.extend_from_slice(value.as_bytes());
            w.0.push(0);
        });
    }

    /// In the host's byte order, as rtnetlink has it.
    fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// In network byte order, as nf_tables has it.
    fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Writer<'_>)) {
        self.within(kind | NESTED, inner);
    }

    fn within(&mut self, kind: u16, inner: impl FnOnce(&mut Writer<'_>)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        inner(&mut Writer(&mut *self.0));
        let length = u16::try_from(self.0.len() - start).expect("an attribute is shorter than 64 KiB");
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// A received message.
struct Message<'a> {
    kind: u16,
    sequence: u32,
    /// In a notification, the socket that caused it.
    port: u32,
    payload: &'a [u8],
}

impl Message<'_> {
    /// The error this message reports, if it is one.
    fn errno(&self) -> Option<Errno> {
        if self.kind != NLMSG_ERROR {
            return None;
        }
        let negative = i32::from_ne_bytes(self.payload.get(..4)?.try_into().ok()?);
        (negative != 0).then(|| Errno::from_raw_os_error(-negative))
    }
}

/// The messages of one datagram. Ends at the first that is cut short.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let header = self.0.get(..HEADER)?;
        let length = usize::try_from(number(&header[..4])).ok()?;
        let payload = self.0.get(HEADER..length)?;
        let message = Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            sequence: number(&header[8..12]),
            port: number(&header[12..16]),
            payload,
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// The attributes in a payload, with the flag bits of their kinds removed. Ends at the first that is cut short.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let header = self.0.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([header[2], header[3]]) & 0x3fff, value))
    }
}

/// A number in the host's byte order; 0 when it is not four bytes long.
fn number(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_ne_bytes)
}

/// The text of a string attribute, without its end.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nested_lengths_hold() {
        let mut bytes = Vec::new();
        let mut writer = Writer(&mut bytes);
        writer.nest(7, |w| {
            w.string(1, "lo");
            w.u32(2, 9);
        });
        writer.bytes(3, &[1]);
        let outer: Vec<_> = Attributes(&bytes).collect();
        assert_eq!(outer.len(), 2);
        assert_eq!(outer[0].0, 7);
        let inner: Vec<_> = Attributes(outer[0].1).collect();
        assert_eq!(text(inner[0].1), "lo");
        assert_eq!(number(inner[1].1), 9);
        assert_eq!(outer[1], (3, &[1][..]));
    }

    #[test]
    fn truncated_input_ends_the_iteration() {
        let mut batch = Batch::default();
        batch.push(("test", "x"), (16, 0), &[0; 16], |w| w.string(3, "eth0"));
        for length in 0..batch.bytes.len() {
            assert_eq!(Messages(&batch.bytes[..length]).count(), 0);
        }
        assert_eq!(Messages(&batch.bytes).count(), 1);
        assert_eq!(Attributes(&[255, 0, 1, 0, 0]).count(), 0);
        assert_eq!(Attributes(&[0, 0, 0, 0, 0, 0, 0, 0]).count(), 0, "a length of 0 must not loop");
    }
}
