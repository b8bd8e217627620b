//! What can be asked for at create, end to end with the original client.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Host, until};

fn inspect(host: &Host, name: &str, format: &str) -> String {
    host.docker(&["inspect", "-f", format, name]).ok()
}

/// Runs a script in a new container with these flags; what it says.
fn run(host: &Host, flags: &[&str], script: &str) -> String {
    host.docker(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat()).ok()
}

fn start(host: &Host, name: &str, flags: &[&str]) {
    let words = [&["run", "-d", "--name", name], flags, &["busybox", "sleep", "1000"]].concat();
    host.docker(&words).ok();
}

#[test]
fn an_init_forwards_signals_reaps_and_ends_with_its_program() {
    let host = Host::new();
    // Without an init the program is the first process, and SIGTERM's default does nothing to it.
    start(&host, "c1", &["--init"]);
    let top = host.docker(&["top", "c1", "-o", "pid,args"]).ok();
    assert!(top.contains("/sbin/docker-init -- sleep 1000"), "{top}");
    assert_eq!(host.docker(&["exec", "c1", "sh", "-c", "cat /proc/1/comm"]).ok(), "docker-init");
    // An orphan is reaped.
    host.docker(&["exec", "c1", "sh", "-c", "(sh -c 'exit 3' &) ; sleep 0.1"]).ok();
    until("no zombie", || {
        let ps = host.docker(&["exec", "c1", "ps", "-o", "stat,comm"]).ok();
        (!ps.contains('Z')).then_some(())
    });
    // It holds nothing of ours, and no more rights than the program.
    assert_eq!(
        host.docker(&["exec", "c1", "sh", "-c", "grep CapEff /proc/1/status; grep Seccomp: /proc/1/status"])
            .ok(),
        host.docker(&[
            "exec",
            "c1",
            "sh",
            "-c",
            "p=$(pidof sleep); grep CapEff /proc/$p/status; grep Seccomp: /proc/$p/status"
        ])
        .ok()
    );
    let pid = inspect(&host, "c1", "{{.State.Pid}}");
    let open: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|fd| std::fs::read_link(fd.unwrap().path()).unwrap().display().to_string())
        .filter(|target| !target.starts_with("pipe:") && target != "/dev/null")
        .collect();
    assert!(open.iter().all(|target| target.starts_with("anon_inode:")), "{open:?}");
    host.docker(&["stop", "-t", "20", "c1"]).ok();
    assert_eq!(inspect(&host, "c1", "{{.State.ExitCode}}"), "143");

    host.docker(&["run", "--rm", "--init", "busybox", "sh", "-c", "exit 7"]).fails(7);
    host.docker(&["run", "--rm", "--init", "busybox", "sh", "-c", "kill -9 $$"]).fails(137);
    let refused = host.docker(&["run", "--rm", "--init", "busybox", "nosuch"]).fails(127);
    assert!(refused.contains("executable file not found in $PATH"), "{refused}");
    assert_eq!(
        run(&host, &["--init", "-u", "www"], "id -u; cat /proc/1/cmdline | tr '\\0' ' ' | head -c 17"),
        "33\n/sbin/docker-init"
    );
    assert_eq!(run(&host, &["--init", "-t"], "tty; echo $$ | wc -l").replace('\r', ""), "/dev/pts/0\n1");
    host.finish();
}

/// The kernel ends the others with the first process of a pid namespace; where it has none of its own, we have to.
#[test]
fn what_a_container_leaves_on_the_hosts_pids_has_ended_when_its_end_is_told() {
    let host = Host::new();
    let script = "sleep 1000 >/dev/null 2>&1 & echo $!";
    for round in 0..20 {
        let pid = host.corten(&["run", "--rm", "--pid", "host", "busybox", "sh", "-c", script]).ok();
        // Reaping it is the machine's init's affair.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "round {round}: {stat}");
    }
    host.finish();
}

