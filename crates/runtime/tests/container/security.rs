//! What a container must not be able to do.

use std::fs;
use std::os::unix::fs::symlink;

use spec::defaults;
use spec::oci::runtime::{Device, DeviceRule, Mount, Resources, Seccomp, SeccompRule};

use crate::Test;
use crate::fixture::{Rootfs, Running, process, run, strings};

pub(crate) const TESTS: &[Test] = &[
    ("capabilities_are_exactly_the_configurations", capabilities_are_exactly_the_configurations),
    ("another_user_has_no_capabilities", another_user_has_no_capabilities),
    ("no_new_privileges_is_set", no_new_privileges_is_set),
    ("seccomp_refuses_what_the_profile_refuses", seccomp_refuses_what_the_profile_refuses),
    ("a_profile_has_to_allow_nothing_of_ours", a_profile_has_to_allow_nothing_of_ours),
    ("masked_paths_are_empty", masked_paths_are_empty),
    ("parameters_are_set_whatever_proc_there_is", parameters_are_set_whatever_proc_there_is),
    ("read_only_paths_cannot_be_written", read_only_paths_cannot_be_written),
    ("a_read_only_root_cannot_be_written", a_read_only_root_cannot_be_written),
    ("no_descriptor_is_inherited", no_descriptor_is_inherited),
    ("links_of_the_image_lead_nowhere_outside", links_of_the_image_lead_nowhere_outside),
    ("a_false_null_device_masks_nothing", a_false_null_device_masks_nothing),
    ("only_parameters_of_its_own_namespaces_can_be_set", only_parameters_of_its_own_namespaces_can_be_set),
    ("devices_are_made_and_allowed", devices_are_made_and_allowed),
    ("the_host_sees_no_mount", the_host_sees_no_mount),
];

/// The numbers of the default capabilities, as /proc shows them.
const DEFAULT: &str = "00000000a80425fb";
const NONE: &str = "0000000000000000";

const SHOW: &str = "grep ^Cap /proc/self/status | cut -f2";

fn capabilities_are_exactly_the_configurations() {
    let rootfs = Rootfs::new();
    symlink("busybox", rootfs.path("bin/cut")).unwrap();
    let out = run(&rootfs.shell(SHOW)).unwrap();
    assert_eq!(out.lines(), [NONE, DEFAULT, DEFAULT, DEFAULT, NONE]);
    let mut spec = rootfs.shell(SHOW);
    let capabilities = spec.process.as_mut().unwrap().capabilities.as_mut().unwrap();
    for set in [&mut capabilities.bounding, &mut capabilities.effective, &mut capabilities.permitted] {
        *set = strings(&["CAP_CHOWN", "CAP_NO_SUCH"]);
    }
    let only = "0000000000000001";
    assert_eq!(run(&spec).unwrap().lines(), [NONE, only, only, only, NONE]);
}

fn another_user_has_no_capabilities() {
    let rootfs = Rootfs::new();
    symlink("busybox", rootfs.path("bin/cut")).unwrap();
    let mut spec = rootfs.shell(SHOW);
    spec.process.as_mut().unwrap().user.username = "bob".into();
    assert_eq!(run(&spec).unwrap().lines(), [NONE, NONE, NONE, DEFAULT, NONE]);
    let capabilities = spec.process.as_mut().unwrap().capabilities.as_mut().unwrap();
    capabilities.inheritable = strings(&["CAP_NET_BIND_SERVICE"]);
    capabilities.ambient = strings(&["CAP_NET_BIND_SERVICE"]);
    let bind = "0000000000000400";
    assert_eq!(run(&spec).unwrap().lines(), [bind, bind, bind, DEFAULT, bind]);
}

fn no_new_privileges_is_set() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.shell("grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status");
    assert_eq!(run(&spec).unwrap().text, "NoNewPrivs:\t0\nSeccomp:\t2\n");
    spec.process.as_mut().unwrap().no_new_privileges = true;
    assert_eq!(run(&spec).unwrap().text, "NoNewPrivs:\t1\nSeccomp:\t2\n");
}

