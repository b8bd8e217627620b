//! What a name means to a container: addresses on the networks it is on. Pure.
//!
//! Queries come from containers: hostile until parsed. Everything else than a container's name, an alias, or an
//! address of our networks is passed on to the host's servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::{A, AAAA, PTR, RData, SRV};
use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, SimpleDnsError, TYPE, header_buffer,
};
use spec::Id;

use crate::networks::State;

/// Seconds an answer may be kept: Docker's.
const TTL: u32 = 600;
/// Length of a header (RFC 1035, 4.1.1).
const HEADER: usize = 12;
/// A record in an answer whose name is compressed: all before its data.
const RECORD: usize = 12;
/// What a client that says nothing takes over UDP (RFC 1035, 4.2.1).
pub(crate) const UDP_LIMIT: usize = 512;
/// What a client may take over UDP by its word (RFC 6891): what no link cuts into pieces (RFC 9715).
const EDNS_LIMIT: usize = 1232;

/// What to do with a query.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Send this.
    Reply(Vec<u8>),
    /// Not ours to answer.
    Forward,
    /// Send nothing.
    Ignore,
}

/// Answers a container's query. `turn` chooses which of several addresses comes first, `limit` is the longest reply
/// that the way takes; over UDP a client may say that it takes more than 512 bytes.
pub(crate) fn answer(state: &State, container: &Id, query: &[u8], turn: usize, limit: usize) -> Answer {
    match header_buffer::has_flags(query, PacketFlag::RESPONSE) {
        Ok(false) => {}
        // A response, or no whole header: answering could go round in circles.
        Ok(true) | Err(_) => return Answer::Ignore,
    }
    // The parser makes room for what the counts announce: they are checked first.
    let count = |count: fn(&[u8]) -> simple_dns::Result<u16>| count(query).unwrap_or(u16::MAX);
    if count(header_buffer::questions) != 1
        || count(header_buffer::answers) != 0
        || count(header_buffer::name_servers) != 0
        || count(header_buffer::additional_records) > 4
    {
        return refusal(query, RCODE::FormatError);
    }
    let packet = match Packet::parse(query) {
        Ok(packet) => packet,
        // Newer than the parser.
        Err(SimpleDnsError::InvalidQType(_) | SimpleDnsError::InvalidQClass(_)) => {
            return forward(state, container, query);
        }
        Err(_) => return refusal(query, RCODE::FormatError),
    };
    let question = &packet.questions[0];
    let labels: Option<Vec<String>> = question
        .qname
        .as_bytes()
        .map(|label| std::str::from_utf8(label).ok().map(str::to_ascii_lowercase))
        .collect();
    let Some(labels) = labels else { return forward(state, container, query) };
    let name = labels.join(".");
    let limit = match packet.opt() {
        Some(opt) if limit == UDP_LIMIT => usize::from(opt.udp_packet_size).clamp(UDP_LIMIT, EDNS_LIMIT),
        _ => limit,
    };
    let mut records = Vec::new();
    let mut cut = false;
    let target;
    match question.qtype {
        QTYPE::TYPE(TYPE::PTR) => {
            let Some(found) = reverse(&labels).and_then(|ip| state.name_at(container, ip)) else {
                return forward(state, container, query);
            };
            target = found;
            let Ok(name) = Name::new(&target) else { return refusal(query, RCODE::ServerFailure) };
            records.push(RData::PTR(PTR(name)));
        }
        QTYPE::TYPE(TYPE::SRV) if service(&name).is_some() => {
            let (port, host) = service(&name).unwrap_or_default();
            if state.addresses_of(container, host).is_empty() {
                return forward(state, container, query);
            }
            let Ok(target) = Name::new(host) else { return refusal(query, RCODE::ServerFailure) };
            records.push(RData::SRV(SRV { priority: 0, weight: 0, port, target: target.into_owned() }));
        }
        kind => {
            let mut addresses = state.addresses_of(container, &name);
            if addresses.is_empty() {
                return forward(state, container, query);
            }
            // A name we know has no other records than addresses.
            addresses.retain(|ip| match kind {
                QTYPE::TYPE(TYPE::A) => ip.is_ipv4(),
                QTYPE::TYPE(TYPE::AAAA) => ip.is_ipv6(),
                kind => kind == QTYPE::ANY,
            });
            if !addresses.is_empty() {
                let first = turn % addresses.len();
                addresses.rotate_left(first);
            }
            let mut room = limit.saturating_sub(HEADER + name.len() + 6);
            for ip in addresses {
                let length = RECORD + if ip.is_ipv4() { 4 } else { 16 };
                if length > room {
                    cut = true;
                    break;
                }
                room -= length;
                records.push(match ip {
                    IpAddr::V4(ip) => RData::A(A { address: ip.into() }),
                    IpAddr::V6(ip) => RData::AAAA(AAAA { address: ip.into() }),
                });
            }
        }
    }
    let mut reply = Packet::new_reply(packet.id());
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if packet.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    // Who wants all of them asks again over TCP.
    if cut {
        reply.set_flags(PacketFlag::TRUNCATION);
    }
    reply.questions.push(question.clone());
    for record in records {
        reply.answers.push(ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL, record));
    }
    reply.build_bytes_vec_compressed().map_or_else(|_| refusal(query, RCODE::ServerFailure), Answer::Reply)
}

