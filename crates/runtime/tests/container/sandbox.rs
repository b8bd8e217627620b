//! What a container sees.

use std::fs;

use sys::process::ExitStatus;

use crate::Test;
use crate::fixture::{Rootfs, run, strings};

pub(crate) const TESTS: &[Test] = &[
    ("a_program_runs_as_pid_1_in_its_own_namespaces", a_program_runs_as_pid_1_in_its_own_namespaces),
    ("the_overlay_takes_what_is_written", the_overlay_takes_what_is_written),
    ("the_exit_code_comes_through", the_exit_code_comes_through),
];

fn a_program_runs_as_pid_1_in_its_own_namespaces() {
    let rootfs = Rootfs::new();
    rootfs.write("etc/motd", "hello from the root\n");
    let out =
        run(&rootfs.shell("echo $$; hostname; cat /etc/motd; ls /; ls /sys/class/net; ps | wc -l")).unwrap();
    let lines = out.lines();
    assert_eq!(lines[..3], ["1", "box", "hello from the root"], "{out:?}");
    assert_eq!(lines[3..], ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "lo", "4"], "{out:?}");
}

fn the_overlay_takes_what_is_written() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.shell("echo new > /etc/new; cat /etc/passwd | head -n 1");
    rootfs.overlay(&mut spec);
    let out = run(&spec).unwrap();
    assert_eq!(out.text, "root:x:0:0:root:/root:/bin/sh\n");
    assert_eq!(fs::read_to_string(rootfs.upper("etc/new")).unwrap(), "new\n");
    assert!(!fs::exists(rootfs.path("etc/new")).unwrap());
}

fn the_exit_code_comes_through() {
    let rootfs = Rootfs::new();
    assert_eq!(run(&rootfs.shell("exit 42")).unwrap().status, ExitStatus::Code(42));
    let mut spec = rootfs.shell("");
    spec.process.as_mut().unwrap().args = strings(&["sh", "-c", "kill -9 $$; true"]);
    // Init is immune to its own signals.
    assert_eq!(run(&spec).unwrap().status, ExitStatus::Code(0));
}
