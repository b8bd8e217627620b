//! Against the original registry (Debian's docker-registry).

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "the original is a program to be run")]

mod common;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use common::*;
use spec::oci::image::Platform;

/// The original, ended when dropped.
struct Original {
    address: SocketAddr,
    process: Child,
    _root: tempfile::TempDir,
}

impl Original {
    async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let address = free_address();
        let config = root.path().join("config.yml");
        let text = "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: /nowhere}}\nhttp: {addr: ''}\n";
        sys::file::write_atomic(&config, text.as_bytes(), 0o600, sys::file::Durability::Process).unwrap();
        let process = Command::new("/usr/bin/docker-registry")
            .arg("serve")
            .arg(&config)
            .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root.path().join("data"))
            .env("REGISTRY_HTTP_ADDR", address.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs /usr/bin/docker-registry (Debian's docker-registry)");
        let this = Self { address, process, _root: root };
        until_listening(address).await;
        this
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn the_original_registry_takes_and_gives_our_images() {
    let original = Original::start().await;
    let (ours, theirs) = (store(), store());
    let image = image(&ours.store, &[500_000, 4 << 20, 1]);
    let (client, to) = (client(), name(original.address, "team/app"));
    push(&client, &ours.store, &to, &image).await;
    let (sender, _lines) = Lines::new();
    let pulled = client.pull(&theirs.store, &to, &Platform::host(), None, sender).await.unwrap();
    assert_eq!(pulled.target, image);
    assert_whole(&theirs.store, &image);

    // It knows ranges too.
    let line = breaking_line(original.address, 1 << 20, 4).await;
    let again = store();
    let (sender, lines) = Lines::new();
    client.pull(&again.store, &name(line, "team/app"), &Platform::host(), None, sender).await.unwrap();
    assert_whole(&again.store, &image);
    assert!(lines.all().await.iter().any(|l| l.status.as_deref() == Some("Retrying")));
}
