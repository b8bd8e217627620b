//! Tables of others: what is in the way of our packets, and what is changed.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::{
    DELRULE, GETCHAIN, GETRULE, Hook, NEWCHAIN, NEWRULE, NEWSET, NEWTABLE, NF_DROP, NOTIFICATIONS,
    TableFamily, header,
};
use crate::netlink::{Attributes, Batch, Family, Messages, NLM_F_DUMP, RECEIVE, Socket, text};
use crate::{Error, Result};

/// A base chain of anyone's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BaseChain {
    /// Its table's family.
    pub family: TableFamily,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// What it does not decide is dropped.
    pub drops: bool,
}

/// A rule of anyone's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its number in its table.
    pub handle: u64,
    /// Its comment; empty when it has none.
    pub comment: String,
}

/// The chains through which packets go that are routed through this host.
///
/// # Errors
/// nf_tables'.
pub fn forward_chains(socket: &mut Socket) -> Result<Vec<BaseChain>> {
    let mut batch = Batch::default();
    batch.push(("list nftables chains", ""), (GETCHAIN, NLM_F_DUMP), &header(0, 0), |_| ());
    let mut chains = Vec::new();
    socket.query(&batch, |kind, payload| {
        if kind == NEWCHAIN {
            chains.extend(parse_chain(payload));
        }
    })?;
    Ok(chains)
}

/// The rules of a chain, in order. None when there is no such chain.
///
/// # Errors
/// nf_tables'.
pub fn rules(socket: &mut Socket, chain: &BaseChain) -> Result<Vec<Rule>> {
    let mut batch = Batch::default();
    let step = ("list nftables rules", chain.name.as_str());
    batch.push(step, (GETRULE, NLM_F_DUMP), &header(chain.family as u8, 0), |w| {
        w.string(1, &chain.table);
        w.string(2, &chain.name);
    });
    let mut rules = Vec::new();
    socket.query(&batch, |kind, payload| {
        if kind == NEWRULE {
            rules.extend(parse_rule(payload));
        }
    })?;
    Ok(rules)
}

fn parse_chain(payload: &[u8]) -> Option<BaseChain> {
    let family = TableFamily::parse(*payload.first()?)?;
    let mut chain = BaseChain { family, table: String::new(), name: String::new(), drops: false };
    let mut hook = None;
    for (kind, value) in Attributes(payload.get(4..)?) {
        match kind {
            1 => chain.table = text(value),
            3 => chain.name = text(value),
            4 => hook = Attributes(value).find(|(kind, _)| *kind == 1).map(|(_, number)| be32(number)),
            5 => chain.drops = be32(value) == NF_DROP,
            _ => {}
        }
    }
    (hook? == Hook::Forward as u32).then_some(chain)
}

fn parse_rule(payload: &[u8]) -> Option<Rule> {
    let mut rule = Rule { handle: 0, comment: String::new() };
    for (kind, value) in Attributes(payload.get(4..)?) {
        match kind {
            3 => rule.handle = value.try_into().map_or(0, u64::from_be_bytes),
            // User data: type 0 (a comment), length, text, NUL.
            7 if value.first() == Some(&0) => rule.comment = text(value.get(2..).unwrap_or_default()),
            _ => {}
        }
    }
    Some(rule)
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_be_bytes)
}

/// What someone else has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Chains or rules of other tables.
    Others,
    /// The table that is watched.
    Ours,
}

/// Hears of changes that others make.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
    table: String,
    free: String,
}

impl Watch {
    /// Watches the table `inet <table>` of the calling thread's network namespace, whether it is there or not, and the
    /// chains of all others. Rules of the table's chain `free` are anyone's to change.
    ///
    /// # Errors
    /// socket(2)'s.
    pub fn open(table: &str, free: &str) -> Result<Self> {
        let socket = Socket::subscribed(Family::Netfilter, NOTIFICATIONS)?;
        Ok(Self { socket, table: table.to_owned(), free: free.to_owned() })
    }

    /// Waits until a socket that is not `own` (by its [`port`](Socket::port)) has changed something. Or until `stop` is
    /// readable: `None`.
    ///
    /// # Errors
    /// poll(2)'s and recv(2)'s.
    pub fn wait(&mut self, own: impl Fn(u32) -> bool, stop: impl AsFd) -> Result<Option<Change>> {
        let error = |e: Errno| Error::new("watch nftables table", self.table.clone(), e);
        let mut buffer = vec![0; RECEIVE];
        let mut change = None;
        loop {
            let fds = &mut [
                PollFd::new(&stop, PollFlags::IN),
                PollFd::from_borrowed_fd(self.socket.fd.as_fd(), PollFlags::IN),
            ];
            // The reload of a firewall is thousands of changes: all that are there are taken together.
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            match poll(fds, change.map(|_| &at_once)) {
                Ok(0) => return Ok(change),
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(error(e)),
            }
            if !fds[0].revents().is_empty() {
                return Ok(None);
            }
            let length = match recv(&self.socket.fd, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN | Errno::INTR) => continue,
                // Some were lost: perhaps one that matters.
                Err(Errno::NOBUFS) => return Ok(Some(Change::Ours)),
                Err(e) => return Err(error(e)),
            };
            let messages = Messages(&buffer[..length]).filter(|m| !own(m.port));
            change = change.max(messages.filter_map(|m| self.what(m.kind, m.payload)).max());
        }
    }

    fn what(&self, kind: u16, payload: &[u8]) -> Option<Change> {
        let attribute = |wanted: u16| {
            let mut attributes = Attributes(payload.get(4..).unwrap_or_default());
            attributes.find(|(kind, _)| *kind == wanted).map(|(_, value)| text(value))
        };
        let is_rule = matches!(kind, NEWRULE | DELRULE);
        if payload.first() == Some(&(TableFamily::Inet as u8)) && attribute(1)? == self.table {
            let is_free = is_rule && attribute(2)? == self.free;
            return (!is_free).then_some(Change::Ours);
        }
        let is_chain = (NEWTABLE..NEWSET).contains(&kind);
        is_chain.then_some(Change::Others)
    }
}
