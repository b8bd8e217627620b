//! Mirrors, and proxies on the way.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::net::SocketAddr;

use common::*;
use registry::client::{Client, Config, Proxies};
use spec::oci::image::Platform;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A proxy to which every host is `target`. Tells the head of each connection's first request.
async fn proxy(target: SocketAddr) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heads, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let heads = heads.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let text = String::from_utf8(head.clone()).unwrap();
                let mut server = TcpStream::connect(target).await.unwrap();
                if text.starts_with("CONNECT ") {
                    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                } else {
                    server.write_all(&head).await.unwrap();
                }
                heads.send(text).unwrap();
                // One of the two ends first; that is no failure.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, told)
}

async fn pull(client: &Client, reference: &str) -> Result<(), registry::Error> {
    let theirs = store();
    let _lease = theirs.store.lease("test").unwrap();
    let (progress, lines) = Lines::new();
    let reference = reference.parse().unwrap();
    let pulled = client.pull(&theirs.store, &reference, &Platform::host(), None, progress).await;
    lines.all().await;
    pulled.map(drop)
}

async fn push(address: impl std::fmt::Display, repository: &str) {
    let ours = store();
    let target = image(&ours.store, &[1000]);
    let (progress, lines) = Lines::new();
    client().push(&ours.store, &name(address, repository), &target, None, None, progress).await.unwrap();
    lines.all().await;
}

#[tokio::test]
async fn the_hubs_images_come_from_a_mirror() {
    let registry = serve(|_| {}).await;
    push(registry.address, "library/box").await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    // The first mirror is not there: the next one is asked.
    let mirrors = vec![format!("http://{dead}"), format!("http://{}", registry.address)];
    let client = client();
    client.configure(Config { mirrors, ..Config::default() });
    pull(&client, "box:1").await.unwrap();
}

#[tokio::test]
async fn registries_are_reached_through_a_proxy() {
    let registry = serve(|_| {}).await;
    push(registry.address, "team/box").await;
    let (address, mut told) = proxy(registry.address).await;
    let proxied = |none: &str| {
        let proxy = format!("http://ada:secret@{address}");
        let proxies = Proxies { http: proxy.clone(), https: proxy, none: none.into() };
        let insecure = vec!["registry.invalid".into()];
        Client::with_certificates(Config { insecure, proxies, ..Config::default() }, Vec::new())
    };
    // Nobody but the proxy knows this name. TLS is tried first, through a tunnel.
    pull(&proxied(""), "registry.invalid/team/box:1").await.unwrap();
    let mut heads = Vec::new();
    while let Ok(head) = told.try_recv() {
        assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic ywrhonnly3jlda=="), "{head}");
        heads.push(head);
    }
    assert!(heads[0].starts_with("CONNECT registry.invalid:443 HTTP/1.1\r\n"), "{heads:?}");
    let plain = "GET http://registry.invalid/v2/team/box/manifests/1 HTTP/1.1\r\n";
    assert!(heads.iter().any(|head| head.starts_with(plain)), "{heads:?}");

    assert!(pull(&proxied("registry.invalid"), "registry.invalid/team/box:1").await.is_err());
    assert!(told.try_recv().is_err(), "what is reached directly went through the proxy");
}
