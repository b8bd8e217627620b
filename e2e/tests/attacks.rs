//! Known attacks on an engine, each attempted for real on a daemon of the test's own. They are named by the
//! vulnerabilities that they were.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags};
use testkit::{Command, Host, Output, program};

const SECRET: &str = "the host's own";

/// A directory of the host's with a secret in it.
fn outside(host: &Host) -> PathBuf {
    let directory = host.path("outside");
    std::fs::create_dir_all(directory.join("below")).unwrap();
    std::fs::write(directory.join("victim"), SECRET).unwrap();
    directory
}

/// Names, modes, owners, times and content of all in it.
fn describe(directory: &Path) -> String {
    let script =
        format!("find {0} -exec stat -c '%n %f %u %g %Y %Z' {{}} + && cat {0}/victim", directory.display());
    Command::new(&["sh", "-c", &script]).ok()
}

/// Busybox's image with more in it.
fn image(host: &Host, name: &str, changes: &[&str], more: impl FnOnce(&Path)) {
    let tree = host.path(&format!("tree-{name}"));
    std::fs::create_dir(&tree).unwrap();
    let (there, tar) = (tree.display().to_string(), host.path(&format!("{name}.tar")).display().to_string());
    Command::new(&["tar", "-C", &there, "-xf", &host.path("busybox.tar").display().to_string()]).ok();
    more(&tree);
    Command::new(&["tar", "-C", &there, "-cf", &tar, "."]).ok();
    let mut words = vec!["import"];
    changes.iter().for_each(|change| words.extend(["-c", change]));
    words.extend([tar.as_str(), name]);
    host.corten(&words).ok();
}

#[track_caller]
fn tells_nothing(output: &Output) {
    assert!(!output.stdout.contains(SECRET) && !output.stderr.contains(SECRET), "{output:?}");
}

/// CVE-2019-5736: a container whose program is `/proc/self/exe`, the shim's own, held open by a loader that waits.
#[test]
fn the_shims_program_cannot_be_written() {
    let host = Host::new();
    let shim = program("corten-shim");
    let before = std::fs::read(&shim).unwrap();
    image(&host, "evil", &["ENTRYPOINT [\"/evil\"]", "ENV LD_PRELOAD=/waits"], |tree| {
        symlink("/proc/self/exe", tree.join("evil")).unwrap();
        Command::new(&["mkfifo", &tree.join("waits").display().to_string()]).ok();
        let libraries = Command::new(&["ldd", &shim.display().to_string()]).output().stdout;
        for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            let to = tree.join(&library[1..]);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(library, to).unwrap();
        }
    });
    host.corten(&["run", "-d", "--name", "e1", "evil"]).ok();
    let attack = "readlink /proc/1/exe; exec 3</proc/1/exe && echo open
        for f in /proc/1/exe /proc/self/fd/3 /proc/$$/fd/3; do
            (: >> $f) && echo written; (echo x 1<>$f) && echo written; truncate -c -s 0 $f && echo written
        done; head -c 4 /proc/1/exe | tail -c 3; chmod 777 /proc/1/exe; rm -f /proc/1/exe; ln -f /proc/1/exe /kept";
    let output = host.corten(&["exec", "e1", "sh", "-c", attack]).output();
    assert!(output.stdout.contains("memfd") && output.stdout.contains("open\n"), "not met: {output:?}");
    assert!(output.stdout.contains("ELF") && !output.stdout.contains("written"), "{output:?}");
    host.corten(&["rm", "-f", "e1"]).ok();
    assert_eq!(std::fs::read(&shim).unwrap(), before);
    assert_eq!(host.corten(&["run", "--rm", "busybox", "echo", "well"]).ok(), "well");
    host.finish();
}

