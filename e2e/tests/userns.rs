//! User namespaces: containers whose ids are not the host's, one by one and all of a daemon's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use testkit::{Command, Host, until};

/// Where ranges come from, instead of from this machine's accounts: ten of them.
const POOL: [&str; 2] = ["--userns-pool", "200000:655360"];

type Client = fn(&Host, &[&str]) -> Command;
const CLIENTS: [Client; 2] = [Host::docker, Host::corten];

/// A host whose daemon gives each container a range of its own.
fn remapped() -> Host {
    let mut host = Host::stopped();
    host.start_daemon_with(&[], &[&["--userns-remap", "auto"][..], &POOL].concat());
    host.import_busybox();
    host
}

/// A host whose daemon remaps only who asks for it.
fn plain() -> Host {
    let mut host = Host::stopped();
    host.start_daemon_with(&[], &POOL);
    host.import_busybox();
    host
}

fn pid(host: &Host, container: &str) -> String {
    host.docker(&["inspect", "-f", "{{.State.Pid}}", container]).ok()
}

/// A line of a process's status, as the host sees it.
fn status(pid: &str, line: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let found = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':'));
    found.unwrap().split_whitespace().map(str::to_owned).collect()
}

/// The maps of a container's users and groups, as the kernel has them.
fn maps(host: &Host, container: &str) -> [String; 2] {
    let pid = pid(host, container);
    ["uid_map", "gid_map"].map(|file| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    })
}

fn inside(host: &Host, container: &str, script: &str) -> String {
    host.docker(&["exec", container, "sh", "-c", script]).ok()
}

#[test]
fn root_inside_is_nobody_outside() {
    let host = remapped();
    let info = host.docker(&["info", "-f", "{{.SecurityOptions}}"]).ok();
    assert!(info.contains("name=userns"), "{info}");
    let file = host.path("roots");
    std::fs::write(&file, "the host's").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let bind = format!("{}:/roots", file.display());
    for client in CLIENTS {
        client(&host, &["run", "-d", "--name", "c1", "-v", &bind, "busybox", "sleep", "1000"]).ok();
        assert_eq!(client(&host, &["exec", "c1", "id", "-u"]).ok(), "0");
        let init = pid(&host, "c1");
        assert_eq!(status(&init, "Uid"), ["200000"; 4]);
        assert_eq!(status(&init, "Gid"), ["200000"; 4]);
        assert_eq!(maps(&host, "c1"), ["0 200000 65536", "0 200000 65536"]);
        // A process of the exec as well.
        assert_eq!(inside(&host, "c1", "cat /proc/self/uid_map | tr -s ' '"), " 0 200000 65536");
        // The host's root is nobody in there, and its files are not the container's to change.
        assert_eq!(inside(&host, "c1", "stat -c %u:%g /roots"), "65534:65534");
        for attempt in ["echo x > /roots", "chown 0 /roots", "chmod 666 /roots", "mknod /n b 8 0"] {
            let script = format!("({attempt}) 2>/dev/null && echo done || echo refused");
            assert_eq!(inside(&host, "c1", &script), "refused", "{attempt}");
        }
        // Its capabilities are over its own namespaces, and nothing of the host's.
        assert_eq!(status(&init, "CapEff"), ["00000000a80425fb"]);
        let own = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/user")).unwrap();
        assert_ne!(own(&init), own("self"));
        let kill = format!("kill -0 {} 2>/dev/null && echo done || echo refused", host.daemon_pid());
        assert_eq!(inside(&host, "c1", &kill), "refused");
        client(&host, &["rm", "-f", "c1"]).ok();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "the host's");
    host.finish();
}

