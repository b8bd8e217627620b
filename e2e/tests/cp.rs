//! `docker cp` with the original client, and `/containers/{id}/archive` as other programs call it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use testkit::{Command, Host, until};

/// An API call; gives the status and the body.
fn api(host: &Host, method: &str, path: &str, more: &[&str]) -> (u16, String) {
    let socket = host.path("corten.sock").display().to_string();
    let url = format!("http://localhost/v1.47{path}");
    let fixed = ["curl", "-sS", "--unix-socket", &socket, "-X", method, "-w", "\n%{http_code}"];
    let answer = Command::new(&[&fixed, more, &[url.as_str()]].concat()).output();
    // 18: an answer that breaks off.
    assert!([0, 18].contains(&answer.code), "{answer:?}");
    let (body, status) = answer.stdout.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.trim_end().to_owned())
}

fn entries(tar: &Path) -> Vec<String> {
    let list = Command::new(&["tar", "-tPf", &tar.display().to_string()]).ok();
    list.lines().map(str::to_owned).collect()
}

#[test]
fn both_ways_running_paused_and_stopped() {
    let host = Host::new();
    let docker = |arguments: &[&str]| host.docker(arguments).ok();
    let source = host.path("source");
    std::fs::create_dir_all(source.join("deep")).unwrap();
    std::fs::write(source.join("a"), "one").unwrap();
    std::fs::write(source.join("deep/b"), vec![7; 300_000]).unwrap();
    symlink("a", source.join("link")).unwrap();
    std::os::unix::fs::chown(source.join("a"), Some(1234), Some(5678)).unwrap();
    std::fs::set_permissions(source.join("a"), std::fs::Permissions::from_mode(0o4751)).unwrap();
    let source = source.display().to_string();

    docker(&["run", "-d", "--name", "c1", "-v", "data:/data", "busybox", "sleep", "1000"]);
    for state in ["running", "paused", "exited"] {
        match state {
            "paused" => docker(&["pause", "c1"]),
            "exited" => {
                docker(&["unpause", "c1"]);
                docker(&["kill", "c1"])
            }
            _ => String::new(),
        };
        until(state, || (docker(&["inspect", "-f", "{{.State.Status}}", "c1"]) == state).then_some(()));
        let (to, into) = (format!("c1:/tmp/{state}"), format!("c1:/data/{state}"));
        docker(&["cp", &source, &to]);
        docker(&["cp", &format!("{source}/."), &into]);
        for from in [&to, &into] {
            let back = host.path("back");
            docker(&["cp", from, &back.display().to_string()]);
            assert_eq!(std::fs::read(back.join("a")).unwrap(), b"one");
            assert_eq!(std::fs::read(back.join("deep/b")).unwrap(), vec![7; 300_000]);
            assert_eq!(std::fs::read_link(back.join("link")).unwrap(), Path::new("a"));
            assert_eq!(std::fs::metadata(back.join("a")).unwrap().mode() & 0o7777, 0o4751);
            std::fs::remove_dir_all(&back).unwrap();
        }
        // One file, under another name; a stream out and in.
        docker(&["cp", &format!("{source}/a"), &format!("c1:/tmp/{state}.file")]);
        let tar = host.docker(&["cp", &format!("c1:/tmp/{state}.file"), "-"]).output();
        tar.expect(0);
        host.docker(&["cp", "-", "c1:/root"]).stdin(tar.stdout).ok();
        let missing = host.docker(&["cp", "c1:/nothing", &source]).fails(1);
        assert!(missing.contains("Could not find the file /nothing in container c1"), "{missing}");
    }
    docker(&["start", "c1"]);
    let inside = |script: &str| docker(&["exec", "c1", "sh", "-c", script]);
    assert_eq!(inside("cat /root/exited.file /data/exited/a"), "oneone");
    assert_eq!(inside("stat -c %u:%g /tmp/running/a"), "1234:5678", "the archive's owner");
    // What is mounted over the image's files is reached while it runs.
    docker(&["cp", "c1:/etc/hostname", &host.path("hostname").display().to_string()]);
    assert_eq!(std::fs::read_to_string(host.path("hostname")).unwrap().trim(), inside("hostname"));
    docker(&["rm", "-f", "c1"]);
    docker(&["volume", "rm", "data"]);
    host.finish();
}

