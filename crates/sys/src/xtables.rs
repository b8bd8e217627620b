//! What iptables-legacy has in the kernel for packets that are forwarded (getsockopt(2) with the requests of
//! linux/netfilter_ipv4/ip_tables.h and linux/netfilter_ipv6/ip6_tables.h). Only read: a table can be replaced as a whole
//! only, and is its program's.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::{Error, Result};

/// The hook of what is forwarded, `NF_INET_FORWARD`.
const FORWARD: usize = 2;
/// `IPT_SO_GET_INFO`, `IPT_SO_GET_ENTRIES`; the same numbers for IPv6.
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;
/// Verdicts of the standard target, as they are written: `-NF_DROP - 1`, `-NF_ACCEPT - 1`.
const DROP: i32 = -1;
const ACCEPT: i32 = -2;
/// `struct xt_entry_target`: size, name; the verdict of the standard one, which has no name, is behind it.
const TARGET: usize = 32;

/// `struct ipt_getinfo`: the table's name (32 bytes), its hooks, where the chain of each of five hooks begins and where its
/// policy is, the number of rules, the size of all.
const INFO: usize = 84;
const INFO_BEGIN: usize = 36;
const INFO_POLICY: usize = 56;
const INFO_SIZE: usize = 80;
/// `struct ipt_get_entries` up to the rules: name and size, and what is left of 64 bits.
const HEAD: usize = 40;

/// Where the parts of a rule are: `struct ipt_entry` and `struct ip6t_entry`. Behind the four addresses are the names of two
/// interfaces, and the masks of both.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Of an address: a rule begins with four, source, destination and the masks of both.
    address: usize,
    protocol: usize,
    inverted: usize,
    target: usize,
    next: usize,
    size: usize,
}

const V4: Layout = Layout { address: 4, protocol: 80, inverted: 83, target: 88, next: 90, size: 112 };
const V6: Layout = Layout { address: 16, protocol: 128, inverted: 132, target: 140, next: 142, size: 168 };

/// The chain `FORWARD` of the table `filter`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forward {
    /// Its policy is to drop.
    pub drops: bool,
    /// Interfaces from which everything is accepted, as its program writes them: `+` at the end is any end.
    pub from: Vec<String>,
    /// Interfaces to which everything is accepted.
    pub to: Vec<String>,
}

/// Reads it in the caller's network namespace; `None` where there is no such table, and none is made by looking.
///
/// # Errors
/// socket(2)'s and getsockopt(2)'s: EPERM without CAP_NET_ADMIN, EAGAIN when it has just been changed.
pub fn forward(v6: bool) -> Result<Option<Forward>> {
    let (names, family, level, layout) = match v6 {
        false => ("/proc/thread-self/net/ip_tables_names", AddressFamily::INET, libc::SOL_IP, V4),
        true => ("/proc/thread-self/net/ip6_tables_names", AddressFamily::INET6, libc::SOL_IPV6, V6),
    };
    // Whoever asks for a table that is not there has it made.
    let known = crate::file::read_if_exists(Path::new(names))?.unwrap_or_default();
    if !String::from_utf8_lossy(&known).lines().any(|name| name == "filter") {
        return Ok(None);
    }
    let object = "iptables-legacy's table filter";
    let failed = |step| move |errno: std::io::Error| Error::new(step, object, errno);
    let raw = Some(rustix::net::ipproto::RAW);
    let socket = rustix::net::socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, raw)
        .map_err(|errno| failed("socket")(errno.into()))?;
    let mut info = request(INFO, 0);
    ask(&socket, level, GET_INFO, &mut info).map_err(failed("get information of"))?;
    let number = |at| word(&info, at).unwrap_or_default();
    let size = number(INFO_SIZE);
    let mut table = request(HEAD + size as usize, size);
    ask(&socket, level, GET_ENTRIES, &mut table).map_err(failed("read"))?;
    let hook = |base| number(base + 4 * FORWARD) as usize;
    Ok(Some(read(&table[HEAD..], hook(INFO_BEGIN), hook(INFO_POLICY), layout)))
}

/// A request about the table, with room for the answer.
fn request(length: usize, size: u32) -> Vec<u8> {
    let mut bytes = vec![0; length];
    bytes[..6].copy_from_slice(b"filter");
    bytes[32..36].copy_from_slice(&size.to_ne_bytes());
    bytes
}

