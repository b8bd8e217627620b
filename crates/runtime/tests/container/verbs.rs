//! What is done to a running container.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use runtime::Io;
use spec::oci::runtime::ConsoleSize;
use sys::process::{ExitStatus, reap};

use crate::Test;
use crate::fixture::{Rootfs, Running, process};

pub(crate) const TESTS: &[Test] = &[
    ("exec_joins_every_namespace_and_cgroup", exec_joins_every_namespace_and_cgroup),
    ("exec_on_a_terminal", exec_on_a_terminal),
    ("init_on_a_terminal_has_a_console", init_on_a_terminal_has_a_console),
    ("pause_stops_and_resume_goes_on", pause_stops_and_resume_goes_on),
    ("kill_reaches_init_or_all", kill_reaches_init_or_all),
    ("exec_follows_init_into_its_own_cgroup", exec_follows_init_into_its_own_cgroup),
    ("nothing_is_left_behind", nothing_is_left_behind),
];

/// Says a word when it runs, then waits.
const WAIT: &str = "echo up; exec sleep 1000";

fn exec_joins_every_namespace_and_cgroup() {
    let rootfs = Rootfs::new();
    let mut running = Running::new(&rootfs.shell(WAIT));
    assert_eq!(running.ear.line(), "up");
    let script = "for n in mnt pid ipc uts net cgroup; do \
                  test $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) && echo $n; done; \
                  test \"$(cat /proc/1/cgroup)\" = \"$(cat /proc/self/cgroup)\" && echo same; exit 3";
    let out = running.exec(&process(&["sh", "-c", script])).unwrap();
    assert_eq!(out.lines(), ["mnt", "pid", "ipc", "uts", "net", "cgroup", "same"]);
    assert_eq!(out.status, ExitStatus::Code(3));
    let failure = running.exec(&process(&["nothing"])).unwrap_err();
    assert_eq!(failure.detail, "exec: \"nothing\": executable file not found in $PATH");
}

/// What comes out of a terminal until the last process on it has ended (then: EIO).
fn screen(console: OwnedFd) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    let mut console = File::from(console);
    while let Ok(length @ 1..) = console.read(&mut buffer) {
        text.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8(text).unwrap()
}

fn exec_on_a_terminal() {
    let rootfs = Rootfs::new();
    let mut running = Running::new(&rootfs.shell(WAIT));
    assert_eq!(running.ear.line(), "up");
    let mut process = process(&["sh", "-c", "tty; stty size; read word; echo got $word"]);
    process.console_size = Some(ConsoleSize { height: 33, width: 101 });
    let child = running.container().exec(&process, Io::Terminal).unwrap();
    let console = child.console.unwrap();
    File::from(console.try_clone().unwrap()).write_all(b"ping\n").unwrap();
    let text = screen(console);
    // Before anything can fail: a pid namespace's init does not end while there are zombies in it.
    let status = reap(child.pidfd.as_fd()).unwrap();
    // The echo of what was typed may come before it.
    assert!(text.contains("/dev/pts/0\r\n33 101\r\n"), "{text:?}");
    assert!(text.ends_with("got ping\r\n"), "{text:?}");
    assert_eq!(status, ExitStatus::Code(0));
}

fn init_on_a_terminal_has_a_console() {
    let rootfs = Rootfs::new();
    let mut spec =
        rootfs.shell("tty; test -c /dev/console && echo console > /dev/console; stat -c %u /dev/pts/0");
    spec.process.as_mut().unwrap().user.username = "bob".into();
    let (mut container, child) = runtime::create(&spec, Io::Terminal).unwrap();
    container.start().unwrap();
    assert_eq!(screen(child.console.unwrap()), "/dev/pts/0\r\nconsole\r\n1000\r\n");
    reap(child.pidfd.as_fd()).unwrap();
    container.delete().unwrap();
}

