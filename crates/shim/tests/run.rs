//! A container's life as a daemon sees it: its log, its code, its end.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail")]

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::task::Poll;

use common::Place;
use shim::client::{Connection, Error};
use shim::proto::{Create, Event, Reply, Request};
use spec::api::Stream;
use sys::scm::Wait;
use testkit::until;

#[test]
fn a_program_runs_and_leaves_its_log_and_its_code() {
    for (script, code) in [("echo out; echo err >&2", 0), ("exit 3", 3), ("exit 255", 255)] {
        let mut place = Place::new();
        let create = place.sh(script);
        place.run(create);
        let exit = place.wait();
        assert_eq!(exit.code, code, "{script}");
        assert!(!exit.oom_killed);
        if code == 0 {
            assert_eq!(place.log(Some(Stream::Stdout)), "out\n");
            assert_eq!(place.log(Some(Stream::Stderr)), "err\n");
        }
        place.close();
    }
}

#[test]
fn a_call_goes_through_that_the_socket_has_no_room_for() {
    let mut place = Place::new();
    let mut create = place.sh("echo ${#LONG5}");
    let long = (0..8).map(|n| format!("LONG{n}={}", "x".repeat(100_000)));
    create.spec.process.as_mut().unwrap().env.extend(long);
    let create = Request::Create(Box::new(create));
    let rest = place.connection().send(&create, &[], Wait::No).unwrap();
    rest.expect("a socket has no room for 800 kB").send().unwrap();
    let reply = until("the reply", || match place.connection().try_reply().unwrap() {
        Poll::Ready(reply) => Some(reply),
        Poll::Pending => None,
    });
    assert!(matches!(reply, Reply::Pid(_)), "{reply:?}");
    assert_eq!(place.wait().code, 0);
    assert_eq!(place.log(None), "100000\n");
    place.close();
}

#[test]
fn a_shim_is_told_with_its_container_where_its_directory_is_now() {
    let mut place = Place::new();
    let moved = place.path("deck");
    std::fs::rename(place.shim_directory(), &moved).unwrap();
    place.connection().moved(&moved);
    let create = Create { dir: Some(moved.clone()), ..place.sh("read line") };
    place.run(Create { open_stdin: true, ..create });
    let arguments = std::fs::read_to_string(format!("/proc/{}/cmdline", place.shim.pid)).unwrap();
    assert!(arguments.ends_with(&format!("\0--dir\0{}\0", moved.display())), "{arguments}");
    assert!(Connection::connect(&moved).unwrap().status().unwrap().started);
    place.connection().kill(9, None, false).unwrap();
    let mut watch = Connection::connect(&moved).unwrap().watch().unwrap();
    assert!(matches!(watch.next().unwrap(), Some(Event::Exited(exit)) if exit.code == 137));
    drop(watch);
    place.close();
    assert!(!moved.exists());
}

/// Somebody has removed its directory: no daemon will ever ask for it.
#[test]
fn a_shim_that_cannot_be_reached_ends_with_its_container() {
    for (script, code) in
        [("while :; do sleep 1000; done", Some(137)), ("exit 3", Some(3)), ("never started", None)]
    {
        for connected in [true, false] {
            let mut place = Place::new();
            let create = Create { start: code.is_some(), ..place.sh(script) };
            place.run(create);
            if code == Some(3) {
                place.wait();
            }
            let directory = place.shim_directory();
            if connected {
                std::fs::remove_dir_all(&directory).unwrap();
                place.disconnect();
            } else {
                place.disconnect();
                // What stands there instead is the next one's.
                std::fs::remove_file(directory.join("shim.sock")).unwrap();
                std::fs::write(directory.join("shim.sock"), "").unwrap();
            }
            until("the shim's end", || {
                sys::poll::wait(&place.shim.pidfd, sys::poll::Interest::READ, Some(std::time::Duration::ZERO))
                    .unwrap()
                    .then_some(())
            });
            assert_eq!(place.record().map(|exit| exit.code), code, "{script}");
            if !connected {
                std::fs::remove_file(directory.join("shim.sock")).unwrap();
            }
            place.audit();
        }
    }
}

