//! The builder beyond the classic endpoint: outputs, caches for others, contexts, the linter, what it takes on disk.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use std::path::PathBuf;
use testkit::{Host, Output, until};

/// A context under a name, with these files.
fn context(host: &Host, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let directory = host.path(name);
    for (file, text) in files {
        let path = directory.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    directory
}

fn build(host: &Host, context: &std::path::Path, words: &[&str]) -> Output {
    let there = context.display().to_string();
    host.corten(&[&["build"], words, &[there.as_str()]].concat()).output()
}

/// How many vertices the cache had, and how many were worked on.
fn vertices(output: &Output) -> (usize, usize) {
    (output.stderr.matches(" CACHED\n").count(), output.stderr.matches(" DONE ").count())
}

#[test]
fn stages_run_side_by_side_and_one_step_once() {
    let host = Host::new();
    // Each waits for the other: one after the other they would not end well.
    let meet = |mine: u32, other: u32| {
        format!(
            "FROM busybox AS s{mine}\nRUN --mount=type=cache,target=/c touch /c/{mine}; i=0; until test -e /c/{other}; do sleep 0.1; i=$((i+1)); test $i -lt 300 || exit 1; done; echo {mine} > /o\n"
        )
    };
    let dockerfile =
        format!("{}{}FROM busybox\nCOPY --from=s1 /o /o1\nCOPY --from=s2 /o /o2\n", meet(1, 2), meet(2, 1));
    let context = context(&host, "c", &[("Dockerfile", &dockerfile)]);
    build(&host, &context, &["-t", "wide"]).expect(0);
    assert_eq!(host.corten(&["run", "--rm", "wide", "cat", "/o1", "/o2"]).ok(), "1\n2");

    // Two builds at once that share a step: it runs once.
    let counted = host.path("counted");
    std::fs::create_dir(&counted).unwrap();
    let text = "FROM busybox\nRUN --mount=type=cache,target=/c sleep 1; echo x >> /c/runs\n";
    std::fs::write(counted.join("Dockerfile"), text).unwrap();
    let path = counted.display().to_string();
    let mut first = host.corten(&["build", &path]).spawn();
    let mut second = host.corten(&["build", &path]).spawn();
    assert!(first.wait().unwrap().success() && second.wait().unwrap().success());
    std::fs::write(
        counted.join("Dockerfile"),
        "FROM busybox\nRUN --mount=type=cache,target=/c wc -l < /c/runs > /n\n",
    )
    .unwrap();
    build(&host, &counted, &["-t", "counted"]).expect(0);
    assert_eq!(host.corten(&["run", "--rm", "counted", "cat", "/n"]).ok(), "1");
    host.finish();
}

#[test]
fn results_go_where_they_are_wanted() {
    let host = Host::new();
    let text =
        "FROM busybox AS made\nRUN echo made > /made\nFROM scratch\nCOPY --from=made /made /out/made\n";
    let context = context(&host, "c", &[("Dockerfile", text)]);
    let at = |name: &str| host.path(name).display().to_string();

    build(&host, &context, &["-o", &at("files")]).expect(0);
    assert_eq!(std::fs::read_to_string(host.path("files/out/made")).unwrap(), "made\n");
    build(&host, &context, &["-o", &format!("type=tar,dest={}", at("files.tar"))]).expect(0);
    assert!(host.command(&["tar", "-tf", &at("files.tar")]).ok().contains("out/made"));
    let stdout = build(&host, &context, &["-o", "-"]);
    assert!(stdout.code == 0 && stdout.stdout.contains("out/made"));

    build(&host, &context, &["-t", "a:1", "-o", &format!("type=oci,dest={}", at("image.tar"))]).expect(0);
    let listed = host.command(&["tar", "-tf", &at("image.tar")]).ok();
    assert!(listed.contains("oci-layout") && listed.contains("index.json"), "{listed}");
    // It went to the client only.
    assert_eq!(host.corten(&["images", "-q", "a"]).ok(), "", "an archive was kept as an image");
    host.corten(&["load", "-i", &at("image.tar")]).ok();
    assert_ne!(host.corten(&["images", "-q", "a"]).ok(), "");

    let metadata = at("metadata.json");
    build(
        &host,
        &context,
        &["-t", "b:1", "--metadata-file", &metadata, "--iidfile", &at("id"), "--annotation", "org.x=y"],
    )
    .expect(0);
    let metadata: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(metadata).unwrap()).unwrap();
    let id = std::fs::read_to_string(host.path("id")).unwrap();
    assert_eq!(metadata["containerimage.digest"], id.as_str());
    assert_eq!(metadata["image.name"], "docker.io/library/b:1");
    assert_eq!(host.corten(&["inspect", "-f", "{{.Id}}", "b:1"]).ok(), id);

    // Compressed otherwise: what it inflates to stays the same, and the base image is as it was unless that is forced.
    let text =
        "FROM b:1\nRUN --mount=type=bind,from=busybox,target=/b [\"/b/bin/busybox\", \"touch\", \"/new\"]\n";
    std::fs::write(context.join("Zstd"), text).unwrap();
    let layers = |output: &str| {
        let dest = at("layers.tar");
        let output = format!("type=oci,dest={dest},{output}");
        build(&host, &context, &["-f", &at("c/Zstd"), "-t", "z:1", "-o", &output, "-o", "type=image"])
            .expect(0);
        let script = "for f in $(tar -tf $0 | grep blobs/sha256/.); do tar -xOf $0 $f | grep -ao '\"mediaType\":\"[^\"]*layer[^\"]*' | sed 's/.*tar//'; done";
        host.command(&["sh", "-c", script, &dest]).ok().replace('\n', " ")
    };
    assert_eq!(layers("compression=zstd,compression-level=1"), "+gzip +zstd");
    assert_eq!(layers("compression=zstd,force-compression=true"), "+zstd +zstd");
    assert_eq!(layers("compression=uncompressed"), "+gzip", "the second has no suffix");
    host.corten(&["rmi", "z:1"]).ok();
    host.corten(&["load", "-i", &at("layers.tar")]).ok();
    assert_ne!(host.corten(&["images", "-q", "z:1"]).ok(), "");

    let wrong = build(&host, &context, &["-o", "type=lcal,dest=x"]);
    assert!(wrong.code == 1 && wrong.stderr.contains("did you mean local"), "{}", wrong.stderr);
    host.finish();
}

