//! IPv6, drivers and options of networks, as clients see them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Host, until};

/// A tiny web server on both families: answers every request with the container's hostname.
const SERVE: &str = "mkdir -p /www && hostname > /www/index.html && httpd -f -p [::]:80 -h /www";

/// The host's address on its way to the outside, and the outside's (RFC 3849).
const HOST_V6: &str = "2001:db8:1::1";
const OUTSIDE_V6: &str = "2001:db8:1::2";

/// A host whose way to the outside has IPv6.
fn host() -> Host {
    let host = Host::new();
    host.command(&["ip", "address", "add", &format!("{HOST_V6}/64"), "dev", "up0", "nodad"]).ok();
    host.outside(&["ip", "address", "add", &format!("{OUTSIDE_V6}/64"), "dev", "down0", "nodad"]).ok();
    host
}

fn fetch(host: &Host, url: &str) -> Option<String> {
    let got = host.command(&["curl", "-sf", "-m", "2", "-g", url]).output();
    (got.code == 0).then(|| got.stdout.trim().to_owned())
}

#[test]
fn a_dual_stack_network_from_end_to_end() {
    let host = host();
    host.docker(&["network", "create", "--ipv6", "--subnet", "fd00:5::/64", "app"]).ok();
    let show = |format: &str| host.docker(&["network", "inspect", "-f", format, "app"]).ok();
    assert_eq!(show("{{.EnableIPv4}} {{.EnableIPv6}} {{len .IPAM.Config}}"), "true true 2");
    assert_eq!(
        show("{{(index .IPAM.Config 1).Subnet}} {{(index .IPAM.Config 1).Gateway}}"),
        "fd00:5::/64 fd00:5::1"
    );
    let run = ["run", "-d", "--name", "web", "--hostname", "web1", "--network", "app", "--ip6", "fd00:5::80"];
    host.docker(&[&run[..], &["-p", "8080:80", "busybox", "sh", "-c", SERVE]].concat()).ok();
    for url in [
        "http://127.0.0.1:8080/",
        "http://[::1]:8080/",
        &format!("http://[{HOST_V6}]:8080/"),
        "http://[fd00:5::80]/",
    ] {
        assert_eq!(until(url, || fetch(&host, url)), "web1");
    }
    let url = format!("http://[{HOST_V6}]:8080/");
    assert_eq!(host.outside(&["curl", "-sf", "-m", "2", "-g", &url]).ok(), "web1");
    assert!(host.docker(&["ps"]).ok().contains("0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"));
    assert_eq!(host.corten(&["port", "web", "80"]).ok(), "0.0.0.0:8080\n[::]:8080");
    let of = |field: &str| {
        let format = format!("{{{{(index .NetworkSettings.Networks \"app\").{field}}}}}");
        host.docker(&["inspect", "-f", &format, "web"]).ok()
    };
    assert_eq!(of("GlobalIPv6Address"), "fd00:5::80");
    assert_eq!((of("IPv6Gateway").as_str(), of("GlobalIPv6PrefixLen").as_str()), ("fd00:5::1", "64"));
    assert_eq!(show("{{range .Containers}}{{.IPv6Address}}{{end}}"), "fd00:5::80/64");
    assert!(host.docker(&["exec", "web", "cat", "/etc/hosts"]).ok().contains("fd00:5::80\tweb1"));
    let ask =
        host.docker(&["run", "--rm", "--network", "app", "busybox", "nslookup", "-type=aaaa", "web"]).ok();
    assert!(ask.contains("fd00:5::80"), "{ask}");
    assert!(host.corten(&["network", "inspect", "app"]).ok().contains("\"IPsInUse\": 3"));
    // To the outside, with the host's address.
    host.docker(&["run", "--rm", "--network", "app", "busybox", "ping", "-6", "-c1", "-W2", OUTSIDE_V6]).ok();
    host.finish();
}

#[test]
fn ipv6_alone_and_the_daemon_s_keys() {
    let mut host = Host::stopped();
    host.start_daemon_with(
        &[],
        &[
            "--ipv6",
            "--bip6",
            "fd00:9::1/64",
            "--default-publish-address",
            "127.0.0.1",
            "--network-ready",
            "2",
        ],
    );
    host.import_busybox();
    let own = host.corten(&["run", "--rm", "busybox", "ip", "-o", "-6", "address", "show", "eth0"]).ok();
    assert!(own.contains("fd00:9::"), "{own}");
    host.corten(&["network", "create", "--ipv4=false", "--ipv6", "six"]).ok();
    let run =
        ["run", "-d", "--name", "web", "--network", "six", "-p", "8080:80", "busybox", "sh", "-c", SERVE];
    host.corten(&run).ok();
    assert_eq!(host.corten(&["port", "web", "80"]).ok(), "127.0.0.1:8080", "the daemon's default address");
    let url = "http://127.0.0.1:8080/";
    until(url, || fetch(&host, url));
    let refused = host.corten(&["network", "create", "--ipv4=false", "none4"]).fails(1);
    assert!(refused.contains("IPv4 or IPv6 must be enabled"), "{refused}");
    // Everything is there again for the next daemon.
    host.kill_daemon();
    host.start_daemon_with(&[], &["--ipv6", "--bip6", "fd00:9::1/64"]);
    until(url, || fetch(&host, url));
    // Without a default network there is none, and others go on.
    host.kill_daemon();
    host.start_daemon_with(&[], &["--bridge", "none"]);
    until(url, || fetch(&host, url));
    assert_eq!(host.corten(&["network", "ls", "--format", "{{.Name}}"]).ok(), "host\nnone\nsix");
    assert!(!testkit::audit::link_names(&host).iter().any(|link| link == "corten0"));
    let refused = host.docker(&["run", "--name", "late", "busybox", "true"]).fails(125);
    assert!(refused.contains("network bridge not found"), "{refused}");
    host.docker(&["run", "--rm", "--network", "none", "busybox", "true"]).ok();
    host.finish();
}

