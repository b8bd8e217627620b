//! What else a configuration can ask of Linux, item by item.

use std::fs;

use spec::oci::runtime::{
    BlockIo, Cpu, CpuAffinity, HugepageLimit, IoClass, IoPriority, Memory, MemoryPolicy, MemoryPolicyMode,
    Mount, Personality, PersonalityDomain, Resources, Scheduler, SchedulerPolicy, Throttle,
};

use crate::Test;
use crate::fixture::{Rootfs, Running, process, run};

pub(crate) const TESTS: &[Test] = &[
    ("scheduling_and_priorities_are_the_configurations", scheduling_and_priorities_are_the_configurations),
    ("an_exec_runs_on_its_processors", an_exec_runs_on_its_processors),
    ("memory_comes_from_the_configurations_nodes", memory_comes_from_the_configurations_nodes),
    ("mounts_have_every_attribute", mounts_have_every_attribute),
    ("a_tmpfs_begins_with_what_is_below", a_tmpfs_begins_with_what_is_below),
    ("the_rarer_limits_are_written_and_change", the_rarer_limits_are_written_and_change),
    ("devices_are_throttled_and_weighed", devices_are_throttled_and_weighed),
    ("huge_pages_are_limited_where_there_are_any", huge_pages_are_limited_where_there_are_any),
];

fn scheduling_and_priorities_are_the_configurations() {
    let rootfs = Rootfs::new();
    // Fields 19 and 41 of proc(5)'s stat are the nice value and the policy.
    let mut spec = rootfs.shell("set -- $(cat /proc/self/stat); echo ${19} ${41}; ionice -p $$; uname -m");
    let process = spec.process.as_mut().unwrap();
    process.scheduler = Some(Scheduler {
        policy: SchedulerPolicy::Batch,
        nice: 7,
        priority: 0,
        flags: Vec::new(),
        runtime: 0,
        deadline: 0,
        period: 0,
    });
    process.io_priority = Some(IoPriority { class: IoClass::BestEffort, priority: 6 });
    spec.linux.personality = Some(Personality { domain: PersonalityDomain::Linux32, flags: Vec::new() });
    let text = run(&spec).unwrap().text;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["7 3", "best-effort: prio 6"]);
    // What the kernel says to programs of 32 bits.
    assert!(matches!(lines[2], "i686" | "armv8l"), "{text}");
}

fn an_exec_runs_on_its_processors() {
    let rootfs = Rootfs::new();
    let spec = rootfs.shell("echo up; exec sleep 1000");
    let mut running = Running::new(&spec);
    assert_eq!(running.ear.line(), "up");
    let mut grep = process(&["grep", "Cpus_allowed_list", "/proc/self/status"]);
    grep.exec_cpu_affinity = Some(CpuAffinity { initial: "0".into(), last: "1".into() });
    assert_eq!(running.exec(&grep).unwrap().text, "Cpus_allowed_list:\t1\n");
}

fn memory_comes_from_the_configurations_nodes() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.command(&["grep", "-c", "bind:0", "/proc/self/numa_maps"]);
    spec.linux.memory_policy =
        Some(MemoryPolicy { mode: MemoryPolicyMode::Bind, nodes: "0".into(), flags: Vec::new() });
    let out = run(&spec).unwrap();
    assert_ne!(out.text, "0\n", "{out:?}");
}

