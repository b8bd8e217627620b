//! The daemon itself: its configuration, its sockets, its start and its end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use serde_json::{Value, json};
use testkit::{Command, Host, program, until, write};

/// A CA, a certificate for the daemon and one for a client, under `directory`.
fn certificates(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "the CA of a test");
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    write(&directory.join("ca.pem"), ca.pem().as_bytes());
    for (name, usage) in
        [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)]
    {
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        leaf.extended_key_usages = vec![usage];
        let leaf = leaf.signed_by(&key, &ca).unwrap();
        write(&directory.join(format!("{name}.pem")), leaf.pem().as_bytes());
        write(&directory.join(format!("{name}-key.pem")), key.serialize_pem().as_bytes());
    }
}

fn shown(path: PathBuf) -> String {
    path.display().to_string()
}

fn signal(host: &Host, name: &str) {
    host.command(&["kill", name, &host.daemon_pid().to_string()]).ok();
}

/// A line of the daemon's log.
fn logged(host: &Host, text: &str) {
    until(text, || host.daemon_log().contains(text).then_some(()));
}

/// The last event that passes a filter. `--until` is in whole seconds: what happened just now comes a little later.
fn event(host: &Host, filter: &str) -> Value {
    let query = ["events", "--since", "0", "--until", "0s", "-f", filter, "--format", "{{json .}}"];
    let line = until(filter, || host.docker(&query).ok().lines().last().map(str::to_owned));
    serde_json::from_str(&line).unwrap()
}

#[test]
fn tls_lets_in_only_clients_of_its_ca() {
    let mut host = Host::stopped();
    let (ours, theirs) = (host.path("tls"), host.path("other"));
    certificates(&ours);
    certificates(&theirs);
    let file = |directory: &Path, name: &str| shown(directory.join(name));
    let (ca, cert, key) = (file(&ours, "ca.pem"), file(&ours, "server.pem"), file(&ours, "server-key.pem"));
    let hosts = ["-H", "tcp://127.0.0.1:2376", "--tlsverify"];
    let files = ["--tlscacert", &ca, "--tlscert", &cert, "--tlskey", &key];
    host.start_daemon_with(
        &[],
        &[hosts, files[..3].try_into().unwrap(), files[3..].try_into().unwrap()].concat(),
    );
    host.import_busybox();

    let docker = |identity: &Path, words: &[&str]| {
        let (cert, key) = (file(identity, "client.pem"), file(identity, "client-key.pem"));
        let tls = ["docker", "--tlsverify", "--tlscacert", &ca, "--tlscert", &cert, "--tlskey", &key];
        let words = [&tls[..], &["-H", "tcp://127.0.0.1:2376"], words].concat();
        host.command(&words).env("DOCKER_CONFIG", &shown(host.path("docker")))
    };
    assert_eq!(docker(&ours, &["version", "-f", "{{.Server.Platform.Name}}"]).ok(), "Corten");
    let refused = docker(&theirs, &["version"]).fails(1);
    assert!(refused.contains("certificate") || refused.contains("tls"), "{refused}");

    // Attached streams, both ways, larger than any buffer.
    let sum =
        docker(&ours, &["run", "--rm", "-i", "busybox", "sh", "-c", "wc -c; head -c 3000000 /dev/zero"])
            .stdin(vec![b'x'; 2_000_000])
            .output();
    sum.expect(0);
    assert!(sum.stdout.starts_with("2000000\n"), "{}", &sum.stdout[..40.min(sum.stdout.len())]);
    assert_eq!(sum.stdout.len(), 8 + 3_000_000);

    // HTTP/2 is agreed on in the handshake; without a certificate nobody comes in.
    let (cert, key) = (file(&ours, "client.pem"), file(&ours, "client-key.pem"));
    let url = "https://127.0.0.1:2376/version";
    let curl =
        ["curl", "-sS", "-m", "10", "--cacert", &ca, "-o", "/dev/null", "-w", "%{http_version} %{http_code}"];
    let identity = ["--cert", &cert, "--key", &key];
    for (version, answer) in [("--http2", "2 200"), ("--http1.1", "1.1 200")] {
        assert_eq!(host.command(&[&curl[..], &identity, &[version, url]].concat()).ok(), answer);
    }
    assert_ne!(host.command(&[&curl[..], &[url]].concat()).output().code, 0);
    // A client that never begins the handshake does not keep the others out.
    let mut silent = host.command(&["socat", "TCP:127.0.0.1:2376", "-"]).spawn();
    assert_eq!(docker(&ours, &["version", "-f", "{{.Server.Os}}"]).ok(), "linux");
    silent.kill().unwrap();
    silent.wait().unwrap();
    host.finish();
}

