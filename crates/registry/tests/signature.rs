//! The signature policy, with keys and signatures made by openssl as cosign makes them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "openssl is a program to be run")]

mod common;

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::*;
use registry::client::{Client, Config, Rule};
use spec::oci::image::{Descriptor, Platform, media};
use spec::{Reference, oci::image::Manifest};
use store::Store;

fn openssl(directory: &Path, words: &str) {
    let output = Command::new("openssl")
        .args(words.split(' '))
        .current_dir(directory)
        .output()
        .expect("this test needs openssl (Debian's openssl)");
    assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `<name>.key` and `<name>.pub`.
fn key(directory: &Path, name: &str, kind: &str) {
    openssl(directory, &format!("genpkey {kind} -out {name}.key"));
    openssl(directory, &format!("pkey -in {name}.key -pubout -out {name}.pub"));
}

const EC: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";

/// The manifest of a signature over an image, in the store; what the payload says is `adjust`'s.
fn sign(
    directory: &Path,
    key: &str,
    store: &Store,
    image: &Descriptor,
    adjust: impl Fn(String) -> String,
) -> Descriptor {
    let payload = serde_json::json!({
        "critical": {
            "identity": { "docker-reference": "" }, "image": { "docker-manifest-digest": image.digest.to_string() },
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    let payload = adjust(payload.to_string());
    let write = |name: &str, bytes: &[u8]| {
        sys::file::write_atomic(&directory.join(name), bytes, 0o600, sys::file::Durability::Process).unwrap();
    };
    write("payload", payload.as_bytes());
    openssl(directory, &format!("dgst -sha256 -sign {key}.key -out signature payload"));
    let signature = STANDARD.encode(sys::file::read(&directory.join("signature")).unwrap());
    let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
    let mut layer = store.put_blob(kind, payload.as_bytes()).unwrap();
    layer.annotations.insert("dev.cosignproject.cosign/signature".into(), signature);
    let config = store.put_blob(media::CONFIG, b"{}").unwrap();
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::MANIFEST.into(),
        config,
        layers: vec![layer],
        annotations: Default::default(),
        artifact_type: None,
        subject: None,
    };
    store.put_blob(media::MANIFEST, &serde_json::to_vec(&manifest).unwrap()).unwrap()
}

async fn pull(address: std::net::SocketAddr, rules: Vec<Rule>) -> Result<(), registry::Error> {
    let theirs = store();
    let _lease = theirs.store.lease("test").unwrap();
    let client = Client::with_certificates(Config { signatures: rules, ..Config::default() }, Vec::new());
    let (progress, lines) = Lines::new();
    let pulled =
        client.pull(&theirs.store, &name(address, "team/app"), &Platform::host(), None, progress).await;
    lines.all().await;
    if pulled.is_err() {
        assert!(theirs.store.images().is_empty());
        assert!(sys::file::list(&theirs.directory.path().join("blobs/sha256")).unwrap().is_empty());
    }
    pulled.map(drop)
}

#[tokio::test]
async fn only_what_is_signed_comes_in() {
    let files = tempfile::tempdir().unwrap();
    let at = files.path();
    for (name, kind) in [("ec", EC), ("other", EC), ("rsa", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048")] {
        key(at, name, kind);
    }
    let ours = store();
    let (image, another) = (image(&ours.store, &[1000]), image(&ours.store, &[2000]));
    let registry = serve(|_| {}).await;
    let to = name(registry.address, "team/app");
    push(&client(), &ours.store, &to, &image).await;

    let keys = |names: &[&str]| -> Vec<(String, Vec<u8>)> {
        names.iter().map(|n| ((*n).to_owned(), Rule::key(&at.join(format!("{n}.pub"))).unwrap())).collect()
    };
    let rule = |names: &[&str]| Rule {
        pattern: format!("{}/team/**", registry.address),
        keys: keys(names),
        reject: false,
    };
    let refused = async |rules: Vec<Rule>, text: &str| {
        let error = pull(registry.address, rules).await.expect_err(text);
        assert_eq!(error.kind(), spec::ErrorKind::Forbidden, "{error}");
        assert!(error.to_string().contains(text) && error.to_string().contains("team/app:1"), "{error}");
    };
    let sig: Reference = Reference { tag: Some(format!("sha256-{}.sig", image.digest.hex())), ..to.clone() };

    refused(vec![rule(&["ec"])], "has no signature").await;
    let forged = sign(at, "other", &ours.store, &image, |payload| payload);
    push(&client(), &ours.store, &sig, &forged).await;
    refused(vec![rule(&["ec"])], "is good for ec: made with another key").await;
    let elsewhere = sign(at, "ec", &ours.store, &another, |payload| payload);
    push(&client(), &ours.store, &sig, &elsewhere).await;
    refused(vec![rule(&["ec"])], "made for another image").await;
    let other_kind = sign(at, "ec", &ours.store, &image, |p| p.replace("container image", "something"));
    push(&client(), &ours.store, &sig, &other_kind).await;
    refused(vec![rule(&["ec"])], "a payload is of another kind").await;

    for signer in ["ec", "rsa"] {
        let good = sign(at, signer, &ours.store, &image, |payload| payload);
        push(&client(), &ours.store, &sig, &good).await;
        pull(registry.address, vec![rule(&["ec", "rsa"])]).await.unwrap();
        refused(vec![rule(&["other"])], "is good for other").await;
    }
    // The first rule that fits counts; one that does not fit is none.
    let reject = Rule { pattern: "**".into(), keys: Vec::new(), reject: true };
    refused(vec![reject.clone()], "no image of that name may be pulled").await;
    let accept = Rule { reject: false, ..reject.clone() };
    pull(registry.address, vec![accept, rule(&["other"])]).await.unwrap();
    let stranger = Rule { pattern: "docker.io/**".into(), ..reject };
    pull(registry.address, vec![stranger]).await.unwrap();
}
