//! Tokens: got, renewed, for several repositories at once, and kept in the stead of a password.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "common/hostile.rs"]
mod hostile;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use hostile::*;
use registry::client::{Client, Config};
use spec::api::AuthConfig;
use spec::oci::image::Platform;

fn client() -> Client {
    Client::with_certificates(Config::default(), Vec::new())
}

/// A token server: each token is a number. Only Ada with her password, or with her refresh token, gets one.
async fn token_server(life: u64) -> Hostile {
    let count = AtomicUsize::new(0);
    Hostile::start(move |seen| {
        let refreshed = seen.method == "POST" && seen.body_text().contains("refresh_token=ada-for-ever");
        // ada:secret
        if seen.header("authorization") != "Basic YWRhOnNlY3JldA==" && !refreshed {
            let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}"#;
            return Answer::Whole(401, Vec::new(), body.to_vec());
        }
        let token = count.fetch_add(1, Ordering::SeqCst) + 1;
        let refresh = if seen.target.contains("offline_token=true") { "ada-for-ever" } else { "" };
        let body =
            serde_json::json!({ "token": token.to_string(), "expires_in": life, "refresh_token": refresh });
        ok(body.to_string().as_bytes())
    })
    .await
}

fn challenge(server: &Hostile) -> Answer {
    let value = format!(
        "Bearer realm=\"http://{}/token?a=b\",service=\"reg\",scope=\"repository:team/app:pull\"",
        server.address
    );
    status(401, &[("www-authenticate", value.as_str())])
}

fn ada() -> AuthConfig {
    AuthConfig { username: "ada".into(), password: "secret".into(), ..AuthConfig::default() }
}

async fn pull(registry: &Hostile, auth: &AuthConfig) -> Result<(), registry::Error> {
    let theirs = store();
    let (progress, lines) = Lines::new();
    let reference = name(registry.address, "team/app");
    let pulled = client().pull(&theirs.store, &reference, &Platform::host(), Some(auth), progress).await;
    lines.all().await;
    pulled.map(drop)
}

#[tokio::test]
async fn a_token_that_has_died_is_replaced_once_for_all() {
    let layers: Vec<Vec<u8>> = (0..4).map(|n| gzip_layer(&format!("f{n}"), 1000)).collect();
    let shelf = Shelf::new(&layers, |_, _| {});
    let tokens = Arc::new(token_server(300).await);
    let (server, good) = (Arc::clone(&tokens), AtomicUsize::new(1));
    let served = AtomicUsize::new(0);
    let registry = Hostile::start(move |seen| {
        // After the manifest and the configuration the first token is worth nothing any more.
        let number =
            seen.header("authorization").strip_prefix("Bearer ").and_then(|n| n.parse().ok()).unwrap_or(0);
        if served.load(Ordering::SeqCst) == 2 {
            good.store(2, Ordering::SeqCst);
        }
        if number < good.load(Ordering::SeqCst) {
            return challenge(&server);
        }
        served.fetch_add(1, Ordering::SeqCst);
        shelf.answer(seen)
    })
    .await;
    pull(&registry, &ada()).await.unwrap();
    let asked = tokens.seen();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(asked[0].target, "/token?a=b&service=reg&scope=repository%3Ateam%2Fapp%3Apull&account=ada");

    let wrong = AuthConfig { password: "wrong".into(), ..ada() };
    let error = pull(&registry, &wrong).await.unwrap_err();
    assert_eq!(error.kind(), spec::ErrorKind::Unauthorized);
    assert!(error.to_string().contains("who are you?"), "{error}");
}

#[tokio::test]
async fn a_login_gives_a_token_for_the_password() {
    let shelf = Shelf::new(&[gzip_layer("f", 1000)], |_, _| {});
    let tokens = Arc::new(token_server(300).await);
    let server = Arc::clone(&tokens);
    let registry = Hostile::start(move |seen| match seen.header("authorization") {
        "" => challenge(&server),
        _ => shelf.answer(seen),
    })
    .await;
    let auth = AuthConfig { serveraddress: registry.address.to_string(), ..ada() };
    let answer = client().login(&auth).await.unwrap();
    assert_eq!((answer.status.as_str(), answer.identity_token.as_str()), ("Login Succeeded", "ada-for-ever"));
    let kept = AuthConfig { identitytoken: answer.identity_token, ..AuthConfig::default() };
    pull(&registry, &kept).await.unwrap();
    let last = tokens.seen().pop().unwrap();
    assert_eq!(last.method, "POST");
    let form = last.body_text();
    assert!(
        form.contains("grant_type=refresh_token") && form.contains("scope=repository%3Ateam%2Fapp%3Apull"),
        "{form}"
    );
    let answer =
        client().login(&AuthConfig { serveraddress: registry.address.to_string(), ..kept }).await.unwrap();
    assert_eq!(answer.identity_token, "ada-for-ever");
}