#[test]
fn programs_find_the_signals_as_they_expect_them() {
    let mut place = Place::new();
    let create = place.create(&["/bin/cat", "/proc/self/status", "/proc/self/oom_score_adj"]);
    place.run(create);
    place.wait();
    let log = place.log(None);
    for name in ["SigBlk:\t", "SigIgn:\t"] {
        let value = log.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        // The C library keeps two numbers above for itself, whatever they were before.
        assert_eq!(u64::from_str_radix(value, 16).unwrap() & 0x7fff_ffff, 0, "{name}{value}");
    }
    assert!(!log.ends_with("-999\n"), "the shim's protection from the OOM killer is not inherited: {log}");
    place.close();
}

#[test]
fn long_lines_and_bytes_that_are_no_text_come_through_the_log() {
    let mut place = Place::new();
    let create = place.sh("head -c 50000 /dev/zero | tr '\\0' x; echo; printf 'a\\377b\\t\\033[0m'");
    place.run(create);
    place.wait();
    assert_eq!(place.log(None), "x".repeat(50_000) + "\na\u{fffd}b\t\u{1b}[0m");
    let file = std::fs::read_to_string(place.path("log")).unwrap();
    let lengths: Vec<usize> = file.lines().map(|line| line.matches('x').count()).collect();
    assert_eq!(lengths, [16_384, 16_384, 16_384, 848, 0]);
    place.close();
}

#[test]
fn a_program_that_is_not_there_leaves_nothing() {
    let mut place = Place::new();
    let create = place.create(&["/bin/no-such-program"]);
    let Err(Error::Failed(failure)) = place.connection().create(create, None, None, &[]) else {
        panic!("it cannot have started")
    };
    assert_eq!((failure.step.as_str(), failure.errno), ("exec", 2), "{failure}");
    assert_eq!(place.connection().status().unwrap().pid, None);
    assert!(place.record().is_none());
    // The shim is of no use any more once we leave.
    place.audit();
}

#[test]
fn the_daemons_death_changes_nothing() {
    let mut place = Place::new();
    let go = place.fifo("go");
    let mut create = place.sh("cat /tmp/go; echo done; exit 7");
    create.start = false;
    let pid = place.run(create);
    place.connection().start().unwrap();
    place.disconnect();
    let status = place.connection().status().unwrap();
    assert_eq!((status.pid, status.started, status.exit), (Some(pid), true, None));
    place.disconnect();
    // The end comes, is logged and recorded with nobody there.
    std::fs::OpenOptions::new().write(true).open(go).unwrap().write_all(b"go\n").unwrap();
    let exit = until("exit.json", || place.record());
    assert_eq!(exit.code, 7);
    assert_eq!(place.log(None), "go\ndone\n");
    assert_eq!(place.connection().status().unwrap().exit, Some(exit.clone()));
    assert_eq!(place.wait(), exit);
    place.close();
}

#[test]
fn nonsense_ends_only_its_own_connection() {
    let mut place = Place::new();
    let create = place.create(&["/bin/sleep", "1000"]);
    place.run(create);
    let socket = place.shim_directory().join("shim.sock");
    for nonsense in [&b"\xff\xff\xff\xff"[..], b"\x02\0\0\0{}", b"\x08\0\0\0\"Status\""] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(nonsense).unwrap();
        assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    }
    assert!(matches!(place.connection().delete(), Err(Error::Failed(failure)) if failure.errno == 16));
    place.connection().kill(9, None, false).unwrap();
    assert_eq!(place.wait().code, 137);
    place.close();
}

#[test]
fn a_container_that_was_never_started_is_deleted() {
    let mut place = Place::new();
    let mut create = place.sh("echo never");
    create.start = false;
    place.run(create);
    place.close();
}

#[test]
fn a_shim_that_nobody_needs_ends() {
    Place::new().audit();
    Place::new().close();
}
