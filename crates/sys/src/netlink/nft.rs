//! Tables, chains, rules, sets and maps of nf_tables (`linux/netfilter/nf_tables.h`), as transactions.
//!
//! Only what a table of ours needs; [`others`] looks at the tables of others. User data is written as nft(8) writes it,
//! so that `nft list ruleset` shows types and comments as if it had made the table itself.

mod others;

use std::net::IpAddr;

use rustix::io::Errno;

pub use others::{BaseChain, Change, Rule, Watch, forward_chains, rules};

use super::{Batch, Family, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, Socket, Writer};
use crate::Result;

const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEWTABLE: u16 = SUBSYSTEM;
const GETTABLE: u16 = SUBSYSTEM | 1;
const DELTABLE: u16 = SUBSYSTEM | 2;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const GETCHAIN: u16 = SUBSYSTEM | 4;
const NEWRULE: u16 = SUBSYSTEM | 6;
const GETRULE: u16 = SUBSYSTEM | 7;
const DELRULE: u16 = SUBSYSTEM | 8;
const NEWSET: u16 = SUBSYSTEM | 9;
const NEWSETELEM: u16 = SUBSYSTEM | 12;
const DELSETELEM: u16 = SUBSYSTEM | 14;

const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// `NFNLGRP_NFTABLES`, as a mask.
const NOTIFICATIONS: u32 = 1 << 6;
/// `NFT_REG32_00`: the first of sixteen registers of four bytes.
const REGISTERS: u32 = 8;
const SET_MAP: u32 = 8;
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_DESTINATION: u32 = 2;
const NAT_SOURCE: u32 = 0;
const NAT_DESTINATION: u32 = 1;
const NF_DROP: u32 = 0;

/// Elements in one message; the list is an attribute, so it must stay below 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 250;

/// A register of four bytes, 0 to 15. Longer values take several, one after the other.
pub type Register = u8;

/// Whose packets a table sees (`NFPROTO_`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum TableFamily {
    /// IPv4 and IPv6.
    Inet = 1,
    /// IPv4.
    Ip = NFPROTO_IPV4,
    /// IPv6.
    Ip6 = NFPROTO_IPV6,
}

impl TableFamily {
    fn parse(number: u8) -> Option<Self> {
        [Self::Inet, Self::Ip, Self::Ip6].into_iter().find(|family| *family as u8 == number)
    }
}

/// Where a base chain hooks in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Hook {
    /// All that arrives.
    Prerouting = 0,
    /// What is routed through.
    Forward = 2,
    /// What this host sends.
    Output = 3,
    /// All that leaves.
    Postrouting = 4,
}

/// What a base chain is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    /// Sees each packet.
    Filter,
    /// Sees the first packet of each connection.
    Nat,
}

/// How nft(8) shows a part of a key, and how long it is. Each starts at a multiple of four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A protocol's number.
    Protocol,
    /// A port.
    Port,
    /// An interface's name, 16 bytes.
    Interface,
}

impl Type {
    /// nft(8)'s number of the type.
    const fn number(self) -> u32 {
        match self {
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Protocol => 12,
            Self::Port => 13,
            Self::Interface => 41,
        }
    }

    /// Length in a key, padded.
    const fn length(self) -> u32 {
        match self {
            Self::Ipv4 | Self::Protocol | Self::Port => 4,
            Self::Ipv6 | Self::Interface => 16,
        }
    }
}

/// A set, or with `data` a map.
#[derive(Debug, Clone, Copy)]
pub struct Set<'a> {
    /// Its name.
    pub name: &'a str,
    /// The parts of its key.
    pub key: &'a [Type],
    /// The parts of a map's values.
    pub data: Option<&'a [Type]>,
}

/// An element of a set or map. Keys and values are built by [`Key`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element {
    /// As long as the set's key.
    pub key: Vec<u8>,
    /// A map's value.
    pub data: Option<Vec<u8>>,
    /// Shown by nft(8); may be empty. At most 127 bytes of it are kept.
    pub comment: String,
}

