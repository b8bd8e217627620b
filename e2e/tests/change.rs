//! What Corten changes in an existing container and Docker does not; secrets of a plain `run`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Host, Output, until};

/// `POST` of a JSON body to the daemon's socket: status and answer.
fn post(host: &Host, path: &str, body: &str) -> (String, String) {
    let socket = host.path("corten.sock").display().to_string();
    let Output { stdout, .. } = host
        .command(&[
            "curl",
            "-sS",
            "--unix-socket",
            &socket,
            "-H",
            "Content-Type: application/json",
            "-w",
            "\n%{http_code}",
            "-d",
            body,
            &format!("http://corten{path}"),
        ])
        .output();
    let (answer, status) = stdout.rsplit_once('\n').unwrap();
    (status.to_owned(), answer.to_owned())
}

/// What `GET /` of a host port says; empty when nobody answers.
fn page(host: &Host, port: u16) -> String {
    host.command(&["curl", "-s", "--max-time", "5", &format!("http://127.0.0.1:{port}/")]).output().stdout
}

const SERVER: [&str; 3] = ["sh", "-c", "echo page > /tmp/index.html; exec httpd -f -p 80 -h /tmp"];

#[test]
fn ports_of_a_running_container() {
    let host = Host::new();
    host.corten(&[&["run", "-d", "--name", "web", "-p", "8081:80", "busybox"], &SERVER[..]].concat()).ok();
    until("the server", || (page(&host, 8081) == "page\n").then_some(()));
    let change = |body: &str| post(&host, "/containers/web/update", body);

    let (status, answer) = change(r#"{"Corten":{"Publish":{"Add":{"80/tcp":[{"HostPort":"8082"}]}}}}"#);
    assert_eq!(status, "200", "{answer}");
    assert_eq!((page(&host, 8081), page(&host, 8082)), ("page\n".into(), "page\n".into()));
    assert_eq!(host.corten(&["port", "web", "80"]).ok(), "0.0.0.0:8081\n[::]:8081\n0.0.0.0:8082\n[::]:8082");

    // Another host port in place of both, in one step.
    let move_it = r#"{"Corten":{"Publish":{"Remove":["80/tcp"],"Add":{"80/tcp":[{"HostPort":"8083"}]}}}}"#;
    assert_eq!(change(move_it).0, "200");
    assert_eq!(page(&host, 8083), "page\n");
    assert_eq!((page(&host, 8081), page(&host, 8082)), (String::new(), String::new()));

    // A taken port says whose it is, and everything stays as it was.
    host.corten(&["run", "-d", "--name", "other", "-p", "8090:80", "busybox", "sleep", "1000"]).ok();
    let taken = r#"{"Corten":{"Publish":{"Remove":["80/tcp"],"Add":{"80/tcp":[{"HostPort":"8090"}]}},"Labels":{"Add":{"a":"b"}}}}"#;
    let (status, answer) = change(taken);
    assert_eq!(status, "500", "{answer}");
    assert!(answer.contains("by container other"), "{answer}");
    assert_eq!(page(&host, 8083), "page\n");
    assert_eq!(host.corten(&["inspect", "-f", "{{.Config.Labels}}", "web"]).ok(), "map[]");

    // It lasts: over a restart of the container, and over the daemon's.
    host.corten(&["restart", "-t", "0", "web"]).ok();
    until("the server", || (page(&host, 8083) == "page\n").then_some(()));
    host.finish();
}

#[test]
fn environment_labels_and_mounts() {
    let host = Host::new();
    testkit::write(&host.path("file"), b"from the host\n");
    host.corten(&["run", "-d", "--name", "c1", "-e", "A=1", "-l", "x=1", "busybox", "sleep", "1000"]).ok();
    let change = |body: &str| post(&host, "/containers/c1/update", body);
    let body = format!(
        r#"{{"Corten":{{"Env":{{"Add":["B=2"],"Remove":["A"]}},"Labels":{{"Add":{{"y":"2"}},"Remove":["x"]}},
            "Mounts":{{"Add":[{{"Type":"bind","Source":"{}","Target":"/mnt/file","ReadOnly":true}},
                {{"Type":"volume","Source":"vol1","Target":"/mnt/vol"}},{{"Type":"tmpfs","Target":"/mnt/tmp"}}]}}}}}}"#,
        host.path("file").display()
    );
    let (status, answer) = change(&body);
    assert_eq!(status, "200", "{answer}");

    // Mounts and labels at once; the environment for every program that is started from now on.
    let inside = |script: &str| host.corten(&["exec", "c1", "sh", "-c", script]);
    assert_eq!(inside("cat /mnt/file").ok(), "from the host");
    inside("echo x > /mnt/file").fails(1);
    inside("echo kept > /mnt/vol/a && echo x > /mnt/tmp/b").ok();
    assert_eq!(host.corten(&["ps", "-q", "--filter", "label=y=2"]).ok().lines().count(), 1);
    assert_eq!(inside("echo $A$B").ok(), "2");
    assert!(inside("tr '\\0' '\\n' < /proc/1/environ").ok().contains("A=1"));
    host.corten(&["restart", "-t", "0", "c1"]).ok();
    assert_eq!(inside("echo $A$B; cat /mnt/file /mnt/vol/a").ok(), "2\nfrom the host\nkept");

    let (status, answer) = change(r#"{"Corten":{"Mounts":{"Remove":["/mnt/file","/mnt/vol"]}}}"#);
    assert_eq!(status, "200", "{answer}");
    assert_eq!(inside("cat /mnt/file; ls /mnt/vol").ok(), "");
    let (status, answer) = change(r#"{"Corten":{"Mounts":{"Remove":["/mnt/none"]}}}"#);
    assert_eq!(status, "400");
    assert!(answer.contains("/mnt/none"), "{answer}");

    // A source that is not there: nothing of the request is done.
    let missing = r#"{"Corten":{"Labels":{"Add":{"z":"3"}},"Mounts":{"Add":[{"Type":"bind","Source":"/no/such","Target":"/z"}]}}}"#;
    assert_eq!(change(missing).0, "400");
    assert_eq!(host.corten(&["inspect", "-f", "{{.Config.Labels}}", "c1"]).ok(), "map[y:2]");
    host.corten(&["rm", "-f", "c1"]).ok();
    host.corten(&["volume", "rm", "vol1"]).ok();
    host.finish();
}

#[test]
fn parts_of_volumes_and_images_come_and_go() {
    let host = Host::new();
    let make = "mkdir -p /v/dir; echo part > /v/dir/file; ln -s / /v/out; ln -s dir /v/in";
    host.corten(&["run", "--rm", "-v", "data:/v", "busybox", "sh", "-c", make]).ok();
    for name in ["c1", "c2"] {
        host.corten(&["run", "-d", "--name", name, "busybox", "sleep", "1000"]).ok();
    }
    let update = |words: &[&str]| host.corten(&[&["update"], words].concat());
    let add = |mount: &str| update(&["--mount-add", mount, "c1"]);
    let part = "type=volume,src=data,dst=/x,volume-subpath=dir";
    let image = "type=image,src=busybox,dst=/i";
    let file = "type=image,src=busybox,dst=/i/below,image-subpath=bin/sh";
    let linked = "type=volume,src=data,dst=/y,volume-subpath=in,ro";
    let all = ["--mount-add", part, "--mount-add", image, "--mount-add", linked, "c1"];
    update(&all).ok();
    let seen = || host.corten(&["exec", "c1", "sh", "-c", "cat /x/file /y/file; ls -d /x/* /i/bin/sh"]).ok();
    assert_eq!(seen(), "part\npart\n/i/bin/sh\n/x/file");
    for path in ["/i/x", "/y/x"] {
        let refused = host.corten(&["exec", "c1", "touch", path]).fails(1);
        assert!(refused.contains("Read-only file system"), "{refused}");
    }
    let format = "{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}};{{end}}";
    let mounts = host.corten(&["inspect", "-f", format, "c1"]).ok();
    for mount in ["volume data /x true;", "volume data /y false;", "image busybox /i false;"] {
        assert!(mounts.contains(mount), "{mounts}");
    }
    let layers = || std::fs::read_dir(host.path("data/rw")).unwrap().count();
    assert_eq!(layers(), 3);

    // What is wrong says so and changes nothing: not what came before it in the request, either.
    let out = "type=volume,src=data,dst=/z,volume-subpath=out/etc";
    for (mount, why) in [
        ("type=volume,src=data,dst=/z,volume-subpath=none", "none"),
        ("type=volume,src=data,dst=/z,volume-subpath=../..", "relative path"),
        // A link that leads out leads to what is inside, where there is no such thing.
        (out, "out/etc"),
        ("type=image,src=nothing,dst=/z", "No such image: nothing"),
        ("type=image,src=busybox,dst=/z,image-subpath=none", "cannot find subpath \"none\" in image busybox"),
        ("type=image,src=busybox,dst=/i", "Duplicate mount point: /i"),
        (file, "mount /i/below: open: read-only file system"),
    ] {
        let refused = update(&["--mount-add", "type=image,src=busybox,dst=/w", "--mount-add", mount, "c1"]);
        let refused = refused.fails(1);
        assert!(refused.contains(why), "{mount}: {refused}");
    }
    assert_eq!((host.corten(&["inspect", "-f", format, "c1"]).ok(), layers()), (mounts, 3));
    let covered = add("type=tmpfs,dst=/x").fails(1);
    assert!(covered.contains("Duplicate mount point: /x"), "{covered}");
    host.corten(&["update", "--mount-add", "type=tmpfs,dst=/deep/er", "c1"]).ok();
    let covered = add("type=image,src=busybox,dst=/deep").fails(1);
    assert!(covered.contains("/deep/er is mounted below it"), "{covered}");
    for (dst, below) in [("/etc", "/etc/hostname"), ("/dev", "/dev/pts"), ("/sys", "/sys/fs/cgroup")] {
        let covered = add(&format!("type=tmpfs,dst={dst}")).fails(1);
        assert!(covered.contains(&format!("{below} is mounted below it")), "{covered}");
    }

    // They last, and go.
    host.corten(&["restart", "-t", "0", "c1"]).ok();
    assert_eq!(seen(), "part\npart\n/i/bin/sh\n/x/file");
    update(&["--mount-rm", "/i", "--mount-add", "type=image,src=busybox,dst=/j,image-subpath=bin", "c1"])
        .ok();
    update(&["--mount-rm", "/x", "c1"]).ok();
    let listed = host.corten(&["exec", "c1", "sh", "-c", "ls /i /x; ls /j/sh; cat /y/file"]).ok();
    assert_eq!(listed, "/i:\n\n/x:\n/j/sh\npart");
    assert_eq!(layers(), 3);
    // Also while it does not run.
    host.corten(&["rm", "-f", "c2"]).ok();
    host.corten(&["create", "--name", "c2", "busybox", "cat", "/x/file", "/i/etc/passwd"]).ok();
    update(&["--mount-add", part, "--mount-add", image, "c2"]).ok();
    assert!(host.corten(&["start", "-a", "c2"]).ok().starts_with("part\nroot:"));
    update(&["--mount-rm", "/i", "c2"]).ok();
    host.corten(&["rm", "-f", "c1", "c2"]).ok();
    assert_eq!(layers(), 0);
    host.corten(&["volume", "rm", "data"]).ok();
    host.finish();
}

#[test]
fn a_volume_that_comes_later_is_filled_as_at_create() {
    let host = Host::new();
    let make =
        "mkdir -p /srv/sub; echo kept > /srv/sub/file; chmod 640 /srv/sub/file; chown 7:8 /srv /srv/sub/file";
    host.docker(&["run", "-d", "--name", "c1", "busybox", "sh", "-c", &format!("{make}; exec sleep 1000")])
        .ok();
    let pid = host.docker(&["inspect", "-f", "{{.State.Pid}}", "c1"]).ok();
    let marked = format!("/proc/{pid}/root/srv/sub/file");
    until("the file", || {
        (testkit::Command::new(&["stat", "-c", "%u", &marked]).output().stdout == "7\n").then_some(())
    });
    testkit::Command::new(&["setfattr", "-n", "user.mark", "-v", "x", &marked]).ok();
    host.docker(&["commit", "c1", "full"]).ok();
    host.docker(&["rm", "-f", "c1"]).ok();

    host.docker(&["run", "-d", "--name", "c1", "full", "sleep", "1000"]).ok();
    host.docker(&["create", "--name", "c2", "full", "cat", "/srv/sub/file"]).ok();
    host.docker(&["exec", "c1", "touch", "/srv/own"]).ok();
    let add = |mount: &str, to: &str| host.corten(&["update", "--mount-add", mount, to]).ok();
    add("type=volume,src=one,dst=/srv", "c1");
    let look = "ls /srv; stat -c '%u:%g %a' /srv /srv/sub/file";
    let seen = host.docker(&["exec", "c1", "sh", "-c", look]).ok();
    assert_eq!(seen, "sub\n7:8 755\n7:8 640", "the image's, not what the container has made of it");
    let file = host.path("data/volumes/one/_data/sub/file").display().to_string();
    let mark = testkit::Command::new(&["getfattr", "--only-values", "-n", "user.mark", &file]).ok();
    assert_eq!(mark, "x");
    // What is there stays; who wants nothing gets nothing; and it is the same while the container does not run.
    host.docker(&["exec", "c1", "sh", "-c", "echo mine > /srv/sub/file"]).ok();
    add("type=volume,src=one,dst=/srv", "c2");
    assert_eq!(host.docker(&["start", "-a", "c2"]).ok(), "mine");
    host.corten(&["update", "--mount-rm", "/srv", "c1"]).ok();
    assert_eq!(host.docker(&["exec", "c1", "ls", "/srv"]).ok(), "own\nsub");
    add("type=volume,src=two,dst=/srv,volume-nocopy", "c1");
    assert_eq!(host.docker(&["exec", "c1", "ls", "/srv"]).ok(), "");
    host.corten(&["update", "--mount-rm", "/srv", "--mount-add", "type=volume,src=three,dst=/srv", "c2"])
        .ok();
    assert_eq!(host.docker(&["start", "-a", "c2"]).ok(), "kept");
    host.docker(&["rm", "-f", "c1", "c2"]).ok();
    host.docker(&["volume", "rm", "one", "two", "three"]).ok();
    host.finish();
}

#[test]
fn a_secret_is_seen_by_its_container_only() {
    let host = Host::new();
    let body = r#"{"Image":"busybox","Cmd":["sleep","1000"],"CortenSecrets":[
        {"Name":"token","Data":"aHVzaA=="},{"Name":"key","Data":"a2V5","Target":"/etc/key","Mode":256,"UID":1000,"GID":1000}]}"#;
    let (status, answer) = post(&host, "/containers/create?name=c1", body);
    assert_eq!(status, "201", "{answer}");
    host.corten(&["start", "c1"]).ok();
    let inside = |script: &str| host.corten(&["exec", "c1", "sh", "-c", script]);
    assert_eq!(
        inside("cat /run/secrets/token; echo; stat -c '%a %u' /etc/key; cat /etc/key").ok(),
        "hush\n400 1000\nkey"
    );
    inside("echo x > /run/secrets/token").fails(1);
    assert!(!host.corten(&["inspect", "c1"]).ok().contains("hush"));
    let record = std::fs::read_dir(host.path("data/containers")).unwrap().next().unwrap().unwrap().path();
    assert!(!std::fs::read_to_string(record.join("config.json")).unwrap().contains("aHVzaA"));
    // It comes back with the container, and is gone with it.
    host.corten(&["restart", "-t", "0", "c1"]).ok();
    assert_eq!(inside("cat /run/secrets/token").ok(), "hush");
    host.corten(&["rm", "-f", "c1"]).ok();
    assert!(!record.exists());
    let bad = body.replace("aHVzaA==", "no base64!");
    let (status, answer) = post(&host, "/containers/create?name=c2", &bad);
    assert_eq!(status, "400");
    assert!(answer.contains("token"), "{answer}");
    host.finish();
}
