//! The signature policy: which images are let in. Signatures are cosign's, made with a key: a payload that names the
//! manifest's digest, signed, in a manifest of its own (tag `sha256-<hex>.sig`, or a referrer), or a sigstore bundle
//! (`bundle`). Transparency logs are not asked: the key alone is what is trusted.

mod bundle;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use spec::Reference;
use spec::oci::image::{Descriptor, Manifest};
use store::Signature;

use super::resolve::{self, small_blob};
use super::session::Session;
use super::sources::Sources;
use super::{Client, catalog};
use crate::Error;
use bundle::BUNDLE;

/// Where cosign keeps the signature of a payload.
const ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// A payload, and a referrer that holds some.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const REFERRER: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// More signatures than anybody has to look through.
const MOST: usize = 64;

/// Who has to have signed the images of some repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Of the full name, `registry.example/team/app`: `*` is any text without a slash, `**` any text.
    pub pattern: String,
    /// Public keys, one of which must have signed: the file's name, for messages, and its DER (SubjectPublicKeyInfo).
    pub keys: Vec<(String, Vec<u8>)>,
    /// Whether an image that fits may come in at all; without keys it need not be signed.
    pub reject: bool,
}

/// What is signed.
#[derive(Debug, Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Debug, Deserialize)]
struct Critical {
    #[serde(default)]
    identity: Named,
    image: Signed,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Default, Deserialize)]
struct Named {
    #[serde(default, rename = "docker-reference")]
    reference: String,
}

#[derive(Debug, Deserialize)]
struct Signed {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

impl Rule {
    /// A public key of a PEM file (cosign.pub), for [`Rule::keys`].
    ///
    /// # Errors
    /// The file cannot be read, or is none.
    pub fn key(path: &std::path::Path) -> Result<Vec<u8>, String> {
        let key = rustls::pki_types::SubjectPublicKeyInfoDer::from_pem_file(path);
        key.map(|der| der.to_vec())
            .map_err(|e| format!("{}: {e}: a public key in PEM is needed", path.display()))
    }

    /// Which of its keys has signed a message, by name.
    fn signer(&self, message: &[u8], signature: &[u8]) -> Option<&str> {
        let algorithms: [&'static dyn VerificationAlgorithm; 4] =
            [&ECDSA_P256_SHA256_ASN1, &ECDSA_P384_SHA384_ASN1, &ED25519, &RSA_PKCS1_2048_8192_SHA256];
        // A key of another kind than the algorithm's is none of it.
        let signed = self.keys.iter().find(|(_, key)| {
            algorithms.iter().any(|a| UnparsedPublicKey::new(*a, key).verify(message, signature).is_ok())
        });
        signed.map(|(name, _)| name.as_str())
    }

    /// Whether it is about a repository.
    pub fn fits(&self, repository: &str) -> bool {
        matches(self.pattern.as_bytes(), repository.as_bytes())
    }
}

fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|at| matches(rest, &text[at..])),
        [b'*', rest @ ..] => {
            let end = text.iter().position(|&c| c == b'/').unwrap_or(text.len());
            (0..=end).any(|at| matches(rest, &text[at..]))
        }
        [first, rest @ ..] => text.split_first().is_some_and(|(c, text)| c == first && matches(rest, text)),
    }
}