fn pause_stops_and_resume_goes_on() {
    let rootfs = Rootfs::new();
    let mut running = Running::new(&rootfs.shell("while :; do echo tick; done"));
    assert_eq!(running.ear.line(), "tick");
    running.container().pause().unwrap();
    // All that it said before is in the pipe, which is non-empty but gets no more.
    let pid = running.child.pid;
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.split(' ').skip(13).take(2).map(|n| n.parse::<u64>().unwrap()).sum::<u64>()
    };
    let before = ticks();
    let wait = std::time::Instant::now();
    while wait.elapsed().as_millis() < 50 {
        assert_eq!(ticks(), before, "it runs");
    }
    running.container().resume().unwrap();
    (0..20_000).for_each(|_| assert_eq!(running.ear.line(), "tick"));
}

fn kill_reaches_init_or_all() {
    let rootfs = Rootfs::new();
    let mut running =
        Running::new(&rootfs.shell("trap 'echo heard' TERM; echo up; while :; do sleep 1000 & wait; done"));
    assert_eq!(running.ear.line(), "up");
    running.container().kill(15, false).unwrap();
    assert_eq!(running.ear.line(), "heard");
    let container = running.container.take().unwrap();
    container.kill(9, true).unwrap();
    assert_eq!(reap(running.child.pidfd.as_fd()).unwrap(), ExitStatus::Signal(9));
    assert_eq!(container.kill(15, false).unwrap_err().errno, 3);
    container.delete().unwrap();
}

/// The cgroup's directories that are there, on a host of any version.
fn directories_of(cgroup: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap());
    let directories = entries.filter(|entry| entry.file_type().unwrap().is_dir()).map(|entry| entry.path());
    let tops = directories.chain(["/sys/fs/cgroup".into()]);
    tops.map(|top| format!("{}{cgroup}", top.display()))
        .filter(|path| std::fs::exists(path).unwrap())
        .collect()
}

/// A system manager in a container makes cgroups of its own and moves into them; on v2 the top one takes no
/// process any more then.
fn exec_follows_init_into_its_own_cgroup() {
    let rootfs = Rootfs::new();
    let script = "top=/sys/fs/cgroup; test -d $top/unified && top=$top/unified; mkdir -p $top/a/b; \
                  echo 1 > $top/a/cgroup.procs; echo +pids > $top/cgroup.subtree_control; echo up; \
                  exec sleep 1000";
    let mut spec = rootfs.shell(script);
    for mount in spec.mounts.iter_mut().filter(|mount| mount.r#type == "cgroup") {
        mount.options.retain(|option| option != "ro");
    }
    let cgroup = spec.linux.cgroups_path.clone();
    let mut running = Running::new(&spec);
    while running.ear.line() != "up" {}
    let out = running.exec(&process(&["grep", "^0::", "/proc/1/cgroup", "/proc/self/cgroup"])).unwrap();
    assert_eq!(out.lines()[0], "/proc/1/cgroup:0::/a");
    assert!(out.lines()[1].starts_with("/proc/self/cgroup:0::/"), "{out:?}");
    drop(running);
    assert_eq!(directories_of(&cgroup), Vec::<String>::new());
}

fn nothing_is_left_behind() {
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (before_mounts, before_descriptors) = (mounts(), descriptors());
    let rootfs = Rootfs::new();
    let mut spec = rootfs.shell(WAIT);
    let cgroup = spec.linux.cgroups_path.clone();
    drop(Running::new(&spec));
    // And after failures, early and late.
    spec.mounts[0].r#type = "nosuchfs".into();
    assert_eq!(crate::fixture::run(&spec).unwrap_err().step, "mount");
    let mut spec = rootfs.command(&["nothing"]);
    spec.linux.cgroups_path = cgroup.clone();
    assert_eq!(crate::fixture::run(&spec).unwrap_err().step, "exec");
    assert_eq!(directories_of(&cgroup), Vec::<String>::new());
    assert_eq!(mounts(), before_mounts);
    assert_eq!(descriptors(), before_descriptors);
    assert!(sys::process::reap_any().unwrap().is_none());
}
