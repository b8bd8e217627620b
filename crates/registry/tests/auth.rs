//! TLS by a certificate authority of our own, and passwords.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use registry::client::{Client, Config};
use spec::api::AuthConfig;
use spec::oci::image::Platform;
use std::path::Path;

fn write(path: &Path, text: &str) {
    sys::file::create_dir_all(path.parent().unwrap(), 0o700).unwrap();
    sys::file::write_atomic(path, text.as_bytes(), 0o600, sys::file::Durability::Process).unwrap();
}

/// A root's certificate, and a certificate and key for 127.0.0.1 by it.
fn certificates() -> (String, String, String) {
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().signed_by(&key, &root).unwrap();
    (root.pem(), leaf.pem(), key.serialize_pem())
}

fn credentials(address: impl std::fmt::Display, password: &str) -> AuthConfig {
    AuthConfig {
        username: "ada".into(),
        password: password.into(),
        serveraddress: address.to_string(),
        ..AuthConfig::default()
    }
}

#[tokio::test]
async fn a_trusted_registry_lets_its_users_in_and_nobody_else() {
    let files = tempfile::tempdir().unwrap();
    let at = |name: &str| files.path().join(name);
    let (root, chain, key) = certificates();
    write(&at("chain.pem"), &chain);
    write(&at("key.pem"), &key);
    write(&at("users"), &format!("ada:{}\n", bcrypt::hash("secret", 4).unwrap()));
    let registry = serve(|config| {
        config.tls = Some((at("chain.pem"), at("key.pem")));
        config.htpasswd = Some(at("users"));
    })
    .await;
    let address = registry.address.to_string();
    write(&at("trusting").join(&address).join("ca.crt"), &root);
    let (stranger, _, _) = certificates();
    write(&at("doubting").join(&address).join("ca.crt"), &stranger);

    let client = Client::with_certificates(Config::default(), vec![at("trusting")]);
    assert_eq!(client.login(&credentials(&address, "secret")).await.unwrap().status, "Login Succeeded");
    let text = client.login(&credentials(&address, "wrong")).await.unwrap_err();
    assert_eq!(text.kind(), spec::ErrorKind::Unauthorized);
    assert!(text.to_string().contains("unauthorized") && text.to_string().contains(&address), "{text}");

    let (ours, theirs) = (store(), store());
    let image = image(&ours.store, &[200_000, 10]);
    let to = name(&address, "team/app");
    let right = credentials(&address, "secret");
    for wrong in [None, Some(&credentials(&address, "wrong"))] {
        let (sender, _lines) = Lines::new();
        let error = client.push(&ours.store, &to, &image, None, wrong, sender).await.unwrap_err();
        let expected = match wrong {
            None => spec::ErrorKind::Forbidden,
            Some(_) => spec::ErrorKind::Unauthorized,
        };
        assert_eq!(error.kind(), expected, "{error}");
    }
    let (sender, _lines) = Lines::new();
    client.push(&ours.store, &to, &image, None, Some(&right), sender).await.unwrap();
    let (sender, _lines) = Lines::new();
    let error = client.pull(&theirs.store, &to, &Platform::host(), None, sender).await.unwrap_err();
    assert!(error.to_string().starts_with("pull access denied for "), "{error}");
    let (sender, _lines) = Lines::new();
    client.pull(&theirs.store, &to, &Platform::host(), Some(&right), sender).await.unwrap();
    assert_whole(&theirs.store, &image);

    let doubting = Client::with_certificates(Config::default(), vec![at("doubting")]);
    let error = doubting.login(&right).await.unwrap_err().to_string();
    assert!(error.contains("x509: certificate signed by unknown authority"), "{error}");
}

/// What `openssl req -x509` makes, for a name: an authority's certificate that is the server's own.
fn of_its_own(name: &str, is_over: bool) -> (String, String) {
    let mut parameters = CertificateParams::new(vec![name.into()]).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    if is_over {
        parameters.not_after = date_time_ymd(2001, 1, 1);
    }
    let own = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
    (own.pem(), own.key().serialize_pem())
}

#[tokio::test]
async fn a_servers_own_certificate_is_believed_where_it_is_named() {
    let files = tempfile::tempdir().unwrap();
    let at = |name: &str| files.path().join(name);
    for (name, is_over, is_named, refused) in [
        ("127.0.0.1", false, true, None),
        ("127.0.0.1", false, false, Some("x509: certificate signed by unknown authority")),
        ("127.0.0.1", true, true, Some("x509: certificate has expired")),
        ("registry.example", false, true, Some("subjectAltName counts")),
    ] {
        let (chain, key) = of_its_own(name, is_over);
        write(&at("chain.pem"), &chain);
        write(&at("key.pem"), &key);
        let registry = serve(|config| config.tls = Some((at("chain.pem"), at("key.pem")))).await;
        let address = registry.address.to_string();
        let (stranger, _) = of_its_own("127.0.0.1", false);
        write(&at(&address).join("ca.crt"), if is_named { &chain } else { &stranger });
        let client = Client::with_certificates(Config::default(), vec![files.path().to_owned()]);
        let answer = client.login(&credentials(&address, "secret")).await.map_err(|e| e.to_string());
        match (refused, answer) {
            (None, answer) => assert_eq!(answer.unwrap().status, "Login Succeeded"),
            (Some(refused), answer) => {
                let error = answer.unwrap_err();
                assert!(error.contains(refused), "{error}");
            }
        }
    }
}
