//! The unmodified `docker` command line against `cortend`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use testkit::{Host, until};

#[test]
fn the_daily_commands() {
    let host = Host::new();
    let docker = |arguments: &[&str]| host.docker(arguments).ok();
    assert_eq!(docker(&["run", "--rm", "busybox", "echo", "hi"]), "hi");
    host.docker(&["run", "--rm", "busybox", "sh", "-c", "exit 6"]).fails(6);
    assert_eq!(host.docker(&["run", "--rm", "-i", "busybox", "cat"]).stdin("piped").ok(), "piped");
    let id = docker(&[
        "run",
        "-d",
        "--name",
        "c1",
        "-p",
        "127.0.0.1:8090:80",
        "-e",
        "X=1",
        "busybox",
        "sh",
        "-c",
        "echo started; exec sleep 1000",
    ]);
    assert_eq!(docker(&["ps", "-q", "--no-trunc"]), id);
    assert!(docker(&["ps"]).contains("127.0.0.1:8090->80/tcp"));
    until("the log", || (docker(&["logs", "c1"]) == "started").then_some(()));
    assert_eq!(docker(&["exec", "c1", "sh", "-c", "echo $X"]), "1");
    host.docker(&["exec", "c1", "false"]).fails(1);
    assert_eq!(
        docker(&["inspect", "-f", "{{.State.Status}} {{.Config.Env}}", "c1"]).split(' ').next(),
        Some("running")
    );
    assert!(docker(&["top", "c1"]).contains("sleep 1000"));
    docker(&["pause", "c1"]);
    docker(&["unpause", "c1"]);
    docker(&["rename", "c1", "d1"]);
    docker(&["stop", "-t", "1", "d1"]);
    assert!(docker(&["ps", "-a"]).contains("Exited (137)"));
    docker(&["start", "d1"]);
    docker(&["kill", "d1"]);
    assert_eq!(docker(&["wait", "d1"]), "137");
    docker(&["rm", "d1"]);
    host.finish();
}

#[test]
fn what_people_read_is_as_docker_shows_it() {
    let host = Host::new();
    let docker = |arguments: &[&str]| host.docker(arguments).ok();
    let refused = |arguments: &[&str]| host.docker(arguments).output().stderr;
    docker(&["tag", "busybox", "moved"]);
    docker(&[
        "run", "-d", "--name", "c1", "-m", "64m", "-v", "data:/v", "--tmpfs", "/t", "moved", "sleep", "1000",
    ]);
    let shown = docker(&["inspect", "c1"]);
    let places: Vec<_> = [
        "\"Id\"",
        "\"Created\"",
        "\"State\"",
        "\"Name\": \"/c1\"",
        "\"HostConfig\"",
        "\"Config\"",
        "\"NetworkSettings\"",
    ]
    .map(|key| shown.find(key).unwrap_or_else(|| panic!("no {key}")))
    .into();
    assert!(places.is_sorted(), "{shown}");
    let limits =
        "{{.HostConfig.MemorySwap}} {{.HostConfig.PidsLimit}} {{len .Mounts}} {{(index .Mounts 0).Mode}}";
    assert_eq!(docker(&["inspect", "-f", limits, "c1"]), "134217728 <nil> 1 z");
    // A name that means another image now, or none, names this container's no more.
    assert_eq!(docker(&["ps", "--format", "{{.Image}}"]), "moved");
    docker(&["rmi", "moved"]);
    let id = docker(&["inspect", "-f", "{{.Image}}", "c1"]);
    assert_eq!(docker(&["ps", "--no-trunc", "--format", "{{.Image}}"]), id);
    // Who ends keeps the ids of its networks.
    docker(&["stop", "-t", "0", "c1"]);
    let bridge = docker(&["network", "inspect", "-f", "{{.Id}}", "bridge"]);
    assert_eq!(
        docker(&["ps", "-a", "--filter", &format!("network={bridge}"), "--format", "{{.Names}}"]),
        "c1"
    );
    docker(&["create", "--name", "c2", "busybox", "sh", "-c", "echo 'a b'"]);
    let quoted = docker(&["ps", "-a", "--no-trunc", "--filter", "name=c2", "--format", "{{.Command}}"]);
    assert_eq!(quoted, "\"sh -c 'echo 'a b''\"");

    assert!(
        refused(&["kill", "nobody"]).contains("cannot kill container: nobody: No such container: nobody")
    );
    assert!(
        refused(&["rename", "c1", "c2"])
            .contains("Error when allocating new name: Conflict. The container name")
    );
    for words in [["--network", "nowhere"], ["--volume-driver", "nobody"]] {
        let error = refused(&[&["run", "--rm"], &words[..], &["-v", "data:/v", "busybox", "true"]].concat());
        assert!(error.contains("not found") && !error.contains("Unable to find image"), "{error}");
    }
    for (source, path) in [("/etc/hostname", "/etc"), ("/etc", "/etc/passwd")] {
        let error = refused(&["run", "--name", "c3", "-v", &format!("{source}:{path}"), "busybox", "true"]);
        assert!(
            error.contains("Are you trying to mount a directory onto a file (or vice-versa)?"),
            "{error}"
        );
        assert_eq!(docker(&["inspect", "-f", "{{.State.ExitCode}}", "c3"]), "127");
        docker(&["rm", "c3"]);
    }
    // Restarts at once are all done.
    docker(&["start", "c1"]);
    let restarts: Vec<_> = (0..3).map(|_| host.docker(&["restart", "-t", "0", "c1"]).spawn()).collect();
    for restart in restarts {
        let output = restart.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(docker(&["inspect", "-f", "{{.State.Running}}", "c1"]), "true");
    docker(&["rm", "-f", "c1", "c2"]);
    docker(&["volume", "rm", "data"]);
    host.finish();
}

#[test]
fn objects_and_system() {
    let host = Host::new();
    let docker = |arguments: &[&str]| host.docker(arguments).ok();
    assert!(docker(&["version"]).contains("Server:"));
    assert!(docker(&["info"]).contains("Storage Driver"));
    assert_eq!(docker(&["volume", "create", "v1"]), "v1");
    assert!(docker(&["volume", "ls"]).contains("v1"));
    docker(&["run", "--rm", "-v", "v1:/v", "busybox", "touch", "/v/x"]);
    docker(&["volume", "rm", "v1"]);
    assert_eq!(docker(&["network", "create", "n1"]).len(), 64);
    assert!(docker(&["network", "inspect", "n1"]).contains("\"Subnet\""));
    assert!(docker(&["network", "ls"]).contains("bridge"));
    docker(&["run", "--rm", "--network", "n1", "busybox", "true"]);
    docker(&["network", "rm", "n1"]);
    docker(&["tag", "busybox", "b2"]);
    assert!(docker(&["images"]).contains("b2"));
    docker(&["rmi", "b2"]);
    host.finish();
}

#[test]
fn classic_build() {
    let host = Host::new();
    let directory = host.path("context");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(
        directory.join("Dockerfile"),
        "FROM busybox\nCOPY file /file\nRUN cat /file > /copy\nCMD cat /copy\n",
    )
    .unwrap();
    std::fs::write(directory.join("file"), "content").unwrap();
    let built = host.docker(&["build", "-t", "made", &directory.display().to_string()]).ok();
    assert!(
        built.contains("Step 1/4 : FROM busybox") && built.contains("Successfully tagged made:latest"),
        "{built}"
    );
    assert_eq!(host.docker(&["run", "--rm", "made"]).ok(), "content");
    host.finish();
}
