//! import, load, save, tag, rmi, and the image inside Corten.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Command, Host};

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
