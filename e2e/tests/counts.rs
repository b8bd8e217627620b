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
        "epoll_wait" | "epoll_pwait" | "futex" | "poll" | "ppoll" | "wait4" | "waitid" | "sched_yield" | "mmap"
            | "munmap" | "mprotect" | "brk" | "madvise" | "mremap" | "rt_sigreturn" | "restart_syscall"
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

#[track_caller]
fn holds(what: &str, took: &Cost, most: &Cost) {
    let pairs = [
        ("programs", took.execs, most.execs),
        ("processes and threads", took.forks, most.forks),
        ("syncs", took.syncs, most.syncs),
        ("system calls", took.calls, most.calls),
        ("KiB written", took.kilobytes, most.kilobytes),
        ("allocations", took.allocations, most.allocations),
    ];
    println!("{what}: {took:?}");
    for (unit, took, most) in pairs {
        assert!(took <= most, "{what}: {took} {unit}, promised {most}");
    }
}

#[test]
fn commands_cost_no_more_than_promised() {
    let host = Host::new();
    let run = ["run", "--rm", "busybox", "true"];
    // What is made or loaded once is there afterwards.
    for _ in 0..3 {
        host.corten(&run).ok();
    }
    holds("run", &traced(&host, &run), &Cost { execs: 0, forks: 0, syncs: 0, calls: 0, kilobytes: 0, allocations: 0 });
    host.finish();
}