#[test]
fn a_cache_goes_to_other_machines() {
    let host = Host::new();
    let listen = "127.0.0.1:5006";
    let root = host.path("registry").display().to_string();
    let mut server = host.corten(&["registry", "serve", "--listen", listen, "--root", &root]).spawn();
    until("the registry", || {
        let answer = host.command(&["curl", "-s", "-m", "2", &format!("http://{listen}/v2/")]).output();
        (answer.code == 0).then_some(())
    });
    let text = "FROM busybox AS a\nRUN echo a > /a; echo z > /z\nFROM busybox\nENV e=f\nRUN echo b > /b\nCOPY --from=a /a /a\n";
    let context = context(&host, "c", &[("Dockerfile", text)]);
    let directory = host.path("cache").display().to_string();
    let reference = format!("{listen}/cache:1");
    let first = build(
        &host,
        &context,
        &[
            "-t",
            &format!("{listen}/app:1"),
            "--push",
            "--cache-to",
            &format!("type=local,dest={directory},mode=max"),
            "--cache-to",
            &format!("type=registry,ref={reference},mode=max"),
            "--cache-to",
            "type=inline",
        ],
    );
    first.expect(0);
    assert_eq!(vertices(&first).1, 3, "{}", first.stderr);
    let id = host.corten(&["inspect", "-f", "{{.Id}}", &format!("{listen}/app:1")]).ok();
    let forget = || {
        host.corten(&["rmi", "-f", &format!("{listen}/app:1")]).output();
        host.corten(&["builder", "prune", "-af"]).ok();
    };
    for from in [
        format!("type=local,src={directory}"),
        format!("type=registry,ref={reference}"),
        format!("{listen}/app:1"),
    ] {
        forget();
        let again = build(&host, &context, &["-t", &format!("{listen}/app:1"), "--cache-from", &from]);
        again.expect(0);
        // Inside of an image is what the image itself is made of.
        let worked = if from.contains("app") { 1 } else { 0 };
        assert_eq!(vertices(&again).1, worked, "{from}: {}", again.stderr);
        if worked == 0 {
            let same = host.corten(&["inspect", "-f", "{{.Id}}", &format!("{listen}/app:1")]).ok();
            // The first image has a cache inside, so only the files can be compared.
            assert_ne!(same, "");
            assert_eq!(
                host.corten(&["run", "--rm", &format!("{listen}/app:1"), "cat", "/a", "/b"]).ok(),
                "a\nb"
            );
        }
    }
    assert!(id.starts_with("sha256:"));
    forget();
    server.kill().unwrap();
    server.wait().unwrap();
    host.finish();
}