#[test]
fn macvlan_on_the_host_s_wire() {
    let host = Host::new();
    let create =
        ["network", "create", "-d", "macvlan", "--subnet", "198.51.100.0/24", "-o", "parent=up0", "wire"];
    host.docker(&create).ok();
    host.docker(&[
        "run",
        "-d",
        "--name",
        "a1",
        "--network",
        "wire",
        "--ip",
        "198.51.100.70",
        "busybox",
        "sleep",
        "99",
    ])
    .ok();
    host.outside(&["busybox", "ping", "-c1", "-W2", "198.51.100.70"]).ok();
    assert!(host.docker(&["network", "ls", "--filter", "driver=macvlan", "-q"]).ok().len() == 12);
    host.docker(&["rm", "-f", "a1"]).ok();
    host.docker(&["network", "rm", "wire"]).ok();
    host.finish();
}

#[test]
fn endpoints_as_their_user_wants_them() {
    let host = Host::new();
    host.docker(&["network", "create", "aaa"]).ok();
    host.docker(&["network", "create", "bbb"]).ok();
    let of_bbb = "name=bbb,gw-priority=1,driver-opt=com.docker.network.endpoint.ifname=wan0,\
                  \"driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1\"";
    host.docker(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--network",
        "aaa",
        "--network",
        of_bbb,
        "busybox",
        "sleep",
        "99",
    ])
    .ok();
    let route = host.docker(&["exec", "c1", "ip", "route", "show", "default"]).ok();
    assert!(route.contains("dev wan0"), "{route}");
    assert_eq!(host.docker(&["exec", "c1", "cat", "/proc/sys/net/ipv4/conf/wan0/log_martians"]).ok(), "1");
    let bad = "name=bbb,driver-opt=com.docker.network.endpoint.sysctls=kernel.x=1";
    let refused = host.docker(&["run", "--rm", "--network", bad, "busybox", "true"]).fails(125);
    assert!(refused.contains("expected net.X.Y.IFNAME.Z"), "{refused}");
    host.finish();
}

#[test]
fn bad_networks_are_refused_in_docker_s_words() {
    let host = Host::new();
    let create =
        |arguments: &[&str]| host.docker(&[&["network", "create"], arguments, &["bad"]].concat()).fails(1);
    for (arguments, text) in [
        (&["--subnet", "10.1.2.3/24"][..], "invalid subnet 10.1.2.3/24: it should be 10.1.2.0/24"),
        (&["-d", "nosuch"], "plugin \"nosuch\" not found"),
        (&["--ipam-driver", "nosuch"], "plugin \"nosuch\" not found"),
        (&["-d", "macvlan", "-o", "parent=lo"], "loopback interface is not a valid macvlan parent link"),
        (&["-d", "macvlan", "-o", "macvlan_mode=x"], "requested macvlan mode 'x' is not valid"),
        (
            &["-o", "com.docker.network.driver.mtu=x"],
            "failed to parse com.docker.network.driver.mtu value: x",
        ),
        (
            &["--subnet", "10.1.0.0/16", "--subnet", "10.2.0.0/16"],
            "bridge driver doesn't support multiple subnets",
        ),
        (&["-o", "com.docker.network.bridge.gateway_mode_ipv4=x"], "unknown gateway mode x"),
    ] {
        let refused = create(arguments);
        assert!(refused.contains(text), "{refused}");
    }
    host.docker(&["network", "create", "--subnet", "10.1.0.0/16", "good"]).ok();
    assert!(
        create(&["--subnet", "10.1.5.0/24"]).contains("Pool overlaps with other one on this address space")
    );
    assert_eq!(host.docker(&["network", "ls", "-q"]).ok().lines().count(), 4);
    let links = testkit::audit::link_names(&host);
    assert_eq!(links.iter().filter(|l| l.starts_with("br-")).count(), 1, "{links:?}");
    host.docker(&["network", "rm", "good"]).ok();
    host.finish();
}
