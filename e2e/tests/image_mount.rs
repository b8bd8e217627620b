//! `--mount type=image`: an image's files inside a container of another image.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Host, until};

const DOCKERFILE: &str = "FROM busybox\nRUN mkdir -p /data/deep && echo one > /data/deep/a && rm /bin/vi\nRUN echo two > /data/b\n";

/// `assets:latest`, of three layers; the last two have what the test looks for.
fn build(host: &Host) {
    let context = host.path("context");
    std::fs::create_dir_all(&context).unwrap();
    testkit::write(&context.join("Dockerfile"), DOCKERFILE.as_bytes());
    host.docker(&["build", "-q", "-t", "assets", &context.display().to_string()]).ok();
}

#[test]
fn an_image_is_seen_read_only_and_stays_while_it_is_used() {
    let mut host = Host::new();
    build(&host);
    let id = host.docker(&["inspect", "-f", "{{.Id}}", "assets"]).ok();
    let layers = |host: &Host| std::fs::read_dir(host.path("data/rw")).unwrap().count();
    let whole = "type=image,source=assets,target=/assets";
    let part = "type=image,source=assets,target=/mnt/part,image-subpath=data/deep";
    let file = "type=image,source=assets,target=/mnt/file,image-subpath=data/b";
    let words = ["run", "-d", "--name", "c1", "--mount", whole, "--mount", part, "--mount", file];
    host.docker(&[&words[..], &["busybox", "sleep", "1000"]].concat()).ok();
    let inside = |host: &Host, script: &str| host.docker(&["exec", "c1", "sh", "-c", script]);
    let all = "cat /assets/data/deep/a /assets/data/b /mnt/part/a /mnt/file; ls /mnt/part; ls /assets/bin/vi";
    let seen = |host: &Host| inside(host, all).output().stdout;
    assert_eq!(seen(&host), "one\ntwo\none\ntwo\na\n");
    for path in ["/assets/x", "/mnt/part/a", "/mnt/file"] {
        assert!(inside(&host, &format!("echo x > {path}")).fails(1).contains("Read-only file system"));
    }
    let format = "{{range .Mounts}}{{.Type}} {{.Name}} {{.Source}} {{.Destination}} {{.RW}};{{end}}";
    let mounts = host.docker(&["inspect", "-f", format, "c1"]).ok();
    for at in ["/assets", "/mnt/part", "/mnt/file"] {
        assert!(mounts.contains(&format!("image assets {id} {at} false;")), "{mounts}");
    }
    assert_eq!(host.docker(&["diff", "c1"]).ok(), "", "the places to mount on are no change");
    // Another container takes them over, and has them when the first is gone.
    host.docker(&["create", "--name", "c2", "--volumes-from", "c1", "busybox", "cat", "/mnt/file"]).ok();
    assert_eq!(layers(&host), 8);

    // It is in use: it does not go, and by force only its name does (the content stays, without one).
    let refused = host.docker(&["rmi", "assets"]).fails(1);
    assert!(
        refused.contains("(must be forced) - container ") && refused.contains("is using its referenced"),
        "{refused}"
    );
    let refused = host.docker(&["rmi", "-f", &id]).fails(1);
    assert!(refused.contains("(cannot be forced) - image is being used by running container"), "{refused}");
    host.docker(&["kill", "c1"]).ok();
    let status = |host: &Host| host.docker(&["inspect", "-f", "{{.State.Status}}", "c1"]).ok();
    until("its end", || (status(&host) == "exited").then_some(()));
    let refused = host.docker(&["rmi", "assets"]).fails(1);
    assert!(refused.contains("must be forced"), "{refused}");
    host.docker(&["image", "prune", "-af"]).ok();
    host.docker(&["rmi", "-f", "assets"]).ok();
    host.docker(&["builder", "prune", "-af"]).ok();
    host.docker(&["start", "c1"]).ok();
    assert_eq!(seen(&host), "one\ntwo\none\ntwo\na\n");

    // The daemon's death changes nothing.
    host.kill_daemon();
    host.start_daemon();
    assert_eq!(seen(&host), "one\ntwo\none\ntwo\na\n");
    assert_eq!(layers(&host), 8);
    host.docker(&["restart", "-t", "0", "c1"]).ok();
    assert_eq!(seen(&host), "one\ntwo\none\ntwo\na\n");
    host.docker(&["rm", "-f", "c1"]).ok();
    assert_eq!(host.docker(&["start", "-a", "c2"]).ok(), "two");
    host.docker(&["rm", "c2"]).ok();
    assert_eq!(layers(&host), 0);
    host.finish();
}

#[test]
fn what_cannot_be_mounted_is_refused_before_anything_is_made() {
    let host = Host::new();
    for (mount, text) in [
        ("type=image,source=nothing,target=/a", "No such image: nothing"),
        ("type=image,source=busybox,target=/a,image-subpath=../x", "relative path"),
        ("type=image,source=busybox,target=/a,image-subpath=no/such", "no/such"),
        ("type=image,target=/a", "field Source must not be empty"),
        ("type=image,source=busybox,target=/a,volume-nocopy", "image"),
    ] {
        let said = host.docker(&["create", "--pull", "never", "--mount", mount, "busybox"]).output();
        assert_ne!(said.code, 0, "{mount}");
        assert!(said.stderr.contains(text), "{mount}: {}", said.stderr);
    }
    assert_eq!(std::fs::read_dir(host.path("data/rw")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(host.path("data/containers")).unwrap().count(), 0);
    // An image inside an image's place, and one in the way of a tmpfs: parents first.
    let nested = ["--mount", "type=image,source=busybox,target=/t/in", "--tmpfs", "/t"];
    let listed = host.docker(&[&["run", "--rm"], &nested[..], &["busybox", "ls", "/t/in/bin/sh"]].concat());
    assert_eq!(listed.ok(), "/t/in/bin/sh");
    host.finish();
}
