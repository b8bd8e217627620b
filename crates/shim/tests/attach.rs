//! Clients attached to a container: both ways, several at once, slow ones, terminals.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail")]

mod common;

use std::io::Read;

use common::{ALL, BOTH, Client, Place, RAW};
use shim::proto::Attach;
use testkit::until;

#[test]
fn what_goes_in_comes_out_on_its_stream_until_the_client_ends() {
    let mut place = Place::new();
    let mut create = place.sh("echo err >&2; cat; echo end");
    (create.open_stdin, create.stdin_once) = (true, true);
    let mut client = place.run_attached(create, ALL);
    client.write(b"in\n");
    client.end();
    assert_eq!(client.frames(), (b"in\nend\n".to_vec(), b"err\n".to_vec()));
    assert_eq!(place.wait().code, 0);
    place.close();
}

#[test]
fn stdin_stays_open_for_the_next_client_unless_it_is_once() {
    let mut place = Place::new();
    let mut create = place.sh("head -n 2");
    create.open_stdin = true;
    let mut first = place.run_attached(create, ALL);
    let (mut watcher, theirs) = Client::pair();
    place.connection().attach(BOTH, theirs).unwrap();
    first.write(b"one\n");
    first.end();
    // The end of its writing detaches the first; its bytes are not lost.
    assert_eq!(first.frames().1, b"");
    let (mut second, theirs) = Client::pair();
    place.connection().attach(Attach { stdout: false, stderr: false, ..ALL }, theirs).unwrap();
    second.write(b"two\n");
    assert_eq!(watcher.frames().0, b"one\ntwo\n");
    assert_eq!(second.rest(), "");
    assert_eq!(place.wait().code, 0);
    place.close();
}

#[test]
fn a_slow_client_holds_the_container_back_and_loses_nothing() {
    const LENGTH: usize = 8 << 20;
    let mut place = Place::new();
    let create = place.sh("yes 0123456 | head -c 8388608; echo >/tmp/written");
    let mut slow = place.run_attached(create, BOTH);
    let (gone, theirs) = Client::pair();
    place.connection().attach(BOTH, theirs).unwrap();
    drop(gone);
    // Far less than all of it fits between the container and us, so it has to wait.
    let log_size = || std::fs::metadata(place.path("log")).map(|m| m.len()).unwrap_or(0);
    let mut size = 0;
    until("the output to stop", || {
        let before = std::mem::replace(&mut size, log_size());
        (size > 0 && before == size).then_some(())
    });
    assert!(!place.path("root/tmp/written").exists(), "the container is held back");
    let (stdout, stderr) = slow.frames();
    assert_eq!((stdout.len(), stderr.len()), (LENGTH, 0));
    assert!(stdout.chunks(8).all(|line| line == b"0123456\n"));
    assert_eq!(place.wait().code, 0);
    assert_eq!(place.log(None).len(), LENGTH);
    place.close();
}

#[test]
fn a_client_that_reads_late_still_gets_the_end() {
    let mut place = Place::new();
    let create = place.sh("head -c 50000 /dev/zero; echo the end >&2");
    let mut late = place.run_attached(create, BOTH);
    assert_eq!(place.wait().code, 0);
    place.connection().delete().unwrap();
    let (stdout, stderr) = late.frames();
    assert_eq!((stdout.len(), stderr), (50_000, b"the end\n".to_vec()));
    place.audit();
}

#[test]
fn a_stalled_client_does_not_hide_the_end() {
    let mut place = Place::new();
    // More than the socket and the shim take, so that something is left in the pipe at the end.
    let create = place.sh("yes | head -c 1000000 & sleep 1000");
    let mut stalled = place.run_attached(create, BOTH);
    let mut first = [0; 1];
    stalled.0.read_exact(&mut first).unwrap();
    place.connection().kill(9, None, false).unwrap();
    assert_eq!(place.wait().code, 137);
    place.connection().delete().unwrap();
    drop(stalled);
    place.audit();
}

#[test]
fn a_terminal_has_a_size_echoes_and_ends_with_its_client_detached() {
    let mut place = Place::new();
    let mut create =
        place.sh("stty size; read line; stty size; echo got $line; read line; echo more $line >&2");
    create.open_stdin = true;
    create.stdin_once = true;
    let process = create.spec.process.as_mut().unwrap();
    process.terminal = true;
    process.console_size = Some(spec::oci::runtime::ConsoleSize { height: 20, width: 70 });
    let mut client = place.run_attached(create, RAW);
    client.read_until("20 70\r\n");
    place.connection().resize(None, 40, 100).unwrap();
    client.write(b"word\n");
    assert_eq!(client.read_until("got word\r\n"), "word\r\n40 100\r\ngot word\r\n");
    client.end();
    assert_eq!(client.rest(), "", "detached");
    let (mut again, theirs) = Client::pair();
    place.connection().attach(RAW, theirs).unwrap();
    again.write(b"words\n");
    again.read_until("more words\r\n");
    assert_eq!(place.wait().code, 0);
    assert!(place.log(Some(spec::api::Stream::Stdout)).contains("more words\r\n"));
    place.close();
}