fn mounts_have_every_attribute() {
    let rootfs = Rootfs::new();
    let outside = tempfile::tempdir().unwrap();
    let bind = |destination: &str, options: &[&str]| Mount {
        destination: destination.into(),
        r#type: "bind".into(),
        source: outside.path().to_str().unwrap().into(),
        options: options.iter().map(|word| (*word).to_owned()).collect(),
        ..Mount::default()
    };
    let mut spec = rootfs.shell("grep -E ' /(a|b|c|d) ' /proc/self/mountinfo | sed 's/ - .*//' | while read -r l; do set -- $l; echo $5 $6; done");
    spec.mounts.push(bind("/a", &["rbind", "rro", "rnosuid", "rnodev", "rnoexec"]));
    spec.mounts.push(bind("/b", &["bind", "ro", "nosymfollow", "noatime"]));
    spec.mounts.push(bind("/c", &["rbind", "ro", "rrw", "rnodiratime", "strictatime"]));
    spec.mounts.push(bind("/d", &["bind", "nosuid", "suid", "rw"]));
    let text = run(&spec).unwrap().text;
    let seen = |destination: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(destination)?.strip_prefix(' '));
        line.unwrap().split(',').map(str::to_owned).collect::<Vec<_>>()
    };
    for word in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(seen("/a").iter().any(|w| w == word), "{word}: {text}");
    }
    for word in ["ro", "nosymfollow", "noatime"] {
        assert!(seen("/b").iter().any(|w| w == word), "{word}: {text}");
    }
    assert!(seen("/c").contains(&"nodiratime".to_owned()) && seen("/c").contains(&"rw".to_owned()), "{text}");
    assert!(!seen("/d").contains(&"nosuid".to_owned()), "{text}");
}