/// CVE-2024-21626: each descriptor that the engine might have left open, as a working directory of run, exec and build.
#[test]
fn no_descriptor_is_a_working_directory() {
    let host = Host::new();
    let outside = outside(&host);
    let path = format!("../../../../../../../..{}/victim", outside.display());
    host.corten(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"]).ok();
    let mut refused = 0;
    for number in 0..16 {
        let directory = format!("/proc/self/fd/{number}");
        let run = host.corten(&["run", "--rm", "-w", &directory, "busybox", "cat", &path]).output();
        let exec = host.corten(&["exec", "-w", &directory, "c1", "cat", &path]).output();
        for output in [run, exec] {
            tells_nothing(&output);
            assert_ne!(output.code, 0, "{output:?}");
            refused += usize::from(output.code >= 125);
        }
    }
    assert!(refused > 16, "{refused}");
    host.finish();
}

/// CVE-2021-30465, CVE-2022-23648 and their kin: containers are made on a volume in which another one exchanges
/// directories for links to the host.
#[test]
fn volumes_that_change_lead_nowhere() {
    let host = Host::new();
    let outside = outside(&host);
    let before = describe(&outside);
    host.corten(&["volume", "create", "shared"]).ok();
    let at = |name: &str| host.path("data/volumes/shared/_data").join(name);
    assert!(at("").is_dir());
    std::fs::create_dir_all(at("a/b")).unwrap();
    symlink(&outside, at("absolute")).unwrap();
    symlink(format!("../../../../../../../../..{}", outside.display()), at("relative")).unwrap();
    let done = AtomicBool::new(false);
    let mut ran = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (one, other) in [("a/b", "absolute"), ("a/b", "relative"), ("a", "relative")] {
                    let _ = rustix::fs::renameat_with(CWD, at(one), CWD, at(other), RenameFlags::EXCHANGE);
                }
            }
        });
        let attacked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for i in 0..100 {
                let new = format!("new{i}:/v/a/b/copied");
                let flags = ["-v", "shared:/v", "-v", &new, "--tmpfs", "/v/a/b/t", "-w", "/v/a/b/w"];
                let words = [&["run", "--rm"], &flags[..], &["busybox", "sh", "-c"]].concat();
                let script = "cat /v/a/b/victim /v/a/victim victim ../victim; echo ran";
                let output = host.corten(&[&words[..], &[script]].concat()).output();
                tells_nothing(&output);
                ran += usize::from(output.stdout.contains("ran"));
                assert_eq!(describe(&outside), before, "creation {i}: {output:?}");
            }
        }));
        done.store(true, Ordering::Relaxed);
        attacked.unwrap();
    });
    assert!(ran > 0, "none of the containers came to run: the attack was not met");
    host.finish();
}

/// CVE-2022-23648, CVE-2024-40635, CVE-2026-53488: what an image says of itself.
#[test]
fn an_image_selects_nothing_of_the_host() {
    let host = Host::new();
    let outside = outside(&host);
    let before = describe(&outside);
    let there = outside.display().to_string();
    // A new volume gets what the image has at its place: not what the host has there.
    let climb = format!("VOLUME /../../../../../..{there}");
    image(&host, "volumes", &["VOLUME /link", "VOLUME /up", &climb], |tree| {
        symlink(&outside, tree.join("link")).unwrap();
        symlink(format!("../../../../../../../..{there}"), tree.join("up")).unwrap();
    });
    let list = format!("ls -R /link /up {there}; cat /link/victim /up/victim {there}/victim");
    let output = host.corten(&["run", "--rm", "volumes", "sh", "-c", &list]).output();
    tells_nothing(&output);
    assert!(!output.stdout.contains("below"), "{output:?}");
    // Accounts that are the host's, or endless.
    for (name, target) in [("own", "/../../../../../../etc/passwd"), ("endless", "/dev/zero")] {
        image(&host, name, &["USER nobody"], |tree| {
            std::fs::remove_file(tree.join("etc/passwd")).unwrap();
            symlink(target, tree.join("etc/passwd")).unwrap();
        });
        let output = host.corten(&["run", "--rm", name, "id"]).output();
        assert!(output.code >= 125, "{output:?}");
    }
    image(&host, "huge", &["USER www"], |tree| {
        let file = std::fs::File::options().write(true).open(tree.join("etc/group")).unwrap();
        file.set_len(11 << 20).unwrap();
    });
    assert!(host.corten(&["run", "--rm", "huge", "id"]).output().code >= 125);
    for (i, user) in ["4294967296", "-1", "0:4294967296", "18446744073709551616"].into_iter().enumerate() {
        let name = format!("user{i}");
        image(&host, &name, &[&format!("USER {user}")], |_| {});
        let output = host.corten(&["run", "--rm", &name, "id"]).output();
        assert!(output.code >= 125 && output.stderr.contains("uids and gids must be in range"), "{output:?}");
    }
    // Labels that other engines obeyed.
    let labels = [
        "LABEL containerd.io/restart.loguri=binary:///bin/sh?-c=id",
        "LABEL io.podman.annotations.privileged=TRUE",
        "WORKDIR /../../../../../../../tmp",
    ];
    image(&host, "labels", &labels, |_| {});
    let output =
        host.corten(&["run", "--rm", "labels", "sh", "-c", "pwd; grep CapEff /proc/self/status"]).ok();
    assert_eq!(output, "/tmp\nCapEff:\t00000000a80425fb");
    assert_eq!(describe(&outside), before);
    host.finish();
}

