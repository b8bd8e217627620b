//! Containers reach each other, the outside and nothing else; their ports are reached from the host.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod host;

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use host::{ask, gateway, id, inside, json, on, on_a_host, output, publish, serve, succeeds, until, v4};
use network::{Error, NewNetwork, PortRequest};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[test]
fn two_containers_have_addresses_and_reach_each_other() {
    on_a_host(|host| {
        let networks = host.open();
        let a = networks.connect(&id(1), &[on("bridge", "a")], &[]).unwrap();
        let b = networks.connect(&id(2), &[on("bridge", "b")], &[]).unwrap();
        assert_eq!(v4(&a).to_string(), "172.17.0.2");
        assert_eq!(v4(&b).to_string(), "172.17.0.3");
        let (addresses, routes) =
            inside(&a.netns, || (json("ip -j address show dev eth0"), json("ip -j route")));
        let link = &addresses[0];
        assert_eq!(link["address"], a.endpoints[0].mac.as_str());
        assert_eq!(link["addr_info"].as_array().unwrap().len(), 1, "IPv4 only: {link}");
        assert_eq!(link["addr_info"][0]["local"], "172.17.0.2");
        assert_eq!(link["addr_info"][0]["broadcast"], "172.17.255.255");
        assert_eq!(routes[0]["dst"], "default");
        assert_eq!(routes[0]["gateway"], "172.17.0.1");
        for target in [v4(&b), gateway(&a)] {
            assert!(
                inside(&a.netns, || succeeds(&format!("/bin/busybox ping -c1 -W2 {target}"))),
                "{target}"
            );
        }
        // The next address is a new one, though the first is free.
        networks.release(&id(1)).unwrap();
        let c = networks.connect(&id(3), &[on("bridge", "c")], &[]).unwrap();
        assert_eq!(v4(&c).to_string(), "172.17.0.4");
        networks.shutdown().unwrap();
    });
}

#[test]
fn a_published_port_is_reached_by_every_way_that_it_should() {
    on_a_host(|host| {
        output("ip address add 198.51.100.7/24 dev lo");
        let networks = host.open();
        let ports = [publish([0; 4], 8080, 80), publish([127, 0, 0, 1], 8081, 80)];
        let web = networks.connect(&id(1), &[on("bridge", "web")], &ports).unwrap();
        let other = networks.connect(&id(2), &[on("bridge", "other")], &[]).unwrap();
        serve(&web.netns, 80, "web");
        let web_gateway = gateway(&web);
        let outer: IpAddr = [198, 51, 100, 7].into();
        for (ip, port) in [(LOOPBACK, 8080), (outer, 8080), (web_gateway, 8080), (LOOPBACK, 8081)] {
            let said = ask(ip, port).unwrap_or_else(|| panic!("{ip}:{port}\n{}", output("nft list ruleset")));
            assert!(said.ends_with(" web"), "{said}");
        }
        assert_eq!(ask(outer, 8081), None, "published on loopback alone");
        // From a neighbour and from itself, by the host's address.
        assert!(inside(&other.netns, || ask(outer, 8080)).is_some());
        assert!(inside(&web.netns, || ask(outer, 8080)).is_some());
        // No container reaches the host's loopback, though the bridge routes it.
        let bypass = format!("ip route replace 127.0.0.0/8 via {web_gateway} table local");
        inside(&other.netns, || {
            output("ip route del local 127.0.0.0/8 dev lo table local");
            output("ip route del local 127.0.0.1 dev lo table local");
            output("ip address del 127.0.0.1/8 dev lo");
            output(&bypass.replace("table local", ""));
            assert_eq!(ask(LOOPBACK, 8081), None);
        });
        networks.release(&id(1)).unwrap();
        assert_eq!(ask(LOOPBACK, 8080), None, "released");
        networks.shutdown().unwrap();
    });
}

#[test]
fn udp_is_published_and_steady_senders_are_led_along() {
    on_a_host(|host| {
        let networks = host.open();
        let echo = |n: u8, host_port: u16| {
            let port = PortRequest { protocol: "udp".into(), ..publish([0; 4], host_port, 53) };
            let sandbox = networks.connect(&id(n), &[on("bridge", "echo")], &[port]).unwrap();
            let server = inside(&sandbox.netns, || UdpSocket::bind("0.0.0.0:53").unwrap());
            server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            (sandbox, server)
        };
        let (first, server) = echo(1, 0);
        let published = first.ports[0].host_port;
        assert_ne!(published, 0, "a free port was chosen");
        // One sender, before, between and after: always from the same port.
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let go = |server: &UdpSocket| {
            client.send_to(b"hello", (LOOPBACK, published)).unwrap();
            let mut buffer = [0; 16];
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&buffer[..length], from).unwrap();
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from.port()), (&b"hello"[..], published));
        };
        go(&server);
        networks.release(&id(1)).unwrap();
        client.send_to(b"nobody", (LOOPBACK, published)).unwrap();
        let (_second, server) = echo(2, published);
        go(&server);
        networks.shutdown().unwrap();
    });
}

