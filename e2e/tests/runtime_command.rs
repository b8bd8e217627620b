//! The runtime as a command, driven by those who drive runc: Debian's dockerd with its containerd, and by hand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::Child;

use testkit::{Command, Host, image, program, until};

/// Our runtime under its own name, in a directory of the host's.
fn runtime(host: &Host) -> PathBuf {
    let path = host.path("corten-runtime");
    std::os::unix::fs::symlink(program("corten-shim"), &path).unwrap();
    path
}

/// Debian's dockerd, whose default runtime is ours.
struct Dockerd<'a> {
    host: &'a Host,
    daemon: Child,
    directory: String,
}

impl<'a> Dockerd<'a> {
    fn start(host: &'a Host) -> Self {
        let directory = host.path("dockerd").display().to_string();
        std::fs::create_dir_all(&directory).unwrap();
        let runtime = runtime(host).display().to_string();
        let script = format!(
            "exec dockerd --data-root {directory}/data --exec-root {directory}/run --pidfile {directory}/pid \
             -H unix://{directory}/s --add-runtime corten={runtime} --default-runtime corten --bridge none \
             --iptables=false --cgroup-parent /{} >{directory}/log 2>&1",
            directory.rsplit('/').nth(1).unwrap().to_lowercase()
        );
        let daemon = host.command(&["sh", "-c", &script]).spawn();
        let dockerd = Self { host, daemon, directory };
        until("dockerd", || (dockerd.docker(&["version"]).output().code == 0).then_some(()));
        let tar = host.path("busybox.tar");
        testkit::write(&tar, &image::busybox());
        dockerd.docker(&["import", "-c", "CMD [\"sh\"]", &tar.display().to_string(), "busybox:latest"]).ok();
        dockerd
    }

    fn docker(&self, arguments: &[&str]) -> Command {
        let socket = format!("unix://{}/s", self.directory);
        self.host.command(&[&["docker", "-H", &socket], arguments].concat())
    }
}

impl Drop for Dockerd<'_> {
    fn drop(&mut self) {
        // SIGTERM: it ends its containerd and unmounts what it mounted.
        let _ = Command::new(&["kill", &self.daemon.id().to_string()]).output();
        let _ = self.daemon.wait();
        let unmount = format!("umount -R {0}/data {0}/run/netns/* {0}/run 2>/dev/null; true", self.directory);
        let _ = Command::new(&["sh", "-c", &unmount]).output();
    }
}

#[test]
fn docker_runs_its_containers_with_it() {
    let host = Host::bare();
    let dockerd = Dockerd::start(&host);
    let docker = |arguments: &[&str]| dockerd.docker(arguments);
    assert_eq!(docker(&["run", "--rm", "busybox", "echo", "hello"]).ok(), "hello");
    docker(&["run", "--rm", "busybox", "sh", "-c", "exit 7"]).fails(7);
    docker(&["run", "--rm", "busybox", "no-such-program"]).fails(127);
    docker(&["run", "--rm", "busybox", "/etc"]).fails(126);
    // Six megabytes are enough for a small program; a runtime that needs more would be killed for it.
    docker(&["run", "--rm", "--memory", "6m", "busybox", "true"]).ok();
    assert_eq!(docker(&["run", "--rm", "--privileged", "busybox", "id", "-u"]).ok(), "0");
    let terminal = ["script", "-qec"];
    let socket = format!("unix://{}/s", dockerd.directory);
    let line = format!("docker -H {socket} run --rm -t busybox tty");
    let screen = host.command(&[&terminal[..], &[&line, "/dev/null"]].concat()).ok();
    assert_eq!(screen.trim(), "/dev/pts/0");

    docker(&["run", "-d", "--name", "c1", "--memory", "64m", "busybox", "sleep", "1000"]).ok();
    assert_eq!(docker(&["exec", "c1", "echo", "inside"]).ok(), "inside");
    docker(&["exec", "c1", "no-such-program"]).fails(126);
    assert!(docker(&["top", "c1"]).ok().contains("sleep 1000"));
    assert!(docker(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "c1"]).ok().ends_with("/ 64MiB"));
    docker(&["update", "--memory", "128m", "--memory-swap", "256m", "c1"]).ok();
    docker(&["pause", "c1"]).ok();
    assert_eq!(docker(&["inspect", "-f", "{{.State.Status}}", "c1"]).ok(), "paused");
    docker(&["unpause", "c1"]).ok();
    docker(&["kill", "-s", "KILL", "c1"]).ok();
    assert_eq!(docker(&["wait", "c1"]).ok(), "137");
    docker(&["start", "c1"]).ok();
    docker(&["rm", "-f", "c1"]).ok();
    drop(dockerd);
    host.finish();
}