#[test]
fn the_cache_is_told_as_du_tells_it_and_can_be_pruned() {
    let host = Host::new();
    let text = "FROM busybox\nRUN --mount=type=cache,target=/c head -c 300000 /dev/zero > /c/z\nRUN head -c 200000 /dev/urandom > /r\nRUN --mount=type=bind,target=/ctx cat /ctx/f > /f\n";
    let context = context(&host, "c", &[("Dockerfile", text), ("f", "f")]);
    build(&host, &context, &["-t", "x"]).expect(0);
    host.corten(&["rmi", "x"]).ok();
    let df: serde_json::Value = serde_json::from_str(
        &host
            .command(&[
                "curl",
                "-s",
                "--unix-socket",
                &host.path("corten.sock").display().to_string(),
                "http://d/v1.55/system/df?verbose=1",
            ])
            .ok(),
    )
    .unwrap();
    let told = df["BuildCacheUsage"]["TotalSize"].as_i64().unwrap()
        + df["ImageUsage"]["TotalSize"].as_i64().unwrap();
    let data = host.path("data");
    let mut on_disk = 0;
    for name in ["build", "blobs", "layers", "ingest"] {
        let path = data.join(name).display().to_string();
        let text = host.command(&["du", "-s", "--block-size=1", &path]).ok();
        on_disk += text.split_whitespace().next().unwrap().parse::<i64>().unwrap();
    }
    // The store's own top directory and its two small files are the images'.
    let small = told - on_disk;
    assert!((0..=32768).contains(&small), "told {told}, on disk {on_disk}");
    let du = host.corten(&["builder", "du"]).ok();
    assert!(du.contains("Total:") && du.lines().count() > 5, "{du}");
    let kinds = df["BuildCacheUsage"]["Items"].to_string();
    assert!(kinds.contains("exec.cachemount") && kinds.contains("regular"), "{kinds}");

    let none = host.corten(&["builder", "prune", "-f", "--filter", "until=1h"]).ok();
    assert!(none.contains("Total reclaimed space: 0B"), "{none}");
    for enough in ["--max-used-space=10gb", "--min-free-space=1kb", "--reserved-space=10gb"] {
        let none = host.corten(&["builder", "prune", "-af", enough]).ok();
        assert!(none.contains("Total reclaimed space: 0B"), "{enough}: {none}");
    }
    let mounts = host.corten(&["builder", "prune", "-f", "--filter", "type=exec.cachemount"]).ok();
    assert!(mounts.contains("Deleted build cache objects:"), "{mounts}");
    assert!(!host.corten(&["builder", "du", "--verbose"]).ok().contains("exec.cachemount"));
    host.corten(&["builder", "prune", "-af"]).ok();
    assert_eq!(std::fs::read_dir(data.join("build/trees")).map_or(0, Iterator::count), 0);
    host.finish();
}

