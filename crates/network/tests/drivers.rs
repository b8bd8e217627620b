//! Drivers and their options.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod host;

use std::collections::BTreeMap;
use std::net::IpAddr;

use host::{Process, ask, gateway, id, inside, json, on, on_a_host, output, publish, serve, succeeds, v4};
use network::{EndpointRequest, Error, Networks, NewNetwork, Range, Subnet};

fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn new(name: &str, driver: &str, pairs: &[(&str, &str)]) -> NewNetwork {
    NewNetwork { name: name.into(), driver: driver.into(), options: options(pairs), ..NewNetwork::default() }
}

fn range(subnet: &str) -> Range {
    Range { subnet: Subnet::parse(subnet).unwrap(), range: None, gateway: None, reserved: BTreeMap::new() }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn macvlan_puts_containers_on_the_host_s_own_wire() {
    on_a_host(|host| {
        let networks = host.open();
        // A machine on the host's wire.
        let outside = host::outside(&networks);
        let mut wire = new("wire", "macvlan", &[("parent", "uplink")]);
        wire.ranges = vec![Range { gateway: Some(ip("203.0.113.2")), ..range("203.0.113.0/24") }];
        // The host's own subnet is what one asks for here.
        let wire = networks.create(wire).unwrap();
        assert!(!wire.owns_interface);
        let at = |text: &str| EndpointRequest { ip: text.parse().ok(), ..on("wire", "a") };
        let a = networks.connect(&id(1), &[at("203.0.113.7")], &[publish([0; 4], 8080, 80)]).unwrap();
        let b = networks.connect(&id(2), &[at("203.0.113.8")], &[]).unwrap();
        assert!(a.ports.is_empty(), "it is outside already");
        serve(&a.netns, 80, "a");
        serve(&outside, 81, "outside");
        assert_eq!(inside(&b.netns, || ask(v4(&a), 80)).as_deref(), Some("203.0.113.8 a"));
        assert_eq!(inside(&outside, || ask(v4(&a), 80)).as_deref(), Some("203.0.113.2 a"));
        assert_eq!(inside(&b.netns, || ask(ip("203.0.113.2"), 81)).as_deref(), Some("203.0.113.8 outside"));
        let link = inside(&a.netns, || json("ip -j -d link show dev eth0"));
        assert_eq!(link[0]["linkinfo"]["info_data"]["mode"], "bridge");
        assert_eq!(link[0]["address"], a.endpoints[0].mac.as_str());
        assert_eq!(inside(&a.netns, || json("ip -j route show default"))[0]["gateway"], "203.0.113.2");

        let mut alone = new("alone", "macvlan", &[("parent", "uplink"), ("macvlan_mode", "passthru")]);
        alone.ranges = vec![range("192.0.2.0/24")];
        let refused = networks.create(alone.clone()).unwrap_err();
        assert_eq!(refused.to_string(), "network wire is already using parent interface uplink");
        networks.release(&id(1)).unwrap();
        networks.release(&id(2)).unwrap();
        drop((a, b));
        networks.remove("wire").unwrap();
        assert!(succeeds("ip link show uplink"), "the host's interface stays");
        alone.options.insert("macvlan_mode".into(), "private".into());
        networks.create(alone).unwrap();
        let at = |n: u8| on("alone", if n == 1 { "a" } else { "b" });
        let a = networks.connect(&id(1), &[at(1)], &[]).unwrap();
        let b = networks.connect(&id(2), &[at(2)], &[]).unwrap();
        serve(&a.netns, 80, "a");
        assert_eq!(inside(&b.netns, || ask(v4(&a), 80)), None, "private");
        networks.shutdown().unwrap();
    });
}

#[test]
fn a_macvlan_endpoint_comes_and_goes() {
    on_a_host(|host| {
        let networks = host.open();
        let _outside = host::outside(&networks);
        let mut wire = new("wire", "macvlan", &[("parent", "uplink")]);
        wire.ranges = vec![range("192.0.2.0/24")];
        networks.create(wire).unwrap();
        let web = networks.connect(&id(1), &[on("bridge", "web")], &[]).unwrap();
        let process = Process::start(&web.netns);
        networks.connect_live(&id(1), process.pid(), &on("wire", "web")).unwrap();
        assert!(inside(&web.netns, || succeeds("ip link show eth1")));
        networks.disconnect_live(&id(1), process.pid(), "wire").unwrap();
        assert!(!inside(&web.netns, || succeeds("ip link show eth1")));
        networks.shutdown().unwrap();
    });
}

#[test]
fn parents_that_cannot_be_are_named_and_nothing_is_left() {
    on_a_host(|host| {
        let networks = host.open();
        let before = output("ip -o link").lines().count();
        for (driver, pairs, text) in [
            ("macvlan", &[("parent", "lo")][..], "loopback interface is not a valid macvlan parent link"),
            ("ipvlan", &[("parent", "lo")], "loopback interface is not a valid ipvlan parent link"),
            (
                "macvlan",
                &[("parent", "nosuch")],
                "invalid subinterface vlan name nosuch, example formatting is eth0.10",
            ),
            (
                "macvlan",
                &[("parent", "nosuch.7")],
                "failed to find master interface nosuch on the Docker host: Link not found",
            ),
            ("macvlan", &[("parent", "lo.5000")], "vlan id must be between 1-4094, received: 5000"),
            ("nosuch", &[], "plugin \"nosuch\" not found"),
            ("host", &[], "only one instance of \"host\" network is allowed"),
        ] {
            assert_eq!(networks.create(new("x", driver, pairs)).unwrap_err().to_string(), text);
        }
        assert_eq!(output("ip -o link").lines().count(), before);
        assert_eq!(networks.list().len(), 3);
        networks.shutdown().unwrap();
    });
}

/// The kernels of some machines lack these modules: then the kernel's refusal is what the user reads, and nothing is left.
#[test]
fn ipvlan_dummies_and_vlans_work_or_are_refused() {
    on_a_host(|host| {
        let networks = host.open();
        let outside = host::outside(&networks);
        let before = output("ip -o link").lines().count();
        for (mode, subnet) in [("l2", "192.0.2.0/25"), ("l3", "192.0.2.128/26"), ("l3s", "192.0.2.192/26")] {
            let mut wire = new("wire", "ipvlan", &[("parent", "uplink"), ("ipvlan_mode", mode)]);
            wire.ranges = vec![range(subnet)];
            networks.create(wire).unwrap();
            match networks.connect(&id(1), &[on("wire", "a")], &[]) {
                Ok(a) => {
                    let b = networks.connect(&id(2), &[on("wire", "b")], &[]).unwrap();
                    serve(&a.netns, 80, "a");
                    assert!(inside(&b.netns, || ask(v4(&a), 80)).is_some(), "{mode}");
                    let route = inside(&a.netns, || json("ip -j route show default"));
                    assert_eq!(route[0]["gateway"].is_null(), mode != "l2", "{mode}: {route}");
                    networks.release(&id(1)).unwrap();
                    networks.release(&id(2)).unwrap();
                }
                Err(Error::Kernel { step: "create ipvlan link", .. }) => {
                    assert!(!succeeds("modprobe ipvlan"), "the kernel has ipvlan");
                    assert!(networks.endpoints_of(&networks.find("wire").unwrap().id).is_empty());
                }
                Err(e) => panic!("{mode}: {e}"),
            }
            networks.remove("wire").unwrap();
        }
        for (pairs, step, module) in [
            (&[][..], "create dummy link", "dummy"),
            (&[("parent", "uplink.7")], "create VLAN link", "8021q"),
        ] {
            match networks.create(new("own", "macvlan", pairs)) {
                Ok(own) => {
                    assert!(own.owns_interface && succeeds(&format!("ip link show {}", own.interface)));
                    networks.connect(&id(1), &[on("own", "a")], &[]).unwrap();
                    networks.release(&id(1)).unwrap();
                    networks.remove("own").unwrap();
                }
                Err(Error::Kernel { step: failed, .. }) => {
                    assert_eq!(failed, step);
                    assert!(!succeeds(&format!("modprobe {module}")), "the kernel has {module}");
                }
                Err(e) => panic!("{pairs:?}: {e}"),
            }
        }
        host::until("the links to go", || output("ip -o link").lines().count() == before);
        drop(outside);
        networks.shutdown().unwrap();
    });
}

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
        networks.shutdown().unwrap();
    });
}
