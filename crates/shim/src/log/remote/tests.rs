use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixListener};

use spec::api::Stream;
use sys::poll;

use super::*;
use crate::proto::{Address, Form, SyslogFormat};

fn settings(address: Address) -> proto::Remote {
    let form = Form::Syslog {
        facility: 3,
        tag: "t".into(),
        hostname: "h".into(),
        pid: 1,
        format: SyslogFormat::Local,
        utc_offset: 0,
    };
    proto::Remote {
        addresses: vec![address],
        form,
        later: false,
        retry_wait: 1,
        max_retries: u64::MAX,
        buffer: 1 << 20,
        drop: false,
    }
}

fn add(remote: &mut Remote, text: &str) {
    let text = text.as_bytes();
    remote.add(&Piece {
        stream: Stream::Stdout,
        time: 0,
        text,
        ends_line: true,
        partial: None,
        plain: false,
    });
    remote.send();
}

/// What the shim does: waits for the socket or the deadline, and serves it.
fn turn(remote: &mut Remote) {
    let wait =
        remote.deadline().map_or(Duration::from_secs(5), |d| d.saturating_duration_since(Instant::now()));
    match remote.socket() {
        Some((fd, interest, _)) => {
            if poll::wait(fd, interest, Some(wait)).unwrap() {
                remote.serve(false);
            }
        }
        None => std::thread::sleep(wait),
    }
    remote.send();
}

fn read_until(mut from: impl Read, end: &str) -> String {
    let mut text = Vec::new();
    let mut block = [0; 4096];
    while !text.ends_with(end.as_bytes()) {
        let n = from.read(&mut block).unwrap();
        assert!(n > 0, "the connection ended after {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&block[..n]);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn a_server_that_comes_back_gets_what_was_written_meanwhile() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut remote = Remote::connect(&settings(Address::Tcp(listener.local_addr().unwrap()))).unwrap();
    let (first, _) = listener.accept().unwrap();
    add(&mut remote, "one");
    assert!(read_until(&first, "\n").ends_with(": one\n"));
    drop(first);
    turn(&mut remote);
    assert!(matches!(remote.state, State::Waiting(_)));
    add(&mut remote, "two");
    add(&mut remote, "three");
    while !remote.queue.is_empty() {
        turn(&mut remote);
    }
    let (second, _) = listener.accept().unwrap();
    let text = read_until(&second, "three\n");
    assert!(text.contains(": two\n"), "{text}");
    assert_eq!(remote.loss().entries, 0);
}

#[test]
fn a_slow_server_holds_back_or_costs_entries() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    for drop in [false, true] {
        let settings = proto::Remote { buffer: 10_000, drop, ..settings(Address::Unix(path.clone())) };
        let mut remote = Remote::connect(&settings).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        for _ in 0..1000 {
            add(&mut remote, &"x".repeat(1000));
        }
        assert_eq!(remote.is_full(), !drop);
        assert!(!remote.is_flushed());
        let lost = usize::try_from(remote.loss().entries).unwrap();
        assert_eq!(lost > 0, drop);
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            server.read_to_string(&mut text).unwrap();
            text.lines().count()
        });
        while !remote.queue.is_empty() {
            turn(&mut remote);
        }
        remote.give_up();
        assert_eq!(reader.join().unwrap(), 1000 - lost);
    }
}

#[test]
fn a_server_that_is_gone_costs_what_does_not_fit_and_nothing_waits_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let later = proto::Remote { buffer: 1000, later: true, ..settings(address.clone()) };
    drop(listener);
    let error = Remote::connect(&settings(address)).unwrap_err().to_string();
    assert!(
        error.starts_with("dial tcp 127.0.0.1:") && error.ends_with("connect: connection refused"),
        "{error}"
    );
    let mut remote = Remote::connect(&proto::Remote { max_retries: 3, ..later }).unwrap();
    (0..100).for_each(|_| add(&mut remote, "a line that does not get there"));
    assert!(
        remote.loss().entries > 50 && !remote.is_full() && remote.is_flushed() || remote.deadline().is_some()
    );
    while remote.deadline().is_some() {
        turn(&mut remote);
    }
    assert_eq!(remote.loss().entries, 100);
}

#[test]
fn a_message_too_long_for_a_datagram_comes_as_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("j");
    let server = UnixDatagram::bind(&path).unwrap();
    let fields = [("LONG".to_owned(), "v".repeat(4 << 20))].into();
    let form = Form::Journald { fields };
    let mut remote = Remote::connect(&proto::Remote { form, ..settings(Address::Unixgram(path)) }).unwrap();
    add(&mut remote, "hello");
    let mut fds = Vec::new();
    sys::scm::receive(&server, &mut [0; 100], &mut fds, sys::scm::Wait::Yes).unwrap();
    let mut text = Vec::new();
    let file = std::fs::File::from(fds.pop().unwrap());
    let length = file.metadata().unwrap().len();
    text.resize(usize::try_from(length).unwrap(), 0);
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut text, 0).unwrap();
    assert!(text.starts_with(b"MESSAGE=hello\n") && text.len() > 4 << 20);
    assert!(remote.is_flushed());
}

#[test]
fn what_a_server_has_not_acknowledged_is_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let form =
        Form::Fluentd { tag: "t".into(), fields: Default::default(), sub_second: false, acknowledged: true };
    let settings = proto::Remote { form, ..settings(Address::Tcp(listener.local_addr().unwrap())) };
    let mut remote = Remote::connect(&settings).unwrap();
    let (mut first, _) = listener.accept().unwrap();
    let name = |count: u64| format!("{}{count:016x}", remote.name);
    let names: Vec<String> = (1..=3).map(name).collect();
    for text in ["one", "two", "three"] {
        add(&mut remote, text);
    }
    read_bytes(&mut first, &names[2]);
    assert!(!remote.is_flushed() && remote.queue.is_empty());
    acknowledge(&mut first, &names[0]);
    turn(&mut remote);
    assert_eq!(remote.unacknowledged.len(), 2);
    drop(first);
    while remote.generation == 0 {
        turn(&mut remote);
    }
    let (mut second, _) = listener.accept().unwrap();
    while !remote.queue.is_empty() {
        turn(&mut remote);
    }
    let again = read_bytes(&mut second, &names[2]);
    let has = |name: &str| again.windows(name.len()).any(|w| w == name.as_bytes());
    assert!(!has(&names[0]) && has(&names[1]));
    names[1..].iter().for_each(|name| acknowledge(&mut second, name));
    while !remote.is_flushed() {
        turn(&mut remote);
    }
    assert_eq!((remote.bytes, remote.loss().entries), (0, 0));
}

fn read_bytes(from: &mut impl Read, end: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut block = [0; 4096];
    while !bytes.ends_with(end.as_bytes()) {
        let n = from.read(&mut block).unwrap();
        assert!(n > 0, "the connection ended");
        bytes.extend_from_slice(&block[..n]);
    }
    bytes
}

fn acknowledge(to: &mut impl Write, name: &str) {
    to.write_all(&[b"\x81\xa3ack\xd9\x20", name.as_bytes()].concat()).unwrap();
}