/// Our client and engine do not put it into a tar.
#[test]
fn one_large_file() {
    let host = Host::new();
    let large = host.path("large");
    let content: Vec<u8> = (0..3_000_007_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&large, &content).unwrap();
    std::os::unix::fs::chown(&large, Some(1234), Some(5678)).unwrap();
    std::fs::set_permissions(&large, std::fs::Permissions::from_mode(0o4640)).unwrap();
    let large = large.display().to_string();
    let sum = |text: &str| text.split_whitespace().next().unwrap().to_owned();
    let expected = sum(&Command::new(&["sha256sum", &large]).ok());
    host.corten(&["run", "-d", "--name", "c1", "--user", "7:8", "busybox", "sleep", "1000"]).ok();
    let exec = |words: &[&str]| host.corten(&[&["exec", "-u", "0", "c1"], words].concat()).ok();
    let copies: [(&[&str], &str, &str); 4] = [
        (&[], "/tmp", "/tmp/large"),
        (&[], "/tmp/name", "/tmp/name"),
        (&["-a"], "/tmp/kept", "/tmp/kept"),
        // Over what is there.
        (&[], "/tmp/kept", "/tmp/kept"),
    ];
    for (flags, to, path) in copies {
        let to = format!("c1:{to}");
        let words = [&["cp"], flags, &[large.as_str(), to.as_str()]].concat();
        // A tar of the original client's first: the same must come of both.
        host.docker(&words).ok();
        let theirs = exec(&["stat", "-c", "%a %u:%g %s %Y", path]);
        host.corten(&words).ok();
        assert_eq!(exec(&["stat", "-c", "%a %u:%g %s %Y", path]), theirs, "{words:?}");
        assert_eq!(sum(&exec(&["sha256sum", path])), expected, "{words:?}");
    }
    let missing = host.corten(&["cp", &large, "c1:/no/where/x"]).fails(1);
    assert!(missing.contains("/no/where"), "{missing}");

    // Who promises a file and sends none changes nothing.
    let url = "/containers/c1/archive?path=/tmp";
    let part = host.path("part").display().to_string();
    std::fs::write(&part, [0; 512]).unwrap();
    for (place, words) in [("512+3000007", "no descriptor came"), ("512", "expected OFFSET+LENGTH")] {
        let header = format!("X-Corten-Content: {place}");
        let (status, body) = api(&host, "PUT", url, &["-H", &header, "-T", &part]);
        assert_eq!(status, 400, "{body}");
        assert!(body.contains(words), "{body}");
    }
}

#[test]
fn the_archive_is_dockers() {
    let host = Host::new();
    let docker = |arguments: &[&str]| host.docker(arguments).ok();
    let script =
        "mkdir -p /d/e && echo x > /d/f && ln /d/f /d/hard && ln -s /d /way && mkfifo /d/pipe && sleep 1000";
    docker(&["run", "-d", "--name", "c1", "busybox", "sh", "-c", script]);
    until("the files", || {
        host.docker(&["exec", "c1", "test", "-p", "/d/pipe"]).output().code.eq(&0).then_some(())
    });
    let get = |path: &str| {
        let file = host.path("out.tar");
        let (status, _) = api(
            &host,
            "GET",
            &format!("/containers/c1/archive?path={path}"),
            &["-o", &file.display().to_string()],
        );
        assert_eq!(status, 200, "{path}");
        entries(&file)
    };
    assert_eq!(get("/d"), ["d/", "d/e/", "d/f", "d/hard", "d/pipe"]);
    assert_eq!(get("/d/."), ["./", "./e/", "./f", "./hard", "./pipe"]);
    assert_eq!(get("/way"), ["way"], "a link is itself");
    assert_eq!(get("/way/"), ["way/", "way/e/", "way/f", "way/hard", "way/pipe"]);
    assert_eq!(get("d/f"), ["f"]);
    let all = get("/");
    assert_eq!((all[0].as_str(), all.contains(&"/d/f".to_owned())), ("/", true));
    assert!(all.contains(&"/proc/".to_owned()) && !all.iter().any(|p| p.starts_with("/proc/s")), "{all:?}");
    assert!(!all.contains(&"/dev/null".to_owned()));

    let head = |path: &str| {
        let path = format!("/containers/c1/archive?path={path}");
        let (status, headers) = api(&host, "HEAD", &path, &["-I"]);
        let stat = headers.lines().find_map(|l| {
            let (name, value) = l.split_once(": ")?;
            name.eq_ignore_ascii_case("X-Docker-Container-Path-Stat").then(|| value.trim().to_owned())
        });
        let json = stat.map(|s| Command::new(&["base64", "-d"]).stdin(s).ok());
        (status, json.map(|j| serde_json::from_str::<serde_json::Value>(&j).unwrap()))
    };
    let (status, stat) = head("/way");
    let stat = stat.unwrap();
    assert_eq!(status, 200);
    assert_eq!((&stat["name"], &stat["linkTarget"]), (&"way".into(), &"/d".into()));
    assert_eq!(stat["mode"], 0x0800_01ff_u32);
    assert_eq!(head("/tmp").1.unwrap()["mode"], 0x8010_01ff_u32);
    assert_eq!(head("/nowhere").0, 404);

    let answer = api(&host, "GET", "/containers/c1/archive", &[]);
    assert_eq!(answer.0, 400, "{}", answer.1);
    let answer = api(&host, "GET", "/containers/c1/archive?path=/nowhere", &[]);
    assert_eq!(answer, (404, "{\"message\":\"Could not find the file /nowhere in container c1\"}".into()));
    let answer = api(&host, "GET", "/containers/none/archive?path=/", &[]);
    assert_eq!(answer.0, 404);
    let gzip = host.path("out.tgz").display().to_string();
    let more = ["-H", "Accept-Encoding: gzip", "-o", &gzip];
    assert_eq!(api(&host, "GET", "/containers/c1/archive?path=/d/f", &more).0, 200);
    assert_eq!(Command::new(&["tar", "-tzf", &gzip]).ok(), "f");

    // Into a container: what is no directory, compressed, and both kinds of overwriting.
    let tree = host.path("tree");
    std::fs::create_dir_all(tree.join("f")).unwrap();
    std::fs::write(tree.join("e"), "file").unwrap();
    let tar = |flag: &str, name: &str| {
        let file = host.path(name).display().to_string();
        Command::new(&["tar", flag, &file, "-C", &tree.display().to_string(), "."]).ok();
        format!("@{file}")
    };
    let put = |query: &str, body: &str| {
        api(
            &host,
            "PUT",
            &format!("/containers/c1/archive?{query}"),
            &["--data-binary", body, "-H", "Expect:"],
        )
    };
    let plain = tar("-cf", "in.tar");
    assert_eq!(put("path=/d/f", &plain).0, 400);
    assert!(put("path=/d/f", &plain).1.contains("extraction point is not a directory"));
    assert_eq!(put("path=/no/where", &plain).0, 404);
    let refused = put("path=/d&noOverwriteDirNonDir=1", &plain);
    assert_eq!(refused.0, 400);
    assert!(refused.1.contains("cannot overwrite non-directory"), "{}", refused.1);
    let mode = |path: &str| docker(&["exec", "c1", "stat", "-c", "%F %a", path]);
    let before = mode("/d");
    for (flag, name) in [("-czf", "in.tgz"), ("-cjf", "in.tbz"), ("-cJf", "in.txz"), ("-cf", "in2.tar")] {
        assert_eq!(put("path=/way", &tar(flag, name)).0, 200, "{name}");
    }
    assert_eq!(mode("/d"), before, "the directory itself is left as it is");
    assert_eq!((mode("/d/e"), mode("/d/f")), ("regular file 644".into(), "directory 755".into()));
    let (status, text) = put("path=/d", "no tar at all, but long enough to be looked at");
    assert_eq!(status, 400, "{text}");
    host.finish();
}

