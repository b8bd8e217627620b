//! Several platforms under one name: load, list, inspect, history, run, save, rmi, with the original client and ours.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use serde_json::Value;
use testkit::layout::{GZIP, Layout, TAR, ZSTD, tar};
use testkit::{Command, Host, Output, image};

/// The manifests' digests: linux/amd64, linux/arm64/v8, what is said about the first; and the index.
struct Multi {
    amd64: String,
    arm64: String,
    attestation: String,
    index: String,
}

/// `multi:1` in a layout: four layers, of every compression, one of them empty; a second platform; an attestation.
fn multi() -> (Vec<u8>, Multi) {
    let mut layout = Layout::default();
    let amd64 = layout.image(
        "linux/amd64",
        &[
            (GZIP, image::busybox()),
            (ZSTD, tar(&[("a", "amd64"), ("gone", "x")])),
            (TAR, tar(&[(".wh.gone", "")])),
            (GZIP, tar(&[])),
        ],
    );
    let arm64 = layout.image("linux/arm64/v8", &[(GZIP, tar(&[("a", "arm64")]))]);
    let attestation = layout.attestation(&amd64);
    let index = layout.index(&[amd64.clone(), arm64.clone(), attestation.clone()]);
    layout.name(&index, "docker.io/library/multi:1");
    let digest = |descriptor: &Value| descriptor["digest"].as_str().unwrap().to_owned();
    let multi = Multi {
        amd64: digest(&amd64),
        arm64: digest(&arm64),
        attestation: digest(&attestation),
        index: digest(&index),
    };
    (layout.tar(), multi)
}

fn loaded(host: &Host) -> Multi {
    let (tar, multi) = multi();
    testkit::write(&host.path("multi.tar"), &tar);
    let file = host.path("multi.tar").display().to_string();
    assert_eq!(host.docker(&["load", "-i", &file]).ok(), "Loaded image: multi:1");
    multi
}

