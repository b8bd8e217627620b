//! The log beyond one file: rotated, compressed, sent elsewhere.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail")]

mod common;

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use common::Place;
use shim::proto::{Address, Event, Form, Log, LogFormat, Remote};
use testkit::until;

fn fluentd(address: Address) -> Remote {
    let form =
        Form::Fluentd { tag: "t".into(), fields: BTreeMap::new(), sub_second: false, acknowledged: false };
    let addresses = vec![address];
    Remote {
        addresses,
        form,
        later: false,
        retry_wait: 10,
        max_retries: u64::MAX,
        buffer: 64 << 10,
        drop: false,
    }
}

#[test]
fn rotated_files_are_compressed_and_read_back() {
    for format in [LogFormat::JsonFile, LogFormat::Local] {
        let mut place = Place::new();
        let mut create = place.sh("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; read x");
        create.open_stdin = true;
        create.log = Some(Log { files: Some(place.log_files(format, 40_000, 20)), ..Log::default() });
        place.run(create);
        let expected: String = (0..3000).map(|i| format!("line {i}\n")).collect();
        until("the last line", || place.log_in(format, None).ends_with("line 2999\n").then_some(()));
        until("compressed files", || {
            let names = sys::file::list(place.path("log").parent().unwrap()).unwrap();
            let of = |end: &str| names.iter().filter(|n| n.starts_with("log.") && n.ends_with(end)).count();
            (of(".gz") >= 1 && of(".gz") == of("")).then_some(())
        });
        assert_eq!(place.log_in(format, None), expected);
        place.connection().kill(9, None, true).unwrap();
        place.wait();
        place.close();
    }
}

#[test]
fn a_log_server_that_reads_nothing_delays_the_end_by_no_more_than_the_usual_time() {
    let mut place = Place::new();
    let path = place.path("server");
    let listener = UnixListener::bind(&path).unwrap();
    let mut create = place.sh("while :; do echo 01234567890123456789012345678901234567890123456789; done");
    create.log = Some(Log {
        files: Some(place.log_files(LogFormat::Local, 1 << 20, 3)),
        remote: Some(fluentd(Address::Unix(path))),
        attrs: BTreeMap::new(),
    });
    let pid = place.run(create);
    let (_stalled, _) = listener.accept().unwrap();
    let (mut ran, mut looks) = (String::new(), 0);
    until("the container is held back: it sleeps, and has not run for ten looks", || {
        let of = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        let now = of("schedstat");
        looks = if of("stat").contains(") S ") && now == ran { looks + 1 } else { 0 };
        ran = now;
        (looks >= 10).then_some(())
    });
    let watch = shim::client::Connection::connect(&place.shim_directory()).unwrap();
    let mut watch = watch.watch().unwrap();
    // It answers while its container is held back.
    for _ in 0..20 {
        assert!(place.connection().status().unwrap().started);
    }
    place.connection().kill(9, None, true).unwrap();
    let begin = Instant::now();
    let mut lost = 0;
    loop {
        match watch.next().unwrap().unwrap() {
            Event::LogLost { entries, .. } => lost = entries,
            Event::Exited(exit) => break assert_eq!(exit.code, 137),
            Event::ExecExited { .. } | Event::Oom => {}
        }
    }
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert!(lost > 0, "what the server did not take is counted");
    assert!(place.record().is_some());
    place.close();
}

#[test]
fn everything_is_with_the_log_server_before_the_end_is_told() {
    let mut place = Place::new();
    let path = place.path("server");
    let listener = UnixListener::bind(&path).unwrap();
    let mut create = place.sh("i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done");
    create.log = Some(Log { remote: Some(fluentd(Address::Unix(path))), ..Log::default() });
    place.run(create);
    let (mut server, _) = listener.accept().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        server.read_to_end(&mut bytes).unwrap();
        bytes
    });
    place.wait();
    let bytes = reader.join().unwrap();
    let count = bytes.windows(4).filter(|w| w == b"\xa3log").count();
    assert_eq!(count, 20_000);
    place.close();
}

#[test]
fn a_log_server_that_is_not_there_fails_the_start_with_dockers_words() {
    let mut place = Place::new();
    let mut create = place.sh("true");
    create.log = Some(Log { remote: Some(fluentd(Address::Unix("/nonexistent".into()))), ..Log::default() });
    let error = place.connection().create(create, None, None, &[]).unwrap_err();
    let shim::client::Error::Failed(failure) = error else { panic!("{error}") };
    assert_eq!(failure.step, shim::proto::LOG_SERVER);
    assert_eq!(failure.detail, "dial unix /nonexistent: connect: no such file or directory");
    place.audit();
}