#[test]
fn an_address_that_others_reach_needs_verified_tls() {
    let cortend = shown(program("cortend"));
    let refused = Command::new(&[&cortend, "--validate", "-H", "tcp://0.0.0.0:2375"]).fails(1);
    assert!(refused.contains("--tlsverify"), "{refused}");
    Command::new(&[&cortend, "--validate", "-H", "tcp://0.0.0.0:2375", "--tls=false"]).ok();
}

#[test]
fn the_configuration_file_is_checked_and_honoured() {
    let mut host = Host::stopped();
    let (file, cortend) = (host.path("daemon.json"), shown(program("cortend")));
    let path = shown(file.clone());
    let put = |value: Value| write(&file, value.to_string().as_bytes());
    let validate =
        |flags: &[&str]| Command::new(&[&[&cortend, "--validate", "--config-file", &path], flags].concat());

    put(json!({ "debug": false, "hosts": ["fd://"] }));
    assert_eq!(validate(&[]).output().stderr, "configuration OK\n");
    let text = validate(&["--debug", "-H", "unix:///x"]).fails(1);
    assert_eq!(
        text,
        format!(
            "unable to configure the Docker daemon with file {path}: the following directives are specified both as \
             a flag and in the configuration file: debug: (from flag: true, from file: false), hosts: (from flag: \
             [unix:///x], from file: [fd://])\n"
        )
    );
    put(json!({ "colour": "red" }));
    let text = validate(&[]).fails(1);
    assert!(text.contains("the following directives don't match any configuration option: colour"), "{text}");
    put(json!({ "log-opts": { "max-file": 3 } }));
    assert!(validate(&[]).fails(1).contains("log-opts.max-file: expected a string, found a number"));

    let proxies = json!({ "http-proxy": "http://u:secret@proxy:1", "no-proxy": "localhost" });
    let settings = json!({
        "labels": ["tier=test"], "log-opts": { "max-size": "1m" }, "default-shm-size": "8m", "dns": ["192.0.2.53"],
        "default-ulimits": { "nofile": { "Name": "nofile", "Soft": 321, "Hard": 654 } }, "ip": "127.0.0.1",
        "mtu": 1400, "bip": "10.99.0.1/24", "fixed-cidr": "10.99.0.128/25", "default-cgroupns-mode": "host",
        "default-network-opts": { "bridge": { "com.docker.network.driver.mtu": "1300" } },
        "host-gateway-ips": ["192.0.2.1"], "registry-mirrors": ["https://mirror.example"],
        "insecure-registries": ["reg.example:5000"], "proxies": proxies, "features": { "buildkit": true },
        "default-stop-timeout": 1, "no-new-privileges": true, "userland-proxy": false,
    });
    put(settings.clone());
    host.start_daemon_with(&[], &["--config-file", &path]);
    host.import_busybox();
    let info: Value = serde_json::from_str(&host.docker(&["info", "-f", "{{json .}}"]).ok()).unwrap();
    assert_eq!(info["Labels"], json!(["tier=test"]));
    assert_eq!(info["HttpProxy"], "http://xxxxx:xxxxx@proxy:1");
    assert_eq!(info["RegistryConfig"]["Mirrors"], json!(["https://mirror.example"]));

    let script = "ulimit -Sn; ulimit -Hn; df -k /dev/shm | tail -1; cat /etc/resolv.conf /etc/hosts; ip link show eth0; \
                  ip -4 addr show eth0; grep NoNewPrivs /proc/self/status";
    let run = [
        "run",
        "--name",
        "box",
        "-p",
        "80",
        "--add-host",
        "gate:host-gateway",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    let output = host.docker(&run).ok();
    for part in [
        "321\n654\n",
        " 8192 ",
        "nameserver 192.0.2.53",
        "192.0.2.1\tgate",
        "mtu 1400",
        "inet 10.99.0.12",
        "1",
    ] {
        assert!(output.contains(part), "{part:?} is not in\n{output}");
    }
    let inspected: Value = serde_json::from_str(&host.docker(&["inspect", "box"]).ok()).unwrap();
    assert_eq!(inspected[0]["HostConfig"]["LogConfig"]["Config"]["max-size"], "1m");
    let id = host.docker(&["run", "-d", "-p", "80", "busybox", "sh", "-c", "trap '' TERM; sleep 1000"]).ok();
    assert!(host.docker(&["port", &id, "80"]).ok().starts_with("127.0.0.1:"));
    host.docker(&["stop", &id]).ok();
    host.docker(&["network", "create", "n"]).ok();
    assert!(
        host.docker(&["run", "--rm", "--network", "n", "busybox", "ip", "link", "show", "eth0"])
            .ok()
            .contains("mtu 1300")
    );
    host.docker(&["network", "rm", "n"]).ok();

    // SIGHUP: what Docker reloads changes, and is told; a wrong file changes nothing.
    let mut changed = settings.clone();
    changed["labels"] = json!(["tier=changed"]);
    changed["debug"] = json!(true);
    changed["max-concurrent-downloads"] = json!(7);
    changed["mtu"] = json!(1200);
    put(changed);
    signal(&host, "-HUP");
    logged(&host, "configuration reloaded");
    assert_eq!(host.docker(&["info", "-f", "{{.Labels}} {{.Debug}}"]).ok(), "[tier=changed] true");
    let event = event(&host, "event=reload");
    assert_eq!((&event["Type"], &event["Action"]), (&json!("daemon"), &json!("reload")));
    let attributes = &event["Actor"]["Attributes"];
    for (name, value) in [
        ("debug", "true"),
        ("labels", "[\"tier=changed\"]"),
        ("max-concurrent-downloads", "7"),
        ("registry-mirrors", "[\"https://mirror.example\"]"),
        ("features", "map[buildkit:true]"),
        ("live-restore", "true"),
        ("shutdown-timeout", "15"),
    ] {
        assert_eq!(attributes[name], value, "{attributes}");
    }
    // Debug took effect: requests are logged.
    assert!(
        host.daemon_log()
            .lines()
            .any(|l| l.contains("level=debug") && l.contains("/info") && l.contains("duration="))
    );
    put(json!({ "labels": ["tier=wrong"], "colour": "red" }));
    signal(&host, "-HUP");
    logged(&host, "the configuration is as it was");
    assert_eq!(host.docker(&["info", "-f", "{{.Labels}}"]).ok(), "[tier=changed]");
    host.finish();
}

#[test]
fn sockets_have_their_group_and_say_who_has_them() {
    let mut host = Host::stopped();
    host.start_daemon_with(&[], &["--group", "daemon", "-H", "tcp://127.0.0.1:2375"]);
    let socket = std::fs::metadata(host.path("corten.sock")).unwrap();
    let group = Command::new(&["getent", "group", "daemon"]).ok();
    assert_eq!(socket.gid().to_string(), group.split(':').nth(2).unwrap());
    assert_eq!(socket.permissions().mode() & 0o777, 0o660);

    let second = |address: &str, more: &[&str]| {
        let (data, run) = (shown(host.path("data2")), shown(host.path("run2")));
        let cortend = shown(program("cortend"));
        let words = [&cortend, "-H", address, "--data-root", &data, "--exec-root", &run];
        host.command(&[&words[..], more].concat()).fails(1)
    };
    let pid = format!("cortend (pid {})", host.daemon_pid());
    for address in [&host.socket(), "tcp://127.0.0.1:2375"] {
        let text = second(address, &[]);
        assert!(text.contains(&pid) && text.contains(address), "{text}");
    }
    let text = second("unix:///tmp/never.sock", &["--group", "no-such-group"]);
    assert!(text.contains("group no-such-group not found"), "{text}");
    host.finish();
}

#[test]
fn sockets_of_the_service_manager_are_taken_over() {
    let mut host = Host::stopped();
    let (path, notify) = (host.path("activated.sock"), host.path("notify"));
    let told = UnixDatagram::bind(&notify).unwrap();
    told.set_read_timeout(Some(testkit::BOUND)).unwrap();
    let hear = |word: &str| {
        let mut buffer = [0; 1024];
        // Others may come between.
        loop {
            let length = match told.recv(&mut buffer) {
                Ok(length) => length,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => panic!("waiting for {word}: {e}"),
            };
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.contains(word) {
                return text;
            }
        }
    };
    // What systemd does: the socket is descriptor 3 of the process that becomes the daemon.
    let activator = "import os, socket, sys\n\
        s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\n\
        os.dup2(s.fileno(), 3); os.set_inheritable(3, True)\n\
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='api')\n\
        os.execv(sys.argv[2], sys.argv[2:])\n";
    let (environment, socket) = (format!("NOTIFY_SOCKET={}", notify.display()), shown(path.clone()));
    let by = ["env", &environment, "WATCHDOG_USEC=2000000", "python3", "-c", activator, &socket];
    host.start_daemon_with(&by, &["-H", "fd://api"]);
    hear("READY=1");
    hear("WATCHDOG=1");
    let through =
        |words: &[&str]| host.command(&[&["docker", "-H", &format!("unix://{socket}")], words].concat());
    assert_eq!(through(&["version", "-f", "{{.Server.Platform.Name}}"]).ok(), "Corten");
    signal(&host, "-HUP");
    assert!(hear("RELOADING=1").contains("MONOTONIC_USEC="));
    hear("READY=1");
    // The service manager's socket stays: the next start finds it again.
    host.stop_daemon();
    hear("STOPPING=1");
    assert!(path.exists() && !host.path("corten.sock").exists());

    let text =
        host.command(&[&shown(program("cortend")), "-H", "fd://", "--data-root", &shown(host.path("data"))]);
    assert!(text.fails(1).contains("no sockets found via socket activation"));
    host.start_daemon();
    host.finish();
}

#[test]
fn metrics_are_scraped_under_dockers_names() {
    let mut host = Host::stopped();
    host.start_daemon_with(&[], &["--metrics-addr", "127.0.0.1:9323", "--log-format", "json"]);
    host.import_busybox();
    let id = host.docker(&["run", "-d", "busybox", "sleep", "1000"]).ok();
    host.docker(&["run", "busybox", "true"]).ok();
    let text = host.command(&["curl", "-sf", "http://127.0.0.1:9323/metrics"]).ok();
    for line in [
        "engine_daemon_container_states_containers{state=\"running\"} 1",
        "engine_daemon_container_states_containers{state=\"stopped\"} 1",
        "engine_daemon_container_actions_seconds_count{action=\"start\"} 2",
        "engine_daemon_container_actions_seconds_bucket{action=\"create\",le=\"+Inf\"} 2",
        "engine_daemon_container_actions_seconds_count{action=\"commit\"} 0",
        "engine_daemon_health_checks_total 0",
        "# TYPE engine_daemon_events_total counter",
        "# TYPE engine_daemon_engine_memory_bytes gauge",
        "# TYPE process_resident_memory_bytes gauge",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    assert!(text.contains("engine_daemon_engine_info{architecture=\""), "{text}");
    let log = host.daemon_log();
    let line: Value = serde_json::from_str(log.lines().find(|l| l.contains("ready")).unwrap()).unwrap();
    assert_eq!((&line["level"], &line["msg"]), (&json!("info"), &json!("ready")));
    host.docker(&["rm", "-f", &id]).ok();
    host.finish();
}

#[test]
fn the_end_is_bounded_and_containers_live_on() {
    let mut host = Host::stopped();
    host.start_daemon_with(&["sh", "-c", "ulimit -Sn 1024; exec \"$@\"", "sh"], &["--shutdown-timeout", "1"]);
    host.import_busybox();
    // Containers get the limit of descriptors that the daemon was started with; it has more itself.
    let limits = host.docker(&["run", "--rm", "busybox", "sh", "-c", "ulimit -Sn; ulimit -Hn"]).ok();
    let own = std::fs::read_to_string(format!("/proc/{}/limits", host.daemon_pid())).unwrap();
    let own: Vec<&str> =
        own.lines().find(|l| l.starts_with("Max open files")).unwrap().split_whitespace().collect();
    assert_eq!(limits, format!("1024\n{}", own[4]), "{own:?}");
    assert_eq!(own[3], own[4]);

    let stubborn = ["run", "-d", "--name", "box", "busybox", "sh", "-c", "trap '' TERM; echo up; sleep 1000"];
    host.docker(&stubborn).ok();
    until("the container's trap", || (host.docker(&["logs", "box"]).ok() == "up").then_some(()));
    // A request in flight that would take longer than the daemon waits.
    let stopping = host.docker(&["stop", "-t", "1000", "box"]).spawn();
    event(&host, "event=kill");
    host.stop_daemon();
    assert!(host.daemon_log().contains("requests in flight were cut off"), "{}", host.daemon_log());
    drop(stopping.wait_with_output());
    assert!(!host.path("corten.sock").exists());

    // Containers are there again. A second signal does not wait for ever.
    host.start_daemon_with(&[], &["--shutdown-timeout", "-1"]);
    assert_eq!(host.docker(&["inspect", "-f", "{{.State.Running}}", "box"]).ok(), "true");
    let stopping = host.docker(&["stop", "-t", "1000", "box"]).spawn();
    event(&host, "event=kill");
    signal(&host, "-TERM");
    until("the socket's end", || (!host.path("corten.sock").exists()).then_some(()));
    let pid = host.daemon_pid();
    assert!(Path::new(&format!("/proc/{pid}")).exists(), "it did not wait");
    signal(&host, "-INT");
    logged(&host, "told to stop again");
    drop(stopping.wait_with_output());
    host.stop_daemon();

    // An empty cgroup of ours is not left behind.
    host.start_daemon();
    host.docker(&["rm", "-f", "box"]).ok();
    host.stop_daemon();
    let cgroup = PathBuf::from("/sys/fs/cgroup");
    for root in [cgroup.join("memory"), cgroup.join("unified"), cgroup] {
        assert!(!root.join(&host.name).exists(), "{}/{} is left", root.display(), host.name);
    }
    host.start_daemon();
    host.finish();
}
