//! push and pull, against our registry and Debian's docker-registry.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use std::process::Child;

use testkit::{Host, until};

/// A server in the background, killed at the end of the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn answers(host: &Host, address: &str) {
    until("the registry", || {
        let got = host.command(&["curl", "-sf", "-m", "2", &format!("http://{address}/v2/")]).output();
        (got.code == 0).then_some(())
    });
}

/// push, forget, pull back, run.
fn round_trip(host: &Host, address: &str) {
    let name = format!("{address}/team/box:1");
    host.corten(&["tag", "busybox", &name]).ok();
    let pushed = host.corten(&["push", &name]).ok();
    assert!(pushed.contains("digest: sha256:"), "{pushed}");
    assert!(host.corten(&["push", &name]).ok().contains("Layer already exists"));
    let digest = host.corten(&["inspect", "-f", "{{.Id}}", &name]).ok();
    host.corten(&["rmi", "-f", &name, "busybox"]).ok();
    host.corten(&["run", "--rm", "--pull", "never", &name, "true"]).fails(125);
    let pulled = host.corten(&["pull", &name]).ok();
    assert!(pulled.contains(&format!("Digest: {digest}")), "{pulled}");
    assert!(pulled.contains("Status: Downloaded newer image"), "{pulled}");
    assert!(host.corten(&["pull", &name]).ok().contains("Image is up to date"));
    assert_eq!(host.corten(&["run", "--rm", &name, "echo", "back"]).ok(), "back");

    // run pulls what is not there.
    host.corten(&["rmi", &name]).ok();
    let ran = host.corten(&["run", "--rm", &name, "echo", "again"]).output();
    assert_eq!(ran.stdout, "again\n");
    assert!(ran.stderr.contains("Unable to find image"), "{}", ran.stderr);
    host.corten(&["tag", &name, "busybox"]).ok();
}

#[test]
fn our_registry() {
    let host = Host::new();
    let root = host.path("registry").display().to_string();
    let server =
        Server(host.corten(&["registry", "serve", "--listen", "127.0.0.1:5001", "--root", &root]).spawn());
    answers(&host, "127.0.0.1:5001");
    round_trip(&host, "127.0.0.1:5001");

    // The original client, too.
    host.docker(&["tag", "busybox", "127.0.0.1:5001/from-docker"]).ok();
    host.docker(&["push", "127.0.0.1:5001/from-docker"]).ok();
    host.docker(&["rmi", "127.0.0.1:5001/from-docker"]).ok();
    host.docker(&["pull", "127.0.0.1:5001/from-docker"]).ok();

    // A blob that was changed on the server's disk is refused, and leaves nothing.
    let name = "127.0.0.1:5001/team/box:1";
    host.corten(&["rmi", "-f", name, "busybox", "127.0.0.1:5001/from-docker"]).output();
    host.command(&["sh", "-c", &format!("for f in {root}/blobs/sha256/*; do if [ $(stat -c %s $f) -gt 10000 ]; then printf X | dd of=$f bs=1 seek=5000 conv=notrunc 2>/dev/null; fi; done")]).ok();
    let refused = host.corten(&["pull", name]).fails(1);
    assert!(refused.contains("digest"), "{refused}");
    assert!(!host.corten(&["images"]).ok().contains("team/box"));
    drop(server);
    host.finish();
}

