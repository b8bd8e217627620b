//! Images to push, registries to push to, and a line that breaks.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "tests share this, and each uses its part"
)]

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use registry::client::{Client, Config};
use registry::server;
use spec::api::Progress;
use spec::oci::image::{Descriptor, Image, ImageConfig, Platform, RootFs, media};
use spec::{Digest, Reference};
use store::Store;
use store::archive::Writer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

/// One request on a connection of its own; the body comes back whole.
pub async fn ask(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Response<Bytes> {
    try_to_ask(address, method, path, headers, body).await.unwrap()
}

/// The same of a server that may not be up yet.
pub async fn try_to_ask(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Response<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "x");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(request.body(Full::new(body.into()))?).await?;
    let (parts, body) = response.into_parts();
    Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
}

pub fn header<'r>(response: &'r Response<Bytes>, name: &str) -> &'r str {
    response.headers()[name].to_str().unwrap()
}

pub fn code(response: &Response<Bytes>) -> String {
    let value: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    value["errors"][0]["code"].as_str().unwrap().to_owned()
}

pub fn digest(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    format!("sha256:{}", spec::digest::hex(&sha2::Sha256::digest(bytes)))
}

/// Puts a blob in one request; its digest.
pub async fn put_blob(at: SocketAddr, repository: &str, bytes: &[u8]) -> String {
    let digest = digest(bytes);
    let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    assert_eq!(ask(at, Method::POST, &path, &[], bytes.to_vec()).await.status(), 201);
    digest
}

/// An image manifest of these layers, whose configuration is `{}`.
pub fn manifest(layers: &[&[u8]]) -> String {
    let layers: Vec<_> = layers
        .iter()
        .map(|l| serde_json::json!({ "mediaType": media::LAYER, "digest": digest(l), "size": l.len() }))
        .collect();
    let config = serde_json::json!({ "mediaType": media::CONFIG, "digest": digest(b"{}"), "size": 2 });
    serde_json::json!({ "schemaVersion": 2, "mediaType": media::MANIFEST, "config": config, "layers": layers }).to_string()
}

/// Puts an image; its manifest's digest and bytes.
pub async fn put_image(at: SocketAddr, repository: &str, tag: &str, layers: &[&[u8]]) -> (String, String) {
    for blob in layers.iter().copied().chain([&b"{}"[..]]) {
        put_blob(at, repository, blob).await;
    }
    let manifest = manifest(layers);
    let path = format!("/v2/{repository}/manifests/{tag}");
    let put = ask(at, Method::PUT, &path, &[("content-type", media::MANIFEST)], manifest.clone()).await;
    assert_eq!(put.status(), 201);
    (digest(manifest.as_bytes()), manifest)
}

/// A store in a directory of its own.
pub struct TestStore {
    pub store: Store,
    pub directory: tempfile::TempDir,
}

pub fn store() -> TestStore {
    let directory = tempfile::tempdir().unwrap();
    TestStore { store: Store::open(directory.path()).unwrap(), directory }
}

/// Bytes that do not compress.
pub fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        bytes.extend_from_slice(&seed.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// An image of gzip layers, each with one file of so many bytes.
pub fn image(store: &Store, sizes: &[usize]) -> Descriptor {
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for (number, size) in sizes.iter().enumerate() {
        let mut tar = Writer::new(Vec::new());
        tar.append_bytes(&format!("file{number}"), 0o644, &noise(*size, number as u64 + 1)).unwrap();
        let tar = tar.finish().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).unwrap();
        layers.push(store.put_blob(media::LAYER_GZIP, &gzip.finish().unwrap()).unwrap());
        diff_ids.push(store.put_blob(media::LAYER, &tar).unwrap().digest);
    }
    let platform = Platform::host();
    let config = Image {
        architecture: platform.architecture,
        os: platform.os,
        config: ImageConfig { cmd: vec!["/file0".into()], ..ImageConfig::default() },
        rootfs: RootFs { diff_ids, ..RootFs::default() },
        ..Image::default()
    };
    store.put_image(&config, &layers).unwrap()
}

/// A registry of ours, ended when dropped.
pub struct Served {
    pub address: SocketAddr,
    pub control: server::Control,
    pub root: tempfile::TempDir,
    _stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
}

impl Served {
    /// Ends it and returns what it kept.
    pub async fn stop(self) -> tempfile::TempDir {
        drop(self._stop);
        self.ended.await.unwrap();
        self.root
    }
}