fn a_tmpfs_begins_with_what_is_below() {
    let rootfs = Rootfs::new();
    rootfs.write("etc/told", "below\n");
    let mut spec = rootfs.shell("cat /etc/told; echo above >/etc/told; cat /etc/told; stat -f -c %T /etc");
    let options = ["tmpcopyup", "mode=755"].map(str::to_owned).to_vec();
    let (destination, source) = ("/etc".to_owned(), "tmpfs".to_owned());
    spec.mounts.push(Mount { destination, source, r#type: "tmpfs".into(), options, ..Mount::default() });
    assert_eq!(run(&spec).unwrap().text, "below\nabove\ntmpfs\n");
    assert_eq!(fs::read_to_string(rootfs.path("etc/told")).unwrap(), "below\n");
}

/// A file of the container's cgroup, in whichever version the host has; `None` when the kernel has no such file.
fn file(path: &str, controller: &str, v1: &str, v2: &str) -> Option<String> {
    let v1 = fs::read_to_string(format!("/sys/fs/cgroup/{controller}{path}/{v1}"));
    let text = v1.or_else(|_| fs::read_to_string(format!("/sys/fs/cgroup{path}/{v2}"))).ok()?;
    Some(text.trim_end().to_owned())
}

fn the_rarer_limits_are_written_and_change() {
    let unified = fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap();
    let rootfs = Rootfs::new();
    let mut spec = rootfs.shell("echo up; exec sleep 1000");
    let limits = |reservation: i64, burst: u64, idle: i64| Resources {
        memory: Some(Memory {
            limit: Some(64 << 20),
            reservation: Some(reservation),
            swappiness: (!unified).then_some(17),
            disable_oom_killer: (!unified).then_some(true),
            ..Memory::default()
        }),
        cpu: Some(Cpu {
            quota: Some(50_000),
            period: Some(100_000),
            burst: Some(burst),
            idle: Some(idle),
            mems: "0".into(),
            ..Cpu::default()
        }),
        ..Resources::default()
    };
    spec.linux.resources = Some(limits(16 << 20, 1000, 0));
    let path = spec.linux.cgroups_path.clone();
    let mut running = Running::new(&spec);
    assert_eq!(running.ear.line(), "up");
    let written = |reservation: i64, burst: u64, idle: i64| {
        let reserved = file(&path, "memory", "memory.soft_limit_in_bytes", "memory.low");
        assert_eq!(reserved, Some(reservation.to_string()));
        assert_eq!(file(&path, "cpu", "cpu.cfs_burst_us", "cpu.max.burst"), Some(burst.to_string()));
        assert_eq!(file(&path, "cpu", "cpu.idle", "cpu.idle"), Some(idle.to_string()));
        assert_eq!(file(&path, "cpuset", "cpuset.mems", "cpuset.mems").as_deref(), Some("0"));
        if !unified {
            assert_eq!(file(&path, "memory", "memory.swappiness", "").as_deref(), Some("17"));
            let oom = file(&path, "memory", "memory.oom_control", "").unwrap();
            assert!(oom.contains("oom_kill_disable 1"), "{oom}");
        }
    };
    written(16 << 20, 1000, 0);
    running.container().update(&limits(32 << 20, 2000, 1)).unwrap();
    written(32 << 20, 2000, 1);
    // Real-time limits are cgroup v1's, of kernels that have them.
    let real_time =
        Cpu { realtime_period: Some(1_000_000), realtime_runtime: Some(10_000), ..Cpu::default() };
    let done = running.container().update(&Resources { cpu: Some(real_time), ..Resources::default() });
    match file(&path, "cpu", "cpu.rt_period_us", "") {
        Some(period) => assert!(period == "1000000" || done.is_err(), "{done:?}"),
        None => assert_eq!(done.unwrap_err().step, "cgroup"),
    }
}

fn devices_are_throttled_and_weighed() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.shell("echo up; exec sleep 1000");
    let path = spec.linux.cgroups_path.clone();
    let disks = fs::read_dir("/sys/block").unwrap().flatten();
    let disk = disks.filter_map(|disk| fs::read_to_string(disk.path().join("dev")).ok()).min();
    let limits = |disk: &str, rate: u64| {
        let (major, minor) = disk.trim().split_once(':').unwrap();
        let throttle = Throttle { major: major.parse().unwrap(), minor: minor.parse().unwrap(), rate };
        Resources {
            block_io: Some(BlockIo {
                weight: Some(300),
                throttle_read_bps_device: vec![throttle],
                throttle_write_bps_device: vec![throttle],
                throttle_read_iops_device: vec![throttle],
                throttle_write_iops_device: vec![throttle],
                ..BlockIo::default()
            }),
            ..Resources::default()
        }
    };
    let Some(disk) = disk else {
        // Without a block device there is none to throttle, and the file is named.
        spec.linux.resources = Some(limits("8:0", 1000));
        let failure = run(&spec).unwrap_err();
        assert!(failure.path.contains("io.max") || failure.path.contains("blkio.throttle"), "{failure}");
        return;
    };
    spec.linux.resources = Some(limits(&disk, 70_000));
    let mut running = Running::new(&spec);
    assert_eq!(running.ear.line(), "up");
    let written = |rate: u64| {
        for (v1, v2) in
            [("read_bps", "rbps"), ("write_bps", "wbps"), ("read_iops", "riops"), ("write_iops", "wiops")]
        {
            let text = file(&path, "blkio", &format!("blkio.throttle.{v1}_device"), "io.max").unwrap();
            assert!(
                text.contains(&format!("{v2}={rate}")) || text == format!("{} {rate}", disk.trim()),
                "{text}"
            );
        }
    };
    written(70_000);
    running.container().update(&limits(&disk, 80_000)).unwrap();
    written(80_000);
    // Which of the two weighs depends on the kernel's schedulers; where there is one it has our number.
    if let Some(weight) = file(&path, "blkio", "blkio.bfq.weight", "io.bfq.weight") {
        assert!(weight.contains("300"), "{weight}");
    }
}

fn huge_pages_are_limited_where_there_are_any() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.shell("echo up; exec sleep 1000");
    let path = spec.linux.cgroups_path.clone();
    let limit = HugepageLimit { page_size: "2MB".into(), limit: 4 << 20 };
    spec.linux.resources = Some(Resources { hugepage_limits: vec![limit], ..Resources::default() });
    let unified = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let has = unified.contains("hugetlb") || fs::exists("/sys/fs/cgroup/hugetlb").unwrap();
    if !has {
        let failure = run(&spec).unwrap_err();
        assert!(failure.path.contains("hugetlb.2MB"), "{failure}");
        return;
    }
    let mut running = Running::new(&spec);
    assert_eq!(running.ear.line(), "up");
    let written = file(&path, "hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max");
    assert_eq!(written.as_deref(), Some("4194304"));
}
