//! RUN in a build: agents, networks, privileges, limits, several platforms, and the daemon's death meanwhile.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use std::path::{Path, PathBuf};

use testkit::layout::{GZIP, Layout, tar};
use testkit::{Command, Host, Output, image, until};

/// A context with these files.
fn context(host: &Host, files: &[(&str, &str)]) -> PathBuf {
    let directory = host.path("c");
    for (file, text) in files {
        let path = directory.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    directory
}

fn build(host: &Host, dockerfile: &str, words: &[&str]) -> Output {
    let there = context(host, &[("Dockerfile", dockerfile)]).display().to_string();
    host.corten(&[&["build", "--progress=plain"], words, &[there.as_str()]].concat()).output()
}

/// Builds what must come about, and tells what its files say.
fn told(host: &Host, run: &str, words: &[&str]) -> String {
    let out = host.path("out");
    let _ = std::fs::remove_dir_all(&out);
    let text = format!("FROM busybox AS b\n{run}\nFROM scratch\nCOPY --from=b /told /\n");
    let place = out.display().to_string();
    build(host, &text, &[&["-o", place.as_str()], words].concat()).expect(0);
    std::fs::read_to_string(out.join("told")).unwrap().trim_end().to_owned()
}

/// A program of this machine with the libraries it needs, in a directory of its own; how it is started there.
fn portable(program: &str, into: &Path, mounted: &str) -> String {
    std::fs::create_dir_all(into).unwrap();
    let libraries = Command::new(&["ldd", program]).ok();
    let mut loader = String::new();
    for path in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let name = Path::new(path).file_name().unwrap();
        std::fs::copy(path, into.join(name)).unwrap();
        if name.to_string_lossy().starts_with("ld-") {
            loader = name.to_string_lossy().into_owned();
        }
    }
    let name = Path::new(program).file_name().unwrap().to_string_lossy().into_owned();
    std::fs::copy(program, into.join(&name)).unwrap();
    format!("{mounted}/{loader} --library-path {mounted} {mounted}/{name}")
}

#[test]
fn an_agent_signs_for_a_step() {
    let host = Host::new();
    let (socket, key) = (host.path("agent"), host.path("key").display().to_string());
    let address = socket.display().to_string();
    let mut agent = host.command(&["ssh-agent", "-D", "-a", &address]).spawn();
    until("the agent", || std::os::unix::net::UnixStream::connect(&socket).ok());
    Command::new(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "the key", "-f", &key]).ok();
    Command::new(&["ssh-add", "-q", &key]).env("SSH_AUTH_SOCK", &address).ok();
    let list = portable("/usr/bin/ssh-add", &host.path("tools"), "/tools");
    let tools = format!("tools={}", host.path("tools").display());
    let with = |line: &str, ssh: &str| {
        let text = format!(
            "FROM busybox\nRUN --mount=from=tools,target=/tools {line}\nRUN test ! -e /run/buildkit\n"
        );
        let there = context(&host, &[("Dockerfile", &text)]).display().to_string();
        let mut words = vec!["build", "--progress=plain", "--no-cache", "--build-context", &tools];
        if !ssh.is_empty() {
            words.extend(["--ssh", ssh]);
        }
        words.push(&there);
        host.corten(&words).env("SSH_AUTH_SOCK", &address).output()
    };
    let listed = with(&format!("--mount=type=ssh {list} -l"), "default");
    assert!(listed.code == 0 && listed.stderr.contains("the key (ED25519)"), "{}", listed.stderr);
    let named = format!("mine={address}");
    let listed = with(
        &format!(
            "--mount=type=ssh,id=mine,target=/a,mode=0660,uid=7,gid=8 test $SSH_AUTH_SOCK = /a && stat -c %a:%u:%g /a && {list} -l"
        ),
        &named,
    );
    assert!(listed.stderr.contains("660:7:8") && listed.stderr.contains("the key"), "{}", listed.stderr);
    // It signs as well: with the agent only, and for nobody else.
    let sign = portable("/usr/bin/ssh-keygen", &host.path("tools"), "/tools");
    std::fs::copy(format!("{key}.pub"), host.path("tools/key.pub")).unwrap();
    let signed = with(
        &format!(
            "--mount=type=ssh echo x > /x && {sign} -Y sign -n file -f /tools/key.pub /x && head -1 /x.sig"
        ),
        "default",
    );
    assert!(signed.stderr.contains("BEGIN SSH SIGNATURE"), "{}", signed.stderr);
    let without = with(&format!("{list} -l"), "default");
    assert!(without.code == 2 && without.stderr.contains("not open a connection"), "{}", without.stderr);
    let closed = with(
        &format!("--mount=type=ssh,mode=0600 su -s /bin/sh nobody -c '{list} -l' || echo closed"),
        "default",
    );
    assert!(closed.stderr.contains("closed") || closed.code != 0, "{}", closed.stderr);
    let optional = with("--mount=type=ssh test -z \"$SSH_AUTH_SOCK\"", "");
    optional.expect(0);
    let missing = with("--mount=type=ssh,required true", "");
    assert!(missing.code == 1 && missing.stderr.contains("pass it with --ssh default"), "{}", missing.stderr);
    agent.kill().unwrap();
    agent.wait().unwrap();
    let dead = with("--mount=type=ssh true", "default");
    assert!(dead.code == 1 && dead.stderr.contains("agent"), "{}", dead.stderr);
    host.finish();
}

