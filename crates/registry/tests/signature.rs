//! The signature policy, with keys and signatures made by openssl as cosign makes them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "openssl is a program to be run")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::*;
use registry::client::{Client, Config, Rule};
use serde_json::{Value, json};
use spec::oci::image::{Descriptor, Platform, media};
use spec::{Reference, oci::image::Manifest};
use store::{Origin, Store};

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

/// A message, signed; in base64.
fn signed(directory: &Path, key: &str, message: &[u8]) -> String {
    let file = directory.join("message");
    sys::file::write_atomic(&file, message, 0o600, sys::file::Durability::Process).unwrap();
    openssl(directory, &format!("dgst -sha256 -sign {key}.key -out signature message"));
    STANDARD.encode(sys::file::read(&directory.join("signature")).unwrap())
}

/// The manifest of a sigstore bundle beside an image, in the store; what it says is that `about` is `predicate`, and `adjust`'s.
fn bundle(
    directory: &Path,
    key: &str,
    store: &Store,
    beside: &Descriptor,
    about: &Descriptor,
    predicate: &str,
    adjust: impl Fn(&mut Value),
) -> Descriptor {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "subject": [{ "digest": { "sha256": about.digest.hex() } }],
        "predicateType": predicate, "predicate": {},
    })
    .to_string();
    let kind = "application/vnd.in-toto+json";
    let message = format!("DSSEv1 {} {kind} {} {statement}", kind.len(), statement.len());
    let bundled = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let mut bundle = json!({
        "mediaType": bundled,
        "verificationMaterial": { "publicKey": { "hint": "x" }, "tlogEntries": [] },
        "dsseEnvelope": { "payload": STANDARD.encode(&statement), "payloadType": kind,
            "signatures": [{ "sig": signed(directory, key, message.as_bytes()) }] },
    });
    adjust(&mut bundle);
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::MANIFEST.into(),
        config: store.put_blob("application/vnd.oci.empty.v1+json", b"{}").unwrap(),
        layers: vec![store.put_blob(bundled, bundle.to_string().as_bytes()).unwrap()],
        annotations: Default::default(),
        artifact_type: Some(bundled.into()),
        subject: Some(beside.clone()),
    };
    store.put_blob(media::MANIFEST, &serde_json::to_vec(&manifest).unwrap()).unwrap()
}

/// The manifest of a signature over an image, in the store; what the payload says is `adjust`'s.
fn sign(
    directory: &Path,
    key: &str,
    store: &Store,
    image: &Descriptor,
    adjust: impl Fn(String) -> String,
) -> Descriptor {
    let payload = json!({
        "critical": {
            "identity": { "docker-reference": "" }, "image": { "docker-manifest-digest": image.digest.to_string() },
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    let payload = adjust(payload.to_string());
    let signature = signed(directory, key, payload.as_bytes());
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

async fn pull(address: std::net::SocketAddr, rules: Vec<Rule>) -> Result<Origin, registry::Error> {
    pull_as(&name(address, "team/app"), rules).await
}

async fn pull_as(name: &Reference, rules: Vec<Rule>) -> Result<Origin, registry::Error> {
    let theirs = store();
    let _lease = theirs.store.lease("test").unwrap();
    let client = Client::with_certificates(Config { signatures: rules, ..Config::default() }, Vec::new());
    let (progress, lines) = Lines::new();
    let pulled = client.pull(&theirs.store, name, &Platform::host(), None, progress).await;
    lines.all().await;
    if pulled.is_err() {
        assert!(theirs.store.images().is_empty());
        assert!(sys::file::list(&theirs.directory.path().join("blobs/sha256")).unwrap().is_empty());
    }
    pulled.map(|pulled| pulled.origin)
}

/// The key and format of the one signature that let an image in.
fn signer(origin: &Origin) -> (&str, &str) {
    assert_eq!(origin.signatures.len(), 1);
    let signature = origin.signatures.first().unwrap();
    (&signature.key, &signature.format)
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
        let origin = pull(registry.address, vec![rule(&["ec", "rsa"])]).await.unwrap();
        assert_eq!(self::signer(&origin), (signer, "simplesigning-v1"));
        refused(vec![rule(&["other"])], "is good for other").await;
    }
    // Bundles are found as referrers; one after the other, the bad ones stay beside the good one.
    let other = Reference { tag: Some("other".into()), ..to.clone() };
    push(&client(), &ours.store, &other, &another).await;
    let sign = "https://sigstore.dev/cosign/sign/v1";
    let add = async |key: &str, about: &Descriptor, predicate: &str, adjust: fn(&mut Value)| {
        let bundle = bundle(at, key, &ours.store, &another, about, predicate, adjust);
        let beside = Reference { tag: Some("bundle".into()), ..to.clone() };
        push(&client(), &ours.store, &beside, &bundle).await;
        pull_as(&other, vec![rule(&["ec"])]).await
    };
    let keyless = |bundle: &mut Value| {
        bundle["verificationMaterial"] = json!({ "certificate": { "rawBytes": "AA==" } });
    };
    let none = |_: &mut Value| ();
    for (key, about, predicate, adjust, text) in [
        ("other", &another, sign, none as fn(&mut Value), "made with another key"),
        ("ec", &image, sign, none, "made for another image"),
        ("ec", &another, "https://slsa.dev/provenance/v1", none, "of another kind than a signature"),
        ("ec", &another, sign, keyless, "(keyless), which is not supported"),
    ] {
        let error = add(key, about, predicate, adjust).await.expect_err(text).to_string();
        assert!(error.contains(text), "{error}");
    }
    let origin = add("ec", &another, sign, none).await.unwrap();
    assert_eq!(signer(&origin), ("ec", "bundle-v0.3"));

    // The first rule that fits counts; one that does not fit is none.
    let reject = Rule { pattern: "**".into(), keys: Vec::new(), reject: true };
    refused(vec![reject.clone()], "no image of that name may be pulled").await;
    let accept = Rule { reject: false, ..reject.clone() };
    let origin = pull(registry.address, vec![accept, rule(&["other"])]).await.unwrap();
    assert!(origin.signatures.is_empty() && origin.repositories == BTreeSet::from([to.repository()]));
    let stranger = Rule { pattern: "docker.io/**".into(), ..reject };
    pull(registry.address, vec![stranger]).await.unwrap();
}
