//! Valid archives with damage at random (seeded, so that a failure comes again): whatever it is, an error that blames the
//! archive or a result, and nothing half-made is left.

use serde_json::{Value, json};
use spec::ErrorKind;

use super::*;

/// Numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn one_of<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.below(all.len())]
    }
}

/// Every kind of entry.
fn layer() -> Vec<u8> {
    let mut tar = Tar::new()
        .dir("d")
        .file("d/f", &"content ".repeat(100))
        .link("d/again", "d/f")
        .symlink("l", "d/f")
        .file("d/.wh.gone", "")
        .file("d/.wh..wh..opq", "")
        .entry(EntryType::Fifo, "p", "", b"")
        .entry(EntryType::Char, "n", "", b"")
        .file(&"x".repeat(90), "long")
        .0;
    let mut pax = Header::new_ustar();
    pax.set_entry_type(EntryType::XHeader);
    let records = b"25 SCHILY.xattr.user.a=b\n30 mtime=1234567890.123456789\n";
    pax.set_size(records.len() as u64);
    pax.set_cksum();
    tar.append(&pax, &records[..]).unwrap();
    Tar(tar).file("end", "end").done()
}

/// Puts checksums right, so that damaged headers are believed.
fn believe(tar: &mut [u8], block: usize) {
    let block = &mut tar[block..block + 512];
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn damaged_layers_leave_nothing() {
    let f = fixture();
    let good = layer();
    f.store.unpack(&mut &good[..], None, None).unwrap();
    let mut random = Random(7);
    let (mut refused, mut taken) = (0, 0);
    for round in 0..600 {
        let mut tar = good.clone();
        for _ in 0..=random.below(3) {
            match random.below(4) {
                0 => tar.truncate(1 + random.below(tar.len())),
                1 => {
                    // A block of another place.
                    let (from, to) =
                        (random.below(tar.len() / 512) * 512, random.below(tar.len() / 512) * 512);
                    tar.copy_within(from..from + 512, to);
                }
                _ => {
                    let block = random.below(tar.len().div_ceil(512)) * 512;
                    if block + 512 <= tar.len() {
                        let at = block + random.below(512);
                        tar[at] = *random
                            .one_of(&[0, 0x80, 0xff, b'9', b'/', b'.', b'S', b'x', b'L', b'1', b'2', b'5']);
                        believe(&mut tar, block);
                    }
                }
            }
            if tar.len() < 512 {
                break;
            }
        }
        let bytes = if round % 2 == 0 { gzip(&tar) } else { tar };
        match f.store.unpack(&mut &bytes[..], None, None) {
            Ok(_) => taken += 1,
            Err(e) => {
                assert_eq!(
                    e.kind(),
                    ErrorKind::InvalidParameter,
                    "round {round}: {e}: {:?}",
                    std::error::Error::source(&e)
                );
                refused += 1;
            }
        }
        assert_eq!(f.list("ingest"), [] as [&str; 0], "round {round}");
    }
    assert!(refused > 100 && taken > 100, "{refused} {taken}");
    f.store.collect(&[], &[]).unwrap();
    assert_eq!(f.list("layers"), [] as [&str; 0]);
}

/// An image archive's files by name.
type Files = Vec<(String, Vec<u8>)>;

/// A layout with an index, a manifest, a configuration and a layer; `change` may damage each document before what names
/// it is made.
fn archive(change: &mut dyn FnMut(&str, Value) -> Vec<u8>) -> Vec<u8> {
    let mut files: Files = Vec::new();
    let mut put = |bytes: Vec<u8>, kind: &str| {
        let (digest, size) = (digest_of(&bytes), bytes.len());
        files.push((format!("blobs/sha256/{}", &digest[7..]), bytes));
        json!({ "mediaType": kind, "digest": digest, "size": size })
    };
    let tar = Tar::new().file("a", "1").done();
    let layer = put(gzip(&tar), media::LAYER_GZIP);
    let config = json!({ "os": "linux", "architecture": "amd64",
        "rootfs": { "type": "layers", "diff_ids": [digest_of(&tar)] }, "history": [{ "created_by": "x" }],
        "config": { "Cmd": ["a"], "Env": ["A=b"], "Labels": { "l": "v" } } });
    let config = put(change("config", config), media::CONFIG);
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": media::MANIFEST, "config": config, "layers": [layer] });
    let mut manifest = put(change("manifest", manifest), media::MANIFEST);
    manifest["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    let index = json!({ "schemaVersion": 2, "mediaType": media::INDEX, "manifests": [manifest] });
    let mut index = put(change("index", index), media::INDEX);
    index["annotations"] = json!({ "io.containerd.image.name": "docker.io/library/x:1" });
    let top = json!({ "schemaVersion": 2, "manifests": [index] });
    files.push(("index.json".into(), change("index.json", top)));
    let mut tar = Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, &bytes[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

fn digest_of(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    Digest::from_bytes(sha2::Sha256::digest(bytes).into()).to_string()
}

/// Somewhere in a document, something else.
fn damage(value: &mut Value, random: &mut Random) {
    match value {
        Value::Object(members) if !members.is_empty() && random.below(5) > 0 => {
            let key = members.keys().nth(random.below(members.len())).unwrap().clone();
            if random.below(6) == 0 {
                members.remove(&key);
            } else {
                damage(members.get_mut(&key).unwrap(), random);
            }
        }
        Value::Array(items) if !items.is_empty() && random.below(5) > 0 => match random.below(4) {
            0 => items.push(items[0].clone()),
            1 => items.clear(),
            _ => {
                let at = random.below(items.len());
                damage(&mut items[at], random);
            }
        },
        other => {
            *other = random
                .one_of(&[
                    json!(null),
                    json!(-1),
                    json!(u64::MAX),
                    json!(""),
                    json!("../../etc/passwd"),
                    json!("sha256:00"),
                    json!(format!("sha256:{}", "0".repeat(64))),
                    json!({ "manifests": [] }),
                    json!([[[]]]),
                    json!(true),
                ])
                .clone();
        }
    }
}

#[test]
fn damaged_manifests_name_nothing() {
    let f = fixture();
    let mut random = Random(11);
    let (mut refused, mut taken) = (0, 0);
    for round in 0..200 {
        let victim = *random.one_of(&["config", "manifest", "index", "index.json"]);
        let bytes = archive(&mut |what, mut document| {
            if what == victim {
                damage(&mut document, &mut random);
            }
            let mut bytes = document.to_string().into_bytes();
            if what == victim && random.below(10) == 0 {
                let at = random.below(bytes.len());
                bytes[at] = b'\0';
            }
            bytes
        });
        let lease = f.store.lease("load").unwrap();
        let loaded = f.store.load(&mut &bytes[..], &[]).and_then(|loaded| {
            for (_, target) in &loaded {
                let image = f.store.image(target, &spec::oci::image::Platform::host())?;
                f.store.unpack_image(&image)?;
            }
            Ok(())
        });
        match loaded {
            Ok(()) => taken += 1,
            Err(e) => {
                let kind = e.kind();
                let theirs = matches!(kind, ErrorKind::InvalidParameter | ErrorKind::NotFound);
                assert!(theirs, "round {round}, {victim}: {kind:?} {e}");
                refused += 1;
            }
        }
        drop(lease);
        f.store.collect(&[], &[]).unwrap();
        for place in ["ingest", "layers", "blobs/sha256"] {
            assert_eq!(f.list(place), [] as [&str; 0], "round {round}, {place}");
        }
    }
    assert!(refused > 60 && taken > 5, "{refused} {taken}");
}

#[test]
fn bombs_are_refused() {
    let f = fixture();
    let refused = |what: &str, tar: &[u8], why: &str| {
        let error = f.store.unpack(&mut &tar[..], None, None).unwrap_err();
        let text = format!("{error}: {:?}", std::error::Error::source(&error));
        assert!(error.kind() == ErrorKind::InvalidParameter && text.contains(why), "{what}: {text}");
        assert_eq!(f.list("ingest"), [] as [&str; 0], "{what}");
    };
    // A sparse file of 8 EiB in one block.
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_path("huge").unwrap();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header.as_gnu_mut().unwrap().realsize = [0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    header.set_cksum();
    refused("sparse", &[header.as_bytes(), &[0; 1024][..]].concat(), "sparse file of over 16 TiB");
    // The same in pax form, and one whose map lies about what is stored.
    let pax = |records: &str, content: &[u8]| {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_size(records.len() as u64);
        header.set_cksum();
        let mut tar = Builder::new(Vec::new());
        tar.append(&header, records.as_bytes()).unwrap();
        let name = "GNUSparseFile.0/x";
        Tar(tar).entry(EntryType::Regular, name, "", content).done()
    };
    let records = |size: &str, map: &str| {
        let record = |key: &str, value: &str| {
            let rest = key.len() + value.len() + 3;
            let length = rest + (rest + 2).to_string().len();
            format!("{length} {key}={value}\n")
        };
        record("GNU.sparse.name", "x") + &record("GNU.sparse.size", size) + &record("GNU.sparse.map", map)
    };
    refused("pax sparse", &pax(&records("9223372036854775807", "0,3"), b"abc"), "sparse file of over 16 TiB");
    refused("map", &pax(&records("100", "0,50"), b"abc"), "bad sparse map");
    refused("map out of order", &pax(&records("100", "50,1,10,2"), b"abc"), "bad sparse map");
    let (chain, _) = f.store.unpack(&mut &pax(&records("100", "1,1,98,2"), b"abc")[..], None, None).unwrap();
    let content = sys::file::read(&f.layer(&chain).join("x")).unwrap();
    assert_eq!((content.len(), content[1], &content[98..]), (100, b'a', &b"bc"[..]));
    // A name that can be no file's.
    let long = Tar::new().entry(EntryType::Regular, "short", "", b"");
    let mut name = Header::new_gnu();
    name.set_entry_type(EntryType::GNULongName);
    name.set_size(300);
    name.set_cksum();
    let long = [name.as_bytes(), &[b'n'; 300][..], &[0; 212][..], &long.done()].concat();
    refused("name", &long, "nnnn");
}
