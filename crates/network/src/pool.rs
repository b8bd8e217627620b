//! Subnets and addresses: which are free. Pure, and the same for IPv4 and IPv6.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Base, its prefix, prefix of each network: Docker's pools (moby `daemon/libnetwork/ipamutils`), good for 31 networks, and
/// one more for those who have more.
const DEFAULT_POOLS: &[(Ipv4Addr, u8, u8)] = &[
    (Ipv4Addr::new(172, 17, 0, 0), 16, 16),
    (Ipv4Addr::new(172, 18, 0, 0), 16, 16),
    (Ipv4Addr::new(172, 19, 0, 0), 16, 16),
    (Ipv4Addr::new(172, 20, 0, 0), 14, 16),
    (Ipv4Addr::new(172, 24, 0, 0), 14, 16),
    (Ipv4Addr::new(172, 28, 0, 0), 14, 16),
    (Ipv4Addr::new(192, 168, 0, 0), 16, 20),
    (Ipv4Addr::new(10, 192, 0, 0), 10, 24),
];

/// Prefixes of the default IPv6 pool and of each network in it (RFC 4193: a site's, a link's).
const SITE: u8 = 48;
const LINK: u8 = 64;

/// From which networks' subnets are cut: networks of `size` bits from `base`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// All addresses.
    pub base: Subnet,
    /// Prefix of each network.
    pub size: u8,
}

/// A range of addresses: the first, and how many bits are fixed. Written as `10.1.0.0/16`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    first: IpAddr,
    prefix: u8,
}

