//! Attestations: what is said of an image in statements beside it.

use spec::api::{AttestationStatement, Platform};
use spec::oci::image::Manifest;
use store::{MemberKind, Store};

use super::summary::{Summary, not_provided};
use crate::blocking::lasting;
use crate::{Engine, Error};

/// What a layer that is a statement is marked with (BuildKit's attestation storage).
const IN_TOTO: &str = "application/vnd.in-toto+json";
const PREDICATE: &str = "in-toto.io/predicate-type";

impl Engine {
    /// `GET /images/{name}/attestations`: the statements about the image for a platform (this host's by default) that are
    /// here; those of `types`, if any are named. Their text comes with `statements`.
    pub async fn image_attestations(
        &self,
        name: &str,
        platform: Option<&Platform>,
        types: Vec<String>,
        statements: bool,
    ) -> Result<Vec<AttestationStatement>, Error> {
        let (inner, target) = (self.inner.clone(), self.target(name)?);
        let (name, platform) = (name.to_owned(), platform.cloned());
        lasting(move || {
            let summary = Summary::of(&inner.store, &target);
            let (image, _) = summary
                .best(platform.as_ref())
                .ok_or_else(|| not_provided(&name, platform.as_ref().unwrap_or(&Platform::host())))?;
            let subject = MemberKind::Attestation(image.descriptor.digest);
            let mut found = Vec::new();
            for member in summary.members.iter().filter(|m| m.kind == subject && m.is_whole) {
                let bytes = inner.store.blob_bytes(&member.descriptor.digest)?;
                let manifest = spec::gojson::from_slice(&bytes).map_err(|e| {
                    Error::Invalid(format!("attestation {} of {name}: {e}", member.descriptor.digest))
                })?;
                add(&inner.store, &manifest, &types, statements, &mut found)?;
            }
            Ok(found)
        })
        .await
    }
}

/// Adds the statements of one manifest.
fn add(
    store: &Store,
    manifest: &Manifest,
    types: &[String],
    statements: bool,
    found: &mut Vec<AttestationStatement>,
) -> Result<(), Error> {
    for layer in manifest.layers.iter().filter(|layer| layer.media_type == IN_TOTO) {
        let predicate_type = layer.annotations.get(PREDICATE).cloned().unwrap_or_default();
        if !types.is_empty() && !types.contains(&predicate_type) {
            continue;
        }
        let statement = if statements {
            let bytes = store.blob_bytes(&layer.digest)?;
            let read = serde_json::from_slice(&bytes);
            Some(read.map_err(|e| Error::Invalid(format!("statement {}: {e}", layer.digest)))?)
        } else {
            None
        };
        found.push(AttestationStatement { descriptor: layer.clone(), predicate_type, statement });
    }
    Ok(())
}