#[test]
fn read_only_and_owners() {
    let host = Host::new();
    let docker = |arguments: &[&str]| host.docker(arguments).ok();
    let file = host.path("file");
    std::fs::write(&file, "x").unwrap();
    let file = file.display().to_string();
    let create = |name: &str, start: &str, more: &[&str]| {
        let fixed = [start, "--name", name, "--read-only", "-v", "v1:/rw", "-v", "v2:/ro:ro"];
        let detached: &[&str] = if start == "run" { &["-d"] } else { &[] };
        docker(&[&fixed[..1], detached, &fixed[1..], more, &["busybox", "sleep", "1000"]].concat());
    };
    create("stopped", "create", &[]);
    create("running", "run", &["--tmpfs", "/scratch"]);
    for name in ["stopped", "running"] {
        docker(&["cp", &file, &format!("{name}:/rw/{name}")]);
        let refused = host.docker(&["cp", &file, &format!("{name}:/tmp/x")]).fails(1);
        assert!(refused.contains("container rootfs is marked read-only"), "{refused}");
        let refused = host.docker(&["cp", &file, &format!("{name}:/ro/x")]).fails(1);
        assert!(refused.contains("mounted volume is marked read-only"), "{refused}");
    }
    docker(&["cp", &file, "running:/scratch"]);
    assert_eq!(docker(&["exec", "running", "cat", "/rw/stopped", "/scratch/file"]), "xx");
    let (status, _) = api(&host, "PUT", "/containers/stopped/archive?path=/ro", &["--data-binary", "x"]);
    assert_eq!(status, 403);

    docker(&[
        "create",
        "--name",
        "user",
        "-u",
        "www",
        "busybox",
        "stat",
        "-c",
        "%u:%g",
        "/tmp/file",
        "/tmp/own",
    ]);
    docker(&["cp", "-a", &file, "user:/tmp/own"]);
    docker(&["cp", &file, "user:/tmp/file"]);
    assert_eq!(docker(&["start", "-a", "user"]), "0:0\n33:33");
    docker(&["rm", "-f", "stopped", "running", "user"]);
    docker(&["volume", "rm", "v1", "v2"]);
    host.finish();
}

