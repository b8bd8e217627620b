//! IPv6 beside IPv4, and alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod host;

use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

use host::{Process, ask, id, inside, json, on, on_a_host, output, publish, query, serve, succeeds, v4, v6};
use network::{DefaultNetwork, EndpointRequest, Network, Networks, NewNetwork, PortRequest, Range, Subnet};
use simple_dns::TYPE;

const LOOPBACK: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn subnet(text: &str) -> Range {
    let subnet = Subnet::parse(text).unwrap();
    Range { subnet, range: None, gateway: None, reserved: Default::default() }
}

fn create(networks: &Networks, name: &str, change: impl FnOnce(&mut NewNetwork)) -> Network {
    let mut new = NewNetwork { name: name.into(), v6: true, ..NewNetwork::default() };
    change(&mut new);
    networks.create(new).unwrap()
}

/// On all addresses of both families.
fn anywhere(host: u16, container: u16) -> PortRequest {
    PortRequest { host_ip: None, ..publish([0; 4], host, container) }
}

#[test]
fn both_families_work_at_once_and_without_delay() {
    on_a_host(|host| {
        let networks = host.open();
        let front = create(&networks, "front", |_| ());
        assert_eq!(front.ranges.len(), 2);
        assert!(front.ranges[1].subnet.to_string().starts_with("fd"), "{:?}", front.ranges);
        let a = networks.connect(&id(1), &[on("front", "a")], &[]).unwrap();
        let b = networks.connect(&id(2), &[on("front", "b")], &[]).unwrap();
        serve(&b.netns, 80, "b");
        let (a_ip, b_ip) = (v6(&a), v6(&b));
        // No duplicate address detection, no second lost.
        let start = Instant::now();
        assert_eq!(inside(&a.netns, || ask(b_ip, 80)), Some(format!("{a_ip} b")));
        assert!(start.elapsed() < Duration::from_millis(700), "{:?}", start.elapsed());
        assert_eq!(inside(&a.netns, || ask(v4(&b), 80)), Some(format!("{} b", v4(&a))));
        let routes = inside(&a.netns, || json("ip -j -6 route show default"));
        assert_eq!(routes[0]["gateway"], front.ranges[1].gateway.unwrap().to_string());
        assert_eq!(inside(&a.netns, || query("b", TYPE::AAAA)), Ok(vec![b_ip]));
        assert_eq!(inside(&a.netns, || query("b", TYPE::A)), Ok(vec![v4(&b)]));
        // Who is on IPv4 only has no IPv6 at all.
        let plain = networks.connect(&id(3), &[on("bridge", "plain")], &[]).unwrap();
        let addresses = inside(&plain.netns, || output("ip -6 address show dev eth0"));
        assert_eq!(addresses, "");
        networks.shutdown().unwrap();
        assert_eq!(output("nft list ruleset"), "");
    });
}

#[test]
fn ports_are_published_in_both_families() {
    on_a_host(|host| {
        output("ip address add 2001:db8::7/64 dev lo nodad");
        output("ip address add 198.51.100.7/24 dev lo");
        let networks = host.open();
        create(&networks, "front", |_| ());
        let web = networks.connect(&id(1), &[on("front", "web")], &[anywhere(8080, 80)]).unwrap();
        let other = networks.connect(&id(2), &[on("front", "other")], &[]).unwrap();
        assert_eq!(web.ports.len(), 2, "{:?}", web.ports);
        serve(&web.netns, 80, "web");
        let outer: IpAddr = "2001:db8::7".parse().unwrap();
        let gateway = web.endpoints[0].v6.unwrap().gateway.unwrap();
        for ip in [LOOPBACK, outer, gateway, "127.0.0.1".parse().unwrap(), "198.51.100.7".parse().unwrap()] {
            assert!(
                ask(ip, 8080).is_some_and(|said| said.ends_with(" web")),
                "{ip}\n{}",
                output("nft list ruleset")
            );
        }
        // From a neighbour and from itself, by the host's address.
        assert!(inside(&other.netns, || ask(outer, 8080)).is_some());
        assert!(inside(&web.netns, || ask(outer, 8080)).is_some());
        assert!(std::net::TcpListener::bind("[::]:8080").is_err(), "held against other programs");
        networks.release(&id(1)).unwrap();
        for ip in [LOOPBACK, outer] {
            assert_eq!(ask(ip, 8080), None, "released: {ip}");
        }
        assert!(std::net::TcpListener::bind("[::]:8080").is_ok());
        networks.shutdown().unwrap();
    });
}