#[test]
fn steps_have_the_network_that_is_asked_for() {
    let host = Host::new();
    let links = "ls /sys/class/net | tr '\\n' ' ' > /told";
    let run = |flag: &str| format!("RUN {flag} {links}");
    assert_eq!(told(&host, &run("--network=none"), &[]), "lo");
    assert_eq!(told(&host, &run("--network=default"), &[]), "eth0 lo");
    assert_eq!(told(&host, &run(""), &["--network", "none"]), "lo");
    assert!(told(&host, &run("--network=host"), &["--allow", "network.host"]).contains("up0"));
    assert!(told(&host, &run("--network=host"), &["--network", "host"]).contains("up0"));
    // A step's own word goes before the build's.
    assert_eq!(told(&host, &run("--network=none "), &["--network", "host"]), "lo");
    host.corten(&["network", "create", "--subnet", "10.77.0.0/24", "mine"]).ok();
    let address = "RUN ip -4 addr show eth0 | grep -c 'inet 10.77.0' > /told";
    assert_eq!(told(&host, address, &["--network", "mine"]), "1");
    let refused = build(&host, &format!("FROM busybox\n{}\n", run("--network=host")), &[]);
    assert!(refused.code == 1 && refused.stderr.contains("--allow network.host"), "{}", refused.stderr);
    let wrong = build(&host, "FROM busybox\nRUN --network=hots true\n", &[]);
    assert!(wrong.code == 1 && wrong.stderr.contains("did you mean host?"), "{}", wrong.stderr);
    host.corten(&["network", "rm", "mine"]).ok();
    host.finish();
}

