//! What a daemon leaves goes on, and the next one finds it.

mod host;

use std::net::{Ipv4Addr, TcpListener};

use host::{Process, ask, id, inside, look_up, on, on_a_host, output, publish, serve, until, v4};
use network::{EndpointRequest, Networks, NewNetwork};
use serde_json::json;

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[test]
fn ports_and_names_survive_the_daemon() {
    on_a_host(|host| {
        let networks = host.open();
        networks.create(NewNetwork { name: "front".into(), ..NewNetwork::default() }).unwrap();
        let web = networks.connect(&id(1), &[on("front", "web")], &[publish([0; 4], 8080, 80)]).unwrap();
        let db = networks.connect(&id(2), &[on("front", "db")], &[publish([0; 4], 8081, 81)]).unwrap();
        let dead = networks.connect(&id(3), &[on("bridge", "dead")], &[publish([0; 4], 8082, 82)]).unwrap();
        serve(&web.netns, 80, "web");
        let (web_process, db_process) = (Process::start(&web.netns), Process::start(&db.netns));
        let db_ip = v4(&db);
        assert_eq!(inside(&web.netns, || look_up("db")), Ok(vec![db_ip]));
        drop(dead.netns);
        drop(networks);

        assert!(ask(LOOPBACK, 8080).is_some(), "no daemon is needed");
        let alive = [(id(1), web_process.pid()), (id(2), db_process.pid())];
        let networks = Networks::open(host.config(0), &alive).unwrap();
        assert!(ask(LOOPBACK, 8080).is_some());
        assert_eq!(inside(&web.netns, || look_up("db")), Ok(vec![db_ip]));
        let refused = networks
            .connect(&id(4), &[on("bridge", "late")], &[publish([0; 4], 8080, 80)])
            .unwrap_err()
            .to_string();
        assert!(refused.ends_with("(by container web)"), "{refused}");
        assert!(TcpListener::bind("0.0.0.0:8080").is_err(), "held against other programs as well");
        let rules = output("nft list ruleset");
        assert!(!rules.contains("tcp . 8082"), "the dead container's port is gone\n{rules}");
        networks.connect(&id(5), &[on("bridge", "new")], &[publish([0; 4], 8082, 82)]).unwrap();
        // The living keep their addresses.
        let next = networks.connect(&id(6), &[on("front", "next")], &[]).unwrap();
        assert_ne!(v4(&next), db_ip);
        assert_ne!(v4(&next), v4(&web));
        let fixed = EndpointRequest { ip: db_ip.to_string().parse().ok(), ..on("front", "thief") };
        let refused = networks.connect(&id(7), &[fixed], &[]).unwrap_err().to_string();
        assert_eq!(refused, format!("Address already in use: {db_ip} (by container db)"));
        networks.shutdown().unwrap();
    });
}

/// As the versions before IPv6 wrote them.
#[test]
fn records_of_an_earlier_version_are_read() {
    on_a_host(|host| {
        let directory = host.state.path();
        for (name, record) in [
            (
                "networks",
                json!({
                    "id": id(7), "name": "front", "driver": "bridge", "created": "2026-01-01T00:00:00Z",
                    "subnet": ["10.7.0.0", 16], "gateway": "10.7.0.1", "ip_range": ["10.7.1.0", 24], "bridge": "br-front",
                    "internal": false, "names": true, "labels": {"a": "b"}, "options": {},
                }),
            ),
            (
                "endpoints",
                json!({
                    "container": id(1), "name": "web", "resolver": null, "upstreams": [],
                    "endpoints": [{
                        "id": id(8), "network_id": id(7), "network_name": "front", "ip": "10.7.1.0", "prefix": 16,
                        "gateway": "10.7.0.1", "mac": "02:42:0a:07:01:00", "interface": "eth0", "host_interface": "veth7",
                        "names": ["web"],
                    }],
                    "ports": [{"container_port": 80, "protocol": "tcp", "host_ip": "0.0.0.0", "host_port": 8080}],
                }),
            ),
        ] {
            let id = if name == "networks" { id(7) } else { id(1) };
            std::fs::create_dir_all(directory.join(name)).unwrap();
            let path = directory.join(name).join(format!("{id}.json"));
            let text = record.to_string();
            sys::file::write_atomic(&path, text.as_bytes(), 0o600, sys::file::Durability::Process).unwrap();
        }
        let alive = [(id(1), i32::try_from(std::process::id()).unwrap())];
        let networks = Networks::open(host.config(0), &alive).unwrap();
        let front = networks.find("front").unwrap();
        assert_eq!((front.v4, front.v6, front.owns_interface), (true, false, true));
        assert_eq!(front.ranges[0].range.map(|part| part.to_string()).as_deref(), Some("10.7.1.0/24"));
        let new = networks.connect(&id(2), &[on("front", "db")], &[]).unwrap();
        assert_eq!(v4(&new).to_string(), "10.7.1.1", "the first is taken");
        assert_eq!(inside(&new.netns, || look_up("web")), Ok(vec!["10.7.1.0".parse().unwrap()]));
        assert!(
            output("nft list map inet ct_test ports_any")
                .contains("tcp . 8080 comment \"web\" : 10.7.1.0 . 80")
        );
        networks.shutdown().unwrap();
    });
}