/// A bundle of busybox beside the host's daemon, and the command on it.
struct Bundle<'a> {
    host: &'a Host,
    runtime: PathBuf,
}

impl<'a> Bundle<'a> {
    fn new(host: &'a Host) -> Self {
        let tar = host.path("busybox.tar");
        testkit::write(&tar, &image::busybox());
        let rootfs = host.path("bundle/rootfs");
        std::fs::create_dir_all(&rootfs).unwrap();
        Command::new(&["tar", "-xf", &tar.display().to_string(), "-C", &rootfs.display().to_string()]).ok();
        let bundle = Self { host, runtime: runtime(host) };
        bundle.command(&["spec", "--bundle", &host.path("bundle").display().to_string()]).ok();
        bundle
    }

    /// The configuration with `change` made to it, and a script to run.
    fn configure(&self, script: &str, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.host.path("bundle/config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = serde_json::json!(["sh", "-c", script]);
        config["linux"]["cgroupsPath"] = format!("/{}/bundle", self.name()).into();
        change(&mut config);
        testkit::write(&path, config.to_string().as_bytes());
    }

    fn name(&self) -> String {
        self.host.path("").file_name().unwrap().to_string_lossy().to_lowercase()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let (runtime, root) =
            (self.runtime.display().to_string(), self.host.path("rt").display().to_string());
        self.host.command(&[&[runtime.as_str(), "--root", &root], arguments].concat())
    }

    fn run(&self, verb: &str) -> Command {
        self.command(&[verb, "--bundle", &self.host.path("bundle").display().to_string(), "c1"])
    }

    fn status(&self) -> String {
        let state: serde_json::Value = serde_json::from_str(&self.command(&["state", "c1"]).ok()).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    /// Nothing of the container is left.
    fn is_clean(&self) {
        if self.host.path("rt").exists() {
            assert_eq!(self.command(&["list", "-q"]).ok(), "");
        }
        let cgroup =
            format!("ls -d /sys/fs/cgroup/{0}/bundle /sys/fs/cgroup/*/{0}/bundle 2>/dev/null", self.name());
        assert_eq!(Command::new(&["sh", "-c", &format!("{cgroup}; true")]).ok(), "");
    }
}

#[test]
fn a_container_goes_through_its_states() {
    let host = Host::bare();
    let bundle = Bundle::new(&host);
    bundle.configure("read x; exit 3", |_| {});
    let script = format!(
        "exec {} --root {} create --bundle {} --pid-file {} c1 < /dev/zero",
        bundle.runtime.display(),
        host.path("rt").display(),
        host.path("bundle").display(),
        host.path("pid").display()
    );
    host.command(&["sh", "-c", &format!("{script} >/dev/null 2>&1")]).ok();
    assert_eq!(bundle.status(), "created");
    let pid = std::fs::read_to_string(host.path("pid")).unwrap();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    bundle.run("create").fails(1);
    bundle.command(&["start", "c1"]).ok();
    assert_eq!(bundle.status(), "running");
    bundle.command(&["start", "c1"]).fails(1);
    bundle.command(&["exec", "c1", "sh", "-c", "exit 5"]).fails(5);
    bundle.command(&["exec", "c1", "no-such-program"]).fails(255);
    bundle.command(&["delete", "c1"]).fails(1);
    bundle.command(&["pause", "c1"]).ok();
    assert_eq!(bundle.status(), "paused");
    bundle.command(&["resume", "c1"]).ok();
    bundle.command(&["kill", "c1", "KILL"]).ok();
    until("its end", || (bundle.status() == "stopped").then_some(()));
    bundle.command(&["kill", "c1", "KILL"]).fails(1);
    bundle.command(&["delete", "c1"]).ok();
    bundle.command(&["state", "c1"]).fails(1);
    bundle.is_clean();
    host.finish();
}

#[test]
fn namespaces_of_its_own_ids_and_clocks() {
    let host = Host::bare();
    let bundle = Bundle::new(&host);
    let mapping = serde_json::json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    bundle.configure(
        "id -u; cut -d' ' -f5- /proc/self/uid_map | tr -s ' '; cat /proc/self/timens_offsets",
        |config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.push(serde_json::json!({ "type": "user" }));
            namespaces.push(serde_json::json!({ "type": "time" }));
            config["linux"]["uidMappings"] = mapping.clone();
            config["linux"]["gidMappings"] = mapping;
            config["linux"]["timeOffsets"] = serde_json::json!({ "boottime": { "secs": 777 } });
        },
    );
    // Its root makes mount points there.
    Command::new(&["chown", "-R", "100000:100000", &host.path("bundle/rootfs").display().to_string()]).ok();
    let text = bundle.run("run").ok();
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "100000", "65536", "monotonic", "0", "0", "boottime", "777", "0"]);
    bundle.is_clean();
    host.finish();
}

