//! Images from and to archives.

use spec::oci::image::Platform;

use super::*;

fn saved(f: &Fixture, names: &[&str]) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
    let mut out = Vec::new();
    f.store.save(&names, &[], &mut out).unwrap();
    out
}

fn json(archive: &[u8], name: &str) -> serde_json::Value {
    let mut archive = tar::Archive::new(archive);
    let entry = archive
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .find(|entry| entry.path().unwrap().to_str() == Some(name))
        .unwrap();
    serde_json::from_reader(entry).unwrap()
}

#[test]
fn what_is_saved_loads_the_same() {
    let f = fixture();
    let base = Tar::new().file("a", "1").done();
    let one = f.image(&[base.clone(), Tar::new().file("b", "2").done()]);
    let two = f.image(&[base]);
    f.store.tag(&"one".parse().unwrap(), &one).unwrap();
    f.store.tag(&"example.org/one:v1".parse().unwrap(), &one).unwrap();
    f.store.keep_dangling(&two).unwrap();
    let id = two.digest.short();
    let archive = saved(&f, &["one", "example.org/one:v1", &id]);
    assert_eq!(archive, saved(&f, &["one", "example.org/one:v1", &id]));

    for archive in [archive.clone(), gzip(&archive), zstd::encode_all(&archive[..], 1).unwrap()] {
        let g = fixture();
        let loaded = g.store.load(&mut &archive[..], &[]).unwrap();
        let found: Vec<_> = loaded
            .iter()
            .map(|(name, target)| (name.as_ref().map(|n| n.familiar()), target.clone()))
            .collect();
        assert_eq!(
            found,
            [
                (Some("one:latest".into()), one.clone()),
                (Some("example.org/one:v1".into()), one.clone()),
                (None, two.clone())
            ]
        );
        for (name, target) in &loaded {
            match name {
                Some(name) => g.store.tag(name, target).unwrap(),
                None => g.store.keep_dangling(target).unwrap(),
            }
            let image = g.store.image(target, &Platform::host()).unwrap();
            g.store.unpack_image(&image).unwrap();
        }
        assert_eq!(saved(&g, &["one", "example.org/one:v1", &id]), json_free(&archive));
        assert_eq!(g.list("layers"), f.list("layers"));
    }
    let docker = json(&archive, "manifest.json");
    assert_eq!(docker.as_array().unwrap().len(), 2);
    let mut tags: Vec<_> = docker.as_array().unwrap().iter().map(|image| image["RepoTags"].clone()).collect();
    tags.sort_by_key(|tags| tags.is_null());
    assert_eq!(tags, [serde_json::json!(["one:latest", "example.org/one:v1"]), serde_json::Value::Null]);
    assert!(f.store.save(&["missing".into()], &[], &mut Vec::new()).is_err());
}

/// The plain archive behind a compressed one.
fn json_free(archive: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let read = match archive[0] {
        0x1f => std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(archive), &mut plain).map(drop),
        0x28 => zstd::stream::copy_decode(archive, &mut plain),
        _ => {
            plain.extend_from_slice(archive);
            Ok(())
        }
    };
    read.unwrap();
    plain
}