#[test]
fn networks_are_isolated_and_internal_ones_have_no_way_out() {
    on_a_host(|host| {
        let networks = host.open();
        let make = |name: &str, internal| {
            networks.create(NewNetwork { name: name.into(), internal, ..NewNetwork::default() }).unwrap()
        };
        let front = make("front", false);
        make("inner", true);
        assert_eq!(front.ranges[0].subnet.to_string(), "172.18.0.0/16");
        let a = networks.connect(&id(1), &[on("bridge", "a")], &[publish([0; 4], 8080, 80)]).unwrap();
        let b = networks.connect(&id(2), &[on("front", "b")], &[]).unwrap();
        let c = networks.connect(&id(3), &[on("inner", "c")], &[]).unwrap();
        let d = networks.connect(&id(4), &[on("inner", "d")], &[publish([0; 4], 8090, 80)]).unwrap();
        assert!(d.ports.is_empty(), "nothing is published from an internal network");
        serve(&a.netns, 80, "a");
        serve(&b.netns, 80, "b");
        serve(&d.netns, 80, "d");
        let (a_ip, b_ip, d_ip) = (v4(&a), v4(&b), v4(&d));
        assert_eq!(inside(&b.netns, || ask(a_ip, 80)), None, "across bridges");
        assert_eq!(inside(&c.netns, || ask(b_ip, 80)), None, "out of an internal network");
        assert!(inside(&c.netns, || ask(d_ip, 80)).is_some(), "within an internal network");
        assert!(inside(&c.netns, || output("ip -j route get 172.19.0.3")).contains("172.19.0.3"));
        assert!(!inside(&c.netns, || succeeds("ip route get 192.0.2.1")), "no default route");
        // A published port is for everyone, and the client's address is kept across bridges.
        let b_gateway = gateway(&b);
        assert_eq!(inside(&b.netns, || ask(b_gateway, 8080)), Some(format!("{b_ip} a")));

        // Someone outside who routes through this host: a namespace on a veth that is none of ours.
        let outside = host::outside(&networks);
        assert!(inside(&outside, || ask(Ipv4Addr::new(203, 0, 113, 1), 8080)).is_some(), "published");
        assert_eq!(inside(&outside, || ask(a_ip, 80)), None, "not published");
        // Outgoing connections have the host's address.
        serve(&outside, 99, "outside");
        let seen = inside(&b.netns, || ask(Ipv4Addr::new(203, 0, 113, 2), 99));
        assert_eq!(seen.as_deref(), Some("203.0.113.1 outside"));

        assert!(matches!(networks.remove("front"), Err(Error::InUse { .. })));
        networks.release(&id(2)).unwrap();
        networks.remove("front").unwrap();
        assert!(!succeeds(&format!("ip link show {}", front.interface)));
        networks.shutdown().unwrap();
    });
}

#[test]
fn a_port_conflict_names_its_holder_and_leaves_nothing() {
    on_a_host(|host| {
        let networks = host.open();
        networks.connect(&id(1), &[on("bridge", "web")], &[publish([0; 4], 8080, 80)]).unwrap();
        let before = output("nft list ruleset");
        let wanted = [publish([0; 4], 9090, 80), publish([127, 0, 0, 1], 8080, 80)];
        let refused = networks.connect(&id(2), &[on("bridge", "late")], &wanted).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "Bind for 127.0.0.1:8080 failed: port is already allocated (by container web)"
        );
        assert_eq!(output("nft list ruleset"), before);
        assert!(std::net::TcpListener::bind("0.0.0.0:9090").is_ok(), "the first port is free again");
        assert_eq!(networks.endpoints_of(&networks.find("bridge").unwrap().id).len(), 1);
        networks.rename(&id(1), "web", "website");
        let refused = networks.connect(&id(2), &[on("bridge", "late")], &wanted).unwrap_err();
        assert!(refused.to_string().ends_with("(by container website)"));
        networks.shutdown().unwrap();
    });
}

