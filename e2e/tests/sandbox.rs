//! What confines a container and what it is given: security options, capabilities, devices, limits, user namespaces,
//! other runtimes. Both clients, since the original one is what must keep working.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Command, Host, write};

/// `corten run --rm … busybox sh -c script`, with the original client too: both must see the same.
#[track_caller]
fn run(host: &Host, flags: &[&str], script: &str) -> String {
    let words = [&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat();
    let (ours, theirs) = (host.corten(&words).ok(), host.docker(&words).ok());
    assert_eq!(ours, theirs, "{flags:?}");
    ours
}

/// The text with which `create` is refused.
#[track_caller]
fn refused(host: &Host, flags: &[&str]) -> String {
    host.docker(&[&["create"], flags, &["busybox"]].concat()).fails(1)
}

fn status(field: &str) -> String {
    format!("grep {field}: /proc/self/status | cut -f2")
}

#[test]
fn security_options() {
    let host = Host::new();
    assert_eq!(run(&host, &[], &status("Seccomp")), "2");
    assert_eq!(run(&host, &["--security-opt", "seccomp=unconfined"], &status("Seccomp")), "0");
    assert_eq!(run(&host, &["--security-opt", "seccomp=builtin"], &status("Seccomp")), "2");
    assert_eq!(run(&host, &["--security-opt", "no-new-privileges"], &status("NoNewPrivs")), "1");
    assert_eq!(run(&host, &["--security-opt", "no-new-privileges=false"], &status("NoNewPrivs")), "0");
    assert_eq!(run(&host, &["--privileged"], &status("Seccomp")), "0");

    // A profile of the user's: everything but mkdir, and chmod only for those who may chown.
    let profile = host.path("profile.json");
    write(
        &profile,
        br#"{"defaultAction": "SCMP_ACT_ALLOW",
             "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
             "syscalls": [
               {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": null},
               {"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_CHOWN"]}},
               {"names": ["umask"], "action": "SCMP_ACT_ERRNO", "includes": {"minKernel": "99.0"}}]}"#,
    );
    let own = format!("seccomp={}", profile.display());
    let script = "mkdir /x 2>&1; chmod 0 /tmp && echo mode; umask 0 && echo mask";
    let wanted = "mkdir: can't create directory '/x': Operation not supported\nmode\nmask";
    assert_eq!(run(&host, &["--security-opt", &own], script), wanted);
    assert_eq!(run(&host, &["--security-opt", &own, "--privileged"], script), wanted);
    let dropped = run(&host, &["--security-opt", &own, "--cap-drop", "chown"], "chmod 0 /tmp 2>&1; true");
    assert!(dropped.contains("Operation not permitted"), "{dropped}");

    // An exec is confined as its container.
    host.docker(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--security-opt",
        &own,
        "--security-opt",
        "no-new-privileges",
        "busybox",
        "sleep",
        "100",
    ])
    .ok();
    assert_eq!(
        host.docker(&["exec", "c1", "sh", "-c", "mkdir /x 2>&1; grep NoNewPrivs /proc/self/status"]).ok(),
        "mkdir: can't create directory '/x': Operation not supported\nNoNewPrivs:\t1"
    );

    assert_eq!(
        run(&host, &["--security-opt", "systempaths=unconfined"], "touch /proc/sys/kernel/panic && echo ok"),
        "ok"
    );
    assert_eq!(
        run(
            &host,
            &["--security-opt", "label=type:spc_t", "--security-opt", "apparmor=unconfined"],
            "echo ok"
        ),
        "ok"
    );
    assert_eq!(
        run(
            &host,
            &["--security-opt", "writable-cgroups=true"],
            "awk '$5 ~ /^.sys.fs.cgroup/ && $6 ~ /^ro/' /proc/self/mountinfo | wc -l"
        ),
        "0"
    );

    // In its own cgroup, too, a container makes others only when that was asked for.
    let is_v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let below = if is_v2 { "/sys/fs/cgroup/foo" } else { "/sys/fs/cgroup/pids/foo" };
    for (options, made) in [
        (&[][..], false),
        (&["--security-opt", "writable-cgroups=true"], true),
        (&["--security-opt", "writable-cgroups=false"], false),
        (&["--privileged"], true),
        (&["--privileged", "--security-opt", "writable-cgroups=false"], false),
    ] {
        let script = format!("mkdir {below} 2>&1 && echo made; true");
        let words = [&["run", "--rm"], options, &["busybox", "sh", "-c", &script]].concat();
        let said = host.corten(&words).ok();
        let wanted = if made {
            "made".into()
        } else {
            format!("mkdir: can't create directory '{below}': Read-only file system")
        };
        assert_eq!(said, wanted, "{options:?}");
    }

    for (option, text) in [
        ("writeable-cgroups=true", "invalid --security-opt 2: \"writeable-cgroups=true\""),
        ("writable-cgroups=potato", "invalid --security-opt 2: \"writable-cgroups=potato\""),
        ("foo=bar", "invalid --security-opt 2: \"foo=bar\""),
        ("no-new-privileges=x", "invalid --security-opt 2: \"no-new-privileges=x\""),
    ] {
        let error = refused(&host, &["--security-opt", option]);
        assert!(error.contains(text), "{error}");
    }
    if !std::path::Path::new("/sys/module/apparmor").exists() {
        let error = refused(&host, &["--security-opt", "apparmor=x"]);
        assert!(error.contains("AppArmor is not available on this host"), "{error}");
    }
    write(&profile, br#"{"defaultAction": "ALLOW"}"#);
    let error = refused(&host, &["--security-opt", &own]);
    assert!(error.contains("Decoding seccomp profile failed: unknown action \"ALLOW\""), "{error}");
    host.finish();
}

