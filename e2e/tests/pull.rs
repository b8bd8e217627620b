//! Pulls and pushes that are interrupted, shared, of several platforms and tags; lists of manifests; search.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::process::Child;

use testkit::{Host, Relay, until};

/// A registry in the background, killed at the end of the test.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(host: &Host, port: u16) -> Server {
    let root = host.path(&format!("registry{port}")).display().to_string();
    let address = format!("127.0.0.1:{port}");
    let child = host.corten(&["registry", "serve", "--listen", &address, "--root", &root]).spawn();
    until("the registry", || {
        let got = host.command(&["curl", "-sf", "-m", "2", &format!("http://{address}/v2/")]).output();
        (got.code == 0).then_some(())
    });
    Server { child, address: address.parse().unwrap() }
}

/// An image with a layer of some MB that do not compress.
fn import_big(host: &Host, name: &str) {
    let tar = host.path("big.tar").display().to_string();
    let made = format!(
        "d=$(mktemp -d) && head -c 6000000 /dev/urandom >$d/noise && cp /bin/busybox $d/ && tar -C $d -cf {tar} . && rm -r $d"
    );
    host.command(&["sh", "-c", &made]).ok();
    host.corten(&["import", "-c", "CMD [\"/busybox\", \"true\"]", &tar, name]).ok();
}

fn parts(host: &Host) -> u64 {
    let files = std::fs::read_dir(host.path("data/ingest")).unwrap().flatten();
    let parts = files.filter(|f| f.file_name().to_string_lossy().ends_with(".part"));
    parts.filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum()
}

fn largest(directory: &std::path::Path) -> u64 {
    let files = std::fs::read_dir(directory).unwrap().flatten();
    files.filter_map(|f| f.metadata().ok()).map(|m| m.len()).max().unwrap()
}

#[test]
fn a_pull_goes_on_after_the_daemons_and_the_clients_death() {
    let mut host = Host::new();
    let server = serve(&host, 5003);
    import_big(&host, "127.0.0.1:5003/team/big:1");
    host.corten(&["push", "127.0.0.1:5003/team/big:1"]).ok();
    host.corten(&["rmi", "127.0.0.1:5003/team/big:1"]).ok();
    let relay = Relay::new(&host, server.address, u64::MAX, 2_500_000);
    let name = format!("{}/team/big:1", relay.address);

    // The daemon is killed in the middle of a layer.
    let mut client = host.corten(&["pull", &name]).spawn();
    until("half of the layer", || (parts(&host) > 1_500_000).then_some(()));
    host.kill_daemon();
    client.wait().unwrap();
    let kept = parts(&host);
    host.start_daemon();
    assert!(!host.corten(&["images"]).ok().contains("team/big"));
    assert!(parts(&host) >= kept, "the start threw away what had come");
    assert_eq!(parts(&host), kept);

    // The client is killed in the middle of what is left: the daemon lets go of the registry.
    let relay = Relay::new(&host, server.address, u64::MAX, 1_000_000);
    let name = format!("{}/team/big:1", relay.address);
    let mut client = host.corten(&["pull", &name]).spawn();
    until("more of the layer", || (parts(&host) > kept + 500_000).then_some(()));
    let connections = relay.connections();
    client.kill().unwrap();
    client.wait().unwrap();
    until("the end of the layer's connection", || (relay.connections() < connections).then_some(()));
    relay.down.open();
    let kept = parts(&host);

    // Garbage is collected meanwhile: an interrupted pull's content is none. What had come before the connection's end may still
    // be on its way to the file.
    host.corten(&["rmi", "-f", "busybox"]).ok();
    assert!(parts(&host) >= kept, "the collection threw away what had come");
    let relay = Relay::new(&host, server.address, u64::MAX, u64::MAX);
    let name = format!("{}/team/big:1", relay.address);
    host.corten(&["pull", &name]).ok();
    let missing = largest(&host.path("registry5003/blobs/sha256")) - kept;
    let came = relay.down.passed();
    assert!(came < missing + 100_000, "{came} bytes came of the {missing} that were missing");
    host.corten(&["run", "--rm", &name, "/busybox", "true"]).ok();
    assert_eq!(parts(&host), 0);
    host.finish();
}