#[test]
fn the_table_is_put_back_when_someone_has_changed_it() {
    on_a_host(|host| {
        let networks = host.open();
        let web = networks.connect(&id(1), &[on("bridge", "web")], &[publish([0; 4], 8080, 80)]).unwrap();
        serve(&web.netns, 80, "web");
        let before = output("nft list ruleset");
        let changes = [
            "flush ruleset",
            "delete table inet ct_test",
            "flush chain inet ct_test inbound",
            "delete element inet ct_test bridges { ct0 }",
            "add element inet ct_test ports_any { tcp . 9999 : 192.0.2.1 . 1 }",
        ];
        for change in changes {
            output(&format!("nft {change}"));
            until(change, || output("nft list ruleset") == before);
            assert!(ask(LOOPBACK, 8080).is_some());
        }
        // Changes right after, whoever is quicker.
        output("nft flush ruleset");
        networks.connect(&id(2), &[on("bridge", "b")], &[publish([0; 4], 8081, 80)]).unwrap();
        networks.release(&id(2)).unwrap();
        until("the old state", || output("nft list ruleset") == before);
        networks.shutdown().unwrap();
        assert_eq!(output("nft list ruleset"), "");
    });
}

#[test]
fn a_bridge_of_the_host_is_not_taken() {
    on_a_host(|host| {
        let networks = host.open();
        output("ip link add br0 type bridge");
        let options = [("com.docker.network.bridge.name".to_owned(), "br0".to_owned())].into();
        let new = NewNetwork { name: "front".into(), options, ..NewNetwork::default() };
        let refused = networks.create(new).unwrap_err().to_string();
        assert_eq!(refused, "cannot create network front: this host has an interface br0 already");
        assert!(succeeds("ip link show br0"), "nor removed");
        networks.shutdown().unwrap();
    });
}

#[test]
fn the_rules_are_readable_and_can_be_read_back() {
    on_a_host(|host| {
        let networks = host.open();
        let ports = [publish([0; 4], 8080, 80), publish([127, 0, 0, 1], 8081, 81)];
        networks.connect(&id(1), &[on("bridge", "web")], &ports).unwrap();
        networks
            .create(NewNetwork { name: "inner".into(), internal: true, ..NewNetwork::default() })
            .unwrap();
        let inner = networks.find("inner").unwrap().interface;
        let rules = output("nft list table inet ct_test");
        // The chains never change; in sets the order is the kernel's.
        let chains = rules.find("\tchain ").unwrap();
        assert_eq!(&rules[chains..], include_str!("chains.nft"), "\n{rules}");
        for element in [
            "127.0.0.1 . tcp . 8081 comment \"web\" : 172.17.0.2 . 81",
            "tcp . 8080 comment \"web\" : 172.17.0.2 . 80",
            "\"ct0\" . \"ct0\" comment \"bridge\"",
            &format!("\"{inner}\" . \"{inner}\" comment \"inner\""),
        ] {
            assert!(rules.contains(element), "{element}\n{rules}");
        }
        // What nft writes it reads again.
        let file = host.state.path().join("rules.nft");
        sys::file::write_atomic(&file, rules.as_bytes(), 0o600, sys::file::Durability::Process).unwrap();
        output(&format!("nft -c -f {}", file.display()));
        networks.shutdown().unwrap();
    });
}

#[test]
fn a_bridge_without_room_says_so_and_takes_the_next_when_it_has() {
    on_a_host(|host| {
        let networks = host.open();
        let most = 1023;
        let ports: String = (0..most)
            .map(|n| format!("link add p{n} type veth peer name q{n}\nlink set p{n} master ct0\n"))
            .collect();
        let batch = host.state.path().join("ports");
        sys::file::write_atomic(&batch, ports.as_bytes(), 0o600, sys::file::Durability::Process).unwrap();
        output(&format!("ip -batch {}", batch.display()));
        let links = || output("ip -o link").lines().count();
        let before = links();
        let refused = networks.connect(&id(1), &[on("bridge", "x")], &[]).unwrap_err().to_string();
        assert!(refused.starts_with("bridge ct0 has its 1023 ports"), "{refused}");
        until("what was begun is gone", || links() == before);
        output("ip link delete p0");
        networks.connect(&id(1), &[on("bridge", "x")], &[]).unwrap();
        networks.shutdown().unwrap();
    });
}
