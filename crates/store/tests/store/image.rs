//! Names, ids and platforms.

use spec::Reference;
use spec::oci::image::{Index, Platform};

use super::*;

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

#[test]
fn a_name_or_an_id_finds_the_image() {
    let f = fixture();
    let target = f.image(&[Tar::new().file("a", "1").done()]);
    f.store.tag(&name("busybox"), &target).unwrap();
    let hex = target.digest.hex();
    let repo_digest = format!("busybox@{}", target.digest);
    let image = f.store.image(&target, &Platform::host()).unwrap();
    let config = image.manifest.config.digest.hex();
    for text in [
        "busybox",
        "busybox:latest",
        "docker.io/library/busybox",
        &hex,
        &hex[..12],
        &format!("sha256:{hex}"),
        &format!("sha256:{}", &hex[..6]),
        &repo_digest,
        &config,
        &config[..10],
    ] {
        assert_eq!(f.store.resolve(text).unwrap(), target, "{text}");
    }
    for (text, message) in [
        ("busybox:1", "No such image: busybox:1"),
        ("alpine", "No such image: alpine:latest"),
        ("sha256:0000", "No such image: sha256:0000"),
    ] {
        let error = f.store.resolve(text).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.kind()), (message, spec::ErrorKind::NotFound));
    }
    // A name wins over an id that reads the same.
    let other = f.image(&[Tar::new().file("a", "2").done()]);
    f.store.tag(&name(&hex[..8]), &other).unwrap();
    assert_eq!(f.store.resolve(&hex[..8]).unwrap(), other);
}

#[test]
fn an_ambiguous_prefix_is_refused() {
    let f = fixture();
    // Among 600 images two share four hex digits almost surely; the names are all of one image's making.
    let mut first: std::collections::HashMap<String, u32> = Default::default();
    for i in 0.. {
        let config = Image { author: i.to_string(), ..empty_config() };
        let target = f.store.put_image(&config, &[]).unwrap();
        let prefix = target.digest.hex()[..4].to_owned();
        if let Some(j) = first.insert(prefix.clone(), i) {
            let before = f.store.put_image(&Image { author: j.to_string(), ..empty_config() }, &[]).unwrap();
            f.store.tag(&name("x:1"), &target).unwrap();
            f.store.tag(&name("x:2"), &before).unwrap();
            let error = f.store.resolve(&prefix).unwrap_err();
            assert!(matches!(error, store::Error::Invalid(_)), "{error}");
            assert_eq!(f.store.resolve(&target.digest.hex()[..20]).unwrap(), target);
            return;
        }
    }
}

#[test]
fn a_lost_name_leaves_a_dangling_image() {
    let f = fixture();
    let [one, two] = ["1", "2"].map(|content| f.image(&[Tar::new().file("a", content).done()]));
    let names = || f.store.images().into_iter().map(|record| record.name).collect::<Vec<_>>();
    let dangling = |target: &Descriptor| format!("<dangling>@{}", target.digest);
    f.store.keep_dangling(&one).unwrap();
    assert_eq!(names(), [dangling(&one)]);
    f.store.tag(&name("x"), &one).unwrap();
    assert_eq!(names(), ["docker.io/library/x:latest"]);
    f.store.tag(&name("y"), &one).unwrap();
    f.store.tag(&name("x"), &two).unwrap();
    assert_eq!(names(), ["docker.io/library/x:latest", "docker.io/library/y:latest"]);
    f.store.tag(&name("y"), &two).unwrap();
    assert_eq!(names().len(), 3);
    assert_eq!(names()[0], dangling(&one));
    f.store.untag("docker.io/library/y:latest").unwrap();
    assert!(matches!(f.store.untag("docker.io/library/y:latest"), Err(store::Error::NotFound(_))));

    // The names are on disk.
    let root = f.store.root().to_owned();
    let before = f.store.images();
    drop(f.store);
    assert_eq!(Store::open(&root).unwrap().images(), before);
    drop(f.directory);
}

#[test]
fn an_image_is_named_only_when_it_is_whole() {
    let f = fixture();
    let target = f.image(&[Tar::new().file("a", "1").done()]);
    let image = f.store.image(&target, &Platform::host()).unwrap();
    f.store.remove_blob(&image.manifest.layers[0].digest).unwrap();
    assert!(matches!(f.store.tag(&name("x"), &target), Err(store::Error::NoBlob(_))));
    assert!(f.store.images().is_empty());
}

#[test]
fn an_index_gives_the_platforms_image() {
    let f = fixture();
    let image =
        |author: &str| f.store.put_image(&Image { author: author.into(), ..empty_config() }, &[]).unwrap();
    let on =
        |author: &str, platform: &str| Descriptor { platform: Platform::parse(platform), ..image(author) };
    let put = |manifests: Vec<Descriptor>| {
        let index = Index {
            schema_version: 2,
            media_type: media::INDEX.into(),
            manifests,
            annotations: Default::default(),
        };
        f.store.put_blob(media::INDEX, &serde_json::to_vec(&index).unwrap()).unwrap()
    };
    let target = put(vec![
        on("v7", "linux/arm/v7"),
        on("v6", "linux/arm/v6"),
        on("attestation", "unknown/unknown"),
        on("amd64", "linux/amd64"),
    ]);
    let author = |target: &Descriptor, platform: &str| {
        f.store.image(target, &Platform::parse(platform).unwrap()).map(|image| image.config.author)
    };
    assert_eq!(author(&target, "linux/amd64").unwrap(), "amd64");
    assert_eq!(author(&target, "linux/arm/v6").unwrap(), "v6");
    let error = author(&target, "linux/arm64").unwrap_err();
    assert_eq!(error.to_string(), "no matching manifest for linux/arm64 in the manifest list entries");
    assert_eq!(error.kind(), spec::ErrorKind::NotFound);
    // Without a platform it serves all; an index in an index is followed; a manifest is what it is.
    let plain = put(vec![image("any"), on("attestation", "unknown/unknown")]);
    assert_eq!(author(&put(vec![plain]), "linux/riscv64").unwrap(), "any");
    assert_eq!(author(&image("one"), "linux/s390x").unwrap(), "one");
    // Content that is both, or not what it is said to be (CVE-2021-41190).
    let both =
        f.store.put_blob(media::MANIFEST, br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#).unwrap();
    assert!(author(&both, "linux/amd64").is_err());
    let lying = f
        .store
        .put_blob(
            media::INDEX,
            br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}"#,
        )
        .unwrap();
    assert!(author(&lying, "linux/amd64").is_err());
}
