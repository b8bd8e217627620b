//! Addresses, published ports, names.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::host::{HOST_ADDRESS, OUTSIDE_ADDRESS};
use testkit::{Host, audit, until};

/// A tiny web server in the background: answers every request with the container's hostname.
const SERVE: &str = "mkdir -p /www && hostname > /www/index.html && httpd -f -p 80 -h /www";

fn fetch(host: &Host, url: &str) -> Option<String> {
    let got = host.command(&["curl", "-sf", "-m", "2", url]).output();
    (got.code == 0).then(|| got.stdout.trim().to_owned())
}

#[test]
fn default_bridge_and_published_ports() {
    let host = Host::new();
    host.corten(&[
        "run",
        "-d",
        "--name",
        "web",
        "--hostname",
        "web1",
        "-p",
        "8080:80",
        "-p",
        "127.0.0.1:8081:80",
        "busybox",
        "sh",
        "-c",
        SERVE,
    ])
    .ok();
    for url in ["http://127.0.0.1:8080/", &format!("http://{HOST_ADDRESS}:8080/"), "http://127.0.0.1:8081/"] {
        assert_eq!(until(url, || fetch(&host, url)), "web1");
    }
    // From outside: the port published on all addresses answers, the one on loopback does not.
    let from_outside = |port: u16| {
        let url = format!("http://{HOST_ADDRESS}:{port}/");
        host.outside(&["curl", "-sf", "-m", "2", &url]).output().code == 0
    };
    assert!(from_outside(8080));
    assert!(!from_outside(8081));

    // Container to container by address, and to the outside through NAT.
    let address =
        host.corten(&["inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "web"]).ok();
    assert!(address.starts_with("172."), "{address}");
    let got =
        host.corten(&["run", "--rm", "busybox", "wget", "-q", "-O", "-", &format!("http://{address}/")]).ok();
    assert_eq!(got, "web1");
    host.corten(&["run", "--rm", "busybox", "ping", "-c", "1", "-W", "2", OUTSIDE_ADDRESS]).ok();
    assert!(host.corten(&["ps"]).ok().contains("0.0.0.0:8080->80/tcp"));
    assert!(host.corten(&["port", "web"]).ok().contains("80/tcp -> 0.0.0.0:8080"));

    // A taken port names its holder, and the refused container is left created.
    let refused =
        host.corten(&["run", "-d", "--name", "late", "-p", "8080:80", "busybox", "true"]).fails(125);
    assert!(refused.contains("port is already allocated") && refused.contains("web"), "{refused}");
    assert_eq!(host.corten(&["inspect", "-f", "{{.State.Status}}", "late"]).ok(), "created");

    host.corten(&["rm", "-f", "web"]).ok();
    assert_eq!(fetch(&host, "http://127.0.0.1:8080/"), None);
    host.corten(&["start", "late"]).ok();
    host.finish();
}

#[test]
fn a_user_network_has_names() {
    let host = Host::new();
    host.corten(&["network", "create", "app"]).ok();
    host.corten(&[
        "run",
        "-d",
        "--name",
        "db",
        "--network",
        "app",
        "--network-alias",
        "database",
        "busybox",
        "sh",
        "-c",
        SERVE,
    ])
    .ok();
    // Not as process 1, which would ignore the signal of `timeout`.
    let ask = |network: &str, url: &str| {
        let script = format!("timeout 3 wget -q -O - {url}; exit $?");
        host.corten(&["run", "--rm", "--network", network, "busybox", "sh", "-c", &script]).output()
    };
    let hostname = host.corten(&["exec", "db", "hostname"]).ok();
    for url in ["http://db/", "http://database/"] {
        let got = until(url, || Some(ask("app", url)).filter(|o| o.code == 0));
        assert_eq!(got.stdout.trim(), hostname);
    }
    // Not on the default bridge, neither by name nor by address.
    assert_ne!(ask("bridge", "http://db/").code, 0);
    let address = host.corten(&["inspect", "-f", "{{.NetworkSettings.Networks.app.IPAddress}}", "db"]).ok();
    assert_ne!(ask("bridge", &format!("http://{address}/")).code, 0);

    let refused = host.corten(&["network", "rm", "app"]).fails(1);
    assert!(refused.contains("active endpoints"), "{refused}");
    host.corten(&["rm", "-f", "db"]).ok();
    host.corten(&["network", "rm", "app"]).ok();
    assert!(!host.corten(&["network", "ls"]).ok().contains("app"));
    assert!(!audit::link_names(&host).iter().any(|l| l.starts_with("br-")));
    host.finish();
}

#[test]
fn a_running_container_learns_of_its_networks() {
    let host = Host::new();
    host.docker(&["network", "create", "front"]).ok();
    host.docker(&["run", "-d", "--name", "web", "--network", "front", "busybox", "sleep", "1000"]).ok();
    for name in ["c1", "own"] {
        host.docker(&["run", "-d", "--name", name, "--hostname", name, "busybox", "sleep", "1000"]).ok();
    }
    let inside = |name: &str, script: &str| host.docker(&["exec", name, "sh", "-c", script]).ok();
    let files = |name: &str| inside(name, "cat /etc/hosts /etc/resolv.conf");
    let before = files("c1");
    let change = "echo 'nameserver 192.0.2.1' > /etc/resolv.conf";
    inside("own", change);
    host.docker(&["network", "connect", "--link", "web:linked", "front", "c1"]).ok();
    host.docker(&["network", "connect", "front", "own"]).ok();
    let format = "{{.NetworkSettings.Networks.front.IPAddress}}";
    let line = host.docker(&["inspect", "-f", format, "c1"]).ok() + "\tc1\n";
    let after = files("c1");
    assert!(after.contains(&line) && after.contains("nameserver 127.0.0.11"), "{after}");
    for name in ["web", "linked"] {
        inside("c1", &format!("ping -c 1 -W 5 {name}"));
    }
    // What it has written itself stays.
    assert_eq!(inside("own", "cat /etc/resolv.conf"), "nameserver 192.0.2.1");
    host.docker(&["network", "disconnect", "front", "c1"]).ok();
    assert_eq!(files("c1"), before);
    // One that is gone when its container starts is given up by its name.
    host.docker(&["stop", "-t", "0", "web"]).ok();
    host.docker(&["network", "create", "back"]).ok();
    host.docker(&["network", "connect", "back", "web"]).ok();
    host.docker(&["network", "rm", "back"]).ok();
    assert!(host.docker(&["start", "web"]).fails(1).contains("network back not found"));
    host.docker(&["network", "disconnect", "back", "web"]).ok();
    assert!(
        host.docker(&["network", "disconnect", "back", "web"]).fails(1).contains("network back not found")
    );
    host.docker(&["start", "web"]).ok();
    host.docker(&["rm", "-f", "web", "c1", "own"]).ok();
    host.docker(&["network", "rm", "front"]).ok();
    host.finish();
}

#[test]
fn none_and_host() {
    let host = Host::new();
    let links = |network: &str| {
        host.corten(&["run", "--rm", "--network", network, "busybox", "ls", "/sys/class/net"]).ok()
    };
    assert_eq!(links("none"), "lo");
    assert!(
        host.corten(&["run", "--rm", "--network", "host", "busybox", "ip", "addr"])
            .ok()
            .contains(HOST_ADDRESS)
    );
    host.corten(&["run", "-d", "--name", "a1", "busybox", "sleep", "1000"]).ok();
    let own = host.corten(&["exec", "a1", "ip", "-o", "-4", "addr", "show", "eth0"]).ok();
    let shared = host
        .corten(&[
            "run",
            "--rm",
            "--network",
            "container:a1",
            "busybox",
            "ip",
            "-o",
            "-4",
            "addr",
            "show",
            "eth0",
        ])
        .ok();
    assert_eq!(own, shared);

    // Ports are published when the first network comes that leads outside.
    let app = ["--name", "p1", "--network", "app", "-p", "8099:80", "busybox", "sh", "-c", SERVE];
    host.docker(&["network", "create", "--internal", "app"]).ok();
    host.docker(&[&["run", "-d"], &app[..]].concat()).ok();
    assert_eq!(host.docker(&["port", "p1"]).ok(), "");
    host.docker(&["network", "connect", "bridge", "p1"]).ok();
    assert!(host.docker(&["port", "p1", "80"]).ok().starts_with("0.0.0.0:8099"));
    until("the server", || fetch(&host, "http://127.0.0.1:8099/"));
    host.docker(&["rm", "-f", "p1"]).ok();
    host.docker(&["network", "rm", "app"]).ok();

    // Who is there is shown, and can leave `none` for another network, but not the host's.
    host.docker(&["run", "-d", "--name", "n1", "--network", "none", "busybox", "sleep", "1000"]).ok();
    host.docker(&["run", "-d", "--name", "h1", "--network", "host", "busybox", "sleep", "1000"]).ok();
    let format = "{{range .Containers}}{{.Name}}{{end}}";
    for (network, name) in [("none", "n1"), ("host", "h1")] {
        assert_eq!(host.docker(&["network", "inspect", "-f", format, network]).ok(), name);
    }
    let refused = |words: &[&str]| host.docker(&[&["network"], words].concat()).fails(1);
    assert!(refused(&["connect", "bridge", "n1"]).contains("one of the networks in private (none) mode"));
    assert!(refused(&["disconnect", "host", "h1"]).contains("cannot be disconnected from host network"));
    assert!(refused(&["connect", "host", "a1"]).contains("or connected to host network"));
    host.docker(&["network", "disconnect", "none", "n1"]).ok();
    host.docker(&["network", "connect", "bridge", "n1"]).ok();
    let address = || host.docker(&["exec", "n1", "ip", "-o", "-4", "addr", "show", "eth0"]).ok();
    assert!(address().contains("172."), "{}", address());
    host.docker(&["restart", "-t", "0", "n1"]).ok();
    assert!(address().contains("172."), "{}", address());
    host.finish();
}

#[test]
fn a_link_goes_without_its_containers() {
    let host = Host::new();
    let docker = |words: &[&str]| host.docker(words).ok();
    docker(&["run", "-d", "--name", "db", "busybox", "sleep", "1000"]);
    docker(&["run", "-d", "--name", "web", "--link", "db", "--link", "db:store", "busybox", "sleep", "1000"]);
    let links = || docker(&["inspect", "-f", "{{.HostConfig.Links}}", "web"]);
    let hosts = || docker(&["exec", "web", "cat", "/etc/hosts"]);
    assert_eq!(links(), "[/db:/web/db /db:/web/store]");
    assert!(hosts().contains("\tstore "), "{}", hosts());
    docker(&["rm", "--link", "web/store"]);
    assert_eq!(links(), "[/db:/web/db]");
    assert!(!hosts().contains("store") && hosts().contains("\tdb "), "{}", hosts());
    docker(&["restart", "-t", "0", "web"]);
    assert!(!hosts().contains("store"), "{}", hosts());
    assert!(host.docker(&["rm", "--link", "web/store"]).fails(1).contains("No such container: web/store"));
    assert!(host.docker(&["rm", "--link", "web"]).fails(1).contains("cannot remove the default link name"));
    assert_eq!(docker(&["ps", "-q"]).lines().count(), 2);
    host.finish();
}