#[test]
fn its_capabilities_count_in_its_own_network() {
    let host = remapped();
    let run = |more: &[&str], script: &str| {
        host.docker(&[&["run", "--rm"], more, &["busybox", "sh", "-c", script]].concat()).ok()
    };
    assert_eq!(run(&["--cap-add", "NET_ADMIN"], "ip link set lo mtu 1400 && echo set"), "set");
    assert_eq!(run(&[], "ping -c 1 -W 5 127.0.0.1 >/dev/null && echo pong"), "pong");
    assert_eq!(run(&[], "cat /proc/sys/net/ipv4/ping_group_range"), "0\t65535");
    host.docker(&["network", "create", "n1"]).ok();
    host.docker(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--network",
        "n1",
        "-p",
        "127.0.0.1:8080:80",
        "busybox",
        "sh",
        "-c",
        "echo hello > /i; httpd -f -p 80 -h /",
    ])
    .ok();
    assert_eq!(run(&["--network", "n1"], "wget -qO- http://c1/i"), "hello");
    until("the published port", || {
        let answer = host.command(&["curl", "-sS", "http://127.0.0.1:8080/i"]).output();
        (answer.stdout.trim() == "hello").then_some(())
    });
    // Who shares its network shares its user namespace.
    assert_eq!(run(&["--network", "container:c1"], "wget -qO- http://127.0.0.1/i"), "hello");
    host.docker(&["run", "-d", "--name", "c2", "--pid", "container:c1", "busybox", "sleep", "1000"]).ok();
    assert_eq!(maps(&host, "c2"), maps(&host, "c1"));
    assert_eq!(inside(&host, "c2", "ps | grep -q '[h]ttpd -f' && echo seen"), "seen");
    host.docker(&["rm", "-f", "c1", "c2"]).ok();
    host.docker(&["network", "rm", "n1"]).ok();
    host.finish();
}

#[test]
fn what_does_not_go_together_is_refused() {
    let host = remapped();
    for (options, text) in [
        (
            &["--privileged"][..],
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
        ),
        (
            &["--network", "host"],
            "cannot share the host's network namespace when user namespaces are enabled",
        ),
        (&["--pid", "host"], "cannot share the host PID namespace when user namespaces are enabled"),
    ] {
        for client in CLIENTS {
            let error = client(&host, &[&["run", "--rm"], options, &["busybox", "true"]].concat()).fails(125);
            assert!(error.contains(text), "{error}");
            let words = [&["run", "--rm", "--userns", "host"], options, &["busybox", "id", "-u"]].concat();
            assert_eq!(client(&host, &words).ok(), "0");
        }
    }
    let map = host.docker(&["run", "--rm", "--userns=host", "busybox", "cat", "/proc/self/uid_map"]).ok();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "0", "4294967295"]);
    for (mode, text) in [
        ("remap:nobody-of-this-name", "Error during uid lookup for \"nobody-of-this-name\""),
        ("remap:root", "root cannot be remapped to itself"),
    ] {
        let error = host.corten(&["run", "--rm", "--userns", mode, "busybox", "true"]).fails(125);
        assert!(error.contains(text), "{error}");
    }
    for client in CLIENTS {
        let error = client(&host, &["run", "--rm", "--userns", "other", "busybox", "true"]).fails(125);
        assert!(error.contains("--userns: invalid USER mode"), "{error}");
    }
    host.corten(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"]).ok();
    let error = host
        .corten(&["run", "--rm", "--userns", "auto", "--network", "container:c1", "busybox", "true"])
        .fails(125);
    assert!(error.contains("leave --userns out"), "{error}");
    host.finish();
}

#[test]
fn each_has_a_range_of_its_own_until_it_is_removed() {
    let mut host = plain();
    let run = |host: &Host, name: &str| {
        host.corten(&["run", "-d", "--userns", "auto", "--name", name, "busybox", "sleep", "1000"]).ok();
        maps(host, name)[0].clone()
    };
    assert_eq!(run(&host, "c1"), "0 200000 65536");
    assert_eq!(run(&host, "c2"), "0 265536 65536");
    assert_eq!(host.docker(&["inspect", "-f", "{{.HostConfig.UsernsMode}}", "c1"]).ok(), "auto");
    // The host's ids stay the rule.
    let map = host.docker(&["run", "--rm", "busybox", "cat", "/proc/self/uid_map"]).ok();
    assert!(map.ends_with("4294967295"), "{map}");
    host.kill_daemon();
    host.start_daemon_with(&[], &POOL);
    assert_eq!(run(&host, "c3"), "0 331072 65536");
    host.docker(&["restart", "-t", "0", "c1"]).ok();
    assert_eq!(maps(&host, "c1")[0], "0 200000 65536");
    host.docker(&["rm", "-f", "c1"]).ok();
    assert_eq!(run(&host, "c4"), "0 200000 65536");
    // The pool has ten.
    for n in 5..12 {
        host.corten(&["create", "--userns", "auto", "--name", &format!("c{n}"), "busybox"]).ok();
    }
    let error = host.corten(&["create", "--userns", "auto", "busybox"]).fails(1);
    assert!(error.contains("no range of ids is left for --userns=auto (10 in the pool)"), "{error}");
    host.finish();
}

