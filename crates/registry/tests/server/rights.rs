//! Who may do what.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::Value;
use sys::file::Durability;

use super::common::*;

/// Users `ada` of group `dev`, `bob`, and what the rules say of them.
async fn registry() -> (Served, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users");
    let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
    let text = format!("ada:{}\nbob:{}\n", hash("a"), hash("b"));
    sys::file::write_atomic(&users, text.as_bytes(), 0o600, Durability::Process).unwrap();
    let text = format!(
        r#"
        htpasswd = "{}"
        [groups]
        dev = ["ada"]
        [[rights]]
        repositories = ["team/**"]
        groups = ["dev"]
        allow = ["all"]
        [[rights]]
        repositories = ["home/{{user}}/**"]
        users = ["*"]
        allow = ["all"]
        [[rights]]
        repositories = ["team/open"]
        anonymous = true
        allow = ["pull"]
        "#,
        users.display()
    );
    (serve_file(&text).await, directory)
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

async fn token(at: std::net::SocketAddr, credentials: Option<&str>, scope: &str) -> (u16, String) {
    let headers: Vec<(&str, &str)> = credentials.iter().map(|c| ("authorization", *c)).collect();
    let path = format!("/token?service=corten-registry&scope={scope}");
    let answer = ask(at, Method::GET, &path, &headers, "").await;
    let value: Value = serde_json::from_slice(answer.body()).unwrap();
    (answer.status().as_u16(), format!("Bearer {}", value["token"].as_str().unwrap_or_default()))
}

#[tokio::test]
async fn each_does_what_the_rules_say() {
    let (registry, _directory) = registry().await;
    let at = registry.address;
    let (ada, bob) = (basic("ada", "a"), basic("bob", "b"));
    let begin = |name: &str| format!("/v2/{name}/blobs/uploads/");
    let push = async |name: &str, who: &str| {
        let headers: &[(&str, &str)] = &[("authorization", who)];
        ask(at, Method::POST, &begin(name), headers, "").await.status().as_u16()
    };
    assert_eq!(push("team/open", &ada).await, 202);
    assert_eq!(push("team/open", &bob).await, 403);
    assert_eq!(push("home/bob/x", &bob).await, 202);
    assert_eq!(push("home/ada/x", &bob).await, 403);
    assert_eq!(push("team/open", &basic("ada", "wrong")).await, 401);

    // Nobody in particular reads what is open, and learns how to do more.
    assert_eq!(ask(at, Method::GET, "/v2/team/open/tags/list", &[], "").await.status(), 404);
    let refused = ask(at, Method::POST, &begin("team/open"), &[], "").await;
    let challenge = header(&refused, "www-authenticate");
    assert_eq!((refused.status().as_u16(), code(&refused)), (401, "UNAUTHORIZED".into()));
    assert!(challenge.starts_with("Bearer realm=\"http://x/token\""), "{challenge}");
    assert!(challenge.contains("scope=\"repository:team/open:pull,push\""), "{challenge}");
    assert_eq!(ask(at, Method::GET, "/v2/", &[], "").await.status(), 401);

    // A token has what its owner may have of what was asked for.
    let (_, good) = token(at, Some(&ada), "repository:team/open:pull,push").await;
    assert_eq!(push("team/open", &good).await, 202);
    assert_eq!(push("team/other", &good).await, 401);
    let (_, less) = token(at, Some(&bob), "repository:team/open:pull,push").await;
    assert_eq!(push("team/open", &less).await, 401);
    let (status, nobody) = token(at, None, "repository:team/open:pull,push").await;
    assert_eq!((status, push("team/open", &nobody).await), (200, 401));
    let bearer: &[(&str, &str)] = &[("authorization", &nobody)];
    assert_eq!(ask(at, Method::GET, "/v2/team/open/tags/list", bearer, "").await.status(), 404);
    assert_eq!(token(at, Some(&basic("ada", "x")), "repository:team/open:pull").await.0, 401);

    // A blob of a repository that one may not read cannot be mounted from it.
    let mine = digest(b"secret");
    let path = format!("/v2/team/closed/blobs/uploads/?digest={mine}");
    assert_eq!(ask(at, Method::POST, &path, &[("authorization", &ada)], "secret").await.status(), 201);
    let mount = format!("/v2/home/bob/x/blobs/uploads/?mount={mine}&from=team/closed");
    assert_eq!(ask(at, Method::POST, &mount, &[("authorization", &bob)], "").await.status(), 202);
    let anywhere = format!("/v2/home/bob/x/blobs/uploads/?mount={mine}");
    assert_eq!(ask(at, Method::POST, &anywhere, &[("authorization", &bob)], "").await.status(), 202);
}

#[tokio::test]
async fn users_are_read_again() {
    let (registry, directory) = registry().await;
    let at = registry.address;
    let users = directory.path().join("users");
    let eve = basic("eve", "e");
    let headers: &[(&str, &str)] = &[("authorization", &eve)];
    assert_eq!(ask(at, Method::GET, "/v2/", headers, "").await.status(), 401);
    let text = format!("eve:{}\n", bcrypt::hash("e", 4).unwrap());
    sys::file::write_atomic(&users, text.as_bytes(), 0o600, Durability::Process).unwrap();
    registry.control.reload.notify_one();
    for _ in 0..1000 {
        if ask(at, Method::GET, "/v2/", headers, "").await.status() == 200 {
            break;
        }
    }
    assert_eq!(ask(at, Method::GET, "/v2/", headers, "").await.status(), 200);
    // What cannot be read leaves all as it was.
    sys::file::write_atomic(&users, b"nonsense\n", 0o600, Durability::Process).unwrap();
    registry.control.reload.notify_one();
    assert_eq!(ask(at, Method::GET, "/v2/", headers, "").await.status(), 200);
}
