//! What a daemon leaves goes on, and the next one finds it.

mod host;

use std::net::{Ipv4Addr, TcpListener};

use host::{Process, ask, id, inside, json, look_up, on, on_a_host, output, publish, serve, until, v4};
use network::{EndpointRequest, Networks, NewNetwork};

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
fn shutdown_leaves_nothing() {
    on_a_host(|host| {
        let before = json("ip -j link").as_array().unwrap().len();
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
        until("the links to go", || json("ip -j link").as_array().unwrap().len() == before);
        let left: Vec<_> = std::fs::read_dir(host.state.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(TcpListener::bind("0.0.0.0:8080").is_ok());
    });
}
