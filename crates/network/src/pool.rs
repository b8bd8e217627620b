//! Subnets and addresses: which are free. Pure.

use std::collections::HashSet;
use std::fmt;
use std::net::Ipv4Addr;

/// Docker's pools: base, its prefix, prefix of each network (moby `daemon/libnetwork/ipamutils`).
pub(crate) const DEFAULT_POOLS: &[(Ipv4Addr, u8, u8)] = &[
    (Ipv4Addr::new(172, 17, 0, 0), 16, 16),
    (Ipv4Addr::new(172, 18, 0, 0), 16, 16),
    (Ipv4Addr::new(172, 19, 0, 0), 16, 16),
    (Ipv4Addr::new(172, 20, 0, 0), 14, 16),
    (Ipv4Addr::new(172, 24, 0, 0), 14, 16),
    (Ipv4Addr::new(172, 28, 0, 0), 14, 16),
    (Ipv4Addr::new(192, 168, 0, 0), 16, 20),
];

/// A range of addresses: the first, and how many bits are fixed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subnet {
    first: u32,
    prefix: u8,
}

impl Subnet {
    /// The subnet around an address; `None` when there are no such prefixes.
    pub(crate) fn new(ip: Ipv4Addr, prefix: u8) -> Option<Self> {
        (prefix <= 32).then(|| Self { first: u32::from(ip) & Self::mask(prefix), prefix })
    }

    fn mask(prefix: u8) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
    }

    pub(crate) fn first(self) -> Ipv4Addr {
        self.first.into()
    }

    pub(crate) fn last(self) -> Ipv4Addr {
        (self.first | !Self::mask(self.prefix)).into()
    }

    pub(crate) fn prefix(self) -> u8 {
        self.prefix
    }

    pub(crate) fn contains(self, ip: Ipv4Addr) -> bool {
        u32::from(ip) & Self::mask(self.prefix) == self.first
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.contains(other.first()) || other.contains(self.first())
    }

    /// The parts of this subnet that have `prefix` bits, in order.
    fn parts(self, prefix: u8) -> impl Iterator<Item = Self> {
        let count = 1u64 << u32::from(prefix.saturating_sub(self.prefix)).min(32);
        let step = 1u64 << (32 - u32::from(prefix.min(32)));
        (0..count).map_while(move |i| {
            let first = u32::try_from(u64::from(self.first) + i * step).ok()?;
            Some(Self { first, prefix })
        })
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first(), self.prefix)
    }
}

impl fmt::Debug for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first subnet of the pools that overlaps with none of `taken`.
pub(crate) fn free_subnet(pools: &[(Ipv4Addr, u8, u8)], taken: &[Subnet]) -> Option<Subnet> {
    let pools = if pools.is_empty() { DEFAULT_POOLS } else { pools };
    pools
        .iter()
        .filter(|(_, prefix, size)| prefix <= size && *size <= 30)
        .filter_map(|(base, prefix, size)| Some((Subnet::new(*base, *prefix)?, *size)))
        .flat_map(|(pool, size)| pool.parts(size))
        .find(|candidate| !taken.iter().any(|t| t.overlaps(*candidate)))
}

/// The addresses of one network: which are given out.
///
/// A freed address is not given out again until all others have been: whoever still talks to its last holder should
/// not find a stranger there.
#[derive(Debug)]
pub(crate) struct Addresses {
    subnet: Subnet,
    range: Subnet,
    used: HashSet<Ipv4Addr>,
    next: u32,
}

/// Why a fixed address is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is not in the subnet, or is the subnet's first or last.
    Outside,
    /// It is given out.
    Used,
}

impl Addresses {
    /// All free but the gateway's; addresses nobody asked for by number are drawn from `range`.
    pub(crate) fn new(subnet: Subnet, range: Option<Subnet>, gateway: Ipv4Addr) -> Self {
        let range = range.unwrap_or(subnet);
        Self { subnet, range, used: HashSet::from([gateway]), next: range.first }
    }

    /// Not the address of the network itself, nor its broadcast address.
    fn usable(&self, ip: Ipv4Addr) -> bool {
        let whole = self.subnet.prefix >= 31;
        self.subnet.contains(ip) && (whole || (ip != self.subnet.first() && ip != self.subnet.last()))
    }

    /// Gives out the next free address; `None` when there is none.
    pub(crate) fn take(&mut self) -> Option<Ipv4Addr> {
        let (first, last) = (self.range.first, u32::from(self.range.last()));
        // Among so many addresses one is free, unless all are used: no need to look at each of a large range.
        let tries = u64::from(last - first).min(self.used.len() as u64 + 2) + 1;
        for _ in 0..tries {
            let ip = Ipv4Addr::from(self.next);
            self.next = if self.next == last { first } else { self.next + 1 };
            if self.usable(ip) && self.used.insert(ip) {
                return Some(ip);
            }
        }
        None
    }