#[test]
fn files_belong_to_the_containers_own_ids_on_disk() {
    let host = plain();
    let corten = |words: &[&str]| host.corten(words).ok();
    let auto = |name: &str, more: &[&str]| {
        corten(
            &[&["run", "-d", "--userns", "auto", "--name", name], more, &["busybox", "sleep", "1000"]]
                .concat(),
        )
    };
    auto("c1", &["-v", "data:/data", "--tmpfs", "/scratch", "-v", "/own"]);
    let script = "touch /f /data/f /scratch/f /own/f; chown 7:8 /f /data/f; rm /etc/group; chmod 4755 /f; \
                  echo 1.2.3.4 x >> /etc/hosts; stat -c %u:%g /f /data/f /scratch/f /own /etc/hosts /bin /";
    assert_eq!(
        inside(&host, "c1", script).split_whitespace().collect::<Vec<_>>(),
        ["7:8", "7:8", "0:0", "0:0", "0:0", "0:0", "0:0"]
    );
    let owner = |path: &Path| std::fs::metadata(path).map(|m| (m.uid(), m.gid())).unwrap();
    let id = host.docker(&["inspect", "-f", "{{.Id}}", "c1"]).ok();
    assert_eq!(owner(&host.path(&format!("data/rw/{id}/diff/f"))), (7, 8));
    assert_eq!(owner(&host.path("data/volumes/data/_data/f")), (7, 8));
    // A volume serves containers of other ids, and of the host's.
    auto("c2", &["--volumes-from", "c1"]);
    assert_eq!(inside(&host, "c2", "stat -c %u:%g /data/f; touch /data/g"), "7:8");
    assert_eq!(
        corten(&["run", "--rm", "-v", "data:/d", "busybox", "stat", "-c", "%u:%g", "/d/f", "/d/g"]),
        "7:8\n0:0"
    );
    // So does the image.
    assert_eq!(corten(&["run", "--rm", "busybox", "stat", "-c", "%u:%g", "/bin/busybox"]), "0:0");

    let changes = host.docker(&["diff", "c1"]).ok();
    assert!(changes.contains("A /f") && changes.contains("D /etc/group"), "{changes}");
    host.docker(&["commit", "c1", "made"]).ok();
    assert_eq!(corten(&["run", "--rm", "made", "stat", "-c", "%u:%g:%a", "/f"]), "7:8:4755");
    for state in ["running", "stopped"] {
        if state == "stopped" {
            host.docker(&["kill", "c1"]).ok();
        }
        let tar = host.path("export.tar");
        host.docker(&["export", "-o", &tar.display().to_string(), "c1"]).ok();
        let list = Command::new(&["tar", "--numeric-owner", "-tvf", &tar.display().to_string()]).ok();
        let line = |name: &str| list.lines().find(|l| l.ends_with(name)).unwrap().to_owned();
        assert!(line(" f").contains(" 7/8 ") && line(" bin/busybox").contains(" 0/0 "), "{list}");
    }
    host.finish();
}

