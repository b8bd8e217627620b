//! `cargo test --release -p runtime --test container -- --measure`: what a container costs.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use sys::process::reap;

use crate::fixture::{Ear, Rootfs, Running, process};

const ROUNDS: usize = 200;
const STEPS: [&str; 5] = ["create", "start", "wait", "delete", "all"];

/// Prints the 10th percentile (what a quiet machine gives), the median and the 90th of each step.
pub(crate) fn measure() {
    let rootfs = Rootfs::new();
    let mut times: [Vec<Duration>; 5] = Default::default();
    for _ in 0..ROUNDS {
        let mut spec = rootfs.command(&["/bin/busybox", "true"]);
        if std::env::var_os("NOOV").is_none() {
            rootfs.overlay(&mut spec);
        }
        if std::env::var_os("NONET").is_some() {
            spec.linux.namespaces.retain(|n| n.r#type != spec::oci::runtime::NamespaceKind::Network);
            spec.mounts.retain(|m| m.destination != "/sys" && m.destination != "/sys/fs/cgroup");
        }
        let (_ear, io) = Ear::new();
        let begin = Instant::now();
        let (mut container, child) = runtime::create(&spec, io).unwrap();
        let created = Instant::now();
        container.start().unwrap();
        let started = Instant::now();
        reap(child.pidfd.as_fd()).unwrap();
        let ended = Instant::now();
        container.delete().unwrap();
        let deleted = Instant::now();
        let steps = [created - begin, started - created, ended - started, deleted - ended, deleted - begin];
        times.iter_mut().zip(steps).for_each(|(all, one)| all.push(one));
    }
    for (name, mut all) in STEPS.into_iter().zip(times) {
        report(name, &mut all);
    }
    let mut running = Running::new(&rootfs.shell("echo up; exec sleep 1000"));
    assert_eq!(running.ear.line(), "up");
    let exec = |_| {
        let begin = Instant::now();
        running.exec(&process(&["/bin/busybox", "true"])).unwrap();
        begin.elapsed()
    };
    report("exec and wait", &mut (0..ROUNDS).map(exec).collect::<Vec<_>>());
}

fn report(name: &str, times: &mut [Duration]) {
    times.sort();
    let percentile = |n: usize| times[times.len() * n / 100];
    println!("{name:14} {:>9.2?} {:>9.2?} {:>9.2?}", percentile(10), percentile(50), percentile(90));
}
