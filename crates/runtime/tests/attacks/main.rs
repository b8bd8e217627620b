//! Attacks that other runtimes have fallen to, tried again: a process of the attacker's exchanges components of paths
//! in the container's tree while containers are made of it. What comes of such a container does not matter; what
//! matters is that nothing happens outside of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::print_stdout, reason = "as a test program should")]
#![allow(dead_code, reason = "the fixture is the container tests', which use all of it")]

#[path = "../container/fixture.rs"]
mod fixture;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;

use fixture::{Rootfs, run, strings};
use runtime::Io;
use spec::oci::runtime::{Mount, Spec};
use sys::process::{self, Clone, Spawned};

/// How many containers are made while the attacker is at work.
const ROUNDS: usize = 60;

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("a_mount_target_that_turns_into_a_link", a_mount_target_that_turns_into_a_link),
    ("a_proc_that_turns_into_a_link", a_proc_that_turns_into_a_link),
    ("a_dev_that_turns_into_a_link", a_dev_that_turns_into_a_link),
    ("a_working_directory_behind_a_descriptor", a_working_directory_behind_a_descriptor),
    ("an_endless_passwd", an_endless_passwd),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    if has("--list") {
        let ignored = has("--ignored");
        TESTS.iter().filter(|_| !ignored).for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let mut code = ExitCode::SUCCESS;
    for (name, test) in TESTS {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        let passed = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        if !passed {
            code = ExitCode::FAILURE;
        }
    }
    fixture::clean_up();
    code
}

/// A process that exchanges two names for ever; ended with the value.
struct Attacker(Spawned);

impl Attacker {
    fn exchange(one: &str, other: &str) -> Self {
        let exchange = || loop {
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            let _ = rustix::fs::renameat_with(rustix::fs::CWD, one, rustix::fs::CWD, other, flags);
        };
        Self(process::clone_child(&Clone::default(), exchange).unwrap())
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = process::pidfd_send_signal(self.0.pidfd.as_fd(), 9);
        let _ = process::reap(self.0.pidfd.as_fd());
    }
}

/// A directory of the host's that the attacker points at, and how it must stay.
struct Outside(tempfile::TempDir);

impl Outside {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("inner")).unwrap();
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    #[track_caller]
    fn is_untouched(&self) {
        let names = |path: &Path| -> Vec<String> {
            let entries = fs::read_dir(path).unwrap();
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names(self.path()), ["inner"]);
        assert_eq!(names(&self.path().join("inner")), Vec::<String>::new());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&self.path().display().to_string()), "something is mounted there");
    }
}

/// Makes containers of `spec` while the attacker exchanges `name` and a link to `outside` in the tree; how many came
/// to run, and what they said.
fn under_attack(rootfs: &Rootfs, spec: &Spec, name: &str, outside: &Outside) -> Vec<String> {
    fs::create_dir_all(rootfs.path(name).as_str()).unwrap();
    let link = rootfs.path("attack");
    symlink(outside.path(), &link).unwrap();
    let attacker = Attacker::exchange(&rootfs.path(name), &link);
    let texts = (0..ROUNDS).filter_map(|_| run(spec).ok()).map(|outcome| outcome.text).collect();
    drop(attacker);
    outside.is_untouched();
    texts
}

/// CVE-2021-30465, CVE-2024-45310, CVE-2025-52881.
fn a_mount_target_that_turns_into_a_link() {
    let rootfs = Rootfs::new();
    let outside = Outside::new();
    rootfs.write("secret", "inside");
    let mut spec = rootfs.shell("true");
    for destination in ["/target/inner", "/target/made/below", "/target/file"] {
        spec.mounts.push(Mount {
            destination: destination.into(),
            r#type: "bind".into(),
            source: if destination.ends_with("file") { rootfs.path("secret") } else { rootfs.path("tmp") },
            options: strings(&["rbind"]),
            ..Mount::default()
        });
    }
    spec.linux.masked_paths.push("/target/inner".into());
    spec.linux.readonly_paths.push("/target".into());
    spec.process.as_mut().unwrap().cwd = "/target/cwd/made".into();
    under_attack(&rootfs, &spec, "target", &outside);
}

/// CVE-2019-16884, CVE-2019-19921, CVE-2023-27561: what is written or masked under /proc.
fn a_proc_that_turns_into_a_link() {
    let rootfs = Rootfs::new();
    let outside = Outside::new();
    let mut spec = rootfs.shell("cat /proc/sys/kernel/shmmni; cat /proc/timer_list 2>/dev/null | wc -c");
    spec.linux.sysctl.insert("kernel.shmmni".into(), "77".into());
    let texts = under_attack(&rootfs, &spec, "proc", &outside);
    // Whoever ran with a /proc has the parameter and not what is masked; the others have no /proc at all.
    let allowed = ["77\n0\n", "cat: can't open '/proc/sys/kernel/shmmni': No such file or directory\n0\n"];
    assert!(texts.iter().all(|text| allowed.contains(&text.as_str())), "{texts:?}");
}

/// CVE-2026-41579, CVE-2025-31133, CVE-2025-52565: nodes, links and the console under /dev.
fn a_dev_that_turns_into_a_link() {
    let rootfs = Rootfs::new();
    let outside = Outside::new();
    let mut spec = rootfs.shell("true");
    // Without the tmpfs: the tree's own /dev is where nodes are made.
    spec.mounts.retain(|mount| !mount.destination.starts_with("/dev"));
    under_attack(&rootfs, &spec, "dev", &outside);
    let rootfs = Rootfs::new();
    let spec = rootfs.shell("true");
    fs::create_dir_all(rootfs.path("dev")).unwrap();
    symlink(outside.path(), rootfs.path("attack")).unwrap();
    let attacker = Attacker::exchange(&rootfs.path("dev"), &rootfs.path("attack"));
    for _ in 0..ROUNDS {
        if let Ok((mut container, child)) = runtime::create(&spec, Io::Terminal) {
            let _ = container.start();
            process::reap(child.pidfd.as_fd()).unwrap();
            container.delete().unwrap();
        }
    }
    drop(attacker);
    outside.is_untouched();
}

/// CVE-2024-21626: the host's tree through a descriptor that the runtime has open.
fn a_working_directory_behind_a_descriptor() {
    let rootfs = Rootfs::new();
    let _open = fs::File::open("/").unwrap();
    for number in 0..40 {
        let mut spec = rootfs.shell("pwd; ls /proc/self/cwd/");
        spec.process.as_mut().unwrap().cwd = format!("/proc/self/fd/{number}");
        if let Ok(outcome) = run(&spec) {
            assert!(!outcome.text.contains("boot"), "{number}: {outcome:?}");
        }
    }
}

/// CVE-2026-47262, CVE-2024-40635: files that take all memory, and ids that wrap around.
fn an_endless_passwd() {
    let rootfs = Rootfs::new();
    let large = fs::File::options().write(true).open(rootfs.path("etc/passwd")).unwrap();
    large.set_len(1 << 40).unwrap();
    assert_eq!(run(&rootfs.shell("true")).unwrap_err().step, "user");
    fs::remove_file(rootfs.path("etc/passwd")).unwrap();
    symlink("/dev/zero", rootfs.path("etc/passwd")).unwrap();
    assert_eq!(run(&rootfs.shell("true")).unwrap_err().step, "user");
    fs::remove_file(rootfs.path("etc/passwd")).unwrap();
    let mut spec = rootfs.shell("id -u");
    spec.process.as_mut().unwrap().user.username = "4294967296".into();
    assert_eq!(run(&spec).unwrap_err().step, "user");
}