/// Builds keys and values: each part in network byte order, padded to four bytes.
#[derive(Debug, Default)]
pub struct Key(Vec<u8>);

impl Key {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an address.
    #[must_use]
    pub fn ip(mut self, ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => self.0.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => self.0.extend_from_slice(&ip.octets()),
        }
        self
    }

    /// Adds a protocol's number.
    #[must_use]
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.0.extend_from_slice(&[protocol, 0, 0, 0]);
        self
    }

    /// Adds a port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.0.extend_from_slice(&port.to_be_bytes());
        self.0.extend_from_slice(&[0; 2]);
        self
    }

    /// Adds an interface's name; what is beyond 15 bytes is cut.
    #[must_use]
    pub fn interface(mut self, name: &str) -> Self {
        let end = self.0.len() + 16;
        self.0.extend(name.bytes().take(15));
        self.0.resize(end, 0);
        self
    }

    /// The bytes.
    pub fn build(self) -> Vec<u8> {
        self.0
    }
}

/// What a rule does with a packet, one after the other; a comparison or look-up that fails ends the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression<'a> {
    /// The interface the packet came in by, as a number in host byte order; 0 for what this host sends.
    InputIndex(Register),
    /// The interface the packet came in by, 16 bytes.
    InputInterface(Register),
    /// The interface the packet leaves by, 16 bytes.
    OutputInterface(Register),
    /// TCP, UDP …: one byte.
    Protocol(Register),
    /// `NFPROTO_IPV4` (2) or `NFPROTO_IPV6` (10): one byte.
    Family(Register),
    /// Of IPv4: four bytes.
    DestinationAddress(Register),
    /// Of IPv6: sixteen bytes.
    DestinationAddress6(Register),
    /// Of TCP, UDP or SCTP: two bytes.
    DestinationPort(Register),
    /// What the destination is to this host: one of the kernel's `RTN_` numbers, in host byte order.
    DestinationKind(Register),
    /// The connection's state bits (`NF_CT_STATE_BIT`), in host byte order.
    ConnectionState(Register),
    /// The connection's status bits (`IPS_`), in host byte order.
    ConnectionStatus(Register),
    /// Keeps only these bits of a register, in host byte order.
    Mask(Register, u32),
    /// Goes on if the register starts with the value.
    Equal(Register, Vec<u8>),
    /// Goes on if it does not.
    NotEqual(Register, Vec<u8>),
    /// Goes on if the set has the key.
    In(Register, &'a str),
    /// Goes on if it has not.
    NotIn(Register, &'a str),
    /// Goes on if the map has the key, with its value in the second register.
    Map(Register, &'a str, Register),
    /// Puts a value into a register.
    Load(Register, Vec<u8>),
    /// Sends the connection to the IPv4 address and port in these registers.
    Dnat(Register, Register),
    /// The same, to an IPv6 address.
    Dnat6(Register, Register),
    /// Gives the connection the IPv4 address in the register as source.
    Snat(Register),
    /// The same, an IPv6 address.
    Snat6(Register),
    /// Gives the connection this host's address as source.
    Masquerade,
    /// Counts packets and bytes.
    Counter,
    /// Ends this base chain: later ones may still drop.
    Accept,
    /// Drops, for good.
    Drop,
    /// Goes through another chain of the table, and then on.
    Jump(&'a str),
}

impl Expression<'_> {
    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::InputIndex(to) => meta(w, 4, *to),
            Self::InputInterface(to) => meta(w, 6, *to),
            Self::OutputInterface(to) => meta(w, 7, *to),
            Self::Protocol(to) => meta(w, 16, *to),
            Self::Family(to) => meta(w, 15, *to),
            Self::DestinationAddress(to) => payload(w, [1, 16, 4], *to),
            Self::DestinationAddress6(to) => payload(w, [1, 24, 16], *to),
            Self::DestinationPort(to) => payload(w, [2, 2, 2], *to),
            Self::DestinationKind(to) => expression(w, "fib", |w| {
                w.be32(1, register(*to));
                w.be32(2, FIB_ADDRESS_TYPE);
                w.be32(3, FIB_DESTINATION);
            }),
            Self::ConnectionState(to) => ct(w, 0, *to),
            Self::ConnectionStatus(to) => ct(w, 2, *to),
            Self::Mask(of, mask) => expression(w, "bitwise", |w| {
                w.be32(1, register(*of));
                w.be32(2, register(*of));
                w.be32(3, 4);
                w.nest(4, |w| w.u32(1, *mask));
                w.nest(5, |w| w.u32(1, 0));
            }),
            Self::Equal(from, value) => compare(w, *from, 0, value),
            Self::NotEqual(from, value) => compare(w, *from, 1, value),
            Self::In(from, set) => lookup(w, set, *from, |_| ()),
            Self::NotIn(from, set) => lookup(w, set, *from, |w| w.be32(5, 1)),
            Self::Map(from, map, to) => lookup(w, map, *from, |w| w.be32(3, register(*to))),
            Self::Load(to, value) => expression(w, "immediate", |w| {
                w.be32(1, register(*to));
                w.nest(2, |w| w.bytes(1, value));
            }),
            Self::Dnat(address, port) => nat(w, (NAT_DESTINATION, NFPROTO_IPV4), *address, Some(*port)),
            Self::Dnat6(address, port) => nat(w, (NAT_DESTINATION, NFPROTO_IPV6), *address, Some(*port)),
            Self::Snat(address) => nat(w, (NAT_SOURCE, NFPROTO_IPV4), *address, None),
            Self::Snat6(address) => nat(w, (NAT_SOURCE, NFPROTO_IPV6), *address, None),
            Self::Masquerade => expression(w, "masq", |_| ()),
            Self::Counter => expression(w, "counter", |w| {
                w.bytes(1, &[0; 8]);
                w.bytes(2, &[0; 8]);
            }),
            Self::Accept => verdict(w, 1, None),
            Self::Drop => verdict(w, 0, None),
            Self::Jump(chain) => verdict(w, -3, Some(chain)),
        }
    }
}