#[test]
fn a_push_survives_the_daemons_death_and_prune_clears_broken_pulls() {
    let mut host = Host::new();
    let server = serve(&host, 5004);
    let relay = Relay::new(&host, server.address, 2_000_000, u64::MAX);
    let name = format!("{}/team/big:1", relay.address);
    import_big(&host, &name);
    let mut client = host.corten(&["push", &name]).spawn();
    until("half of the layer", || (relay.up.passed() > 1_500_000).then_some(()));
    host.kill_daemon();
    client.wait().unwrap();
    relay.up.open();
    host.start_daemon();
    let digest = host.corten(&["inspect", "-f", "{{.Id}}", &name]).ok();
    let pushed = host.corten(&["push", &name]).ok();
    assert!(pushed.contains(&digest), "{pushed}");
    host.corten(&["rmi", &name]).ok();

    // A pull that breaks off leaves what prune clears.
    let relay = Relay::new(&host, server.address, u64::MAX, 2_000_000);
    let broken = format!("{}/team/big:1", relay.address);
    let mut client = host.corten(&["pull", &broken]).spawn();
    until("half of the layer", || (parts(&host) > 1_000_000).then_some(()));
    client.kill().unwrap();
    client.wait().unwrap();
    // Until the daemon has seen that nobody waits for it, nobody takes from it what came. How many connections are open says
    // nothing of that: one that was not needed may stay for later.
    let prune = || host.corten(&["image", "prune", "-f"]).ok();
    until("what prune may take", || prune().contains("MB").then_some(()));
    assert_eq!(parts(&host), 0);
    relay.down.open();
    host.corten(&["pull", &name]).ok();
    host.finish();
}

#[test]
fn all_tags_and_mounts_go_out_and_come_back() {
    let host = Host::new();
    let _server = serve(&host, 5005);
    for tag in ["1", "2"] {
        host.corten(&["tag", "busybox", &format!("127.0.0.1:5005/a/x:{tag}")]).ok();
    }
    let pushed = host.corten(&["push", "-a", "127.0.0.1:5005/a/x"]).ok();
    assert_eq!(pushed.matches("digest: sha256:").count(), 2, "{pushed}");
    host.corten(&["tag", "busybox", "127.0.0.1:5005/b/y"]).ok();
    let pushed = host.docker(&["push", "127.0.0.1:5005/b/y"]).ok();
    assert!(pushed.contains("Mounted from a/x"), "{pushed}");
    let quiet = host.corten(&["push", "-q", "127.0.0.1:5005/b/y"]).ok();
    assert_eq!(quiet, "127.0.0.1:5005/b/y:latest");
    let refused = host.corten(&["push", "--platform", "linux/s390x", "127.0.0.1:5005/b/y"]).fails(1);
    assert!(refused.contains("does not provide the specified platform (linux/s390x)"), "{refused}");
    host.corten(&["rmi", "127.0.0.1:5005/a/x:1", "127.0.0.1:5005/a/x:2"]).ok();
    host.docker(&["pull", "-a", "127.0.0.1:5005/a/x"]).ok();
    let images = host.corten(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok();
    assert!(images.contains("127.0.0.1:5005/a/x:1") && images.contains("127.0.0.1:5005/a/x:2"), "{images}");
    host.finish();
}

#[test]
fn lists_of_manifests_are_made_annotated_pushed_and_copied() {
    let host = Host::new();
    let (_one, _two) = (serve(&host, 5006), serve(&host, 5007));
    let image = |n: u32| format!("127.0.0.1:5006/team/app:{n}");
    for n in [1, 2] {
        host.corten(&[
            "import",
            "-m",
            &n.to_string(),
            &host.path("busybox.tar").display().to_string(),
            &image(n),
        ])
        .ok();
        host.corten(&["push", &image(n)]).ok();
    }
    let list = "127.0.0.1:5006/team/app:all";
    let created = host.corten(&["manifest", "create", list, &image(1), &image(2)]).ok();
    assert_eq!(created, format!("Created manifest list {list}"));
    let refused = host.corten(&["manifest", "create", list, &image(1)]).fails(1);
    assert!(
        refused.contains("refusing to amend an existing manifest list with no --amend flag"),
        "{refused}"
    );
    host.corten(&["manifest", "annotate", "--arch", "arm64", "--variant", "v8", list, &image(2)]).ok();
    let refused = host.corten(&["manifest", "annotate", "--arch", "arm64", list, &image(3)]).fails(1);
    assert!(refused.contains("does not exist in"), "{refused}");
    let digest = host.corten(&["manifest", "push", "--purge", list]).ok();
    let digest = digest.lines().last().unwrap().to_owned();
    assert!(digest.starts_with("sha256:"), "{digest}");
    assert!(host.corten(&["manifest", "push", list]).fails(1).contains("not found"));
    assert!(host.corten(&["manifest", "rm", list]).fails(1).contains("No such manifest"));

    // The original client reads it, and so does the engine.
    let shown = host.docker(&["manifest", "inspect", "--insecure", list]).ok();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["manifests"][1]["platform"]["architecture"], "arm64", "{shown}");
    assert_eq!(shown["manifests"][1]["platform"]["variant"], "v8", "{shown}");
    let ours: serde_json::Value =
        serde_json::from_str(&host.corten(&["manifest", "inspect", list]).ok()).unwrap();
    assert_eq!(ours, shown);
    let asked = host.command(&[
        "curl",
        "-s",
        "--unix-socket",
        &host.path("corten.sock").display().to_string(),
        &format!("http://x/v1.47/distribution/{list}/json"),
    ]);
    let asked = asked.ok();
    assert!(asked.contains(&digest) && asked.contains("arm64"), "{asked}");

    // To another registry, and under another name of the same one.
    for target in ["127.0.0.1:5007/else/app:1", "127.0.0.1:5006/else/app:1"] {
        let copied = host.corten(&["image", "copy", list, target]).ok();
        assert!(copied.contains(&digest), "{copied}");
        assert_eq!(copied.contains("Mounted from team/app"), target.contains("5006"), "{copied}");
        host.corten(&["pull", target]).ok();
        host.corten(&["pull", "--platform", "linux/arm64", target]).ok();
        let verbose = host.corten(&["manifest", "inspect", "-v", target]).ok();
        assert!(verbose.contains("OCIManifest") || verbose.contains("SchemaV2Manifest"), "{verbose}");
    }
    assert_eq!(host.corten(&["image", "referrers", list]).ok(), "");
    let missing = host.corten(&["manifest", "inspect", "127.0.0.1:5006/no/such"]).fails(1);
    assert!(missing.contains("no such manifest: 127.0.0.1:5006/no/such:latest"), "{missing}");

    // Both platforms are here now: they go out as one, or one of them alone.
    let again = "127.0.0.1:5007/else/app:1";
    host.corten(&["tag", again, "127.0.0.1:5007/third/app:1"]).ok();
    let pushed = host.corten(&["push", "127.0.0.1:5007/third/app:1"]).ok();
    assert!(pushed.contains(&digest), "{pushed}");
    let alone = host.corten(&["push", "--platform", "linux/arm64", "127.0.0.1:5007/third/app:1"]).ok();
    assert!(alone.contains("digest: sha256:") && !alone.contains(&digest), "{alone}");
    host.finish();
}