#[test]
fn a_family_that_a_container_lacks_is_passed_on() {
    on_a_host(|host| {
        output("ip address add 2001:db8::7/64 dev lo nodad");
        let networks = host.open();
        let udp = PortRequest { protocol: "udp".into(), ..anywhere(5353, 53) };
        let web = networks.connect(&id(1), &[on("bridge", "web")], &[anywhere(8080, 80), udp]).unwrap();
        serve(&web.netns, 80, "web");
        for ip in ["::1", "2001:db8::7", "127.0.0.1"] {
            assert!(ask(ip.parse::<IpAddr>().unwrap(), 8080).is_some(), "{ip}");
        }
        let echo = inside(&web.netns, || UdpSocket::bind("0.0.0.0:53").unwrap());
        echo.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let client = UdpSocket::bind("[::1]:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for word in [&b"one"[..], b"two"] {
            client.send_to(word, "[::1]:5353").unwrap();
            let mut buffer = [0; 16];
            let (length, from) = echo.recv_from(&mut buffer).unwrap();
            echo.send_to(&buffer[..length], from).unwrap();
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from.port()), (word, 5353));
        }
        // The next daemon goes on with it.
        let process = Process::start(&web.netns);
        drop(networks);
        let networks = Networks::open(host.config(0), &[(id(1), process.pid())]).unwrap();
        assert!(ask(LOOPBACK, 8080).is_some());
        // A way out of both families takes it over while it runs, and gives it back.
        create(&networks, "both", |_| ());
        let both = EndpointRequest { priority: 1, ..on("both", "web") };
        for _ in 0..2 {
            networks.connect_live(&id(1), process.pid(), &both).unwrap();
            assert!(ask(LOOPBACK, 8080).is_some());
            networks.disconnect_live(&id(1), process.pid(), "both").unwrap();
            assert!(ask(LOOPBACK, 8080).is_some());
        }
        networks.release(&id(1)).unwrap();

        // And the other way round.
        create(&networks, "six", |new| new.without_v4 = true);
        let six = networks.connect(&id(2), &[on("six", "six")], &[anywhere(8081, 80)]).unwrap();
        assert_eq!(six.endpoints[0].v4, None);
        serve(&six.netns, 80, "six");
        for ip in ["::1", "127.0.0.1", "2001:db8::7"] {
            assert!(ask(ip.parse::<IpAddr>().unwrap(), 8081).is_some(), "{ip}");
        }
        networks.shutdown().unwrap();
    });
}

#[test]
fn isolation_holds_for_ipv6() {
    on_a_host(|host| {
        let networks = host.open();
        create(&networks, "front", |_| ());
        create(&networks, "back", |_| ());
        create(&networks, "inner", |new| new.internal = true);
        let a = networks.connect(&id(1), &[on("front", "a")], &[anywhere(8080, 80)]).unwrap();
        let b = networks.connect(&id(2), &[on("back", "b")], &[]).unwrap();
        let c = networks.connect(&id(3), &[on("inner", "c")], &[]).unwrap();
        let d = networks.connect(&id(4), &[on("inner", "d")], &[]).unwrap();
        for (sandbox, name) in [(&a, "a"), (&b, "b"), (&d, "d")] {
            serve(&sandbox.netns, 80, name);
        }
        let (a_ip, b_ip, d_ip) = (v6(&a), v6(&b), v6(&d));
        assert_eq!(inside(&b.netns, || ask(a_ip, 80)), None, "across bridges");
        assert_eq!(inside(&a.netns, || ask(b_ip, 80)), None, "across bridges");
        assert_eq!(inside(&c.netns, || ask(b_ip, 80)), None, "out of an internal network");
        assert!(inside(&c.netns, || ask(d_ip, 80)).is_some(), "within an internal network");
        assert!(!inside(&c.netns, || succeeds("ip -6 route get 2001:db8::1")), "no default route");
        let gateway = b.endpoints[0].v6.unwrap().gateway.unwrap();
        assert_eq!(inside(&b.netns, || ask(gateway, 8080)), Some(format!("{b_ip} a")), "published");

        let outside = host::outside(&networks);
        let uplink: IpAddr = "2001:db8:1::1".parse().unwrap();
        assert!(inside(&outside, || ask(uplink, 8080)).is_some(), "published");
        assert_eq!(inside(&outside, || ask(a_ip, 80)), None, "not published at its own address");
        assert_eq!(inside(&outside, || ask(b_ip, 80)), None, "not published");
        serve(&outside, 99, "outside");
        let seen = inside(&b.netns, || ask("2001:db8:1::2".parse::<IpAddr>().unwrap(), 99));
        assert_eq!(seen.as_deref(), Some("2001:db8:1::1 outside"), "with the host's address");
        networks.shutdown().unwrap();
    });
}