/// An address as a number.
fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// How many bits the addresses of this one's family have.
fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The address with this number, of the family of `like`.
fn address(like: IpAddr, bits: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

impl Subnet {
    /// The subnet around an address; `None` when there are no such prefixes.
    pub fn new(ip: IpAddr, prefix: u8) -> Option<Self> {
        let width = width(ip);
        (prefix <= width).then(|| {
            let hosts = Self::hosts(width, prefix);
            Self { first: address(ip, bits(ip) & !hosts), prefix }
        })
    }

    /// Reads `10.1.0.0/16`, whichever of its addresses is written; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (ip, prefix) = text.split_once('/')?;
        Self::new(ip.parse().ok()?, prefix.parse().ok()?)
    }

    /// The bits that tell addresses of the subnet apart.
    fn hosts(width: u8, prefix: u8) -> u128 {
        1u128.checked_shl(u32::from(width - prefix)).map_or(u128::MAX, |count| count - 1)
    }

    /// Its first address.
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// Its last address.
    pub fn last(self) -> IpAddr {
        address(self.first, bits(self.first) | Self::hosts(width(self.first), self.prefix))
    }

    /// How many bits are fixed.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether it is of IPv4.
    pub fn is_v4(self) -> bool {
        self.first.is_ipv4()
    }

    /// Whether the address is one of its.
    pub fn contains(self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.is_v4() && Self::new(ip, self.prefix) == Some(self)
    }

    /// Whether they have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }

    /// How many addresses it has; the largest number when there are more.
    fn count(self) -> u128 {
        Self::hosts(width(self.first), self.prefix).saturating_add(1)
    }

    /// The address after the subnet's own: the gateway, unless the user says otherwise.
    pub(crate) fn first_host(self) -> IpAddr {
        address(self.first, bits(self.first) + 1)
    }

    /// The first part of this subnet that has `prefix` bits and overlaps with none of `taken`. What is taken is passed over as
    /// a whole: there can be more parts in it than anybody can count.
    fn free_part(self, prefix: u8, taken: &[Self]) -> Option<Self> {
        let hosts = Self::hosts(width(self.first), prefix);
        let mut next = bits(self.first);
        while next <= bits(self.last()) {
            let part = Self { first: address(self.first, next), prefix };
            let in_the_way =
                taken.iter().filter(|other| other.overlaps(part)).map(|other| bits(other.last()));
            let Some(last) = in_the_way.max() else { return Some(part) };
            // What is smaller than a part takes all of it.
            next = (last | hosts).checked_add(1)?;
        }
        None
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl fmt::Debug for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Subnet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no subnet"))
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

/// The first subnet of the pools that overlaps with none of `taken`; of `size` bits if that is given. For a family without
/// pools the default ones are used; the host's own part of the private IPv6 addresses is made of `seed`.
pub(crate) fn free_subnet(
    pools: &[Pool],
    v4: bool,
    size: Option<u8>,
    seed: u64,
    taken: &[Subnet],
) -> Option<Subnet> {
    let mut pools: Vec<Pool> = pools.iter().copied().filter(|pool| pool.base.is_v4() == v4).collect();
    if pools.is_empty() {
        pools = if v4 { default_pools() } else { vec![unique_local(seed)] };
    }
    let longest = if v4 { 30 } else { 126 };
    pools
        .into_iter()
        .map(|pool| Pool { size: size.unwrap_or(pool.size), ..pool })
        .filter(|pool| pool.base.prefix <= pool.size && pool.size <= longest)
        .find_map(|pool| pool.base.free_part(pool.size, taken))
}

fn default_pools() -> Vec<Pool> {
    let pool = |(base, prefix, size): &(Ipv4Addr, u8, u8)| {
        Some(Pool { base: Subnet::new((*base).into(), *prefix)?, size: *size })
    };
    DEFAULT_POOLS.iter().filter_map(pool).collect()
}

/// `fd`, 40 bits of the host's own, 16 for its networks (RFC 4193).
fn unique_local(seed: u64) -> Pool {
    let base = 0xfd << 120 | u128::from(seed & 0xff_ffff_ffff) << 80;
    let base = Subnet { first: Ipv6Addr::from_bits(base).into(), prefix: SITE };
    Pool { base, size: LINK }
}

/// The addresses of one subnet: which are given out.
///
/// A freed address is not given out again until all others have been: whoever still talks to its last holder should
/// not find a stranger there.
#[derive(Debug)]
pub(crate) struct Addresses {
    subnet: Subnet,
    range: Subnet,
    used: HashSet<IpAddr>,
    next: u128,
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
    /// All free but those of `reserved`; addresses nobody asked for by number are drawn from `range`.
    pub(crate) fn new(
        subnet: Subnet,
        range: Option<Subnet>,
        reserved: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        let range = range.unwrap_or(subnet);
        Self { subnet, range, used: reserved.into_iter().collect(), next: bits(range.first) }
    }

    pub(crate) fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// Not the address of the network itself, nor its broadcast address.
    fn usable(&self, ip: IpAddr) -> bool {
        let subnet = self.subnet;
        let whole = subnet.prefix + 1 >= width(ip);
        let broadcast = subnet.is_v4() && ip == subnet.last();
        subnet.contains(ip) && (whole || (ip != subnet.first() && !broadcast))
    }

    /// Gives out the next free address; `None` when there is none.
    pub(crate) fn take(&mut self) -> Option<IpAddr> {
        let (first, last) = (bits(self.range.first), bits(self.range.last()));
        // Among so many addresses one is free, unless all are used: no need to look at each of a large range.
        let tries = (last - first).min(self.used.len() as u128 + 2) + 1;
        for _ in 0..tries {
            let ip = address(self.range.first, self.next);
            self.next = if self.next == last { first } else { self.next + 1 };
            if self.usable(ip) && self.used.insert(ip) {
                return Some(ip);
            }
        }
        None
    }

    /// Gives out this address.
    pub(crate) fn claim(&mut self, ip: IpAddr) -> Result<(), Refused> {
        if !self.usable(ip) {
            return Err(Refused::Outside);
        }
        if !self.used.insert(ip) {
            return Err(Refused::Used);
        }
        Ok(())
    }

    /// Takes an address back; true if it was one of these.
    pub(crate) fn free(&mut self, ip: IpAddr) -> bool {
        self.used.remove(&ip)
    }

    /// Goes on behind this address: after a restart, so that its recently freed neighbours rest as well.
    pub(crate) fn resume_after(&mut self, ip: IpAddr) {
        if self.range.contains(ip) && ip != self.range.last() {
            self.next = self.next.max(bits(ip) + 1);
        }
    }

    /// How many are given out, and how many of the range are not; as Docker counts, with the two ends of an IPv4 subnet
    /// given out.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let ends = [self.subnet.first(), self.subnet.last()];
        let ends = if self.subnet.is_v4() { &ends[..] } else { &ends[..1] };
        let unusable = ends.iter().filter(|ip| !self.usable(**ip) && !self.used.contains(ip));
        let (all, in_range) = self.used.iter().chain(unusable).fold((0u128, 0u128), |(all, inside), ip| {
            (all + 1, inside + u128::from(self.range.contains(*ip)))
        });
        let clamp = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
        (clamp(all), clamp(self.range.count().saturating_sub(in_range)))
    }
}

/// A subnet of a network, as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// All addresses.
    pub subnet: Subnet,
    /// Addresses are drawn from here, if given.
    #[serde(default)]
    pub range: Option<Subnet>,
    /// Where packets for elsewhere go: on a bridge, its own address.
    pub gateway: Option<IpAddr>,
    /// Addresses that no container gets, by the user's names for them.
    #[serde(default)]
    pub reserved: BTreeMap<String, IpAddr>,
}