#[test]
fn contexts_come_from_everywhere() {
    let host = Host::new();
    let text = "FROM busybox\nCOPY f /f\nCOPY --from=other g /g\nCOPY --from=tool /made /made\n";
    let main = context(&host, "c", &[("Dockerfile", text), ("f", "f")]);
    let other = context(&host, "other", &[("g", "g"), ("secret", "s"), (".dockerignore", "secret\n")]);
    build(
        &host,
        &context(&host, "t", &[("Dockerfile", "FROM busybox\nRUN echo tool > /made\n")]),
        &["-t", "tool:1"],
    )
    .expect(0);
    let named = format!("other={}", other.display());
    let words = ["-t", "x", "--build-context", &named, "--build-context", "tool=docker-image://tool:1"];
    build(&host, &main, &words).expect(0);
    assert_eq!(host.corten(&["run", "--rm", "x", "cat", "/f", "/g", "/made"]).ok(), "fgtool");

    // A Dockerfile from outside, with an ignore file of its own; and one on stdin.
    let outside =
        context(&host, "outside", &[("D", "FROM busybox\nCOPY . /all\n"), ("D.dockerignore", "f\n")]);
    let file = outside.join("D").display().to_string();
    build(&host, &main, &["-f", &file, "-t", "y"]).expect(0);
    assert_eq!(host.corten(&["run", "--rm", "y", "ls", "/all"]).ok(), "Dockerfile");
    let there = main.display().to_string();
    host.corten(&["build", "-t", "z", "-f", "-", &there]).stdin("FROM busybox\nCOPY f /z\n").ok();
    assert_eq!(host.corten(&["run", "--rm", "z", "cat", "/z"]).ok(), "f");

    // What a link leads out to is not read, though the engine is root.
    std::fs::write(host.path("private"), "private").unwrap();
    std::os::unix::fs::symlink(host.path("private"), main.join("out")).unwrap();
    std::fs::write(main.join("Dockerfile"), "FROM busybox\nCOPY out /out\n").unwrap();
    let refused = build(&host, &main, &[]);
    assert!(
        refused.stderr.contains("file not found")
            && refused.stderr.contains("/private, which is not in the build context"),
        "{}",
        refused.stderr
    );

    // A git repository, checked out by the user's git.
    let repository =
        context(&host, "r", &[("Dockerfile", "FROM busybox\nCOPY d/h /h\n"), ("d/h", "from git\n")]);
    let git = |words: &[&str]| {
        let directory = repository.display().to_string();
        let config = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"];
        host.command(&[&["git", "-C", &directory], &config[..], words].concat()).ok()
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "one"]);
    let bare = host.path("r.git").display().to_string();
    host.command(&["git", "clone", "-q", "--bare", &repository.display().to_string(), &bare]).ok();
    host.corten(&["build", "-t", "g", &format!("file://{bare}#main")]).ok();
    assert_eq!(host.corten(&["run", "--rm", "g", "cat", "/h"]).ok(), "from git");
    host.finish();
}

#[test]
fn secrets_and_agents_leave_nothing_behind() {
    let host = Host::new();
    let text = "FROM busybox\nRUN --mount=type=secret,id=s,target=/key,mode=0444 --mount=type=secret,id=v,env=VALUE grep -q ^hush- /key && test \"$VALUE\" = quiet\nRUN --mount=type=secret,id=none test ! -e /run/secrets/none\nRUN test ! -e /key && test ! -d /run/secrets\n";
    let context = context(&host, "c", &[("Dockerfile", text)]);
    std::fs::write(host.path("s"), "hush-12345").unwrap();
    let file = format!("id=s,src={}", host.path("s").display());
    host.corten(&["build", "-t", "x", "--secret", &file, "--secret", "id=v", &context.display().to_string()])
        .env("v", "quiet")
        .ok();
    let tar = host.path("x.tar").display().to_string();
    host.corten(&["save", "-o", &tar, "x"]).ok();
    let data = host.path("data").display().to_string();
    let search = format!("grep -ac hush-12345 {tar}; grep -rac hush-12345 {data} | grep -v ':0$'; true");
    assert_eq!(host.command(&["sh", "-c", &search]).ok(), "0");
    std::fs::write(
        context.join("Dockerfile"),
        "FROM busybox\nRUN --mount=type=secret,id=gone,required true\n",
    )
    .unwrap();
    let missing = build(&host, &context, &[]);
    assert!(missing.code == 1 && missing.stderr.contains("secret gone: not found"), "{}", missing.stderr);
    host.finish();
}