#[test]
fn a_restart_of_the_machine_brings_networks_back() {
    on_a_host(|host| {
        let networks = host.open();
        let front = networks.create(NewNetwork { name: "front".into(), ..NewNetwork::default() }).unwrap();
        let bridge = networks.find("bridge").unwrap();
        networks.connect(&id(1), &[on("front", "web")], &[publish([0; 4], 8080, 80)]).unwrap();
        drop(networks);
        output("nft flush ruleset");
        output("ip link delete ct0");
        output(&format!("ip link delete {}", front.interface));

        let networks = host.open();
        assert_eq!(networks.find("front").unwrap(), front);
        assert_eq!(networks.find("bridge").unwrap(), bridge);
        let web = networks.connect(&id(1), &[on("front", "web")], &[publish([0; 4], 8080, 80)]).unwrap();
        serve(&web.netns, 80, "web");
        assert!(ask(LOOPBACK, 8080).is_some());
        networks.shutdown().unwrap();
    });
}

#[test]
fn a_bridge_that_was_removed_is_named_and_made_again() {
    on_a_host(|host| {
        let networks = Networks::open(host.config(1), &[]).unwrap();
        let front = networks.create(NewNetwork { name: "front".into(), ..NewNetwork::default() }).unwrap();
        let web = networks.connect(&id(1), &[on("front", "web")], &[publish([0; 4], 8080, 80)]).unwrap();
        serve(&web.netns, 80, "web");
        let process = Process::start(&web.netns);
        until("the pool to fill", || output("ip -o link").lines().count() == 5);
        for bridge in ["ct0", &front.interface] {
            output(&format!("ip link delete {bridge}"));
            let network = if bridge == "ct0" { "bridge" } else { "front" };
            let refused = networks.connect(&id(2), &[on(network, "x")], &[]).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("could not find bridge {bridge}: ")), "{refused}");
        }
        assert_eq!(ask(LOOPBACK, 8080), None);
        drop(networks);
        let networks = Networks::open(host.config(0), &[(id(1), process.pid())]).unwrap();
        until("the way to the container", || ask(LOOPBACK, 8080).is_some());
        networks.connect(&id(2), &[on("bridge", "x")], &[]).unwrap();
        networks.shutdown().unwrap();
    });
}

#[test]
fn a_network_that_cannot_be_there_keeps_no_other_waiting() {
    on_a_host(|host| {
        let networks = host.open();
        let options = [("com.docker.network.bridge.name".to_owned(), "front0".to_owned())].into();
        let front = NewNetwork { name: "front".into(), options, ..NewNetwork::default() };
        networks.create(front).unwrap();
        drop(networks);
        output("ip link delete front0");
        output("ip link add front0 type veth peer name front1");

        let networks = host.open();
        let why = "front0 is a veth interface of this host, not a bridge";
        let told = format!("no container can be connected to network front: {why}");
        assert_eq!(networks.obstacles(None), [told]);
        networks.connect(&id(1), &[on("bridge", "web")], &[]).unwrap();
        let refused = networks.connect(&id(2), &[on("front", "db")], &[]).unwrap_err().to_string();
        assert_eq!(refused, why);
        output("ip link delete front0");
        networks.connect(&id(2), &[on("front", "db")], &[]).unwrap();
        assert_eq!(networks.obstacles(None), [""; 0]);
        // What is somebody else's stays.
        networks.release(&id(2)).unwrap();
        output("ip link delete front0");
        output("ip link add front0 type veth peer name front1");
        networks.remove("front").unwrap();
        assert!(output("ip -o link show front0").contains("front0"));
        networks.shutdown().unwrap();
    });
}

#[test]
fn shutdown_leaves_nothing() {
    on_a_host(|host| {
        let before = host::json("ip -j link").as_array().unwrap().len();
        let networks = Networks::open(host.config(2), &[]).unwrap();
        let noted = std::fs::read_to_string(host.state.path().join("networks/ip_forward")).unwrap();
        assert_eq!(noted, "0", "what forwarding was before us");
        networks.create(NewNetwork { name: "front".into(), ..NewNetwork::default() }).unwrap();
        let ports = [publish([0; 4], 8080, 80)];
        let web = networks.connect(&id(1), &[on("front", "web"), on("bridge", "web")], &ports).unwrap();
        drop(web.netns);
        networks.release(&id(1)).unwrap();
        networks.release(&id(1)).unwrap();
        networks.shutdown().unwrap();
        assert_eq!(output("nft list ruleset"), "");
        until("the links to go", || host::json("ip -j link").as_array().unwrap().len() == before);
        let left: Vec<_> = std::fs::read_dir(host.state.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(TcpListener::bind("0.0.0.0:8080").is_ok());
    });
}