/// The switches of the kernel, its cgroups and its keys: CVE-2022-0492, the powercap files, keyrings.
#[test]
fn the_kernels_switches_are_out_of_reach() {
    let host = Host::new();
    let script = "
        for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/kernel/hotplug /proc/sys/vm/panic_on_oom \
                 /proc/sysrq-trigger /sys/kernel/uevent_helper /sys/fs/cgroup/release_agent /sys/fs/cgroup/*/release_agent \
                 /sys/fs/cgroup/*/notify_on_release /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/memory.max; do
            [ -e $f ] || continue; echo tried; (echo '|/evil' > $f) 2>/dev/null && echo written $f
        done
        find /sys/devices/virtual/powercap /sys/firmware /proc/acpi /proc/scsi -type f 2>/dev/null | sed 's/^/seen /'
        for f in /proc/kcore /proc/keys /proc/timer_list /proc/latency_stats; do head -c 1 $f 2>/dev/null | grep -q . && echo read $f; done
        mkdir /tmp/m; for t in proc sysfs cgroup cgroup2 tmpfs overlay; do mount -t $t x /tmp/m 2>/dev/null && echo mounted $t; done
        mount -o remount,rw /sys 2>/dev/null && echo remounted; umount /proc/kcore 2>/dev/null && echo unmasked
        umount /proc/sys 2>/dev/null && echo uncovered; mknod /tmp/d b 8 0 && (head -c 1 /tmp/d) 2>/dev/null && echo disk
        true";
    for flags in [&[][..], &["-u", "www"], &["--network", "host"], &["--init"]] {
        let words = [&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat();
        let output = host.corten(&words).ok();
        let found: Vec<&str> = output.lines().filter(|line| *line != "tried").collect();
        assert!(found.is_empty(), "{flags:?}: {found:?}");
        assert!(output.lines().count() >= 5, "the files were not met: {output}");
    }
    let directory = host.path("volume");
    std::fs::create_dir(&directory).unwrap();
    for target in ["/proc", "/proc/sys/kernel", "/proc/self/attr"] {
        let mount = format!("{}:{target}", directory.display());
        let output = host.corten(&["run", "--rm", "-v", &mount, "busybox", "true"]).output();
        assert!(output.code >= 125 && output.stderr.contains("cannot be mounted because"), "{output:?}");
    }
    host.finish();
}

/// CVE-2020-15257, CVE-2021-41091, CVE-2024-25621: sockets that a container with the host's network reaches, and state
/// that any user of the host may enter.
#[test]
fn sockets_and_state_are_the_daemons_own() {
    let host = Host::new();
    host.corten(&["run", "-d", "--name", "c1", "--network", "host", "busybox", "sleep", "1000"]).ok();
    let sockets = host.corten(&["exec", "c1", "cat", "/proc/net/unix"]).ok();
    assert!(sockets.lines().count() > 1, "the host's sockets were not met: {sockets}");
    let abstract_ones: Vec<&str> = sockets.lines().filter(|line| line.contains(" @")).collect();
    assert!(abstract_ones.is_empty(), "{abstract_ones:?}");
    for name in ["data", "run"] {
        let mode = std::fs::metadata(host.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o006, 0, "{name}: {mode:o}");
    }
    let others = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let tries = format!(
        "for d in {0}/data/* {0}/run/*; do [ -d $d ] && {others} ls $d >/dev/null 2>&1 && echo $d; done; true",
        host.path("").display()
    );
    std::fs::set_permissions(host.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(Command::new(&["sh", "-c", &tries]).ok(), "");
    let mode = std::fs::metadata(host.path("corten.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0, "{mode:o}");
    host.finish();
}

/// CVE-2024-23652, CVE-2024-9676, CVE-2026-17106: what a Dockerfile, its context and its stages bring.
#[test]
fn a_build_reaches_nothing_of_the_host() {
    let host = Host::new();
    let outside = outside(&host);
    let before = describe(&outside);
    let there = outside.display().to_string();
    let context = host.path("context");
    std::fs::create_dir(&context).unwrap();
    symlink(&outside, context.join("link")).unwrap();
    symlink(outside.join("victim"), context.join("file")).unwrap();
    // An archive with a link out, and a file behind that link.
    let (parts, archive) = (host.path("parts"), context.join("evil.tar").display().to_string());
    std::fs::create_dir_all(parts.join("one")).unwrap();
    std::fs::create_dir_all(parts.join("two/out")).unwrap();
    symlink(&outside, parts.join("one/out")).unwrap();
    std::fs::write(parts.join("two/out/victim"), "owned").unwrap();
    let part = |name: &str| parts.join(name).display().to_string();
    Command::new(&["tar", "-cf", &archive, "-C", &part("one"), "out"]).ok();
    Command::new(&["tar", "-rf", &archive, "-C", &part("two"), "out/victim"]).ok();
    let dots = format!("s,^out,../../../../../../../..{there},");
    Command::new(&["tar", "-rPf", &archive, "--transform", &dots, "-C", &part("two"), "out/victim"]).ok();
    let build = |dockerfile: &str| {
        std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        let output =
            host.corten(&["build", "--no-cache", "-t", "b1", &context.display().to_string()]).output();
        tells_nothing(&output);
        assert_eq!(describe(&outside), before, "{dockerfile}: {output:?}");
        if output.code == 0 {
            let find = "cat /got/* /got/*/* /got 2>/dev/null; true";
            tells_nothing(&host.corten(&["run", "--rm", "b1", "sh", "-c", find]).output());
        }
        output.code
    };
    let mut built = 0;
    for dockerfile in [
        "FROM busybox\nADD evil.tar /unpacked/".to_owned(),
        "FROM busybox\nCOPY link/victim /got/".to_owned(),
        "FROM busybox\nCOPY file /got/".to_owned(),
        "FROM busybox\nCOPY link /got".to_owned(),
        "FROM busybox\nCOPY ../outside/victim /got/".to_owned(),
        format!("FROM busybox\nRUN ln -s {there} /out\nCOPY Dockerfile /out/victim"),
        format!(
            "FROM busybox\nRUN ln -s ../../../../../../..{there} /out\nWORKDIR /out/new\nCOPY Dockerfile ./"
        ),
        format!("FROM busybox AS a\nRUN ln -s {there} /out\nFROM busybox\nCOPY --from=a /out/victim /got/"),
        format!("FROM busybox AS a\nRUN ln -s {there}/victim /out\nFROM busybox\nCOPY --from=a /out /got/x"),
        format!("FROM busybox AS a\nFROM busybox\nCOPY --from=a /proc/1/root{there}/victim /got/"),
        format!("FROM busybox\nRUN cat /proc/self/fd/*{there}/victim ../../../..{there}/victim; true"),
        format!("FROM busybox\nRUN rm -rf /etc && ln -s {there} /etc\nRUN true"),
        format!(
            "FROM busybox\nRUN rm -rf /tmp && ln -s {there} /tmp\nRUN --mount=type=cache,target=/tmp/below/x true"
        ),
        "FROM busybox\nRUN --mount=type=bind,source=link,target=/got cat /got/victim".to_owned(),
        "FROM busybox\nWORKDIR /proc/self/fd/7\nRUN cat ../../../../../../victim".to_owned(),
    ] {
        built += usize::from(build(&dockerfile) == 0);
    }
    assert!(built > 3, "{built}");
    host.finish();
}

/// CVE-2019-14271, CVE-2026-41567: archives, compression, git, processes' lists are the daemon's own affair. What an image
/// brings under the names of such programs runs when a container asks for it, and never outside of one.
#[test]
fn no_program_of_an_image_is_run() {
    let host = Host::new();
    let mark = host.path("mark").display().to_string();
    image(&host, "evil", &[], |tree| {
        let script = format!("#!/bin/busybox sh\necho ran >> {mark}\n");
        for directory in ["bin", "sbin", "usr/bin", "usr/sbin"] {
            std::fs::create_dir_all(tree.join(directory)).unwrap();
            for name in
                ["tar", "git", "gzip", "unpigz", "xz", "bzip2", "zstd", "mount", "nft", "ps", "corten-shim"]
            {
                let path = tree.join(directory).join(name);
                let _ = std::fs::remove_file(&path);
                std::fs::write(&path, &script).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
    });
    let context = host.path("context");
    std::fs::create_dir(&context).unwrap();
    let there = context.display().to_string();
    std::fs::write(context.join("f"), "f").unwrap();
    for (flag, name) in [("z", "a.tgz"), ("J", "b.txz"), ("j", "c.tbz")] {
        Command::new(&["tar", "-C", &there, &format!("-c{flag}f"), &format!("{there}/{name}"), "f"]).ok();
    }
    let dockerfile = "FROM evil\nADD a.tgz b.txz c.tbz /d/\nCOPY --from=evil /bin/tar /e/\nWORKDIR /w\nRUN [\"/bin/true\"]\n";
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();

    let daemon: Vec<u32> =
        testkit::audit::processes_of(&host.path("")).into_iter().map(i32::cast_unsigned).collect();
    let trace = trace::Trace::start(&daemon, false).unwrap();
    let archive = host.path("x.tar").display().to_string();
    host.corten(&["build", "-q", "-t", "x", &there]).ok();
    host.corten(&["run", "-d", "--name", "c1", "x", "/bin/sleep", "1000"]).ok();
    host.corten(&["cp", "c1:/d", &host.path("out").display().to_string()]).ok();
    host.corten(&["cp", &format!("{there}/f"), "c1:/w/"]).ok();
    host.corten(&["top", "c1"]).ok();
    host.corten(&["export", "-o", &archive, "c1"]).ok();
    host.corten(&["commit", "c1", "y"]).ok();
    host.corten(&["save", "-o", &archive, "y"]).ok();
    host.corten(&["rm", "-f", "c1"]).ok();
    host.corten(&["load", "-i", &archive]).ok();
    let programs: std::collections::BTreeSet<String> = trace
        .stop()
        .unwrap()
        .into_iter()
        .filter_map(|event| match event.what {
            trace::What::Exec { path } => Some(path),
            _ => None,
        })
        .collect();
    // The shim comes out of the daemon's memory; the others are what the containers are for.
    let asked: Vec<&String> = programs.iter().filter(|path| !path.starts_with("/dev/fd/")).collect();
    assert_eq!(asked, ["/bin/sleep", "/bin/true"], "{programs:?}");
    assert!(programs.len() > asked.len(), "{programs:?}");
    assert!(!Path::new(&mark).exists());
    host.finish();
}

/// CVE-2024-41110, CVE-2026-34040 and BuildKit's unknown security mode: what is too large, or has a value that nobody
/// knows, is not run in part.
#[test]
fn a_request_is_understood_whole_or_refused() {
    let host = Host::new();
    let socket = host.path("corten.sock").display().to_string();
    let post = |body: &str| {
        let file = host.path("body.json");
        std::fs::write(&file, body).unwrap();
        let data = format!("@{}", file.display());
        let url = "http://localhost/v1.47/containers/create";
        let words = ["curl", "-sS", "--unix-socket", &socket, "-H", "Content-Type: application/json"];
        let more = ["-H", "Expect:", "-w", "\n%{http_code}", "--data-binary", &data, url];
        Command::new(&[&words[..], &more].concat()).output().stdout
    };
    let with =
        |member: &str| format!("{{\"Image\":\"busybox\",\"Cmd\":[\"true\"],\"HostConfig\":{{{member}}}}}");
    let padding =
        with(&format!("\"CapDrop\":[\"ALL\"],\"Annotations\":{{\"a\":\"{}\"}}", "x".repeat(5 << 20)));
    let mut bodies = vec![padding, with("\"CapDrop\":[\"ALL\"]}"), String::new()];
    for member in [
        "\"CgroupnsMode\":\"other\"",
        "\"UsernsMode\":\"other\"",
        "\"PidMode\":\"other\"",
        "\"IpcMode\":\"other\"",
        "\"UTSMode\":\"other\"",
        "\"RestartPolicy\":{\"Name\":\"other\"}",
        "\"SecurityOpt\":[\"seccomp=other\"]",
        "\"SecurityOpt\":[\"other\"]",
        "\"CapDrop\":[\"OTHER\"]",
        "\"Mounts\":[{\"Type\":\"other\",\"Source\":\"/\",\"Target\":\"/x\"}]",
        "\"Privileged\":\"false\"",
        "\"DeviceCgroupRules\":[\"c other rwm\"]",
        "\"PidsLimit\":1e40",
    ] {
        bodies.push(with(member));
    }
    for body in bodies {
        let answer = post(&body);
        let shown: String = body.chars().take(120).collect();
        let status = answer.rsplit('\n').next().unwrap();
        assert!(status.starts_with('4') || status == "501", "{shown}: {answer}");
    }
    assert_eq!(host.corten(&["ps", "-aq"]).ok(), "", "something was made");
    assert!(post(&with("\"CapDrop\":[\"ALL\"]")).ends_with("201"));
    host.finish();
}
