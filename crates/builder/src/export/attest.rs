//! Statements about an image (in-toto), kept beside it in its index as BuildKit keeps them: one manifest per image, one
//! layer per statement.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use spec::Reference;
use spec::api::Platform;
use spec::oci::image::{Descriptor, Manifest, media};
use store::Store;
use sys::root::{Access, Kind, Root, TooDeep};

use crate::copy::content::feed;
use crate::error::Result;

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const IN_TOTO: &str = "application/vnd.in-toto+json";
const ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";
/// What an artifact has where images have a configuration.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Something said about an image.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    /// What kind of thing it is: a URL.
    pub(crate) predicate: &'static str,
    pub(crate) content: Value,
    /// What it is called among an output's files; `None` where it is wanted beside images only.
    pub(crate) file: Option<String>,
}

impl Statement {
    /// The statement as it is written, about `subjects`.
    fn about(&self, subjects: &[Value]) -> Value {
        json!({
            "_type": STATEMENT, "predicateType": self.predicate, "subject": subjects, "predicate": self.content,
        })
    }
}

/// Names under which the statements speak of an image.
fn subjects(image: &Descriptor, names: &[Reference], platform: &Platform) -> Vec<Value> {
    let platform = platform.to_string().replace('/', "%2F");
    let subject = |name: String| json!({ "name": name, "digest": { "sha256": image.digest.hex() } });
    if names.is_empty() {
        return vec![subject("_".into())];
    }
    let url = |name: &Reference| {
        let tag = name.tag.as_deref().unwrap_or("latest");
        format!("pkg:docker/{}@{tag}?platform={platform}", name.familiar_repository())
    };
    names.iter().map(|name| subject(url(name))).collect()
}

/// Writes statements about an image; their manifest's descriptor, for the index.
pub(crate) fn attest(
    store: &Store,
    image: &Descriptor,
    names: &[Reference],
    platform: &Platform,
    statements: &[Statement],
) -> Result<Descriptor> {
    let subject = subjects(image, names, platform);
    let mut layers = Vec::new();
    for statement in statements {
        let bytes = serde_json::to_vec(&statement.about(&subject)).expect("plain data");
        let mut layer = store.put_blob(IN_TOTO, &bytes)?;
        layer.annotations.insert("in-toto.io/predicate-type".into(), statement.predicate.into());
        layers.push(layer);
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::MANIFEST.into(),
        config: store.put_blob(EMPTY, b"{}")?,
        layers,
        annotations: BTreeMap::new(),
        artifact_type: Some(ARTIFACT.into()),
        subject: Some(Descriptor::new(image.media_type.clone(), image.digest, image.size)),
    };
    let bytes = serde_json::to_vec(&manifest).expect("a manifest is plain data");
    let mut descriptor = store.put_blob(media::MANIFEST, &bytes)?;
    descriptor.platform =
        Some(Platform { architecture: "unknown".into(), os: "unknown".into(), ..Platform::default() });
    descriptor.annotations.extend([
        ("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned()),
        ("vnd.docker.reference.digest".to_owned(), image.digest.to_string()),
    ]);
    Ok(descriptor)
}

/// Statements about the files of a tree, as files beside them: name and content.
pub(crate) fn files(root: &Root, statements: &[Statement]) -> Result<Vec<(String, Vec<u8>)>> {
    let wanted: Vec<(&Statement, &String)> =
        statements.iter().filter_map(|statement| Some((statement, statement.file.as_ref()?))).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut subjects = Vec::new();
    root.walk("", TooDeep::Fail, |visit| {
        if visit.metadata.kind == Kind::File {
            let mut digest = Sha256::new();
            let mut file = visit.dir.open_file(visit.name, Access::Read, 0)?;
            let name = visit.path.to_string_lossy();
            feed(&mut digest, &mut file, visit.metadata.size)
                .map_err(|e| sys::Error::new("read", name.clone(), e))?;
            let digest = spec::Digest::from_bytes(digest.finalize().into());
            subjects.push(json!({ "name": name, "digest": { "sha256": digest.hex() } }));
        }
        Ok::<_, sys::Error>(())
    })?;
    let bytes = |statement: &Statement| {
        serde_json::to_vec_pretty(&statement.about(&subjects)).expect("a statement is plain data")
    };
    Ok(wanted.into_iter().map(|(statement, name)| (name.clone(), bytes(statement))).collect())
}