#[test]
fn copies_keep_their_owners() {
    let host = plain();
    let source = host.path("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("a"), "one").unwrap();
    chown(source.join("a"), Some(1234), Some(567)).unwrap();
    let source = source.display().to_string();
    host.corten(&[
        "run",
        "-d",
        "--userns",
        "auto",
        "--name",
        "c1",
        "-v",
        "data:/data",
        "busybox",
        "sleep",
        "1000",
    ])
    .ok();
    for state in ["running", "stopped"] {
        if state == "stopped" {
            host.docker(&["kill", "c1"]).ok();
        }
        for into in ["", "/data"] {
            host.docker(&["cp", "-a", &source, &format!("c1:{into}/{state}")]).ok();
            let out = host.docker(&["cp", &format!("c1:{into}/{state}"), "-"]).output();
            out.expect(0);
            let list = Command::new(&["tar", "--numeric-owner", "-tv"]).stdin(out.stdout).ok();
            assert!(list.lines().any(|l| l.contains(" 1234/567 ")), "{state}: {list}");
            assert!(list.lines().any(|l| l.starts_with('d') && l.contains(" 0/0 ")), "{state}: {list}");
        }
    }
    host.docker(&["start", "c1"]).ok();
    let owners =
        inside(&host, "c1", "stat -c %u:%g /running/a /stopped/a /data/running/a /data/stopped/a /running");
    assert_eq!(
        owners.split_whitespace().collect::<Vec<_>>(),
        ["1234:567", "1234:567", "1234:567", "1234:567", "0:0"]
    );
    assert_eq!(inside(&host, "c1", "cat /running/a /data/stopped/a"), "oneone");
    host.finish();
}

#[test]
fn the_rest_of_a_containers_life_is_as_ever() {
    let host = remapped();
    let run = |more: &[&str], script: &str| {
        host.docker(&[&["run", "--rm"], more, &["busybox", "sh", "-c", script]].concat()).ok()
    };
    assert_eq!(
        run(&["-u", "1000:50"], "id -u; id -g; echo out > /dev/stdout; touch /f 2>/dev/null || echo no"),
        "1000\n50\nout\nno"
    );
    assert_eq!(run(&["-h", "named"], "hostname; cat /etc/hostname"), "named\nnamed");
    assert_eq!(
        run(
            &[],
            "ls /dev | grep -c -E '^(null|zero|full|random|urandom|tty|ptmx|fd|stdin|stdout|stderr|shm|mqueue|pts)$'; echo x > /dev/null && head -c 1 /dev/zero | wc -c; df /dev/shm | tail -1 | awk '{print $2}'"
        ),
        "14\n1\n65536"
    );
    assert_eq!(run(&["--read-only"], "touch /f 2>/dev/null || echo sealed"), "sealed");
    assert_eq!(run(&["--init"], "test $$ != 1 && id -u"), "0");
    assert_eq!(run(&["-m", "64m", "--pids-limit", "50"], "id -u"), "0");
    assert_eq!(run(&["--ipc", "host"], "id -u"), "0");
    assert_eq!(
        run(&["--device", "/dev/null:/dev/other"], "echo x > /dev/other && stat -c %t:%T /dev/other"),
        "1:3"
    );
    let image = "type=image,src=busybox,dst=/image";
    assert_eq!(
        run(
            &["--mount", image],
            "stat -c %u:%g /image/bin/busybox; touch /image/x 2>/dev/null || echo sealed"
        ),
        "0:0\nsealed"
    );
    let tty = host
        .docker(&[
            "run",
            "--rm",
            "-t",
            "busybox",
            "sh",
            "-c",
            "tty; stat -c %u /dev/console; echo x > /dev/console",
        ])
        .ok();
    assert!(tty.contains("/dev/pts/0") && tty.contains('0'), "{tty}");
    let secret = host.path("secret");
    std::fs::write(&secret, "hidden").unwrap();
    let secret = format!("id=s,src={},mode=0400", secret.display());
    assert_eq!(
        host.corten(&[
            "run",
            "--rm",
            "--secret",
            &secret,
            "busybox",
            "sh",
            "-c",
            "cat /run/secrets/s; stat -c %u:%a /run/secrets/s"
        ])
        .ok(),
        "hidden0:400"
    );

    host.docker(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--health-cmd",
        "test $(id -u) = 0",
        "--health-interval",
        "100ms",
        "busybox",
        "sh",
        "-c",
        "echo said; exec sleep 1000",
    ])
    .ok();
    until("its health", || {
        (host.docker(&["inspect", "-f", "{{.State.Health.Status}}", "c1"]).ok() == "healthy").then_some(())
    });
    assert_eq!(host.docker(&["logs", "c1"]).ok(), "said");
    assert!(host.docker(&["stats", "--no-stream", "c1"]).ok().contains("c1"));
    assert!(host.docker(&["top", "c1"]).ok().contains("sleep"));
    assert_eq!(
        host.docker(&["exec", "-u", "33", "c1", "sh", "-c", "id -u; echo e > /dev/stderr"]).ok(),
        "33"
    );
    // What comes to a container that runs.
    host.corten(&["update", "--mount-add", "type=volume,src=late,dst=/late", "c1"]).ok();
    assert_eq!(inside(&host, "c1", "touch /late/f; stat -c %u:%g /late/f"), "0:0");
    assert_eq!(std::fs::metadata(host.path("data/volumes/late/_data/f")).unwrap().uid(), 0);
    host.corten(&["update", "--mount-add", "type=image,src=busybox,dst=/image", "c1"]).ok();
    assert_eq!(inside(&host, "c1", "stat -c %u:%g /image/bin /image/etc/passwd"), "0:0\n0:0");
    host.corten(&["update", "--mount-rm", "/image", "c1"]).ok();
    host.docker(&["pause", "c1"]).ok();
    host.docker(&["unpause", "c1"]).ok();
    host.docker(&["stop", "-t", "0", "c1"]).ok();

    // Builds run with the host's ids; what they make is the same for all.
    let context = host.path("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(
        context.join("Dockerfile"),
        "FROM busybox\nRUN echo built > /b && chown 5:6 /b && mkdir /v && chown 9 /v\nVOLUME /v\n",
    )
    .unwrap();
    host.docker(&["build", "-q", "-t", "built", &context.display().to_string()]).ok();
    assert_eq!(
        host.docker(&["run", "--rm", "built", "sh", "-c", "cat /b; stat -c %u:%g /b /v"]).ok(),
        "built\n5:6\n9:0"
    );
    host.finish();
}

