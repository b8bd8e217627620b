//! Freezing a container, and killing a frozen one.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail")]

mod common;

use common::{BOTH, Place};

#[test]
fn a_paused_container_stands_still_and_goes_on() {
    let mut place = Place::new();
    let go = place.fifo("go");
    let create = place.sh("cat /tmp/go; exit 2");
    place.run(create);
    place.connection().pause().unwrap();
    assert!(place.connection().status().unwrap().paused);
    let state = place.path("root/tmp");
    drop(state);
    place.connection().resume().unwrap();
    assert!(!place.connection().status().unwrap().paused);
    drop(std::fs::OpenOptions::new().write(true).open(go).unwrap());
    assert_eq!(place.wait().code, 2);
    place.close();
}

#[test]
fn a_paused_container_can_be_killed() {
    let mut place = Place::new();
    let create = place.create(&["/bin/sleep", "1000"]);
    let mut client = place.run_attached(create, BOTH);
    place.connection().pause().unwrap();
    place.connection().kill(9, None, false).unwrap();
    assert_eq!(place.wait().code, 137);
    assert_eq!(client.frames(), (Vec::new(), Vec::new()));
    assert!(!place.connection().status().unwrap().paused);
    place.close();
}
