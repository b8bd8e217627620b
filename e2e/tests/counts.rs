//! What a command costs, as counts that hold on a busy machine, too: processes and programs, calls to the kernel, syncs,
//! bytes, allocations. The kernel counts; the programs are the unmodified ones. SPECIFICATION.md has the numbers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Host, audit};
use trace::{Event, Trace, What};

/// The most that a command may take, of client, daemon, shim and container together.
#[derive(Debug, Default, PartialEq)]
struct Cost {
    /// Programs run: client and container's program are two of them.
    execs: usize,
    /// Processes and threads made.
    forks: usize,
    /// fsync and its like.
    syncs: usize,
    /// System calls that do not only wait, and are not for memory.
    calls: usize,
    /// Written to files, pipes and sockets.
    kilobytes: usize,
    /// Calls of the C library's allocator.
    allocations: usize,
}

/// How often a thread waits is the scheduler's affair, and how it gets its memory the allocator's.
fn counts(call: &str) -> bool {
    !matches!(
        call,
        "epoll_wait"
            | "epoll_pwait"
            | "futex"
            | "poll"
            | "ppoll"
            | "wait4"
            | "waitid"
            | "sched_yield"
            | "mmap"
            | "munmap"
            | "mprotect"
            | "brk"
            | "madvise"
            | "mremap"
            | "rt_sigreturn"
            | "restart_syscall"
    )
}

fn cost(events: &[Event]) -> Cost {
    let mut cost = Cost::default();
    let mut bytes = 0;
    for event in events {
        match &event.what {
            What::Exec { .. } => cost.execs += 1,
            What::Fork { .. } => cost.forks += 1,
            What::Allocation => cost.allocations += 1,
            What::Call { call, .. } => {
                cost.calls += usize::from(counts(call));
                cost.syncs += usize::from(matches!(call.as_str(), "fsync" | "fdatasync" | "syncfs" | "sync"));
            }
            What::Return { call, value } => {
                if matches!(call.as_str(), "write" | "writev" | "pwrite64" | "sendto" | "sendmsg") {
                    bytes += usize::try_from(*value).unwrap_or(0);
                }
            }
            What::End => {}
        }
    }
    cost.kilobytes = bytes.div_ceil(1024);
    cost
}

/// Runs `corten` with everything of this host traced.
fn traced(host: &Host, words: &[&str]) -> Cost {
    let pids = audit::processes_of(&host.path("")).into_iter().map(i32::cast_unsigned).collect::<Vec<_>>();
    let trace = Trace::start(&pids, true).unwrap();
    let corten = testkit::program("corten").display().to_string();
    let script = trace.joining();
    let socket = host.socket();
    let line = [&["sh", "-c", &script, "sh", &corten, "-H", &socket], words].concat();
    host.command(&line).env("DOCKER_CONFIG", &host.path("client").display().to_string()).ok();
    cost(&trace.stop().unwrap())
}

impl Cost {
    /// One unit and number a line.
    fn parts(&self) -> [(&'static str, usize); 6] {
        [
            ("programs", self.execs),
            ("processes and threads", self.forks),
            ("syncs", self.syncs),
            ("system calls", self.calls),
            ("KiB written", self.kilobytes),
            ("allocations", self.allocations),
        ]
    }
}

#[test]
fn commands_cost_no_more_than_promised() {
    let mut host = Host::new();
    // The daemon brings new layers to the disk some time later: here they are on it, which is none of a command's cost.
    host.stop_daemon();
    for layer in std::fs::read_dir(host.path("data/layers")).unwrap().flatten() {
        testkit::write(&layer.path().join("synced"), b"");
    }
    host.start_daemon();
    let most = |[execs, forks, syncs, calls, kilobytes, allocations]: [usize; 6]| Cost {
        execs,
        forks,
        syncs,
        calls,
        kilobytes,
        allocations,
    };
    let large = host.path("large").display().to_string();
    testkit::write(large.as_ref(), &vec![7; 4 << 20]);
    // Programs, processes and threads, syncs, system calls, KiB written, allocations.
    let commands: [(&[&str], Cost); 8] = [
        (&["run", "--rm", "busybox", "true"], most([2, 3, 0, 2200, 22, 5400])),
        (&["run", "--rm", "--network", "host", "busybox", "true"], most([2, 2, 0, 2200, 20, 5000])),
        (&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"], most([2, 3, 2, 1950, 20, 4800])),
        (&["exec", "c1", "true"], most([2, 1, 0, 720, 5, 1200])),
        // Its bytes are written once.
        (&["cp", &large, "c1:/large"], most([1, 3, 0, 900, 4110, 1400])),
        (&["ps"], most([1, 0, 0, 400, 4, 900])),
        (&["inspect", "c1"], most([1, 0, 0, 400, 17, 800])),
        (&["rm", "-f", "c1"], most([1, 0, 0, 640, 3, 760])),
    ];
    // What is made or loaded once is there afterwards; the daemon's threads as many as ever had work at once.
    let burst: Vec<_> = (0..8).map(|_| host.corten(&["run", "--rm", "busybox", "true"]).spawn()).collect();
    for mut client in burst {
        assert!(client.wait().unwrap().success());
    }
    for _ in 0..2 {
        for (words, _) in &commands {
            host.corten(words).ok();
        }
    }
    let mut broken = Vec::new();
    for (words, most) in &commands {
        let took = traced(&host, words);
        println!("{}: {took:?}", words.join(" "));
        for ((unit, took), (_, most)) in took.parts().iter().zip(most.parts()) {
            if *took > most {
                broken.push(format!("corten {}: {took} {unit}, promised {most}", words.join(" ")));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    host.finish();
}
