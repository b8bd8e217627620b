//! A cache of another registry.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;

use super::common::*;

async fn cache_of(upstream: SocketAddr) -> Served {
    serve_file(&format!("[proxy]\nupstream = \"http://{upstream}\"\ninsecure = true\n")).await
}

#[tokio::test]
async fn what_was_asked_for_once_is_here() {
    let layer = vec![9; 300_000];
    let upstream = serve(|_| {}).await;
    let (digest_1, manifest_1) = put_image(upstream.address, "team/app", "1", &[&layer]).await;
    let cache = cache_of(upstream.address).await;
    let at = cache.address;
    let blob = format!("/v2/team/app/blobs/{}", digest(&layer));
    assert_eq!(header(&ask(at, Method::HEAD, &blob, &[], "").await, "content-length"), "300000");
    // Several at once, and the blob comes once.
    let (a, b, c) = tokio::join!(
        ask(at, Method::GET, &blob, &[], ""),
        ask(at, Method::GET, &blob, &[], ""),
        ask(at, Method::GET, "/v2/team/app/manifests/1", &[], ""),
    );
    assert!(a.body() == &layer && b.body() == &layer, "{} {}", a.body().len(), b.body().len());
    assert_eq!(
        (c.body().as_ref(), header(&c, "docker-content-digest")),
        (manifest_1.as_bytes(), digest_1.as_str())
    );
    assert_eq!(ask(at, Method::GET, "/v2/team/app/manifests/2", &[], "").await.status(), 404);
    assert_eq!(ask(at, Method::GET, "/v2/none/manifests/2", &[], "").await.status(), 404);
    let refused = ask(at, Method::POST, "/v2/team/app/blobs/uploads/", &[], "").await;
    assert_eq!((refused.status().as_u16(), code(&refused)), (405, "UNSUPPORTED".into()));

    // A tag is what it is upstream now.
    let (digest_2, _) = put_image(upstream.address, "team/app", "1", &[b"other"]).await;
    let again = ask(at, Method::HEAD, "/v2/team/app/manifests/1", &[], "").await;
    assert_eq!(header(&again, "docker-content-digest"), digest_2);

    // Without upstream, what is here is given.
    upstream.stop().await;
    let offline = ask(at, Method::GET, "/v2/team/app/manifests/1", &[], "").await;
    assert_eq!(
        (offline.status().as_u16(), header(&offline, "docker-content-digest")),
        (200, digest_2.as_str())
    );
    let part = ask(at, Method::GET, &blob, &[("range", "bytes=10-19")], "").await;
    assert_eq!((part.status().as_u16(), part.body().len()), (206, 10));
    let absent = ask(at, Method::GET, &format!("/v2/team/app/blobs/{}", digest(b"other")), &[], "").await;
    assert_eq!((absent.status().as_u16(), code(&absent)), (503, "UNAVAILABLE".into()));
}

#[tokio::test]
async fn it_signs_in_upstream() {
    let directory = tempfile::tempdir().unwrap();
    let (users, password) = (directory.path().join("users"), directory.path().join("password"));
    let write = |path: &std::path::Path, text: String| {
        sys::file::write_atomic(path, text.as_bytes(), 0o600, sys::file::Durability::Process).unwrap();
    };
    write(&users, format!("ada:{}\n", bcrypt::hash("a", 4).unwrap()));
    write(&password, "a\n".into());
    for token in ["", "[token]\n"] {
        let root = tempfile::tempdir().unwrap();
        let open = serve(|config| config.root = root.path().to_owned()).await;
        put_image(open.address, "app", "1", &[b"layer"]).await;
        open.stop().await;
        let upstream = serve_at(&format!("htpasswd = \"{}\"\n{token}", users.display()), root.path()).await;
        let cache = serve_file(&format!(
            "[proxy]\nupstream = \"http://{}\"\ninsecure = true\nusername = \"ada\"\npassword-file = \"{}\"\n",
            upstream.address,
            password.display()
        ))
        .await;
        assert_eq!(ask(cache.address, Method::GET, "/v2/app/manifests/1", &[], "").await.status(), 200);
        let blob = format!("/v2/app/blobs/{}", digest(b"layer"));
        assert_eq!(ask(cache.address, Method::GET, &blob, &[], "").await.body(), "layer");
        if !token.is_empty() {
            // Tokens are good for some minutes.
            continue;
        }
        // The cache is not let in any more: what it has it gives and keeps, what it has not is not there.
        let ada = format!("Basic {}", STANDARD.encode("ada:a"));
        write(&users, format!("eve:{}\n", bcrypt::hash("e", 4).unwrap()));
        upstream.control.reload.notify_one();
        let status = async || {
            let headers: &[(&str, &str)] = &[("authorization", &ada)];
            ask(upstream.address, Method::GET, "/v2/", headers, "").await.status().as_u16()
        };
        for _ in 0..1000 {
            if status().await == 401 {
                break;
            }
        }
        assert_eq!(status().await, 401);
        for (tag, expected) in [("1", 200), ("1", 200), ("2", 404)] {
            let path = format!("/v2/app/manifests/{tag}");
            assert_eq!(ask(cache.address, Method::GET, &path, &[], "").await.status(), expected, "{tag}");
        }
        write(&users, format!("ada:{}\n", bcrypt::hash("a", 4).unwrap()));
    }
}

#[tokio::test]
async fn a_blob_with_another_digest_is_not_kept() {
    let upstream = serve(|_| {}).await;
    let layer = vec![5; 200_000];
    put_image(upstream.address, "app", "1", &[&layer]).await;
    let of: spec::Digest = digest(&layer).parse().unwrap();
    let file = blob_path(upstream.root.path(), &of);
    sys::file::write(&file, b"damaged").unwrap();
    let cache = cache_of(upstream.address).await;
    let stream = tokio::net::TcpStream::connect(cache.address).await.unwrap();
    let whole = read_all(stream, &format!("GET /v2/app/blobs/{of} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    assert!(whole < layer.len(), "the end of a damaged blob must not come: {whole}");
    assert!(!blob_path(cache.root.path(), &of).exists());
}

/// How many bytes come before the other end hangs up.
async fn read_all(mut stream: tokio::net::TcpStream, request: &str) -> usize {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // A line that breaks is what is expected.
    let _ = stream.read_to_end(&mut bytes).await;
    bytes.len()
}
