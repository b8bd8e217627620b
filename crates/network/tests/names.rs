//! Names, from inside a container through 127.0.0.11.

mod host;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use host::{Process, id, inside, json, look_up, on, on_a_host, output};
use network::{Endpoint, Networks, NewNetwork};

fn network(networks: &Networks, name: &str, internal: bool) {
    let new = NewNetwork { name: name.into(), internal, ..NewNetwork::default() };
    networks.create(new).expect("a network");
}

#[test]
fn containers_find_each_other_by_name() {
    on_a_host(|host| {
        let networks = host.open();
        network(&networks, "front", false);
        let web = networks.connect(&id(1), &[on("front", "web")], &[]).unwrap();
        let mut two_names = on("front", "db");
        two_names.names.push("Database".into());
        let db = networks.connect(&id(2), &[two_names], &[]).unwrap();
        let ip = |e: &[Endpoint]| vec![e[0].ip().unwrap()];
        inside(&web.netns, || {
            assert_eq!(look_up("db"), Ok(ip(&db.endpoints)));
            assert_eq!(look_up("dAtAbAsE"), Ok(ip(&db.endpoints)));
            assert_eq!(look_up("web"), Ok(ip(&web.endpoints)));
            // A container may have a name server of its own.
            UdpSocket::bind("0.0.0.0:53").unwrap();
        });
        networks.rename(&id(2), "db", "store");
        inside(&web.netns, || assert_eq!(look_up("store"), Ok(ip(&db.endpoints))));
        networks.release(&id(2)).unwrap();
        // There is no server to pass it on to in this namespace: refused, and at once.
        let start = Instant::now();
        inside(&web.netns, || assert_eq!(look_up("store"), Err("ServerFailure".into())));
        assert!(start.elapsed() < Duration::from_secs(1));
        let text = networks.resolv_conf(&[on("front", "web")], &[], &[], &[]).text;
        assert!(text.contains("nameserver 127.0.0.11\n") && text.contains("ndots:0"), "{text}");
        networks.shutdown().unwrap();
    });
}

#[test]
fn the_same_over_tcp_several_queries_in_one_stream() {
    on_a_host(|host| {
        let networks = host.open();
        network(&networks, "front", false);
        let web = networks.connect(&id(1), &[on("front", "web")], &[]).unwrap();
        let IpAddr::V4(ip) = host::v4(&web) else { panic!() };
        let octets = ip.octets();
        // 7, recursion desired, one question: web, A, IN.
        let query = b"\x00\x15\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x00\x00\x01\x00\x01";
        let mut stream = inside(&web.netns, || TcpStream::connect("127.0.0.11:53").unwrap());
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // Cut in an awkward place.
        stream.write_all(&[&query[..], &query[..9]].concat()).unwrap();
        let mut reply = [0; 2 + 21 + 16];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(reply[reply.len() - 4..], octets);
        stream.write_all(&query[9..]).unwrap();
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(reply[reply.len() - 4..], octets);
        networks.shutdown().unwrap();
    });
}

#[test]
fn other_names_are_passed_on_but_not_from_internal_networks() {
    on_a_host(|host| {
        let networks = host.open();
        network(&networks, "front", false);
        network(&networks, "inner", true);
        let web = networks.connect(&id(1), &[on("front", "web")], &[]).unwrap();
        let lonely = networks.connect(&id(2), &[on("inner", "lonely")], &[]).unwrap();
        // A server on the host's loopback, as systemd-resolved is; the first one listed says nothing.
        let silent = UdpSocket::bind("127.0.0.2:53").unwrap();
        let upstream = UdpSocket::bind("127.0.0.3:53").unwrap();
        for container in [id(1), id(2)] {
            networks.set_name_servers(&container, &["127.0.0.2".into(), "127.0.0.3".into()]);
        }
        let server = std::thread::spawn(move || {
            let mut buffer = [0; 512];
            let (length, from) = upstream.recv_from(&mut buffer).unwrap();
            let mut reply = buffer[..length].to_vec();
            reply[2] |= 0x80;
            reply[7] = 1;
            reply.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x63");
            upstream.send_to(&reply, from).unwrap();
        });
        let found = inside(&web.netns, || look_up("example.com"));
        assert_eq!(found, Ok(vec!["192.0.2.99".parse().unwrap()]));
        server.join().unwrap();
        drop(silent);
        let refused = inside(&lonely.netns, || look_up("example.com"));
        assert_eq!(refused, Err("ServerFailure".into()));
        networks.shutdown().unwrap();
    });
}

#[test]
fn tcp_queries_are_passed_on_over_tcp() {
    on_a_host(|host| {
        let networks = host.open();
        network(&networks, "front", false);
        let web = networks.connect(&id(1), &[on("front", "web")], &[]).unwrap();
        let upstream = TcpListener::bind("127.0.0.3:53").unwrap();
        // Nobody listens on the first: the next is asked at once.
        networks.set_name_servers(&id(1), &["127.0.0.2".into(), "127.0.0.3".into()]);
        let server = std::thread::spawn(move || {
            let (mut stream, _) = upstream.accept().unwrap();
            let mut query = [0; 2 + 23];
            stream.read_exact(&mut query).unwrap();
            let mut reply = query[2..].to_vec();
            reply[2] |= 0x80;
            // Longer than any datagram's first buffer.
            reply.resize(9000, 0);
            stream.write_all(&9000u16.to_be_bytes()).unwrap();
            stream.write_all(&reply).unwrap();
        });
        let query = b"\x00\x17\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05other\x00\x00\x01\x00\x01";
        let start = Instant::now();
        let mut stream = inside(&web.netns, || TcpStream::connect("127.0.0.11:53").unwrap());
        stream.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
        stream.write_all(query).unwrap();
        // Who has nothing more to ask still gets the answer.
        stream.shutdown(Shutdown::Write).unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        assert_eq!(reply.len(), 9002);
        assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
        server.join().unwrap();
        networks.shutdown().unwrap();
    });
}

#[test]
fn a_running_container_comes_and_goes() {
    on_a_host(|host| {
        let networks = host.open();
        network(&networks, "front", false);
        let web =
            networks.connect(&id(1), &[on("bridge", "web")], &[host::publish([0; 4], 8080, 80)]).unwrap();
        let db = networks.connect(&id(2), &[on("front", "db")], &[]).unwrap();
        let process = Process::start(&web.netns);
        let endpoint = networks.connect_live(&id(1), process.pid(), &on("front", "web")).unwrap();
        assert_eq!(endpoint.interface, "eth1");
        inside(&web.netns, || {
            assert_eq!(look_up("db"), Ok(vec![host::v4(&db)]));
            assert_eq!(json("ip -j route show default")[0]["dev"], "eth0", "the first stays the way out");
        });
        host::serve(&web.netns, 80, "web");
        networks.disconnect_live(&id(1), process.pid(), "bridge").unwrap();
        inside(&web.netns, || assert_eq!(json("ip -j route show default")[0]["dev"], "eth1"));
        assert!(
            host::ask(Ipv4Addr::LOCALHOST, 8080).is_some(),
            "the port has moved\n{}",
            output("nft list ruleset")
        );
        networks.disconnect_live(&id(1), process.pid(), "front").unwrap();
        assert!(host::ask(Ipv4Addr::LOCALHOST, 8080).is_none());
        assert!(networks.disconnect_live(&id(1), process.pid(), "front").is_err());
        networks.release(&id(1)).unwrap();
        networks.shutdown().unwrap();
    });
}