/// A call of the API, its status and its answer.
fn api(host: &Host, method: &str, path: &str, query: &[(&str, &str)]) -> (String, Value) {
    let socket = host.path("corten.sock").display().to_string();
    let url = format!("http://localhost{path}");
    let mut words: Vec<String> =
        ["curl", "-sS", "-G", "-X", method, "--unix-socket", &socket, "-w", "\n%{http_code}", &url]
            .map(str::to_owned)
            .into();
    for (key, value) in query {
        words.extend(["--data-urlencode".into(), format!("{key}={value}")]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Output { stdout, .. } = host.command(&words).output();
    let (body, status) = stdout.rsplit_once('\n').unwrap();
    (status.to_owned(), serde_json::from_str(body).unwrap_or(Value::Null))
}

const ARM64: &str = r#"{"os":"linux","architecture":"arm64"}"#;

#[test]
fn each_platform_is_seen_and_runs() {
    let host = Host::bare();
    let multi = loaded(&host);
    // The id is the index's, the size that of all platforms.
    let listed = host.docker(&["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]).ok();
    assert_eq!(listed, format!("multi:1 {}", multi.index));
    let (_, list) = api(&host, "GET", "/v1.51/images/json", &[("manifests", "1")]);
    let manifests = list[0]["Manifests"].as_array().unwrap();
    let facts: Vec<String> = manifests
        .iter()
        .map(|m| {
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let platform = &m["ImageData"]["Platform"];
            format!("{} {} {}", text(&m["ID"]), text(&m["Kind"]), text(&platform["architecture"]))
        })
        .collect();
    assert_eq!(
        facts,
        [
            format!("{} image amd64", multi.amd64),
            format!("{} image arm64", multi.arm64),
            format!("{} attestation -", multi.attestation),
        ]
    );
    assert_eq!(manifests[2]["AttestationData"]["For"], multi.amd64.as_str());
    let total = |m: &Value| m["Size"]["Total"].as_i64().unwrap();
    assert_eq!(manifests.iter().map(total).sum::<i64>(), list[0]["Size"].as_i64().unwrap());
    let unpacked = |n: usize| manifests[n]["ImageData"]["Size"]["Unpacked"].as_i64().unwrap();
    assert!(unpacked(0) > 500_000 && unpacked(1) == 0, "only this machine's is unpacked");
    assert!(api(&host, "GET", "/v1.46/images/json", &[("manifests", "1")]).1[0].get("Manifests").is_none());

    // Inspect and history of one platform.
    let inspect = |words: &[&str]| host.docker(&[&["image", "inspect"], words].concat());
    let arch = "{{.Architecture}} {{.Id}} {{index .Config.Labels \"arch\"}}";
    assert_eq!(inspect(&["-f", arch, "multi:1"]).ok(), format!("amd64 {} amd64", multi.index));
    assert_eq!(
        inspect(&["--platform", "linux/arm64", "-f", arch, "multi:1"]).ok(),
        format!("arm64 {} arm64", multi.arm64)
    );
    let refused = inspect(&["--platform", "linux/s390x", "multi:1"]).fails(1);
    let text =
        "image with reference multi:1 was found but does not provide the specified platform (linux/s390x)";
    assert!(refused.contains(text), "{refused}");
    let steps = |words: &[&str]| host.docker(&[&["history", "-q"], words].concat()).ok().lines().count();
    assert_eq!((steps(&["multi:1"]), steps(&["--platform", "linux/arm64", "multi:1"])), (4, 1));
    let both = [("manifests", "1"), ("platform", ARM64)];
    let (status, answer) = api(&host, "GET", "/v1.51/images/multi:1/json", &both);
    assert_eq!(status, "400");
    assert_eq!(answer["message"], "conflicting options: manifests and platform options cannot both be set");
    let (status, answer) = api(&host, "GET", "/v1.51/images/multi:1/json", &[("platform", "linux/arm64")]);
    assert_eq!(status, "400");
    assert!(answer["message"].as_str().unwrap().contains("failed to parse platform"), "{answer}");
    let (_, answer) = api(&host, "GET", "/v1.51/images/multi:1/json", &[("manifests", "1")]);
    assert_eq!(answer["Manifests"].as_array().unwrap().len(), 3);

    // Run: this machine's, whiteouts and all; another machine's is made, and cannot start.
    let seen = ["run", "--rm", "multi:1", "sh", "-c", "cat /a; ls /gone"];
    let ran = host.docker(&seen).output();
    assert!(ran.stdout == "amd64" && ran.stderr.contains("No such file"), "{ran:?}");
    host.docker(&["run", "--rm", "--platform", "linux/amd64", "multi:1", "true"]).ok();
    host.docker(&["create", "--platform", "linux/arm64", "--name", "foreign", "multi:1", "/a"]).ok();
    let said = host.docker(&["start", "foreign"]).fails(1);
    assert!(said.contains("permission denied") || said.contains("exec format error"), "{said}");
    let tree = host.corten(&["images", "--tree"]).ok();
    let lines: Vec<&str> = tree.lines().collect();
    assert!(lines[1].starts_with("multi:1 ") && lines[1].ends_with(" U"), "{tree}");
    assert!(lines[2].starts_with("├─ linux/amd64") && !lines[2].ends_with('U'), "{tree}");
    assert!(lines[3].starts_with("│  └─ attestation"), "{tree}");
    assert!(lines[4].starts_with("└─ linux/arm64/v8") && lines[4].ends_with(" U"), "{tree}");
    host.finish();
}

#[test]
fn platforms_are_saved_loaded_and_removed_one_by_one() {
    let host = Host::bare();
    let multi = loaded(&host);
    let file = |name: &str| host.path(name).display().to_string();
    let (all, one) = (file("all.tar"), file("one.tar"));
    host.docker(&["save", "-o", &all, "multi:1"]).ok();
    host.docker(&["save", "--platform", "linux/arm64", "-o", &one, "multi:1"]).ok();
    let refused =
        host.docker(&["save", "--platform", "linux/s390x", "-o", &file("no.tar"), "multi:1"]).fails(1);
    assert!(refused.contains("does not provide the specified platform (linux/s390x)"), "{refused}");
    // The archive of one platform is that image alone, and every tool's to read.
    let index = Command::new(&["tar", "-xOf", &one, "index.json"]).ok();
    assert!(index.contains(&multi.arm64) && !index.contains(&multi.index), "{index}");
    let names = Command::new(&["tar", "-xOf", &all, "manifest.json"]).ok();
    assert!(names.contains(r#""RepoTags":["multi:1"]"#), "{names}");

    // A platform goes by force only, and takes its attestation along; the other stays.
    let words = |platform: &'static str| ["image", "rm", "-f", "--platform", platform, "multi:1"];
    let refused = host.docker(&["image", "rm", "--platform", "linux/amd64", "multi:1"]).fails(1);
    assert!(
        refused.contains("Content will be removed from all images referencing this variant"),
        "{refused}"
    );
    let gone = host.docker(&words("linux/amd64")).ok();
    assert_eq!(gone, format!("Deleted: {}\nDeleted: {}", multi.amd64, multi.attestation));
    let again = host.docker(&words("linux/amd64")).output();
    assert!(again.stderr.contains("does not provide the specified platform (linux/amd64)"), "{again:?}");
    let inspect = |format: &str| host.docker(&["image", "inspect", "-f", format, "multi:1"]).ok();
    assert_eq!(inspect("{{.Architecture}}"), "arm64", "what is left speaks for the name");
    let (_, list) = api(&host, "GET", "/v1.51/images/json", &[("manifests", "1")]);
    let available = |n: usize| list[0]["Manifests"][n]["Available"].as_bool().unwrap();
    assert!(!available(0) && available(1));
    let refused = host.docker(&["run", "--rm", "--pull", "never", "multi:1", "true"]).fails(125);
    assert!(refused.contains("not found") || refused.contains("No such image"), "{refused}");

    // What went comes back with a load; of one platform if that is asked for.
    assert_eq!(host.docker(&["load", "-i", &all]).ok(), "Loaded image: multi:1");
    assert_eq!(host.docker(&["run", "--rm", "multi:1", "cat", "/a"]).ok(), "amd64");
    host.docker(&["rmi", "multi:1"]).ok();
    assert_eq!(host.docker(&["load", "--platform", "linux/arm64", "-i", &all]).ok(), "Loaded image: multi:1");
    let (_, list) = api(&host, "GET", "/v1.51/images/json", &[("manifests", "1")]);
    let facts = |n: usize| {
        let manifest = &list[0]["Manifests"][n];
        (manifest["Available"].as_bool().unwrap(), manifest["ImageData"]["Size"]["Unpacked"].as_i64())
    };
    assert_eq!(facts(0), (false, Some(0)));
    assert!(facts(1).0 && facts(1).1 > Some(0), "the platform that was asked for is unpacked");
    host.docker(&["rmi", "multi:1"]).ok();
    let blobs = || std::fs::read_dir(host.path("data/blobs/sha256")).unwrap().count();
    assert_eq!(blobs(), 0);
    let refused = host.docker(&["load", "--platform", "linux/s390x", "-i", &all]).fails(1);
    assert!(refused.contains("doesn't provide the requested platform ([linux/s390x])"), "{refused}");
    assert_eq!(host.docker(&["images", "-aq"]).ok(), "");

    // By id: an image without a name. By repository: all its tags. To and from a stream.
    host.docker(&["load", "-i", &one]).ok();
    host.docker(&["tag", "multi:1", "multi:2"]).ok();
    let by_id = file("id.tar");
    host.docker(&["save", "-o", &by_id, &multi.arm64[7..19]]).ok();
    let stream = format!("{} save multi | xz -0", program(&host));
    let xz = file("multi.tar.xz");
    host.command(&["sh", "-euc", &format!("{stream} > {xz}")]).ok();
    host.docker(&["rmi", "multi:1", "multi:2"]).ok();
    let said = host.command(&["sh", "-euc", &format!("{} load < {xz}", program(&host))]).ok();
    assert_eq!(said, "Loaded image: multi:1\nLoaded image: multi:2");
    host.docker(&["rmi", "multi:1", "multi:2"]).ok();
    assert_eq!(host.docker(&["load", "-i", &by_id]).ok(), format!("Loaded image ID: {}", multi.arm64));
    assert_eq!(host.docker(&["images", "-q"]).ok(), "", "an image without a name is hidden");
    assert_eq!(host.docker(&["images", "-aq", "--no-trunc"]).ok(), multi.arm64);
    host.finish();
}

/// `corten -H …` for a shell.
fn program(host: &Host) -> String {
    format!("{} -H {}", testkit::program("corten").display(), host.socket())
}