fn seccomp_refuses_what_the_profile_refuses() {
    let rootfs = Rootfs::new();
    let script = "unshare -U true; mkdir /tmp/m; mount -t tmpfs x /tmp/m; true";
    let out = run(&rootfs.shell(script)).unwrap();
    assert!(out.text.contains("unshare(0x10000000): Operation not permitted"), "{out:?}");
    assert!(out.text.contains("permission denied (are you root?)"), "{out:?}");
    // In an exec as well: the filter is the container's.
    let mut running = Running::new(&rootfs.shell("echo up; exec sleep 1000"));
    assert_eq!(running.ear.line(), "up");
    let out =
        running.exec(&process(&["sh", "-c", "unshare -U true; grep ^Seccomp: /proc/self/status"])).unwrap();
    assert!(out.text.contains("Operation not permitted"), "{out:?}");
    assert!(out.text.ends_with("Seccomp:\t2\n"), "{out:?}");
}

fn a_profile_has_to_allow_nothing_of_ours() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.command(&["busybox", "echo", "through"]);
    // What a static program needs to print a word.
    let names = [
        "execve",
        "write",
        "exit_group",
        "brk",
        "arch_prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "readlinkat",
        "readlink",
        "getrandom",
        "mprotect",
        "getuid",
        "mmap",
        "munmap",
        "fstat",
        "newfstatat",
        "ioctl",
        "prctl",
    ];
    let rule =
        SeccompRule { names: strings(&names), action: "SCMP_ACT_ALLOW".into(), ..SeccompRule::default() };
    spec.linux.seccomp = Some(Seccomp {
        default_action: "SCMP_ACT_KILL_PROCESS".into(),
        syscalls: vec![rule],
        ..Seccomp::default()
    });
    let out = run(&spec).unwrap();
    assert_eq!(out.text, "through\n", "{out:?}");
}

fn masked_paths_are_empty() {
    let rootfs = Rootfs::new();
    fs::create_dir_all(rootfs.path("secret/more")).unwrap();
    rootfs.write("secret/file", "x");
    rootfs.write("key", "x");
    let mut spec = rootfs.shell(
        "ls /secret /secret2; cat /key; touch /secret/new 2>/dev/null || echo kept; \
         wc -c < /proc/interrupts; ls /sys/firmware; touch /sys/firmware/x 2>/dev/null || echo kept",
    );
    fs::create_dir_all(rootfs.path("secret2/more")).unwrap();
    spec.linux.masked_paths.extend(strings(&["/secret", "/secret2", "/key", "/absent", "/key/below"]));
    assert_eq!(run(&spec).unwrap().lines(), ["/secret:", "", "/secret2:", "kept", "0", "kept"]);
    // Nobody makes anything there, writable or not, and it takes no file system of its own.
    let script = "mount -o remount,rw,bind /sys/firmware; touch /sys/firmware/x 2>/dev/null || echo kept; \
                  grep -c ' /sys/firmware sysfs ' /proc/mounts";
    let mut spec = rootfs.shell(script);
    let capabilities = spec.process.as_mut().unwrap().capabilities.as_mut().unwrap();
    for set in [&mut capabilities.bounding, &mut capabilities.effective, &mut capabilities.permitted] {
        set.push("CAP_SYS_ADMIN".into());
    }
    spec.linux.seccomp = None;
    assert_eq!(run(&spec).unwrap().lines(), ["kept", "1"]);
    // A container without a sysfs has nothing empty.
    let mut spec = rootfs.shell(
        "ls /secret; touch /secret/new 2>/dev/null || echo kept; grep -c ' /secret tmpfs ro' /proc/mounts",
    );
    spec.mounts.retain(|mount| !mount.destination.starts_with("/sys"));
    spec.linux.masked_paths.push("/secret".into());
    assert_eq!(run(&spec).unwrap().lines(), ["kept", "1"]);
}

