//! Limits are written where the kernel looks, and hold.

use std::fs;

use spec::oci::runtime::{Cpu, Memory, Pids, Resources, Rlimit};

use crate::Test;
use crate::fixture::{Ear, Rootfs, Running, process, run};

pub(crate) const TESTS: &[Test] = &[
    ("limits_are_in_the_cgroups_files", limits_are_in_the_cgroups_files),
    ("limits_can_be_raised_and_lowered", limits_can_be_raised_and_lowered),
    ("more_processes_than_allowed_are_refused", more_processes_than_allowed_are_refused),
    ("too_much_memory_is_told", too_much_memory_is_told),
    ("resource_limits_are_set_as_far_as_they_may_be", resource_limits_are_set_as_far_as_they_may_be),
    ("the_container_sees_its_own_cgroup_as_the_top", the_container_sees_its_own_cgroup_as_the_top),
];

fn resources(limit: i64) -> Resources {
    Resources {
        memory: Some(Memory { limit: Some(limit), swap: Some(limit), ..Memory::default() }),
        cpu: Some(Cpu { shares: Some(512), quota: Some(50_000), cpus: "0".into(), ..Cpu::default() }),
        pids: Some(Pids { limit: 20 }),
        ..Resources::default()
    }
}

/// A file of the container's cgroup, in whichever version the host has.
fn read(path: &str, v1: &str, v2: &str) -> String {
    let v1_file = format!("/sys/fs/cgroup/{}{path}/{v1}", v1.split('.').next().unwrap());
    let text =
        fs::read_to_string(v1_file).or_else(|_| fs::read_to_string(format!("/sys/fs/cgroup{path}/{v2}")));
    text.unwrap().trim_end().to_owned()
}

fn limits_are_in_the_cgroups_files() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.shell("echo up; exec sleep 1000");
    spec.linux.resources = Some(resources(64 << 20));
    let path = spec.linux.cgroups_path.clone();
    let mut running = Running::new(&spec);
    assert_eq!(running.ear.line(), "up");
    assert_eq!(read(&path, "memory.limit_in_bytes", "memory.max"), "67108864");
    assert!(["512", "59"].contains(&read(&path, "cpu.shares", "cpu.weight").as_str()));
    assert!(["50000", "50000 100000"].contains(&read(&path, "cpu.cfs_quota_us", "cpu.max").as_str()));
    assert_eq!(read(&path, "cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(read(&path, "pids.max", "pids.max"), "20");
    // Init is in each of them, and so is an exec.
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", running.child.pid)).unwrap();
    for controller in ["memory", "cpu", "cpuset", "pids", "devices", ""] {
        let line = cgroups.lines().find(|line| line.split(':').nth(1) == Some(controller));
        assert!(line.is_none_or(|line| line.ends_with(&path)), "{cgroups}");
    }
}

fn limits_can_be_raised_and_lowered() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.shell("echo up; exec sleep 1000");
    spec.linux.resources = Some(resources(64 << 20));
    let path = spec.linux.cgroups_path.clone();
    let mut running = Running::new(&spec);
    assert_eq!(running.ear.line(), "up");
    // Memory and swap bound each other: one order is wrong for each direction.
    for limit in [256 << 20, 32 << 20] {
        running.container().update(&resources(limit)).unwrap();
        assert_eq!(read(&path, "memory.limit_in_bytes", "memory.max"), limit.to_string());
    }
    let failure = running.container().update(&Resources {
        cpu: Some(Cpu { cpus: "4000".into(), ..Cpu::default() }),
        ..Resources::default()
    });
    assert_eq!(failure.unwrap_err().step, "cgroup");
}

fn more_processes_than_allowed_are_refused() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.shell("for i in $(seq 30); do sleep 1000 & done; wait");
    spec.linux.resources = Some(resources(64 << 20));
    let out = run(&spec).unwrap();
    assert!(out.text.contains("can't fork: Resource temporarily unavailable"), "{out:?}");
}

