//! What a container can see and do, from its inside.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::Host;

#[test]
fn its_own_world() {
    let host = Host::new();
    let sh = |script: &str| host.corten(&["run", "--rm", "busybox", "sh", "-c", script]).ok();
    assert_eq!(sh("echo $$"), "1");
    assert!(sh("ls /proc | grep -c '^[0-9]'").parse::<u32>().unwrap() < 6);
    let namespaces = "for n in mnt pid ipc uts net cgroup; do readlink /proc/self/ns/$n; done";
    let (inside, outside) = (sh(namespaces), host.command(&["sh", "-c", namespaces]).ok());
    for (a, b) in inside.lines().zip(outside.lines()) {
        let shared_by_default =
            a.starts_with("cgroup") && !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        assert!(a != b || shared_by_default, "{a} is the host's");
    }
    assert_eq!(sh("grep ' / ' /proc/mounts | cut -d' ' -f3"), "overlay");
    assert!(!sh("cat /proc/mounts").contains(&host.path("data").join("volumes").display().to_string()));
    assert_eq!(
        sh(
            "ls /dev | grep -c -E '^(null|zero|full|random|urandom|tty|ptmx|fd|stdin|stdout|stderr|shm|mqueue|pts)$'"
        ),
        "14"
    );
    assert_eq!(sh("df -k /dev/shm | tail -1 | awk '{print $2}'"), "65536");
    host.finish();
}

#[test]
fn what_it_may_not() {
    let host = Host::new();
    let sh = |script: &str| host.corten(&["run", "--rm", "busybox", "sh", "-c", script]).ok();
    // CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP
    assert_eq!(sh("grep CapEff /proc/self/status").split_whitespace().last().unwrap(), "00000000a80425fb");
    assert_eq!(sh("grep CapBnd /proc/self/status").split_whitespace().last().unwrap(), "00000000a80425fb");
    assert_eq!(sh("grep CapInh /proc/self/status").split_whitespace().last().unwrap(), "0000000000000000");
    assert_eq!(sh("grep Seccomp: /proc/self/status").split_whitespace().last().unwrap(), "2");
    for attempt in [
        "mount -t tmpfs x /mnt",
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "cat /proc/kcore | head -c 1 | grep -q .",
        "ls /sys/firmware | grep -q .",
        "unshare -m true",
        "hostname other",
        "mkdir /sys/fs/cgroup/x",
        "ip link add d0 type dummy",
    ] {
        assert_eq!(
            sh(&format!("({attempt}) 2>/dev/null && echo done || echo refused")),
            "refused",
            "{attempt}"
        );
    }
    assert_eq!(sh("grep -c . /proc/interrupts || true"), "0");
    host.finish();
}

#[test]
fn limits_hold() {
    let host = Host::new();
    let run = |flags: &[&str], script: &str| {
        host.corten(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat()).output()
    };
    let memory =
        "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes";
    assert_eq!(run(&["-m", "32m"], memory).stdout.trim(), (32 << 20).to_string());
    let pids = "cat /sys/fs/cgroup/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids/pids.max";
    assert_eq!(run(&["--pids-limit", "25"], pids).stdout.trim(), "25");
    let cpu = "cat /sys/fs/cgroup/cpu.max 2>/dev/null || echo $(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us) $(cat /sys/fs/cgroup/cpu/cpu.cfs_period_us)";
    assert_eq!(run(&["--cpus", "0.5"], cpu).stdout.trim(), "50000 100000");

    // The kernel kills what takes more, and inspect says so.
    let greedy = "head -c 100000000 /dev/zero | tail | wc -c; exit 9";
    let out = host
        .corten(&["run", "--name", "o1", "-m", "16m", "--memory-swap", "16m", "busybox", "sh", "-c", greedy])
        .output();
    assert_ne!(out.stdout.trim(), "100000000", "{out:?}");
    assert_eq!(host.corten(&["inspect", "-f", "{{.State.OOMKilled}}", "o1"]).ok(), "true");
    host.finish();
}

