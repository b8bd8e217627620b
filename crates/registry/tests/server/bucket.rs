//! A bucket of an S3-compatible object store (moto's), used by two servers at once.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use http::Method;

use super::common::*;

/// The object store, ended when dropped.
struct Store {
    address: SocketAddr,
    process: Child,
    directory: tempfile::TempDir,
}

impl Store {
    async fn start() -> Self {
        let address = free_address();
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/clients/python/bin/python");
        #[expect(clippy::disallowed_methods, reason = "the object store is a program to be run")]
        let process = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs moto in target/clients/python: cargo xtask clients");
        let directory = tempfile::tempdir().unwrap();
        let text = "[default]\naws_access_key_id = key\naws_secret_access_key = secret\n";
        let file = directory.path().join("credentials");
        sys::file::write_atomic(&file, text.as_bytes(), 0o600, sys::file::Durability::Process).unwrap();
        let this = Self { address, process, directory };
        // It listens a while before it answers.
        until(&format!("an answer of the object store on {address}"), async || {
            let made = try_to_ask(address, Method::PUT, "/images", &[], "").await;
            made.is_ok_and(|made| made.status() == 200)
        })
        .await;
        this
    }

    async fn server(&self, more: &str) -> Served {
        serve_file(&format!(
            "{more}\n[s3]\nendpoint = \"http://{}\"\nbucket = \"images\"\nprefix = \"registry\"\n\
             insecure = true\ncredentials-file = \"{}\"\n",
            self.address,
            self.directory.path().join("credentials").display()
        ))
        .await
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn two_servers_are_one_registry() {
    let store = Store::start().await;
    let servers = (store.server("").await, store.server("").await);
    let (a, b) = (servers.0.address, servers.1.address);

    // An upload goes on at the other server, in small pieces and in ones larger than a part.
    let large: Vec<u8> = (0..20_000_000_u32).map(|i| (i % 251) as u8).collect();
    let begun = ask(a, Method::POST, "/v2/team/app/blobs/uploads/", &[], "").await;
    let upload = header(&begun, "location").to_owned();
    let cuts = [0, 5, 1_000_000, 18_000_000, 18_000_001];
    for (number, pair) in cuts.windows(2).enumerate() {
        let at = if number % 2 == 0 { b } else { a };
        let range = format!("{}-{}", pair[0], pair[1] - 1);
        let piece = large[pair[0]..pair[1]].to_vec();
        let sent = ask(at, Method::PATCH, &upload, &[("content-range", &range)], piece).await;
        assert_eq!(
            (sent.status().as_u16(), header(&sent, "range")),
            (202, format!("0-{}", pair[1] - 1).as_str())
        );
    }
    let rest = large[cuts[4]..].to_vec();
    let wrong = ask(a, Method::PUT, &format!("{upload}?digest={}", digest(b"x")), &[], rest.clone()).await;
    assert_eq!(code(&wrong), "DIGEST_INVALID");
    let done = ask(b, Method::PUT, &format!("{upload}?digest={}", digest(&large)), &[], rest).await;
    assert_eq!(done.status(), 201);
    let blob = format!("/v2/team/app/blobs/{}", digest(&large));
    assert!(ask(a, Method::GET, &blob, &[], "").await.body() == &large);
    let part = ask(a, Method::GET, &blob, &[("range", "bytes=9000000-9000009")], "").await;
    assert_eq!(part.body().as_ref(), &large[9_000_000..9_000_010]);

    let (digest_1, manifest) = put_image(a, "team/app", "1", &[b"layer"]).await;
    put_image(b, "team/app", "2", &[b"layer"]).await;
    let got = ask(b, Method::GET, "/v2/team/app/manifests/1", &[], "").await;
    assert_eq!(got.body().as_ref(), manifest.as_bytes());
    let tags = ask(a, Method::GET, "/v2/team/app/tags/list", &[], "").await;
    assert_eq!(tags.body(), r#"{"name":"team/app","tags":["1","2"]}"#);
    assert_eq!(ask(b, Method::GET, "/v2/_catalog", &[], "").await.body(), r#"{"repositories":["team/app"]}"#);
    let mount = format!("/v2/other/blobs/uploads/?mount={}&from=team/app", digest(b"layer"));
    assert_eq!(ask(b, Method::POST, &mount, &[], "").await.status(), 201);
    let cancelled = ask(a, Method::POST, "/v2/team/app/blobs/uploads/", &[], "").await;
    let cancelled = header(&cancelled, "location").to_owned();
    assert_eq!(ask(b, Method::DELETE, &cancelled, &[], "").await.status(), 204);
    assert_eq!(ask(a, Method::GET, &cancelled, &[], "").await.status(), 404);
    assert_eq!(
        ask(a, Method::DELETE, &format!("/v2/team/app/manifests/{digest_1}"), &[], "").await.status(),
        202
    );
    assert_eq!(ask(b, Method::GET, "/v2/team/app/manifests/1", &[], "").await.status(), 404);
}

#[tokio::test]
async fn clients_are_led_to_the_bucket() {
    let store = Store::start().await;
    let server = store.server("").await;
    let blob = put_blob(server.address, "a", b"hello").await;
    let text = "redirect = true";
    let leading = serve_file(&format!(
        "[s3]\nendpoint = \"http://{}\"\nbucket = \"images\"\nprefix = \"registry\"\ninsecure = true\n{text}\n\
         credentials-file = \"{}\"\n",
        store.address,
        store.directory.path().join("credentials").display()
    ))
    .await;
    let led = ask(leading.address, Method::GET, &format!("/v2/a/blobs/{blob}"), &[], "").await;
    assert_eq!(led.status(), 307);
    let path =
        header(&led, "location").strip_prefix(&format!("http://{}", store.address)).unwrap().to_owned();
    assert_eq!(ask(store.address, Method::GET, &path, &[], "").await.body(), "hello");
}