fn register(number: Register) -> u32 {
    REGISTERS + u32::from(number)
}

/// An expression: its kind's name, and its kind's attributes.
fn expression(w: &mut Writer<'_>, name: &str, data: impl FnOnce(&mut Writer<'_>)) {
    w.nest(1, |w| {
        w.string(1, name);
        w.nest(2, data);
    });
}

fn meta(w: &mut Writer<'_>, key: u32, to: Register) {
    expression(w, "meta", |w| {
        w.be32(1, register(to));
        w.be32(2, key);
    });
}

fn ct(w: &mut Writer<'_>, key: u32, to: Register) {
    expression(w, "ct", |w| {
        w.be32(1, register(to));
        w.be32(2, key);
    });
}

/// `place`: base (1 network header, 2 transport header), offset and length in bytes.
fn payload(w: &mut Writer<'_>, place: [u32; 3], to: Register) {
    expression(w, "payload", |w| {
        w.be32(1, register(to));
        w.be32(2, place[0]);
        w.be32(3, place[1]);
        w.be32(4, place[2]);
    });
}

fn nat(w: &mut Writer<'_>, (kind, family): (u32, u8), address: Register, port: Option<Register>) {
    expression(w, "nat", |w| {
        w.be32(1, kind);
        w.be32(2, u32::from(family));
        w.be32(3, register(address));
        if let Some(port) = port {
            w.be32(5, register(port));
        }
    });
}

fn compare(w: &mut Writer<'_>, from: Register, operation: u32, value: &[u8]) {
    expression(w, "cmp", |w| {
        w.be32(1, register(from));
        w.be32(2, operation);
        w.nest(3, |w| w.bytes(1, value));
    });
}

fn lookup(w: &mut Writer<'_>, set: &str, from: Register, more: impl FnOnce(&mut Writer<'_>)) {
    expression(w, "lookup", |w| {
        w.string(1, set);
        w.be32(2, register(from));
        more(w);
    });
}