/// Where the kernel enforces AppArmor, containers run under Docker's profile; elsewhere nobody is told that they do.
#[test]
fn apparmor_confines_where_it_is() {
    let host = Host::new();
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    let here = enabled.starts_with('Y') && std::path::Path::new("/sbin/apparmor_parser").exists();
    let options = host.corten(&["info", "-f", "{{.SecurityOptions}}"]).ok();
    assert_eq!(options.contains("name=apparmor"), here, "{options}");
    // All that stands before a mount, beside AppArmor.
    let lifted = ["run", "--rm", "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"];
    let mount = ["busybox", "sh", "-c", "cat /proc/self/attr/current; mount -t tmpfs x /mnt && echo mounted"];
    let run = |more: &[&str]| host.corten(&[&lifted[..], more, &mount].concat()).output();
    if here {
        let confined = run(&[]);
        assert!(confined.stdout.starts_with("docker-default (enforce)"), "{confined:?}");
        assert!(!confined.stdout.contains("mounted"), "{confined:?}");
        host.corten(&["run", "-d", "--name", "a1", "busybox", "sleep", "1000"]).ok();
        let exec = host.corten(&["exec", "a1", "cat", "/proc/self/attr/current"]).ok();
        assert_eq!(exec, "docker-default (enforce)");
        let child = host.corten(&["run", "--rm", "--init", "busybox", "cat", "/proc/self/attr/current"]).ok();
        assert_eq!(child, "docker-default (enforce)");
        assert!(run(&["--privileged"]).stdout.starts_with("unconfined"));
    } else {
        let refused = run(&["--security-opt", "apparmor=docker-default"]);
        assert!(refused.code == 125 && refused.stderr.contains("AppArmor is not available"), "{refused:?}");
    }
    let free = run(&["--security-opt", "apparmor=unconfined", "-v", "/mnt"]);
    assert!(free.stdout.ends_with("mounted\n"), "{free:?}");
    host.finish();
}

/// A program that asks for a socket of this family, and ends with the errno (253 when it got one, as descriptor 3).
fn asks_for(family: u8) -> Vec<u8> {
    let code = [
        &[0xbf, family, 0, 0, 0][..],                             // mov edi, family
        &[0xbe, 5, 0, 0, 0, 0x31, 0xd2],                          // mov esi, SOCK_SEQPACKET; xor edx, edx
        &[0xb8, 41, 0, 0, 0, 0x0f, 0x05],                         // mov eax, SYS_socket; syscall
        &[0x89, 0xc7, 0xf7, 0xdf, 0xb8, 60, 0, 0, 0, 0x0f, 0x05], // exit(-eax)
    ]
    .concat();
    // elf(5): a header and one segment, which is the whole file.
    let (base, head) = (0x40_0000_u64, 64 + 56_u64);
    let size = head + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    [base + head, 64, 0].iter().for_each(|word| elf.extend(word.to_le_bytes()));
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    [0, base, base, size, size, 0x1000].iter().for_each(|word| elf.extend(word.to_le_bytes()));
    [elf, code].concat()
}

/// The same of a 32-bit program, by socketcall(2).
fn asks_for_by_socketcall(family: u8) -> Vec<u8> {
    let code = [
        &[0x6a, 0, 0x6a, 5, 0x6a, family][..], // push protocol, SOCK_SEQPACKET, family
        &[0x89, 0xe1, 0xbb, 1, 0, 0, 0],       // mov ecx, esp; mov ebx, SYS_SOCKET
        &[0xb8, 102, 0, 0, 0, 0xcd, 0x80],     // mov eax, SYS_socketcall; int 0x80
        &[0x89, 0xc3, 0xf7, 0xdb, 0xb8, 1, 0, 0, 0, 0xcd, 0x80], // exit(-eax)
    ]
    .concat();
    let (base, head) = (0x0804_8000_u32, 52 + 32_u32);
    let size = head + u32::try_from(code.len()).unwrap();
    let mut elf = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0".to_vec();
    [base + head, 52, 0, 0].iter().for_each(|word| elf.extend(word.to_le_bytes()));
    elf.extend([52, 0, 32, 0, 1, 0, 40, 0, 0, 0, 0, 0]);
    [1, 0, base, base, size, size, 5, 0x1000].iter().for_each(|word| elf.extend(word.to_le_bytes()));
    [elf, code].concat()
}

/// CVE-2026-31431: families of sockets that no network namespace bounds (the kernel's ciphers, virtual machines' hosts).
#[test]
fn sockets_beyond_its_network_are_refused() {
    let [unix, alg, vsock] = [1, 38, 40];
    let [eperm, eacces, done] = [1, 13, 253];
    let host = Host::new();
    let directory = host.path("programs");
    std::fs::create_dir_all(&directory).unwrap();
    let program = |name: &str, bytes: Vec<u8>| {
        testkit::write(&directory.join(name), &bytes);
        testkit::Command::new(&["chmod", "755", &directory.join(name).display().to_string()]).ok();
    };
    program("alg", asks_for(alg));
    program("vsock", asks_for(vsock));
    program("unix", asks_for(unix));
    program("alg32", asks_for_by_socketcall(alg));
    program("unix32", asks_for_by_socketcall(unix));
    let mount = format!("{}:/p", directory.display());
    let run = |name: &str| {
        host.corten(&["run", "--rm", "-v", &mount, "busybox", &format!("/p/{name}")]).output().code
    };
    assert_eq!((run("alg"), run("vsock"), run("unix")), (eperm, eperm, done));
    // What is behind that call's pointer seccomp does not see: AppArmor refuses it, where it is (as in Docker).
    let confines = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if confines.is_ok_and(|enabled| enabled.starts_with('Y')) {
        assert_eq!((run("alg32"), run("unix32")), (eacces, done));
    }
    host.finish();
}
