//! import, load, save, tag, rmi, and the image inside Corten.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::layout::{GZIP, Layout, TAR, ZSTD, tar};
use testkit::web::{Answer, Web};
use testkit::{Command, Host, audit, image};

#[test]
fn the_first_container_needs_nothing() {
    let host = Host::bare();
    let said = host.corten(&["run", "corten/hello"]).ok();
    assert!(said.contains("Hello from Corten"), "{said}");
    assert!(host.corten(&["ps", "-a"]).ok().contains("Exited (0)"));
    host.finish();
}

#[test]
fn save_and_load_give_the_same_image() {
    let host = Host::new();
    let id = host.corten(&["inspect", "-f", "{{.Id}}", "busybox"]).ok();
    let file = host.path("saved.tar").display().to_string();
    host.corten(&["save", "-o", &file, "busybox"]).ok();
    host.corten(&["rmi", "busybox"]).ok();
    assert_eq!(host.corten(&["images", "-q"]).ok(), "");
    assert_eq!(host.corten(&["load", "-i", &file]).ok(), "Loaded image: busybox:latest");
    assert_eq!(host.corten(&["inspect", "-f", "{{.Id}}", "busybox"]).ok(), id);
    assert_eq!(host.corten(&["run", "--rm", "busybox", "echo", "loaded"]).ok(), "loaded");
    host.finish();
}

#[test]
fn names_come_and_go() {
    let host = Host::new();
    host.corten(&["tag", "busybox", "other:2"]).ok();
    let listed = host.corten(&["images"]).ok();
    assert!(listed.contains("other") && listed.contains("busybox"), "{listed}");
    assert_eq!(host.corten(&["rmi", "other:2"]).ok(), "Untagged: other:2");
    host.corten(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"]).ok();
    let refused = host.corten(&["rmi", "busybox"]).fails(1);
    assert!(
        refused.contains("conflict: unable to delete busybox:latest (must be forced) - container ")
            && refused.contains("is using its referenced image"),
        "{refused}"
    );
    host.corten(&["rm", "-f", "c1"]).ok();
    assert!(host.corten(&["rmi", "busybox"]).ok().contains("Deleted: sha256:"));
    assert!(Command::new(&["ls", "-A", &host.path("data/layers").display().to_string()]).ok().is_empty());
    let unknown = host.corten(&["rmi", "busybox"]).fails(1);
    assert!(unknown.contains("No such image: busybox:latest"), "{unknown}");
    host.finish();
}

#[test]
fn a_root_file_system_is_imported_from_an_address() {
    let host = Host::bare();
    let web = Web::new(&host, |request| match request.path.as_str() {
        "/latest.tar" => Answer::status(302).with("location", "/root.tar"),
        "/root.tar" => Answer::ok(image::busybox()),
        "/half.tar" => Answer::ok(&image::busybox()[..100_000]),
        _ => Answer { body: b"no such archive".into(), ..Answer::status(404) },
    });
    let url = web.url("latest.tar");
    let said = host.docker(&["import", "-c", "CMD [\"echo\", \"imported\"]", &url, "web:1"]).ok();
    assert!(said.contains(&format!("Downloading from {url}")) && said.contains("sha256:"), "{said}");
    assert_eq!(host.docker(&["run", "--rm", "web:1"]).ok(), "imported");
    assert!(host.docker(&["history", "web:1"]).ok().contains(&format!("Imported from {url}")));
    let id = host.corten(&["import", &url, "web:2"]).ok();
    assert!(id.lines().last().unwrap().starts_with("sha256:"), "{id}");
    // What fails has made nothing.
    for (path, why) in [
        ("gone.tar", "with status 404: no such archive"),
        ("half.tar", "the archive ends in the middle of a file"),
    ] {
        let said = host.docker(&["import", &web.url(path), "web:3"]).fails(1);
        assert!(said.contains(why), "{path}: {said}");
    }
    assert!(host.docker(&["import", "http://127.0.0.1:1/x", "web:3"]).fails(1).contains("refused"));
    assert_eq!(host.docker(&["images", "-aq", "web:3"]).ok(), "");
    assert_eq!(audit::in_flight(&host), 0);
    host.finish();
}

/// Loads a layout; the lines it said.
fn load(host: &Host, layout: &Layout) -> String {
    testkit::write(&host.path("layout.tar"), &layout.tar());
    host.docker(&["load", "-i", &host.path("layout.tar").display().to_string()]).ok()
}

#[test]
fn layers_say_what_they_do_and_waste() {
    let host = Host::bare();
    let big = "x".repeat(3000);
    let mut layout = Layout::default();
    let image = layout.image(
        "linux/amd64",
        &[
            (GZIP, tar(&[("etc/", ""), ("etc/conf", "one"), ("big", &big)])),
            (TAR, tar(&[("etc/conf", "other"), (".wh.big", "")])),
            (ZSTD, tar(&[("new", "12345678")])),
        ],
    );
    layout.name(&image, "docker.io/library/explored:1");
    load(&host, &layout);
    let said = host.corten(&["image", "layers", "--files", "explored:1"]).ok();
    let row =
        |n: usize| said.lines().nth(n).unwrap().split_whitespace().skip(2).collect::<Vec<_>>().join(" ");
    assert!(said.starts_with("LAYER "), "{said}");
    assert_eq!(row(1), "2 (3kB) - - 2 (3kB) step 0");
    assert_eq!(row(2), "- 1 (5B) 1 (3kB) - step 1");
    assert_eq!(row(3), "1 (8B) - - - step 2");
    assert!(said.contains("Wasted: 3kB of 3.02kB (99.5%)"), "{said}");
    assert!(said.contains("C /etc/conf 5B") && said.contains("D /big 3kB"), "{said}");
    let json = host.corten(&["image", "layers", "--format", "json", "explored:1"]).ok();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["WastedBytes"], 3003);
    assert_eq!(report["Layers"][1]["Removed"], serde_json::json!({ "Files": 1, "Bytes": 3000 }));
    assert_eq!(report["Wasted"][0], serde_json::json!({ "Path": "/big", "Times": 1, "Bytes": 3000 }));
    assert!(host.corten(&["image", "layers", "nothing"]).fails(1).contains("No such image: nothing:latest"));
    host.finish();
}