/// The form before Docker 25: no layout, layers by name, an equal layer as a link to the first.
#[test]
fn an_old_docker_archive_loads() {
    let f = fixture();
    let layers = [Tar::new().file("a", "1").done(), Tar::new().file("b", "2").done()];
    let mut config = empty_config();
    config.rootfs.diff_ids = vec![digest(&layers[0]), digest(&layers[1]), digest(&layers[0])];
    let config_bytes = serde_json::to_string(&config).unwrap();
    let manifest = r#"[{"Config":"c.json","RepoTags":["old:1","old:2"],"Layers":["l0/layer.tar","l1/layer.tar","l2/layer.tar"]}]"#;
    let archive = |manifest: &str| {
        Tar::new()
            .dir("l0")
            .file("l0/VERSION", "1.0")
            .entry(EntryType::Regular, "l0/layer.tar", "", &layers[0])
            .entry(EntryType::Regular, "l1/layer.tar", "", &gzip(&layers[1]))
            .symlink("l2/layer.tar", "../l0/layer.tar")
            .file("c.json", &config_bytes)
            .file("manifest.json", manifest)
            .file("repositories", "{}")
            .done()
    };
    let loaded = f.store.load(&mut &archive(manifest)[..], &[]).unwrap();
    assert_eq!(loaded.len(), 2);
    assert_eq!(loaded[1].0.as_ref().unwrap().familiar(), "old:2");
    let image = f.store.image(&loaded[0].1, &Platform::host()).unwrap();
    assert_eq!(image.config, config);
    let types: Vec<_> = image.manifest.layers.iter().map(|layer| layer.media_type.as_str()).collect();
    assert_eq!(types, [media::LAYER, media::LAYER_GZIP, media::LAYER]);
    let chain = f.store.unpack_image(&image).unwrap().unwrap();
    assert_eq!(f.store.chain_dirs(&chain).unwrap().len(), 3);
    f.store.tag(loaded[0].0.as_ref().unwrap(), &loaded[0].1).unwrap();

    for bad in [
        r#"[{"Config":"../../etc/passwd","Layers":[]}]"#,
        r#"[{"Config":"c.json","Layers":["l0/layer.tar"]}]"#,
        r#"[{"Config":"l0/VERSION","Layers":[]}]"#,
        "[]",
        "{",
    ] {
        let error = f.store.load(&mut &archive(bad)[..], &[]).unwrap_err();
        assert_eq!(error.kind(), spec::ErrorKind::InvalidParameter, "{bad}: {error}");
    }
    assert!(f.store.load(&mut &layers[0][..], &[]).unwrap_err().to_string().contains("not an image archive"));
    // A blob whose name is not its digest.
    let lying =
        Tar::new().file(&format!("blobs/sha256/{}", digest(b"x").hex()), "y").file("index.json", "{}").done();
    assert!(matches!(f.store.load(&mut &lying[..], &[]), Err(store::Error::DigestMismatch { .. })));
    f.store.collect(&[], &[]).unwrap();
    assert_eq!(f.list("blobs/sha256").len(), 4, "what failed to load is garbage");
}

#[test]
fn a_root_file_system_becomes_an_image() {
    let f = fixture();
    let tar = Tar::new().file("etc/os-release", "ID=x").done();
    let mut targets = Vec::new();
    for archive in [tar.clone(), gzip(&tar), zstd::encode_all(&tar[..], 1).unwrap()] {
        let mut config = empty_config();
        config.created = Some("2026-01-02T03:04:05Z".into());
        config.config.cmd = vec!["sh".into()];
        let target = f.store.import(&mut &archive[..], config).unwrap();
        let image = f.store.image(&target, &Platform::host()).unwrap();
        assert_eq!(image.config.rootfs.diff_ids, [digest(&tar)]);
        assert_eq!(image.config.history.len(), 1);
        assert_eq!(image.config.config.cmd, ["sh"]);
        let chain = f.store.unpack_image(&image).unwrap().unwrap();
        assert!(f.layer(&chain).join("etc/os-release").exists());
        // The blob is the layer.
        let g = fixture();
        let mut blob = f.store.blob(&image.manifest.layers[0].digest).unwrap();
        g.store.unpack(&mut blob, None, Some(digest(&tar))).unwrap();
        targets.push(image.manifest.layers[0].media_type.clone());
    }
    assert_eq!(targets, [media::LAYER_GZIP, media::LAYER_GZIP, media::LAYER_ZSTD]);
    assert!(f.store.import(&mut &b"nonsense that is long enough".repeat(100)[..], empty_config()).is_err());
    assert_eq!(f.list("ingest").len(), 0);
}
