//! Mirrors for any registry: containerd's hosts.toml, and the configuration's own form. What one lacks the next one has.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "common/hostile.rs"]
mod hostile;

use std::collections::BTreeMap;

use common::*;
use hostile::*;
use registry::client::{Client, Config};
use spec::api::AuthConfig;
use spec::oci::image::Platform;

/// The registry that only its mirrors know.
const REGISTRY: &str = "registry.invalid:5000";

async fn pull(client: &Client) -> Result<(), registry::Error> {
    let theirs = store();
    let (progress, lines) = Lines::new();
    let auth = AuthConfig { username: "ada".into(), password: "secret".into(), ..AuthConfig::default() };
    let reference = name(REGISTRY, "team/app");
    let pulled = client.pull(&theirs.store, &reference, &Platform::host(), Some(&auth), progress).await;
    lines.all().await;
    pulled.map(drop)
}

/// A client whose hosts.toml for the registry says so.
fn with_hosts(text: &str) -> (Client, tempfile::TempDir) {
    let files = tempfile::tempdir().unwrap();
    let directory = files.path().join(REGISTRY);
    sys::file::create_dir_all(&directory, 0o700).unwrap();
    let path = directory.join("hosts.toml");
    sys::file::write_atomic(&path, text.as_bytes(), 0o600, sys::file::Durability::Process).unwrap();
    (
        Client::with_certificates(Config { attempts: 1, ..Config::default() }, vec![files.path().to_owned()]),
        files,
    )
}

async fn shelf_without(layer: Option<usize>, shelf: &Shelf) -> Hostile {
    let mut shelf = shelf.clone();
    if let Some(layer) = layer {
        let digest = shelf.layers[layer];
        shelf.blobs.remove(&digest);
    }
    Hostile::start(move |seen| shelf.answer(seen)).await
}

#[tokio::test]
async fn mirrors_of_hosts_toml_are_asked_in_order_and_stand_in_for_each_other() {
    let layers: Vec<Vec<u8>> = (0..2).map(|n| gzip_layer(&format!("f{n}"), 5000)).collect();
    let shelf = Shelf::new(&layers, |_, _| {});
    let (first, second) = (shelf_without(Some(1), &shelf).await, shelf_without(None, &shelf).await);
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (client, _files) = with_hosts(&format!(
        "server = \"https://registry.invalid:5000\"\n[host.\"http://{dead}\"]\n[host.\"http://{}\"]\ncapabilities = \
         [\"pull\", \"resolve\"]\n[host.\"http://{}/sub\"]\noverride_path = true\n[host.\"http://{}/sub\".header]\n\
         x-team = \"blue\"\n",
        first.address, second.address, second.address
    ));
    pull(&client).await.unwrap();
    let (one, two) = (first.seen(), second.seen());
    assert_eq!(one[0].target, "/v2/team/app/manifests/1?ns=registry.invalid%3A5000");
    // Only what the first one lacked.
    assert!(
        two.iter().all(|s| s.target.starts_with(&format!("/sub/team/app/blobs/{}", shelf.layers[1]))),
        "{two:?}"
    );
    assert!(two.iter().all(|s| s.header("x-team") == "blue"), "{two:?}");
    // Credentials are the registry's, not its mirrors'.
    assert!(one.iter().chain(&two).all(|s| s.header("authorization").is_empty()));
}

#[tokio::test]
async fn tags_are_resolved_only_by_who_may() {
    let layers = [gzip_layer("f", 5000)];
    let shelf = Shelf::new(&layers, |_, _| {});
    let (content, names) = (shelf_without(None, &shelf).await, shelf_without(None, &shelf).await);
    let (client, _files) = with_hosts(&format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n",
        names.address, content.address
    ));
    pull(&client).await.unwrap();
    assert_eq!(names.seen().len(), 1, "{:?}", names.seen());
    assert!(content.seen().iter().all(|s| s.target.contains("/blobs/")), "{:?}", content.seen());

    let (client, _files) = with_hosts("capabilities = [\"fly\"]\n");
    let error = pull(&client).await.unwrap_err().to_string();
    assert!(error.contains("hosts.toml") && error.contains("unknown capability \"fly\""), "{error}");
}

#[tokio::test]
async fn the_configuration_names_mirrors_of_any_registry() {
    let shelf = Shelf::new(&[gzip_layer("f", 5000)], |_, _| {});
    let mirror = shelf_without(None, &shelf).await;
    let mirrors_of =
        BTreeMap::from([(REGISTRY.to_owned(), vec![format!("http://{}/cache", mirror.address)])]);
    let client = Client::with_certificates(Config { mirrors_of, ..Config::default() }, Vec::new());
    pull(&client).await.unwrap();
    assert!(mirror.seen().iter().all(|s| s.target.starts_with("/v2/cache/team/app/")), "{:?}", mirror.seen());
}
