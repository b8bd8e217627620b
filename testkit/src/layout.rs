//! Image archives of a test's own making: an OCI layout (image-spec, image-layout.md), right or wrong in any way.

use std::collections::BTreeMap;
use std::io::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Media types of a layer.
pub const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// With gzip.
pub const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// With zstd.
pub const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A layout being made.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// Digest → bytes.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// `index.json`'s manifests.
    pub named: Vec<Value>,
}

/// `sha256:…`
pub fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A tar of these files (path, content); a path that ends in a slash is a directory.
pub fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        let is_dir = path.ends_with('/');
        header.set_entry_type(if is_dir { tar::EntryType::Directory } else { tar::EntryType::Regular });
        header.set_mode(if is_dir { 0o755 } else { 0o644 });
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content.as_bytes()).expect("into memory");
    }
    tar.into_inner().expect("into memory")
}

/// These bytes as a layer's media type wants them.
pub fn compressed(media_type: &str, bytes: &[u8]) -> Vec<u8> {
    match media_type {
        GZIP => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(bytes).expect("into memory");
            gzip.finish().expect("into memory")
        }
        ZSTD => zstd::encode_all(bytes, 1).expect("into memory"),
        _ => bytes.to_vec(),
    }
}

impl Layout {
    /// Adds content; its descriptor.
    pub fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let (digest, size) = (digest(&bytes), bytes.len());
        self.blobs.insert(digest.clone(), bytes);
        json!({ "mediaType": media_type, "digest": digest, "size": size })
    }

    /// Adds an image for `os/arch[/variant]` of these layers (media type, tar); its descriptor, with the platform.
    pub fn image(&mut self, platform: &str, layers: &[(&str, Vec<u8>)]) -> Value {
        let parts: Vec<&str> = platform.split('/').collect();
        let diff_ids: Vec<String> = layers.iter().map(|(_, tar)| digest(tar)).collect();
        let history: Vec<Value> = layers
            .iter()
            .enumerate()
            .map(|(n, _)| json!({ "created": "2020-01-02T03:04:05Z", "created_by": format!("step {n}") }))
            .collect();
        let mut system = json!({ "os": parts[0], "architecture": parts[1] });
        if let Some(variant) = parts.get(2) {
            system["variant"] = json!(variant);
        }
        let mut config = system.clone();
        config["created"] = json!("2020-01-02T03:04:05.5Z");
        config["config"] = json!({ "Cmd": ["sh"], "Env": ["PATH=/bin"], "Labels": { "arch": parts[1] } });
        config["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
        config["history"] = json!(history);
        let layers: Vec<Value> =
            layers.iter().map(|(kind, tar)| self.blob(kind, compressed(kind, tar))).collect();
        let mut descriptor = self.manifest(&config, &layers);
        descriptor["platform"] = system;
        descriptor
    }

    /// Adds a manifest of this configuration and these layers.
    pub fn manifest(&mut self, config: &Value, layers: &[Value]) -> Value {
        let config = self.blob(CONFIG, config.to_string().into_bytes());
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        self.blob(MANIFEST, manifest.to_string().into_bytes())
    }

    /// Adds a statement about an image, as `BuildKit` does.
    pub fn attestation(&mut self, of: &Value) -> Value {
        let statement = self.blob("application/vnd.in-toto+json", b"{\"about\":\"it\"}".to_vec());
        let config = json!({ "os": "unknown", "architecture": "unknown", "rootfs": { "type": "layers",
            "diff_ids": [statement["digest"]] } });
        let mut descriptor = self.manifest(&config, &[statement]);
        descriptor["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
        descriptor["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": of["digest"] });
        descriptor
    }

    /// Adds an index of these manifests.
    pub fn index(&mut self, manifests: &[Value]) -> Value {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        self.blob(INDEX, index.to_string().into_bytes())
    }

    /// Names a manifest or index; an empty name is none.
    pub fn name(&mut self, descriptor: &Value, name: &str) {
        let mut descriptor = descriptor.clone();
        if !name.is_empty() {
            descriptor["annotations"] = json!({ "io.containerd.image.name": name });
        }
        self.named.push(descriptor);
    }

    /// The archive.
    pub fn tar(&self) -> Vec<u8> {
        let index = json!({ "schemaVersion": 2, "manifests": self.named }).to_string();
        let mut files = vec![
            ("oci-layout".to_owned(), b"{\"imageLayoutVersion\":\"1.0.0\"}".to_vec()),
            ("index.json".to_owned(), index.into_bytes()),
        ];
        for (digest, bytes) in &self.blobs {
            files.push((format!("blobs/{}", digest.replace(':', "/")), bytes.clone()));
        }
        let mut tar = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, path, &bytes[..]).expect("into memory");
        }
        tar.into_inner().expect("into memory")
    }
}