#[test]
fn a_registry_with_rights() {
    let host = Host::new();
    let (root, users) = (host.path("registry"), host.path("users"));
    host.command(&["htpasswd", "-Bbc", "-C", "5", &users.display().to_string(), "ada", "secret"]).ok();
    host.command(&["htpasswd", "-Bb", "-C", "5", &users.display().to_string(), "bob", "other"]).ok();
    let text = format!(
        "listen = \"127.0.0.1:5003\"\nroot = \"{}\"\nhtpasswd = \"{}\"\n\
         [[rights]]\nrepositories = [\"team/**\"]\nusers = [\"ada\"]\nallow = [\"all\"]\n\
         [[rights]]\nrepositories = [\"team/open/**\"]\nanonymous = true\nallow = [\"pull\"]\n\
         [[quota]]\nrepositories = [\"team/small/**\"]\nsize = \"1kB\"\n",
        root.display(),
        users.display()
    );
    let config = host.path("registry.toml").display().to_string();
    std::fs::write(&config, text).unwrap();
    host.corten(&["registry", "serve", "--config", &config, "--validate"]).ok();
    let refused =
        host.corten(&["registry", "serve", "--config", &config, "--listen", "127.0.0.1:1"]).fails(1);
    assert!(refused.contains("listen is given as a flag and in"), "{refused}");
    let server = Server(host.corten(&["registry", "serve", "--config", &config]).spawn());
    until("the registry", || {
        let asked =
            ["curl", "-s", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:5003/v2/"];
        (host.command(&asked).output().stdout == "401").then_some(())
    });

    let name = "127.0.0.1:5003/team/open/box";
    host.docker(&["tag", "busybox", name]).ok();
    host.docker(&["push", name]).fails(1);
    host.docker(&["login", "-u", "ada", "-p", "wrong", "127.0.0.1:5003"]).fails(1);
    host.docker(&["login", "-u", "bob", "-p", "other", "127.0.0.1:5003"]).ok();
    // Whoever is known but has no right is not told that the password is wrong; who has no room is told so.
    let refused = host.docker(&["push", name]).fails(1);
    assert!(refused.contains("denied: requested access to the resource is denied"), "{refused}");
    host.docker(&["login", "-u", "ada", "-p", "secret", "127.0.0.1:5003"]).ok();
    host.docker(&["push", name]).ok();
    let small = "127.0.0.1:5003/team/small/box";
    host.docker(&["tag", "busybox", small]).ok();
    let refused = host.docker(&["push", small]).fails(1);
    assert!(refused.contains("would be larger than its quota"), "{refused}");
    host.docker(&["rmi", small]).ok();
    // Nobody in particular may pull it.
    host.docker(&["logout", "127.0.0.1:5003"]).ok();
    host.docker(&["rmi", name]).ok();
    host.docker(&["pull", name]).ok();
    host.docker(&["rmi", name]).ok();

    // Another client copies it on, and what it finds is what was pushed.
    let (from, to) = (format!("docker://{name}"), "docker://127.0.0.1:5003/team/copy:1");
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    host.command(&["skopeo", "copy", "--all", plain[0], plain[1], &from, to]).fails(1);
    host.command(&["skopeo", "copy", "--all", plain[0], plain[1], "--dest-creds", "ada:secret", &from, to])
        .ok();
    let tags = host
        .command(&[
            "skopeo",
            "list-tags",
            "--tls-verify=false",
            "--creds",
            "ada:secret",
            "docker://127.0.0.1:5003/team/copy",
        ])
        .ok();
    assert!(tags.contains("\"1\""), "{tags}");
    host.command(&["skopeo", "delete", "--tls-verify=false", "--creds", "ada:secret", to]).ok();

    let in_use = host.corten(&["registry", "gc", "--config", &config]).fails(1);
    assert!(in_use.contains("in use by another process"), "{in_use}");
    drop(server);
    host.corten(&["registry", "check", "--config", &config]).ok();
    let dry = host.corten(&["registry", "gc", "--config", &config, "--dry-run"]).ok();
    assert!(dry.contains("would remove 0 blobs"), "{dry}");
    host.finish();
}

#[test]
fn debians_registry() {
    let host = Host::new();
    let root = host.path("registry");
    let config = host.path("registry.yml");
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:5002\n",
        root.display()
    );
    std::fs::write(&config, text).unwrap();
    let server = Server(host.command(&["docker-registry", "serve", &config.display().to_string()]).spawn());
    answers(&host, "127.0.0.1:5002");
    round_trip(&host, "127.0.0.1:5002");
    drop(server);
    host.finish();
}

#[test]
fn a_registry_that_is_not_there() {
    let host = Host::new();
    let refused = host.corten(&["pull", "127.0.0.1:5999/x"]).fails(1);
    assert!(refused.contains("127.0.0.1:5999") && refused.to_lowercase().contains("refused"), "{refused}");
    host.finish();
}