#[test]
fn hooks_run_in_their_order_and_can_refuse() {
    let host = Host::bare();
    let bundle = Bundle::new(&host);
    let log = host.path("hooks.log").display().to_string();
    let kinds = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    let hook = |kind: &str| {
        let script = format!("echo {kind} $(grep -o '\"status\":\"[a-z]*\"') >> {log}");
        serde_json::json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }])
    };
    bundle.configure("true", |config| {
        for kind in kinds {
            config["hooks"][kind] = hook(kind);
        }
    });
    bundle.run("run").ok();
    let said = std::fs::read_to_string(&log).unwrap().replace('"', "");
    let expected = "prestart status:creating\ncreateRuntime status:creating\ncreateContainer status:creating\n\
                    poststart status:running\npoststop status:stopped\n";
    assert_eq!(said, expected);
    bundle.configure("echo never", |config| {
        config["hooks"] = serde_json::json!({ "createRuntime": [{ "path": "/bin/false" }] });
    });
    let refused = bundle.run("run").fails(1);
    assert!(!format!("{refused:?}").contains("never"));
    bundle.is_clean();
    host.finish();
}

/// A device of the host's goes into the container, with another name if it is asked for.
#[test]
fn network_devices_are_moved_in() {
    let host = Host::bare();
    let bundle = Bundle::new(&host);
    for name in ["ct0", "ct1"] {
        let peer = format!("{name}p");
        host.command(&["ip", "link", "add", name, "type", "veth", "peer", "name", &peer]).ok();
        host.command(&["ip", "addr", "add", "192.0.2.7/32", "dev", name]).ok();
    }
    bundle.configure("ip -o addr show dev inside; ip -o link | grep -c ct1", |config| {
        config["linux"]["netDevices"] = serde_json::json!({ "ct0": { "name": "inside" }, "ct1": {} });
    });
    let seen = bundle.run("run").ok();
    assert!(seen.contains("192.0.2.7/32") && seen.ends_with("\n1"), "{seen}");
    host.command(&["ip", "link", "show", "ct1"]).fails(1);
    bundle.configure("true", |config| {
        config["linux"]["netDevices"] = serde_json::json!({ "no-such-device": {} });
    });
    let said = bundle.run("run").fails(1);
    assert!(said.contains("no-such-device"), "{said}");
    bundle.is_clean();
    host.finish();
}