/// `_80._tcp.web`: the port of a service is its number, and whoever has the name has the service.
fn service(name: &str) -> Option<(u16, &str)> {
    let (port, rest) = name.strip_prefix('_')?.split_once("._")?;
    let (protocol, host) = rest.split_once('.')?;
    matches!(protocol, "tcp" | "udp" | "sctp").then_some((port.parse().ok()?, host))
}

/// Containers without a way out get no answer through the host either.
fn forward(state: &State, container: &Id, query: &[u8]) -> Answer {
    let leads_outside = state.containers.get(container).is_some_and(|r| state.leads_outside(r));
    if leads_outside { Answer::Forward } else { refusal(query, RCODE::ServerFailure) }
}

fn refusal(query: &[u8], code: RCODE) -> Answer {
    failure(query, code).map_or(Answer::Ignore, Answer::Reply)
}

/// A reply that only says what went wrong, with the query's question: clients pass over replies without it.
pub(crate) fn failure(query: &[u8], code: RCODE) -> Option<Vec<u8>> {
    let mut reply = query.get(..HEADER)?.to_vec();
    // Response; of the query's flags only opcode and "recursion desired" stay. Then "recursion available", code.
    reply[2] = reply[2] & 0x79 | 0x80;
    reply[3] = 0x80 | (code as u8 & 0xf);
    reply[4..].fill(0);
    if let Some(question) = question(query) {
        reply[5] = 1;
        reply.extend_from_slice(question);
    }
    Some(reply)
}

/// The bytes of the first question: labels, a zero, type and class.
pub(crate) fn question(message: &[u8]) -> Option<&[u8]> {
    let mut at = HEADER;
    loop {
        match usize::from(*message.get(at)?) {
            0 => return message.get(HEADER..at + 5),
            length @ 1..=63 => at += 1 + length,
            // Compressed: there is nothing before it to point to.
            _ => return None,
        }
    }
}

/// The address in `d.c.b.a.in-addr.arpa`, or in 32 digits and `ip6.arpa`.
fn reverse(labels: &[String]) -> Option<IpAddr> {
    match labels {
        [d, c, b, a, in_addr, arpa] if in_addr == "in-addr" && arpa == "arpa" => {
            let [a, b, c, d] = [a, b, c, d].map(|part| part.parse().ok());
            Some(Ipv4Addr::new(a?, b?, c?, d?).into())
        }
        [digits @ .., ip6, arpa] if digits.len() == 32 && ip6 == "ip6" && arpa == "arpa" => {
            let digit =
                |label: &String| (label.len() == 1).then(|| u128::from_str_radix(label, 16).ok()).flatten();
            let bits = digits.iter().rev().try_fold(0, |bits: u128, label| Some(bits << 4 | digit(label)?));
            bits.map(|bits| Ipv6Addr::from_bits(bits).into())
        }
        _ => None,
    }
}

