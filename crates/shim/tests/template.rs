//! Shims that are copies of one that runs already.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail")]

mod common;

use std::fs;
use std::os::fd::AsFd;

use common::Place;
use shim::client::Error;
use shim::proto::Request;

fn arguments(pid: i32) -> Vec<String> {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    line.split_terminator('\0').map(str::to_owned).collect()
}

/// A field of proc_pid_stat(5), counted from the one behind the name.
fn stat(pid: i32, field: usize) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(field).unwrap().parse().unwrap()
}

#[test]
fn a_copy_is_a_shim_like_others_and_lives_without_its_template() {
    let (mut place, template) = Place::of_template();
    let dir = place.shim_directory();
    let pid = place.shim.pid;
    assert_eq!(arguments(pid), ["corten-shim", "shim", "--dir", dir.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap(), "corten-shim\n");
    let (parent, session) = (1, 3);
    assert_eq!((stat(pid, parent), stat(pid, session)), (std::process::id() as i32, pid));

    let elsewhere = [dir.join("deeper"), dir.with_file_name("longer")];
    for other in &elsewhere {
        assert!(template.copy(other).unwrap().is_none(), "{other:?}");
    }
    assert!(elsewhere.iter().all(|other| !other.exists()));

    let started = place.sh("echo out; echo err >&2; exit 3");
    place.run(started);
    drop(template);
    assert_eq!(place.wait().code, 3);
    let mut lines: Vec<String> = place.log(None).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["err", "out"]);
    place.close();
}

/// A descriptor too many would keep the daemon, or another container's client, from seeing an end.
#[test]
fn a_copy_has_the_descriptors_of_one_that_was_spawned() {
    let descriptors = |pid: i32| {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let targets = fds.map(|fd| fs::read_link(fd.unwrap().path()).unwrap().display().to_string());
        let mut kinds: Vec<String> =
            targets.map(|target| target.split('[').next().unwrap_or_default().to_owned()).collect();
        kinds.sort();
        kinds
    };
    let (spawned, (copied, _template)) = (Place::new(), Place::of_template());
    assert_eq!(descriptors(copied.shim.pid), descriptors(spawned.shim.pid));
    spawned.audit();
    drop(_template);
    copied.audit();
}

#[test]
fn a_template_that_was_killed_is_told_and_nobody_else_makes_copies() {
    let (mut place, template) = Place::of_template();
    let call = place.connection().call(&Request::Copy { dir: "/nowhere".into() }, &[]);
    assert!(matches!(call, Err(Error::Failed(failure)) if failure.step == "copy"));

    let template_pid = testkit::audit::processes_of(&place.path("0000"));
    let [pid] = template_pid[..] else { panic!("one template: {template_pid:?}") };
    let pidfd = sys::process::pidfd_open(pid).unwrap();
    sys::process::pidfd_send_signal(pidfd.as_fd(), 9).unwrap();
    let other = place.path("more");
    assert!(matches!(template.copy(&other), Err(Error::Io { .. })));
    drop(template);
    place.audit();
}