#[test]
fn namespaces_are_shared_as_asked_for() {
    let host = Host::new();
    start(&host, "donor", &["--ipc", "shareable", "--hostname", "ship"]);
    host.docker(&["exec", "donor", "sh", "-c", "echo shared >/dev/shm/note"]).ok();
    assert_eq!(run(&host, &["--ipc", "container:donor"], "cat /dev/shm/note"), "shared");
    assert_eq!(run(&host, &["--pid", "container:donor"], "ps -o args | grep -c '^sleep 1000'"), "1");
    assert_eq!(run(&host, &["--network", "container:donor"], "hostname"), "ship");
    let ipc = |flags: &[&str]| run(&host, flags, "readlink /proc/self/ns/ipc");
    let donors = host.docker(&["exec", "donor", "readlink", "/proc/self/ns/ipc"]).ok();
    assert_eq!(ipc(&["--ipc", "container:donor"]), donors);
    assert_ne!(ipc(&[]), donors);
    let hosts = std::fs::read_link("/proc/self/ns/ipc").unwrap().display().to_string();
    assert_eq!(ipc(&["--ipc", "host"]), hosts);
    assert_eq!(run(&host, &["--ipc", "none"], "grep -c ' /dev/shm ' /proc/mounts || true"), "0");
    assert_eq!(run(&host, &["--uts", "host"], "hostname"), host.command(&["hostname"]).ok());

    start(&host, "closed", &[]);
    let refused = host.docker(&["run", "--ipc", "container:closed", "busybox"]).fails(125);
    assert!(
        refused.contains("non-shareable IPC (hint: use IpcMode:shareable for the donor container)"),
        "{refused}"
    );
    host.docker(&["create", "--name", "late", "--ipc", "container:donor", "busybox", "true"]).ok();
    host.docker(&["stop", "-t", "0", "donor"]).ok();
    let refused = host.docker(&["start", "late"]).fails(1);
    assert!(refused.contains("is not running"), "{refused}");
    for (flags, phrase) in [
        (&["--uts", "host", "--hostname", "x"][..], "conflicting options: hostname and the UTS mode"),
        (&["--network", "container:closed", "-p", "80:80"], "conflicting options"),
        (
            &["--network", "container:closed", "--hostname", "x"],
            "conflicting options: hostname and the network mode",
        ),
        (&["--network", "container:nobody"], "No such container: nobody"),
        (&["--pid", "container:nobody"], "No such container: nobody"),
    ] {
        let refused = host.docker(&[&["run"], flags, &["busybox"]].concat()).fails(125);
        assert!(refused.contains(phrase), "{refused}");
    }
    host.finish();
}