/// Blobs in uploads, as a registry has them.
#[derive(Default)]
struct Uploads {
    bytes: Vec<u8>,
    done: Vec<Vec<u8>>,
}

#[tokio::test]
async fn what_another_repository_has_is_mounted_with_one_token_for_both() {
    let ours = store();
    let image = image(&ours.store, &[1000]);
    let tokens = Arc::new(token_server(300).await);
    let server = Arc::clone(&tokens);
    let registry = Hostile::start(move |seen| {
        if seen.header("authorization").is_empty() {
            return challenge(&server);
        }
        match seen.method.as_str() {
            "HEAD" => status(404, &[]),
            "POST" if seen.target.contains("mount=") && seen.target.contains("from=team%2Fbase") => {
                status(201, &[])
            }
            "PUT" => status(201, &[]),
            _ => status(500, &[]),
        }
    })
    .await;
    ours.store.tag(&name(registry.address, "team/base"), &image).unwrap();
    let (progress, lines) = Lines::new();
    let to = name(registry.address, "team/app");
    client().push(&ours.store, &to, &image, None, Some(&ada()), progress).await.unwrap();
    let lines = lines.last().await;
    assert!(lines.values().all(|s| s == "Mounted from team/base"), "{lines:?}");
    let last = tokens.seen().pop().unwrap().target;
    for scope in ["scope=repository%3Ateam%2Fapp%3Apull%2Cpush", "scope=repository%3Ateam%2Fbase%3Apull"] {
        assert!(last.contains(scope), "{last}");
    }
}

/// A registry that takes blobs as `put` and `patch` say: given what has come so far, the body, and the piece's start.
async fn taking(uploads: Arc<Mutex<Uploads>>, most: usize, break_off: bool) -> Hostile {
    let broken = AtomicUsize::new(0);
    Hostile::start(move |seen| {
        let mut state = uploads.lock().unwrap();
        let path = seen.target.split('?').next().unwrap_or_default();
        match (seen.method.as_str(), path.contains("/blobs/uploads/")) {
            ("HEAD", _) => status(404, &[]),
            ("PUT", false) => status(201, &[]),
            ("POST", true) => {
                state.bytes.clear();
                status(202, &[("location", "/v2/x/blobs/uploads/1?state=a")])
            }
            ("GET", true) => match state.bytes.len() {
                0 => status(404, &[]),
                n => {
                    status(204, &[("range", &format!("0-{}", n - 1)), ("location", "/v2/x/blobs/uploads/1")])
                }
            },
            (_, true) if seen.body.len() > most => status(413, &[]),
            (_, true)
                if break_off && seen.body.len() > 1000 && broken.fetch_add(1, Ordering::SeqCst) == 0 =>
            {
                state.bytes.extend(&seen.body[..seen.body.len() / 2]);
                Answer::Gone
            }
            ("PATCH", true) => {
                let from =
                    seen.header("content-range").split('-').next().and_then(|n| n.parse::<usize>().ok());
                if from.is_some_and(|from| from != state.bytes.len()) {
                    return status(416, &[]);
                }
                state.bytes.extend(&seen.body);
                status(202, &[("location", "/v2/x/blobs/uploads/1?state=b")])
            }
            ("PUT", true) => {
                state.bytes.extend(&seen.body);
                let bytes = std::mem::take(&mut state.bytes);
                if !seen.target.contains(&format!("digest={}", digest_of(&bytes))) {
                    return status(400, &[]);
                }
                state.done.push(bytes);
                status(201, &[])
            }
            _ => status(500, &[]),
        }
    })
    .await
}

#[tokio::test]
async fn uploads_go_in_pieces_and_go_on_where_they_broke() {
    for (most, break_off) in [(usize::MAX, false), (5 << 20, false), (usize::MAX, true), (5 << 20, true)] {
        let ours = store();
        let image = image(&ours.store, &[9 << 20]);
        let uploads = Arc::new(Mutex::new(Uploads::default()));
        let registry = taking(Arc::clone(&uploads), most, break_off).await;
        let (progress, lines) = Lines::new();
        let client = Client::with_certificates(Config { uploads: 1, ..Config::default() }, Vec::new());
        client.push(&ours.store, &name(registry.address, "x"), &image, None, None, progress).await.unwrap();
        let lines = lines.all().await;
        let retried = lines.iter().any(|l| l.status.as_deref() == Some("Retrying"));
        assert_eq!(retried, break_off, "{most} {break_off}");
        let done: Vec<usize> = uploads.lock().unwrap().done.iter().map(Vec::len).collect();
        assert_eq!(done.len(), 2);
        assert!(done.iter().any(|n| *n > 9 << 20), "{done:?}");
        if break_off {
            // Only what was missing went again.
            let patched = registry.seen();
            let resumed =
                patched.iter().any(|s| s.method == "PATCH" && !s.header("content-range").starts_with("0-"));
            assert!(resumed, "{most}");
        }
    }
}