#[test]
fn steps_have_the_rights_and_limits_that_are_asked_for() {
    let host = Host::new();
    let rights = "grep CapEff /proc/self/status | cut -f2 > /told; mkdir -p /mnt; mount -t tmpfs x /mnt && echo mounts >> /told; true";
    let insecure = format!("RUN --security=insecure {rights}");
    let all = told(&host, &insecure, &["--allow", "security.insecure"]);
    // All that this machine has to give.
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap().trim().to_owned();
    assert_eq!(all, format!("{own}\nmounts"));
    assert_eq!(told(&host, &format!("RUN --security=sandbox {rights}"), &[]), "00000000a80425fb");
    let refused = build(&host, &format!("FROM busybox\n{insecure}\n"), &[]);
    assert!(refused.code == 1 && refused.stderr.contains("--allow security.insecure"), "{}", refused.stderr);
    let wrong = build(&host, "FROM busybox\nRUN true\n", &["--allow", "security.insecur"]);
    assert!(wrong.code == 1 && wrong.stderr.contains("did you mean security.insecure?"), "{}", wrong.stderr);

    assert_eq!(told(&host, "RUN ulimit -n > /told", &["--ulimit", "nofile=123:456"]), "123");
    let shm = "RUN df -m /dev/shm | tail -1 | awk '{print $2}' > /told";
    assert_eq!(told(&host, shm, &["--shm-size", "17m"]), "17");
    let hosts = "RUN grep -c '^10.1.2.3.elsewhere$' /etc/hosts > /told";
    assert_eq!(told(&host, hosts, &["--add-host", "elsewhere:10.1.2.3"]), "1");
    // Where it is on v1, or on v2.
    let memory = "RUN cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null > /told; true";
    assert_eq!(told(&host, memory, &["--memory", "64m"]), "67108864");
    let quota = "RUN cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null > /told || cut -d' ' -f1 /sys/fs/cgroup/cpu.max > /told";
    assert_eq!(told(&host, quota, &["--cpu-period", "100000", "--cpu-quota", "50000"]), "50000");
    let cpus = "RUN grep Cpus_allowed_list /proc/self/status | cut -f2 > /told";
    assert_eq!(told(&host, cpus, &["--cpuset-cpus", "0"]), "0");
    // More than its limit: the kernel ends it, and the error says with which code.
    let eats = "FROM busybox\nRUN head -c 100000000 /dev/zero | tail -c 90000000 > /dev/null\n";
    let eaten = build(&host, eats, &["--memory", "16m", "--memory-swap", "16m"]);
    assert!(eaten.code == 137 && eaten.stderr.contains("non-zero code: 137"), "{}", eaten.stderr);

    // The cgroup's place is seen from outside, while the step runs.
    let parent = format!("{}/deep", host.cgroup_parent());
    let text = "FROM busybox\nRUN sleep 6161\n";
    let there = context(&host, &[("Dockerfile", text)]).display().to_string();
    let mut running = host.corten(&["build", "--cgroup-parent", &parent, &there]).spawn();
    let pid = until("the step", || {
        let found = host.command(&["pgrep", "-xf", "sleep 6161"]).output().stdout;
        found.lines().next().map(str::to_owned)
    });
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(cgroups.contains(&format!("{parent}/build-")), "{cgroups}");
    running.kill().unwrap();
    running.wait().unwrap();
    until("its end", || {
        host.command(&["pgrep", "-xf", "sleep 6161"]).output().stdout.is_empty().then_some(())
    });
    let outside = build(&host, text, &["--cgroup-parent", "/a/../../b"]);
    assert!(outside.code == 1 && outside.stderr.contains("must not contain"), "{}", outside.stderr);
    host.finish();
}

#[test]
fn a_daemon_that_is_killed_leaves_nothing_and_forgets_nothing() {
    let mut host = Host::new();
    std::fs::write(host.path("s"), "hush").unwrap();
    let stage = |name: &str| {
        format!(
            "FROM busybox AS {name}\nRUN --mount=type=cache,id=t,target=/c echo {name} >> /c/runs; echo {name} > /{name}\nRUN --mount=type=cache,id=t,target=/c --mount=type=secret,id=s --mount=type=tmpfs,target=/t --mount=type=bind,from=base,target=/b,rw test -e /c/go || sleep 8765\n"
        )
    };
    let text = format!(
        "FROM busybox AS base\nRUN echo base > /base\n{}{}FROM busybox\nCOPY --from=a /a /a\nCOPY --from=b /b /b\n",
        stage("a"),
        stage("b").replace("target=/b,rw", "target=/m,rw")
    );
    let there = context(&host, &[("Dockerfile", &text)]).display().to_string();
    let secret = format!("id=s,src={}", host.path("s").display());
    let words = ["build", "--progress=plain", "-t", "x", "--secret", &secret, &there];
    let mut client = host.corten(&words).spawn();
    let asleep = |host: &Host| host.command(&["pgrep", "-xf", "sleep 8765"]).output().stdout.lines().count();
    until("both stages", || (asleep(&host) == 2).then_some(()));
    host.kill_daemon();
    client.wait().unwrap();
    assert_eq!(asleep(&host), 2, "shims outlive a daemon");
    host.start_daemon();
    until("the steps' end", || (asleep(&host) == 0).then_some(()));
    let left = |host: &Host, name: &str| std::fs::read_dir(host.path(name)).map_or(0, Iterator::count);
    until("the end of what they had", || {
        (left(&host, "data/rw") + left(&host, "run/build") == 0).then_some(())
    });
    assert_eq!(testkit::audit::mounts_in(&host.path("")), <[String; 0]>::default());
    assert_eq!(testkit::audit::cgroups(&host.name), <[String; 0]>::default());

    // What was finished is found; what was not is done.
    let mounts = host.path("data/build/mounts");
    let shared = std::fs::read_dir(&mounts).unwrap().next().unwrap().unwrap().path();
    let runs = std::fs::read_to_string(shared.join("runs")).unwrap();
    assert_eq!(runs.lines().count(), 2, "{runs}");
    std::fs::write(shared.join("go"), "").unwrap();
    let again = host.corten(&words).output();
    again.expect(0);
    assert_eq!(std::fs::read_to_string(shared.join("runs")).unwrap(), runs, "{}", again.stderr);
    assert_eq!(host.corten(&["run", "--rm", "x", "cat", "/a", "/b"]).ok(), "a\nb");
    host.finish();
}