#[test]
fn capabilities() {
    let host = Host::new();
    let effective = |flags: &[&str]| u64::from_str_radix(&run(&host, flags, &status("CapEff")), 16).unwrap();
    let (standard, admin, chown) = (0xa804_25fb, 1 << 12, 1);
    assert_eq!(effective(&[]), standard);
    assert_eq!(effective(&["--cap-add", "net_admin"]), standard | admin);
    assert_eq!(
        effective(&["--cap-add", "CAP_NET_ADMIN", "--cap-drop", "chown"]),
        (standard | admin) & !chown
    );
    assert_eq!(effective(&["--cap-drop", "all", "--cap-add", "NET_ADMIN"]), admin);
    let all = effective(&["--cap-add", "ALL"]);
    assert_eq!(all, effective(&["--privileged"]));
    assert_eq!(effective(&["--cap-add", "ALL", "--cap-drop", "CHOWN"]), all & !chown);
    let error = refused(&host, &["--cap-add", "SYS_FOO"]);
    assert!(error.contains("invalid CapAdd: unknown capability: \"CAP_SYS_FOO\""), "{error}");
    let error = refused(&host, &["--cap-drop", "x"]);
    assert!(error.contains("invalid CapDrop: unknown capability: \"CAP_X\""), "{error}");

    // Privileged: nothing is masked or read-only, the devices of the host are there and may be used.
    let script = "awk '$5 ~ /^.(sys|proc)/ && $6 ~ /^ro/' /proc/self/mountinfo | wc -l; ls /dev | wc -l";
    let privileged = run(&host, &["--privileged"], script);
    let (masks, devices) = privileged.split_once('\n').unwrap();
    assert_eq!(masks, "0");
    assert!(devices.parse::<usize>().unwrap() >= 15, "{devices}");
    assert_eq!(
        run(&host, &["--privileged"], "mknod /tmp/kmsg c 1 11 && head -c 0 /tmp/kmsg && echo ok"),
        "ok"
    );
    host.finish();
}

