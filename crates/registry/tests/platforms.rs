//! An index goes out: whole, or what is here of it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::*;
use spec::Reference;
use spec::oci::image::{Descriptor, Index, Platform, media};
use store::Store;

/// An index of images for these platforms, in the store.
fn index(store: &Store, images: &[(&Descriptor, &str)]) -> Descriptor {
    let manifests = images
        .iter()
        .map(|(image, platform)| Descriptor { platform: Platform::parse(platform), ..(*image).clone() });
    let index = Index {
        schema_version: 2,
        media_type: media::INDEX.into(),
        manifests: manifests.collect(),
        annotations: Default::default(),
    };
    store.put_blob(media::INDEX, &serde_json::to_vec(&index).unwrap()).unwrap()
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