    /// Gives out this address.
    pub(crate) fn claim(&mut self, ip: Ipv4Addr) -> Result<(), Refused> {
        if !self.usable(ip) {
            return Err(Refused::Outside);
        }
        if !self.used.insert(ip) {
            return Err(Refused::Used);
        }
        Ok(())
    }

    /// Takes an address back.
    pub(crate) fn free(&mut self, ip: Ipv4Addr) {
        self.used.remove(&ip);
    }

    /// Goes on behind this address: after a restart, so that its recently freed neighbours rest as well.
    pub(crate) fn resume_after(&mut self, ip: Ipv4Addr) {
        if self.range.contains(ip) && ip != self.range.last() {
            self.next = self.next.max(u32::from(ip) + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        let (ip, prefix) = text.split_once('/').unwrap();
        Subnet::new(ip.parse().unwrap(), prefix.parse().unwrap()).unwrap()
    }

    #[test]
    fn overlap_is_symmetric_and_exact() {
        for (a, b, expected) in [
            ("172.17.0.0/16", "172.17.3.0/24", true),
            ("172.17.0.0/16", "172.18.0.0/16", false),
            ("0.0.0.0/0", "10.0.0.0/8", true),
            ("10.0.0.1/32", "10.0.0.1/32", true),
            ("10.0.0.1/32", "10.0.0.2/32", false),
        ] {
            assert_eq!(subnet(a).overlaps(subnet(b)), expected, "{a} {b}");
            assert_eq!(subnet(b).overlaps(subnet(a)), expected, "{b} {a}");
        }
    }

    #[test]
    fn pools_are_used_in_docker_s_order_around_what_is_taken() {
        let mut taken = Vec::new();
        let mut order = Vec::new();
        while let Some(free) = free_subnet(&[], &taken) {
            order.push(free);
            taken.push(free);
        }
        assert_eq!(order.len(), 15 + 16);
        assert_eq!(order[0], subnet("172.17.0.0/16"));
        assert_eq!(order[14], subnet("172.31.0.0/16"));
        assert_eq!(order[15], subnet("192.168.0.0/20"));
        assert_eq!(
            free_subnet(&[], &[subnet("172.16.0.0/12"), subnet("192.168.1.0/24")]),
            Some(subnet("192.168.16.0/20"))
        );
        // A pool that makes no sense is skipped, not divided by.
        assert_eq!(free_subnet(&[(Ipv4Addr::new(10, 0, 0, 0), 24, 8)], &[]), None);
    }

    #[test]
    fn a_freed_address_rests_until_the_others_were_used() {
        let mut addresses = Addresses::new(subnet("10.9.0.0/29"), None, Ipv4Addr::new(10, 9, 0, 1));
        let first = addresses.take().unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 9, 0, 2));
        addresses.free(first);
        let mut next = Vec::new();
        for _ in 0..5 {
            next.push(addresses.take().unwrap().octets()[3]);
        }
        assert_eq!(next, [3, 4, 5, 6, 2]);
        assert_eq!(addresses.take(), None);
        addresses.free(Ipv4Addr::new(10, 9, 0, 4));
        assert_eq!(addresses.take(), Some(Ipv4Addr::new(10, 9, 0, 4)));
    }

    #[test]
    fn fixed_addresses_and_ranges() {
        let mut addresses =
            Addresses::new(subnet("10.9.0.0/24"), Some(subnet("10.9.0.128/30")), Ipv4Addr::new(10, 9, 0, 1));
        assert_eq!(addresses.claim(Ipv4Addr::new(10, 8, 0, 1)), Err(Refused::Outside));
        assert_eq!(addresses.claim(Ipv4Addr::new(10, 9, 0, 0)), Err(Refused::Outside));
        assert_eq!(addresses.claim(Ipv4Addr::new(10, 9, 0, 255)), Err(Refused::Outside));
        assert_eq!(addresses.claim(Ipv4Addr::new(10, 9, 0, 1)), Err(Refused::Used));
        assert_eq!(addresses.claim(Ipv4Addr::new(10, 9, 0, 129)), Ok(()));
        let drawn: Vec<_> = std::iter::from_fn(|| addresses.take()).map(|ip| ip.octets()[3]).collect();
        assert_eq!(drawn, [128, 130, 131]);
    }
}
