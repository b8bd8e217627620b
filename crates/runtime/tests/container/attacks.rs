//! Known ways out of a container, each attempted for real. They are named by the vulnerabilities that they were.

use std::fmt::Write as _;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use runtime::Io;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use spec::oci::runtime::{Device, Mount, Process, Spec};
use sys::process::{Clone, Spawned, clone_child, pidfd_send_signal, reap};
use tempfile::TempDir;

use crate::Test;
use crate::fixture::{Outcome, Rootfs, Running, process, run, strings};

pub(crate) const TESTS: &[Test] = &[
    ("a_root_that_changes_leads_nowhere_outside", a_root_that_changes_leads_nowhere_outside),
    ("a_volume_that_changes_leads_nowhere_outside", a_volume_that_changes_leads_nowhere_outside),
    ("a_null_device_that_changes_shows_nothing", a_null_device_that_changes_shows_nothing),
    ("no_descriptor_is_a_working_directory_outside", no_descriptor_is_a_working_directory_outside),
    ("an_exec_cannot_be_looked_into", an_exec_cannot_be_looked_into),
    ("an_exec_inherits_no_capability", an_exec_inherits_no_capability),
    ("a_false_console_or_terminal_is_not_used", a_false_console_or_terminal_is_not_used),
    ("nothing_is_mounted_inside_proc", nothing_is_mounted_inside_proc),
    ("account_files_are_read_within_bounds", account_files_are_read_within_bounds),
    ("ids_do_not_overflow", ids_do_not_overflow),
];

/// How many containers are made under attack.
const CREATIONS: usize = 120;
const SECRET: &str = "the host's own";

/// Makes that many, and more until one has met the attack and run all the same: how many did.
fn create_under_attack(spec: &Spec, outside: &Outside) -> usize {
    let mut ran = 0;
    let mut made = 0;
    while made < CREATIONS || (ran == 0 && made < 50 * CREATIONS) {
        let outcome = run(spec).ok();
        ran += usize::from(outcome.as_ref().is_some_and(|o| o.text.contains("ran")));
        outside.is_unharmed(&format!("creation {made}"), outcome.as_ref());
        made += 1;
    }
    ran
}

/// A directory of the host that no container may read or change.
struct Outside {
    directory: TempDir,
    before: String,
}

impl Outside {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("ct-outside-").tempdir().unwrap();
        for name in ["victim", "null", "passwd"] {
            sys::file::write_atomic(
                &directory.path().join(name),
                SECRET.as_bytes(),
                0o600,
                sys::file::Durability::Process,
            )
            .unwrap();
        }
        fs::create_dir(directory.path().join("below")).unwrap();
        let before = describe(directory.path());
        Self { directory, before }
    }

    fn path(&self) -> &str {
        self.directory.path().to_str().unwrap()
    }

    /// Fails the test when anything was made, changed, removed or said to a container.
    fn is_unharmed(&self, attempt: &str, outcome: Option<&Outcome>) {
        assert_eq!(describe(self.directory.path()), self.before, "{attempt}");
        if let Some(outcome) = outcome {
            assert!(!outcome.text.contains(SECRET), "{attempt}: {outcome:?}");
        }
    }
}

/// Names, kinds, modes, owners, times and content of a tree.
fn describe(top: &Path) -> String {
    let mut text = String::new();
    let mut paths = vec![top.to_owned()];
    while let Some(path) = paths.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        let times = (found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
        writeln!(text, "{path:?} {:o} {} {} {times:?}", found.mode(), found.uid(), found.gid()).unwrap();
        if found.is_dir() {
            let mut names: Vec<_> = fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()).collect();
            names.sort();
            paths.extend(names);
        } else {
            writeln!(text, "  {:?}", fs::read_to_string(&path).unwrap()).unwrap();
        }
    }
    text
}

/// A process that exchanges each of some names for another, again and again, until the value is gone.
struct Attacker(Spawned);

impl Attacker {
    fn new(pairs: &[(String, String)]) -> Self {
        let forever = || loop {
            for (one, other) in pairs {
                // One of them may be away for a moment.
                let _ = rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
            }
        };
        Self(clone_child(&Clone::default(), forever).unwrap())
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        pidfd_send_signal(self.0.pidfd.as_fd(), 9).unwrap();
        reap(self.0.pidfd.as_fd()).unwrap();
    }
}

fn bind(source: &str, destination: &str) -> Mount {
    Mount {
        destination: destination.into(),
        r#type: "bind".into(),
        source: source.into(),
        options: strings(&["rbind"]),
        ..Mount::default()
    }
}