/// A registry of a configuration file.
pub async fn serve_file(text: &str) -> Served {
    let file: server::Config = text.parse().unwrap();
    serve(|config| {
        let (listen, root) = (config.listen, config.root.clone());
        *config = file;
        (config.listen, config.root) = (listen, root);
    })
    .await
}

/// The same on what another one kept.
pub async fn serve_at(text: &str, root: &Path) -> Served {
    let file: server::Config = text.parse().unwrap();
    serve(|config| {
        let listen = config.listen;
        *config = file;
        (config.listen, config.root) = (listen, root.to_owned());
    })
    .await
}

pub async fn serve(adjust: impl FnOnce(&mut server::Config)) -> Served {
    let root = tempfile::tempdir().unwrap();
    let mut config = server::Config::default();
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.root = root.path().to_owned();
    adjust(&mut config);
    let (ready, bound) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let control = server::Control::default();
    let told = control.clone();
    let ended = tokio::spawn(async move {
        server::serve(config, told, ready, async {
            let _ = stopped.await;
        })
        .await
        .unwrap();
    });
    Served { address: bound.await.expect("the registry did not start"), control, root, _stop: stop, ended }
}

pub fn client() -> Client {
    Client::with_certificates(Config::default(), Vec::new())
}

pub fn name(address: impl std::fmt::Display, repository: &str) -> Reference {
    format!("{address}/{repository}:1").parse().unwrap()
}

/// The lines of a stream, after it has ended.
#[derive(Debug)]
pub struct Lines(tokio::task::JoinHandle<Vec<Progress>>);

impl Lines {
    pub fn new() -> (mpsc::Sender<Progress>, Self) {
        let (sender, mut receiver) = mpsc::channel(16);
        let lines = tokio::spawn(async move {
            let mut lines = Vec::new();
            while let Some(line) = receiver.recv().await {
                lines.push(line);
            }
            lines
        });
        (sender, Self(lines))
    }

    pub async fn all(self) -> Vec<Progress> {
        self.0.await.unwrap()
    }

    /// The last status of each id.
    pub async fn last(self) -> std::collections::BTreeMap<String, String> {
        let lines = self.all().await.into_iter();
        lines.filter_map(|l| Some((l.id?, l.status?))).collect()
    }
}

pub async fn push(client: &Client, from: &Store, to: &Reference, image: &Descriptor) {
    let (sender, lines) = Lines::new();
    client.push(from, to, image, None, None, sender).await.unwrap();
    lines.all().await;
}

/// What a store must have when it has an image whole.
pub fn assert_whole(store: &Store, image: &Descriptor) {
    let image = store.image(image, &Platform::host()).unwrap();
    assert!(store.has_layer(&image.chain.unwrap()), "a layer is not unpacked");
    for layer in &image.manifest.layers {
        assert_eq!(store.blob_size(&layer.digest), Some(layer.size));
    }
}

/// Where a registry of ours keeps a blob.
pub fn blob_path(root: &Path, digest: &Digest) -> std::path::PathBuf {
    root.join("blobs/sha256").join(digest.hex())
}

/// A line to a registry that breaks after so many bytes of answers, for the first so many connections.
pub async fn breaking_line(to: SocketAddr, after: u64, times: u32) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut left = times;
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(to).await.unwrap();
            let limit = if left > 0 { after } else { u64::MAX };
            left = left.saturating_sub(1);
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (from_server, mut to_server) = server.into_split();
                let up = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                let _ = tokio::io::copy(&mut from_server.take(limit), &mut to_client).await;
                let _ = to_client.shutdown().await;
                up.abort();
            });
        }
    });
    address
}

/// An address for a server that cannot be told to take any: not one that the kernel gives to clients, which would meet
/// themselves there.
pub fn free_address() -> SocketAddr {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    let start = 10_000 + u16::try_from(std::process::id() % 1000).unwrap() * 20;
    for _ in 0..20 {
        let port = start + NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 20;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free at {start}");
}

/// Looks at a level again and again until it is reached, at most for a minute; then the test fails with `what`.
pub async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    // Between two looks whoever is waited for gets the processor.
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let all = async {
        while !reached().await {
            looks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

/// Waits for a port to answer.
pub async fn until_listening(address: SocketAddr) {
    until(&format!("a server on {address}"), async || TcpStream::connect(address).await.is_ok()).await;
}
