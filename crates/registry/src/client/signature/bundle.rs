//! Sigstore bundles (version 0.3) as cosign 3 writes them beside an image: an in-toto statement about the manifest, in a
//! DSSE envelope that is signed with a key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use spec::Digest;
use store::Signature as Good;

use super::Rule;

/// What referrers and their layers are that hold one.
pub(super) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// What is in the envelope of an image's signature.
const STATEMENT: &str = "application/vnd.in-toto+json";
/// What such a statement says: that it was signed. Others are about how it was built, or what is in it.
const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    #[serde(default)]
    verification_material: Material,
    dsse_envelope: Option<Envelope>,
}

/// What it is to be verified with.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Material {
    public_key: Option<Value>,
    certificate: Option<Value>,
    x509_certificate_chain: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    predicate_type: String,
    #[serde(default)]
    subject: Vec<Subject>,
}

#[derive(Debug, Deserialize)]
struct Subject {
    #[serde(default)]
    digest: Digests,
}

#[derive(Debug, Default, Deserialize)]
struct Digests {
    sha256: Option<String>,
}

/// Whether one of the rule's keys has signed a bundle's statement, and the statement is that this was signed.
pub(super) fn verify(rule: &Rule, signed: &Digest, bundle: &[u8]) -> Result<Good, &'static str> {
    let bundle: Bundle = serde_json::from_slice(bundle).map_err(|_| "a bundle is not sigstore's")?;
    if bundle.media_type != BUNDLE {
        return Err("a bundle is of another version than 0.3");
    }
    let Material { public_key, certificate, x509_certificate_chain } = bundle.verification_material;
    if certificate.is_some() || x509_certificate_chain.is_some() {
        return Err("made without a key of one's own (keyless), which is not supported");
    }
    if public_key.is_none() {
        return Err("a bundle names no key");
    }
    let envelope = bundle.dsse_envelope.ok_or("a bundle has no statement")?;
    if envelope.payload_type != STATEMENT {
        return Err("a bundle's statement is of another kind");
    }
    let payload = STANDARD.decode(&envelope.payload).map_err(|_| "a bundle's statement is not base64")?;
    let message = encoded(&envelope.payload_type, &payload);
    let signer = |signature: &Signature| rule.signer(&message, &STANDARD.decode(&signature.sig).ok()?);
    let key = envelope.signatures.iter().find_map(signer);
    let key = key.ok_or("made with another key, or of another payload")?.to_owned();
    let statement: Statement =
        serde_json::from_slice(&payload).map_err(|_| "a bundle's statement is not in-toto's")?;
    if statement.predicate_type != SIGNED {
        return Err("a statement of another kind than a signature");
    }
    let hex = signed.hex();
    if !statement.subject.iter().any(|subject| subject.digest.sha256.as_ref() == Some(&hex)) {
        return Err("made for another image");
    }
    Ok(Good { key, format: "bundle-v0.3".into(), reference: String::new() })
}

/// What is signed (DSSE, "PAE"): type and content with their lengths.
fn encoded(kind: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_dsses_encoding() {
        let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(encoded("http://example.com/HelloWorld", b"hello world"), expected);
    }
}
