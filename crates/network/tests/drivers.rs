//! Drivers and their options.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod host;

use host::{
    Process, ask, gateway, id, inside, ip, json, new, on, on_a_host, output, publish, range, serve, succeeds,
    v4,
};
use network::{EndpointRequest, Networks, Range};

#[test]
fn containers_that_may_not_talk_do_not() {
    on_a_host(|host| {
        let networks = host.open();
        networks.create(new("quiet", "", &[("com.docker.network.bridge.enable_icc", "false")])).unwrap();
        let a = networks.connect(&id(1), &[on("quiet", "a")], &[publish([0; 4], 8080, 80)]).unwrap();
        let b = networks.connect(&id(2), &[on("quiet", "b")], &[]).unwrap();
        serve(&a.netns, 80, "a");
        assert_eq!(inside(&b.netns, || ask(v4(&a), 80)), None);
        assert!(ask(v4(&a), 80).is_some() && ask(ip("127.0.0.1"), 8080).is_some(), "the host may");
        let front = networks.connect(&id(3), &[on("bridge", "c")], &[]).unwrap();
        let published = gateway(&front);
        assert!(inside(&front.netns, || ask(published, 8080)).is_some(), "other networks may, as published");
        networks.shutdown().unwrap();
    });
}

#[test]
fn gateway_modes_decide_who_comes_in() {
    on_a_host(|host| {
        let networks = host.open();
        let mode = |name: &str, mode: &str| {
            let pairs = [("com.docker.network.bridge.gateway_mode_ipv4", mode)];
            networks.create(new(name, "", &pairs)).unwrap();
        };
        mode("open", "nat-unprotected");
        mode("routed", "routed");
        let a = networks.connect(&id(1), &[on("open", "a")], &[]).unwrap();
        let ports = [publish([0; 4], 8081, 80)];
        let b = networks.connect(&id(2), &[on("routed", "b")], &ports).unwrap();
        for (sandbox, name) in [(&a, "a"), (&b, "b")] {
            serve(&sandbox.netns, 80, name);
            serve(&sandbox.netns, 81, name);
        }
        let outside = host::outside(&networks);
        serve(&outside, 99, "outside");
        let (a_ip, b_ip) = (v4(&a), v4(&b));
        inside(&outside, || {
            assert!(ask(a_ip, 80).is_some() && ask(a_ip, 81).is_some(), "unprotected");
            assert_eq!(ask(b_ip, 80), Some("203.0.113.2 b".to_owned()), "routed, published");
            assert_eq!(ask(b_ip, 81), None, "routed, not published");
            assert_eq!(ask(ip("203.0.113.1"), 8081), None, "routed: not at the host's address");
            assert!(succeeds(&format!("/bin/busybox ping -c1 -W2 {b_ip}")), "routed networks answer pings");
        });
        // Routed containers go outside with their own address; the way back is the outside's to know.
        let seen = inside(&b.netns, || ask(ip("203.0.113.2"), 99));
        assert_eq!(seen, Some(format!("{b_ip} outside")));

        let refused =
            networks.create(new("x", "", &[("com.docker.network.bridge.gateway_mode_ipv4", "isolated")]));
        assert_eq!(
            refused.unwrap_err().to_string(),
            "gateway mode 'isolated' can only be used for an internal network"
        );
        let mut isolated =
            new("isolated", "", &[("com.docker.network.bridge.gateway_mode_ipv4", "isolated")]);
        isolated.internal = true;
        let isolated = networks.create(isolated).unwrap();
        assert!(!output(&format!("ip address show dev {}", isolated.interface)).contains("inet "));
        networks.shutdown().unwrap();
    });
}

#[test]
fn trust_sources_and_prefixes() {
    on_a_host(|host| {
        let networks = host.open();
        let outside = host::outside(&networks);
        output("ip address add 203.0.113.9/24 dev uplink");
        networks
            .create(new(
                "front",
                "",
                &[
                    ("com.docker.network.bridge.trusted_host_interfaces", "uplink"),
                    ("com.docker.network.host_ipv4", "203.0.113.9"),
                    ("com.docker.network.container_iface_prefix", "net"),
                    ("com.docker.network.driver.mtu", "1400"),
                    ("com.docker.network.bridge.host_binding_ipv4", "127.0.0.1"),
                ],
            ))
            .unwrap();
        let anywhere = network::PortRequest { host_ip: None, ..publish([0; 4], 8080, 80) };
        let web = networks.connect(&id(1), &[on("front", "web")], &[anywhere]).unwrap();
        assert_eq!(web.ports[0].host_ip, ip("127.0.0.1"));
        assert_eq!(web.endpoints[0].interface, "net0");
        assert_eq!(inside(&web.netns, || json("ip -j link show dev net0"))[0]["mtu"], 1400);
        serve(&web.netns, 80, "web");
        serve(&outside, 99, "outside");
        let web_ip = v4(&web);
        assert!(inside(&outside, || ask(web_ip, 80)).is_some(), "trusted");
        let seen = inside(&web.netns, || ask(ip("203.0.113.2"), 99));
        assert_eq!(seen.as_deref(), Some("203.0.113.9 outside"));
        networks.shutdown().unwrap();
    });
}