#[test]
fn devices() {
    let host = Host::new();
    // One, under another name, with less than all rights; a directory of them; a rule for what is not there yet.
    let directory = host.path("nodes");
    std::fs::create_dir_all(directory.join("sub")).unwrap();
    for (name, minor) in [("one", "3"), ("sub/two", "5")] {
        Command::new(&["mknod", &directory.join(name).display().to_string(), "c", "1", minor]).ok();
    }
    let nodes = directory.display().to_string();
    let kmsg = directory.join("kmsg").display().to_string();
    Command::new(&["mknod", &kmsg, "c", "1", "11"]).ok();
    let script = "ls -l /dev/x | awk '{print $5 $6}'; (: > /dev/x) 2>&1; true";
    assert_eq!(
        run(&host, &["--device", &format!("{kmsg}:/dev/x:r")], script),
        "1,11\nsh: can't create /dev/x: Operation not permitted"
    );
    let all = format!("{nodes}:/dev/nodes");
    assert_eq!(
        run(&host, &["--device", &all], "head -c 3 /dev/nodes/sub/two | wc -c; cat /dev/nodes/one"),
        "3"
    );
    let kmsg = "mknod /tmp/kmsg c 1 11 && (: > /tmp/kmsg) && echo ok || echo refused";
    assert!(run(&host, &[], &format!("{kmsg} 2>&1")).ends_with("refused"));
    assert_eq!(run(&host, &["--device-cgroup-rule", "c 1:11 rwm"], kmsg), "ok");
    assert_eq!(run(&host, &["--device-cgroup-rule", "c *:* rwm"], kmsg), "ok");

    // 127 is what the original client makes of the words "no such file or directory".
    for (flags, code, text) in [
        (
            ["--device", "/dev/nosuch"],
            127,
            "error gathering device information while adding custom device \"/dev/nosuch\": no such file or directory",
        ),
        (
            ["--device", "/etc/passwd"],
            125,
            "error gathering device information while adding custom device \"/etc/passwd\": not a device node",
        ),
    ] {
        let error = host.docker(&[&["run", "--rm"], &flags[..], &["busybox"]].concat()).fails(code);
        assert!(error.contains(text), "{error}");
    }
    host.finish();
}

/// Files of the machine's own directory for CDI, gone at the end of the test.
struct CdiFiles(Vec<std::path::PathBuf>);

impl CdiFiles {
    fn write(&mut self, name: &str, text: &str) {
        let path = std::path::Path::new("/var/run/cdi").join(name);
        std::fs::create_dir_all("/var/run/cdi").unwrap();
        write(&path, text.as_bytes());
        self.0.push(path);
    }
}

impl Drop for CdiFiles {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path);
        }
        let _ = std::fs::remove_dir("/var/run/cdi");
    }
}

#[test]
fn cdi_devices() {
    let host = Host::new();
    let mut files = CdiFiles(Vec::new());
    let (name, directory) = (&host.name, host.path("cdi"));
    std::fs::create_dir_all(&directory).unwrap();
    write(&directory.join("library"), b"of the vendor\n");
    let source = directory.display();
    Command::new(&["mknod", &format!("{source}/kmsg"), "c", "1", "11"]).ok();
    files.write(
        &format!("{name}.json"),
        &format!(
            r#"{{"cdiVersion": "0.7.0", "kind": "{name}.com/thing", "containerEdits": {{"env": ["VENDOR=yes"]}},
                "devices": [{{"name": "zero", "containerEdits": {{
                    "env": ["THING=0"], "additionalGids": [4711],
                    "deviceNodes": [{{"path": "/dev/thing0", "hostPath": "{source}/kmsg", "permissions": "r"}}],
                    "mounts": [{{"hostPath": "{source}", "containerPath": "/opt/vendor", "options": ["ro", "nosuid"]}}]}}}}]}}"#
        ),
    );
    files.write(
        &format!("{name}-gpu.yaml"),
        "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: all\n  containerEdits:\n    env: [GPU=all]\n- name: '0'\n  containerEdits:\n    env: [GPU=first]\n",
    );
    let device = format!("{name}.com/thing=zero");
    let script = "echo $VENDOR $THING; id -G; head -c 0 /dev/thing0 | wc -c; (: > /dev/thing0) 2>&1; cat /opt/vendor/library; touch /opt/vendor/x 2>&1";
    let out = host.corten(&["run", "--rm", "--device", &device, "busybox", "sh", "-c", script]).output();
    assert_eq!(
        out.stdout.trim(),
        "yes 0\n0 4711\n0\nsh: can't create /dev/thing0: Operation not permitted\nof the vendor\ntouch: /opt/vendor/x: Read-only file system"
    );
    assert_eq!(run(&host, &["--device", &device, "--gpus", "all"], "echo $THING $GPU"), "0 all");
    assert_eq!(run(&host, &["--gpus", "1"], "echo $GPU"), "first");
    assert_eq!(run(&host, &["--gpus", "device=0"], "echo $GPU"), "first");
    for (flags, text) in [
        (
            ["--device", "vendor.com/class=name"],
            "CDI device injection failed: unresolvable CDI devices vendor.com/class=name",
        ),
        (["--gpus", "7"], "unresolvable CDI devices nvidia.com/gpu=1"),
        (["--gpus", "driver=amd"], "could not select device driver \"amd\" with capabilities: [[gpu]]"),
    ] {
        let error = refused(&host, &flags);
        assert!(error.contains(text), "{error}");
    }
    host.finish();
}

