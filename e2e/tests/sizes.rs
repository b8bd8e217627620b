//! What containers take on disk, and what a prune of them gives back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Host, Output};

/// What `docker inspect -s` says of a container: its own layer, and that with its image.
fn sizes(host: &Host, name: &str) -> (u64, u64) {
    let text = host.docker(&["inspect", "-s", "-f", "{{.SizeRw}} {{.SizeRootFs}}", name]).ok();
    let (own, all) = text.split_once(' ').unwrap();
    (own.parse().unwrap(), all.parse().unwrap())
}

/// `POST /containers/prune`.
fn prune(host: &Host, filters: &str) -> (String, serde_json::Value) {
    let socket = host.path("corten.sock").display().to_string();
    let filters = format!("filters={filters}");
    let url = "http://localhost/v1.51/containers/prune";
    let fixed = ["curl", "-sS", "-G", "-X", "POST", "--unix-socket", &socket, "-w", "\n%{http_code}"];
    let Output { stdout, .. } =
        host.command(&[&fixed[..], &["--data-urlencode", &filters, url]].concat()).output();
    let (body, status) = stdout.rsplit_once('\n').unwrap();
    (status.to_owned(), serde_json::from_str(body).unwrap())
}

#[test]
fn a_containers_layer_is_measured_and_given_back() {
    let host = Host::new();
    let docker = |words: &[&str]| host.docker(words).ok();
    // 3 MiB, and a hole that takes nothing.
    let script = "dd if=/dev/zero of=/a bs=1M count=3; ln /a /b; truncate -s 1G /hole; sync";
    docker(&["run", "--name", "big", "busybox", "sh", "-c", script]);
    docker(&["create", "--name", "small", "busybox"]);
    let ((big, big_all), (small, small_all)) = (sizes(&host, "big"), sizes(&host, "small"));
    assert!((3 << 20..(3 << 20) + 65536).contains(&big), "{big}");
    assert!(small < 16384, "{small}");
    assert_eq!(big_all - big, small_all - small, "the image");
    assert!(small_all - small > 500_000, "{small_all}");
    let line = docker(&["ps", "-as", "--filter", "name=big", "--format", "{{.Size}}"]);
    assert!(line.starts_with("3.1") && line.contains("MB (virtual "), "{line}");
    assert_eq!(docker(&["inspect", "-f", "{{.SizeRw}}", "big"]), "<nil>");

    let layers = || std::fs::read_dir(host.path("data/rw")).unwrap().count();
    assert_eq!(layers(), 2);
    let (status, answer) = prune(&host, r#"{"label":["none"]}"#);
    assert_eq!((status.as_str(), &answer["SpaceReclaimed"]), ("200", &serde_json::json!(0)), "{answer}");
    let (_, answer) = prune(&host, "{}");
    assert_eq!(answer["ContainersDeleted"].as_array().unwrap().len(), 2, "{answer}");
    assert_eq!(answer["SpaceReclaimed"].as_u64().unwrap(), big + small, "{answer}");
    assert_eq!(layers(), 0);
    host.finish();
}

#[test]
fn a_prune_takes_what_its_filters_mean() {
    let host = Host::new();
    let docker = |words: &[&str]| host.docker(words).ok();
    docker(&["create", "--name", "plain", "busybox"]);
    docker(&["create", "--name", "keep", "-l", "keep=1", "-l", "team=a", "busybox"]);
    docker(&["create", "--name", "team-b", "-l", "team=b", "busybox"]);
    docker(&["run", "-d", "--name", "runs", "-l", "team=b", "busybox", "sleep", "1000"]);
    docker(&["run", "-d", "--name", "frozen", "-l", "team=b", "busybox", "sleep", "1000"]);
    docker(&["pause", "frozen"]);
    let created = docker(&["inspect", "-f", "{{.Created}}", "keep"]);
    let names = || {
        let all = docker(&["ps", "-a", "--format", "{{.Names}}"]);
        let mut names: Vec<String> = all.lines().map(str::to_owned).collect();
        names.sort_unstable();
        names.join(" ")
    };
    for (filters, text) in [
        (r#"{"until":["1h","2h"]}"#, "more than one until filter specified"),
        (r#"{"until":["soon"]}"#, "soon"),
        (r#"{"name":["plain"]}"#, "invalid filter"),
        ("{", "invalid"),
    ] {
        let (status, answer) = prune(&host, filters);
        assert_eq!(status, "400", "{filters}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(text), "{filters}: {answer}");
    }
    // Older than an hour: none. Of a label's value, without a label, made up to a moment.
    docker(&["container", "prune", "-f", "--filter", "until=1h"]);
    assert_eq!(names(), "frozen keep plain runs team-b");
    docker(&["container", "prune", "-f", "--filter", "label=team=b"]);
    assert_eq!(names(), "frozen keep plain runs");
    docker(&["create", "--name", "young", "busybox"]);
    docker(&["container", "prune", "-f", "--filter", &format!("until={created}"), "--filter", "label!=keep"]);
    assert_eq!(names(), "frozen keep runs young");
    let said = docker(&["container", "prune", "-f", "--filter", "label!=keep"]);
    assert!(said.contains("Deleted Containers:") && said.contains("Total reclaimed space: "), "{said}");
    assert_eq!(names(), "frozen keep runs");
    docker(&["unpause", "frozen"]);
    // An event tells of it, and none of the running ones is touched.
    let now = || docker(&["info", "-f", "{{.SystemTime}}"]);
    let since = now();
    docker(&["container", "prune", "-f"]);
    let events = docker(&["events", "--since", &since, "--until", &now(), "--filter", "event=prune"]);
    assert!(events.contains("container prune") && events.contains("reclaimed="), "{events}");
    assert_eq!(names(), "frozen runs");
    host.finish();
}