/// Its cgroup is the container's to divide, but not to widen, where the kernel knows how to lend one (v2).
#[test]
fn its_cgroup_is_lent_to_it() {
    let host = remapped();
    let is_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    for client in CLIENTS {
        let options = ["--memory", "64m", "--pids-limit", "60", "--security-opt", "writable-cgroups=true"];
        client(
            &host,
            &[&["run", "-d", "--name", "c1"], &options[..], &["busybox", "sleep", "1000"]].concat(),
        )
        .ok();
        let attempt = |script: &str| {
            inside(&host, "c1", &format!("({script}) >/dev/null 2>&1 && echo done || echo refused"))
        };
        if is_v2 {
            assert_eq!(inside(&host, "c1", "stat -c %u /sys/fs/cgroup /sys/fs/cgroup/cgroup.procs"), "0\n0");
            // What bounds it stays the host's.
            assert_eq!(inside(&host, "c1", "stat -c %u /sys/fs/cgroup/memory.max"), "65534");
            assert_eq!(attempt("echo max >/sys/fs/cgroup/memory.max"), "refused");
            assert_eq!(attempt("echo max >/sys/fs/cgroup/pids.max"), "refused");
            // As systemd does it: all processes below, and then controllers for what is below.
            let divide = "cd /sys/fs/cgroup && mkdir a && for p in $(cat cgroup.procs); do echo $p >a/cgroup.procs; done; \
                          echo '+memory +pids' >cgroup.subtree_control && echo 20 >a/pids.max && cat a/pids.max";
            assert_eq!(host.docker(&["exec", "c1", "sh", "-c", &format!("{divide} 2>/dev/null")]).ok(), "20");
            // The rest of its life goes on in there.
            assert_eq!(inside(&host, "c1", "cat /proc/self/cgroup"), "0::/a");
            client(&host, &["update", "--memory", "96m", "--memory-swap", "96m", "c1"]).ok();
            assert_eq!(inside(&host, "c1", "cat /sys/fs/cgroup/memory.max"), "100663296");
        } else {
            assert_eq!(attempt("mkdir /sys/fs/cgroup/pids/a"), "refused");
            assert_eq!(attempt("echo -1 >/sys/fs/cgroup/memory/memory.limit_in_bytes"), "refused");
        }
        assert!(client(&host, &["top", "c1"]).ok().contains("sleep 1000"));
        client(&host, &["pause", "c1"]).ok();
        client(&host, &["unpause", "c1"]).ok();
        client(&host, &["restart", "-t", "0", "c1"]).ok();
        assert_eq!(inside(&host, "c1", "ls -d /sys/fs/cgroup/a 2>/dev/null; id -u"), "0");
        client(&host, &["rm", "-f", "c1"]).ok();
    }
    // Without being asked for, it is not.
    let script = "mkdir /sys/fs/cgroup/a /sys/fs/cgroup/pids/a 2>/dev/null; echo $?";
    assert_eq!(host.docker(&["run", "--rm", "busybox", "sh", "-c", script]).ok(), "1");
    host.finish();
}