#[test]
fn lists_filters_and_prune_go_by_name() {
    let host = Host::new();
    let mut layout = Layout::default();
    for (n, name) in [(1, "team/app:1"), (2, "team/app:2"), (3, "")] {
        let image = layout.image("linux/amd64", &[(GZIP, tar(&[("n", &n.to_string())]))]);
        layout.name(&image, &if name.is_empty() { String::new() } else { format!("docker.io/{name}") });
    }
    let said = load(&host, &layout);
    assert!(
        said.starts_with("Loaded image: team/app:1\nLoaded image: team/app:2\nLoaded image ID: sha256:"),
        "{said}"
    );
    host.docker(&["tag", "team/app:1", "other:1"]).ok();
    let list = |words: &[&str]| {
        let format = ["--format", "{{.Repository}}:{{.Tag}}"];
        let mut names: Vec<String> =
            host.docker(&[&["images"], words, &format].concat()).ok().lines().map(str::to_owned).collect();
        names.sort_unstable();
        names.join(" ")
    };
    let all = "busybox:latest other:1 team/app:1 team/app:2";
    assert_eq!(list(&[]), all, "nameless ones are hidden");
    assert_eq!(list(&["-a"]), format!("<none>:<none> {all}"));
    for (filter, expected) in [
        ("dangling=true", "<none>:<none>"),
        ("dangling=false", all),
        ("reference=team/*", "team/app:1 team/app:2"),
        ("reference=team/app:1", "team/app:1"),
        ("reference=docker.io/library/o*", "other:1"),
        ("label=arch", "other:1 team/app:1 team/app:2"),
        ("label=arch=arm64", ""),
        ("label!=arch", "busybox:latest"),
        ("since=team/app:1", "busybox:latest"),
        ("before=busybox", "other:1 team/app:1 team/app:2"),
        ("until=1h", ""),
    ] {
        assert_eq!(list(&["-f", filter]), expected, "{filter}");
    }
    assert_eq!(list(&["team/app"]), "team/app:1 team/app:2");
    assert!(host.docker(&["images", "-f", "size=1"]).fails(1).contains("invalid filter"));
    let digests = host.docker(&["images", "--digests", "--format", "{{.Digest}} {{.ID}}", "team/app:1"]).ok();
    let (digest, id) = digests.split_once(' ').unwrap();
    assert_eq!(&digest[7..19], id, "the id is the target's digest");
    let full = host.docker(&["images", "-q", "--no-trunc", "other"]).ok();
    assert_eq!(full, digest);

    // An id with names in several repositories needs force; one name of several only goes itself.
    let refused = host.docker(&["rmi", id]).fails(1);
    let text = format!(
        "conflict: unable to delete {id} (must be forced) - image is referenced in multiple repositories"
    );
    assert!(refused.contains(&text), "{refused}");
    host.docker(&["create", "--name", "c1", "other:1", "/n"]).ok();
    assert_eq!(host.docker(&["rmi", "other:1"]).ok(), "Untagged: other:1", "another name keeps it");
    let refused = host.docker(&["rmi", "team/app:1"]).fails(1);
    assert!(
        refused.contains("(must be forced) - container ") && refused.contains("is using its referenced"),
        "{refused}"
    );
    let refused = host.docker(&["rmi", id]).fails(1);
    assert!(refused.contains("(must be forced) - image is being used by stopped container"), "{refused}");

    // Prune: the nameless; then all that no container was made with. c1 was made with a name that is gone.
    let pruned = host.docker(&["image", "prune", "-f"]).ok();
    assert!(pruned.contains("deleted: sha256:"), "{pruned}");
    assert_eq!(list(&["-a"]), "busybox:latest team/app:1 team/app:2");
    host.docker(&["create", "--name", "c2", "team/app:2", "/n"]).ok();
    host.docker(&["create", "--name", "c3", id, "/n"]).ok();
    host.docker(&["image", "prune", "-af"]).ok();
    assert_eq!(list(&["-a"]), "team/app:1 team/app:2", "one by its name, one by its id");
    host.docker(&["rmi", "-f", "team/app:1"]).ok();
    assert_eq!(list(&["-a"]), "<none>:<none> team/app:2", "what a container needs stays without a name");
    host.docker(&["commit", "c1", "again"]).ok();
    host.docker(&["rm", "c1", "c2", "c3"]).ok();
    host.docker(&["image", "prune", "-af"]).ok();
    assert_eq!(list(&["-a"]), "");
    assert_eq!(std::fs::read_dir(host.path("data/blobs/sha256")).unwrap().count(), 0);
    host.finish();
}