#[test]
fn mistakes_are_shown_where_they_are() {
    let host = Host::new();
    let text = "FROM busybox as b\nRUN echo before\nRUN echo last words; exit 3\nCOPY f /\n";
    let context = context(&host, "c", &[("Dockerfile", text), ("f", "f")]);
    let failed = build(&host, &context, &[]);
    assert_eq!(failed.code, 3);
    for expected in ["last words", "Dockerfile:3", "3 | >>> RUN echo last words; exit 3", "non-zero code: 3"]
    {
        assert!(failed.stderr.contains(expected), "{expected}: {}", failed.stderr);
    }
    let checked = build(&host, &context, &["--check"]);
    assert!(
        checked.code == 1
            && checked.stdout.contains("FromAsCasing")
            && checked.stdout.contains("1 warning has been found"),
        "{}",
        checked.stdout
    );
    std::fs::write(context.join("Dockerfile"), "FROM busybox\nARG TAG=1\nLABEL a=$TGA b=$TAG\n").unwrap();
    let undefined = build(&host, &context, &["--check"]);
    assert!(
        undefined.stdout.contains("Usage of undefined variable '$TGA' (did you mean $TAG?)")
            && undefined.stdout.contains("1 warning has been found"),
        "{}",
        undefined.stdout
    );
    std::fs::write(context.join("Dockerfile"), "FROM busybox\nARG A=1\nCMD [\"x\"]\n").unwrap();
    build(&host, &context, &["--check"]).expect(0);
    let outline = build(&host, &context, &["--call", "outline"]);
    assert!(outline.stdout.contains("BUILD ARG") && outline.stdout.contains('A'), "{}", outline.stdout);
    for (text, expected) in [
        ("FROM busybox\nCOPY ff /\n", "did you mean f?"),
        ("FROM busybox\nCOPY ../f2 /\n", "nothing above it can be copied"),
        ("FROM busybox\nADD http://127.0.0.1:9/f /\n", "127.0.0.1:9 cannot be reached"),
        ("FROM 127.0.0.1:9/none\n", "127.0.0.1:9/none: failed to reach registry 127.0.0.1:9"),
        ("FROM busybox AS tools\nFROM busybox\nCOPY --from=tolls /x /\n", "did you mean the stage tools?"),
        ("FROM busybox AS a\nCOPY --from=a /x /\n", "circular dependency"),
        ("FROM two AS one\nFROM one AS two\n", "not the stage of that name: that is on line 2"),
        ("FROM busybox\nRUN --mount=type=cahce,target=/x true\n", "did you mean cache?"),
        ("FROM busybox\nRUN --security=insecure true\n", "--allow security.insecure"),
    ] {
        std::fs::write(context.join("Dockerfile"), text).unwrap();
        let refused = build(&host, &context, &[]);
        assert!(refused.code == 1 && refused.stderr.contains(expected), "{text}: {}", refused.stderr);
    }
    host.finish();
}