/// Through the container's own /proc, or one of the runtime's where that shows or takes less.
fn parameters_are_set_whatever_proc_there_is() {
    let rootfs = Rootfs::new();
    for options in [&["nosuid"][..], &["ro"], &["rro"], &["subset=pid"], &["hidepid=2"]] {
        let mut spec = rootfs.command(&["cat", "/proc/sys/kernel/shmmni"]);
        spec.linux.sysctl.insert("kernel.shmmni".into(), "77".into());
        let proc = spec.mounts.iter_mut().find(|mount| mount.destination == "/proc").unwrap();
        proc.options = strings(options);
        let out = run(&spec).unwrap();
        let shown = if options == ["subset=pid"] { "No such file" } else { "77\n" };
        assert!(out.text.contains(shown), "{options:?}: {out:?}");
    }
    // None at all.
    let mut spec = rootfs.shell("test -e /proc/self || echo none");
    spec.mounts.retain(|mount| mount.destination != "/proc");
    spec.linux.sysctl.insert("kernel.shmmni".into(), "77".into());
    assert_eq!(run(&spec).unwrap().text, "none\n");
}

fn read_only_paths_cannot_be_written() {
    let rootfs = Rootfs::new();
    let out = run(
        &rootfs.shell("echo x 2>&1 > /proc/sys/kernel/hostname; echo f > /proc/irq/default_smp_affinity")
    )
    .unwrap();
    assert_eq!(out.text.matches("Read-only file system").count(), 2, "{out:?}");
    let mounts = run(&rootfs.shell("grep -c ' /proc/sys proc ro,nosuid,nodev,noexec' /proc/mounts")).unwrap();
    assert_eq!(mounts.text, "1\n");
}

fn a_read_only_root_cannot_be_written() {
    let rootfs = Rootfs::new();
    for overlay in [false, true] {
        let mut spec = rootfs.shell("touch /x; touch /dev/shm/y && echo fine");
        if overlay {
            rootfs.overlay(&mut spec);
        }
        spec.root.as_mut().unwrap().readonly = true;
        assert_eq!(run(&spec).unwrap().lines(), ["touch: /x: Read-only file system", "fine"]);
    }
}

fn no_descriptor_is_inherited() {
    let rootfs = Rootfs::new();
    let leak = fs::File::open("/etc").unwrap();
    let _also = leak.try_clone().unwrap();
    // 3 is the directory that ls reads.
    let list = "ls /proc/self/fd";
    assert_eq!(run(&rootfs.command(&["sh", "-c", list])).unwrap().lines(), ["0", "1", "2", "3"]);
    let mut running = Running::new(&rootfs.shell("echo up; exec sleep 1000"));
    assert_eq!(running.ear.line(), "up");
    assert_eq!(running.exec(&process(&["sh", "-c", list])).unwrap().lines(), ["0", "1", "2", "3"]);
    assert_eq!(running.exec(&process(&["readlink", "/proc/1/cwd"])).unwrap().text, "/\n");
}

/// CVE-2024-45310, CVE-2025-52881 and their kin: targets of mounts and device nodes behind links.
fn links_of_the_image_lead_nowhere_outside() {
    let rootfs = Rootfs::new();
    let outside = tempfile::tempdir().unwrap();
    let outside_path = outside.path().to_str().unwrap();
    // Absolute links that mean something on the host: inside they are made good in the root.
    symlink(outside_path, rootfs.path("dev")).unwrap();
    symlink("/etc", rootfs.path("link")).unwrap();
    symlink("../../../../../../up", rootfs.path("climb")).unwrap();
    let mut spec =
        rootfs.shell("cat /link/mounted; cat /up/mounted; ls /climb; test -c /dev/null && echo null");
    for destination in ["/link/mounted", "/climb/mounted"] {
        spec.mounts.push(Mount {
            destination: destination.into(),
            r#type: "bind".into(),
            source: rootfs.path("etc/group"),
            options: strings(&["rbind", "ro"]),
            ..Mount::default()
        });
    }
    let group = fs::read_to_string(rootfs.path("etc/group")).unwrap();
    assert_eq!(run(&spec).unwrap().text, format!("{group}{group}mounted\nnull\n"));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "something was made on the host");
    assert!(!fs::exists("/etc/mounted").unwrap());
}