#[test]
fn a_port_on_loopback_is_for_this_host_alone() {
    on_a_host(|host| {
        let networks = host.open();
        create(&networks, "front", |_| ());
        let on_loopback = |ip: &str, port| PortRequest { host_ip: ip.parse().ok(), ..anywhere(port, 80) };
        let ports = [on_loopback("127.0.0.1", 8081), on_loopback("::1", 8081)];
        let web = networks.connect(&id(1), &[on("front", "web")], &ports).unwrap();
        serve(&web.netns, 80, "web");
        assert!(ask(LOOPBACK, 8081).is_some() && ask("127.0.0.1".parse::<IpAddr>().unwrap(), 8081).is_some());
        let outside = host::outside(&networks);
        inside(&outside, || {
            for ip in ["203.0.113.1", "2001:db8:1::1"] {
                assert_eq!(ask(ip.parse::<IpAddr>().unwrap(), 8081), None, "{ip}");
            }
            // A neighbour who sends packets for loopback addresses to the host.
            for words in [
                "ip address del 127.0.0.1/8 dev lo",
                "ip route replace 127.0.0.0/8 via 203.0.113.1",
                "ip address del ::1/128 dev lo",
                "ip -6 route add ::1/128 via 2001:db8:1::1",
            ] {
                output(words);
            }
            for ip in ["127.0.0.1", "::1"] {
                assert_eq!(ask(ip.parse::<IpAddr>().unwrap(), 8081), None, "{ip}");
            }
        });
        networks.shutdown().unwrap();
    });
}

#[test]
fn addresses_of_the_user_s_choice() {
    on_a_host(|host| {
        let networks = host.open();
        create(&networks, "front", |new| new.ranges = vec![subnet("2001:db8:5::/64"), subnet("10.5.0.0/24")]);
        let fixed = EndpointRequest {
            ip: "10.5.0.77".parse().ok(),
            ip6: "2001:db8:5::77".parse().ok(),
            link_local: vec!["169.254.7.7".parse().unwrap(), "fe80::77".parse().unwrap()],
            interface: "wan0".into(),
            sysctls: vec![("net.ipv4.conf.IFNAME.log_martians".into(), "1".into())],
            ..on("front", "web")
        };
        let web = networks.connect(&id(1), std::slice::from_ref(&fixed), &[]).unwrap();
        assert_eq!(
            (v4(&web).to_string().as_str(), v6(&web).to_string().as_str()),
            ("10.5.0.77", "2001:db8:5::77")
        );
        inside(&web.netns, || {
            let link = output("ip -o address show dev wan0");
            for ip in ["10.5.0.77/24", "2001:db8:5::77/64", "169.254.7.7/16", "fe80::77/64"] {
                assert!(link.contains(ip), "{ip}\n{link}");
            }
            assert!(!link.contains("tentative"), "{link}");
            assert_eq!(sys::sysctl::get("net/ipv4/conf/wan0/log_martians").unwrap(), "1");
        });
        let taken =
            EndpointRequest { ip: None, link_local: Vec::new(), sysctls: Vec::new(), ..fixed.clone() };
        let refused = networks.connect(&id(2), &[taken], &[]).unwrap_err().to_string();
        assert_eq!(refused, "Address already in use: 2001:db8:5::77 (by container web)");
        let used: Vec<_> =
            networks.usage(&networks.find("front").unwrap().id).iter().map(|u| u.used).collect();
        assert_eq!(used, [4, 3], "the refused container's IPv4 address was given back");
        let odd = EndpointRequest { ip6: "2001:db8:6::1".parse().ok(), ..on("front", "odd") };
        let refused = networks.connect(&id(2), &[odd], &[]).unwrap_err().to_string();
        assert!(refused.ends_with("no configured subnet contains IP address 2001:db8:6::1"), "{refused}");
        networks.shutdown().unwrap();
    });
}

#[test]
fn the_default_network_and_the_host_s_own_way_out() {
    on_a_host(|host| {
        // An uplink that has learnt its way out from advertisements.
        output("ip link add up0 type veth peer name far0");
        sys::sysctl::set("net/ipv6/conf/up0/accept_ra", "1").unwrap();
        let mut config = host.config(1);
        config.default_network = DefaultNetwork { v6: true, ..DefaultNetwork::default() };
        config.bip6 = Some(("fd00:1::1".parse().unwrap(), 64));
        let networks = Networks::open(config.clone(), &[]).unwrap();
        assert_eq!(sys::sysctl::get("net/ipv6/conf/all/forwarding").unwrap(), "1");
        assert_eq!(sys::sysctl::get("net/ipv6/conf/up0/accept_ra").unwrap(), "2", "it still listens");
        let noted = std::fs::read_to_string(host.state.path().join("networks/ip6_forward")).unwrap();
        assert_eq!(noted, "0");
        let web = networks.connect(&id(1), &[on("bridge", "web")], &[]).unwrap();
        assert!(v6(&web).to_string().starts_with("fd00:1::"), "{}", v6(&web));
        assert!(inside(&web.netns, || succeeds("/bin/busybox ping -6 -c1 -W2 fd00:1::1")));
        networks.release(&id(1)).unwrap();
        drop(networks);
        // Nobody is on it: it changes with the configuration.
        config.bip6 = Some(("fd00:2::1".parse().unwrap(), 64));
        let networks = Networks::open(config, &[]).unwrap();
        assert_eq!(networks.find("bridge").unwrap().gateway(false).unwrap().to_string(), "fd00:2::1");
        networks.shutdown().unwrap();
    });
}