#[test]
fn the_language_beyond() {
    let host = Host::new();
    let text = "FROM busybox AS base\nENV KEEP=1 DROP=2\nVOLUME /v\nEXPOSE 80 81\nFROM base\nENV --unset=DROP\nVOLUME --unset=/v\nEXPOSE --unset=80\nINCLUDE common.docker\nCOPY --parents --exclude=**/no ./src/./a/ /p/\nCOPY --chmod=u=rwx,go=rx f /bin/f\n";
    let files = [
        ("Dockerfile", text),
        ("common.docker", "LABEL from=include\nRUN echo included > /i\n"),
        ("f", "#!/bin/sh\necho ran\n"),
        ("src/a/b/yes", "y"),
        ("src/a/b/no", "n"),
    ];
    let context = context(&host, "c", &files);
    build(&host, &context, &["-t", "x", "--squash"]).expect(0);
    let of = |format: &str| host.corten(&["inspect", "-f", format, "x"]).ok();
    let env = of("{{.Config.Env}}");
    assert!(env.contains("KEEP=1") && !env.contains("DROP"), "{env}");
    let config = of("{{json .Config}}");
    assert!(config.contains("81/tcp") && !config.contains("80/tcp") && !config.contains("/v\""), "{config}");
    assert_eq!(of("{{.Config.Labels.from}} {{len .RootFS.Layers}}"), "include 2");
    let ran = host.corten(&["run", "--rm", "x", "sh", "-c", "f; cat /i; find /p -type f"]).ok();
    assert_eq!(ran, "ran\nincluded\n/p/a/b/yes");

    // A trigger with a heredoc runs in the child, in the child's stage; a stage that only a trigger names is built.
    let text = "FROM busybox AS parent\nONBUILD ARG TARGETSTAGE\nONBUILD RUN <<E cat > /t\nin $TARGETSTAGE\nE\nONBUILD COPY --from=helper /h /h\n";
    std::fs::write(context.join("Dockerfile"), text).unwrap();
    build(&host, &context, &["-t", "parent"]).expect(0);
    let text = "FROM busybox AS deep\nRUN echo deep > /h\nFROM deep AS helper\nFROM parent AS child\nEXPOSE 127.0.0.1:80:8080\n";
    std::fs::write(context.join("Dockerfile"), text).unwrap();
    let child = build(&host, &context, &["-t", "child", "--target", "child"]);
    child.expect(0);
    assert!(
        child.stderr.contains("ExposeInvalidFormat")
            && child.stderr.ends_with("Successfully tagged child:latest\n")
    );
    assert_eq!(host.corten(&["run", "--rm", "child", "cat", "/t", "/h"]).ok(), "in child\ndeep");
    assert_eq!(host.corten(&["inspect", "-f", "{{.Config.ExposedPorts}}", "child"]).ok(), "map[8080/tcp:{}]");
    host.finish();
}

#[test]
fn two_builds_of_one_source_are_one_image() {
    let host = Host::new();
    let text = "FROM busybox\nRUN date +%N > /dev/null; mkdir /d; echo x > /d/f\nCOPY f /f\nWORKDIR /w\n";
    let context = context(&host, "c", &[("Dockerfile", text), ("f", "f")]);
    let mut ids = Vec::new();
    for name in ["a", "b"] {
        std::fs::write(context.join("f"), "f").unwrap();
        let words = ["-t", name, "--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1700000000"];
        build(&host, &context, &words).expect(0);
        ids.push(host.corten(&["inspect", "-f", "{{.Id}} {{.Created}}", name]).ok());
    }
    assert_eq!(ids[0], ids[1]);
    assert!(ids[0].ends_with("2023-11-14T22:13:20Z"), "{}", ids[0]);

    build(&host, &context, &["-t", "p", "--provenance=mode=max"]).expect(0);
    let tar = host.path("p.tar").display().to_string();
    host.corten(&["save", "-o", &tar, "p"]).ok();
    let search = format!("tar -xOf {tar} | grep -ac slsa.dev/provenance/v1");
    let told = host.command(&["sh", "-c", &search]).ok();
    assert_ne!(told, "0");
    assert_eq!(host.corten(&["run", "--rm", "p", "cat", "/f"]).ok(), "f");
    host.finish();
}

#[test]
fn a_cancelled_build_ends_at_once() {
    let host = Host::new();
    let text = "FROM busybox AS a\nRUN sleep 7654\nFROM busybox AS b\nRUN sleep 7655\nFROM busybox\nCOPY --from=a /x /\nCOPY --from=b /x /\n";
    let context = context(&host, "c", &[("Dockerfile", text)]);
    let mut running = host.corten(&["build", &context.display().to_string()]).spawn();
    let sleeping =
        || host.command(&["pgrep", "-cf", "sleep 765[45]$"]).output().stdout.trim().parse().unwrap_or(0);
    until("both stages", || (sleeping() >= 2).then_some(()));
    running.kill().unwrap();
    running.wait().unwrap();
    until("their end", || (sleeping() == 0).then_some(()));
    // Nobody is told when the rest of it is gone.
    let left = |name: &str| std::fs::read_dir(host.path(name)).map_or(0, Iterator::count);
    until("its layers' end", || (left("data/rw") + left("data/ingest") == 0).then_some(()));
    host.finish();
}