#[test]
fn the_highest_priority_leads_outside_also_while_it_runs() {
    on_a_host(|host| {
        let networks = host.open();
        for name in ["aaa", "bbb", "ccc"] {
            networks.create(new(name, "", &[])).unwrap();
        }
        let with = |name: &str, priority| EndpointRequest { priority, ..on(name, "web") };
        let web = networks
            .connect(&id(1), &[with("aaa", 0), with("bbb", 5)], &[publish([0; 4], 8080, 80)])
            .unwrap();
        serve(&web.netns, 80, "web");
        let process = Process::start(&web.netns);
        let leads = || inside(&web.netns, || json("ip -j route show default"))[0]["dev"].clone();
        assert_eq!(leads(), "eth1");
        networks.connect_live(&id(1), process.pid(), &with("ccc", 9)).unwrap();
        assert_eq!(leads(), "eth2");
        assert!(ask(ip("127.0.0.1"), 8080).is_some(), "the port has moved");
        networks.disconnect_live(&id(1), process.pid(), "ccc").unwrap();
        assert_eq!(leads(), "eth1");
        assert!(ask(ip("127.0.0.1"), 8080).is_some(), "and back");
        networks.disconnect_live(&id(1), process.pid(), "bbb").unwrap();
        assert_eq!(leads(), "eth0");
        networks.shutdown().unwrap();
    });
}

#[test]
fn reserved_addresses_and_other_gateways() {
    on_a_host(|host| {
        let networks = host.open();
        let mut front = new("front", "", &[]);
        let reserved = [("DefaultGatewayIPv4", "10.7.0.3"), ("printer", "10.7.0.2")];
        let reserved = reserved.map(|(name, text)| (name.to_owned(), ip(text))).into();
        front.ranges = vec![Range { reserved, ..range("10.7.0.0/29") }];
        networks.create(front).unwrap();
        let web = networks.connect(&id(1), &[on("front", "web")], &[]).unwrap();
        assert_eq!((v4(&web), gateway(&web)), (ip("10.7.0.4"), ip("10.7.0.3")));
        for n in 2..4 {
            networks.connect(&id(n), &[on("front", "x")], &[]).unwrap();
        }
        let refused = networks.connect(&id(9), &[on("front", "x")], &[]).unwrap_err().to_string();
        assert_eq!(
            refused,
            "no available IPv4 addresses on this network's address pools: front (10.7.0.0/29)"
        );
        let mut other = new("other", "", &[]);
        other.ranges = vec![range("10.7.0.0/24")];
        let refused = networks.create(other.clone()).unwrap_err().to_string();
        assert!(
            refused.starts_with("invalid pool request: Pool overlaps with other one on this address space"),
            "{refused}"
        );
        other.ranges = vec![range("10.8.0.0/24"), range("10.9.0.0/24")];
        let refused = networks.create(other).unwrap_err().to_string();
        assert_eq!(refused, "bridge driver doesn't support multiple subnets");
        networks.shutdown().unwrap();
    });
}

#[test]
fn a_host_s_route_is_not_taken_for_a_new_network() {
    on_a_host(|host| {
        output("ip link set lo up");
        output("ip route add 172.18.0.0/15 dev lo");
        let networks: Networks = host.open();
        let front = networks.create(new("front", "", &[])).unwrap();
        assert_eq!(front.ranges[0].subnet.to_string(), "172.20.0.0/16");
        // Any subnet of a size: with its gateway, and nothing of it chosen.
        let mut small = new("small", "", &[]);
        small.ranges = vec![Range { reserved: [("x".into(), ip("0.0.0.7"))].into(), ..range("0.0.0.0/24") }];
        assert!(networks.create(small.clone()).unwrap_err().to_string().contains("any one of that size"));
        (small.v6, small.ranges) = (true, vec![range("0.0.0.0/24"), range("::/56")]);
        let small = networks.create(small).unwrap();
        assert_eq!(small.ranges[0].subnet.to_string(), "172.21.0.0/24");
        assert_eq!(small.ranges[0].gateway, Some(ip("172.21.0.1")));
        assert_eq!(small.ranges[1].subnet.prefix(), 56);
        networks.shutdown().unwrap();
    });
}
