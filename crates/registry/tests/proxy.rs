//! Mirrors, and proxies on the way.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::*;
use registry::client::{Client, Config, Proxies};
use spec::oci::image::Platform;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// What a proxy speaks.
enum Kind {
    Http,
    Https(TlsAcceptor),
    Socks,
}

trait Line: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Line for S {}

/// A proxy to which every host is `target`. Tells the head of each connection's first request.
async fn proxy(target: SocketAddr, kind: Kind) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heads, told) = mpsc::unbounded_channel();
    let kind = Arc::new(kind);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (heads, kind) = (heads.clone(), Arc::clone(&kind));
            tokio::spawn(async move {
                let mut client: Box<dyn Line> = match &*kind {
                    Kind::Http | Kind::Socks => Box::new(client),
                    Kind::Https(tls) => Box::new(tls.accept(client).await.unwrap()),
                };
                let mut server = TcpStream::connect(target).await.unwrap();
                let text = match &*kind {
                    Kind::Socks => socks(&mut *client).await,
                    Kind::Http | Kind::Https(_) => http(&mut *client, &mut server).await,
                };
                heads.send(text).unwrap();
                // One of the two ends first; that is no failure.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, told)
}

async fn http(client: &mut dyn Line, server: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let text = String::from_utf8(head.clone()).unwrap();
    if text.starts_with("CONNECT ") {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    } else {
        server.write_all(&head).await.unwrap();
    }
    text
}

/// RFC 1928 with the user and password of RFC 1929: `user:password host:port`.
async fn socks(client: &mut dyn Line) -> String {
    async fn text(client: &mut dyn Line) -> String {
        let mut bytes = vec![0; client.read_u8().await.unwrap().into()];
        client.read_exact(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }
    assert_eq!(client.read_u8().await.unwrap(), 5);
    assert_eq!(text(client).await, "\x02", "it has credentials");
    client.write_all(&[5, 2]).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), 1);
    let (user, password) = (text(client).await, text(client).await);
    client.write_all(&[1, 0]).await.unwrap();
    let mut request = [0; 4];
    client.read_exact(&mut request).await.unwrap();
    assert_eq!(request, [5, 1, 0, 3], "CONNECT to a name");
    let (name, port) = (text(client).await, client.read_u16().await.unwrap());
    client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await.unwrap();
    format!("{user}:{password} {name}:{port}")
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

/// Clients that go through a proxy and, of its host, trust these files.
fn proxied(proxy: &str, none: &str, certificates: Vec<PathBuf>) -> Client {
    let proxies = Proxies { http: proxy.into(), https: proxy.into(), none: none.into() };
    let insecure = vec!["registry.invalid".into()];
    Client::with_certificates(Config { insecure, proxies, ..Config::default() }, certificates)
}

#[tokio::test]
async fn registries_are_reached_through_a_proxy() {
    let registry = serve(|_| {}).await;
    push(registry.address, "team/box").await;
    let files = tempfile::tempdir().unwrap();
    for scheme in ["http", "https"] {
        let kind = if scheme == "http" { Kind::Http } else { Kind::Https(acceptor(files.path())) };
        let (address, mut told) = proxy(registry.address, kind).await;
        let address = format!("{scheme}://ada:secret@localhost:{}", address.port());
        let untrusted = pull(&proxied(&address, "", Vec::new()), "registry.invalid/team/box:1").await;
        let certificates = match scheme {
            "http" => Vec::new(),
            _ => {
                let text = untrusted.unwrap_err().to_string();
                assert!(text.contains("proxy localhost:") && text.contains("unknown authority"), "{text}");
                trust(files.path(), address.rsplit('@').next().unwrap())
            }
        };
        while told.try_recv().is_ok() {}
        // Nobody but the proxy knows this name. TLS is tried first, through a tunnel.
        pull(&proxied(&address, "", certificates), "registry.invalid/team/box:1").await.unwrap();
        let mut heads = Vec::new();
        while let Ok(head) = told.try_recv() {
            let lower = head.to_ascii_lowercase();
            assert!(lower.contains("proxy-authorization: basic ywrhonnly3jlda=="), "{head}");
            heads.push(head);
        }
        assert!(heads[0].starts_with("CONNECT registry.invalid:443 HTTP/1.1\r\n"), "{heads:?}");
        let plain = "GET http://registry.invalid/v2/team/box/manifests/1 HTTP/1.1\r\n";
        assert!(heads.iter().any(|head| head.starts_with(plain)), "{heads:?}");

        let direct = proxied(&address, "registry.invalid", Vec::new());
        assert!(pull(&direct, "registry.invalid/team/box:1").await.is_err());
        assert!(told.try_recv().is_err(), "what is reached directly went through the proxy");
    }
}

#[tokio::test]
async fn registries_are_reached_through_a_socks_proxy() {
    let registry = serve(|_| {}).await;
    push(registry.address, "team/box").await;
    let (address, mut told) = proxy(registry.address, Kind::Socks).await;
    let client = proxied(&format!("socks5h://ada:secret@{address}"), "", Vec::new());
    pull(&client, "registry.invalid/team/box:1").await.unwrap();
    assert_eq!(told.try_recv().unwrap(), "ada:secret registry.invalid:443", "TLS is tried first");
    assert_eq!(told.try_recv().unwrap(), "ada:secret registry.invalid:80");

    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = proxied(&format!("socks5://{dead}"), "", Vec::new());
    let error = pull(&client, "registry.invalid/team/box:1").await.unwrap_err().to_string();
    assert!(error.contains(&format!("proxy {dead}: ")) && error.contains("refused"), "{error}");
}

/// A certificate for localhost, `<directory>/proxy.crt`, and who shows it.
fn acceptor(directory: &Path) -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let write = |name: &str, text: String| {
        sys::file::write_atomic(
            &directory.join(name),
            text.as_bytes(),
            0o600,
            sys::file::Durability::Process,
        )
        .unwrap();
    };
    write("proxy.crt", made.cert.pem());
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A certs.d that trusts that certificate at a host.
fn trust(directory: &Path, authority: &str) -> Vec<PathBuf> {
    let own = directory.join("certs.d").join(authority);
    sys::file::create_dir_all(&own, 0o755).unwrap();
    sys::file::rename(&directory.join("proxy.crt"), &own.join("proxy.crt")).unwrap();
    vec![directory.join("certs.d")]
}