#[test]
fn links_are_names_of_addresses() {
    let host = Host::new();
    start(&host, "db", &["--hostname", "dbhost"]);
    start(&host, "web", &["--link", "db:store"]);
    let ip = |name: &str| inspect(&host, name, "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    let linked = || host.docker(&["exec", "web", "grep", "store", "/etc/hosts"]).ok();
    assert_eq!(linked(), format!("{}\tstore dbhost db", ip("db")));
    assert_eq!(inspect(&host, "web", "{{.HostConfig.Links}}"), "[/db:/web/store]");
    // The address may be another after a restart; the running container is told.
    host.docker(&["stop", "-t", "0", "db"]).ok();
    start(&host, "squatter", &[]);
    host.docker(&["start", "db"]).ok();
    assert_eq!(linked(), format!("{}\tstore dbhost db", ip("db")));
    host.docker(&["stop", "-t", "0", "db"]).ok();
    let refused = host.docker(&["restart", "-t", "0", "web"]).fails(1);
    assert!(refused.contains("Cannot link to a non running container: /db AS /web/store"), "{refused}");
    let refused = host.docker(&["run", "--link", "nobody", "busybox"]).fails(125);
    assert!(refused.contains("could not get container for nobody: No such container: nobody"), "{refused}");

    host.docker(&["network", "create", "app"]).ok();
    start(&host, "api", &["--network", "app"]);
    start(&host, "front", &["--network", "app", "--link", "api:backend"]);
    let address = |name: &str| host.docker(&["exec", "front", "nslookup", name]).output();
    assert!(address("backend").stdout.contains(&inspect(
        &host,
        "api",
        "{{.NetworkSettings.Networks.app.IPAddress}}"
    )));
    // Only for the one that links.
    assert_ne!(host.docker(&["exec", "api", "nslookup", "backend"]).output().code, 0);
    host.docker(&["rm", "-f", "api", "front"]).ok();
    host.docker(&["network", "rm", "app"]).ok();
    host.finish();
}

#[test]
fn groups_and_names_come_from_the_images_files() {
    let host = Host::new();
    let dockerfile = "FROM busybox\nRUN printf 'root:x:0:root\\nwheel:x:10:root\\nwww:x:33:\\naudio:x:29:\\n' > /etc/group\n";
    host.docker(&["build", "-t", "groups", "-"]).stdin(dockerfile).ok();
    let groups = |flags: &[&str]| {
        host.docker(
            &[&["run", "--rm"], flags, &["groups", "sh", "-c", "grep Groups /proc/self/status | cut -f2"]]
                .concat(),
        )
        .ok()
        .trim()
        .to_owned()
    };
    assert_eq!(groups(&[]), "0 10");
    assert_eq!(groups(&["-u", "www"]), "33");
    assert_eq!(groups(&["-u", "1000:1000", "--group-add", "audio", "--group-add", "77"]), "29 77 1000");
    let refused = host.docker(&["run", "--rm", "--group-add", "nosuch", "groups"]).fails(125);
    assert!(refused.contains("nosuch"), "{refused}");
    host.finish();
}

#[test]
fn hosts_and_resolver_are_as_asked_for() {
    let host = Host::new();
    let hosts = run(
        &host,
        &[
            "--hostname",
            "ship",
            "--domainname",
            "sea.example",
            "--add-host",
            "a:1.2.3.4",
            "--add-host",
            "gw:host-gateway",
        ],
        "cat /etc/hosts; hostname -f; cat /etc/hostname; hostname",
    );
    for line in ["1.2.3.4\ta", "172.17.0.1\tgw", "\tship.sea.example ship", "\nship"] {
        assert!(hosts.contains(line), "{line:?} in {hosts}");
    }
    let resolv = run(
        &host,
        &["--dns", "9.9.9.9", "--dns-search", "x.example", "--dns-option", "ndots:3"],
        "cat /etc/resolv.conf",
    );
    for line in ["nameserver 9.9.9.9", "search x.example", "options ndots:3"] {
        assert!(resolv.contains(line), "{line:?} in {resolv}");
    }
    assert_eq!(
        run(&host, &["--network", "host", "--add-host", "only:1.1.1.1"], "grep -c only /etc/hosts"),
        "1"
    );
    // Each start makes them anew, as in Docker.
    host.docker(&[
        "run",
        "--name",
        "c1",
        "busybox",
        "sh",
        "-c",
        "echo 5.6.7.8 mine >>/etc/hosts; grep -c mine /etc/hosts",
    ])
    .ok();
    assert_eq!(host.docker(&["start", "-a", "c1"]).ok(), "1");
    for (flags, phrase) in [
        (&["--add-host", "x"][..], "bad format for add-host"),
        (&["--add-host", "x:y"], "invalid ip address"),
        (&["--dns", "name"], "ip address is not correctly formatted"),
        (&["--hostname", "a b"], "hostname"),
    ] {
        let refused = host.docker(&[&["run"], flags, &["busybox"]].concat()).fails(125);
        assert!(refused.to_lowercase().contains(phrase), "{refused}");
    }
    host.finish();
}

#[test]
fn volumes_come_from_others_and_from_below() {
    let host = Host::new();
    host.docker(&[
        "run",
        "--rm",
        "-v",
        "data:/d",
        "busybox",
        "sh",
        "-c",
        "mkdir -p /d/a/b; echo deep >/d/a/b/f; ln -s /etc /d/out",
    ])
    .ok();
    let below = |path: &str| format!("type=volume,src=data,dst=/x,volume-subpath={path}");
    assert_eq!(run(&host, &["--mount", &below("a/b")], "cat /x/f"), "deep");
    // A link does not lead out of the volume.
    let refused = host.docker(&["run", "--rm", "--mount", &below("out/passwd"), "busybox"]).output();
    assert_ne!(refused.code, 0);
    let refused = host.docker(&["run", "--rm", "--mount", &below("nosuch"), "busybox"]).output();
    assert!(refused.code != 0 && refused.stderr.contains("no such file or directory"), "{}", refused.stderr);
    let refused = host.docker(&["run", "--rm", "--mount", &below("../x"), "busybox"]).output();
    assert!(refused.code != 0 && refused.stderr.contains("subpath"), "{}", refused.stderr);

    host.docker(&["create", "--name", "from", "-v", "data:/d", "-v", "/anon", "busybox"]).ok();
    assert_eq!(
        run(&host, &["--volumes-from", "from"], "echo more >/d/g; cat /d/a/b/f; ls -d /anon"),
        "deep\n/anon"
    );
    assert_eq!(run(&host, &["--volumes-from", "from:ro"], "touch /d/h 2>/dev/null || cat /d/g"), "more");
    // The volume of another is not removed with the one that borrows it.
    assert_eq!(host.docker(&["volume", "ls", "-q"]).ok().lines().count(), 2);
    host.docker(&["rm", "-v", "from"]).ok();
    host.docker(&["volume", "rm", "data"]).ok();
    assert_eq!(host.docker(&["volume", "ls", "-q"]).ok(), "");
    host.finish();
}