#[test]
fn bad_archives_load_nothing() {
    let host = Host::bare();
    let good = |layout: &mut Layout, name: &str| {
        let image = layout.image("linux/amd64", &[(GZIP, tar(&[("a", "1")]))]);
        layout.name(&image, name);
    };
    let refused = |what: &str, layout: &Layout, why: &str| {
        testkit::write(&host.path("bad.tar"), &layout.tar());
        let said = host.docker(&["load", "-i", &host.path("bad.tar").display().to_string()]).fails(1);
        assert!(said.contains(why), "{what}: {said}");
        assert_eq!(host.docker(&["images", "-aq"]).ok(), "", "{what}");
    };
    // A layer whose content is not what the configuration says, beside a good image.
    let mut layout = Layout::default();
    good(&mut layout, "docker.io/library/good:1");
    let config = serde_json::json!({ "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers",
        "diff_ids": [format!("sha256:{}", "a".repeat(64))] } });
    let layer = layout.blob(TAR, tar(&[("b", "2")]));
    let lying = layout.manifest(&config, &[layer]);
    layout.name(&lying, "docker.io/library/lying:1");
    refused("diff id", &layout, "digest mismatch: expected sha256:aaaa");
    // Bytes that are not those of their name; a blob that is missing; a size that is not so; a bad name.
    for (what, why) in [
        ("digest", "digest mismatch"),
        ("missing", "not found"),
        ("size", "but is said to have 7"),
        ("name", "the archive names an image"),
        ("cut off", "the archive ends in the middle of a file"),
    ] {
        let mut layout = Layout::default();
        good(&mut layout, if what == "name" { "docker.io/Bad Name" } else { "docker.io/library/x:1" });
        let last = layout.blobs.keys().next_back().unwrap().clone();
        match what {
            "digest" => layout.blobs.get_mut(&last).unwrap().push(b' '),
            "missing" => drop(layout.blobs.remove(&last)),
            "size" => layout.named[0]["size"] = serde_json::json!(7),
            _ => {}
        }
        if what == "cut off" {
            let whole = layout.tar();
            testkit::write(&host.path("bad.tar"), &whole[..whole.len() - 1400]);
            let said = host.docker(&["load", "-i", &host.path("bad.tar").display().to_string()]).fails(1);
            assert!(said.contains(why) || said.contains("unexpected end of file"), "{what}: {said}");
            continue;
        }
        refused(what, &layout, why);
    }
    testkit::write(&host.path("bad.tar"), b"no archive at all");
    let said = host.docker(&["load", "-i", &host.path("bad.tar").display().to_string()]).fails(1);
    assert!(!said.is_empty());
    host.docker(&["image", "prune", "-f"]).ok();
    for place in ["blobs/sha256", "layers", "ingest"] {
        assert_eq!(std::fs::read_dir(host.path("data").join(place)).unwrap().count(), 0, "{place}");
    }
    host.finish();
}
