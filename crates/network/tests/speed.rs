//! How long it takes. Bounds are generous, for a busy machine; the figures are printed (`--nocapture`).

#![allow(clippy::print_stdout, reason = "the figures are what this is for")]

mod host;

use std::time::{Duration, Instant};

use host::{id, inside, json, on, on_a_host, publish, until};
use network::{Networks, NewNetwork, Sandbox};

/// The median, and it is printed.
fn median(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let median = times[times.len() / 2];
    println!("{what}: median {median:?}, worst {:?}", times[times.len() - 1]);
    median
}

fn timed<T>(times: &mut Vec<Duration>, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    times.push(start.elapsed());
    done
}

#[test]
fn a_ready_namespace_is_handed_out_at_once() {
    on_a_host(|host| {
        let ready = 20;
        let networks = Networks::open(host.config(ready), &[]).unwrap();
        // Each has its port on the bridge; the bridge itself and loopback are the other two.
        until("the pool to fill", || json("ip -j link").as_array().unwrap().len() >= ready + 2);
        let (mut connects, mut publishing, mut releases) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..ready {
            let n = u8::try_from(n).unwrap();
            let ports = if n % 2 == 0 { vec![] } else { vec![publish([0; 4], 0, 80)] };
            let times = if n % 2 == 0 { &mut connects } else { &mut publishing };
            let sandbox: Sandbox =
                timed(times, || networks.connect(&id(n), &[on("bridge", "x")], &ports).unwrap());
            if n == 0 {
                let gateway = host::gateway(&sandbox);
                assert!(inside(&sandbox.netns, || host::succeeds(&format!(
                    "/bin/busybox ping -c1 -W2 {gateway}"
                ))));
            }
            drop(sandbox);
            timed(&mut releases, || networks.release(&id(n)).unwrap());
        }
        assert!(median("connect, ready", connects) < Duration::from_millis(5));
        assert!(median("connect, ready, with a port", publishing) < Duration::from_millis(10));
        assert!(median("release", releases) < Duration::from_millis(5));
        networks.shutdown().unwrap();
    });
}

#[test]
fn one_that_is_not_ready_is_made_quickly() {
    on_a_host(|host| {
        let mut opening = Vec::new();
        let networks = timed(&mut opening, || host.open());
        median("open, first", opening);
        networks.create(NewNetwork { name: "front".into(), ..NewNetwork::default() }).unwrap();
        let (mut default, mut named) = (Vec::new(), Vec::new());
        for n in 0..20 {
            timed(&mut default, || networks.connect(&id(n), &[on("bridge", "x")], &[]).unwrap());
            timed(&mut named, || networks.connect(&id(n + 50), &[on("front", "x")], &[]).unwrap());
        }
        assert!(median("connect, default bridge", default) < Duration::from_millis(50));
        assert!(median("connect, with names", named) < Duration::from_millis(50));

        let mut all = Vec::new();
        timed(&mut all, || {
            std::thread::scope(|scope| {
                for n in 100..120 {
                    let networks = &networks;
                    scope.spawn(move || networks.connect(&id(n), &[on("bridge", "x")], &[]).unwrap());
                }
            });
        });
        assert!(median("twenty connects at once, together", all) < Duration::from_secs(2));
        drop(networks);
        let mut opening = Vec::new();
        let networks = timed(&mut opening, || host.open());
        median("open, again", opening);
        networks.shutdown().unwrap();
    });
}

#[test]
fn a_thousand_ports_cost_no_more_than_one() {
    on_a_host(|host| {
        let networks = host.open();
        let web =
            networks.connect(&id(1), &[on("bridge", "web")], &[publish([127, 0, 0, 1], 20000, 80)]).unwrap();
        host::serve(&web.netns, 80, "web");
        let connect = |what: &str, port: u16| {
            let mut times = Vec::new();
            for _ in 0..200 {
                timed(&mut times, || host::ask(std::net::Ipv4Addr::LOCALHOST, port).unwrap());
            }
            median(what, times)
        };
        let one = connect("a connection, one port published", 20000);
        // On ten containers, the one that serves among them: each has a record of its own ports.
        for n in 2..11 {
            networks.connect(&id(n), &[on("bridge", "x")], &[]).unwrap();
        }
        let mut adding = Vec::new();
        for port in 20001..21000u16 {
            let container = id(1 + (port % 10) as u8);
            let publish = [publish([127, 0, 0, 1], port, 80)];
            timed(&mut adding, || networks.publish_live(&container, &publish).unwrap());
        }
        let last = adding.split_off(adding.len() - 50);
        let first = median("publishing one of the first ports", adding[..50].to_vec());
        let last = median("publishing one of the last of a thousand", last);
        let thousand = connect("a connection, a thousand ports published", 20500);
        // Bounds for a busy machine: what would grow with the number of ports would grow a hundredfold.
        assert!(thousand < one * 4 + Duration::from_millis(1), "{one:?} {thousand:?}");
        assert!(last < first * 8 + Duration::from_millis(5), "{first:?} {last:?}");
        networks.shutdown().unwrap();
    });
}

#[test]
fn names_are_answered_at_a_rate() {
    on_a_host(|host| {
        let networks = host.open();
        networks.create(NewNetwork { name: "front".into(), v6: true, ..NewNetwork::default() }).unwrap();
        let web = networks.connect(&id(1), &[on("front", "web")], &[]).unwrap();
        networks.connect(&id(2), &[on("front", "db")], &[]).unwrap();
        let (rate, p99) = inside(&web.netns, || {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect("127.0.0.11:53").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            // Recursion desired, one question: db, A, IN.
            let query = b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02db\x00\x00\x01\x00\x01";
            let (mut times, start) = (Vec::new(), Instant::now());
            for _ in 0..10_000 {
                timed(&mut times, || {
                    socket.send(query).unwrap();
                    assert!(socket.recv(&mut [0; 512]).unwrap() > query.len());
                });
            }
            let rate = times.len() as f64 / start.elapsed().as_secs_f64();
            times.sort_unstable();
            (rate, times[times.len() * 99 / 100])
        });
        println!("names: {rate:.0} answers a second to one that asks, 99 % within {p99:?}");
        assert!(rate > 1000.0 && p99 < Duration::from_millis(20), "{rate} {p99:?}");
        networks.shutdown().unwrap();
    });
}

#[test]
fn two_hundred_are_attached_side_by_side() {
    on_a_host(|host| {
        let networks = host.open();
        networks.create(NewNetwork { name: "front".into(), ..NewNetwork::default() }).unwrap();
        let mut alone = Vec::new();
        for n in 0..10 {
            timed(&mut alone, || networks.connect(&id(n), &[on("front", "x")], &[]).unwrap());
        }
        let alone = median("one attached alone", alone);
        let mut all = Vec::new();
        timed(&mut all, || {
            std::thread::scope(|scope| {
                for worker in 0..8u8 {
                    let networks = &networks;
                    scope.spawn(move || {
                        for n in 0..25 {
                            let id = id(20 + worker * 25 + n);
                            networks.connect(&id, &[on("front", "x")], &[]).unwrap();
                        }
                    });
                }
            });
        });
        let all = median("two hundred attached by eight threads, together", all);
        let network = networks.find("front").unwrap();
        let addresses: std::collections::HashSet<_> =
            networks.endpoints_of(&network.id).iter().map(|(_, e)| e.ip()).collect();
        assert_eq!(addresses.len(), 210, "each has its own address");
        assert!(all < alone * 200 * 4 + Duration::from_secs(2), "{alone:?} {all:?}");
        networks.shutdown().unwrap();
    });
}