#[test]
fn idmap_gives_a_binds_files_to_its_owner() {
    let host = plain();
    let mine = host.path("mine");
    std::fs::create_dir(&mine).unwrap();
    chown(&mine, Some(1234), Some(567)).unwrap();
    let bind = format!("{}:/m:idmap", mine.display());
    let run = |user: &str| {
        let script = format!("touch /m/{user}; stat -c %u:%g /m/{user} /m");
        host.corten(&[
            "run", "--rm", "--userns", "auto", "-u", user, "-v", &bind, "busybox", "sh", "-c", &script,
        ])
        .ok()
    };
    assert_eq!(run("0"), "0:0\n0:0");
    assert_eq!(run("33:44"), "33:44\n33:44");
    for made in ["0", "33:44"] {
        let found = std::fs::metadata(mine.join(made)).unwrap();
        assert_eq!((found.uid(), found.gid()), (1234, 567), "{made}");
    }
    host.finish();
}

/// The machine's accounts stay as they are: this daemon sees others, in a mount namespace of its own.
#[test]
fn accounts_have_their_ranges() {
    let mut host = Host::stopped();
    let etc = host.path("etc").display().to_string();
    Command::new(&["cp", "-a", "/etc", &etc]).ok();
    for (file, text) in [
        ("passwd", "root:x:0:0::/:/bin/sh\nann:x:4711:4711::/:/bin/sh\n"),
        ("subuid", "root:100000:65536\n4711:300000:1000\n"),
        ("subgid", "root:100000:65536\nann:400000:2000\n"),
    ] {
        std::fs::write(host.path(&format!("etc/{file}")), text).unwrap();
    }
    let script = format!("mount --bind {etc} /etc; exec \"$0\" \"$@\"");
    let by = ["unshare", "-m", "--propagation", "private", "sh", "-ec", &script];
    let run = |host: &Host, more: &[&str]| {
        host.corten(&[&["run", "-d", "--name", "c1"], more, &["busybox", "sleep", "1000"]].concat())
    };
    host.start_daemon_with(&by, &["--userns-remap", "ann"]);
    host.import_busybox();
    run(&host, &[]).ok();
    assert_eq!(maps(&host, "c1"), ["0 300000 1000", "0 400000 2000"]);
    assert_eq!(status(&pid(&host, "c1"), "Uid")[0], "300000");
    host.docker(&["rm", "-f", "c1"]).ok();
    host.stop_daemon();

    host.start_daemon_with(&by, &["--userns-remap", "default"]);
    run(&host, &[]).ok();
    assert_eq!(maps(&host, "c1"), ["0 402000 65536", "0 402000 65536"]);
    let given = std::fs::read_to_string(host.path("etc/subuid")).unwrap();
    assert!(given.ends_with("dockremap:402000:65536\n"), "{given}");
    host.docker(&["rm", "-f", "c1"]).ok();
    host.stop_daemon();

    host.start_daemon_with(&by, &[]);
    run(&host, &["--userns", "remap:4711"]).ok();
    assert_eq!(maps(&host, "c1"), ["0 300000 1000", "0 400000 2000"]);
    assert!(
        run(&host, &["--userns", "remap:bob"]).fails(125).contains("Error during uid lookup for \"bob\"")
    );
    host.finish();
}