impl State {
    /// The networks with names that a container is on: id and name.
    fn named_networks(&self, container: &Id) -> impl Iterator<Item = (&Id, &str)> {
        let endpoints = self.containers.get(container).map(|r| r.endpoints.as_slice()).unwrap_or_default();
        endpoints
            .iter()
            .filter(|e| self.networks.get(&e.network_id).is_some_and(|entry| entry.network.names))
            .map(|e| (&e.network_id, e.network_name.as_str()))
    }

    /// The addresses behind a lower-case name: `web`, or `web.network`.
    fn addresses_of(&self, container: &Id, name: &str) -> Vec<IpAddr> {
        let mut found = Vec::new();
        for (id, network) in self.named_networks(container) {
            let suffix = format!(".{}", network.to_ascii_lowercase());
            let own = self.endpoints_of(id).find(|(record, _)| record.container == *container);
            let links = own.map_or(&[][..], |(_, endpoint)| &endpoint.links);
            let link = links.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
            let name = link.map_or(name, |(_, target)| target);
            let short = name.strip_suffix(&suffix);
            let is_meant = |known: &String| {
                known.eq_ignore_ascii_case(name)
                    || short.is_some_and(|short| known.eq_ignore_ascii_case(short))
            };
            let here = self.endpoints_of(id).filter(|(_, e)| e.names.iter().any(is_meant));
            found.extend(here.flat_map(|(_, e)| e.addresses().map(|address| address.ip)));
        }
        // The map of containers has no order; rotating needs one.
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The name of who has this address: `web.network`.
    fn name_at(&self, container: &Id, ip: IpAddr) -> Option<String> {
        self.named_networks(container).find_map(|(id, network)| {
            let (record, endpoint) = self.endpoints_of(id).find(|(_, e)| e.has(ip))?;
            let name = if record.name.is_empty() { endpoint.names.first()? } else { &record.name };
            Some(format!("{name}.{network}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use simple_dns::Question;
    use simple_dns::rdata::OPT;

    use super::*;
    use crate::networks::Entry;
    use crate::pool::{Range, Subnet};
    use crate::record::Record;
    use crate::{Address, Driver, Endpoint, Network};

    const IPV6: &str = "fd00::11";

    fn id(n: u8) -> Id {
        Id::from_bytes([n; 32])
    }

    fn network(n: u8, name: &str, internal: bool) -> Entry {
        let network = Network {
            id: id(n),
            name: name.into(),
            driver: Driver::Bridge,
            created: String::new(),
            v4: true,
            v6: true,
            ranges: vec![Range::whole(Subnet::new(Ipv4Addr::new(10, n, 0, 0).into(), 16).unwrap())],
            interface: format!("br{n}"),
            owns_interface: true,
            internal,
            names: true,
            attachable: false,
            ipam_options: BTreeMap::new(),
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
        };
        Entry { settled: true, ..Entry::new(network) }
    }

    fn container(state: &mut State, n: u8, name: &str, places: &[(u8, &str, &[&str])]) {
        let endpoints = places.iter().map(|(on, network, names)| Endpoint {
            id: id(n),
            network_id: id(*on),
            network_name: (*network).into(),
            v4: Some(Address { ip: Ipv4Addr::new(10, *on, 0, n).into(), prefix: 16, gateway: None }),
            v6: (n == 11).then(|| Address { ip: IPV6.parse().unwrap(), prefix: 64, gateway: None }),
            link_local: Vec::new(),
            priority: 0,
            mac: String::new(),
            interface: "eth0".into(),
            host_interface: String::new(),
            names: names.iter().map(|s| (*s).to_owned()).collect(),
            links: Vec::new(),
        });
        let record = Record {
            container: id(n),
            name: name.into(),
            endpoints: endpoints.collect(),
            ports: Vec::new(),
            resolver: None,
            upstreams: Vec::new(),
        };
        state.containers.insert(id(n), record);
    }

    fn state() -> State {
        let mut state = State::default();
        state.networks.insert(id(1), network(1, "Front", false));
        state.networks.insert(id(2), network(2, "back", true));
        container(&mut state, 10, "web", &[(1, "Front", &["web", "www"])]);
        container(&mut state, 11, "web2", &[(1, "Front", &["web2", "www"]), (2, "back", &["web2"])]);
        container(&mut state, 12, "db", &[(2, "back", &["db"])]);
        state
    }

    fn ask(name: &str, kind: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new_unchecked(name);
        packet.questions.push(Question::new(name, kind.into(), CLASS::IN.into(), false));
        packet.build_bytes_vec().unwrap()
    }

    fn addresses(answer: &Answer) -> Vec<IpAddr> {
        let Answer::Reply(bytes) = answer else { panic!("{answer:?}") };
        let packet = Packet::parse(bytes).unwrap();
        assert_eq!((packet.id(), packet.rcode()), (7, RCODE::NoError));
        let address = |r: &ResourceRecord<'_>| match &r.rdata {
            RData::A(a) => IpAddr::V4(a.address.into()),
            RData::AAAA(a) => IpAddr::V6(a.address.into()),
            other => panic!("{other:?}"),
        };
        packet.answers.iter().map(address).collect()
    }

    fn rcode(answer: &Answer) -> RCODE {
        let Answer::Reply(bytes) = answer else { panic!("{answer:?}") };
        Packet::parse(bytes).unwrap().rcode()
    }

    #[test]
    fn names_are_those_of_shared_networks() {
        let state = state();
        let a = |from: u8, name: &str| answer(&state, &id(from), &ask(name, TYPE::A), 0, UDP_LIMIT);
        assert_eq!(addresses(&a(10, "WEB2")), [IpAddr::from(Ipv4Addr::new(10, 1, 0, 11))]);
        assert_eq!(addresses(&a(10, "web2.front")), [IpAddr::from(Ipv4Addr::new(10, 1, 0, 11))]);
        assert_eq!(a(10, "db"), Answer::Forward, "not on a shared network");
        assert_eq!(addresses(&a(11, "db")), [IpAddr::from(Ipv4Addr::new(10, 2, 0, 12))]);
        assert_eq!(a(10, "example.com"), Answer::Forward);
        assert_eq!(rcode(&a(12, "example.com")), RCODE::ServerFailure, "internal networks ask nobody");
    }

    #[test]
    fn several_addresses_take_turns_and_fit() {
        let mut state = state();
        let first =
            |turn| addresses(&answer(&state, &id(10), &ask("www", TYPE::A), turn, UDP_LIMIT))[0].to_string();
        assert_eq!([first(0), first(1), first(2)], ["10.1.0.10", "10.1.0.11", "10.1.0.10"]);
        for n in 100..200 {
            container(&mut state, n, "many", &[(1, "Front", &["many"])]);
        }
        let reply = answer(&state, &id(10), &ask("many", TYPE::A), 0, UDP_LIMIT);
        assert!(addresses(&reply).len() > 25);
        let Answer::Reply(bytes) = reply else { panic!() };
        assert!(bytes.len() <= UDP_LIMIT);
        let cut = |bytes: &[u8]| Packet::parse(bytes).unwrap().has_flags(PacketFlag::TRUNCATION);
        assert!(cut(&bytes), "there are more");
        // Who takes more gets more, and over TCP all.
        let plain = ask("many", TYPE::A);
        let mut query = Packet::parse(&plain).unwrap();
        *query.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: 4096, version: 0 });
        let query = query.build_bytes_vec().unwrap();
        let Answer::Reply(bytes) = answer(&state, &id(10), &query, 0, UDP_LIMIT) else { panic!() };
        assert!(bytes.len() > UDP_LIMIT && bytes.len() <= EDNS_LIMIT);
        let all = answer(&state, &id(10), &query, 0, 65535);
        assert_eq!(addresses(&all).len(), 100);
    }

    #[test]
    fn other_types_of_a_known_name_are_empty_and_addresses_have_names() {
        let state = state();
        let ask = |name: &str, kind| answer(&state, &id(10), &ask(name, kind), 0, UDP_LIMIT);
        assert!(addresses(&ask("web", TYPE::AAAA)).is_empty());
        assert_eq!(addresses(&ask("web2", TYPE::AAAA)), [IPV6.parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses(&ask("web2", TYPE::A)).len(), 1);
        assert!(addresses(&ask("web2", TYPE::HTTPS)).is_empty());
        let Answer::Reply(bytes) = ask("11.0.1.10.in-addr.arpa", TYPE::PTR) else { panic!() };
        let packet = Packet::parse(&bytes).unwrap();
        let RData::PTR(PTR(name)) = &packet.answers[0].rdata else { panic!() };
        assert_eq!(name.to_string(), "web2.Front");
        assert_eq!(ask("1.0.0.127.in-addr.arpa", TYPE::PTR), Answer::Forward);
        let name = format!("1.1.{}0.0.d.f.ip6.arpa", "0.".repeat(26));
        let Answer::Reply(bytes) = ask(&name, TYPE::PTR) else { panic!("{name}") };
        assert!(format!("{:?}", Packet::parse(&bytes).unwrap().answers).contains("web2"));
        assert_eq!(ask("1.ip6.arpa", TYPE::PTR), Answer::Forward);
    }

    #[test]
    fn services_are_ports() {
        let state = state();
        let ask = |name: &str| answer(&state, &id(10), &ask(name, TYPE::SRV), 0, UDP_LIMIT);
        let Answer::Reply(bytes) = ask("_8080._tcp.web2") else { panic!() };
        let packet = Packet::parse(&bytes).unwrap();
        let RData::SRV(srv) = &packet.answers[0].rdata else { panic!() };
        assert_eq!((srv.port, srv.target.to_string().as_str()), (8080, "web2"));
        assert_eq!(ask("_8080._tcp.nobody"), Answer::Forward);
        assert_eq!(ask("_ldap._tcp.example.com"), Answer::Forward);
    }

    #[test]
    fn hostile_input_is_refused_or_ignored() {
        let state = state();
        let go = |bytes: &[u8]| answer(&state, &id(10), bytes, 0, UDP_LIMIT);
        let query = ask("web2", TYPE::A);
        for length in 0..query.len() {
            match go(&query[..length]) {
                Answer::Ignore | Answer::Reply(_) => {}
                Answer::Forward => panic!("{length} bytes were passed on"),
            }
        }
        let mut response = query.clone();
        response[2] |= 0x80;
        assert_eq!(go(&response), Answer::Ignore);
        let mut counts = query.clone();
        counts[10] = 0xff;
        assert_eq!(rcode(&go(&counts)), RCODE::FormatError);
        // A name that points at itself.
        let mut pointer = query[..HEADER].to_vec();
        pointer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
        assert_eq!(rcode(&go(&pointer)), RCODE::FormatError);
        // A type nobody knows is passed on as it is.
        let mut unknown = query.clone();
        let at = unknown.len() - 4;
        unknown[at..at + 2].copy_from_slice(&[0xfe, 0xfe]);
        assert_eq!(go(&unknown), Answer::Forward);
    }
}