/// `code`: `NF_DROP`, `NF_ACCEPT` or `NFT_JUMP`; register 0 is the verdict's.
fn verdict(w: &mut Writer<'_>, code: i32, chain: Option<&str>) {
    expression(w, "immediate", |w| {
        w.be32(1, 0);
        w.nest(2, |w| {
            w.nest(2, |w| {
                w.bytes(1, &code.to_be_bytes());
                if let Some(chain) = chain {
                    w.string(2, chain);
                }
            });
        });
    });
}

/// Changes to one table, made all or not at all.
#[derive(Debug)]
pub struct Transaction {
    family: TableFamily,
    table: String,
    batch: Batch,
    sets: u32,
}

/// `struct nfgenmsg`.
const fn header(family: u8, resource: u16) -> [u8; 4] {
    let resource = resource.to_be_bytes();
    [family, 0, resource[0], resource[1]]
}

/// A comment as user data: type 0 (7 for sets), length, text, NUL.
fn comment(w: &mut Writer<'_>, kind: u16, text: &str) {
    if !text.is_empty() {
        w.bytes(kind, &comment_data(0, text));
    }
}

fn comment_data(user_type: u8, text: &str) -> Vec<u8> {
    let end = (0..=text.len().min(127)).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    let mut data = vec![user_type, u8::try_from(end + 1).expect("at most 128")];
    data.extend_from_slice(&text.as_bytes()[..end]);
    data.push(0);
    data
}

impl Transaction {
    /// No changes yet.
    pub fn new(family: TableFamily, table: &str) -> Self {
        let mut batch = Batch::default();
        batch.push_raw(BATCH_BEGIN, 0, 0, &header(0, 10), |_| ());
        Self { family, table: table.to_owned(), batch, sets: 0 }
    }

