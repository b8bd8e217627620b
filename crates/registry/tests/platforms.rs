//! An index goes out, whole or what is here of it; one comes in, with the statements about the image that is wanted.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::*;
use spec::Reference;
use spec::oci::image::{Descriptor, Index, Manifest, Platform, media};
use store::{Member, MemberKind, Store};

/// An index of images for these platforms, in the store.
fn index(store: &Store, images: &[(&Descriptor, &str)]) -> Descriptor {
    let manifests = images
        .iter()
        .map(|(image, platform)| Descriptor { platform: Platform::parse(platform), ..(*image).clone() });
    index_of(store, manifests.collect())
}

fn index_of(store: &Store, manifests: Vec<Descriptor>) -> Descriptor {
    let index = Index {
        schema_version: 2,
        media_type: media::INDEX.into(),
        manifests,
        annotations: Default::default(),
    };
    store.put_blob(media::INDEX, &serde_json::to_vec(&index).unwrap()).unwrap()
}

/// A statement of so many bytes about an image, as BuildKit keeps it.
fn attestation(store: &Store, image: &Descriptor, size: usize) -> Descriptor {
    let statement = noise(size, size as u64);
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::MANIFEST.into(),
        config: store.put_blob("application/vnd.oci.empty.v1+json", b"{}").unwrap(),
        layers: vec![store.put_blob("application/vnd.in-toto+json", &statement).unwrap()],
        annotations: Default::default(),
        artifact_type: None,
        subject: None,
    };
    let mut written = store.put_blob(media::MANIFEST, &serde_json::to_vec(&manifest).unwrap()).unwrap();
    written.platform = Platform::parse("unknown/unknown");
    written.annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
    written.annotations.insert("vnd.docker.reference.digest".into(), image.digest.to_string());
    written
}

#[tokio::test]
async fn statements_come_with_the_image_they_are_about() {
    let ours = store();
    let [mut one, mut two] = [1000, 2000].map(|size| image(&ours.store, &[size]));
    (one.platform, two.platform) = (Some(Platform::host()), Platform::parse("linux/s390x"));
    // The first is larger than anything that is read whole.
    let about = [attestation(&ours.store, &one, 6 << 20), attestation(&ours.store, &two, 10)];
    let target = index_of(&ours.store, [&[one.clone(), two][..], &about].concat());
    let registry = serve(|_| {}).await;
    let (client, to) = (client(), name(registry.address, "team/app"));
    push(&client, &ours.store, &to, &target).await;

    let pull = async |theirs: &TestStore| {
        let (progress, lines) = Lines::new();
        let pulled = client.pull(&theirs.store, &to, &Platform::host(), None, progress).await;
        let last = lines.last().await;
        pulled.map(|pulled| (pulled.target, last))
    };
    let whole = |members: &[Member]| members.iter().map(|m| m.is_whole).collect::<Vec<_>>();
    let theirs = store();
    for expected in ["Pull complete", "Already exists"] {
        let (pulled, lines) = pull(&theirs).await.unwrap();
        let members = theirs.store.members(&pulled).unwrap();
        assert_eq!(members[2].kind, MemberKind::Attestation(one.digest));
        assert_eq!(whole(&members), [true, false, true, false]);
        // As in Docker, nothing is told of them: the layer has a line, and the tag.
        let layer = &members[0].image.as_ref().unwrap().manifest.layers[0];
        assert_eq!((lines.len(), lines[&layer.digest.short().to_owned()].as_str()), (2, expected));
    }
    // The other platform is in the registry: what was pulled goes back whole.
    push(&client, &theirs.store, &to, &target).await;

    // A statement that is not what the index says is no statement, and no image comes with it.
    let statement = ours.store.members(&target).unwrap()[2].blobs[1].0;
    let path = blob_path(registry.root.path(), &statement);
    let mut bytes = sys::file::read(&path).unwrap();
    bytes[5_000_000] ^= 1;
    sys::file::write_atomic(&path, &bytes, 0o600, sys::file::Durability::Process).unwrap();
    let theirs = store();
    let error = pull(&theirs).await.unwrap_err();
    assert_eq!(error.kind(), spec::ErrorKind::InvalidParameter, "{error}");
    theirs.store.collect(&[], &[]).unwrap();
    assert!(sys::file::list(&theirs.directory.path().join("blobs/sha256")).unwrap().is_empty());

    // One that the registry has lost hurts nobody.
    sys::file::remove(&blob_path(registry.root.path(), &about[0].digest)).unwrap();
    let (pulled, _) = pull(&theirs).await.unwrap();
    assert_eq!(whole(&theirs.store.members(&pulled).unwrap()), [true, false, false, false]);
}

#[tokio::test]
async fn an_index_goes_whole_or_what_is_here_of_it() {
    let (ours, others) = (store(), store());
    let [one, two] = [1000, 2000].map(|size| image(&ours.store, &[size]));
    let three = image(&others.store, &[3000]);
    let all = [(&one, "linux/amd64"), (&two, "linux/arm64"), (&three, "linux/s390x")];
    let target = index(&ours.store, &all);
    let registry = serve(|_| {}).await;
    let (client, to) = (client(), name(registry.address, "team/app"));
    let send = async |target: &Descriptor, platform: Option<&str>| {
        let platform = platform.map(|p| Platform::parse(p).unwrap());
        let (progress, lines) = Lines::new();
        let sent = client.push(&ours.store, &to, target, platform.as_ref(), None, progress).await;
        sent.map(|()| lines)
    };
    let there = async || client.inspect(&to, None).await.unwrap();

    // Two of three are here.
    let lines = send(&target, None).await.unwrap().all().await;
    let texts: Vec<_> = lines.iter().filter_map(|l| l.status.as_deref()).collect();
    assert!(texts.iter().any(|t| t.ends_with("Left out: linux/s390x")), "{texts:?}");
    let (pushed, platforms) = there().await;
    assert_ne!(pushed.digest, target.digest);
    assert_eq!(platforms.iter().map(ToString::to_string).collect::<Vec<_>>(), ["linux/amd64", "linux/arm64"]);

    // One platform alone, and one that is not here.
    send(&target, Some("linux/arm64")).await.unwrap();
    assert_eq!(there().await.0.digest, two.digest);
    let error = send(&target, Some("linux/s390x")).await.unwrap_err();
    assert!(error.to_string().ends_with("does not provide the specified platform (linux/s390x)"), "{error}");

    // The registry has what is missing here.
    let third: Reference = Reference { tag: Some("three".into()), ..to.clone() };
    push(&client, &others.store, &third, &three).await;
    send(&target, None).await.unwrap();
    assert_eq!(there().await.0.digest, target.digest);

    // Only one is here: it goes in the index's stead.
    let missing = Descriptor::new(media::MANIFEST, spec::Digest::from_bytes([7; 32]), 5);
    let lonely = index(&ours.store, &[(&one, "linux/amd64"), (&missing, "linux/arm64")]);
    let lines = send(&lonely, None).await.unwrap().all().await;
    let aux: Vec<_> = lines.iter().filter_map(|l| l.aux.as_ref()).collect();
    assert!(aux.iter().any(|a| a["manifestPushedInsteadOfIndex"] == true), "{aux:?}");
    assert_eq!(there().await.0.digest, one.digest);
}
