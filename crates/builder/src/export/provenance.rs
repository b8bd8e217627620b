//! Provenance: what an image was built from, as an in-toto statement (slsa.dev/provenance/v1) beside it in the index.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use spec::api::Platform;
use spec::oci::image::{Descriptor, Manifest, media};
use spec::{Digest, Reference};
use store::Store;

use crate::Request;
use crate::error::{Error, Result};
use crate::graph::{Edge, Op, order};

const PREDICATE: &str = "https://slsa.dev/provenance/v1";
const STATEMENT: &str = "https://in-toto.io/Statement/v0.1";
const BUILD_TYPE: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Sources, times, parameters without their values.
    Min,
    /// The whole graph, the Dockerfile, the values of arguments.
    Max,
}

impl Mode {
    /// Reads `--provenance`'s value; `None` for none.
    ///
    /// # Errors
    /// Another word.
    pub fn read(text: &str) -> Result<Option<Self>> {
        let mut mode = Self::Min;
        for field in text.split(',') {
            match field.split_once('=').unwrap_or((field, "")) {
                ("false" | "disabled", _) => return Ok(None),
                ("" | "true", _) | ("mode", "min") | ("version", "v1") | ("type", _) => {}
                ("mode", "max") => mode = Self::Max,
                _ => {
                    return Err(Error::Request(format!(
                        "invalid provenance {text:?}: expected true, false, mode=min or mode=max"
                    )));
                }
            }
        }
        Ok(Some(mode))
    }
}

/// What a statement is made of.
#[derive(Debug)]
pub(crate) struct Facts<'f> {
    pub(crate) request: &'f Request,
    pub(crate) mode: Mode,
    pub(crate) source: &'f [u8],
    pub(crate) root: Option<&'f Edge>,
    pub(crate) platform: &'f Platform,
    pub(crate) names: &'f [Reference],
    pub(crate) started: &'f str,
    pub(crate) finished: &'f str,
}

impl Facts<'_> {
    fn statement(&self, image: &Descriptor) -> Value {
        let platform = self.platform.to_string().replace('/', "%2F");
        let subject = |name: String| json!({ "name": name, "digest": { "sha256": image.digest.hex() } });
        let subjects: Vec<Value> = if self.names.is_empty() {
            vec![subject("_".into())]
        } else {
            let url = |name: &Reference| {
                let tag = name.tag.as_deref().unwrap_or("latest");
                format!("pkg:docker/{}@{tag}?platform={platform}", name.familiar_repository())
            };
            self.names.iter().map(|name| subject(url(name))).collect()
        };
        let vertices = self.root.map(|root| order(std::slice::from_ref(root))).unwrap_or_default();
        let sources: Vec<Value> =
            vertices.iter().filter_map(|vertex| dependency(vertex, &platform)).collect();
        let mut external = json!({
            "configSource": { "path": if self.request.dockerfile.is_empty() { "Dockerfile" } else { &self.request.dockerfile } },
            "request": { "frontend": "dockerfile.v0", "args": self.arguments() },
        });
        let mut internal = json!({ "builderPlatform": Platform::host().to_string() });
        if self.mode == Mode::Max {
            let graph: Vec<Value> = vertices
                .iter()
                .map(|vertex| {
                    let inputs: Vec<String> =
                        vertex.inputs().iter().map(|input| input.digest.to_string()).collect();
                    json!({ "id": vertex.digest.to_string(), "name": vertex.name, "inputs": inputs })
                })
                .collect();
            internal["buildConfig"] = json!({ "llbDefinition": graph });
            external["configSource"]["content"] = String::from_utf8_lossy(self.source).into();
        }
        json!({
            "_type": STATEMENT,
            "predicateType": PREDICATE,
            "subject": subjects,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": external,
                    "internalParameters": internal,
                    "resolvedDependencies": sources,
                },
                "runDetails": {
                    "builder": { "id": "" },
                    "metadata": { "startedOn": self.started, "finishedOn": self.finished },
                },
            },
        })
    }

    /// Names of arguments always, values only if all is told: they may be secrets.
    fn arguments(&self) -> BTreeMap<String, String> {
        let mut arguments = BTreeMap::new();
        for (name, value) in &self.request.args {
            let value =
                if self.mode == Mode::Max { value.clone().unwrap_or_default() } else { String::new() };
            arguments.insert(format!("build-arg:{name}"), value);
        }
        if !self.request.target.is_empty() {
            arguments.insert("target".into(), self.request.target.clone());
        }
        arguments
    }
}

fn dependency(vertex: &Edge, platform: &str) -> Option<Value> {
    match &vertex.op {
        Op::Image(image) => Some(json!({
            "uri": format!("pkg:docker/{}?platform={platform}", image.name.replacen(':', "@", 1)),
            "digest": { "sha256": image.digest.hex() },
        })),
        Op::Http(http) => {
            let digest = http.checksum.map(|digest| json!({ "sha256": digest.hex() }));
            Some(json!({ "uri": http.url, "digest": digest.unwrap_or(Value::Null) }))
        }
        _ => None,
    }
}

/// Writes the statement about an image; its manifest's descriptor, for the index.
pub(crate) fn attest(store: &Store, image: &Descriptor, facts: &Facts<'_>) -> Result<Descriptor> {
    let statement = serde_json::to_vec(&facts.statement(image)).expect("a statement is plain data");
    let mut layer = store.put_blob(IN_TOTO, &statement)?;
    layer.annotations.insert("in-toto.io/predicate-type".into(), PREDICATE.into());
    let diff_ids: [Digest; 1] = [layer.digest];
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = store.put_blob(media::CONFIG, &serde_json::to_vec(&config).expect("plain data"))?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::MANIFEST.into(),
        config,
        layers: vec![layer],
        annotations: BTreeMap::new(),
        artifact_type: None,
        subject: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read() {
        for (text, expected) in [
            ("true", Some(Mode::Min)),
            ("mode=max", Some(Mode::Max)),
            ("mode=min,version=v1", Some(Mode::Min)),
            ("false", None),
        ] {
            assert_eq!(Mode::read(text).unwrap(), expected, "{text}");
        }
        assert!(Mode::read("mode=all").is_err());
    }
}