impl Range {
    /// A whole subnet with the usual gateway.
    pub(crate) fn whole(subnet: Subnet) -> Self {
        Self { subnet, range: None, gateway: Some(subnet.first_host()), reserved: BTreeMap::new() }
    }

    /// Whether any subnet of that size is meant (`0.0.0.0/24`).
    pub(crate) fn is_any(&self) -> bool {
        self.subnet.first.is_unspecified()
    }

    /// Containers' gateway: a reserved address of this name is one of Docker's ways to set it.
    pub(crate) fn way_out(&self) -> Option<IpAddr> {
        let name = if self.subnet.is_v4() { "DefaultGatewayIPv4" } else { "DefaultGatewayIPv6" };
        self.reserved.get(name).copied().or(self.gateway)
    }

    pub(crate) fn addresses(&self) -> Addresses {
        Addresses::new(
            self.subnet,
            self.range,
            self.gateway.into_iter().chain(self.reserved.values().copied()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        Subnet::parse(text).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn overlap_is_symmetric_and_exact() {
        for (a, b, expected) in [
            ("172.17.0.0/16", "172.17.3.0/24", true),
            ("172.17.0.0/16", "172.18.0.0/16", false),
            ("0.0.0.0/0", "10.0.0.0/8", true),
            ("10.0.0.1/32", "10.0.0.1/32", true),
            ("10.0.0.1/32", "10.0.0.2/32", false),
            ("::/0", "10.0.0.0/8", false),
            ("fd00::/8", "fd12:3456::/32", true),
            ("fd00::/64", "fd00:0:0:1::/64", false),
            ("::1/128", "::1/128", true),
        ] {
            assert_eq!(subnet(a).overlaps(subnet(b)), expected, "{a} {b}");
            assert_eq!(subnet(b).overlaps(subnet(a)), expected, "{b} {a}");
        }
        assert_eq!(subnet("fd00::7/64").to_string(), "fd00::/64");
        for bad in ["10.0.0.0", "10.0.0.0/33", "::/129", "x/8", "10.0.0.0/-1"] {
            assert_eq!(Subnet::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn pools_are_used_in_docker_s_order_around_what_is_taken() {
        let mut taken = Vec::new();
        let mut order = Vec::new();
        for _ in 0..33 {
            let free = free_subnet(&[], true, None, 0, &taken).unwrap();
            order.push(free);
            taken.push(free);
        }
        assert_eq!(order[0], subnet("172.17.0.0/16"));
        assert_eq!(order[14], subnet("172.31.0.0/16"));
        assert_eq!(order[15], subnet("192.168.0.0/20"));
        assert_eq!(order[31], subnet("10.192.0.0/24"));
        assert_eq!(
            free_subnet(&[], true, None, 0, &[subnet("172.16.0.0/12"), subnet("192.168.1.0/24")]),
            Some(subnet("192.168.16.0/20"))
        );
        // A pool that makes no sense is skipped, not divided by.
        assert_eq!(free_subnet(&[Pool { base: subnet("10.0.0.0/24"), size: 8 }], true, None, 0, &[]), None);
        // One of another size, beside what is taken of any size.
        let taken = [subnet("172.17.0.0/30"), subnet("172.17.2.0/23")];
        assert_eq!(free_subnet(&[], true, Some(24), 0, &taken), Some(subnet("172.17.1.0/24")));
        assert_eq!(free_subnet(&[], true, Some(22), 0, &taken), Some(subnet("172.17.4.0/22")));
        assert_eq!(free_subnet(&[], true, Some(9), 0, &[]), None);
    }

    #[test]
    fn ipv6_has_a_pool_of_the_host_s_own() {
        let first = free_subnet(&[], false, None, 0x12_3456_789a, &[]).unwrap();
        assert_eq!(first, subnet("fd12:3456:789a::/64"));
        assert_eq!(
            free_subnet(&[], false, None, 0x12_3456_789a, &[first]),
            Some(subnet("fd12:3456:789a:1::/64"))
        );
        let pools = [
            Pool { base: subnet("10.0.0.0/8"), size: 24 },
            Pool { base: subnet("2001:db8::/126"), size: 126 },
        ];
        assert_eq!(free_subnet(&pools, false, None, 1, &[]), Some(subnet("2001:db8::/126")));
        assert_eq!(free_subnet(&pools, true, None, 1, &[]), Some(subnet("10.0.0.0/24")));
        assert_eq!(free_subnet(&pools, false, None, 1, &[subnet("2001:db8::/32")]), None);
        let many = [subnet("fd00::/64"), subnet("fd00:0:0:1::/126")];
        let small = Pool { base: subnet("fd00::/8"), size: 126 };
        assert_eq!(free_subnet(&[small], false, None, 1, &many), Some(subnet("fd00:0:0:1::4/126")));
        assert_eq!(free_subnet(&[], false, Some(56), 0, &[]), Some(subnet("fd00::/56")));
        // The whole address space has an end.
        assert_eq!(
            free_subnet(&[Pool { base: subnet("::/0"), size: 1 }], false, None, 1, &[subnet("::/1")]),
            Some(subnet("8000::/1"))
        );
    }

    #[test]
    fn a_freed_address_rests_until_the_others_were_used() {
        let mut addresses = Addresses::new(subnet("10.9.0.0/29"), None, [ip("10.9.0.1")]);
        let first = addresses.take().unwrap();
        assert_eq!(first, ip("10.9.0.2"));
        assert!(addresses.free(first));
        let next: Vec<_> = (0..5).map(|_| addresses.take().unwrap().to_string()).collect();
        assert_eq!(next, ["10.9.0.3", "10.9.0.4", "10.9.0.5", "10.9.0.6", "10.9.0.2"]);
        assert_eq!(addresses.take(), None);
        assert!(addresses.free(ip("10.9.0.4")));
        assert_eq!(addresses.take(), Some(ip("10.9.0.4")));
    }

    #[test]
    fn fixed_addresses_and_ranges() {
        let mut addresses =
            Addresses::new(subnet("10.9.0.0/24"), Some(subnet("10.9.0.128/30")), [ip("10.9.0.1")]);
        for outside in ["10.8.0.1", "10.9.0.0", "10.9.0.255", "::1"] {
            assert_eq!(addresses.claim(ip(outside)), Err(Refused::Outside), "{outside}");
        }
        assert_eq!(addresses.claim(ip("10.9.0.1")), Err(Refused::Used));
        assert_eq!(addresses.claim(ip("10.9.0.129")), Ok(()));
        let drawn: Vec<_> = std::iter::from_fn(|| addresses.take()).map(|ip| ip.to_string()).collect();
        assert_eq!(drawn, ["10.9.0.128", "10.9.0.130", "10.9.0.131"]);
    }

    #[test]
    fn ipv6_addresses_and_what_is_used() {
        let range =
            Range { reserved: [("a".to_owned(), ip("fd00::2"))].into(), ..Range::whole(subnet("fd00::/64")) };
        let mut addresses = range.addresses();
        assert_eq!(addresses.take(), Some(ip("fd00::3")));
        assert_eq!(addresses.claim(ip("fd00::")), Err(Refused::Outside));
        assert_eq!(addresses.claim(ip("fd00::ffff:ffff:ffff:ffff")), Ok(()), "IPv6 has no broadcast address");
        assert_eq!(addresses.usage(), (5, u64::MAX - 4));
        let v4 = Range::whole(subnet("10.9.0.0/24")).addresses();
        assert_eq!(v4.usage(), (3, 253));
    }
}