    fn push(
        &mut self,
        step: (&'static str, &str),
        (kind, flags): (u16, u16),
        attributes: impl FnOnce(&mut Writer<'_>),
    ) {
        let table = &self.table;
        self.batch.push(step, (kind, flags), &header(self.family as u8, 0), |w| {
            w.string(1, table);
            attributes(w);
        });
    }

    /// Makes the table; one that is there is kept.
    pub fn add_table(&mut self, text: &str) {
        let table = self.table.clone();
        self.push(("add nftables table", &table), (NEWTABLE, NLM_F_CREATE), |w| {
            w.be32(2, 0);
            comment(w, 6, text);
        });
    }

    /// Removes the table with all that is in it. It must be there: [`add_table`](Self::add_table) first if unsure.
    pub fn delete_table(&mut self) {
        let table = self.table.clone();
        self.push(("delete nftables table", &table), (DELTABLE, 0), |_| ());
    }

    /// Adds a chain that others jump to.
    pub fn add_chain(&mut self, name: &str, text: &str) {
        self.push(("add nftables chain", name), (NEWCHAIN, NLM_F_CREATE), |w| {
            w.string(3, name);
            comment(w, 12, text);
        });
    }

    /// Adds a chain that the kernel calls; what it does not decide is accepted.
    pub fn add_base_chain(&mut self, name: &str, kind: ChainKind, hook: Hook, priority: i32, text: &str) {
        self.push(("add nftables chain", name), (NEWCHAIN, NLM_F_CREATE), |w| {
            w.string(3, name);
            w.string(
                7,
                match kind {
                    ChainKind::Filter => "filter",
                    ChainKind::Nat => "nat",
                },
            );
            w.be32(5, 1);
            w.nest(4, |w| {
                w.be32(1, hook as u32);
                w.bytes(2, &priority.to_be_bytes());
            });
            comment(w, 12, text);
        });
    }

    /// Removes all rules of a chain.
    pub fn flush_chain(&mut self, name: &str) {
        self.push(("flush nftables chain", name), (DELRULE, 0), |w| w.string(2, name));
    }

    /// Removes a rule of a chain by its [`handle`](Rule::handle).
    pub fn delete_rule(&mut self, chain: &str, handle: u64) {
        self.push(("delete nftables rule", chain), (DELRULE, 0), |w| {
            w.string(2, chain);
            w.bytes(3, &handle.to_be_bytes());
        });
    }

    /// Removes all elements of a set.
    pub fn flush_set(&mut self, name: &str) {
        self.push(("flush nftables set", name), (DELSETELEM, 0), |w| w.string(2, name));
    }

    /// Adds an empty set or map.
    pub fn add_set(&mut self, set: Set<'_>, text: &str) {
        self.sets += 1;
        let id = self.sets;
        let number = |types: &[Type]| types.iter().fold(0, |n, t| n << 6 | t.number());
        let length = |types: &[Type]| types.iter().map(|t| t.length()).sum();
        self.push(("add nftables set", set.name), (NEWSET, NLM_F_CREATE), |w| {
            w.string(2, set.name);
            w.be32(3, if set.data.is_some() { SET_MAP } else { 0 });
            w.be32(4, number(set.key));
            w.be32(5, length(set.key));
            if let Some(data) = set.data {
                w.be32(6, number(data));
                w.be32(7, length(data));
            }
            w.be32(10, id);
            // The byte order of the key, which nft(8) needs to show it: 1 host, 2 network, 0 several parts.
            let order: u32 = match set.key {
                [Type::Interface] => 1,
                [_] => 2,
                _ => 0,
            };
            let mut data = vec![0, 4];
            data.extend_from_slice(&order.to_ne_bytes());
            if !text.is_empty() {
                data.extend_from_slice(&comment_data(7, text));
            }
            w.bytes(13, &data);
        });
    }

    /// Adds elements. One that is there with the same value is kept; with another value it is an error (EEXIST).
    pub fn add_elements(&mut self, set: &str, elements: &[Element]) {
        self.elements(("add to nftables set", set), (NEWSETELEM, NLM_F_CREATE), elements);
    }

    /// Deletes elements by their keys. One that is not there is an error (ENOENT).
    pub fn delete_elements(&mut self, set: &str, elements: &[Element]) {
        self.elements(("delete from nftables set", set), (DELSETELEM, 0), elements);
    }

    fn elements(&mut self, step: (&'static str, &str), kind: (u16, u16), elements: &[Element]) {
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.push(step, kind, |w| {
                w.string(2, step.1);
                w.nest(3, |w| {
                    for element in chunk {
                        w.nest(1, |w| {
                            w.nest(1, |w| w.bytes(1, &element.key));
                            if kind.0 == NEWSETELEM {
                                if let Some(data) = &element.data {
                                    w.nest(2, |w| w.bytes(1, data));
                                }
                                comment(w, 6, &element.comment);
                            }
                        });
                    }
                });
            });
        }
    }

    /// Appends a rule to a chain.
    pub fn add_rule(&mut self, chain: &str, expressions: &[Expression<'_>], text: &str) {
        self.push(("add nftables rule", chain), (NEWRULE, NLM_F_CREATE | NLM_F_APPEND), |w| {
            w.string(2, chain);
            w.nest(4, |w| expressions.iter().for_each(|e| e.write(w)));
            comment(w, 7, text);
        });
    }

    /// Makes the changes.
    ///
    /// # Errors
    /// The first change that the kernel refused; none was made then.
    pub fn commit(mut self, socket: &mut Socket) -> Result<()> {
        debug_assert_eq!(socket.family, Family::Netfilter);
        self.batch.push_raw(BATCH_END, 0, 0, &header(0, 10), |_| ());
        socket.run(&self.batch)
    }
}

/// Whether a table is there.
///
/// # Errors
/// nf_tables'.
pub fn table_exists(socket: &mut Socket, family: TableFamily, table: &str) -> Result<bool> {
    let mut batch = Batch::default();
    batch.push(("look up nftables table", table), (GETTABLE, NLM_F_ACK), &header(family as u8, 0), |w| {
        w.string(1, table);
    });
    match socket.query(&batch, |_, _| ()) {
        Err(e) if e.errno() == Errno::NOENT.raw_os_error() => Ok(false),
        Err(e) => Err(e),
        Ok(()) => Ok(true),
    }
}