#[test]
fn limits() {
    let host = Host::new();
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    // What the cgroup says, under its v2 or its v1 name.
    let cgroup = |v2: &str, v1: &str| format!("cat /sys/fs/cgroup/{}", if unified { v2 } else { v1 });
    assert_eq!(run(&host, &["-m", "6m"], &cgroup("memory.max", "memory/memory.limit_in_bytes")), "6291456");
    assert_eq!(
        run(
            &host,
            &["-m", "64m", "--memory-reservation", "32m"],
            &cgroup("memory.low", "memory/memory.soft_limit_in_bytes")
        ),
        "33554432"
    );
    assert_eq!(
        run(&host, &["--cpu-shares", "1024"], &cgroup("cpu.weight", "cpu/cpu.shares")),
        if unified { "100" } else { "1024" }
    );
    let quota = &["--cpu-quota", "20000", "--cpu-period", "50000"];
    assert_eq!(run(&host, quota, &cgroup("cpu.max | cut -d' ' -f1", "cpu/cpu.cfs_quota_us")), "20000");
    assert_eq!(
        run(&host, &["--cpuset-cpus", "0"], "grep Cpus_allowed_list /proc/self/status | cut -f2"),
        "0"
    );
    assert_eq!(run(&host, &["--pids-limit", "33"], &cgroup("pids.max", "pids/pids.max")), "33");
    assert_eq!(run(&host, &["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj"), "500");
    assert_eq!(run(&host, &["--ulimit", "nofile=100:200"], "ulimit -n; ulimit -Hn"), "100\n200");
    assert_eq!(run(&host, &["--shm-size", "1m"], "df -k /dev/shm | tail -1 | awk '{print $2}'"), "1024");
    assert_eq!(
        run(
            &host,
            &["--sysctl", "kernel.msgmax=4096", "--sysctl", "net.ipv4.ip_forward=0"],
            "cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward"
        ),
        "4096\n0"
    );
    assert_eq!(
        run(
            &host,
            &["--ipc", "none"],
            "ls /dev/shm 2>/dev/null | wc -l; grep -c /dev/shm /proc/mounts || true"
        ),
        "0\n0"
    );
    let own = run(&host, &["--cgroupns", "host"], "cut -d: -f3 /proc/self/cgroup | grep -c /ct-");
    assert_ne!(own, "0");
    assert_eq!(
        run(&host, &["--cgroupns", "private"], "cut -d: -f3 /proc/self/cgroup | grep -c /ct- || true"),
        "0"
    );
    let parent = format!("/{}/inner", host.name);
    for form in [parent.as_str(), &parent[1..], &format!("{}/a.slice", host.name)] {
        let script = "cut -d: -f3 /proc/self/cgroup | sed 's/[0-9a-f]\\{64\\}/ID/'";
        let seen = run(&host, &["--cgroupns", "host", "--cgroup-parent", form], script);
        assert!(seen.contains(&format!("{}/", form.trim_start_matches('/'))), "{form}: {seen}");
    }

    for (flags, text) in [
        (&["-m", "5m"][..], "Minimum memory limit allowed is 6MB"),
        (&["--cpuset-cpus", "4000"], "Requested CPUs are not available - requested 4000, available: 0-"),
        (&["--cpuset-cpus", "x"], "Invalid value x for cpuset cpus"),
        (&["--cpuset-mems", "77"], "Requested memory nodes are not available - requested 77, available: 0"),
        (&["--cpus", "9999"], "range of CPUs is from 0.01 to "),
        (
            &["--network", "host", "--sysctl", "net.ipv4.ip_forward=0"],
            "not allowed in host network namespace",
        ),
        (&["--ipc", "nonsense"], "invalid IPC mode: nonsense"),
        (&["--oom-score-adj", "2000"], "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
    ] {
        let error = refused(&host, flags);
        assert!(error.contains(text), "{error}");
    }
    // Both clients refuse these themselves; the engine does for any other (`engine` check).
    for (flag, value, text) in [
        ("--sysctl", "kernel.hostname=x", "sysctl 'kernel.hostname=x' is not allowed"),
        ("--ulimit", "nofile=9:8", "ulimit soft limit must be less than or equal to hard limit: 9 > 8"),
    ] {
        for client in [Host::docker, Host::corten] {
            let error = client(&host, &["create", flag, value, "busybox"]).fails(125);
            assert!(error.contains(text), "{error}");
        }
    }
    // What this host cannot give is said at the create, and left out.
    let warned = host.docker(&["create", "--ulimit", "nofile=1:999999999", "busybox"]).output();
    let may =
        run(&host, &["--privileged"], "echo $((0x$(grep CapEff /proc/self/status | cut -f2) >> 24 & 1))");
    assert_eq!(warned.stderr.contains("CAP_SYS_RESOURCE"), may == "0", "{}", warned.stderr);

    // Each can be changed while it runs.
    host.docker(&["run", "-d", "--name", "c1", "-m", "64m", "busybox", "sleep", "100"]).ok();
    host.docker(&[
        "update",
        "-m",
        "32m",
        "--memory-swap",
        "-1",
        "--pids-limit",
        "44",
        "--cpu-shares",
        "512",
        "--cpus",
        "0.5",
        "c1",
    ])
    .ok();
    let inside = |script: &str| host.docker(&["exec", "c1", "sh", "-c", script]).ok();
    assert_eq!(inside(&cgroup("memory.max", "memory/memory.limit_in_bytes")), "33554432");
    assert_eq!(inside(&cgroup("pids.max", "pids/pids.max")), "44");
    assert_eq!(inside(&cgroup("cpu.weight", "cpu/cpu.shares")), if unified { "59" } else { "512" });
    assert!(
        host.docker(&["update", "--cpuset-cpus", "4000", "c1"])
            .fails(1)
            .contains("Requested CPUs are not available")
    );
    host.finish();
}

#[test]
fn files_on_a_mount_belong_to_its_owner() {
    let host = Host::new();
    let source = host.path("mine");
    std::fs::create_dir(&source).unwrap();
    std::os::unix::fs::chown(&source, Some(4242), Some(4343)).unwrap();
    let path = source.display().to_string();
    let owner = |file: &str| Command::new(&["stat", "-c", "%u:%g", &format!("{path}/{file}")]).ok();
    let script = |name: &str| format!("touch /m/{name} && stat -c %u:%g /m /m/{name}");
    // The original client passes the option on.
    let bind = format!("{path}:/m:idmap");
    assert_eq!(
        host.docker(&["run", "--rm", "-v", &bind, "busybox", "sh", "-c", &script("a")]).ok(),
        "0:0\n0:0"
    );
    assert_eq!(owner("a"), "4242:4343");
    let mount = format!("type=bind,src={path},dst=/m,idmap");
    let run = ["run", "--rm", "--user", "33:33", "--mount", &mount, "busybox", "sh", "-c"];
    assert_eq!(host.corten(&[&run[..], &[&script("b")]].concat()).ok(), "33:33\n33:33");
    assert_eq!(owner("b"), "4242:4343");
    // Without it, as ever.
    let plain = format!("{path}:/m");
    host.docker(&["run", "--rm", "-v", &plain, "busybox", "touch", "/m/c"]).ok();
    assert_eq!(owner("c"), "0:0");
    host.finish();
}