/// CVE-2018-15664: a container that swaps a directory of its own for a link to `/` while files go in and out.
#[test]
fn a_path_that_changes_leads_nowhere_else() {
    let host = Host::new();
    let secret = host.path("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("mark"), "the host's").unwrap();
    let secret = secret.display().to_string();
    // In the container the same path is a directory of its own.
    let script = format!(
        "mkdir -p {secret} /w/a && echo own > {secret}/mark && ln -s {secret} /w/b && cp {secret}/mark /w/a/mark
         touch /ready; while :; do mv /w/a /w/t; mv /w/b /w/a; mv /w/t /w/b; mv /w/a /w/t; mv /w/b /w/a; mv /w/t /w/b; done"
    );
    host.docker(&["run", "-d", "--name", "c1", "busybox", "sh", "-c", &script]).ok();
    until("the swapping", || {
        host.docker(&["exec", "c1", "test", "-e", "/ready"]).output().code.eq(&0).then_some(())
    });
    let tree = host.path("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("planted"), "x").unwrap();
    let tar = host.path("in.tar").display().to_string();
    Command::new(&["tar", "-cf", &tar, "-C", &tree.display().to_string(), "planted"]).ok();
    let out = host.path("out.tar").display().to_string();
    let mut read = 0;
    for _ in 0..150 {
        let (status, _) = api(&host, "GET", "/containers/c1/archive?path=/w/a/mark", &["-o", &out]);
        if status == 200 {
            let content = Command::new(&["tar", "-xOf", &out]).output().stdout;
            assert!(content.is_empty() || content == "own\n", "{content}");
            read += usize::from(content == "own\n");
        }
        let body = format!("@{tar}");
        api(&host, "PUT", "/containers/c1/archive?path=/w/a", &["--data-binary", &body, "-H", "Expect:"]);
        assert!(!Path::new(&secret).join("planted").exists());
    }
    assert!(read > 0);
    host.docker(&["rm", "-f", "c1"]).ok();
    host.finish();
}

/// A `docker cp - c1:/tmp` under way: its first file has arrived, and it waits for more.
fn slow_copy(host: &Host) -> std::process::Child {
    let tree = host.path("tree");
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::write(tree.join("first"), "1").unwrap();
    std::fs::write(tree.join("second"), "2").unwrap();
    let tar = |name: &str| {
        let out = host.path(&format!("{name}.tar"));
        let words =
            ["tar", "-b1", "-C", &tree.display().to_string(), "-cf", &out.display().to_string(), name];
        Command::new(&words).ok();
        std::fs::read(out).unwrap()
    };
    let mut client = host.docker(&["cp", "-", "c1:/tmp"]).spawn();
    // Without the two empty blocks at an archive's end; each file is a header and a block.
    client.stdin.as_mut().unwrap().write_all(&tar("first")[..1024]).unwrap();
    let pid = host.corten(&["inspect", "-f", "{{.State.Pid}}", "c1"]).ok();
    let arrived = format!("/proc/{pid}/root/tmp/first");
    until("the first file", || std::fs::read(&arrived).ok().filter(|bytes| bytes == b"1"));
    client
}

/// Sends the rest.
fn finish_copy(host: &Host, mut client: std::process::Child) {
    let tree = host.path("tree").display().to_string();
    let rest = host.path("rest.tar");
    Command::new(&["tar", "-C", &tree, "-cf", &rest.display().to_string(), "second"]).ok();
    client.stdin.take().unwrap().write_all(&std::fs::read(rest).unwrap()).unwrap();
    let output = client.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_container_is_neither_started_nor_removed_in_the_middle() {
    let host = Host::new();
    let layers = || std::fs::read_dir(host.path("data/rw")).unwrap().count();
    host.corten(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"]).ok();
    let state = || host.corten(&["inspect", "-f", "{{.State.Running}}", "c1"]).ok();
    let copy = slow_copy(&host);
    let restart = host.corten(&["restart", "-t", "0", "c1"]).spawn();
    until("its end", || (state() == "false").then_some(()));
    finish_copy(&host, copy);
    assert!(restart.wait_with_output().unwrap().status.success());
    assert_eq!(host.corten(&["exec", "c1", "cat", "/tmp/first", "/tmp/second"]).ok(), "12");

    host.corten(&["exec", "c1", "rm", "/tmp/first"]).ok();
    let copy = slow_copy(&host);
    let remove = host.corten(&["rm", "-f", "c1"]).spawn();
    until("its end", || (state() != "true").then_some(()));
    assert_eq!(layers(), 1, "its files are worked in");
    finish_copy(&host, copy);
    assert!(remove.wait_with_output().unwrap().status.success());
    assert_eq!(layers(), 0);
    host.finish();
}