#[test]
fn one_build_makes_an_image_for_each_platform() {
    let host = Host::new();
    let mut layout = Layout::default();
    let amd64 = layout.image("linux/amd64", &[(GZIP, image::busybox()), (GZIP, tar(&[("is", "amd64")]))]);
    let arm64 = layout.image("linux/arm64", &[(GZIP, image::busybox()), (GZIP, tar(&[("is", "arm64")]))]);
    let index = layout.index(&[amd64, arm64]);
    layout.name(&index, "docker.io/library/multi:1");
    testkit::write(&host.path("multi.tar"), &layout.tar());
    host.corten(&["load", "-i", &host.path("multi.tar").display().to_string()]).ok();

    // Cross-compiled: what is executed is of this machine, what comes of it is not.
    let text = "FROM --platform=$BUILDPLATFORM multi:1 AS make\nARG TARGETPLATFORM\nARG TARGETARCH\nRUN echo \"$TARGETPLATFORM by $(cat /is)\" > /made-$TARGETARCH\nFROM multi:1\nARG TARGETARCH\nCOPY --from=make /made-$TARGETARCH /made\nWORKDIR /w\nENV built=$TARGETARCH\n";
    let both = ["--platform", "linux/amd64,linux/arm64"];
    let built =
        build(&host, text, &[&both[..], &["-t", "out:1", "--provenance=true", "--sbom=true"]].concat());
    built.expect(0);
    assert!(built.stderr.contains("[linux/arm64 make 2/2]"), "{}", built.stderr);
    let out = host.path("out");
    let told = ["--provenance=true", "--sbom=true", "-o", &out.display().to_string()];
    build(&host, text, &[&both[..], &told].concat()).expect(0);
    for name in ["amd64", "arm64"] {
        let directory = out.join(format!("linux_{name}"));
        let read = |file: &str| std::fs::read_to_string(directory.join(file)).unwrap();
        // Here they speak of the files that they are beside.
        for (file, kind) in [
            ("sbom.spdx.json", "https://spdx.dev/Document"),
            ("provenance.json", "https://slsa.dev/provenance/v1"),
        ] {
            let statement: serde_json::Value = serde_json::from_str(&read(file)).unwrap();
            assert_eq!(statement["predicateType"], kind);
            let made =
                statement["subject"].as_array().unwrap().iter().find(|subject| subject["name"] == "made");
            let sum = host.command(&["sha256sum", &directory.join("made").display().to_string()]).ok();
            assert!(sum.starts_with(made.unwrap()["digest"]["sha256"].as_str().unwrap()), "{sum}");
        }
        assert_eq!((read("made"), read("is")), (format!("linux/{name} by amd64\n"), name.to_owned()));
        let platform = format!("linux/{name}");
        let of = |format: &str| {
            host.corten(&["image", "inspect", "--platform", &platform, "-f", format, "out:1"]).ok()
        };
        assert_eq!(of("{{.Architecture}}"), name);
        assert!(of("{{.Config.Env}}").contains(&format!("built={name}")));
    }
    let saved = host.path("saved").display().to_string();
    host.corten(&["save", "-o", &saved, "out:1"]).ok();
    let index = manifests(&host, &saved);
    let platforms: Vec<String> =
        index.iter().map(|m| format!("{}/{}", m["platform"]["os"], m["platform"]["architecture"])).collect();
    let unknown = "\"unknown\"/\"unknown\"";
    assert_eq!(platforms, ["\"linux\"/\"amd64\"", "\"linux\"/\"arm64\"", unknown, unknown]);

    // What would have to be executed there is not, where nothing emulates it, and is where something does.
    std::fs::write(host.path("c/hello"), arm64_program("of another machine\n")).unwrap();
    std::fs::set_permissions(host.path("c/hello"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let text = "FROM scratch\nCOPY hello /hello\nRUN [\"/hello\"]\n";
    let refused = build(&host, text, &["--platform", "linux/arm64"]);
    assert!(
        refused.code == 1
            && refused.stderr.contains("RUN for linux/arm64 needs an emulator")
            && refused.stderr.contains("Dockerfile:3"),
        "{}",
        refused.stderr
    );
    let emulator = Emulator::register();
    let emulated = build(&host, text, &["--platform", "linux/arm64"]);
    drop(emulator);
    assert!(emulated.code == 0 && emulated.stderr.contains("of another machine"), "{}", emulated.stderr);
    let wrong = build(&host, "FROM multi:1\n", &["--platform", "linux/mips63"]);
    assert!(
        wrong.code == 1 && wrong.stderr.contains("multi:1 is not here for linux/mips63"),
        "{}",
        wrong.stderr
    );
    // One that is for another platform only is taken, and said.
    let mut layout = Layout::default();
    let alone = layout.image("linux/arm64", &[(GZIP, tar(&[("is", "arm64")]))]);
    layout.name(&alone, "docker.io/library/alone:1");
    testkit::write(&host.path("alone.tar"), &layout.tar());
    host.corten(&["load", "-i", &host.path("alone.tar").display().to_string()]).ok();
    let warned = build(&host, "FROM alone:1\nWORKDIR /w\n", &[]);
    assert!(warned.code == 0 && warned.stderr.contains("InvalidBaseImagePlatform"), "{}", warned.stderr);
    host.finish();
}

/// An interpreter of arm64's programs, known to the kernel until this is dropped.
struct Emulator {
    mounted: bool,
}

impl Emulator {
    const PLACE: &str = "/proc/sys/fs/binfmt_misc";

    fn register() -> Self {
        let mounted = !Path::new(Self::PLACE).join("register").exists();
        if mounted {
            Command::new(&["mount", "-t", "binfmt_misc", "binfmt_misc", Self::PLACE]).ok();
        }
        // What begins as an ELF file for this machine does, but for its ABI and whether it is position-independent.
        let rule = ":qemu-aarch64:M::\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:/usr/bin/qemu-aarch64-static:F";
        std::fs::write(Path::new(Self::PLACE).join("register"), rule).expect("binfmt_misc takes a rule");
        Self { mounted }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = std::fs::write(Path::new(Self::PLACE).join("qemu-aarch64"), "-1");
        if self.mounted {
            let _ = Command::new(&["umount", Self::PLACE]).output();
        }
    }
}

/// A program for arm64 that says something: `write(1, text, len); exit(0)` in the smallest ELF file.
fn arm64_program(text: &str) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let length = u32::try_from(text.len()).unwrap();
    let code: [u32; 8] = [
        0xd280_0020,               // mov x0, #1
        0x1000_00e1,               // adr x1, text: 28 bytes on
        0xd280_0002 | length << 5, // mov x2, #length
        0xd280_0808,               // mov x8, #64 (write)
        0xd400_0001,               // svc #0
        0xd280_0000,               // mov x0, #0
        0xd280_0ba8,               // mov x8, #93 (exit)
        0xd400_0001,               // svc #0
    ];
    let size = HEADERS + 32 + text.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0".to_vec();
    for word in [BASE + HEADERS, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    // One segment, readable and executable: the whole file.
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, BASE, BASE, size, size, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    code.iter().for_each(|instruction| file.extend(instruction.to_le_bytes()));
    file.extend(text.as_bytes());
    file
}

/// The manifests in the index of a saved image.
fn manifests(host: &Host, archive: &str) -> Vec<serde_json::Value> {
    let read = |path: &str| -> serde_json::Value {
        serde_json::from_str(&host.command(&["tar", "-xOf", archive, path]).ok()).unwrap()
    };
    let top = read("index.json");
    let digest = top["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
    read(&format!("blobs/{digest}"))["manifests"].as_array().unwrap().clone()
}

#[test]
fn what_is_said_of_an_image_is_beside_it() {
    let host = Host::new();
    let status = "Package: bash\nStatus: install ok installed\nVersion: 5.2-1\nArchitecture: amd64\n";
    let there = context(&host, &[("status", status), ("os-release", "ID=debian\nVERSION_ID=\"12\"\n")]);
    std::fs::write(
        there.join("Dockerfile"),
        "FROM busybox\nARG SECRETIVE\nCOPY status /var/lib/dpkg/status\nCOPY os-release /etc/\nRUN --mount=type=secret,id=s true\n",
    )
    .unwrap();
    let path = there.display().to_string();
    let statements = |words: &[&str]| -> Vec<serde_json::Value> {
        host.corten(
            &[&["build", "-q", "-t", "x:1", "--build-arg", "SECRETIVE=hush-9"], words, &[&path]].concat(),
        )
        .ok();
        let saved = host.path("x.tar").display().to_string();
        host.corten(&["save", "-o", &saved, "x:1"]).ok();
        let read = |digest: &serde_json::Value| -> serde_json::Value {
            let path = format!("blobs/{}", digest.as_str().unwrap().replace(':', "/"));
            serde_json::from_str(&host.command(&["tar", "-xOf", &saved, &path]).ok()).unwrap()
        };
        let all = manifests(&host, &saved);
        assert_eq!(all.len(), 2);
        assert_eq!(all[1]["annotations"]["vnd.docker.reference.digest"], all[0]["digest"]);
        let manifest = read(&all[1]["digest"]);
        assert_eq!(manifest["subject"]["digest"], all[0]["digest"]);
        manifest["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| {
                let statement = read(&layer["digest"]);
                assert_eq!(layer["annotations"]["in-toto.io/predicate-type"], statement["predicateType"]);
                let subject = all[0]["digest"].as_str().unwrap().trim_start_matches("sha256:");
                assert_eq!(statement["subject"][0]["digest"]["sha256"], subject);
                statement
            })
            .collect()
    };
    let both = statements(&["--sbom=true", "--provenance=mode=max,builder-id=me"]);
    assert_eq!(both.len(), 2);
    let sbom = &both[0]["predicate"];
    assert_eq!(
        (&both[0]["predicateType"], &sbom["spdxVersion"]),
        (&"https://spdx.dev/Document".into(), &"SPDX-2.3".into())
    );
    let bash = &sbom["packages"][1];
    assert_eq!((&bash["name"], &bash["versionInfo"]), (&"bash".into(), &"5.2-1".into()));
    assert_eq!(
        bash["externalRefs"][0]["referenceLocator"],
        "pkg:deb/debian/bash@5.2-1?arch=amd64&distro=debian-12"
    );
    let max = &both[1]["predicate"];
    assert_eq!(both[1]["predicateType"], "https://slsa.dev/provenance/v1");
    let definition = &max["buildDefinition"];
    assert_eq!(definition["externalParameters"]["request"]["args"]["build-arg:SECRETIVE"], "hush-9");
    assert_eq!(definition["externalParameters"]["request"]["secrets"][0]["id"], "s");
    assert!(definition["resolvedDependencies"][0]["uri"].as_str().unwrap().starts_with("pkg:docker/busybox"));
    assert_eq!(definition["internalParameters"]["buildConfig"]["llbDefinition"].as_array().unwrap().len(), 4);
    assert_eq!(max["runDetails"]["builder"]["id"], "me");
    assert_eq!(max["runDetails"]["metadata"]["buildkit_completeness"]["request"], true);
    assert_eq!(
        max["runDetails"]["metadata"]["buildkit_metadata"]["source"]["infos"][0]["filename"],
        "Dockerfile"
    );

    let min = statements(&["--attest", "type=provenance,mode=min"]);
    let text = min[0].to_string();
    assert!(
        !text.contains("hush-9") && !text.contains("llbDefinition") && !text.contains("secrets"),
        "{text}"
    );
    assert_eq!(min[0]["predicate"]["runDetails"]["metadata"]["buildkit_completeness"]["request"], false);
    let old = statements(&["--provenance=version=v0.2,mode=min"]);
    assert_eq!(old[0]["predicateType"], "https://slsa.dev/provenance/v0.2");
    assert_eq!(old[0]["predicate"]["invocation"]["configSource"]["entryPoint"], "Dockerfile");
    let refused = host.corten(&["build", "--sbom=generator=x", &path]).fails(1);
    assert!(refused.contains("a generator's image"), "{refused}");

    // The engine tells of it.
    let told = |query: &str| -> serde_json::Value {
        let socket = host.path("corten.sock").display().to_string();
        let url = format!("http://localhost/v1.55/images/{query}");
        serde_json::from_str(&host.command(&["curl", "-sSg", "--unix-socket", &socket, &url]).ok()).unwrap()
    };
    let statement = &told("x:1/attestations?statement=true")[0];
    assert_eq!(statement["PredicateType"], "https://slsa.dev/provenance/v0.2");
    assert_eq!(statement["Statement"], old[0]);
    // Its id and time are the image's own, as the engine has seen them.
    let build = &told("x:1/json")["Identity"]["Build"][0];
    let metadata = &old[0]["predicate"]["metadata"];
    assert_eq!(build["Ref"], metadata["buildInvocationID"], "{build}");
    assert_eq!(build["CreatedAt"], metadata["buildStartedOn"]);
    let short = &told("x:1/attestations?type=https://slsa.dev/provenance/v0.2")[0];
    assert!(short.get("Statement").is_none() && short["Descriptor"] == statement["Descriptor"], "{short}");
    assert_eq!(told("x:1/attestations?type=https://spdx.dev/Document"), serde_json::json!([]));
    assert_eq!(told("busybox/attestations"), serde_json::json!([]));
    let platform = "platform=%7B%22os%22:%22linux%22,%22architecture%22:%22s390x%22%7D";
    let message = told(&format!("x:1/attestations?{platform}"))["message"].to_string();
    assert!(message.contains("does not provide the specified platform (linux/s390x)"), "{message}");
    let message = told(&format!("x:1/attestations?{platform}&{platform}"))["message"].to_string();
    assert!(message.contains("multiple platform parameters"), "{message}");

    // It goes where the image goes.
    let listen = "127.0.0.1:5007";
    let root = host.path("registry").display().to_string();
    let mut server = host.corten(&["registry", "serve", "--listen", listen, "--root", &root]).spawn();
    until("the registry", || {
        let answer = host.command(&["curl", "-s", "-m", "2", &format!("http://{listen}/v2/")]).output();
        (answer.code == 0).then_some(())
    });
    let name = format!("{listen}/x:1");
    host.corten(&["build", "-q", "--sbom=true", "-t", &name, "--push", &path]).ok();
    let id = host.corten(&["inspect", "-f", "{{.Id}}", &name]).ok();
    host.corten(&["rmi", "-f", &name]).ok();
    host.corten(&["pull", "-q", &name]).ok();
    assert_eq!(host.corten(&["inspect", "-f", "{{.Id}}", &name]).ok(), id);
    host.corten(&["run", "--rm", &name, "true"]).ok();
    let kinds = |told: serde_json::Value| -> Vec<String> {
        let all = told.as_array().unwrap().iter();
        all.map(|statement| statement["PredicateType"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(told(&format!("{name}/attestations"))), ["https://spdx.dev/Document"]);
    assert!(host.corten(&["images", "--tree"]).ok().contains("\n   └─ attestation "));
    // Where it came from is told under every name of it.
    host.corten(&["tag", &name, "y:1"]).ok();
    let from = serde_json::json!({ "Pull": [{ "Repository": format!("{listen}/x") }] });
    assert_eq!(told("y:1/json")["Identity"], from);
    let listed = told("json?manifests=1&identity=1");
    let named = |image: &&serde_json::Value| image["RepoTags"].as_array().unwrap().contains(&"y:1".into());
    let image = listed.as_array().unwrap().iter().find(named).unwrap();
    assert_eq!(image["Manifests"][0]["ImageData"]["Identity"], from, "{listed}");
    assert!(told("busybox/json").get("Identity").is_none());
    server.kill().unwrap();
    server.wait().unwrap();
    host.finish();
}
