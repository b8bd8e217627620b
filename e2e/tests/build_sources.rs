//! Sources of a build that are elsewhere: git repositories and files on web servers, in ADD and as contexts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Child;

use testkit::web::{Answer, repositories};
use testkit::{Host, Output, Web, until};

/// `git` with an author, in a directory.
fn git(directory: &Path, words: &[&str]) -> String {
    let directory = directory.display().to_string();
    let config = [
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@t",
        "-c",
        "init.defaultBranch=main",
        "-c",
        "protocol.file.allow=always",
    ];
    testkit::Command::new(&[&["git", "-C", &directory], &config[..], words].concat())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_COMMITTER_DATE", "2001-02-03T04:05:06Z")
        .ok()
}

fn put(path: PathBuf, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Repositories `r.git`, with a branch, a tag and a submodule, and `s.git`, which is that; where they are.
fn make_repositories(host: &Host) -> PathBuf {
    let (served, work, sub) = (host.path("served"), host.path("work"), host.path("sub"));
    std::fs::create_dir_all(&served).unwrap();
    std::fs::create_dir_all(&work).unwrap();
    put(sub.join("inner"), "inner\n");
    git(&sub, &["init", "-q"]);
    git(&sub, &["add", "."]);
    git(&sub, &["commit", "-qm", "sub"]);
    git(&served, &["clone", "-q", "--bare", &sub.display().to_string(), "s.git"]);

    git(&work, &["init", "-q"]);
    put(work.join("Dockerfile"), "FROM busybox\nCOPY d/f /from-git\n");
    put(work.join("d/f"), "one\n");
    // Enough of it, and alike enough, that the server sends differences.
    let lines: String = (0..4000).map(|number| format!("line {number} of many\n")).collect();
    put(work.join("long"), &lines);
    put(work.join("longer"), &format!("{lines}and one more\n"));
    put(work.join("run.sh"), "#!/bin/sh\n");
    std::fs::set_permissions(work.join("run.sh"), PermissionsExt::from_mode(0o755)).unwrap();
    symlink("d/f", work.join("link")).unwrap();
    git(&work, &["submodule", "add", "-q", "--name", "m", &served.join("s.git").display().to_string(), "m"]);
    git(&work, &["config", "-f", ".gitmodules", "submodule.m.url", "../s.git"]);
    git(&work, &["add", "."]);
    git(&work, &["commit", "-qm", "one"]);
    git(&work, &["tag", "-am", "the first", "v1"]);
    git(&served, &["clone", "-q", "--bare", &work.display().to_string(), "r.git"]);
    served
}

/// A server of git://, and the port it has.
fn git_daemon(host: &Host, served: &Path) -> (Child, u16) {
    // One that nobody has: the listener that found it goes before the server comes.
    let port = testkit::relay::listen(host).local_addr().unwrap().port();
    let (base, listen) = (format!("--base-path={}", served.display()), format!("--port={port}"));
    // The server's own process, so that ending it ends it all.
    let exec = testkit::Command::new(&["git", "--exec-path"]).ok();
    let program = format!("{exec}/git-daemon");
    let words = [program.as_str(), "--reuseaddr", "--export-all", "--listen=127.0.0.1", &listen, &base];
    let child = host.command(&words).spawn();
    let url = format!("git://127.0.0.1:{port}/r.git");
    until("the git server", || (host.command(&["git", "ls-remote", &url]).output().code == 0).then_some(()));
    (child, port)
}

fn build(host: &Host, dockerfile: &str, words: &[&str]) -> Output {
    let context = host.path("c");
    put(context.join("Dockerfile"), dockerfile);
    let there = context.display().to_string();
    host.corten(&[&["build", "--progress=plain"], words, &[there.as_str()]].concat()).output()
}

/// How many steps of a name were done rather than found.
fn cached(output: &Output) -> usize {
    output.stderr.matches(" CACHED\n").count()
}

#[test]
fn repositories_are_added_at_a_commit() {
    let host = Host::new();
    let served = make_repositories(&host);
    let (mut daemon, port) = git_daemon(&host, &served);
    let url = format!("git://127.0.0.1:{port}/r.git");
    let first = git(&host.path("work"), &["rev-parse", "HEAD"]);
    let dockerfile = format!(
        "FROM busybox\nADD {url} /all\nADD {url}#v1:d /d/\nADD --keep-git-dir {url}#main /kept\nADD --checksum={} {url}?tag=v1&subdir=d /q\n",
        &first[..9]
    );
    let out = host.path("out");
    let place = out.display().to_string();
    build(&host, &dockerfile, &["-o", &place]).expect(0);
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    assert_eq!((read("all/d/f"), read("d/f"), read("q/f")), ("one\n".into(), "one\n".into(), "one\n".into()));
    assert_eq!((read("all/m/inner"), read("kept/m/inner")), ("inner\n".into(), "inner\n".into()));
    assert_eq!(read("all/longer"), format!("{}and one more\n", read("all/long")));
    assert_eq!(std::fs::read_link(out.join("all/link")).unwrap(), Path::new("d/f"));
    let mode = |name: &str| out.join(name).metadata().unwrap().mode() & 0o777;
    assert_eq!((mode("all/run.sh"), mode("all/long"), mode("all/d")), (0o755, 0o644, 0o755));
    assert!(!out.join("all/.git").exists() && !out.join("all/m/.git").exists());
    // Git itself takes it for a shallow clone with nothing changed.
    let kept = out.join("kept");
    let safe = ["-c", "safe.directory=*"];
    assert_eq!(git(&kept, &[&safe[..], &["rev-parse", "HEAD"]].concat()), first);
    assert_eq!(git(&kept, &[&safe[..], &["status", "--porcelain", "--ignore-submodules"]].concat()), "");
    git(&kept, &[&safe[..], &["fsck", "--full", "--strict"]].concat());
    assert_eq!(git(&kept, &[&safe[..], &["log", "--format=%s"]].concat()), "one");
    assert_eq!(git(&kept, &[&safe[..], &["rev-parse", "origin/main"]].concat()), first);

    // Nothing new: nothing is done. Something new on the branch: what has the tag stays.
    let again = build(&host, &dockerfile, &["-t", "x"]);
    again.expect(0);
    assert!(!again.stderr.contains("ADD git") || cached(&again) >= 4, "{}", again.stderr);
    put(host.path("work").join("d/f"), "two\n");
    git(&host.path("work"), &["commit", "-qam", "two"]);
    git(&host.path("work"), &["push", "-q", &served.join("r.git").display().to_string(), "main"]);
    build(&host, &dockerfile, &["-o", &place]).expect(0);
    assert_eq!((read("all/d/f"), read("d/f")), ("two\n".into(), "one\n".into()));

    for (line, expected) in [
        (format!("ADD {url}#mian /x"), "did you mean main?".to_owned()),
        (format!("ADD {url}#:nowhere /x"), "the repository has no directory \"nowhere\"".into()),
        (format!("ADD --checksum=abcdef0 {url} /x"), "expected checksum to match abcdef0, got ".into()),
        (format!("ADD --checksum=abc {url} /x"), "expected 7 to 40 hex digits".into()),
        (format!("ADD git://127.0.0.1:{port}/gone.git /x"), "gone.git".into()),
        ("ADD git@127.0.0.1:r.git /x".into(), "the engine has no ssh keys".into()),
        (format!("ADD {url}?brnch=x /x"), "unexpected query \"brnch\"".into()),
        (format!("COPY {url} /x"), "source can't be a URL for COPY".into()),
        ("ADD --keep-git-dir http://127.0.0.1/f /x".into(), "keep-git-dir is for git repositories".into()),
    ] {
        let refused = build(&host, &format!("FROM busybox\n{line}\n"), &[]);
        assert!(refused.code == 1 && refused.stderr.contains(&expected), "{line}: {}", refused.stderr);
        assert!(refused.stderr.contains("Dockerfile:2"), "{line}: {}", refused.stderr);
    }

    // A commit's id needs no server once it was there.
    let fixed = format!("FROM busybox\nADD {url}#{first} /f\n");
    build(&host, &fixed, &[]).expect(0);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let offline = build(&host, &format!("{fixed}ENV a=b\n"), &[]);
    offline.expect(0);
    let unreachable = build(&host, &dockerfile, &[]);
    assert!(unreachable.code == 1 && unreachable.stderr.contains("refused"), "{}", unreachable.stderr);
    host.finish();
}

#[test]
fn repositories_over_http_ask_for_a_token() {
    let host = Host::new();
    let served = make_repositories(&host);
    let root = served.clone();
    let web = Web::new(&host, move |request| {
        // x-access-token:hush-777
        let basic = "basic eC1hY2Nlc3MtdG9rZW46aHVzaC03Nzc=";
        if request.path.starts_with("/r.git")
            && request.headers.get("authorization").map(String::as_str) != Some(basic)
        {
            return Answer::status(401).with("WWW-Authenticate", "Basic");
        }
        repositories(&root, request)
    });
    let dockerfile = format!("FROM busybox\nADD {}#main /r\n", web.url("r.git"));
    let refused = build(&host, &dockerfile, &[]);
    assert!(refused.code == 1 && refused.stderr.contains("--secret id=GIT_AUTH_TOKEN"), "{}", refused.stderr);
    put(host.path("token"), "hush-777\n");
    let secret = format!("id=GIT_AUTH_TOKEN.127.0.0.1,src={}", host.path("token").display());
    let out = host.path("out").display().to_string();
    build(&host, &dockerfile, &["--secret", &secret, "-o", &out]).expect(0);
    assert_eq!(std::fs::read_to_string(host.path("out/r/m/inner")).unwrap(), "inner\n");
    let data = host.path("data").display().to_string();
    let search = format!("grep -rac -e hush-777 -e aHVzaC03Nzc {data} | grep -v ':0$'; true");
    assert_eq!(host.command(&["sh", "-c", &search]).ok(), "");

    // As contexts: the one of the build, by the Engine API, and one with a name.
    let socket = host.path("corten.sock").display().to_string();
    let remote = |remote: &str, more: &str| {
        let url =
            format!("http://d/v1.55/build?remote={}{more}", remote.replace('#', "%23").replace('&', "%26"));
        host.command(&["curl", "-s", "-X", "POST", "--unix-socket", &socket, &url]).ok()
    };
    let open = Web::new(&host, move |request| repositories(&served, request));
    let built = remote(&open.url("r.git#v1"), "&t=g:1");
    assert!(built.contains("Successfully tagged g:1"), "{built}");
    assert_eq!(host.corten(&["run", "--rm", "g:1", "cat", "/from-git"]).ok(), "one");
    let missing = remote(&open.url("r.git#v2"), "");
    assert!(missing.contains("does not contain ref v2 (did you mean v1?)"), "{missing}");
    let named = format!("src={}?subdir=d", open.url("r.git"));
    build(&host, "FROM busybox\nCOPY --from=src f /n\n", &["-t", "n:1", "--build-context", &named]).expect(0);
    assert_eq!(host.corten(&["run", "--rm", "n:1", "cat", "/n"]).ok(), "one");
    // One that only the user's own git reaches.
    let named = format!("src=file://{}?submodules=false", host.path("served/r.git").display());
    build(&host, "FROM busybox\nCOPY --from=src d/f /n\n", &["--build-context", &named]).expect(0);
    host.finish();
}

#[test]
fn downloads_are_asked_for_again_but_sent_once() {
    let host = Host::new();
    let tar = host.path("t.tar").display().to_string();
    put(host.path("t/in"), "from a tar\n");
    host.command(&["tar", "-C", &host.path("t").display().to_string(), "-czf", &tar, "in"]).ok();
    let packed = std::fs::read(&tar).unwrap();
    let web = Web::new(&host, move |request| {
        let known = request.headers.get("if-none-match").is_some_and(|tag| tag == "\"one\"");
        let dated = request.headers.contains_key("if-modified-since");
        match request.path.as_str() {
            "/a/f?x=/y" if known => Answer::status(304),
            "/a/f?x=/y" => Answer::ok("content\n")
                .with("ETag", "\"one\"")
                .with("Last-Modified", "Sat, 03 Feb 2001 04:05:06 GMT"),
            "/dated" if dated => Answer::status(304),
            "/dated" => Answer::ok("dated\n").with("Last-Modified", "Sat, 03 Feb 2001 04:05:06 GMT"),
            "/t.tar.gz" => Answer::ok(packed.clone()),
            "/" => Answer::ok("index\n"),
            _ => Answer::status(404),
        }
    });
    let dockerfile = format!(
        "FROM busybox\nADD {} /d/\nADD {} /d/\nADD {} /packed/\nADD --unpack {} /unpacked/\nADD --chmod=755 --chown=3:4 {} /named\n",
        web.url("a/f?x=/y"),
        web.url("dated"),
        web.url("t.tar.gz"),
        web.url("t.tar.gz"),
        web.url("")
    );
    build(&host, &dockerfile, &["-t", "x"]).expect(0);
    let show = "cat /d/f /d/dated /unpacked/in /named; stat -c '%a %u:%g %Y' /d/f /named; ls /packed";
    let shown = host.corten(&["run", "--rm", "x", "sh", "-c", show]).ok();
    assert_eq!(shown, "content\ndated\nfrom a tar\nindex\n600 0:0 981173106\n755 3:4 0\nt.tar.gz");
    let count = |asked: &[(String, u16)], path: &str| {
        asked.iter().filter(|(asked, status)| asked == path && *status == 200).count()
    };
    let asked = web.asked();
    assert_eq!((count(&asked, "/a/f?x=/y"), count(&asked, "/t.tar.gz")), (1, 1), "{asked:?}");
    let id = host.corten(&["inspect", "-f", "{{.Id}}", "x"]).ok();
    build(&host, &dockerfile, &["-t", "x"]).expect(0);
    let asked = web.asked();
    assert_eq!((count(&asked, "/a/f?x=/y"), count(&asked, "/dated")), (0, 0), "{asked:?}");
    assert_eq!(host.corten(&["inspect", "-f", "{{.Id}}", "x"]).ok(), id);

    let sum = "sha256:434728a410a78f56fc1b5899c3593436e61ab0c731e9072d95e96db290205e53";
    let with = |sum: &str, path: &str| {
        build(&host, &format!("FROM busybox\nADD --checksum={sum} {} /c\n", web.url(path)), &[])
    };
    with(sum, "a/f?x=/y").expect(0);
    web.asked();
    with(sum, "a/f?x=/y").expect(0);
    assert_eq!(web.asked(), [], "what has one digest is not asked for again");
    for (sum, path, expected) in [
        (&*sum.replace('4', "5"), "a/f?x=/y", "digest mismatch"),
        ("md5:00", "a/f?x=/y", "invalid checksum digest format"),
        (sum, "gone", "invalid response status 404"),
    ] {
        let refused = with(sum, path);
        assert!(refused.code == 1 && refused.stderr.contains(expected), "{expected}: {}", refused.stderr);
    }
    let refused = build(&host, &format!("FROM busybox\nADD {} /d/\n", web.url("")), &[]);
    assert!(refused.stderr.contains("cannot determine filename from url"), "{}", refused.stderr);
    host.finish();
}

#[test]
fn contexts_are_downloaded() {
    let host = Host::new();
    put(host.path("t/Dockerfile"), "FROM busybox\nCOPY f /f\n");
    put(host.path("t/f"), "in the tar\n");
    let tar = host.path("t.tar").display().to_string();
    host.command(&["tar", "-C", &host.path("t").display().to_string(), "-cJf", &tar, "."]).ok();
    let packed = std::fs::read(&tar).unwrap();
    let web = Web::new(&host, move |request| match request.path.as_str() {
        "/c.tar.xz" => Answer::ok(packed.clone()),
        "/Dockerfile" => Answer::ok("FROM busybox\nRUN echo alone > /f\n"),
        _ => Answer::status(404),
    });
    for (path, expected) in [("c.tar.xz", "in the tar"), ("Dockerfile", "alone")] {
        host.corten(&["build", "-t", "x", &web.url(path)]).ok();
        assert_eq!(host.corten(&["run", "--rm", "x", "cat", "/f"]).ok(), expected);
    }
    let named = format!("src={}", web.url("c.tar.xz"));
    build(&host, "FROM busybox\nCOPY --from=src f /n\n", &["-t", "n", "--build-context", &named]).expect(0);
    assert_eq!(host.corten(&["run", "--rm", "n", "cat", "/n"]).ok(), "in the tar");
    let gone = host.corten(&["build", &web.url("gone")]).fails(1);
    assert!(gone.contains("with status 404"), "{gone}");
    host.finish();
}

#[test]
fn only_what_has_changed_travels() {
    let mut host = Host::stopped();
    let port = testkit::relay::listen(&host).local_addr().unwrap().port();
    let server = format!("127.0.0.1:{port}");
    host.start_daemon_with(&[], &["-H", &format!("tcp://{server}"), "--tls=false"]);
    host.import_busybox();
    let line = testkit::Relay::new(&host, server.parse().unwrap(), u64::MAX, u64::MAX);
    let corten = testkit::program("corten").display().to_string();
    let (engine, context) = (format!("tcp://{}", line.address), host.path("c"));
    let there = context.display().to_string();
    let out = host.path("out");
    // What comes out must be what is there, whatever travelled: told by diff. Gives the bytes that did.
    let build = |context: &str| {
        let _ = std::fs::remove_dir_all(&out);
        let before = line.up.passed();
        let place = out.display().to_string();
        let config = host.path("client").display().to_string();
        host.command(&[&corten, "-H", &engine, "build", "-q", "-o", &place, context])
            .env("DOCKER_CONFIG", &config)
            .ok();
        host.command(&["diff", "-r", "--no-dereference", context, &place]).ok();
        line.up.passed() - before
    };
    put(context.join("Dockerfile"), "FROM scratch\nCOPY . /\n");
    let filler = "0123456789abcdef".repeat(1000);
    for number in 0..100 {
        put(context.join(format!("d{}/f{number}", number % 7)), &format!("{number} {filler}"));
    }
    symlink("d1/f1", context.join("link")).unwrap();
    let all = build(&there);
    assert!(all > 1_600_000, "{all}");
    let nothing = build(&there);
    assert!(nothing < 60_000, "{nothing} bytes for a context that is as it was");

    put(context.join("d1/f1"), "changed");
    std::fs::remove_file(context.join("d2/f2")).unwrap();
    std::fs::remove_dir_all(context.join("d3")).unwrap();
    put(context.join("d3"), "a file where a directory was");
    std::fs::remove_file(context.join("link")).unwrap();
    put(context.join("link/below"), "a directory where a link was");
    std::fs::rename(context.join("d4/f4"), context.join("d4/renamed")).unwrap();
    std::fs::set_permissions(context.join("d5/f5"), PermissionsExt::from_mode(0o751)).unwrap();
    let some = build(&there);
    assert!(some < 150_000, "{some} bytes for a few changes");
    let mode = out.join("d5/f5").metadata().unwrap().mode() & 0o777;
    assert_eq!(mode, 0o751);

    // Another content of the same length and time: the change time tells.
    let same = context.join("d6/f6");
    let time = same.metadata().unwrap().modified().unwrap();
    put(same.clone(), &format!("7 {filler}"));
    std::fs::File::open(&same).unwrap().set_modified(time).unwrap();
    build(&there);

    // Ignored files do not travel, and go when they become ignored.
    put(context.join(".dockerignore"), "d0\n");
    let place = out.display().to_string();
    let _ = std::fs::remove_dir_all(&out);
    host.command(&[&corten, "-H", &engine, "build", "-q", "-o", &place, &there]).ok();
    assert!(!out.join("d0").exists() && out.join("d1/f1").exists());
    std::fs::remove_file(context.join(".dockerignore")).unwrap();
    build(&there);

    // Two at once: one of them has the kept context, the other sends all.
    let text = "FROM busybox\nCOPY d1/f1 /\nRUN sleep 1\n";
    let outside = host.path("D");
    put(outside.clone(), text);
    let both: Vec<Child> = (0..2)
        .map(|number| {
            let (file, arg) = (outside.display().to_string(), format!("N={number}"));
            let words: [&str; 10] =
                [&corten, "-H", &engine, "build", "--no-cache", "--build-arg", &arg, "-f", &file, &there];
            host.command(&words).spawn()
        })
        .collect();
    for child in both {
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    // Pruned and forgotten: all of it again. Killed in between: nothing is believed.
    host.corten(&["builder", "prune", "-af"]).ok();
    assert_eq!(std::fs::read_dir(host.path("data/build/contexts")).map_or(0, Iterator::count), 0);
    assert!(build(&there) > 1_000_000);
    assert!(build(&there) < 60_000);

    // Paths of an attacker's: nothing outside is written or read.
    let socket = host.path("corten.sock").display().to_string();
    let offer = |path: &str| {
        let body =
            format!("{{\"key\":\"k\",\"entries\":[{{\"path\":{path:?},\"mode\":33188,\"stamp\":\"\"}}]}}");
        let url = "http://d/v1.55/build/context";
        host.command(&[
            "curl",
            "-s",
            "--unix-socket",
            &socket,
            "-H",
            "Content-Type: application/json",
            "-d",
            &body,
            url,
        ])
        .ok()
    };
    for path in ["../../../../etc/x", "/etc/x", "a/../../x", ""] {
        assert!(offer(path).contains("no path of a file in it"), "{path}");
    }
    assert!(offer("fine").contains("token"));
    host.finish();
}