/// CVE-2025-31133: a /dev/null that is none would show through at the masked path.
fn a_false_null_device_masks_nothing() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.shell("");
    fs::create_dir(rootfs.path("dev")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", rootfs.path("dev/null")).unwrap();
    spec.mounts.retain(|mount| !mount.destination.starts_with("/dev"));
    let failure = run(&spec).unwrap_err();
    assert_eq!((failure.step.as_str(), failure.path.as_str()), ("device", "/dev/null"), "{failure}");
}

fn only_parameters_of_its_own_namespaces_can_be_set() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.shell("cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni");
    spec.linux.sysctl.insert("net.ipv4.ip_unprivileged_port_start".into(), "0".into());
    spec.linux.sysctl.insert("kernel.shmmni".into(), "77".into());
    assert_eq!(run(&spec).unwrap().text, "0\n77\n");
    for foreign in ["kernel.core_pattern", "vm.swappiness", "net/../kernel.core_pattern", "kernel/../vm/x"] {
        spec.linux.sysctl.clear();
        spec.linux.sysctl.insert(foreign.into(), "60".into());
        let failure = run(&spec).unwrap_err();
        assert_eq!(failure.step, "sysctl", "{failure}");
    }
}

fn devices_are_made_and_allowed() {
    let rootfs = Rootfs::new();
    let script = "stat -c '%F %t:%T %a' /dev/null /dev/full /dev/tty /dev/fuse; readlink /dev/fd; readlink /dev/ptmx; \
                  (: < /dev/fuse) && echo opened; mknod /tmp/mem c 1 1; (: < /tmp/mem) || echo refused";
    let mut spec = rootfs.shell(script);
    spec.linux.devices.push(Device {
        path: "/dev/fuse".into(),
        r#type: "c".into(),
        major: 10,
        minor: 229,
        file_mode: Some(0o640),
        ..Device::default()
    });
    let rule = |allow, r#type: &str, major, minor, access: &str| DeviceRule {
        allow,
        r#type: r#type.into(),
        major,
        minor,
        access: access.into(),
    };
    let devices = vec![rule(false, "a", None, None, "rwm"), rule(true, "c", Some(10), Some(229), "rwm")];
    spec.linux.resources = Some(Resources { devices, ..Resources::default() });
    let out = run(&spec).unwrap();
    let expected = [
        "character special file 1:3 666",
        "character special file 1:7 666",
        "character special file 5:0 666",
        "character special file a:e5 640",
        "/proc/self/fd",
        "pts/ptmx",
    ];
    assert_eq!(out.lines()[..6], expected, "{out:?}");
    assert!(out.text.ends_with("sh: can't open /tmp/mem: Operation not permitted\nrefused\n"), "{out:?}");
}

fn the_host_sees_no_mount() {
    let rootfs = Rootfs::new();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let mut spec = rootfs.shell("echo up; exec sleep 1000");
    rootfs.overlay(&mut spec);
    let mut running = Running::new(&spec);
    assert_eq!(running.ear.line(), "up");
    assert_eq!(mounts(), before);
    let inside = fs::read_to_string(format!("/proc/{}/mountinfo", running.child.pid)).unwrap();
    let top = inside.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap();
    assert!(top.contains(" - overlay overlay "), "{top}");
    assert!(!inside.contains("shared:") && !inside.contains("master:"), "{inside}");
    // Docker's list of what an unprivileged container sees, and nothing of the host's.
    assert_eq!(defaults::SHM_SIZE, 64 << 20);
    assert!(inside.lines().all(|line| !line.contains("/dev/vda") || line.contains(" /etc/")), "{inside}");
}