fn ask(socket: &OwnedFd, level: libc::c_int, what: libc::c_int, bytes: &mut [u8]) -> std::io::Result<()> {
    let mut length = libc::socklen_t::try_from(bytes.len()).map_err(std::io::Error::other)?;
    // SAFETY: the kernel reads and writes at most `length` bytes, and so many there are; any bytes will do.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, what, bytes.as_mut_ptr().cast(), &raw mut length)
    };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

/// The chain that begins at `begin`, and whose policy is the rule at `policy`.
fn read(table: &[u8], begin: usize, policy: usize, layout: Layout) -> Forward {
    let mut found = Forward::default();
    let mut at = begin;
    while at < policy {
        let Some(rule) = table.get(at..) else { break };
        if let Some(Some((from, to))) =
            (verdict(rule, layout) == Some(ACCEPT)).then(|| interfaces(rule, layout))
        {
            match (from.is_empty(), to.is_empty()) {
                (false, true) => found.from.push(from),
                (true, false) => found.to.push(to),
                // Everything is accepted before the policy says anything.
                (true, true) => return found,
                (false, false) => {}
            }
        }
        match half(rule, layout.next) {
            Some(next) if next > 0 => at += next,
            _ => break,
        }
    }
    found.drops = table.get(policy..).and_then(|rule| verdict(rule, layout)) == Some(DROP);
    found
}

/// What a rule without further matches does, if its target is the standard one.
fn verdict(rule: &[u8], layout: Layout) -> Option<i32> {
    let target = half(rule, layout.target)?;
    let is_standard = *rule.get(target + 2)? == 0;
    let verdict = word(rule, target + TARGET)?.cast_signed();
    (target == layout.size && is_standard).then_some(verdict)
}

/// The interfaces that a rule names, if it asks for nothing else; empty for any.
fn interfaces(rule: &[u8], layout: Layout) -> Option<(String, String)> {
    let names = 4 * layout.address;
    let addresses = rule.get(..names)?;
    let other = half(rule, layout.protocol)? != 0 || *rule.get(layout.inverted)? != 0;
    if other || addresses.iter().any(|byte| *byte != 0) {
        return None;
    }
    let name = |at: usize| -> Option<String> {
        let (name, mask) = (rule.get(at..at + 16)?, rule.get(at + 32..at + 48)?);
        let covered = name.iter().zip(mask).take_while(|(_, mask)| **mask != 0);
        let covered: Vec<u8> = covered.map(|(byte, _)| *byte).collect();
        let text = String::from_utf8_lossy(&covered);
        Some(match text.split_once('\0') {
            Some((whole, _)) => whole.to_owned(),
            None if text.is_empty() => String::new(),
            None => format!("{text}+"),
        })
    };
    Some((name(names)?, name(names + 16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule as the kernel has it.
    fn rule(layout: Layout, from: &str, verdict: i32) -> Vec<u8> {
        let size = layout.size + TARGET + 8;
        let mut bytes = vec![0; size];
        let names = 4 * layout.address;
        bytes[names..names + from.len()].copy_from_slice(from.as_bytes());
        // With the NUL, unless any end will do.
        let covered = from.strip_suffix('+').map_or(from.len() + 1, str::len);
        if !from.is_empty() {
            bytes[names + 32..names + 32 + covered].fill(0xff);
        }
        let number = |n: usize| u16::try_from(n).unwrap().to_ne_bytes();
        bytes[layout.target..layout.target + 2].copy_from_slice(&number(layout.size));
        bytes[layout.next..layout.next + 2].copy_from_slice(&number(size));
        bytes[layout.size + TARGET..layout.size + TARGET + 4].copy_from_slice(&verdict.to_ne_bytes());
        bytes
    }

    #[test]
    fn what_a_chain_accepts_and_its_policy() {
        for layout in [V4, V6] {
            let chain = |rules: &[(&str, i32)]| {
                let rules: Vec<Vec<u8>> =
                    rules.iter().map(|(from, does)| rule(layout, from, *does)).collect();
                let policy = rules[..rules.len() - 1].iter().map(Vec::len).sum();
                read(&rules.concat(), 0, policy, layout)
            };
            assert!(!chain(&[("", ACCEPT)]).drops);
            assert!(chain(&[("", DROP)]).drops);
            let found = chain(&[("ct0", ACCEPT), ("br-+", ACCEPT), ("ct1", DROP), ("", DROP)]);
            assert_eq!(found, Forward { drops: true, from: vec!["ct0".into(), "br-+".into()], to: vec![] });
            assert!(!chain(&[("", ACCEPT), ("", DROP)]).drops, "nothing gets so far");
        }
        assert_eq!(read(&[1, 2, 3], 0, 500, V4), Forward::default(), "cut off");
    }
}
