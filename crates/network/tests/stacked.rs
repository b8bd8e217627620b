//! Links on an interface of the host: macvlan, ipvlan.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod host;

use host::{
    Process, ask, id, inside, ip, json, new, on, on_a_host, output, publish, range, serve, succeeds, v4,
};
use network::{EndpointRequest, Error, NewNetwork, Range};

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

/// A wire with a machine outside on it, and two containers.
fn on_the_wire(driver: &str, options: &[(&str, &str)]) -> NewNetwork {
    let mut wire = new("wire", driver, &[&[("parent", "uplink")], options].concat());
    wire.ranges = vec![Range { gateway: Some(ip("203.0.113.2")), ..range("203.0.113.0/24") }];
    wire
}

#[test]
fn macvlan_modes_decide_who_hears_whom() {
    on_a_host(|host| {
        let networks = host.open();
        let outside = host::outside(&networks);
        // What has no switch that sends it back (vepa) does not reach its neighbour.
        for (mode, first, second) in
            [("private", "203.0.113.7", "203.0.113.8"), ("vepa", "203.0.113.17", "203.0.113.18")]
        {
            networks.create(on_the_wire("macvlan", &[("macvlan_mode", mode)])).unwrap();
            let at = |text: &str| EndpointRequest { ip: text.parse().ok(), ..on("wire", "a") };
            let a = networks.connect(&id(1), &[at(first)], &[]).unwrap();
            let b = networks.connect(&id(2), &[at(second)], &[]).unwrap();
            serve(&a.netns, 80, "a");
            assert!(inside(&outside, || ask(v4(&a), 80)).is_some(), "{mode}");
            assert_eq!(inside(&b.netns, || ask(v4(&a), 80)), None, "{mode}");
            networks.release(&id(1)).unwrap();
            networks.release(&id(2)).unwrap();
            networks.remove("wire").unwrap();
        }
        networks.shutdown().unwrap();
    });
}

#[test]
fn a_passthru_interface_is_one_container_s() {
    on_a_host(|host| {
        let networks = host.open();
        let outside = host::outside(&networks);
        networks.create(on_the_wire("macvlan", &[("macvlan_mode", "passthru")])).unwrap();
        let a = networks.connect(&id(1), &[on("wire", "a")], &[]).unwrap();
        serve(&a.netns, 80, "a");
        assert!(inside(&outside, || ask(v4(&a), 80)).is_some());
        let refused = networks.connect(&id(2), &[on("wire", "b")], &[]).unwrap_err();
        assert!(matches!(refused, Error::Kernel { step: "create macvlan link", .. }), "{refused}");
        networks.shutdown().unwrap();
    });
}

/// The kernels of some machines lack these modules: then the kernel's refusal is what the user reads, and nothing is left.
/// `cargo xtask vm` has them.
#[test]
fn ipvlan_dummies_and_vlans_work_or_are_refused() {
    on_a_host(|host| {
        let networks = host.open();
        let outside = host::outside(&networks);
        let before = output("ip -o link").lines().count();
        for (mode, subnet, first, second) in [
            ("l2", "203.0.113.0/24", "203.0.113.7", "203.0.113.8"),
            ("l3", "192.0.2.128/26", "192.0.2.130", "192.0.2.131"),
            ("l3s", "192.0.2.192/26", "192.0.2.194", "192.0.2.195"),
        ] {
            let mut wire = on_the_wire("ipvlan", &[("ipvlan_mode", mode)]);
            // These are routed, by the host's interface.
            if mode != "l2" {
                wire.ranges = vec![range(subnet)];
            }
            networks.create(wire).unwrap();
            let at = |text: &str| EndpointRequest { ip: text.parse().ok(), ..on("wire", "a") };
            match networks.connect(&id(1), &[at(first)], &[]) {
                Ok(a) => {
                    let b = networks.connect(&id(2), &[at(second)], &[]).unwrap();
                    serve(&a.netns, 80, "a");
                    assert!(inside(&b.netns, || ask(v4(&a), 80)).is_some(), "{mode}");
                    assert!(inside(&outside, || ask(v4(&a), 80)).is_some(), "{mode}, from outside");
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
