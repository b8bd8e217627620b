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