/// Refuses an image that the policy does not let in; the signature that lets it in, if one has to.
pub(crate) async fn check(
    client: &Client,
    reference: &Reference,
    target: &Descriptor,
    sources: &Sources,
) -> Result<Option<Signature>, Error> {
    let config = client.transport.config();
    let repository = reference.repository();
    let Some(rule) = config.signatures.iter().find(|rule| rule.fits(&repository)) else { return Ok(None) };
    let refused = |detail: String| Error::Unsigned {
        reference: reference.familiar(),
        pattern: rule.pattern.clone(),
        detail,
    };
    if rule.reject {
        return Err(refused("no image of that name may be pulled".into()));
    }
    if rule.keys.is_empty() {
        return Ok(None);
    }
    let signatures = sources.ask(|session| async move { find(&session, reference, target).await }).await?;
    if signatures.is_empty() {
        return Err(refused(format!("{} has no signature", target.digest)));
    }
    let mut reasons = Vec::new();
    for signature in &signatures {
        match verify(rule, target, signature) {
            Ok(signature) => return Ok(Some(signature)),
            Err(reason) => reasons.push(reason),
        }
    }
    reasons.sort_unstable();
    reasons.dedup();
    let keys: Vec<&str> = rule.keys.iter().map(|(name, _)| name.as_str()).collect();
    let count = signatures.len();
    Err(refused(format!(
        "none of the {count} signatures of {} is good for {}: {}",
        target.digest,
        keys.join(" or "),
        reasons.join("; ")
    )))
}

/// A signature that was found.
enum Found {
    /// A payload and its signature, in base64.
    Payload(Bytes, String),
    Bundle(Bytes),
}

/// Whether one of the keys has made a signature, and it is about the target.
fn verify(rule: &Rule, target: &Descriptor, found: &Found) -> Result<Signature, &'static str> {
    let (payload, signature) = match found {
        Found::Payload(payload, signature) => (payload, signature),
        Found::Bundle(bytes) => return bundle::verify(rule, &target.digest, bytes),
    };
    let signature = STANDARD.decode(signature).map_err(|_| "a signature is not base64")?;
    let key = rule.signer(payload, &signature).ok_or("made with another key, or of another payload")?;
    let payload: Payload = serde_json::from_slice(payload).map_err(|_| "a payload is not cosign's")?;
    if payload.critical.kind != "cosign container image signature" {
        return Err("a payload is of another kind");
    }
    if payload.critical.image.digest != target.digest.to_string() {
        return Err("made for another image");
    }
    let reference = payload.critical.identity.reference;
    Ok(Signature { key: key.to_owned(), format: "simplesigning-v1".into(), reference })
}

/// All signatures.
async fn find(session: &Session, reference: &Reference, target: &Descriptor) -> Result<Vec<Found>, Error> {
    let mut keys = vec![format!("sha256-{}.sig", target.digest.hex())];
    let referrers = catalog::of_digest(session, reference, target).await?;
    let kinds = [Some(REFERRER), Some(BUNDLE)];
    let referrers = referrers.iter().filter(|d| kinds.contains(&d.artifact_type.as_deref()));
    keys.extend(referrers.map(|d| d.digest.to_string()));
    let mut found = Vec::new();
    for key in keys.iter().take(MOST) {
        let fetched = match resolve::manifest(session, reference, key).await {
            Ok(fetched) => fetched,
            Err(Error::ManifestUnknown(_)) => continue,
            Err(error) => return Err(error),
        };
        let manifest: Manifest = serde_json::from_slice(&fetched.bytes)
            .map_err(|e| session.protocol(format!("signature {key}: {e}")))?;
        for layer in &manifest.layers {
            if found.len() == MOST {
                break;
            }
            if layer.media_type == BUNDLE {
                found.push(Found::Bundle(small_blob(session, layer).await?));
            } else if let Some(signature) = layer.annotations.get(ANNOTATION)
                && layer.media_type == PAYLOAD
            {
                found.push(Found::Payload(small_blob(session, layer).await?, signature.clone()));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_of_full_names() {
        for (pattern, text, fits) in [
            ("docker.io/library/*", "docker.io/library/busybox", true),
            ("docker.io/library/*", "docker.io/library/a/b", false),
            ("docker.io/**", "docker.io/library/a/b", true),
            ("**", "x", true),
            ("r.example/team/app", "r.example/team/app", true),
            ("r.example/team/app", "r.example/team/app2", false),
            ("r.example/*/app-*", "r.example/t/app-1", true),
            ("r.example/*", "r.example:5000/x", false),
        ] {
            let rule = Rule { pattern: pattern.into(), keys: Vec::new(), reject: false };
            assert_eq!(rule.fits(text), fits, "{pattern} {text}");
        }
    }
}