#[test]
fn search_asks_a_registry() {
    let host = Host::bare();
    let listener = testkit::relay::listen(&host);
    let registry = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut line = String::new();
            let mut reader = std::io::BufReader::new(client.try_clone().unwrap());
            // The first try is TLS, which this does not speak.
            let mut first = [0];
            if client.peek(&mut first).is_err() || first != *b"G" || reader.read_line(&mut line).is_err() {
                continue;
            }
            let Some(query) = line.strip_prefix("GET /v1/search?q=box&n=").and_then(|q| q.split(' ').next())
            else {
                continue;
            };
            let mut header = String::new();
            while reader.read_line(&mut header).unwrap() > 2 {
                header.clear();
            }
            let body = format!(
                r#"{{"num_results":2,"results":[{{"name":"team/box","description":"first","is_official":true,"star_count":7}},{{"name":"other","description":"second","is_official":false,"star_count":{query}}}]}}"#
            );
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            client.write_all(format!("{head}{body}").as_bytes()).unwrap();
        }
    });
    let term = format!("{registry}/box");
    for found in [
        host.corten(&["search", "--format", "{{.Name}} {{.StarCount}} {{.IsOfficial}}", &term]).ok(),
        host.docker(&["search", "--format", "{{.Name}} {{.StarCount}} {{.IsOfficial}}", &term]).ok(),
    ] {
        let mut lines: Vec<&str> = found.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["other 25 ", "team/box 7 [OK]"], "{found}");
    }
    let found = host.corten(&["search", "--filter", "is-official=true", "--limit", "3", &term]).ok();
    assert!(found.contains("team/box") && !found.contains("other"), "{found}");
    let refused = host.corten(&["search", "--limit", "101", &term]).fails(1);
    assert!(refused.contains("limit 101 is outside the range of [1, 100]"), "{refused}");
    host.finish();
}