fn tmpfs(destination: &str) -> Mount {
    let kind = "tmpfs".to_owned();
    Mount { destination: destination.into(), r#type: kind.clone(), source: kind, ..Mount::default() }
}

/// CVE-2019-19921, CVE-2024-45310, CVE-2025-52881, CVE-2026-41579: everything in the image that a container is set up
/// on is a link to the host every other moment.
fn a_root_that_changes_leads_nowhere_outside() {
    let outside = Outside::new();
    let rootfs = Rootfs::new();
    let mut pairs = Vec::new();
    for (i, name) in ["proc", "dev", "sys", "etc", "w", "secret"].into_iter().enumerate() {
        fs::create_dir_all(rootfs.path(name)).unwrap();
        let link = rootfs.path(&format!("link-{name}"));
        let target = match i % 3 {
            0 => outside.path().to_owned(),
            1 => format!("../../../../../../../..{}", outside.path()),
            _ => format!("/proc/1/root{}", outside.path()),
        };
        symlink(target, &link).unwrap();
        pairs.push((rootfs.path(name), link));
    }
    let mut spec = rootfs.shell("cat /etc/passwd /secret/victim /w/victim /dev/victim 2>/dev/null; echo ran");
    let process = spec.process.as_mut().unwrap();
    (process.cwd, process.user.username) = ("/w/new".into(), "root".into());
    spec.linux.masked_paths.extend(strings(&["/secret/below", "/etc/victim"]));
    spec.linux.readonly_paths.extend(strings(&["/w/below", "/secret"]));
    spec.linux.sysctl.insert("kernel.shmmni".into(), "77".into());
    spec.mounts.extend([tmpfs("/secret/mounted"), bind(&rootfs.path("bin"), "/w/bin")]);
    spec.linux.devices.push(Device {
        path: "/dev/more/zero".into(),
        r#type: "c".into(),
        major: 1,
        minor: 5,
        ..Device::default()
    });
    let attacker = Attacker::new(&pairs);
    let ran = create_under_attack(&spec, &outside);
    drop(attacker);
    assert!(ran > 0, "none of the containers came to run: the attack was not met");
}

/// CVE-2021-30465 and its kin: targets of mounts, devices and the working directory on a volume that another container
/// changes meanwhile.
fn a_volume_that_changes_leads_nowhere_outside() {
    let outside = Outside::new();
    let rootfs = Rootfs::new();
    let volume = tempfile::Builder::new().prefix("ct-volume-").tempdir().unwrap();
    let at = |name: &str| volume.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir_all(at("a/b/below")).unwrap();
    fs::create_dir_all(at("c")).unwrap();
    symlink(outside.path(), at("absolute")).unwrap();
    symlink(format!("../../../../../../../../..{}", outside.path()), at("relative")).unwrap();
    symlink("/", at("top")).unwrap();
    let mut spec = rootfs.shell("cat /v/a/b/victim /v/c/victim /v/a/victim 2>/dev/null; echo ran");
    spec.process.as_mut().unwrap().cwd = "/v/a/b/new".into();
    spec.mounts.extend([
        bind(&at(""), "/v"),
        tmpfs("/v/a/b/one"),
        bind(&rootfs.path("bin"), "/v/a/b/below"),
        bind(&rootfs.path("etc/group"), "/v/a/b/victim"),
        tmpfs("/v/c/two"),
        Mount { r#type: "proc".into(), ..tmpfs("/v/c/proc") },
    ]);
    spec.linux.devices.push(Device {
        path: "/v/a/node".into(),
        r#type: "c".into(),
        major: 1,
        minor: 5,
        ..Device::default()
    });
    spec.linux.masked_paths.extend(strings(&["/v/a/b/null", "/v/c/proc/kcore"]));
    spec.linux.readonly_paths.extend(strings(&["/v/c/proc/sys", "/v/a/b"]));
    let attacker =
        Attacker::new(&[(at("a/b"), at("absolute")), (at("c"), at("relative")), (at("a"), at("top"))]);
    let ran = create_under_attack(&spec, &outside);
    drop(attacker);
    assert!(ran > 0, "none of the containers came to run: the attack was not met");
}

/// CVE-2025-31133: a volume is /dev, in which the null device is a link every other moment when masks are made of it.
fn a_null_device_that_changes_shows_nothing() {
    let rootfs = Rootfs::new();
    let volume = tempfile::Builder::new().prefix("ct-volume-").tempdir().unwrap();
    let at = |name: &str| volume.path().join(name).to_str().unwrap().to_owned();
    rootfs.write("key", "masked by what was no null device");
    symlink("/key", at("link")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", at("pattern")).unwrap();
    let mut spec = rootfs.shell("cat /key /proc/timer_list; echo ran");
    spec.mounts.retain(|mount| !mount.destination.starts_with("/dev"));
    spec.mounts.push(bind(&at(""), "/dev"));
    spec.linux.masked_paths.push("/key".into());
    // The first makes the nodes in it.
    assert_eq!(run(&spec).unwrap().text, "ran\n");
    let attacker = Attacker::new(&[(at("null"), at("link")), (at("null"), at("pattern"))]);
    let (mut ran, mut refused) = (0, 0);
    for _ in 0..CREATIONS {
        match run(&spec) {
            Ok(outcome) => {
                assert_eq!(outcome.text, "ran\n");
                ran += 1;
            }
            Err(failure) => {
                assert!(failure.to_string().contains("/dev"), "{failure}");
                refused += 1;
            }
        }
    }
    drop(attacker);
    assert!(ran > 0 && refused > 0, "{ran} ran, {refused} were refused: the attack was not met");
}

/// CVE-2024-21626: the working directory is one of the runtime's descriptors, through which the host is in reach.
fn no_descriptor_is_a_working_directory_outside() {
    let outside = Outside::new();
    let rootfs = Rootfs::new();
    // As a runtime has them that is careless: open on the host, and left open over execve.
    let careless = |path: &str| -> OwnedFd {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    };
    let leaked = [careless("/"), careless(outside.path()), careless("/sys/fs/cgroup")];
    let script =
        format!("cat victim ../../../../../../../../..{0}/victim /proc/self/fd/*/victim", outside.path());
    let script =
        format!("{script} /proc/self/cwd/victim /proc/self/fd/*{}/victim 2>/dev/null; pwd", outside.path());
    let running = Running::new(&rootfs.shell("exec sleep 1000"));
    let mut refused = 0;
    for number in 0..40 {
        for directory in [format!("/proc/self/fd/{number}"), format!("/proc/1/fd/{number}/below")] {
            let mut spec = rootfs.shell(&script);
            spec.process.as_mut().unwrap().cwd = directory.clone();
            let made = run(&spec);
            let executed =
                running.exec(&Process { cwd: directory.clone(), ..process(&["sh", "-c", &script]) });
            for outcome in [made, executed] {
                refused += usize::from(outcome.is_err());
                outside.is_unharmed(&directory, outcome.ok().as_ref());
            }
        }
    }
    assert!(refused >= 40, "{refused}");
    drop(leaked);
}

/// CVE-2016-9962, CVE-2019-5736: a container looks for the moment at which the runtime's own process is among its own.
fn an_exec_cannot_be_looked_into() {
    let rootfs = Rootfs::new();
    let program = std::env::current_exe().unwrap();
    let before = fs::metadata(&program).map(|m| (m.ino(), m.len(), m.mtime())).unwrap();
    let watch = "echo up; while :; do for p in /proc/[0-9]*; do \
                 exe=$(readlink $p/exe) && case $exe in /bin/busybox|'') ;; *) echo $exe >> /tmp/caught;; esac; \
                 (: >> $p/exe) 2>/dev/null && echo written $p >> /tmp/caught; \
                 for f in $p/fd/[3-9]; do to=$(readlink $f) && case $to in /proc*|pipe*) ;; *) echo $f $to >> /tmp/caught;; esac; done; \
                 done 2>/dev/null; done";
    let mut running = Running::new(&rootfs.shell(watch));
    assert_eq!(running.ear.line(), "up");
    for _ in 0..CREATIONS {
        assert_eq!(running.exec(&process(&["echo", "done"])).unwrap().text, "done\n");
    }
    drop(running);
    let caught = fs::read_to_string(rootfs.path("tmp/caught")).unwrap_or_default();
    assert_eq!(caught, "");
    assert_eq!(fs::metadata(&program).map(|m| (m.ino(), m.len(), m.mtime())).unwrap(), before);
}

/// CVE-2022-24769: capabilities that are inheritable by default.
fn an_exec_inherits_no_capability() {
    let rootfs = Rootfs::new();
    let running = Running::new(&rootfs.shell("exec sleep 1000"));
    for user in ["root", "bob"] {
        let mut process = process(&["grep", "-E", "^Cap(Inh|Amb)", "/proc/self/status"]);
        process.user.username = user.into();
        let none = "0000000000000000";
        assert_eq!(running.exec(&process).unwrap().text, format!("CapInh:\t{none}\nCapAmb:\t{none}\n"));
    }
}

/// CVE-2025-52565: the console, or the directory of terminals, is something else.
fn a_false_console_or_terminal_is_not_used() {
    let outside = Outside::new();
    let rootfs = Rootfs::new();
    fs::create_dir_all(rootfs.path("dev/pts")).unwrap();
    symlink(format!("../../../../../..{}/victim", outside.path()), rootfs.path("dev/console")).unwrap();
    let mut spec = rootfs.shell("test -c /dev/console && echo console; cat /dev/console");
    spec.mounts.retain(|mount| !mount.destination.starts_with("/dev"));
    // A ptmx of the image's: no terminal comes out of it.
    rootfs.write("dev/pts/ptmx", "");
    let failure = runtime::create(&spec, Io::Terminal).unwrap_err();
    assert_eq!(failure.step, "terminal", "{failure}");
    fs::remove_file(rootfs.path("dev/pts/ptmx")).unwrap();
    symlink("/dev/null", rootfs.path("dev/pts/ptmx")).unwrap();
    let failure = runtime::create(&spec, Io::Terminal).unwrap_err();
    assert_eq!(failure.step, "terminal", "{failure}");
    outside.is_unharmed("a console behind a link", None);
}

/// CVE-2019-19921: a volume in the place of the runtime's view of the kernel.
fn nothing_is_mounted_inside_proc() {
    let rootfs = Rootfs::new();
    let volume = tempfile::Builder::new().prefix("ct-volume-").tempdir().unwrap();
    for destination in ["/proc", "/proc/sys", "/proc/self/attr", "/bin/../proc/sys/kernel", "/link/self"] {
        let _ = symlink("/proc", rootfs.path("link"));
        let mut spec = rootfs.shell("true");
        spec.mounts.push(bind(volume.path().to_str().unwrap(), destination));
        let failure = run(&spec).unwrap_err();
        assert_eq!(failure.step, "mount", "{destination}: {failure}");
        assert!(failure.to_string().contains("/proc"), "{failure}");
    }
    // What lxcfs shows of its own, and the host's procfs as a whole, have always been allowed.
    rootfs.write("uptime", "7.00 7.00\n");
    let mut spec = rootfs.shell("cat /proc/uptime");
    spec.mounts.push(bind(&rootfs.path("uptime"), "/proc/uptime"));
    assert_eq!(run(&spec).unwrap().text, "7.00 7.00\n");
    let mut spec = rootfs.shell("test -d /proc/1 && echo fine");
    spec.mounts.push(bind("/proc", "/proc"));
    assert_eq!(run(&spec).unwrap().text, "fine\n");
}

/// CVE-2026-47262: an endless or enormous passwd or group.
fn account_files_are_read_within_bounds() {
    for name in ["etc/passwd", "etc/group"] {
        let rootfs = Rootfs::new();
        let file = fs::File::options().write(true).open(rootfs.path(name)).unwrap();
        file.set_len(64 << 30).unwrap();
        let mut spec = rootfs.shell("true");
        spec.process.as_mut().unwrap().user.username = "bob".into();
        let failure = run(&spec).unwrap_err();
        assert_eq!(
            (failure.step.as_str(), failure.path.as_str()),
            ("user", &*format!("/{name}")),
            "{failure}"
        );
        for target in ["/dev/zero", "/proc/kmsg", "/proc/self/fd/0"] {
            fs::remove_file(rootfs.path(name)).unwrap();
            symlink(target, rootfs.path(name)).unwrap();
            let failure = run(&spec).unwrap_err();
            assert_eq!(failure.step, "user", "{target}: {failure}");
        }
    }
}

/// CVE-2024-40635, CVE-2026-30892: an id that wraps around to root.
fn ids_do_not_overflow() {
    let rootfs = Rootfs::new();
    let running = Running::new(&rootfs.shell("exec sleep 1000"));
    for user in
        ["4294967296", "2147483648", "-1", "18446744073709551616", "1:4294967296", "1:-1", "+4294967296"]
    {
        let mut spec = rootfs.shell("id -u");
        spec.process.as_mut().unwrap().user.username = user.into();
        let mut process = process(&["id", "-u"]);
        process.user.username = user.into();
        for failure in [run(&spec).unwrap_err(), running.exec(&process).unwrap_err()] {
            assert_eq!(failure.step, "user", "{user}: {failure}");
        }
    }
    let mut process = process(&["id", "-u"]);
    process.user.username = "1".into();
    assert_eq!(running.exec(&process).unwrap().text, "1\n");
}