/// What `features` tells is of the specification's form, and true.
#[test]
fn features_are_told() {
    let host = Host::bare();
    let bundle = Bundle::new(&host);
    let features: serde_json::Value = serde_json::from_str(&bundle.command(&["features"]).ok()).unwrap();
    assert_eq!(features["ociVersionMax"], "1.3.0");
    assert_eq!(features["hooks"].as_array().unwrap().len(), 6);
    let linux = &features["linux"];
    for (pointer, word) in [
        ("/namespaces", "time"),
        ("/capabilities", "CAP_CHECKPOINT_RESTORE"),
        ("/seccomp/actions", "SCMP_ACT_NOTIFY"),
        ("/seccomp/knownFlags", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
        ("/memoryPolicy/modes", "MPOL_WEIGHTED_INTERLEAVE"),
        ("/memoryPolicy/flags", "MPOL_F_STATIC_NODES"),
    ] {
        let list = linux.pointer(pointer).unwrap().as_array().unwrap();
        assert!(list.iter().any(|item| item == word), "{pointer}: {linux}");
    }
    assert_eq!(linux["cgroup"]["systemd"], true);
    assert_eq!(linux["netDevices"]["enabled"], true);
    assert_eq!(linux["mountExtensions"]["idmap"]["enabled"], true);
    assert_eq!(linux["intelRdt"]["monitoring"], true);
    host.finish();
}

/// What runc's users ask of a container that runs, in runc's forms.
#[test]
fn a_running_container_is_looked_at_and_changed() {
    let host = Host::bare();
    let bundle = Bundle::new(&host);
    bundle.configure("while :; do sleep 1000; done", |config| {
        config["linux"]["resources"]["memory"] = serde_json::json!({ "limit": 64 << 20 });
    });
    let directory = host.path("bundle").display().to_string();
    let (runtime, root) = (bundle.runtime.display().to_string(), host.path("rt").display().to_string());
    let line =
        format!("exec {runtime} --root {root} run -d --bundle {directory} c1 </dev/null >/dev/null 2>&1");
    host.command(&["sh", "-c", &line]).ok();
    let json =
        |words: &[&str]| -> serde_json::Value { serde_json::from_str(&bundle.command(words).ok()).unwrap() };
    let pid = json(&["state", "c1"])["pid"].to_string();

    // The host's ps, with what it is told.
    let told = bundle.command(&["ps", "c1"]).ok();
    let (titles, lines) = told.split_once('\n').unwrap();
    assert_eq!(
        titles.split_whitespace().collect::<Vec<_>>(),
        ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    );
    assert!(
        lines.contains("sh -c while") && lines.contains("sleep 1000") && !lines.contains("cortend"),
        "{told}"
    );
    let told = bundle.command(&["ps", "c1", "-o", "pid,comm", "-p", &pid]).ok();
    assert_eq!(told.split_whitespace().collect::<Vec<_>>(), ["PID", "COMMAND", &pid, "sh"]);
    assert!(bundle.command(&["ps", "c1", "-o", "comm"]).fails(1).contains("couldn't find PID field"));
    let pids = json(&["ps", "--format", "json", "c1"]);
    let pids: Vec<String> = pids.as_array().unwrap().iter().map(|one| one.to_string()).collect();
    assert!(pids.contains(&pid), "{pids:?}");
    assert!(bundle.command(&["ps", "--format", "xml", "c1"]).fails(1).contains("invalid format option"));
    assert_eq!(json(&["list", "--format", "json"])[0]["owner"], "root");

    let event = json(&["events", "--stats", "c1"]);
    assert_eq!((&event["type"], &event["id"]), (&"stats".into(), &"c1".into()));
    let stats = &event["data"];
    for pointer in [
        "/cpu/usage/total",
        "/memory/usage/usage",
        "/memory/raw",
        "/pids/current",
        "/cpuset/cpus/0",
        "/blkio",
        "/hugetlb",
    ] {
        assert!(stats.pointer(pointer).is_some_and(|told| !told.is_null()), "{pointer}: {stats}");
    }
    assert_eq!(stats["memory"]["usage"]["limit"], 64 << 20);
    assert!(
        bundle.command(&["events", "--interval", "0s", "c1"]).fails(1).contains("must be greater than 0")
    );

    // One number of a pair changes, the other stays.
    let quota_and_period = || {
        let name = bundle.name();
        let read = |path: String| std::fs::read_to_string(path).map(|text| text.trim().replace('\n', " "));
        let v1 = |file: &str| read(format!("/sys/fs/cgroup/cpu/{name}/bundle/cpu.cfs_{file}_us"));
        read(format!("/sys/fs/cgroup/{name}/bundle/cpu.max"))
            .unwrap_or_else(|_| format!("{} {}", v1("quota").unwrap(), v1("period").unwrap()))
    };
    bundle.command(&["update", "--cpu-quota", "20000", "--cpu-period", "50000", "c1"]).ok();
    assert_eq!(quota_and_period(), "20000 50000");
    bundle.command(&["update", "--cpu-quota", "25000", "c1"]).ok();
    assert_eq!(quota_and_period(), "25000 50000");
    bundle.command(&["update", "--cpu-period", "40000", "--cpu-share", "", "c1"]).ok();
    assert_eq!(quota_and_period(), "25000 40000");
    bundle.command(&["update", "--memory", "-1", "c1"]).ok();
    let limit = json(&["events", "--stats", "c1"])["data"]["memory"]["usage"]["limit"].as_u64().unwrap();
    assert!(limit > 1 << 60, "{limit}");
    let said = bundle.command(&["update", "--kernel-memory", "64m", "c1"]).output();
    assert!(said.code == 0 && said.stderr.contains("Kernel memory settings are ignored"), "{said:?}");
    let said = bundle.command(&["update", "--l3-cache-schema", "L3:0=f", "c1"]).fails(1);
    assert!(said.contains("linux.intelRdt"), "{said}");
    assert!(bundle.command(&["checkpoint", "c1"]).fails(1).contains("not supported"));
    assert!(bundle.command(&["exec", "--help"]).ok().starts_with("USAGE"));
    bundle.command(&["delete", "--force", "c1"]).ok();
    bundle.is_clean();
    host.finish();
}

/// `exec --cgroup`: in a cgroup of the container's own making.
#[test]
fn an_exec_goes_into_a_cgroup_below_the_containers() {
    let host = Host::bare();
    let bundle = Bundle::new(&host);
    bundle.configure("while :; do sleep 1000; done", |_| {});
    let directory = host.path("bundle").display().to_string();
    let (runtime, root) = (bundle.runtime.display().to_string(), host.path("rt").display().to_string());
    let line =
        format!("exec {runtime} --root {root} run -d --bundle {directory} c1 </dev/null >/dev/null 2>&1");
    host.command(&["sh", "-c", &line]).ok();
    let name = bundle.name();
    let is_v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let exec = |cgroups: &[&str]| {
        let mut words = vec!["exec"];
        cgroups.iter().for_each(|cgroup| words.extend(["--cgroup", cgroup]));
        bundle.command(&[&words[..], &["c1", "cat", "/proc/self/cgroup"]].concat())
    };
    let line = |told: &str, controller: &str| {
        let of = |line: &&str| line.split(':').nth(1).unwrap().split(',').any(|one| one == controller);
        told.lines().find(of).unwrap().rsplit(':').next().unwrap().to_owned()
    };
    for (bad, why) in [
        (&[".."][..], "cross-device link"),
        (&["nonexistent"], "no such file or directory"),
        (&["whaaat:/"], "whaaat"),
        (&["a", "b"], "missing <controller>: prefix"),
    ] {
        let said = exec(bad).fails(255).to_lowercase();
        assert!(said.contains(why), "{bad:?}: {said}");
    }
    if is_v2 {
        std::fs::create_dir(format!("/sys/fs/cgroup/{name}/bundle/sub")).unwrap();
        let told = exec(&["sub"]).ok();
        assert!(line(&told, "").ends_with("/sub"), "{told}");
        assert!(!line(&exec(&["/"]).ok(), "").ends_with("/sub"));
    } else {
        for controller in ["memory", "pids"] {
            std::fs::create_dir(format!("/sys/fs/cgroup/{controller}/{name}/bundle/sub")).unwrap();
        }
        let told = exec(&["memory:sub", "pids:/sub"]).ok();
        let places =
            ["memory", "pids", "freezer"].map(|controller| line(&told, controller).ends_with("/sub"));
        assert_eq!(places, [true, true, false], "{told}");
        assert!(exec(&["sub"]).fails(255).to_lowercase().contains("no such file or directory"));
    }
    bundle.command(&["delete", "--force", "c1"]).ok();
    bundle.is_clean();
    host.finish();
}

/// A supervisor gets the process by its descriptor, and need not trust a number.
#[test]
fn a_supervisor_gets_the_pidfd() {
    let host = Host::bare();
    let bundle = Bundle::new(&host);
    bundle.configure("sleep 1000", |_| {});
    let directory = host.path("bundle").display().to_string();
    let socket = host.path("pidfd").display().to_string();
    // Runs the command given to it, and tells the word and the pid of what came through the socket.
    let script = "import os, socket, subprocess, sys\n\
                  listener = socket.socket(socket.AF_UNIX)\n\
                  listener.bind(sys.argv[1])\n\
                  listener.listen()\n\
                  none = subprocess.DEVNULL\n\
                  subprocess.run(sys.argv[2:], check=True, stdin=none, stdout=none, stderr=none)\n\
                  word, fds, _, _ = socket.recv_fds(listener.accept()[0], 16, 1)\n\
                  info = open(f'/proc/self/fdinfo/{fds[0]}').read()\n\
                  print(word.decode(), info.split('Pid:')[1].split()[0])\n\
                  os.unlink(sys.argv[1])\n";
    let runtime = bundle.runtime.display().to_string();
    let root = host.path("rt").display().to_string();
    let received = |arguments: &[&str]| {
        let command = ["python3", "-c", script, &socket, &runtime, "--root", &root];
        host.command(&[&command[..], arguments].concat()).ok()
    };
    let init = received(&["create", "--bundle", &directory, "--pidfd-socket", &socket, "c1"]);
    let state: serde_json::Value = serde_json::from_str(&bundle.command(&["state", "c1"]).ok()).unwrap();
    assert_eq!(init, format!("standard {}", state["pid"]));
    bundle.command(&["start", "c1"]).ok();
    let exec = received(&["exec", "-d", "--pidfd-socket", &socket, "c1", "sleep", "1000"]);
    assert!(exec.starts_with("setns ") && exec != init, "{exec}");
    bundle.command(&["delete", "--force", "c1"]).ok();
    bundle.is_clean();
    host.finish();
}

/// Podman asks for more descriptors than a host without CAP_SYS_RESOURCE gives.
#[test]
fn a_limit_that_cannot_be_raised_is_a_warning() {
    let host = Host::bare();
    let bundle = Bundle::new(&host);
    bundle.configure("ulimit -Hn", |config| {
        let limit = serde_json::json!({"type": "RLIMIT_NOFILE", "soft": 1_048_576, "hard": 1_u64 << 30});
        config["process"]["rlimits"] = [limit].into();
    });
    let log = host.path("log").display().to_string();
    let directory = host.path("bundle").display().to_string();
    let out = bundle.command(&["--log", &log, "--log-format", "json", "run", "--bundle", &directory, "c1"]);
    let given = out.ok();
    let said = std::fs::read_to_string(&log).unwrap();
    let line: serde_json::Value = serde_json::from_str(said.trim()).unwrap();
    let words = format!("RLIMIT_NOFILE stays at {given}: raising it to 1073741824 takes CAP_SYS_RESOURCE");
    assert_eq!((line["level"].as_str(), line["msg"].as_str()), (Some("warning"), Some(words.as_str())));
    bundle.is_clean();
    host.finish();
}

#[test]
fn what_is_invalid_is_refused_before_anything_is_made() {
    let host = Host::bare();
    let bundle = Bundle::new(&host);
    let cases: [(&str, serde_json::Value, &str); 8] = [
        (
            "/linux/namespaces",
            serde_json::json!([{ "type": "pid" }, { "type": "uts" }]),
            "there is no mount namespace",
        ),
        ("/linux/mountLabel", "system_u:object_r:container_file_t:s0".into(), "linux.mountLabel"),
        ("/linux/rootfsPropagation", "sideways".into(), "linux.rootfsPropagation"),
        ("/process/user/uid", (-1).into(), "process.user.uid"),
        ("/linux/sysctl", serde_json::json!({ "vm.swappiness": "1" }), "vm.swappiness"),
        ("/linux/intelRdt", serde_json::json!({ "closID": "x" }), "linux.intelRdt"),
        ("/process/apparmorProfile", "x".into(), "process.apparmorProfile"),
        (
            "/linux/uidMappings",
            serde_json::json!([{ "containerID": 0, "hostID": 0, "size": 1 }]),
            "linux.uidMappings",
        ),
    ];
    let original = std::fs::read(host.path("bundle/config.json")).unwrap();
    for (pointer, value, word) in cases {
        testkit::write(&host.path("bundle/config.json"), &original);
        bundle.configure("echo never", |config| {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            config.pointer_mut(parent).unwrap()[name] = value;
        });
        let refused = format!("{:?}", bundle.run("run").fails(1));
        assert!(refused.contains(word) && !refused.contains("never\\n"), "{pointer}: {refused}");
        bundle.is_clean();
    }
    host.finish();
}

/// CVE-2019-5736 and CVE-2024-21626: the runtime's own file, and what it has open.
#[test]
fn the_runtime_can_neither_be_overwritten_nor_looked_through() {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;
    const O_PATH: i32 = 0o10_000_000;
    const EROFS: i32 = 30;
    const ETXTBSY: i32 = 26;
    let host = Host::bare();
    let bundle = Bundle::new(&host);
    bundle.configure("true", |_| {});
    let pid = host.path("pid").display().to_string();
    let bundle_path = host.path("bundle").display().to_string();
    let (runtime, root) = (bundle.runtime.display(), host.path("rt"));
    let line = format!(
        "{runtime} --root {} create --bundle {bundle_path} --pid-file {pid} c1 >/dev/null 2>&1",
        root.display()
    );
    host.command(&["sh", "-c", &line]).ok();
    // Init still is a copy of the runtime. Whoever holds its file cannot write to it when nobody runs it any more.
    let exe = format!("/proc/{}/exe", std::fs::read_to_string(&pid).unwrap());
    let held = std::fs::File::options().read(true).custom_flags(O_PATH).open(exe).unwrap();
    bundle.command(&["delete", "--force", "c1"]).ok();
    let again = format!("/proc/self/fd/{}", held.as_raw_fd());
    // While another test's process runs the file, that is what stands in the way.
    let errno = until("a moment when nobody runs it", || {
        let error = std::fs::File::options().write(true).open(&again).unwrap_err();
        (error.raw_os_error() != Some(ETXTBSY)).then(|| error.raw_os_error())
    });
    assert_eq!(errno, Some(EROFS));

    bundle.configure("ls /proc/self/fd", |_| {});
    let line = format!("exec 7</etc 9</; {runtime} --root {} run --bundle {bundle_path} c1", root.display());
    // 3 is the directory that ls reads.
    assert_eq!(
        host.command(&["sh", "-c", &line]).ok().split_whitespace().collect::<Vec<_>>(),
        ["0", "1", "2", "3"]
    );
    bundle.is_clean();
    host.finish();
}

/// Wherever the creating process is killed, `delete` leaves nothing.
#[test]
fn a_killed_create_leaves_nothing_after_delete() {
    let host = Host::bare();
    let bundle = Bundle::new(&host);
    // The hook kills its parent in the middle; everywhere else, the time does.
    let kill = serde_json::json!([{ "path": "/bin/sh", "args": ["sh", "-c", "kill -9 $PPID"] }]);
    for kind in ["prestart", "createRuntime", "poststart"] {
        bundle.configure("exec sleep 1000 >/dev/null 2>&1", |config| {
            config["hooks"] = serde_json::json!({ kind: kill })
        });
        let _ = bundle.run("run").output();
        bundle.command(&["delete", "--force", "c1"]).ok();
        bundle.is_clean();
    }
    bundle.configure("exec sleep 1000 >/dev/null 2>&1", |config| config["hooks"] = serde_json::json!({}));
    for microseconds in (0..40).map(|step| step * 500) {
        let script = format!(
            "{} --root {} create --bundle {} c1 >/dev/null 2>&1 & p=$!; busybox usleep {microseconds}; kill -9 $p; wait $p; true",
            bundle.runtime.display(),
            host.path("rt").display(),
            host.path("bundle").display()
        );
        host.command(&["sh", "-c", &script]).ok();
        bundle.command(&["delete", "--force", "c1"]).ok();
        bundle.is_clean();
    }
    host.finish();
}