fn too_much_memory_is_told() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.command(&["dd", "if=/dev/zero", "of=/dev/null", "bs=128M", "count=1"]);
    spec.linux.resources = Some(resources(32 << 20));
    let (ear, io) = Ear::new();
    let (mut container, child) = runtime::create(&spec, io).unwrap();
    assert!(!container.oom_killed(false));
    container.start().unwrap();
    ear.listen();
    use std::os::fd::AsFd;
    assert_eq!(sys::process::reap(child.pidfd.as_fd()).unwrap().code(), 137);
    assert!(container.oom_killed(true));
    container.delete().unwrap();
}

fn resource_limits_are_set_as_far_as_they_may_be() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.shell("ulimit -n; ulimit -Hc; cat /proc/self/oom_score_adj");
    let limit = |r#type: &str, soft, hard| Rlimit { r#type: r#type.into(), soft, hard };
    let process = spec.process.as_mut().unwrap();
    process.rlimits = vec![limit("RLIMIT_NOFILE", 99, 100), limit("RLIMIT_CORE", 0, 0)];
    process.oom_score_adj = Some(321);
    assert_eq!(run(&spec).unwrap().text, "99\n0\n321\n");
    spec.process.as_mut().unwrap().oom_score_adj = Some(-1000);
    assert_eq!(run(&spec).unwrap().status.code(), 0);
    // Higher than any kernel gives (fs.nr_open). Without the right to raise a limit it stays as it is; with it, it is
    // the kernel's to refuse.
    let process = spec.process.as_mut().unwrap();
    process.args = ["sh", "-c", "ulimit -Sn; ulimit -Hn"].map(str::to_owned).to_vec();
    process.rlimits = vec![limit("RLIMIT_NOFILE", 99, 1 << 40)];
    let lowered = runtime::lowered(process).unwrap();
    if may_raise_limits() {
        assert_eq!(lowered, []);
        let failure = run(&spec).unwrap_err();
        assert_eq!((failure.step.as_str(), failure.path.as_str()), ("rlimit", "RLIMIT_NOFILE"), "{failure}");
        return;
    }
    let (_, highest) = sys::process::limit(sys::process::Limit::by_name("RLIMIT_NOFILE").unwrap());
    assert_eq!(run(&spec).unwrap().text, format!("99\n{highest}\n"));
    let words =
        format!("RLIMIT_NOFILE stays at {highest}: raising it to 1099511627776 takes CAP_SYS_RESOURCE");
    assert_eq!(lowered.iter().map(ToString::to_string).collect::<Vec<_>>(), [words]);
    // The soft one is never above the hard one.
    spec.process.as_mut().unwrap().rlimits = vec![limit("RLIMIT_NOFILE", u64::MAX, u64::MAX)];
    assert_eq!(run(&spec).unwrap().text, format!("{highest}\n{highest}\n"));
}

/// CAP_SYS_RESOURCE.
fn may_raise_limits() -> bool {
    sys::caps::current().unwrap().effective.has(24)
}

fn the_container_sees_its_own_cgroup_as_the_top() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.shell("echo up; exec sleep 1000");
    spec.linux.resources = Some(resources(64 << 20));
    let mut running = Running::new(&spec);
    assert_eq!(running.ear.line(), "up");
    let script = "f=/sys/fs/cgroup/memory/memory.limit_in_bytes; test -e $f || f=/sys/fs/cgroup/memory.max; \
                  cat $f; echo 1 > $f; touch /sys/fs/cgroup/x; grep -E ':(memory)?:' /proc/self/cgroup";
    let out = running.exec(&process(&["sh", "-c", script])).unwrap();
    let lines = out.lines();
    assert_eq!(lines[0], "67108864");
    assert_eq!(out.text.matches("Read-only file system").count(), 2, "{out:?}");
    assert!(lines[3..].iter().all(|line| line.ends_with(":/")), "{out:?}");
}
